"""Second derivatives of the log-likelihood of a model of the user's own, in its vector form.

Central differences over steps of about one standard error, extrapolated three times: the log-likelihood has fallen by
about 1/2 there, far above its rounding, and what truncation leaves is of the order of a standard error to the eighth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from emix.block import Array
from emix.em.driver import Source, parameters_of
from emix.errors import FitError, ModelError
from emix.inference.derivatives import extrapolated

SHARES = (0.5, 0.25, 0.125, 0.0625)
"""Steps, in units in which the log-likelihood has the curvature 1."""
SEARCHES = 12


@dataclass(frozen=True)
class SmoothCovariance:
    """Numbers of a model of the user's own with their covariance.

    Attributes
    ----------
    names : list of str
        Like `theta`, or `rates[0]` of an array.
    values, covariance, gradients : lists and arrays over them
        `gradients` (m, p) are with respect to the coordinates.
    condition : float
        Of the information, scaled to a unit diagonal.
    """

    names: list[str]
    values: list[float]
    covariance: Array
    gradients: Array
    condition: float
    model: Any
    vector: Array
    deviations: Array

    def carried(self, name: str, coordinate: int, level: float) -> tuple[float, float]:
        """The interval of one coordinate, carried over to a number that follows it alone."""
        z, ends = float(norm.ppf(0.5 + level / 2)), []
        for side in (-z, z):
            vector = self.vector.copy()
            vector[coordinate] += side * self.deviations[coordinate]
            ends.append(dict(_numbers(self.model.from_vector(vector)))[name])
        return min(ends), max(ends)


def smooth_covariance(model: Any, source: Source) -> SmoothCovariance:
    """Covariance of all numbers among the model's parameters.

    Raises
    ------
    FitError
        The log-likelihood has no maximum here.
    ModelError
        The model has no numeric parameters.
    """
    if parameters_of(model) is None:
        raise ModelError.needs_parameters(model)
    vector = np.atleast_1d(np.asarray(model.to_vector(), dtype=np.float64)).astype(np.float64)

    def log_likelihood(at: Array) -> float:
        return float(source.sum_over_chunks(model.from_vector(at).expect).log_likelihood)

    H, units = _hessian(log_likelihood, vector)
    scaled = -H * np.outer(units, units)
    own, vectors = np.linalg.eigh(scaled)
    if own[0] <= 1e-10:
        raise FitError.no_maximum(curvature=float(own[0]))
    covariance = (vectors / own) @ vectors.T * np.outer(units, units)
    deviations = np.sqrt(np.diagonal(covariance))
    numbers = _numbers(model)
    gradients = np.stack([_slope(model, vector, j, units[j]) for j in range(len(vector))], axis=1)
    return SmoothCovariance(
        [name for name, _ in numbers],
        [value for _, value in numbers],
        gradients @ covariance @ gradients.T,
        gradients,
        float(own[-1] / own[0]),
        model,
        vector,
        deviations,
    )


def _hessian(function: Callable[[Array], float], vector: Array) -> tuple[Array, Array]:
    """(p, p), and the units (p,) in which its diagonal is -1."""
    p, centre = len(vector), function(vector)
    units = 1e-3 * np.maximum(np.abs(vector), 1.0)

    def at(*moves: tuple[int, float]) -> float:
        moved = vector.copy()
        for j, share in moves:
            moved[j] += share * units[j]
        return function(moved)

    def bend(j: int, share: float) -> float:
        return at((j, share)) + at((j, -share)) - 2 * centre

    for j in range(p):
        for _ in range(SEARCHES):
            with np.errstate(all="ignore"):
                size = -bend(j, SHARES[0]) / SHARES[0] ** 2
            if not np.isfinite(size):
                units[j] /= 100
                continue
            factor = float(np.clip(1 / np.sqrt(max(size, 1e-300)), 1e-3, 100.0))
            units[j] *= factor
            if 0.9 < factor < 1.1:
                break
    H = np.zeros((p, p))
    for j in range(p):
        H[j, j] = float(extrapolated([np.array(bend(j, share) / share**2) for share in SHARES]))
        for i in range(j):
            mixed = []
            for share in SHARES:
                corners = at((i, share), (j, share)) + at((i, -share), (j, -share))
                corners -= at((i, share), (j, -share)) + at((i, -share), (j, share))
                mixed.append(np.array(corners / (4 * share**2)))
            H[i, j] = H[j, i] = float(extrapolated(mixed))
    return H / np.outer(units, units), units


def _slope(model: Any, vector: Array, j: int, unit: float) -> Array:
    """(m,) derivatives of the model's numbers by one coordinate."""
    sides = []
    for share in SHARES:
        ends = []
        for sign in (1.0, -1.0):
            moved = vector.copy()
            moved[j] += sign * share * unit
            ends.append(np.array([value for _, value in _numbers(model.from_vector(moved))]))
        sides.append((ends[0] - ends[1]) / (2 * share * unit))
    return extrapolated(sides)


def _numbers(model: Any) -> list[tuple[str, float]]:
    """Name and value of every number among the parameters."""
    found = []
    for name, value in (parameters_of(model) or {}).items():
        array = np.asarray(value, dtype=np.float64)
        for index in np.ndindex(*array.shape):
            label = f"{name}[{', '.join(map(str, index))}]" if index else name
            found.append((label, float(array[index])))
    return found
