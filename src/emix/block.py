"""What data/ makes and families read: chunks of rows, their schema, a summary of the columns, and sums over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Level = str | int | float | bool
T = TypeVar("T")

CHUNK_ROWS = 16_384
"""Rows per chunk, the leaf of every sum: the same cut whatever the source, so that sums have the same bits."""

LOG_ZERO = -1e30
"""log 0 as a finite number: 0 x -inf would be NaN inside a matrix product."""


def safe_log(p: Array) -> Array:
    """Elementwise log with log 0 = `LOG_ZERO`."""
    positive = p > 0
    return np.where(positive, np.log(np.where(positive, p, 1.0)), LOG_ZERO)


def mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014): every input bit reaches every output bit."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def safe_log1m(p: Array) -> Array:
    """Elementwise log(1 - p), exact also for small p, with log 0 = `LOG_ZERO`."""
    below = p < 1
    return np.where(below, np.log1p(-np.where(below, p, 0.0)), LOG_ZERO)


def as_cells(x: NDArray[Any]) -> Array:
    """Cells as float64 with NaN where missing; whole-number codes, of which a negative one is missing, too."""
    if x.dtype.kind != "i":
        return np.ascontiguousarray(x, dtype=np.float64)
    return np.where(x < 0, np.nan, x)


def readable(x: NDArray[Any]) -> NDArray[Any]:
    """Numbers as they are, whatever their precision; codes as numbers that know what is missing."""
    return as_cells(x) if x.dtype.kind == "i" else x


def plain_level(value: object) -> Level | None:
    """A cell as a JSON-able level: text, whole number, number or truth value; None where missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating | int | np.integer):
        return int(value) if float(value).is_integer() else float(value)
    return str(value)


def is_missing(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cells are missing: NaN, or a negative code."""
    return np.asarray(x < 0) if x.dtype.kind == "i" else np.isnan(x)


def updated(instance: T, **values: Any) -> T:
    """`dataclasses.replace` for values that are right by construction: nothing is converted, nothing is checked.

    What a cached property would compute can be given too, under its name, where it is known already. An M-step on a
    small table would otherwise spend more time on checking its own result than on arriving at it.
    """
    new = object.__new__(type(instance))
    own, names = vars(instance), _field_names(type(instance))  # type: ignore[arg-type]
    vars(new).update({name: own[name] for name in names}, **values)
    return new


@cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class Schema:
    """The columns that a family reads, in order; `levels[j]` are the categories of column j, None for numbers."""

    names: tuple[str, ...]
    levels: tuple[tuple[Level, ...] | None, ...]


@dataclass(frozen=True)
class Summary:
    """A first look at the columns, weighted: for checks, pivots, floors, and whether rows can be packed.

    Arrays have the shape (d,). A column without an observed cell has a minimum above its maximum. `values` are each
    column's distinct values, sorted, where a family needs them, and empty where none does.
    """

    total_weight: float
    mean: Array
    variance: Array
    minimum: Array
    maximum: Array
    n_missing: Array
    n_infinite: Array
    n_fractional: Array
    log_mean: Array
    log_variance: Array
    values: tuple[Array | None, ...] = ()

    @property
    def is_complete(self) -> bool:
        """No cell is missing."""
        return not self.n_missing.any()

    def of_columns(self, columns: Any) -> Summary:
        """Of these columns alone: a slice, or positions."""
        values = tuple(self.values[j] for j in np.arange(len(self.mean))[columns]) if self.values else ()
        own = {name: getattr(self, name)[columns] for name in self._arrays()}
        return Summary(self.total_weight, **own, values=values)

    @staticmethod
    def _arrays() -> list[str]:
        return [field.name for field in fields(Summary) if field.name not in ("total_weight", "values")]

    @staticmethod
    def joined(parts: Sequence[Summary]) -> Summary:
        """Of all columns, from those of some."""
        own = {name: np.concatenate([getattr(p, name) for p in parts]) for name in Summary._arrays()}
        values = tuple(one for p in parts for one in (p.values or (None,) * len(p.mean)))
        return Summary(parts[0].total_weight, **own, values=values if any(p.values for p in parts) else ())


@dataclass(frozen=True)
class Coding:
    """Rows of few different cells as codes, several columns to one: their statistics are looked up and not computed.

    Attributes
    ----------
    groups : tuple of slice
        The columns of each code.
    minimum, sizes, strides : ndarray of shape (d,)
        A cell's step x - minimum (the last of the column's `sizes` steps if it is missing) times its stride adds up to
        the code of its group.
    offsets : ndarray of shape (G,)
        Where each group's codes begin among all codes.
    statistics : array of shape (1 + D, n_codes), sparse where that is large
        What each code adds to the statistics of a row; row 0, the constant 1, comes with the codes of the first group.
    """

    groups: tuple[slice, ...]
    minimum: Array
    sizes: NDArray[np.int64]
    strides: NDArray[np.int64]
    offsets: NDArray[np.int64]
    statistics: Any


@dataclass(frozen=True)
class Plan:
    """How the compiled kernel reads columns of several kinds.

    Attributes
    ----------
    tiles : MixedTiles
        Of the columns that become statistics tile by tile.
    rows : ndarray of shape (D,)
        Where the statistics of these tiles stand among all (1 + D); the first is row 0.
    columns : ndarray of int
        The columns that are coded.
    coding : Coding or None
        Of these columns; its statistics have zeros in row 0.
    """

    tiles: Any
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    coding: Coding | None


@dataclass(frozen=True)
class Patterns:
    """Rows in the order of their patterns of observed cells.

    Attributes
    ----------
    order : ndarray of shape (B,) or None
        Rows by pattern; None where they lie so already.
    edges : ndarray of shape (P + 1,)
        Where each pattern begins among the ordered rows, and the end.
    observed : ndarray of shape (P, d)
        1 for an observed column, 0 for a missing one.
    """

    order: NDArray[np.intp] | None
    edges: NDArray[np.intp]
    observed: Array


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows with their weights and what is known of their labels.

    Attributes
    ----------
    x : ndarray of shape (B, d)
        The cells, float64 or float32; NaN is missing, a categorical cell is its level's code. Of large tables of
        categories these are small integers, and a negative one is missing.
    weight : ndarray of shape (B,)
        Row weights, all positive.
    start : int
        Position of the first row in its source.
    n_source_rows : int
        Rows of the whole source: tells whether compiling pays.
    is_complete : bool
        No cell is missing.
    labels : ndarray of shape (B,) or None
        Known component per row, -1 where unknown.
    knowledge : ndarray of shape (B, K) or None
        q >= 0, multiplies p(z = k) for each row.
    log_base : float or None
        Weighted sum of the log base measure over the rows, where it was computed beforehand.
    statistics : ndarray of shape (D, B) or None
        T(x) of the rows, where they are so few that it is kept for all iterations.
    codes, coding : ndarray of shape (B, G) and Coding, or None
        The rows as codes.
    plan : Plan or None
        How the compiled kernel reads columns of several kinds; `codes` are then those of its coding.
    patterns : Patterns or None
        Which cells are observed, of rows that lie in the order of their patterns.
    """

    x: NDArray[Any]
    weight: Array
    start: int = 0
    n_source_rows: int = 0
    is_complete: bool = False
    labels: NDArray[np.intp] | None = None
    knowledge: Array | None = None
    log_base: float | None = None
    statistics: Array | None = None
    codes: NDArray[Any] | None = None
    coding: Coding | None = None
    plan: Plan | None = None
    patterns: Patterns | None = None

    @property
    def cells(self) -> Array:
        """`x` as float64: widened here, chunk by chunk, and never as a whole."""
        return as_cells(self.x)

    def log_knowledge(self, n_components: int) -> Array | None:
        """Log q as (K, B), or None where nothing is known."""
        if self.knowledge is not None:
            return safe_log(self.knowledge.T)
        if self.labels is None:
            return None
        allowed = (self.labels == np.arange(n_components)[:, None]) | (self.labels < 0)
        return np.where(allowed, 0.0, LOG_ZERO)


@dataclass(frozen=True)
class Expectation:
    """What an E-step sums over rows; two of them add.

    Attributes
    ----------
    statistics : ndarray of shape (K, D), or anything that adds
        Expected statistics. For a mixture column 0 holds the expected counts.
    log_likelihood : float
        Total, weighted, in nats, of the parameters that the E-step used.
    weight : float
        Total weight of the rows.
    magnitude : float
        Sum of weight x |log p(row)|: its rounding is the noise of the log-likelihood.
    log_map : float
        Sum of weight x log of each row's largest responsibility (0 if all rows are certain); ICL is BIC minus twice it.
    """

    statistics: Any
    log_likelihood: float
    weight: float = 1.0
    magnitude: float = 0.0
    log_map: float = 0.0

    def __add__(self, other: Expectation) -> Expectation:
        """Sum over the rows of both."""
        return Expectation(
            self.statistics + other.statistics,
            self.log_likelihood + other.log_likelihood,
            self.weight + other.weight,
            self.magnitude + other.magnitude,
            self.log_map + other.log_map,
        )
