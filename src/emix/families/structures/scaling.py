"""Volumes of proportional covariances C_k = exp(a_k) M: matrix scaling, for VEI, VEV (diagonals) and VEE (matrices).

M = sum_k exp(-a_k) W_k / n is the best for given volumes, which leaves
    g(a) = d sum_k n_k a_k + n log |sum_k exp(-a_k) W_k|,
convex because the determinant is a sum of exponentials in a with coefficients >= 0. Celeux & Govaert (1995) alternate
between a and M; on diagonals that is the scaling of the K x d matrix w to row sums d n_k and column sums n of Sinkhorn
(1967), which is linear and may be slow. Newton's method on g needs 2 to 4 steps from the volumes before an M-step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emix.block import Array
from emix.errors import RootNotFoundError
from emix.families.structures.base import TOLERANCE, diagonals, safe_logarithm

MAX_STEPS = 200
MAX_HALVINGS = 60
LONGEST = 8.0
"""A step moves no log volume by more than this: far away, where g is nearly linear, the curvature promises nonsense."""

NEAR = 1e-4
"""A step in log volumes that changes the curvature by a share as small: Newton's method converges from there."""
FARTHEST = 200.0
"""Log volumes this far apart end the iteration, and so does curvature below 0, which is rounding in an M that is
singular to all digits: with scatter of low rank the criterion may have no bound. The result is as good as singular."""

Slopes = tuple[float, Array, Array]
"""n log |M| with its derivatives by -a: its value, (K,) and (K, K)."""


def scaled_to_one_shape(w: Array, count: Array, start: Array | None = None) -> Array:
    """Diagonals w (K, d) >= 0 -> variances exp(a_k) m_j (K, d), the maximum-likelihood ones.

    A component, or a column, without any scatter gets 0 and does not count. `start` holds log volumes (K,), of any
    common size.
    """
    has_rows, has_columns = w.any(axis=1), w.any(axis=0)
    if not (has_rows.all() and has_columns.all()):
        variances = np.zeros(w.shape)
        if has_rows.any():
            inner = np.ix_(has_rows, has_columns)
            begin = None if start is None else start[has_rows]
            variances[inner] = scaled_to_one_shape(w[inner], count[has_rows], begin)
        return variances
    n, d = count.sum(), w.shape[1]
    log_w = safe_logarithm(w)

    def log_det(a: Array) -> Slopes:
        z = log_w - a[:, None]
        top = z.max(axis=0)
        p = np.exp(z - top)
        total = p.sum(axis=0)
        p /= total
        slope = p.sum(axis=1)
        curvature = -n * (p @ p.T)
        curvature.flat[:: len(a) + 1] += n * slope
        return n * float((top + np.log(total)).sum()), n * slope, curvature

    a = _volumes(log_det, count, d, _start(w, count, start))
    z = log_w - a[:, None]
    top = z.max(axis=0)
    return np.asarray(np.exp(a[:, None] + top) * (np.exp(z - top).sum(axis=0) / n))


def scaled_to_one_matrix(W: Array, count: Array, start: Array | None = None) -> Array:
    """Scatter (K, d, d) -> proportional covariances; the pooled one for all where it is singular."""
    K, d = W.shape[:2]
    pooled, n = W.sum(axis=0), count.sum()
    unit = np.sqrt(np.diagonal(pooled))
    has_rows = diagonals(W).any(axis=1)
    if not (unit > 0).all() or np.linalg.slogdet(pooled / np.outer(unit, unit))[0] <= 0:
        return np.repeat(pooled[None] / n, K, axis=0)
    if not has_rows.all():
        C = np.zeros_like(W)
        begin = None if start is None else start[has_rows]
        C[has_rows] = scaled_to_one_matrix(W[has_rows], count[has_rows], begin)
        return C
    Y = W / np.outer(unit, unit)  # the structure is free of scale: columns of unit spread keep the digits

    def log_det(a: Array) -> Slopes:
        parts = Y * np.exp(a.min() - a)[:, None, None]
        M = parts.sum(axis=0)
        P = np.linalg.solve(M, parts)
        slope = np.einsum("kii->k", P)
        flat = P.reshape(len(a), -1)
        curvature = -n * (flat @ P.transpose(0, 2, 1).reshape(len(a), -1).T)
        curvature.flat[:: len(a) + 1] += n * slope
        return n * float(np.linalg.slogdet(M)[1] - d * a.min()), n * slope, curvature

    a = _volumes(log_det, count, d, _start(diagonals(Y), count, start))
    relative = np.exp(a[:, None] - a)  # exp(a_k - a_l): no power of the data's own scale on the way
    C = np.tensordot(relative, W, 1) / n
    return np.asarray((C + C.transpose(0, 2, 1)) / 2)


def _start(w: Array, count: Array, start: Array | None) -> Array:
    if start is not None and np.isfinite(start).all():
        return np.asarray(start - start.mean())
    a = np.log((w / w.sum(axis=0)).sum(axis=1) / count)
    return np.asarray(a - a.mean())


def _volumes(log_det: Callable[[Array], Slopes], count: Array, d: int, a: Array) -> Array:
    """Log volumes (K,) that minimise g, by Newton's method with backtracking.

    Raises
    ------
    RootNotFoundError
        200 steps were not enough.
    """
    n = float(count.sum())
    log_part, slope, curvature = log_det(a)
    value = d * float(count @ a) + log_part
    for _ in range(MAX_STEPS):
        gradient = d * count - slope
        # g does not change when all volumes do: fix their mean. The ridge is for scatter that falls into blocks.
        curvature += n * d / len(a)
        curvature.flat[:: len(a) + 1] += n * d * 1e-14
        step = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ step) / 2
        size = min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-300))
        if gain <= TOLERANCE * n * d and size == 1:
            return np.asarray(a - step)
        if a.max() - a.min() > FARTHEST or gain < 0:
            return a
        for _ in range(MAX_HALVINGS):
            new = a - size * step
            log_part, slope, curvature = log_det(new)
            reached = d * float(count @ new) + log_part
            is_near = float(np.abs(step).max()) < NEAR  # its gain drowns in the rounding of a determinant
            if is_near or reached <= value - 0.1 * size * gain + 1e-15 * abs(value):
                break
            size /= 2
        a, value = new, reached
    raise RootNotFoundError.newton_gain(what="the volumes of proportional covariances", max_steps=MAX_STEPS, gain=gain)
