"""Parameters as flat entries under constraints: their groups, how many are free, their unconstrained coordinates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, updated
from emix.constraints import Constraint, Groups, Layout, check_feasible, group, with_held
from emix.constraints.coordinates import entries_of, vector_of
from emix.errors import ModelError
from emix.spaces import Simplex

if TYPE_CHECKING:
    from emix.families.base import Family

F = TypeVar("F", bound="Family")


def layout_of(family: Family, name: str) -> Layout:
    """The entries of a parameter of a family that knows its columns."""
    space, labels = family.space(name), family.entry_labels(name)
    rows, obstacle = None, ""
    if isinstance(space, Simplex):
        columns = list(dict.fromkeys(label[0] if len(label) == 2 else "" for label in labels))
        rows = tuple(columns.index(label[0] if len(label) == 2 else "") for label in labels)
    is_matrix = family.has_matrices(name)
    if is_matrix:
        obstacle = family.obstacle_to_hold(name)
    ends = space.lower, space.upper, space.is_open
    return Layout(name, family.constraints.n_components, labels, rows, *ends, is_matrix, obstacle)


def groups_of(family: Family, name: str) -> Groups:
    """The groups of a parameter's entries; all of them held where the whole parameter is fixed."""
    found = group(family.constraints.of(name), layout_of(family, name))
    if name not in family.fixed:
        return found
    entries = np.arange(found.group.size)
    value = flat(getattr(family, name)).ravel()
    ends = np.full(len(entries), -np.inf), np.full(len(entries), np.inf)
    return Groups(entries.reshape(found.group.shape), value, *ends, found.is_touched, found.rows, found.sources)


def flat(value: Any) -> Array:
    """A parameter as entries (K, m)."""
    if isinstance(value, tuple):
        return np.concatenate(value, axis=1)
    return np.asarray(value.reshape(len(value), -1), dtype=np.float64)


def unflat(family: Family, name: str, entries: Array) -> Any:
    """The inverse of `flat`, as `Family.estimated` takes it."""
    labels = family.entry_labels(name)
    if not isinstance(family.space(name), Simplex) or len(labels[0]) != 2:
        return entries
    columns = [label[0] for label in labels]
    edges = [j for j in range(1, len(columns)) if columns[j] != columns[j - 1]]
    parts = tuple(np.ascontiguousarray(part) for part in np.split(entries, edges, axis=1))
    return parts if len(parts) > 1 else parts[0]


def check_names(family: Family, constraints: tuple[Constraint, ...]) -> None:
    """Raise a `ModelError` if a constraint speaks of a parameter that the family does not have."""
    for one in constraints:
        for entry in one.entries:
            if entry.parameter not in family.spaces:
                available = ("mixing_proportions", *family.spaces, *family.aliases)
                raise ModelError.constraint_parameter(found=one, name=entry.parameter, available=available)


def settled(family: F) -> F:
    """The family with what its constraints hold 'fixed' read from its parameters, and all of them checked.

    Raises
    ------
    ModelError
        The constraints are not possible, or the parameters do not satisfy them.
    """
    if not family.constraints:
        return family
    family = holding(family, family)
    for name in dict.fromkeys(one.parameter for one in family.constraints):
        own = group(family.constraints.of(name), layout_of(family, name))
        if name in family.parameters:
            check_feasible(flat(family.parameters[name]), own, name)
    return family


def holding(family: F, other: Family) -> F:
    """The family with the values of what its constraints hold 'fixed', where it lacks them, read from another's."""
    given = other.parameters

    def held(one: Constraint) -> Constraint:
        if one.kind != "fixed" or one.parameter not in given:
            return one
        layout = replace(layout_of(other, one.parameter), n_components=family.constraints.n_components)
        return with_held(one, layout, flat(given[one.parameter]))

    items = tuple(held(one) for one in family.constraints)
    return updated(family, constraints=replace(family.constraints, items=items))


def n_free(family: Family, name: str) -> int:
    """Free numbers of a parameter under its constraints: a group of equal entries once; active bounds still count."""
    one = groups_of(family, name)
    if family.has_matrices(name):
        return family.space(name).n_free(getattr(family, name)[_alive(one)])
    return one.n_free


def at_bounds(family: Family) -> dict[str, NDArray[np.bool_]]:
    """Parameter name -> which entries, in the shape of the parameter, lie at a bound that a constraint gives."""
    found = {}
    for name, value in family.parameters.items():
        if not family.constraints.of(name) or isinstance(value, tuple) or family.has_matrices(name):
            continue
        one, own = groups_of(family, name), flat(value)
        is_at = np.isclose(own, one.lower[one.group], rtol=1e-9, atol=0.0)
        is_at |= np.isclose(own, one.upper[one.group], rtol=1e-9, atol=0.0)
        found[name] = (is_at & one.is_free[one.group]).reshape(value.shape)
    return found


def to_vector(family: Family, name: str) -> Array:
    """Unconstrained coordinates of what is free of a parameter."""
    one, value = groups_of(family, name), getattr(family, name)
    if family.has_matrices(name):
        return family.space(name).to_vector(value[_alive(one)])
    return vector_of(one, flat(value), family.space(name))


def from_vector(family: Family, name: str, vector: Array) -> tuple[Any, int]:
    """The parameter from the head of `vector`, and how many of its entries were used."""
    one, value = groups_of(family, name), getattr(family, name)
    space = family.space(name)
    if family.has_matrices(name):
        alive, new = _alive(one), np.array(value)
        new[alive], used = space.from_vector(vector, value[alive])
        return new, used
    used = one.n_free
    entries = entries_of(one, flat(value), space, vector[:used])
    new = unflat(family, name, entries)
    return (new if isinstance(new, tuple) else new.reshape(value.shape)), used


def _alive(one: Groups) -> NDArray[np.bool_]:
    """(K,) components whose matrix is free."""
    return np.asarray(one.is_free[one.group].all(axis=1))
