"""Which families fit a table whose user did not say, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.block import Array
from emix.data.kinds import Assumption, of_column, refuse_mixture
from emix.data.source import hash_rows
from emix.data.table import Table, refuse_dates
from emix.errors import DATE, DataError, ModelError
from emix.families import Bernoulli, Binomial, Categorical, Columns, Family, MultivariateNormal, Normal

__all__ = ["Assumed", "Assumption", "assume", "identifiers", "measurements"]

NAMES = 8
"""Columns that share a family which are named one by one."""


@dataclass(frozen=True)
class Assumed:
    """What was assumed of the columns of a table, whatever the number of components.

    Attributes
    ----------
    columns : tuple of Assumption
        Of each column, or of those that a given family shares.
    parts : mapping of column, or tuple of columns, to Family
        The same without what was left out.
    is_whole : bool
        Whether a family is for the table as a whole where all its columns have the same: nothing is given or left out.
    n_distinct : int or None
        Different rows, where all columns are normal and so have one covariance.
    """

    columns: tuple[Assumption, ...]
    parts: Mapping[Any, Family]
    is_whole: bool
    n_distinct: int | None = None

    def family(self, n_components: int) -> Family:
        """For that many components.

        Covariances are `full` where there are more distinct rows than K (d + 1), below which they could not all be
        regular, and `diag` otherwise.
        """
        if self.n_distinct is not None:
            joint = MultivariateNormal(structure="full" if n_components <= self._most_full else "diag")
            return joint if self.is_whole else Columns({tuple(self.parts): joint})
        first = next(iter(self.parts.values()))
        if self.is_whole and all(type(one) is type(first) for one in self.parts.values()):
            return first
        return Columns(self.parts)

    def assumptions(self, *n_components: int) -> list[Assumption]:
        """What was assumed of each column, and why, for these numbers of components."""
        if self.n_distinct is None:
            return list(self.columns)
        names = list(self.parts)
        label = ", ".join(names[:NAMES]) + (", ..." if len(names) > NAMES else "")
        reason, few = "numbers, neither counts nor skewed", f"{self.n_distinct:,} different rows are too few"
        if min(n_components) > self._most_full:
            reason += f"; {few} for full covariances"
        elif max(n_components) > self._most_full:
            reason += f"; diag from {self._most_full + 1:,} components on, for which {few} for full covariances"
        joint = MultivariateNormal(structure="full" if min(n_components) <= self._most_full else "diag")
        left_out = [one for one in self.columns if one.family is None]
        return [Assumption(f"({label})", joint, reason), *left_out]

    @property
    def _most_full(self) -> int:
        """Components that can all have regular full covariances."""
        return ((self.n_distinct or 0) - 1) // (len(self.parts) + 1)


def assume(
    table: Table,
    sample_weight: Array | None = None,
    given: Mapping[str | tuple[str, ...], Family] | None = None,
    *,
    are_chosen: bool = False,
    step: int = 1,
) -> Assumed:
    """A family for each column by its type and values.

    Coin tosses are Binomial, columns of true and false or of 0 and 1 Bernoulli, text and two other numbers Categorical,
    small whole numbers Poisson or NegativeBinomial, positive skewed numbers LogNormal or Gamma, all others Normal; a
    table of nothing but normal columns is one MultivariateNormal. Columns that only name the rows, and columns of a
    single value or none, are left out.

    Parameters
    ----------
    table : Table
        What is to be fitted, or some of its rows.
    sample_weight : ndarray, optional
        Rows of weight 0 do not count as distinct.
    given : mapping of column, or tuple of columns that share it, to Family, optional
        Families for some of the columns.
    are_chosen : bool
        Whether the columns were asked for one by one: identifiers then stay.
    step : int
        The table is every `step`-th row of what is to be fitted.

    Raises
    ------
    DataError
        A column of numbers holds text, or every column was left out.
    ModelError
        The table is sparse: what its cells are does not tell what they count.
    """
    if table.sparse is not None:
        requirement = "a family that reads sparse rows, such as Poisson() or Bernoulli()"
        raise ModelError.argument(name="family", requirement=requirement, found=None)
    if table.is_tosses:
        return _of_tosses(table)
    shared = _shared(table, given or {})
    for name, cells in zip(table.names, table.columns, strict=True):
        refuse_dates(name, cells)
        if name not in shared:
            refuse_mixture(table, name)
    found, parts = _by_column(table, given or {}, shared, step=step, may_be_identifier=not are_chosen)
    if not parts:  # names of rows, where there is nothing else
        found, parts = _by_column(table, given or {}, shared, step=step, may_be_identifier=False)
    if not parts:
        raise DataError.no_telling_columns([str(one) for one in found])
    is_whole = not given and len(parts) == len(table.names)
    n_distinct = None
    if not given and len(parts) > 1 and all(isinstance(one, Normal) for one in parts.values()):
        n_distinct = _n_distinct(table.select(tuple(parts)), sample_weight)
    return Assumed(tuple(found), parts, is_whole, n_distinct)


def _of_tosses(table: Table) -> Assumed:
    tosses = table.heads_and_tosses().column("tosses")
    same = int(tosses[0]) if (tosses == tosses[0]).all() else None
    reason = "heads among a number of tosses" if same is None else f"heads among {same:,} tosses"
    family = Binomial("tosses" if same is None else same)
    return Assumed((Assumption("heads", family, reason),), {"heads": family}, True)


def _shared(table: Table, given: Mapping[Any, Family]) -> dict[str, Any]:
    """Column -> what its family was given for."""
    shared: dict[str, Any] = {}
    for key in given:
        for name in key if isinstance(key, tuple) else (key,):
            table.column(name)  # or an error that names it
            if name in shared:
                raise DataError.repeated_column(column=name)
            shared[name] = key
    for key, family in given.items():
        beside = family.support.bound_column  # read beside the family's own, and no column by itself
        if beside is not None and beside in table.names:
            shared.setdefault(beside, key)
    return shared


def _by_column(
    table: Table, given: Mapping[Any, Family], shared: Mapping[str, Any], **how: Any
) -> tuple[list[Assumption], dict[Any, Family]]:
    assumed, chosen = [], {}
    for name in table.names:
        key = shared.get(name, name)
        if key in chosen:
            continue
        if name in shared:
            label = key if isinstance(key, str) else f"({', '.join(key)})"
            one = Assumption(label, given[key], "as asked for")
        else:
            one = of_column(table, name, **how)
        assumed.append(one)
        if one.family is not None:
            chosen[key] = one.family
    return assumed, chosen


def _n_distinct(table: Table, sample_weight: Array | None) -> int:
    x = np.stack([column.astype(np.float64) for column in table.columns], axis=1)
    return len(np.unique(hash_rows(x if sample_weight is None else x[sample_weight > 0])))


def identifiers(table: Table, *, step: int = 1) -> list[Assumption]:
    """The columns that only number or name the rows, of which every `step`-th is there."""
    found = []
    for name, cells in zip(table.names, table.columns, strict=True):
        texts = (cell for cell in cells if isinstance(cell, str)) if cells.dtype == object else iter(())
        if DATE.fullmatch(next(texts, "")):  # refused by name where it is read
            continue
        one = of_column(table, name, step=step)
        if one.is_identifier:
            found.append(one)
    return found


def measurements(table: Table) -> tuple[str, ...]:
    """The columns of numbers that vary, are more than two, and do not name the rows."""
    numbers = [name for name, cells in zip(table.names, table.columns, strict=True) if cells.dtype.kind in "iuf"]
    kept = ((name, of_column(table, name).family) for name in numbers)
    return tuple(name for name, one in kept if one is not None and not isinstance(one, Bernoulli | Categorical))
