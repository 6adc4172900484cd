"""Probabilities of boxes: each column within an interval of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emix.block import Array, Schema
from emix.errors import ModelError
from emix.families import Categorical, Columns, Family, MultivariateNormal, StudentT
from emix.inference.columns import frozen
from emix.inference.conditional import bound, positions, without_noise
from emix.model import Mixture
from emix.results import Fitted

TOLERANCE = 1e-7
"""Absolute error of an integral over correlated columns that SciPy is asked for."""
POINTS = 200_000
"""At most so many points per column."""


def interval_probability(model: Fitted, low: Any, high: Any) -> float:
    """Probability of a box: each column from `low` to `high`, both included.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        As in `marginal`, without noise; or `Binomial` with a number of tosses. Columns that are bounded need a
        distribution function (angles and censored times have none here).
    low, high : float, array-like of shape (d,), or dict of column to float
        Bounds, also infinite; one number holds for all columns, and a column that a dict leaves out is unbounded. A
        category is bounded by naming one and the same level in both.

    Returns
    -------
    float
        Exact to rounding for independent columns; within about 1e-6 where SciPy integrates over correlated ones.

    Raises
    ------
    ModelError
        A bound is no number, one lies above the other, or the family has no such thing.

    Examples
    --------
    >>> from emix import Mixture, Normal, interval_probability
    >>> round(interval_probability(Mixture(Normal([0.0], [1.0])), -1.96, 1.96), 3)
    0.95
    """
    model = without_noise(bound(model))
    lower, upper = _bounds(model, "low", low, -np.inf), _bounds(model, "high", high, np.inf)
    if not (lower <= upper).all():
        raise ModelError.argument(name="low", requirement="bounds below those of `high`", found=low)
    return float(model.latent.mixing_proportions @ box_probability(model.family, lower, upper))


def _bounds(model: Mixture, name: str, value: Any, unbounded: float) -> Array:
    """(d,) bounds; of a category the code of its level."""
    names, binding = model.family.columns, model.family.binding
    levels = (None,) * len(names) if binding is None else binding.schema.levels
    if not isinstance(value, Mapping):
        for column, known in zip(names, levels, strict=True):
            if known is not None and len(names) > 1:
                requirement = f"a dict of columns and bounds, as '{column}' holds categories"
                raise ModelError.argument(name=name, requirement=requirement, found=value)
    try:
        if isinstance(value, Mapping):
            bounds = np.full(len(names), unbounded)
            for column, one in value.items():
                (j,) = positions(model, column)
                bounds[j] = float(one) if levels[j] is None else _code(one, levels[j] or (), names[j])
        else:
            bounds = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(names),))
    except (TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError.argument(name=name, requirement=f"a number, or {len(names)} of them", found=value) from error
    if np.isnan(bounds).any():
        raise ModelError.argument(name=name, requirement="numbers, or inf", found=value)
    return bounds


def _code(level: Any, levels: Sequence[Any], column: str) -> float:
    if level not in levels:
        raise ModelError.choice(what=f"level of '{column}'", found=level, available=levels)
    return float(levels.index(level))


def box_probability(family: Family, low: Array, high: Array) -> Array:
    """Probability that each column lies from low (d,) to high (d,), both included, under each component: (K,).

    Of categories the bounds are codes, and equal.
    """
    is_bounded = np.isfinite(low) | np.isfinite(high) | (low == high)
    if isinstance(family, Columns):
        found = np.ones(family.n_components or 0)
        groups = family.column_groups(Schema(family.columns, (None,) * len(low)))
        for part, group in zip(family.parts, groups, strict=True):
            if is_bounded[group].any():
                found *= box_probability(part.family, low[group], high[group])
        return found
    if isinstance(family, Categorical):
        return _of_levels(family, is_bounded, low, high)
    if isinstance(family, MultivariateNormal | StudentT):
        columns = np.flatnonzero(is_bounded)
        if len(columns) == 0:
            return np.ones(len(family.mean))
        square = np.ix_(np.arange(len(family.mean)), columns, columns)
        return _correlated(family, family.mean[:, columns], square, low[columns], high[columns])
    cells = frozen(family)
    below = np.ceil(low) - 1 if family.support.is_whole else low
    return np.asarray(_between(cells, below, high).prod(axis=1))


def _of_levels(family: Categorical, is_bounded: NDArray[np.bool_], low: Array, high: Array) -> Array:
    """Probability of the levels with these codes, (K,)."""
    found = np.ones(len(family.tables[0]))
    for j in np.flatnonzero(is_bounded):
        if low[j] != high[j]:
            requirement = f"one and the same level of '{family.columns[j]}' in `low` and `high`"
            raise ModelError.argument(name="bounds", requirement=requirement, found="two, or one alone")
        found *= family.tables[j][:, int(low[j])]
    return found


def _between(cells: Any, low: Array, high: Array) -> Array:
    """P(low < x <= high), from whichever tail is the shorter: far out 1 - cdf has no digits left."""
    under, over = cells.cdf(low), cells.sf(low)
    lower, upper = cells.cdf(high) - under, over - cells.sf(high)
    return np.asarray(np.clip(np.where(under > 0.5, upper, lower), 0.0, 1.0))


def _correlated(family: MultivariateNormal | StudentT, mean: Array, square: Any, low: Array, high: Array) -> Array:
    """The same for correlated columns: as a product where they are not, by SciPy's integral where they are."""
    is_t = isinstance(family, StudentT)
    matrix = (family.scale if isinstance(family, StudentT) else family.covariance)[square]
    d, v = len(low), family.degrees_of_freedom if isinstance(family, StudentT) else np.full(len(mean), np.inf)
    spread = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    is_apart = d == 1 or (not is_t and (matrix == matrix * np.eye(d)).all())
    if is_apart:
        cells = stats.t(v[:, None], mean, spread) if is_t else stats.norm(mean, spread)
        return np.asarray(_between(cells, low, high).prod(axis=1))
    found = []
    zero, limit = np.zeros(d), POINTS * d
    frozen_normal: Any = stats.multivariate_normal
    for m, C, s, df in zip(mean, matrix, spread, v, strict=True):  # in units of the component: the error is absolute
        R, a, b = C / np.outer(s, s), (low - m) / s, (high - m) / s
        if is_t:
            rng = np.random.default_rng(0)
            one = stats.multivariate_t.cdf(b, zero, R, df, maxpts=limit, lower_limit=a, random_state=rng)
        else:
            cell = frozen_normal(zero, R, seed=0, maxpts=limit, abseps=TOLERANCE, releps=TOLERANCE)
            one = cell.cdf(b, lower_limit=a)
        found.append(float(np.clip(one, 0.0, 1.0)))
    return np.array(found)
