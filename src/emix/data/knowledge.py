"""What the user knows of rows beside their cells: labels and weights, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.data.table import Table, is_number, read_table
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


def read_labels(labels: Any, *, n_components: int, n_rows: int, table: Table) -> Knowledge:
    """Labels (n,) as numbers, names or sets of allowed numbers, or q (n, K), checked.

    Raises
    ------
    DataError
        The wrong shape, a label outside 0..K-1, more names than components, or a q that allows no component.
    """
    if isinstance(labels, list | tuple) and any(isinstance(one, set | frozenset) for one in labels):
        return Knowledge(q=_allowed(labels, n_components=n_components, n_rows=n_rows, table=table))
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
    names = sorted({str(value) for value in present})
    if len(names) > n_components:
        raise DataError.label_names(names=names, n_components=n_components)
    code = {name: k for k, name in enumerate(names)}
    codes = np.array([-1 if value is None or value == "" else code[str(value)] for value in given], dtype=np.intp)
    full = (*names, *(f"component {k}" for k in range(len(names), n_components)))
    return Knowledge(codes, names=full)


def _check_codes(given: Array, n_components: int, table: Table) -> NDArray[np.intp]:
    codes = np.where(np.isnan(given), -1.0, given)
    bad = (codes != np.floor(codes)) | (codes < -1) | (codes >= n_components)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError.label_range(found=f"{given[row]:g}", where=table.where(row), n_components=n_components)
    return codes.astype(np.intp)


def _allowed(labels: Sequence[Any], *, n_components: int, n_rows: int, table: Table) -> Array:
    """Sets of allowed components, single ones, or None where nothing is known, as q of zeros and ones."""
    if len(labels) != n_rows:
        raise DataError.shape(what="labels", required=f"({n_rows},)", found=(len(labels),))
    q = np.zeros((n_rows, n_components))
    for row, one in enumerate(labels):
        allowed = one if isinstance(one, set | frozenset) else {-1 if one is None else one}
        if allowed == {-1}:
            q[row] = 1.0
            continue
        for k in allowed:
            if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 0 <= k < n_components:
                raise DataError.label_range(found=repr(k), where=table.where(row), n_components=n_components)
            q[row, k] = 1.0
        if not allowed:
            raise DataError.knowledge(found=[], where=table.where(row))
    return q


def _read_q(labels: Any, *, n_components: int, n_rows: int, table: Table) -> Array:
    columns = read_table(labels).columns
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


def read_weights(sample_weight: Any, *, n_rows: int, table: Table) -> Array | None:
    """Row weights (n,), checked; a single number serves all rows.

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
    if not (weight > 0).any():
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
    return columns[0]


def _n_dimensions(values: Any) -> int:
    """1 for a column, 2 for a matrix of more than one column."""
    shape = values.shape if hasattr(values, "shape") else np.asarray(values, dtype=object).shape
    return 2 if len(shape) == 2 and shape[1] != 1 else 1
