"""Any orientation, with a closed form or volumes by scaling: EEE, VEE, EVV, VVV and EEV, VEV.

With W_k the scatter, W their sum and W_k = L_k O_k L_k' its spectrum, eigenvalues decreasing
    EEE  W / n                           EVV  W_k / |W_k|^(1/d) x sum_k |W_k|^(1/d) / n
    VVV  W_k / n_k                       EEV  L_k (sum_k O_k / n) L_k'
    VEE  by scaling of the matrices W_k  VEV  L_k by scaling of the diagonals O_k L_k'
Source: Celeux & Govaert (1995), Pattern Recognition 28, 781-793, section 4.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.families.structures.base import (
    Lettered,
    at_equal_volume,
    below_diagonal,
    diagonals,
    recomposed,
    repeated,
    spectra,
)
from emix.families.structures.rotations import cayley, cayley_coordinates
from emix.families.structures.scaling import scaled_to_one_matrix, scaled_to_one_shape


class ByCholesky(Lettered):
    """Shape and orientation have the same letter: coordinates from Cholesky factors, smooth also at a sphere.

    The factor's diagonal gives volume and the shape of that diagonal; what stands below it is divided by the volume.
    """

    def to_vector(self, covariance: Array) -> Array:
        """Logs of the factors' diagonals as volumes and shapes, then what is below the diagonals."""
        factors: Array = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        logs = np.log(diagonals(factors))
        rows, columns = below_diagonal(covariance.shape[1])
        below = factors[:, rows, columns]
        if self.name[0] != self.name[1]:
            below = below / np.exp(logs.mean(axis=1))[:, None]
        if self.name[2] == "E":
            below = below[:1]
        return np.concatenate([self._diagonal_to_vector(logs), below.ravel()])

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        logs, rest = self._diagonal_from_vector(vector, K, d)
        rows, columns = below_diagonal(d)
        below = rest.reshape(-1, len(rows)) if d > 1 else np.zeros((1, 0))
        if self.name[0] != self.name[1]:
            below = below * np.exp(logs.mean(axis=1))[:, None]
        factors = np.zeros((K, d, d))
        factors[:, rows, columns] = below
        factors[:, np.arange(d), np.arange(d)] = np.exp(logs)
        return np.asarray(factors @ factors.transpose(0, 2, 1))


@dataclass(frozen=True)
class EEE(ByCholesky):
    """One covariance."""

    name: str = "EEE"

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class."""
        return repeated(scatter.sum(axis=0) / count.sum(), len(scatter))


@dataclass(frozen=True)
class VEE(ByCholesky):
    """Proportional covariances."""

    name: str = "VEE"

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class."""
        return scaled_to_one_matrix(scatter, count, log_volumes(previous))


@dataclass(frozen=True)
class EVV(ByCholesky):
    """Covariances with the same determinant."""

    name: str = "EVV"

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class."""
        sign, log_det = np.linalg.slogdet(scatter)
        log_sizes = np.where(sign > 0, log_det, -np.inf) / scatter.shape[1]
        return at_equal_volume(scatter, log_sizes, count)


@dataclass(frozen=True)
class VVV(ByCholesky):
    """A covariance per component, without constraint."""

    name: str = "VVV"

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class."""
        return np.asarray(scatter / count[:, None, None])


class OwnAxes(Lettered):
    """One shape, turned by each component. Coordinates from spectra, which do not exist where two axes are as long."""

    is_scale_free = False

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class."""
        values, vectors = spectra(scatter)
        return recomposed(vectors, self._lengths(values, count, previous))

    @abstractmethod
    def _lengths(self, values: Array, count: Array, previous: Array | None) -> Array:
        """Eigenvalues of the scatter -> eigenvalues of the covariances, (K, d)."""

    def to_vector(self, covariance: Array) -> Array:
        """Logs of the eigenvalues as volumes and one shape, then d (d - 1) / 2 coordinates per orientation."""
        values, vectors = spectra(covariance)
        axes = [cayley_coordinates(D) for D in vectors]
        return np.concatenate([self._diagonal_to_vector(np.log(values)), *axes])

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        logs, rest = self._diagonal_from_vector(vector, K, d)
        D = np.stack([cayley(part, d) for part in rest.reshape(K, -1)])
        return recomposed(D, np.exp(logs))


@dataclass(frozen=True)
class EEV(OwnAxes):
    """One covariance, turned by each component."""

    name: str = "EEV"

    def _lengths(self, values: Array, count: Array, previous: Array | None) -> Array:
        return np.repeat(values.sum(axis=0, keepdims=True) / count.sum(), len(values), axis=0)


@dataclass(frozen=True)
class VEV(OwnAxes):
    """One shape, with a volume and an orientation per component."""

    name: str = "VEV"

    def _lengths(self, values: Array, count: Array, previous: Array | None) -> Array:
        return scaled_to_one_shape(values, count, log_volumes(previous))


def log_volumes(covariance: Array | None) -> Array | None:
    """The logarithms of |C_k|^(1/d), (K,); minus infinity for a singular matrix."""
    if covariance is None:
        return None
    sign, log_det = np.linalg.slogdet(covariance)
    return np.asarray(np.where(sign > 0, log_det, -np.inf) / covariance.shape[1])
