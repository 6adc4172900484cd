"""Scans of memory maps, and of whatever hands out Arrow record batches; `scan` takes all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emix.data.scan import ROWS, SMALL, Batch, Scan
from emix.data.scan_files import are_alike, distinct_files, scan_files, stamp_of
from emix.data.table import from_matrix, read_frame
from emix.errors import DataError


@dataclass(frozen=True)
class ArrayScan(Scan):
    """A large array (n, d), such as a NumPy memory map."""

    array: Any = None
    stamp: tuple[int, int] | None = None
    """Size and time of the file of a memory map that only reads, when the scan was made."""

    @property
    def n_rows(self) -> int | None:
        return len(self.array)

    @property
    def dtype(self) -> Any:
        return np.dtype(np.float32 if self.array.dtype == np.float32 else np.float64)

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        wanted = self.names if names is None else tuple(names)
        d = self.array.shape[1]
        position = [int(name[1:]) for name in wanted]
        everything = position == list(range(d))
        self._check_unchanged()
        for start in range(0, len(self.array), ROWS):
            cells = np.asarray(self.array[start : start + ROWS])
            cells = cells if everything else cells[:, position]
            table = from_matrix(cells, wanted, has_names=False)
            yield Batch(replace(table, place=_Shift(start)), start)

        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Raise if the file of the memory map is no longer what it was."""
        if self.stamp is not None:
            path = Path(self.array.filename)
            now = stamp_of(path)
            if now != self.stamp:
                raise DataError.changed_file(path, before=self.stamp[0], now=now[0], unit="bytes")

    def fingerprint(self) -> list[Any]:
        path = getattr(self.array, "filename", None)
        about: list[Any] = ["array", list(self.array.shape), str(self.array.dtype)]
        return about if path is None else [*about, str(path), *stamp_of(Path(path))]


@dataclass(frozen=True)
class _Shift:
    """Names a row of a batch by its position among all."""

    first: int

    def __call__(self, row: int) -> str:
        return f"row {self.first + row}"


@dataclass(frozen=True)
class ReaderScan(Scan):
    """Whatever hands out Arrow record batches, again and again: `opened()` begins anew."""

    opened: Callable[[], Any] = field(default=lambda: (), repr=False)
    schema: Any = None

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        wanted = list(self.names if names is None else names)
        start = 0
        for record in record_batches(self.opened()):
            self._check_same(record.schema, wanted)
            table = read_frame(record.select(wanted))
            yield Batch(replace(table, place=_Shift(start)), start)
            start += table.n_rows

    def _check_same(self, found: Any, names: Sequence[str]) -> None:
        """Raise if a batch lacks a column, has it twice, or has it of another type than the first batch of all."""
        for name in names:
            if name not in found.names:
                raise DataError.unknown_column(column=name, available=found.names)
            if found.names.count(name) > 1:
                raise DataError.repeated_column(column=name)
            before, now = self.schema.field(name).type, found.field(name).type
            if not are_alike(before, now):
                raise DataError.type_changed(column=name, before=str(before), now=str(now))

    def fingerprint(self) -> list[Any]:
        return ["reader", list(self.names)]


def is_query(data: Any) -> bool:
    """Whether data are a query that a scan begins anew: a lazy frame of Polars, a data set, a relation of DuckDB."""
    return any(hasattr(type(data), name) for name in ("collect_batches", "scanner", "fetch_arrow_reader"))


def is_one_shot(data: Any) -> bool:
    """Whether data can be read once only: a generator, a reader of record batches."""
    return isinstance(data, Iterator)


def record_batches(source: Any) -> Iterator[Any]:
    """Record batches of a query, a reader, a table, an iterable of these, or anything with `__arrow_c_stream__`."""
    import pyarrow as pa

    source = _begun(source)
    if isinstance(source, pa.RecordBatch):
        yield source
        return
    if hasattr(source, "__arrow_c_stream__"):
        yield from _stream(source)
        return
    if not isinstance(source, Iterable):
        raise DataError.unreadable(type(source).__name__)
    for one in source:
        if isinstance(one, pa.RecordBatch):
            yield one
        elif hasattr(one, "__arrow_c_stream__"):  # a polars or pandas frame
            yield from _stream(one)
        else:
            raise DataError.unreadable(f"an iterable of {type(one).__name__}")


def _stream(source: Any) -> Any:
    """A reader of what has `__arrow_c_stream__`."""
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(source)
    except ValueError as error:  # a series; a frame of pandas with repeated names
        raise DataError.unreadable(f"a {type(source).__name__}: {error}") from error


def _begun(source: Any) -> Any:
    """A query as a reader of its batches; anything else as it is."""
    kind = type(source)  # a column of a frame may have any of these names
    if hasattr(kind, "collect_batches"):  # polars.LazyFrame
        return source.collect_batches(chunk_size=ROWS, maintain_order=True)
    if hasattr(kind, "scanner"):  # pyarrow.dataset.Dataset
        return source.scanner(batch_size=ROWS, fragment_readahead=1, batch_readahead=2).to_reader()
    if hasattr(kind, "fetch_arrow_reader"):  # duckdb.DuckDBPyRelation; newer ones warn of this name
        return getattr(source, "to_arrow_reader", source.fetch_arrow_reader)(ROWS)
    return source


class _Anew:
    """Begins reading a source anew.

    Raises
    ------
    DataError
        The source is one that can be read once only, or a function that returns the same such source again.
    """

    def __init__(self, source: Any) -> None:
        self._source, self._last = source, None
        self._is_function = callable(source) and not hasattr(source, "__arrow_c_stream__")
        if is_one_shot(source):
            raise DataError.read_once(f"a {type(source).__name__}")

    def __call__(self) -> Any:
        found = self._source() if self._is_function else self._source
        if is_one_shot(found):
            if found is self._last:
                raise DataError.read_once(f"a function that returns the same {type(found).__name__} again")
            self._last = found
        return found


def _schema_of(source: Any) -> Any:
    """Columns and types: of what has none, those of its first batch."""
    import pyarrow as pa

    source = _begun(source)
    schema = getattr(source, "schema", None)
    if isinstance(schema, pa.Schema):
        return schema
    for record in record_batches(source):
        return record.schema
    raise DataError.no_rows("the source")


def scan(data: Any, *, memory_limit: int = SMALL) -> Scan:
    """Rows to be read again at each pass instead of being held in memory.

    Parameters
    ----------
    data : path, folder, glob, list of paths, NumPy memory map, or a source of Arrow record batches
        Parquet, Arrow IPC (Feather) or CSV files; a folder stands for all such files below it, in the order of their
        names, but for what begins with . or _; folders such as `year=2024` make no column (a data set of pyarrow
        does). Record batches come from a `pyarrow.dataset.Dataset`, a DuckDB relation, a Polars `LazyFrame`, anything
        with `__arrow_c_stream__`, or a function without arguments that begins reading anew and returns one of these or
        an iterable of batches: `emix.scan(lambda: connection.sql(query))`.
    memory_limit : int, default=64 MiB
        Bytes, at 8 a cell, up to which the rows are read into memory and stay there; 0 streams always. The result has
        the same bits either way.

    Returns
    -------
    Scan
        For `emix.fit` and its like. `scan.select([...])` leaves the other columns undecoded; weights and labels are
        columns, named in `sample_weight` and `labels`.

    Raises
    ------
    DataError
        There are no such files, they are of several kinds, or their columns differ; or the source can be read once
        only.

    Examples
    --------
    >>> from emix import MultivariateNormal, Mixture, fit, scan
    >>> result = fit(Mixture(MultivariateNormal(), 8), scan("measurements/*.parquet"))  # doctest: +SKIP
    """
    if isinstance(data, Scan):
        return data if memory_limit == data.memory_limit else replace(data, memory_limit=memory_limit)
    if isinstance(data, str | Path):
        return scan_files(distinct_files([data]), memory_limit)
    if isinstance(data, list | tuple) and data and all(isinstance(one, str | Path) for one in data):
        return scan_files(distinct_files(data), memory_limit)
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.dtype.kind not in "fiub":
            raise DataError.shape(what="data", required="(n_rows, n_columns) of numbers", found=data.shape)
        names = tuple(f"x{j}" for j in range(data.shape[1]))
        is_read_only = getattr(data, "filename", None) is not None and getattr(data, "mode", None) == "r"
        stamp = stamp_of(Path(data.filename)) if is_read_only else None  # type: ignore[attr-defined]
        return ArrayScan(names, data, stamp, memory_limit=memory_limit)
    opened = _Anew(data)
    schema = _schema_of(opened())
    found = ReaderScan(tuple(schema.names), opened, schema, memory_limit=memory_limit)
    found._check_same(schema, schema.names)
    return found
