"""One look at all rows before the first iteration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Summary, as_cells, readable
from emix.kernels import dispatch
from emix.threads import map_in_order

COMPILE_FROM = 1_000_000
"""Cells from which the look is compiled."""


def summarize(
    x: NDArray[Any], weight: Array, *, with_logs: bool = False, with_values: bool = False, n_jobs: int = 1
) -> Summary:
    """Weighted moments and counts per column of x (n, d), missing cells left out; also its distinct values, if asked.

    Each chunk is scanned by itself and merged in order (Chan, Golub & LeVeque 1983), so that the moments are accurate
    at any mean and have the same bits for any number of threads.
    """
    parts = [slice(start, start + CHUNK_ROWS) for start in range(0, len(x), CHUNK_ROWS)]
    is_large = x.size >= COMPILE_FROM
    look = Look(x.shape[1], with_logs=with_logs)
    for found in map_in_order(
        lambda part: look_at(x[part], weight[part], with_logs=with_logs, is_large=is_large), parts, n_jobs
    ):
        look.add(found)
    values = tuple(distinct(column) for column in x.T) if with_values else ()
    return replace(look.summary, values=values) if with_values else look.summary


def distinct(column: NDArray[Any]) -> Array:
    """The observed values of a column, each once, sorted."""
    cells = as_cells(column)
    return np.unique(cells[~np.isnan(cells)])


class Found(NamedTuple):
    """What was seen of a chunk: its weight, a scan of its cells and one of their logarithms, where these exist."""

    weight: float
    cells: Array
    logs: Array | None


def look_at(x: NDArray[Any], weight: Array, *, with_logs: bool, is_large: bool) -> Found:
    """Scan a chunk (B, d)."""
    cells = dispatch.scan(readable(x), weight, is_large=is_large)
    logs = None
    if with_logs and (cells[3] > 0).all():
        logs = dispatch.scan(np.log(np.asarray(x, np.float64)), weight, is_large=is_large)
    return Found(float(weight.sum()), cells, logs)


class Look:
    """The summary of chunks that come one by one, in order."""

    def __init__(self, n_columns: int, *, with_logs: bool) -> None:
        self._total = 0.0
        self._low, self._high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
        self._counts = np.zeros((3, n_columns))
        self._cells: Moments | None = None
        self._logs: Moments | None = None
        self._with_logs = with_logs

    def add(self, found: Found) -> None:
        """The next chunk."""
        self._total += found.weight
        self._low, self._high = np.minimum(self._low, found.cells[3]), np.maximum(self._high, found.cells[4])
        self._counts += found.cells[5:]
        self._cells = _merged(self._cells, found.cells)
        self._with_logs = self._with_logs and found.logs is not None
        self._logs = None if found.logs is None or not self._with_logs else _merged(self._logs, found.logs)

    @property
    def found(self) -> Found:
        """All chunks so far as if they were one: what another look takes in."""
        assert self._cells is not None
        n = len(self._low)
        logs = None if self._logs is None else np.concatenate([np.stack(self._logs), np.zeros((5, n))])
        return Found(self._total, np.stack([*self._cells, self._low, self._high, *self._counts]), logs)

    @property
    def summary(self) -> Summary:
        """Of all chunks so far; there must be one."""
        assert self._cells is not None
        mean, variance = _mean_and_variance(self._cells)
        variance = np.where(self._low == self._high, 0.0, variance)
        logs = np.full((2, len(mean)), np.nan)
        if self._with_logs and self._logs is not None:
            logs = np.stack(_mean_and_variance(self._logs))
        missing, infinite, fractional = self._counts
        own = (self._total, mean, variance, self._low, self._high)
        return Summary(*own, missing, infinite, fractional, logs[0], logs[1])


Moments = tuple[Array, Array, Array]
"""Weight, mean, and sum of squares about it, of each column."""


def _merged(moments: Moments | None, scan: Array) -> Moments:
    """Of some chunks and one more."""
    if moments is None:
        return scan[0], scan[1], scan[2]
    mass, mean, second = moments
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        total = mass + scan[0]
        share = np.divide(scan[0], total, out=np.zeros_like(total), where=total > 0)
        step = scan[1] - mean
        return total, mean + step * share, second + scan[2] + step * step * mass * share


def _mean_and_variance(moments: Moments) -> tuple[Array, Array]:
    mass, mean, second = moments
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        variance = np.divide(second, mass, out=np.full_like(mass, np.nan), where=mass > 0)
    return np.where(mass > 0, mean, np.nan), variance
