"""One candidate of a model choice, fitted and scored: what is done side by side, in threads or in processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import xlogy

from emix.block import Array
from emix.centred import well_conditioned
from emix.data.protocol import RowSource
from emix.errors import EmixError
from emix.fitting import Pass, score_samples
from emix.fitting.fit import fit_rows
from emix.fitting.rows import Rows
from emix.fitting.settings import Settings
from emix.inference.candidates import Candidate
from emix.kernels.reference import responsibilities
from emix.model import Mixture
from emix.results import FitResult
from emix.threads import blas_limited

FAILURES = (EmixError, ArithmeticError, ValueError, MemoryError)
"""What ends a candidate and not the others."""


@dataclass(frozen=True)
class Setting:
    """What all candidates share.

    Attributes
    ----------
    rows : Rows
    settings : Settings
    seeds : str or None
        How starts are seeded.
    weight : ndarray of shape (n,)
        Of the rows, where there are folds.
    folds : tuple of (ndarray of shape (n,), Rows)
        Whether each row is in the fold, and the rows of all others.
    tell : callable, optional
        Is told of each pass.
    """

    rows: Rows
    settings: Settings
    seeds: str | None
    weight: Array
    folds: tuple[tuple[Array, Rows], ...]
    tell: Callable[[Pass], None] | None = None

    def fitted(self, model: Mixture, rows: Rows, start: Any) -> tuple[FitResult, RowSource]:
        """The model fitted to rows."""
        return fit_rows(model, rows, self.settings, start=start, on_iteration=self.tell)


@dataclass(frozen=True)
class Attempt:
    """A candidate as it stands, and the fit of a simpler model that it may begin from."""

    model: Mixture
    found: Candidate
    simpler: FitResult | None = None


@dataclass(frozen=True)
class Outcome:
    """The candidate afterwards, and what failed on the way."""

    found: Candidate
    failures: tuple[Exception, ...] = ()


def fit_first(attempt: Attempt, setting: Setting) -> Outcome:
    """From the simpler model's estimates, where there are some, else or if these fail from the seeds."""
    began, found, failures = time.perf_counter(), attempt.found, []
    origins: list[tuple[Any, str]] = [(setting.seeds, "")]
    if attempt.simpler is not None:
        origins.insert(0, (attempt.simpler.model, str(attempt.simpler.model.family)))
    for start, origin in origins:
        try:
            result, source = setting.fitted(attempt.model, setting.rows, start)
        except FAILURES as error:
            failures.append(error)
            found = replace(found, error=said(error))
            continue
        entropy = _entropy(result.model, source)
        found = replace(found, result=result, error="", entropy=entropy, started_from=origin)
        break
    return Outcome(replace(found, seconds=time.perf_counter() - began), tuple(failures))


def fit_again(attempt: Attempt, setting: Setting) -> Outcome:
    """From the simpler model's estimates, which were better than what the candidate has."""
    found, began, known = attempt.found, time.perf_counter(), attempt.simpler
    assert known is not None
    try:
        result, source = setting.fitted(attempt.model, setting.rows, known.model)
    except FAILURES:
        return Outcome(found)  # it keeps the result, or the error, that it has
    if found.result is not None and result.log_likelihood <= found.result.log_likelihood:
        return Outcome(found)
    entropy, origin = _entropy(result.model, source), str(known.model.family)
    seconds = found.seconds + time.perf_counter() - began
    return Outcome(replace(found, result=result, error="", entropy=entropy, started_from=origin, seconds=seconds))


def score_folds(attempt: Attempt, setting: Setting) -> Outcome:
    """Each fold scored under the fit to the others."""
    found, began, total = attempt.found, time.perf_counter(), 0.0
    opened = setting.rows.opened
    if found.result is not None:
        try:
            for fold, rows in setting.folds:
                result, _ = setting.fitted(setting.rows.with_levels(attempt.model), rows, setting.seeds)
                scores, weight = score_samples(result.model, opened.table), setting.weight * fold
                total += float(weight[weight > 0] @ scores[weight > 0])
            found = replace(found, cross_validated=total)
        except FAILURES as error:
            found = replace(found, error=f"Cross-validation failed: {said(error)}")
    return Outcome(replace(found, seconds=found.seconds + time.perf_counter() - began))


Step = Callable[[Attempt, Setting], Outcome]


@dataclass(frozen=True)
class Elsewhere:
    """A step in another process, which keeps the rows as they are read and checked from one task to the next."""

    step: Step
    setting: Setting
    key: str

    def __call__(self, attempt: Attempt) -> Outcome:
        """What comes of the attempt."""
        setting = _kept.get(self.key)
        if setting is None:
            _kept.clear()
            setting = _kept[self.key] = self.setting
        with blas_limited():
            return self.step(attempt, setting)


_kept: dict[str, Setting] = {}
"""Of the last selection, by its key."""


def said(error: Exception) -> str:
    """What a failure says."""
    return str(error) if isinstance(error, EmixError) else f"{type(error).__name__}: {error}"


def _entropy(model: Mixture, source: RowSource) -> float:
    """The entropy R2 of the rows' components."""
    if model.latent_size == 1:
        return 1.0
    conditioned, total = well_conditioned(model), 0.0
    for chunk in source.chunks:
        resp = responsibilities(conditioned.log_joint(chunk))[0]
        total -= float(chunk.weight @ xlogy(resp, resp).sum(axis=0))
    return 1.0 - total / (source.total_weight * float(np.log(model.latent_size)))
