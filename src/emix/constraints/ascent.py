"""A maximum within a box, by projected Newton steps: what has no closed form.

Coordinates at a bound that the objective would push them through are held; in the others Newton's step is taken, with
the curvature's eigenvalues made negative, cut to `LONGEST`, projected onto the box, and halved until it gains. Blocks
of coordinates that the objective does not mix are climbed side by side.
Source: Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, SIAM Journal on
Control and Optimization 20, 221-246.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import RootNotFoundError

MAX_STEPS = 200
MAX_HALVINGS = 50
LONGEST = 2.0
"""Of a step, in the unit of its coordinate (a factor of e^2 of what is positive)."""
PRECISION = 1e-13
"""Steps end where Newton's step promises less than this per unit of weight, in nats; that last one is still taken, so
that parameters are good to far more digits than its root. The rounding of a row's log-likelihood is about 1e-15."""


FLAT = 1e-10
"""Curvature per unit of weight below which there is none: differences of second order tell it no better."""


class Objective(Protocol):
    """What is to be climbed, as a sum over B blocks of V coordinates."""

    @property
    def block(self) -> NDArray[np.intp]:
        """(V,) the block of each coordinate."""

    @property
    def weight(self) -> Array:
        """(B,) in which precision is meant."""

    def value(self, u: Array) -> Array:
        """(B,) at coordinates (V,)."""

    def slopes(self, u: Array) -> tuple[Array, Array]:
        """Gradient (V,) and curvature (V, V)."""


def climb(
    objective: Objective, u: Array, lower: Array, upper: Array, *, what: str, check: Callable[[Array], None]
) -> Array:
    """The maximum (V,) within lower <= u <= upper, from a point within.

    Parameters
    ----------
    objective : Objective
        Two times differentiable.
    u, lower, upper : ndarray of shape (V,)
        The start, and the box; infinite where there is no bound.
    what : str
        Of what it is the maximum, for the error.
    check : callable
        Is shown each point, and may raise: that a component collapsed.

    Raises
    ------
    RootNotFoundError
        A step still promises more than 1e-13 nats per unit of weight after 200 steps.
    """
    block, weight = objective.block, objective.weight
    members = [np.flatnonzero(block == b) for b in range(len(weight))]
    value = objective.value(u)
    is_running = np.ones(len(weight), dtype=bool)
    promised = np.full(len(weight), np.inf)
    for _ in range(MAX_STEPS):
        gradient, curvature = objective.slopes(u)
        step = np.zeros_like(u)
        for b in np.flatnonzero(is_running):
            i = members[b]
            H = curvature[np.ix_(i, i)]
            step[i], promised[b] = _step(u[i], gradient[i], H, lower[i], upper[i], FLAT * weight[b])
        is_last = promised <= PRECISION * weight
        length = np.ones(len(weight))
        is_open = is_running.copy()
        new, reached = u.copy(), value.copy()
        noise = 1e-15 * (weight + np.abs(value))
        for _ in range(MAX_HALVINGS):
            tried = np.clip(u + length[block] * step, lower, upper)
            tried = np.where(is_open[block], tried, new)
            found = objective.value(tried)
            gains = is_open & (found >= value - noise)
            new = np.where(gains[block], tried, new)
            reached = np.where(gains, found, reached)
            is_open &= ~gains
            if not is_open.any():
                break
            length = np.where(is_open, length / 2, length)
        u, value = new, reached
        check(u)
        is_running &= ~is_last
        if not is_running.any():
            return u
    raise RootNotFoundError.constrained(what=what, max_iter=MAX_STEPS, left=float(promised[is_running].max()))


def _step(u: Array, gradient: Array, curvature: Array, lower: Array, upper: Array, least: float) -> tuple[Array, float]:
    """An ascent direction that does not leave the box at once, and what the quadratic model promises of it."""
    is_free = ~((u <= lower) & (gradient <= 0) | (u >= upper) & (gradient >= 0))
    step = np.zeros_like(u)
    while is_free.any():
        values, vectors = np.linalg.eigh(curvature[np.ix_(is_free, is_free)])
        size = np.maximum(np.abs(values), max(least, 1e-14 * float(np.abs(values).max()), 1e-300))
        step[:] = 0.0
        step[is_free] = vectors @ ((vectors.T @ gradient[is_free]) / size)
        is_blocked = is_free & ((u <= lower) & (step < 0) | (u >= upper) & (step > 0))
        if not is_blocked.any():
            break
        is_free &= ~is_blocked
    promised = float(gradient @ step) / 2
    return step * min(1.0, LONGEST / max(float(np.abs(step).max(initial=0.0)), 1e-300)), promised
