"""Independent draws of the component: p(z = k) = mixing_proportions[k] for every row.

Row 0 of the statistics is the constant 1; its coefficient is log p(z = k); MLE: expected counts / their own sum, so
that rounding in the responsibilities never accumulates.
Source: McLachlan & Peel (2000), Finite Mixture Models, section 2.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, safe_log, updated
from emix.constraints import Constraint, Groups, Layout, check_feasible, group, with_held
from emix.constraints.coordinates import entries_of, vector_of
from emix.constraints.simplex import simplex_maximum
from emix.errors import ModelError
from emix.spaces import SIMPLEX


@dataclass(frozen=True, eq=False)
class IndependentDraws:
    """Mixing proportions, free or held fixed.

    Parameters
    ----------
    mixing_proportions : array-like of shape (K,)
        p(z = k); they sum to 1.
    is_fixed : bool, default=False
        `maximize` leaves them as they are.
    pseudo_counts : ndarray of shape (K,), optional
        Rows that a Dirichlet prior adds to each expected count, its concentration - 1: `maximize` then returns the
        posterior mode.
    constraints : tuple of Constraint, default=()
        On single ones; `maximize` returns the constrained maximum.
    """

    mixing_proportions: Any
    is_fixed: bool = False
    pseudo_counts: Any = None
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        """Turn lists into a read-only array and check it."""
        try:
            p = np.array(self.mixing_proportions, dtype=np.float64)
        except (TypeError, ValueError):
            p = np.zeros(0)
        if p.ndim != 1 or p.size == 0 or not (p >= 0).all() or not abs(p.sum() - 1) <= 1e-6:
            raise _no_proportions(self.mixing_proportions)
        p.flags.writeable = False
        object.__setattr__(self, "mixing_proportions", p)

    @classmethod
    def possible(
        cls, n_components: int, constraints: tuple[Constraint, ...], pseudo_counts: Array | None = None
    ) -> Self:
        """As equal as the constraints allow."""
        equal = cls(np.full(n_components, 1 / n_components), False, None, constraints)
        equal = equal.maximize(np.ones(n_components)) if constraints else equal
        return updated(equal, pseudo_counts=pseudo_counts)

    def checked(self) -> tuple[Constraint, ...]:
        """The constraints, with the values of what they hold 'fixed'.

        Raises
        ------
        ModelError
            They are not possible, or these proportions do not satisfy them.
        """
        entries = self.mixing_proportions[None]
        held = tuple(with_held(one, self._layout, entries) for one in self.constraints)
        check_feasible(entries, group(held, self._layout), "mixing_proportions")
        return held

    @property
    def _layout(self) -> Layout:
        K = self.n_components
        labels = tuple((str(k),) for k in range(K))
        return Layout("mixing_proportions", 1, labels, (0,) * K, 0.0, 1.0, is_open=False, over_components=True)

    @cached_property
    def groups(self) -> Groups:
        """What the constraints make of the proportions, as entries (1, K)."""
        return group(self.constraints, self._layout)

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.mixing_proportions)

    def coefficients(self) -> Array:
        """(K,) log p(z = k), the coefficients of row 0."""
        return safe_log(self.mixing_proportions)

    def maximize(self, counts: Array) -> Self:
        """Expected counts (K,) -> the proportions that maximize their likelihood.

        Raises
        ------
        ModelError
            These are no counts: one is negative, or all are 0.
        """
        if self.is_fixed:
            return self
        if self.pseudo_counts is not None:
            counts = counts + self.pseudo_counts
        p = counts / counts.sum()
        if not (p >= 0).all():
            raise _no_proportions(counts)
        if self.constraints:
            p = simplex_maximum(counts[None], self.groups, self.mixing_proportions[None])[0]
        return updated(self, mixing_proportions=p)

    def log_prior(self) -> float:
        """Log density under the prior, in nats, up to a constant; 0 without one, or where nothing is estimated."""
        if self.pseudo_counts is None or self.is_fixed:
            return 0.0
        return float(self.pseudo_counts @ self.coefficients())

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw n components."""
        return rng.choice(self.n_components, size=n, p=self.mixing_proportions / self.mixing_proportions.sum())

    @property
    def n_free_parameters(self) -> int:
        """K - 1, or 0 if fixed; under constraints equal ones count once, and what is held not at all."""
        if self.is_fixed:
            return 0
        return self.groups.n_free if self.constraints else self.n_components - 1

    def to_vector(self) -> Array:
        """Stick-breaking logits, (K - 1,) or what is free; empty if fixed."""
        if self.constraints and not self.is_fixed:
            return vector_of(self.groups, self.mixing_proportions[None], SIMPLEX)
        return np.zeros(0) if self.is_fixed else SIMPLEX.to_vector(self.mixing_proportions[None])

    def from_vector(self, vector: Array) -> Self:
        """The inverse of `to_vector`."""
        if self.is_fixed:
            return self
        if self.constraints:
            return replace(
                self, mixing_proportions=entries_of(self.groups, self.mixing_proportions[None], SIMPLEX, vector)[0]
            )
        return replace(self, mixing_proportions=SIMPLEX.from_vector(vector, self.mixing_proportions[None])[0][0])


def _no_proportions(found: Any) -> ModelError:
    return ModelError.parameter(
        family="mixture",
        name="mixing_proportions",
        requirement="numbers >= 0 that sum to 1, one per component",
        found=repr(found),
    )
