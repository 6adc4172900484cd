"""Online EM: rows that are seen once, batch by batch, and then forgotten.

    s <- (1 - gamma) s + gamma s_batch        mean expected statistics, the batch's under the current parameters
    parameters <- maximize(s)                 after each batch
    gamma_t = (t + t0) ** -exponent           of the row after t others; 1/2 < exponent <= 1

The rows of a batch step one after the other, under the same parameters, so that what is learnt does not hang on how
the stream is cut: gamma of a batch is 1 - exp(-(the sum of gamma_t over its rows, as an integral)). Where plain EM
shrinks what is left by a factor 1 - epsilon per pass, n rows shrink it by about exp(-epsilon n^(1 - exponent) /
(1 - exponent)), and not by more than as many passes of plain EM as there are batches. Components that overlap so much
that plain EM needs hundreds of passes need very long streams.

Source: Cappe & Moulines (2009), Journal of the Royal Statistical Society B 71, 593-613, sections 2.2 and 2.3 (with
Polyak-Ruppert averaging: Polyak & Juditsky (1992), SIAM Journal on Control and Optimization 30, 838-855); that later
values weigh more in the average is from Shamir & Zhang (2013), International Conference on Machine Learning 28, 71-79.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.sparse

from emix.block import Array, Expectation, Level, Schema
from emix.centred import CentredMixture, well_conditioned
from emix.data.knowledge import Knowledge, read_labels
from emix.data.scan import Scan, joined_cells
from emix.data.scan_readers import is_one_shot, record_batches
from emix.data.source import InMemorySource, make_source, that_count
from emix.data.sparse import make_sparse_source
from emix.data.table import Table, read_frame
from emix.errors import DataError, ImpossibleRowError, ModelError
from emix.families import Binding
from emix.fitting.blocking import check_linear
from emix.fitting.fit import fit
from emix.fitting.opening import OpenRows, open_data, open_rows
from emix.fitting.rows import sums_of_rows
from emix.fitting.runs import SPREAD
from emix.fitting.settings import draw_seed, n_threads, whole_number
from emix.model import Mixture
from emix.results import FitResult, model_of
from emix.threads import blas_limited

GROWTH = 1.0
"""Power of t with which the statistics after t rows weigh in their average.

Mean deviation from the batch estimate in its standard errors, two normals that take plain EM 63 passes, 40,000 rows in
batches of 500, exponent 0.6: 0.57 for 0, 0.52 for 1, 0.96 for 3, and 4.2 without an average."""


@dataclass(frozen=True)
class BatchRecord:
    """What one batch did.

    Attributes
    ----------
    rows : int
        Rows that count.
    weight : float
        Their weight.
    step : float
        Share of the batch in the statistics after it; 1 for the first.
    log_likelihood : float
        Of the batch under the parameters before it (those of its own fit for the first), in nats: falls when rows
        come that the model does not expect.
    """

    rows: int
    weight: float
    step: float
    log_likelihood: float


@dataclass(frozen=True)
class _State:
    """All that is known of the rows so far; replaced as a whole, so that a batch that fails leaves it as it was."""

    model: Mixture
    statistics: Array
    """(K, 1 + D) mean per unit of weight."""
    averaged: Array
    rows: int
    weight: float
    n_batches: int
    averaged_weight: float = 0.0


class OnlineEM:
    """Stepwise online EM of a mixture over batches of rows, each of which is seen once.

    Parameters
    ----------
    mixture : Mixture or FitResult
        A specification: the first batch is fitted, and its fit is the start. Or a mixture with parameters, which are
        then the start. Its sums must not depend on its parameters.
    step_exponent : float, default=0.6
        1/2 < exponent <= 1. Small forgets the start faster, and is noisier without averaging; 1 weighs all rows alike.
    delay : float, default=1.0
        t0 >= 1, in rows: how far the steps are on when they begin.
    average : bool, default=True
        Whether `model` is made of the statistics of all batches averaged (Polyak-Ruppert; those after t rows weigh in
        proportion to t), which takes out the noise of the steps. False: of the last ones, which follow a stream that
        changes, with a step_exponent near 1/2.
    first_rows : int, default=1
        Rows to be gathered before the first fit; by default those of the first batch.
    levels : mapping of column to sequence, optional
        All categories that a column may hold. Default: those that the rows of the first fit hold.
    n_init, n_jobs, random_state
        Of the first fit, as in `emix.fit`; `n_jobs` of every batch.

    Attributes
    ----------
    model : Mixture
        With the parameters so far.
    rows_seen : int
        Rows that counted so far.
    weight_seen : float
        Their weight.
    history : list of BatchRecord
        One per batch; the batches of the first fit are one.

    Raises
    ------
    ModelError
        An argument that cannot be, or a family whose sums depend on its parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Mixture, OnlineEM, Poisson
    >>> rng, online = np.random.default_rng(0), OnlineEM(Mixture(Poisson(), 2), random_state=0)
    >>> for _ in range(20):
    ...     online = online.update(rng.poisson(np.where(rng.random(500) < 0.3, 2.0, 9.0)))
    >>> online.rows_seen, sorted(online.model.family.rate.round())
    (10000, [np.float64(2.0), np.float64(9.0)])
    """

    def __init__(
        self,
        mixture: Mixture | FitResult,
        *,
        step_exponent: float = 0.6,
        delay: float = 1.0,
        average: bool = True,
        first_rows: int = 1,
        levels: Mapping[Any, Sequence[Level]] | None = None,
        n_init: int = 10,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        own: Mixture = model_of(mixture)
        check_linear(own, "online EM")
        if (
            isinstance(step_exponent, bool)
            or not isinstance(step_exponent, int | float)
            or not 0.5 < step_exponent <= 1
        ):
            requirement = "a number above 1/2 and at most 1 (others do not converge)"
            raise ModelError.argument(name="step_exponent", requirement=requirement, found=step_exponent)
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 1 <= delay < math.inf:
            raise ModelError.argument(name="delay", requirement="a finite number >= 1", found=delay)
        self.mixture = own
        self.step_exponent, self.delay, self.average = float(step_exponent), float(delay), bool(average)
        self.first_rows = whole_number("first_rows", first_rows, least=1)
        self.levels = {str(name): tuple(own) for name, own in (levels or {}).items()}
        self.n_init = whole_number("n_init", n_init, least=1)
        self.n_jobs, self.seed = n_threads(n_jobs), draw_seed(random_state)
        self.history: list[BatchRecord] = []
        self._gathered: list[OpenRows] = []
        self._state: _State | None = None
        self._model: Mixture | None = None

    # -- what is known so far ----------------------------------------------------------------------------------------

    @property
    def model(self) -> Mixture:
        """With the parameters so far.

        Raises
        ------
        ModelError
            Too few rows were seen for a first fit.
        """
        state = self._state
        if state is None:
            raise ModelError.too_few_seen(seen=self.rows_seen, required=self.first_rows)
        if self._model is None:
            averaged = state.averaged if self.average else state.statistics
            self._model = state.model.maximize(averaged * state.weight)
        return self._model

    def __repr__(self) -> str:
        return f"OnlineEM of a {self.mixture}, {self.rows_seen} rows seen"

    @property
    def rows_seen(self) -> int:
        """Rows that counted so far; those that wait for the first fit are all counted."""
        return sum(rows.table.n_rows for rows in self._gathered) if self._state is None else self._state.rows

    @property
    def weight_seen(self) -> float:
        """Weight of the rows that counted so far; 0 before the first fit."""
        return 0.0 if self._state is None else self._state.weight

    @property
    def statistics(self) -> Array:
        """(K, 1 + D) mean expected statistics per unit of weight, in the coordinates of the model's M-step."""
        if self._state is None:
            raise ModelError.too_few_seen(seen=self.rows_seen, required=self.first_rows)
        return np.array(self._state.averaged if self.average else self._state.statistics)

    # -- batches -----------------------------------------------------------------------------------------------------

    def update(self, batch: Any, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Learn from a batch of rows.

        Parameters
        ----------
        batch : array-like, data frame, dict of columns, path, Scan, or reader of Arrow record batches
            One row or more, with the columns of the first batch. The rows of a scan that is larger than memory, or of
            a reader, which may be one that can be read once only, are taken batch by batch as they are read. A batch
            in which no row counts, as all weights are 0 or nothing is observed, changes nothing.
        labels, sample_weight
            As in `emix.fit`, of a scan or reader the names of columns. Components have the names that labels of the
            first fit gave them.

        Raises
        ------
        DataError
            The rows cannot be: other columns, a cell outside the support, a category that is not known. Nothing of the
            batch is then learnt; of a scan or reader the batches before it are.
        DegenerateError
            A component lost its spread or its rows; nothing of the batch is then learnt.
        """
        how: dict[str, Any] = {"labels": labels, "sample_weight": sample_weight, "takes_sparse": True, "for_fit": False}
        data = batch if is_one_shot(batch) else open_data(batch, takes_sparse=True)
        if isinstance(data, Scan):
            open_rows(data, **how)  # of a scan these must be columns
            for one in data.batches():
                self._learn(one.table, how)
        elif is_one_shot(data):
            for record in record_batches(data):
                self._learn(read_frame(record), how)
        else:
            self._learn(data, how)
        return self

    def _learn(self, batch: Any, how: dict[str, Any]) -> None:
        rows = open_rows(batch, **how)
        if not rows.table.n_rows or (rows.weight is not None and not rows.weight.any()):
            return
        with blas_limited():
            if self._state is not None:
                self._step(rows, self._state)
            elif self.mixture.is_fitted:
                self._begin(self._with_levels(rows), rows)
            else:
                self._gather(rows)
        self._model = None

    def _gather(self, rows: OpenRows) -> None:
        """Wait for enough rows; then fit them."""
        waiting = [*self._gathered, rows]
        if sum(one.table.n_rows for one in waiting) < self.first_rows:
            self._gathered = waiting
            return
        rows = _joined(waiting)
        mixture = self._with_levels(rows)
        how: dict[str, Any] = {"n_init": self.n_init, "n_jobs": self.n_jobs, "random_state": self.seed}
        model = fit(mixture, rows.table, labels=rows.labels, sample_weight=rows.weight, **how).model
        self._begin(model, rows)
        self._gathered = []

    def _with_levels(self, rows: OpenRows) -> Mixture:
        """The specification, bound to all categories that were announced."""
        mixture = self.mixture
        if not self.levels or mixture.family.binding is not None:
            return mixture
        found = make_source(rows.table, mixture.family, n_components=1, sample_weight=rows.weight).schema
        for name, own in self.levels.items():
            if name not in found.names or found.levels[found.names.index(name)] is None:
                available = [name for name, own in zip(found.names, found.levels, strict=True) if own is not None]
                raise ModelError.choice(what="column of categories", found=name, available=available)
            if len(set(own)) < len(own) or not own:
                raise ModelError.argument(name=f"levels[{name!r}]", requirement="different categories", found=own)
        pairs = zip(found.names, found.levels, strict=True)
        schema = Schema(found.names, tuple(self.levels.get(name, own) for name, own in pairs))
        d = len(schema.names)
        return replace(mixture, family=replace(mixture.family, binding=Binding(schema, np.zeros(d), np.ones(d))))

    def _begin(self, model: Mixture, rows: OpenRows) -> None:
        """The statistics of the first rows under the start."""
        source = self._source(model, rows)
        if source.n_rows == 0:
            return
        if model.family.binding is None:
            model = model.bind(source.schema, source.summary)
        if isinstance(well_conditioned(model), CentredMixture):
            found = "components so far apart, or so narrow, that each must be summed about its own mean"
            raise ModelError.needs_linear(what="online EM", found=found)
        source = source.prepared_for(model.family)
        if model.prior_rows and model.prior_statistics is None:
            model = model.with_prior_of(sums_of_rows(model, source))
        sums = _summed(model, source)
        mean = sums.statistics / sums.weight
        model = model.maximize(sums.statistics)
        self._state = _State(model, mean, mean, source.n_rows, sums.weight, 1)
        self.history.append(BatchRecord(source.n_rows, sums.weight, 1.0, sums.log_likelihood))

    def _step(self, rows: OpenRows, state: _State) -> None:
        """One step from the state before."""
        source = self._source(state.model, rows)
        if source.n_rows == 0:  # nothing was observed
            return
        source = source.prepared_for(state.model.family)
        s, found = _expected(state, source)
        mean_weight = (state.weight + found.weight) / (state.rows + source.n_rows)
        gamma = self._step_over(state.rows, found.weight / mean_weight)
        s = (1 - gamma) * s + gamma * (found.statistics / found.weight)
        weight, rest = state.weight + found.weight, state.averaged_weight + found.weight
        share = min(1.0, (1 + GROWTH) * found.weight / (rest + GROWTH * found.weight))
        self._state = _State(
            state.model.maximize(s * weight),
            s,
            (1 - share) * state.averaged + share * s,
            state.rows + source.n_rows,
            weight,
            state.n_batches + 1,
            rest,
        )
        self.history.append(BatchRecord(source.n_rows, found.weight, float(gamma), found.log_likelihood))

    def _step_over(self, seen: int, rows: float) -> float:
        """1 minus what the steps of so many rows leave of what was known: exp of minus the integral of the steps."""
        begin, end, rest = seen + self.delay, seen + self.delay + rows, 1 - self.step_exponent
        total = math.log(end / begin) if rest == 0 else (end**rest - begin**rest) / rest
        return -math.expm1(-total)

    def _source(self, model: Mixture, rows: OpenRows) -> InMemorySource:
        """The rows that count; a batch may be so small that a column does not vary in it."""
        table = rows.table
        own: dict[str, Any] = {"n_components": model.latent_size, "sample_weight": rows.weight, "n_jobs": self.n_jobs}
        known = None if rows.labels is None else _knowledge(rows.labels, table, model)
        if table.sparse is not None:
            return make_sparse_source(table, model.family, knowledge=known, **own)
        source = make_source(table, model.family, knowledge=known, for_fit=False, **own)
        return source.take(np.flatnonzero(that_count(source, model.family)))


def _expected(state: _State, source: InMemorySource) -> tuple[Array, Expectation]:
    """The mean statistics before a batch, and the sums of the batch.

    A row may be impossible under all components because it holds what no row before did (an announced category, the
    first count above 0). Then a small share of the batch's rows is lent to each component first.
    """
    try:
        return state.statistics, source.sum_over_chunks(state.model.expect)
    except ImpossibleRowError:
        sums = sums_of_rows(state.model, source)
    s = (state.statistics + SPREAD * state.statistics[:, :1] * sums / sums[0]) / (1 + SPREAD)
    return s, _summed(state.model.maximize(s * state.weight), source)


def _summed(model: Mixture, source: InMemorySource) -> Expectation:
    """The E-step; an impossible row is named as the user knows it."""
    try:
        return source.sum_over_chunks(model.expect)
    except ImpossibleRowError as error:
        row = error.row if source.rows is None else int(source.rows[error.row])
        raise ImpossibleRowError.at(row, source.where(row)) from error


def _knowledge(labels: Any, table: Table, model: Mixture) -> Knowledge:
    """Labels of a batch; names are those of the first fit, whichever of them this batch holds."""
    own = None if np.ndim(labels) != 1 else [None if one in ("", None) else one for one in np.asarray(labels).tolist()]
    if own is None or not any(isinstance(one, str) for one in own):
        return read_labels(labels, n_components=model.latent_size, n_rows=table.n_rows, table=table)
    names = list(model.component_names or ())
    for row, one in enumerate(own):
        if one is not None and one not in names:
            raise DataError.new_label(found=one, where=table.where(row), names=names)
    codes = np.array([-1 if one is None else names.index(one) for one in own])
    return read_labels(codes, n_components=model.latent_size, n_rows=table.n_rows, table=table)


def _joined(waiting: list[OpenRows]) -> OpenRows:
    """Several batches as one."""
    if len(waiting) == 1:
        return waiting[0]
    sizes = [rows.table.n_rows for rows in waiting]
    labels = weight = None
    if any(rows.labels is not None for rows in waiting):
        pairs = zip(waiting, sizes, strict=True)
        labels = [one for rows, n in pairs for one in ([None] * n if rows.labels is None else rows.labels)]
        if any(isinstance(one, list | tuple | np.ndarray) for one in labels):
            requirement = "one label for each row while batches are gathered for the first fit (first_rows)"
            raise ModelError.argument(name="labels", requirement=requirement, found="a matrix")
    if any(rows.weight is not None for rows in waiting):
        pairs = zip(waiting, sizes, strict=True)
        weight = np.concatenate([np.ones(n) if rows.weight is None else rows.weight for rows, n in pairs])
    first = waiting[0].table
    if first.sparse is not None:
        return OpenRows(
            replace(first, sparse=scipy.sparse.vstack([rows.table.sparse for rows in waiting])), labels, weight
        )
    tables = [rows.table.select(first.names) for rows in waiting]
    cells = tuple(joined_cells([table.column(name) for table in tables]) for name in first.names)
    return OpenRows(replace(first, columns=cells, matrix=None, path=None, place=None, coded={}), labels, weight)
