"""Poisson family: counts, independent over columns.

T(x) = (x, o)    coefficients = (log rate, -rate)    log h(x) = -log x!    MLE: rate = sum(w x) / sum(w o)
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc, gammaln

from emix.block import Array, safe_log
from emix.families.base import Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.priors import GammaPrior
from emix.kernels.tiles import VALUES, Tile
from emix.spaces import NONNEGATIVE


@dataclass(frozen=True, eq=False, repr=False)
class Poisson(ColumnwiseFamily):
    """Counts with a rate per component and column.

    Parameters
    ----------
    rate : array-like of shape (K,) or (K, d), optional
        Expected count per row. 0 is allowed: only counts of 0 are then possible.
    prior : GammaPrior, optional
        Of the rate: estimates are then posterior modes, (sum of x + shape - 1) / (rows + rate).
    """

    rate: Parameter = None
    prior: GammaPrior | None = None

    name = "poisson"
    spaces = {"rate": NONNEGATIVE}
    n_statistics = 1
    prior_kind = GammaPrior
    support = Support("whole numbers >= 0", lower=0, is_whole=True)

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
        return safe_log(rate)[:, None], -rate

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        return {"rate": expected[:, 0] / observed}

    def _sums_of_prior(self, K: int) -> Array:
        shape, rate = self._hyperparameters(K, "shape", "rate")
        return np.concatenate([shape - 1, rate], axis=1)

    def whole(self, sums: Array) -> Array:
        d = len(self.columns)
        return sums if sums.shape[1] != 1 + d else np.concatenate([sums, np.repeat(sums[:, :1], d, axis=1)], axis=1)

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-gammaln(np.where(np.isnan(x), 0.0, x) + 1).sum(axis=1))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return np.asarray(rng.poisson(self.of_column(self.rate, labels)), dtype=np.float64)

    def cell_moments(self) -> tuple[Array, Array]:
        return by_column(self.rate), by_column(self.rate)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        return poisson_cdf(x, by_column(self.rate)[:, None], is_upper=is_upper)

    def coordinates(self, x: Array) -> Array:
        return np.asarray(2 * np.sqrt(x))  # Anscombe: variance about 1 whatever the rate

    def _work(self, expected: Array) -> tuple[Work, ...]:
        d, value = len(self.columns), by_column(self.maximize(expected).rate)
        return tuple(
            Work("rate", value[:, j], f"sum of {c} / expected rows", expected[:, j], expected[:, d + j])
            for j, c in enumerate(self.columns)
        )


def poisson_cdf(x: Array, rate: Array, *, is_upper: bool) -> Array:
    """P(X <= x), or P(X > x), broadcast; x may be below 0."""
    share = gammainc if is_upper else gammaincc
    return np.where(x < 0, float(is_upper), share(np.maximum(x, 0.0) + 1, rate))
