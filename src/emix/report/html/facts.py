"""What a report is made of: the model, its rows and their responsibilities, and a seeded sample of rows to draw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, as_cells
from emix.data.knowledge import read_labels
from emix.data.scan import Scan
from emix.data.source import InMemorySource, says_nothing
from emix.data.sparse import log_base_of
from emix.data.table import Table
from emix.errors import DataError, ImpossibleRowError, ModelError
from emix.fitting.opening import open_rows
from emix.fitting.use import prepared
from emix.inference.tables import classification_table, entropy_r2
from emix.kernels.reference import responsibilities
from emix.model import Mixture
from emix.report.columns import Column, columns_of, separations
from emix.report.words import Description, describe
from emix.results import FitResult

DRAWN_ROWS = 20_000
"""Rows that histograms and sentences are made of."""
DENSE_CELLS = 4_000_000
"""Cells at most of these rows: a wide sparse table is drawn from fewer of them."""
CERTAIN = 0.9
"""Responsibility from which a row's component counts as certain."""
SEED = 0
"""Of the samples of rows that are drawn."""
SAME = 1e-6
"""Relative difference up to which two log-likelihoods are the same: data written to text and read again."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model on its rows.

    Attributes
    ----------
    model : Mixture
        With parameters, bound.
    result : FitResult or None
        How the fit ended; None where only the model is known.
    table, labels, sample_weight
        All rows as the user gave them; labels as codes (n,) with -1 where unknown, or as q (n, K).
    columns : list of Column
    apart : ndarray of shape (c,)
        How far each column sets the components apart.
    descriptions : list of Description
        One per component.
    rows : ndarray of int, (m,)
        Positions in the table of the rows that are drawn.
    x : ndarray of shape (m, d)
        Their cells.
    weight : ndarray of shape (m,)
    resp : ndarray of shape (m, K)
    largest : ndarray of shape (n,)
        Each row's largest responsibility, of all rows that count.
    all_weight : ndarray of shape (n,)
        Weights of all rows that count.
    counts : ndarray of shape (K,)
        Expected number of rows of each component.
    log_likelihood : float
        Of the rows under the model, in nats.
    entropy_r2 : float
        1 where the component of each row is certain, 0 where nothing is known of it.
    placed : ndarray of shape (K, K)
        Expected number of rows by the component that they are put into and their own.
    n_missing : ndarray of shape (d,)
        Missing cells of each of the model's columns.
    """

    model: Mixture
    result: FitResult | None
    table: Table
    labels: NDArray[Any] | None
    sample_weight: Array | None
    columns: list[Column]
    apart: Array
    descriptions: list[Description]
    rows: NDArray[np.intp]
    x: Array
    weight: Array
    resp: Array
    largest: Array
    all_weight: Array
    counts: Array
    log_likelihood: float
    entropy_r2: float
    placed: Array
    n_missing: Array

    @property
    def is_sampled(self) -> bool:
        """Whether fewer rows are drawn than there are."""
        return len(self.rows) < len(self.all_weight)

    @property
    def total_weight(self) -> float:
        """The number of rows, or the sum of their weights."""
        return float(self.all_weight.sum())

    @property
    def order(self) -> list[int]:
        """Columns, the most separating first."""
        return [int(j) for j in np.argsort(-self.apart, kind="stable")]

    def part(self, rows: NDArray[np.intp]) -> tuple[Table, Any, Array | None]:
        """These rows of the table with what is known of them."""
        table = replace(
            self.table,
            columns=tuple(column[rows] for column in self.table.columns),
            matrix=None if self.table.matrix is None else self.table.matrix[rows],
            sparse=None if self.table.sparse is None else self.table.sparse[rows],
            path=None,
        )
        labels = None if self.labels is None else self.labels[rows]
        return table, labels, None if self.sample_weight is None else self.sample_weight[rows]


def gather(result: FitResult | Mixture, data: Any, *, labels: Any = None, sample_weight: Any = None) -> Facts:
    """Read the rows of a fit and what the model says of them.

    Raises
    ------
    ModelError
        There are no parameters, or the model is a user's own.
    DataError
        The data cannot be, or are not those of the fit.
    """
    fitted = result if isinstance(result, FitResult) else None
    model = result.model if isinstance(result, FitResult) else result
    if not isinstance(model, Mixture):
        raise ModelError.argument(name="result", requirement="the fit of a Mixture, or a Mixture", found=model)
    opened = open_rows(data, labels=labels, sample_weight=sample_weight, takes_sparse=True)
    if isinstance(opened.data, Scan):
        raise DataError.needs_memory("a report")
    table, labels, weight = opened.data, opened.labels, opened.weight
    model, source = prepared(model, table, labels=labels, sample_weight=weight, takes_sparse=True)
    known = None
    if labels is not None:  # as codes, whatever they were: names would be counted anew in a part of the rows
        read = read_labels(labels, n_components=model.latent_size, n_rows=table.n_rows, table=table)
        known = read.labels if read.q is None else read.q
    counted = source.weight > 0
    if table.sparse is None:
        counted &= ~says_nothing(as_cells(source.x), model.family)
    rows = np.flatnonzero(counted)
    if len(rows) == 0:
        raise DataError.no_rows("the data that count")
    source = source.take(rows)
    resp, log_likelihood = _resp(model, source)
    if fitted is not None:
        _check_same(fitted, log_likelihood, float(source.weight.sum()))
    drawn = _drawn(source)
    columns = columns_of(model)
    x = as_cells(source.x[drawn] if table.sparse is None else table.sparse[rows[drawn]].toarray())
    weighted = resp[drawn] * source.weight[drawn, None]
    K = model.latent_size - model.has_noise
    apart = separations(model, columns, x, weighted[:, :K])
    return Facts(
        model,
        fitted,
        table,
        known,
        weight,
        columns,
        apart,
        describe(model, columns, apart, x, weighted),
        rows[drawn],
        x,
        source.weight[drawn],
        resp[drawn],
        resp.max(axis=1),
        source.weight,
        source.weight @ resp,
        log_likelihood,
        entropy_r2(resp, source.weight),
        classification_table(resp, source.weight),
        source.summary.n_missing,
    )


def _resp(model: Mixture, source: InMemorySource) -> tuple[Array, float]:
    """(n, K) responsibilities and the log-likelihood."""
    parts, log_likelihood = [], 0.0
    for chunk in source.chunks:
        resp, log_evidence = responsibilities(model.log_joint(chunk))
        if not np.isfinite(log_evidence).all():
            row = chunk.start + int(np.argmax(~np.isfinite(log_evidence)))
            row = row if source.rows is None else int(source.rows[row])
            raise ImpossibleRowError.at(row, source.where(row))
        parts.append(resp.T)
        log_likelihood += float(chunk.weight @ (log_evidence + log_base_of(chunk, model.family)))
    return np.concatenate(parts), log_likelihood


def _check_same(result: FitResult, log_likelihood: float, total_weight: float) -> None:
    """Raise if these are not the rows of the fit."""
    near = SAME * (abs(result.log_likelihood) + result.total_weight)
    if abs(log_likelihood - result.log_likelihood) > near or abs(total_weight - result.total_weight) > near:
        raise DataError.other_rows(
            required=(result.total_weight, result.log_likelihood), found=(total_weight, log_likelihood)
        )


def _drawn(source: InMemorySource) -> NDArray[np.intp]:
    """Positions of the rows that are drawn: all, or a sample without replacement."""
    limit = max(100, min(DRAWN_ROWS, DENSE_CELLS // len(source.schema.names)))
    if source.n_rows <= limit:
        return np.arange(source.n_rows)
    return np.sort(np.random.default_rng(SEED).choice(source.n_rows, limit, replace=False))
