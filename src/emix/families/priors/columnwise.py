"""Conjugate priors of rates, probabilities, and of the means and variances of single columns.

Every density is one of the parameter as the family has it: a mode moves with the parametrisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families.priors.base import INSIDE, ColumnwisePrior, Range


@dataclass(frozen=True, repr=False)
class GammaPrior(ColumnwisePrior):
    """Of the rate of Poisson and Exponential: density of the rate proportional to rate^(shape - 1) e^(-rate x `rate`).

    Parameters
    ----------
    shape : float or array-like
        At least 1. As if `shape` - 1 events more had been seen ...
    rate : float or array-like
        At least 0. ... in `rate` rows more (Poisson), or in `rate` units of waiting more (Exponential).

    Notes
    -----
    Arrays are (K,) for one column, (d,) for several columns alike for all components, or (K, d). The posterior mode of
    a Poisson rate is (sum of x + shape - 1) / (rows + rate), of an Exponential rate (rows + shape - 1) / (sum of x +
    rate): modes in the rate itself, not in its logarithm or in the mean waiting time.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.6.
    """

    shape: Any
    rate: Any

    word = "gamma"
    ranges = {"shape": Range(INSIDE, 1.0), "rate": Range("finite numbers >= 0", 0.0)}


@dataclass(frozen=True, repr=False)
class BetaPrior(ColumnwisePrior):
    """Of the probability of Bernoulli, Binomial and Geometric: density proportional to p^(a - 1) (1 - p)^(b - 1).

    Parameters
    ----------
    a : float or array-like
        At least 1: as if a - 1 successes more had been seen ...
    b : float or array-like
        At least 1: ... and b - 1 failures more.

    Notes
    -----
    Arrays are (K,) for one column, (d,) for several columns alike for all components, or (K, d). The posterior mode is
    (successes + a - 1) / (tosses + a + b - 2), in the probability itself, not in its logit.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.4.
    """

    a: Any
    b: Any

    word = "beta"
    ranges = {"a": Range(INSIDE, 1.0), "b": Range(INSIDE, 1.0)}


@dataclass(frozen=True, repr=False)
class GammaRowsPrior(ColumnwisePrior):
    """Of the shape a and the rate r of Gamma: the likelihood of `rows` rows with this mean and geometric mean.

    Its density of (a, r) is proportional to (g^(a - 1) e^(-r m) r^a / Gamma(a))^rows, m the mean and g the geometric
    mean: the conjugate one of Miller (1980), Technometrics 22, 65-69, with equal exponents.

    Parameters
    ----------
    rows : float or array-like
        Positive: how many rows it weighs.
    mean : float or array-like
        Positive, in the unit of the column.
    geometric_mean : float or array-like, optional
        Positive and below the mean: the closer to it, the larger the shape. Default: mean x e^-0.5772, that of a shape
        of 1, which is the exponential distribution.

    Notes
    -----
    Arrays are (K,) for one column, (d,) for several columns alike for all components, or (K, d).
    """

    rows: Any
    mean: Any
    geometric_mean: Any = None

    word = "gamma_rows"
    ranges = {
        "rows": Range("finite numbers > 0", 0.0, least_is_allowed=False),
        "mean": Range("finite numbers > 0", 0.0, least_is_allowed=False),
        "geometric_mean": Range("finite numbers > 0", 0.0, least_is_allowed=False, may_be_none=True),
    }

    def means(self, K: int, d: int) -> tuple[Array, Array]:
        """Mean and geometric mean, (K, d).

        Raises
        ------
        ModelError
            A geometric mean is not below the mean.
        """
        mean = self.values("mean", K, d)
        if self.geometric_mean is None:
            return mean, mean * np.exp(-np.euler_gamma)
        geometric = self.values("geometric_mean", K, d)
        if not (geometric < mean).all():
            raise ModelError.parameter(
                family=type(self).__name__,
                name="geometric_mean",
                requirement="numbers below the mean, as those of any rows that differ",
                found=f"{self.geometric_mean} beside the mean {self.mean}",
            )
        return mean, geometric


@dataclass(frozen=True, repr=False)
class NormalInverseGammaPrior(ColumnwisePrior):
    """Of the mean m and the variance v of Normal, and of the log mean and the log variance of LogNormal.

        m | v ~ Normal(`mean`, v / `shrinkage`),    density of v proportional to v^-(`shape` + 1) e^(-`scale` / v)

    Parameters
    ----------
    mean : float or array-like, optional
        Default: that of the column.
    shrinkage : float or array-like, default=0.01
        At least 0: how many rows the prior mean weighs.
    shape : float or array-like, default=1.5
        Positive: half of the degrees of freedom.
    scale : float or array-like, optional
        Positive, in squared units of the column. Default: the column's variance / (2 K^2).

    Notes
    -----
    The density is of (m, v), the variance and not the standard deviation, and the estimates are the mode of both
    together: v = (sum of squares about m + `shrinkage` (m - `mean`)^2 + 2 `scale`) / (rows + 2 `shape` + 3). The
    defaults are those of Fraley & Raftery (2007), Journal of Classification 24, 155-181, with shape = dof / 2.
    Arrays are (K,) for one column, (d,) for several columns alike for all components, or (K, d).
    """

    mean: Any = None
    shrinkage: Any = 0.01
    shape: Any = 1.5
    scale: Any = None

    word = "normal_inverse_gamma"
    ranges = {
        "mean": Range("finite numbers", may_be_none=True),
        "shrinkage": Range("finite numbers >= 0", 0.0),
        "shape": Range("finite numbers > 0", 0.0, least_is_allowed=False),
        "scale": Range("finite numbers > 0", 0.0, least_is_allowed=False, may_be_none=True),
    }

    def resolved(self, K: int, mean: Array, variance: Array) -> NormalInverseGammaPrior:
        """With its defaults, from the means and variances (d,) of the columns."""
        d, values = len(mean), {}
        if self.mean is None:
            values["mean"] = np.broadcast_to(mean, (K, d))
        if self.scale is None:
            values["scale"] = np.broadcast_to(variance / (2 * K**2), (K, d))
        return replace(self, **values) if values else self
