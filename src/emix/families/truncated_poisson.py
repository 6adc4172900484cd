"""Zero-truncated Poisson family: counts of which only those above 0 are seen, independent over columns.

T(x) = (x - 1, o)    coefficients = (log rate, log(rate / (exp(rate) - 1)))    log h(x) = -log x!
MLE: rate / (1 - exp(-rate)) = 1 + sum(w (x - 1)) / sum(w o), by Newton's method
Source: Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, 3rd ed., section 4.10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emix.block import Array, safe_log
from emix.errors import RootNotFoundError
from emix.families.base import Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.poisson import poisson_cdf
from emix.kernels.reference import excess_minus_log
from emix.kernels.tiles import VALUES, Tile
from emix.spaces import NONNEGATIVE

MAX_NEWTON = 50


@dataclass(frozen=True, eq=False, repr=False)
class TruncatedPoisson(ColumnwiseFamily):
    """Counts of 1 and more, of which those of 0 were never recorded: visits per visitor, sizes of groups.

    Parameters
    ----------
    rate : array-like of shape (K,) or (K, d), optional
        Of the Poisson before truncation; the mean count is rate / (1 - exp(-rate)). 0 is allowed, as the limit in which
        only counts of 1 are possible.
    """

    rate: Parameter = None

    name = "truncated_poisson"
    spaces = {"rate": NONNEGATIVE}
    n_statistics = 1
    support = Support("whole numbers >= 1", lower=1, is_whole=True)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"sum of {c}" for c in self.columns) + tuple(f"rows with {c}" for c in self.columns)

    def cell_statistics(self, x: Array) -> Array:
        return np.ascontiguousarray(x.T - 1)[None]

    def tile(self) -> Tile:
        d = len(self.columns)
        return Tile(VALUES, np.ones(d), np.ones(d))

    def cell_coefficients(self) -> tuple[Array, Array]:
        rate = by_column(self.rate)
        unit = np.where(rate > 0, rate, 1.0)
        return safe_log(rate)[:, None], np.where(rate > 0, -unit - np.log(-np.expm1(-unit) / unit), 0.0)

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        return {"rate": rate_from_excess(expected[:, 0] / observed)}

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-gammaln(np.where(np.isnan(x), 1.0, x) + 1).sum(axis=1))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        """The first of the events of a unit of time, given that there is one, and those in the time that is left."""
        rate = self.of_column(self.rate, labels)
        first = -np.log1p(rng.random(rate.shape) * np.expm1(-rate))
        return np.asarray(1 + rng.poisson(np.maximum(rate - first, 0.0)), dtype=np.float64)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        rate, count = by_column(self.rate)[:, None], np.maximum(x, 0.0)
        beyond = poisson_cdf(count, rate, is_upper=True) / -np.expm1(-rate)
        within = (poisson_cdf(count, rate, is_upper=False) - np.exp(-rate)) / -np.expm1(-rate)
        return np.where(x < 1, float(is_upper), beyond if is_upper else within)

    def cell_moments(self) -> tuple[Array, Array]:
        rate = by_column(self.rate)
        excess = np.where(rate > 0, mean_excess(np.where(rate > 0, rate, 1.0)), 0.0)
        return 1 + excess, np.maximum((1 + excess) * (rate - excess), 0.0)

    def coordinates(self, x: Array) -> Array:
        return np.asarray(2 * np.sqrt(x))

    def raw_statistics(self, expected: Array) -> Array:
        d = len(self.columns)
        return np.concatenate([expected[:, :d] + expected[:, d:], expected[:, d:]], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        value = by_column(self.maximize(expected).rate)
        return tuple(
            Work("rate", value[:, j], f"rate / (1 - exp(-rate)) = mean of {c}") for j, c in enumerate(self.columns)
        )


def mean_excess(rate: Array) -> Array:
    """Rate / (1 - exp(-rate)) - 1, elementwise for rates > 0: by how much the mean exceeds 1, exact also where tiny."""
    near = np.clip(rate, 1e-5, 0.3)
    u = -np.expm1(-np.maximum(rate, 1e-5))
    excess = np.where(rate < 0.3, excess_minus_log(np.expm1(-near)), rate - u) / u
    return np.asarray(np.where(rate < 1e-5, rate / 2 * (1 + rate / 6), excess))


def _slope(rate: Array, excess: Array) -> Array:
    """Derivative of `mean_excess`, without the cancellation that either form has at the other end."""
    far = np.clip(rate, 1.0, 700.0)
    return (1 + excess) * np.where(rate < 1, 1 - excess / rate, (1 - far / np.expm1(far)) / np.maximum(rate, 1.0))


def rate_from_excess(excess: Array) -> Array:
    """The root of rate / (1 - exp(-rate)) = 1 + excess for excess >= 0, elementwise; 0 where the excess is 0.

    The left side is convex and increasing, at least 1 + rate / 2 and at least rate: Newton's method from
    min(2 excess, 1 + excess), which is beyond the root, descends to it and never overshoots.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-13 of the rate after 50 steps; rounding moves the root by less than 2e-15.
    """
    is_positive = excess > 0
    target = np.where(is_positive, excess, 1.0)
    rate = np.minimum(2 * target, 1 + target)
    for _ in range(MAX_NEWTON):
        found = mean_excess(rate)
        step = (found - target) / _slope(rate, found)
        new = np.where(rate - step > 0, rate - step, rate / 2)
        if (np.abs(new - rate) <= 1e-13 * rate).all():
            # an excess below 0 is an extrapolated sum that no rows can have: NaN, which the space of the rate refuses
            return np.where(is_positive, new, np.where(excess == 0, 0.0, np.nan))
        rate = new
    numbers = {"mean minus 1": excess}
    raise RootNotFoundError.newton(what="the rate of a truncated Poisson", max_steps=MAX_NEWTON, found=numbers)
