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

from emix.block import Array, Schema, Summary, updated
from emix.errors import DegenerateError, ModelError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, WITH_PRIOR, Binding, Family, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.constrained import check_spread
from emix.families.entries import groups_of
from emix.families.priors import NormalInverseGammaPrior
from emix.kernels.tiles import PLAIN, SQUARES, Tile
from emix.spaces import POSITIVE, REAL

LOG_2PI = float(np.log(2 * np.pi))


class LocationScaleFamily(ColumnwiseFamily):
    """What the normal and the log-normal share: a mean and a variance of y = (u - pivot) / scale, u = x or log x."""

    n_statistics = 2
    prior_kind = NormalInverseGammaPrior
    _mean_name = "mean"
    _variance_name = "variance"
    _coordinate = PLAIN
    variance_floor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        floor: object = self.variance_floor
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor < np.inf:
            raise ModelError.argument(name="variance_floor", requirement="a finite number >= 0", found=floor)

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
        return not self.variance_floor  # which is a share of the whole column's variance

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
            if self._prior is not None:
                v = v * (observed / (observed + self._extra_rows(len(v))))
            if self.binding is not None and self.binding.is_own and (scale > RESOLUTION * np.abs(pivot)).all():
                v = np.maximum(v, VARIANCE_FLOOR)
            v = np.maximum(v, self.variance_floor)  # the likelihood falls from its only maximum on: the constrained one
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

    # -- the prior: `shrinkage` rows at its mean, 2 x `scale` of squares, and a larger divisor of the variance ---------

    def _resolved(self, K: int) -> NormalInverseGammaPrior:
        """The prior with its defaults, which are those of the whole columns."""
        pivot, scale = self._about()
        prior: NormalInverseGammaPrior = self._prior.resolved(K, pivot, scale**2)
        return prior

    def _sums_of_prior(self, K: int) -> Array:
        (pivot, scale), prior, d = self._about(), self._resolved(K), len(self.columns)
        rows, y = prior.values("shrinkage", K, d), (prior.values("mean", K, d) - pivot) / scale
        squares = rows * y * y + 2 * prior.values("scale", K, d) / scale**2
        return np.concatenate([rows * y, squares, rows], axis=1)

    def check_prior(self, K: int) -> None:
        super().check_prior(K)
        if self._prior is not None and self.binding is not None:
            self._extra_rows(K)

    def _extra_rows(self, K: int) -> Array:
        """(K, d) by how much the divisor of the variance exceeds the observed and the prior's rows."""
        shape, rows = self._hyperparameters(K, "shape", "shrinkage")
        return np.asarray(2 * shape + 3 - rows)

    def _log_prior_terms(self) -> Array:
        if not self.has_prior:
            return np.zeros(0)
        mean, v = (by_column(getattr(self, name)) for name in (self._mean_name, self._variance_name))
        K, d = v.shape
        prior = self._resolved(K)
        at, rows, shape, scale = (prior.values(name, K, d) for name in ("mean", "shrinkage", "shape", "scale"))
        return np.stack([-(shape + 1.5) * np.log(v), -scale / v, -0.5 * rows * (mean - at) ** 2 / v])

    def reordered(self, order: NDArray[np.intp]) -> Self:
        if self._prior is None or self.n_components is None or self.binding is None:
            return super().reordered(order)
        resolved = updated(self, prior=self._resolved(self.n_components))  # its defaults know K
        return super(LocationScaleFamily, resolved).reordered(order)

    def work(self, expected: Array) -> tuple[Work, ...]:
        if self._prior is None or self.fixed.issuperset(self.spaces):
            return super().work(expected)
        lines = Family._work(self, expected)
        return tuple(replace(line, text=f"mode of the posterior, {WITH_PRIOR}") for line in lines)

    def _maximize_constrained(self, expected: Array) -> Self:
        """The mean is the free one within its bounds, whatever the variance; variances are pooled about their means.

        Only means that are tied weigh their components by variances that they themselves decide: these climb.
        """
        d, (pivot, scale) = len(self.columns), self._about()
        means, variances = (groups_of(self, name) for name in (self._mean_name, self._variance_name))
        n = expected[:, -d:]
        if not (n > 0).all() or (means.is_free & (means.size > 1)).any():
            return super()._maximize_constrained(expected)
        first = expected[:, :d] / n
        mean = means.clipped(pivot + scale * first)
        off = np.where(mean == pivot + scale * first, 0.0, (mean - pivot) / scale - first)
        squares = scale**2 * (expected[:, d : 2 * d] - n * first * first + n * off * off)
        pooled = variances.sums(squares) / variances.sums(n)
        variance = variances.clipped(pooled[variances.group])
        is_free = variances.is_free[variances.group]
        check_spread(variance / scale**2, is_free, n, self.columns)
        values = {self._mean_name: mean, self._variance_name: variance}
        return self.estimated(**{name: value for name, value in values.items() if name not in self.fixed})

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
    variance_floor : float, default=0.0
        Least variance of a component, as a share of the whole column's. The M-step is then the constrained maximum;
        with 0 a component whose variance runs to 0 ends its start.
    prior : NormalInverseGammaPrior or True, optional
        Of mean and variance: estimates are then the mode of their joint posterior density. True takes its defaults.
    """

    mean: Parameter = None
    variance: Parameter = None
    variance_floor: float = 0.0
    prior: NormalInverseGammaPrior | None = None

    name = "normal"
    takes_noise = True
    spaces = {"mean": REAL, "variance": POSITIVE}
    aliases = {"sd": ("variance", 2)}
    support = Support("finite numbers", must_vary=True)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        return self._bound(Binding(schema, finite_or_zero(summary.mean), np.sqrt(positive_or_one(summary.variance))))

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return rng.normal(self.of_column(self.mean, labels), np.sqrt(self.of_column(self.variance, labels)))

    def cell_moments(self) -> tuple[Array, Array]:
        return by_column(self.mean), by_column(self.variance)

    def coordinates(self, x: Array) -> Array:
        return x


def normal_cdf(z: Array, *, is_upper: bool) -> Array:
    """P(Z <= z), or P(Z > z), of a standard normal."""
    return np.asarray(ndtr(-z if is_upper else z))


def positive_or_one(value: Array) -> Array:
    """A scale to divide by: 1 where the value is not a positive finite number."""
    return np.where((value > 0) & np.isfinite(value), value, 1.0)


def finite_or_zero(value: Array) -> Array:
    """A pivot: 0 for a column without an observed cell, which has no mean."""
    return np.where(np.isfinite(value), value, 0.0)
