"""Dask collections, and files that workers are to read, as partitions of tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import numpy as np

from emix.data.dask_graph import each, readable_by_dask
from emix.data.scan import Batch, Scan
from emix.data.scan_files import FileScan
from emix.data.table import Table, from_matrix, read_table
from emix.errors import ClusterError, DataError

FIRST_ROWS = 1_000
"""Rows of the first partition that are looked at before all others."""


def is_dask(data: Any) -> bool:
    """Whether data are a Dask collection; does not import Dask."""
    homes = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
    return bool(homes & {"dask", "dask_expr"}) and hasattr(data, "__dask_graph__")


@dataclass(frozen=True)
class DaskScan(Scan):
    """Rows in partitions that are read where they are."""

    @abstractmethod
    def partitions(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Delayed partitions of these columns, as the user has them."""

    @abstractmethod
    def tables(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Delayed tables of these columns."""

    def first(self) -> Table | None:
        parts = self.partitions(self.names)
        for result in each(_first_rows, self.tables(self.names)):
            table: Table = readable_by_dask(parts, [result])[0]
            if table.n_rows:
                return table
        return None

    def batches(self, names: Sequence[str] | None = None) -> Iterator[Batch]:
        """The partitions, one after the other, brought to this process."""
        wanted = self.names if names is None else tuple(names)
        parts, start = self.partitions(wanted), 0
        for result in self.tables(wanted):
            table = readable_by_dask(parts, [result])[0]
            if table.n_rows:
                yield Batch(table, start)
            start += table.n_rows


@dataclass(frozen=True)
class DaskFrame(DaskScan):
    """A Dask data frame, of any kind of column that a pandas frame has."""

    collection: Any = None

    def partitions(self, names: Sequence[str]) -> tuple[Any, ...]:
        own = {str(label): label for label in self.collection.columns}
        return tuple(self.collection[[own[name] for name in names]].to_delayed())

    def tables(self, names: Sequence[str]) -> tuple[Any, ...]:
        parts = self.partitions(names)
        return each(_table_of_frame, parts, range(len(parts)), shared=tuple(names))

    def fingerprint(self) -> list[Any]:
        kinds = [[str(label), str(dtype)] for label, dtype in self.collection.dtypes.items()]
        return ["dask frame", kinds, self.collection.npartitions]


@dataclass(frozen=True)
class DaskArray(DaskScan):
    """A Dask array (n, d), or (n,), whose chunks are whole rows."""

    collection: Any = None

    @property
    def dtype(self) -> Any:
        return np.dtype(np.float32 if self.collection.dtype == np.float32 else np.float64)

    def partitions(self, names: Sequence[str]) -> tuple[Any, ...]:
        return tuple(self.collection.to_delayed().ravel())

    def tables(self, names: Sequence[str]) -> tuple[Any, ...]:
        parts = self.partitions(names)
        return each(_table_of_array, parts, range(len(parts)), shared=tuple(names))

    def fingerprint(self) -> list[Any]:
        return ["dask array", str(self.collection.dtype), len(self.names), self.collection.numblocks[0]]


@dataclass(frozen=True)
class DaskFiles(DaskScan):
    """Files, or row groups of Parquet files, that workers read themselves."""

    files: Any = None

    def partitions(self, names: Sequence[str]) -> tuple[Any, ...]:
        from dask.delayed import Delayed

        pieces = self.files.select(names).pieces()
        token = uuid4().hex  # a key is for one content
        keys = [f"emix-file-{token}-{i}" for i in range(len(pieces))]
        return tuple(Delayed(key, {key: piece}) for key, piece in zip(keys, pieces, strict=True))

    def tables(self, names: Sequence[str]) -> tuple[Any, ...]:
        return each(_table_of_files, self.partitions(names))

    def fingerprint(self) -> list[Any]:
        return ["dask files", *self.files.fingerprint()]


def dask_scan(data: Any) -> DaskScan:
    """A Dask data frame, series or array as partitions; of `emix.scan(files)` those that workers read.

    Raises
    ------
    DataError
        It is another collection, has repeated columns, or its cells are no numbers.
    """
    if isinstance(data, DaskScan):
        return data
    if isinstance(data, FileScan):
        files = replace(data, files=tuple(path.resolve() for path in data.files))  # wherever the workers stand
        return DaskFiles(data.names, memory_limit=0, files=files)
    homes = {kind.__module__ for kind in type(data).__mro__}
    if any(home.startswith(("dask.dataframe", "dask_expr")) for home in homes) and hasattr(data, "to_delayed"):
        data = data if data.ndim == 2 else data.to_frame(name="x0" if data.name is None else data.name)
        names = tuple(str(label) for label in data.columns)
        for name in names:
            if names.count(name) > 1:
                raise DataError.repeated_column(column=name)
        return DaskFrame(names, memory_limit=0, collection=data)
    if not any(home.startswith("dask.array") for home in homes):
        raise DataError.unreadable(f"a Dask {type(data).__name__} (a data frame or an array is required)")
    if data.ndim not in (1, 2) or data.dtype.kind not in "fiub":
        found = f"{data.dtype} of shape {data.shape}"
        raise DataError.shape(what="a Dask array", required="(n_rows, n_columns) of numbers", found=found)
    data = data.reshape(-1, 1) if data.ndim == 1 else data
    if data.numblocks[1] > 1:
        data = data.rechunk({1: -1})
    return DaskArray(tuple(f"x{j}" for j in range(data.shape[1])), memory_limit=0, collection=data)


@dataclass(frozen=True)
class _Place:
    """Names a row of a partition."""

    number: int

    def __call__(self, row: int) -> str:
        return f"row {row} of partition {self.number}"


def _first_rows(table: Table, _: None) -> Table:
    return replace(table.take(np.arange(min(FIRST_ROWS, table.n_rows))), place=table.place)


def _table_of_frame(frame: Any, names: tuple[str, ...], number: int) -> Table:
    if len(frame) == 0:
        return Table(names, tuple(np.zeros(0) for _ in names))
    return replace(read_table(frame), place=_Place(number))


def _table_of_array(cells: Any, names: tuple[str, ...], number: int) -> Table:
    chosen = np.asarray(cells)[:, [int(name[1:]) for name in names]]
    return replace(from_matrix(chosen, names, has_names=False), place=_Place(number))


def _table_of_files(piece: Any, _: None) -> Table:
    for path in piece.files:
        if not path.is_file():
            raise ClusterError.no_file_on_worker(path)
    if all(batch.table.n_rows == 0 for batch in piece.batches()):  # ends at the first row
        return Table(piece.names, tuple(np.zeros(0) for _ in piece.names))
    return piece.read()  # type: ignore[no-any-return]
