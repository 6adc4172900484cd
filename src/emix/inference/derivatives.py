"""How a mixture's log joint changes with its unconstrained coordinates, to first and second order.

The gradient of Q(new | old) = <coefficients(new), S(old)> at new = old is that of the log-likelihood (Fisher's
identity), so that coefficients, of which there are few, are differentiated and never rows. Their derivatives are
central differences, extrapolated to a step of 0 (Richardson): about 1e-9 of an entry. Each coordinate has a step of its
own, a fiftieth of the change that one row of its component could tell, whatever its unit. Coordinates that no entry
shares are moved together (Curtis, Powell & Reid 1974, J. Inst. Maths Applics 13, 117-119), so that the work does not
grow with the number of components or of independent columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import EmixError
from emix.families import Family
from emix.families.base import take
from emix.families.entries import from_vector as entries_from_vector
from emix.inference.readings import Group, readings_of

STEP = 0.02
"""Of a coordinate, in units in which a row of its component has the complete-data information 1: truncation after the
extrapolation is then about STEP^4 / 1000, rounding 1e-15 / STEP^2."""
SEARCHES, MAX_SEARCHES = 6, 20
"""Rounds in which steps are fitted; and with those in which one that leads out of all numbers is only shortened."""
SHORTER, LONGER = 1e-4, 100.0
"""By how much a step is changed in one round at most."""
LEVELS = (1.0, 0.5, 0.25)
"""Steps of first derivatives, from which two orders of truncation are taken off."""
SHIFT = 0.7548776662466927
"""The plastic ratio: its multiples spread evenly, and place coordinates where nothing vanishes by accident."""
LONGEST = 0.5
"""Step of a logit or log at most: where a probability is all but 0, longer ones would leave it."""
FEW = 1e-3
"""Rows: what rests on less is at the boundary of what it may be, or of a component that is empty."""


@dataclass(frozen=True)
class Differentiable:
    """One family of a model at its estimates, as a function of its free coordinates.

    Attributes
    ----------
    group : Group
        The family and its columns.
    is_apart : bool
        Each component is read about its own mean, in its own scale, as the centred path does.
    is_linear : bool
        The log-densities of the data's rows are linear in their statistics.
    """

    group: Group
    is_apart: bool
    is_linear: bool
    vector: Array = field(init=False)

    def __post_init__(self) -> None:
        """Its coordinates."""
        object.__setattr__(self, "vector", self.family.to_vector())

    @property
    def family(self) -> Family:
        """At its estimates."""
        return self.group.family

    @cached_property
    def _spaces(self) -> dict[str, Any]:
        return {name: self.family.space(name) for name in self.family.parameters}

    @cached_property
    def readings(self) -> list[Any]:
        """What people read of it."""
        return readings_of(self.group)

    @cached_property
    def readers(self) -> list[tuple[NDArray[np.intp] | None, Family]]:
        """Components and the family that reads them: one for all, or one for each about its own mean."""
        if not self.is_apart:
            return [(None, self.family)]
        parts = [np.array([k]) for k in range(int(self.family.n_components or 0))]
        return [(k, self.family.reordered(k).centred()) for k in parts]

    def values(self, vector: Array) -> dict[str, Any]:
        """Parameters at these coordinates, unchecked: a step is small."""
        found, used = {}, 0
        for name, like in self.family.parameters.items():
            if name in self.family.fixed:
                found[name] = like
            else:
                if self.family.constraints.of(name):
                    found[name], step = entries_from_vector(self.family, name, vector[used:])
                else:
                    found[name], step = self._spaces[name].from_vector(vector[used:], like)
                used += step
        return found

    def families(self, vector: Array) -> list[Family]:
        """The readers with parameters at these coordinates, each with the binding that it has."""
        values = self.values(vector)
        return [
            reader.unchecked(values if ks is None else {name: take(v, ks) for name, v in values.items()})
            for ks, reader in self.readers
        ]

    @property
    def has_coefficients(self) -> bool:
        """Whether sums over rows, and not the rows themselves, tell the gradient."""
        return self.family.fisher_coefficients() is not None

    def entries(self, vector: Array) -> Array:
        """(K, D + 1) coefficients and log prior of each component."""
        families = self.families(vector)
        own = np.concatenate([_coefficients(family) for family in families])
        prior = np.concatenate([family.log_prior_of_components() for family in families])
        return np.concatenate([own, prior[:, None]], axis=1)

    def read(self, vector: Array) -> Array:
        """(K, R) what people read."""
        values = self.values(vector)
        return np.stack([one.read(values) for one in self.readings], axis=1)


def _coefficients(family: Family) -> Array:
    found = family.fisher_coefficients()
    assert found is not None
    return found


@dataclass(frozen=True)
class Colours:
    """Coordinates that may be moved together.

    Attributes
    ----------
    members : list of ndarray
        The coordinates of each colour.
    owners : list of ndarray of shape (K, E)
        Which of them moves each entry; -1 for none.
    """

    members: list[NDArray[np.intp]]
    owners: list[NDArray[np.intp]]


def coloured(function: Callable[[Array], Array], vector: Array, *, by_component: bool) -> Colours:
    """Colours of coordinates, by which entries (K, E) of a function they move.

    What a coordinate moves is looked at beside `vector`, where no derivative vanishes by accident. With `by_component`
    two coordinates of one component never move together.
    """
    p, finite = len(vector), np.isfinite(vector)
    size = 1e-3 * np.maximum(np.abs(np.where(finite, vector, 0.0)), 1.0)
    beside = np.where(finite, vector + size * (0.3 + np.modf(SHIFT * np.arange(1, p + 1))[0]), vector)
    base = function(beside)
    taken: list[NDArray[np.bool_]] = []
    members: list[list[int]] = []
    owners: list[NDArray[np.intp]] = []
    for a in np.flatnonzero(finite):
        moved = beside.copy()
        moved[a] += size[a]
        moves = function(moved) != base
        blocks = np.broadcast_to(moves.any(axis=1, keepdims=True), moves.shape) if by_component else moves
        place = next((c for c, one in enumerate(taken) if not (one & blocks).any()), None)
        if place is None:
            place = len(taken)
            taken.append(np.zeros_like(blocks))
            members.append([])
            owners.append(np.full(base.shape, -1, dtype=np.intp))
        taken[place] |= blocks
        members[place].append(int(a))
        owners[place][moves] = a
    return Colours([np.array(one, dtype=np.intp) for one in members], owners)


@dataclass(frozen=True)
class Differences:
    """Derivatives of entries (K, E) with respect to p coordinates, at steps of their own."""

    function: Callable[[Array], Array]
    vector: Array
    colours: Colours
    steps: Array

    def moved(self, colours: Sequence[int], share: float) -> Array:
        """The entries with all coordinates of these colours moved by a share of their steps."""
        vector = self.vector.copy()
        for c in colours:
            vector[self.colours.members[c]] += share * self.steps[self.colours.members[c]]
        return self.function(vector)

    @cached_property
    def centre(self) -> Array:
        """The entries themselves."""
        return self.function(self.vector)

    @cached_property
    def _sides(self) -> list[dict[float, Array]]:
        """Of each colour, the entries at both sides and at all levels."""
        n = len(self.colours.members)
        return [{s * level: self.moved([c], s * level) for level in LEVELS for s in (1.0, -1.0)} for c in range(n)]

    def first(self, c: int) -> Array:
        """Derivative of each entry with respect to the coordinate of colour c that moves it; 0 where none does."""
        sides, owner = self._sides[c], self.colours.owners[c]
        slopes = [(sides[level] - sides[-level]) / (2 * level) for level in LEVELS]
        return np.where(owner >= 0, extrapolated(slopes) / self.steps[owner], 0.0)

    def second(self, weights: Array) -> Array:
        """(p, p) second derivatives of the sum of weights x entries."""
        H, centre, sides = np.zeros((len(self.vector),) * 2), self.centre, self._sides
        for c, owner in enumerate(self.colours.owners):
            curves = [(sides[c][level] + sides[c][-level] - 2 * centre) / level**2 for level in LEVELS]
            _add(H, owner, owner, extrapolated(curves) * weights, self.steps)
            for other in range(c):
                is_shared = (owner >= 0) & (self.colours.owners[other] >= 0)
                if not is_shared.any():
                    continue
                mixed = []
                for level in LEVELS[:2]:
                    both = self.moved([c, other], level) + self.moved([c, other], -level) + 2 * centre
                    apart = sum(sides[i][s * level] for i in (c, other) for s in (1.0, -1.0))
                    mixed.append((both - apart) / (2 * level**2))
                value = np.where(is_shared, extrapolated(mixed) * weights, 0.0)
                _add(H, owner, self.colours.owners[other], value, self.steps)
        lower = np.tril(H, -1) + np.triu(H, 1).T
        return lower + lower.T + np.diag(np.diagonal(H))


def _add(H: Array, rows: NDArray[np.intp], columns: NDArray[np.intp], value: Array, steps: Array) -> None:
    used = (rows >= 0) & (columns >= 0)
    a, b = rows[used], columns[used]
    np.add.at(H, (a, b), value[used] / (steps[a] * steps[b]))


def extrapolated(estimates: Sequence[Array]) -> Array:
    """Richardson: estimates whose error is even in the step, each step half of the one before, at a step of 0."""
    row = list(estimates)
    for order in range(1, len(row)):
        factor = 4.0**order
        row = [(factor * fine - coarse) / (factor - 1) for coarse, fine in itertools.pairwise(row)]
    return np.asarray(row[0])


def differences(
    function: Callable[[Array], Array],
    vector: Array,
    colours: Colours,
    weights: Array,
    count: Array,
    limit: Array,
) -> Differences:
    """With steps that change sum of weights x entries, per row of the components concerned, by STEP^2.

    Parameters
    ----------
    function : callable
        (p,) -> entries (K, E).
    vector : ndarray of shape (p,)
        Where.
    colours : Colours
        What moves together.
    weights : ndarray of shape (K, E)
        Expected statistics.
    count : ndarray of shape (K,)
        Expected rows of the components; a coordinate of components without rows keeps the step that is tried first.
    limit : ndarray of shape (p,)
        No step is longer.
    """
    steps = np.minimum(STEP * np.maximum(np.abs(np.where(np.isfinite(vector), vector, 0.0)), 1.0), limit)
    found = Differences(function, vector, colours, steps)
    for search in range(MAX_SEARCHES):
        is_settled = True
        for c, owner in enumerate(colours.owners):
            members = colours.members[c]
            size, rows = _bend(found, c, weights), rows_of(owner, count, len(vector))[members]
            is_sound = np.isfinite(size[members])
            size = np.where(is_sound, size[members], np.inf) / np.maximum(rows, 1e-300)
            factor = np.clip(STEP / np.sqrt(np.maximum(size, 1e-300)), SHORTER, LONGER)
            factor = np.where(is_sound & ((rows < FEW) | (search >= SEARCHES)), 1.0, factor)
            before = steps[members]
            steps[members] = np.minimum(before * factor, limit[members])
            is_settled &= bool((np.abs(np.log(steps[members] / before)) < 0.5).all())
        if is_settled:
            break
    return found


def _bend(found: Differences, c: int, weights: Array) -> Array:
    """(p,) by how much the sum of weights x entries bends over a step of each coordinate of a colour."""
    with np.errstate(all="ignore"):
        try:
            bend = found.moved([c], 1.0) + found.moved([c], -1.0) - 2 * found.centre
        except (EmixError, ArithmeticError, ValueError):  # LinAlgError too: a step beyond all that is possible
            bend = np.full(found.centre.shape, np.inf)
        owner = found.colours.owners[c]
        used = (owner >= 0) & (weights != 0)
        change = np.bincount(owner[used], weights=(bend[used] * weights[used]), minlength=len(found.vector))
        is_sound = np.bincount(owner[used], weights=~np.isfinite(bend[used]), minlength=len(found.vector)) == 0
    return np.where(is_sound, np.abs(change), np.inf)


def rows_of(owner: NDArray[np.intp], count: Array, p: int) -> Array:
    """(p,) expected rows of the components whose entries a coordinate moves."""
    rows = np.zeros(p)
    for k, own in enumerate(owner):
        rows[np.unique(own[own >= 0])] += count[k]
    return rows
