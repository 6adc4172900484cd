"""Where a run starts: responsibilities from seeding rows, and the M-step on them.

Seeds are drawn by an exponential race on a seeded hash of the rows' content (Efraimidis & Spirakis 2006): the draw
depends neither on the order of the rows nor on whether a row of weight 3 is written once or three times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, Expectation, mix
from emix.errors import DegenerateError, FitError, RootNotFoundError
from emix.model import Mixture

METHODS = ("k-means++", "random", "ward", "short-runs")
SAMPLE_ROWS = 10_000
"""Distinct rows on which starts are seeded and short runs are run."""
WARD_ROWS = 1_000
"""Distinct rows that are clustered hierarchically: its time grows with their square."""
BLOCK = 1_024
"""Rows that are squared at once: all of them would be a second copy of the points."""
PIECE = 4_000_000
"""Numbers among the statistics that the M-step of a start computes at once."""
LLOYD_STEPS = 5
BLUR = 0.05
"""Share of each start's responsibilities that is spread over all components: a component that was seeded on a single
row then has the spread of the whole data instead of none."""


class Rows(Protocol):
    """What starts need of a source that holds its rows."""

    @property
    def n_components(self) -> int:
        """K."""

    @property
    def weight(self) -> Array:
        """(n,)."""

    def known_responsibilities(self) -> tuple[NDArray[np.bool_], Array] | None:
        """Which rows have label knowledge, and q of those rows scaled to sum to 1; None where nothing is known."""


@dataclass(frozen=True)
class Pool:
    """Distinct rows with their total weights, in an order that depends on content alone."""

    points: Array
    weight: Array
    key: NDArray[np.uint64]
    inverse: NDArray[np.intp]
    """(n,): where each of the original rows is in the pool."""
    trees: dict[int, tuple[Array, Array, Array]] = field(default_factory=dict, repr=False)
    """By seed what `tree` has made."""

    def tree(self, seed: int) -> tuple[Array, Array, Array]:
        """Ward's hierarchical clustering: points and weights of the rows, all or a sample, and how they were merged."""
        from scipy.cluster.hierarchy import ward  # a tenth of a second that most commands need not wait for

        is_sampled = len(self.key) > WARD_ROWS
        key = seed if is_sampled else 0
        if key not in self.trees:
            some = race(self, np.ones(len(self.key)), seed, 0, WARD_ROWS) if is_sampled else slice(None)
            self.trees[key] = (self.points[some], self.weight[some], ward(self.points[some]))
        return self.trees[key]


def distinct_rows(points: Array, weight: Array, row_hash: NDArray[np.uint64]) -> Pool:
    """Rows that repeat become one with their weights added."""
    key, first, inverse = np.unique(row_hash, return_index=True, return_inverse=True)
    total: Array = np.asarray(np.bincount(inverse, weights=weight, minlength=len(key)), dtype=np.float64)
    return Pool(points[first], total, key, inverse.ravel())


def uniform(key: NDArray[np.uint64], seed: int, turn: int) -> Array:
    """A number in (0, 1) per key that depends on nothing but key, seed and turn (the mixer of splitmix64)."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + turn * 0xD1B54A32D192ED03 + 1) & 0xFFFFFFFFFFFFFFFF)
    h = mix(key ^ mix(np.atleast_1d(salt)))
    return ((h >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def race(pool: Pool, rate: Array, seed: int, turn: int, n: int) -> NDArray[np.intp]:
    """N distinct rows drawn with probabilities proportional to `rate`; fewer if fewer have a positive rate."""
    with np.errstate(divide="ignore"):
        time = -np.log(uniform(pool.key, seed, turn)) / rate
    order = np.argsort(time, kind="stable")[:n]
    return order[rate[order] > 0]


def squared_distances(points: Array, centres: Array) -> Array:
    """(n, e), (K, e) -> (n, K)."""
    lengths = np.concatenate([(points[i : i + BLOCK] ** 2).sum(axis=1) for i in range(0, len(points), BLOCK)])
    squared = lengths[:, None] - points @ (2 * centres).T + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squared, 0.0))


def seed_centres(pool: Pool, K: int, seed: int, *, spread: bool, given: Array | None = None) -> Array:
    """K centres among the rows.

    With `spread` greedy k-means++ (Arthur & Vassilvitskii 2007): each next centre is the best of 2 + log K rows drawn
    with probability proportional to weight times squared distance to the nearest centre. Otherwise rows at random.
    `given` (k, e) are centres that are known already, from labelled rows.
    """
    centres = np.empty((0, pool.points.shape[1])) if given is None else given
    nearest = np.full(len(pool.key), np.inf)
    for centre in centres:
        nearest = np.minimum(nearest, squared_distances(pool.points, centre[None])[:, 0])
    n_candidates = 2 + int(np.log(K)) if spread else 1
    for turn in range(len(centres), K):
        distance = np.where(np.isinf(nearest), 1.0, nearest)
        rate = pool.weight * (distance if spread else (distance > 0))
        candidates = race(pool, rate, seed, turn + 1, n_candidates)
        if len(candidates) == 0:  # fewer distinct points than centres in these coordinates
            candidates = race(pool, pool.weight, seed, turn + 1, 1)
        reach = np.minimum(nearest[:, None], squared_distances(pool.points, pool.points[candidates]))
        best = int(np.argmin(pool.weight @ reach))
        nearest, centres = reach[:, best], np.vstack([centres, pool.points[candidates[best]]])
    return lloyd(pool, centres) if spread and given is None else centres


def lloyd(pool: Pool, centres: Array) -> Array:
    """A few steps of k-means on distinct rows: means of the rows nearest to each centre."""
    for _ in range(LLOYD_STEPS):
        label = squared_distances(pool.points, centres).argmin(axis=1)
        total = np.bincount(label, weights=pool.weight, minlength=len(centres))
        sums = np.stack(
            [np.bincount(label, weights=pool.weight * column, minlength=len(centres)) for column in pool.points.T],
            axis=1,
        )
        centres = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-300)[:, None], centres)
    return centres


def ward_centres(pool: Pool, K: int, seed: int) -> Array:
    """(K, e) means of the clusters of Ward's method (1963) on distinct rows: those all, or a sample.

    SciPy's linkage knows no weights, so a row counts once however often it stands in the data; the means are weighted.
    """
    from scipy.cluster.hierarchy import fcluster

    if len(pool.key) <= K:
        return seed_centres(pool, K, seed, spread=True)
    points, weight, tree = pool.tree(seed)
    label = fcluster(tree, K, "maxclust") - 1
    total = np.bincount(label, weights=weight, minlength=K)
    sums = np.stack([np.bincount(label, weights=weight * column, minlength=K) for column in points.T], axis=1)
    if not (total > 0).all():  # ties among the heights: fewer clusters than asked for
        return seed_centres(pool, K, seed, spread=True)
    return np.asarray(sums / total[:, None])


def seeded_responsibilities(rows: Rows, pool: Pool, seed: int, *, method: str) -> Array:
    """(n, K) start responsibilities: nearest centre, blurred, and what is known of the labels.

    `method` is 'k-means++', 'random' or 'ward'; the last, which knows no labels, is the first where there are some.
    """
    K, known = rows.n_components, rows.known_responsibilities()
    order, given = np.arange(K), None
    if known is not None:
        given, labelled = _labelled_centres(pool, rows.weight, *known, K)
        order = np.concatenate([labelled, np.setdiff1d(order, labelled)])
    if method == "ward" and given is None:
        centres = ward_centres(pool, K, seed)
    else:
        centres = seed_centres(pool, K, seed, spread=method != "random", given=given)
    # of the distinct rows, in their own order: a row between two centres goes the same way wherever it stands
    label = order[squared_distances(pool.points, centres).argmin(axis=1)][pool.inverse]
    resp = np.full((len(label), K), BLUR / K)
    resp[np.arange(len(label)), label] += 1 - BLUR
    if known is not None:
        is_known, q = known
        blurred = resp[is_known] * q
        resp[is_known] = blurred / blurred.sum(axis=1, keepdims=True)
    return resp


def _labelled_centres(
    pool: Pool, weight: Array, is_known: NDArray[np.bool_], q: Array, K: int
) -> tuple[Array, NDArray[np.intp]]:
    """Means of the rows whose component is certain, and which components have such rows."""
    certain = q.max(axis=1) == 1.0
    label, w, x = q[certain].argmax(axis=1), weight[is_known][certain], pool.points[pool.inverse[is_known][certain]]
    total = np.bincount(label, weights=w, minlength=K)
    sums = np.stack([np.bincount(label, weights=w * column, minlength=K) for column in x.T], axis=1)
    present = np.flatnonzero(total > 0)
    return sums[present] / total[present, None], present


def model_from_responsibilities(model: Mixture, source: Any, resp: Array, *, is_unordered: bool = False) -> Mixture:
    """The M-step on given responsibilities (n, K), which need not sum to 1 (a row of zeros counts for nothing).

    Where it is all the same which component has which number (`is_unordered`) but for constraints that speak of some,
    the numbers are exchanged as long as that raises what the M-step reaches.
    """

    def summed(chunk: Chunk) -> Expectation:
        total: Any = 0.0
        for one in _pieces(chunk, model.family.n_sums):
            part = resp[one.start : one.start + len(one.x)].T * one.weight
            total = total + model.sum_statistics(one, np.ascontiguousarray(part))
        return Expectation(total, 0.0)

    statistics = source.sum_over_chunks(summed).statistics
    speaks = any(entry.component is not None for one in model.constraints for entry in one.entries)
    return _well_numbered(model, statistics) if is_unordered and speaks else model.maximize(statistics)


def _well_numbered(model: Mixture, statistics: Array) -> Mixture:
    """The M-step on sums whose components were exchanged, two by two, to suit the constraints best.

    Raises
    ------
    DegenerateError, RootNotFoundError
        No order leads to a model; the first reason.
    """
    K = len(statistics) - model.has_noise
    order = np.arange(len(statistics))
    best, highest = None, -np.inf
    reason: FitError | None = None
    is_better = True
    pairs = [(0, 0), *((i, j) for i in range(K) for j in range(i))]
    while is_better:
        is_better = False
        for i, j in pairs:
            tried = order.copy()
            tried[[i, j]] = tried[[j, i]]
            try:
                found = model.maximize(statistics[tried])
            except (DegenerateError, RootNotFoundError) as error:
                reason = reason or error
                continue
            reached = found.objective(statistics[tried])
            if best is None or reached > highest + 1e-9 * abs(highest):
                best, highest, order, is_better = found, reached, tried, True
    if best is None:
        assert reason is not None
        raise reason
    return best


def _pieces(chunk: Chunk, n_sums: int) -> Iterator[Chunk]:
    """The rows, so many at once that their statistics stay small beside the data; sparse rows have none."""
    size = max(PIECE // (1 + n_sums), 256)
    if not isinstance(chunk.x, np.ndarray) or chunk.statistics is not None or len(chunk.x) <= size:
        yield chunk
        return
    for i in range(0, len(chunk.x), size):
        part = slice(i, i + size)
        yield Chunk(chunk.x[part], chunk.weight[part], chunk.start + i, is_complete=chunk.is_complete)
