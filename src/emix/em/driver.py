"""The one loop. It drives any model with `expect` and `maximize` over any source of chunks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

import numpy as np

from emix.block import Chunk, Expectation
from emix.em.acceleration import Accelerator
from emix.em.stopping import ParameterChange, StoppingRule
from emix.errors import DegenerateError, EmixError, InvariantError, ModelError
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
    collapsed: int = -1
    """The component that collapsed, if one did."""
    collapsed_weight: float = 0.0
    """Of its rows."""

    @property
    def log_likelihood(self) -> float:
        """Of `model`."""
        return self.expectation.log_likelihood

    @property
    def objective(self) -> float:
        """What the run climbed: the log-likelihood, and under a prior its log density with it."""
        return objective_of(self.model, self.expectation)


@dataclass(frozen=True)
class RunState:
    """Where a run stands at a pass boundary: all that it needs to go on as if it had not stopped."""

    model: Any
    expectation: Expectation
    history: list[Record]
    n_maps: int
    objective: float
    is_monotone: bool
    accelerator: Any
    seconds: float


def run_em(
    model: Model,
    source: Source,
    *,
    stop: StoppingRule,
    max_iter: int,
    accelerator: Accelerator | None = None,
    resumed: EMResult | RunState | None = None,
    on_iteration: Callable[[Record, Any], None] | None = None,
    keep: Callable[[RunState], None] | None = None,
) -> EMResult:
    """Apply the EM map until the rule stops or `max_iter` maps were applied.

    Parameters
    ----------
    model : Model
        Where to start.
    source : Source
        The rows.
    stop : StoppingRule
        Asked after each plain step.
    max_iter : int
        EM maps at most, leaps and those of `resumed` included.
    accelerator : Accelerator, optional
        Proposes leaps, where the model's statistics are a float array.
    resumed : EMResult or RunState, optional
        A run that ran out of iterations, or was stopped, to be continued as if it had not.
    on_iteration : callable, optional
        Is told of each record and the model that it belongs to.
    keep : callable, optional
        Is told the state at each pass boundary.

    Raises
    ------
    InvariantError
        The objective fell, or the expected counts do not add up to the total weight, or something is not finite.
    """
    run = Run(source, stop, max_iter, on_iteration, resumed)
    if isinstance(stop, ParameterChange) and parameters_of(model) is None:
        raise ModelError.needs_parameters(model)
    if resumed is None:
        expectation = run.evaluate(model, None)
    else:
        model, expectation = resumed.model, resumed.expectation
        accelerator = resumed.accelerator if isinstance(resumed, RunState) else accelerator
    while True:
        if keep is not None:
            keep(run.state(model, expectation, accelerator))
        reason = run.ending()
        if reason is not None:
            return EMResult(model, expectation, run.history, reason, run.is_monotone)
        point = expectation.statistics
        try:
            previous, model = model, model.maximize(point)
        except DegenerateError as error:
            return run.collapse(model, expectation, error)
        expectation = run.evaluate(model, previous)
        if accelerator is not None and _is_float_array(point) and run.ending() is None:
            model, expectation = run.leap(accelerator, point, model, expectation)


class Run:
    """What a run carries along: the history, the count of maps, and how a pass is taken."""

    def __init__(
        self,
        source: Source,
        stop: StoppingRule,
        max_iter: int,
        on_iteration: Callable[[Record, Any], None] | None,
        resumed: EMResult | RunState | None,
    ) -> None:
        self.source, self.stop, self.max_iter, self.on_iteration = source, stop, max_iter, on_iteration
        self.history = [] if resumed is None else list(resumed.history)
        self.n_maps = self.history[-1].iteration if self.history else -1
        self.is_monotone = True if resumed is None else resumed.is_monotone
        self.objective = math.nan if resumed is None else objective_of(resumed.model, resumed.expectation)
        self.began = time.perf_counter() - (self.history[-1].seconds if self.history else 0.0)
        if isinstance(resumed, RunState):
            self.n_maps, self.objective = resumed.n_maps, resumed.objective
            self.began = time.perf_counter() - resumed.seconds

    def state(self, model: Model, expectation: Expectation, accelerator: Any) -> RunState:
        """Where the run stands."""
        seconds = time.perf_counter() - self.began
        own = (self.history, self.n_maps, self.objective, self.is_monotone)
        return RunState(model, expectation, *own, accelerator, seconds)

    def ending(self) -> StopReason | None:
        """Why to stop here, if so."""
        reason = self.stop(self.history)
        return self.stop.at_limit if reason is None and self.n_maps >= self.max_iter else reason

    def wants_plain(self) -> bool:
        """Whether the rule asks for a plain step; a user's own rule need not know of leaps."""
        return hasattr(self.stop, "wants_plain") and self.stop.wants_plain(self.history)

    def evaluate(self, model: Model, previous: Model | None) -> Expectation:
        """One pass, checked and recorded."""
        expectation = self.source.sum_over_chunks(model.expect)
        self.n_maps += 1
        self.record(model, expectation, parameter_change(previous, model))
        return expectation

    def collapse(self, model: Model, expectation: Expectation, error: DegenerateError) -> EMResult:
        """The end of a run whose M-step failed."""
        message = f"In iteration {self.n_maps + 1} {error}"
        ended = EMResult(model, expectation, self.history, StopReason.DEGENERATE, self.is_monotone, message)
        return replace(ended, collapsed=error.component, collapsed_weight=error.weight)

    def record(
        self, model: Model, expectation: Expectation, change: float, *, step: float = 0.0, is_bound: bool = False
    ) -> None:
        """Check the invariants of a pass and add it to the history; `step` > 0 marks a leap."""
        if not math.isfinite(expectation.log_likelihood):
            raise InvariantError.not_finite(iteration=self.n_maps, found=expectation.log_likelihood)
        if _is_float_array(expectation.statistics) and not np.isfinite(expectation.statistics).all():
            raise InvariantError.statistics_not_finite(iteration=self.n_maps)
        audit, objective = audit_of(model, expectation), objective_of(model, expectation)
        self.is_monotone = audit.is_monotone
        gain = objective - self.objective
        self.objective = objective
        record = Record(
            self.n_maps,
            float(expectation.log_likelihood),
            float(gain),
            change,
            time.perf_counter() - self.began,
            float(audit.noise),
            float(expectation.weight),
            step > 0,
            step,
            is_bound,
        )
        _check(record, expectation, audit)
        self.history.append(record)
        if self.on_iteration is not None:
            self.on_iteration(record, model)

    def leap(
        self, accelerator: Accelerator, point: Any, model: Model, expectation: Expectation
    ) -> tuple[Model, Expectation]:
        """Try what the accelerator proposes; the plain step where it is refused or loses log-likelihood."""
        if self.wants_plain():
            return model, expectation
        pair = (point, expectation.statistics)
        while self.n_maps < self.max_iter:
            with np.errstate(all="ignore"):
                target = accelerator.propose(*pair)
            if target is None or not np.isfinite(target).all():
                break
            self.n_maps += 1
            far = _attempt(model, self.source, target, self.objective)
            accelerator.told(far is not None)
            if far is None:
                break
            model, expectation = far
            self.record(model, expectation, math.nan, step=accelerator.step)
            pair = (target, expectation.statistics)
            if not accelerator.chains or self.wants_plain():
                break
        return model, expectation


def _attempt(model: Model, source: Source, target: Any, floor: float) -> tuple[Model, Expectation] | None:
    """The model at leapt statistics and its pass; None where these are no statistics, or log-likelihood is lost."""
    with np.errstate(all="ignore"):
        try:
            far = model.maximize(target)
            expectation = source.sum_over_chunks(far.expect)
        except (EmixError, ArithmeticError, ValueError):
            return None
    return (far, expectation) if objective_of(far, expectation) >= floor else None


def _is_float_array(statistics: Any) -> bool:
    return isinstance(statistics, np.ndarray) and statistics.dtype == np.float64


def objective_of(model: Model, expectation: Expectation) -> float:
    """What EM climbs: the log-likelihood, and under a prior the log density of the parameters with it."""
    return float(expectation.log_likelihood + (model.log_prior() if hasattr(model, "log_prior") else 0.0))


def audit_of(model: Model, expectation: Expectation) -> Audit:
    """What is checked of a pass, by the model itself where it can tell."""
    if hasattr(model, "audit"):
        return model.audit(expectation)  # type: ignore[no-any-return]
    noise = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, abs(expectation.log_likelihood))
    return Audit(expectation.weight, noise, True)


def _check(record: Record, expectation: Expectation, audit: Audit) -> None:
    """The two invariants of EM; they cost nothing and are checked at every pass."""
    rounding = 1e-9 * max(1.0, expectation.weight)
    if not abs(audit.counted - expectation.weight) <= rounding:
        raise InvariantError.lost_weight(
            iteration=record.iteration, counted=audit.counted, total=float(expectation.weight)
        )
    check_fall(record.iteration, record.log_likelihood, record.gain, audit)


def check_fall(iteration: int, found: float, gain: float, audit: Audit) -> None:
    """Raise if what EM climbs fell by more than rounding to what was found."""
    allowed = FALL * audit.noise
    if audit.is_monotone and gain < -allowed:
        raise InvariantError.fell(iteration=iteration, before=found - gain, after=found, allowed=allowed)


def parameters_of(model: Any) -> dict[str, Any] | None:
    """A model's `parameters`, or the numbers and arrays among the fields of a user's dataclass; None without either."""
    if hasattr(model, "parameters"):
        return dict(model.parameters)
    if not is_dataclass(model):
        return None
    found = {f.name: getattr(model, f.name) for f in fields(model)}
    return {name: value for name, value in found.items() if np.asarray(value).dtype.kind in "fiu"} or None


def parameter_change(previous: Any, model: Any) -> float:
    """Largest change of any parameter, relative to its size where that exceeds 1; NaN where it cannot be told."""
    old, new = (None, None) if previous is None else (parameters_of(previous), parameters_of(model))
    if old is None or new is None:
        return math.nan
    largest = 0.0
    with np.errstate(invalid="ignore"):  # a user's own model may hold an infinite parameter
        for name, value in new.items():
            pairs = zip(old[name], value, strict=True) if isinstance(value, tuple) else ((old[name], value),)
            for before, after in pairs:
                before = np.asarray(before, dtype=np.float64)
                change = np.abs(np.asarray(after) - before) / np.maximum(np.abs(before), 1.0)
                largest = max(largest, float(change.max(initial=0.0)))
    return largest
