"""The M-step of any family under constraints on its parameters.

The objective Q = sum of coefficients x expected statistics falls into cells, one per component and column, that ties
join. Exact where it is: probabilities that sum to 1 by water-filling; families of one parameter, whose Q has one hill,
by pooled sums and clipping. Everything else by projected Newton steps (`ascent`), from the better of the previous
parameters and the free maximum moved to what is allowed, so that the objective never falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, updated
from emix.constraints import NO_CONSTRAINTS, Groups
from emix.constraints.ascent import climb
from emix.constraints.simplex import simplex_maximum
from emix.errors import DegenerateError
from emix.families.cells import Cells
from emix.families.declarations import VARIANCE_FLOOR, Work
from emix.families.entries import flat, groups_of, unflat

if TYPE_CHECKING:
    from emix.families.base import Family

F = TypeVar("F", bound="Family")


def maximum(family: F, expected: Array) -> F:
    """The M-step under constraints, from expected statistics (K, D).

    Raises
    ------
    DegenerateError
        A component has no rows and no previous parameters, or lost its spread.
    RootNotFoundError
        The maximum was not found.
    """
    groups = {name: groups_of(family, name) for name in family.spaces}
    if len(groups) == 1:
        (name,), (own,) = groups, groups.values()
        if own.rows is not None:
            previous = getattr(family, name)
            found = simplex_maximum(expected, own, None if previous is None else flat(previous))
            return family.estimated(**{name: unflat(family, name, found)})
        bare = updated(family, constraints=NO_CONSTRAINTS)._maximize(_pooled(family, expected, own))
        return family.estimated(**{name: own.clipped(flat(getattr(bare, name)))})
    return _by_ascent(family, expected, groups)


def _pooled(family: Family, expected: Array, own: Groups) -> Array:
    """Statistics in which each entry of a group has the sums of all; of what is held, those of all components."""
    columns = family.statistic_columns
    where = np.stack([np.flatnonzero(columns == j) for j in range(own.group.shape[1])])  # (d, statistics of a cell)
    cells = expected[:, where]
    sums = np.zeros((len(own.value), where.shape[1]))
    np.add.at(sums, own.group, cells)
    sums_of_all = np.broadcast_to(cells.sum(axis=0), cells.shape)
    pooled = expected.copy()
    pooled[:, where] = np.where(own.is_free[own.group][:, :, None], sums[own.group], sums_of_all)
    return pooled


def _by_ascent(family: F, expected: Array, groups: dict[str, Groups]) -> F:
    names = list(groups)
    shape = next(iter(groups.values())).group.shape
    block = _blocks(groups, shape)
    is_touched = np.any([one.is_touched for one in groups.values()], axis=0)
    is_touched = np.isin(block, block[is_touched])
    bare = updated(family, constraints=NO_CONSTRAINTS)
    free = _free_maximum(bare, expected, is_touched)
    theta = np.stack([flat(getattr(free, name)) for name in names])
    limits = family.search_bounds(expected)
    for name, (low, high) in limits.items():
        one = groups[name]
        low, high = (np.broadcast_to(end, shape).ravel()[one.first] for end in (low, high))
        lower, upper = np.maximum(one.lower, low), np.minimum(one.upper, high)
        possible = lower <= upper  # where a bound of the user's leaves nothing of them, it holds alone
        lower, upper = np.where(possible, lower, one.lower), np.where(possible, upper, one.upper)
        groups[name] = Groups(one.group, one.value, lower, upper, one.is_touched, one.rows, one.sources)
    moved = np.stack([one.projected(values) for one, values in zip(groups.values(), theta, strict=True)])
    cells = Cells(bare, expected, groups, moved, np.where(is_touched, block, -1))
    if family.is_fitted:
        before = np.stack([one.projected(flat(getattr(family, name))) for name, one in groups.items()])
        worse = cells.value_at(before) >= cells.value_at(moved)
        is_better = np.append(worse, False)[cells.block_of_cell]  # a cell of no block is -1: the last
        moved = np.where(is_better, before, moved)
        cells = Cells(bare, expected, groups, moved, np.where(is_touched, block, -1))

    def check(u: Array) -> None:
        ratio, columns = cells.family_at(cells.theta(u)).narrowness()
        check_spread(ratio, is_touched & cells.is_free, cells.weights, columns)

    what = ", ".join(name for name, one in groups.items() if one.sources)
    u = climb(cells, cells.start, cells.lower, cells.upper, what=what, check=check)
    theta = np.where(is_touched, cells.theta(u), theta)
    values = {name: theta[i] for i, name in enumerate(names) if name not in family.fixed}
    return family.estimated(**values)


def _free_maximum(bare: F, expected: Array, is_touched: NDArray[np.bool_]) -> F:
    """The M-step without constraints; cells that collapse, which constraints may save, get that of all components."""
    try:
        return bare._maximize(expected)
    except DegenerateError as error:
        if error.weight == 0:  # a component without rows
            raise
    columns = bare.statistic_columns
    pooled = np.where(is_touched[:, columns], expected.sum(axis=0), expected)
    return bare._maximize(pooled)


def _blocks(groups: dict[str, Groups], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """(K, d) which cells ties join, of any of the parameters."""
    from scipy.sparse import coo_matrix  # 0.2 s that fits without constraints need not wait for
    from scipy.sparse.csgraph import connected_components

    n = int(np.prod(shape))
    edges = [np.stack([np.arange(n), one.first[one.group.ravel()]]) for one in groups.values()]
    i, j = np.concatenate(edges, axis=1)
    _, label = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    return np.asarray(label, dtype=np.intp).reshape(shape)


def check_spread(ratio: Array, is_free: NDArray[np.bool_], weights: Array, names: Sequence[str]) -> None:
    """Raise a `DegenerateError` for a free cell whose variance, a share of its column's, a constraint did not keep up.

    All arrays are (K, d); a family that tells no variances has none to check.
    """
    if ratio.shape != is_free.shape:
        return
    with np.errstate(invalid="ignore"):
        is_narrow = is_free & ~(ratio > VARIANCE_FLOOR)
    if is_narrow.any():
        k, j = np.argwhere(is_narrow)[0]
        found, weight = max(float(ratio[k, j]), 0.0), float(weights[k, j])
        raise DegenerateError.collapsed(component=int(k), column=names[j], ratio=found, weight=weight)


def work(family: Family, expected: Array) -> tuple[Work, ...]:
    """The lines of the free M-step where its values are the constrained ones too; elsewhere the constraints say why."""
    fitted = family.maximize(expected)
    bare = updated(family, constraints=NO_CONSTRAINTS)
    free: dict[str, list[Work]] = {}
    with suppress(DegenerateError):
        for line in bare._work(expected):
            free.setdefault(line.parameter, []).append(line)
    lines = []
    for name in family.spaces:
        if name in family.fixed:
            continue
        own = family.constraints.of(name)
        how = f"the maximum under: {'; '.join(str(one) for one in own)}" if own else "the maximum beside what is tied"
        entries = flat(getattr(fitted, name)).T
        if family.has_matrices(name):
            d = int(np.sqrt(len(entries)))
            entries = entries[[i * d + j for i in range(d) for j in range(i, d)]]
        known = free.get(name, [])
        for j, value in enumerate(entries):
            at = known[j] if len(known) == len(entries) else None
            is_same = at is not None and np.allclose(at.value, value, rtol=1e-13, atol=0)
            lines.append(at if at is not None and is_same else Work(name, value, how))
    return tuple(lines)
