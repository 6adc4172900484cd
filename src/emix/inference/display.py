"""Rows and outlines of components for pictures: samples that a page can hold, and regions of two columns.

The outline of a component over two columns holds the share 1 - exp(-1/2) = 39 % of it, which an ellipse of one standard
deviation has of a normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Level, as_cells
from emix.data.source import InMemorySource
from emix.errors import DataError
from emix.families import Family, LogNormal, MultivariateNormal, Normal, StudentT
from emix.families.columnwise import by_column
from emix.fitting.settings import draw_seed
from emix.fitting.use import prepared, source_responsibilities
from emix.inference.densities import component_densities, drawn_rows, kind_of, part_of
from emix.model import Mixture
from emix.results import Fitted

SHARE = 1 - np.exp(-0.5)
"""Of a component within its outline."""
GRID = 160
"""Points per column where an outline has no formula."""


@dataclass(frozen=True)
class DisplayRows:
    """Rows to be shown, and what the model thinks of them.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        Cells; NaN is missing, a category is its level's code.
    names : tuple of str
        Of the columns.
    levels : tuple
        Of each column the categories; None for numbers.
    responsibilities : ndarray of shape (n, K)
        p(component given row).
    n_rows : int
        Rows of the data, of which `x` may be a sample.
    """

    x: Array
    names: tuple[str, ...]
    levels: tuple[tuple[Level, ...] | None, ...]
    responsibilities: Array
    n_rows: int

    @property
    def component(self) -> NDArray[np.intp]:
        """The component with the largest responsibility, (n,)."""
        return np.asarray(self.responsibilities.argmax(axis=1))

    @property
    def uncertainty(self) -> Array:
        """1 - largest responsibility as a share of the most that it can be, (n,): 0 is certain, 1 knows nothing."""
        K = self.responsibilities.shape[1]
        return np.asarray((1 - self.responsibilities.max(axis=1)) / (1 - 1 / K) if K > 1 else np.zeros(len(self.x)))

    @property
    def note(self) -> str:
        """That it is a sample, where it is one."""
        return f"{len(self.x):,} of {self.n_rows:,} rows, drawn at random" if len(self.x) < self.n_rows else ""


def display_rows(
    model: Fitted, data: Any, *, limit: int, random_state: Any = 0, sample_weight: Any = None
) -> DisplayRows:
    """Some rows for a picture, each as likely to be drawn as another.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data, sample_weight
        As in `fit`. Where weights differ, rows are drawn as often as their weights say.
    limit : int
        Rows at most.
    random_state : int, numpy Generator or RandomState, default=0
        Seed of the draw.

    Raises
    ------
    DataError
        The data cannot be.
    """
    model, source = prepared(model, data, sample_weight=sample_weight)
    counts = source.weight > 0
    if not counts.all():
        source = source.take(np.flatnonzero(counts))
    if source.n_rows == 0:
        raise DataError.no_rows("the data that count")
    n_rows, seed = source.n_rows, draw_seed(random_state)
    if np.ptp(source.weight) > 0:
        n_rows = max(1, round(float(source.weight.sum())))
        rng = np.random.default_rng(seed)
        chosen = rng.choice(source.n_rows, min(limit, n_rows), p=source.weight / source.weight.sum())
        some = source.take(np.sort(chosen), is_subset=False)
    else:
        some = drawn_rows(source, limit, seed)
    return _rows_of(model, some, n_rows)


def _rows_of(model: Mixture, some: InMemorySource, n_rows: int) -> DisplayRows:
    schema = some.schema
    return DisplayRows(as_cells(some.x), schema.names, schema.levels, source_responsibilities(model, some), n_rows)


# -- outlines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outline:
    """A component over two columns: a closed curve, or the level of a density on a grid that encloses as much.

    Attributes
    ----------
    component : int
        Which it is.
    curve : ndarray of shape (m, 2) or None
        Points of the curve, where it has a formula.
    x, y : ndarray of shape (m,)
        The grid, else.
    density : ndarray of shape (m, m)
        At (x, y), the rows for y; its largest value is 1.
    level : float
        Of the density around the share of the component.
    """

    component: int
    curve: Array | None
    x: Array
    y: Array
    density: Array
    level: float = 0.0


def outlines(model: Mixture, i: int, j: int, span: tuple[tuple[float, float], tuple[float, float]]) -> list[Outline]:
    """Outlines of all components over the columns i and j, noise left out; none where one of them is not continuous.

    Parameters
    ----------
    model : Mixture
        With parameters, bound to the columns.
    i, j : int
        Positions of two columns.
    span : pair of (float, float)
        What each axis shows, where a grid is needed.
    """
    (one, own_i), (other, own_j) = part_of(model.family, i), part_of(model.family, j)
    if kind_of(one) != "continuous" or kind_of(other) != "continuous":
        return []
    forms = [_normal_form(one, own_i), _normal_form(other, own_j)]
    first, second = forms
    if first is None or second is None:
        return _on_grid((one, own_i), (other, own_j), span)
    K, turn = len(first.centre), np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    found = []
    for k in range(K):
        C = np.diag([first.spread[k] ** 2, second.spread[k] ** 2])
        if one is other:
            C[0, 1] = C[1, 0] = _covariance_of(one, k, own_i, own_j)
        points = np.linalg.cholesky(C) @ circle + np.array([[first.centre[k]], [second.centre[k]]])
        curve = np.stack([np.exp(p) if f.is_log else p for f, p in zip((first, second), points, strict=True)], axis=1)
        found.append(Outline(k, curve, np.zeros(0), np.zeros(0), np.zeros((0, 0))))
    return found


@dataclass(frozen=True)
class _NormalForm:
    """Where and how wide a column's components are, on a scale on which they are normal."""

    centre: Array
    spread: Array
    is_log: bool = False


def _normal_form(family: Family, j: int) -> _NormalForm | None:
    if isinstance(family, MultivariateNormal):
        return _NormalForm(family.mean[:, j], np.sqrt(family.covariance[:, j, j]))
    if isinstance(family, StudentT):
        return _NormalForm(family.mean[:, j], np.sqrt(family.scale[:, j, j]))
    if isinstance(family, Normal):
        return _NormalForm(by_column(family.mean)[:, j], np.sqrt(by_column(family.variance)[:, j]))
    if isinstance(family, LogNormal):
        variance = by_column(family.log_variance)
        return _NormalForm(by_column(family.log_mean)[:, j], np.sqrt(variance[:, j]), is_log=True)
    return None


def _covariance_of(family: Family, k: int, i: int, j: int) -> float:
    if isinstance(family, MultivariateNormal):
        return float(family.covariance[k, i, j])
    return float(family.scale[k, i, j]) if isinstance(family, StudentT) else 0.0


def _on_grid(
    first: tuple[Family, int], second: tuple[Family, int], span: tuple[tuple[float, float], tuple[float, float]]
) -> list[Outline]:
    """Of columns that are independent given the component: the level of the product of their densities."""
    axes: list[Array] = []
    densities: list[Array] = []
    for (family, own), (low, high) in zip((first, second), span, strict=True):
        margin, support = 0.2 * (high - low), family.support
        least, most = max(low - margin, support.lower), min(high + margin, support.upper)
        step = (most - least) / GRID
        axes.append(np.asarray(least + step * (np.arange(GRID) + 0.5)))
        densities.append(component_densities(family, own, axes[-1]))
    found = []
    for k, (over_x, over_y) in enumerate(zip(*densities, strict=True)):
        product = over_y[:, None] * over_x
        total = product.sum()
        if not 0 < total < np.inf:  # all of the component lies beyond the axes
            continue
        falling = np.sort(product.ravel())[::-1]
        level = float(falling[np.searchsorted(np.cumsum(falling), SHARE * total)])
        top = float(falling[0])
        found.append(Outline(k, None, axes[0], axes[1], product / top, level / top))
    return found


# -- model choice ------------------------------------------------------------------------------------------------------

FAR, SHOWN = 10.0, 4.0
"""Multiples of the median distance from the best value: from which the worst would press the better half of the values
together, and up to which values are then shown."""


def near_best(values: Array, *, is_smaller: bool) -> tuple[float, float] | None:
    """The part of an axis of criteria on which the better ones can be told apart; None where all fit on it."""
    best = float(values.min() if is_smaller else values.max())
    away = np.abs(values - best)
    middle = float(np.median(away))
    if middle == 0 or away.max() <= FAR * middle:
        return None
    margin = 0.05 * SHOWN * middle
    low, high = -margin, SHOWN * middle
    return (best + low, best + high) if is_smaller else (best - high, best - low)
