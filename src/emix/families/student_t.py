"""Student-t family: numeric columns with heavy tails, in four structures of the scale matrix.

A row is normal with covariance scale / u, its own weight u ~ Gamma(v / 2, rate v / 2), v the degrees of freedom. With
delta = (x - mean)' scale^-1 (x - mean), given the row and its component
    u = (v + d) / (v + delta)      E log u = digamma((v + d) / 2) - log((v + delta) / 2)
The sums are (u y, u y_i y_j, u, E log u, 1) with y = (x - pivot) / scale of the whole column: rows far out count less.
M-step: mean and scale are those of a normal with row weights u, the scatter divided by the sum of u and not by that of
the rows (parameter-expanded EM: the same ascent, faster); a = v / 2 solves
    log a - digamma(a) = log(mean of u) - mean of E log u
Where one scale is shared by all components (`tied`) or held fixed, nothing can be expanded: the divisor is the number
of rows, and the right side is mean of u - 1 - mean of E log u.
Source: Peel & McLachlan (2000), Statistics and Computing 10, 339-348; Kent, Tyler & Vardi (1994), Communications in
Statistics B 23, 441-453; Liu, Rubin & Wu (1998), Biometrika 85, 755-770 (why the divisor keeps the ascent).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import betaln, digamma, gammaln, stdtr

from emix.block import Array, Schema, Summary, updated
from emix.errors import DegenerateError, ModelError
from emix.families.base import Binding, Family, Parameter, Support, Work
from emix.families.gamma import shape_from_gap
from emix.families.multivariate_normal import MultivariateNormal
from emix.families.normal import positive_or_one
from emix.spaces import POSITIVE, Space

SCALE_STRUCTURES = ("full", "tied", "diag", "spherical")
LEAST, MOST = 0.1, 200.0
"""Bounds of the estimated degrees of freedom: from 200 on the density differs from the normal's by less than 0.2 %
of its height, and the likelihood says next to nothing of their number."""
FIRST = 10.0
"""Degrees of freedom after the M-step on a start's responsibilities, which tell nothing of the weights u."""


@dataclass(frozen=True, eq=False, repr=False)
class StudentT(Family):
    """One or several correlated numeric columns with heavy tails: rows far out weigh little.

    Parameters
    ----------
    mean : array-like of shape (K, d), optional
        The centre, in the units of the columns; the mean where the degrees of freedom exceed 1.
    scale : array-like of shape (K, d, d), optional
        The scale matrix; the covariance is scale x v / (v - 2) where the degrees of freedom v exceed 2.
    degrees_of_freedom : array-like of shape (K,), optional
        Estimated within [0.1, 200], as the constrained maximum: a component at 200 is as good as normal. Held as they
        are with `fixed={"degrees_of_freedom"}`, and may then be any positive number.
    structure : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Of the scale, as for `MultivariateNormal`.

    Notes
    -----
    A component whose spread is below 1e-5 of the whole column's counts as collapsed. A single cell 1e5 x sqrt(n) times
    as far out as the others are wide makes the whole column's spread that large: correct such a cell first.

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Mixture, StudentT, fit
    >>> x = np.random.default_rng(0).standard_t(3, size=(500, 1))
    >>> fit(Mixture(StudentT(), 1), x).model.family.degrees_of_freedom.round(1)
    array([3.1])
    """

    mean: Parameter = None
    scale: Parameter = None
    degrees_of_freedom: Parameter = None
    structure: str = "full"

    name = "student_t"
    takes_noise = True
    spaces = {
        "mean": MultivariateNormal.spaces["mean"],
        "scale": MultivariateNormal.spaces["covariance"],
        "degrees_of_freedom": POSITIVE,
    }
    support = Support("finite numbers", takes_missing=False, must_vary=True)

    def __post_init__(self) -> None:
        if self.structure not in SCALE_STRUCTURES:
            raise ModelError.choice(what="scale structure", found=self.structure, available=SCALE_STRUCTURES)
        super().__post_init__()
        d = next((value.shape[1] for value in (self.scale, self.mean) if value is not None and value.ndim > 1), 1)
        shapes = {"mean": (d,), "scale": (d, d), "degrees_of_freedom": ()}
        for name, value in self.parameters.items():
            if value.shape[1:] != shapes[name]:
                shape = ", ".join(str(size) for size in ("K", *shapes[name]))
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape ({shape})", found=value.shape
                )

    def space(self, name: str) -> Space:
        return self._normal.space("covariance") if name == "scale" else self.spaces[name]

    def bind(self, schema: Schema, summary: Summary) -> Self:
        return self._bound(Binding(schema, summary.mean, np.sqrt(positive_or_one(summary.variance))))

    def _check_columns(self) -> None:
        d = len(self.columns)
        for name in ("mean", "scale"):
            value = getattr(self, name)
            if value is not None and value.shape[1] != d:
                shape = f"(K, {d})" if name == "mean" else f"(K, {d}, {d})"
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape {shape} for {d} columns", found=value.shape
                )

    def _about(self, d: int) -> tuple[Array, Array]:
        if self.binding is None:
            return np.zeros(d), np.ones(d)
        return self.binding.pivot, self.binding.scale

    # -- densities and sums ------------------------------------------------------------------------------------------

    @cached_property
    def _normal(self) -> MultivariateNormal:
        """The normal with this mean and scale: it has the statistics and the M-step of rows with weights."""
        names = {"mean": "mean", "scale": "covariance"}
        fixed = frozenset(names[name] for name in self.fixed & names.keys())
        unset = MultivariateNormal(structure=self.structure)
        return updated(unset, mean=self.mean, covariance=self.scale, fixed=fixed, binding=self.binding)

    @cached_property
    def _whitened(self) -> tuple[Array, Array]:
        """Factors W (K, d, d) with delta = |W_k (x - mean_k)|^2, and log |scale| / 2, (K,)."""
        d = self.mean.shape[1]
        unit = self._about(d)[1]
        factors = np.linalg.cholesky(self.scale / np.outer(unit, unit))
        inverse = np.stack([solve_triangular(L, np.eye(d), lower=True) for L in factors])
        half_log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) + np.log(unit).sum()
        return inverse / unit, half_log_det

    def squared_distances(self, x: Array) -> Array:
        """Delta: (B, d) -> (K, B), in units of each component's scale.

        Each row's difference from the mean is taken first: of W x - W m, 1e4 of its own widths away, the last twelve
        digits alone are left, and the noise of the log-likelihood hides what a step gains.
        """
        columns = np.ascontiguousarray(x.T)
        found = np.empty((len(self.mean), len(x)))
        for k, (W, m) in enumerate(zip(self._whitened[0], self.mean, strict=True)):
            z = W @ (columns - m[:, None])
            z *= z
            found[k] = z.sum(axis=0)
        return found

    def is_linear(self, *, is_complete: bool) -> bool:
        return False

    def log_prob(self, x: Array) -> Array:
        d, v = self.mean.shape[1], self.degrees_of_freedom
        # log Gamma((v + d) / 2) - log Gamma(v / 2) by the beta function: no cancellation for large v
        log_normaliser = gammaln(d / 2) - betaln(v / 2, d / 2) - d / 2 * np.log(v * np.pi) - self._whitened[1]
        distances = np.log1p(self.squared_distances(x) / v[:, None])
        return np.asarray(log_normaliser[:, None] - (v[:, None] + d) / 2 * distances)

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        if not self.is_fitted:
            return weighted_resp @ self.statistics(x).T
        d, v = self.mean.shape[1], self.degrees_of_freedom[:, None]
        total = v + self.squared_distances(x)
        sums = (weighted_resp * ((v + d) / total)) @ self._normal.statistics(x).T
        count = weighted_resp.sum(axis=1)
        log_u = digamma((v[:, 0] + d) / 2) * count - (weighted_resp * np.log(total / 2)).sum(axis=1)
        return np.concatenate([sums, log_u[:, None], count[:, None]], axis=1)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        own = self._normal.statistic_names[:-1]
        return (*(f"sum of u {name.removeprefix('sum of ')}" for name in own), "sum of u", "sum of log u", "rows")

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        """What a row adds while nothing is known of its weight: u = 1, and E log u of `FIRST` degrees of freedom."""
        ones = np.ones((1, len(x)))
        return np.concatenate([self._normal.statistics(x), -_gap(FIRST / 2) * ones, ones])

    def coefficients(self) -> Array:
        raise ModelError.argument(
            name="family", requirement="one whose log-density is linear in its statistics", found=self.name
        )

    def fisher_coefficients(self) -> Array:
        """Those of the row and its own weight u together: a normal given u, and the Gamma of u."""
        own, a = self._normal.coefficients(), self.degrees_of_freedom[:, None] / 2
        half_log_det = self._whitened[1][:, None]
        at_mean = own[:, -1:] + half_log_det  # -m' P m / 2, up to a constant
        return np.concatenate([own[:, :-1], at_mean - a, a, a * np.log(a) - gammaln(a) - half_log_det], axis=1)

    def at_bound(self) -> dict[str, NDArray[np.bool_]]:
        v = self.degrees_of_freedom
        return {"degrees_of_freedom": np.asarray((v >= MOST * (1 - 1e-9)) | (v <= LEAST * (1 + 1e-9)))}

    # -- the M-step --------------------------------------------------------------------------------------------------

    @property
    def _is_expanded(self) -> bool:
        """Whether each component's scatter may be divided by its own sum of u."""
        return self.structure != "tied" and "scale" not in self.fixed

    def _maximize(self, expected: Array) -> Self:
        weight, count = expected[:, -3], expected[:, -1]
        normal = self._normal.maximize(expected[:, :-2])
        scale = normal.covariance
        if self.structure == "tied" and "scale" not in self.fixed:
            scale = scale * (weight.sum() / count.sum())
        values = {"mean": normal.mean, "scale": scale}
        if "degrees_of_freedom" not in self.fixed:
            values["degrees_of_freedom"] = self._degrees_of_freedom(weight, expected[:, -2], count)
        return updated(self, **values)

    def _degrees_of_freedom(self, weight: Array, log_u: Array, count: Array) -> Array:
        """(K,), the constrained maximum; the bounds give way to what a start had, so that no step can lose."""
        has_rows, previous = (count > 0) & (weight > 0), self.degrees_of_freedom
        if previous is None and not has_rows.all():
            raise DegenerateError.empty(component=int(np.argmin(has_rows)))
        n = np.where(has_rows, count, 1.0)
        u = np.where(has_rows, weight, 1.0) / n
        gap = (np.log(u) if self._is_expanded else u - 1) - log_u / n
        least = np.full(len(n), LEAST) if previous is None else np.minimum(LEAST, previous)
        most = np.full(len(n), MOST) if previous is None else np.maximum(MOST, previous)
        shape = shape_from_gap(np.clip(gap, _gap(most / 2), _gap(least / 2)))
        found = np.clip(2 * shape, least, most)
        return found if previous is None else np.where(has_rows, found, previous)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        half = self.degrees_of_freedom[labels] / 2
        u = np.maximum(rng.gamma(half) / half, np.finfo(np.float64).tiny)  # few degrees of freedom draw an underflow
        noise = rng.standard_normal((len(labels), self.mean.shape[1])) / np.sqrt(u)[:, None]
        factors = np.linalg.cholesky(self.scale)[labels]
        return np.asarray(self.mean[labels] + (factors @ noise[:, :, None])[:, :, 0])

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        deviation = np.sqrt(np.diagonal(self.scale, axis1=1, axis2=2))[:, None]
        z = (x - self.mean[:, None]) / deviation
        return np.asarray(stdtr(self.degrees_of_freedom[:, None, None], -z if is_upper else z))

    def coordinates(self, x: Array) -> Array:
        pivot, unit = self._about(x.shape[1])
        return np.arcsinh((x - pivot) / unit)  # rows far out are drawn in, or each would make a centre of its own

    def raw_statistics(self, expected: Array) -> Array:
        return np.concatenate([self._normal.raw_statistics(expected[:, :-2]), expected[:, -2:]], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, raw, c = self.maximize(expected), self.raw_statistics(expected), self.columns
        d, weight, lines = len(c), raw[:, -3], []
        if "mean" not in self.fixed:
            lines = [
                Work("mean", fitted.mean[:, j], f"sum of u {c[j]} / sum of u", raw[:, j], weight) for j in range(d)
            ]
        if "scale" not in self.fixed:
            is_full = self.structure in ("full", "tied")
            by = {"tied": "rows, pooled over components", "spherical": "sum of u, averaged over columns"}
            for i, j in zip(*(np.triu_indices(d) if is_full else 2 * (np.arange(d),)), strict=True):
                text = f"sum of u ({c[i]} - mean)({c[j]} - mean) / {by.get(self.structure, 'sum of u')}"
                lines.append(Work("scale", fitted.scale[:, i, j], text))
        if "degrees_of_freedom" not in self.fixed:
            right = "log(mean of u)" if self._is_expanded else "mean of u - 1"
            text = f"log(v / 2) - digamma(v / 2) = {right} - mean of log u"
            lines.append(Work("degrees_of_freedom", fitted.degrees_of_freedom, text))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return self._normal.narrowness()


def _gap(a: Array | float) -> Array:
    """Log a - digamma(a): what a Gamma weight of this shape and mean 1 has for -E log u."""
    gap = np.log(a) - digamma(a)
    return np.asarray(np.maximum(gap, 0.5 / a))  # above which it always is; the difference may round to 0
