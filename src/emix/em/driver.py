"""The one loop. It drives any model with `expect` and `maximize` over any source of chunks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from emix.block import Chunk, Expectation
from emix.em.stopping import ParameterChange, StoppingRule
from emix.errors import DegenerateError, InvariantError, ModelError
from emix.model import Audit, Model
from emix.results import Record, StopReason

FALL = 8
"""A fall is one of more than so many times the rounding noise, which is an estimate and no bound."""


class Source(Protocol):
    """Where chunks come from."""

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk) over all chunks, by a fixed tree of additions."""


@dataclass(frozen=True)
class EMResult:
    """How one run ended: `expectation` is of `model`, and so is the last record of `history`."""

    model: Any
    expectation: Expectation
    history: list[Record]
    stop_reason: StopReason
    is_monotone: bool = True
    message: str = ""

    @property
    def log_likelihood(self) -> float:
        """Of `model`."""
        return self.expectation.log_likelihood


def run_em(
    model: Model,
    source: Source,
    *,
    stop: StoppingRule,
    max_iter: int,
    resumed: EMResult | None = None,
    on_iteration: Callable[[Record, Any], None] | None = None,
) -> EMResult:
    """Apply the EM map until the rule stops or `max_iter` maps were applied.

    Parameters
    ----------
    model : Model
        Where to start.
    source : Source
        The rows.
    stop : StoppingRule
        Asked after each pass.
    max_iter : int
        EM maps at most, those of `resumed` included.
    resumed : EMResult, optional
        A run that ran out of iterations, to be continued as if it had not.
    on_iteration : callable, optional
        Is told of each record and the model that it belongs to.

    Raises
    ------
    InvariantError
        The objective fell, or the expected counts do not add up to the total weight, or something is not finite.
    """
    history = [] if resumed is None else list(resumed.history)
    began = time.perf_counter() - (history[-1].seconds if history else 0.0)
    if isinstance(stop, ParameterChange) and parameters_of(model) is None:
        raise ModelError.needs_parameters(model)

    def evaluate(model: Model, previous: Model | None) -> tuple[Expectation, Audit]:
        expectation = source.sum_over_chunks(model.expect)
        audit = _audit(model, expectation)
        change = _parameter_change(previous, model)
        record = _record(history, expectation, audit, change, time.perf_counter() - began)
        _check(record, expectation, audit)
        history.append(record)
        if on_iteration is not None:
            on_iteration(record, model)
        return expectation, audit

    if resumed is None:
        expectation, audit = evaluate(model, None)
        is_monotone = audit.is_monotone
    else:
        model, expectation, is_monotone = resumed.model, resumed.expectation, resumed.is_monotone
    while True:
        reason = stop(history)
        if reason is None and history[-1].iteration >= max_iter:
            reason = stop.at_limit
        if reason is not None:
            return EMResult(model, expectation, history, reason, is_monotone)
        try:
            previous, model = model, model.maximize(expectation.statistics)
        except DegenerateError as error:
            message = f"In iteration {len(history)} {error}"
            return EMResult(model, expectation, history, StopReason.DEGENERATE, is_monotone, message)
        expectation, audit = evaluate(model, previous)


def _audit(model: Model, expectation: Expectation) -> Audit:
    if hasattr(model, "audit"):
        return model.audit(expectation)  # type: ignore[no-any-return]
    noise = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, abs(expectation.log_likelihood))
    return Audit(expectation.weight, noise, True)


def _record(history: list[Record], expectation: Expectation, audit: Audit, change: float, seconds: float) -> Record:
    if not math.isfinite(expectation.log_likelihood):
        raise InvariantError.not_finite(iteration=len(history), found=expectation.log_likelihood)
    gain = expectation.log_likelihood - history[-1].log_likelihood if history else math.nan
    iteration = history[-1].iteration + 1 if history else 0
    return Record(
        iteration, expectation.log_likelihood, gain, change, seconds, float(audit.noise), float(expectation.weight)
    )


def _check(record: Record, expectation: Expectation, audit: Audit) -> None:
    """The two invariants of EM; they cost nothing and are checked at every pass."""
    rounding = 1e-9 * max(1.0, expectation.weight)
    if not abs(audit.counted - expectation.weight) <= rounding:
        raise InvariantError.lost_weight(
            iteration=record.iteration, counted=audit.counted, total=float(expectation.weight)
        )
    allowed = FALL * record.noise
    if audit.is_monotone and record.gain < -allowed:
        before = record.log_likelihood - record.gain
        raise InvariantError.fell(
            iteration=record.iteration, before=before, after=record.log_likelihood, allowed=allowed
        )


def parameters_of(model: Any) -> dict[str, Any] | None:
    """A model's `parameters`, or the numbers and arrays among the fields of a user's dataclass; None without either."""
    if hasattr(model, "parameters"):
        return dict(model.parameters)
    if not is_dataclass(model):
        return None
    found = {f.name: getattr(model, f.name) for f in fields(model)}
    return {name: value for name, value in found.items() if np.asarray(value).dtype.kind in "fiu"} or None


def _parameter_change(previous: Any, model: Any) -> float:
    """Largest change of any parameter, relative to its size where that exceeds 1; NaN where it cannot be told."""
    old, new = (None, None) if previous is None else (parameters_of(previous), parameters_of(model))
    if old is None or new is None:
        return math.nan
    largest = 0.0
    for name, value in new.items():
        pairs = zip(old[name], value, strict=True) if isinstance(value, tuple) else ((old[name], value),)
        for before, after in pairs:
            before = np.asarray(before, dtype=np.float64)
            with np.errstate(invalid="ignore"):  # a user's own model may hold an infinite parameter
                change = np.abs(np.asarray(after) - before) / np.maximum(np.abs(before), 1.0)
            largest = max(largest, float(change.max(initial=0.0)))
    return largest
