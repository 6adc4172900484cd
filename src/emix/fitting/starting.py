"""From what the user says about the start to models with parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from emix.block import Array, updated
from emix.data.knowledge import read_labels
from emix.data.protocol import RowSource
from emix.data.source import InMemorySource
from emix.data.sparse import SparseSource
from emix.data.table import Table
from emix.em.starts import BLUR, METHODS, Pool, distinct_rows, model_from_responsibilities, seeded_responsibilities
from emix.errors import DataError, DegenerateError, ModelError
from emix.families import Family
from emix.fitting.opening import OpenRows
from emix.model import Mixture

MANY_ROWS = 10
"""Rows per column and one more that a component needs for its narrowness to be believed."""
NOISE = 0.1
"""Share of every row that a start gives to noise."""


@dataclass(frozen=True)
class Start:
    """A model to start from, or the reason why there is none."""

    method: str
    model: Any
    message: str = ""
    is_short: bool = False


KEPT = 100_000
"""Numbers among the responsibilities of a start up to which they are kept for other models of as many components."""


@dataclass(frozen=True)
class Seeding:
    """What starts are drawn from: the distinct ones among standardised rows, and what was drawn before."""

    pool: Pool
    drawn: dict[Any, Array] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(sample: InMemorySource, family: Family) -> Seeding:
        """Of these rows, in the coordinates of the family."""
        return Seeding(distinct_rows(sample.coordinates(family), sample.weight, sample.row_hash))

    def responsibilities(self, rows: InMemorySource, seed: int, method: str) -> Array:
        """(n, K) start responsibilities: drawn once for all models of as many components."""
        key = (rows.n_components, seed, method)
        resp = self.drawn.get(key)
        if resp is None:
            resp = seeded_responsibilities(rows, self.pool, seed, method=method)
            if resp.size <= KEPT:
                self.drawn[key] = resp
        return resp


def is_seeded(model: Mixture, start: Any) -> bool:
    """Whether starts are drawn from the rows, so that a sample of them is needed."""
    return isinstance(start, str) or (start is None and not model.is_fitted)


def make_starts(
    model: Mixture,
    rows: RowSource,
    sample: RowSource,
    opened: OpenRows,
    start: Any,
    *,
    n_init: int,
    seed: int,
    seeding: Callable[[], Seeding],
) -> list[Start]:
    """All starts of a fit: from the user's labels for the rows as they are, or seeded on a sample of distinct rows.

    Raises
    ------
    ModelError
        The start is none of the known forms, or does not fit the model.
    """
    if start is None:
        if model.is_fitted:
            return [Start("given", model)]
        start = "short-runs" if n_init > 1 else "k-means++"
    if isinstance(start, Mixture):
        return [Start("given", _with_parameters(model, start))]
    if isinstance(start, list | tuple) and len(start) > 0 and all(isinstance(one, Mixture) for one in start):
        return [Start("given", _with_parameters(model, one)) for one in start]
    if not isinstance(start, str):
        return [_from_array(model, rows, opened.table, start)]
    if start not in METHODS:
        raise ModelError.choice(what="start", found=start, available=METHODS)
    is_certain = rows.knowledge is not None and rows.knowledge.is_everything
    n_starts = 1 if model.n_components == 1 or is_certain or start == "ward" else n_init
    assert isinstance(sample, InMemorySource)  # of seeded starts
    drawn = seeding()
    return [_seeded(model, rows, sample, drawn, start, index, seed) for index in range(n_starts)]


def _seeded(
    model: Mixture,
    all_rows: RowSource,
    source: InMemorySource,
    seeding: Seeding,
    method: str,
    index: int,
    seed: int,
) -> Start:
    own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
    is_short = method == "short-runs"
    if is_short:  # one hierarchical start, then two kinds by turns, for variety
        method = "ward" if index == 0 else ("k-means++", "random")[index % 2]
    if model.has_noise and source.knowledge is None:  # seeds for the others, and the same share of every row
        rows = updated(source, n_components=model.latent_size - 1)
        resp = (1 - NOISE) * seeding.responsibilities(rows, own_seed, method)
        resp = np.concatenate([resp, np.full((len(resp), 1), NOISE)], axis=1)
    else:
        resp = seeding.responsibilities(source, own_seed, method)
    if isinstance(all_rows, SparseSource):  # each row counts a little: no column is left with probability 0
        source, resp = all_rows, all_rows.spread(source, resp, BLUR)
    label = f"short run from {method}" if is_short else method
    return _attempt(label, model, source, resp, is_short=is_short, is_unordered=source.knowledge is None)


def _attempt(
    label: str,
    model: Mixture,
    source: InMemorySource,
    resp: Array,
    *,
    is_short: bool = False,
    is_unordered: bool = False,
) -> Start:
    try:
        started = model_from_responsibilities(_unfitted(model), source, resp, is_unordered=is_unordered)
        return Start(label, started, is_short=is_short)
    except DegenerateError as error:
        binding = model.family.binding
        can_be_centred = model.family.can_be_centred and not model.constraints
        if binding is None or not is_believed(error.weight, source) or not can_be_centred:
            return Start(label, None, f"At the start {error}", is_short)
    # narrow, but on many rows: start from a little more spread, and leave the rest to the centred path
    lifted = replace(model, family=replace(model.family, binding=replace(binding, is_own=True)))
    try:
        started = model_from_responsibilities(_unfitted(lifted), source, resp)
        family = replace(started.family, binding=binding)
        family.coefficients()
    except (DegenerateError, ModelError, np.linalg.LinAlgError) as error:  # too narrow even so
        return Start(label, None, f"At the start {error}", is_short)
    return Start(label, replace(started, family=family), is_short=is_short)


def is_believed(weight: float, source: RowSource) -> bool:
    """Whether a component of this weight rests on enough rows for its narrowness to be believed."""
    average = source.total_weight / source.n_rows
    return weight >= MANY_ROWS * (len(source.schema.names) + 1) * average


def _unfitted(model: Mixture) -> Mixture:
    """Without the parameters that are free, so that an empty component is an error and not what it was before."""
    free: dict[str, Any] = {name: None for name in model.family.parameters if name not in model.fixed}
    held = model.mixing_proportions if "mixing_proportions" in model.fixed else None
    return replace(model, family=model.family.with_parameters(free), mixing_proportions=held)


def _with_parameters(model: Mixture, start: Mixture) -> Mixture:
    """The model with the parameters of `start`, except those that the model holds fixed."""
    if not start.is_fitted:
        raise ModelError.not_fitted("The start")
    kinds = [(one.family.name, one.n_components, one.has_noise) for one in (start, model)]
    if kinds[0] != kinds[1]:
        raise ModelError.argument(name="start", requirement=f"a {model}, as the model is", found=str(start))
    own, other = model.family.binding, start.family.binding
    if own is not None and other is not None and own.schema != other.schema:
        raise ModelError.argument(
            name="start", requirement=f"the columns and levels {model.family.columns}", found=start.family.columns
        )
    free: dict[str, Any] = {name: value for name, value in start.family.parameters.items() if name not in model.fixed}
    proportions = model.mixing_proportions if "mixing_proportions" in model.fixed else start.mixing_proportions
    started = replace(model, family=model.family.with_parameters(free), mixing_proportions=proportions)
    started.family._check_columns()
    return started


def with_held_of(model: Mixture, start: Any) -> Mixture:
    """The model with what its constraints hold 'fixed' read from a start's parameters, where its own do not tell it."""
    first = start[0] if isinstance(start, list | tuple) and start else start
    is_open = any(one.kind == "fixed" for one in model.constraints)
    if not is_open or not isinstance(first, Mixture) or not first.is_fitted or first.family.name != model.family.name:
        return model
    held = model.mixing_proportions
    if held is None and any(one.kind == "fixed" for one in model.constraints if one.parameter == "mixing_proportions"):
        held = first.mixing_proportions
    return replace(model, family=model.family.holding(first.family), mixing_proportions=held)


def _from_array(model: Mixture, source: RowSource, table: Table, start: Any) -> Start:
    """Labels (n,) or responsibilities (n, K) and the M-step on them."""
    K = model.latent_size
    try:
        known = read_labels(start, n_components=K, n_rows=table.n_rows, table=table)
    except DataError as error:
        raise DataError.in_start(error) from error
    assert isinstance(source, InMemorySource)  # of a table
    if source.rows is not None:
        known = known.take(source.rows)
    if known.q is not None:
        return _attempt("responsibilities", model, source, known.q / known.q.sum(axis=1, keepdims=True))
    labels = np.zeros(0, dtype=np.intp) if known.labels is None else known.labels
    resp = np.zeros((len(labels), K))
    resp[labels >= 0, labels[labels >= 0]] = 1.0
    return _attempt("labels", model, source, resp)
