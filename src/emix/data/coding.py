"""Cells of few different values, several columns to one code.

Where the statistics of a row are the sum of what its cells add, rows of small whole numbers need not be turned into
statistics at each pass: what a code of several cells adds to the log joint is looked up, and its responsibilities are
added to the code's own sums. Twenty yes/no answers are three codes of a byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from emix.block import Array, Coding, Summary
from emix.families import Family
from emix.kernels import dispatch

CODES = 256
"""Different codes of a group at most, unless it is a single column."""
TABLE_NUMBERS = 64 * 1024
"""Numbers in the tables of all codes: with as many sums they stay in the L2 cache."""
DENSE = 1_000_000
"""Numbers up to which the statistics of all codes are a dense array: SciPy's sparse products have a price per call."""
BUILT = 256
"""Codes whose statistics are computed at once."""


def make_coding(family: Family, summary: Summary, n_components: int) -> Coding | None:
    """How to code the columns; None where that is not possible, or does not pay."""
    if not family.is_additive or summary.n_fractional.any() or summary.n_infinite.any():
        return None
    spans = summary.maximum - summary.minimum + 1
    if family.tile() is not None and (spans > CODES).any():
        return None
    has_missing = summary.n_missing > 0
    sizes, limit = spans.astype(np.int64) + has_missing, CODES
    groups = _groups(sizes, limit)
    while limit > 2 and n_components * sum(np.prod(sizes[group]) for group in groups) > TABLE_NUMBERS:
        limit //= 2
        groups = _groups(sizes, limit)
    if family.tile() is not None and 2 * len(groups) > len(sizes):
        return None
    strides = np.concatenate([np.cumprod(np.concatenate([[1], sizes[group][:-1]])) for group in groups])
    n_codes = np.array([np.prod(sizes[group]) for group in groups])
    offsets = np.concatenate([[0], np.cumsum(n_codes)[:-1]])
    values = np.full((int(sizes.max()), len(sizes)), np.nan)  # the cell of each step, NaN for the missing one
    for j, span in enumerate(sizes - has_missing):
        values[:span, j] = summary.minimum[j] + np.arange(span)
    T = [_statistics(family, values, sizes, strides, group, int(n)) for group, n in zip(groups, n_codes, strict=True)]
    constant = scipy.sparse.csr_array((np.arange(n_codes.sum()) < n_codes[0]).astype(np.float64)[None])
    statistics = scipy.sparse.vstack([constant, scipy.sparse.hstack(T)], format="csr")
    if np.prod(statistics.shape) <= DENSE:
        statistics = statistics.toarray()
    return Coding(groups, summary.minimum, sizes, strides, offsets, statistics)


def _groups(sizes: NDArray[np.int64], limit: int) -> tuple[slice, ...]:
    """Neighbouring columns together, as long as there are at most `limit` different codes."""
    edges, n_codes = [0], 1
    for j, size in enumerate(sizes):
        if j > edges[-1] and n_codes * size > limit:
            edges.append(j)
            n_codes = 1
        n_codes *= int(size)
    return tuple(slice(i, j) for i, j in zip(edges, [*edges[1:], len(sizes)], strict=True))


def _statistics(
    family: Family, values: Array, sizes: NDArray[np.int64], strides: NDArray[np.int64], group: slice, n_codes: int
) -> Any:
    """(D, n_codes): T of rows in which only the cells of one group are observed."""
    parts = []
    for start in range(0, n_codes, BUILT):
        code = np.arange(start, min(start + BUILT, n_codes))[:, None]
        step = code // strides[group] % sizes[group]
        x = np.full((len(code), len(sizes)), np.nan)
        x[:, group] = np.take_along_axis(values[:, group], step, axis=0)
        parts.append(scipy.sparse.csc_array(family.statistics(x)))
    return scipy.sparse.hstack(parts)


def encode(x: NDArray[Any], coding: Coding, *, is_large: bool) -> NDArray[Any]:
    """Rows (B, d) -> their codes (B, G), in the smallest type that holds them."""
    largest = max(int(np.prod(coding.sizes[group])) for group in coding.groups) - 1
    codes = np.empty((len(x), len(coding.groups)), dtype=np.min_scalar_type(largest))
    for g, group in enumerate(coding.groups):
        missing = coding.sizes[group] - 1
        part = dispatch.pack(x[:, group], coding.minimum[group], coding.strides[group], missing, is_large=is_large)
        codes[:, g] = part
    return codes
