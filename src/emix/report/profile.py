"""How the components differ from the whole, column by column, the columns that separate them most first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.block import Array
from emix.errors import ModelError
from emix.families import Bernoulli, Categorical, Columns, Family, MultivariateNormal
from emix.families.columnwise import by_column
from emix.model import Mixture
from emix.report.text import component_title, number


@dataclass(frozen=True)
class Profile:
    """One column: how far it sets the components apart, and what it is like in the whole and in each."""

    column: str
    apart: float
    """Share of the column's variance that lies between components (for categories Goodman and Kruskal's tau)."""
    whole: str
    components: tuple[str, ...]


def profiles(model: Mixture) -> list[Profile]:
    """Of all columns whose families have moments, the most telling first."""
    K = model.latent_size - model.has_noise
    p = model.latent.mixing_proportions[:K]
    found = [one for family in _families(model.family) for one in _of_family(family, p / p.sum())]
    return sorted(found, key=lambda one: -one.apart)


def _families(family: Family) -> Iterator[Family]:
    if isinstance(family, Columns):
        yield from (part.family for part in family.parts)
    else:
        yield family


def _of_family(family: Family, p: Array) -> Iterator[Profile]:
    if isinstance(family, Categorical):
        for name, levels, probability in zip(family.columns, family.levels, family.tables, strict=True):
            yield _of_levels(name, levels, probability, p)
    elif isinstance(family, Bernoulli) and not family.shared:
        for name, ones in zip(family.columns, by_column(family.probability).T, strict=True):
            yield _of_levels(name, ("1", "0"), np.stack([ones, 1 - ones], axis=1), p)
    else:
        try:
            mean, variance = _moments(family)
        except ModelError:  # no such moments
            return
        for name, m, v in zip(family.columns, mean.T, variance.T, strict=True):
            whole = float(p @ m)
            between, within = float(p @ (m - whole) ** 2), float(p @ v)
            apart = between / (between + within) if np.isfinite(within) else 0.0
            yield Profile(name, apart, number(whole), tuple(number(float(one)) for one in m))


def _moments(family: Family) -> tuple[Array, Array]:
    """Means and variances of the cells, (K, d) each."""
    if isinstance(family, MultivariateNormal):
        return family.mean, np.diagonal(family.covariance, axis1=1, axis2=2)
    from emix.inference.columns import column_moments  # SciPy's distributions: half a second that others need not wait

    mean, variance = column_moments(family)
    return mean, variance


def _of_levels(name: str, levels: tuple[str, ...], probability: Array, p: Array) -> Profile:
    """By the level that each component has most in excess of the whole."""
    whole = p @ probability
    spread = float((whole * (1 - whole)).sum())
    apart = float(p @ ((probability - whole) ** 2).sum(axis=1)) / spread if spread > 0 else 0.0
    top = (probability - whole).argmax(axis=1)
    most = int(whole.argmax())
    cells = tuple(f"{levels[level]} {100 * row[level]:.0f}%" for row, level in zip(probability, top, strict=True))
    return Profile(name, apart, f"{levels[most]} {100 * whole[most]:.0f}%", cells)


def print_profile(console: Console, model: Mixture, limit: int = 30) -> None:
    """The profile as a table."""
    found = profiles(model)
    if len(found) < 2:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for title in ("column", "apart", "whole"):
        table.add_column(title, justify="left" if title == "column" else "right", no_wrap=True)
    for k in range(len(found[0].components)):
        table.add_column(component_title(model, k), justify="right", no_wrap=True)
    for one in found[:limit]:
        table.add_row(*(Text(cell) for cell in (one.column, f"{one.apart:.2f}", one.whole, *one.components)))
    console.print(table)
    console.print("apart: share of a column's variance that lies between the components, 0 to 1")
    if len(found) > limit:
        console.print(f"... and {len(found) - limit} more columns")
