"""One look at all rows before the first iteration."""

from __future__ import annotations

from typing import Any

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
    scans = map_in_order(lambda part: dispatch.scan(readable(x[part]), weight[part], is_large=is_large), parts, n_jobs)
    _, mean, variance = _merged(scans)
    found = np.stack(scans)
    logs = np.full((2, x.shape[1]), np.nan)
    low, high = found[:, 3].min(axis=0), found[:, 4].max(axis=0)
    if with_logs and (low > 0).all():
        scans = [dispatch.scan(np.log(np.asarray(x[p], np.float64)), weight[p], is_large=is_large) for p in parts]
        logs = np.stack(_merged(scans)[1:])
    counts = found[:, 5:].sum(axis=0)
    variance = np.where(low == high, 0.0, variance)
    values = tuple(distinct(column) for column in x.T) if with_values else ()
    total = float(weight.sum())
    return Summary(total, mean, variance, low, high, counts[0], counts[1], counts[2], logs[0], logs[1], values)


def distinct(column: NDArray[Any]) -> Array:
    """The observed values of a column, each once, sorted."""
    cells = as_cells(column)
    return np.unique(cells[~np.isnan(cells)])


def _merged(scans: list[Array]) -> tuple[Array, Array, Array]:
    """Weight, mean and variance per column of all chunks."""
    mass, mean, second = scans[0][0], scans[0][1], scans[0][2]
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for other_mass, other_mean, other_second in (scan[:3] for scan in scans[1:]):
            total = mass + other_mass
            share = np.divide(other_mass, total, out=np.zeros_like(total), where=total > 0)
            step = other_mean - mean
            mean = mean + step * share
            second = second + other_second + step * step * mass * share
            mass = total
        variance = np.divide(second, mass, out=np.full_like(mass, np.nan), where=mass > 0)
    return mass, np.where(mass > 0, mean, np.nan), variance
