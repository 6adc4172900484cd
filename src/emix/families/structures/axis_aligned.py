"""Axes along the columns: EII, VII, EEI, VEI, EVI, VVI. Only the diagonals of the scatter matter.

With w_kj the diagonals, n_k the counts, n their sum and g_k the geometric mean of w_k1 .. w_kd
    EII  sum w / (n d)        EEI  sum_k w_kj / n                EVI  w_kj / g_k x sum_k g_k / n
    VII  sum_j w_kj / (n_k d) VEI  by matrix scaling, scaling.py  VVI  w_kj / n_k
Source: Celeux & Govaert (1995), Pattern Recognition 28, 781-793, section 4.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.families.structures.base import Lettered, as_diagonal, at_equal_volume, diagonals, safe_logarithm
from emix.families.structures.scaling import scaled_to_one_shape


class AxisAligned(Lettered):
    """Diagonal covariances."""

    has_products = False

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class; entries off the diagonals are never read."""
        return as_diagonal(
            self._variances(diagonals(scatter), count, None if previous is None else diagonals(previous))
        )

    @abstractmethod
    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        """Diagonals of the scatter (K, d) -> variances (K, d)."""

    def to_vector(self, covariance: Array) -> Array:
        """Logs of volumes and of shapes."""
        return self._diagonal_to_vector(np.log(diagonals(covariance)))

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        return as_diagonal(np.exp(self._diagonal_from_vector(vector, K, d)[0]))


@dataclass(frozen=True)
class EII(AxisAligned):
    """One variance."""

    name: str = "EII"
    is_scale_free = False

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        return np.full(w.shape, w.sum() / (count.sum() * w.shape[1]))


@dataclass(frozen=True)
class VII(AxisAligned):
    """One variance per component."""

    name: str = "VII"
    is_scale_free = False

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        return np.repeat((w.mean(axis=1) / count)[:, None], w.shape[1], axis=1)


@dataclass(frozen=True)
class EEI(AxisAligned):
    """One variance per column."""

    name: str = "EEI"

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        return np.repeat((w.sum(axis=0) / count.sum())[None], len(w), axis=0)


@dataclass(frozen=True)
class VEI(AxisAligned):
    """Proportional variances."""

    name: str = "VEI"

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        start = None if previous is None else safe_logarithm(previous).mean(axis=1)
        return scaled_to_one_shape(w, count, start)


@dataclass(frozen=True)
class EVI(AxisAligned):
    """Variances with the same product in every component."""

    name: str = "EVI"

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        return at_equal_volume(w, safe_logarithm(w).mean(axis=1), count)


@dataclass(frozen=True)
class VVI(AxisAligned):
    """A variance per component and column."""

    name: str = "VVI"

    def _variances(self, w: Array, count: Array, previous: Array | None) -> Array:
        return np.asarray(w / count[:, None])
