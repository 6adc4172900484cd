"""Moments and probabilities of a family's components, by SciPy's distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from emix.block import Array
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Binomial,
    Exponential,
    Family,
    Gamma,
    Geometric,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
)
from emix.families.columnwise import by_column

TOLERANCE = 1e-7
"""Absolute error of an integral over correlated columns that SciPy is asked for."""
POINTS = 200_000
"""At most so many points per column."""


def frozen(family: Family) -> Any:
    """SciPy's distributions of the cells, an array of (K, d) of them.

    Raises
    ------
    ModelError
        The family is not of independent numeric columns, or its numbers of tosses differ from row to row.
    """
    p = {name: by_column(value) for name, value in family.parameters.items() if isinstance(value, np.ndarray)}
    match family:
        case Normal():
            return stats.norm(p["mean"], np.sqrt(p["variance"]))
        case LogNormal():
            return stats.lognorm(np.sqrt(p["log_variance"]), scale=np.exp(p["log_mean"]))
        case Gamma():
            return stats.gamma(p["shape"], scale=1 / p["rate"])
        case Exponential():
            return stats.expon(scale=1 / p["rate"])
        case Poisson():
            return stats.poisson(p["rate"])
        case Geometric():
            return stats.geom(p["probability"], loc=family.first - 1)
        case Bernoulli():
            d = 1 if family.binding is None else len(family.columns)
            return stats.bernoulli(np.broadcast_to(p["probability"], (len(p["probability"]), d)))
        case Binomial() if not isinstance(family.n_trials, str):
            return stats.binom(family.n_trials, p["probability"])
    raise ModelError.argument(
        name="model", requirement="numeric columns whose distribution SciPy knows", found=family.name
    )


def column_moments(family: Family) -> tuple[Array, Array]:
    """Mean and variance of each cell, each (K, d)."""
    cells = frozen(family)
    return np.asarray(cells.mean()), np.asarray(cells.var())


def box_probability(family: Family, low: Array, high: Array) -> Array:
    """Probability that each column lies from low (d,) to high (d,), both included, under each component: (K,)."""
    if isinstance(family, MultivariateNormal | StudentT):
        is_bounded = np.isfinite(low) | np.isfinite(high) | (low == high)
        columns = np.flatnonzero(is_bounded)
        if len(columns) == 0:
            return np.ones(len(family.mean))
        square = np.ix_(np.arange(len(family.mean)), columns, columns)
        return _correlated(family, family.mean[:, columns], square, low[columns], high[columns])
    cells = frozen(family)
    below = np.ceil(low) - 1 if family.support.is_whole else low
    return np.asarray(_between(cells, below, high).prod(axis=1))


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
