"""Which families fit a table whose user did not say, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.data.source import hash_rows
from emix.data.table import Cells, Table, is_number, refuse_dates
from emix.errors import DATE, DECIMAL_COMMA, DataError
from emix.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Columns,
    Family,
    Gamma,
    LogNormal,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)

ROWS = 10
"""Rows from which a column of nothing but different values is an identifier."""
SINGLE = "a single value"
LARGEST_COUNT = 100
"""Whole numbers from 0, 1 or 2 up to this are counts."""
OVERDISPERSED = 3.0
"""Variance over mean from which components of one mixture may still be wider than a Poisson."""
SKEWED = 1.0
"""Skewness from which positive numbers are not normal, also as a mixture of few."""


@dataclass(frozen=True)
class Assumption:
    """What was assumed of a column; `family` is None where it was left out."""

    column: str
    family: Family | None
    reason: str

    def __str__(self) -> str:
        """Like `city: categorical (text, 3 different values)`."""
        return f"{self.column}: {'left out' if self.family is None else self.family} ({self.reason})"


def auto_family(table: Table, n_components: int, sample_weight: Array | None = None) -> Family:
    """The family of `assume`, without the reasons."""
    return assume(table, n_components, sample_weight)[0]


def assume(
    table: Table,
    n_components: int,
    sample_weight: Array | None = None,
    given: Mapping[str | tuple[str, ...], Family] | None = None,
) -> tuple[Family, list[Assumption]]:
    """A family from the types and values of the columns, and what was assumed of each.

    Coin tosses are Binomial, one numeric column is Normal, several are one MultivariateNormal, true/false columns are
    Bernoulli, text columns Categorical; a table of several kinds, or with families given for some of its columns (for a
    tuple of names one that they share), has a family for each column. Covariances are `full` where there are more
    distinct rows than K (d + 1), below which they could not all be regular, and `diag` otherwise.

    Raises
    ------
    DataError
        A column of numbers holds text, or every column was left out.
    """
    if table.is_tosses:
        tosses = table.heads_and_tosses().column("tosses")
        return Binomial(int(tosses[0]) if (tosses == tosses[0]).all() else "tosses"), []
    for name, column in zip(table.names, table.columns, strict=True):
        refuse_dates(name, column)
        cells = [cell for cell in column if isinstance(cell, str)] if column.dtype == object else []
        if 2 * sum(map(_was_meant_as_number, cells)) > len(cells) > 0:  # with a slip among them, not categories
            _refuse_text(table, name)
    kinds = {"text" if c.dtype == object else "truth" if c.dtype == np.bool_ else "number" for c in table.columns}
    if len(kinds) > 1 or given:
        return _by_column(table, given or {})
    if kinds == {"text"}:
        return Categorical(), []
    if kinds == {"truth"}:
        return Bernoulli(), []
    if len(table.columns) == 1:
        return Normal(), []
    x = np.stack([column.astype(np.float64) for column in table.columns], axis=1)
    n_distinct = len(np.unique(hash_rows(x if sample_weight is None else x[sample_weight > 0])))
    is_enough = n_distinct > n_components * (x.shape[1] + 1)
    return MultivariateNormal(structure="full" if is_enough else "diag"), []


def _by_column(table: Table, given: Mapping[Any, Family]) -> tuple[Family, list[Assumption]]:
    shared = {}  # column -> what its family was given for
    for key in given:
        for name in key if isinstance(key, tuple) else (key,):
            table.column(name)  # or an error that names it
            if name in shared:
                raise DataError.repeated_column(column=name)
            shared[name] = key
    assumed, chosen = [], {}
    for name, cells in zip(table.names, table.columns, strict=True):
        key = shared.get(name, name)
        if key in chosen:
            continue
        if name in shared:
            label = name if key == name else f"({', '.join(key)})"
            one = Assumption(label, given[key], "as asked for")
        else:
            one = _of_column(name, cells)
        assumed.append(one)
        if one.family is not None:
            chosen[key] = one.family
    if not chosen:
        raise DataError.no_rows("the columns that say something: " + "; ".join(map(str, assumed)))
    return Columns(chosen), assumed


def identifiers(table: Table) -> list[Assumption]:
    """The columns that only number or name the rows: texts that are all different, or 1, 2, 3, ... down the table."""
    found = []
    for name, cells in zip(table.names, table.columns, strict=True):
        texts = [cell for cell in cells if isinstance(cell, str)] if cells.dtype == object else []
        if texts and DATE.fullmatch(texts[0]):  # refused by name where it is read
            continue
        one = _of_column(name, cells) if texts else None
        if one is not None and one.family is None and one.reason != SINGLE:
            found.append(one)
        elif cells.dtype.kind in "iuf" and len(cells) >= ROWS and (np.diff(cells.astype(np.float64)) == 1).all():
            found.append(
                Assumption(name, None, f"an identifier: each number from {cells[0]:g} to {cells[-1]:g} in turn")
            )
    return found


def measurements(table: Table) -> tuple[str, ...]:
    """The columns of numbers that vary and are neither 0 or 1 nor an identifier."""
    columns = zip(table.names, table.columns, strict=True)
    kept = ((name, _of_column(name, cells).family) for name, cells in columns if cells.dtype.kind in "iuf")
    return tuple(name for name, family in kept if family is not None and not isinstance(family, Bernoulli))


def _of_column(name: str, cells: Cells) -> Assumption:
    """By the column's type, then by its values."""
    if cells.dtype == np.bool_:
        return Assumption(name, Bernoulli(), "true or false")
    if cells.dtype == object:
        observed = [cell for cell in cells if cell is not None]
        n_distinct = len(set(map(str, observed)))
        if n_distinct == len(observed) >= ROWS:
            return Assumption(name, None, f"an identifier: {n_distinct:,} different texts")
        if n_distinct < 2:
            return Assumption(name, None, SINGLE)
        return Assumption(name, Categorical(), f"text, {n_distinct} different values")
    numbers = cells.astype(np.float64)
    return _of_numbers(name, numbers[np.isfinite(numbers)])


def _of_numbers(name: str, x: NDArray[np.float64]) -> Assumption:
    distinct = np.unique(x)
    if len(distinct) < 2:
        return Assumption(name, None, SINGLE)
    if len(distinct) == 2 and distinct[0] == 0 and distinct[1] == 1:
        return Assumption(name, Bernoulli(), "0 or 1")
    low, high, is_whole = x.min(), x.max(), bool((x == np.floor(x)).all())
    if is_whole and len(distinct) == len(x) >= ROWS and high - low + 1 == len(x):
        return Assumption(name, None, "an identifier: each number once, without a gap")
    if is_whole and 0 <= low <= 2 and high <= LARGEST_COUNT:
        ratio = x.var() / x.mean()
        if ratio > OVERDISPERSED:
            return Assumption(name, NegativeBinomial(), f"counts, variance {ratio:.1f} times the mean")
        return Assumption(name, Poisson(), f"counts up to {high:g}")
    if low > 0 and _skewness(x) > SKEWED:
        of_logs = _skewness(np.log(x))
        reason = f"positive, skewness {_skewness(x):.1f}, of logarithms {of_logs:.1f}"
        return Assumption(name, LogNormal() if abs(of_logs) < SKEWED else Gamma(), reason)
    return Assumption(name, Normal(), f"numbers from {low:g} to {high:g}")


def _skewness(x: NDArray[np.float64]) -> float:
    off = x - x.mean()
    return float((off**3).mean() / (off**2).mean() ** 1.5)


def _was_meant_as_number(text: str) -> bool:
    return is_number(text) or DECIMAL_COMMA.fullmatch(text) is not None or DATE.fullmatch(text) is not None


def _refuse_text(table: Table, name: str) -> None:
    row = table.first_text(name)
    if row is not None:
        found = str(table.column(name)[row])
        raise DataError.not_a_number(family="normal", found=found, where=table.where(row), column=name)
