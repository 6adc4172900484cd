"""The numbers that people read off a model: each with its name, its column and level, and the scale of its interval.

A reading takes the arrays of a family's parameters, with any axes before that of the components, so that the same code
serves one model, its derivatives and all replicates of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.families import Categorical, Columns, Family, MultivariateNormal, StudentT
from emix.families.entries import at_bounds
from emix.families.structures import structure
from emix.spaces import Positive, Probability, Simplex
from emix.tidy import own_columns

IDENTITY, LOG, LOGIT, FISHER_Z = "identity", "log", "logit", "fisher z"
"""Scales on which an interval is symmetric: it then never leaves the values that the number may take."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """One number of each component.

    Attributes
    ----------
    parameter : str
        Such as `mean`, `standard_deviation`, `probabilities`.
    column, level_name : str or None
        The column, and of a category the level, of a covariance or correlation the second column.
    scale : str
        On which its interval is symmetric.
    source : str
        The family's parameter that it is read from.
    read : callable
        (name -> array (..., K, ...)) -> (..., K).
    """

    parameter: str
    column: str | None
    level_name: str | None
    scale: str
    source: str
    read: Callable[[Values], Array]


@dataclass(frozen=True)
class Group:
    """A family that stands by itself: the whole of a model's, or one part of `Columns`."""

    family: Family
    label: str | None
    """The names of its columns, like `height,weight`, where it is one of several."""
    columns: slice
    """Where its columns lie among all."""

    @property
    def prefix(self) -> str:
        """Of its parameters' names among all of the model's."""
        return "" if self.label is None else f"{self.label}."


def groups_of(family: Family) -> list[Group]:
    """The families that stand side by side; one that stands alone is the only one."""
    if not isinstance(family, Columns):
        return [Group(family, None, slice(None))]
    schema = None if family.binding is None else family.binding.schema
    places = [slice(None)] * len(family.parts) if schema is None else family.column_groups(schema)
    return [Group(part.family, part.label, place) for part, place in zip(family.parts, places, strict=True)]


def readings_of(group: Group) -> list[Reading]:
    """All numbers of one family, parameter by parameter; one for several columns of `Columns` has all their names."""
    family = group.family
    names = own_columns(family)
    found: list[Reading] = []
    for name, value in family.parameters.items():
        scale = _scale_of(family, name)
        if isinstance(family, Categorical):
            found += _of_levels(family, name, names)
        elif np.ndim(value) == 3:
            found += _of_matrices(family, name, names)
        elif np.ndim(value) == 1:
            column = names[0] if len(names) == 1 else group.label
            found.append(Reading(name, column, None, scale, name, lambda v, n=name: np.asarray(v[n])))  # type: ignore[misc]
        else:
            found += [
                Reading(name, column, None, scale, name, lambda v, n=name, j=j: v[n][..., j])  # type: ignore[misc]
                for j, column in zip(range(np.shape(value)[1]), names, strict=False)
            ]
        if name in ("variance", "log_variance"):
            word = name.replace("variance", "standard_deviation")
            own = [one for one in found if one.parameter == name]
            found += [
                Reading(word, one.column, None, LOG, name, lambda v, r=one.read: np.sqrt(r(v)))  # type: ignore[misc]
                for one in own
            ]
    return found


def bounded_readings(family: Family, readings: Sequence[Reading]) -> dict[int, NDArray[np.bool_]]:
    """Position of a reading -> of which components the number lies at a finite bound, (K,); none but these."""
    found: dict[int, NDArray[np.bool_]] = {}
    for name, mask in [*family.at_bound().items(), *at_bounds(family).items()]:
        if name in family.fixed or not mask.any():
            continue
        shape = np.shape(family.parameters[name])
        whole = np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape).astype(float)
        for r, one in enumerate(readings):
            if one.source == name:
                with np.errstate(invalid="ignore", divide="ignore"):
                    is_held = np.asarray(one.read({name: whole}) > 0.5)
                found[r] = found[r] | is_held if r in found else is_held
    return found


def proportions_reading() -> Reading:
    """The mixing proportions, which come first."""
    return Reading(
        "mixing_proportion", None, None, LOGIT, "mixing_proportions", lambda v: np.asarray(v["mixing_proportions"])
    )


def _scale_of(family: Family, name: str) -> str:
    space = family.space(name)
    if isinstance(space, Probability | Simplex):
        return LOGIT
    return LOG if isinstance(space, Positive) else IDENTITY


def _of_levels(family: Categorical, name: str, names: tuple[str, ...]) -> list[Reading]:
    """Each level of each column; a family of one column holds its array, of several a tuple of them."""
    found = []
    for j, table in enumerate(family.tables):
        levels = family.level_names[j] if family.level_names else tuple(str(code) for code in range(table.shape[1]))
        for i, level in enumerate(levels):

            def read(v: Values, j: int = j, i: int = i) -> Array:
                table = v[name]
                return np.asarray((table[j] if isinstance(table, tuple) else table)[..., i])

            found.append(Reading(name, names[j], level, LOGIT, name, read))
    return found


def _of_matrices(family: Family, name: str, names: tuple[str, ...]) -> list[Reading]:
    """Standard deviations and correlations, which people can read, and the matrix itself."""
    d, has_products = len(names), True
    if isinstance(family, MultivariateNormal | StudentT):
        has_products = structure(family.structure).has_products
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)] if has_products else []

    def deviation(v: Values, i: int) -> Array:
        return np.asarray(np.sqrt(v[name][..., i, i]))

    def correlation(v: Values, i: int, j: int) -> Array:
        return np.asarray(v[name][..., i, j] / (deviation(v, i) * deviation(v, j)))

    found = []
    if name == "covariance":
        for i in range(d):
            read = lambda v, i=i: deviation(v, i)  # noqa: E731
            found.append(Reading("standard_deviation", names[i], None, LOG, name, read))
    for i, j in pairs:
        read = lambda v, i=i, j=j: correlation(v, i, j)  # type: ignore[misc]  # noqa: E731
        found.append(Reading("correlation", names[i], names[j], FISHER_Z, name, read))
    for i in range(d):
        for j in range(i, d):
            if i == j or (i, j) in pairs:
                read = lambda v, i=i, j=j: np.asarray(v[name][..., i, j])  # type: ignore[misc]  # noqa: E731
                found.append(Reading(name, names[i], names[j], LOG if i == j else IDENTITY, name, read))
    return found
