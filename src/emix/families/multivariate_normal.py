"""Multivariate normal family: correlated numeric columns, in four covariance structures.

T(x) = (y, y_i y_j for i <= j, 1) with y = (x - pivot) / scale; for `diag` and `spherical` only the squares
coefficients = (P m, -P_ii / 2 and -P_ij, -(m' P m + log |C| + d log 2 pi) / 2 - sum log scale), P = C^-1 in units of y
MLE: m = sum(w y) / n_k, scatter S_k = sum(w y y') - n_k m m'; then by structure (Celeux & Govaert 1995)
    full       C_k = S_k / n_k                      diag        C_k = diag(S_k) / n_k
    tied       C   = sum_k S_k / n                  spherical   C_k = I trace(S_k) / (d n_k), in the units of x
Source: Bishop (2006), Pattern Recognition and Machine Learning, section 9.2.2; Celeux & Govaert (1995), Pattern
Recognition 28, 781-793.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from emix.block import Array, Schema, Summary, updated
from emix.errors import DegenerateError, ModelError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, Binding, Family, Parameter, Support, Work, share
from emix.families.normal import LOG_2PI, positive_or_one
from emix.kernels.tiles import PRODUCTS, SQUARES, Tile
from emix.spaces import Space

STRUCTURES = ("full", "tied", "diag", "spherical")


class MeanSpace(Space):
    """The real line, always (K, d)."""

    drops_single_column = False


@cache
def _pairs(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Rows and columns of the upper triangle, row by row, and how often each entry stands in the whole matrix."""
    i, j = np.triu_indices(d)
    return i, j, np.where(i == j, 1.0, 2.0)


def _diagonal(matrices: Array) -> Array:
    """(K, d, d) -> (K, d)."""
    return np.diagonal(matrices, axis1=1, axis2=2)


class CovarianceSpace(Space):
    """Symmetric positive definite matrices of one structure, by their log-Cholesky factors."""

    requirement = "symmetric positive definite matrices, the shape (K, d, d)"
    drops_single_column = False

    def __init__(self, structure: str = "full") -> None:
        self.structure = structure

    def contains(self, value: Array) -> bool:
        if value.ndim != 3 or value.shape[1] != value.shape[2] or not np.isfinite(value).all():
            return False
        if not (np.abs(value - value.transpose(0, 2, 1)) <= 1e-8 * np.abs(value)).all():
            return False
        try:
            np.linalg.cholesky(value)
        except np.linalg.LinAlgError:
            return False
        return True

    def n_free(self, value: Any) -> int:
        K, d, _ = value.shape
        counts = {"full": K * d * (d + 1) // 2, "tied": d * (d + 1) // 2, "diag": K * d, "spherical": K}
        return int(counts[self.structure])

    def to_vector(self, value: Any) -> Array:
        if self.structure == "spherical":
            return np.asarray(np.log(value[:, 0, 0]))
        if self.structure == "diag":
            return np.asarray(np.log(np.diagonal(value, axis1=1, axis2=2))).ravel()
        factors = np.linalg.cholesky(value[:1] if self.structure == "tied" else value)
        diagonal = np.arange(value.shape[1])
        factors[:, diagonal, diagonal] = np.log(factors[:, diagonal, diagonal])
        rows, columns = np.tril_indices(value.shape[1])
        return np.asarray(factors[:, rows, columns]).ravel()

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        K, d, _ = like.shape
        used = self.n_free(like)
        if self.structure == "spherical":
            return np.exp(vector[:used])[:, None, None] * np.eye(d), used
        if self.structure == "diag":
            return np.exp(vector[:used].reshape(K, d))[:, :, None] * np.eye(d), used
        n_factors = 1 if self.structure == "tied" else K
        factors = np.zeros((n_factors, d, d))
        rows, columns = np.tril_indices(d)
        factors[:, rows, columns] = vector[:used].reshape(n_factors, -1)
        diagonal = np.arange(d)
        factors[:, diagonal, diagonal] = np.exp(factors[:, diagonal, diagonal])
        return np.broadcast_to(factors @ factors.transpose(0, 2, 1), like.shape).copy(), used


@dataclass(frozen=True, eq=False, repr=False)
class MultivariateNormal(Family):
    """Several correlated numeric columns.

    Parameters
    ----------
    mean : array-like of shape (K, d), optional
        In the units of the columns.
    covariance : array-like of shape (K, d, d), optional
        Maximum-likelihood covariances (divisor n), whatever the structure.
    structure : {'full', 'tied', 'diag', 'spherical'}, default='full'
        `tied`: one covariance for all components; `spherical`: one variance per component, in the units of the columns.
    added_variance : float, default=0.0
        Added to each variance after the M-step, in squared units of the columns: the `reg_covar` of scikit-learn. The
        log-likelihood may then fall, so the check that it never does is off. Leave it at 0 outside the drop-in class.
    """

    mean: Parameter = None
    covariance: Parameter = None
    structure: str = "full"
    added_variance: float = 0.0

    name = "multivariate_normal"
    spaces = {"mean": MeanSpace(), "covariance": CovarianceSpace()}

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise ModelError.choice(what="covariance structure", found=self.structure, available=STRUCTURES)
        added = self.added_variance
        if isinstance(added, bool) or not isinstance(added, int | float) or not 0 <= added < np.inf:
            raise ModelError.argument(name="added_variance", requirement="a finite number >= 0", found=added)
        super().__post_init__()
        if self.mean is not None and self.mean.ndim != 2:
            raise ModelError.parameter(
                family=self.name, name="mean", requirement="the shape (K, d)", found=self.mean.shape
            )
        if (
            self.mean is not None
            and self.covariance is not None
            and self.covariance.shape[1:] != 2 * self.mean.shape[1:]
        ):
            raise ModelError.parameter(
                family=self.name,
                name="covariance",
                requirement=f"the shape {self.mean.shape + self.mean.shape[1:]}",
                found=self.covariance.shape,
            )

    @property
    def support(self) -> Support:
        return Support("finite numbers", takes_missing=False, must_vary=self.added_variance == 0)

    def space(self, name: str) -> Space:
        return CovarianceSpace(self.structure) if name == "covariance" else self.spaces[name]

    def bind(self, schema: Schema, summary: Summary) -> Self:
        return self._bound(Binding(schema, summary.mean, np.sqrt(positive_or_one(summary.variance))))

    def _check_columns(self) -> None:
        d = len(self.columns)
        for name, value in self.parameters.items():
            if value.shape[1] != d:
                shape = f"(K, {d})" if name == "mean" else f"(K, {d}, {d})"
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape {shape} for {d} columns", found=value.shape
                )

    # -- statistics --------------------------------------------------------------------------------------------------

    @property
    def n_observed(self) -> int:
        return 1

    @property
    def _has_products(self) -> bool:
        return self.structure in ("full", "tied")

    def _about(self, d: int) -> tuple[Array, Array]:
        if self.binding is None:
            return np.zeros(d), np.ones(d)
        return self.binding.pivot, self.binding.scale

    @property
    def statistic_names(self) -> tuple[str, ...]:
        c, d = self.columns, len(self.columns)
        pairs = zip(*np.triu_indices(d), strict=True) if self._has_products else ((j, j) for j in range(d))
        products = (f"sum of {c[i]}^2" if i == j else f"sum of {c[i]} x {c[j]}" for i, j in pairs)
        return (*(f"sum of {name}" for name in c), *products, "rows")

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        n, d = x.shape
        n_products = d * (d + 1) // 2 if self._has_products else d
        T = np.empty((d + n_products + (not is_complete), n))
        pivot, scale = self._about(d)
        y = T[:d]
        if self.binding is None or self.binding.whitening is None:
            np.divide((x - pivot).T, scale[:, None], out=y)
        else:
            y[:] = solve_triangular(self.binding.whitening, (x - pivot).T, lower=True)
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

    @property
    def can_be_centred(self) -> bool:
        return self.structure != "tied"

    def centred(self) -> Self:
        schema = self.binding.schema if self.binding is not None else None
        scale = np.sqrt(np.diagonal(self.covariance[0]))
        L = np.linalg.cholesky(self.covariance[0]) if self.structure == "full" else None
        return self if schema is None else replace(self, binding=Binding(schema, self.mean[0], scale, L, True))

    def _factor(self, d: int) -> Array:
        """(d, d) lower triangular A with x = pivot + A y."""
        whitening = None if self.binding is None else self.binding.whitening
        return np.diag(self._about(d)[1]) if whitening is None else whitening

    def tile(self) -> Tile:
        return Tile(PRODUCTS if self._has_products else SQUARES, *self._about(len(self.columns)), takes_holes=False)

    def coefficients(self) -> Array:
        m, L, log_scale = self._in_units_of_y
        d = m.shape[1]
        half = np.linalg.inv(L)  # P = half' half
        P = half.transpose(0, 2, 1) @ half
        z = (half @ m[:, :, None])[:, :, 0]
        linear = (z[:, None, :] @ half)[:, 0]
        log_det = 2 * np.log(_diagonal(L)).sum(axis=1) + 2 * log_scale
        log_normaliser = -0.5 * ((z * z).sum(axis=1) + log_det + d * LOG_2PI)
        if self._has_products:
            i, j, sides = _pairs(d)
            quadratic = P[:, i, j] * (-0.5 * sides)
        else:
            quadratic = -0.5 * _diagonal(P)
        return np.concatenate([linear, quadratic, log_normaliser[:, None]], axis=1)

    @cached_property
    def _in_units_of_y(self) -> tuple[Array, Array, float]:
        """Means (K, d) and Cholesky factors (K, d, d) of the covariances of y = A^-1 (x - pivot), and log |A|."""
        pivot, scale = self._about(self.mean.shape[1])
        if self.binding is None or self.binding.whitening is None:
            C = self.covariance / np.outer(scale, scale)
            return (self.mean - pivot) / scale, np.linalg.cholesky(C), float(np.log(scale).sum())
        A = self.binding.whitening
        half = np.stack([solve_triangular(A, C, lower=True) for C in self.covariance])
        C = np.stack([solve_triangular(A, H.T, lower=True) for H in half])
        L = np.linalg.cholesky((C + C.transpose(0, 2, 1)) / 2)
        return self._mean_of_y(), L, float(np.log(np.diagonal(A)).sum())

    def _mean_of_y(self) -> Array:
        d = self.mean.shape[1]
        return np.asarray(solve_triangular(self._factor(d), (self.mean - self._about(d)[0]).T, lower=True).T)

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _maximize(self, expected: Array) -> Self:
        d = len(self.columns)
        pivot, scale = self._about(d)
        count, is_held = expected[:, -1], "mean" in self.fixed
        is_empty = not (count > 0).all()
        previous = self._mean_of_y() if self.mean is not None and (is_held or is_empty) else None
        m = share(expected[:, :d], count[:, None], previous)
        about = previous if is_held and previous is not None else m
        whitening = None if self.binding is None else self.binding.whitening
        mean = self.mean if is_held else pivot + (m * scale if whitening is None else m @ whitening.T)
        if "covariance" in self.fixed:
            return self.estimated(mean=mean)
        scatter = self._scatter(expected[:, d:-1], count, m, about)
        if self.binding is not None and self.binding.is_own and (scale > RESOLUTION * np.abs(pivot)).all():
            least = 2 * VARIANCE_FLOOR * count.sum()
            scatter = scatter + least * np.eye(d) * (_least(scatter) < least)
        C = self._structured(scatter, count, scale)
        L = self._factored(C[count > 0] if is_empty else C, count)
        covariance = C * np.outer(scale, scale) if whitening is None else whitening @ C @ whitening.T
        if is_empty and self.structure != "tied":
            if self.covariance is None:
                raise DegenerateError.empty(component=int(np.argmin(count)))
            covariance = np.where(count[:, None, None] > 0, covariance, self.covariance)
            return updated(self, mean=mean, covariance=covariance)
        log_det = float(np.log(scale if whitening is None else np.diagonal(whitening)).sum())
        return updated(self, mean=mean, covariance=covariance, _in_units_of_y=(about, L, log_det))

    def _scatter(self, products: Array, count: Array, m: Array, about: Array) -> Array:
        """(K, d, d) sums of w (y - about)(y - about)'; diagonal where only the squares are needed."""
        d = m.shape[1]
        if not self._has_products:
            squares = products - count[:, None] * (m * m if about is m else m * m - (m - about) ** 2)
            return np.asarray(squares[:, :, None] * np.eye(d))
        i, j, _ = _pairs(d)
        taken = m[:, i] * m[:, j]
        if about is not m:  # the scatter about a fixed mean is larger by n_k off off'
            off = m - about
            taken -= off[:, i] * off[:, j]
        S = np.empty((len(m), d, d))
        S[:, i, j] = products - count[:, None] * taken
        S[:, j, i] = S[:, i, j]
        return S

    def _structured(self, S: Array, count: Array, scale: Array) -> Array:
        """Scatter matrices (K, d, d) -> covariances of the structure, both in units of y."""
        n = np.where(count > 0, count, 1.0)
        if self.structure == "tied":
            C = np.repeat((S.sum(axis=0) / count.sum())[None], len(S), axis=0)
        else:
            C = S / n[:, None, None]
        if self.structure == "spherical":  # in the units of x
            C = (_diagonal(C) * scale**2).mean(axis=1)[:, None, None] * np.diag(1 / scale**2)
        if self.added_variance:
            C = C + self.added_variance * np.diag(1 / scale**2)
        return C

    def _factored(self, C: Array, count: Array) -> Array:
        """Cholesky factors; raise if a conditional variance (a pivot squared) is nearly none of its column's."""
        try:
            L: Array = np.asarray(np.linalg.cholesky(C), dtype=np.float64)
            is_sound = bool((_diagonal(L) ** 2 > VARIANCE_FLOOR).all())
        except np.linalg.LinAlgError:
            is_sound = False
        if is_sound:
            return L
        for k, matrix in zip(np.flatnonzero(count > 0), C, strict=True):
            pivots = cholesky_pivots(matrix)
            if not (pivots > VARIANCE_FLOOR).all():
                j = int(np.argmax(~(pivots > VARIANCE_FLOOR)))
                raise self._collapse(int(k), j, float(pivots[j]), count)
        raise AssertionError("a factorization that failed has a component that is not positive definite")

    def _collapse(self, k: int, j: int, ratio: float, count: Array) -> DegenerateError:
        weight = float(count.sum() if self.structure == "tied" else count[k])
        return DegenerateError.collapsed(component=k, column=self.columns[j], ratio=max(ratio, 0.0), weight=weight)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        noise = rng.standard_normal((len(labels), self.mean.shape[1]))
        return np.asarray(
            self.mean[labels] + np.einsum("nij,nj->ni", np.linalg.cholesky(self.covariance)[labels], noise)
        )

    def coordinates(self, x: Array) -> Array:
        return x

    def raw_statistics(self, expected: Array) -> Array:
        d = len(self.columns)
        pivot, scale = self._about(d)
        y, products, n = expected[:, :d], expected[:, d:-1], expected[:, -1:]
        if self.binding is not None and self.binding.whitening is not None:
            return self._raw_of_whitened(expected)
        i, j = np.triu_indices(d) if self._has_products else (np.arange(d), np.arange(d))
        cross = pivot[i] * scale[j] * y[:, j] + pivot[j] * scale[i] * y[:, i]
        raw = scale[i] * scale[j] * products + cross + pivot[i] * pivot[j] * n
        return np.concatenate([scale * y + pivot * n, raw, n], axis=1)

    def _raw_of_whitened(self, expected: Array) -> Array:
        d = len(self.columns)
        y, n, pivot, A = expected[:, :d], expected[:, -1:], self._about(d)[0], self._factor(d)
        i, j = np.triu_indices(d)
        S = np.zeros((len(expected), d, d))
        S[:, i, j] = S[:, j, i] = expected[:, d:-1]
        first = y @ A.T
        cross = pivot[:, None] * first[:, None, :]
        second = A @ S @ A.T + cross + cross.transpose(0, 2, 1) + np.outer(pivot, pivot) * n[:, :, None]
        return np.concatenate([first + pivot * n, second[:, i, j], n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, raw, c = self.maximize(expected), self.raw_statistics(expected), self.columns
        n, d = raw[:, -1], len(c)
        lines = []
        if "mean" not in self.fixed:
            lines = [Work("mean", fitted.mean[:, j], f"sum of {c[j]} / rows", raw[:, j], n) for j in range(d)]
        if "covariance" not in self.fixed:
            pairs = zip(*np.triu_indices(d), strict=True) if self._has_products else ((j, j) for j in range(d))
            how = {"tied": "pooled over components", "spherical": "averaged over columns"}.get(self.structure, "")
            for i, j in pairs:
                text = f"sum of ({c[i]} - mean)({c[j]} - mean) / rows{', ' + how if how else ''}"
                lines.append(Work("covariance", fitted.covariance[:, i, j], text))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        scale = self._about(self.mean.shape[1])[1]
        return np.stack([cholesky_pivots(C) for C in self.covariance / np.outer(scale, scale)]), self.columns


def _least(scatter: Array) -> float:
    """The smallest eigenvalue of a component's scatter (1, d, d)."""
    return float(np.linalg.eigvalsh(scatter)[0, 0])


def cholesky_pivots(C: Array) -> Array:
    """Variance of each column given those before it, (d,); from the first that is not positive on, what is left."""
    try:
        return np.asarray(np.diagonal(np.linalg.cholesky(C)) ** 2)
    except np.linalg.LinAlgError:
        pass  # not positive definite: find out in which column
    A, d = np.array(C, dtype=np.float64), len(C)
    pivots = np.zeros(d)
    for j in range(d):
        pivots[j] = A[j, j]
        if not A[j, j] > 0:
            break
        A[j + 1 :, j + 1 :] -= np.outer(A[j + 1 :, j], A[j, j + 1 :]) / A[j, j]
    return pivots
