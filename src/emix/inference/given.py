"""Components of some columns, given others.

With g the given and t the wanted columns, m the mean and C the covariance of a normal component,
    mean  m_t + B (x_g - m_g), B = C_tg C_gg^-1        covariance  C_tt - B C_gt
A Student-t component has v + d_g degrees of freedom and that matrix, of its scale, times (v + delta_g) / (v + d_g).
Independent columns stay what they are.
Source: Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., section 2.5; Ding (2016), The
American Statistician 70, 293-295 (Student-t).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from emix.block import Array
from emix.errors import ModelError
from emix.families import Bernoulli, Categorical, Family, MultivariateNormal, NegativeBinomial, StudentT
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.fitting.use import bind_to_names
from emix.inference.columns import column_moments
from emix.model import Mixture

CLOSED = ("full", "tied", "diag", "spherical", "E", "V", "EII", "VII", "EEI", "VEI", "VVI", "EEE", "VVV")
"""Structures that a part of the columns has too, and a part given others; any other becomes 'full'."""


def of_columns(family: Family, keep: list[int]) -> Family:
    """The family of these columns, not bound.

    Raises
    ------
    ModelError
        The family's columns cannot be taken apart.
    """
    values: dict[str, Any] = {}
    if isinstance(family, MultivariateNormal | StudentT):
        square = np.ix_(range(len(family.mean)), keep, keep)
        values = {"mean": family.mean[:, keep], _matrix_name(family): _matrix(family)[square]}
        if family.structure not in CLOSED:
            values["structure"] = "full"
        if "prior" in family.options:  # of all columns, and of no use to parameters that are not estimated
            values["prior"] = None
    elif isinstance(family, Categorical):
        parts = family.probabilities if isinstance(family.probabilities, tuple) else (family.probabilities,)
        values = {"probabilities": [parts[j] for j in keep]}
    elif isinstance(family, ColumnwiseFamily | Bernoulli | NegativeBinomial):
        if not getattr(family, "shared", False):
            values = {name: by_column(value)[:, keep] for name, value in family.parameters.items()}
    else:
        raise ModelError.argument(
            name="model", requirement="a family whose columns can be taken apart", found=family.name
        )
    return replace(family, binding=None, **values)


def family_given(family: Family, wanted: list[int], given: list[int], x: Array) -> Family:
    """The family of the wanted columns given one row x (1, g), not bound."""
    values: dict[str, Any] = {}
    part = of_columns(family, wanted)
    if isinstance(family, MultivariateNormal | StudentT):
        means, left = _regression(family, wanted, given, x)
        values = {"mean": means[0], _matrix_name(family): left}
    if isinstance(family, StudentT):
        values["scale"] = left * _stretch(family, given, x)[0, :, None, None]
        values["degrees_of_freedom"] = family.degrees_of_freedom + len(given)
        if family.structure == "tied":  # each component is stretched by a number of its own
            values["structure"] = "full"
    return replace(part, **values)


def moments_given(family: Family, wanted: list[int], given: list[int], x: Array) -> tuple[Array, Array]:
    """Per component the means (n, K, t) and covariances (n or 1, K, t, t) of the wanted columns given rows x (n, g).

    Infinite where a Student-t has no covariance.
    """
    if isinstance(family, MultivariateNormal):
        means, left = _regression(family, wanted, given, x)
        return means, left[None]
    if isinstance(family, StudentT):
        means, left = _regression(family, wanted, given, x)
        v = family.degrees_of_freedom + len(given)
        spread = v / np.where(v > 2, v - 2, 1.0)
        covariance = left * (_stretch(family, given, x) * spread)[:, :, None, None]
        return means, np.where((v > 2)[:, None, None], covariance, np.inf)
    mean, variance = column_moments(of_columns(family, wanted))
    return np.repeat(mean[None], len(x), axis=0), (variance[:, :, None] * np.eye(len(wanted)))[None]


def sample_given(
    family: Family, wanted: list[int], given: list[int], x: Array, resp: Array, n_draws: int, rng: np.random.Generator
) -> Array:
    """(n, n_draws, t): a component by its responsibility (n, K), then the wanted columns given the row."""
    shape = (len(x), n_draws, len(wanted))
    edges = np.cumsum(resp, axis=1)[:, None, :-1]
    labels = (rng.random((*shape[:2], 1)) > edges).sum(axis=2)
    part = of_columns(family, wanted)
    if not isinstance(family, MultivariateNormal | StudentT):
        named = bind_to_names(Mixture(part), tuple(f"x{j}" for j in range(len(wanted)))).family
        return named.sample(labels.ravel(), rng).reshape(shape)
    means, left = _regression(family, wanted, given, x)
    values: dict[str, Any] = {"mean": np.zeros_like(means[0]), _matrix_name(family): left}
    if isinstance(family, StudentT):
        values["degrees_of_freedom"] = family.degrees_of_freedom + len(given)
    noise = replace(part, **values).sample(labels.ravel(), rng).reshape(shape)
    rows = np.arange(len(x))[:, None]
    if isinstance(family, StudentT):
        noise *= np.sqrt(_stretch(family, given, x)[rows, labels])[:, :, None]
    return np.asarray(means[rows, labels] + noise)


def _matrix_name(family: MultivariateNormal | StudentT) -> str:
    return "scale" if isinstance(family, StudentT) else "covariance"


def _matrix(family: MultivariateNormal | StudentT) -> Array:
    return np.asarray(getattr(family, _matrix_name(family)))


def _regression(
    family: MultivariateNormal | StudentT, wanted: list[int], given: list[int], x: Array
) -> tuple[Array, Array]:
    """Conditional means (n, K, t) given rows x (n, g), and what is left of each component's matrix, (K, t, t)."""
    if not given:
        part = _matrix(family)[np.ix_(range(len(family.mean)), wanted, wanted)]
        return np.repeat(family.mean[None, :, wanted], len(x), axis=0), part
    means, matrices = [], []
    for m, C in zip(family.mean, _matrix(family), strict=True):
        across = C[np.ix_(given, wanted)]
        B = cho_solve(cho_factor(C[np.ix_(given, given)], lower=True), across)
        left = C[np.ix_(wanted, wanted)] - across.T @ B
        means.append(m[wanted] + (x - m[given]) @ B)
        matrices.append((left + left.T) / 2)
    return np.stack(means, axis=1), np.stack(matrices)


def _stretch(family: StudentT, given: list[int], x: Array) -> Array:
    """(n, K): (v + delta) / (v + d) of the given columns."""
    v = family.degrees_of_freedom
    if not given:
        return np.ones((len(x), len(v)))
    known = of_columns(family, given)
    assert isinstance(known, StudentT)
    return np.asarray((v + known.squared_distances(x).T) / (v + len(given)))
