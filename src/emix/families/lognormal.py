"""Log-normal family: log x is normal, independent over columns.

The statistics, coefficients and estimates of the normal family at u = log x, and log h(x) = -log x.
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Schema, Summary
from emix.families.base import Binding, Parameter, Support
from emix.families.columnwise import by_column
from emix.families.normal import LocationScaleFamily, positive_or_one
from emix.families.priors import NormalInverseGammaPrior
from emix.kernels.tiles import LOGARITHM
from emix.spaces import POSITIVE, REAL


@dataclass(frozen=True, eq=False, repr=False)
class LogNormal(LocationScaleFamily):
    """Positive, skewed columns such as incomes.

    Parameters
    ----------
    log_mean : array-like of shape (K,) or (K, d), optional
        Mean of log x; exp(log_mean) is the median of x.
    log_variance : array-like of shape (K,) or (K, d), optional
        Variance of log x; divisor n.
    variance_floor : float, default=0.0
        Least log variance of a component, as a share of the whole column's; as for `Normal`.
    prior : NormalInverseGammaPrior or True, optional
        Of log mean and log variance: estimates are then the mode of their joint posterior density. True takes the
        prior's defaults.
    """

    log_mean: Parameter = None
    log_variance: Parameter = None
    variance_floor: float = 0.0
    prior: NormalInverseGammaPrior | None = None

    name = "lognormal"
    spaces = {"log_mean": REAL, "log_variance": POSITIVE}
    aliases = {"log_sd": ("log_variance", 2)}
    support = Support("numbers > 0", lower=0, lower_is_allowed=False, must_vary=True)
    _mean_name = "log_mean"
    _variance_name = "log_variance"
    _coordinate = LOGARITHM

    def _unit(self, x: Array) -> Array:
        return np.log(x)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        pivot = np.where(np.isfinite(summary.log_mean), summary.log_mean, 0.0)
        return self._bound(Binding(schema, pivot, np.sqrt(positive_or_one(summary.log_variance))))

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(-np.log(np.where(np.isnan(x), 1.0, x)).sum(axis=1))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return rng.lognormal(self.of_column(self.log_mean, labels), np.sqrt(self.of_column(self.log_variance, labels)))

    def cell_moments(self) -> tuple[Array, Array]:
        mean = np.exp(by_column(self.log_mean) + by_column(self.log_variance) / 2)
        return mean, np.expm1(by_column(self.log_variance)) * mean**2

    def coordinates(self, x: Array) -> Array:
        return np.log(x)

    def _word(self, column: str) -> str:
        return f"log {column}"
