"""A model in use: one E-step, densities, predictions, draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, Expectation, Schema, as_cells
from emix.centred import well_conditioned
from emix.data.knowledge import read_labels, read_weights
from emix.data.scan import Scan
from emix.data.source import InMemorySource, make_source, that_count
from emix.data.sparse import log_base_of, make_sparse_source
from emix.data.summary import summarize
from emix.data.table import Table
from emix.errors import DataError, ImpossibleRowError, ImputationWarning
from emix.families import Categorical, Columns, Family
from emix.families.columns import Part
from emix.fitting.opening import open_data
from emix.fitting.settings import draw_seed, whole_number
from emix.kernels import reference
from emix.model import Mixture
from emix.results import Fitted, mixture_of


@dataclass(frozen=True)
class EStep:
    """One E-step, to be looked at.

    Attributes
    ----------
    log_prob : ndarray of shape (n, K)
        log p(x given k), with all constants.
    responsibilities : ndarray of shape (n, K)
        p(z = k given x) under the model's parameters; rows sum to 1.
    expected_statistics : ndarray of shape (K, D)
        Sums over rows of weight x responsibility x T(x), in the units of the data: column 0 holds the expected counts,
        then come the family's own; `statistic_names` says what each column sums.
    statistic_names : tuple of str
        One per column of `expected_statistics`.
    log_likelihood : float
        Total, weighted, in nats, with all constants.
    """

    log_prob: Array
    responsibilities: Array
    expected_statistics: Array
    statistic_names: tuple[str, ...]
    log_likelihood: float
    expectation: Expectation
    model: Mixture

    def maximize(self) -> Mixture:
        """The M-step on these expected statistics."""
        return self.model.maximize(self.expectation.statistics)


def e_step(model: Fitted, data: Any, *, labels: Any = None, sample_weight: Any = None) -> EStep:
    """One E-step of a model with parameters on data.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data, labels, sample_weight
        As in `fit`.

    Raises
    ------
    DataError
        The data cannot be, or a row is impossible under every component.

    Examples
    --------
    >>> from emix import Binomial, Mixture, e_step
    >>> step = e_step(Mixture(Binomial(10, [0.6, 0.5])), [5, 9, 8, 4, 7])
    >>> step.responsibilities[:, 0].round(8)
    array([0.44914893, 0.80498552, 0.73346716, 0.35215613, 0.64721512])
    """
    model, source = prepared(model, data, labels=labels, sample_weight=sample_weight)
    parts = [reference.responsibilities(model.log_joint(chunk)) for chunk in source.chunks]
    counted = np.flatnonzero(that_count(source, model.family))
    log_evidence = np.concatenate([evidence for _, evidence in parts])[counted]
    if not np.isfinite(log_evidence).all():
        row = int(counted[np.argmax(~np.isfinite(log_evidence))])
        raise ImpossibleRowError.at(row, source.where(row))
    summed = source.take(counted)
    if model.family.support.needs_values:  # which are many sums: in fewer chunks
        summed = summed.prepared_for(model.family)
    expectation = summed.sum_over_chunks(model.expect)
    raw = model.raw_statistics(expectation.statistics)
    resp = np.concatenate([resp.T for resp, _ in parts])
    log_prob = np.concatenate([_log_prob(model, chunk) for chunk in source.chunks])
    return EStep(log_prob, resp, raw, model.statistic_names, expectation.log_likelihood, expectation, model)


def score_samples(model: Fitted, data: Any) -> Array:
    """Log-density of each row under the mixture, (n,), in nats; -inf for a row that is impossible.

    Raises
    ------
    DataError
        The data cannot be.
    """
    model = mixture_of(model)
    if isinstance(rows := open_data(data, takes_sparse=True), Scan):
        return np.concatenate([score_samples(model, table) for table in tables_of(model, rows)])
    model, source = prepared(model, rows, takes_sparse=True)
    scores = [
        reference.log_evidence(model.log_joint(chunk)) + log_base_of(chunk, model.family) for chunk in source.chunks
    ]
    return np.concatenate(scores)


def responsibilities(model: Fitted, data: Any, *, labels: Any = None) -> Array:
    """p(z = k given x) for each row, (n, K); for a row that is impossible under every component the proportions.

    Raises
    ------
    DataError
        The data cannot be.
    """
    model = mixture_of(model)
    if isinstance(rows := open_data(data, takes_sparse=True), Scan):
        if labels is not None:
            raise DataError.needs_memory("a prediction with labels")
        return np.concatenate([responsibilities(model, table) for table in tables_of(model, rows)])
    model, source = prepared(model, rows, labels=labels, takes_sparse=True)
    return source_responsibilities(model, source)


def source_responsibilities(model: Mixture, source: InMemorySource) -> Array:
    """The same, (n, K), of rows that `prepared` read."""
    return np.concatenate([_responsibilities(model, chunk) for chunk in source.chunks])


def predict(model: Fitted, data: Any, *, labels: Any = None) -> NDArray[np.intp]:
    """The component with the largest responsibility for each row, (n,); where a label is known, that one.

    Raises
    ------
    DataError
        The data cannot be.
    """
    return np.asarray(responsibilities(model, data, labels=labels).argmax(axis=1))


def impute(model: Fitted, data: Any, *, draws: int | None = None, random_state: Any = None) -> NDArray[Any]:
    """Rows with their missing cells filled in; a missing category by the most probable one, or by a draw.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data
        As in `fit`, with missing cells.
    draws : int, optional
        Number of completed data sets, each with cells drawn from their distribution given the row's observed ones, as
        multiple imputation needs them. Default: one, with conditional means, which say nothing of the uncertainty.
    random_state : int, numpy Generator or RandomState, optional
        Seed of the draws.

    Returns
    -------
    ndarray of shape (n, d), or (draws, n, d)
        Of objects, with levels as they are in the data, where there are categories. An angle is filled with the mean
        direction, a censored duration with that until the event. What no parameter tells stays missing, with a
        warning: numbers of tosses, parts of a Multinomial's total, times of censoring.

    Raises
    ------
    DataError, ModelError
        The data cannot be, or without `draws` a column with missing cells has no mean; it is named.

    References
    ----------
    Little & Rubin (2019), Statistical Analysis with Missing Data, 3rd ed., chapters 4, 10 and 11.
    """
    model, source = prepared(model, data)
    resp = source_responsibilities(model, source)
    x = as_cells(source.x)
    levels = source.schema.levels
    if draws is None:
        parts = [model.family.impute(c.cells, resp[c.start : c.start + len(c.x)]) for c in source.chunks]
        filled = np.where(np.isnan(x), np.concatenate(parts), x)
        _warn_of_holes(filled, model.family)
        return decoded(filled, levels)
    rng = np.random.default_rng(draw_seed(random_state))
    edges = np.cumsum(resp, axis=1)[:, :-1]
    completed = []
    for _ in range(whole_number("draws", draws, least=1)):
        labels = (rng.random((len(x), 1)) > edges).sum(axis=1)
        completed.append(model.family.draw_missing(x, labels, rng))
    _warn_of_holes(completed[0], model.family)
    return np.stack([decoded(one, levels) for one in completed])


def _warn_of_holes(filled: Array, family: Family) -> None:
    """Name the columns where cells are still missing."""
    holes = np.flatnonzero(np.isnan(filled).any(axis=0))
    if len(holes):
        names = [family.columns[j] for j in holes]
        warn(ImputationWarning.left(names), stacklevel=3)


def decoded(rows: Array, levels: tuple[Any, ...]) -> NDArray[Any]:
    """Rows (n, d) with the levels of categories in the place of their codes."""
    if all(known is None for known in levels):
        return rows
    whole = np.empty(rows.shape, dtype=object)
    for j, known in enumerate(levels):
        whole[:, j] = rows[:, j] if known is None else [known[int(code)] for code in rows[:, j]]
    return whole


def sample(
    model: Fitted, n: int, *, random_state: Any = None, given: Any = None
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Draw rows from a model.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    n : int
        Number of rows.
    random_state : int, numpy Generator or RandomState, optional
        Seed.
    given : array-like of shape (n,), optional
        Numbers of tosses (`Binomial` with a column), or totals (`Multinomial`).

    Returns
    -------
    rows : ndarray of shape (n, d)
        Cells; an object array of levels for a categorical family.
    labels : ndarray of shape (n,)
        Their components.
    """
    model = mixture_of(model)
    rng = np.random.default_rng(draw_seed(random_state))
    n = whole_number("n", n, least=1)
    column = None if given is None else np.broadcast_to(np.asarray(given, dtype=np.float64).ravel(), (n,))[:, None]
    model = named(model)
    rows, labels = model.sample(n, rng, column)
    levels = model.family.binding.schema.levels if model.family.binding is not None else (None,)
    return decoded(rows, levels), labels


def named(model: Mixture) -> Mixture:
    """The model with columns x0, x1, ... where no fit named them; families side by side have names already."""
    family = model.family
    if family.binding is not None:
        return model
    if isinstance(family, Columns):
        return bind_to_names(model, tuple(name for part in family.parts for name in _read_by(part)))
    value = next(iter(family.parameters.values()))
    is_matrix = not isinstance(value, tuple) and value.ndim > 1 and not family.support.is_categorical
    d = len(value) if isinstance(value, tuple) else int(value.shape[1]) if is_matrix else 1
    return bind_to_names(model, tuple(f"x{j}" for j in range(d)))


def _read_by(part: Part) -> tuple[str, ...]:
    """Names of a part's columns and of what it reads beside them."""
    beside = part.family.support.bound_column
    return part.names if beside is None else (*part.names, beside)


def bind_to_names(model: Mixture, names: tuple[str, ...]) -> Mixture:
    """Bind a model without data: columns by name, levels 0, 1, ... for categories that were not declared."""
    d, family = len(names), model.family
    levels = _own_levels(family, names)
    if isinstance(family, Columns):
        levels = tuple(one for part in family.parts for one in _own_levels(part.family, _read_by(part)))
    return model.bind(Schema(names, levels), summarize(np.array([[-1.0] * d, [1.0] * d]), np.full(2, 0.5)))


def _own_levels(family: Family, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Levels of each of a family's columns; None for numbers."""
    if isinstance(family, Categorical):
        pairs = zip(names, family.tables, strict=True)
        return tuple(family.support.levels_of(name) or tuple(range(table.shape[1])) for name, table in pairs)
    return (None,) * len(names)


def prepared(
    model: Fitted, data: Any, *, labels: Any = None, sample_weight: Any = None, takes_sparse: bool = False
) -> tuple[Mixture, InMemorySource]:
    """Read rows for a model with parameters, or that of a fit, and bind it to them where no fit has."""
    model = mixture_of(model)
    table = open_data(data, takes_sparse=takes_sparse)
    if isinstance(table, Scan):
        raise DataError.needs_memory("a look at every row")
    K = model.latent_size
    weight = read_weights(sample_weight, n_rows=table.n_rows, table=table)
    known, names = None, model.component_names
    if labels is not None:
        known = read_labels(labels, n_components=K, n_rows=table.n_rows, table=table, names=names)
    read = make_source if table.sparse is None else make_sparse_source
    source = read(table, model.family, n_components=K, knowledge=known, sample_weight=weight, for_fit=False)
    if model.family.binding is None:
        model = model.bind(source.schema, source.summary)
    elif model.family.support.needs_values:
        model = replace(model, family=model.family.with_values(source.summary))
    return well_conditioned(model), source


def tables_of(model: Mixture, rows: Scan) -> Iterator[Table]:
    """The rows of a scan, batch by batch, with the columns that the model reads."""
    binding = model.family.binding
    names = rows.names if binding is None or not set(binding.names) <= set(rows.names) else binding.names
    return (batch.table for batch in rows.batches(names))


def _log_prob(model: Mixture, chunk: Chunk) -> Array:
    return (model.log_prob(chunk.cells) + model.family.log_base_measure(chunk.cells)).T


def _responsibilities(model: Mixture, chunk: Chunk) -> Array:
    resp, log_evidence = reference.responsibilities(model.log_joint(chunk))
    impossible = ~np.isfinite(log_evidence)
    if impossible.any():
        resp[:, impossible] = model.latent.mixing_proportions[:, None]
    return resp.T
