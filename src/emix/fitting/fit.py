"""Fit a model: read the data, make the starts, run EM from each, return the best with all endings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any
from warnings import warn

import numpy as np

from emix.block import Array, Chunk, Expectation
from emix.centred import CentredMixture, centred, plain
from emix.data.protocol import RowSource
from emix.data.sparse import SparseSource
from emix.em.acceleration import ACCELERATORS, Accelerator
from emix.em.checkpoint import Checkpoint
from emix.em.driver import EMResult
from emix.em.starts import SAMPLE_ROWS
from emix.em.stopping import Aitken, StoppingRule, stopping_rule
from emix.errors import ConvergenceWarning, DataError, FitError, ImpossibleRowError, ModelError
from emix.families import Family
from emix.fitting.advice import advice, rows_of
from emix.fitting.checkpointing import check_path, open_checkpoint, run_kept
from emix.fitting.opening import OpenRows, open_rows
from emix.fitting.starting import Start, is_believed, is_seeded, make_starts
from emix.model import Mixture, Model
from emix.results import FitResult, Record, StartRecord, StopReason
from emix.threads import blas_limited, map_in_order

WORTH = 100
"""Times by which the centred path must lower the rounding to be worth its price."""
SHORT_RUN = 10
"""Iterations of a short run: enough for the first, steep part of the climb."""
TIE = 8
"""Runs within so many times the rounding noise of each other have the same log-likelihood."""
SPREAD = 0.01
"""Share of all rows in each component, where a sample had no row of a kind that the others have."""
CONTINUED_SHARE = 3
"""One in so many short runs is continued to its end."""


@dataclass(frozen=True)
class Pass:
    """What `on_iteration` is told after each pass: which start of how many, the record, and the model it belongs to."""

    start: int
    n_starts: int
    record: Record
    model: Any


OnIteration = Callable[[Pass], None]


def fit(
    model: Mixture | Model,
    data: Any,
    *,
    labels: Any = None,
    sample_weight: Any = None,
    start: Any = None,
    stop: str | StoppingRule = "aitken",
    tol: float | None = None,
    max_iter: int = 10_000,
    n_init: int = 10,
    n_jobs: int | None = None,
    random_state: Any = None,
    accelerate: bool | str = True,
    on_iteration: OnIteration | None = None,
    checkpoint: str | Path | None = None,
) -> FitResult:
    """Fit a latent-variable model by expectation maximization.

    Parameters
    ----------
    model : Mixture, or any object with `expect` and `maximize`
        A specification such as `Mixture(Poisson(), 2)`, or a model with parameters, which is then the start.
    data : array-like, data frame (pandas, polars, pyarrow), dict of columns, list of toss sequences, path, Scan or Dask
        One row per draw. NaN, null and None are missing. Or a sparse matrix of SciPy, for `Bernoulli`, `Poisson` and
        `Multinomial`: what it does not store is 0. A folder, a glob or an `emix.scan(...)` may be larger than memory:
        labels and weights are then columns of it. So they are of a Dask data frame or array, whose partitions stay on
        the workers of the current `distributed.Client`; without one this process's threads read them (`n_jobs` is not
        asked), once up to 1 GiB of cells, and above at each pass.
    labels : array-like of shape (n,) or (n, K), optional
        Known components, as numbers 0..K-1 or names, -1 or missing where unknown; a list with a set of the allowed
        numbers for some rows; or q >= 0, which multiplies p(z = k) for each row. Or the name of a column of the data.
    sample_weight : array-like of shape (n,) or str, optional
        As numbers or as the name of a column. Weight 3 equals the row three times; 0 leaves it out.
    start : Mixture, list of Mixture, array-like of shape (n,) or (n, K), or str, optional
        Parameters; several sets of them; labels or responsibilities for a first M-step; or how rows are seeded:
        'k-means++', 'random', 'ward' (hierarchical clustering), or 'short-runs' (`n_init` short runs of these kinds,
        the best of them continued). Default: the model's parameters where it has them, else 'short-runs', or
        'k-means++' for `n_init=1`.
    stop : {'aitken', 'relative', 'parameters', 'mean-gain', 'iterations'} or StoppingRule, default='aitken'
        When to stop; see `emix.em.stopping`.
    tol : float, optional
        For 'aitken' (1e-6) the log-likelihood still to be gained, total, in nats: estimates lie within sqrt(2 tol)
        standard errors of the optimum. The other rules say what it means for them, and have defaults of their own.
    max_iter : int, default=10000
        EM maps per start.
    n_init : int, default=10
        Number of starts, where they are drawn at random.
    n_jobs : int, optional
        Threads; None means 1, -1 all cores. The result has the same bits for any number.
    random_state : int, numpy Generator or RandomState, optional
        Seed of the starts; the result's `seed` repeats them.
    accelerate : bool or {'squarem', 'daarem'}, default=True
        Leap ahead where plain EM is slow, never to a lower log-likelihood; True means 'daarem'. Each leap costs one
        EM map. With stop='iterations' all maps are plain.
    on_iteration : callable, optional
        Called with a `Pass` (start, n_starts, record, model) after each pass.
    checkpoint : path-like, optional
        A file that keeps the state of the fit, written at pass boundaries, at most every five seconds. The same call
        goes on from it after an interruption, to the same bits as if there had been none; where it is finished, its
        result is returned. With `random_state=None` the seed that was drawn is kept in it.

    Returns
    -------
    FitResult

    Raises
    ------
    DataError, ModelError
        The data or the arguments cannot be; the message says what, where and what to do.
    FitError
        All starts ended in a degenerate component, or an invariant of EM was violated.

    References
    ----------
    Dempster, Laird & Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38.

    Examples
    --------
    >>> from emix import Binomial, Mixture, fit
    >>> result = fit(Mixture(Binomial(10, [0.6, 0.5]), fixed={"mixing_proportions"}), [5, 9, 8, 4, 7])
    >>> result.model.family.probability.round(3)
    array([0.797, 0.52 ])
    """
    if isinstance(model, Family | str):
        raise ModelError.argument(name="model", requirement="a Mixture, such as Mixture(Normal(), 2)", found=model)
    rule = stopping_rule(stop, tol)
    max_iter = whole_number("max_iter", max_iter, least=0)
    n_init = whole_number("n_init", n_init, least=1)
    method = acceleration(accelerate if stop != "iterations" else False)
    if checkpoint is not None:
        check_path(checkpoint)
    threads, seed = n_threads(n_jobs), draw_seed(random_state)
    rows = open_rows(data, labels=labels, sample_weight=sample_weight, takes_sparse=isinstance(model, Mixture))
    asked = {
        "start": start,
        "stop": rule,
        "max_iter": max_iter,
        "n_init": n_init,
        "accelerate": accelerate,
        "random_state": random_state if isinstance(random_state, int) else None,
    }
    kept = None
    if not isinstance(model, Mixture):
        sample = source = rows.source_for_any(model, threads)
        kept, seed = _kept(checkpoint, model, source, asked, seed)
        starts = [Start("given", one) for one in (start if isinstance(start, list | tuple) else [start or model])]
    else:
        model = _with_binding_of(model, start)
        specified = model
        model, source = prepare(model, rows, n_jobs=threads, is_seeded=is_seeded(model, start))
        kept, seed = _kept(checkpoint, specified, source, asked, seed)
        if kept is not None and kept.result is not None:
            return kept.result  # type: ignore[no-any-return]
        all_rows, source = source, source.collapsed().prepared_for(model.family)
        model = _with_prior(model, source)
        sample = source.sample(SAMPLE_ROWS, seed) if is_seeded(model, start) else source
        starts = make_starts(model, all_rows, sample, rows, start, n_init=n_init, seed=seed)
        if isinstance(source, SparseSource):  # a sample lacks many columns: what it leads to forbids the other rows
            sample = source
    try:
        with blas_limited():
            runs = _run(starts, source, sample, rule, max_iter, threads, method, on_iteration, kept)
    except ImpossibleRowError as error:
        row = error.row if source.rows is None else int(source.rows[error.row])
        raise ImpossibleRowError.at(row, source.where(row)) from error
    result = _result(starts, runs, source, seed, rule)
    if kept is not None:
        kept.finish(result)
    return result


def _kept(
    path: str | Path | None, model: Any, source: RowSource, asked: dict[str, Any], seed: int
) -> tuple[Checkpoint | None, int]:
    """The checkpoint, where there is to be one, and the seed that it holds or will hold."""
    if path is None:
        return None, seed
    kept = open_checkpoint(path, model, source, asked)
    kept.seed = seed if kept.seed is None else kept.seed
    return kept, kept.seed


def _with_binding_of(model: Mixture, start: Any) -> Mixture:
    """Columns are matched by name, and levels by value, with those that a start's parameters belong to."""
    first = start[0] if isinstance(start, list | tuple) and start else start
    if not isinstance(first, Mixture) or first.family.name != model.family.name or model.family.binding is not None:
        return model
    return replace(model, family=replace(model.family, binding=first.family.binding))


def _with_prior(model: Mixture, source: RowSource) -> Mixture:
    """With what the model's prior is made of, where it has one."""
    if not model.prior_rows:
        return model
    if not model.family.is_linear(is_complete=source.is_complete):
        requirement = "a family whose sums do not depend on its parameters (MultivariateNormal has `prior`)"
        raise ModelError.argument(name="prior_rows", requirement=requirement, found=model.family.name)
    return model.with_prior_of(_sums_of_rows(model, source))


def _sums_of_rows(model: Mixture, source: RowSource) -> Array:
    """(1 + D,) statistics of all rows, weighted, whatever their component."""

    def summed(chunk: Chunk) -> Expectation:
        return Expectation(model.sum_statistics(chunk, chunk.weight[None]), 0.0)

    return np.asarray(source.sum_over_chunks(summed).statistics[0])


def prepare(model: Mixture, rows: OpenRows, *, n_jobs: int = 1, is_seeded: bool = True) -> tuple[Mixture, RowSource]:
    """Read the rows that count and bind the model to them.

    Where starts are drawn from the rows (`is_seeded`), there must be as many distinct ones as components.

    Raises
    ------
    DataError
        Whatever is wrong with the data, or fewer distinct rows than components.
    """
    K = model.latent_size
    source = rows.source(model, n_jobs)
    if source.component_names is not None:
        model = replace(model, component_names=source.component_names)
    if is_seeded and not (source.knowledge is not None and source.knowledge.is_everything):
        n_distinct = source.n_distinct(K)
        if n_distinct < K:
            raise DataError.too_few_distinct(n_distinct=n_distinct, n_rows=source.n_rows, n_components=K)
    return model.bind(source.schema, source.summary), source


def _run(
    starts: list[Start],
    source: RowSource,
    sample: RowSource,
    rule: StoppingRule,
    max_iter: int,
    n_jobs: int,
    method: Callable[[], Accelerator] | None,
    on_iteration: OnIteration | None,
    kept: Checkpoint | None = None,
) -> list[EMResult | None]:
    """Run each start to its end; short runs first where the starts ask for them. None for a start that failed.

    Short runs see the sample alone where the data are larger, and only the best of them then sees everything.
    """
    is_sampled = sample is not source
    side_by_side, is_over = (1 if source.is_streamed else min(n_jobs, len(starts))), Event()
    sample, alone = sample.with_jobs(1), source.with_jobs(1)

    def run(index: int, limit: int, before: EMResult | None = None, rows: RowSource | None = None) -> EMResult | None:
        model = starts[index].model if before is None else before.model
        if model is None:
            return None
        rows = (alone if side_by_side > 1 else source) if rows is None else rows
        resumed = None if is_sampled or isinstance(model, CentredMixture) else before

        def tell(record: Record, model: Any) -> None:
            if is_over.is_set():  # the user interrupted: a run in a thread of its own ends at its next pass
                raise KeyboardInterrupt
            if on_iteration is not None:
                on_iteration(Pass(index, len(starts), record, model))

        accelerator = None if method is None else method()
        options: dict[str, Any] = {"stop": rule, "max_iter": limit, "accelerator": accelerator, "on_iteration": tell}
        key = f"start {index}, {limit} iterations of {'a sample' if rows is sample and is_sampled else 'all rows'}"
        try:
            done = run_kept(kept, key, model, rows, resumed=resumed, **options)
        except ImpossibleRowError:
            if not is_sampled or rows is sample or not isinstance(model, Mixture):
                raise
            done = run_kept(kept, f"{key}, spread", _spread(model, sample, rows), rows, **options)
        if not _needs_centring(done, rows, rule):
            if done.collapsed >= 0:
                done = replace(done, message=f"{done.message} {rows_of(done.model, done.collapsed, rows)}")
            return done
        options["accelerator"] = None
        return run_kept(kept, f"{key}, centred", centred(done.model), rows, **options)

    def run_all(
        indices: Sequence[int], limit: int, before: dict[int, EMResult], rows: RowSource | None = None
    ) -> list[EMResult | None]:
        if len(indices) == 1 and rows is None:  # alone: its chunks side by side instead
            rows = source
        try:
            return map_in_order(lambda i: run(i, limit, before.get(i), rows), indices, side_by_side)
        except BaseException:
            is_over.set()
            raise

    everything = range(len(starts))
    if not starts[0].is_short or max_iter <= SHORT_RUN or len(starts) == 1:
        return run_all(everything, max_iter, {})
    runs = run_all(everything, SHORT_RUN, {}, sample)
    unfinished = {
        i: one
        for i, one in enumerate(runs)
        if one is not None and (one.stop_reason is rule.at_limit or (is_sampled and _has_ended(one)))
    }
    ranking = sorted(unfinished, key=lambda i: -unfinished[i].log_likelihood)
    n_best = 1 if is_sampled else -(-len(starts) // CONTINUED_SHARE)
    for i in unfinished:
        message = f"on a sample of {sample.n_rows:,} distinct rows" if is_sampled else ""
        runs[i] = replace(unfinished[i], stop_reason=StopReason.SHORT_RUN, message=message)
    for indices in (ranking[:n_best], ranking[n_best:]):
        for i, ended in zip(indices, run_all(indices, max_iter, unfinished), strict=True):
            runs[i] = ended
        if any(_has_ended(one) for one in runs):  # else the best all collapsed: give the others their chance
            break
    return runs


def _spread(model: Mixture, sample: RowSource, source: RowSource) -> Mixture:
    """A model from a sample that knows nothing of what is rare, with a small share of all rows in each component."""
    S = sample.sum_over_chunks(model.expect).statistics
    sums = _sums_of_rows(model, source)
    return model.maximize(S + SPREAD * S[:, :1] * sums / sums[0])


def _needs_centring(run: EMResult, source: RowSource, rule: StoppingRule) -> bool:
    """The guard of the pivoted sums: rounding above a tenth of the tolerance, or a collapse that rests on many rows.

    A component of many rows that is narrow beside the distance to the others is no collapse, only out of reach of
    statistics about one pivot for all.
    """
    model = run.model
    if not isinstance(model, Mixture) or isinstance(model, CentredMixture) or not model.family.can_be_centred:
        return False
    if model.has_noise or model.prior_rows:
        return False
    if run.stop_reason is StopReason.DEGENERATE:
        return is_believed(run.collapsed_weight, source)
    noise, expectation = run.history[-1].noise, run.expectation
    least = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, expectation.weight)  # on any path
    return isinstance(rule, Aitken) and noise > rule.tol / 10 and noise > WORTH * least


def _has_ended(run: EMResult | None) -> bool:
    """Whether a run led to a model to return."""
    return run is not None and run.stop_reason not in (StopReason.DEGENERATE, StopReason.SHORT_RUN)


def _result(
    starts: list[Start], runs: list[EMResult | None], source: RowSource, seed: int, rule: StoppingRule
) -> FitResult:
    records = []
    for i, (start, run) in enumerate(zip(starts, runs, strict=True)):
        if run is None:
            records.append(StartRecord(i, start.method, -np.inf, StopReason.DEGENERATE, 0, start.message))
        else:
            last = run.history[-1]
            records.append(
                StartRecord(i, start.method, run.log_likelihood, run.stop_reason, last.iteration, run.message)
            )
    ended = [run for run in runs if run is not None and _has_ended(run)]
    if not ended:
        first = next(record.message for record in records if record.message)
        raise FitError.degenerate_in_every_start(n_starts=len(starts), first=first)
    best = _best(ended)
    is_mixture = isinstance(best.model, Mixture)
    result = FitResult(
        plain(best.model) if is_mixture else best.model,
        best.log_likelihood,
        best.history,
        best.stop_reason,
        total_weight=source.total_weight,
        log_map=best.expectation.log_map,
        expected_counts=best.expectation.statistics[:, 0].copy() if is_mixture else None,
        starts=records,
        seed=seed,
        is_monotone=best.is_monotone,
    )
    if best.stop_reason is StopReason.MAX_ITER:
        warn(
            f"{best.stop_reason.sentence} after {result.n_iter} iterations. Raise max_iter, or tol.",
            ConvergenceWarning,
            stacklevel=3,
        )
    if is_mixture:
        result.warnings.extend(advice(best, records, source))
    return result


def _best(runs: list[EMResult]) -> EMResult:
    """The first of the runs with the highest log-likelihood: rounding does not choose between starts that agree."""
    highest = max(runs, key=lambda run: run.log_likelihood)
    noise = TIE * highest.history[-1].noise
    return next(run for run in runs if run.log_likelihood >= highest.log_likelihood - noise)


def acceleration(accelerate: bool | str) -> Callable[[], Accelerator] | None:
    """What makes an accelerator for each run; None for plain EM.

    Raises
    ------
    ModelError
        The name is unknown.
    """
    if accelerate is False or accelerate is None:
        return None
    name = "daarem" if accelerate is True else accelerate
    if name not in ACCELERATORS:
        raise ModelError.choice(what="acceleration", found=name, available=ACCELERATORS)
    return ACCELERATORS[name]


def whole_number(name: str, value: Any, *, least: int) -> int:
    """An argument that must be a whole number.

    Raises
    ------
    ModelError
        It is not, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ModelError.argument(name=name, requirement=f"a whole number >= {least}", found=value)
    return int(value)


def n_threads(n_jobs: Any) -> int:
    """Number of threads as scikit-learn counts them: None is 1, -1 all cores, -2 all but one."""
    if n_jobs is None:
        return 1
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0:
        raise ModelError.argument(name="n_jobs", requirement="None or a whole number other than 0", found=n_jobs)
    return int(n_jobs) if n_jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + int(n_jobs))


def draw_seed(random_state: Any) -> int:
    """A seed from what scikit-learn calls a random state; drawn afresh for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return whole_number("random_state", random_state, least=0)
