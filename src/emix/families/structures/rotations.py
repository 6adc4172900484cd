"""Orthogonal matrices D as coordinates of their axes; the signs of the axes do not matter to D diag(a) D'."""

from __future__ import annotations

import numpy as np

from emix.block import Array
from emix.families.structures.base import below_diagonal


def cayley_of(skew: Array) -> Array:
    """(I + X / 2)(I - X / 2)^-1 of a skew matrix (d, d): a rotation, exp(X) up to third order."""
    identity = np.eye(len(skew))
    return np.asarray(np.linalg.solve(identity - skew / 2, identity + skew / 2))


def cayley(coordinates: Array, d: int) -> Array:
    """Real numbers, d (d - 1) / 2 of them -> a rotation (d, d)."""
    rows, columns = below_diagonal(d)
    skew = np.zeros((d, d))
    skew[rows, columns] = coordinates
    return cayley_of(skew - skew.T)


def cayley_coordinates(D: Array) -> Array:
    """Orthogonal (d, d) -> the coordinates of D with axes turned round so that no entry is near infinity.

    Cayley's transform does not reach rotations by half a turn. Signs s_j can always be chosen so that D + diag(s) is
    well away from singular: in its LU decomposition without pivoting each s_j takes the sign of the pivot before it,
    which leaves every pivot at least 1 in size (Ballard et al. 2015, J. Parallel Distrib. Comput. 85, 3-31, section 5).
    """
    d = len(D)
    U, signs = np.array(D, dtype=np.float64), np.ones(d)
    for j in range(d):
        signs[j] = 1.0 if U[j, j] >= 0 else -1.0
        U[j, j] += signs[j]
        U[j + 1 :, j + 1 :] -= np.outer(U[j + 1 :, j] / U[j, j], U[j, j + 1 :])
    turned, identity = D * signs, np.eye(d)
    skew = 2 * np.linalg.solve(identity + turned.T, (turned - identity).T).T  # (R - I)(R + I)^-1, twice
    rows, columns = below_diagonal(d)
    return np.asarray((skew - skew.T)[rows, columns] / 2)
