"""Gaussian rows with missing cells, grouped by which cells are observed.

Rows of one pattern share the marginal coefficients of their observed columns, and what is missing is completed once per
pattern and component, from the sums over its rows, never row by row. With m, C a component's mean and covariance, o and
u the observed and missing columns, and B = C_uo C_oo^-1:

    log p(x_o given k) = log Normal(x_o; m_o, C_oo)
    E[x_u given x_o, k] = m_u + B (x_o - m_o),    Cov[x_u given x_o, k] = C_uu - B C_ou

Source: Dempster, Laird & Rubin (1977), section 4.1.3; Ghahramani & Jordan (1994), NIPS 6, 120-127; Little & Rubin
(2019), Statistical Analysis with Missing Data, 3rd ed., section 11.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Patterns
from emix.kernels import dispatch
from emix.kernels.tiles import Tile

LOG_2PI = float(np.log(2 * np.pi))
BLOCK = 2_000_000
"""Numbers in the matrices of the patterns that are completed at once."""


@cache
def pairs(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Rows and columns of the upper triangle, row by row, and how often each entry stands in the whole matrix."""
    i, j = np.triu_indices(d)
    return i, j, np.where(i == j, 1.0, 2.0)


def diagonals(matrices: Array) -> Array:
    """(..., d, d) -> (..., d)."""
    return np.diagonal(matrices, axis1=-2, axis2=-1)


@dataclass(frozen=True)
class Moments:
    """What the E-step needs of K components, in the units of the statistics.

    Attributes
    ----------
    mean : ndarray of shape (K, d)
    covariance : ndarray of shape (K, d, d)
    log_scale : ndarray of shape (d,)
        Log of a unit of each column: the density is that of the data.
    has_products : bool
        The statistics hold all products and not the squares alone.
    """

    mean: Array
    covariance: Array
    log_scale: Array
    has_products: bool

    def _products(self, matrices: Array) -> Array:
        """The entries (..., D) of symmetric matrices (..., d, d) that the statistics hold."""
        if not self.has_products:
            return diagonals(matrices)
        i, j, _ = pairs(matrices.shape[-1])
        return np.asarray(matrices[..., i, j])

    def whitening(self, observed: Array) -> tuple[Array, Array]:
        """(P, K, d, d) W with |W (y - mean)|^2 the distance of observed cells, 0 elsewhere, and log determinants."""
        seen = observed[:, None, :, None] * observed[:, None, None, :]
        missing = (1 - observed)[:, None, :, None] * np.eye(observed.shape[1])
        L: Array = np.asarray(np.linalg.cholesky(self.covariance * seen + missing), dtype=np.float64)
        half: Array = np.asarray(np.linalg.inv(L), dtype=np.float64)
        return half * seen, 2 * np.log(diagonals(L)).sum(axis=-1)

    def _inverse(self, observed: Array) -> tuple[Array, Array]:
        """(P, K, d, d) inverses of the covariances of the observed columns, 0 elsewhere, and their log determinants."""
        half, log_det = self.whitening(observed)
        return half.swapaxes(-1, -2) @ half, log_det

    def coefficients(self, observed: Array) -> tuple[Array, Array]:
        """Marginal coefficients (P, K, D) of each pattern (P, d) of ones and zeros, and inverses for `complete`."""
        P, log_det = self._inverse(observed)
        linear = (P @ self.mean[None, :, :, None])[..., 0]
        at_mean = (linear * self.mean).sum(axis=-1)
        n_seen, log_units = observed.sum(axis=1)[:, None], (observed @ self.log_scale)[:, None]
        log_normaliser = -0.5 * (at_mean + log_det + n_seen * LOG_2PI) - log_units
        sides = pairs(P.shape[-1])[2] if self.has_products else 1.0
        return np.concatenate([linear, -0.5 * sides * self._products(P), log_normaliser[..., None]], axis=-1), P

    def complete(self, observed: Array, sums: Array, inverse: Array, counts: Array | None = None) -> Array:
        """Sums (P, K, D) over the rows of each pattern, in which missing cells are 0 -> expected statistics (K, D).

        `counts` (P, K) of rows, where the sums are weighted by a precision of each row that divides its covariance.
        """
        d, P = observed.shape[1], inverse
        n, first = sums[..., -1:], sums[..., :d]
        is_seen = observed[:, None, :, None] > 0
        B = np.where(is_seen, np.eye(d) * observed[:, None, None, :], self.covariance @ P)  # rows of the observed: I
        apart = np.where(observed[:, None] > 0, 0.0, self.mean - (B @ self.mean[None, :, :, None])[..., 0])
        second = np.zeros((*first.shape, d))
        if self.has_products:
            i, j, _ = pairs(d)
            second[..., i, j] = second[..., j, i] = sums[..., d:-1]
        else:
            second[..., np.arange(d), np.arange(d)] = sums[..., d:-1]
        fitted = (B @ first[..., None])[..., 0]
        cross = apart[..., :, None] * fitted[..., None, :]
        left = self.covariance - B @ self.covariance  # 0 in the rows of the observed
        left = np.where(is_seen | is_seen.swapaxes(-1, -2), 0.0, left)
        whole = B @ second @ B.swapaxes(-1, -2) + cross + cross.swapaxes(-1, -2)
        whole += n[..., None] * (apart[..., :, None] * apart[..., None, :])
        whole += (n if counts is None else counts[..., None])[..., None] * left
        return np.asarray(np.concatenate([n * apart + fitted, self._products(whole), n], axis=-1).sum(axis=0))

    def blocks(self, n_patterns: int) -> Iterator[slice]:
        """Patterns that are worked on at once, so that memory stays small whatever their number."""
        K, d = self.mean.shape
        step = max(1, BLOCK // (K * d * d))
        return (slice(start, start + step) for start in range(0, n_patterns, step))


def pattern_keys(x: NDArray[np.floating]) -> NDArray[np.uint64]:
    """One number per row (n, d) -> (n,), equal for equal patterns (up to a collision among 2^64)."""
    key = np.zeros(len(x), dtype=np.uint64)
    for j, column in enumerate(x.T):
        if j % 64 == 0:
            key *= np.uint64(0x9E3779B97F4A7C15)
        key ^= np.isnan(column).astype(np.uint64) << np.uint64(j % 64)
    return key


def find_patterns(x: NDArray[np.floating]) -> Patterns:
    """The patterns of rows (B, d)."""
    key, order = pattern_keys(x), None
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key = key[order]
    edges = np.concatenate([[0], np.flatnonzero(key[1:] != key[:-1]) + 1, [len(x)]])
    first = edges[:-1] if order is None else order[edges[:-1]]
    return Patterns(order, edges, (~np.isnan(x[first])).astype(np.float64))


def log_prob_by_pattern(moments: Moments, x: NDArray[np.floating], T: Array) -> Array:
    """Log densities (K, B) of rows (B, d) whose statistics T (D, B) are 0 where a cell is missing."""
    patterns = find_patterns(x)
    log_prob = np.empty((len(moments.mean), len(x)))
    for part in moments.blocks(len(patterns.observed)):
        for p, C in enumerate(moments.coefficients(patterns.observed[part])[0], start=part.start):
            rows = rows_of(patterns, p)
            log_prob[:, rows] = C @ T[:, rows]
    return log_prob


def sum_by_pattern(moments: Moments, x: NDArray[np.floating], T: Array, weighted_resp: Array) -> Array:
    """Expected statistics (K, D) of rows (B, d) whose statistics T (D, B) are 0 where a cell is missing."""
    patterns, total = find_patterns(x), np.zeros(())
    for part in moments.blocks(len(patterns.observed)):
        here = range(part.start, min(part.stop, len(patterns.observed)))
        sums = [weighted_resp[:, rows_of(patterns, p)] @ T[:, rows_of(patterns, p)].T for p in here]
        inverse = moments.coefficients(patterns.observed[part])[1]
        total = total + moments.complete(patterns.observed[part], np.stack(sums), inverse)
    return np.asarray(total)


def rows_of(patterns: Patterns, p: int) -> Any:
    """The rows of one pattern."""
    rows = slice(patterns.edges[p], patterns.edges[p + 1])
    return rows if patterns.order is None else patterns.order[rows]


def expect_by_pattern(
    moments: Moments,
    log_proportions: Array,
    patterns: Patterns,
    x: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    tile: Tile,
) -> dispatch.Sums:
    """E-step over rows (n, d) in the order of their patterns, by the compiled kernel; sums as (K, 1 + D)."""
    totals: list[dispatch.Sums] = []
    for part in moments.blocks(len(patterns.observed)):
        observed = patterns.observed[part]
        edges = patterns.edges[part.start : part.start + len(observed) + 1]
        rows = slice(int(edges[0]), int(edges[-1]))
        own, inverse = moments.coefficients(observed)
        C = np.concatenate([log_proportions[:, None] + own[..., -1:], own[..., :-1]], axis=-1)
        sums = dispatch.expect_segments(
            x[rows],
            weight[rows],
            None if labels is None else labels[rows],
            None if log_q is None else log_q[rows],
            C,
            edges - edges[0],
            tile,
        )
        if sums.impossible >= 0:
            return sums._replace(impossible=sums.impossible + rows.start)
        S = sums.statistics  # (P, K, 1 + D), without the counts of observed rows
        completed = moments.complete(observed, np.concatenate([S[..., 1:], S[..., :1]], axis=-1), inverse)
        totals.append(sums._replace(statistics=np.concatenate([S[..., 0].sum(axis=0)[:, None], completed], axis=1)))
    whole = totals[0]
    for one in totals[1:]:
        whole = dispatch.Sums(
            whole.statistics + one.statistics,
            whole.log_likelihood + one.log_likelihood,
            whole.magnitude + one.magnitude,
            whole.weight + one.weight,
            whole.log_map + one.log_map,
            -1,
        )
    return whole


def fill_by_pattern(
    moments: Moments,
    x: NDArray[np.floating],
    y: Array,
    labels: NDArray[np.intp] | None,
    rng: np.random.Generator | None,
) -> Array:
    """Rows y (B, d), in the units of the statistics and 0 where x is missing, with conditional means there: (K, B, d).

    With `labels` (B,) and `rng` one row each, of its own component and with a draw from the conditional distribution
    in the place of its mean: (1, B, d).
    """
    patterns, d = find_patterns(x), y.shape[1]
    filled = np.empty((len(moments.mean) if labels is None else 1, *y.shape))
    for part in moments.blocks(len(patterns.observed)):
        observed = patterns.observed[part]
        inverse = moments.coefficients(observed)[1]
        for i, seen in enumerate(observed > 0):
            rows = rows_of(patterns, part.start + i)
            B = np.where(seen[:, None], np.eye(d) * seen, moments.covariance @ inverse[i])
            mean = moments.mean[:, None] + (y[rows] - moments.mean[:, None]) * seen @ B.transpose(0, 2, 1)
            if labels is None or rng is None:
                filled[:, rows] = np.where(seen, y[rows], mean)
                continue
            left = (moments.covariance - B @ moments.covariance) * np.outer(~seen, ~seen)
            half = np.linalg.cholesky(left + np.diag(seen.astype(np.float64))) * ~seen
            own = labels[rows]
            noise = (half[own] @ rng.standard_normal((len(own), d, 1)))[..., 0]
            filled[0, rows] = np.where(seen, y[rows], mean[own, np.arange(len(own))] + noise)
    return filled
