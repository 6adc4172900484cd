"""Zero-inflated Poisson family: counts with more zeros than a Poisson has, independent over columns.

A count is 0 with probability z, a structural zero, and Poisson(rate) otherwise. Summed over what is hidden,
    P(0) = z + (1 - z) exp(-rate)      log P(x) = log(1 - z) - rate + x log rate - log x!  for x > 0
T(x) = (1[x = 0], 1[x > 0], x, o)    coefficients = (log P(0), log(1 - z) - rate, log rate, 0)
The log-density is linear in these, so the hidden zeros need no E-step of their own and the M-step is the exact maximum:
counts above 0 are zero-truncated Poisson, and give the rate; then P(0) is the share of zeros, z = 1 - mean / rate.
With fewer zeros than a Poisson has, z = 0 and rate = mean. Where one parameter is fixed the other is found from
    z = (share of zeros - exp(-rate)) / (1 - exp(-rate)), within [0, 1]
    sum(x) / rate = #(x > 0) + #(x = 0) (1 - z) exp(-rate) / P(0), which can have several roots: the highest is taken
Source: Lambert (1992), Technometrics 34, 1-14; Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, 4.10.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emix.block import Array, safe_log, safe_log1m
from emix.errors import RootNotFoundError
from emix.families.base import Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.poisson import poisson_cdf
from emix.families.truncated_poisson import rate_from_excess
from emix.spaces import NONNEGATIVE, PROBABILITY

GRID = 129
"""Rates at which the derivative is looked at, to tell its falls through 0 apart."""
MAX_NEWTON = 100


@dataclass(frozen=True, eq=False, repr=False)
class ZeroInflatedPoisson(ColumnwiseFamily):
    """Counts of which some are 0 for a reason of their own: claims, publications, catches.

    Parameters
    ----------
    rate : array-like of shape (K,) or (K, d), optional
        Expected count where the zero is not structural. 0 is allowed: only counts of 0 are then possible.
    zero_probability : array-like of shape (K,) or (K, d), optional
        Of a structural zero; the mean is (1 - zero_probability) x rate. Estimated as 0 where zeros are no more frequent
        than a Poisson has them.
    """

    rate: Parameter = None
    zero_probability: Parameter = None

    name = "zero_inflated_poisson"
    spaces = {"rate": NONNEGATIVE, "zero_probability": PROBABILITY}
    n_statistics = 3
    support = Support("whole numbers >= 0", lower=0, is_whole=True)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"{c} = 0" for c in self.columns),
            *(f"{c} > 0" for c in self.columns),
            *(f"sum of {c}" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    def cell_statistics(self, x: Array) -> Array:
        cells = np.ascontiguousarray(x.T)
        return np.stack([cells == 0, cells > 0, cells])

    def cell_coefficients(self) -> tuple[Array, Array]:
        rate, z = by_column(self.rate), by_column(self.zero_probability)
        others = safe_log1m(z) - rate
        # no log-normaliser of its own: where z = 1 it would be log 0, and zeros would have to cancel it
        return np.stack([np.logaddexp(safe_log(z), others), others, safe_log(rate)], axis=1), np.zeros_like(rate)

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        zeros, positive, total = expected[:, 0], expected[:, 1], expected[:, 2]
        previous = None if self.zero_probability is None else by_column(self.zero_probability)
        if self.fixed == {"rate"}:
            return {"zero_probability": _zero_probability(by_column(self.rate), zeros / observed, previous)}
        if self.fixed == {"zero_probability"}:
            return {"rate": rate_beside(by_column(self.zero_probability), zeros, positive, total)}
        mean, has_positive = total / observed, positive > 0
        count = np.where(has_positive, positive, 1.0)
        rate = rate_from_excess(np.where(has_positive, np.maximum(total - positive, 0.0) / count, 1.0))
        is_inflated = has_positive & (rate > mean)
        return {
            "rate": np.where(is_inflated, rate, mean),
            "zero_probability": np.where(is_inflated, 1 - mean / np.where(is_inflated, rate, 1.0), 0.0),
        }

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-gammaln(np.where(np.isnan(x), 0.0, x) + 1).sum(axis=1))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        counts = rng.poisson(self.of_column(self.rate, labels))
        is_structural = rng.random(counts.shape) < self.of_column(self.zero_probability, labels)
        return np.where(is_structural, 0.0, counts)

    def cell_moments(self) -> tuple[Array, Array]:
        rate, z = by_column(self.rate), by_column(self.zero_probability)
        return (1 - z) * rate, (1 - z) * rate * (1 + z * rate)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        rate, z = by_column(self.rate)[:, None], by_column(self.zero_probability)[:, None]
        own = (1 - z) * poisson_cdf(x, rate, is_upper=is_upper)
        return own + z * ((x < 0) if is_upper else (x >= 0))

    def coordinates(self, x: Array) -> Array:
        return np.asarray(2 * np.sqrt(x))

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, lines = self.maximize(expected), []
        for j, c in enumerate(self.columns):
            mean = f"mean of {c}"
            if "rate" not in self.fixed:
                text = (
                    f"rate / (1 - exp(-rate)) = mean of {c} above 0; {mean} if no zero is structural"
                    if "zero_probability" not in self.fixed
                    else f"sum of {c} / rate = rows with {c} that are no structural zeros"
                )
                lines.append(Work("rate", by_column(fitted.rate)[:, j], text))
            if "zero_probability" not in self.fixed:
                text = (
                    f"1 - {mean} / rate"
                    if "rate" not in self.fixed
                    else f"(share of {c} = 0 - exp(-rate)) / (1 - exp(-rate)), within [0, 1]"
                )
                lines.append(Work("zero_probability", by_column(fitted.zero_probability)[:, j], text))
        return tuple(lines)


def _zero_probability(rate: Array, share_of_zeros: Array, previous: Array | None) -> Array:
    """The maximum beside a fixed rate. At a rate of 0 every count is 0 whatever it is: it stays, or is 0."""
    can_be_positive = rate > 0
    unit = -np.expm1(-np.where(can_be_positive, rate, 1.0))
    found = np.clip(1 - (1 - share_of_zeros) / unit, 0.0, 1.0)
    return np.where(can_be_positive, found, 0.0 if previous is None else previous)


def rate_beside(z: Array, zeros: Array, positive: Array, total: Array) -> Array:
    """The rate of the highest likelihood beside a fixed probability z of a structural zero; all arrays (K, d).

    It lies between the mean of all counts and that of the counts above 0, where the derivative
    f(log rate) = total - rate (positive + zeros tau), tau = the probability that a zero is not structural, falls
    through 0. Few and large counts among many zeros make two maxima, where f falls for the first and for the last time:
    both are found, by Newton's method in log rate that halves its bracket where a step leaves it.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-13 after 100 steps.
    """
    is_free = positive > 0  # with zeros alone the likelihood falls in the rate: it is 0
    positive, total = np.where(is_free, positive, 1.0), np.where(is_free, total, 1.0)
    log_z, log_rest = safe_log(z), safe_log1m(z)

    def likelihood(t: Array) -> tuple[Array, Array, Array]:
        """Its value, derivative f and second derivative at these log rates."""
        rate = np.exp(t)
        log_zero = np.logaddexp(log_z, log_rest - rate)
        tau = np.exp(log_rest - rate - log_zero)
        value = zeros * log_zero + total * t - positive * rate
        slope = -rate * (positive + zeros * tau * (1 - rate * (1 - tau)))
        return value, total - rate * (positive + zeros * tau), slope

    first, last = np.log(total / (positive + zeros)), np.log(total / positive)
    grid = first + (last - first) * np.linspace(0.0, 1.0, GRID)[:, None, None]
    is_rising = likelihood(grid)[1] >= 0
    is_rising[0], is_rising[-1] = True, False  # which rounding may hide
    falls = is_rising[:-1] & ~is_rising[1:]
    cell = np.stack([falls.argmax(axis=0), GRID - 2 - falls[::-1].argmax(axis=0)])
    low, high = np.take_along_axis(grid, cell, axis=0), np.take_along_axis(grid, cell + 1, axis=0)
    t = (low + high) / 2
    for _ in range(MAX_NEWTON):
        value, f, slope = likelihood(t)
        low, high = np.where(f >= 0, t, low), np.where(f <= 0, t, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = t - f / slope
        new = np.where((slope < 0) & (new >= low) & (new <= high), new, (low + high) / 2)
        if (np.abs(new - t) <= 1e-13 * np.maximum(1.0, np.abs(t))).all():
            best = np.take_along_axis(new, value.argmax(axis=0)[None], axis=0)[0]
            return np.where(is_free, np.exp(best), 0.0)
        t = new
    what, numbers = "the rate beside a fixed probability of a structural zero", {"sum": total, "zeros": zeros}
    raise RootNotFoundError.newton(what=what, max_steps=MAX_NEWTON, found=numbers)
