"""What constraints on single parameters read of a family; families of another shape than one entry override it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, updated
from emix.constraints import NO_CONSTRAINTS, Constraint, Constraints
from emix.errors import ModelError
from emix.families import entries
from emix.families.priors.owner import PriorOwner


class Constrainable(PriorOwner):
    """Parent of `Family`."""

    name: ClassVar[str]
    constraints: Constraints
    aliases: ClassVar[Mapping[str, tuple[str, int]]] = {}
    """What constraints may speak of beside the parameters -> the parameter, and which power of it that is."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The constructor's other arguments."""

    @property
    @abstractmethod
    def statistic_names(self) -> tuple[str, ...]:
        """What each row of `statistics` sums to, in words."""

    def with_constraints(self, constraints: Sequence[Constraint], n_components: int) -> Self:
        """The same family of so many components under these constraints; checked once it is bound.

        Raises
        ------
        ModelError
            One speaks of a parameter that is not there, or they are not possible.
        """
        held = {(one.kind, one.entries): one.held for one in self.constraints}
        own = []
        for one in constraints:
            if one.parameter in self.aliases:
                one = one.powered(*self.aliases[one.parameter])
            own.append(replace(one, held=held.get((one.kind, one.entries), one.held)))
        if own:
            self._check_can_be_constrained()
        known: Any = self
        entries.check_names(known, tuple(own))
        family: Any = updated(self, constraints=Constraints(tuple(own), n_components) if own else NO_CONSTRAINTS)
        settled: Self = family if self.binding is None else entries.settled(family)
        return settled

    def holding(self, other: Any) -> Self:
        """With the values of what constraints hold 'fixed', where they are not known yet, from another's parameters."""
        known: Any = self
        held: Self = entries.holding(known, other)
        return held

    def _check_can_be_constrained(self) -> None:
        """Raise a `ModelError` where the M-step maximizes more than coefficients times sums."""
        if self._prior is not None and type(self)._log_prior_terms is not PriorOwner._log_prior_terms:
            raise ModelError.constraints_beside(family=self.name, what="prior", instead="prior_rows of the mixture")
        if self.options.get("variance_floor"):
            raise ModelError.constraints_beside(
                family=self.name, what="variance_floor", instead="a constraint such as 'variance >= 0.1'"
            )

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        """What the entries of one component of a parameter are of: columns, or columns and levels; () if one is all."""
        return ((),)

    def has_matrices(self, name: str) -> bool:
        """Whether a parameter is one matrix per component, which is free or held as a whole."""
        return False

    def obstacle_to_hold(self, name: str) -> str:
        """Why the matrix of a single component cannot be held; empty where it can."""
        return ""

    @property
    def statistic_columns(self) -> NDArray[np.intp]:
        """(D,) the column of each statistic, as a position among the entries of a parameter."""
        return np.zeros(len(self.statistic_names), dtype=np.intp)

    def cell_objective(self, expected: Array) -> Array:
        """What the M-step maximizes, by component and column: (K, D) -> (K, d)."""
        columns = self.statistic_columns
        return np.asarray((self.coefficients() * expected) @ (columns[:, None] == np.arange(columns.max() + 1)))

    def cell_weights(self, expected: Array) -> Array:
        """Expected rows, about, of each component and column: (K, D) -> (K, d)."""
        last = len(self.statistic_columns) - 1 - np.unique(self.statistic_columns[::-1], return_index=True)[1]
        return np.asarray(expected[:, last])

    def search_bounds(self, expected: Array) -> dict[str, tuple[Any, Any]]:
        """Bounds of parameters within which `cell_objective` is to be maximized; what broadcasts to (K, d)."""
        return {}
