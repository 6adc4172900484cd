"""Any table that a user may hold, as named columns of NumPy arrays that know where their cells came from."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from emix.errors import DataError
from emix.frames import library_of

Cells = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes
    ----------
    names : tuple of str
        Column names; x0, x1, ... for data without names.
    columns : tuple of ndarray
        One-dimensional; numbers, booleans, or objects (text; None is missing); `Dates`, which no family reads.
    has_names : bool
        Whether the names are the user's own.
    path : Path or None
        The file that the table was read from, so that an error can name the line.
    is_tosses : bool
        The columns are the tosses of sequences of heads (1) and tails (0), NaN beyond the end of a shorter one.
    matrix : ndarray of shape (n, d) or None
        All columns at once, where the user gave a float array: it is read in place and never copied.
    sparse : scipy.sparse.csr_array of shape (n, d) or None
        Of a sparse matrix: the rows, without duplicates; `columns` is then empty.
    place : callable or None
        Names a row where it came from: one of many files.
    coded : mapping of column name to (positions, values)
        Of columns of text that came coded: the different cells, and where each row's stands among them.
    library : {'pandas', 'polars', 'pyarrow'} or None
        Whose data frame it was.
    """

    names: tuple[str, ...]
    columns: tuple[Cells, ...]
    has_names: bool = True
    path: Path | None = None
    is_tosses: bool = False
    matrix: NDArray[Any] | None = None
    sparse: Any = None
    place: Callable[[int], str] | None = None
    coded: Mapping[str, tuple[NDArray[np.intp], list[Any]]] = field(default_factory=dict)
    library: str | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        if self.sparse is not None:
            return int(self.sparse.shape[0])
        return len(self.columns[0]) if self.columns else 0

    def column(self, name: str) -> Cells:
        """One column by name."""
        if name not in self.names:
            raise DataError.unknown_column(column=name, available=self.names)
        return self.columns[self.names.index(name)]

    def select(self, names: Sequence[str]) -> Table:
        """These columns in this order."""
        if tuple(names) == self.names:
            return self
        return replace(self, names=tuple(names), columns=tuple(self.column(name) for name in names), matrix=None)

    def without(self, *names: str) -> Table:
        """All columns but these."""
        return self.select([name for name in self.names if name not in names])

    def take(self, rows: NDArray[np.intp]) -> Table:
        """Only these rows, without their places."""
        return Table(self.names, tuple(column[rows] for column in self.columns), self.has_names)

    def where(self, row: int) -> str:
        """A row in words: its position, or for a file the line."""
        if self.place is not None:
            return self.place(row)
        if self.path is None:
            return f"row {row}"
        from emix.data.files import line_of_row

        line = line_of_row(self.path, row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line} of {self.path.name})"

    def first_text(self, name: str) -> int | None:
        """The first row whose cell is text that is not a number; None for a column without."""
        column = self.column(name)
        if column.dtype != object:
            return None
        return next((i for i, cell in enumerate(column) if isinstance(cell, str) and not is_number(cell)), None)

    def heads_and_tosses(self) -> Table:
        """Of a table of tosses: the number of heads, and of tosses, per row."""
        items = np.stack(self.columns, axis=1)
        counts = (np.nansum(items, axis=1), (~np.isnan(items)).sum(axis=1).astype(np.float64))
        return replace(self, names=("heads", "tosses"), columns=counts, is_tosses=False, matrix=None)


def read_table(data: Any, *, takes_sparse: bool = False) -> Table:
    """Turn an array, a data frame, a dict of columns, a list of toss sequences or a path into a `Table`.

    With `takes_sparse` also a sparse matrix or array of SciPy, of any format.

    Raises
    ------
    DataError
        The object is none of these, has no rows or columns, or the file cannot be read.
    """
    if isinstance(data, Table):
        return data
    if takes_sparse and scipy.sparse.issparse(data):
        return _from_sparse(data)
    if isinstance(data, str | Path):
        from emix.data.files import read_file

        return read_file(data)
    if isinstance(data, Mapping):
        return _checked(Table(tuple(str(k) for k in data), tuple(_cells(v, str(k)) for k, v in data.items())))
    frame = nw.from_native(data, pass_through=True, eager_only=True, allow_series=True)
    if isinstance(frame, nw.DataFrame):
        return _from_frame(frame)
    if isinstance(frame, nw.Series):
        name = str(frame.name) if frame.name not in (None, "") else "x0"
        own = (_from_series(frame),)
        return _checked(Table((name,), own, has_names=frame.name not in (None, ""), library=library_of(frame)))
    if hasattr(type(data), "__arrow_c_stream__"):  # a record batch, or the table of another library
        import pyarrow as pa

        return _from_frame(nw.from_native(pa.table(data), eager_only=True))
    if _is_tosses(data):
        return tosses(list(data))
    return _from_array(data)


def tosses(sequences: Sequence[str], path: Path | None = None) -> Table:
    """A table of items from sequences of H and T; shorter sequences end in missing cells.

    Raises
    ------
    DataError
        A character other than H and T; the line is named.
    """
    rows = []
    for line, sequence in enumerate(sequences, start=1):
        text = sequence.strip().upper()
        if not text and path is not None:
            continue
        wrong = next((c for c in text if c not in "HT"), None)
        if wrong is not None or not text:
            raise DataError.tosses(found=sequence.strip() if wrong is None else wrong, line=line)
        rows.append(np.frombuffer(text.encode(), dtype=np.uint8) == ord("H"))
    if not rows:
        raise DataError.no_rows("the tosses" if path is None else f"'{path}'")
    items = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for i, row in enumerate(rows):
        items[i, : len(row)] = row
    names = tuple(f"toss_{j + 1}" for j in range(items.shape[1]))
    return Table(names, tuple(items.T), path=path, is_tosses=True)


class Dates(np.ndarray[Any, Any]):
    """A column of dates or times as text: written back as it was, and refused by name where it would be used."""


def _dates(values: Sequence[Any]) -> Cells:
    found = np.array([None if value is None or value != value else str(value) for value in values], dtype=object)
    return found.view(Dates)


def refuse_dates(name: str, cells: Cells) -> None:
    """Raise if a column that is to be used holds dates.

    Raises
    ------
    DataError
        It does.
    """
    if isinstance(cells, Dates):
        raise DataError.dates(column=name)


def is_number(text: str) -> bool:
    """Whether text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_tosses(data: Any) -> bool:
    return (
        isinstance(data, list | tuple)
        and len(data) > 0
        and all(isinstance(row, str) for row in data)
        and max(len(row) for row in data) > 1
        and all(set(row.strip().upper()) <= {"H", "T"} for row in data)
    )


def read_frame(batch: Any) -> Table:
    """A table over an Arrow record batch; columns of numbers without a missing cell are not copied.

    Raises
    ------
    DataError
        A column holds dates or other objects.
    """
    import pyarrow as pa

    columns: list[Cells] = []
    coded = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
            columns.append(column.to_numpy(zero_copy_only=False))
        elif pa.types.is_null(column.type):
            columns.append(np.full(len(column), np.nan))
        elif pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
            column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            values = [*column.dictionary.to_pylist(), None]
            positions = column.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False).astype(np.intp)
            columns.append(np.array(values, dtype=object)[positions])
            coded[name] = (positions, values)
        else:
            series = nw.from_native(pa.chunked_array([column]), series_only=True).alias(name)
            columns.append(_from_series(series))
    return Table(tuple(batch.schema.names), tuple(columns), coded=coded)


def _from_frame(frame: nw.DataFrame[Any]) -> Table:
    names = tuple(str(name) for name in frame.columns)
    for name in names:
        if names.count(name) > 1:
            raise DataError.repeated_column(column=name)
    columns = tuple(_from_series(frame.get_column(name)) for name in frame.columns)
    return _checked(Table(names, columns, library=library_of(frame)))


def _from_series(series: nw.Series[Any]) -> Cells:
    dtype = series.dtype
    if dtype.is_numeric():
        if series.is_null().any():
            series = series.cast(nw.Float64)
            missing = series.is_null().to_numpy()
            return np.where(missing, np.nan, series.fill_null(0.0).to_numpy()).astype(np.float64)
        return np.asarray(series.to_numpy())
    if dtype == nw.Boolean and not series.is_null().any():
        return np.asarray(series.to_numpy()).astype(bool)
    if dtype in (nw.Boolean, nw.String, nw.Categorical, nw.Enum, nw.Object):
        return _cells(np.array(series.to_list() or [], dtype=object), series.name)
    if dtype.is_temporal():
        return _dates(series.to_list())
    raise DataError.not_plain_numbers(column=str(series.name), kind=str(dtype))


def _from_sparse(data: Any) -> Table:
    if data.ndim != 2:
        raise DataError.shape(what="data", required="(n_rows, n_columns)", found=data.shape)
    if data.shape[0] == 0:
        raise DataError.no_rows()
    if data.shape[1] == 0:
        raise DataError.no_columns(data.shape)
    if data.dtype.kind not in "fiub":
        raise DataError.not_plain_numbers(column="x0", kind=str(data.dtype))
    rows = scipy.sparse.csr_array(data)
    if not rows.has_canonical_format:
        rows = rows.copy()  # the user's own stays as it is
        rows.sum_duplicates()
    return Table(tuple(f"x{j}" for j in range(rows.shape[1])), (), has_names=False, sparse=rows)


def _from_array(data: Any) -> Table:
    if hasattr(data, "toarray"):
        raise DataError.unreadable("a sparse matrix (dense data are required)")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise DataError.shape(what="data", required="(n_rows, n_columns)", found="rows of different lengths") from error
    if array.ndim == 0:
        raise DataError.unreadable(f"a single {type(data).__name__}")
    if array.ndim > 2:
        raise DataError.shape(what="data", required="(n_rows, n_columns)", found=array.shape)
    if array.ndim == 1:
        array = array[:, None]
    if array.shape[0] == 0:
        raise DataError.no_rows()
    if array.shape[1] == 0:
        raise DataError.no_columns(array.shape)
    return from_matrix(array, tuple(f"x{j}" for j in range(array.shape[1])), has_names=False)


def from_matrix(array: NDArray[Any], names: tuple[str, ...], *, has_names: bool) -> Table:
    """A table over an array (n, d); float64 and float32 arrays are read in place."""
    columns = tuple(_cells(column, name) for column, name in zip(array.T, names, strict=True))
    is_float = array.dtype in (np.float64, np.float32)
    return Table(names, columns, has_names=has_names, matrix=array if is_float else None)


def _cells(values: Any, name: str) -> Cells:
    """A column as numbers or booleans, or as objects in which None is missing."""
    if nw.dependencies.is_into_series(values):
        return _from_series(nw.from_native(values, series_only=True))
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError.shape(what=f"column '{name}'", required="(n_rows,)", found=array.shape)
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind in "US":
        return array.astype(str).astype(object)
    if array.dtype.kind in "mM":
        return _dates(list(array))
    if array.dtype.kind != "O":
        raise DataError.not_plain_numbers(column=name, kind=str(array.dtype))
    clean = np.array([None if _is_missing(value) else value for value in array], dtype=object)
    if all(value is None or isinstance(value, int | float | np.number | np.bool_) for value in clean):
        if any(isinstance(value, complex | np.complexfloating) for value in clean):
            raise DataError.not_plain_numbers(column=name, kind="complex numbers")
        return np.array([np.nan if value is None else float(value) for value in clean])
    if any(isinstance(value, datetime.date | datetime.time | np.datetime64) for value in clean):
        return _dates(clean.tolist())
    for value in clean:
        if value is not None and not isinstance(value, str | int | float | np.number | np.bool_):
            raise DataError.not_plain_numbers(column=name, kind=type(value).__name__)
    return clean


def _is_missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, float | np.floating) and value != value) or type(value).__name__ == "NAType"
    )


def _checked(table: Table) -> Table:
    if not table.columns:
        raise DataError.no_columns((0, 0))
    lengths = {len(column) for column in table.columns}
    if len(lengths) > 1:
        raise DataError.shape(what="data", required="columns of equal length", found=f"lengths {sorted(lengths)}")
    if 0 in lengths:
        raise DataError.no_rows()
    return table
