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
Rows with missing cells contribute what their observed cells let one expect of the sums: see student_patterns.py.
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
from scipy.special import digamma, gammaln, stdtr

from emix.block import Array, Schema, Summary, updated
from emix.constraints import NO_CONSTRAINTS, Constraints
from emix.errors import DegenerateError, ModelError
from emix.families.base import Binding, Parameter, Support, Work
from emix.families.constrained_means import GaussianFamily
from emix.families.digammas import shape_from_gap
from emix.families.entries import groups_of
from emix.families.multivariate_normal import MultivariateNormal
from emix.families.normal import finite_or_zero, positive_or_one
from emix.families.student_patterns import Distances, distances_by_pattern, sum_by_pattern
from emix.spaces import POSITIVE, Space

SCALE_STRUCTURES = ("full", "tied", "diag", "spherical")
LEAST, MOST = 0.1, 200.0
"""Bounds of the estimated degrees of freedom: from 200 on the density differs from the normal's by less than 0.2 %
of its height, and the likelihood says next to nothing of their number."""
FIRST = 10.0
"""Degrees of freedom after the M-step on a start's responsibilities, which tell nothing of the weights u."""


@dataclass(frozen=True, eq=False, repr=False)
class StudentT(GaussianFamily):
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
    groups_by_pattern = True
    support = Support("finite numbers", must_vary=True)

    def __post_init__(self) -> None:
        self._settle_structure()
        if self.structure not in SCALE_STRUCTURES:
            raise ModelError.choice(what="scale structure", found=self.structure, available=SCALE_STRUCTURES)
        super().__post_init__()
        self._check_shapes()

    def space(self, name: str) -> Space:
        return self._normal.space("covariance") if name == "scale" else self.spaces[name]

    def bind(self, schema: Schema, summary: Summary) -> Self:
        return self._bound(Binding(schema, finite_or_zero(summary.mean), np.sqrt(positive_or_one(summary.variance))))

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
        items = tuple(one.of_parameter(names[one.parameter]) for one in self.constraints if one.parameter in names)
        constraints = Constraints(items, self.constraints.n_components) if items else NO_CONSTRAINTS
        values = {"mean": self.mean, "covariance": self.scale, "binding": self.binding}
        return updated(unset, **values, fixed=fixed, constraints=constraints)

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

    def _distances(self, x: Array) -> Distances:
        """What the observed cells of each row say."""
        d = self.mean.shape[1]
        if np.isnan(x).any():
            return distances_by_pattern(self._normal.moments, x, self.mean, self._about(d)[1])
        return Distances(self.squared_distances(x), self._whitened[1][:, None], np.full(len(x), float(d)))

    def log_prob(self, x: Array) -> Array:
        return self._distances(x).log_density(self.degrees_of_freedom)

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        count = weighted_resp.sum(axis=1, keepdims=True)
        if not self.is_fitted:
            sums = self._normal.accumulate(x, weighted_resp)
            return np.concatenate([sums, -_gap(FIRST / 2) * count, count], axis=1)
        v, seen = self.degrees_of_freedom[:, None], self._distances(x)
        total = v + seen.squared
        u = (v + seen.n_seen) / total
        if np.isnan(x).any():
            T = np.nan_to_num(self._normal.statistics(x), nan=0.0)
            sums = sum_by_pattern(self._normal.moments, x, T, weighted_resp, u)
        else:
            sums = (weighted_resp * u) @ self._normal.statistics(x).T
        each = digamma((v + seen.n_seen) / 2) - np.log(total / 2)
        return np.concatenate([sums, (weighted_resp * each).sum(axis=1, keepdims=True), count], axis=1)

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
    def _is_expanded(self) -> bool | NDArray[np.bool_]:
        """Whether each component's scatter may be divided by its own sum of u; (K,) where single scales are held."""
        if self.structure == "tied" or "scale" in self.fixed:
            return False
        if not self.constraints.of("scale"):
            return True
        own = groups_of(self, "scale")
        return np.asarray(own.is_free[own.group].any(axis=1))

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

    def cell_objective(self, expected: Array) -> Array:
        """Of mean and scale, given the weights; the degrees of freedom are left out."""
        return self._normal.cell_objective(expected[:, :-2])

    def _maximize_constrained(self, expected: Array) -> Self:
        return self._maximize(expected)

    def _degrees_of_freedom(self, weight: Array, log_u: Array, count: Array) -> Array:
        """(K,), the constrained maximum; the bounds give way to what a start had, so that no step can lose."""
        has_rows, previous = (count > 0) & (weight > 0), self.degrees_of_freedom
        if previous is None and not has_rows.all():
            raise DegenerateError.empty(component=int(np.argmin(has_rows)))
        n = np.where(has_rows, count, 1.0)
        u = np.where(has_rows, weight, 1.0) / n
        gap = np.where(self._is_expanded, np.log(u), u - 1) - log_u / n
        least = np.full(len(n), LEAST) if previous is None else np.minimum(LEAST, previous)
        most = np.full(len(n), MOST) if previous is None else np.maximum(MOST, previous)
        if self.constraints.of("degrees_of_freedom"):
            return self._constrained_degrees(gap, np.where(has_rows, count, 0.0), least, most)
        shape = shape_from_gap(np.clip(gap, _gap(most / 2), _gap(least / 2)))
        found = np.clip(2 * shape, least, most)
        return found if previous is None else np.where(has_rows, found, previous)

    def _constrained_degrees(self, gap: Array, count: Array, least: Array, most: Array) -> Array:
        """(K,) for the mean gap of what is tied; the likelihood has one hill, so that bounds cut it off."""
        own = groups_of(self, "degrees_of_freedom")
        n = own.sums(count[:, None])
        pooled = own.sums((gap * count)[:, None]) / np.where(n > 0, n, 1.0)
        at_least = np.maximum(own.lower, np.where(own.lower > 0, own.lower, least.min()))
        at_most = np.where(np.isfinite(own.upper), own.upper, np.maximum(most.max(), at_least))
        at_least = np.minimum(at_least, at_most)
        shape = shape_from_gap(np.clip(pooled, _gap(at_most / 2), _gap(at_least / 2)))
        found = np.clip(2 * shape, at_least, at_most)[own.group][:, 0]
        if self.degrees_of_freedom is not None:  # without rows as before
            found = np.where(n[own.group][:, 0] > 0, found, self.degrees_of_freedom)
        return own.clipped(found[:, None])[:, 0]

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        half = self.degrees_of_freedom[labels] / 2
        u = np.maximum(rng.gamma(half) / half, np.finfo(np.float64).tiny)  # few degrees of freedom draw an underflow
        noise = rng.standard_normal((len(labels), self.mean.shape[1])) / np.sqrt(u)[:, None]
        factors = np.linalg.cholesky(self.scale)[labels]
        return np.asarray(self.mean[labels] + (factors @ noise[:, :, None])[:, :, 0])

    def conditional_means(self, x: Array) -> Array:
        return self._normal.conditional_means(x)  # linear in the observed cells, as those of a normal

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Given the observed cells: a weight u from its distribution, then normal cells with covariance over u."""
        mean = self.conditional_means(x)[labels, np.arange(len(x))]
        drawn = self._normal.draw_missing(x, labels, rng)
        v, seen = self.degrees_of_freedom[labels], self._distances(x)
        squared = seen.squared[labels, np.arange(len(x))]
        u = rng.gamma((v + seen.n_seen) / 2) / ((v + squared) / 2)
        return np.asarray(mean + (drawn - mean) / np.sqrt(np.maximum(u, np.finfo(np.float64).tiny))[:, None])

    def cell_moments(self) -> tuple[Array, Array]:
        """See `Family`; a cell without a variance has that of its scale, which tells as much."""
        v = self.degrees_of_freedom[:, None]
        stretch = np.where(v > 2, v / np.where(v > 2, v - 2, 1.0), 1.0)
        return self.mean, np.diagonal(self.scale, axis1=1, axis2=2) * stretch

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

    def remarks(self) -> tuple[tuple[int, str], ...]:
        if "degrees_of_freedom" in self.fixed:
            return ()
        text = f"ended at the bound of {MOST:g} degrees of freedom: it is as good as normal. "
        is_all = bool((self.degrees_of_freedom >= MOST).all())
        remedy = "Use MultivariateNormal." if is_all else "Its degrees of freedom say nothing beyond that."
        return tuple((int(k), text + remedy) for k in np.flatnonzero(self.degrees_of_freedom >= MOST))

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return self._normal.narrowness()


def _gap(a: Array | float) -> Array:
    """Log a - digamma(a): what a Gamma weight of this shape and mean 1 has for -E log u."""
    gap = np.log(a) - digamma(a)
    return np.asarray(np.maximum(gap, 0.5 / a))  # above which it always is; the difference may round to 0
