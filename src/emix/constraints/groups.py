"""What constraints make of the entries of a parameter: groups of equal ones, with a value or bounds each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.constraints.grammar import Constraint, Entry
from emix.errors import ModelError

TOLERANCE = 1e-9
"""Relative, up to which a parameter satisfies a constraint: what estimates of earlier fits were rounded to."""


@dataclass(frozen=True)
class Layout:
    """The entries of a parameter: K components, and `labels` of those of one component (column, or column and level).

    Attributes
    ----------
    rows : tuple of int or None
        Of probabilities that sum to 1, to which sum each entry of a component belongs; None where nothing sums to 1.
        Where the components themselves do (mixing proportions), K is 1 and the labels are theirs.
    lower, upper : float
        What the space of the parameter allows.
    is_open : bool
        The lower end itself is not allowed.
    obstacle : str
        Of matrices, that can only be held fixed as a whole: why not even that; empty where it is possible.
    """

    name: str
    n_components: int
    labels: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...] | None
    lower: float
    upper: float
    is_open: bool
    is_matrix: bool = False
    obstacle: str = ""
    over_components: bool = False
    """The entries of the one row are the components: mixing proportions."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Entries (K, m) of one parameter, reduced to G groups of equal ones.

    Attributes
    ----------
    group : ndarray of shape (K, m)
        The group of each entry.
    value : ndarray of shape (G,)
        What a group is held at; NaN where it is free.
    lower, upper : ndarray of shape (G,)
        Bounds; those of the space where there are no others.
    is_touched : ndarray of bool, shape (K, m)
        Whether a constraint speaks of the entry.
    rows : ndarray of int, shape (K, m), or None
        Which entries sum to 1 with each other.
    sources : tuple of str
        The constraints, as they are written.
    """

    group: NDArray[np.intp]
    value: Array
    lower: Array
    upper: Array
    is_touched: NDArray[np.bool_]
    rows: NDArray[np.intp] | None
    sources: tuple[str, ...]

    @cached_property
    def is_free(self) -> NDArray[np.bool_]:
        """(G,) whether the group is not held."""
        return np.isnan(self.value)

    @cached_property
    def size(self) -> NDArray[np.intp]:
        """(G,) number of entries."""
        return np.bincount(self.group.ravel(), minlength=len(self.value))

    @cached_property
    def held(self) -> Array:
        """(K, m) values of what is held, NaN elsewhere."""
        return self.value[self.group]

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """(G,) position of each group's first entry among the (K m) entries."""
        return np.unique(self.group.ravel(), return_index=True)[1]

    @cached_property
    def multiplicity(self) -> Array:
        """(R, G) how often each group stands in each sum; rows that are the same sum are one."""
        assert self.rows is not None
        counted = np.zeros((int(self.rows.max()) + 1, len(self.value)))
        np.add.at(counted, (self.rows.ravel(), self.group.ravel()), 1.0)
        return np.unique(counted, axis=0)

    @cached_property
    def linked(self) -> list[NDArray[np.intp]]:
        """Rows of `multiplicity` that share groups, together."""
        from scipy.sparse import csr_matrix  # 0.2 s that fits without constraints need not wait for
        from scipy.sparse.csgraph import connected_components

        shares = (self.multiplicity @ self.multiplicity.T) > 0
        _, label = connected_components(csr_matrix(shares), directed=False)
        return [np.flatnonzero(label == i) for i in range(int(label.max()) + 1)]

    @property
    def n_free(self) -> int:
        """Dimension of what is allowed: free groups, less the sums that still bind them."""
        n = int(self.is_free.sum())
        if self.rows is None or n == 0:
            return n
        return n - int(np.linalg.matrix_rank(self.multiplicity[:, self.is_free]))

    def sums(self, values: Array) -> Array:
        """(K, m) -> (G,)."""
        return np.bincount(self.group.ravel(), values.ravel(), len(self.value)).astype(np.float64)

    def clipped(self, values: Array) -> Array:
        """Entries (K, m): held where they are held, within the bounds elsewhere."""
        inside = np.clip(values, self.lower[self.group], self.upper[self.group])
        return np.where(np.isnan(self.held), inside, self.held)

    def projected(self, values: Array) -> Array:
        """Entries (K, m) made feasible: ties at their means, then `clipped`; what is not finite says nothing."""
        is_known = np.isfinite(values)
        n = self.sums(is_known.astype(np.float64))
        mean = self.sums(np.where(is_known, values, 0.0)) / np.maximum(n, 1.0)
        return self.clipped(mean[self.group])


class _Union:
    """Which of n things are the same."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n)

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = int(self.parent[i])
        return i

    def join(self, positions: Iterable[int]) -> None:
        roots = [self.find(int(i)) for i in positions]
        for root in roots[1:]:
            self.parent[self.find(root)] = self.find(roots[0])


@lru_cache(maxsize=256)
def group(constraints: tuple[Constraint, ...], layout: Layout) -> Groups:
    """The groups that these constraints on one parameter make of its entries.

    Raises
    ------
    ModelError
        An index is not there, or the constraints contradict each other, the space, or that probabilities sum to 1.
    """
    K, m = layout.n_components, len(layout.labels)
    union, chosen = _Union(K * m), []
    is_touched = np.zeros(K * m, dtype=bool)
    for one in constraints:
        _check_matrix(one, layout)
        places = [_positions(entry, layout, one) for entry in one.entries]
        chosen.append(places)
        for found in places:
            is_touched[found.ravel()] = True
        if one.kind == "tied":
            _check_tied(one)
            for column in places[0].T if not layout.over_components else [places[0].ravel()]:
                union.join(column)
        elif one.kind == "equal":
            if len({found.shape for found in places}) > 1:
                raise ModelError.constraint_impossible(found=one, detail="its sides have different numbers of entries")
            for same in zip(*(found.ravel() for found in places), strict=True):
                union.join(same)
    roots = np.array([union.find(i) for i in range(K * m)])
    _, ids = np.unique(roots, return_inverse=True)
    ids = ids.ravel()
    G = int(ids.max()) + 1
    value, lower, upper = np.full(G, np.nan), np.full(G, layout.lower), np.full(G, layout.upper)
    for one, places in zip(constraints, chosen, strict=True):
        positions = np.concatenate([found.ravel() for found in places])
        _check_space(one, layout)
        if one.kind == "fixed" and one.held is None:
            raise ModelError.fixed_without_value(str(one).removesuffix(" fixed"))
        wanted = np.broadcast_to(one.value, len(positions)) if one.value is not None else one.held
        for i, number in zip(ids[positions], () if wanted is None else wanted, strict=wanted is not None):
            if not np.isnan(value[i]) and value[i] != number:
                detail = f"it gives {_text(layout, ids, i)} the value {number:g}, another constraint {value[i]:g}"
                raise ModelError.constraint_impossible(found=one, detail=detail)
            value[i] = number
        if one.kind == "bounded":
            spot = ids[positions]
            if one.lower is not None:
                lower[spot] = np.maximum(lower[spot], one.lower)
            if one.upper is not None:
                upper[spot] = np.minimum(upper[spot], one.upper)
    _check_bounds(constraints, layout, ids, value, lower, upper)
    rows = None
    if layout.rows is not None:
        own = np.array(layout.rows)
        rows = np.arange(K)[:, None] * (int(own.max()) + 1) + own
    is_held = lower == upper  # from both sides
    value = np.where(is_held & np.isnan(value), lower, value)
    groups = Groups(
        ids.reshape(K, m),
        value,
        lower,
        upper,
        is_touched.reshape(K, m),
        rows,
        tuple(str(one) for one in constraints),
    )
    _check_sums(constraints, layout, groups)
    return groups


def check_feasible(value: Array, groups: Groups, name: str) -> None:
    """Raise a `ModelError` if entries (K, m) do not satisfy the constraints."""
    scale = np.maximum(np.abs(value), 1e-300)
    off = np.abs(groups.projected(value) - value) > TOLERANCE * scale
    if off.any():
        k, j = np.argwhere(off)[0]
        raise ModelError.constraint_violated(
            name=name, found=float(value[k, j]), component=int(k), constraints="; ".join(groups.sources)
        )


def with_held(one: Constraint, layout: Layout, value: Array) -> Constraint:
    """A constraint 'fixed' with its values, from the entries (K, m) of the parameter; as it is where it has them."""
    if one.kind != "fixed" or one.held is not None:
        return one
    positions = np.concatenate([_positions(entry, layout, one).ravel() for entry in one.entries])
    return replace(one, held=tuple(value.ravel()[positions].tolist()))


def _positions(entry: Entry, layout: Layout, source: Constraint) -> NDArray[np.intp]:
    """Positions of entries among all (K m): an array (components, places)."""
    K, m = layout.n_components, len(layout.labels)
    if layout.over_components:
        if entry.places:
            raise ModelError.constraint_impossible(found=source, detail=f"'{layout.name}' has components alone")
        return np.array([_components(entry, m, source)])
    components = _components(entry, K, source)
    return np.asarray(np.array(components)[:, None] * m + np.array(_places(entry, layout, source)))


def _components(entry: Entry, K: int, source: Constraint) -> list[int]:
    if entry.component is None:
        return list(range(K))
    if isinstance(entry.component, str) or not 0 <= entry.component < K:
        raise ModelError.constraint_index(
            found=source, what="component", index=entry.component, available=[str(k) for k in range(K)]
        )
    return [entry.component]


def _places(entry: Entry, layout: Layout, source: Constraint) -> list[int]:
    """Which of a component's entries are meant."""
    wanted, labels = entry.places, layout.labels
    depth = max(len(label) for label in labels)
    if len(wanted) > depth:
        detail = f"'{layout.name}' has no {'levels' if depth else 'columns'} to choose from"
        raise ModelError.constraint_impossible(found=source, detail=detail)
    if depth == 2 and len(wanted) == 1 and len({label[0] for label in labels}) == 1:
        levels = {label[1] for label in labels}
        if wanted[0] in levels:  # of a single column, which need not be named
            wanted = (None, *wanted)
    found = list(range(len(labels)))
    for i, (index, what) in enumerate(zip(wanted, ("column", "level"), strict=False)):
        if index is None:
            continue
        available = dict.fromkeys(labels[j][i] for j in found)
        if index not in available:
            raise ModelError.constraint_index(found=source, what=what, index=index, available=list(available))
        found = [j for j in found if labels[j][i] == index]
    return found


def _check_matrix(one: Constraint, layout: Layout) -> None:
    if not layout.is_matrix:
        return
    if one.kind != "fixed" or any(entry.places for entry in one.entries):
        raise ModelError.constraint_matrix(found=one, name=layout.name)
    if layout.obstacle:
        raise ModelError.constraint_impossible(found=one, detail=layout.obstacle)


def _check_tied(one: Constraint) -> None:
    if one.entries[0].component is not None:
        detail = "it ties one component to itself; write * for all, or mean[0] = mean[1] for some"
        raise ModelError.constraint_impossible(found=one, detail=detail)


def _check_space(one: Constraint, layout: Layout) -> None:
    numbers = [one.value, one.lower, one.upper]
    low, high = layout.lower, layout.upper
    for number in numbers:
        if number is not None and not low <= number <= high:
            raise ModelError.constraint_impossible(found=one, detail=f"'{layout.name}' lies {_between(layout)}")
    if layout.is_open and (one.value == low or one.upper == low):
        raise ModelError.constraint_impossible(found=one, detail=f"'{layout.name}' lies {_between(layout)}")


def _between(layout: Layout) -> str:
    if np.isinf(layout.upper):
        return f"{'above' if layout.is_open else 'at or above'} {layout.lower:g}"
    return f"from {layout.lower:g} to {layout.upper:g}"


def _check_bounds(
    constraints: Sequence[Constraint], layout: Layout, ids: NDArray[np.intp], value: Array, lower: Array, upper: Array
) -> None:
    """No group may have a value outside its bounds, or bounds that leave nothing."""
    texts = "; ".join(str(one) for one in constraints)
    for i in np.flatnonzero(lower > upper).tolist():
        detail = f"{_text(layout, ids, i)} would have to be >= {lower[i]:g} and <= {upper[i]:g}"
        raise ModelError.constraint_impossible(found=texts, detail=detail)
    for i in np.flatnonzero((value < lower) | (value > upper)).tolist():
        detail = f"{_text(layout, ids, i)} has the value {value[i]:g} and the bounds {lower[i]:g} and {upper[i]:g}"
        raise ModelError.constraint_impossible(found=texts, detail=detail)


def _check_sums(constraints: Sequence[Constraint], layout: Layout, groups: Groups) -> None:
    """Probabilities must be able to sum to 1, all at once."""
    if groups.rows is None:
        return
    A = groups.multiplicity
    low = np.where(groups.is_free, groups.lower, groups.value)
    high = np.where(groups.is_free, groups.upper, groups.value)
    texts = "; ".join(str(one) for one in constraints)
    for least, most in zip(A @ low, A @ high, strict=True):
        if least > 1 + TOLERANCE or most < 1 - TOLERANCE:
            detail = f"probabilities sum to 1, and these to {'at least' if least > 1 else 'at most'} "
            detail += f"{least if least > 1 else most:g}"
            raise ModelError.constraint_impossible(found=texts, detail=detail)
    if len(A) > 1 and (np.count_nonzero(A, axis=0) > 1).any():
        from scipy.optimize import linprog  # 0.2 s that only ties between different sums need

        if linprog(np.zeros(len(low)), A_eq=A, b_eq=np.ones(len(A)), bounds=np.stack([low, high], axis=1)).status == 2:
            detail = "no probabilities sum to 1 in every component and satisfy all of them"
            raise ModelError.constraint_impossible(found=texts, detail=detail)


def _text(layout: Layout, ids: NDArray[np.intp], i: int) -> str:
    """A group's first entry, as it is written."""
    k, j = divmod(int(np.flatnonzero(ids == i)[0]), len(layout.labels))
    if layout.over_components:
        return str(Entry(layout.name, j))
    return str(Entry(layout.name, k, layout.labels[j]))
