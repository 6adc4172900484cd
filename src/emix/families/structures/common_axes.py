"""One orientation D for all components (common principal components): EVE, VVE.

With a_kj = (D' W_k D)_jj and g_k the geometric mean of a_k1 .. a_kd the best for a given D is
    VVE  C_k = D diag(a_k / n_k) D'                         leaving  sum_k n_k sum_j log a_kj
    EVE  C_k = D diag(a_k / g_k x sum_k g_k / n) D'         leaving  n d log sum_k g_k
to be minimised over rotations, which orientation.py does.
Source: Flury (1984), J. Amer. Statist. Assoc. 79, 892-898; Celeux & Govaert (1995), Pattern Recognition 28, 781-793.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.families.structures.base import Lettered, at_equal_volume, diagonals, recomposed, safe_logarithm
from emix.families.structures.orientation import best_orientation, shared_orientation
from emix.families.structures.rotations import cayley, cayley_coordinates


class CommonAxes(Lettered):
    """Coordinates: volumes, shapes, then d (d - 1) / 2 for the orientation."""

    is_scale_free = False

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class; over orientations a local optimum, else the best from several starts."""
        D = best_orientation(scatter, count, has_equal_volumes=self.name[0] == "E", previous=previous)
        a = np.maximum(diagonals(D.T @ scatter @ D), 0.0)
        if self.name[0] == "E":
            return recomposed(D, at_equal_volume(a, safe_logarithm(a).mean(axis=1), count))
        return recomposed(D, a / count[:, None])

    def to_vector(self, covariance: Array) -> Array:
        """As in the parent class."""
        D = shared_orientation(covariance)
        logs = np.log(diagonals(D.T @ covariance @ D))
        return np.concatenate([self._diagonal_to_vector(logs), cayley_coordinates(D)])

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        logs, rest = self._diagonal_from_vector(vector, K, d)
        return recomposed(cayley(rest, d), np.exp(logs))


@dataclass(frozen=True)
class EVE(CommonAxes):
    """Common axes and one volume."""

    name: str = "EVE"


@dataclass(frozen=True)
class VVE(CommonAxes):
    """Common axes, nothing else in common."""

    name: str = "VVE"
