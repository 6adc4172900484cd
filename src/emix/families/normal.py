"""Normal family: one or several independent columns, each with a mean and a variance per component.

T(x) = (y, y^2, o) with y = (x - pivot) / scale, pivot and scale the whole column's mean and standard deviation
coefficients = (m / v, -1 / (2 v), -m^2 / (2 v) - log(2 pi v) / 2 - log scale) with m, v the mean and variance of y
MLE: m = sum(w y) / sum(w o), v = sum(w y^2) / sum(w o) - m^2
About a pivot the subtraction keeps its digits: at mean 1e6, sd 1e-2 raw second moments lose all of them.
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., sections 3.3 and 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from emix.block import Array, Schema, Summary
from emix.errors import DegenerateError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, Binding, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.kernels.tiles import PLAIN, SQUARES, Tile
from emix.spaces import POSITIVE, REAL

LOG_2PI = float(np.log(2 * np.pi))


class LocationScaleFamily(ColumnwiseFamily):
    """What the normal and the log-normal share: a mean and a variance of y = (u - pivot) / scale, u = x or log x."""

    n_statistics = 2
    _mean_name = "mean"
    _variance_name = "variance"
    _coordinate = PLAIN

    def _unit(self, x: Array) -> Array:
        """u: the cells in the coordinate that is normal."""
        return x

    def _moments(self) -> tuple[Array, Array]:
        """Mean and variance of y, each (K, d)."""
        pivot, scale = self._about()
        mean, variance = (by_column(getattr(self, name)) for name in (self._mean_name, self._variance_name))
        return (mean - pivot) / scale, variance / scale**2

    def _about(self) -> tuple[Array, Array]:
        if self.binding is None:
            return np.zeros(1), np.ones(1)
        return self.binding.pivot, self.binding.scale

    @property
    def can_be_centred(self) -> bool:
        return True

    def centred(self) -> Self:
        mean, variance = (by_column(getattr(self, name))[0] for name in (self._mean_name, self._variance_name))
        schema = self.binding.schema if self.binding is not None else None
        return self if schema is None else replace(self, binding=Binding(schema, mean, np.sqrt(variance), is_own=True))

    def cell_statistics(self, x: Array) -> Array:
        pivot, scale = self._about()
        y = ((self._unit(x) - pivot) / scale).T
        return np.stack([y, y * y])

    def tile(self) -> Tile:
        return Tile(SQUARES, *self._about(), coordinate=self._coordinate)

    def cell_coefficients(self) -> tuple[Array, Array]:
        m, v = self._moments()
        log_normaliser = -0.5 * (m * m / v + LOG_2PI + np.log(v)) - np.log(self._about()[1])
        return np.stack([m / v, -0.5 / v], axis=1), log_normaliser

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        first, second = expected[:, 0] / observed, expected[:, 1] / observed
        pivot, scale = self._about()
        values = {}
        if self._mean_name in self.fixed:  # the variance about a fixed mean is not the free variance
            m = self._moments_of_fixed_mean()
            v = second - 2 * m * first + m * m
        else:
            m = first
            v = second - m * m
            values[self._mean_name] = pivot + scale * m
        if self._variance_name not in self.fixed:
            if self.binding is not None and self.binding.is_own and (scale > RESOLUTION * np.abs(pivot)).all():
                v = np.maximum(v, VARIANCE_FLOOR)
            if not (v > VARIANCE_FLOOR).all():
                k, j = np.argwhere(~(v > VARIANCE_FLOOR))[0]
                raise DegenerateError.collapsed(
                    component=int(k),
                    column=self.columns[j],
                    ratio=max(float(v[k, j]), 0.0),
                    weight=float(observed[k, j]),
                )
            values[self._variance_name] = scale**2 * v
        return values

    def _moments_of_fixed_mean(self) -> Array:
        pivot, scale = self._about()
        return np.asarray((by_column(getattr(self, self._mean_name)) - pivot) / scale)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"sum of {self._word(c)}" for c in self.columns),
            *(f"sum of {self._word(c)}^2" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    def _word(self, column: str) -> str:
        return column

    def raw_statistics(self, expected: Array) -> Array:
        pivot, scale = self._about()
        d = len(self.columns)
        y, yy, n = expected[:, :d], expected[:, d : 2 * d], expected[:, 2 * d :]
        first = scale * y + pivot * n
        second = scale**2 * yy + 2 * pivot * scale * y + pivot**2 * n
        return np.concatenate([first, second, n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, raw, d = self.maximize(expected), self.raw_statistics(expected), len(self.columns)
        mean, variance = (by_column(getattr(fitted, name)) for name in (self._mean_name, self._variance_name))
        lines = []
        for j, c in enumerate(self.columns):
            word = self._word(c)
            if self._mean_name not in self.fixed:
                lines.append(Work(self._mean_name, mean[:, j], f"sum of {word} / rows", raw[:, j], raw[:, 2 * d + j]))
            if self._variance_name not in self.fixed:
                text, n = f"sum of ({word} - {self._mean_name})^2 / rows", raw[:, 2 * d + j]
                lines.append(Work(self._variance_name, variance[:, j], text, variance[:, j] * n, n))
        return tuple(lines)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        mean, variance = (by_column(getattr(self, name))[:, None] for name in (self._mean_name, self._variance_name))
        return normal_cdf((self._unit(x) - mean) / np.sqrt(variance), is_upper=is_upper)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return self._moments()[1], self.columns


@dataclass(frozen=True, eq=False, repr=False)
class Normal(LocationScaleFamily):
    """One or several independent normal columns.

    Parameters
    ----------
    mean : array-like of shape (K,) or (K, d), optional
        In the unit of the column.
    variance : array-like of shape (K,) or (K, d), optional
        In the squared unit of the column: a variance, not a standard deviation; divisor n.
    """

    mean: Parameter = None
    variance: Parameter = None

    name = "normal"
    takes_noise = True
    spaces = {"mean": REAL, "variance": POSITIVE}
    support = Support("finite numbers", must_vary=True)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        return self._bound(Binding(schema, summary.mean, np.sqrt(positive_or_one(summary.variance))))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return rng.normal(self.of_column(self.mean, labels), np.sqrt(self.of_column(self.variance, labels)))

    def cell_means(self) -> Array:
        return by_column(self.mean)

    def coordinates(self, x: Array) -> Array:
        return x


def normal_cdf(z: Array, *, is_upper: bool) -> Array:
    """P(Z <= z), or P(Z > z), of a standard normal."""
    return np.asarray(ndtr(-z if is_upper else z))


def positive_or_one(value: Array) -> Array:
    """A scale to divide by: 1 where the value is not a positive finite number."""
    return np.where((value > 0) & np.isfinite(value), value, 1.0)
