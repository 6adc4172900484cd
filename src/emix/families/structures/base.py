"""The contract of a covariance structure, and the coordinates that several structures share.

Covariances C_k = volume_k x D_k A_k D_k' with D_k orthogonal and A_k diagonal, |A_k| = 1; three letters say which of
volume, shape A and orientation D are equal over components (E), vary (V) or are the identity (I).
The M-step minimises  sum_k n_k log |C_k| + trace(C_k^-1 W_k)  given scatter matrices W_k and counts n_k.
Source: Banfield & Raftery (1993), Biometrics 49, 803-821; Celeux & Govaert (1995), Pattern Recognition 28, 781-793.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emix.block import Array

TOLERANCE = 1e-13
"""An inner iteration ends when a Newton step promises less than this per row and column of the criterion, which is
then about n d in size; that last step is still taken, so that parameters are good to far more digits than 1e-7."""


class Structure(ABC):
    """What the covariances of all components have in common. Immutable; nothing in it comes from data."""

    name: str
    has_products: ClassVar[bool] = True
    """Whether more than the diagonals of the scatter matters."""
    is_scale_free: ClassVar[bool] = True
    """Whether covariances(A W A) = A covariances(W) A for every positive diagonal A, so that any units will do."""

    @abstractmethod
    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """Maximum-likelihood covariances of the structure.

        Parameters
        ----------
        scatter : ndarray of shape (K, d, d)
            Sums of w r (x - m_k)(x - m_k)'.
        count : ndarray of shape (K,)
            Sums of w r, positive.
        previous : ndarray of shape (K, d, d), optional
            The covariances before this M-step: where an inner iteration starts. The result is never worse.

        Returns
        -------
        ndarray of shape (K, d, d)
            Singular where the scatter leaves no other choice; the caller checks.

        Raises
        ------
        RootNotFoundError
            An inner iteration did not converge.
        """

    @abstractmethod
    def n_free(self, K: int, d: int) -> int:
        """Number of free parameters of K covariances of d columns."""

    @abstractmethod
    def to_vector(self, covariance: Array) -> Array:
        """Unconstrained coordinates of positive definite covariances (K, d, d), of length `n_free(K, d)`."""

    @abstractmethod
    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """The inverse of `to_vector`: (K, d, d)."""


@dataclass(frozen=True)
class Lettered(Structure):
    """One of the fourteen, by the letters of its volume, shape and orientation."""

    name: str

    def n_free(self, K: int, d: int) -> int:
        """Count volumes, shapes and orientations: 1, d - 1 and d (d - 1) / 2 each."""
        times = {"I": 0, "E": 1, "V": K}
        volume, shape, orientation = [times[letter] for letter in self.name]
        return volume + shape * (d - 1) + orientation * (d * (d - 1) // 2)

    # -- volumes and shapes, as (K, d) logarithms of whatever lies on a diagonal ---------------------------------------

    def _diagonal_to_vector(self, logs: Array) -> Array:
        """(K, d) logs -> volumes, then shapes without their last entry; the logs themselves where the letters agree."""
        volume, shape = self.name[0], self.name[1]
        if volume == shape:
            return (logs[0] if volume == "E" else logs).ravel().copy()
        sizes = logs.mean(axis=1)
        shapes = (logs - sizes[:, None])[:, :-1]
        sizes, shapes = sizes[: 1 if volume == "E" else None], shapes[: 1 if shape == "E" else None]
        return np.concatenate([sizes, shapes.ravel()]) if shape != "I" else sizes.copy()

    def _diagonal_from_vector(self, vector: Array, K: int, d: int) -> tuple[Array, Array]:
        """Invert `_diagonal_to_vector`: logs (K, d) from the head of `vector`, and what is left of it."""
        times = {"I": 0, "E": 1, "V": K}
        n_volumes, n_shapes = times[self.name[0]], times[self.name[1]]
        if self.name[0] == self.name[1]:
            used = n_volumes * d
            return np.broadcast_to(vector[:used].reshape(n_volumes, d), (K, d)), vector[used:]
        used = n_volumes + n_shapes * (d - 1)
        logs = np.zeros((K, d))
        if n_shapes:
            logs[:, :-1] = vector[n_volumes:used].reshape(n_shapes, d - 1)
            logs[:, -1] = -logs[:, :-1].sum(axis=1)
        return logs + vector[:n_volumes, None], vector[used:]


# -- small tools -------------------------------------------------------------------------------------------------------


def diagonals(matrices: Array) -> Array:
    """(K, d, d) -> (K, d), a view."""
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def as_diagonal(values: Array) -> Array:
    """(K, d) -> (K, d, d)."""
    return np.asarray(values[:, :, None] * _identity(values.shape[1]))


@cache
def _identity(d: int) -> Array:
    return np.eye(d)


@cache
def below_diagonal(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the strictly lower triangle."""
    rows, columns = np.tril_indices(d, -1)
    return rows, columns


def repeated(matrix: Array, K: int) -> Array:
    """(d, d) -> (K, d, d), K times the same in memory of its own."""
    return np.repeat(matrix[None], K, axis=0)


def safe_logarithm(values: Array) -> Array:
    """Elementwise log, minus infinity at and below 0, without a warning."""
    is_positive = values > 0
    if is_positive.all():
        return np.asarray(np.log(values))
    return np.where(is_positive, np.log(np.where(is_positive, values, 1.0)), -np.inf)


def spectra(matrices: Array) -> tuple[Array, Array]:
    """Eigenvalues (K, d), decreasing and never negative, and the eigenvectors in the columns of (K, d, d)."""
    values, vectors = np.linalg.eigh(matrices)
    return np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]


def recomposed(vectors: Array, values: Array) -> Array:
    """V diag(values) V', exactly symmetric; `vectors` (K, d, d) or one (d, d) for all, values (K, d)."""
    C = (vectors * values[:, None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.asarray((C + C.transpose(0, 2, 1)) / 2)


def at_equal_volume(matrices: Array, log_sizes: Array, count: Array) -> Array:
    """Each W_k stretched to the common volume that maximises the likelihood, sum_k size_k / n.

    Parameters
    ----------
    matrices : ndarray of shape (K, ...)
        W_k, or only their diagonals.
    log_sizes : ndarray of shape (K,)
        log |W_k| / d. Where it is minus infinity the likelihood has no bound; that component gets its own singular
        W_k / n_k.
    count : ndarray of shape (K,)
        n_k.
    """
    top = log_sizes.max()
    shape = (-1,) + (1,) * (matrices.ndim - 1)
    if not top > -np.inf:
        return np.asarray(matrices / count.reshape(shape))
    log_volume = top + np.log(np.exp(log_sizes - top).sum() / count.sum())
    is_singular = log_sizes == -np.inf
    stretch = np.exp(log_volume - np.where(is_singular, log_volume, log_sizes))
    return np.asarray(matrices * np.where(is_singular, 1 / count, stretch).reshape(shape))
