"""Tables that are larger than memory, read again at each pass: files, memory maps, readers of Arrow batches.

One small protocol carries them all: a `Scan` knows its columns and hands out its rows, in order, again and again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.data.table import Table
from emix.errors import DataError

SMALL = 64 * 1024 * 1024
"""Bytes (8 a cell) up to which a scan is simply read into memory."""
ROWS = 65_536
"""Rows of a batch, where its source leaves the choice."""


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a scan as a table that knows where they came from."""

    table: Table
    start: int
    """Position of the first row in the scan."""


@dataclass(frozen=True)
class Scan(ABC):
    """Rows that are read batch by batch, as often as needed; made by `emix.scan`.

    Attributes
    ----------
    names : tuple of str
        Columns that are read; others are not even decoded.
    memory_limit : int
        Bytes up to which all rows are read into memory, where they then stay; 0 streams always.
    """

    names: tuple[str, ...]
    memory_limit: int = field(default=SMALL, kw_only=True)

    def select(self, names: Sequence[str]) -> Self:
        """These columns in this order.

        Raises
        ------
        DataError
            There is no such column.
        """
        for name in names:
            if name not in self.names:
                raise DataError.unknown_column(column=name, available=self.names)
        return replace(self, names=tuple(names))

    def without(self, *names: str) -> Self:
        """All columns but these."""
        return self.select([name for name in self.names if name not in names])

    @property
    def n_rows(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        return None

    @property
    def dtype(self) -> Any:
        """Of the cells of rows that are summed."""
        return np.dtype(np.float64)

    @abstractmethod
    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        """All rows, in order, of these columns (default: of all).

        Raises
        ------
        DataError
            What is read is damaged, or not what it was at first; the file and the place in it are named.
        """

    @abstractmethod
    def fingerprint(self) -> list[Any]:
        """What tells whether these are still the same data: names, sizes and times; as plain JSON."""

    @property
    def is_small(self) -> bool:
        """Whether the rows may simply be read into memory."""
        if self.memory_limit <= 0:
            return False
        n = self.n_rows
        if n is None:
            n = 0
            for batch in self.batches():
                n += batch.table.n_rows
                if 8 * n * len(self.names) > self.memory_limit:
                    return False
        return 8 * n * len(self.names) <= self.memory_limit

    def read(self, names: Sequence[str] | None = None) -> Table:
        """All rows in memory."""
        names = self.names if names is None else tuple(names)
        tables = [batch.table for batch in self.batches(names)]
        if not tables or sum(table.n_rows for table in tables) == 0:
            raise DataError.no_rows(self.where_it_is)
        columns = tuple(joined_cells([table.column(name) for table in tables]) for name in names)
        return Table(names, columns, place=self.where)

    def first(self) -> Table | None:
        """The first rows, as they come; None where there are none."""
        return next((batch.table for batch in self.batches()), None)

    def head(self, n: int) -> Table:
        """About n rows, evenly spread over all where their number is known: for a first look."""
        step = max(1, (self.n_rows or 0) // n)
        tables, found = [], 0
        for batch in self.batches():
            first = -batch.start % step
            tables.append(batch.table.take(np.arange(first, batch.table.n_rows, step)))
            found += tables[-1].n_rows
            if self.n_rows is None and found >= n:
                break
        if found == 0:
            raise DataError.no_rows(self.where_it_is)
        columns = tuple(joined_cells([table.column(name) for table in tables]) for name in self.names)
        return Table(self.names, columns)

    @property
    def where_it_is(self) -> str:
        """The source in words."""
        return "the source"

    def where(self, row: int) -> str:
        """A row in words."""
        return f"row {row}"


def joined_cells(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Cells of one column from all batches; where some are objects, all are."""
    if any(part.dtype == object for part in parts) and not all(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else _as_objects(part) for part in parts]
    return np.concatenate(parts)


def _as_objects(part: NDArray[Any]) -> NDArray[Any]:
    """Numbers as objects; an all-missing batch of text is numbers until then."""
    missing = np.isnan(part) if part.dtype.kind == "f" else np.zeros(len(part), dtype=np.bool_)
    cells = part.astype(object)
    cells[missing] = None
    return cells
