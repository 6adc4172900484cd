"""From the batches of a scan to chunks of rows that count, the same whatever the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Chunk, Level, Schema, is_missing, readable
from emix.data.encode import column_names, distinct_cells, encode, levels_of
from emix.data.knowledge import checked_weights, read_labels
from emix.data.preparation import window_rows
from emix.data.scan import Batch, Scan
from emix.data.source import ANYTHING, parts_of, says_nothing
from emix.data.summary import COMPILE_FROM
from emix.data.table import Table
from emix.errors import DataError
from emix.families import Columns, Family, Support
from emix.families.patterns import pattern_keys

BLOCK_CELLS = 1_000_000
"""Cells that a thread takes at a time."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that count, as they come: side by side, or column by column."""

    weight: Array
    labels: NDArray[np.intp] | None
    positions: NDArray[np.intp]
    columns: tuple[NDArray[Any], ...] = ()
    x: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def put(self, x: NDArray[Any], to: slice, part: slice) -> None:
        """Copy some of the rows into those of x."""
        if self.x is not None:
            x[to] = self.x[part]
            return
        for j, column in enumerate(self.columns):
            x[to, j] = column[part]


@dataclass(frozen=True)
class Reading:
    """How a batch becomes rows: which columns, which family reads them, and which hold weights and labels."""

    scan: Scan
    family: Family | None
    schema: Schema
    n_components: int
    weights: str | None = None
    labels: str | None = None
    label_codes: Mapping[Any, int] | None = None
    component_names: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are read."""
        beside = [name for name in (self.weights, self.labels) if name is not None]
        return (*self.schema.names, *(name for name in beside if name not in self.schema.names))

    @property
    def is_plain(self) -> bool:
        """Whether cells are read as they are: numbers."""
        return all(levels is None for levels in self.schema.levels)

    def cells(self, table: Table) -> NDArray[Any]:
        """All rows of a table as numbers (B, d)."""
        parts = []
        for support, name, group in supports_of(self.family, self.schema):
            own = table.select(self.schema.names[group])
            x, _ = encode(own, support, family=name, schema=_part(self.schema, group))
            parts.append(readable(x))  # small integers, whose negative codes are missing, do not go beside floats
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def weight_of(self, batch: Batch) -> Array:
        """Row weights of a batch."""
        table = batch.table
        if self.weights is None:
            return np.ones(table.n_rows)
        return checked_weights(table.column(self.weights), table)

    def rows(self, batch: Batch) -> tuple[Rows, int]:
        """The rows of a batch that count, and how many have nothing observed."""
        table, weight = batch.table, self.weight_of(batch)
        labels, x = self._labels(table), None
        columns: tuple[NDArray[Any], ...] = ()
        own = [table.column(name) for name in self.schema.names]
        if self.is_plain and all(one.dtype.kind in "fiu" for one in own):
            columns = tuple(own)
            silent = self._silent(columns)
        else:
            x = self.cells(table)
            silent = None if self.family is None else says_nothing(x, self.family)
        counts = weight > 0
        n_unobserved = 0
        if silent is not None:
            n_unobserved = int(silent.sum())
            counts &= ~silent
        positions = np.arange(batch.start, batch.start + table.n_rows)
        if counts.all():
            return Rows(weight, labels, positions, columns, x), n_unobserved
        labels = None if labels is None else labels[counts]
        columns = tuple(column[counts] for column in columns)
        return Rows(weight[counts], labels, positions[counts], columns, None if x is None else x[counts]), n_unobserved

    def _silent(self, columns: tuple[NDArray[Any], ...]) -> NDArray[np.bool_] | None:
        """Rows of numbers with nothing observed; None where the first column tells that there is none."""
        if self.family is None:
            return None
        holes = [is_missing(one) if one.dtype.kind == "f" else np.zeros(len(one), dtype=np.bool_) for one in columns]
        if not any(one.any() for one in holes):
            return None
        silent = np.ones(len(holes[0]), dtype=np.bool_)
        for one, group in parts_of(self.family, self.schema):
            missing = np.stack(holes[group], axis=1)
            silent &= missing.any(axis=1) if one.support.missing_is_joint else missing.all(axis=1)
        return silent

    def _labels(self, table: Table) -> NDArray[np.intp] | None:
        if self.labels is None:
            return None
        cells = table.column(self.labels)
        if self.label_codes is not None:
            codes = [self.label_codes[_label_of(cell)] for cell in cells.tolist()]
            return np.array(codes, dtype=np.intp)
        return read_labels(cells, n_components=self.n_components, n_rows=table.n_rows, table=table).labels


@dataclass(frozen=True)
class Block:
    """Consecutive rows that count, not yet put together: some chunks, or a window of them to be put in order."""

    pieces: tuple[tuple[Rows, slice], ...]
    start: int
    size: int
    n_rows: int
    n_columns: int
    dtype: Any
    is_complete: bool
    is_ordered: bool

    @property
    def n_chunks(self) -> int:
        """Into how many chunks it is cut."""
        return -(-self.size // CHUNK_ROWS)

    @property
    def chunks(self) -> Iterator[Chunk]:
        """One after the other."""
        return self.some_chunks(0, self.n_chunks)

    def some_chunks(self, first: int, last: int) -> Iterator[Chunk]:
        """From the first to the one before the last; only a window is put together as a whole."""
        starts = range(first * CHUNK_ROWS, min(last * CHUNK_ROWS, self.size), CHUNK_ROWS)
        if not self.is_ordered:
            for at in starts:
                yield self._chunk(at, *self._put_together(at, min(at + CHUNK_ROWS, self.size)))
            return
        x, weight, labels = self._put_together(0, self.size)
        order = np.argsort(pattern_keys(x), kind="stable")
        for at in starts:
            rows = order[at : at + CHUNK_ROWS]
            yield self._chunk(at, x[rows], weight[rows], None if labels is None else labels[rows])

    def _chunk(self, at: int, x: NDArray[Any], weight: Array, labels: NDArray[np.intp] | None) -> Chunk:
        return Chunk(x, weight, self.start + at, self.n_rows, self.is_complete, labels)

    def _put_together(self, start: int, stop: int) -> tuple[NDArray[Any], Array, NDArray[np.intp] | None]:
        """Rows from `start` to `stop`, with columns one after the other where compiled kernels read them."""
        is_large = self.n_rows * self.n_columns >= COMPILE_FROM
        x = np.empty((stop - start, self.n_columns), self.dtype, order="F" if is_large else "C")
        weight = np.empty(len(x))
        has_labels = self.pieces[0][0].labels is not None
        labels = np.empty(len(x), dtype=np.intp) if has_labels else None
        at = 0
        for rows, part in self.pieces:
            low, high = max(at, start), min(at + part.stop - part.start, stop)
            if low < high:
                own, to = slice(part.start + low - at, part.start + high - at), slice(low - start, high - start)
                rows.put(x, to, own)
                weight[to] = rows.weight[own]
                if labels is not None and rows.labels is not None:
                    labels[to] = rows.labels[own]
            at += part.stop - part.start
        return x, weight, labels


def cut(reading: Reading, n_rows: int, *, is_complete: bool, is_ordered: bool) -> Iterator[Block]:
    """The rows that count, in blocks of whole chunks, the same whatever the batches; 0 rows: not known yet."""
    d = len(reading.schema.names)
    size = window_rows(d) if is_ordered else max(1, BLOCK_CELLS // (CHUNK_ROWS * d)) * CHUNK_ROWS
    about = (n_rows, d, reading.scan.dtype, is_complete, is_ordered)
    start, at = 0, 0
    pieces: list[tuple[Rows, slice]] = []
    for batch in reading.scan.batches(reading.names):
        rows, _ = reading.rows(batch)
        done = 0
        while done < len(rows):
            n = min(size - at, len(rows) - done)
            pieces.append((rows, slice(done, done + n)))
            at, done = at + n, done + n
            if at == size:
                yield Block(tuple(pieces), start, size, *about)
                start, at, pieces = start + size, 0, []
    if at:
        yield Block(tuple(pieces), start, at, *about)
    if n_rows and start + at != n_rows:
        raise DataError.changed_source(reading.scan.where_it_is, before=n_rows, now=start + at)


def read_as(
    scan: Scan,
    family: Family | None,
    n_components: int,
    weights: str | None,
    labels: str | None,
    component_names: tuple[str, ...] | None = None,
    distinct: Distinct | None = None,
) -> Reading:
    """Columns, levels of categories, and codes of named labels; `distinct` finds these, by default in one pass here."""
    for name in (weights, labels):
        if name is not None and name not in scan.names:
            raise DataError.unknown_column(column=name, available=scan.names)
    own = scan.without(*[name for name in (weights, labels) if name is not None])
    first = own.first()
    if first is None or first.n_rows == 0:
        raise DataError.no_rows(scan.where_it_is)
    known = None if family is None or family.binding is None else family.binding.schema
    names: list[str] = []
    is_open: list[bool] = []
    declared: list[tuple[Level, ...] | None] = []
    for i, (support, name, part_names) in enumerate(asked_of(family, own.names)):
        part = None
        if known is not None and isinstance(family, Columns):
            part = _part(known, family.column_groups(known)[i])
        elif known is not None:
            part = known
        chosen = column_names(first.select(part_names), support, family=name, schema=part)
        names += chosen
        declared += [support.levels_of(one) if support.is_categorical else None for one in chosen]
        is_open += [support.is_categorical and part is None and own is None for own in declared[len(is_open) :]]
    levels = declared if known is None else list(known.levels)
    reading = Reading(scan, family, Schema(tuple(names), tuple(levels)), n_components, weights, labels)
    wanted = [name for name, open_ in zip(names, is_open, strict=True) if open_]
    found = (distinct or distinct_values)(reading, wanted, labels)
    for j, open_ in enumerate(is_open):
        if open_:
            levels[j] = levels_of(found[names[j]], names[j])
    reading = replace(reading, schema=Schema(tuple(names), tuple(levels)))
    if labels is None or all(value is None or not isinstance(value, str) for value in found[labels]):
        return reading
    given = np.array(sorted({name for v in found[labels] if (name := _label_of(v))}), dtype=object)
    n, none = len(given), Table((), ())
    known_labels = read_labels(given, n_components=n_components, n_rows=n, table=none, names=component_names)
    codes: dict[Any, int] = {None: -1, "": -1}
    codes |= {str(name): k for k, name in enumerate(known_labels.names or ())}
    return replace(reading, label_codes=codes, component_names=known_labels.names)


def _label_of(cell: Any) -> str | None:
    """The name in a cell of labels; where a batch has none at all, its cells are NaN."""
    return None if cell is None or cell != cell else str(cell)


Distinct = Callable[[Reading, list[str], str | None], dict[str, set[Any]]]
"""Like `distinct_values`."""


def distinct_values(reading: Reading, columns: list[str], labels: str | None) -> dict[str, set[Any]]:
    """The different cells of columns of categories, in rows of positive weight, and of the labels."""
    found: dict[str, set[Any]] = {name: set() for name in (*columns, *([labels] if labels is not None else []))}
    if not found:
        return found
    beside = [] if reading.weights is None else [reading.weights]
    for batch in reading.scan.batches([*dict.fromkeys([*found, *beside])]):
        counts = reading.weight_of(batch) > 0
        for name, values in found.items():
            cells = batch.table.column(name)
            cells = cells if name == labels else cells[counts]
            values |= distinct_cells(cells)
    return found


def asked_of(family: Family | None, names: tuple[str, ...]) -> Iterator[tuple[Support, str, tuple[str, ...]]]:
    """Support, name and columns of each part of a family."""
    if not isinstance(family, Columns):
        yield (ANYTHING if family is None else family.support), ("model" if family is None else family.name), names
        return
    for part in family.parts:
        beside = part.family.support.bound_column
        yield part.family.support, part.family.name, part.names if beside is None else (*part.names, beside)


def supports_of(family: Family | None, schema: Schema) -> list[tuple[Support, str, slice]]:
    """Support, name and place of the columns of each part of a family."""
    if family is None:
        return [(ANYTHING, "model", slice(0, len(schema.names)))]
    return [(one.support, one.name, group) for one, group in parts_of(family, schema)]


def _part(schema: Schema, group: slice) -> Schema:
    return Schema(schema.names[group], schema.levels[group])
