"""The rows that paths on the command line stand for: a file, several, a folder or a glob."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emix.data.scan import Scan
from emix.data.scan_files import is_many
from emix.data.scan_readers import scan
from emix.data.table import Table, read_table
from emix.errors import DataError


def are_many(paths: Sequence[Path]) -> bool:
    """Whether the paths stand for files that are read as their rows stream by."""
    return len(paths) > 1 or is_many(paths[0])


def rows_in_memory(paths: Sequence[Path], what: str) -> Table:
    """All rows, for a command that asks for them at once.

    Raises
    ------
    DataError
        They cannot be read, or are too many files' for that.
    """
    if not are_many(paths):
        return read_table(paths[0])
    rows = scan(list(paths))
    if not rows.is_small:
        raise DataError.needs_memory(what)
    return rows.read()


def in_memory(rows: Scan, known: dict[str, Any]) -> tuple[Table, dict[str, Any]]:
    """A small scan as a table, and its labels and weights as columns."""
    table = rows.read()
    names = {name: known[name] for name in ("labels", "sample_weight") if known[name] is not None}
    return table.without(*names.values()), {**known, **{name: table.column(one) for name, one in names.items()}}


def tables(paths: Sequence[Path]) -> Iterator[Table]:
    """The rows of a file; of many files batch by batch."""
    if not are_many(paths):
        yield read_table(paths[0])
        return
    for batch in scan(list(paths)).batches():
        yield batch.table
