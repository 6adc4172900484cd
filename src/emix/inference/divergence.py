"""Distances of two members of a family, in closed form; those of independent columns add.

    Bhattacharyya        - log of the integral of sqrt(f g)
    Kullback-Leibler     the integral of (f - g) (log f - log g): both directions added
For an exponential family with log-normaliser A they are (A(s) + A(t)) / 2 - A((s + t) / 2) and (s - t) . (mean T
under s - mean T under t); below each with what cancels written out. Both are 0 for equal members; the second, and the
first where no row is possible under both, can be infinite.
Source: Kailath (1967), IEEE Transactions on Communication Technology 15, 52-60; Nielsen & Boltz (2011), IEEE
Transactions on Information Theory 57, 5455-5466.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaln, digamma, gammaln

from emix.block import Array
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Exponential,
    Family,
    Gamma,
    Geometric,
    InverseGaussian,
    LogNormal,
    Normal,
    Poisson,
)
from emix.families.columnwise import by_column

Pair = tuple[Array, Array]
"""A parameter of all pairs of components: (K, 1, d) and (1, K, d)."""


def column_distances(family: Family, measure: str) -> Array:
    """Distance of each pair of components of a family with independent columns, (K, K).

    Parameters
    ----------
    family : Family
        With parameters.
    measure : {'bhattacharyya', 'kullback-leibler'}
        Which of the two.

    Raises
    ------
    ModelError
        There is no closed form here.
    """
    index = 0 if measure == "bhattacharyya" else 1
    if isinstance(family, Categorical):
        one = (_overlap, _exchange)[index]
        return np.asarray(sum(one(p[:, None], p[None]) for p in family.tables))
    p = [by_column(value) for value in family.parameters.values() if isinstance(value, np.ndarray)]
    pairs = [(value[:, None], value[None]) for value in p]
    found: Array
    match family:
        case Bernoulli():
            n = len(family.columns) if family.shared and family.binding is not None else 1
            found = n * _of_tosses(pairs[0], index)
        case Binomial() if not isinstance(family.n_trials, str):
            found = family.n_trials * _of_tosses(pairs[0], index)
        case Normal() | LogNormal():  # a distance does not change when both are mapped by the same function
            found = (_normal_bhattacharyya, _normal_kullback_leibler)[index](*pairs)
        case _ if type(family) in CLOSED:
            found = CLOSED[type(family)][index](*pairs)
        case _:
            known = "normal, log-normal, gamma, exponential, inverse Gaussian, beta, Poisson, geometric, binomial"
            requirement = f"components that are {known}, Bernoulli or categorical, or Columns of such"
            raise ModelError.argument(name="model", requirement=requirement, found=family.name)
    return np.asarray(found.sum(axis=2))


# -- probabilities -----------------------------------------------------------------------------------------------------


def _overlap(p: Array, q: Array) -> Array:
    """- log of sum of sqrt(p q) over the last axis; infinite where there is nothing in common."""
    common = np.minimum(np.sqrt(p * q).sum(axis=-1), 1.0)
    return np.where(common > 0, -np.log(np.where(common > 0, common, 1.0)), np.inf)


def _exchange(p: Array, q: Array) -> Array:
    """Sum of (p - q)(log p - log q); infinite where one of them is 0 and the other is not."""
    is_apart = ((p > 0) != (q > 0)).any(axis=-1)
    both = (p > 0) & (q > 0)
    ratio = np.log(np.where(both, p, 1.0)) - np.log(np.where(both, q, 1.0))
    return np.where(is_apart, np.inf, ((p - q) * ratio).sum(axis=-1))


def _of_tosses(pair: Pair, index: int) -> Array:
    """Of a toss with these probabilities."""
    p, q = (np.stack([value, 1 - value], axis=-1) for value in pair)
    return (_overlap, _exchange)[index](p, q)


# -- numbers -----------------------------------------------------------------------------------------------------------


def _normal_bhattacharyya(mean: Pair, variance: Pair) -> Array:
    m, (v, w) = mean[0] - mean[1], variance
    return m * m / (4 * (v + w)) + 0.5 * np.log((v + w) / 2) - 0.25 * (np.log(v) + np.log(w))


def _normal_kullback_leibler(mean: Pair, variance: Pair) -> Array:
    m, (v, w) = mean[0] - mean[1], variance
    return ((v - w) ** 2 / (v * w) + m * m * (1 / v + 1 / w)) / 2


def _poisson_bhattacharyya(rate: Pair) -> Array:
    return (np.sqrt(rate[0]) - np.sqrt(rate[1])) ** 2 / 2


def _poisson_kullback_leibler(rate: Pair) -> Array:
    return _exchange(*(value[..., None] for value in rate))


def _exponential_bhattacharyya(rate: Pair) -> Array:
    a, b = rate
    return np.log((a + b) / 2) - 0.5 * (np.log(a) + np.log(b))


def _exponential_kullback_leibler(rate: Pair) -> Array:
    a, b = rate
    return (a - b) ** 2 / (a * b)


def _gamma_bhattacharyya(shape: Pair, rate: Pair) -> Array:
    (a, b), (r, s) = shape, rate
    middle = (a + b) / 2
    of_rates = middle * np.log((r + s) / 2) - (a * np.log(r) + b * np.log(s)) / 2
    return np.asarray(of_rates + (gammaln(a) + gammaln(b)) / 2 - gammaln(middle))


def _gamma_kullback_leibler(shape: Pair, rate: Pair) -> Array:
    (a, b), (r, s) = shape, rate
    of_logs = digamma(a) - np.log(r) - digamma(b) + np.log(s)
    return np.asarray((a - b) * of_logs - (r - s) * (a / r - b / s))


def _inverse_gaussian_bhattacharyya(mean: Pair, shape: Pair) -> Array:
    (m, n), (a, b) = mean, shape
    middle, pull = (a + b) / 2, (a / m**2 + b / n**2) / 2
    return np.sqrt(middle * pull) - (a / m + b / n) / 2 + 0.5 * np.log(middle) - 0.25 * (np.log(a) + np.log(b))


def _inverse_gaussian_kullback_leibler(mean: Pair, shape: Pair) -> Array:
    (m, n), (a, b) = mean, shape
    return -0.5 * ((a / m**2 - b / n**2) * (m - n) + (a - b) * (1 / m + 1 / a - 1 / n - 1 / b))


def _beta_bhattacharyya(alpha: Pair, beta: Pair) -> Array:
    (a, b), (c, d) = alpha, beta
    return np.asarray((betaln(a, c) + betaln(b, d)) / 2 - betaln((a + b) / 2, (c + d) / 2))


def _beta_kullback_leibler(alpha: Pair, beta: Pair) -> Array:
    (a, b), (c, d) = alpha, beta
    whole = digamma(a + c) - digamma(b + d)
    return np.asarray((a - b) * (digamma(a) - digamma(b) - whole) + (c - d) * (digamma(c) - digamma(d) - whole))


def _geometric_bhattacharyya(probability: Pair) -> Array:
    p, q = probability
    is_same, is_apart = p == q, (p == 0) | (q == 0)
    rest = np.where(is_same | is_apart, 1.0, 1 - np.sqrt((1 - p) * (1 - q)))
    common = np.where(is_same | is_apart, 1.0, np.sqrt(p * q)) / rest
    return np.where(is_apart & ~is_same, np.inf, -np.log(common))


def _geometric_kullback_leibler(probability: Pair) -> Array:
    p, q = probability
    is_same = p == q
    is_apart = ~is_same & ((p == 0) | (q == 0) | (p == 1) | (q == 1))
    p, q = (np.where(is_same | is_apart, 0.5, value) for value in probability)
    return np.where(is_apart, np.inf, (np.log1p(-p) - np.log1p(-q)) * (1 / p - 1 / q))


CLOSED: dict[type[Family], tuple[Callable[..., Array], Callable[..., Array]]] = {
    Poisson: (_poisson_bhattacharyya, _poisson_kullback_leibler),
    Exponential: (_exponential_bhattacharyya, _exponential_kullback_leibler),
    Gamma: (_gamma_bhattacharyya, _gamma_kullback_leibler),
    InverseGaussian: (_inverse_gaussian_bhattacharyya, _inverse_gaussian_kullback_leibler),
    Beta: (_beta_bhattacharyya, _beta_kullback_leibler),
    Geometric: (_geometric_bhattacharyya, _geometric_kullback_leibler),
}
"""Bhattacharyya and Kullback-Leibler distance, from the pairs of each parameter."""
