"""Geometric family: tosses up to and including the first success, independent over columns.

T(x) = (x - first, o)    coefficients = (log(1 - p), log p)    MLE: p = sum(w o) / sum(w (x - first + o))
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, safe_log1m
from emix.errors import ModelError
from emix.families.base import Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.priors import BetaPrior
from emix.kernels.tiles import VALUES, Tile
from emix.spaces import PROBABILITY


@dataclass(frozen=True, eq=False, repr=False)
class Geometric(ColumnwiseFamily):
    """Number of tosses up to the first success, with a probability of success per component and column.

    Parameters
    ----------
    probability : array-like of shape (K,) or (K, d), optional
        Of success in one toss.
    first : {1, 0}, default=1
        The smallest value: 1 counts the tosses including the success (as SciPy does), 0 the failures before it (as R).
    prior : BetaPrior, optional
        Of the probability: estimates are then posterior modes, (rows + a - 1) / (tosses + a + b - 2).
    """

    probability: Parameter = None
    first: int = 1
    prior: BetaPrior | None = None

    name = "geometric"
    spaces = {"probability": PROBABILITY}
    n_statistics = 1
    prior_kind = BetaPrior

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.first, bool) or self.first not in (0, 1):
            raise ModelError.argument(name="first", requirement="0 or 1", found=self.first)
        if self.probability is not None and not (self.probability > 0).all():
            raise ModelError.parameter(
                family=self.name, name="probability", requirement="numbers above 0", found=self.probability.tolist()
            )

    @property
    def support(self) -> Support:
        unless = " (for failures before the first success: geometric(first=0))" if self.first else ""
        return Support(f"whole numbers >= {self.first}{unless}", lower=self.first, is_whole=True)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"failures in {c}" for c in self.columns) + tuple(f"rows with {c}" for c in self.columns)

    def cell_statistics(self, x: Array) -> Array:
        return np.ascontiguousarray(x.T - self.first)[None]

    def tile(self) -> Tile:
        d = len(self.columns)
        return Tile(VALUES, np.full(d, float(self.first)), np.ones(d))

    def cell_coefficients(self) -> tuple[Array, Array]:
        p = by_column(self.probability)
        return safe_log1m(p)[:, None], np.log(p)

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        return {"probability": observed / (observed + expected[:, 0])}

    def _sums_of_prior(self, K: int) -> Array:
        a, b = self._hyperparameters(K, "a", "b")
        return np.concatenate([b - 1, a - 1], axis=1)

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return rng.geometric(self.of_column(self.probability, labels)).astype(np.float64) - (1 - self.first)

    def cell_moments(self) -> tuple[Array, Array]:
        p = by_column(self.probability)
        return self.first - 1 + 1 / p, (1 - p) / p**2

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        log_left = np.maximum(x - self.first + 1, 0.0) * safe_log1m(by_column(self.probability))[:, None]
        return np.asarray(np.exp(log_left) if is_upper else -np.expm1(log_left))

    def coordinates(self, x: Array) -> Array:
        return np.log1p(x)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        d, value = len(self.columns), by_column(self.maximize(expected).probability)
        return tuple(
            Work(
                "probability",
                value[:, j],
                "successes / tosses",
                expected[:, d + j],
                expected[:, d + j] + expected[:, j],
            )
            for j in range(d)
        )
