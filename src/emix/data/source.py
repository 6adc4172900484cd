"""Rows in memory, checked and cut into chunks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Chunk, Expectation, Schema, Summary, mix
from emix.data.encode import encode
from emix.data.knowledge import Knowledge
from emix.data.table import Table
from emix.errors import DataError
from emix.families import Family, Support

LEAST_VARIANCE = 1e-280
"""A variance that is smaller, or larger than its inverse, leaves no room for the products that a fit forms."""
ANYTHING = Support("numbers")
"""The support of a user's own model."""


@dataclass(frozen=True)
class InMemorySource:
    """The rows that count, with weights and label knowledge.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        Cells of the rows with a positive weight.
    weight : ndarray of shape (n,)
        Their weights.
    rows : ndarray of shape (n,) or None
        Their positions in the user's data, where some rows were left out.
    """

    x: Array
    weight: Array
    schema: Schema
    n_components: int = 1
    knowledge: Knowledge | None = None
    rows: NDArray[np.intp] | None = None
    n_unobserved: int = 0
    n_jobs: int = 1
    log_bases: tuple[float, ...] | None = None
    where: Callable[[int], str] = field(default=lambda row: f"row {row}", repr=False)

    @property
    def n_rows(self) -> int:
        """Rows that count."""
        return len(self.x)

    @cached_property
    def is_complete(self) -> bool:
        """No cell is missing."""
        return not np.isnan(self.x).any()

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Only these rows."""
        if len(rows) == self.n_rows:
            return self
        known = None if self.knowledge is None else self.knowledge.take(rows)
        positions = rows if self.rows is None else self.rows[rows]
        return replace(self, x=self.x[rows], weight=self.weight[rows], knowledge=known, rows=positions, log_bases=None)

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The rows, cut."""
        chunks = []
        for i, start in enumerate(range(0, self.n_rows, CHUNK_ROWS)):
            part = slice(start, start + CHUNK_ROWS)
            known = {} if self.knowledge is None else self.knowledge.part(part)
            base = None if self.log_bases is None else self.log_bases[i]
            chunks.append(Chunk(self.x[part], self.weight[part], start, self.is_complete, log_base=base, **known))
        return tuple(chunks)

    def with_log_base(self, family: Family) -> Self:
        """The same rows; the log base measure, which no parameter touches, is summed once for all iterations."""
        sums = tuple(float(chunk.weight @ family.log_base_measure(chunk.x)) for chunk in self.chunks)
        return replace(self, log_bases=sums)

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree: the same bits for any number of threads."""
        if self.n_jobs > 1 and len(self.chunks) > 1:
            with ThreadPoolExecutor(min(self.n_jobs, len(self.chunks))) as pool:
                return tree_sum(list(pool.map(fn, self.chunks)))
        return tree_sum([fn(chunk) for chunk in self.chunks])

    @cached_property
    def summary(self) -> Summary:
        """Weighted moments of the columns, in two passes: accurate at any mean."""
        return summarize(self.x, self.weight)

    @cached_property
    def row_hash(self) -> NDArray[np.uint64]:
        """64 bits per row that depend on nothing but its cells."""
        return hash_rows(self.x)

    def n_distinct(self) -> int:
        """Number of distinct rows."""
        return len(np.unique(self.row_hash))

    def coordinates(self, family: Family) -> Array:
        """(n, e) standardised coordinates for starts; a missing one is at the mean.

        Rounded, so that the order in which the moments were summed does not decide between equally near centres.
        """
        points = family.coordinates(self.x)
        moments = summarize(points, self.weight)
        scale = np.sqrt(np.where(moments.variance > 0, moments.variance, 1.0))
        standard = (points - moments.mean) / scale
        return np.where(np.isnan(standard), 0.0, np.round(standard, 9))

    def known_responsibilities(self) -> tuple[NDArray[np.bool_], Array] | None:
        """Which rows have label knowledge, and q of those rows scaled to sum to 1."""
        return None if self.knowledge is None else self.knowledge.responsibilities(self.n_components)


def hash_rows(x: Array) -> NDArray[np.uint64]:
    """64 bits per row (n, d) that depend on nothing but its cells; equal for equal rows."""
    h = np.zeros(len(x), dtype=np.uint64)
    for column in x.T:
        cells = column + 0.0  # -0.0 becomes 0.0
        bits = np.where(np.isnan(cells), np.nan, cells).view(np.uint64)
        h = mix(h ^ (bits + np.uint64(0x9E3779B97F4A7C15)))
    return h


def tree_sum(parts: list[Expectation]) -> Expectation:
    """Pairwise sum: rounding grows with the depth of the tree, not with the number of parts."""
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def summarize(x: Array, weight: Array) -> Summary:
    """Weighted moments per column, missing cells left out; NaN for a column without an observed cell."""
    seen = ~np.isnan(x)
    is_complete = bool(seen.all())
    filled = x if is_complete else np.where(seen, x, 0.0)
    total = np.full(x.shape[1], weight.sum()) if is_complete else weight @ seen
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):  # see `_check_columns`
        mean = weight @ filled / total
        centred = filled - mean if is_complete else np.where(seen, x - mean, 0.0)
        variance = weight @ (centred * centred) / total
    low = np.where(seen, x, np.inf).min(axis=0)
    high = np.where(seen, x, -np.inf).max(axis=0)
    variance = np.where(low == high, 0.0, variance)
    log_mean, log_variance = np.full(x.shape[1], np.nan), np.full(x.shape[1], np.nan)
    for j in np.flatnonzero((low > 0) & (low <= high)):
        u, w = np.log(x[seen[:, j], j]), weight[seen[:, j]]
        log_mean[j] = w @ u / w.sum()
        log_variance[j] = w @ (u - log_mean[j]) ** 2 / w.sum()
    return Summary(float(weight.sum()), mean, variance, low, high, log_mean, log_variance)


def make_source(
    table: Table,
    family: Family,
    *,
    n_components: int,
    knowledge: Knowledge | None = None,
    sample_weight: Array | None = None,
    for_fit: bool = True,
    n_jobs: int = 1,
) -> InMemorySource:
    """Check and encode a table for a family.

    With `for_fit`, rows of weight 0 and rows with nothing observed are left out and columns must vary where the family
    needs it; without, every row stays, so that each gets a prediction.

    Raises
    ------
    DataError
        Whatever is wrong with the data, named by row and column.
    """
    schema = None if family.binding is None else family.binding.schema
    x, schema = encode(table, family.support, family=family.name, schema=schema)
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    if not for_fit:
        return InMemorySource(x, weight, schema, n_components, knowledge, n_jobs=n_jobs, where=table.where)
    unobserved = says_nothing(x, family.support)
    source = InMemorySource(
        x, weight, schema, n_components, knowledge, n_unobserved=int(unobserved.sum()), n_jobs=n_jobs, where=table.where
    ).take(np.flatnonzero((weight > 0) & ~unobserved))
    _check_columns(source, family)
    return source


def says_nothing(x: Array, support: Support) -> NDArray[np.bool_]:
    """Which rows have no observed cell, or lack one without which the others say nothing."""
    missing = np.isnan(x)
    return np.asarray(missing.any(axis=1) if support.missing_is_joint else missing.all(axis=1))


def _check_columns(source: InMemorySource, family: Family) -> None:
    """Raise if a column says nothing, or does not vary where the family needs it."""
    if source.n_rows == 0:
        raise DataError.no_rows("the data that count: all rows are without an observed cell")
    summary = source.summary
    for j, name in enumerate(source.schema.names):
        if summary.minimum[j] > summary.maximum[j]:
            raise DataError.all_missing(column=name)
        if not family.support.must_vary or source.n_rows == 1:
            continue
        if summary.minimum[j] == summary.maximum[j]:
            raise DataError.constant_column(family=family.name, column=name, value=f"{summary.minimum[j]:g}")
        if not LEAST_VARIANCE < summary.variance[j] < 1 / LEAST_VARIANCE:
            raise DataError.scale(family=family.name, column=name, low=summary.minimum[j], high=summary.maximum[j])


def plain_source(model: Any, table: Table, sample_weight: Array | None) -> InMemorySource:
    """Numbers as they are, for a user's own model: no family says what they should be."""
    x, schema = encode(table, ANYTHING, family=type(model).__name__)
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    return InMemorySource(x, weight, schema)
