"""Exponential family of waiting times, independent over columns.

T(x) = (x, o)    coefficients = (-rate, log rate)    MLE: rate = sum(w o) / sum(w x)
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import DegenerateError
from emix.families.base import Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.priors import GammaPrior
from emix.kernels.tiles import VALUES, Tile
from emix.spaces import POSITIVE


@dataclass(frozen=True, eq=False, repr=False)
class Exponential(ColumnwiseFamily):
    """Waiting times with a rate per component and column.

    Parameters
    ----------
    rate : array-like of shape (K,) or (K, d), optional
        Events per unit of the column: 1 / mean.
    prior : GammaPrior, optional
        Of the rate: estimates are then posterior modes, (rows + shape - 1) / (sum of x + rate).
    """

    rate: Parameter = None
    prior: GammaPrior | None = None

    name = "exponential"
    spaces = {"rate": POSITIVE}
    n_statistics = 1
    prior_kind = GammaPrior
    support = Support("numbers >= 0", lower=0)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"sum of {c}" for c in self.columns) + tuple(f"rows with {c}" for c in self.columns)

    def cell_statistics(self, x: Array) -> Array:
        return np.ascontiguousarray(x.T)[None]

    def tile(self) -> Tile:
        d = len(self.columns)
        return Tile(VALUES, np.zeros(d), np.ones(d))

    def cell_coefficients(self) -> tuple[Array, Array]:
        rate = by_column(self.rate)
        return -rate[:, None], np.log(rate)

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        total = expected[:, 0]
        if not (total > 0).all():  # only zeros: the rate would be infinite
            k, j = np.argwhere(total <= 0)[0]
            raise DegenerateError.collapsed(component=int(k), column=self.columns[j], ratio=0.0, weight=observed[k, j])
        return {"rate": observed / total}

    def _sums_of_prior(self, K: int) -> Array:
        shape, rate = self._hyperparameters(K, "shape", "rate")
        return np.concatenate([rate, shape - 1], axis=1)

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return rng.exponential(1 / self.of_column(self.rate, labels))

    def cell_moments(self) -> tuple[Array, Array]:
        mean = 1 / by_column(self.rate)
        return mean, mean**2

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        hazard = by_column(self.rate)[:, None] * np.maximum(x, 0.0)
        return np.asarray(np.exp(-hazard) if is_upper else -np.expm1(-hazard))

    def coordinates(self, x: Array) -> Array:
        return np.sqrt(x)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        d, value = len(self.columns), by_column(self.maximize(expected).rate)
        return tuple(
            Work("rate", value[:, j], f"expected rows / sum of {c}", expected[:, d + j], expected[:, j])
            for j, c in enumerate(self.columns)
        )
