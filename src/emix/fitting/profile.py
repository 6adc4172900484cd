"""What each column is like in the whole and in each component, and how far it sets the components apart.

apart = share of a column's variance that lies between components, sum_k p_k (m_k - m)^2 / variance; for categories
Goodman and Kruskal's tau, for angles the same of the points on the circle; 0 to 1.
Source: Goodman & Kruskal (1954), Journal of the American Statistical Association 49, 732-764, section 9; Mardia & Jupp
(2000), Directional Statistics, section 2.3 (angles).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gamma as gamma_function
from scipy.special import i0e, i1e

from emix.block import Array
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    CensoredExponential,
    CensoredWeibull,
    Columns,
    Exponential,
    Family,
    Gamma,
    Geometric,
    InverseGaussian,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    ScipyDistribution,
    StudentT,
    TruncatedPoisson,
    VonMises,
    ZeroInflatedPoisson,
)
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
    if isinstance(family, Categorical):
        for name, levels, probability in zip(family.columns, family.levels, family.tables, strict=True):
            yield _of_levels(name, levels, probability, p)
    elif isinstance(family, Multinomial):
        yield _of_levels("share of the total", family.columns, family.probabilities, p)
    elif isinstance(family, Bernoulli):
        names = (", ".join(family.columns),) if family.shared else family.columns
        for name, ones in zip(names, by_column(family.probability).T, strict=True):
            yield _of_levels(name, ("1", "0"), np.stack([ones, 1 - ones], axis=1), p)
    elif isinstance(family, Binomial) and isinstance(family.n_trials, str):
        heads = np.stack([family.probability, 1 - family.probability], axis=1)
        yield _of_levels(f"{family.columns[0]} out of {family.n_trials}", ("heads", "tails"), heads, p)
    elif isinstance(family, VonMises):
        yield from _of_angles(family, p)
    else:
        try:
            mean, variance = _moments(family)
        except ModelError:  # no such moments
            return
        for name, m, v in zip(family.columns, mean.T, variance.T, strict=False):  # durations have their events beside
            yield _of_numbers(name, m, v, p)


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
    concentration = by_column(family.concentration)
    points = i1e(concentration) / i0e(concentration) * np.exp(1j * by_column(family.direction) / unit)
    for name, column, direction in zip(family.columns, points.T, by_column(family.direction).T, strict=True):
        whole = complex(p @ column)
        length, apart = abs(whole), float(p @ np.abs(column - whole) ** 2)
        middle = float(np.angle(whole))
        differences = np.angle(np.exp(1j * (direction / unit - middle)))
        spread = np.sqrt(-2 * np.log(max(length, 1e-300)))
        share = apart / (1 - length**2) if length < 1 else 0.0
        home = np.array([middle * unit % TURN["degrees"] if family.unit == "degrees" else middle])
        yield ColumnProfile(name, (), share, home, direction[:, None], (differences / max(spread, 1e-8))[:, None])


def _moments(family: Family) -> tuple[Array, Array]:
    """Means and variances of the cells, (K, d) each; of a Student-t without a variance its scale.

    Raises
    ------
    ModelError
        The family has none.
    """
    p: dict[str, Any] = {name: by_column(v) for name, v in family.parameters.items() if isinstance(v, np.ndarray)}
    match family:
        case MultivariateNormal():
            return family.mean, np.diagonal(family.covariance, axis1=1, axis2=2)
        case StudentT():
            v = family.degrees_of_freedom[:, None]
            stretch = np.where(v > 2, v / np.where(v > 2, v - 2, 1.0), 1.0)
            return family.mean, np.diagonal(family.scale, axis1=1, axis2=2) * stretch
        case Normal():
            return p["mean"], p["variance"]
        case LogNormal():
            mean = np.exp(p["log_mean"] + p["log_variance"] / 2)
            return mean, np.expm1(p["log_variance"]) * mean**2
        case Gamma():
            return p["shape"] / p["rate"], p["shape"] / p["rate"] ** 2
        case Exponential() | CensoredExponential():
            if (p["rate"] == 0).any():  # a component without an event has no mean
                raise ModelError.argument(name="family", requirement="components with events", found=family.name)
            return 1 / p["rate"], 1 / p["rate"] ** 2
        case CensoredWeibull():
            first, second = (gamma_function(1 + n / p["shape"]) for n in (1, 2))
            return p["scale"] * first, p["scale"] ** 2 * (second - first**2)
        case InverseGaussian():
            return p["mean"], p["mean"] ** 3 / p["shape"]
        case Beta():
            a, b = p["alpha"], p["beta"]
            return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
        case Poisson():
            return p["rate"], p["rate"]
        case NegativeBinomial():
            return p["mean"], p["mean"] + p["mean"] ** 2 / p["size"]
        case ZeroInflatedPoisson():
            rate, z = p["rate"], p["zero_probability"]
            return (1 - z) * rate, (1 - z) * rate * (1 + z * rate)
        case TruncatedPoisson():
            rate = np.maximum(p["rate"], 1e-12)  # in the limit of 0 the count is 1
            mean = rate / -np.expm1(-rate)
            return mean, np.maximum(mean * (1 + rate - mean), 0.0)
        case Geometric():
            return family.first - 1 + 1 / p["probability"], (1 - p["probability"]) / p["probability"] ** 2
        case Binomial():
            heads = family.n_trials * p["probability"]
            return heads, heads * (1 - p["probability"])
        case ScipyDistribution():
            return family.cell_moments()
    raise ModelError.argument(name="model", requirement="a family whose cells have moments", found=family.name)
