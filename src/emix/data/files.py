"""Tables from files: CSV, TSV, Parquet, and text files of coin tosses."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emix.data.table import Table, _from_frame, is_number, tosses
from emix.errors import DataError

HEAD_BYTES = 65_536
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]


def read_file(path: str | Path) -> Table:
    """Read CSV, TSV, Parquet or coin tosses; the kind is told by the name and the first bytes.

    Raises
    ------
    DataError
        The file is missing, empty, binary, ragged or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except IsADirectoryError as error:
        raise DataError.damaged_file(path, detail="It is a folder.") from error
    except FileNotFoundError as error:
        raise DataError.no_file(path) from error
    except OSError as error:
        raise DataError.damaged_file(path, detail=(error.strerror or str(error)) + ".") from error
    if head[:4] == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path)
    if not head.strip():
        raise DataError.empty_file(path)
    if b"\0" in head or not _is_utf8(head):
        raise DataError.binary_file(path)
    if path.suffix.lower() == ".txt" or _looks_like_tosses(head):
        text = _text(path)
        if path.suffix.lower() != ".txt" or not re.search(r"[,;\t]", text):
            return tosses(text.splitlines(), path)
    return _csv(path, head)


def _looks_like_tosses(head: bytes) -> bool:
    return re.fullmatch(rb"\s*[HTht]{2,}(\s+[HTht]+)*\s*", head) is not None


def _is_utf8(head: bytes) -> bool:
    """Whether the bytes are text; a character that the cut at their end splits does not count."""
    try:
        head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start >= len(head) - 3
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError.binary_file(path) from error


def _parquet(path: Path) -> Table:
    import narwhals.stable.v1 as nw
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError.damaged_file(path, detail=_first_line(error)) from error
    if frame.num_rows == 0 or frame.num_columns == 0:
        raise DataError.empty_file(path)
    return _at(_from_frame(nw.from_native(frame, eager_only=True)), path)


def _csv(path: Path, head: bytes) -> Table:
    import narwhals.stable.v1 as nw
    import pyarrow as pa
    import pyarrow.csv as pc

    delimiter = _delimiter(path, head)
    parse, options = _csv_options(path, head)
    convert = pc.ConvertOptions(**options)
    read = pc.ReadOptions(block_size=1 << 24)
    try:
        try:
            frame = pc.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error).lower():
                raise
            # a type inferred from the first block does not fit a later one: read as text, so that the cell can be named
            names = pc.open_csv(path, parse_options=parse, convert_options=convert).schema.names
            convert = pc.ConvertOptions(**options, column_types=dict.fromkeys(names, pa.string()))
            frame = pc.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
            frame = _numbers_where_all_are(frame)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        _refuse_ragged(path, delimiter)
        if "utf8" in str(error).lower().replace("-", ""):
            raise DataError.binary_file(path) from error
        raise DataError.damaged_file(path, detail=_first_line(error)) from error
    if frame.num_rows == 0:
        raise DataError.empty_file(path)
    names = [name.strip() for name in frame.column_names]
    if all(map(is_number, names)):
        raise DataError.no_header(path, found=names)
    columns = [c.cast(pa.float64()) if pa.types.is_null(c.type) else c for c in frame.columns]
    if len(set(names)) < len(names):
        raise DataError.repeated_column(column=next(name for name in names if names.count(name) > 1))
    return _at(_from_frame(nw.from_native(pa.table(columns, names=names), eager_only=True)), path)


def _numbers_where_all_are(frame: Any) -> Any:
    """A table that was read as text, with the columns in which every cell is a number as numbers."""
    import pyarrow as pa

    columns = []
    for column in frame.columns:
        try:
            columns.append(column.cast(pa.float64()))
        except pa.ArrowInvalid:
            columns.append(column)
    return pa.table(columns, names=frame.column_names)


def _csv_options(path: Path, head: bytes) -> tuple[Any, dict[str, Any]]:
    """How pyarrow is to parse and convert a CSV file that begins so."""
    import pyarrow.csv as pc

    delimiter = _delimiter(path, head)
    # in a table of one column an empty line is a missing cell, not nothing
    is_narrow = delimiter.encode() not in head.splitlines()[0]
    parse = pc.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=not is_narrow)
    options: dict[str, Any] = {"null_values": MISSING, "strings_can_be_null": True}
    options["true_values"] = ["true", "True", "TRUE"]
    options["false_values"] = ["false", "False", "FALSE"]
    # between tabs three digits after a comma may be thousands: those alone decide nothing
    cell = {";": rb"(^|;)-?\d+,\d+(;|\r?$)", "\t": rb"(^|\t)-?\d+,(\d{1,2}|\d{4,})(\t|\r?$)"}.get(delimiter)
    if cell is not None and re.search(cell, head, re.MULTILINE):
        options["decimal_point"] = ","
    return parse, options


def csv_schema(path: Path) -> Any:
    """Columns and types of a CSV file by its first block; every kind of number is float64.

    Raises
    ------
    DataError
        The file is missing or empty, or its first line holds numbers.
    """
    import pyarrow as pa

    with open_csv(path) as reader:
        names = list(reader.schema.names)
        if all(map(is_number, names)):
            raise DataError.no_header(path, found=names)
        types = [pa.float64() if _is_numeric(one.type) else one.type for one in reader.schema]
        return pa.schema(list(zip(names, types, strict=True)))


def _is_numeric(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def open_csv(path: Path, *, types: dict[str, Any] | None = None, columns: Sequence[str] | None = None) -> Any:
    """A reader of the record batches of a CSV file.

    Raises
    ------
    DataError
        The file is missing or empty, or lacks one of the columns.
    """
    import pyarrow.csv as pc

    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError.vanished_file(path) from error
    if not head.strip():
        raise DataError.empty_file(path)
    parse, options = _csv_options(path, head)
    if columns is not None:
        names = header_of(path)
        for name in columns:
            if name not in names:
                raise DataError.column_missing_in_file(path, column=name, available=names)
            if names.count(name) > 1:
                raise DataError.repeated_column(column=name, path=path)
        options["include_columns"] = list(columns)
    convert = pc.ConvertOptions(**options, column_types=types or {})
    read = pc.ReadOptions(block_size=1 << 24, use_threads=False)
    return pc.open_csv(path, read_options=read, parse_options=parse, convert_options=convert)


def header_of(path: Path) -> list[str]:
    """The names in the first line of a CSV file.

    Raises
    ------
    DataError
        The file is gone, empty, or its first line cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head.strip():
            raise DataError.empty_file(path)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:  # other cells may be bad
            return next(cells for cells in csv.reader(text, delimiter=_delimiter(path, head)) if cells)
    except OSError as error:
        raise DataError.vanished_file(path) from error
    except (csv.Error, StopIteration) as error:
        raise DataError.damaged_file(path, detail=_first_line(error)) from error


def csv_failure(path: Path, detail: str, schema: Any) -> DataError:
    """What pyarrow says of a CSV file, with the name of the column, and rows counted without the header."""
    ragged = re.match(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)", detail)
    if ragged:
        line, required, found = map(int, ragged.groups())
        return DataError.ragged_file(path, line=line, required=required, found=found)
    cell = re.match(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to (.*?): (?:invalid value )?(.*)", detail)
    if cell:
        column = header_of(path)[int(cell[1])]
        kind = "numbers" if _is_numeric(schema.field(column).type) else cell[3]
        return DataError.csv_cell(path, row=int(cell[2]) - 1, column=column, found=cell[4], kind=kind)
    return DataError.damaged_file(path, detail=detail)


def _delimiter(path: Path, head: bytes) -> str:
    """Tab for .tsv; otherwise the likeliest of comma, semicolon and tab in the first line."""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    first = head.splitlines()[0].decode("utf-8", errors="replace")
    return max(",;\t", key=first.count)


def _refuse_ragged(path: Path, delimiter: str) -> None:
    """Raise if a line has more or fewer cells than the header, and name the line, which pyarrow cannot."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=delimiter)
            width = 0
            for cells in reader:
                width = width or len(cells)
                if cells and len(cells) != width:
                    raise DataError.ragged_file(path, line=reader.line_num, required=width, found=len(cells))
    except UnicodeDecodeError as error:
        raise DataError.binary_file(path) from error
    except csv.Error as error:
        raise DataError.damaged_file(path, detail=_first_line(error)) from error


def line_of_row(path: Path, row: int) -> int | None:
    """The line of a text file on which a row (counted from 0, without the header) ends; None for other files."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[:4] == b"PAR1" or b"\0" in head:
        return None
    if _looks_like_tosses(head):
        lines = [i for i, line in enumerate(_text(path).splitlines(), start=1) if line.strip()]
        return lines[row] if row < len(lines) else None
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=_delimiter(path, head))
        position, is_narrow = -2, _delimiter(path, head).encode() not in head.splitlines()[0]
        for cells in reader:  # the header comes first; empty lines are rows only in a table of one column
            position += bool(cells) or is_narrow
            if position == row:
                return reader.line_num
    return None


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _at(table: Table, path: Path) -> Table:
    return Table(table.names, table.columns, path=path)
