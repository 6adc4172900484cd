"""Distributions of the cells of a family, by SciPy's distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from emix.block import Array
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Beta,
    Binomial,
    Exponential,
    Family,
    Gamma,
    Geometric,
    InverseGaussian,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    TruncatedPoisson,
    ZeroInflatedPoisson,
)
from emix.families.columnwise import by_column


@dataclass(frozen=True)
class PoissonWithZeros:
    """Counts that are 0 with a probability of their own, and else a Poisson's above 0; arrays are (K, d)."""

    rate: Array
    zero: Array

    def sf(self, x: Any) -> Array:
        """P(X > x)."""
        positive = stats.poisson.sf(0, self.rate)
        tail = np.where(positive > 0, stats.poisson.sf(np.maximum(x, 0), self.rate), np.less(x, 1))
        above = (1 - self.zero) * tail / np.where(positive > 0, positive, 1.0)
        return np.where(np.less(x, 0), 1.0, above)

    def cdf(self, x: Any) -> Array:
        """P(X <= x)."""
        return np.asarray(1 - self.sf(x))


def frozen(family: Family) -> Any:
    """The distributions of the cells, (K, d) of them, with `cdf` and `sf` as SciPy's have.

    Raises
    ------
    ModelError
        The family is not of independent columns of numbers, has no such distribution (angles, censored times), or its
        numbers of tosses differ from row to row.
    """
    p = {name: by_column(value) for name, value in family.parameters.items() if isinstance(value, np.ndarray)}
    match family:
        case Normal():
            return stats.norm(p["mean"], np.sqrt(p["variance"]))
        case LogNormal():
            return stats.lognorm(np.sqrt(p["log_variance"]), scale=np.exp(p["log_mean"]))
        case Gamma():
            return stats.gamma(p["shape"], scale=1 / p["rate"])
        case InverseGaussian():
            return stats.invgauss(p["mean"] / p["shape"], scale=p["shape"])
        case Beta():
            return stats.beta(p["alpha"], p["beta"])
        case Exponential():
            return stats.expon(scale=1 / p["rate"])
        case Poisson():
            return stats.poisson(p["rate"])
        case NegativeBinomial():
            return stats.nbinom(p["size"], p["size"] / (p["size"] + p["mean"]))
        case TruncatedPoisson():
            return PoissonWithZeros(p["rate"], np.zeros_like(p["rate"]))
        case ZeroInflatedPoisson():
            z = p["zero_probability"]
            return PoissonWithZeros(p["rate"], z + (1 - z) * np.exp(-p["rate"]))
        case Geometric():
            return stats.geom(p["probability"], loc=family.first - 1)
        case Bernoulli():
            d = 1 if family.binding is None else len(family.columns)
            return stats.bernoulli(np.broadcast_to(p["probability"], (len(p["probability"]), d)))
        case Binomial() if not isinstance(family.n_trials, str):
            return stats.binom(family.n_trials, p["probability"])
    raise ModelError.argument(
        name="model", requirement="columns of numbers with a known distribution function", found=family.name
    )
