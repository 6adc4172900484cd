"""From a table to the float matrix that a family reads: column choice, categories to codes, every check of a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Array, Level, Schema, Summary, is_missing, plain_level
from emix.data.table import Cells, Table, refuse_dates
from emix.errors import DataError
from emix.families import Support


def encode(table: Table, support: Support, *, family: str, schema: Schema | None = None) -> tuple[NDArray[Any], Schema]:
    """Cells as numbers (n, d), NaN where missing, and the schema; not yet checked against the support.

    Parameters
    ----------
    table : Table
        The data.
    support : Support
        What the family can take.
    family : str
        Its name, for messages.
    schema : Schema, optional
        Of the data that the model was fitted to: the same columns are then taken, in that order, with its levels.

    Raises
    ------
    DataError
        A cell outside the support, named by row and column; or the wrong columns.
    """
    if table.is_tosses and support.counts_tosses:
        table = _counted(table, support)
    names = column_names(table, support, family=family, schema=schema)
    table = table if names == table.names else table.select(names)
    for name, cells in zip(names, table.columns, strict=True):
        refuse_dates(name, cells)
    if table.matrix is not None and not support.is_categorical:
        return table.matrix, Schema(names, (None,) * len(names))
    levels: list[tuple[Level, ...] | None] = []
    if support.is_categorical and table.n_rows * len(names) >= COMPACT_FROM:
        return _compact(table, names, schema, support)
    columns = []
    for j, (name, cells) in enumerate(zip(names, table.columns, strict=True)):
        known = None if schema is None else schema.levels[j]
        if support.is_categorical:
            known = known or support.levels_of(name) or levels_of(distinct_cells(cells), name)
            columns.append(_codes(cells, known, name, table, support))
        else:
            columns.append(_numbers(cells, name, family, table))
        levels.append(known)
    return _matrix(columns), Schema(names, tuple(levels))


COMPACT_FROM = 4_000_000
"""Cells from which a table of categories is held as small integers."""


def _compact(
    table: Table, names: tuple[str, ...], schema: Schema | None, support: Support
) -> tuple[NDArray[Any], Schema]:
    """Level codes as the smallest integers that hold them, -1 where missing."""
    known = [None] * len(names) if schema is None else list(schema.levels)
    columns = zip(known, table.columns, names, strict=True)
    levels = [own or support.levels_of(name) or levels_of(distinct_cells(cells), name) for own, cells, name in columns]
    largest = max(len(own) for own in levels)
    x = np.empty(
        (table.n_rows, len(names)), dtype=np.int8 if largest < 127 else np.int16 if largest < 32767 else np.int32
    )
    for j, (own, cells, name) in enumerate(zip(levels, table.columns, names, strict=True)):
        x[:, j] = np.nan_to_num(_codes(cells, own, name, table, support), nan=-1.0)
    return x, Schema(names, tuple(levels))


def check_cells(
    x: NDArray[Any], summary: Summary, support: Support, *, family: str, table: Table, names: tuple[str, ...]
) -> None:
    """Raise for the first cell outside the support.

    The summary of the columns tells whether there is one; only then are the cells looked at one by one.
    """
    if not support.takes_missing and not summary.is_complete:
        row, column = _first(is_missing, x)
        n_bad = int(summary.n_missing.sum())
        raise DataError.missing(family=family, where=table.where(row), column=names[column], n_bad=n_bad)
    if support.is_categorical:
        return
    beside = {support.bound_column, support.event_column}
    own = np.array([name not in beside for name in names])
    low, high = summary.minimum[own], summary.maximum[own]
    is_inside = bool((low >= support.lower if support.lower_is_allowed else low > support.lower).all())
    below = high <= support.upper if support.upper_is_allowed else high < support.upper
    below |= low > high  # nothing is observed
    is_inside = is_inside and bool(below.all()) and not summary.n_infinite.any()
    if support.is_whole:
        is_inside = is_inside and not summary.n_fractional[own].any()
    if not is_inside or beside & {*names}:
        _check_one_by_one(np.asarray(x, dtype=np.float64), own, support, family, table, names)


def _first(test: Callable[[NDArray[Any]], NDArray[np.bool_]], x: NDArray[Any]) -> tuple[int, int]:
    """Row and column of the first cell that passes the test, found chunk by chunk."""
    for start in range(0, len(x), CHUNK_ROWS):
        found = np.argwhere(test(x[start : start + CHUNK_ROWS]))
        if len(found):
            return start + int(found[0, 0]), int(found[0, 1])
    return 0, 0


def _counted(table: Table, support: Support) -> Table:
    """Sequences of tosses as heads, and their length where the family reads it from a column."""
    counts = table.heads_and_tosses()
    if support.bound_column is not None:
        return counts
    found = counts.column("tosses")
    if (found != support.upper).any():
        row = int(np.argmax(found != support.upper))
        raise DataError.toss_counts(where=table.where(row), found=int(found[row]), required=int(support.upper))
    return counts.select(["heads"])


def column_names(table: Table, support: Support, *, family: str, schema: Schema | None) -> tuple[str, ...]:
    """Which columns the family reads, in order; the column that bounds the cells comes last."""
    if schema is not None:
        if table.has_names:
            for name in schema.names:
                if name not in table.names:
                    raise DataError.unknown_column(column=name, available=table.names)
        elif len(table.names) != len(schema.names):
            raise DataError.width_changed(required=schema.names, found=len(table.names))
        return schema.names if table.has_names else table.names
    bound = support.bound_column
    for beside in (bound, support.event_column):
        if beside is not None and beside not in table.names:
            raise DataError.unknown_column(column=beside, available=table.names)
    names = tuple(name for name in table.names if name != bound)
    least, most = support.min_columns, support.max_columns
    if len(names) < least or (most is not None and len(names) > most):
        required = f"exactly {least} column" + "s" * (least > 1) if least == most else f"at least {least} columns"
        beside = f" beside '{bound}'" if bound else ""
        raise DataError.n_columns(family=family, required=required + beside, found=len(names))
    return names if bound is None else (*names, bound)


def _matrix(columns: Sequence[Array]) -> Array:
    """Columns side by side, row after row."""
    x = np.empty((len(columns[0]), len(columns)))
    for j, column in enumerate(columns):
        x[:, j] = column
    return x


def _numbers(cells: Cells, name: str, family: str, table: Table) -> Array:
    if cells.dtype == np.float64:
        return cells
    if cells.dtype != object:
        return cells.astype(np.float64)
    row = table.first_text(name)
    if row is not None:
        raise DataError.not_a_number(family=family, found=cells[row], where=table.where(row), column=name)
    return np.array([np.nan if value is None else float(value) for value in cells])


def distinct_cells(cells: Cells) -> set[object]:
    """The different cells of a column."""
    return set(cells.tolist()) if cells.dtype == object else set(np.unique(cells).tolist())


def levels_of(distinct: set[object], name: str) -> tuple[Level, ...]:
    """Levels of a column of categories, in order, from its different cells.

    Raises
    ------
    DataError
        All are missing.
    """
    found = {plain_level(value) for value in distinct} - {None}
    if not found:
        raise DataError.all_missing(column=name)
    return tuple(sorted(found, key=lambda level: (isinstance(level, str), level)))  # type: ignore[arg-type]


def _codes(cells: Cells, levels: tuple[Level, ...], name: str, table: Table, support: Support) -> Array:
    code_of = {level: float(code) for code, level in enumerate(levels)}
    values: list[object]
    if name in table.coded:
        inverse, values = table.coded[name]
    elif cells.dtype != object:
        distinct, inverse = np.unique(cells, return_inverse=True)
        values = distinct.tolist()
    else:
        position: dict[object, int] = {}
        inverse = np.array([position.setdefault(value, len(position)) for value in cells.tolist()], dtype=np.intp)
        values = list(position)
    codes = np.empty(len(values))
    for i, value in enumerate(values):
        level = plain_level(value)
        if level is not None and level not in code_of and not support.unknown_is_missing and (inverse == i).any():
            row = int(np.argmax(inverse == i))
            raise DataError.unknown_level(found=value, where=table.where(row), column=name, levels=levels)
        codes[i] = np.nan if level is None else code_of.get(level, np.nan)
    return codes[inverse]


def _check_one_by_one(
    x: Array, own: NDArray[np.bool_], support: Support, family: str, table: Table, names: tuple[str, ...]
) -> None:
    _refuse(np.isinf(x), x, "finite numbers", family, table, names)
    cells, of_cells = x[:, own], tuple(name for name, is_own in zip(names, own, strict=True) if is_own)
    bad = (cells < support.lower) if support.lower_is_allowed else (cells <= support.lower)
    bad |= (cells > support.upper) if support.upper_is_allowed else (cells >= support.upper)
    if support.is_whole:
        bad |= ~np.isnan(cells) & (cells != np.floor(np.nan_to_num(cells)))
    _refuse(bad, cells, support.requirement, family, table, of_cells)
    beside, of_beside = x[:, ~own], tuple(name for name, is_own in zip(names, own, strict=True) if not is_own)
    if support.bound_column in of_beside:
        wrong = (beside < 0) | (~np.isnan(beside) & (beside != np.floor(np.nan_to_num(beside))))
        _refuse(wrong, beside, "whole numbers >= 0 for the number of tosses", family, table, of_beside)
        _refuse(cells > beside, cells, support.requirement, family, table, of_cells)
    if support.event_column in of_beside:
        wrong = ~np.isnan(beside) & (beside != 0) & (beside != 1)
        requirement = f"1 (event) or 0 (censored), or true and false, in the column '{support.event_column}'"
        _refuse(wrong, beside, requirement, family, table, of_beside)


def _refuse(
    bad: NDArray[np.bool_], x: Array, requirement: str, family: str, table: Table, names: tuple[str, ...]
) -> None:
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    found = float(x[row, column])
    raise DataError.outside_support(
        family=family,
        requirement=requirement,
        found=str(int(found)) if found.is_integer() else repr(found),
        where=table.where(int(row)),
        column=names[column],
        n_bad=int(bad.sum()),
        n_rows=len(x),
        hint="Correct or drop these rows, leave the column out, or choose another family.",
    )
