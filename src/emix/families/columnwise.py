"""Families whose columns are independent draws of a one-dimensional distribution with its log-normaliser per cell."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import DegenerateError, ModelError
from emix.families.base import Family

DRAWN = 16
"""Rows that stand in for those of a column in which a component has none."""


class ColumnwiseFamily(Family):
    """Independent columns, one parameter per component and column, log-normaliser paid per observed cell.

    T(x) = (t_1(x_1) ... t_1(x_d), t_2(x_1) ... , o_1 ... o_d), where o_j is 1 if cell j is observed and a missing
    cell contributes zeros. Parameters are (K,) for one column and (K, d) for several.
    """

    is_additive = True
    n_statistics: ClassVar[int]
    neutral: ClassVar[float] = 1.0
    """Any value inside the support, put in the place of a missing cell before it is multiplied by zero."""

    def _check_columns(self) -> None:
        d = len(self.columns)
        for name, value in self.parameters.items():
            if by_column(value).shape[1] != d:
                shape = "(K,)" if d == 1 else f"(K, {d})"
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape {shape} for {d} columns", found=value.shape
                )

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        return tuple((column,) for column in self.column_names)

    @property
    def statistic_columns(self) -> NDArray[np.intp]:
        d = len(self.columns)
        return np.tile(np.arange(d), self.n_statistics + 1)

    @property
    def n_observed(self) -> int:
        """One count of observed cells per column."""
        return len(self.columns)

    @abstractmethod
    def cell_statistics(self, x: Array) -> Array:
        """(B, d) without NaN -> (n_statistics, d, B)."""

    @abstractmethod
    def cell_coefficients(self) -> tuple[Array, Array]:
        """-> (K, n_statistics, d) and the log-normaliser (K, d)."""

    @abstractmethod
    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        """(K, n_statistics, d) sums and (K, d) positive counts of observed cells -> free parameters, each (K, d)."""

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        """T(x): see the class."""
        if is_complete:
            return self.cell_statistics(x).reshape(-1, len(x))
        seen = ~np.isnan(x)
        own = self.cell_statistics(np.where(seen, x, self.neutral)) * seen.T
        return np.concatenate([own.reshape(-1, len(x)), seen.T])

    def coefficients(self) -> Array:
        """(K, D): see the class."""
        own, log_normaliser = self.cell_coefficients()
        return np.concatenate([own.reshape(len(own), -1), log_normaliser], axis=1)

    def _maximize(self, expected: Array) -> Self:
        d = len(self.columns)
        own, observed = expected[:, :-d].reshape(len(expected), self.n_statistics, d), expected[:, -d:]
        empty = observed <= 0
        if empty.any():
            if not self.is_fitted:
                raise DegenerateError.empty(component=int(np.argmax(empty.any(axis=1))))
            # whatever is computed for them is thrown away: the sums over all components are statistics that can occur
            possible, rows = own.sum(axis=0), observed.sum(axis=0)
            if not (rows > 0).all():  # a component by itself: those of rows that it draws
                drawn = self.sample(np.zeros(DRAWN, dtype=np.intp), np.random.default_rng(0))
                possible = np.where(rows > 0, possible, self.cell_statistics(drawn).sum(axis=-1))
                rows = np.where(rows > 0, rows, DRAWN)
            own = np.where(empty[:, None], possible, own)
            observed = np.where(empty, rows, observed)
        values: dict[str, Any] = dict(self.cell_maximize(own, observed))
        if empty.any():
            values = {name: np.where(empty, by_column(getattr(self, name)), new) for name, new in values.items()}
        return self.estimated(**values)

    def of_column(self, parameter: Array, labels: NDArray[np.intp]) -> Array:
        """(K,) or (K, d) -> (n, d): the parameter of each row's component."""
        return by_column(parameter)[labels]


def by_column(parameter: Array) -> Array:
    """(K,) or (K, d) -> (K, d)."""
    return parameter[:, None] if parameter.ndim == 1 else parameter
