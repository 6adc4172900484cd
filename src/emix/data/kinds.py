"""What a column holds: measurements, counts, yes or no, categories, nothing at all, or the names of the rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.data.table import Cells, Table, is_number
from emix.errors import DATE, DECIMAL_COMMA, DataError
from emix.families import Bernoulli, Categorical, Family, Gamma, LogNormal, NegativeBinomial, Normal, Poisson

ROWS = 10
"""Rows from which a column of nothing but different values can be an identifier, and one of two values a category."""
SINGLE = "a single value"
EMPTY = "no value"
IDENTIFIER = "an identifier: "
LARGEST_COUNT = 100
"""Whole numbers from 0, 1 or 2 up to this are counts."""
OVERDISPERSED = 3.0
"""Variance over mean from which components of one mixture may still be wider than a Poisson."""
SKEWED = 1.0
"""Skewness from which positive numbers are not normal, also as a mixture of few."""
REPEATS = 20.0
"""Repeats that chance would make among whole numbers from which their absence tells identifiers. It makes the fewest
where all numbers of the range are as likely, n (n - 1) / 2 in that many, and none at all with probability exp(-20)."""
NAMED = re.compile(
    r"(?i:(^|.*[\W_])(id|uid|uuid|guid|key|index))|.*[a-z0-9](Id|ID)|"
    r"(?i:(user|customer|client|patient|person|member|subject|student|employee|respondent|participant|passenger|reader"
    r"|order|invoice|product|item|account|case|record|row|sample|serial)[\W_]*(id|no|nr|num|number))"
)
"""Names of identifiers."""
ORDERED = 10.0
"""Times that numbers and text change places less often than in a shuffled column from which one follows the other."""


@dataclass(frozen=True)
class Assumption:
    """What was assumed of a column, or of several that share a family; `family` is None where it was left out."""

    column: str
    family: Family | None
    reason: str

    def __str__(self) -> str:
        """Like `city: categorical (text, 3 different values)`."""
        return f"{self.column}: {'left out' if self.family is None else self.family} ({self.reason})"

    @property
    def is_identifier(self) -> bool:
        """Whether the column only names the rows."""
        return self.family is None and self.reason.startswith(IDENTIFIER)


def of_column(table: Table, name: str, *, step: int = 1, may_be_identifier: bool = True) -> Assumption:
    """By the column's type, then by its values; every `step`-th row of a longer table is there."""
    cells = table.column(name)
    if cells.dtype == np.bool_:
        return Assumption(name, *((Bernoulli(), "true or false") if _varies(cells) else (None, SINGLE)))
    if cells.dtype == object:
        return _of_text(name, cells, may_be_identifier=may_be_identifier)
    numbers = np.ascontiguousarray(cells, dtype=np.float64)
    x = _kept(numbers, ~np.isnan(numbers))
    if len(x) == 0:
        return Assumption(name, None, EMPTY)
    x = _kept(x, np.isfinite(x))
    if len(x) and not _varies(x):
        return Assumption(name, None, SINGLE)
    if may_be_identifier and table.has_names and len(x):  # an array without names is as its owner wants it
        reason = _identifier(name, x, step, is_complete=len(x) == len(cells))
        if reason is not None:
            return Assumption(name, None, IDENTIFIER + reason)
    return Assumption(name, *_of_numbers(x))


def _kept(x: NDArray[np.float64], keep: NDArray[np.bool_]) -> NDArray[np.float64]:
    """These cells, without a copy where they are all."""
    return x if keep.all() else x[keep]


def _varies(cells: Cells) -> bool:
    return bool((cells != cells[0]).any())


def _of_text(name: str, cells: Cells, *, may_be_identifier: bool) -> Assumption:
    observed = [cell for cell in cells if cell is not None]
    n_distinct = len(set(map(str, observed)))
    if n_distinct < 2:
        return Assumption(name, None, SINGLE if observed else EMPTY)
    if may_be_identifier and n_distinct == len(observed) >= ROWS:
        return Assumption(name, None, f"{IDENTIFIER}{n_distinct:,} different texts")
    kind = "text" if all(isinstance(cell, str) for cell in observed) else "categories"
    return Assumption(name, Categorical(), f"{kind}, {n_distinct} different values")


def _identifier(name: str, x: NDArray[np.float64], step: int, *, is_complete: bool) -> str | None:
    """Why whole numbers only name the rows: none comes twice, where numbers that measure or count would repeat."""
    n = len(x)
    if n < ROWS or not (x == np.floor(x)).all():
        return None
    low, high = float(x.min()), float(x.max())
    if is_complete and (np.diff(x) == step).all():
        return f"each number from {x[0]:.15g} {f'to {x[-1]:.15g}' if step == 1 else 'on'} in turn"
    size = high - low + 1
    is_named = NAMED.fullmatch(name) is not None
    if size < n or (n * (n - 1) / 2 < REPEATS * size and size > n and not is_named) or len(np.unique(x)) < n:
        return None
    if size == n:
        return "each number once, without a gap"
    return f"{n:,} different whole numbers from {low:.15g} to {high:.15g}" + ", and its name" * is_named


def _of_numbers(x: NDArray[np.float64]) -> tuple[Family, str]:
    """Of numbers that vary, or are all infinite, which the fit refuses."""
    if len(x) == 0:
        return Normal(), "numbers"
    low, high = float(x.min()), float(x.max())
    if ((x == low) | (x == high)).all() and (len(x) >= ROWS or (low == 0 and high == 1)):
        if low == 0 and high == 1:
            return Bernoulli(), "0 or 1, false or true"
        return Categorical(), f"two different numbers, {low:g} and {high:g}"
    if (x == np.floor(x)).all() and 0 <= low <= 2 and high <= LARGEST_COUNT:
        ratio = x.var() / x.mean()
        if ratio > OVERDISPERSED:
            return NegativeBinomial(), f"counts, variance {ratio:.1f} times the mean"
        return Poisson(), f"counts up to {high:g}"
    if low > 0 and _skewness(x) > SKEWED:
        of_logs = _skewness(np.log(x))
        reason = f"positive, skewness {_skewness(x):.1f}, of logarithms {of_logs:.1f}"
        return LogNormal() if abs(of_logs) < SKEWED else Gamma(), reason
    return Normal(), f"numbers from {low:g} to {high:g}"


def _skewness(x: NDArray[np.float64]) -> float:
    off = x - x.mean()
    squares = off * off
    return float((squares * off).mean() / squares.mean() ** 1.5)


# -- columns that are neither numbers nor text -------------------------------------------------------------------------


def refuse_mixture(table: Table, name: str) -> None:
    """Raise if a column was meant as numbers and holds text as well.

    Codes, numbers and text in any order, are categories.

    Raises
    ------
    DataError
        Most cells are numbers, or one kind follows the other down the column.
    """
    cells = table.column(name)
    if cells.dtype != object:
        return
    rows = np.flatnonzero(np.array([cell is not None for cell in cells]))
    numeric = {cell: _was_meant_as_number(cell) for cell in set(cells[rows].tolist())}
    is_numeric = np.array([numeric[cell] for cell in cells[rows].tolist()], dtype=np.bool_)
    share = float(is_numeric.mean()) if len(rows) else 0.0
    row = table.first_text(name)
    if share == 0 or row is None:
        return
    changes = np.flatnonzero(is_numeric[1:] != is_numeric[:-1]) + 1
    if 0 < ORDERED * len(changes) <= 2 * share * (1 - share) * (len(rows) - 1):
        before, after = rows[changes[0] - 1], rows[changes[0]]
        raise DataError.kind_changes(
            column=name,
            kinds=("numbers", "text") if is_numeric[0] else ("text", "numbers"),
            found=(cells[before], cells[after]),
            where=(table.where(int(before)), table.where(int(after))),
        )
    if share > 0.5:  # with a slip among them, not categories
        raise DataError.not_a_number(family="normal", found=str(cells[row]), where=table.where(row), column=name)


def _was_meant_as_number(cell: Any) -> bool:
    if not isinstance(cell, str):
        return True
    return is_number(cell) or DECIMAL_COMMA.fullmatch(cell) is not None or DATE.fullmatch(cell) is not None
