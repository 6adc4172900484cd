"""The common orientation of several scatter matrices, by Newton's method on the rotations.

Minimised over orthogonal D, with G_k = D' W_k D, a_kj = (G_k)_jj and g_k the geometric mean of a_k1 .. a_kd
    sum_k n_k sum_j log a_kj        or, at equal volumes,        n d log sum_k g_k.
Turning axis i towards axis j by a small angle changes this at the rate 2 sum_k G_kij u_k (1 / a_ki - 1 / a_kj), u_k the
counts or n g_k / sum g. The curvature is used in full: written out for few columns, else as products with a direction
in conjugate gradients, preconditioned with what it is where all G_k are diagonal,
2 sum_k u_k (a_ki - a_kj)^2 / (a_ki a_kj), which stop at negative curvature (Steihaug 1983). Every step lowers the
criterion; near an optimum the number of right digits doubles with each.
Source: Flury (1984), J. Amer. Statist. Assoc. 79, 892-898; Browne & McNicholas (2014), Adv. Data Anal. Classif. 8,
217-226, for the problem; Nocedal & Wright (2006), Numerical Optimization, 2nd ed., algorithm 7.1, for the method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from emix.block import Array
from emix.errors import RootNotFoundError
from emix.families.structures.base import TOLERANCE, diagonals
from emix.families.structures.rotations import cayley_of

MAX_STEPS = 500
MAX_HALVINGS = 50
LONGEST = 0.8
"""No rotation of a step is by more than this, in radians: beyond, the second-order picture has no meaning."""
EPS = float(np.finfo(np.float64).eps)
DENSE = 12
"""Up to so many columns the curvature is written out, d (d - 1) / 2 squared; above, conjugate gradients."""
GOLDEN = 0.6180339887498949

Curvature = Callable[[Array], Array]


@dataclass
class Place:
    """An orientation with all that one step needs; K is the number of components with any scatter."""

    D: Array  # (d, d)
    G: Array  # (K, d, d)
    a: Array  # (K, d)
    share: Array  # (K,) u
    value: float


@dataclass(frozen=True)
class Problem:
    """Scatter divided by its traces (K, d, d), logs of the traces (K,), counts (K,)."""

    W: Array
    log_size: Array
    count: Array
    n: float
    has_equal_volumes: bool

    def at(self, D: Array) -> Place:
        """The criterion in D."""
        G = D.T @ self.W @ D
        a = np.maximum(diagonals(G), EPS / 4)  # the trace is 1: below this is rounding, of either sign
        logs = np.log(a)
        if not self.has_equal_volumes:
            return Place(D, G, a, self.count, float(self.count @ logs.sum(axis=1)))
        d = a.shape[1]
        log_g = logs.mean(axis=1) + self.log_size
        top = log_g.max()
        g = np.exp(log_g - top)
        total = g.sum()
        return Place(D, G, a, self.n / total * g, self.n * d * float(np.log(total) + top))


def best_orientation(scatter: Array, count: Array, *, has_equal_volumes: bool, previous: Array | None) -> Array:
    """(K, d, d) scatter, (K,) counts -> orthogonal D (d, d).

    Started from the orientation of `previous`, or from the columns, the axes of the pooled scatter and those of each
    component's: the best is returned, since the criterion has several minima.
    """
    K, d = scatter.shape[:2]
    size = np.einsum("kii->k", scatter)
    has_scatter = size > 0
    if d == 1 or not has_scatter.any():
        return np.eye(d)
    size = size[has_scatter]
    W = scatter[has_scatter] / size[:, None, None]
    n = float(count[has_scatter].sum())
    problem = Problem(W, np.log(size), count[has_scatter], n, has_equal_volumes)
    if previous is not None:
        return _descended(problem, shared_orientation(previous)).D
    pooled = W.T @ (size / size.max())
    axes = np.linalg.eigh(np.concatenate([pooled[None], W]))[1]
    starts = axes if K == 1 else np.concatenate([np.eye(d)[None], axes])
    places = [_descended(problem, D) for D in starts]
    return min(places, key=lambda place: place.value).D


def shared_orientation(covariance: Array) -> Array:
    """The axes that covariances (K, d, d) have in common, (d, d), signs and order arbitrary.

    Those of a sum with fixed, unrelated weights. Two axes whose lengths happen to agree in the sum, not in each
    matrix, come out mixed; then the axes of one component may be cleaner.
    """
    unit = covariance / np.einsum("kii->k", covariance)[:, None, None]
    weight = 1 + GOLDEN * np.arange(len(unit)) % 1.0
    D = np.linalg.eigh(np.tensordot(weight, unit, 1))[1]
    if _mixed(D, unit) <= 1e-7:
        return np.asarray(D)
    other = 1 + (GOLDEN * np.arange(len(unit)) + 0.5) % 1.0
    candidates = np.linalg.eigh(np.concatenate([np.tensordot(other, unit, 1)[None], unit]))[1]
    return np.asarray(min([D, *candidates], key=lambda axes: _mixed(axes, unit)))


def _mixed(D: Array, unit: Array) -> float:
    """The largest correlation between axes."""
    G = D.T @ unit @ D
    a = np.sqrt(np.maximum(diagonals(G), EPS))
    R = np.abs(G) / (a[:, :, None] * a[:, None, :])
    return float((R * (1 - np.eye(len(D)))).max())


def _descended(problem: Problem, D: Array) -> Place:
    """The local minimum below D.

    Raises
    ------
    RootNotFoundError
        500 steps were not enough.
    """
    place, d = problem.at(D), len(D)
    for _ in range(MAX_STEPS):
        q = place.share[:, None] / place.a
        step, slope, gain, is_convex = _step(problem, place, q)
        # a_kj carries an absolute error of about eps, so that the criterion cannot tell less than this
        rounding = 4 * EPS * float(q.sum())
        if gain <= max(TOLERANCE * problem.n * d, rounding):
            return _orthogonal(problem, place.D @ cayley_of(-step)) if is_convex and gain > 0 else place
        size = min(1.0, LONGEST / float(np.abs(step).max()))
        for _ in range(MAX_HALVINGS):
            new = problem.at(place.D @ cayley_of(-size * step))
            if new.value < place.value and new.value <= place.value - 1e-4 * size * slope:
                break
            size /= 2
        else:
            if place.a.min() <= 1e3 * EPS:  # singular scatter: the criterion has no bound, and nothing better to tell
                return _orthogonal(problem, place.D)
            break
        place = new
    raise RootNotFoundError.newton_gain(what="the common orientation", max_steps=MAX_STEPS, gain=gain)


def _orthogonal(problem: Problem, D: Array) -> Place:
    """D with the rounding of its steps removed: one Newton-Schulz step towards the nearest orthogonal matrix."""
    return problem.at(D @ (1.5 * np.eye(len(D)) - 0.5 * (D.T @ D)))


def _step(problem: Problem, place: Place, q: Array) -> tuple[Array, float, float, bool]:
    """A descent direction in the angles (d, d), skew; its slope (positive), its gain, and whether all was convex."""
    G, a, share, d = place.G, place.a, place.share, len(place.D)
    M = (q[:, :, None] * G).sum(axis=0)
    gradient = 2 * (M - M.T)
    S = M + M.T
    ratios = a.T @ q
    scale = 2 * (ratios + ratios.T - 2 * share.sum())
    scale = np.maximum(scale, 1e-4 * scale.max() + 1e-12 * problem.n)
    q_by_a = q / a

    def curved(x: Array) -> Array:
        """The second derivative times directions (..., d, d)."""
        P = G @ x[..., None, :, :]  # (..., K, d, d)
        change = -2 * diagonals(P)
        tilt = q_by_a * change
        if problem.has_equal_volumes:
            relative = (change / a).mean(axis=-1)
            tilt -= q * (relative - (relative @ share / problem.n)[..., None])[..., None]
        turned = np.swapaxes((q[:, None, :] * P).sum(axis=-3), -1, -2)
        V = -x @ S - 2 * (turned + (tilt[..., None] * G).sum(axis=-3))
        return np.asarray(V - np.swapaxes(V, -1, -2))

    if d <= DENSE:
        p, is_convex = _newton(curved, gradient)
    else:
        p, is_convex = _conjugate_gradients(curved, gradient, scale, problem.n)
    slope = -float((gradient * p).sum()) / 2
    return p, slope, slope / 2, is_convex  # residuals are at right angles to p, also where it was cut short


def _newton(curved: Curvature, gradient: Array) -> tuple[Array, bool]:
    """The Newton step; negative curvature enters by its size."""
    d = len(gradient)
    basis, rows, columns = _planes(d)
    H = curved(basis)[:, rows, columns]
    slope = gradient[rows, columns]
    try:
        factor = np.linalg.cholesky(H)
        z = -cho_solve((factor, True), slope, check_finite=False)
        is_convex = True
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh((H + H.T) / 2)
        size = np.abs(values)
        z = -(vectors @ ((vectors.T @ slope) / np.maximum(size, 1e-10 * size.max() + 1e-300)))
        is_convex = False
    p = np.zeros((d, d))
    p[rows, columns] = z
    return p - p.T, is_convex


@cache
def _planes(d: int) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """Unit angles of all planes (p, d, d), and where they stand."""
    rows, columns = np.triu_indices(d, 1)
    basis = np.zeros((len(rows), d, d))
    basis[np.arange(len(rows)), rows, columns] = 1
    return basis - basis.transpose(0, 2, 1), rows, columns


def _conjugate_gradients(curved: Curvature, gradient: Array, scale: Array, n: float) -> tuple[Array, bool]:
    """The Newton step as closely as it pays (Steihaug 1983), up to the first direction of negative curvature."""
    d = len(gradient)
    p, residual = np.zeros((d, d)), -gradient
    z = residual / scale
    direction, rz = z, float((residual * z).sum())
    first, is_convex = rz, True
    # the forcing term of a superlinear, finally quadratic method
    enough = first * min(0.1, np.sqrt(first / (n * d))) ** 2
    for iteration in range(d * (d - 1) // 2 + 2):
        if rz <= enough:
            break
        H = curved(direction)
        bend = float((direction * H).sum())
        if bend <= 1e-10 * float((direction * scale * direction).sum()):
            is_convex = False
            if iteration == 0:
                p = direction
            break
        alpha = rz / bend
        p, residual = p + alpha * direction, residual - alpha * H
        z = residual / scale
        rz, before = float((residual * z).sum()), rz
        direction = z + rz / before * direction
    return p, is_convex
