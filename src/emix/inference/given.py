"""Components of some columns, given others.

With g the given and t the wanted columns, m the mean and C the covariance of a normal component,
    mean  m_t + B (x_g - m_g), B = C_tg C_gg^-1        covariance  C_tt - B C_gt
A Student-t component has v + d_g degrees of freedom and that matrix, of its scale, times (v + delta_g) / (v + d_g).
Independent columns stay what they are. A category is told by the indicators of its levels, whose means are their
probabilities p, with the covariance diag(p) - p p'.
Source: Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3rd ed., section 2.5; Ding (2016), The
American Statistician 70, 293-295 (Student-t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, cho_factor, cho_solve

from emix.block import Array, Schema
from emix.errors import ModelError
from emix.families import (
    Bernoulli,
    Binding,
    Categorical,
    Columns,
    Family,
    MultivariateNormal,
    NegativeBinomial,
    StudentT,
)
from emix.families.columns import Part
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.fitting.use import bind_to_names
from emix.model import Mixture

CLOSED = ("full", "tied", "diag", "spherical", "E", "V", "EII", "VII", "EEI", "VEI", "VVI", "EEE", "VVV")
"""Structures that a part of the columns has too, and a part given others; any other becomes 'full'."""


def binding_of(binding: Binding, keep: Sequence[int]) -> Binding:
    """What was learnt of these columns."""
    names, levels = binding.schema.names, binding.schema.levels
    schema = Schema(tuple(names[j] for j in keep), tuple(levels[j] for j in keep))
    own = list(keep)
    return replace(binding, schema=schema, pivot=binding.pivot[own], scale=binding.scale[own], whitening=None)


def arranged(family: Family, columns: list[int]) -> list[int]:
    """Columns (positions) with those of a part side by side, in the order in which the parts come up."""
    if not isinstance(family, Columns):
        return columns
    return [shared.start + j for shared in _shared(family, columns) for j in shared.own]


@dataclass(frozen=True)
class _Shared:
    """The columns that a part has among some: where the part begins, its own positions, and those among the some."""

    part: Part
    start: int
    own: list[int]
    among: list[int]


def _shared(family: Columns, columns: Sequence[int]) -> list[_Shared]:
    """Of the parts that have any of the columns."""
    groups = family.column_groups(Schema(family.columns, (None,) * len(family.columns)))
    found = []
    for part, group in zip(family.parts, groups, strict=True):
        among = [i for i, j in enumerate(columns) if group.start <= j < group.stop]
        if among:
            found.append(_Shared(part, group.start, [columns[i] - group.start for i in among], among))
    return sorted(found, key=lambda one: one.among[0])


def of_columns(family: Family, keep: list[int]) -> Family:
    """The family of these columns, not bound; of families side by side the parts are.

    Raises
    ------
    ModelError
        The family's columns cannot be taken apart.
    """
    if isinstance(family, Columns):
        return _of_parts(family, keep, [of_columns(one.part.family, one.own) for one in _shared(family, keep)])
    if family.binding is not None and keep == list(range(len(family.columns))):
        return replace(family, binding=None)
    values: dict[str, Any] = {}
    if isinstance(family, MultivariateNormal | StudentT):
        square = np.ix_(range(len(family.mean)), keep, keep)
        values = {"mean": family.mean[:, keep], _matrix_name(family): _matrix(family)[square]}
        if family.structure not in CLOSED:
            values["structure"] = "full"
    elif isinstance(family, Categorical):
        values = {"probabilities": [family.tables[j] for j in keep]}
    elif isinstance(family, ColumnwiseFamily | Bernoulli | NegativeBinomial):
        if not getattr(family, "shared", False):
            values = {name: by_column(value)[:, keep] for name, value in family.parameters.items()}
    else:
        raise ModelError.argument(
            name="model", requirement="a family whose columns can be taken apart", found=family.name
        )
    if "prior" in family.options:  # of all columns, and of no use to parameters that are not estimated
        values["prior"] = None
    return replace(family, binding=None, **values)


def _of_parts(family: Columns, keep: list[int], families: Sequence[Family]) -> Columns:
    """These families of what is kept of the parts."""
    parts = []
    for shared, one in zip(_shared(family, keep), families, strict=True):
        binding, n_own = shared.part.family.binding, len(shared.part.names)
        bound = one if binding is None else replace(one, binding=binding_of(binding, shared.own))
        parts.append(Part(tuple(shared.part.names[j] for j in shared.own if j < n_own), bound))
    fixed = frozenset(f"{part.label}.{name}" for part in parts for name in part.family.fixed)
    return replace(family, families=tuple(parts), fixed=fixed, binding=None)


def family_given(family: Family, wanted: list[int], given: list[int], x: Array) -> Family:
    """The family of the wanted columns given one row x (1, g), not bound; of families side by side the parts are."""
    if isinstance(family, Columns):
        known = _known(family, given)
        parts = [family_given(one.part.family, one.own, *_of_part(known, one, x)) for one in _shared(family, wanted)]
        return _of_parts(family, wanted, parts)
    values: dict[str, Any] = {}
    part = of_columns(family, wanted)
    if given and isinstance(family, MultivariateNormal | StudentT):
        means, left = _regression(family, wanted, given, x)
        values = {"mean": means[0], _matrix_name(family): left}
        if isinstance(family, StudentT):
            values["scale"] = left * _stretch(family, given, x)[0, :, None, None]
            values["degrees_of_freedom"] = family.degrees_of_freedom + len(given)
            if family.structure == "tied":  # each component is stretched by a number of its own
                values["structure"] = "full"
    return replace(part, **values)


def _known(family: Columns, given: Sequence[int]) -> dict[int, _Shared]:
    """What is given of the parts, by where they begin."""
    return {one.start: one for one in _shared(family, given)}


def _of_part(known: dict[int, _Shared], wanted: _Shared, x: Array) -> tuple[list[int], Array]:
    """Which columns of a part are given, and their cells (n, g)."""
    one = known.get(wanted.start)
    return ([], x[:, :0]) if one is None else (one.own, x[:, one.among])


def moments_given(family: Family, wanted: list[int], given: list[int], x: Array) -> tuple[Array, Array]:
    """Per component the means (n, K, t) and covariances (n or 1, K, t, t) of the wanted columns given rows x (n, g).

    Infinite where a Student-t has no covariance. A category counts as one column for each of its levels.
    """
    if isinstance(family, Columns):
        known = _known(family, given)
        found = [moments_given(one.part.family, one.own, *_of_part(known, one, x)) for one in _shared(family, wanted)]
        return np.concatenate([means for means, _ in found], axis=2), _joined([within for _, within in found])
    if isinstance(family, MultivariateNormal):
        means, left = _regression(family, wanted, given, x)
        return means, left[None]
    if isinstance(family, StudentT):
        means, left = _regression(family, wanted, given, x)
        v = family.degrees_of_freedom + len(given)
        spread = v / np.where(v > 2, v - 2, 1.0)
        covariance = left * (_stretch(family, given, x) * spread)[:, :, None, None]
        return means, np.where((v > 2)[:, None, None], covariance, np.inf)
    if isinstance(family, Categorical):
        tables = [family.tables[j] for j in wanted]
        within = _joined([(p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None])[None] for p in tables])
        return np.repeat(np.concatenate(tables, axis=1)[None], len(x), axis=0), within
    mean, variance = of_columns(family, wanted).cell_moments()
    if np.isnan(mean).any():
        requirement = "target columns with a mean of their own"
        raise ModelError.argument(name="targets", requirement=requirement, found=family.name)
    return np.repeat(mean[None], len(x), axis=0), (variance[:, :, None] * np.eye(len(wanted)))[None]


def _joined(covariances: Sequence[Array]) -> Array:
    """Covariances (n or 1, K, t, t) of independent parts as those of all, (n or 1, K, sum of t, sum of t)."""
    if len(covariances) == 1:
        return covariances[0]
    n, K = max(len(one) for one in covariances), covariances[0].shape[1]
    if n == 1:
        return np.stack([block_diag(*(one[0, k] for one in covariances)) for k in range(K)])[None]
    edges = np.cumsum([0, *(one.shape[2] for one in covariances)])
    whole = np.zeros((n, K, edges[-1], edges[-1]))
    for one, start, stop in zip(covariances, edges[:-1], edges[1:], strict=True):
        whole[:, :, start:stop, start:stop] = one
    return whole


def sample_given(
    family: Family, wanted: list[int], given: list[int], x: Array, resp: Array, n_draws: int, rng: np.random.Generator
) -> Array:
    """(n, n_draws, t): a component by its responsibility (n, K), then the wanted columns given the row; codes."""
    edges = np.cumsum(resp, axis=1)[:, None, :-1]
    labels = (rng.random((len(x), n_draws, 1)) > edges).sum(axis=2)
    return _drawn(family, wanted, given, x, labels, rng)


def _drawn(
    family: Family, wanted: list[int], given: list[int], x: Array, labels: NDArray[np.intp], rng: np.random.Generator
) -> Array:
    """(n, n_draws, t) draws of the wanted columns, for components (n, n_draws)."""
    if isinstance(family, Columns):
        known = _known(family, given)
        shared = _shared(family, wanted)
        parts = [_drawn(one.part.family, one.own, *_of_part(known, one, x), labels, rng) for one in shared]
        return np.concatenate(parts, axis=2)
    shape = (*labels.shape, len(wanted))
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
