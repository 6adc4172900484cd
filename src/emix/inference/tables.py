"""How well a latent class model tells the table of its items, and how well it tells its rows apart.

G2 = 2 sum n log(n / m) and chi2 = sum (n - m)^2 / m over all patterns of answers, n the observed and m the expected
number of rows; bivariate residual = chi2 of the two-way table of two items / ((levels - 1)(levels - 1)).
Sources: Goodman (1974), Biometrika 61, 215-231; Agresti (2013), Categorical Data Analysis, 3rd ed., sections 1.5 and
14.1; Vermunt & Magidson (2016), Technical Guide for Latent GOLD 5.1, section 7; Ramaswamy et al. (1993), Marketing
Science 12, 103-124 (the entropy R2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2 as chi2_distribution

from emix.block import Array, Schema, as_cells, safe_log
from emix.data.source import that_count
from emix.described import capitalised
from emix.errors import ModelError
from emix.families import Bernoulli, Categorical, Columns, Family
from emix.families.columnwise import by_column
from emix.fitting.use import prepared
from emix.model import Mixture
from emix.results import Fitted, mixture_of

CELLS_PER_ROW = 10
"""A table with more cells than this per row is all but empty: G2 and chi2 then follow no known distribution."""
EXPECTED_PER_CELL = 5
"""Rows per cell from which the chi-squared distribution is a good approximation (Cochran 1954, Biometrics 10)."""


@dataclass(frozen=True)
class TableFit:
    """Observed against expected numbers of rows, over all patterns of answers.

    Attributes
    ----------
    G2, chi2 : float or None
        Likelihood-ratio and Pearson statistic, patterns that nobody gave included; None where `reason` says why.
    df : int or None
        Patterns - 1 - free parameters; negative where the model has more parameters than the table has cells.
    G2_p_value, chi2_p_value : float or None
        Of the chi-squared distribution with `df` degrees of freedom; None where df is not positive.
    n_patterns : int
        Cells of the table.
    reason : str
        Why there are no statistics, or what to mind with them; empty where there is nothing to say.
    """

    G2: float | None
    chi2: float | None
    df: int | None
    G2_p_value: float | None
    chi2_p_value: float | None
    n_patterns: int
    reason: str = ""

    def __str__(self) -> str:
        """A line, and what to mind."""
        lines = []
        if self.G2 is not None and self.chi2 is not None:
            both = ((self.G2, self.G2_p_value), (self.chi2, self.chi2_p_value))
            found = [f"{one:.4f}{'' if p is None else f' (p = {p:.4g})'}" for one, p in both]
            lines.append(f"G2 {found[0]}, chi2 {found[1]}; df {self.df}, {self.n_patterns:,} patterns of answers")
        return "\n".join([*lines, *([capitalised(f"{self.reason}.")] if self.reason else [])])

    __repr__ = __str__

    @classmethod
    def without(cls, n_patterns: int, reason: str) -> TableFit:
        """None of the statistics, and why."""
        return cls(None, None, None, None, None, n_patterns, reason)


def table_fit(model: Fitted, data: Any, *, sample_weight: Any = None) -> TableFit:
    """G2 and chi2 of a latent class model over the table of all its items.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        Of `Categorical` or `Bernoulli` items, fitted to these rows without known labels; or of `Columns` with such
        parts: the table is then that of their columns alone.
    data, sample_weight
        As in `fit`.

    Raises
    ------
    ModelError
        The family has no such items, or no parameters.
    DataError
        The data cannot be.

    Examples
    --------
    >>> from emix import Categorical, Mixture, table_fit
    >>> independence = Mixture(Categorical([[[0.5, 0.5]], [[0.5, 0.5]]]))
    >>> found = table_fit(independence, [[0, 0], [0, 1], [1, 0], [1, 1]], sample_weight=[30, 20, 20, 30])
    >>> round(found.chi2, 6), found.df
    (4.0, 1)
    """
    model, items, x, weight = _answers(model, data, sample_weight)
    tables = [item.probabilities for item in items]
    n_patterns = math.prod(table.shape[1] for table in tables)
    total = float(weight.sum())
    is_incomplete = np.isnan(x).any(axis=1)
    if is_incomplete.any():
        reason = (
            f"{weight[is_incomplete].sum():,.10g} rows have missing answers, and belong to no one cell of the table"
        )
        return TableFit.without(n_patterns, reason)
    if n_patterns > CELLS_PER_ROW * total:
        reason = f"the table has {n_patterns:,} cells for {total:,.10g} rows: nearly all would be empty"
        return TableFit.without(n_patterns, reason)
    if not len(x):
        return TableFit.without(n_patterns, "no row answers an item")
    patterns, inverse = np.unique(x, axis=0, return_inverse=True)
    observed = np.bincount(inverse.ravel(), weights=weight)
    expected = total * _pattern_probabilities(model.latent.mixing_proportions, tables, patterns)
    # a pattern without rows adds its expected number: all of them together what the others leave of the total
    rest = max(total - float(expected.sum()), 0.0)
    # 2 sum (n log(n / m) - n + m) over all cells: the terms are never negative and do not cancel
    G2 = float(2 * (xlogy(observed, observed / expected) - observed + expected).sum() + 2 * rest)
    pearson = float(((observed - expected) ** 2 / expected).sum() + rest)
    df, reason = n_patterns - 1 - _n_free_parameters(model), ""
    if len(tables) < len(model.family.columns):
        reason = "other columns took part in the fit: the statistics follow no known distribution, and have no p-values"
        return TableFit(G2, pearson, df, None, None, n_patterns, reason)
    if df < 0:
        reason = f"the model has {-df} more free parameters than the table can tell: it is not identified"
    elif df == 0:
        reason = "the model has as many free parameters as the table can tell"
    elif total < EXPECTED_PER_CELL * n_patterns:
        reason = f"{total / n_patterns:.2g} rows per cell: the p-values are rough"
    return TableFit(G2, pearson, df, _p_value(G2, df), _p_value(pearson, df), n_patterns, reason)


def bivariate_residuals(model: Fitted, data: Any, *, sample_weight: Any = None) -> Array:
    """Pearson chi2 of the two-way table of each pair of items, divided by (levels - 1)(levels - 1).

    About 1 where the classes explain why two items go together; well above where they do not. Rows that answer both
    items count, as if they were a sample of all rows: what is missing should not depend on the other answers here,
    though it may in the fit.

    Parameters
    ----------
    model, data, sample_weight
        As in `table_fit`.

    Returns
    -------
    ndarray of shape (d, d)
        Symmetric, items in the order of `item_names(model)`. 0 where there is nothing to explain: on the diagonal, for
        an item with one level, and where no row answers both.
    """
    model, items, x, weight = _answers(model, data, sample_weight)
    tables = [item.probabilities for item in items]
    shares, d = model.latent.mixing_proportions, len(tables)
    residuals = np.zeros((d, d))
    for i in range(d):
        for j in range(i):
            both = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
            df = (tables[i].shape[1] - 1) * (tables[j].shape[1] - 1)
            if df == 0 or not both.any():
                continue
            expected = weight[both].sum() * (shares * tables[i].T) @ tables[j]
            observed = np.zeros_like(expected)
            np.add.at(observed, (x[both, i].astype(np.intp), x[both, j].astype(np.intp)), weight[both])
            is_possible = expected > 0  # an impossible cell has no rows, or the fit would not have ended
            difference = (observed - expected)[is_possible]
            residuals[i, j] = residuals[j, i] = float((difference**2 / expected[is_possible]).sum()) / df
    return residuals


def entropy_r2(responsibilities: Array, weight: Array) -> float:
    """1 - sum of weight x entropy of each row's responsibilities / (total weight x log K).

    1 where each row's class is certain, 0 where nothing is known of it; 1 for a single class.

    Parameters
    ----------
    responsibilities : ndarray of shape (n, K)
        Rows sum to 1.
    weight : ndarray of shape (n,)
        Weight 3 equals the row three times.
    """
    K = responsibilities.shape[1]
    if K == 1:
        return 1.0
    entropy = -xlogy(responsibilities, responsibilities).sum(axis=1)
    return float(1 - weight @ entropy / (weight.sum() * np.log(K)))


def classification_table(responsibilities: Array, weight: Array) -> Array:
    """Expected number of rows by the class that they are assigned to and their own, (K, K).

    Entry [k, l] is the sum of weight x responsibility of class l over the rows assigned to class k; what is off the
    diagonal is expected to be misplaced. Columns add up to the expected class sizes.

    Parameters
    ----------
    responsibilities : ndarray of shape (n, K)
        Rows sum to 1.
    weight : ndarray of shape (n,)
        Weight 3 equals the row three times.
    """
    K = responsibilities.shape[1]
    assigned = np.eye(K)[responsibilities.argmax(axis=1)]
    return np.asarray(assigned.T @ (responsibilities * weight[:, None]))


def counted_weight(model: Fitted, data: Any, *, sample_weight: Any = None) -> Array:
    """Weight of each row, (n,); 0 for one without an answer, which says nothing of the classes."""
    model, source = prepared(model, data, sample_weight=sample_weight)
    return np.where(that_count(source, model.family), source.weight, 0.0)


@dataclass(frozen=True)
class _Item:
    """A column of answers: its place among the model's columns, its name, and the probabilities (K, levels)."""

    position: int
    name: str
    probabilities: Array


def item_names(model: Fitted) -> tuple[str, ...]:
    """The columns that `table_fit` and `bivariate_residuals` look at, in their order.

    Raises
    ------
    ModelError
        The model has no parameters, or no items.
    """
    return tuple(item.name for item in _items(mixture_of(model).family))


def _items(family: Family) -> list[_Item]:
    """The columns of answers of a bound family with parameters."""
    schema = Schema(family.columns, (None,) * len(family.columns))
    parts: list[tuple[Family, slice]] = [(family, slice(0, None))]
    if isinstance(family, Columns):
        parts = [(part.family, group) for part, group in zip(family.parts, family.column_groups(schema), strict=True)]
    found = []
    for one, group in parts:
        names = schema.names[group]
        for j, table in enumerate(_tables(one, len(names))):
            found.append(_Item(group.start + j, names[j], table))
    if not found:
        requirement = "a mixture with Categorical or Bernoulli items"
        raise ModelError.argument(name="model", requirement=requirement, found=family.name)
    return found


def _tables(family: Family, d: int) -> Iterator[Array]:
    """Probabilities (K, levels) of each of the d columns, if they are items."""
    if isinstance(family, Categorical):
        yield from family.tables
    elif isinstance(family, Bernoulli):
        p = by_column(family.probability)
        for ones in np.broadcast_to(p, (len(p), d)).T:  # one probability for all, if shared
            yield np.stack([1 - ones, ones], axis=1)


def _n_free_parameters(model: Mixture) -> int:
    """Of the proportions and the items."""
    total = model.latent.n_free_parameters
    families = [part.family for part in model.family.parts] if isinstance(model.family, Columns) else [model.family]
    return total + sum(one.n_free_parameters for one in families if isinstance(one, Categorical | Bernoulli))


def _answers(model: Fitted, data: Any, sample_weight: Any) -> tuple[Mixture, list[_Item], Array, Array]:
    """The model, bound; its items; and codes (m, d) and weights (m,) of the rows that answer one of them.

    Rows that repeat are one row where they are many: 200,000 rows of 6,561 patterns are then sorted in no time.
    """
    model, source = prepared(model, data, sample_weight=sample_weight)
    items = _items(model.family)
    if len(items) < source.x.shape[1]:
        own = [item.position for item in items]
        source = replace(source, x=as_cells(source.x[:, own]), summary=source.summary.of_columns(own))
    source = source.collapsed()
    x = as_cells(source.x)
    counts = (source.weight > 0) & ~np.isnan(x).all(axis=1)
    return model, items, x[counts], source.weight[counts]


def _pattern_probabilities(shares: Array, tables: Sequence[Array], patterns: Array) -> Array:
    """P(pattern) for each row of codes (m, d): (m,)."""
    codes = patterns.astype(np.intp)
    log_joint = np.repeat(safe_log(shares)[:, None], len(codes), axis=1)
    for j, table in enumerate(tables):
        log_joint += safe_log(table)[:, codes[:, j]]
    return np.asarray(np.exp(log_joint).sum(axis=0))


def _p_value(statistic: float, df: int) -> float | None:
    return float(chi2_distribution.sf(statistic, df)) if df > 0 else None
