"""Covariances by common factors: C_k = Lambda_k Lambda_k' + Psi_k, Lambda_k (d, q), Psi_k diagonal.

Loadings, uniquenesses or both may be shared by the components. Each uniqueness is at least 1e-8 of its column's
variance in the scatter (pooled where anything is shared): the likelihood has no bound where it is 0.
Source: McLachlan & Peel (2000), Finite Mixture Models, chapter 8; McNicholas & Murphy (2008), Statistics
and Computing 18, 285-296.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import ModelError
from emix.families.structures.base import Structure, as_diagonal, below_diagonal, diagonals
from emix.families.structures.common_loadings import fitted_common_loadings
from emix.families.structures.uniquenesses import LEAST, fitted_uniquenesses, loadings

PARTS = frozenset({"loadings", "uniquenesses"})
EXACT = 1e-9
"""Factors that reproduce the correlations up to this are theirs."""
SOUND = 1e-6
"""Beyond this, covariances do not have the structure."""


@dataclass(frozen=True)
class FactorAnalytic(Structure):
    """Common factors.

    Parameters
    ----------
    n_factors : int
        q, at most d + 1/2 - sqrt(2 d + 1/4) for d columns (Ledermann 1937): 1 for 3 columns, 2 for 5, 3 for 6, 6 for
        10. Beyond that a component would have more loadings and uniquenesses than a covariance has entries. With
        uniquenesses alone tied, K components have K covariances to tell them from, and the bound is larger.
    tied : frozenset of str, optional
        What all components share: {'loadings'}, {'uniquenesses'} or both.
    """

    n_factors: int
    tied: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if isinstance(self.n_factors, bool) or not isinstance(self.n_factors, int) or self.n_factors < 1:
            raise ModelError.argument(name="n_factors", requirement="a whole number >= 1", found=self.n_factors)
        object.__setattr__(self, "tied", frozenset(self.tied))
        for part in sorted(self.tied - PARTS):
            raise ModelError.choice(what="part to tie", found=part, available=sorted(PARTS))

    @property
    def name(self) -> str:  # type: ignore[override]
        """Like `factor_analytic(2, tied=loadings)`."""
        tied = f", tied={'+'.join(sorted(self.tied))}" if self.tied else ""
        return f"factor_analytic({self.n_factors}{tied})"

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class.

        Started from the scatter itself, which the solver needs no more steps from than from `previous`; should that
        end in a worse optimum than `previous`, then from there. A `previous` of another structure does not count.
        """
        K, d = scatter.shape[:2]
        self._check(d)
        if self.tied == {"uniquenesses"}:
            self.check_columns(d, K)
        if self.tied == PARTS:
            pooled = scatter.sum(axis=0, keepdims=True)
            once = None if previous is None else previous[:1]
            one = FactorAnalytic(self.n_factors).covariances(pooled, count.sum(keepdims=True), once)
            return np.repeat(one, K, axis=0)
        unit, R = self._standardised(scatter, count)
        C = self._composed(*self._fitted(R, count))
        if previous is not None:
            old = previous / (unit[:, :, None] * unit[:, None, :])
            is_worse = _criterion(C, R) > _criterion(old, R) + 1e-12 * d
            if self.tied:
                gap = count @ (_criterion(C, R) - _criterion(old, R))
                is_worse = np.full(K, bool(gap > 1e-12 * d * count.sum()))
            if is_worse.any():
                L, psi, misfit = self._parts(old)
                if misfit <= SOUND:
                    C = np.where(is_worse[:, None, None], self._composed(*self._fitted(R, count, (L, psi))), C)
        is_empty = diagonals(scatter) <= 0
        unit = np.where(is_empty, 0.0, unit)
        return np.asarray(C * (unit[:, :, None] * unit[:, None, :]))

    def _check(self, d: int) -> None:
        if self.n_factors >= d:
            raise ModelError.too_many_factors(found=self.n_factors, most=self._most_factors(d, None), n_columns=d)

    def check_columns(self, d: int, K: int | None = None) -> None:
        """Raise a `ModelError` if d columns and K components (any number, if None) cannot tell so many factors."""
        most = self._most_factors(d, K)
        if self.n_factors > most:
            raise ModelError.too_many_factors(found=self.n_factors, most=most, n_columns=d)

    def _most_factors(self, d: int, K: int | None) -> int:
        """How many factors leave no more free parameters than the covariances have entries."""
        if self.tied == {"uniquenesses"} and K is None:
            return d - 1
        n_sets = K if self.tied == {"uniquenesses"} and K is not None else 1
        entries = n_sets * d * (d + 1) // 2
        return max((q for q in range(1, d) if n_sets * (d * q - q * (q - 1) // 2) + d <= entries), default=0)

    def _standardised(self, scatter: Array, count: Array) -> tuple[Array, Array]:
        """Units (K, d), and covariances in them: everything here is free of scale."""
        S = scatter / count[:, None, None]
        variance = diagonals(S)
        if self.tied:
            variance = np.repeat((diagonals(scatter).sum(axis=0) / count.sum())[None], len(S), axis=0)
        unit = np.sqrt(np.where(variance > 0, variance, 1.0))
        R = S / (unit[:, :, None] * unit[:, None, :])
        if not (variance > 0).all():  # a column without scatter: any variance will do, it is put back to 0
            R = R + as_diagonal(np.where(variance > 0, 0.0, 1.0))
        return unit, R

    def _fitted(self, R: Array, count: Array, start: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """Loadings (K, d, q) and uniquenesses (K, d) of the maximum."""
        if self.tied == {"loadings"}:
            return fitted_common_loadings(R, count, self.n_factors, start)
        is_tied = "uniquenesses" in self.tied
        psi = fitted_uniquenesses(R, count, self.n_factors, is_tied=is_tied, start=None if start is None else start[1])
        return loadings(R, psi, self.n_factors), psi

    @staticmethod
    def _composed(L: Array, psi: Array) -> Array:
        return np.asarray(L @ L.transpose(0, 2, 1) + as_diagonal(psi))

    def _parts(self, covariance: Array) -> tuple[Array, Array, float]:
        """Loadings (K, d, q), uniquenesses (K, d), and by how much these miss a correlation.

        The maximum with covariances of this structure as scatter is exact; from several starts, as some may end in
        another optimum.
        """
        if self.tied == PARTS:
            L, psi, misfit = FactorAnalytic(self.n_factors)._parts(covariance[:1])
            return np.repeat(L, len(covariance), axis=0), np.repeat(psi, len(covariance), axis=0), misfit
        count = np.ones(len(covariance))
        unit, R = self._standardised(covariance, count)
        best, least = (np.zeros(0), np.zeros(0)), np.inf
        for begin in (None, 0.5, 0.1, 0.9, 0.01):
            start = None
            if begin is not None:
                psi = np.full(R.shape[:2], begin)
                start = loadings(R, psi, self.n_factors), psi
            parts = self._polished(R, self._fitted(R, count, start)[1])
            off = float(np.abs(self._composed(*parts) - R).max())
            if off < least:
                best, least = parts, off
            if least <= EXACT:
                break
        return best[0] * unit[:, :, None], best[1] * unit**2, least

    def _polished(self, R: Array, psi: Array) -> tuple[Array, Array]:
        """Parts that give R to the last digit, from uniquenesses that nearly do.

        Likelihood is flat to 1e-13 over uniquenesses that small. The equations V_rest' (R - Psi) V_rest = 0
        are not, V_rest the d - q last axes of R - Psi: Newton's method on them.
        """
        q, n_rest = self.n_factors, R.shape[1] - self.n_factors
        rows, columns = np.triu_indices(n_rest)
        for _ in range(4):
            values, V = np.linalg.eigh(R - as_diagonal(psi))
            equations = (V[:, :, rows] * V[:, :, columns]).transpose(0, 2, 1)
            wanted = np.where(rows == columns, values[:, rows], 0.0)
            psi = psi + (np.linalg.pinv(equations, rcond=1e-8) @ wanted[:, :, None])[:, :, 0]
            psi = np.maximum(psi, LEAST / 10)
            if "uniquenesses" in self.tied:
                psi = np.repeat(psi.mean(axis=0, keepdims=True), len(R), axis=0)
        common = R - as_diagonal(psi)
        if "loadings" in self.tied:
            common = np.repeat(common.mean(axis=0, keepdims=True), len(R), axis=0)
        values, V = np.linalg.eigh(common)
        return V[:, :, -q:] * np.sqrt(np.maximum(values[:, -q:], 0.0))[:, None, :], psi

    # -- coordinates -------------------------------------------------------------------------------------------------

    def n_free(self, K: int, d: int) -> int:
        """As in the parent class: d q - q (q - 1) / 2 per loadings, d per uniquenesses."""
        q = self.n_factors
        n_loadings, n_uniquenesses = self._times(K)
        return n_loadings * (d * q - q * (q - 1) // 2) + n_uniquenesses * d

    def _times(self, K: int) -> tuple[int, int]:
        return 1 if "loadings" in self.tied else K, 1 if "uniquenesses" in self.tied else K

    def to_vector(self, covariance: Array) -> Array:
        """Loadings turned until the first q rows are lower triangular, then logs of the uniquenesses."""
        self._check(covariance.shape[1])
        L, psi, misfit = self._parts(covariance)
        if misfit > SOUND:
            requirement, found = f"the structure {self.name}", f"correlations that are off by {misfit:.1e}"
            raise ModelError.parameter(family=self.name, name="covariance", requirement=requirement, found=found)
        n_loadings, n_uniquenesses = self._times(len(covariance))
        rows, columns = self._free_loadings(covariance.shape[1])
        turned = [part @ np.linalg.qr(part[: self.n_factors].T)[0] for part in L[:n_loadings]]
        entries = [part[rows, columns] for part in turned]
        return np.concatenate([*entries, np.log(psi[:n_uniquenesses]).ravel()])

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        self._check(d)
        n_loadings, n_uniquenesses = self._times(K)
        rows, columns = self._free_loadings(d)
        used = n_loadings * len(rows)
        L = np.zeros((n_loadings, d, self.n_factors))
        L[:, rows, columns] = vector[:used].reshape(n_loadings, -1)
        psi = np.exp(vector[used:]).reshape(n_uniquenesses, d)
        return self._composed(np.broadcast_to(L, (K, *L.shape[1:])), np.broadcast_to(psi, (K, d)))

    def _free_loadings(self, d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        rows, columns = below_diagonal(d + 1)  # on and below the diagonal of (d, d)
        is_kept = columns < self.n_factors
        return rows[is_kept] - 1, columns[is_kept]


def _criterion(C: Array, S: Array) -> Array:
    """The criterion log |C_k| + trace(C_k^-1 S_k), (K,); infinite where C_k is singular, or has no meaning."""
    sign, log_det = np.linalg.slogdet(C)
    is_sound = (sign > 0) & np.isfinite(log_det)
    safe = np.where(is_sound[:, None, None], C, np.eye(C.shape[1]))
    fit = np.einsum("kii->k", np.linalg.solve(safe, S))
    return np.where(is_sound, log_det + fit, np.inf)


__all__ = ["LEAST", "FactorAnalytic"]
