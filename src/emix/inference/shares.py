"""What the mixing proportions add to information and scores.

In stick-breaking coordinates log p_k = log s_k + sum of log (1 - s_j) over j < k, s the logistic of the coordinates;
under constraints their coordinates are others, and derivatives are taken by differences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from emix.block import Array
from emix.model import Mixture


def _sticks(model: Mixture) -> Array:
    """(K - 1,) what each takes of what is left."""
    p = model.latent.mixing_proportions
    tail = np.cumsum(p[::-1])[::-1]
    return np.asarray(np.divide(p, tail, out=np.zeros_like(p), where=tail > 0)[:-1])


def share_slopes(model: Mixture) -> Array:
    """(K, K - 1) derivatives of log p_k, or (K, 0) where the proportions are fixed."""
    K = model.latent_size
    if model.latent.n_free_parameters == 0:
        return np.zeros((K, 0))
    if model.latent.constraints:
        return np.stack([_central(lambda u: _log_shares(model, u), u, one, 1) for u, one in _moves(model)], axis=1)
    s = _sticks(model)
    k, j = np.arange(K)[:, None], np.arange(K - 1)
    return np.where(k == j, 1 - s, np.where(k > j, -s, 0.0))


def share_information(model: Mixture, counts: Array) -> Array:
    """(K - 1, K - 1) complete-data information, with the prior's: binomial, of the rows left for each stick."""
    if model.latent.pseudo_counts is not None:
        counts = counts + model.latent.pseudo_counts
    if model.latent.constraints:
        moves = _moves(model)
        found = np.zeros((len(moves), len(moves)))
        for i, (u, one) in enumerate(moves):
            for j, (_, other) in enumerate(moves[: i + 1]):
                both = [_central(lambda v: _log_shares(model, v), u, one + sign * other, 2) for sign in (1, -1)]
                found[i, j] = found[j, i] = -counts @ (both[0] - both[1]) / 4
        return found
    s = _sticks(model)
    left = np.cumsum(counts[::-1])[::-1][:-1]
    return np.diag(left * s * (1 - s))


def _log_shares(model: Mixture, vector: Array) -> Array:
    """(K,) log p_k at coordinates of proportions under constraints; of a share of 0, which is held, 0."""
    p = model.latent.from_vector(vector).mixing_proportions
    return np.where(p > 0, np.log(np.where(p > 0, p, 1.0)), 0.0)


def _moves(model: Mixture) -> list[tuple[Array, Array]]:
    """The coordinates of the proportions, and the directions of each."""
    u = model.latent.to_vector()
    return [(u, one) for one in np.eye(len(u))]


def _central(fn: Callable[[Array], Array], at: Array, along: Array, order: int) -> Array:
    """First or second derivative of fn along a direction, by central differences with two orders taken off."""
    found = []
    for h in (1e-2, 5e-3, 2.5e-3):
        ahead, behind = fn(at + h * along), fn(at - h * along)
        found.append((ahead - behind) / (2 * h) if order == 1 else (ahead - 2 * fn(at) + behind) / h**2)
    once = [(4 * b - a) / 3 for a, b in itertools.pairwise(found)]
    return (16 * once[1] - once[0]) / 15
