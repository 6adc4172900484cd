"""What each column is like in the whole and in each component, and how far it sets the components apart.

apart = share of a column's variance that lies between components, sum_k p_k (m_k - m)^2 / variance; for categories
Goodman and Kruskal's tau, for angles the same of the points on the circle; 0 to 1.
Source: Goodman & Kruskal (1954), Journal of the American Statistical Association 49, 732-764, section 9; Mardia & Jupp
(2000), Directional Statistics, section 2.3 (angles).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families import Columns, Family, VonMises
from emix.families.columnwise import by_column
from emix.families.von_mises import TURN
from emix.model import Mixture


@dataclass(frozen=True)
class ColumnProfile:
    """One column, in the whole and in each component; noise is left out.

    Attributes
    ----------
    column : str
        Its name.
    levels : tuple of str
        Names of the categories; empty for numbers.
    apart : float
        How far the column sets the components apart, 0 to 1.
    whole : ndarray of shape (1,) or (levels,)
        Mean, or probability of each category, of all components together.
    components : ndarray of shape (K, 1) or (K, levels)
        The same of each component.
    differences : ndarray of shape (K, 1) or (K, levels)
        components - whole, in standard deviations of the whole.
    """

    column: str
    levels: tuple[str, ...]
    apart: float
    whole: Array
    components: Array
    differences: Array


def column_profiles(model: Mixture) -> list[ColumnProfile]:
    """Of all columns whose families have moments, the most telling first.

    Raises
    ------
    ModelError
        The model has no parameters.
    """
    if not model.is_fitted:
        raise ModelError.not_fitted("This mixture")
    K = model.latent_size - model.has_noise
    p = model.latent.mixing_proportions[:K]
    found = [one for family in _families(model.family) for one in _of_family(family, p / p.sum())]
    return sorted(found, key=lambda one: -one.apart)


def _families(family: Family) -> Iterator[Family]:
    if isinstance(family, Columns):
        yield from (part.family for part in family.parts)
    else:
        yield family


def _of_family(family: Family, p: Array) -> Iterator[ColumnProfile]:
    if isinstance(family, VonMises):
        yield from _of_angles(family, p)
        return
    for one in family.level_shares():
        yield _of_levels(one.column, one.levels, one.probabilities, p)
    if not family.level_shares():
        for name, mean, variance in zip(family.columns, *(one.T for one in family.cell_moments()), strict=True):
            if np.isfinite(mean).all() and not np.isnan(variance).any():
                yield _of_numbers(name, mean, variance, p)


def _of_numbers(name: str, mean: Array, variance: Array, p: Array) -> ColumnProfile:
    """From means and variances (K,)."""
    whole = float(p @ mean)
    between, within = float(p @ (mean - whole) ** 2), float(p @ variance)
    total = between + within
    apart = between / total if 0 < total < np.inf else 0.0
    spread = np.sqrt(total) if 0 < total < np.inf else np.sqrt(between) if between > 0 else 1.0
    return ColumnProfile(name, (), apart, np.array([whole]), mean[:, None], (mean[:, None] - whole) / spread)


def _of_levels(name: str, levels: tuple[str, ...], probability: Array, p: Array) -> ColumnProfile:
    """From probabilities (K, levels)."""
    whole = p @ probability
    variance = whole * (1 - whole)
    spread = float(variance.sum())
    apart = float(p @ ((probability - whole) ** 2).sum(axis=1)) / spread if spread > 0 else 0.0
    differences = (probability - whole) / np.sqrt(np.where(variance > 0, variance, 1.0))
    return ColumnProfile(name, levels, apart, whole, probability, differences)


def _of_angles(family: VonMises, p: Array) -> Iterator[ColumnProfile]:
    """By the mean points on the circle, whose length is I1 / I0 of the concentration."""
    unit = TURN[family.unit] / (2 * np.pi)
    points = family.mean_points()
    for name, column, direction in zip(family.columns, points.T, by_column(family.direction).T, strict=True):
        whole = complex(p @ column)
        length, apart = abs(whole), float(p @ np.abs(column - whole) ** 2)
        middle = float(np.angle(whole))
        differences = np.angle(np.exp(1j * (direction / unit - middle)))
        spread = np.sqrt(-2 * np.log(max(length, 1e-300)))
        share = apart / (1 - length**2) if length < 1 else 0.0
        home = np.array([middle * unit % TURN["degrees"] if family.unit == "degrees" else middle])
        yield ColumnProfile(name, (), share, home, direction[:, None], (differences / max(spread, 1e-8))[:, None])
