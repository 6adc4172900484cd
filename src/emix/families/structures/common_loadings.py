"""Factor models whose components share the loadings and have uniquenesses of their own, by Newton's method.

The loadings have no closed form here. With P = C_k^-1, E = P (C_k - S_k) P and Q = 2 P S_k P - P the criterion
sum_k n_k (log |C_k| + trace(P S_k)) has, along directions A and B of the covariances,
    first derivative  n_k trace(E A)        second  n_k (trace(A P B Q) + trace(E C''))
It does not change when the factors are rotated; steps in these directions are not taken.
All is written in columns divided by the roots of the uniquenesses, where C_k - I has rank q.
Source: McNicholas & Murphy (2008), Stat. Comput. 18, 285-296 (their CUU); McLachlan & Peel (2000), chapter 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from emix.block import Array
from emix.errors import RootNotFoundError
from emix.families.structures.base import TOLERANCE, diagonals
from emix.families.structures.uniquenesses import LEAST, fitted_uniquenesses, loadings, root_of, rounding, sinking

MAX_STEPS = 500
MAX_HALVINGS = 40
LONGEST = 3.0


def fitted_common_loadings(
    S: Array, count: Array, n_factors: int, start: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Covariances (K, d, d), variances about 1, and (K,) counts -> loadings (K, d, q) and uniquenesses (K, d).

    Raises
    ------
    RootNotFoundError
        500 steps were not enough.
    """
    problem = Problem(root_of(S), count / count.sum())
    if start is None:
        pooled = np.tensordot(problem.share, S, 1)[None]
        psi = fitted_uniquenesses(pooled, np.ones(1), n_factors)
        L, x = loadings(pooled, psi, n_factors)[0], np.log(np.repeat(psi, len(S), axis=0))
    else:
        L, x = start[0].mean(axis=0), np.log(np.maximum(start[1], LEAST))
    L, x = problem.descended(L, x)
    return np.repeat(L[None], len(S), axis=0), np.exp(x)


@dataclass(frozen=True)
class Problem:
    """Factors B of covariances B B' (K, d, d), and shares of the components (K,)."""

    half: Array
    share: Array

    def descended(self, L: Array, x: Array) -> tuple[Array, Array]:
        """The local minimum below loadings L (d, q) and log uniquenesses x (K, d)."""
        d, q = L.shape
        value = self.value(L, x)
        for _ in range(MAX_STEPS):
            gradient, H = _held_against_rotation(*self.derivatives(L, x), L)
            slopes = gradient[d * q :].reshape(x.shape)
            is_held = (x <= np.log(LEAST) + 1e-12) & (slopes > 0)
            is_sinking = sinking(x, slopes, np.diagonal(H)[d * q :].reshape(x.shape)) & ~is_held
            is_free = np.concatenate([np.ones(d * q, dtype=bool), ~(is_held | is_sinking).ravel()])
            step = _newton(gradient, H, is_free)
            gain = -float(gradient @ step) / 2 + float((is_sinking * slopes).sum())
            is_last = gain <= TOLERANCE * d
            if is_last:
                step = _newton(gradient, H, is_free, raised=False)
            if is_last and (downhill := _downhill(H, is_free)) is not None:
                step, is_last = downhill, False
            allowed = value + float(rounding(x).max())
            size = min(1.0, 1 / max(float(np.abs(step[: d * q]).max()), 1e-300))
            size = min(size, LONGEST / max(float(np.abs(step[d * q :]).max()), 1e-300))
            step[d * q :] -= np.where(is_sinking, (x - np.log(LEAST)) / size, 0.0).ravel()
            for _ in range(MAX_HALVINGS):
                new_L = L + size * step[: d * q].reshape(d, q)
                new_x = np.maximum(x + size * step[d * q :].reshape(x.shape), np.log(LEAST))
                reached = self.value(new_L, new_x)
                moved = np.concatenate([(new_L - L).ravel(), (new_x - x).ravel()])
                if is_last or reached <= allowed + 1e-4 * float(gradient @ moved):
                    break
                size /= 2
            if is_last:
                return new_L, new_x
            L, x, value = new_L, new_x, reached
        raise RootNotFoundError.newton_gain(what=f"the common loadings of {q} factors", max_steps=MAX_STEPS, gain=gain)

    def _whitened(self, L: Array, x: Array) -> tuple[Array, Array, Array, Array, Array]:
        """In columns of unit uniqueness, B B' = S: P, P B, P Z, Z' P B, and log |I + Z' Z|; all (K, ...).

        Through orthogonal bases of Z over I and of its complement, whose first rows N have N N' = P, since a uniqueness
        at its bound makes Z about 1e4 and S about 1e8: criterion and slopes keep twelve digits this way, and eight if P
        is inverted, or taken as what the basis leaves of I.
        """
        d, q = L.shape
        scale = np.exp(-x / 2)
        stacked = np.concatenate([scale[:, :, None] * L, np.broadcast_to(np.eye(q), (len(x), q, q))], axis=1)
        Q, R = np.linalg.qr(stacked, mode="complete")
        basis, N, R = Q[:, :d, :q], Q[:, :d, q:], R[:, :q]
        B = scale[:, :, None] * self.half
        inside = basis.transpose(0, 2, 1) @ B
        PZ = np.linalg.solve(R, basis.transpose(0, 2, 1)).transpose(0, 2, 1)
        P, PB = N @ N.transpose(0, 2, 1), N @ (N.transpose(0, 2, 1) @ B)
        return P, PB, PZ, np.linalg.solve(R, inside), 2 * np.log(np.abs(diagonals(R))).sum(axis=1)

    def value(self, L: Array, x: Array) -> float:
        """The criterion, per row."""
        _, PB, _, ZPB, log_det = self._whitened(L, x)
        return float(self.share @ (x.sum(axis=1) + log_det + (PB * PB).sum(axis=(1, 2)) + (ZPB * ZPB).sum(axis=(1, 2))))

    def derivatives(self, L: Array, x: Array) -> tuple[Array, Array]:
        """Gradient (p,) and second derivatives (p, p) by loadings, row by row, then log uniquenesses."""
        d, q = L.shape
        K = len(x)
        P, PB, PZ, ZPB, _ = self._whitened(L, x)
        PSP, PSPZ = PB @ PB.transpose(0, 2, 1), PB @ ZPB.transpose(0, 2, 1)
        E, Q = P - PSP, 2 * PSP - P
        EZ, QZ = PZ - PSPZ, 2 * PSPZ - PZ
        scale = np.exp(-x / 2)
        Z = scale[:, :, None] * L
        ZPZ = Z.transpose(0, 2, 1) @ PZ
        ZQZ = 2 * ZPB @ ZPB.transpose(0, 2, 1) - ZPZ
        weight = self.share[:, None, None]
        by_loadings = 2 * (weight * scale[:, :, None] * EZ).sum(axis=0)
        gradient = np.concatenate([by_loadings.ravel(), (self.share[:, None] * diagonals(E)).ravel()])
        H = np.zeros((d * q + K * d, d * q + K * d))
        w = weight * scale[:, :, None] * scale[:, None, :]
        block = np.einsum("kij,kjm,kil->imjl", w, PZ, QZ) + np.einsum("kij,kil,kjm->imjl", w, PZ, QZ)
        block += np.einsum("kij,kml->imjl", w * Q, ZPZ) + np.einsum("kij,kml->imjl", w * P, ZQZ)
        block += 2 * np.einsum("ij,ml->imjl", (w * E).sum(axis=0), np.eye(q))
        H[: d * q, : d * q] = block.reshape(d * q, d * q)
        s = weight * scale[:, :, None]
        # (K, i, m, j): loading (i, m) with the uniqueness j
        cross = (s * Q)[:, :, None, :] * PZ.transpose(0, 2, 1)[:, None] + (s * P)[:, :, None, :] * QZ.transpose(
            0, 2, 1
        )[:, None]
        for k in range(K):
            own = slice(d * q + k * d, d * q + (k + 1) * d)
            H[: d * q, own] = cross[k].reshape(d * q, d)
            H[own, : d * q] = H[: d * q, own].T
            H[own, own] = self.share[k] * (P[k] * Q[k] + np.diag(np.diagonal(E[k])))
        return gradient, H


def _held_against_rotation(gradient: Array, H: Array, L: Array) -> tuple[Array, Array]:
    """Derivatives without what rotations of the factors add, which is 0 but for rounding, and curvature there."""
    d, q = L.shape
    rows, columns = np.triu_indices(q, 1)
    if not len(rows):
        return gradient, H
    turns = np.zeros((len(rows), q, q))
    turns[np.arange(len(rows)), rows, columns] = 1
    N = np.zeros((len(H), len(rows)))
    N[: d * q] = (L @ (turns - turns.transpose(0, 2, 1))).reshape(len(rows), d * q).T
    N = np.linalg.qr(N)[0]
    across = H - N @ (N.T @ H)
    return gradient - N @ (N.T @ gradient), across - (across @ N) @ N.T + N @ N.T


def _newton(gradient: Array, H: Array, is_free: NDArray[np.bool_], *, raised: bool = True) -> Array:
    """A descent step (p,); 0 where not free.

    The curvature is raised by the size of the gradient, which keeps convergence fast beside its null space (Li,
    Fukushima, Qi & Yamashita 2004), but not for the last step, whose error it would be; where it is negative it enters
    by its size.
    """
    free = np.flatnonzero(is_free)
    inner, slope = H[np.ix_(free, free)], gradient[free]
    least = 1e-11 + 0.01 * raised * min(1.0, float(np.abs(slope).max()))
    step = np.zeros(len(gradient))
    try:
        step[free] = -cho_solve(cho_factor(inner + least * np.eye(len(free)), lower=True), slope)
    except LinAlgError:
        values, vectors = np.linalg.eigh(inner)
        step[free] = -(vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), least)))
    return step


def _downhill(H: Array, is_free: NDArray[np.bool_]) -> Array | None:
    """Where the gradient is about 0, a short step (p,) down the most negative curvature; None at a minimum.

    Loadings of a factor that are all 0 are such a saddle.
    """
    free = np.flatnonzero(is_free)
    values, vectors = np.linalg.eigh(H[np.ix_(free, free)])
    if values[0] >= -1e-7:
        return None
    step = np.zeros(len(H))
    step[free] = 0.1 * vectors[:, 0]
    return step
