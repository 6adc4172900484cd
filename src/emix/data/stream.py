"""Rows that stream by: read again at each pass, checked at the first, and cut into the same chunks as rows in memory.

Whatever the sizes of files, row groups and batches, the chunks are those of `InMemorySource`, so that sums over them
have the same bits. While a chunk is summed, the next ones are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Chunk, Expectation, Schema, Summary
from emix.data.digest import digest_of
from emix.data.encode import check_cells
from emix.data.gathering import Collapsing, Drawn, Kept, drawn_below
from emix.data.knowledge import Knowledge
from emix.data.preparation import Preparation
from emix.data.reading import Block, Reading, asked_of, cut, read_as, supports_of
from emix.data.scan import Batch, Scan
from emix.data.source import (
    COLLAPSE_FROM,
    SAMPLED,
    InMemorySource,
    block_edges,
    check_columns,
    hash_rows,
    needs_logs,
    parts_of,
)
from emix.data.summary import COMPILE_FROM, Found, Look, look_at
from emix.data.sums import TreeSum
from emix.errors import DataError
from emix.families import Family
from emix.threads import each_in_order

Piece = tuple[Block, int, int]
"""Some chunks of a block: the first, and the one after the last."""


@dataclass(frozen=True)
class StreamedSource:
    """The rows of a scan that count; see `InMemorySource`, whose twin it is.

    Attributes
    ----------
    n_rows : int
        Rows that count.
    n_unobserved : int
        Rows without an observed cell.
    """

    reading: Reading
    summary: Summary
    n_rows: int
    n_unobserved: int = 0
    digest: int = 0
    """Of weights and labels."""
    n_jobs: int = 1
    preparation: Preparation | None = None
    log_bases: dict[int, float] = field(default_factory=dict, repr=False)
    """By the first row of a chunk: computed at the first pass."""

    rows: NDArray[np.intp] | None = None
    is_streamed: ClassVar[bool] = True

    @property
    def schema(self) -> Schema:
        """Columns and levels."""
        return self.reading.schema

    @property
    def n_components(self) -> int:
        """K."""
        return self.reading.n_components

    @property
    def component_names(self) -> tuple[str, ...] | None:
        """Names of the components, where labels gave them."""
        return self.reading.component_names

    @property
    def knowledge(self) -> Knowledge | None:
        """Never of all rows at once: labels stream by with them."""
        return None

    @property
    def is_complete(self) -> bool:
        """No cell is missing."""
        return self.summary.is_complete

    def fingerprint(self) -> list[Any]:
        """Names, sizes and times of the files; which columns hold weights and labels, and a digest of these."""
        return [*self.reading.scan.fingerprint(), self.reading.weights, self.reading.labels, self.digest]

    @property
    def total_weight(self) -> float:
        """Of the rows that count."""
        return self.summary.total_weight

    def where(self, row: int) -> str:
        """One of the rows that count, in words."""
        seen = 0
        for batch in self.reading.scan.batches(self.reading.names):
            rows, _ = self.reading.rows(batch)
            if row < seen + len(rows):
                return batch.table.where(int(rows.positions[row - seen]) - batch.start)
            seen += len(rows)
        return f"row {row}"

    def with_jobs(self, n_jobs: int) -> Self:
        """The same rows, summed by so many threads."""
        return replace(self, n_jobs=n_jobs)

    def for_components(self, n_components: int) -> Self:
        """The same rows for a model of so many components."""
        if n_components == self.n_components:
            return self
        changed = replace(self, reading=replace(self.reading, n_components=n_components))
        return changed if self.preparation is None else changed.prepared_for(self.preparation.family)

    def prepared_for(self, family: Family) -> Self:
        """The same rows; what is computed of a chunk before it is summed is computed at each pass."""
        prepare = Preparation.of(family, self.summary, self.schema, self.n_rows, self.n_components)
        return replace(self, preparation=prepare, log_bases={})

    @property
    def _is_ordered(self) -> bool:
        """Whether rows are put into the order of their patterns of missing cells, window by window."""
        family = None if self.preparation is None else self.preparation.family
        return family is not None and family.groups_by_pattern and not self.is_complete

    @property
    def _blocks(self) -> Iterator[Block]:
        return cut(self.reading, self.n_rows, is_complete=self.is_complete, is_ordered=self._is_ordered)

    @property
    def chunks(self) -> Iterator[Chunk]:
        """The rows, cut; not yet prepared."""
        for block in self._blocks:
            yield from block.chunks

    @property
    def n_chunks(self) -> int:
        """Into how many chunks the rows are cut."""
        return -(-self.n_rows // CHUNK_ROWS)

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree: the same bits as for rows in memory."""
        return self.sum_pieces(fn, ((block, 0, block.n_chunks) for block in self._blocks))

    def in_blocks(self, n_blocks: int) -> Iterator[StreamedGroup]:
        """Consecutive groups of chunks, each to be summed before the next is asked for: one reading of the files."""
        rest = Rest(self._blocks)
        for first, last in block_edges(self.n_chunks, n_blocks):
            yield StreamedGroup(self, rest.next_chunks(last - first))
        rest.finish()

    def sum_pieces(self, fn: Callable[[Chunk], Expectation], pieces: Iterator[Piece]) -> Expectation:
        """Sum of fn(chunk) over some of the rows, which are read meanwhile."""
        prepare, known, tree = self.preparation, self.log_bases, TreeSum()

        def sums(piece: Piece) -> list[Expectation]:
            block, first, last = piece
            found = []
            for chunk in block.some_chunks(first, last):
                if prepare is not None:
                    chunk = prepare(chunk, known.get(chunk.start))
                    known[chunk.start] = chunk.log_base or 0.0
                found.append(fn(chunk))
            return found

        each_in_order(sums, pieces, tree.add_all, self.n_jobs)
        return tree.total

    def _in_memory(self, x: NDArray[Any], weight: Array, labels: NDArray[np.intp] | None) -> InMemorySource:
        """Some of the rows, held in memory."""
        known = None if labels is None else Knowledge(labels, names=self.reading.component_names)
        family = None if self.preparation is None else self.preparation.family
        own = (self.schema, self.summary, self.n_components, known)
        return InMemorySource(x, weight, *own, n_jobs=self.n_jobs, family=family, where=self.where)

    def sample(self, n: int, seed: int) -> InMemorySource:
        """About n distinct rows with their weights, drawn by a seeded hash of their content; in one pass."""
        kept = Kept()

        def ranked(block: Block) -> list[Drawn]:
            return [drawn_below(kept.limit, chunk, seed) for chunk in block.chunks]

        def keep(found: list[Drawn]) -> None:
            for one in found:
                kept.add(one)
            if kept.n_rows > 4 * n:
                kept.shrink(n)

        each_in_order(ranked, self._blocks, keep, self.n_jobs)
        if kept.n_rows > n:
            kept.shrink(n)
        drawn = kept.joined
        return replace(self._in_memory(drawn.x, drawn.weight, drawn.labels), rows=drawn.positions)

    def n_distinct(self, enough: int) -> int:
        """Number of distinct rows, counted no further than `enough`."""
        seen: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        for chunk in self.chunks:
            seen = np.unique(np.concatenate([seen, hash_rows(chunk.x)]))
            if len(seen) >= enough:
                break
        return len(seen)

    def collapsed(self) -> Self | InMemorySource:
        """Rows that repeat as one row with their weights added, then in memory; decided as for rows in memory."""
        if self.n_rows < COLLAPSE_FROM:
            return self
        step = max(1, self.n_rows // SAMPLED)
        some = np.concatenate([hash_rows(chunk.x[-chunk.start % step :: step]) for chunk in self.chunks])
        if 4 * len(np.unique(some)) > len(some):
            return self
        counted = Collapsing(self.summary, self.n_rows, 1 if self.reading.labels is None else 1 + self.n_components)
        for chunk in self.chunks:
            if not counted.add(chunk):
                return self
        return self._in_memory(*counted.rows)


class Rest:
    """What is still to be read in a pass."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks, self._done = blocks, 0
        self._block: Block | None = None

    def next_chunks(self, n: int) -> Iterator[Piece]:
        """The next n chunks, as parts of the blocks that they are read in."""
        while n:
            if self._block is None or self._done == self._block.n_chunks:
                self._block, self._done = next(self._blocks), 0
            first = self._done
            self._done = min(first + n, self._block.n_chunks)
            n -= self._done - first
            yield self._block, first, self._done

    def finish(self) -> None:
        """After the last chunk nothing may follow: the source says so if something does."""
        for _ in self._blocks:
            pass


@dataclass(frozen=True)
class StreamedGroup:
    """Some consecutive chunks of a source, to be read once."""

    source: StreamedSource
    pieces: Iterator[Piece]

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree."""
        return self.source.sum_pieces(fn, self.pieces)


def make_stream(
    scan: Scan,
    family: Family | None,
    *,
    n_components: int,
    weights: str | None = None,
    labels: str | None = None,
    names: tuple[str, ...] | None = None,
    n_jobs: int = 1,
) -> StreamedSource:
    """Look at all rows of a scan once, check them for a family, and be ready to read them again.

    Where there are categories or names of labels, a pass of its own over these columns finds them first.

    Raises
    ------
    DataError
        Whatever is wrong with the data, named by file, row and column.
    """
    if family is not None and any(one.needs_values for one, _, _ in asked_of(family, scan.names)):
        raise DataError.needs_memory(f"the family '{family}'")
    reading = read_as(scan, family, n_components, weights, labels, names)
    look = _look(reading, n_jobs, n_expected=scan.n_rows)
    n_rows = look.n_rows
    if n_rows == 0:
        raise DataError.no_rows("the data that count: all rows are without an observed cell or of weight 0")
    expected = scan.n_rows
    if _is_large(n_rows, reading) != (expected is None or _is_large(expected, reading)):
        look = _look(reading, n_jobs, n_expected=n_rows)
    summary = look.summary
    source = StreamedSource(reading, summary, n_rows, look.n_unobserved, look.digest, n_jobs=n_jobs)
    if family is not None:
        for one, group in parts_of(family, reading.schema):
            check_columns(reading.schema, summary, n_rows, one, range(*group.indices(len(reading.schema.names))))
    return source


def _is_large(n_rows: int, reading: Reading) -> bool:
    return n_rows * len(reading.schema.names) >= COMPILE_FROM


class _Looked(NamedTuple):
    """Rows that count, those without an observed cell, the summary, and a digest of weights and labels."""

    n_rows: int
    n_unobserved: int
    summary: Summary
    digest: int


def _look(reading: Reading, n_jobs: int, *, n_expected: int | None) -> _Looked:
    """Look at all rows; every cell is checked."""
    d = len(reading.schema.names)
    places = places_of(reading)
    looks = [Look(group.stop - group.start, with_logs=log) for group, log in places]
    n_unobserved = n_rows = digest = 0
    has_aside = reading.weights is not None or reading.labels is not None
    # the rows that count are not known yet where their number is asked for: 0 leaves that unchecked
    is_large = n_expected is None or n_expected * d >= COMPILE_FROM

    def checked() -> Iterator[Batch]:
        nonlocal n_unobserved
        for batch in reading.scan.batches(reading.names):
            check_batch(reading, batch, is_large=is_large)
            n_unobserved += reading.rows(batch)[1]
            yield batch

    def seen(block: Block) -> list[tuple[int, int, list[Found]]]:
        return [
            (
                len(chunk.x),
                digest_of(chunk.weight, chunk.labels) if has_aside else 0,
                [look_at(chunk.x[:, g], chunk.weight, with_logs=log, is_large=is_large) for g, log in places],
            )
            for chunk in block.chunks
        ]

    def add(found: list[tuple[int, int, list[Found]]]) -> None:
        nonlocal n_rows, digest
        for n, aside, parts_found in found:
            n_rows += n
            digest = digest_of(np.array([aside]), after=digest)
            for look, one in zip(looks, parts_found, strict=True):
                look.add(one)

    on_the_way = replace(reading, scan=_Checked(reading.scan.names, checked))
    each_in_order(seen, cut(on_the_way, 0, is_complete=False, is_ordered=False), add, n_jobs)
    if n_rows == 0:
        return _Looked(0, n_unobserved, nothing(d), digest)
    return _Looked(n_rows, n_unobserved, Summary.joined([look.summary for look in looks]), digest)


def places_of(reading: Reading) -> list[tuple[slice, bool]]:
    """Where the columns of each family lie, and whether it asks for moments of their logarithms."""
    if reading.family is None:
        return [(slice(0, len(reading.schema.names)), False)]
    return [(group, needs_logs(one)) for one, group in parts_of(reading.family, reading.schema)]


def check_batch(reading: Reading, batch: Batch, *, is_large: bool) -> None:
    """Raise for the first cell that its family cannot take."""
    x = reading.cells(batch.table)
    for support, name, group in supports_of(reading.family, reading.schema):
        own = x[:, group]
        one = Look(own.shape[1], with_logs=False)
        one.add(look_at(own, np.ones(len(own)), with_logs=False, is_large=is_large))
        names = reading.schema.names[group]
        check_cells(own, one.summary, support, family=name, table=batch.table.select(names), names=names)


@dataclass(frozen=True)
class _Checked(Scan):
    """A scan whose batches are looked at on their way."""

    read_on: Callable[[], Iterator[Batch]] = field(default=lambda: iter(()), repr=False)

    def batches(self, names: Any = None) -> Iterator[Batch]:
        return self.read_on()

    def fingerprint(self) -> list[Any]:
        return []


def nothing(d: int) -> Summary:
    """Of no rows."""
    none = np.zeros(d)
    return Summary(0.0, none, none, none, none, none, none, none, none, none)
