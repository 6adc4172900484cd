"""Errors about data: the row and the column are named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from emix.errors.base import EmixError, listed

DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
DATE = re.compile(r"\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{4})([T ].*)?")
"""What a date looks like: 2024-05-31, 31.5.2024 or 5/31/2024."""


class DataError(EmixError, ValueError):
    """The data cannot be what they are said to be; the row and the column are named."""

    @classmethod
    def outside_support(
        cls,
        *,
        family: str,
        requirement: str,
        found: object,
        where: str,
        column: str,
        n_bad: int,
        n_rows: int,
        hint: str,
    ) -> Self:
        first = f": the first of {n_bad:,} such values in {n_rows:,} rows" if n_bad > 1 else ""
        return cls(
            f"family '{family}' needs {requirement}.\n  Found {found} in {where}, column '{column}'{first}.\n  {hint}"
        )

    @classmethod
    def not_a_number(cls, *, family: str, found: object, where: str, column: str) -> Self:
        text = str(found)
        if DATE.fullmatch(text):
            return cls.dates(column=column, found=text, where=where)
        if DECIMAL_COMMA.fullmatch(text):
            return cls.decimal_comma(column=column, found=text, where=where)
        return cls(
            f"family '{family}' needs numbers.\n  Found the text {found!r} in {where}, column '{column}'.\n"
            f"  Correct the cell, leave the column out, or use the family 'categorical'."
        )

    @classmethod
    def decimal_comma(cls, *, column: str, found: object, where: str) -> Self:
        text = str(found).strip()
        remedy = text.replace(",", ".")
        if len(text.partition(",")[2]) == 3:  # or is it between thousands?
            remedy += f" or {text.replace(',', '')}, whichever is meant"
        return cls(
            f"numbers need a decimal point.\n  Found {found!r} in {where}, column '{column}': a decimal comma.\n"
            f"  Write {remedy}. (Between semicolons or tabs decimal commas can be read.)"
        )

    @classmethod
    def dates(cls, *, column: str, found: object = None, where: str = "") -> Self:
        example = "" if found is None else f"  Found {found!r} in {where}.\n"
        return cls(
            f"column '{column}' holds dates: numbers, text or true/false are required.\n{example}"
            f"  Give a number, such as days since the first of them, or leave the column out."
        )

    @classmethod
    def not_plain_numbers(cls, *, column: str, kind: str) -> Self:
        return cls(
            f"Complex data not supported, nor dates or other objects: numbers, text or true/false are required.\n"
            f"  Found {kind} in column '{column}'.\n  Convert the column to numbers first, or leave it out."
        )

    @classmethod
    def missing(cls, *, family: str, where: str, column: str, n_bad: int) -> Self:
        return cls(
            f"family '{family}' cannot take missing values (NaN, null or an empty cell) yet.\n"
            f"  Found one in {where}, column '{column}' ({n_bad:,} in all).\n"
            f"  Drop these rows, or use a family that treats the columns as independent, such as 'normal'."
        )

    @classmethod
    def constant_column(cls, *, family: str, column: str, value: object) -> Self:
        return cls(
            f"family '{family}' needs columns that vary.\n"
            f"  Column '{column}' has the same value, {value}, in every row.\n"
            f"  Leave the column out: a constant says nothing about components."
        )

    @classmethod
    def units_differ(cls, *, structure: str, low: float, high: float) -> Self:
        return cls(
            f"the structure {structure} compares the variances of the columns: they must be in similar units.\n"
            f"  Found standard deviations from {low:.3g} to {high:.3g}.\n"
            f"  Scale the columns, or choose a structure that any units will do for: VVV, EEE, VEE, EVV, VVI, EEI."
        )

    @classmethod
    def scale(cls, *, family: str, column: str, low: float, high: float) -> Self:
        return cls(
            f"family '{family}' needs columns whose squares a computer can hold (a spread from 1e-140 to 1e140).\n"
            f"  Column '{column}' runs from {low:g} to {high:g}.\n  Change its unit."
        )

    @classmethod
    def all_missing(cls, *, column: str) -> Self:
        return cls(
            f"each column needs at least one observed value.\n  Column '{column}' is missing in every row.\n"
            f"  Leave the column out."
        )

    @classmethod
    def too_few_distinct(cls, *, n_distinct: int, n_rows: int, n_components: int) -> Self:
        rows = "1 sample" if n_rows == 1 else f"{n_rows:,} samples"
        return cls(
            f"{n_components} components need at least {n_components} distinct rows.\n"
            f"  Found {n_distinct} distinct among {rows}.\n"
            f"  Ask for at most {n_distinct} components, or bring more data."
        )

    @classmethod
    def unknown_column(cls, *, column: object, available: Sequence[object]) -> Self:
        return cls(f"there is no column {str(column)!r}.\n  The columns are: {listed(available)}.\n  Correct the name.")

    @classmethod
    def repeated_column(cls, *, column: str, path: Path | None = None) -> Self:
        place = "" if path is None else f" in '{path}'"
        return cls(
            f"column names must be distinct.\n  Found '{column}' more than once{place}.\n  Rename or drop one of them."
        )

    @classmethod
    def n_columns(cls, *, family: str, required: str, found: int) -> Self:
        return cls(f"family '{family}' needs {required}.\n  Found {found}.\n  Choose the columns.")

    @classmethod
    def width_changed(cls, *, required: Sequence[str], found: int) -> Self:
        return cls(
            f"the model was fitted to {len(required)} columns ({listed(required)}).\n  Found {found} columns.\n"
            f"  Give the same columns in the same order, or a data frame with these names."
        )

    @classmethod
    def unknown_level(cls, *, found: object, where: str, column: str, levels: Sequence[object]) -> Self:
        return cls(
            f"column '{column}' may only hold the levels that the model knows: {listed(levels)}.\n"
            f"  Found {found!r} in {where}.\n  Make the cell missing, let it count as missing with "
            f'Categorical(unknown="missing"), fit the model again with such rows, or name all levels beforehand '
            f"(Categorical(levels=[...]), or levels= of a stream)."
        )

    @classmethod
    def no_columns_beside(cls) -> Self:
        return cls("at least one column is required to fit.\n  Found none beside those of labels and weights.")

    @classmethod
    def no_rows(cls, what: str = "the data") -> Self:
        return cls(
            f"at least one row is required.\n  Found none in {what}.\n  Check the file or the selection of rows."
        )

    @classmethod
    def other_rows(cls, *, required: tuple[float, float], found: tuple[float, float]) -> Self:
        return cls(
            f"the report needs the rows that the model was fitted to, with the labels and weights of the fit.\n"
            f"  The fit had rows of total weight {required[0]:,.10g} and the log-likelihood {required[1]:.6f}.\n"
            f"  Found rows of total weight {found[0]:,.10g} and the log-likelihood {found[1]:.6f}.\n"
            f"  Give the same data, and labels and weights (--labels, --weights) where the fit had them."
        )

    @classmethod
    def no_columns(cls, shape: tuple[int, ...]) -> Self:
        return cls(f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required.")

    @classmethod
    def shape(cls, *, what: str, required: str, found: object) -> Self:
        return cls(f"{what} needs the shape {required}.\n  Found {found}.\n  Reshape your data.")

    @classmethod
    def unreadable(cls, kind: object) -> Self:
        return cls(
            f"data must be an array, a data frame (pandas, polars, pyarrow), a dict of columns or a path.\n"
            f"  Found {kind}.\n  Convert it first, for instance with numpy.asarray."
        )

    @classmethod
    def sample_weight(cls, *, found: object, where: str) -> Self:
        return cls(
            f"sample weights must be finite numbers >= 0.\n  Found {found} in {where}.\n"
            f"  Correct it; a weight of 0 leaves a row out."
        )

    @classmethod
    def weights_all_zero(cls) -> Self:
        return cls("sample weights must not all be zero.\n  Found only zeros.\n  Correct the weights.")

    @classmethod
    def label_range(cls, *, found: object, where: str, n_components: int) -> Self:
        return cls(
            f"labels must be 0..{n_components - 1} for {n_components} components, or -1 (or missing) where unknown.\n"
            f"  Found {found} in {where}.\n  Correct it, or ask for more components."
        )

    @classmethod
    def label_names(cls, *, names: Sequence[object], n_components: int) -> Self:
        return cls(
            f"labels may name at most {n_components} components.\n  Found {len(names)} names: {listed(names)}.\n"
            f"  Ask for more components, or correct the labels."
        )

    @classmethod
    def unknown_label(cls, *, found: object, where: str, names: Sequence[object]) -> Self:
        return cls(
            f"labels must name components that the model has: {listed(names)}.\n  Found {found!r} in {where}.\n"
            f"  Correct it, or make it missing where the component is unknown."
        )

    @classmethod
    def mixed_labels(cls, *, where: str) -> Self:
        return cls(
            f"labels are numbers or names of components, not both.\n  Found both in {where} and above it.\n"
            f"  Use one kind throughout."
        )

    @classmethod
    def new_label(cls, *, found: object, where: str, names: Sequence[object]) -> Self:
        return cls(
            f"labels of a batch are numbers, or names that the first fit knew: {listed(names) or 'none'}.\n"
            f"  Found {found!r} in {where}.\n  Correct it, or let the first rows hold every name."
        )

    @classmethod
    def knowledge(cls, *, found: object, where: str) -> Self:
        return cls(
            f"label knowledge (n, K) needs finite numbers >= 0 and a positive one in each row.\n"
            f"  Found {found} in {where}.\n  Use a row of ones where nothing is known."
        )

    @classmethod
    def tosses(cls, *, found: str, line: int) -> Self:
        return cls(
            f"a file of coin tosses holds only H and T, one sequence per line.\n  Found {found!r} in line {line}.\n"
            f"  Correct the line."
        )

    @classmethod
    def toss_counts(cls, *, where: str, found: int, required: int) -> Self:
        return cls(
            f"each sequence needs {required} tosses (n_trials={required}).\n  Found {found} in {where}.\n"
            f"  Use n_trials='tosses' where the numbers differ."
        )

    @classmethod
    def no_file(cls, path: Path | str) -> Self:
        return cls(f"a file is required.\n  There is none at '{path}'.\n  Check the path.")

    @classmethod
    def no_file_in(cls, folder: Path | str, *, known: Iterable[str]) -> Self:
        return cls(
            f"a folder of files to be read is required.\n  '{folder}' holds none that ends in {listed(known)} (what "
            f"begins with . or _ is passed over).\n  Check the path, or give the files these endings."
        )

    @classmethod
    def repeated_file(cls, path: Path | str) -> Self:
        return cls(
            f"each file of a scan is to be named once.\n  '{path}' comes twice, by itself or in a folder or glob.\n"
            f"  Leave one of them out."
        )

    @classmethod
    def in_start(cls, detail: Exception) -> Self:
        return cls(f"start: {detail}")

    @classmethod
    def no_header(cls, path: Path | str, *, found: Sequence[str]) -> Self:
        return cls(
            f"the first line of a table names its columns.\n  In '{path}' it holds numbers: {listed(found)}.\n"
            f"  Add a line with names."
        )

    @classmethod
    def empty_file(cls, path: Path | str) -> Self:
        return cls(f"a table needs a header and rows.\n  The file '{path}' has none.\n  Check the path.")

    @classmethod
    def binary_file(cls, path: Path | str) -> Self:
        return cls(
            f"text (CSV, TSV, coin tosses) or Parquet is required.\n  The file '{path}' holds other binary data.\n"
            f"  Convert it first."
        )

    @classmethod
    def damaged_file(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"the file '{path}' cannot be read as a table.\n  {detail}\n  Correct the file.")

    @classmethod
    def vanished_file(cls, path: Path | str) -> Self:
        return cls(
            f"the files of a scan are read again at each pass.\n  '{path}' is no longer there, or cannot be opened.\n"
            f"  Put it back and fit again."
        )

    @classmethod
    def changed_file(cls, path: Path | str, *, before: int, now: int, unit: str) -> Self:
        is_same = " (written at another time)" if before == now else ""
        return cls(
            f"the files of a scan must stay as they are while they are read.\n"
            f"  '{path}' had {before:,} {unit} and now has {now:,}{is_same}.\n  Scan the files anew."
        )

    @classmethod
    def changed_source(cls, what: str, *, before: int, now: int) -> Self:
        return cls(
            f"a scan must hand out the same rows at each pass.\n  {what} had {before:,} rows that count, now {now:,}.\n"
            f"  Give it an order and a fixed content, for example by writing it to files first."
        )

    @classmethod
    def column_missing_in_file(cls, path: Path | str, *, column: str, available: Sequence[str]) -> Self:
        return cls(
            f"all files of a scan need the same columns.\n  '{path}' has no column '{column}'; its columns are: "
            f"{listed(available)}.\n  Correct the file, or leave it or the column out."
        )

    @classmethod
    def type_differs_in_file(cls, path: Path | str, *, column: str, required: str, found: str) -> Self:
        return cls(
            f"a column needs one type in all files of a scan.\n  Column '{column}' is {found} in '{path}' and "
            f"{required} in the first file.\n  Convert the file, or leave it out."
        )

    @classmethod
    def csv_cell(cls, path: Path | str, *, row: int, column: str, found: str, kind: str) -> Self:
        return cls(
            f"a column needs one type in all rows and all files of a scan.\n  Found {found} in row {row} of '{path}', "
            f"column '{column}', which the beginning of the first file makes {kind}.\n"
            f"  Correct the cell, leave the column out, or let a file come first that shows what it is."
        )

    @classmethod
    def type_changed(cls, *, column: str, before: str, now: str) -> Self:
        return cls(
            f"a scan must hand out the same columns in all batches and at each pass.\n"
            f"  Column '{column}' was {before} at first and now is {now}.\n  Give it a fixed type."
        )

    @classmethod
    def read_once(cls, kind: str) -> Self:
        return cls(
            f"the rows of a scan are read again at each pass.\n  Found {kind}, which can be read once only.\n"
            f"  Give a function that begins anew (emix.scan(lambda: ...)), or learn as rows come with emix.OnlineEM."
        )

    @classmethod
    def file_kinds(cls, files: Sequence[Path], *, known: Iterable[str]) -> Self:
        found = sorted({path.suffix or path.name for path in files})
        return cls(
            f"the files of a scan are of one kind: Parquet, Arrow IPC or CSV (by their endings: {listed(known)}).\n"
            f"  Found: {listed(found)}.\n  Name only such files, for example with a glob."
        )

    @classmethod
    def failed_partition(cls, number: int, *, n_partitions: int, detail: str) -> Self:
        return cls(
            f"each partition of a Dask collection must be readable.\n"
            f"  Partition {number} of {n_partitions} failed with {detail}\n"
            f"  Correct what it is made from: `.partitions[{number}].compute()` shows the whole error."
        )

    @classmethod
    def needs_memory(cls, what: str) -> Self:
        return cls(
            f"{what} needs all rows in memory.\n  Found a scan larger than its memory_limit, or a Dask collection.\n"
            f"  Raise it (emix.scan(..., memory_limit=...)), or take a sample of the rows."
        )

    @classmethod
    def ragged_file(cls, path: Path | str, *, line: int, required: int, found: int) -> Self:
        return cls(
            f"each line of a table needs as many cells as its header.\n"
            f"  The file '{path}' has {found} instead of {required} in line {line}.\n  Correct the line."
        )


class ImpossibleRowError(DataError):
    """A row has probability 0 under every component."""

    row: int = -1

    @classmethod
    def at(cls, row: int, where: str | None = None) -> Self:
        place = f"row {row}" if where is None else where
        error = cls(
            f"each row must be possible under at least one component.\n"
            f"  {place[0].upper()}{place[1:]} has probability 0 under all of them (with what its label allows).\n"
            f"  Start from parameters without exact zeros or ones, or correct the row or its label."
        )
        error.row = row
        return error
