"""Rows in partitions that stay where they are: on the workers of a Dask cluster, or in the threads of this process.

Each partition is read, checked and encoded once, where it is, into rows in memory: an `InMemorySource` of its own. A
pass sends the model to them and brings back sums, added up by a tree whose order depends on the number of partitions
alone: the same bits for any number of workers, and after a worker was lost and its partitions were read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Chunk, Expectation, Schema, Summary, updated
from emix.data.dask_graph import check_workers, client_of, combined, computed, each, kept, readable_by_dask
from emix.data.dask_scan import DaskScan
from emix.data.digest import digest_of
from emix.data.gathering import Drawn, Kept, drawn_below
from emix.data.knowledge import Knowledge
from emix.data.preparation import Preparation
from emix.data.reading import Reading, asked_of, distinct_values, read_as
from emix.data.scan import SMALL, Batch, Scan
from emix.data.source import (
    COLLAPSE_FROM,
    SAMPLED,
    InMemorySource,
    block_edges,
    check_columns,
    hash_rows,
    parts_of,
)
from emix.data.stream import check_batch, nothing, places_of
from emix.data.summary import COMPILE_FROM, Found, Look, look_at
from emix.data.sums import tree_sum
from emix.data.table import Table
from emix.errors import DataError, ImpossibleRowError
from emix.families import Family

HELD = 1 << 30
"""Bytes, 8 a cell, up to which rows stay in this process where there is no cluster; above, each pass reads them."""


@dataclass(frozen=True)
class Partition:
    """The rows of a partition that count, where it is.

    Attributes
    ----------
    rows : InMemorySource
        Their positions are those in the partition.
    found : tuple of Found
        What was seen of them, for each family of columns; None once all partitions are summed up.
    n_unobserved : int
        Rows that were left out because nothing of them is observed.
    """

    rows: InMemorySource
    found: tuple[Found, ...] = ()
    n_unobserved: int = 0
    shares_rows: bool = False

    def __sizeof__(self) -> int:
        """Bytes, for Dask to know what a worker holds; of rows that another state of the partition holds, none."""
        own = () if self.shares_rows else (self.rows.x, self.rows.weight)
        chunks = vars(self.rows).get("chunks", ())
        beside = [one for chunk in chunks for one in (chunk.codes, chunk.statistics) if one is not None]
        return 1_000 + sum(int(one.nbytes) for one in (*own, *beside))

    def __reduce__(self) -> tuple[Any, ...]:
        """The rows alone: what was prepared of them is prepared again where they go, with the same bits."""
        return Partition, (replace(self.rows), self.found, self.n_unobserved)


@dataclass(frozen=True)
class DaskSource:
    """The rows of a Dask collection that count; see `InMemorySource`, of which each partition is one.

    Attributes
    ----------
    parts : tuple of Delayed
        A `Partition` for each partition that has rows: held by the workers, or by this process where they are few.
    lengths : tuple of int
        Their rows that count.
    is_held : bool
        Whether they are held, and not read anew at each pass.
    is_collapsed : bool
        Whether rows that repeat within a partition are one.
    """

    parts: tuple[Any, ...]
    lengths: tuple[int, ...]
    schema: Schema
    summary: Summary
    n_components: int
    component_names: tuple[str, ...] | None
    n_unobserved: int
    about: tuple[Any, ...]
    is_held: bool
    is_collapsed: bool = False
    family: Family | None = None

    knowledge: ClassVar[None] = None
    rows: ClassVar[None] = None
    is_streamed: ClassVar[bool] = True

    @property
    def n_rows(self) -> int:
        """Rows that count."""
        return sum(self.lengths)

    @property
    def is_complete(self) -> bool:
        """No cell is missing."""
        return self.summary.is_complete

    @property
    def total_weight(self) -> float:
        """Of the rows that count."""
        return self.summary.total_weight

    @property
    def _firsts(self) -> list[int]:
        """Position of the first row of each partition among those that count."""
        return list(accumulate(self.lengths, initial=0))[:-1]

    def fingerprint(self) -> list[Any]:
        """What tells the collection, which columns hold weights and labels, and of each partition length and digest."""
        return list(self.about)

    def where(self, row: int) -> str:
        """One of the rows that count, in words."""
        i = int(np.searchsorted(self._firsts, row, side="right")) - 1
        found: str = computed(each(_place, [self.parts[i]], shared=row - self._firsts[i]))[0]
        return found

    def with_jobs(self, n_jobs: int) -> Self:
        """The same rows: how many partitions are summed side by side is Dask's to say."""
        return self

    def for_components(self, n_components: int) -> Self:
        """The same rows for a model of so many components."""
        if n_components == self.n_components:
            return self
        parts = self._held(each(_for_components, self.parts, shared=n_components))
        changed = replace(self, parts=parts, n_components=n_components)
        return changed if self.family is None else changed.prepared_for(self.family)

    def prepared_for(self, family: Family) -> Self:
        """The same rows, with what the family computes of them once."""
        prepare = Preparation.of(family, self.summary, self.schema, self.n_rows, self.n_components)
        return replace(self, parts=self._held(each(_prepared, self.parts, shared=prepare)), family=family)

    def _held(self, parts: Sequence[Any]) -> tuple[Any, ...]:
        return kept(parts) if self.is_held else tuple(parts)

    @property
    def chunks(self) -> Iterator[Chunk]:
        """The rows, cut, brought to this process partition by partition; not prepared."""
        for part, first in zip(self.parts, self._firsts, strict=True):
            own: Partition = computed([part])[0]
            for chunk in replace(own.rows, family=None).chunks:
                yield replace(chunk, start=first + chunk.start)

    @property
    def n_chunks(self) -> int:
        """Partitions: blocks of rows are groups of these."""
        return len(self.parts)

    def in_blocks(self, n_blocks: int) -> Iterator[Self]:
        """Consecutive groups of partitions, as nearly equal in number as can be."""
        for first, last in block_edges(len(self.parts), n_blocks):
            yield replace(self, parts=self.parts[first:last], lengths=self.lengths[first:last])

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree within each partition and one over them."""
        total: Expectation = combined(_summed, tree_sum, self.parts, self._firsts, shared=fn)
        return total

    def _in_memory(self, drawn: Drawn) -> InMemorySource:
        known = None if drawn.labels is None else Knowledge(drawn.labels, names=self.component_names)
        own = (self.schema, self.summary, self.n_components, known, drawn.positions)
        return InMemorySource(drawn.x, drawn.weight, *own, family=self.family, where=self.where)

    def sample(self, n: int, seed: int) -> InMemorySource:
        """About n distinct rows with their weights, drawn by a seeded hash of their content: the same as in memory."""
        how = _Draw(n, seed, self.is_collapsed)
        return self._in_memory(combined(_drawn, how.merged, self.parts, self._firsts, shared=how))

    def n_distinct(self, enough: int) -> int:
        """Number of distinct rows, counted no further than `enough`."""

        def merged(found: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
            return np.unique(np.concatenate(found))[:enough]

        for some in (self.parts[:1], self.parts):
            n = len(combined(_hashes, merged, some, shared=enough))
            if n >= enough:
                break
        return n

    def collapsed(self) -> Self | InMemorySource:
        """Rows that repeat within a partition as one with their weights added; all in memory where these are few."""
        if self.n_rows < COLLAPSE_FROM:
            return self
        step = max(1, self.n_rows // SAMPLED)
        some = combined(_some_hashes, np.concatenate, self.parts, self._firsts, shared=step)
        if 4 * len(np.unique(some)) > len(some):
            return self
        parts = self._held(each(_collapsed, self.parts))
        lengths = tuple(computed(each(_length, parts)))
        found = replace(self, parts=parts, lengths=lengths, is_collapsed=True)
        return found.sample(found.n_rows, 0) if 8 * found.n_rows * len(self.schema.names) <= SMALL else found


def make_dask_source(
    scan: DaskScan,
    family: Family | None,
    *,
    n_components: int,
    weights: str | None = None,
    labels: str | None = None,
    names: tuple[str, ...] | None = None,
) -> DaskSource:
    """Read, check and encode all partitions where they are, and keep them there.

    Where there are categories or names of labels, a pass of its own over these columns finds them first.

    Raises
    ------
    DataError
        Whatever is wrong with the data, named by partition, row and column.
    ClusterError
        The workers lack emix, or the cluster is lost.
    """
    check_workers()
    is_cluster = client_of() is not None
    tables: tuple[Any, ...] = ()

    def distinct(reading: Reading, columns: list[str], known: str | None) -> dict[str, set[Any]]:
        nonlocal tables
        if not columns and known is None:
            return {}
        tables = scan.tables(reading.names)
        tables = kept(tables) if is_cluster else tables
        found = each(_distinct, tables, shared=(_light(reading), columns, known))
        results: list[dict[str, set[Any]]] = readable_by_dask(scan.partitions(reading.names), found)
        return {name: set().union(*(one[name] for one in results)) for name in results[0]}

    if family is not None and any(one.needs_values for one, _, _ in asked_of(family, scan.names)):
        raise DataError.needs_memory(f"the family '{family}'")
    reading = read_as(scan, family, n_components, weights, labels, names, distinct)
    tables = tables or scan.tables(reading.names)
    parts = each(_read, tables, shared=_light(reading))
    parts = kept(parts) if is_cluster else parts
    looks = readable_by_dask(scan.partitions(reading.names), each(_look_of, parts))
    summary = _summary(reading, looks)
    d, lengths = len(reading.schema.names), [look.n_rows for look in looks]
    is_held = is_cluster or 8 * sum(lengths) * d <= HELD
    parts = each(_bound, parts, shared=(summary, sum(lengths)))
    source = DaskSource(
        tuple(part for part, n in zip(parts, lengths, strict=True) if n),
        tuple(n for n in lengths if n),
        reading.schema,
        summary,
        n_components,
        reading.component_names,
        sum(look.n_unobserved for look in looks),
        (*scan.fingerprint(), weights, labels, lengths, [look.digest for look in looks]),
        is_held,
    )
    if family is not None:
        for one, group in parts_of(family, reading.schema):
            check_columns(reading.schema, summary, source.n_rows, one, range(*group.indices(d)))
    return replace(source, parts=source._held(source.parts))


class _Looked(NamedTuple):
    """What was seen of a partition."""

    n_rows: int
    n_unobserved: int
    found: tuple[Found, ...]
    digest: int
    """Of weights and labels."""


def _summary(reading: Reading, looks: Sequence[_Looked]) -> Summary:
    """Of all partitions, in their order.

    Raises
    ------
    DataError
        No row counts.
    """
    looks = [look for look in looks if look.n_rows]
    if not looks:
        raise DataError.no_rows("the data that count: all rows are without an observed cell or of weight 0")
    parts = []
    for i, (group, with_logs) in enumerate(places_of(reading)):
        merged = Look(group.stop - group.start, with_logs=with_logs)
        for look in looks:
            merged.add(look.found[i])
        parts.append(merged.summary)
    return Summary.joined(parts)


# -- what happens where a partition is ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OneTable(Scan):
    """A partition as a scan."""

    table: Table | None = None
    kind: Any = np.float64

    @property
    def dtype(self) -> Any:
        return np.dtype(self.kind)

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        if self.table is not None:
            yield Batch(self.table if names is None else self.table.select(names), 0)

    def fingerprint(self) -> list[Any]:
        return []


def _for_components(part: Partition, n_components: int) -> Partition:
    return replace(part, rows=replace(part.rows, n_components=n_components), shares_rows=True)


def _light(reading: Reading) -> Reading:
    """Without the collection: what travels to the workers."""
    return replace(reading, scan=_OneTable((), kind=reading.scan.dtype))


def _distinct(table: Table, how: tuple[Reading, list[str], str | None]) -> dict[str, set[Any]]:
    reading, columns, labels = how
    return distinct_values(replace(reading, scan=_OneTable(table.names, table)), columns, labels)


def _read(table: Table, reading: Reading) -> Partition:
    """Check and encode the rows of a partition, and look at them."""
    d, dtype, K = len(reading.schema.names), reading.scan.dtype, reading.n_components
    if table.n_rows == 0:
        return Partition(InMemorySource(np.empty((0, d), dtype), np.zeros(0), reading.schema, nothing(d), K))
    batch, is_large = Batch(table, 0), table.n_rows * d >= COMPILE_FROM
    check_batch(reading, batch, is_large=is_large)
    rows, n_unobserved = reading.rows(batch)
    x = np.empty((len(rows), d), dtype, order="F" if is_large else "C")
    rows.put(x, slice(None), slice(None))
    looks = []
    for group, with_logs in places_of(reading):
        look = Look(group.stop - group.start, with_logs=with_logs)
        for start in range(0, len(x), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            look.add(look_at(x[part, group], rows.weight[part], with_logs=with_logs, is_large=is_large))
        looks.append(look)
    known = None if rows.labels is None else Knowledge(rows.labels, names=reading.component_names)
    positions = None if len(rows) == table.n_rows else rows.positions
    place = table.place or (lambda row: f"row {row}")  # without the table that it names rows of
    weight = np.ascontiguousarray(rows.weight)  # a column of a table may lie in steps; a sum of steps has other bits
    source = InMemorySource(x, weight, reading.schema, nothing(d), K, known, positions, where=place)
    return Partition(source, tuple(look.found for look in looks) if len(x) else (), n_unobserved)


def _look_of(partition: Partition, _: None) -> _Looked:
    rows = partition.rows
    digest = digest_of(rows.weight, None if rows.knowledge is None else rows.knowledge.labels)
    return _Looked(rows.n_rows, partition.n_unobserved, partition.found, digest)


def _bound(partition: Partition, whole: tuple[Summary, int]) -> Partition:
    """With what is known of all partitions."""
    summary, n_rows = whole
    return Partition(replace(partition.rows, summary=summary, n_source_rows=n_rows))


def _prepared(partition: Partition, prepare: Preparation) -> Partition:
    """With what the family computes of the rows once; all partitions of a worker share the coding."""
    rows = partition.rows.prepared_for(prepare.family)
    chunks = tuple(prepare(chunk) for chunk in replace(rows, family=None).chunks)
    return Partition(updated(rows, chunks=chunks), shares_rows=rows.x is partition.rows.x)


def _collapsed(partition: Partition, _: None) -> Partition:
    rows = partition.rows.collapsed()
    return Partition(rows, shares_rows=rows is partition.rows)


def _length(partition: Partition, _: None) -> int:
    return partition.rows.n_rows


def _place(partition: Partition, row: int) -> str:
    rows = partition.rows
    return rows.where(row if rows.rows is None else int(rows.rows[row]))


def _summed(partition: Partition, fn: Callable[[Chunk], Expectation], first: int) -> Expectation:
    try:
        return partition.rows.sum_over_chunks(fn)
    except ImpossibleRowError as error:
        raise ImpossibleRowError.at(first + error.row) from error


@dataclass(frozen=True)
class _Draw:
    """A sample that is drawn partition by partition, and merged."""

    n: int
    seed: int
    merges_repeats: bool

    def of(self, chunk: Chunk) -> Drawn:
        """Of the rows of a partition."""
        everything = Kept()
        return self._smallest([drawn_below(everything.limit, chunk, self.seed)])

    def merged(self, found: Sequence[Drawn]) -> Drawn:
        """Of several partitions."""
        return self._smallest(found)

    def _smallest(self, found: Sequence[Drawn]) -> Drawn:
        kept_rows = Kept()
        for one in found:
            kept_rows.add(one)
        if self.merges_repeats:
            joined = kept_rows.joined
            kept_rows = Kept()
            kept_rows.add(_without_repeats(joined))
        if kept_rows.n_rows > self.n:
            kept_rows.shrink(self.n)
        return kept_rows.joined


def _without_repeats(drawn: Drawn) -> Drawn:
    """Rows of equal rank, which is a hash of their content, and equal label as one, with their weights added."""
    keys = [drawn.rank] if drawn.labels is None else [drawn.rank, drawn.labels.astype(np.uint64)]
    _, first, inverse = np.unique(np.stack(keys, axis=1), axis=0, return_index=True, return_inverse=True)
    weight: Array = np.bincount(inverse.ravel(), weights=drawn.weight).astype(np.float64)
    return replace(drawn.take(first), weight=weight)


def _drawn(partition: Partition, how: _Draw, first: int) -> Drawn:
    rows = partition.rows
    labels = None if rows.knowledge is None else rows.knowledge.labels
    return how.of(Chunk(rows.x, rows.weight, first, labels=labels))


def _hashes(partition: Partition, enough: int) -> NDArray[np.uint64]:
    """Of distinct rows, no more than `enough`."""
    x = partition.rows.x
    for some in (x[: 64 * enough + 1024], x):
        found = np.unique(hash_rows(some))
        if len(found) >= enough:
            break
    return found[:enough]


def _some_hashes(partition: Partition, step: int, first: int) -> NDArray[np.uint64]:
    """Of every so manieth row, counted over all partitions."""
    return hash_rows(partition.rows.x[-first % step :: step])
