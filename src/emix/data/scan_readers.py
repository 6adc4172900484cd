"""Scans of memory maps, and of whatever hands out Arrow record batches; `scan` takes all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emix.data.scan import ROWS, SMALL, Batch, Scan
from emix.data.scan_files import files_of, scan_files, stat_of
from emix.data.table import from_matrix, read_frame
from emix.errors import DataError


@dataclass(frozen=True)
class ArrayScan(Scan):
    """A large array (n, d), such as a NumPy memory map."""

    array: Any = None

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
        for start in range(0, len(self.array), ROWS):
            cells = np.asarray(self.array[start : start + ROWS])
            cells = cells if everything else cells[:, position]
            table = from_matrix(cells, wanted, has_names=False)
            yield Batch(replace(table, place=_Shift(start)), start)

    def fingerprint(self) -> list[Any]:
        path = getattr(self.array, "filename", None)
        stat = None if path is None else stat_of(Path(path))
        about: list[Any] = ["array", list(self.array.shape), str(self.array.dtype)]
        return about if stat is None else [*about, str(path), stat.st_size, stat.st_mtime_ns]


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

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        wanted = list(self.names if names is None else names)
        start = 0
        for record in record_batches(self.opened()):
            missing = [name for name in wanted if name not in record.schema.names]
            if missing:
                raise DataError.unknown_column(column=missing[0], available=record.schema.names)
            table = read_frame(record.select(wanted))
            yield Batch(replace(table, place=_Shift(start)), start)
            start += table.n_rows

    def fingerprint(self) -> list[Any]:
        return ["reader", list(self.names)]


def record_batches(source: Any) -> Iterator[Any]:
    """Arrow record batches of a reader, a table, an iterable of batches, or anything with `__arrow_c_stream__`."""
    import pyarrow as pa

    if hasattr(source, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(source)
        return
    if not isinstance(source, Iterable):
        raise DataError.unreadable(type(source).__name__)
    for one in source:
        if isinstance(one, pa.RecordBatch):
            yield one
        elif hasattr(one, "__arrow_c_stream__"):  # a polars or pandas frame
            yield from pa.RecordBatchReader.from_stream(one)
        else:
            raise DataError.unreadable(f"an iterable of {type(one).__name__}")


def _reader_of(source: Any) -> Callable[[], Any]:
    """What begins reading a source anew: of a query of DuckDB or a lazy frame of Polars its batches."""
    if callable(source) and not hasattr(source, "__arrow_c_stream__"):
        return source  # type: ignore[no-any-return]
    if hasattr(source, "collect_batches"):  # polars.LazyFrame
        return lambda: source.collect_batches(chunk_size=ROWS, maintain_order=True)
    if hasattr(source, "scanner"):  # pyarrow.dataset.Dataset
        return lambda: source.scanner(batch_size=ROWS, fragment_readahead=1, batch_readahead=2).to_reader()
    if hasattr(source, "fetch_arrow_reader"):  # duckdb.DuckDBPyRelation
        return lambda: source.fetch_arrow_reader(ROWS)
    return lambda: source


def _names_of(source: Any) -> tuple[str, ...]:
    schema = getattr(source, "schema", None)
    if schema is not None and hasattr(schema, "names"):
        return tuple(str(name) for name in schema.names)
    for record in record_batches(source):
        return tuple(record.schema.names)
    raise DataError.no_rows("the source")


def scan(data: Any, *, memory_limit: int = SMALL) -> Scan:
    """Rows to be read again at each pass instead of being held in memory.

    Parameters
    ----------
    data : path, folder, glob, list of paths, NumPy memory map, or a source of Arrow record batches
        Parquet, Arrow IPC (Feather) or CSV files; a folder stands for all such files below it, in the order of their
        names. Record batches come from a `pyarrow.dataset.Dataset`, a DuckDB relation, a Polars `LazyFrame`, anything
        with `__arrow_c_stream__`, or a function without arguments that begins reading anew and returns one of these or
        an iterable of batches: `emix.scan(lambda: cursor.execute(sql).fetch_record_batch())`.
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
        There are no such files, they are of several kinds, or their columns differ.

    Examples
    --------
    >>> from emix import MultivariateNormal, Mixture, fit, scan
    >>> result = fit(Mixture(MultivariateNormal(), 8), scan("measurements/*.parquet"))  # doctest: +SKIP
    """
    if isinstance(data, Scan):
        return data if memory_limit == data.memory_limit else replace(data, memory_limit=memory_limit)
    if isinstance(data, str | Path):
        return scan_files(files_of(data), memory_limit)
    if isinstance(data, list | tuple) and data and all(isinstance(one, str | Path) for one in data):
        return scan_files([path for one in data for path in files_of(one)], memory_limit)
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.dtype.kind not in "fiub":
            raise DataError.shape(what="data", required="(n_rows, n_columns) of numbers", found=data.shape)
        return ArrayScan(tuple(f"x{j}" for j in range(data.shape[1])), data, memory_limit=memory_limit)
    opened = _reader_of(data)
    names = _names_of(opened())
    return ReaderScan(names, opened, memory_limit=memory_limit)
