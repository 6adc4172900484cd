"""Families side by side: the columns of a real table, each with the family that suits it.

log p(row given k) = sum over parts of log p(the part's columns given k); T(x) is the parts' statistics one after
another, then their counts of observed cells. Parts are independent given the component; correlated columns make one.
Source: Lazarsfeld & Henry (1968), Latent Structure Analysis (local independence); McLachlan & Peel (2000), section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Schema, Summary, updated
from emix.constraints import Constraint
from emix.errors import ModelError
from emix.families.base import Binding, Family, LevelShares, Support, Work
from emix.spaces import Space


@dataclass(frozen=True)
class Part:
    """Some columns and their family."""

    names: tuple[str, ...]
    family: Family

    @property
    def label(self) -> str:
        """What the part's parameters are named after: `height,weight`."""
        return ",".join(self.names)


@dataclass(frozen=True, eq=False, repr=False)
class Columns(Family):
    """Families side by side, independent given the component.

    Parameters
    ----------
    families : mapping of column name, or tuple of names, to Family or text
        Like `{"age": Normal(), "city": "categorical", ("height", "weight"): MultivariateNormal(structure="VVV")}`. A
        column that a family reads beside its own (`n_trials` of Binomial) is not named. Parameters are named after the
        columns: `age.mean`.

    Raises
    ------
    ModelError
        There is no column, one is named twice, or something is no family.

    Examples
    --------
    >>> from emix import Categorical, Columns, Normal
    >>> Columns({"age": Normal(), "city": Categorical()})
    Columns({'age': Normal(), 'city': Categorical()})
    """

    families: Any = ()

    name = "columns"

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", tuple(_parts(self.families)))
        fixed = set(self.fixed)
        parts = []
        for part in self.parts:
            own = {name.removeprefix(f"{part.label}.") for name in fixed if name.startswith(f"{part.label}.")}
            own &= set(part.family.spaces)
            fixed -= {f"{part.label}.{name}" for name in own}
            parts.append(replace(part, family=part.family.with_fixed(frozenset(own))) if own else part)
        for name in sorted(fixed):
            raise ModelError.unknown_fixed(found=name, available=self.spaces)
        object.__setattr__(self, "families", tuple(parts))
        counts = {part.label: part.family.n_components for part in self.parts}
        known = {label: count for label, count in counts.items() if count is not None}
        if len(set(known.values())) > 1:
            raise ModelError.n_components_differ(known)

    def __repr__(self) -> str:
        """As it is written."""
        own = {part.names if len(part.names) > 1 else part.names[0]: part.family for part in self.parts}
        return f"Columns({own!r})"

    def __str__(self) -> str:
        """Like `columns(age: normal, city: categorical)`."""
        return f"columns({', '.join(f'{part.label}: {part.family}' for part in self.parts)})"

    def __getattr__(self, name: str) -> Any:
        """A parameter by its dotted name."""
        if "." in name:
            label, _, parameter = name.rpartition(".")
            for part in self.parts:
                if part.label == label and parameter in part.family.spaces:
                    return getattr(part.family, parameter)
        raise AttributeError(f"'Columns' has no attribute {name!r}")

    @property
    def row_key(self) -> Hashable:
        return tuple((part.names, part.family.row_key) for part in self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The columns and their families, in order."""
        return self.families  # type: ignore[no-any-return]

    def part(self, column: str) -> Family:
        """The family of a column.

        Raises
        ------
        ModelError
            There is no such column.
        """
        for part in self.parts:
            if column in part.names:
                return part.family
        names = [name for part in self.parts for name in part.names]
        raise ModelError.choice(what="column", found=column, available=names)

    @property
    def spaces(self) -> Mapping[str, Space]:  # type: ignore[override]
        """Dotted parameter name -> space."""
        return {f"{part.label}.{n}": part.family.space(n) for part in self.parts for n in part.family.spaces}

    def space(self, name: str) -> Space:
        return self.spaces[name]

    @property
    def parameters(self) -> dict[str, Any]:
        return {f"{part.label}.{n}": v for part in self.parts for n, v in part.family.parameters.items()}

    @property
    def options(self) -> dict[str, Any]:
        return {}

    # -- the same of every part --------------------------------------------------------------------------------------

    def _with(self, change: Callable[[int, Part], Family]) -> Self:
        """With the families that `change` makes of the parts; what is right by construction is not checked again."""
        parts = tuple(Part(part.names, change(i, part)) for i, part in enumerate(self.parts))
        return updated(self, families=parts)

    def with_fixed(self, names: frozenset[str]) -> Self:
        return replace(self, fixed=names)

    def with_constraints(self, constraints: Sequence[Constraint], n_components: int) -> Self:
        rest = list(constraints)

        def change(_: int, part: Part) -> Family:
            own = [one for one in rest if one.parameter.rpartition(".")[0] == part.label]
            rest[:] = [one for one in rest if one not in own]
            named = [one.of_parameter(one.parameter.rpartition(".")[2]) for one in own]
            return part.family.with_constraints(named, n_components)

        changed = self._with(change)
        for one in rest:
            available = ("mixing_proportions", *self.spaces)
            raise ModelError.constraint_parameter(found=one, name=one.parameter, available=available)
        return changed

    def holding(self, other: Self) -> Self:
        return self._with(lambda i, part: part.family.holding(other.parts[i].family))

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        unknown = sorted(set(values) - set(self.spaces))
        if unknown:
            raise ModelError.unknown_fixed(found=unknown[0], available=self.spaces)

        def change(_: int, part: Part) -> Family:
            own = {n: values[f"{part.label}.{n}"] for n in part.family.spaces if f"{part.label}.{n}" in values}
            return part.family.with_parameters(own) if own else part.family

        return self._with(change)

    def unchecked(self, values: Mapping[str, Any]) -> Self:
        own = [{n: values[f"{part.label}.{n}"] for n in part.family.spaces} for part in self.parts]
        return self._with(lambda i, part: part.family.unchecked(own[i]))

    def reordered(self, order: NDArray[np.intp]) -> Self:
        return self._with(lambda _, part: part.family.reordered(order))

    def bind(self, schema: Schema, summary: Summary) -> Self:
        groups = self.column_groups(schema)
        bound = self._with(lambda i, part: part.family.bind(_of(schema, groups[i]), summary.of_columns(groups[i])))
        return bound._joined_binding(schema)

    def with_values(self, summary: Summary) -> Self:
        groups = self._groups
        return updated(
            self._with(lambda i, part: part.family.with_values(summary.of_columns(groups[i]))), binding=self.binding
        )

    def _joined_binding(self, schema: Schema) -> Self:
        bindings = [part.family.binding for part in self.parts]
        pivot = np.concatenate([np.zeros(0) if one is None else one.pivot for one in bindings])
        scale = np.concatenate([np.zeros(0) if one is None else one.scale for one in bindings])
        return updated(self, binding=Binding(schema, pivot, scale))

    def _bound(self, binding: Binding) -> Self:
        return updated(self, binding=binding)

    def _check_columns(self) -> None:
        for part in self.parts:
            part.family._check_columns()

    def column_groups(self, schema: Schema) -> list[slice]:
        """Where each part's columns lie among all: in the order of the parts, each with what it reads beside."""
        groups, start = [], 0
        for part in self.parts:
            n = len(part.names) + (part.family.support.bound_column is not None)
            groups.append(slice(start, start + n))
            start += n
        if start != len(schema.names):
            raise ModelError.argument(name="columns", requirement=f"{start} columns", found=len(schema.names))
        return groups

    @cached_property
    def _groups(self) -> list[slice]:
        if self.binding is None:
            raise ModelError.not_fitted("The family 'columns' is not bound to data yet; it")
        return self.column_groups(self.binding.schema)

    def _split(self, x: Array) -> Iterator[tuple[Family, Array]]:
        for part, group in zip(self.parts, self._groups, strict=True):
            yield part.family, x[:, group]

    @property
    def support(self) -> Support:
        supports = [part.family.support for part in self.parts]
        return Support(
            "what its families require",
            is_categorical=any(one.is_categorical for one in supports),
            takes_missing=all(one.takes_missing for one in supports),
            needs_values=any(one.needs_values for one in supports),
        )

    @property
    def is_additive(self) -> bool:  # type: ignore[override]
        """Whether all parts are."""
        return all(part.family.is_additive for part in self.parts)

    def is_linear(self, *, is_complete: bool) -> bool:
        return all(part.family.is_linear(is_complete=is_complete) for part in self.parts)

    # -- statistics --------------------------------------------------------------------------------------------------

    @property
    def n_observed(self) -> int:
        return sum(part.family.n_observed for part in self.parts)

    @cached_property
    def rows(self) -> list[NDArray[np.intp]]:
        """Where each part's statistics stand among all: first all own ones, then all counts of observed cells."""
        sizes = [part.family.n_sums - part.family.n_observed for part in self.parts]
        own, counts = 0, sum(sizes)
        rows = []
        for size, part in zip(sizes, self.parts, strict=True):
            n = part.family.n_observed
            rows.append(np.concatenate([np.arange(own, own + size), np.arange(counts, counts + n)]))
            own, counts = own + size, counts + n
        return rows

    @property
    def n_sums(self) -> int:
        return sum(part.family.n_sums for part in self.parts)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        names = [""] * self.n_sums
        for part, rows in zip(self.parts, self.rows, strict=True):
            for row, name in zip(rows, part.family.statistic_names, strict=True):
                names[row] = name if name != "rows" else f"rows with {part.label}"
        return tuple(names)

    def _gathered(self, of_parts: Sequence[Array], n_rows: int) -> Array:
        """Rows of the parts (D_part, B) in their places; what goes beyond `n_rows` is folded away."""
        whole = np.empty((n_rows, of_parts[0].shape[1]))
        for rows, own in zip(self.rows, of_parts, strict=True):
            whole[rows[: len(own)]] = own
        return whole

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        own = [family.statistics(cells, is_complete=is_complete) for family, cells in self._split(x)]
        return self._gathered(own, sum(len(one) for one in own))

    def coefficients(self) -> Array:
        own = [part.family.coefficients().T for part in self.parts]
        return np.ascontiguousarray(self._gathered(own, sum(len(one) for one in own)).T)

    def coefficient_sizes(self, coefficients: Array) -> Array:
        pairs = zip(self.parts, self.rows, strict=True)
        own = [part.family.coefficient_sizes(coefficients[:, rows]).T for part, rows in pairs]
        return np.ascontiguousarray(self._gathered(own, coefficients.shape[1]).T)

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray(sum(family.log_base_measure(cells) for family, cells in self._split(x)))

    def log_prob(self, x: Array) -> Array:
        return np.asarray(sum(family.log_prob(np.ascontiguousarray(cells)) for family, cells in self._split(x)))

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        own = [family.accumulate(np.ascontiguousarray(cells), weighted_resp).T for family, cells in self._split(x)]
        return np.ascontiguousarray(self._gathered(own, sum(len(one) for one in own)).T)

    def raw_statistics(self, expected: Array) -> Array:
        pairs = zip(self.parts, self.rows, strict=True)
        own = [part.family.raw_statistics(expected[:, rows]).T for part, rows in pairs]
        return np.ascontiguousarray(self._gathered(own, expected.shape[1]).T)

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _maximize(self, expected: Array) -> Self:
        return self._with(lambda i, part: part.family.maximize(expected[:, self.rows[i]]))

    @property
    def has_prior(self) -> bool:
        return any(part.family.has_prior for part in self.parts)

    def check_prior(self, K: int) -> None:
        for part in self.parts:
            part.family.check_prior(K)

    def cell_objective(self, expected: Array) -> Array:
        """Of all columns together: (K, 1)."""
        pairs = zip(self.parts, self.rows, strict=True)
        own = [part.family.cell_objective(expected[:, rows]).sum(axis=1) for part, rows in pairs]
        return np.asarray(sum(own))[:, None]

    def maximize_groups(self, expected: Array, n_groups: int) -> Self:
        if self.fixed.issuperset(self.spaces):
            return self
        return self._with(lambda i, part: part.family.maximize_groups(expected[:, self.rows[i]], n_groups))

    def log_prior_of_components(self) -> Array:
        return np.asarray(np.sum([part.family.log_prior_of_components() for part in self.parts], axis=0))

    def prior_noise(self) -> float:
        return sum(part.family.prior_noise() for part in self.parts)

    def boundary_noise(self) -> float:
        return sum(part.family.boundary_noise() for part in self.parts)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        lines = []
        for part, rows in zip(self.parts, self.rows, strict=True):
            own = part.family.work(expected[:, rows])
            lines += [replace(line, parameter=f"{part.label}.{line.parameter}") for line in own]
        return tuple(lines)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        return np.concatenate([part.family.sample(labels, rng, given) for part in self.parts], axis=1)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        return np.concatenate([family.cell_cdf(cells, is_upper=is_upper) for family, cells in self._split(x)], axis=2)

    def coordinates(self, x: Array) -> Array:
        return np.concatenate([family.coordinates(cells) for family, cells in self._split(x)], axis=1)

    def cell_moments(self) -> tuple[Array, Array]:
        found = [part.family.cell_moments() for part in self.parts]
        return np.concatenate([mean for mean, _ in found], axis=1), np.concatenate([v for _, v in found], axis=1)

    def level_shares(self) -> tuple[LevelShares, ...]:
        return tuple(one for part in self.parts for one in part.family.level_shares())

    def conditional_means(self, x: Array) -> Array:
        return np.concatenate([family.conditional_means(cells) for family, cells in self._split(x)], axis=2)

    def impute(self, x: Array, resp: Array) -> Array:
        return np.concatenate([family.impute(cells, resp) for family, cells in self._split(x)], axis=1)

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        return np.concatenate([family.draw_missing(cells, labels, rng) for family, cells in self._split(x)], axis=1)

    @property
    def n_free_parameters(self) -> int:
        return sum(part.family.n_free_parameters for part in self.parts)

    def to_vector(self) -> Array:
        return np.concatenate([part.family.to_vector() for part in self.parts])

    def from_vector(self, vector: Array) -> Self:
        ends = np.cumsum([part.family.n_free_parameters for part in self.parts])
        if ends[-1] != len(vector):
            raise ModelError.argument(name="vector", requirement=f"{ends[-1]} entries", found=len(vector))
        pieces = np.split(vector, ends[:-1])
        return self._with(lambda i, part: part.family.from_vector(pieces[i]))

    def remarks(self) -> tuple[tuple[int, str], ...]:
        return tuple((k, f"of '{part.label}' {text}") for part in self.parts for k, text in part.family.remarks())

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        found = [part.family.narrowness() for part in self.parts]
        return np.concatenate([ratio for ratio, _ in found], axis=1), tuple(n for _, names in found for n in names)


def _parts(families: Any) -> Iterator[Part]:
    """The parts, checked."""
    from emix.families import parse  # the registry, which knows this family too

    if isinstance(families, tuple) and families and all(isinstance(one, Part) for one in families):
        yield from families
        return
    if not isinstance(families, Mapping) or not families:
        requirement = "a mapping of columns to families, like {'age': Normal()}"
        raise ModelError.argument(name="families", requirement=requirement, found=families)
    seen: set[str] = set()
    for key, family in families.items():
        names = key if isinstance(key, tuple) else (key,)
        for name in names:
            if not isinstance(name, str) or name in seen:
                raise ModelError.argument(name="families", requirement="column names, each once", found=name)
            seen.add(name)
        chosen = parse(family) if isinstance(family, str) else family
        if not isinstance(chosen, Family) or isinstance(chosen, Columns):
            raise ModelError.argument(name=f"the family of {key!r}", requirement="a Family", found=family)
        support = chosen.support
        if support.event_column is not None and support.event_column not in names:
            remedy = f"{{{(*names, support.event_column)!r}: {chosen!r}}}"
            raise ModelError.lacks_event(family=chosen.name, column=support.event_column, found=names, remedy=remedy)
        if len(names) > 1:  # what a family reads beside its own may be named, and is no column of its own
            names = tuple(name for name in names if name != support.bound_column)
        yield Part(names, chosen)


def _of(schema: Schema, group: slice) -> Schema:
    return Schema(schema.names[group], schema.levels[group])
