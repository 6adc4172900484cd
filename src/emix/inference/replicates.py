"""Many fits of one model to replicates of its data, all at once: a batch of EM runs side by side.

The components of all mixtures of a batch are put one after another, as if of one large mixture: coefficients and
M-steps are then those of one family, log joints one matrix product, and Python's share of an iteration is paid once for
hundreds of fits. Each run stops by the rule of `Aitken`, on plain EM steps. Nothing is read or checked again: a
replicate is either the same rows with other weights, or rows drawn from the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, safe_log
from emix.data.source import InMemorySource
from emix.em.acceleration import Daarem
from emix.em.driver import run_em
from emix.em.stopping import Aitken
from emix.errors import DegenerateError, EmixError
from emix.families import Family
from emix.families.base import take
from emix.kernels.reference import IMPOSSIBLE
from emix.model import Mixture
from emix.results import StopReason

TOLERANCE = 1e-4
"""Log-likelihood still to be gained when a replicate's run stops, in nats: its estimates are within sqrt(2 tol) = 1.4 %
of a standard error of its optimum, below the 2 % by which 1,000 replicates tell a standard error."""
BATCH = 400_000
"""Responsibilities of a batch, 3 MB: fewer, and Python's share of an iteration would be most of it."""
LARGEST = 50_000
"""Responsibilities of one replicate up to which fits are run side by side; larger ones keep a processor busy alone."""
MAX_PLAIN, MAX_ITER = 400, 5_000
"""Steps of a batch, and then of an accelerated run for what is left of it."""
EPS = float(np.finfo(np.float64).eps)

Values = dict[str, Any]


@dataclass(frozen=True)
class Replicate:
    """One fit: parameters by name, (K, ...) each, and its log-likelihood; or why there is none."""

    values: Values
    log_likelihood: float
    failure: str = ""


def can_run_together(model: Mixture, source: InMemorySource) -> bool:
    """Whether fits to replicates of these rows can be run side by side."""
    family = model.family
    return (
        type(model) is Mixture
        and family.is_linear(is_complete=source.is_complete)
        and model.latent_size * source.n_rows <= LARGEST
        and not model.has_noise
        and not model.has_prior
        and not model.constraints
    )


def batch_size(model: Mixture, source: InMemorySource) -> int:
    """Replicates of a batch: the same whatever the number of threads, so that bits are."""
    return max(1, BATCH // (model.latent_size * source.n_rows)) if can_run_together(model, source) else 1


# -- one after another -----------------------------------------------------------------------------------------------


def fit_alone(model: Mixture, source: InMemorySource) -> Replicate:
    """One replicate: a run of EM from the model, on rows of which those of weight 0 are left out."""
    keep = np.flatnonzero(source.weight > 0)
    rows = source.take(keep)
    if model.family.support.needs_values:
        model = replace(model, family=model.family.with_values(rows.summary))
        rows = rows.prepared_for(model.family)
    try:
        run = run_em(model, rows, stop=Aitken(TOLERANCE), max_iter=MAX_ITER, accelerator=Daarem())
    except EmixError as error:
        return Replicate({}, 0.0, f"{type(error).__name__}: {str(error).splitlines()[0]}")
    if run.stop_reason is StopReason.DEGENERATE:
        return Replicate({}, 0.0, "DegenerateError: a component lost its spread or its rows")
    if not run.stop_reason.converged:
        return Replicate({}, 0.0, f"did not converge in {MAX_ITER} iterations")
    fitted = run.model
    values = {"mixing_proportions": fitted.latent.mixing_proportions, **fitted.family.parameters}
    return Replicate(values, run.log_likelihood)


def with_weights(source: InMemorySource, weight: Array) -> InMemorySource:
    """The same rows with other weights."""
    return replace(source, weight=weight)


# -- side by side ----------------------------------------------------------------------------------------------------


@dataclass
class _Batch:
    """Runs that still go on: R of them.

    Attributes
    ----------
    which : ndarray of shape (R,)
        Their numbers among all of the batch.
    T : ndarray of shape (1 + D, n) or (R, 1 + D, n)
        Statistics of the rows, with the constant 1 first.
    weight, base : ndarray of shape (R, n) and (R,)
        Weights of the rows, and weighted sums of their log base measure.
    log_q : ndarray of shape (K, n) or None
        What is known of the labels.
    proportions, family
        (R, K), and the R K components.
    gains : ndarray of shape (R, 2)
        Of the last two steps.
    """

    which: NDArray[np.intp]
    T: Array
    weight: Array
    base: Array
    log_q: Array | None
    proportions: Array
    family: Family
    log_likelihood: Array
    gains: Array

    def kept(self, keep: NDArray[np.intp]) -> _Batch:
        """Only these runs."""
        K = self.proportions.shape[1]
        components = (keep[:, None] * K + np.arange(K)).ravel()
        return _Batch(
            self.which[keep],
            self.T if self.T.ndim == 2 else self.T[keep],
            self.weight[keep],
            self.base[keep],
            self.log_q,
            self.proportions[keep],
            _taken(self.family, components),
            self.log_likelihood[keep],
            self.gains[keep],
        )


def fit_together(
    model: Mixture, sources: Sequence[InMemorySource], weights: Sequence[Array], log_bases: Sequence[Array]
) -> list[Replicate]:
    """Replicates by EM runs side by side, each from the model.

    Parameters
    ----------
    model : Mixture
        For which `can_run_together`.
    sources : sequence of InMemorySource
        The rows of each replicate; one alone where all have the same rows.
    weights : sequence of ndarray of shape (n,)
        Of the rows of each replicate.
    log_bases : sequence of ndarray of shape (n,)
        Log base measures of the rows, as many as sources.
    """
    R, K = len(weights), model.latent_size
    shared = len(sources) == 1
    tiles = [statistics_of(model, source) for source in sources]
    base = np.array([w @ log_bases[0 if shared else r] for r, w in enumerate(weights)])
    log_q = log_knowledge_of(sources[0], K)
    batch = _Batch(
        np.arange(R),
        tiles[0] if shared else np.stack(tiles),
        np.stack(list(weights)),
        base,
        log_q,
        np.repeat(model.latent.mixing_proportions[None], R, axis=0),
        _taken(model.family, np.tile(np.arange(K), R)),
        np.full(R, np.nan),
        np.full((R, 2), np.nan),
    )
    found: list[Replicate | None] = [None] * R
    is_complete = sources[0].is_complete
    for _ in range(MAX_PLAIN):
        try:
            ended, S = _expected(model, batch, is_complete)
        except EmixError:
            break
        for i in np.flatnonzero(ended != 0):
            found[batch.which[i]] = _ending(batch, int(i), int(ended[i]))
        if (ended != 0).any():
            keep = np.flatnonzero(ended == 0)
            batch, S = batch.kept(keep), S[keep]
        if len(batch.which):
            batch = _maximized(model, batch, S, found)
        if len(batch.which) == 0:
            break
    for r in (r for r, one in enumerate(found) if one is None):
        rows = with_weights(sources[0 if shared else r], weights[r])
        found[r] = fit_alone(model, rows)
    return [one for one in found if one is not None]


def statistics_of(model: Mixture, source: InMemorySource) -> Array:
    """(1 + D, n) statistics of all rows; of complete ones without the counts of observed cells."""
    own = model.family.statistics(np.asarray(source.x, dtype=np.float64), is_complete=source.is_complete)
    return np.concatenate([np.ones((1, own.shape[1])), own])


def log_knowledge_of(source: InMemorySource, K: int) -> Array | None:
    """Log q of all rows, (K, n); None where nothing is known."""
    parts = [chunk.log_knowledge(K) for chunk in source.chunks]
    known = [one for one in parts if one is not None]
    return np.concatenate(known, axis=1) if known else None


def coefficients_of(family: Family, proportions: Array, *, is_complete: bool) -> Array:
    """(R K, 1 + D) for the statistics of `statistics_of`."""
    own = family.coefficients()
    first = safe_log(proportions.ravel())[:, None]
    if is_complete and family.n_observed:
        first = first + own[:, -family.n_observed :].sum(axis=1, keepdims=True)
        own = own[:, : -family.n_observed]
    return np.concatenate([first, own], axis=1)


def _taken(family: Family, components: NDArray[np.intp]) -> Family:
    """These components, unchecked."""
    return family.unchecked({name: take(value, components) for name, value in family.parameters.items()})


RUNS, STOPPED, IMPOSSIBLE_ROW = 0, 1, 2


def _expected(model: Mixture, batch: _Batch, is_complete: bool) -> tuple[NDArray[np.intp], Array]:
    """E-step: how each run goes on, and its expected statistics (R, K, 1 + D)."""
    R, K = batch.proportions.shape
    C = coefficients_of(batch.family, batch.proportions, is_complete=is_complete)
    L = C @ batch.T if batch.T.ndim == 2 else np.matmul(C.reshape(R, K, -1), batch.T)
    L = L.reshape(R, K, -1)
    if batch.log_q is not None:
        L += batch.log_q
    top = L.max(axis=1)
    L -= top[:, None]
    np.exp(L, out=L)
    total = L.sum(axis=1)
    is_impossible = ((top < IMPOSSIBLE) & (batch.weight > 0)).any(axis=1)
    evidence = top + np.log(total)
    log_likelihood = np.einsum("rn,rn->r", batch.weight, np.where(batch.weight > 0, evidence, 0.0)) + batch.base
    noise = 8 * EPS * np.maximum(np.abs(log_likelihood), np.abs(batch.base))
    L *= (batch.weight / total)[:, None]
    S = L.reshape(R * K, -1) @ batch.T.T if batch.T.ndim == 2 else np.matmul(L, batch.T.transpose(0, 2, 1))
    S = S.reshape(R, K, -1)
    n_observed = batch.family.n_observed
    if is_complete and n_observed:
        S = np.concatenate([S, np.repeat(S[:, :, :1], n_observed, axis=2)], axis=2)
    gain = log_likelihood - batch.log_likelihood
    before, last = batch.gains.T
    with np.errstate(invalid="ignore", divide="ignore"):
        now, earlier = (_remaining(np.maximum(g, noise), p) for g, p in ((gain, last), (last, before)))
        is_small = (np.abs(gain) <= noise) & (np.abs(last) <= noise)
        is_over = (np.maximum(now, earlier) <= np.maximum(TOLERANCE, noise)) | is_small
    batch.log_likelihood, batch.gains = log_likelihood, np.stack([last, gain], axis=1)
    return np.where(is_impossible, IMPOSSIBLE_ROW, np.where(is_over, STOPPED, RUNS)), S


def _remaining(gain: Array, previous: Array) -> Array:
    """Predicted gain after this one, infinite where gains do not shrink yet or are not known."""
    ratio = gain / previous
    return np.where(ratio < 1, gain * ratio / (1 - ratio), np.inf)


def _maximized(model: Mixture, batch: _Batch, S: Array, found: list[Replicate | None]) -> _Batch:
    """M-step of all runs; those in which a component collapses are ended, and the others go on."""
    K = S.shape[1]
    while len(batch.which):
        try:
            family = batch.family.maximize_groups(S[:, :, 1:].reshape(len(S) * K, -1), len(S))
        except DegenerateError as error:
            failed = error.component // K
            if not 0 <= failed < len(S):
                raise
            found[batch.which[failed]] = Replicate({}, 0.0, "DegenerateError: a component lost its spread or its rows")
            keep = np.delete(np.arange(len(S)), failed)
            batch, S = batch.kept(keep), S[keep]
            continue
        batch.family = family
        if not model.latent.is_fixed:
            counts = S[:, :, 0]
            batch.proportions = counts / counts.sum(axis=1, keepdims=True)
        break
    return batch


def _ending(batch: _Batch, i: int, how: int) -> Replicate:
    if how == IMPOSSIBLE_ROW:
        return Replicate({}, 0.0, "ImpossibleRowError: a row became impossible under every component")
    K = batch.proportions.shape[1]
    own = _taken(batch.family, np.arange(i * K, (i + 1) * K))
    return Replicate({"mixing_proportions": batch.proportions[i], **own.parameters}, float(batch.log_likelihood[i]))


# -- which component is which ----------------------------------------------------------------------------------------


def overlaps(model: Mixture, chunk: Chunk, fitted: Array, replicate: Replicate) -> Array:
    """(K, K) cosines between the responsibilities of the fit (K, n) and of a replicate, over weighted rows."""
    family = model.family.with_parameters(
        {name: value for name, value in replicate.values.items() if name != "mixing_proportions"}
    )
    own = replace(model, family=family, mixing_proportions=replicate.values["mixing_proportions"])
    L = own.log_joint(chunk)
    L -= L.max(axis=0)
    resp = np.exp(L)
    resp /= resp.sum(axis=0)
    return np.asarray(cosines(fitted, resp[None], chunk.weight)[0])


def cosines(fitted: Array, resp: Array, weight: Array) -> Array:
    """(R, K, K) of responsibilities (K, n) and (R, K, n)."""
    products = resp @ (fitted * weight).T
    sizes = np.sqrt(fitted**2 @ weight)[None, None, :] * np.sqrt(resp**2 @ weight)[:, :, None]
    found = np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0)
    return np.ascontiguousarray(found.transpose(0, 2, 1))


def overlaps_together(
    model: Mixture, tile: Array, weight: Array, fitted: Array, replicates: Sequence[Replicate], *, is_complete: bool
) -> Array:
    """`overlaps` of replicates that ran together, (R, K, K)."""
    R = len(replicates)
    values = {name: _joined([one.values[name] for one in replicates]) for name in model.family.parameters}
    family = model.family.unchecked(values)
    proportions = np.stack([one.values["mixing_proportions"] for one in replicates])
    L = (coefficients_of(family, proportions, is_complete=is_complete) @ tile).reshape(R, -1, tile.shape[1])
    L -= L.max(axis=1, keepdims=True)
    np.exp(L, out=L)
    L /= L.sum(axis=1, keepdims=True)
    return cosines(fitted, L, weight)


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(np.concatenate(parts) for parts in zip(*values, strict=True))
    return np.concatenate(values)
