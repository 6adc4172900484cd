"""Probabilities that sum to 1, of the highest likelihood under constraints.

    maximise  sum_g n_g log p_g    so that  sum_g m_rg p_g = 1 for each sum r,    l <= p <= u,    held p as they are
One sum, or sums that are all the same: p_g = clip(n_g w / m_g, l_g, u_g), with the w for which they sum to 1. The sum
is piecewise linear in w, so that its root is found exactly between two of its corners ("water-filling").
Sums that share some of their entries: the dual, convex in one multiplier per sum, by Newton's method.
Source: Boyd & Vandenberghe (2004), Convex Optimization, sections 5.5.3 and 5.7.
"""

from __future__ import annotations

import numpy as np

from emix.block import Array
from emix.constraints.groups import Groups
from emix.errors import DegenerateError, RootNotFoundError

MAX_NEWTON = 200
TOLERANCE = 1e-14
"""Of sums of probabilities that share entries, from 1."""


def simplex_maximum(counts: Array, groups: Groups, previous: Array | None) -> Array:
    """The probabilities (K, m) of the highest likelihood under constraints, from counts (K, m).

    Where a sum has no counts at all its previous probabilities stay: no row contradicts them.

    Raises
    ------
    DegenerateError
        There are no counts and no previous probabilities.
    RootNotFoundError
        Sums that share entries were not brought to 1.
    """
    assert groups.rows is not None
    n = np.maximum(groups.sums(counts), 0.0)  # of extrapolated sums a count may be below 0
    lower = np.where(groups.is_free, groups.lower, groups.value)
    upper = np.where(groups.is_free, groups.upper, groups.value)
    A = groups.multiplicity
    p = np.zeros(len(n))
    for sums in groups.linked:
        own = np.flatnonzero(A[sums].any(axis=0))
        if not n[own].any():
            if previous is None:
                k = int(np.argwhere(np.isin(groups.group, own))[0, 0])
                raise DegenerateError.empty(component=k)
            p[own] = groups.projected(previous).ravel()[groups.first[own]]
        elif len(sums) == 1:
            p[own] = water_filling(n[own], A[sums[0], own], lower[own], upper[own])
        else:
            p[own] = _shared(n[own], A[np.ix_(sums, own)], lower[own], upper[own])
    return p[groups.group]


def water_filling(n: Array, m: Array, lower: Array, upper: Array, total: float = 1.0) -> Array:
    """P = clip(n w / m, lower, upper) with sum m p = total; all arrays (G,), n >= 0 and m > 0.

    Where bounds force more than `lower` on entries without counts, which the likelihood does not tell apart, these are
    raised to one level.
    """
    has_counts = n > 0
    most = float(m @ np.where(has_counts, upper, lower))
    if most < total:
        p = np.where(has_counts, upper, lower)
        rest = ~has_counts
        if rest.any():
            left = total - float(m[rest == 0] @ p[rest == 0])
            p[rest] = water_filling(m[rest], m[rest], lower[rest], upper[rest], left)
        return p
    share = np.where(has_counts, n / m, 0.0)
    unit = np.where(has_counts, share, 1.0)
    corners = np.unique(np.concatenate([[0.0], (lower / unit)[has_counts], (upper / unit)[has_counts]]))
    reached = np.array([m @ np.clip(share * w, lower, np.where(has_counts, upper, lower)) for w in corners])
    i = int(np.searchsorted(reached, total))  # the first corner that reaches it
    if i == 0 or i >= len(corners):
        w = corners[min(i, len(corners) - 1)]
        return np.where(has_counts, np.clip(share * w, lower, upper), lower)
    middle = (corners[i - 1] + corners[i]) / 2
    is_open = has_counts & (share * middle > lower) & (share * middle < upper)
    p = np.where(has_counts, np.clip(share * middle, lower, upper), lower)
    left = total - float(m[~is_open] @ p[~is_open])
    p[is_open] = share[is_open] * (left / n[is_open].sum())
    return p


def _shared(n: Array, A: Array, lower: Array, upper: Array) -> Array:
    """The same for sums A p = 1 that share entries, by the dual in their multipliers."""
    multiplier = np.maximum(A @ n, 1e-300)
    has_counts = n > 0

    def at(multiplier: Array) -> tuple[float, Array, Array]:
        """Dual, its gradient 1 - A p, and p."""
        price = multiplier @ A
        with np.errstate(divide="ignore", invalid="ignore"):
            p = np.where(has_counts & (price > 0), n / np.where(price > 0, price, 1.0), upper)
        p = np.clip(np.where(has_counts | (price < 0), p, lower), lower, upper)
        gain = np.where(has_counts, n * np.log(np.where(p > 0, p, 1e-300)), 0.0)
        return float(gain.sum() - price @ p + multiplier.sum()), 1 - A @ p, p

    value, gradient, p = at(multiplier)
    for _ in range(MAX_NEWTON):
        if np.abs(gradient).max() <= TOLERANCE * A.shape[1]:
            return p
        price = multiplier @ A
        is_open = has_counts & (p > lower) & (p < upper)
        curvature = (A[:, is_open] * (p[is_open] / price[is_open])) @ A[:, is_open].T
        curvature.flat[:: len(A) + 1] += 1e-12 * max(float(np.trace(curvature)), 1e-300)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        for _ in range(60):
            reached = at(multiplier - size * step)
            if reached[0] <= value - 1e-4 * size * float(gradient @ step) + 1e-15 * abs(value):
                break
            size /= 2
        multiplier = multiplier - size * step
        value, gradient, p = reached
    raise RootNotFoundError.constrained(
        what="probabilities that share entries", max_iter=MAX_NEWTON, left=float(np.abs(gradient).max())
    )
