"""What the M-step of a family with several parameters climbs under constraints: Q by cell, and its slopes.

Slopes are differences of fourth order, with a relative error of about 1e-12 of Q; they only steer, and what they leave
is their square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.constraints import Groups

if TYPE_CHECKING:
    from emix.families.base import Family

STEP = 1e-3
"""Of the differences, in a coordinate of unit size: truncation (4th power) and rounding (1e-16 / STEP) about equal."""
NEAR, LEAST_STEP = 1e-6, 2.5e-7
"""Nearer than this to the end of a space differences are taken on the inner side, with this step."""
FARTHEST = 600.0
"""Of a logarithm: its exponential is a number."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Q of the cells that constraints touch, in one coordinate per free group: log of what is positive, else scaled."""

    family: Family
    expected: Array
    groups: dict[str, Groups]
    at: Array
    """(P, K, d) parameters to start from."""
    block_of_cell: NDArray[np.intp]
    """(K, d), -1 for a cell that is left alone."""

    def __post_init__(self) -> None:
        """Number the blocks from 0."""
        _, labels = np.unique(self.block_of_cell, return_inverse=True)
        first = int((self.block_of_cell < 0).any())
        vars(self)["block_of_cell"] = labels.reshape(self.block_of_cell.shape) - first

    @cached_property
    def weights(self) -> Array:
        """(K, d) expected rows of each cell."""
        return np.abs(self.family.cell_weights(self.expected))

    @cached_property
    def weight(self) -> Array:
        """As in `Objective`."""
        return self._by_block(self.weights)

    def _by_block(self, cells: Array) -> Array:
        is_in = self.block_of_cell >= 0
        n = int(self.block_of_cell.max()) + 1
        return np.bincount(self.block_of_cell[is_in], cells[is_in], n).astype(np.float64)

    @cached_property
    def index(self) -> NDArray[np.intp]:
        """(P, K, d) the coordinate of each entry, -1 where it has none."""
        found, used = [], 0
        for one in self.groups.values():
            is_used = np.zeros(len(one.value), dtype=bool)
            is_used[one.group[self.block_of_cell >= 0]] = True
            is_used &= one.is_free
            place = np.where(is_used, np.cumsum(is_used) - 1 + used, -1)
            used += int(is_used.sum())
            found.append(place[one.group])
        return np.stack(found)

    @cached_property
    def is_free(self) -> NDArray[np.bool_]:
        """(K, d) whether anything of the cell is."""
        return np.asarray((self.index >= 0).any(axis=0))

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """(V,) position of the first entry of each coordinate among the (P K d)."""
        places, first = np.unique(self.index.ravel(), return_index=True)
        return first[places >= 0]

    @cached_property
    def is_log(self) -> NDArray[np.bool_]:
        """(P,) whether the coordinate is a logarithm."""
        return np.array([self.family.space(name).is_open for name in self.groups])

    @cached_property
    def unit(self) -> Array:
        """(P, K, d) of one entry, the same in each group."""
        units = []
        for name, one, at in zip(self.groups, self.groups.values(), self.at, strict=True):
            space = self.family.space(name)
            if space.is_open or np.isfinite(space.upper):
                unit = np.ones(at.shape)
            elif np.isfinite(space.lower):
                unit = np.maximum(at, 1e-3)
            else:
                scale = np.ones(1) if self.family.binding is None else self.family.binding.scale
                unit = np.broadcast_to(scale if len(scale) == at.shape[1] else np.ones(1), at.shape)
            units.append(unit.ravel()[one.first][one.group])
        return np.stack(units)

    @cached_property
    def block(self) -> NDArray[np.intp]:
        """As in `Objective`."""
        cells = np.broadcast_to(self.block_of_cell, self.index.shape)
        return np.asarray(cells.ravel()[self.first])

    def _coordinates(self, theta: Array) -> Array:
        """(P, K, d) parameters -> coordinates."""
        with np.errstate(divide="ignore"):
            logs = np.log(np.where(self.is_log[:, None, None], theta, 1.0))
        return np.where(self.is_log[:, None, None], logs, theta / self.unit)

    def _parameters(self, c: Array) -> Array:
        is_log = self.is_log[:, None, None]
        return np.where(is_log, np.exp(np.where(is_log, c, 0.0)), c * self.unit)

    @cached_property
    def start(self) -> Array:
        """(V,)."""
        return np.clip(np.asarray(self._coordinates(self.at).ravel()[self.first]), self.lower, self.upper)

    @cached_property
    def lower(self) -> Array:
        """(V,)."""
        ends = np.stack([one.lower[one.group] for one in self.groups.values()])
        return np.maximum(self._ends(ends), np.where(self._is_log_coordinate, -FARTHEST, -np.inf))

    @cached_property
    def upper(self) -> Array:
        """(V,)."""
        ends = np.stack([one.upper[one.group] for one in self.groups.values()])
        return np.minimum(self._ends(ends), np.where(self._is_log_coordinate, FARTHEST, np.inf))

    @cached_property
    def _is_log_coordinate(self) -> NDArray[np.bool_]:
        return np.asarray(np.broadcast_to(self.is_log[:, None, None], self.index.shape).ravel()[self.first])

    def _ends(self, ends: Array) -> Array:
        return np.asarray(self._coordinates(ends).ravel()[self.first])

    def theta(self, u: Array) -> Array:
        """(V,) coordinates -> (P, K, d) parameters, exact at the bounds."""
        if len(u) == 0:
            return self.at
        found = self._parameters(np.where(self.index >= 0, u[self.index], 0.0))
        theta = np.where(self.index >= 0, found, self.at)
        return np.stack([one.clipped(values) for one, values in zip(self.groups.values(), theta, strict=True)])

    def family_at(self, theta: Array) -> Family:
        """The family with parameters (P, n, d)."""
        values: dict[str, Any] = {}
        for name, own in zip(self.groups, theta, strict=True):
            is_single = own.shape[1] == 1 and self.family.space(name).drops_single_column
            values[name] = own[:, 0] if is_single else own
        return self.family.unchecked(values)

    def _q(self, theta: Array) -> Array:
        """(S, P, K, d) parameters -> (S, K, d) contributions to Q."""
        S, P, K, d = theta.shape
        stacked = theta.transpose(1, 0, 2, 3).reshape(P, S * K, d)
        with np.errstate(all="ignore"):
            found = self.family_at(stacked).cell_objective(np.tile(self.expected, (S, 1)))
        return np.where(np.isfinite(found), found, -1e300).reshape(S, K, d)

    def value_at(self, theta: Array) -> Array:
        """(P, K, d) -> (B,)."""
        return self._by_block(self._q(theta[None])[0])

    def value(self, u: Array) -> Array:
        """As in `Objective`."""
        return self.value_at(self.theta(u))

    def _move(self, p: int, by: Array) -> Array:
        """(P, K, d) in which the coordinates of parameter p move by (K, d)."""
        move = np.zeros(self.index.shape)
        move[p] = by
        return move

    def slopes(self, u: Array) -> tuple[Array, Array]:
        """As in `Objective`."""
        P, V = len(self.at), len(u)
        c = self._coordinates(self.theta(u))
        low = np.array([self.family.space(name).lower for name in self.groups])[:, None, None]
        high = np.array([self.family.space(name).upper for name in self.groups])[:, None, None]
        is_log = self.is_log[:, None, None]
        low, high = np.where(is_log, -np.inf, low) / self.unit, high / self.unit
        room = np.minimum(c - low, high - c)
        h = np.where(room > NEAR, STEP * np.minimum(room, 1.0), LEAST_STEP)
        # near an end of the space the differences of a coordinate are taken a little inside; the others stay in place
        shift = np.clip(c, low + 2 * h, high - 2 * h) - c
        has_place = self.index >= 0
        shift, h = np.where(has_place, shift, 0.0), np.where(has_place, h, 1.0)
        pairs = [(p, q) for p in range(P) for q in range(p)]
        moves = [self._move(p, shift[p] + s * h[p]) for p in range(P) for s in (0, 1, -1, 2, -2)]
        signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
        for p, q in pairs:
            moves += [self._move(p, shift[p] + s * h[p]) + self._move(q, shift[q] + t * h[q]) for s, t in signs]
        f = self._q(self._parameters(c + np.where(has_place, np.stack(moves), 0.0)))
        gradient, curvature = np.zeros(V + 1), np.zeros((V + 1, V + 1))  # the last is of what has no coordinate
        for p in range(P):
            at, up, down, up2, down2 = f[5 * p : 5 + 5 * p]
            first = (8 * (up - down) - (up2 - down2)) / (12 * h[p])
            second = (16 * (up + down) - (up2 + down2) - 30 * at) / (12 * h[p] ** 2)
            np.add.at(gradient, self.index[p], first)
            np.add.at(curvature, (self.index[p], self.index[p]), second)
        for i, (p, q) in enumerate(pairs):
            one, two, three, four = f[5 * P + 4 * i : 5 * P + 4 * i + 4]
            mixed = (one - two - three + four) / (4 * h[p] * h[q])
            np.add.at(curvature, (self.index[p], self.index[q]), mixed)
            np.add.at(curvature, (self.index[q], self.index[p]), mixed)
        return gradient[:V], curvature[:V, :V]
