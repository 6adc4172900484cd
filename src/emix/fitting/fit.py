"""Fit a model: read the data, make the starts, run EM from each, return the best with all endings."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np

from emix.centred import plain
from emix.data.protocol import RowSource
from emix.data.sparse import SparseSource
from emix.em.checkpoint import Checkpoint
from emix.em.driver import EMResult
from emix.em.stopping import StoppingRule
from emix.errors import ConvergenceWarning, FitError, ImpossibleRowError, ModelError
from emix.families import Family
from emix.fitting.advice import advice
from emix.fitting.blocking import Blocking
from emix.fitting.checkpointing import check_path, column_of, open_checkpoint
from emix.fitting.opening import open_rows
from emix.fitting.rows import Rows
from emix.fitting.runs import OnIteration, best_of, has_ended, run_starts
from emix.fitting.settings import Settings, make_settings, whole_number
from emix.fitting.starting import Start, is_seeded, with_held_of
from emix.model import Mixture, Model
from emix.results import FitResult, StartRecord, StopReason, model_of
from emix.threads import blas_limited

LOGGER = logging.getLogger("emix")


def fit(
    model: Mixture | Model | FitResult,
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
    algorithm: str = "batch",
    n_blocks: int | None = None,
    on_iteration: OnIteration | None = None,
    checkpoint: str | Path | None = None,
) -> FitResult:
    """Fit a latent-variable model by expectation maximization.

    Parameters
    ----------
    model : Mixture, FitResult, or any object with `expect` and `maximize`
        A specification such as `Mixture(Poisson(), 2)`, or a model with parameters, which is then the start.
    data : array-like, data frame (pandas, polars, pyarrow), dict of columns, list of toss sequences, path, Scan or Dask
        One row per draw. NaN, null and None are missing. Or a sparse matrix of SciPy, for `Bernoulli`, `Poisson` and
        `Multinomial`: what it does not store is 0. A folder, a glob or an `emix.scan(...)` may be larger than memory:
        labels and weights are then columns of it. So they are of a Dask data frame or array, whose partitions stay on
        the workers of the current `distributed.Client`; without one this process's threads read them (`n_jobs` is not
        asked), once up to 1 GiB of cells, and above at each pass.
    labels : array-like of shape (n,) or (n, K), optional
        Known components, as numbers 0..K-1 or names, -1 or missing where unknown; a list with a set of the allowed
        numbers or names for some rows; or q >= 0, which multiplies p(z = k) for each row. Or the name of
        a column of the data.
    sample_weight : array-like of shape (n,) or str, optional
        As numbers or as the name of a column. Weight 3 equals the row three times; 0 leaves it out.
    start : Mixture, FitResult, list of these, array-like of shape (n,) or (n, K), or str, optional
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
    algorithm : {'batch', 'incremental'}, default='batch'
        'incremental': the parameters move after every block of rows, which takes fewer passes over many rows, above all
        where these are shuffled (`docs/scaling.md`). Once the gains slow down accelerated EM goes on, unless
        `accelerate` is False. For mixtures whose sums do not depend on their parameters.
    n_blocks : int, optional
        Of 'incremental': groups of consecutive rows, 16,384 rows or more each; default 16, or as many as there are.
        More than these are no error, but said in `warnings`. From 256 MiB of block statistics on (16 bytes x blocks x
        K x statistics) these lie in a temporary file, and a checkpoint cannot hold them.
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
    model, start = model_of(model), [model_of(one) for one in start] if isinstance(start, list) else model_of(start)
    if not hasattr(model, "expect") or not hasattr(model, "maximize"):
        requirement = "a Mixture, such as Mixture(Normal(), 2), or a model of your own with `expect` and `maximize`"
        raise ModelError.kind(name="model", requirement=requirement, found=model)
    settings = make_settings(
        stop=stop,
        tol=tol,
        max_iter=max_iter,
        n_init=n_init,
        n_jobs=n_jobs,
        random_state=random_state,
        accelerate=accelerate,
    )
    n_blocks = None if n_blocks is None else whole_number("n_blocks", n_blocks, least=1)
    settings = replace(settings, blocks=Blocking.asked(algorithm, n_blocks, model))
    if checkpoint is not None:
        check_path(checkpoint)
    opened = open_rows(data, labels=labels, sample_weight=sample_weight, takes_sparse=isinstance(model, Mixture))
    keeping = None
    if checkpoint is not None:
        how: dict[str, Any] = {"accelerate": accelerate, "algorithm": algorithm, "n_blocks": n_blocks}
        how |= {"labels": column_of(labels), "sample_weight": column_of(sample_weight)}
        # a generator is told by the seed that was drawn from it
        how |= {"random_state": None if random_state is None else settings.seed}
        keeping = Keeping(checkpoint, {"start": start, **how})
    with blas_limited():
        if isinstance(model, Mixture):
            rows = Rows(opened, n_jobs=settings.n_jobs)
            result, _ = fit_rows(model, rows, settings, start=start, on_iteration=on_iteration, keeping=keeping)
        else:
            source = opened.source_for_any(model, settings.n_jobs)
            kept, settings = _kept(keeping, model, source, settings)
            starts = [Start("given", one) for one in (start if isinstance(start, list | tuple) else [start or model])]
            before = None if kept is None else kept.result
            result = before or _fit_from(starts, source, source, settings, on_iteration, kept)
    if result.stop_reason is StopReason.MAX_ITER:
        sentence = result.stop_reason.sentence
        warn(f"{sentence} after {result.n_iter} iterations. Raise max_iter, or tol.", ConvergenceWarning, stacklevel=2)
    return result


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
            return replace(kept.result, library=rows.opened.library), source
    model, source, starts, sample = rows.begun(model, start, n_init=settings.n_init, seed=settings.seed)
    for one in starts:
        if one.model is not None and model.has_prior:
            one.model.check_start()
    if isinstance(source, SparseSource):  # a sample lacks many columns: what it leads to forbids the other rows
        sample = source
    result = _fit_from(starts, source, sample, settings, on_iteration, kept)
    return replace(result, library=rows.opened.library), source


def _fit_from(
    starts: list[Start],
    source: RowSource,
    sample: RowSource,
    settings: Settings,
    on_iteration: OnIteration | None,
    kept: Checkpoint | None,
) -> FitResult:
    try:
        runs = run_starts(starts, source, sample, settings, on_iteration, kept)
    except ImpossibleRowError as error:
        row = error.row if source.rows is None else int(source.rows[error.row])
        raise ImpossibleRowError.at(row, source.where(row)) from error
    result = _result(starts, runs, source, settings.seed)
    result.warnings.extend(settings.blocks.notes(source, [run.model for run in runs if run is not None]))
    if kept is not None:
        kept.finish(result)
    return result


def _with_binding_of(model: Mixture, start: Any) -> Mixture:
    """Columns are matched by name, and levels by value, with those that a start's parameters belong to."""
    first = start[0] if isinstance(start, list | tuple) and start else start
    if not isinstance(first, Mixture) or first.family.name != model.family.name or model.family.binding is not None:
        return model
    return replace(model, family=replace(model.family, binding=first.family.binding))


def _result(starts: list[Start], runs: list[EMResult | None], source: RowSource, seed: int) -> FitResult:
    records = []
    for i, (start, run) in enumerate(zip(starts, runs, strict=True)):
        if run is None:
            records.append(StartRecord(i, start.method, -np.inf, StopReason.DEGENERATE, 0, start.message))
        else:
            last = run.history[-1]
            values = (i, start.method, float(run.log_likelihood), run.stop_reason, last.iteration, run.message)
            log_prior, weight = float(run.objective - run.log_likelihood), float(run.expectation.weight)
            records.append(StartRecord(*values, log_prior=log_prior, weight=weight))
    ended = [run for run in runs if run is not None and has_ended(run)]
    if not ended:
        first = next(record.message for record in records if record.message)
        raise FitError.degenerate_in_every_start(n_starts=len(starts), first=first)
    best = best_of(ended)
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
