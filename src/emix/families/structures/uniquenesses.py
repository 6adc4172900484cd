"""Maximum-likelihood uniquenesses of factor models, own or shared, by Newton's method on their logarithms.

For given uniquenesses exp(x) let T_1 >= .. >= T_d and the columns of V be the spectrum of exp(-x/2) S exp(-x/2), and
`kept` the first q of those with T > 1. The best loadings are exp(x/2) V_kept (T_kept - 1)^(1/2), which leaves
    f(x)   = sum_i x_i + sum_kept (1 + log T_m) + sum_rest T_m
    f_i    = sum_rest (1 - T_m) V_im^2
    f_ij   = sum_rest sum_rest (T_m + T_r) / 2 V_im V_jm V_ir V_jr
             + sum_rest sum_kept (1 - T_m) (T_r + T_m) / (T_r - T_m) V_im V_jm V_ir V_jr
Own loadings stay own where uniquenesses are shared: f is then summed over components with their counts.
EM (Rubin & Thayer 1982, Psychometrika 47, 69-76) has the same fixed points, and needs thousands of steps to them.
Source: Joreskog (1967), Psychometrika 32, 443-482; Clarke (1970), Br. J. Math. Stat. Psychol. 23, 43-52.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import RootNotFoundError
from emix.families.structures.base import TOLERANCE

LEAST = 1e-8
"""The smallest uniqueness, as a share of the column's variance: below, a Heywood case runs off to 0."""
MAX_STEPS = 300
MAX_HALVINGS = 40
LONGEST = 3.0
"""No Newton step moves a logarithm by more."""


def fitted_uniquenesses(
    S: Array, count: Array, n_factors: int, *, is_tied: bool = False, start: Array | None = None
) -> Array:
    """Covariances (K, d, d) with variances about 1, (K,) counts -> uniquenesses (K, d).

    Raises
    ------
    RootNotFoundError
        300 steps were not enough.
    """
    K, d = S.shape[:2]
    half = root_of(S)
    weight = (count / count.sum())[:, None] if is_tied else np.ones((K, 1))
    x = np.log(np.maximum(start, LEAST)) if start is not None else _start(S, n_factors)
    if is_tied:
        x = (weight * x).sum(axis=0, keepdims=True)
    value, gradient, curvature = _derivatives(S, half, x, n_factors, weight, is_tied=is_tied)
    is_done = np.zeros(len(x), dtype=bool)
    for _ in range(MAX_STEPS):
        is_held = (x <= np.log(LEAST) + 1e-12) & (gradient > 0)
        is_sinking = sinking(x, gradient, np.diagonal(curvature, axis1=1, axis2=2)) & ~is_held
        step, gain = _newton(gradient, curvature, is_held | is_sinking)
        step *= np.minimum(1.0, LONGEST / np.maximum(np.abs(step).max(axis=1), 1e-300))[:, None]
        step = np.maximum(np.where(is_sinking, -np.inf, step), _room(x))
        gain = gain + (is_sinking * gradient).sum(axis=1)
        is_last = gain <= TOLERANCE * d
        allowed = value + rounding(x)
        size = np.where(is_done, 0.0, 1.0)
        for _ in range(MAX_HALVINGS):
            new = x + np.maximum(size[:, None] * step, _room(x))
            reached, slopes, bends = _derivatives(S, half, new, n_factors, weight, is_tied=is_tied)
            is_bad = ~is_last & ~is_done & ~(reached <= allowed + 1e-4 * (gradient * (new - x)).sum(axis=1))
            if not is_bad.any():
                break
            size = np.where(is_bad, size / 2, size)
        is_done = is_done | is_last
        x, value, gradient, curvature = new, reached, slopes, bends
        if is_done.all():
            return np.repeat(np.exp(x), K if is_tied else 1, axis=0)
    what = f"the uniquenesses of {n_factors} factors"
    raise RootNotFoundError.newton_gain(what=what, max_steps=MAX_STEPS, gain=gain.max())


def loadings(S: Array, psi: Array, n_factors: int) -> Array:
    """The best loadings (K, d, q) for given uniquenesses (K, d); columns of zeros where fewer factors are enough."""
    values, vectors = _spectrum(S, root_of(S), np.log(psi))
    length = np.sqrt(np.maximum(values[:, -n_factors:] - 1, 0.0))
    return np.asarray(np.sqrt(psi)[:, :, None] * vectors[:, :, -n_factors:] * length[:, None, :])


def rounding(x: Array) -> Array:
    """What the criterion cannot tell, (G,): its eigenvalues stand beside one of 1 / uniqueness."""
    return np.asarray(4e-16 * x.shape[1] * np.exp(-x.min(axis=1) / 2))


def root_of(S: Array) -> Array:
    """B with B B' = S, (K, d, d), also where S is singular."""
    values, vectors = np.linalg.eigh(S)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])


def _start(S: Array, n_factors: int) -> Array:
    """Log of (1 - q / 2d) / (S^-1)_ii (Joreskog 1967), S moved off singularity."""
    d = S.shape[1]
    inverse = np.linalg.inv(0.99 * S + 0.01 * np.eye(d))
    return np.asarray(np.log((1 - n_factors / (2 * d)) / np.diagonal(inverse, axis1=1, axis2=2)))


def sinking(x: Array, gradient: Array, bend: Array) -> NDArray[np.bool_]:
    """Which uniquenesses go to the bound at once: small ones that Newton's method without the logarithm sends to 0.

    With it the steps would be -1 all the way where the criterion is linear in the uniqueness, -1/2 where quadratic.
    """
    return np.asarray((x < np.log(0.05)) & (gradient > 0) & (bend < 2.1 * gradient))


def _room(x: Array) -> Array:
    """How far down each logarithm may go."""
    return np.asarray(np.minimum(np.log(LEAST) - x, 0.0))


def _spectrum(S: Array, half: Array, x: Array) -> tuple[Array, Array]:
    """Increasing eigenvalues (K, d) and eigenvectors of S divided by the uniquenesses.

    Through the factor of S where a uniqueness is small: the eigenvalue near 1 beside one of 1e8 keeps twelve digits
    there, and eight in the product.
    """
    scale = np.exp(-x / 2)
    if x.min() > np.log(0.01):
        values, vectors = np.linalg.eigh(S * (scale[:, :, None] * scale[:, None, :]))
        return values, vectors
    vectors, roots, _ = np.linalg.svd(half * scale[:, :, None])
    return roots[:, ::-1] ** 2, vectors[:, :, ::-1]


def _derivatives(
    S: Array, half: Array, x: Array, n_factors: int, weight: Array, *, is_tied: bool
) -> tuple[Array, Array, Array]:
    """f, its gradient and its second derivatives, for each row of x: (G,), (G, d), (G, d, d)."""
    T, V = _spectrum(S, half, x)
    K, d = T.shape
    is_kept: NDArray[np.bool_] = T > 1
    is_kept[:, : d - n_factors] = False
    is_rest = ~is_kept
    rest = np.where(is_rest, T, 0.0)
    value = x.sum(axis=1) + rest.sum(axis=1) + (is_kept * (1 + np.log(np.where(is_kept, T, 1.0)))).sum(axis=1)
    gradient = ((V * V) @ np.where(is_rest, 1 - T, 0.0)[:, :, None])[:, :, 0]
    both = T[:, :, None] + T[:, None, :]
    apart = T[:, None, :] - T[:, :, None]
    mixed = is_rest[:, :, None] & is_kept[:, None, :] & (apart > 0)
    c = np.where(mixed, (1 - T[:, :, None]) * both / np.where(mixed, apart, 1.0), 0.0)
    c += np.where(is_rest[:, :, None] & is_rest[:, None, :], both / 2, 0.0)
    products = (V[:, :, None, :] * V[:, None, :, :]).reshape(K, d * d, d)
    curvature = ((products @ c) * products).sum(axis=2).reshape(K, d, d)
    if not is_tied:
        return value, gradient, curvature
    return (
        (weight[:, 0] * value).sum(keepdims=True),
        (weight * gradient).sum(axis=0, keepdims=True),
        (weight[:, :, None] * curvature).sum(axis=0, keepdims=True),
    )


def _newton(gradient: Array, curvature: Array, is_held: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Descent steps (G, d) and what each promises (G,); entries that are held at the bound stay.

    Curvature enters by its size where it is negative, and never as less than 1e-9.
    """
    is_free = ~is_held
    gradient = np.where(is_free, gradient, 0.0)
    H = np.where(is_free[:, :, None] & is_free[:, None, :], curvature, 0.0)
    values, vectors = np.linalg.eigh((H + H.transpose(0, 2, 1)) / 2)
    along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
    scaled = along / np.maximum(np.abs(values), 1e-9)
    step = -(vectors @ scaled[:, :, None])[:, :, 0]
    return np.where(is_free, step, 0.0), np.asarray((along * scaled).sum(axis=1) / 2)
