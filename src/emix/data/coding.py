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

from emix.block import Coding, Plan, Schema, Summary
from emix.families import Columns, Family
from emix.kernels import dispatch
from emix.kernels.tiles import MixedTiles

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
    if not family.is_additive or not is_codable(family, summary):
        return None
    coding = _coding(family, summary, np.arange(len(summary.mean)), n_components, with_constant=True)
    return coding if family.tile() is None or 2 * len(coding.groups) <= len(coding.sizes) else None


def is_codable(family: Family, summary: Summary) -> bool:
    """Whether the cells are whole numbers, and of few different values where they can be had otherwise."""
    if summary.n_fractional.any() or summary.n_infinite.any():
        return False
    return family.support.is_categorical or bool((summary.maximum - summary.minimum < CODES).all())


def make_plan(family: Columns, summary: Summary, schema: Schema, n_components: int) -> Plan | None:
    """How the compiled kernel reads the columns of each part: by codes or dense tiles; None where it cannot."""
    d = len(schema.names)
    coded, parts, order = [], [], [0]
    shift, scale, first = np.zeros(d), np.ones(d), 1
    for part, rows, group in zip(family.parts, family.rows, family.column_groups(schema), strict=True):
        own, seen = part.family, summary.of_columns(group)
        if own.is_additive and is_codable(own, seen):
            coded.append(np.arange(group.start, group.stop))
            continue
        tile = own.tile()
        if tile is None or not (summary.is_complete or tile.takes_holes):
            return None
        n = len(rows) - (own.n_observed if summary.is_complete else 0)
        parts.append((tile.kind, tile.coordinate, group.start, group.stop, first))
        order += [1 + row for row in rows[:n]]
        shift[group][: len(tile.shift)] = tile.shift
        scale[group][: len(tile.scale)] = tile.scale
        first += n
    tiles = MixedTiles(np.array(parts, dtype=np.int64).reshape(-1, 5), shift, scale)
    columns = np.concatenate(coded) if coded else np.zeros(0, dtype=np.int64)
    coding = _coding(family, summary, columns, n_components, with_constant=False) if len(columns) else None
    return Plan(tiles, np.array(order), columns, coding)


def _coding(
    family: Family, summary: Summary, columns: NDArray[np.int64], n_components: int, *, with_constant: bool
) -> Coding:
    d, summary = len(summary.mean), summary.of_columns(columns)
    has_missing = summary.n_missing > 0
    sizes, limit = (summary.maximum - summary.minimum + 1).astype(np.int64) + has_missing, CODES
    groups = _groups(sizes, limit)
    while limit > 2 and n_components * sum(np.prod(sizes[group]) for group in groups) > TABLE_NUMBERS:
        limit //= 2
        groups = _groups(sizes, limit)
    strides = np.concatenate([np.cumprod(np.concatenate([[1], sizes[group][:-1]])) for group in groups])
    n_codes = np.array([np.prod(sizes[group]) for group in groups])
    offsets = np.concatenate([[0], np.cumsum(n_codes)[:-1]])
    values = np.full((int(sizes.max()), len(sizes)), np.nan)  # the cell of each step, NaN for the missing one
    for j, span in enumerate(sizes - has_missing):
        values[:span, j] = summary.minimum[j] + np.arange(span)
    T = []
    for group, n in zip(groups, n_codes, strict=True):
        for start in range(0, n, BUILT):
            code = np.arange(start, min(start + BUILT, n))[:, None]
            x = np.full((len(code), d), np.nan)  # rows in which only the cells of one group are observed
            step = code // strides[group] % sizes[group]
            x[:, columns[group]] = np.take_along_axis(values[:, group], step, axis=0)
            T.append(scipy.sparse.csc_array(family.statistics(x)))
    constant = (np.arange(n_codes.sum()) < n_codes[0]) & with_constant
    one = scipy.sparse.csr_array(constant.astype(np.float64)[None])
    statistics = scipy.sparse.vstack([one, scipy.sparse.hstack(T)], format="csr")
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


def encode(x: NDArray[Any], coding: Coding, *, is_large: bool) -> NDArray[Any]:
    """Rows (B, d) -> their codes (B, G), in the smallest type that holds them."""
    largest = max(int(np.prod(coding.sizes[group])) for group in coding.groups) - 1
    codes = np.empty((len(x), len(coding.groups)), dtype=np.min_scalar_type(largest))
    for g, group in enumerate(coding.groups):
        missing = coding.sizes[group] - 1
        part = dispatch.pack(x[:, group], coding.minimum[group], coding.strides[group], missing, is_large=is_large)
        codes[:, g] = part
    return codes
