"""The maximum of a function of few unconstrained coordinates that only its values are known of.

Newton's method with derivatives from differences: a model that is 1e-4 away is there after two steps, which is where
the M-steps of a fit begin. Where the curvature is not that of a maximum its eigenvalues are taken by their size, so
that the step still climbs. Where a neighbour is impossible, or nothing is gained, SciPy's simplex takes over.
Source: Nocedal & Wright (2006), Numerical Optimization, 2nd ed., sections 3.4 and 8.1; Nelder & Mead (1965), Computer
Journal 7, 308-313.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from emix.block import Array

DIFFERENCE = 1e-4
"""Of the differences, in units of a coordinate: their squares are the truncation, 1e-16 / their squares the rounding of
a second derivative, 1e-8 each; a coordinate is then right to about 1e-9."""
LONGEST = 2.0
"""Of a step, in units of a coordinate."""
NOISE = 8 * float(np.finfo(np.float64).eps)
"""Of values, relative."""
MAX_NEWTON = 60
HALVINGS = 30
SIMPLEXES = 5
"""Simplexes one after another at most: each begins where the last ended, with its full size."""


class Summit(NamedTuple):
    """Where a climb ended."""

    point: Array
    value: float
    is_converged: bool


Height = Callable[[Array], float]
"""What is climbed; -inf where it is not defined."""


def climb(height: Height, start: Array, enough: float) -> Summit:
    """The local maximum above `start`, never lower than there but for rounding; less than `enough` is left to gain.

    Coordinates are in units in which 1 is a large step.
    """
    first = _newton(height, start, enough)
    return first if first.is_converged else _simplexes(height, first, enough)


def _newton(height: Height, start: Array, enough: float) -> Summit:
    point, value = start, height(start)
    for _ in range(MAX_NEWTON):
        slope, curvature = _differences(height, point, value)
        if not (np.isfinite(slope).all() and np.isfinite(curvature).all()):
            break
        eigenvalues, axes = np.linalg.eigh(curvature)
        rounding = np.finfo(np.float64).eps * max(abs(value), 1.0) / DIFFERENCE**2
        sizes = np.maximum(np.abs(eigenvalues), 10 * rounding)
        along = axes.T @ slope
        step = axes @ (along / sizes)
        promised = float((along**2 / sizes).sum() / 2)
        is_at_top = promised <= enough and bool((eigenvalues <= 10 * rounding).all())
        step *= min(1.0, LONGEST / float(np.abs(step).max(initial=LONGEST)))
        if is_at_top:  # the last step is too short for values to tell, and takes the error from 1e-8 to 1e-11
            new = height(point + step)
            return (
                Summit(point + step, new, True)
                if new >= value - NOISE * max(abs(value), 1.0)
                else Summit(point, value, True)
            )
        for _ in range(HALVINGS):
            if (new := height(point + step)) > value:
                point, value = point + step, new
                break
            step = step / 2
        else:
            return Summit(point, value, False)
    return Summit(point, value, False)


def _differences(height: Height, point: Array, value: float) -> tuple[Array, Array]:
    """Slope (p,) and curvature (p, p)."""
    p, h = len(point), DIFFERENCE
    e = h * np.eye(p)
    up, down = (np.array([height(point + sign * one) for one in e]) for sign in (1, -1))
    slope, curvature = (up - down) / (2 * h), np.diag(up - 2 * value + down) / h**2
    if not (np.isfinite(up).all() and np.isfinite(down).all()):
        return np.full(p, np.nan), curvature
    for i in range(p):
        for j in range(i):
            both = height(point + e[i] + e[j]) + height(point - e[i] - e[j])
            mixed = (both - up[i] - down[i] - up[j] - down[j] + 2 * value) / (2 * h**2)
            curvature[i, j] = curvature[j, i] = mixed
    return slope, curvature


def _simplexes(height: Height, best: Summit, enough: float) -> Summit:
    """Simplexes until one gains no more than `enough`, each with an attempt of Newton's method from its end."""
    for size in np.geomspace(0.5, 1e-3, SIMPLEXES):
        p = len(best.point)
        simplex = best.point + size * np.concatenate([np.zeros((1, p)), np.eye(p)])
        options = {
            "initial_simplex": simplex, "xatol": 1e-9, "fatol": enough, "maxfev": 1000 * p, "adaptive": True
        }  # fmt: skip
        found = minimize(lambda u: -height(u), best.point, method="Nelder-Mead", options=options)
        gained = -float(found.fun) - best.value
        if gained > 0:
            best = Summit(found.x, -float(found.fun), False)
        polished = _newton(height, best.point, enough)
        if polished.is_converged or (found.success and gained <= enough):
            return polished._replace(is_converged=True)
        best = polished
    return best
