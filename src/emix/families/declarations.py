"""What a family declares of itself and learns from the data: support, binding, the lines of a worked M-step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from emix.block import Array, Level, Schema

VARIANCE_FLOOR = 1e-10
"""A variance below this share of the whole column's is a collapse. Statistics are taken about a pivot, so at this
share (a standard deviation of 1e-5 of the column's) a variance still has six correct digits."""

WITH_PRIOR = "pseudo-counts of the prior included"
"""How a worked M-step says that there is a prior."""

RESOLUTION = 1e-14
"""A standard deviation below this share of the mean is below what the numbers themselves resolve."""


@dataclass(frozen=True)
class Support:
    """What a family's cells may hold. data/ checks it and words the error from `requirement`."""

    requirement: str
    lower: float = -np.inf
    lower_is_allowed: bool = True
    upper: float = np.inf
    upper_is_allowed: bool = True
    is_whole: bool = False
    is_categorical: bool = False
    levels: Any = field(default=(), hash=False)
    """The categories that all columns may hold, or a mapping of column to these; else they are found in the data."""
    unknown_is_missing: bool = False
    """A category that the fit did not see counts as missing, instead of being refused."""
    min_columns: int = 1
    max_columns: int | None = None
    takes_missing: bool = True
    must_vary: bool = False
    bound_column: str | None = None
    """A column of whole numbers, read beside the family's own, that no cell of the row may exceed."""
    event_column: str | None = None
    """One of the columns, that holds 1 (true) for an event and 0 (false) for a censored row."""
    missing_is_joint: bool = False
    """One missing cell makes the whole row missing."""
    counts_tosses: bool = False
    """Sequences of tosses are read as their number of heads."""
    needs_values: bool = False
    """The family is bound to the distinct values of its columns: its sums are over these."""

    def levels_of(self, column: str) -> tuple[Level, ...] | None:
        """What was declared of a column; None where its levels are found in the data."""
        found = self.levels.get(column) if isinstance(self.levels, Mapping) else self.levels
        return tuple(found) if found else None


@dataclass(frozen=True)
class Binding:
    """What a family learnt from the data before the first iteration; the same for all starts of a fit."""

    schema: Schema
    pivot: Array
    scale: Array
    whitening: Array | None = None
    """Lower triangular (d, d) in the place of `scale`: y = whitening^-1 (x - pivot); a component's Cholesky factor."""
    is_complete: bool = True
    """No cell is missing."""
    values: tuple[Array | None, ...] = ()
    """The distinct values of each column, sorted, of a family that needs them; no file keeps them."""
    is_own: bool = False
    """Pivot and scale are a component's own: a variance that falls below the floor is put there instead of refused. The
    next pass sees it in the narrower scale, so that it goes on falling while there is something to gain."""

    @property
    def names(self) -> tuple[str, ...]:
        """The column names."""
        return self.schema.names

    @cached_property
    def units(self) -> Array:
        """(d, d) products of scales: what turns a covariance in units of `scale` into one of the columns."""
        return np.outer(self.scale, self.scale)

    @cached_property
    def log_scale(self) -> float:
        """Sum of the logarithms of the scales."""
        return float(np.log(self.scale).sum())


@dataclass(frozen=True)
class Work:
    """One line of a worked M-step: `parameter` is `numerator` / `denominator`, or as `text` says; arrays are (K,)."""

    parameter: str
    value: Array
    text: str
    numerator: Array | None = None
    denominator: Array | None = None
