"""What the step-through draws: rows on an axis, a plane or a projection, and components as curves or outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2
from scipy.stats import f as f_distribution

from emix.block import Array
from emix.families import Columns, Family, MultivariateNormal, StudentT
from emix.model import Mixture
from emix.report.columns import Column, Kind
from emix.report.html.colours import short
from emix.report.words import MIDDLE, weighted_quantiles

BINS = (12, 48)
"""Fewest and most bars of a histogram."""
CURVE_POINTS = 120
COUNTED = 60
"""Largest range of counts that have a bar each."""
JITTER = 0.25
"""Counts are moved by up to so much, so that equal rows do not hide each other."""
BARS = 3
"""Categorical columns, at most, that a scene shows beside the rows; and their levels:"""
LEVELS = 12
TAIL = 0.005
"""Share of the rows on either side that an axis may leave out, where they lie far out."""


@dataclass(frozen=True)
class Axis:
    """A column as an axis: what is drawn of it, and where its bars are."""

    column: Column
    low: float
    high: float
    edges: Array
    n_beyond: int
    """Rows beyond the ends of the axis, which are not drawn."""

    @property
    def curve_at(self) -> Array:
        """Where curves are drawn."""
        if self.column.kind is Kind.COUNT:
            step = max(1, int((self.high - self.low) // CURVE_POINTS))
            return np.arange(np.ceil(self.low), self.high + 0.5, step)
        margin = 1e-6 * (self.high - self.low)
        return np.linspace(self.low + margin, self.high - margin, CURVE_POINTS)

    @property
    def width(self) -> float:
        """Of a bar; of a count 1 where each has a bar."""
        return float(self.edges[1] - self.edges[0])

    def curves(self, family: Family, shares: Array, total: float) -> Array | None:
        """(K, G) expected rows per bar, for the parameters of `family`; None where there is no density."""
        density = self.column.of(family).density(self.curve_at)
        return None if density is None else shares[: len(density), None] * density * total * self.width


def axis(column: Column, values: Array, weight: Array) -> Axis:
    """An axis for these cells; a few that lie far out do not stretch it."""
    seen = ~np.isnan(values)
    v, w = values[seen], weight[seen]
    low, high = float(v.min()), float(v.max())
    inner = weighted_quantiles(v, w, (TAIL, 0.25, 0.75, 1 - TAIL))
    reach = 3 * (inner[2] - inner[1])
    if reach > 0:
        low, high = max(low, min(inner[0], inner[1] - reach)), min(high, max(inner[3], inner[2] + reach))
    if column.kind is Kind.COUNT:
        low, high = np.floor(low), np.ceil(high)
        step = 1.0 if high - low <= COUNTED else np.ceil((high - low + 1) / BINS[1])
        edges = np.arange(low - 0.5, high + 0.5 + step, step)
    else:
        if low == high:
            low, high = low - 0.5, high + 0.5
        n = int(np.clip(1.5 * np.sqrt(seen.sum()), *BINS))
        edges = np.linspace(low, high, n + 1)
    beyond = (v < edges[0]) | (v > edges[-1])
    return Axis(column, float(edges[0]), float(edges[-1]), edges, int(beyond.sum()))


# -- outlines ----------------------------------------------------------------------------------------------------------


def outlines(
    family: Family, pair: tuple[Column, Column], values: tuple[Array, Array], weighted_resp: Array
) -> list[tuple[Array, Array]]:
    """Centre (2,) and matrix (2, 2) of each component: the unit circle, moved by them, holds most of its rows.

    Of Gaussian and Student-t columns from the parameters, of others the mean and spread of the rows, each by its
    responsibility.
    """
    own = _moments(family, pair)
    radius = float(np.sqrt(chi2.ppf(MIDDLE, 2)))
    if own is not None:
        mean, matrix, freedom = own
        radii = [radius if v is None else float(np.sqrt(2 * f_distribution.ppf(MIDDLE, 2, v))) for v in freedom]
        return [(m, r * _root(C)) for m, C, r in zip(mean, matrix, radii, strict=True)]
    seen = ~(np.isnan(values[0]) | np.isnan(values[1]))
    points = np.stack([values[0][seen], values[1][seen]], axis=1)
    found = []
    for w in weighted_resp[seen].T:
        total = max(float(w.sum()), 1e-300)
        m = w @ points / total
        C = ((points - m) * w[:, None]).T @ (points - m) / total
        found.append((m, radius * _root(C)))
    return found


def _moments(family: Family, pair: tuple[Column, Column]) -> tuple[Array, Array, list[Any]] | None:
    """Means, matrices and degrees of freedom, where both columns belong to one Gaussian or Student-t."""
    offset = 0
    if isinstance(family, Columns):
        assert family.binding is not None
        groups = family.column_groups(family.binding.schema)
        for part, group in zip(family.parts, groups, strict=True):
            if all(group.start <= column.positions[0] < group.stop for column in pair):
                family, offset = part.family, group.start
                break
    if not isinstance(family, MultivariateNormal | StudentT):
        return None
    keep = [column.positions[0] - offset for column in pair]
    square = np.ix_(range(len(family.mean)), keep, keep)
    if isinstance(family, StudentT):
        return family.mean[:, keep], family.scale[square], list(family.degrees_of_freedom)
    return family.mean[:, keep], family.covariance[square], [None] * len(family.mean)


def _root(C: Array) -> Array:
    """A square root of a covariance (2, 2), also of one without spread in some direction."""
    value, vector = np.linalg.eigh(C)
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))


# -- scenes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What is drawn of the rows (n,) and, at each step, of the components.

    Attributes
    ----------
    kind : {'plane', 'axis', 'projection'}
    pair : tuple of Column
        The axes of a plane.
    axis : Axis or None
    points : ndarray of shape (n, 2)
        Where rows lie; NaN for a row that cannot be drawn.
    bars : list of Column
        Categorical columns whose probabilities are drawn beside the rows.
    note : str
        What to know of the picture.
    """

    kind: str
    points: Array
    pair: tuple[Column, Column] | None = None
    axis: Axis | None = None
    bars: tuple[Column, ...] = ()
    note: str = ""

    @property
    def labels(self) -> tuple[str, str]:
        """Of the two axes."""
        if self.pair is not None:
            return self.pair[0].name, self.pair[1].name
        if self.axis is not None:
            return self.axis.column.name, "rows"
        return "direction 1 of the projection", "direction 2 of the projection"

    def of(self, model: Mixture, weighted_resp: Array) -> dict[str, Any]:
        """The components at one step, as numbers for the page; `weighted_resp` is (n, K)."""
        found: dict[str, Any] = {}
        K = model.latent_size - model.has_noise
        if self.pair is not None:
            values = (self.points[:, 0], self.points[:, 1])
            shapes = outlines(model.family, self.pair, values, weighted_resp[:, :K])
            found["outlines"] = [short(np.concatenate([m, A.ravel()])) for m, A in shapes]
        elif self.axis is not None:
            curves = self.axis.curves(model.family, model.latent.mixing_proportions, float(weighted_resp.sum()))
            if curves is not None:
                found["curves"] = [short(one, 4) for one in curves]
            elif self.axis.column.kind is Kind.SHARE:
                probabilities = self.axis.column.of(model.family).probabilities
                found["marks"] = [] if probabilities is None else short(probabilities)
        else:
            total = np.maximum(weighted_resp.sum(axis=0), 1e-300)
            centres = (weighted_resp.T @ np.nan_to_num(self.points)) / total[:, None]
            found["centres"] = [short(one) for one in centres[:K]]
        if self.bars:
            tables = [column.of(model.family).probabilities for column in self.bars]
            found["bars"] = [[short(row[:LEVELS], 3) for row in table] for table in tables if table is not None]
        return found


def make_scene(
    model: Mixture, columns: Sequence[Column], order: Sequence[int], x: Array, weight: Array, resp: Array
) -> Scene:
    """One column on an axis, the two most separating numeric columns as a plane, or a projection of categories.

    Parameters
    ----------
    model : Mixture
        With parameters, bound.
    columns : sequence of Column
        Of the model.
    order : sequence of int
        The columns, the most separating first.
    x, weight, resp : ndarray of shape (n, d), (n,), (n, K)
        Rows, weights and responsibilities under `model`.
    """
    ranked = [columns[j] for j in order]
    numeric = [one for one in ranked if one.is_numeric and np.isfinite(one.values(x)).any()]
    bars = tuple(one for one in ranked if not one.is_numeric)[: BARS if numeric else 2 * BARS]
    if len(columns) == 1 and numeric:
        values = numeric[0].values(x)
        one = axis(numeric[0], values, weight)
        note = f"{one.n_beyond:,} rows far out are not drawn." if one.n_beyond else ""
        return Scene("axis", np.stack([values, np.zeros(len(x))], axis=1), axis=one, note=note)
    if len(numeric) >= 2:
        pair = (numeric[0], numeric[1])
        points = np.stack([column.values(x) for column in pair], axis=1)
        return Scene("plane", points, pair=pair, bars=bars, note=_plane_note(model, columns, pair, points))
    note = "The rows are projected to the plane in which the components lie farthest apart."
    return Scene("projection", _projection(model, x, weight, resp), bars=bars, note=note)


def _plane_note(model: Mixture, columns: Sequence[Column], pair: tuple[Column, Column], points: Array) -> str:
    notes = []
    if len(columns) > 2:
        notes.append(f"Of {len(columns)} columns the two numeric ones that separate the components most are drawn.")
    is_exact = _moments(model.family, pair) is not None
    where = "Each outline holds about 80\u00a0% of the rows of its component"
    notes.append(f"{where}." if is_exact else f"{where}, drawn from their means and spreads.")
    n_hidden = int(np.isnan(points).any(axis=1).sum())
    if n_hidden:
        notes.append(f"{n_hidden:,} rows with a missing cell in these columns count, but are not drawn.")
    if any(column.kind is Kind.COUNT for column in pair):
        notes.append("Counts are spread a little, so that equal rows do not hide each other.")
    return " ".join(notes)


def drawn_at(scene: Scene, rng: np.random.Generator) -> Array:
    """(n, 2) where the points are put: counts and repeated patterns spread a little."""
    points = scene.points.copy()
    if scene.pair is not None:
        for j, column in enumerate(scene.pair):
            if column.kind is Kind.COUNT:
                points[:, j] += rng.uniform(-JITTER, JITTER, len(points))
    return points


def _projection(model: Mixture, x: Array, weight: Array, resp: Array) -> Array:
    """(n, 2): first the directions in which the components' means differ, then those in which rows differ most."""
    coordinates = model.family.coordinates(x)
    mean = np.nansum(coordinates * weight[:, None], axis=0)
    seen = (~np.isnan(coordinates) * weight[:, None]).sum(axis=0)
    y = np.where(np.isnan(coordinates), 0.0, coordinates - mean / np.maximum(seen, 1e-300))
    W = resp * weight[:, None]
    counts = np.maximum(W.sum(axis=0), 1e-300)
    means = (W.T @ y) / counts[:, None]
    axes: list[Array] = []
    for rows in (means * np.sqrt(counts)[:, None], y * np.sqrt(weight)[:, None]):
        left = rows - sum((np.outer(rows @ a, a) for a in axes), np.zeros_like(rows))
        _, size, directions = np.linalg.svd(left, full_matrices=False)
        scale = max(float(np.abs(rows).max()), 1e-300)
        axes += [a for a, s in zip(directions, size, strict=True) if s > 1e-9 * scale * len(rows)][: 2 - len(axes)]
    axes += [np.zeros(y.shape[1])] * (2 - len(axes))
    # the sign of a singular vector is arbitrary: the largest entry is made positive, so that pictures do not flip
    axes = [a * (np.sign(a[np.abs(a).argmax()]) or 1.0) for a in axes]
    return y @ np.stack(axes, axis=1)
