"""The density of one column, beside the rows that it is to describe: what a picture of it shows, as numbers.

Any family: the marginal of the column, where columns are independent given the component or jointly normal. Counts out
of a total of their own (Binomial with a column of tosses, Multinomial): the mean over the rows of the binomial mass
given the row's total. Censored durations: the density of the time of the event, beside its Kaplan-Meier estimate.
Source: Kaplan & Meier (1958), Journal of the American Statistical Association 53, 457-481; Freedman & Diaconis (1981),
Zeitschrift fuer Wahrscheinlichkeitstheorie 57, 453-476 (the width of bins).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emix.block import Array, as_cells
from emix.data.source import InMemorySource
from emix.errors import DataError, ModelError
from emix.families import Bernoulli, Binomial, Categorical, Columns, Family, Multinomial, VonMises
from emix.families.censored import CensoredFamily
from emix.families.columnwise import by_column
from emix.families.von_mises import TURN
from emix.fitting.use import prepared, source_responsibilities
from emix.inference.conditional import marginal
from emix.model import Mixture
from emix.results import Fitted

Kind = Literal["continuous", "counts", "categories"]

POINTS = 512
"""Of the axis, evenly spaced; to which come quantiles of each component, so that a narrow one is seen too."""
QUANTILES = 129
SAMPLED = 20_000
"""Rows at most from which these quantiles are taken."""
MOST_BARS = 60
"""Counts further apart than this are put together in bins."""
MOST_LEVELS = 20
"""Categories that are shown by name; the others are shown together."""
TAIL, STRETCH = 0.005, 1.0
"""Rows in the outermost half per cent on either side are not shown if they lie further out than all others are wide: a
single one would leave no room for these."""


@dataclass(frozen=True)
class ColumnDensity:
    """One column under each component, and in the rows.

    Attributes
    ----------
    column : str
        Its name.
    kind : {'continuous', 'counts', 'categories'}
        Whether `components` are densities, per unit of the column, or probabilities.
    levels : tuple of str
        Names of the categories; empty for numbers.
    points : ndarray of shape (m,)
        Where the densities are taken: values, whole numbers, or positions of categories.
    components : ndarray of shape (K, m)
        Mixing proportion x density; with noise its own is the last. Their sum is the density of the mixture.
    edges : ndarray of shape (b + 1,)
        Of the histogram's bins.
    heights : ndarray of shape (b,)
        Share of the rows (of their weight) in each bin per unit of the column.
    notes : tuple of str
        What is not shown, and why.
    places : ndarray of int of shape (levels,)
        Of each category its position on the axis, where those that are rare share the last; empty for numbers.
    turn : float
        Of angles the full turn, which begins at the first point; 0 for all others.
    """

    column: str
    kind: Kind
    levels: tuple[str, ...]
    points: Array
    components: Array
    edges: Array
    heights: Array
    notes: tuple[str, ...] = ()
    places: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    turn: float = 0.0

    def on_axis(self, cells: Array) -> Array:
        """Where cells of the column (n,) lie on the axis; NaN is missing."""
        if self.turn:
            return np.asarray((cells - self.points[0]) % self.turn + self.points[0])
        if self.kind != "categories":
            return cells
        seen = ~np.isnan(cells)
        return np.where(seen, self.places[np.where(seen, cells, 0).astype(np.intp)], np.nan)

    @property
    def mixture(self) -> Array:
        """Density of the mixture at the points, (m,)."""
        return np.asarray(self.components.sum(axis=0))


def column_density(
    model: Fitted, data: Any, column: str | int | None = None, *, sample_weight: Any = None
) -> ColumnDensity:
    """Densities and histogram of one column.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data, sample_weight
        As in `fit`.
    column : str or int, optional
        By name or position; may be left out where there is one.

    Raises
    ------
    ModelError
        The model has several columns and none is named, there is no such column, or it has no distribution.
    DataError
        The data cannot be, or the column has no observed cell.

    Examples
    --------
    >>> from emix import Mixture, Poisson
    >>> from emix.inference.densities import column_density
    >>> found = column_density(Mixture(Poisson([1.0, 4.0])), [0, 1, 1, 5])
    >>> found.kind, found.heights.round(2)
    ('counts', array([0.25, 0.5 , 0.  , 0.  , 0.  , 0.25]))
    """
    model, source = prepared(model, data, sample_weight=sample_weight)
    return density_of(model, source, column)


def density_of(model: Mixture, source: InMemorySource, column: str | int | None = None) -> ColumnDensity:
    """The same of rows that were read."""
    j = column_position(model, column)
    name, (family, own) = model.family.columns[j], part_of(model.family, j)
    x, weight, notes = _cells(source, family, j, own)
    if not weight.sum() > 0:
        raise DataError.all_missing(column=name)
    kind = kind_of(family)
    totals = _totals(family, source, j, own)
    if kind == "categories":
        points = np.arange(_n_levels(family, own), dtype=np.float64)
        levels = family.level_names[own] if isinstance(family, Categorical) and family.level_names else ()
        components = _joint(model, j, component_densities(family, own, points), points)
        heights = np.asarray(np.bincount(x.astype(np.intp), weight, len(points)) / weight.sum(), dtype=np.float64)
        names = levels or tuple(f"{point:g}" for point in points)
        names, places = _frequent(names, heights)
        components = np.stack([np.bincount(places, one, len(names)) for one in components])
        heights = np.asarray(np.bincount(places, heights, len(names)), dtype=np.float64)
        edges = np.linspace(-0.5, len(names) - 0.5, len(names) + 1)
        return ColumnDensity(name, kind, names, edges[:-1] + 0.5, components, edges, heights, tuple(notes), places)
    if not np.isfinite(x).any():
        found = "censored ones alone"
        raise ModelError.argument(name="data", requirement="durations that ended in an event", found=found)
    low, high, n_beyond = _span(x, weight)
    if n_beyond:
        notes.append("1 row lies beyond the axis" if n_beyond == 1 else f"{n_beyond:,} rows lie beyond the axis")
    near = _quantiles(model, source, j)
    edges = _edges(x, near, low, high, kind)
    inside = (x >= edges[0]) & (x <= edges[-1])
    heights = np.histogram(x[inside], edges, weights=weight[inside])[0] / np.diff(edges) / weight.sum()
    points = _points(near, family, edges, kind)
    components = _joint(model, j, component_densities(family, own, points, totals), points)
    turn = TURN[family.unit] if isinstance(family, VonMises) else 0.0
    return ColumnDensity(name, kind, (), points, components, edges, heights, tuple(notes), turn=turn)


def column_position(model: Mixture, column: str | int | None) -> int:
    """Where a column stands.

    Raises
    ------
    ModelError
        There is none of that name or number, or none is named among several.
    """
    names = model.family.columns
    if column is None:
        own = [j for j in range(len(names)) if not _is_beside(*part_of(model.family, j))]
        if len(own) > 1:
            raise ModelError.argument(name="column", requirement=f"one of {', '.join(names)}", found=None)
        return own[0]
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, int | np.integer) and -len(names) <= column < len(names):
        return int(column) % len(names)
    raise ModelError.choice(what="column", found=column, available=names)


def shown_columns(model: Mixture) -> list[int]:
    """Positions of the columns that have a distribution: all but those that are only read beside another."""
    return [j for j in range(len(model.family.columns)) if not _is_beside(*part_of(model.family, j))]


def part_of(family: Family, j: int) -> tuple[Family, int]:
    """The family that reads a column, and where among its own columns that stands."""
    if isinstance(family, Columns) and family.binding is not None:
        for part, group in zip(family.parts, family.column_groups(family.binding.schema), strict=True):
            if group.start <= j < group.stop:
                return part.family, j - group.start
    return family, j


def kind_of(family: Family) -> Kind:
    """What the cells of a family of one kind are."""
    if family.support.is_categorical or isinstance(family, Bernoulli):
        return "categories"
    return "counts" if family.support.is_whole else "continuous"


def component_densities(family: Family, j: int, points: Array, totals: tuple[Array, Array] | None = None) -> Array:
    """Density, or probability, of a column of a family at some points (m,) under each component: (K, m).

    Parameters
    ----------
    family : Family
        With parameters, bound.
    j : int
        Position of the column among the family's own.
    points : ndarray of shape (m,)
        Values within the support; codes of levels for categories.
    totals : pair of ndarray, optional
        The different totals that counts are out of, and the share of the rows that has each.

    Raises
    ------
    ModelError
        The column has no distribution, or the family's columns cannot be taken apart.
    """
    if _is_beside(family, j):
        raise ModelError.argument(
            name="column", requirement="a column that the model describes", found=family.columns[j]
        )
    if isinstance(family, Categorical):
        return family.tables[j][:, points.astype(np.intp)]
    if isinstance(family, Bernoulli):
        p = by_column(family.probability)[:, 0 if family.shared else j, None]
        return np.where(points == 1, p, 1 - p)
    if isinstance(family, Multinomial):
        return _out_of(totals, family.probabilities[:, j], points)
    if isinstance(family, Binomial) and isinstance(family.n_trials, str):
        return _out_of(totals, family.probability, points)
    cells = np.full((len(points), len(family.columns)), 1.0 if isinstance(family, CensoredFamily) else np.nan)
    cells[:, j] = points  # the time of an event; else a missing cell leaves the density of the others
    if len(family.columns) > 1 and not family.support.takes_missing:
        family, cells = marginal(Mixture(family), j).family, points[:, None]
    model, source = prepared(Mixture(family), cells)
    log_prob = [model.log_prob(c.cells) + model.family.log_base_measure(c.cells) for c in source.chunks]
    return np.asarray(np.exp(np.concatenate(log_prob, axis=1)))


def _out_of(totals: tuple[Array, Array] | None, p: Array, points: Array) -> Array:
    """Mean over totals of the binomial mass, (K, m)."""
    if totals is None:
        raise ModelError.argument(name="totals", requirement="the totals that the counts are out of", found=None)
    numbers, shares = totals
    mass = stats.binom.pmf(points, numbers[:, None, None], p[:, None])
    return np.asarray(np.tensordot(shares, mass, axes=1))


def _is_beside(family: Family, j: int) -> bool:
    """Whether a column is only read beside another: a number of tosses, or whether a duration ended in an event."""
    if isinstance(family, CensoredFamily):
        return j == family.columns.index(family.event) if family.event in family.columns else j == 1
    return family.support.bound_column is not None and j == 1


def _joint(model: Mixture, j: int, densities: Array, points: Array) -> Array:
    """Mixing proportions times densities; with noise that of the column alone, uniform over its side of the box."""
    binding = model.family.binding
    if model.has_noise and binding is not None:
        log_scale = np.log(binding.scale)
        width = float(np.exp(log_scale[j] + (np.log(model.noise) - log_scale.sum()) / len(log_scale)))
        inside = np.abs(points - binding.pivot[j]) <= width / 2
        densities = np.concatenate([densities, inside[None] / width])
    return np.asarray(model.latent.mixing_proportions[:, None] * densities)


# -- the rows ----------------------------------------------------------------------------------------------------------


def _cells(source: InMemorySource, family: Family, j: int, own: int) -> tuple[Array, Array, list[str]]:
    """Observed cells of a column and their weights, and notes on the others."""
    x, weight = as_cells(source.x[:, j]), source.weight
    if isinstance(family, CensoredFamily):
        event = as_cells(source.x[:, j + 1 if own == 0 else j - 1])
        seen = ~np.isnan(x) & ~np.isnan(event) & (weight > 0)
        at, mass, rest = kaplan_meier(x[seen], event[seen], weight[seen])
        notes = ["bars: the Kaplan-Meier estimate"]
        if rest > 0.0005:
            notes.append(f"{100 * rest:.1f} % last longer than any row was seen")
        # what is left over lies beyond the last event: its weight counts, at no place within the axis
        return np.append(at, np.inf)[: len(at) + (rest > 0)], np.append(mass, rest)[: len(at) + (rest > 0)], notes
    if isinstance(family, VonMises):
        turn = TURN[family.unit]
        x = (x - _first_angle(family)) % turn + _first_angle(family)
    seen = ~np.isnan(x)
    n_missing = int((~seen & (weight > 0)).sum())
    seen &= weight > 0
    return x[seen], weight[seen], [f"{n_missing:,} row{'s' * (n_missing > 1)} without a value"] if n_missing else []


def kaplan_meier(time: Array, event: Array, weight: Array) -> tuple[Array, Array, float]:
    """Probability mass at the time of each event, and what is left beyond the last row.

    Parameters
    ----------
    time, event, weight : ndarray of shape (n,)
        Durations, 1 for an event and 0 for a censored row, row weights.

    Returns
    -------
    at, mass : ndarray of shape (m,)
        Times of events, increasing, and the fall of the estimated survival there.
    rest : float
        Survival after the last event.
    """
    at, inverse = np.unique(time, return_inverse=True)
    events = np.bincount(inverse.ravel(), weight * event, len(at))
    at_risk = np.cumsum(np.bincount(inverse.ravel(), weight, len(at))[::-1])[::-1]
    survival = np.concatenate([[1.0], np.cumprod(1 - events / at_risk)])
    mass = -np.diff(survival)
    is_event = events > 0
    return at[is_event], mass[is_event], float(max(survival[-1], 0.0))


def _totals(family: Family, source: InMemorySource, j: int, own: int) -> tuple[Array, Array] | None:
    """Different totals that the counts of a column are out of, and the share of the rows that has each."""
    if isinstance(family, Multinomial):
        d = len(family.columns)
        total = as_cells(source.x[:, j - own : j - own + d]).sum(axis=1)
    elif isinstance(family, Binomial) and isinstance(family.n_trials, str):
        total = as_cells(source.x[:, j - own + 1])
    else:
        return None
    seen = ~np.isnan(total) & (source.weight > 0)
    numbers, inverse = np.unique(total[seen], return_inverse=True)
    shares = np.bincount(inverse.ravel(), source.weight[seen])
    return numbers, shares / shares.sum()


def _n_levels(family: Family, own: int) -> int:
    return family.tables[own].shape[1] if isinstance(family, Categorical) else 2


def _frequent(names: tuple[str, ...], heights: Array) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Names on the axis and the place of each category; where they are many, all but the most frequent share one."""
    if len(names) <= MOST_LEVELS:
        return names, np.arange(len(names))
    kept = np.sort(np.argsort(-heights, kind="stable")[: MOST_LEVELS - 1])
    places = np.full(len(names), len(kept))
    places[kept] = np.arange(len(kept))
    return (*(names[i] for i in kept), f"{len(names) - len(kept)} others"), places


def weighted_quantiles(x: Array, weight: Array, probabilities: Array) -> Array:
    """Values below which these shares of the weight lie: the inverse of the weighted distribution function."""
    order = np.argsort(x, kind="stable")
    cumulative = np.cumsum(weight[order])
    index = np.searchsorted(cumulative, probabilities * cumulative[-1], side="left")
    return np.asarray(x[order][np.minimum(index, len(x) - 1)])


def _span(x: Array, weight: Array) -> tuple[float, float, int]:
    """What the axis should show, and how many rows lie beyond."""
    x, weight = x[np.isfinite(x)], weight[np.isfinite(x)]
    low, high = (float(q) for q in weighted_quantiles(x, weight, np.array([TAIL, 1 - TAIL])))
    room = STRETCH * (high - low)
    least, most = float(x.min()), float(x.max())
    if room > 0:  # to the outermost of those that are near enough
        least, most = float(x[x >= low - room].min()), float(x[x <= high + room].max())
    low, high = least, most
    return low, high, int(((x < low) | (x > high)).sum())


def _edges(x: Array, near: list[tuple[float, Array]], low: float, high: float, kind: Kind) -> Array:
    """Edges of bins; of whole numbers they lie between these.

    Their width is that of Freedman and Diaconis for the mean spread within the components: that of all rows together
    would be far too wide where components lie apart.
    """
    if kind == "counts" and high - low < MOST_BARS:
        return np.arange(low, high + 2) - 0.5
    span = high - low if high > low else max(abs(low), 1.0) * 1e-3
    quarter = QUANTILES // 4
    spread = sum(share * float(quantiles[3 * quarter] - quantiles[quarter]) for share, quantiles in near)
    n = max(int(((x >= low) & (x <= high)).sum()), 1)
    width = 2 * spread / np.cbrt(n) if spread > 0 else span / 30
    n_bins = int(np.clip(np.ceil(span / width), 10, 80))
    if not (x[np.isfinite(x)] == np.round(x[np.isfinite(x)])).all():
        return np.linspace(low, low + span, n_bins + 1)
    step = max(1.0, np.round(span / n_bins))
    return np.asarray(low - 0.5 + step * np.arange(np.ceil((span + 1) / step) + 1))


def _points(near: list[tuple[float, Array]], family: Family, edges: Array, kind: Kind) -> Array:
    """Where to take densities: evenly over the axis, and close where a component has its rows."""
    low, high = float(edges[0]), float(edges[-1])
    quantiles = np.concatenate([np.zeros(0), *(one for _, one in near)])
    quantiles = quantiles[(quantiles > low) & (quantiles < high)]
    if kind == "counts":
        low, high = np.ceil(low), np.floor(high)
        if high - low < POINTS:
            return np.arange(low, high + 1)
        return np.unique(np.round(np.concatenate([np.linspace(low, high, POINTS), quantiles])))
    if isinstance(family, VonMises):  # a circle has no narrow places worth more points than its turn has
        start = _first_angle(family)
        return np.linspace(start, start + TURN[family.unit], POINTS)
    margin, support = 0.04 * (high - low), family.support
    inside = 1e-4 * (high - low)  # a density may have no bound where the support ends
    least = max(low - margin, support.lower + inside) if np.isfinite(support.lower) else low - margin
    most = min(high + margin, support.upper - inside) if np.isfinite(support.upper) else high + margin
    quantiles = quantiles[(quantiles >= least) & (quantiles <= most)]
    return np.unique(np.concatenate([np.linspace(least, most, POINTS), quantiles]))


def _quantiles(model: Mixture, source: InMemorySource, j: int) -> list[tuple[float, Array]]:
    """Share of the rows, and quantiles of a column, of each component: by the responsibilities of some rows."""
    some = drawn_rows(source, SAMPLED, 0)
    resp, x = source_responsibilities(model, some), as_cells(some.x[:, j])
    seen = ~np.isnan(x) & (some.weight > 0)
    weighted = resp[seen] * some.weight[seen, None]
    total = weighted.sum()
    levels = np.linspace(0, 1, QUANTILES)
    return [(float(w.sum() / total), weighted_quantiles(x[seen], w, levels)) for w in weighted.T if w.sum() > 0]


def _first_angle(family: VonMises) -> float:
    """Where the axis of a circle begins."""
    return 0.0 if family.unit == "degrees" else -np.pi


def drawn_rows(source: InMemorySource, limit: int, random_state: int) -> InMemorySource:
    """At most so many rows, in their order, each as likely as another; all of them where there are no more."""
    if source.n_rows <= limit:
        return source
    rng = np.random.default_rng(random_state)
    return source.take(np.sort(rng.choice(source.n_rows, limit, replace=False)))
