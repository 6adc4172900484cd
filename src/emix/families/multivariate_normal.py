"""Multivariate normal family: correlated numeric columns, in any covariance structure, complete or with missing cells.

T(x) = (y, y_i y_j for i <= j, 1) with y = (x - pivot) / scale; only the squares for axis-aligned structures
coefficients = (P m, -P_ii / 2 and -P_ij, -(m' P m + log |C| + d log 2 pi) / 2 - sum log scale), P = C^-1 in units of y
MLE: m = sum(w y) / n_k, scatter W_k = sum(w y y') - n_k m m'; covariances from the scatter by structure
Rows with missing cells contribute what the observed cells let one expect of T: see patterns.py.
Source: Bishop (2006), Pattern Recognition and Machine Learning, section 9.2.2; Celeux & Govaert (1995), Pattern
Recognition 28, 781-793.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from emix.block import Array, Schema, Summary, updated
from emix.errors import DataError, DegenerateError, ModelError, RootNotFoundError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, Binding, Family, Parameter, Support, Work, share
from emix.families.constrained_means import APART, GaussianFamily, constrained_gaussian
from emix.families.covariance import (
    CovarianceSpace,
    MeanSpace,
    cholesky_pivots,
    in_units,
    pair_list,
    raw_sums,
    scatter_about,
    symmetric,
    work_lines,
)
from emix.families.normal import finite_or_zero, normal_cdf, positive_or_one
from emix.families.patterns import (
    LOG_2PI,
    Moments,
    diagonals,
    fill_by_pattern,
    log_prob_by_pattern,
    pairs,
    sum_by_pattern,
)
from emix.families.priors import COMMON, POSSIBLE, ConjugatePrior
from emix.families.structures import STRUCTURES, FactorAnalytic, Structure, structure
from emix.families.structures.grouped import Grouped
from emix.families.structures.uniquenesses import LEAST
from emix.kernels.tiles import PRODUCTS, SQUARES, Tile
from emix.spaces import Space

TURNED = ("EVE", "VVE", "EEV", "VEV")
"""Structures that compare the variances of different columns, through axes that are turned."""
COMPARABLE, WORST = 1e4, 1e10
"""Ratio of columns' standard deviations, and condition of a component, up to which eigenvectors keep their digits."""


@dataclass(frozen=True, eq=False, repr=False)
class MultivariateNormal(GaussianFamily):
    """Several correlated numeric columns.

    Parameters
    ----------
    mean : array-like of shape (K, d), optional
        In the units of the columns. A structure in its place is taken for one: `MultivariateNormal("VVV")`.
    covariance : array-like of shape (K, d, d), optional
        Maximum-likelihood covariances (divisor n), whatever the structure.
    structure : str or Structure, default='full'
        How covariances differ between components, in mclust's three letters for volume, shape and orientation (Equal,
        Variable, or the Identity): 'EII', 'VII', 'EEI', 'VEI', 'EVI', 'VVI', 'EEE', 'VEE', 'EVE', 'VVE', 'EEV', 'VEV',
        'EVV', 'VVV'; scikit-learn's 'full', 'tied', 'diag', 'spherical'; 'E' and 'V' for one column; or
        `FactorAnalytic(n_factors)` for many columns.
    variance_floor : float, default=0.0
        Least variance of a component in any direction, as a share of the whole columns'. The M-step is then the
        constrained maximum; with 0 a component whose variance runs to 0 ends its start. For the structures 'EII',
        'VII', 'EEI', 'VVI', 'EEE' and 'VVV'.
    prior : ConjugatePrior or True, optional
        Of means and covariances: the fit is then the posterior mode. For the same structures.
    added_variance : float, default=0.0
        Added to each variance after the M-step, in squared units of the columns: the `reg_covar` of scikit-learn. The
        log-likelihood may then fall, so the check that it never does is off. Leave it at 0 outside the drop-in class.
    """

    mean: Parameter = None
    covariance: Parameter = None
    structure: str | Structure = "full"
    variance_floor: float = 0.0
    prior: ConjugatePrior | None = None
    added_variance: float = 0.0

    name = "multivariate_normal"
    takes_noise = True
    groups_by_pattern = True
    prior_kind = ConjugatePrior
    spaces = {"mean": MeanSpace(), "covariance": CovarianceSpace()}

    def __post_init__(self) -> None:
        self._settle_structure()
        chosen = structure(self.structure)
        if isinstance(self.structure, Structure):
            object.__setattr__(self, "structure", chosen.name)
        for name in ("added_variance", "variance_floor"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise ModelError.argument(name=name, requirement="a finite number >= 0", found=value)
        given = {"prior": self.prior is not None, "variance_floor": self.variance_floor > 0}
        needed = f"one of the structures {', '.join(POSSIBLE)}"
        for name in (name for name, is_given in given.items() if is_given and chosen.name not in POSSIBLE):
            raise ModelError.argument(name=name, requirement=needed, found=chosen.name)
        held = [*sorted(self.fixed), *(str(one) for one in self.constraints)]
        if self.prior is not None and held:
            raise ModelError.argument(name="prior", requirement="nothing held fixed or constrained", found=held)
        super().__post_init__()
        self._check_shapes()

    @property
    def support(self) -> Support:
        return Support("finite numbers", must_vary=self.added_variance == 0)

    def space(self, name: str) -> Space:
        return CovarianceSpace(self.structure) if name == "covariance" else self.spaces[name]

    def bind(self, schema: Schema, summary: Summary) -> Self:
        scale = np.sqrt(positive_or_one(summary.variance))
        return self._bound(Binding(schema, finite_or_zero(summary.mean), scale, is_complete=summary.is_complete))

    def _check_columns(self) -> None:
        d = len(self.columns)
        if isinstance(self._structure, FactorAnalytic):
            self._structure.check_columns(d)
        if self.prior is not None:
            self.prior.check_columns(d)
        for name, value in self.parameters.items():
            if value.shape[1] != d:
                required = f"the shape {f'(K, {d})' if name == 'mean' else f'(K, {d}, {d})'} for {d} columns"
                raise ModelError.parameter(family=self.name, name=name, requirement=required, found=value.shape)

    # -- statistics --------------------------------------------------------------------------------------------------

    @cached_property
    def _structure(self) -> Structure:
        return structure(self.structure)

    @property
    def n_observed(self) -> int:
        return 1

    @classmethod
    def all_structures(cls, n_columns: int | None = None, **options: Any) -> tuple[Self, ...]:
        """The fourteen structures with these options; of one column (`n_columns=1`) the two that differ: EII, VII."""
        return tuple(cls(structure=name, **options) for name in (("EII", "VII") if n_columns == 1 else STRUCTURES))

    @property
    def row_key(self) -> Hashable:
        return self.name, self.support, self._has_products

    def is_linear(self, *, is_complete: bool) -> bool:
        return is_complete

    @property
    def _has_products(self) -> bool:
        return self._structure.has_products

    def _about(self, d: int) -> tuple[Array, Array]:
        if self.binding is None:
            return np.zeros(d), np.ones(d)
        return self.binding.pivot, self.binding.scale

    @property
    def statistic_names(self) -> tuple[str, ...]:
        c, d = self.columns, len(self.columns)
        listed = pair_list(d, self._has_products)
        products = (f"sum of {c[i]}^2" if i == j else f"sum of {c[i]} x {c[j]}" for i, j in listed)
        return (*(f"sum of {name}" for name in c), *products, "rows")

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        n, d = x.shape
        n_products = d * (d + 1) // 2 if self._has_products else d
        T = np.empty((d + n_products + (not is_complete), n))
        pivot, scale = self._about(d)
        y = T[:d]
        if self._whitening is None:
            np.divide((x - pivot).T, scale[:, None], out=y)
        else:
            y[:] = solve_triangular(self._whitening, (x - pivot).T, lower=True)
        if self._has_products:
            row = d
            for i in range(d):
                np.multiply(y[i], y[i:], out=T[row : row + d - i])
                row += d - i
        else:
            np.multiply(y, y, out=T[d : 2 * d])
        if not is_complete:
            T[-1] = 1.0
        return T

    def _with_zeros(self, x: Array) -> Array:
        """`statistics` in which a missing cell is 0."""
        T = self.statistics(x)
        return np.where(np.isnan(T), 0.0, T)

    @cached_property
    def moments(self) -> Moments:
        """What the E-step of rows with missing cells reads; before there are parameters, those of all rows."""
        pivot, scale = self._about(len(self.columns))
        if self.mean is None or self.covariance is None:
            return Moments(np.zeros((1, len(pivot))), np.eye(len(pivot))[None], np.log(scale), self._has_products)
        covariance = self.covariance / np.outer(scale, scale)
        return Moments((self.mean - pivot) / scale, covariance, np.log(scale), self._has_products)

    def log_prob(self, x: Array) -> Array:
        if not np.isnan(x).any():
            return super().log_prob(x)
        if self._whitening is not None and self.binding is not None:  # which mixes columns that are not all observed
            return replace(self, binding=replace(self.binding, whitening=None)).log_prob(x)
        return log_prob_by_pattern(self.moments, x, self._with_zeros(x))

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        if not np.isnan(x).any():
            return super().accumulate(x, weighted_resp)
        return sum_by_pattern(self.moments, x, self._with_zeros(x), weighted_resp)

    @property
    def can_be_centred(self) -> bool:
        return self.prior is None and not self.variance_floor and not self.added_variance

    def centred(self) -> Self:
        if self.binding is None:
            return self
        is_complete = self.binding.is_complete
        scale = np.sqrt(np.diagonal(self.covariance[0]))
        L = np.linalg.cholesky(self.covariance[0]) if self._has_products and is_complete else None
        own = Binding(self.binding.schema, self.mean[0], scale, L, is_own=True, is_complete=is_complete)
        return replace(self, binding=own)

    def _factor(self, d: int) -> Array:
        """(d, d) lower triangular A with x = pivot + A y."""
        return np.diag(self._about(d)[1]) if self._whitening is None else self._whitening

    def tile(self) -> Tile:
        return Tile(PRODUCTS if self._has_products else SQUARES, *self._about(len(self.columns)), takes_holes=False)

    def coefficients(self) -> Array:
        m, L, log_scale = self._in_units_of_y
        d = m.shape[1]
        half = np.linalg.inv(L)  # P = half' half
        P = half.transpose(0, 2, 1) @ half
        z = (half @ m[:, :, None])[:, :, 0]
        linear = (z[:, None, :] @ half)[:, 0]
        log_det = 2 * np.log(diagonals(L)).sum(axis=1) + 2 * log_scale
        log_normaliser = -0.5 * ((z * z).sum(axis=1) + log_det + d * LOG_2PI)
        if self._has_products:
            i, j, sides = pairs(d)
            quadratic = P[:, i, j] * (-0.5 * sides)
        else:
            quadratic = -0.5 * diagonals(P)
        return np.concatenate([linear, quadratic, log_normaliser[:, None]], axis=1)

    @cached_property
    def _in_units_of_y(self) -> tuple[Array, Array, float]:
        """Means (K, d) and Cholesky factors (K, d, d) of the covariances of y = A^-1 (x - pivot), and log |A|."""
        pivot, scale = self._about(self.mean.shape[1])
        A = self._whitening
        if A is None:
            C = self.covariance / np.outer(scale, scale)
            return (self.mean - pivot) / scale, np.linalg.cholesky(C), float(np.log(scale).sum())
        half = np.stack([solve_triangular(A, C, lower=True) for C in self.covariance])
        C = np.stack([solve_triangular(A, H.T, lower=True) for H in half])
        L = np.linalg.cholesky((C + C.transpose(0, 2, 1)) / 2)
        return self._mean_of_y(), L, float(np.log(np.diagonal(A)).sum())

    def _mean_of_y(self) -> Array:
        d = self.mean.shape[1]
        return np.asarray(solve_triangular(self._factor(d), (self.mean - self._about(d)[0]).T, lower=True).T)

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _maximize(self, expected: Array) -> Self:
        return self._joined([self], [expected])

    def _maximize_constrained(self, expected: Array) -> Self:
        return constrained_gaussian(self, expected)

    def maximize_apart(self, parts: Sequence[Family], expected: Array) -> Self:
        if self.fixed.issuperset(self.spaces):
            return self
        own = [part for part in parts if isinstance(part, MultivariateNormal)]
        return self._joined(own, [expected[k : k + 1] for k in range(len(own))])

    def maximize_groups(self, expected: Array, n_groups: int) -> Self:
        count = expected[:, -1]
        if not (count > 0).all():  # what it would be in its own mixture, the others do not tell
            raise DegenerateError.empty(component=int(np.argmin(count)))
        return updated(self, _structure=Grouped(structure(self.structure), n_groups)).maximize(expected)

    def _joined(self, parts: Sequence[MultivariateNormal], expected: Sequence[Array]) -> Self:
        """The M-step on sums of all components about one pivot, or of each about its own."""
        scale, is_apart = self._about(len(self.columns))[1], len(parts) > 1 or parts[0]._whitening is not None
        if is_apart:  # a power of two, so that only the exponents change on the way to these units and back
            scale = np.exp2(np.round(np.log2(scale)))
        found = [part._moments(sums, scale) for part, sums in zip(parts, expected, strict=True)]
        count, mean, about, scatter = (np.concatenate(values) for values in zip(*found, strict=True))
        if "covariance" in self.fixed:
            return updated(self, mean=mean)
        is_alive = count > 0
        if not is_alive.all() and self.covariance is None:
            raise DegenerateError.empty(component=int(np.argmin(count)))
        prior = self.prior
        if prior is not None:
            prior, count, mean, scatter = self._with_prior(prior, count, mean, scatter, expected[0], scale)
            about = (mean - self._about(len(scale))[0]) / scale
        C = self._structured(scatter, count, scale)
        own = self.binding if self.binding is not None and scale is self.binding.scale else None
        units = np.outer(scale, scale) if own is None else own.units
        new = updated(self, mean=mean, covariance=C * units, prior=prior, _structure=self._structure)
        if is_apart:
            self._factored(C, count, least=RESOLUTION**2)  # in the columns' own units too: the next iteration's
            for k, part in enumerate(parts):  # each in its own units, where a narrow component is no narrower than wide
                apart = new.covariance[k : k + 1] if len(parts) > 1 else new.covariance
                part._factored(in_units(apart, part._factor(len(scale))), count, k)
            return new
        L = self._factored(C, count)
        vars(new)["_in_units_of_y"] = (about, L, float(np.log(scale).sum()) if own is None else own.log_scale)
        return new

    def _moments(self, expected: Array, scale: Array) -> tuple[Array, Array, Array, Array]:
        """Counts (K,), means (K, d), the same in units of y, and the scatter per row (K, d, d) in units of `scale`."""
        d = len(self.columns)
        pivot, own = self._about(d)
        count, is_held = expected[:, -1], "mean" in self.fixed
        known = self.mean is not None and (is_held or not (count > 0).all())
        previous = self._mean_of_y() if known else None
        m = share(expected[:, :d], count[:, None], previous)
        about = previous if is_held and previous is not None else m
        A = self._whitening
        mean = self.mean if is_held else pivot + (m * own if A is None else m @ A.T)
        W = scatter_about(expected[:, d:-1], count, m, about) / np.where(count > 0, count, 1.0)[:, None, None]
        if self.binding is not None and self.binding.is_own and (own > RESOLUTION * np.abs(pivot)).all():
            least = 2 * VARIANCE_FLOOR
            W = W + least * np.eye(d) * (float(np.linalg.eigvalsh(W)[0, 0]) < least)
        if A is not None:
            W = symmetric((A / scale[:, None]) @ W @ (A / scale[:, None]).T)
        elif own is not scale:
            W = W * np.outer(own / scale, own / scale)
        return count, mean, about, W

    @property
    def _whitening(self) -> Array | None:
        return None if self.binding is None else self.binding.whitening

    def _structured(self, W: Array, count: Array, scale: Array) -> Array:
        """Scatter per row (K, d, d) -> covariances of the structure, both in units of `scale`."""
        chosen, is_alive, previous = self._structure, count > 0, self.covariance
        if chosen.name == "VVV" and not self.variance_floor and not self.added_variance and is_alive.all():
            return W  # as it is: each operation more would cost digits of nearly collinear columns
        unit, least = self._floor(scale)
        ratio = np.outer(scale / unit, scale / unit)
        own = previous is not None and (is_alive.all() or chosen.name in APART)
        start = None if previous is None else previous[is_alive] / np.outer(unit, unit)
        C = np.empty_like(W)
        is_free = chosen.name == "VVV" or (is_alive.sum() == 1 and chosen.name in TURNED)
        if is_free:  # as it is: each operation more would cost digits of nearly collinear columns
            C[is_alive] = (W * ratio)[is_alive]
        else:
            scatter = (W * ratio * count[:, None, None])[is_alive]
            if chosen.name in TURNED and scale.max() > COMPARABLE * scale.min():
                raise DataError.units_differ(structure=chosen.name, low=scale.min(), high=scale.max())
            if chosen.name in ("EVI", "EVV"):  # equal volumes hide a component without spread: its shape would be noise
                self._factored(W[is_alive], count[is_alive])
            try:
                C[is_alive] = chosen.covariances(scatter, count[is_alive], start)
            except (RootNotFoundError, np.linalg.LinAlgError) as error:
                self._factored(W, count)  # a component without spread is the reason, if there is one
                raise self._least_of(W, count) from error
            if chosen.name in TURNED and np.linalg.cond(C[is_alive]).max() > WORST:
                raise self._least_of(C / ratio, count)
        if self.variance_floor:
            values, vectors = np.linalg.eigh(C[is_alive])
            values = np.maximum(values, least)[:, None, :]
            C[is_alive] = symmetric((vectors * values) @ vectors.transpose(0, 2, 1))
        if self.added_variance:
            C = C + np.diag(self.added_variance / unit**2)
        if not is_alive.all():  # as it was where it depends on its own rows alone, else as another of the structure
            C[~is_alive] = previous[~is_alive] / np.outer(unit, unit) if own else C[is_alive][0]
        return C / ratio

    def _with_prior(
        self, prior: ConjugatePrior, count: Array, mean: Array, W: Array, expected: Array, scale: Array
    ) -> tuple[ConjugatePrior, Array, Array, Array]:
        """The moments with the prior's joined to them; its defaults are those of the rows of the first M-step."""
        d, units, pivot = len(scale), np.outer(scale, scale), self._about(len(scale))[0]
        if prior.mean is None or prior.dof is None or prior.scale is None:
            total, second = expected.sum(axis=0), np.zeros((d, d))
            i, j = pairs(d)[:2] if self._has_products else (np.arange(d), np.arange(d))
            second[i, j] = second[j, i] = total[d:-1]
            prior = prior.resolved(float(total[-1]), total[:d], second, len(count), pivot, scale)
        joined, mean, W = prior.joined(self._structure.name, count, mean, W * units * count[:, None, None])
        return prior, joined, mean, W / units / joined[:, None, None]

    def log_prior_of_components(self) -> Array:
        if self.prior is None or self.prior.scale is None:
            return super().log_prior_of_components()
        return self.prior.log_densities(self._structure.name, self.mean, self.covariance)

    def at_bound(self) -> dict[str, NDArray[np.bool_]]:
        if not self.variance_floor:
            return {}
        unit, least = self._floor(self._about(self.mean.shape[1])[1])
        smallest = np.linalg.eigvalsh(self.covariance / np.outer(unit, unit))[:, 0]
        return {"covariance": np.asarray(smallest <= least * (1 + 1e-6))}

    def _floor(self, scale: Array) -> tuple[Array, float]:
        """Units (d,) that the structure may be looked at in, and the least variance in these."""
        # what is not free of scale is meant in the units of x; all columns together may be scaled
        unit = scale if self._structure.is_scale_free else np.full(len(scale), np.exp(np.log(scale).mean()))
        return unit, self.variance_floor * float(((scale / unit) ** 2).mean())

    @property
    def _least_pivot(self) -> float:
        """The floor; with factors, whose uniquenesses may lie at their bound, where that bound does not decide."""
        return 100 * LEAST if isinstance(self._structure, FactorAnalytic) else VARIANCE_FLOOR

    def _factored(self, C: Array, count: Array, first: int = 0, least: float | None = None) -> Array:
        """Cholesky factors; raise if a conditional variance (a pivot squared) is nearly none of its column's."""
        least = self._least_pivot if least is None else least
        try:
            L: Array = np.asarray(np.linalg.cholesky(C), dtype=np.float64)
        except np.linalg.LinAlgError:
            L = np.zeros_like(C)
        if (diagonals(L) ** 2 > least).all():
            return L
        pivots = np.stack([cholesky_pivots(matrix) for matrix in C])
        for k, j in np.argwhere(~(pivots > least)):
            raise self._collapse(first + int(k), int(j), float(pivots[k, j]), count)
        raise self._least_of(C, count)

    def _least_of(self, C: Array, count: Array) -> DegenerateError:
        """That the component with the smallest conditional variance collapsed."""
        pivots = np.stack([cholesky_pivots(matrix) for matrix in C])
        k, j = divmod(int(np.argmin(pivots)), pivots.shape[1])
        return self._collapse(k, j, float(pivots[k, j]), count)

    def _collapse(self, k: int, j: int, ratio: float, count: Array) -> DegenerateError:
        weight = float(count.sum() if self._structure.name in COMMON else count[k])
        return DegenerateError.collapsed(component=k, column=self.columns[j], ratio=max(ratio, 0.0), weight=weight)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        noise = rng.standard_normal((len(labels), self.mean.shape[1]))
        return np.asarray(
            self.mean[labels] + np.einsum("nij,nj->ni", np.linalg.cholesky(self.covariance)[labels], noise)
        )

    def conditional_means(self, x: Array) -> Array:
        return self._filled(x)

    def cell_moments(self) -> tuple[Array, Array]:
        return self.mean, diagonals(self.covariance)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        return normal_cdf((x - self.mean[:, None]) / np.sqrt(diagonals(self.covariance))[:, None], is_upper=is_upper)

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        return np.asarray(self._filled(x, labels, rng)[0])

    def _filled(self, x: Array, labels: Any = None, rng: Any = None) -> Array:
        pivot, scale = self._about(x.shape[1])
        y = np.where(np.isnan(x), 0.0, (x - pivot) / scale)
        filled = pivot + scale * fill_by_pattern(self.moments, x, y, labels, rng)
        return np.where(np.isnan(x), filled, x)

    def coordinates(self, x: Array) -> Array:
        return x

    def raw_statistics(self, expected: Array) -> Array:
        d = len(self.columns)
        return raw_sums(expected, self._about(d)[0], self._factor(d), has_products=self._has_products)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, raw = self.maximize(expected), self.raw_statistics(expected)
        listed, name = pair_list(len(self.columns), self._has_products), self._structure.name
        lines = work_lines(self.columns, fitted.mean, fitted.covariance, raw, listed, name)
        return tuple(line for line in lines if line.parameter not in self.fixed)

    def boundary_noise(self) -> float:
        if not self.variance_floor and not isinstance(self._structure, FactorAnalytic):
            return 0.0
        return 4 * float(np.finfo(np.float64).eps) / float(self.narrowness()[0].min())

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        scale = self._about(self.mean.shape[1])[1]
        return np.stack([cholesky_pivots(C) for C in self.covariance / np.outer(scale, scale)]), self.columns
