"""Gamma family: positive columns with a shape and a rate, independent over columns.

T(x) = (y - 1, y - 1 - log y, o) with y = x / scale, scale the whole column's geometric mean
coefficients = ((a - 1) - r, -(a - 1), a log r - log Gamma(a) - r - log scale) with a the shape, r = rate x scale
MLE: r = a / mean(y) and log a - digamma(a) = s, s = log mean(y) - mean(log y) >= 0
Written with y - 1 and y - 1 - log y, s keeps its digits also where it is tiny (a large shape): as a difference of
two logarithms it has none left at a shape of 1e14, and seven at 1e8.
Source: Minka (2002), Estimating a Gamma distribution (start value, equation 13); Choi & Wette (1969) for the equation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc

from emix.block import Array, Schema, Summary
from emix.errors import DegenerateError
from emix.families.base import VARIANCE_FLOOR, Binding, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.digammas import log_normaliser_at_scale, shape_from_digamma, shape_from_gap
from emix.families.priors import GammaRowsPrior
from emix.kernels.reference import excess_minus_log
from emix.kernels.tiles import GAMMA, Tile
from emix.spaces import POSITIVE


@dataclass(frozen=True, eq=False, repr=False)
class Gamma(ColumnwiseFamily):
    """Positive, skewed columns: waiting times, amounts.

    Parameters
    ----------
    shape : array-like of shape (K,) or (K, d), optional
        1 / shape is the squared coefficient of variation.
    rate : array-like of shape (K,) or (K, d), optional
        shape / rate is the mean, in the unit of the column.
    prior : GammaRowsPrior, optional
        Of both together: estimates are then posterior modes, those of the rows and of the prior's rows beside them.
    """

    shape: Parameter = None
    rate: Parameter = None
    prior: GammaRowsPrior | None = None

    name = "gamma"
    spaces = {"shape": POSITIVE, "rate": POSITIVE}
    n_statistics = 2
    prior_kind = GammaRowsPrior
    support = Support("numbers > 0", lower=0, lower_is_allowed=False, must_vary=True)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        log_mean = np.where(np.isfinite(summary.log_mean), summary.log_mean, 0.0)
        return self._bound(Binding(schema, np.zeros_like(log_mean), np.exp(log_mean)))

    def _scale(self) -> Array:
        return np.ones(1) if self.binding is None else self.binding.scale

    @property
    def can_be_centred(self) -> bool:
        return True

    def centred(self) -> Self:
        mean = by_column(self.shape)[0] / by_column(self.rate)[0]
        schema = self.binding.schema if self.binding is not None else None
        return (
            self if schema is None else replace(self, binding=Binding(schema, np.zeros_like(mean), mean, is_own=True))
        )

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"sum of {c}" for c in self.columns),
            *(f"sum of log {c}" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    def cell_statistics(self, x: Array) -> Array:
        excess = (x / self._scale() - 1).T
        return np.stack([excess, excess_minus_log(excess)])

    def tile(self) -> Tile:
        scale = self._scale()
        return Tile(GAMMA, scale, scale)

    def cell_coefficients(self) -> tuple[Array, Array]:
        a, r = by_column(self.shape), by_column(self.rate) * self._scale()
        log_normaliser = log_normaliser_at_scale(a, r) - np.log(self._scale())
        return np.stack([(a - 1) - r, -(a - 1)], axis=1), log_normaliser

    def coefficient_sizes(self, coefficients: Array) -> Array:
        sizes, d = super().coefficient_sizes(coefficients), len(self.columns)
        sizes[:, :d] += 2 * by_column(self.shape)  # the first coefficient is shape - 1 minus rate x scale, about equal
        return sizes

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        excess, curve = expected[:, 0] / observed, expected[:, 1] / observed
        mean = 1 + excess
        if self.fixed == {"shape"}:
            return {"rate": by_column(self.shape) / (mean * self._scale())}
        if self.fixed == {"rate"}:  # digamma(a) = log r + mean(log y)
            target = np.log(by_column(self.rate) * self._scale()) + excess - curve
            return {"shape": shape_from_digamma(target)}
        gap = curve - (excess - np.log1p(excess))
        if self.binding is not None and self.binding.is_own:
            gap = np.maximum(gap, VARIANCE_FLOOR)
        if not (gap > VARIANCE_FLOOR / 2).all():  # gap is about half the squared coefficient of variation
            k, j = np.argwhere(~(gap > VARIANCE_FLOOR / 2))[0]
            ratio, weight = 2 * max(float(gap[k, j]), 0.0), float(observed[k, j])
            raise DegenerateError.collapsed(component=int(k), column=self.columns[j], ratio=ratio, weight=weight)
        shape = shape_from_gap(gap)
        return {"shape": shape, "rate": shape / (mean * self._scale())}

    def _sums_of_prior(self, K: int) -> Array:
        (rows,), scale = self._hyperparameters(K, "rows"), self._scale()
        mean, geometric = self._prior.means(K, len(self.columns))
        excess = mean / scale - 1
        return np.concatenate([rows * excess, rows * (excess - np.log(geometric / scale)), rows], axis=1)

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        drawn = rng.gamma(self.of_column(self.shape, labels), 1 / self.of_column(self.rate, labels))
        return np.maximum(drawn, np.finfo(np.float64).tiny)  # a shape near 0 draws values that underflow to 0

    def cell_moments(self) -> tuple[Array, Array]:
        mean = by_column(self.shape) / by_column(self.rate)
        return mean, mean / by_column(self.rate)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        share = gammaincc if is_upper else gammainc
        return np.asarray(share(by_column(self.shape)[:, None], by_column(self.rate)[:, None] * np.maximum(x, 0.0)))

    def coordinates(self, x: Array) -> Array:
        return np.log(x)

    def raw_statistics(self, expected: Array) -> Array:
        d, scale = len(self.columns), self._scale()
        excess, curve, n = expected[:, :d], expected[:, d : 2 * d], expected[:, 2 * d :]
        return np.concatenate([scale * (excess + n), excess - curve + np.log(scale) * n, n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted = self.maximize(expected)
        raw, d, lines = self.raw_statistics(expected), len(self.columns), []
        for j, c in enumerate(self.columns):
            mean = f"mean of {c}"
            if "shape" not in self.fixed:
                equation = (
                    f"log shape - digamma(shape) = log {mean} - mean of log {c}"
                    if "rate" not in self.fixed
                    else f"digamma(shape) = log rate + mean of log {c}"
                )
                lines.append(Work("shape", by_column(fitted.shape)[:, j], equation))
            if "rate" not in self.fixed:
                shape, value = by_column(fitted.shape)[:, j], by_column(fitted.rate)[:, j]
                lines.append(Work("rate", value, f"shape / {mean}", shape, raw[:, j] / raw[:, 2 * d + j]))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return 1 / by_column(self.shape), self.columns
