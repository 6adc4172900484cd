"""From starts to endings: short runs, the best of them continued, and each run on the path that its numbers need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np

from emix.centred import CentredMixture, centred
from emix.data.protocol import RowSource
from emix.em.checkpoint import Checkpoint
from emix.em.driver import EMResult
from emix.em.stopping import Aitken, StoppingRule
from emix.errors import ImpossibleRowError
from emix.fitting.advice import rows_of
from emix.fitting.checkpointing import run_kept
from emix.fitting.rows import sums_of_rows
from emix.fitting.settings import Settings
from emix.fitting.starting import Start, is_believed
from emix.model import Mixture
from emix.results import Record, StopReason
from emix.threads import map_in_order

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


def run_starts(
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
        n_blocks = 1 if rows is sample and is_sampled else settings.blocks.of(rows, model)
        resumed = None if is_sampled or n_blocks > 1 or isinstance(model, CentredMixture) else before

        def tell(record: Record, model: Any) -> None:
            if is_over.is_set():  # the user interrupted: a run in a thread of its own ends at its next pass
                raise KeyboardInterrupt
            if on_iteration is not None:
                on_iteration(Pass(index, len(starts), record, model))

        accelerator = None if settings.accelerator is None else settings.accelerator()
        options: dict[str, Any] = {"stop": rule, "max_iter": limit, "accelerator": accelerator, "on_iteration": tell}
        key = f"start {index}, {limit} iterations of {'a sample' if rows is sample and is_sampled else 'all rows'}"
        try:
            done = run_kept(kept, key, model, rows, resumed=resumed, n_blocks=n_blocks, **options)
        except ImpossibleRowError:
            if not is_sampled or rows is sample or not isinstance(model, Mixture):
                raise
            model = _spread(model, sample, rows)
            done = run_kept(kept, f"{key}, spread", model, rows, n_blocks=n_blocks, **options)
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
        if one is not None and (one.stop_reason is rule.at_limit or (is_sampled and has_ended(one)))
    }
    ranking = sorted(unfinished, key=lambda i: -unfinished[i].objective)
    n_best = 1 if is_sampled else -(-len(starts) // CONTINUED_SHARE)
    for i in unfinished:
        message = f"on a sample of {sample.n_rows:,} distinct rows" if is_sampled else ""
        runs[i] = replace(unfinished[i], stop_reason=StopReason.SHORT_RUN, message=message)
    for indices in (ranking[:n_best], ranking[n_best:]):
        for i, ended in zip(indices, run_all(indices, max_iter, unfinished), strict=True):
            runs[i] = ended
        if any(has_ended(one) for one in runs):  # else the best all collapsed: give the others their chance
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


def has_ended(run: EMResult | None) -> bool:
    """Whether a run led to a model to return."""
    return run is not None and run.stop_reason not in (StopReason.DEGENERATE, StopReason.SHORT_RUN)


def best_of(runs: list[EMResult]) -> EMResult:
    """The first of the runs with the highest objective: rounding does not choose between starts that agree."""
    highest = max(runs, key=lambda run: run.objective)
    noise = TIE * highest.history[-1].noise
    return next(run for run in runs if run.objective >= highest.objective - noise)
