"""Rows in memory, checked and cut into chunks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import (
    CHUNK_ROWS,
    Array,
    Chunk,
    Expectation,
    Schema,
    Summary,
    as_cells,
    is_missing,
    mix,
    readable,
    updated,
)
from emix.data.digest import digest_of
from emix.data.encode import COMPACT_FROM, check_cells, encode
from emix.data.knowledge import Knowledge
from emix.data.preparation import PACK_FROM, Preparation, ordered_by_pattern
from emix.data.summary import summarize
from emix.data.sums import tree_sum
from emix.data.table import Table
from emix.errors import DataError
from emix.families import Columns, Family, Support
from emix.kernels import dispatch
from emix.threads import map_in_order

COLLAPSE_FROM = 256
"""Rows from which it is looked whether they repeat."""
SAMPLED = 16_384
"""Rows that are looked at for that."""
COUNTED = 1 << 22
"""Different packed rows that are counted in a table rather than sorted."""
DISTINCT = 4_000_000
"""Different rows above which they are not collapsed: also a stream holds them all while it counts."""
LEAST_VARIANCE = 1e-280
"""A variance that is smaller, or larger than its inverse, leaves no room for the products that a fit forms."""
SUMS_SHARE = 4
"""Large sums of all chunks together take at most one in so many bytes of the rows."""
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
    n_source_rows : int
        Of the whole that these rows are a part of; 0 where they are all. What pays is decided by it.
    """

    x: NDArray[Any]
    weight: Array
    schema: Schema
    summary: Summary
    n_components: int = 1
    knowledge: Knowledge | None = None
    rows: NDArray[np.intp] | None = None
    n_unobserved: int = 0
    n_jobs: int = 1
    family: Family | None = None
    where: Callable[[int], str] = field(default=lambda row: f"row {row}", repr=False)
    n_source_rows: int = 0

    @property
    def n_rows(self) -> int:
        """Rows that count."""
        return len(self.x)

    def sample(self, n: int, seed: int) -> Self:
        """About n distinct rows with their weights; all rows where there are no more.

        Drawn by a seeded hash of their content: neither order nor repetition changes which.
        """
        if self.n_rows <= n:
            return self
        rank = mix(self.row_hash ^ np.uint64(seed))
        return self.take(np.flatnonzero(rank <= np.partition(rank, n - 1)[n - 1]))

    def collapsed(self) -> Self:
        """Rows that repeat, in cells and in known label, as one row with their weights added; decided from a sample."""
        if self.n_rows < COLLAPSE_FROM or (self.knowledge is not None and self.knowledge.labels is None):
            return self
        step = max(1, self.n_rows // SAMPLED)
        some = hash_rows(as_cells(self.x[::step]))
        if 4 * len(np.unique(some)) > len(some):
            return self
        codes, n_codes = self._codes()
        if n_codes is None:
            _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
            if len(first) > DISTINCT:
                return self
            weight = np.bincount(inverse.ravel(), weights=self.weight).astype(np.float64)
        else:  # few enough to count: no sort
            total = np.bincount(codes, weights=self.weight, minlength=n_codes)
            position = np.empty(n_codes, dtype=np.intp)
            position[codes[::-1]] = np.arange(self.n_rows - 1, -1, -1)
            present = np.flatnonzero(total > 0)
            if len(present) > DISTINCT:
                return self
            weight, first = total[present].astype(np.float64), position[present]
        return replace(self.take(first), weight=weight)

    def _codes(self) -> tuple[NDArray[Any], int | None]:
        """One whole number per row, equal for equal rows; and how many there can be, where few enough to count."""
        known = None if self.knowledge is None else self.knowledge.labels
        summary = self.summary
        if not summary.n_fractional.any() and not summary.n_infinite.any():
            sizes = summary.maximum - summary.minimum + 1 + (summary.n_missing > 0)
            n_labels = 1 if known is None else self.n_components + 1
            n_codes = float(np.prod(sizes)) * n_labels
            if n_codes <= max(COUNTED, 2 * self.n_rows):
                strides = np.concatenate([[1], np.cumprod(sizes)[:-1]]).astype(np.int64)
                parts = [slice(i, i + CHUNK_ROWS) for i in range(0, self.n_rows, CHUNK_ROWS)]
                missing = (sizes - 1).astype(np.int64)
                is_large = self.x.size >= PACK_FROM
                packed = map_in_order(
                    lambda part: dispatch.pack(
                        readable(self.x[part]), summary.minimum, strides, missing, is_large=is_large
                    ),
                    parts,
                    self.n_jobs,
                )
                codes = np.concatenate(packed)
                if known is not None:
                    codes += (known + 1) * int(np.prod(sizes))
                return codes, int(n_codes)
        key = self.row_hash
        return (key if known is None else mix(key ^ (known + 1).astype(np.uint64))), None

    @property
    def is_complete(self) -> bool:
        """No cell is missing."""
        return self.summary.is_complete

    is_streamed: ClassVar[bool] = False

    @property
    def component_names(self) -> tuple[str, ...] | None:
        """Names of the components, where labels gave them."""
        return None if self.knowledge is None else self.knowledge.names

    def fingerprint(self) -> list[Any]:
        """A digest of the rows, their weights, and what is known of their labels."""
        known = (None, None) if self.knowledge is None else (self.knowledge.labels, self.knowledge.q)
        return [digest_of(*self._cells, self.weight, *known)]

    @property
    def _cells(self) -> tuple[NDArray[Any], ...]:
        """All arrays that hold cells."""
        return (self.x,)

    @property
    def total_weight(self) -> float:
        """Of the rows that count."""
        return self.summary.total_weight

    def take(self, rows: NDArray[np.intp], *, is_subset: bool = True) -> Self:
        """Only these rows, or all of them in this order."""
        if is_subset and len(rows) == self.n_rows:
            return self
        known = None if self.knowledge is None else self.knowledge.take(rows)
        positions = rows if self.rows is None else self.rows[rows]
        x = self.x[rows]
        x = as_cells(x) if x.dtype.kind == "i" and x.size < COMPACT_FROM else x
        return replace(self, x=x, weight=self.weight[rows], knowledge=known, rows=positions)

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The rows, cut; with what no parameter touches, where it is known for which family they are read."""
        chunks, size, n_all = [], CHUNK_ROWS, self.n_source_rows or self.n_rows
        if self.family is not None and self.family.support.needs_values:
            size = rows_per_chunk(self.n_rows, self.x.nbytes, 8 * self.n_components * (1 + self.family.n_sums))
        for start in range(0, self.n_rows, size):
            part = slice(start, start + size)
            known = {} if self.knowledge is None else self.knowledge.part(part)
            chunks.append(Chunk(self.x[part], self.weight[part], start, n_all, self.is_complete, **known))
        if self.family is None:
            return tuple(chunks)
        prepare = Preparation.of(self.family, self.summary, self.schema, n_all, self.n_components)
        return tuple(map_in_order(prepare, chunks, self.n_jobs))

    def prepared_for(self, family: Family) -> Self:
        """The same rows; log base measures, codes, and of few rows the statistics, are computed once for all passes.

        Where the family sums by patterns of missing cells, the rows are put into their order.
        """
        if not family.groups_by_pattern or self.is_complete:
            return replace(self, family=family)
        return replace(self.take(ordered_by_pattern(self.x), is_subset=False), family=family)

    def for_components(self, n_components: int) -> Self:
        """The same rows for a model of so many components, with all that does not depend on their number."""
        most = max(n_components, self.n_components)
        if n_components == self.n_components:
            return self
        if self.family is None or self.n_rows * most * (1 + self.family.n_sums) >= dispatch.COMPILE_FROM:
            return replace(self, n_components=n_components)
        return updated(self, n_components=n_components, chunks=self.chunks)

    def with_jobs(self, n_jobs: int) -> Self:
        """The same rows, summed by so many threads."""
        return updated(self, n_jobs=n_jobs, chunks=self.chunks)

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree: the same bits for any number of threads."""
        return tree_sum(map_in_order(fn, list(self.chunks), self.n_jobs))

    @property
    def n_chunks(self) -> int:
        """Into how many chunks the rows are cut."""
        return len(self.chunks)

    def in_blocks(self, n_blocks: int) -> Iterator[ChunkGroup]:
        """Consecutive groups of chunks, as nearly equal as can be."""
        for first, last in block_edges(len(self.chunks), n_blocks):
            yield ChunkGroup(self.chunks[first:last], self.n_jobs)

    @cached_property
    def row_hash(self) -> NDArray[np.uint64]:
        """64 bits per row that depend on nothing but its cells."""
        return hash_rows(self.x)

    def n_distinct(self, enough: int) -> int:
        """Number of distinct rows, counted no further than `enough`."""
        some = hash_rows(self.x[: 64 * enough + 1024])
        found = len(np.unique(some))
        return found if found >= enough or len(some) == self.n_rows else len(np.unique(self.row_hash))

    def coordinates(self, family: Family) -> Array:
        """(n, e) standardised coordinates for starts; a missing one is at the mean.

        Rounded, so that the order in which the moments were summed does not decide between equally near centres.
        """
        points = family.coordinates(as_cells(self.x))
        moments = summarize(points, self.weight)
        scale = np.sqrt(np.where(moments.variance > 0, moments.variance, 1.0))
        standard = points - moments.mean
        del points  # there may be many: a table of categories has one for each level
        standard /= scale
        np.round(standard, 9, out=standard)
        standard[np.isnan(standard)] = 0.0
        return standard

    def known_responsibilities(self) -> tuple[NDArray[np.bool_], Array] | None:
        """Which rows have label knowledge, and q of those rows scaled to sum to 1."""
        return None if self.knowledge is None else self.knowledge.responsibilities(self.n_components)


def rows_per_chunk(n_rows: int, n_bytes: int, sums_bytes: int) -> int:
    """Where sums are large: so many rows that those of all chunks together stay small beside the rows."""
    n_chunks = int(np.clip(n_bytes // (SUMS_SHARE * sums_bytes), 1, -(-n_rows // CHUNK_ROWS)))
    return -(-n_rows // n_chunks)


@dataclass(frozen=True)
class ChunkGroup:
    """Some consecutive chunks."""

    chunks: Sequence[Chunk]
    n_jobs: int

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree."""
        return tree_sum(map_in_order(fn, self.chunks, self.n_jobs))


def block_edges(n_chunks: int, n_blocks: int) -> list[tuple[int, int]]:
    """First chunk of each block and of the next: as nearly equal as can be, and fixed by the two numbers."""
    edges = [b * n_chunks // n_blocks for b in range(n_blocks + 1)]
    return list(itertools.pairwise(edges))


def hash_rows(x: Array) -> NDArray[np.uint64]:
    """64 bits per row (n, d) that depend on nothing but its cells; equal for equal rows."""
    h = np.zeros(len(x), dtype=np.uint64)
    for column in x.T:
        cells = as_cells(column) + 0.0  # -0.0 becomes 0.0
        bits = np.where(np.isnan(cells), np.nan, cells).view(np.uint64)
        h = mix(h ^ (bits + np.uint64(0x9E3779B97F4A7C15)))
    return h


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
    weight = np.ones(table.n_rows) if sample_weight is None else sample_weight
    x, schema, summary = _read(table, family, weight, n_jobs)
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    source = InMemorySource(x, weight, schema, summary, n_components, knowledge, n_jobs=n_jobs, where=table.where)
    if not for_fit:
        return source
    counts = weight > 0
    if not summary.is_complete:
        unobserved = says_nothing(x, family)
        counts &= ~unobserved
        source = replace(source, n_unobserved=int(unobserved.sum()))
    if not counts.any():
        raise DataError.no_rows("the data that count: all rows are without an observed cell")
    if not counts.all():
        source = source.take(np.flatnonzero(counts))
        if family.binding is None:
            source = _with_levels_that_occur(source, family)
            schema = source.schema
        parts = [
            summarize(
                source.x[:, group],
                source.weight,
                with_logs=needs_logs(one),
                with_values=one.support.needs_values,
                n_jobs=n_jobs,
            )
            for one, group in parts_of(family, schema)
        ]
        source = replace(source, summary=Summary.joined(parts))
    for one, group in parts_of(family, schema):
        check_columns(schema, source.summary, source.n_rows, one, range(*group.indices(len(schema.names))))
    return source


def _with_levels_that_occur(source: InMemorySource, family: Family) -> InMemorySource:
    """Without the levels that only rows hold which were left out: they would be parameters that nothing tells."""
    x, schema, levels = source.x, source.schema, list(source.schema.levels)
    declared = [one.support.levels_of(n) for one, group in parts_of(family, schema) for n in schema.names[group]]
    for j, known in enumerate(levels):
        if known is None or declared[j] is not None:
            continue
        column = as_cells(x[:, j])
        used = np.unique(column[~np.isnan(column)]).astype(np.intp)
        if 0 < len(used) < len(known):
            code = np.full(len(known), -1)
            code[used] = np.arange(len(used))
            x = x.copy() if x is source.x else x
            seen = ~np.isnan(column)
            x[seen, j] = code[column[seen].astype(np.intp)]
            levels[j] = tuple(known[i] for i in used)
    return replace(source, x=x, schema=Schema(source.schema.names, tuple(levels)))


def _read(table: Table, family: Family, weight: Array, n_jobs: int) -> tuple[NDArray[Any], Schema, Summary]:
    """Cells as numbers (n, d), their columns and a first look at them, each part of the columns for its family."""
    known = None if family.binding is None else family.binding.schema
    if not isinstance(family, Columns):
        return _read_part(table, family, known, weight, n_jobs)
    found = []
    for i, part in enumerate(family.parts):
        own = None
        if known is not None:
            group = family.column_groups(known)[i]
            own = Schema(known.names[group], known.levels[group])
        beside = part.family.support.bound_column
        names = part.names if beside is None else (*part.names, beside)
        found.append(_read_part(table.select(names), part.family, own, weight, n_jobs))
    names = tuple(name for _, schema, _ in found for name in schema.names)
    levels = tuple(one for _, schema, _ in found for one in schema.levels)
    x = np.empty((table.n_rows, len(names)))
    for (cells, _, _), group in zip(found, family.column_groups(Schema(names, levels)), strict=True):
        x[:, group] = readable(cells)  # beside others: a missing category is NaN, not a negative code
    return x, Schema(names, levels), Summary.joined([summary for _, _, summary in found])


def _read_part(
    table: Table, family: Family, known: Schema | None, weight: Array, n_jobs: int
) -> tuple[NDArray[Any], Schema, Summary]:
    support = family.support
    x, schema = encode(table, support, family=family.name, schema=known)
    weight = weight if len(weight) == len(x) else np.ones(len(x))
    summary = summarize(x, weight, with_logs=needs_logs(family), with_values=support.needs_values, n_jobs=n_jobs)
    check_cells(x, summary, support, family=family.name, table=table, names=schema.names)
    return x, schema, summary


def needs_logs(family: Family) -> bool:
    """Whether a family's pivot is that of the logarithms."""
    return family.support.lower == 0 and not family.support.lower_is_allowed


def parts_of(family: Family, schema: Schema) -> list[tuple[Family, slice]]:
    """The families of the columns and where these lie."""
    if isinstance(family, Columns):
        return list(zip((part.family for part in family.parts), family.column_groups(schema), strict=True))
    return [(family, slice(0, len(schema.names)))]


def says_nothing(x: Array, family: Family) -> NDArray[np.bool_]:
    """Which rows have no observed cell, or lack one without which the others say nothing."""
    silent = np.ones(len(x), dtype=np.bool_)
    schema = Schema(tuple("" for _ in x.T), (None,) * x.shape[1])
    for one, group in parts_of(family, schema):
        missing = is_missing(x[:, group])
        silent &= missing.any(axis=1) if one.support.missing_is_joint else missing.all(axis=1)
    return silent


def that_count(source: InMemorySource, family: Family) -> NDArray[np.bool_]:
    """Which rows of a dense source count: of positive weight, and with something observed. A label alone says nothing.

    A fit leaves the others out; what else sums over rows must too, or it were of other rows than those of the fit.
    """
    return np.asarray((source.weight > 0) & ~says_nothing(source.x, family))


def check_columns(schema: Schema, summary: Summary, n_rows: int, family: Family, columns: Iterable[int]) -> None:
    """Raise if a column says nothing, or does not vary where the family needs it."""
    for j in columns:
        name = schema.names[j]
        if summary.minimum[j] > summary.maximum[j]:
            raise DataError.all_missing(column=name)
        if not family.support.must_vary or n_rows == 1:
            continue
        if summary.minimum[j] == summary.maximum[j]:
            raise DataError.constant_column(family=family.name, column=name, value=f"{summary.minimum[j]:g}")
        if not LEAST_VARIANCE < summary.variance[j] < 1 / LEAST_VARIANCE:
            raise DataError.scale(family=family.name, column=name, low=summary.minimum[j], high=summary.maximum[j])


def plain_source(model: Any, table: Table, sample_weight: Array | None) -> InMemorySource:
    """Numbers as they are, for a user's own model: no family says what they should be."""
    x, schema = encode(table, ANYTHING, family=type(model).__name__)
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    return InMemorySource(x, weight, schema, summarize(x, weight))
