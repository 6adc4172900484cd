"""Fit a model: read the data, make the starts, run EM from each, return the best with all endings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any
from warnings import warn

import numpy as np

from emix.centred import CentredMixture, centred, plain
from emix.data.protocol import RowSource
from emix.data.sparse import SparseSource
from emix.em.acceleration import ACCELERATORS, Accelerator
from emix.em.checkpoint import Checkpoint
from emix.em.driver import EMResult
from emix.em.stopping import Aitken, StoppingRule, stopping_rule
from emix.errors import ConvergenceWarning, FitError, ImpossibleRowError, ModelError
from emix.families import Family
from emix.fitting.advice import advice, rows_of
from emix.fitting.checkpointing import check_path, open_checkpoint, run_kept
from emix.fitting.opening import open_rows
from emix.fitting.rows import Rows, sums_of_rows
from emix.fitting.starting import Start, is_believed, is_seeded, with_held_of
from emix.model import Mixture, Model
from emix.results import FitResult, Record, StartRecord, StopReason
from emix.threads import blas_limited, map_in_order

LOGGER = logging.getLogger("emix")
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
    data : array-like, data frame (pandas, polars, pyarrow), dict of columns, list of toss sequences, path, or Scan
        One row per draw. NaN, null and None are missing. Or a sparse matrix of SciPy, for `Bernoulli`, `Poisson` and
        `Multinomial`: what it does not store is 0. A folder, a glob or an `emix.scan(...)` may be larger than memory:
        labels and weights are then columns of it.
    labels : array-like of shape (n,) or (n, K), optional
        Known components, as numbers 0..K-1 or names, -1 or missing where unknown; a list with a set of the allowed
        numbers or names for some rows; or q >= 0, which multiplies p(z = k) for each row. Or the name of
        a column of the data.
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
    settings = make_settings(
        stop=stop,
        tol=tol,
        max_iter=max_iter,
        n_init=n_init,
        n_jobs=n_jobs,
        random_state=random_state,
        accelerate=accelerate,
    )
    if checkpoint is not None:
        check_path(checkpoint)
    opened = open_rows(data, labels=labels, sample_weight=sample_weight, takes_sparse=isinstance(model, Mixture))
    how = {"accelerate": accelerate, "random_state": random_state if isinstance(random_state, int) else None}
    keeping = None if checkpoint is None else Keeping(checkpoint, {"start": start, **how})
    with blas_limited():
        if isinstance(model, Mixture):
            rows = Rows(opened, n_jobs=settings.n_jobs)
            result, _ = fit_rows(model, rows, settings, start=start, on_iteration=on_iteration, keeping=keeping)
        else:
            source = opened.source_for_any(model, settings.n_jobs)
            kept, settings = _kept(keeping, model, source, settings)
            starts = [Start("given", one) for one in (start if isinstance(start, list | tuple) else [start or model])]
            result = _fit_from(starts, source, source, settings, on_iteration, kept)
    if result.stop_reason is StopReason.MAX_ITER:
        sentence = result.stop_reason.sentence
        warn(f"{sentence} after {result.n_iter} iterations. Raise max_iter, or tol.", ConvergenceWarning, stacklevel=2)
    return result


@dataclass(frozen=True)
class Settings:
    """How runs go: `fit` says what each means; `accelerator` makes one for each run, None for plain EM."""

    rule: StoppingRule
    max_iter: int
    n_init: int
    n_jobs: int
    seed: int
    accelerator: Callable[[], Accelerator] | None


def make_settings(
    *,
    stop: str | StoppingRule = "aitken",
    tol: float | None = None,
    max_iter: int = 10_000,
    n_init: int = 10,
    n_jobs: int | None = None,
    random_state: Any = None,
    accelerate: bool | str = True,
) -> Settings:
    """The arguments of `fit` that say how runs go, checked.

    Raises
    ------
    ModelError
        One of them cannot be.
    """
    return Settings(
        stopping_rule(stop, tol),
        whole_number("max_iter", max_iter, least=0),
        whole_number("n_init", n_init, least=1),
        n_threads(n_jobs),
        draw_seed(random_state),
        acceleration(accelerate if stop != "iterations" else False),
    )


@dataclass(frozen=True)
class Keeping:
    """Where the checkpoint of a fit is, and what tells it from those of other fits."""

    path: str | Path
    asked: dict[str, Any]


def _kept(
    keeping: Keeping | None, model: Any, source: RowSource, settings: Settings
) -> tuple[Checkpoint | None, Settings]:
    """The checkpoint, where there is to be one; and the settings with the seed that it holds, or will hold."""
    if keeping is None:
        return None, settings
    own = {"stop": settings.rule, "max_iter": settings.max_iter, "n_init": settings.n_init}
    kept = open_checkpoint(keeping.path, model, source, {**keeping.asked, **own})
    kept.seed = settings.seed if kept.seed is None else kept.seed
    return kept, replace(settings, seed=kept.seed)


def fit_rows(
    model: Mixture,
    rows: Rows,
    settings: Settings,
    *,
    start: Any = None,
    on_iteration: OnIteration | None = None,
    keeping: Keeping | None = None,
) -> tuple[FitResult, RowSource]:
    """`fit` on rows that several models may share, and these as its passes read them.

    BLAS has been limited, and nothing is warned of.

    Raises
    ------
    DataError, ModelError, FitError
        As `fit` does.
    """
    model = _with_binding_of(with_held_of(model, start), start)
    if model.family.support.needs_values:
        LOGGER.info("%s asks SciPy for each row at each pass: this is slower than the other families.", model.family)
    kept = None
    if keeping is not None:
        source = rows.read(model, is_drawn=is_seeded(model, start))[1]
        kept, settings = _kept(keeping, model, source, settings)
        if kept is not None and kept.result is not None:
            return kept.result, source
    model, source, starts, sample = rows.begun(model, start, n_init=settings.n_init, seed=settings.seed)
    for one in starts:
        if one.model is not None and model.has_prior:
            one.model.check_start()
    if isinstance(source, SparseSource):  # a sample lacks many columns: what it leads to forbids the other rows
        sample = source
    return _fit_from(starts, source, sample, settings, on_iteration, kept), source


def _fit_from(
    starts: list[Start],
    source: RowSource,
    sample: RowSource,
    settings: Settings,
    on_iteration: OnIteration | None,
    kept: Checkpoint | None,
) -> FitResult:
    try:
        runs = _run(starts, source, sample, settings, on_iteration, kept)
    except ImpossibleRowError as error:
        row = error.row if source.rows is None else int(source.rows[error.row])
        raise ImpossibleRowError.at(row, source.where(row)) from error
    result = _result(starts, runs, source, settings.seed)
    if kept is not None:
        kept.finish(result)
    return result


def _with_binding_of(model: Mixture, start: Any) -> Mixture:
    """Columns are matched by name, and levels by value, with those that a start's parameters belong to."""
    first = start[0] if isinstance(start, list | tuple) and start else start
    if not isinstance(first, Mixture) or first.family.name != model.family.name or model.family.binding is not None:
        return model
    return replace(model, family=replace(model.family, binding=first.family.binding))


def _run(
    starts: list[Start],
    source: RowSource,
    sample: RowSource,
    settings: Settings,
    on_iteration: OnIteration | None,
    kept: Checkpoint | None = None,
) -> list[EMResult | None]:
    """Run each start to its end; short runs first where the starts ask for them. None for a start that failed.

    Short runs see the sample alone where the data are larger, and only the best of them then sees everything.
    """
    rule, max_iter, is_sampled = settings.rule, settings.max_iter, sample is not source
    side_by_side, is_over = (1 if source.is_streamed else min(settings.n_jobs, len(starts))), Event()
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

        accelerator = None if settings.accelerator is None else settings.accelerator()
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
    ranking = sorted(unfinished, key=lambda i: -unfinished[i].objective)
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
    sums = sums_of_rows(model, source)
    return model.maximize(S + SPREAD * S[:, :1] * sums / sums[0])


def _needs_centring(run: EMResult, source: RowSource, rule: StoppingRule) -> bool:
    """The guard of the pivoted sums: rounding above a tenth of the tolerance, or a collapse that rests on many rows.

    A component of many rows that is narrow beside the distance to the others is no collapse, only out of reach of
    statistics about one pivot for all.
    """
    model = run.model
    if not isinstance(model, Mixture) or isinstance(model, CentredMixture) or not model.family.can_be_centred:
        return False
    if model.has_noise or model.prior_rows or model.constraints:  # ties know no component by itself
        return False
    if run.stop_reason is StopReason.DEGENERATE:
        return is_believed(run.collapsed_weight, source)
    noise, expectation = run.history[-1].noise, run.expectation
    least = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, expectation.weight)  # on any path
    return isinstance(rule, Aitken) and noise > rule.tol / 10 and noise > WORTH * least


def _has_ended(run: EMResult | None) -> bool:
    """Whether a run led to a model to return."""
    return run is not None and run.stop_reason not in (StopReason.DEGENERATE, StopReason.SHORT_RUN)


def _result(starts: list[Start], runs: list[EMResult | None], source: RowSource, seed: int) -> FitResult:
    records = []
    for i, (start, run) in enumerate(zip(starts, runs, strict=True)):
        if run is None:
            records.append(StartRecord(i, start.method, -np.inf, StopReason.DEGENERATE, 0, start.message))
        else:
            last = run.history[-1]
            values = (i, start.method, run.log_likelihood, run.stop_reason, last.iteration, run.message)
            records.append(StartRecord(*values, log_prior=run.objective - run.log_likelihood))
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
        log_prior=best.model.log_prior() if is_mixture and best.model.has_prior else None,
    )
    if is_mixture:
        result.warnings.extend(advice(best, records, source))
    return result


def _best(runs: list[EMResult]) -> EMResult:
    """The first of the runs with the highest objective: rounding does not choose between starts that agree."""
    highest = max(runs, key=lambda run: run.objective)
    noise = TIE * highest.history[-1].noise
    return next(run for run in runs if run.objective >= highest.objective - noise)


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
