"""What the user knows of rows beside their cells: labels and weights, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.data.table import Table, is_number, read_table, refuse_dates
from emix.errors import DataError


@dataclass(frozen=True)
class Knowledge:
    """Known components (-1 where unknown), or q (n, K); and the components' names where labels gave them."""

    labels: NDArray[np.intp] | None = None
    q: Array | None = None
    names: tuple[str, ...] | None = None

    def part(self, rows: slice) -> dict[str, Any]:
        """The fields of a chunk."""
        if self.q is not None:
            return {"knowledge": self.q[rows]}
        return {"labels": None if self.labels is None else self.labels[rows]}

    def take(self, rows: NDArray[np.intp]) -> Knowledge:
        """Only these rows."""
        if self.q is not None:
            return Knowledge(q=self.q[rows], names=self.names)
        return Knowledge(None if self.labels is None else self.labels[rows], names=self.names)

    def responsibilities(self, n_components: int) -> tuple[NDArray[np.bool_], Array]:
        """Which rows are known in part or whole, and q of those rows scaled to sum to 1."""
        if self.q is not None:
            is_known = (self.q != self.q[:, :1]).any(axis=1)
            q = self.q[is_known]
            return is_known, q / q.sum(axis=1, keepdims=True)
        labels = np.zeros(0, dtype=np.intp) if self.labels is None else self.labels
        is_known = labels >= 0
        return is_known, np.eye(n_components)[labels[is_known]]

    @property
    def is_everything(self) -> bool:
        """Whether each row's component is known."""
        if self.q is not None:
            return bool(((self.q > 0).sum(axis=1) == 1).all())
        return self.labels is not None and bool((self.labels >= 0).all())


def read_labels(
    labels: Any, *, n_components: int, n_rows: int, table: Table, names: Sequence[str] | None = None
) -> Knowledge:
    """Labels (n,) as numbers, names or sets of allowed ones, or q (n, K), checked.

    Components that have `names` already are found by them; else names are numbered in sorted order.

    Raises
    ------
    DataError
        The wrong shape, a label outside 0..K-1, more names than components or one that no component has, or a q that
        allows no component.
    """
    if isinstance(labels, list | tuple) and any(isinstance(one, set | frozenset) for one in labels):
        return _read_sets(labels, n_components=n_components, n_rows=n_rows, table=table, names=names)
    if _n_dimensions(labels) == 2:
        return Knowledge(q=_read_q(labels, n_components=n_components, n_rows=n_rows, table=table))
    given = _single_column(labels, "labels")
    if len(given) != n_rows:
        raise DataError.shape(what="labels", required=f"({n_rows},) or ({n_rows}, {n_components})", found=(len(given),))
    if given.dtype != object:
        return Knowledge(_check_codes(given.astype(np.float64), n_components, table))
    present = [value for value in given if value is not None and value != ""]
    if all(not isinstance(value, str) for value in present):
        numbers = np.array([-1.0 if value is None else float(value) for value in given])
        return Knowledge(_check_codes(numbers, n_components, table))
    full = _component_names({str(value) for value in present}, n_components, names)
    code = {name: k for k, name in enumerate(full)}
    codes = np.full(n_rows, -1, dtype=np.intp)
    for row, value in enumerate(given):
        if value is not None and value != "":
            if str(value) not in code:
                raise DataError.unknown_label(found=str(value), where=table.where(row), names=full)
            codes[row] = code[str(value)]
    return Knowledge(codes, names=full)


def _component_names(found: set[str], n_components: int, known: Sequence[str] | None) -> tuple[str, ...]:
    """Names of all components: those known, or the ones found, sorted, and numbers for the rest."""
    if known is not None:
        return tuple(known)
    names = sorted(found)
    if len(names) > n_components:
        raise DataError.label_names(names=names, n_components=n_components)
    return (*names, *(f"component {k}" for k in range(len(names), n_components)))


def _check_codes(given: Array, n_components: int, table: Table) -> NDArray[np.intp]:
    codes = np.where(np.isnan(given), -1.0, given)
    bad = (codes != np.floor(codes)) | (codes < -1) | (codes >= n_components)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError.label_range(found=f"{given[row]:g}", where=table.where(row), n_components=n_components)
    return codes.astype(np.intp)


def _read_sets(
    labels: Sequence[Any], *, n_components: int, n_rows: int, table: Table, names: Sequence[str] | None
) -> Knowledge:
    """Sets of allowed components, single ones, or None where nothing is known, as q of zeros and ones."""
    if len(labels) != n_rows:
        raise DataError.shape(what="labels", required=f"({n_rows},)", found=(len(labels),))
    sets = [one if isinstance(one, set | frozenset) else {-1 if one is None else one} for one in labels]
    texts = {one for allowed in sets for one in allowed if isinstance(one, str)}
    full = _component_names(texts, n_components, names) if texts else None
    q = np.zeros((n_rows, n_components))
    for row, allowed in enumerate(sets):
        if allowed == {-1}:
            q[row] = 1.0
            continue
        for one in allowed:
            q[row, _component(one, full, n_components, table, row)] = 1.0
        if not allowed:
            raise DataError.knowledge(found=[], where=table.where(row))
    return Knowledge(q=q, names=full)


def _component(one: Any, names: Sequence[str] | None, n_components: int, table: Table, row: int) -> int:
    """The number of a component that a set allows, by name where there are names."""
    if names is not None:
        if not isinstance(one, str):
            raise DataError.mixed_labels(where=table.where(row))
        if one not in names:
            raise DataError.unknown_label(found=one, where=table.where(row), names=names)
        return names.index(one)
    if isinstance(one, bool) or not isinstance(one, int | np.integer) or not 0 <= one < n_components:
        raise DataError.label_range(found=repr(one), where=table.where(row), n_components=n_components)
    return int(one)


def _read_q(labels: Any, *, n_components: int, n_rows: int, table: Table) -> Array:
    table_of_q = read_table(labels)
    columns = table_of_q.columns
    for name, column in zip(table_of_q.names, columns, strict=True):
        refuse_dates(name, column)
    if any(column.dtype == object for column in columns):
        raise DataError.shape(what="labels (n, K)", required="numbers", found="text")
    q = np.stack([column.astype(np.float64) for column in columns], axis=1)
    if q.shape != (n_rows, n_components):
        raise DataError.shape(what="labels", required=f"({n_rows},) or ({n_rows}, {n_components})", found=q.shape)
    bad = ~(np.isfinite(q) & (q >= 0)).all(axis=1) | ~(q > 0).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError.knowledge(found=q[row].tolist(), where=table.where(row))
    return q


def read_weights(sample_weight: Any, *, n_rows: int, table: Table, for_fit: bool = True) -> Array | None:
    """Row weights (n,), checked; a single number serves all rows. Where they are not for a fit, all may be 0.

    Raises
    ------
    DataError
        The wrong length, a negative, infinite or missing weight, or none that is positive.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, int | float):
        given: NDArray[Any] = np.full(n_rows, float(sample_weight))
    else:
        given = _single_column(sample_weight, "sample_weight")
    if len(given) != n_rows:
        raise DataError.shape(what="sample_weight", required=f"({n_rows},)", found=f"({len(given)},)")
    weight = checked_weights(given, table)
    if for_fit and not (weight > 0).any():
        raise DataError.weights_all_zero()
    return weight


def checked_weights(given: NDArray[Any], table: Table) -> Array:
    """Some weights as numbers.

    Raises
    ------
    DataError
        One is negative, infinite, missing or no number; the row is named.
    """
    if given.dtype == object:
        wrong = [value is None or (isinstance(value, str) and not is_number(value)) for value in given]
        if any(wrong):
            row = wrong.index(True)
            raise DataError.sample_weight(found=repr(given[row]), where=table.where(row))
    weight = given.astype(np.float64)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError.sample_weight(found=f"{weight[row]:g}", where=table.where(row))
    return weight


def _single_column(values: Any, what: str) -> NDArray[Any]:
    if isinstance(values, list | tuple):  # a list such as ["B", None, "A"], or one of toss-like names
        values = np.array(values, dtype=object)
    columns = read_table(values).columns
    if len(columns) > 1:
        raise DataError.shape(what=what, required="(n_rows,)", found=f"{len(columns)} columns")
    refuse_dates(what, columns[0])
    return columns[0]


def _n_dimensions(values: Any) -> int:
    """1 for a column, 2 for a matrix of more than one column."""
    shape = values.shape if hasattr(values, "shape") else np.asarray(values, dtype=object).shape
    return 2 if len(shape) == 2 and shape[1] != 1 else 1
