"""A structure for the components of several mixtures at once, which share nothing from one mixture to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.families.structures.axis_aligned import VII, VVI
from emix.families.structures.base import Structure
from emix.families.structures.ellipsoids import VVV

OF_POOLED: dict[str, Structure] = {"EII": VII(), "EEI": VVI(), "EEE": VVV()}
"""Structures of one common covariance: that of the pooled scatter, as if of a single component."""


@dataclass(frozen=True)
class Grouped(Structure):
    """Of `n_groups` mixtures, whose components lie one mixture after another.

    Parameters
    ----------
    inner : Structure
        Of each of them.
    n_groups : int
        How many.
    """

    inner: Structure
    n_groups: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of each."""
        return self.inner.name

    @property
    def has_products(self) -> bool:  # type: ignore[override]
        """As in the parent class."""
        return self.inner.has_products

    @property
    def is_scale_free(self) -> bool:  # type: ignore[override]
        """As in the parent class."""
        return self.inner.is_scale_free

    def covariances(self, scatter: Array, count: Array, previous: Array | None = None) -> Array:
        """As in the parent class, (G K, d, d)."""
        W = scatter.reshape(self.n_groups, -1, *scatter.shape[1:])
        n = count.reshape(self.n_groups, -1)
        if self.name in OF_POOLED:
            pooled = OF_POOLED[self.name].covariances(W.sum(axis=1), n.sum(axis=1))
            return np.repeat(pooled, n.shape[1], axis=0)
        start = [None] * self.n_groups if previous is None else previous.reshape(W.shape)
        return np.concatenate([self.inner.covariances(*one) for one in zip(W, n, start, strict=True)])

    def n_free(self, K: int, d: int) -> int:
        """As in the parent class, of all mixtures."""
        return self.n_groups * self.inner.n_free(K // self.n_groups, d)

    def to_vector(self, covariance: Array) -> Array:
        """As in the parent class, of one mixture after another."""
        return np.concatenate([self.inner.to_vector(C) for C in np.split(covariance, self.n_groups)])

    def from_vector(self, vector: Array, K: int, d: int) -> Array:
        """As in the parent class."""
        parts = np.split(vector, self.n_groups)
        return np.concatenate([self.inner.from_vector(part, K // self.n_groups, d) for part in parts])
