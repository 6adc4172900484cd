"""Inverse Gaussian family: positive, skewed columns with a mean and a shape, independent over columns.

T(x) = (y - 1, y + 1 / y - 2, o) with y = x / scale, scale the whole column's geometric mean
coefficients = (l (1 - 1 / m^2) / 2, -l / 2, log(l scale) / 2 - l (1 - 1 / m)^2 / 2), m and l the mean and the shape
divided by the scale
log h(x) = -log(2 pi x^3) / 2
MLE: m = mean(y), 1 / l = mean(1 / y) - 1 / m
The second statistic is (y - 1)^2 / y: 1 / l keeps its digits also where it is tiny, as mean(1 / y) - 1 / m it has none
left at a coefficient of variation of 1e-8.
Source: Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, 2nd ed., chapter 15.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from emix.block import Array, Schema, Summary
from emix.errors import DegenerateError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, Binding, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.normal import LOG_2PI, normal_cdf, positive_or_one
from emix.spaces import POSITIVE

LARGEST = 1e290
"""Of a statistic: 1 / y of a subnormal number would be infinite, where the density is 0 to any number of digits."""


@dataclass(frozen=True, eq=False, repr=False)
class InverseGaussian(ColumnwiseFamily):
    """Positive, skewed columns: times until a drifting quantity first reaches a level.

    Parameters
    ----------
    mean : array-like of shape (K,) or (K, d), optional
        In the unit of the column.
    shape : array-like of shape (K,) or (K, d), optional
        In the unit of the column; the variance is mean^3 / shape.

    Examples
    --------
    >>> from emix import InverseGaussian, Mixture, fit
    >>> fit(Mixture(InverseGaussian(), 1), [[1.0], [2.0], [4.0]]).model.family.shape.round(6)
    array([6.461538])
    """

    mean: Parameter = None
    shape: Parameter = None

    name = "inverse_gaussian"
    spaces = {"mean": POSITIVE, "shape": POSITIVE}
    n_statistics = 2
    is_additive = False  # a coded column has a table entry for each whole number between its extremes
    support = Support("numbers > 0", lower=0, lower_is_allowed=False, must_vary=True)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        log_mean = np.where(np.isfinite(summary.log_mean), summary.log_mean, 0.0)
        with np.errstate(all="ignore"):
            ratio = summary.variance / summary.mean**2
        return self._bound(Binding(schema, np.minimum(positive_or_one(ratio), 1.0), np.exp(log_mean)))

    def _scale(self) -> Array:
        return np.ones(1) if self.binding is None else self.binding.scale

    def _ratio(self) -> Array:
        """The whole column's squared coefficient of variation, at most 1: in the place of a pivot, which is 0 here."""
        return np.ones(1) if self.binding is None else self.binding.pivot

    @property
    def can_be_centred(self) -> bool:
        return True

    def centred(self) -> Self:
        if self.binding is None:
            return self
        mean = by_column(self.mean)[0]
        ratio = np.minimum(mean / by_column(self.shape)[0], 1.0)
        return replace(self, binding=Binding(self.binding.schema, ratio, mean, is_own=True))

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"sum of {c}" for c in self.columns),
            *(f"sum of 1 / {c}" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    def cell_statistics(self, x: Array) -> Array:
        scale = self._scale()
        excess = (x - scale) / scale
        ratio = np.maximum(excess, -1.0) / np.maximum(x / scale, 1 / LARGEST)
        with np.errstate(over="ignore"):
            return np.minimum(np.stack([excess.T, (excess * ratio).T]), LARGEST)

    def _units(self) -> tuple[Array, Array]:
        """Mean and shape in units of the scale, (K, d)."""
        return by_column(self.mean) / self._scale(), by_column(self.shape) / self._scale()

    def cell_coefficients(self) -> tuple[Array, Array]:
        (m, shape), far = self._units(), 1 - self._scale() / by_column(self.mean)
        log_normaliser = 0.5 * np.log(by_column(self.shape)) - 0.5 * shape * far**2
        return np.stack([0.5 * shape * far * (1 + 1 / m), -0.5 * shape], axis=1), log_normaliser

    def log_base_measure(self, x: Array) -> Array:
        logs = -0.5 * LOG_2PI - 1.5 * np.log(np.where(np.isnan(x), 1.0, x))
        return np.asarray(np.where(np.isnan(x), 0.0, logs).sum(axis=1))

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        excess, curve, scale = expected[:, 0] / observed, expected[:, 1] / observed, self._scale()
        values = {}
        if "mean" in self.fixed:
            m = by_column(self.mean) / scale
            far = 1 - scale / by_column(self.mean)
            inverse = curve + far * (far - excess * (1 + 1 / m))  # the mean of (y - m)^2 / (m^2 y)
        else:
            m = 1 + excess
            inverse = curve - excess * (excess / m)
            values["mean"] = m * scale
        if "shape" not in self.fixed:
            is_own = self.binding is not None and self.binding.is_own and bool((self._ratio() > RESOLUTION**2).all())
            if is_own:
                inverse = np.maximum(inverse, VARIANCE_FLOOR * self._ratio() / m)
            with np.errstate(over="ignore"):
                ratio = (
                    m * inverse / self._ratio()
                )  # of squared coefficients of variation: the component's, the column's
            if not is_own and not (ratio > VARIANCE_FLOOR).all():
                k, j = np.argwhere(~(ratio > VARIANCE_FLOOR))[0]
                found, weight = max(float(ratio[k, j]), 0.0), float(observed[k, j])
                raise DegenerateError.collapsed(component=int(k), column=self.columns[j], ratio=found, weight=weight)
            values["shape"] = scale / inverse
        return values

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        drawn = rng.wald(self.of_column(self.mean, labels), self.of_column(self.shape, labels))
        return np.maximum(drawn, np.finfo(np.float64).tiny)  # a mean far above the shape draws a rounded 0

    def cell_moments(self) -> tuple[Array, Array]:
        return by_column(self.mean), by_column(self.mean) ** 3 / by_column(self.shape)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        m, shape = by_column(self.mean)[:, None], by_column(self.shape)[:, None]
        root, ratio = np.sqrt(shape / x), x / m
        far = np.exp(2 * shape / m + log_ndtr(-root * (ratio + 1)))
        near = normal_cdf(root * (ratio - 1), is_upper=is_upper)
        return np.asarray(np.clip(near - far if is_upper else near + far, 0.0, 1.0))

    def coordinates(self, x: Array) -> Array:
        return np.log(x)

    def raw_statistics(self, expected: Array) -> Array:
        d, scale = len(self.columns), self._scale()
        excess, curve, n = expected[:, :d], expected[:, d : 2 * d], expected[:, 2 * d :]
        return np.concatenate([scale * (excess + n), (curve - excess + n) / scale, n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, raw, d = self.maximize(expected), self.raw_statistics(expected), len(self.columns)
        lines = []
        for j, c in enumerate(self.columns):
            n = raw[:, 2 * d + j]
            if "mean" not in self.fixed:
                lines.append(Work("mean", by_column(fitted.mean)[:, j], f"sum of {c} / rows", raw[:, j], n))
            if "shape" not in self.fixed:
                value, text = by_column(fitted.shape)[:, j], f"rows / sum of ({c} - mean)^2 / (mean^2 {c})"
                lines.append(Work("shape", value, text, n, n / value))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        with np.errstate(over="ignore"):
            share = by_column(self.mean) / by_column(self.shape) / self._ratio()
        return np.minimum(share, LARGEST), self.columns
