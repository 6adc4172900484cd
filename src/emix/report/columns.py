"""A model's columns as a reader sees them: what kind each is, its cells, and each component's distribution of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Binomial,
    Categorical,
    CensoredExponential,
    CensoredWeibull,
    Columns,
    Family,
    Multinomial,
    VonMises,
)
from emix.families.columnwise import by_column
from emix.families.von_mises import TURN
from emix.inference.conditional import marginal
from emix.model import Mixture
from emix.report.profile import profiles

TINY = 1e-300
"""What a sum of weights is divided by at least."""
LARGEST = 700.0
"""The largest log-density that is drawn."""


class Kind(StrEnum):
    """What can be said and drawn of a column."""

    NUMBER = "number"
    COUNT = "count"
    SHARE = "share"
    ANGLE = "angle"
    DURATION = "duration"
    CATEGORY = "category"
    COMPOSITION = "composition"


@dataclass(frozen=True)
class Column:
    """One column, or several that are one thing: tosses and their heads, durations and their events.

    Attributes
    ----------
    name : str
        As people call it.
    kind : Kind
    positions : tuple of int
        Of the model's columns that it is read from.
    whole : Family or None
        Its family, with all the columns of that; None where no density is drawn.
    index : int
        Its place among the columns of that family.
    levels : tuple of str
        Of categories.
    probabilities : ndarray of shape (K, n_levels) or (K,) or None
        Of the levels; of a share its mean, (K,).
    unit : str
        Of angles: radians or degrees.
    """

    name: str
    kind: Kind
    positions: tuple[int, ...]
    whole: Family | None = None
    index: int = 0
    levels: tuple[str, ...] = ()
    probabilities: Array | None = None
    unit: str = ""

    @cached_property
    def family(self) -> Family | None:
        """Bound to this column alone, so that it has a density; None where it cannot be taken apart."""
        if self.whole is None or self.kind in (Kind.SHARE, Kind.DURATION) or len(self.whole.columns) == 1:
            return self.whole
        try:
            return marginal(Mixture(self.whole), self.index).family
        except ModelError:
            return None

    def values(self, x: Array) -> Array:
        """(n,) what is drawn of rows (n, d): numbers, shares, or level codes; NaN where missing."""
        first = x[:, self.positions[0]]
        if self.kind is Kind.SHARE and self.whole is None:  # one coin, many tosses
            cells = x[:, list(self.positions)]
            seen = ~np.isnan(cells)
            heads = np.where(seen, cells, 0.0).sum(axis=1)
            return np.where(seen.any(axis=1), heads / np.maximum(seen.sum(axis=1), 1), np.nan)
        if self.kind is Kind.SHARE:
            tosses = x[:, self.positions[1]]
            return np.where(tosses > 0, first / np.where(tosses > 0, tosses, 1.0), np.nan)
        if self.kind is Kind.ANGLE:  # in one turn
            return np.asarray(np.mod(first, TURN[self.unit]))
        return np.asarray(first)

    def density(self, at: Array) -> Array | None:
        """(K, G) density or mass of each component at these values; None where there is none to draw."""
        family = self.family
        if family is None or self.kind in (Kind.SHARE, Kind.CATEGORY, Kind.COMPOSITION):
            return None
        rows = at[:, None]
        if self.kind is Kind.DURATION:  # of events: the position of the time tells in which order the two are read
            event = np.ones(len(at))
            rows = np.stack([at, event] if self.positions[0] < self.positions[1] else [event, at], axis=1)
        log_density = family.log_prob(rows) + family.log_base_measure(rows)
        return np.exp(np.minimum(log_density, LARGEST))

    @property
    def is_numeric(self) -> bool:
        """Whether its cells lie on an axis."""
        return self.kind not in (Kind.CATEGORY, Kind.COMPOSITION)

    def of(self, family: Family) -> Column:
        """The same column of the same model with other parameters."""
        return next(one for one in _columns(family) if one.positions == self.positions)


def columns_of(model: Mixture) -> list[Column]:
    """The columns of a model that has parameters and is bound to data, in order."""
    return list(_columns(model.family))


def _columns(family: Family, offset: int = 0) -> Iterator[Column]:
    if isinstance(family, Columns):
        start = 0
        assert family.binding is not None  # of a model that a fit or `prepared` bound
        for part, group in zip(family.parts, family.column_groups(family.binding.schema), strict=True):
            yield from _columns(_bound_part(family, part.family, group), start)
            start = group.stop
        return
    names, here = family.columns, range(offset, offset + len(family.columns))
    match family:
        case Categorical():
            for j, (name, levels, table) in enumerate(zip(names, family.level_names, family.tables, strict=True)):
                words = tuple(str(level) for level in levels)
                yield Column(name, Kind.CATEGORY, (here[j],), levels=words, probabilities=np.asarray(table))
        case Bernoulli() if family.shared:
            word = "share of heads" if names[0].startswith("toss_") else f"share of 1 in {names[0]} ... {names[-1]}"
            yield Column(word, Kind.SHARE, tuple(here), probabilities=by_column(family.probability)[:, 0])
        case Bernoulli():
            for j, (name, ones) in enumerate(zip(names, by_column(family.probability).T, strict=True)):
                table = np.stack([1 - ones, ones], axis=1)
                yield Column(name, Kind.CATEGORY, (here[j],), levels=("0", "1"), probabilities=table)
        case Binomial() if isinstance(family.n_trials, str):
            share = by_column(family.probability)[:, 0]
            name = f"{names[0]} / {names[1]}"
            yield Column(name, Kind.SHARE, (here[0], here[1]), family, probabilities=share)
        case Multinomial():
            table = family.probabilities
            yield Column("shares of the columns", Kind.COMPOSITION, tuple(here), levels=names, probabilities=table)
        case CensoredExponential() | CensoredWeibull():
            event = names.index(family.event)
            yield Column(names[1 - event], Kind.DURATION, (here[1 - event], here[event]), family)
        case _:
            kind = Kind.COUNT if family.support.is_whole else Kind.NUMBER
            unit = ""
            if isinstance(family, VonMises):
                kind, unit = Kind.ANGLE, family.unit
            for j, name in enumerate(names):
                yield Column(name, kind, (here[j],), family, j, unit=unit)


def _bound_part(whole: Columns, family: Family, group: slice) -> Family:
    """A part of families side by side, bound to its own columns."""
    if family.binding is not None:
        return family
    binding = whole.binding
    assert binding is not None
    schema = replace(binding.schema, names=binding.schema.names[group], levels=binding.schema.levels[group])
    return family._bound(replace(binding, schema=schema, pivot=binding.pivot[group], scale=binding.scale[group]))


def separations(model: Mixture, columns: list[Column], x: Array, weighted_resp: Array) -> Array:
    """(c,) share of each column's variance that lies between the components, as in `Profile.apart`.

    Where the family has no such moments, from the rows: `weighted_resp` is (n, K), without noise.
    """
    known = {one.column: one.apart for one in profiles(model)}
    found = []
    for column in columns:
        if column.kind is not Kind.SHARE and column.name in known:
            found.append(known[column.name])
            continue
        if column.kind in (Kind.CATEGORY, Kind.COMPOSITION) and column.probabilities is not None:
            found.append(_apart_of_levels(column.probabilities, model))
            continue
        found.append(_apart_of_rows(column.values(x), weighted_resp))
    return np.array(found)


def _apart_of_levels(probability: Array, model: Mixture) -> float:
    p = model.latent.mixing_proportions[: len(probability)]
    p = p / p.sum()
    whole = p @ probability
    spread = float((whole * (1 - whole)).sum())
    return float(p @ ((probability - whole) ** 2).sum(axis=1)) / spread if spread > 0 else 0.0


def _apart_of_rows(values: Array, weighted_resp: Array) -> float:
    seen = ~np.isnan(values)
    v, w = values[seen], weighted_resp[seen]
    counts = w.sum(axis=0)
    if counts.sum() <= 0:
        return 0.0
    means = (w.T @ v) / np.maximum(counts, TINY)
    whole = float(counts @ means / counts.sum())
    total = float(w.sum(axis=1) @ (v - whole) ** 2 / counts.sum())
    return float(counts @ (means - whole) ** 2 / counts.sum()) / total if total > 0 else 0.0
