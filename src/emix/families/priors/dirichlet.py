"""The Dirichlet prior of probabilities that sum to 1: of categories, of the columns of counts, of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Level
from emix.errors import ModelError
from emix.families.priors.base import INSIDE, Prior, Range, as_numbers, as_tuples, depth, shape_in_words

CONCENTRATION = Range(INSIDE, 1.0)


@dataclass(frozen=True, repr=False)
class DirichletPrior(Prior):
    """Of probabilities p: density proportional to the product of p_c^(concentration_c - 1).

    Parameters
    ----------
    concentration : float, mapping or array-like
        At least 1: as if each component had seen concentration - 1 rows more of each category, or for Multinomial so
        much more in the sum of each column, or for mixing proportions so many rows more. A number goes for all of
        them. A mapping names categories (columns for Multinomial): those that it does not name have 1, which adds
        nothing. An array is (n_levels,), in sorted order of the levels, or (K, n_levels); of a Categorical of several
        columns it is a list with one entry per column, each of them a number, a mapping or an array. Of mixing
        proportions it is (K,).

    Notes
    -----
    The posterior mode is (count_c + concentration_c - 1) / sum of these over c, in the probabilities themselves.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 3.4.
    """

    concentration: Any

    word = "dirichlet"

    def __post_init__(self) -> None:
        """Turn arrays into tuples of numbers and check them; the names in mappings become text, as in files."""
        object.__setattr__(self, "concentration", self._plain(self.concentration))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if not value:
                raise self._refused(value)
            return {name_of(level): self._number(one) for level, one in value.items()}
        array = as_numbers(value)
        if array is None and isinstance(value, Sequence) and not isinstance(value, str) and len(value):
            return tuple(self._plain(one) for one in value)  # one entry per column, of several kinds
        if array is None or not CONCENTRATION.contains(array):
            raise self._refused(value)
        return as_tuples(array)

    def _number(self, value: Any) -> float:
        array = as_numbers(value)
        if array is None or array.ndim or not CONCENTRATION.contains(array):
            raise self._refused(value)
        return float(array)

    def _refused(self, found: Any) -> ModelError:
        return ModelError.parameter(
            family=type(self).__name__, name="concentration", requirement=INSIDE, found=repr(found)
        )

    def of_levels(self, levels: Sequence[Sequence[Level]], columns: Sequence[str], K: int) -> list[Array]:
        """Of categories: for each column the concentrations (K, n_levels).

        Raises
        ------
        ModelError
            An array has another shape, or a mapping names a category that no column has.
        """
        entries = [self.concentration] * len(levels)
        if isinstance(self.concentration, dict):
            self._check_names({name_of(level) for own in levels for level in own}, self.concentration, "the columns")
        elif len(levels) > 1 and isinstance(self.concentration, tuple):
            if len(self.concentration) != len(levels):
                raise self._misshapen(f"a list of {len(levels)} entries, one per column", len(self.concentration))
            entries = list(self.concentration)
            for own, entry, column in zip(levels, entries, columns, strict=True):
                if isinstance(entry, dict):
                    self._check_names({name_of(level) for level in own}, entry, f"column '{column}'")
        pairs = zip(entries, levels, columns, strict=True)
        return [self._spread(entry, own, K, f"column '{column}'") for entry, own, column in pairs]

    def of_columns(self, columns: Sequence[str], K: int) -> Array:
        """Of the columns of counts: (K, d)."""
        if isinstance(self.concentration, dict):
            self._check_names(set(columns), self.concentration, "the columns")
        return self._spread(self.concentration, columns, K, "the columns")

    def of_components(self, K: int) -> Array:
        """Of mixing proportions: (K,)."""
        array = None if isinstance(self.concentration, dict) else as_numbers(self.concentration)
        if array is None or array.shape not in ((), (K,)):
            found = "a mapping" if array is None else shape_in_words(array.shape)
            raise self._misshapen(f"a number, or an array of shape ({K},), for {K} components", found)
        return np.broadcast_to(array, (K,))

    def _spread(self, entry: Any, levels: Sequence[Level], K: int, where: str) -> Array:
        """One column's entry as (K, n_levels)."""
        if isinstance(entry, dict):
            entry = [entry.get(name_of(level), 1.0) for level in levels]
        array, size = as_numbers(entry), len(levels)
        if array is None or array.shape not in ((), (size,), (K, size)):
            found = "a list of several kinds" if array is None else shape_in_words(array.shape)
            shapes = f"({size},) or ({K}, {size})"
            raise self._misshapen(f"a number, a mapping, or an array of shape {shapes}, for {where}", found)
        return np.broadcast_to(array, (K, size))

    def _check_names(self, known: set[str], named: Mapping[str, float], where: str) -> None:
        for name in named:
            if name not in known:
                raise ModelError.choice(
                    what=f"category of a {type(self).__name__} for {where}", found=name, available=sorted(known)
                )

    def _misshapen(self, requirement: str, found: object) -> ModelError:
        return ModelError.parameter(
            family=type(self).__name__, name="concentration", requirement=requirement, found=found
        )

    def reordered(self, order: NDArray[np.intp], d: int) -> Self:
        """As in the parent class; d = 0 for mixing proportions, whose only axis is that of the components."""

        def of_column(entry: Any) -> Any:
            return tuple(entry[k] for k in order) if depth(entry) == (1 if d == 0 else 2) else entry

        value = self.concentration
        if isinstance(value, tuple) and d > 1:
            return replace(self, concentration=tuple(of_column(entry) for entry in value))
        return replace(self, concentration=of_column(value))


def name_of(level: Any) -> str:
    """A category as text, as JSON has its keys; 1 and 1.0, which are equal, have the same."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)
