"""Unconstrained coordinates of the free entries of a parameter, a group of equal ones once.

Probabilities that sum to 1 with others of their own alone: stick-breaking logits of what is left beside those held.
Where sums share entries: linear coordinates along the directions that keep all sums, a chart of the neighbourhood.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emix.block import Array
from emix.constraints.groups import Groups
from emix.spaces import SIMPLEX


def vector_of(one: Groups, entries: Array, space: Any) -> Array:
    """Coordinates (n_free,) of entries (K, m)."""
    value = entries.ravel()[one.first]
    if one.rows is None:
        return np.asarray(space.to_vector(value[one.is_free]))
    A = one.multiplicity
    if not _is_disjoint(A):
        basis, start = _affine(one, A, value)
        return np.asarray(basis.T @ (value[one.is_free] - start))
    parts = [np.zeros(0)]
    for row in A:
        own = (row > 0) & one.is_free
        mass = row[own] * value[own]
        if own.any():
            parts.append(SIMPLEX.to_vector((mass / mass.sum() if mass.sum() > 0 else mass)[None]))
    return np.concatenate(parts)


def entries_of(one: Groups, entries: Array, space: Any, vector: Array) -> Array:
    """The inverse of `vector_of`; `entries` (K, m) say what is held."""
    value = entries.ravel()[one.first].copy()
    if one.rows is None:
        value[one.is_free] = space.from_vector(vector, value[one.is_free])[0]
        return value[one.group]
    A, used = one.multiplicity, 0
    if not _is_disjoint(A):
        basis, start = _affine(one, A, value)
        value[one.is_free] = start + basis @ vector
        return value[one.group]
    for row in A:
        own = (row > 0) & one.is_free
        if own.any():
            left = 1 - float(row[~own] @ value[~own])
            like = np.ones((1, int(own.sum())))
            mass, step = SIMPLEX.from_vector(vector[used:], like)
            value[own] = left * mass[0] / row[own]
            used += step
    return value[one.group]


def _is_disjoint(A: Array) -> bool:
    """Whether no group belongs to two different sums."""
    return bool((np.count_nonzero(A, axis=0) <= 1).all())


def _affine(one: Groups, A: Array, value: Array) -> tuple[Array, Array]:
    """Of sums that share entries: an orthonormal basis of the directions that keep them, and the point nearest to 0."""
    own, left = A[:, one.is_free], 1 - A[:, ~one.is_free] @ value[~one.is_free]
    _, s, Vt = np.linalg.svd(own)
    rank = int((s > 1e-12 * max(s[0], 1e-300)).sum()) if len(s) else 0
    return Vt[rank:].T, np.linalg.pinv(own) @ left
