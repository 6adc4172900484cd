"""The weighted maximum likelihood of one component in one column, for a distribution of scipy.stats.

Coordinates are those of the parameters' spaces, mostly logarithms; the location is taken about the mean of the values,
in units of their standard deviation, so that 1 is a large step in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from emix.block import Array
from emix.errors import DegenerateError, RootNotFoundError
from emix.families.base import VARIANCE_FLOOR
from emix.families.climb import climb
from emix.families.scipy_law import Law, starts
from emix.spaces import Space

TRIED = 3
"""Of the parameters to start from: so many of the best are climbed from."""
ENOUGH = 1e-10
"""Log-likelihood still to be gained by an M-step at most, total, in nats: far below the tolerance of any fit."""
STEEP = 1e6
"""Density, in units of the column's standard deviation, beyond which the climb does not go; a tenth of it is a collapse
onto one value (a normal component with 4e-6 of the column's standard deviation)."""
ROUNDED = 1e-8
"""By which the probabilities of different counts may add up to more than 1. Far out SciPy's formulas lose all digits
(the negative binomial's at n = 1e14 gains 0.4 nats a row), and a climb would end where they err most."""
FARTHEST = 60.0
"""Of a coordinate, which is mostly a logarithm."""


class Where(NamedTuple):
    """The component and the column that are fitted, for messages, and the whole column's standard deviation."""

    component: int
    column: str
    unit: float


def maximum(
    law: Law,
    free: Mapping[str, Space],
    held: Mapping[str, float],
    values: Array,
    weight: Array,
    where: Where,
    first: Mapping[str, float] | None,
) -> dict[str, float]:
    """The parameters of the highest likelihood of values (V,) with weights: never below that of `first`.

    Without `first` several parameters are started from. A maximum beside a density without bound is preferred to it.

    Raises
    ------
    DegenerateError
        The values are all but equal, or the density rises without bound, or nothing that is tried allows all values.
    RootNotFoundError
        The climb did not end.
    """
    total = float(weight.sum())
    centre, spread = _middle(law, values, weight, where)
    limit = np.log(STEEP / where.unit) if "loc" in free and not law.is_discrete else np.inf
    is_bounded = np.array([name != "loc" for name in free])

    def at(point: Array) -> dict[str, float]:
        own = dict(held)
        for u, (name, space) in zip(point, free.items(), strict=True):
            own[name] = centre + float(u) * spread if name == "loc" else _from_coordinate(space, u)
        return own

    def height(point: Array) -> float:
        if not (np.abs(point[is_bounded]) < FARTHEST).all():
            return -np.inf
        log_density = law.log_density(values, at(point))
        if law.is_discrete and not np.exp(np.minimum(log_density, 1.0)).sum() <= 1 + ROUNDED:
            return -np.inf
        found = float(weight @ log_density) / total if (log_density < limit).all() else -np.inf
        return found if np.isfinite(found) else -np.inf

    tried = starts(law, held, values, weight) if first is None else [first]
    points = []
    for one in tried:
        scaled = [
            (one[n] - centre) / spread if n == "loc" else s.to_vector(np.array([one[n]]))[0] for n, s in free.items()
        ]
        points.append(np.array(scaled, dtype=np.float64))
    heights = np.array([height(point) if np.isfinite(point).all() else -np.inf for point in points])
    best = [i for i in np.argsort(-heights, kind="stable")[:TRIED] if np.isfinite(heights[i])]
    if not best:
        raise DegenerateError.nowhere(component=where.component, column=where.column, distribution=law.name)
    ended = [climb(height, points[i], ENOUGH / max(total, 1.0)) for i in best]
    heads = [law.log_density(values, at(one.point)) for one in ended]
    is_sound = [bool(head.max() < limit - np.log(10)) for head in heads]
    i = max(range(len(ended)), key=lambda i: (is_sound[i], ended[i].is_converged, ended[i].value))
    if not is_sound[i]:
        steepest = float(values[np.argmax(heads[i])])
        raise DegenerateError.unbounded(
            component=where.component, column=where.column, distribution=law.name, at=steepest, weight=total
        )
    if not ended[i].is_converged:
        raise RootNotFoundError.scipy_maximum(
            distribution=law.name, component=where.component, column=where.column, last=at(ended[i].point)
        )
    return at(ended[i].point)


def _from_coordinate(space: Space, u: float) -> float:
    return float(space.from_vector(np.array([u]), np.zeros(1))[0][0])


def _middle(law: Law, values: Array, weight: Array, where: Where) -> tuple[float, float]:
    """Mean and standard deviation of the weighted values; 1 for counts that are all equal.

    Raises
    ------
    DegenerateError
        There is no spread, of a continuous one: the density would rise without bound.
    """
    total = float(weight.sum())
    mean = float(weight @ values) / total
    variance = float(weight @ (values - mean) ** 2) / total
    if not law.is_discrete and not variance > VARIANCE_FLOOR * where.unit**2:
        ratio = max(variance / where.unit**2, 0.0)
        raise DegenerateError.collapsed(component=where.component, column=where.column, ratio=ratio, weight=total)
    return mean, float(np.sqrt(variance)) if variance > 0 else 1.0
