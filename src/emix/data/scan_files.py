"""Scans of files: Parquet, Arrow IPC, CSV; a folder or a glob stands for many."""

from __future__ import annotations

import glob
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emix.data.scan import ROWS, Batch, Scan
from emix.data.table import read_frame
from emix.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


PIECE_ROWS = 500_000
"""Rows from which a file, or some row groups of one, are a part of their own."""
READ_BYTES = 1 << 18
"""Of one column of a Parquet file that are read at a time."""


@dataclass(frozen=True)
class FileScan(Scan):
    """Files of one kind, read in the order of their names."""

    files: tuple[Path, ...] = ()
    kind: str = "parquet"
    schema: Any = None
    rows_of_files: tuple[int, ...] | None = None
    stamps: tuple[tuple[int, int], ...] | None = None
    """Size and time of each file when the scan was made; None where other machines read them."""
    row_groups: tuple[int, ...] = ()
    """Of the only file, where these are not all."""
    first_row: int = 0
    """Of these in the file."""

    @property
    def n_rows(self) -> int | None:
        return None if self.rows_of_files is None else sum(self.rows_of_files)

    @property
    def where_it_is(self) -> str:
        return f"'{self.files[0]}'" + (f" and {len(self.files) - 1} more files" if len(self.files) > 1 else "")

    def where(self, row: int) -> str:
        if self.rows_of_files is None:
            return f"row {row + 1}" if len(self.files) > 1 else f"row {row + 1} of '{self.files[0].name}'"
        edges = np.cumsum(self.rows_of_files)
        i = int(np.searchsorted(edges, row, side="right"))
        inside = row - (int(edges[i - 1]) if i else 0)
        return f"row {self.first_row + inside + 1} of '{self.files[min(i, len(self.files) - 1)].name}'"

    def fingerprint(self) -> list[Any]:
        found: list[Any] = [self.kind, [str(one) for one in self.schema]]
        for path, stamp in zip(self.files, self.stamps or map(stamp_of, self.files), strict=True):
            found.append([str(path), *stamp])
        return found

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        wanted = self.names if names is None else tuple(names)
        start = 0
        read = partial(_parquet, groups=self.row_groups) if self.row_groups else READERS[self.kind]
        for i, path in enumerate(self.files):
            self._check_unchanged(i)
            first = start
            try:
                for record in read(path, wanted, self.schema):
                    table = read_frame(record)
                    yield Batch(replace(table, place=_Place(path.name, self.first_row + start - first)), start)
                    start += table.n_rows
            except DataError:  # of what was written meanwhile
                self._check_unchanged(i)
                raise
            self._check_unchanged(i)
            if self.rows_of_files is not None and start - first != self.rows_of_files[i]:
                raise DataError.changed_file(path, before=self.rows_of_files[i], now=start - first, unit="rows")

    def _check_unchanged(self, i: int) -> None:
        """Raise if a file is no longer what it was when the scan was made."""
        now = stamp_of(self.files[i])
        if self.stamps is not None and now != self.stamps[i]:
            raise DataError.changed_file(self.files[i], before=self.stamps[i][0], now=now[0], unit="bytes")

    def pieces(self) -> list[FileScan]:
        """Parts to be read side by side: each file by itself, and of large Parquet files their row groups."""
        found: list[FileScan] = []
        for i, path in enumerate(self.files):
            n_rows = None if self.rows_of_files is None else (self.rows_of_files[i],)
            own = replace(self, files=(path,), rows_of_files=n_rows, stamps=None)
            found += own._groups() if n_rows is not None and n_rows[0] > PIECE_ROWS else [own]
        return found

    def _groups(self) -> Iterator[FileScan]:
        """Row groups that follow each other, until there are enough rows."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.files[0], memory_map=True) as file:
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        first, groups = 0, list[int]()
        for g in range(len(sizes)):
            groups.append(g)
            n = sum(sizes[i] for i in groups)
            if n >= PIECE_ROWS or g == len(sizes) - 1:
                yield replace(self, row_groups=tuple(groups), rows_of_files=(n,), first_row=first)
                first, groups = first + n, []


@dataclass(frozen=True)
class _Place:
    """Names a row of a batch: the file, and the row in it."""

    file: str
    first: int

    def __call__(self, row: int) -> str:
        return f"row {self.first + row + 1} of '{self.file}'"


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of a file that must be there."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError.vanished_file(path) from error
    return stat.st_size, stat.st_mtime_ns


def _parquet(path: Path, names: Sequence[str], schema: Any, groups: Sequence[int] = ()) -> Iterator[pa.RecordBatch]:
    """Row groups in order, decoded batch by batch; of each column a little is read ahead, not the whole row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done, wanted, ends = 0, list(groups), [0]
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
            check_same(path, file.schema_arrow, schema, names)
            wanted = wanted or list(range(file.num_row_groups))
            ends = np.cumsum([file.metadata.row_group(g).num_rows for g in wanted]).tolist()
            for record in file.iter_batches(ROWS, wanted, list(names), use_threads=False):
                yield record.select(list(names))
                done += record.num_rows
    except (pa.ArrowException, OSError) as error:
        first, last = bisect_right(ends, done), bisect_left(ends, done + ROWS)
        group = _damaged_group(path, names, wanted[first : last + 1])
        place = "" if group is None else f"In row group {group}: "
        raise DataError.damaged_file(path, detail=place + _first_line(error)) from error


def _damaged_group(path: Path, names: Sequence[str], groups: Sequence[int]) -> int | None:
    """The first of some row groups, which one batch spans, that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for group in groups:
        try:
            with pq.ParquetFile(path) as file:
                file.read_row_group(group, list(names), use_threads=False)
        except (pa.ArrowException, OSError):
            return group
    return None


def _ipc(path: Path, names: Sequence[str], schema: Any) -> Iterator[pa.RecordBatch]:
    """Record batches of an Arrow file, straight from a memory map; of a stream, one by one."""
    import pyarrow as pa

    number = 0
    try:
        with pa.memory_map(str(path)) as source:
            try:
                file = pa.ipc.open_file(source)
                check_same(path, file.schema, schema, names)
                for number in range(file.num_record_batches):
                    yield file.get_batch(number).select(list(names))
                return
            except pa.ArrowInvalid:
                if number:
                    raise
            source.seek(0)
            stream = pa.ipc.open_stream(source)
            check_same(path, stream.schema, schema, names)
            for record in stream:
                yield record.select(list(names))
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError.damaged_file(path, detail=f"In record batch {number}: {_first_line(error)}") from error


def _csv(path: Path, names: Sequence[str], schema: Any) -> Iterator[pa.RecordBatch]:
    """Blocks of lines, with the types that the first file showed."""
    import pyarrow as pa

    from emix.data.files import csv_failure, open_csv

    try:
        with open_csv(path, types={one.name: one.type for one in schema}, columns=names) as reader:
            yield from reader
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise csv_failure(path, _first_line(error), schema) from error


READERS: dict[str, Callable[[Path, Sequence[str], Any], Iterator[Any]]] = {
    "parquet": _parquet,
    "ipc": _ipc,
    "csv": _csv,
}
SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
}


def check_same(path: Path, found: Any, schema: Any, names: Sequence[str]) -> None:
    """Raise if a file lacks a column, or holds it twice, or of another type than the first file."""
    for name in names:
        if found.names.count(name) > 1:
            raise DataError.repeated_column(column=name, path=path)
        if name not in found.names:
            raise DataError.column_missing_in_file(path, column=name, available=found.names)
        if schema is not None and not are_alike(found.field(name).type, schema.field(name).type):
            raise DataError.type_differs_in_file(
                path, column=name, required=str(schema.field(name).type), found=str(found.field(name).type)
            )


def are_alike(one: Any, other: Any) -> bool:
    """Whether cells of both types are read alike: numbers as numbers, text as text."""
    import pyarrow as pa

    def kind(of: Any) -> str:
        of = of.value_type if pa.types.is_dictionary(of) else of
        if pa.types.is_floating(of) or pa.types.is_integer(of):
            return "number"
        if pa.types.is_string(of) or pa.types.is_large_string(of) or str(of) == "string_view":
            return "text"
        return str(of)

    return kind(one) == kind(other) or "null" in (kind(one), kind(other))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def scan_files(files: Sequence[Path], memory_limit: int) -> FileScan:
    """A scan of files of one kind with the same columns.

    Raises
    ------
    DataError
        They are of several kinds, cannot be read, or their columns differ.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {SUFFIXES.get(path.suffix.lower()) for path in files}
    if len(kinds) > 1 or None in kinds:
        raise DataError.file_kinds(files, known=SUFFIXES)
    kind = str(kinds.pop())
    schemas: list[Any] = []
    rows, stamps = [], []
    for path in files:
        stamps.append(stamp_of(path))
        try:
            if kind == "parquet":
                with pq.ParquetFile(path, memory_map=True) as file:
                    schemas.append(file.schema_arrow)
                    rows.append(file.metadata.num_rows)
            elif kind == "ipc":
                schemas.append(_ipc_schema(path))
            else:
                schemas.append(_csv_schema(path, schemas[0] if schemas else None))
        except (pa.ArrowException, OSError) as error:
            raise DataError.damaged_file(path, detail=_first_line(error)) from error
    first = schemas[0]
    for path, schema in zip(files, schemas, strict=True):
        check_same(path, schema, first, first.names)
        extra = [name for name in schema.names if name not in first.names]
        if extra:
            raise DataError.column_missing_in_file(files[0], column=extra[0], available=first.names)
    known = tuple(rows) if kind == "parquet" else None
    return FileScan(tuple(first.names), tuple(files), kind, first, known, tuple(stamps), memory_limit=memory_limit)


def _csv_schema(path: Path, first: Any) -> Any:
    """Columns and types of the first CSV file; of another its columns, with the types that the first has."""
    import pyarrow as pa

    from emix.data.files import csv_schema, header_of

    if first is None:
        return csv_schema(path)
    own = dict(zip(first.names, first.types, strict=True))
    return pa.schema([(name, own.get(name, pa.null())) for name in header_of(path)])


def _ipc_schema(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_file(source).schema
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).schema


def is_many(path: str | Path) -> bool:
    """Whether a path stands for files to be scanned: a folder, a glob, or an Arrow file."""
    text = str(path)
    return Path(path).is_dir() or _is_glob(text) or Path(path).suffix.lower() in (".arrow", ".feather", ".ipc")


def _is_glob(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).exists()


def _is_hidden(path: Path) -> bool:
    """Whether a file, or a folder that it lies in, is passed over: `_temporary`, `.ipynb_checkpoints`."""
    return any(part.startswith(("_", ".")) for part in path.parts)


def distinct_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files that several paths, folders or globs stand for.

    Raises
    ------
    DataError
        There are none, or one comes twice.
    """
    found = [path for one in paths for path in files_of(one)]
    seen: set[Path] = set()
    for path in found:
        if path.resolve() in seen:
            raise DataError.repeated_file(path)
        seen.add(path.resolve())
    return found


def files_of(path: str | Path) -> list[Path]:
    """The files that a path, folder or glob stands for, in the order of their names.

    Raises
    ------
    DataError
        There are none.
    """
    path = Path(path)
    if _is_glob(str(path)):
        found = sorted(Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file())
    elif path.is_dir():
        found = sorted(
            one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and not _is_hidden(one.relative_to(path))
        )
        if not found:
            raise DataError.no_file_in(path, known=SUFFIXES)
    else:
        found = [path]
    if not found:
        raise DataError.no_file(path)
    for one in found:
        if not one.is_file():
            raise DataError.no_file(one)
    return found
