"""Categorical family: one or several columns of any labels, independent given the component.

T(x) = one 0/1 entry per column and level    coefficients = log p    MLE: p = expected count / sum over the levels
Overcomplete: a missing cell is all zeros.
Source: Goodman (1974), Biometrika 61 (the latent class model); McLachlan & Peel (2000), Finite Mixture Models, 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Level, Schema, Summary, plain_level, safe_log
from emix.errors import ModelError, listed
from emix.families.base import Family, LevelShares, Parameter, Support, Work, share
from emix.families.priors import DirichletPrior
from emix.spaces import SIMPLEX, Space


@dataclass(frozen=True, eq=False, repr=False)
class Categorical(Family):
    """Categories: any labels, in any number of columns.

    Parameters
    ----------
    probabilities : array-like of shape (K, n_levels), or a list with one such array per column, optional
        Rows sum to 1. Levels are in sorted order; the columns and levels are in `binding.schema`.
    unknown : {'error', 'missing'}, default='error'
        What a category is that the fit did not see: refused by row and column, or as good as a missing cell.
    prior : DirichletPrior, optional
        Of the probabilities: estimates are then posterior modes, (rows of a level + concentration - 1) / their sum.
    levels : sequence of labels, or mapping of column to such, optional
        All categories that the columns, or these columns, may hold, in this order. One that no row of a fit holds has
        the probability 0 without a prior; it counts as a parameter. Default: those that the rows hold, sorted.
    """

    probabilities: Parameter = None
    unknown: str = "error"
    prior: DirichletPrior | None = None
    levels: Any = None

    name = "categorical"
    is_additive = True
    prior_kind = DirichletPrior
    spaces = {"probabilities": SIMPLEX}

    def __post_init__(self) -> None:
        if self.unknown not in ("error", "missing"):
            raise ModelError.choice(
                what="treatment of unknown categories", found=self.unknown, available=("error", "missing")
            )
        object.__setattr__(self, "levels", _declared(self.levels))
        super().__post_init__()

    @property
    def support(self) -> Support:
        is_forgiving = self.unknown == "missing"
        return Support("labels", is_categorical=True, levels=self.levels or (), unknown_is_missing=is_forgiving)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        for name in self.levels if isinstance(self.levels, dict) else ():
            if name not in schema.names:
                raise ModelError.choice(what="column of categories", found=name, available=schema.names)
        return super().bind(schema, summary)

    def _as_parameter(self, name: str, value: Any, space: Space) -> Any:
        if isinstance(value, list | tuple) and value and all(np.ndim(one) == 2 for one in value):
            arrays = tuple(super(Categorical, self)._as_parameter(name, one, space) for one in value)
            counts = {f"{name}[{j}]": len(one) for j, one in enumerate(arrays)}
            if len(set(counts.values())) > 1:
                raise ModelError.n_components_differ(counts)
            return arrays if len(arrays) > 1 else arrays[0]
        return super()._as_parameter(name, value, space)

    def _by_column(self) -> tuple[Array, ...]:
        return self.probabilities if isinstance(self.probabilities, tuple) else (self.probabilities,)

    def _sizes(self) -> list[int]:
        if self.binding is None:
            return [p.shape[1] for p in self._by_column()]
        return [len(levels or ()) for levels in self.binding.schema.levels]

    def _check_columns(self) -> None:
        if self.probabilities is None:
            return
        found, required = [p.shape[1] for p in self._by_column()], self._sizes()
        if found != required and len(found) == len(required) and self.binding is not None:
            j = next(j for j, size in enumerate(required) if found[j] != size)
            name, levels = self.binding.names[j], self.binding.schema.levels[j] or ()
            raise ModelError.parameter(
                family=self.name,
                name=f"probabilities of '{name}'",
                requirement=f"one for each of its {required[j]} levels ({listed(levels)})",
                found=f"{found[j]} in each component",
            )
        if found != required:
            raise ModelError.parameter(
                family=self.name,
                name="probabilities",
                requirement=f"one array per column with {required} levels",
                found=f"{found} levels",
            )

    @property
    def tables(self) -> tuple[Array, ...]:
        """Probabilities of each column's levels, (K, levels) each."""
        return tuple(self._by_column())

    @property
    def level_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of each column's levels."""
        found = () if self.binding is None else self.binding.schema.levels
        return tuple(tuple(str(level) for level in levels or ()) for levels in found)

    def _level_names(self) -> tuple[tuple[str, str], ...]:
        if self.binding is None:
            raise ModelError.not_fitted(f"The family '{self.name}' is not bound to data yet; it")
        pairs = zip(self.binding.names, self.binding.schema.levels, strict=True)
        return tuple((column, str(level)) for column, levels in pairs for level in levels or ())

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        if self.binding is not None:
            return self._level_names()
        sizes = enumerate(self._sizes())
        return tuple((f"x{j}", str(level)) for j, size in sizes for level in range(size))

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"{column} = {level}" for column, level in self._level_names())

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        levels = [np.arange(size)[:, None] == x[:, j] for j, size in enumerate(self._sizes())]
        return np.concatenate(levels).astype(np.float64)

    def coefficients(self) -> Array:
        return np.concatenate([safe_log(p) for p in self._by_column()], axis=1)

    def _maximize(self, expected: Array) -> Self:
        edges = np.cumsum(self._sizes())[:-1]
        previous = (None,) * (len(edges) + 1) if self.probabilities is None else self._by_column()
        new = tuple(
            share(counts, counts.sum(axis=1, keepdims=True), old)
            for counts, old in zip(np.split(expected, edges, axis=1), previous, strict=True)
        )
        return self.estimated(probabilities=new if len(new) > 1 else new[0])

    def _sums_of_prior(self, K: int) -> Array:
        levels = [] if self.binding is None else [one or () for one in self.binding.schema.levels]
        return np.concatenate(self._prior.of_levels(levels, self.columns, K), axis=1) - 1

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        drawn = []
        for p in self._by_column():
            edges = np.cumsum(p, axis=1)[:, :-1][labels]
            drawn.append((rng.random((len(labels), 1)) > edges).sum(axis=1))
        return np.stack(drawn, axis=1).astype(np.float64)

    def level_shares(self) -> tuple[LevelShares, ...]:
        return tuple(
            LevelShares(name, levels, table)
            for name, levels, table in zip(self.columns, self.level_names, self.tables, strict=True)
        )

    def impute(self, x: Array, resp: Array) -> Array:
        """Rows (B, d) of codes, each missing one the most probable."""
        likely = np.stack([(resp @ p).argmax(axis=1) for p in self.tables], axis=1)
        return np.where(np.isnan(x), likely, x)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        found = []
        for j, p in enumerate(self._by_column()):
            edges = np.concatenate([np.zeros((len(p), 1)), np.cumsum(p, axis=1)], axis=1)
            if is_upper:
                edges = np.concatenate([np.cumsum(p[:, ::-1], axis=1)[:, ::-1], np.zeros((len(p), 1))], axis=1)
            missing = np.isnan(x[:, j])
            found.append(np.where(missing, np.nan, edges[:, np.where(missing, 0, x[:, j] + 1).astype(np.intp)]))
        return np.stack(found, axis=2)

    def coordinates(self, x: Array) -> Array:
        sizes = self._sizes()
        points, end = np.empty((len(x), sum(sizes))), 0
        for column, size in zip(x.T, sizes, strict=True):
            start, end = end, end + size
            points[:, start:end] = np.where(np.isnan(column)[:, None], np.nan, column[:, None] == np.arange(size))
        return points

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted = self.maximize(expected)
        value = np.concatenate(fitted._by_column(), axis=1)
        sizes = self._sizes()
        edges = np.cumsum(sizes)[:-1]
        totals = [part.sum(axis=1) for part in np.split(expected, edges, axis=1)]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        return tuple(
            Work("probabilities", value[:, i], f"rows with {column} = {level} / rows", expected[:, i], totals[owner[i]])
            for i, (column, level) in enumerate(self._level_names())
        )


def _declared(levels: Any) -> tuple[Level, ...] | dict[str, tuple[Level, ...]] | None:
    """Declared levels, checked: of all columns, or by column.

    Raises
    ------
    ModelError
        They are none, the same twice, or missing.
    """
    if levels is None:
        return None
    if isinstance(levels, Mapping):
        return {str(name): _checked(own, f"levels[{name!r}]") for name, own in levels.items()} or None
    return _checked(levels, "levels")


def _checked(levels: Any, name: str) -> tuple[Level, ...]:
    is_list = isinstance(levels, Sequence | np.ndarray) and not isinstance(levels, str)
    found = [plain_level(level) for level in levels] if is_list else []
    if not found or None in found or len(set(found)) < len(found):
        raise ModelError.argument(name=name, requirement="a list of different categories", found=levels)
    return tuple(level for level in found if level is not None)
