"""When to stop: small objects that look at the history and name the ending, or say nothing.

`tol` means, for each rule:
    aitken       log-likelihood still to be gained, total, in nats: estimates lie within sqrt(2 tol) standard errors
    relative     gain / |log-likelihood|
    parameters   largest change of any parameter, relative to its size where that exceeds 1
    mean-gain    gain per unit of weight (what scikit-learn calls tol)
    iterations   not used: exactly max_iter iterations
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from emix.errors import ModelError
from emix.results import Record, StopReason


class StoppingRule(Protocol):
    """Looks at the history after each pass."""

    @property
    def at_limit(self) -> StopReason:
        """The ending when `max_iter` is reached."""

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """The ending, or None to go on."""

    def wants_plain(self, history: Sequence[Record]) -> bool:
        """Whether the next step is to be a plain one, because the rule cannot tell from a leap."""


class Rule:
    """What most rules share: they do not mind leaps, and look at plain steps alone."""

    at_limit: ClassVar[StopReason] = StopReason.MAX_ITER

    def wants_plain(self, history: Sequence[Record]) -> bool:
        """See `StoppingRule`."""
        return False


@dataclass(frozen=True)
class Aitken(Rule):
    """Stop when the gain still to come is below `tol`, or below the rounding of the log-likelihood.

    EM's gains shrink by a factor c from one iteration to the next, so that gain x c / (1 - c) is still to come (Aitken;
    Boehning et al. 1994). Two predictions in a row must agree. After a leap c is not yet that of the slowest direction,
    which the leap's length a tells: c = (1 - 1 / a)^2. When that predicts little to gain, plain steps are asked for,
    and the run ends when three of them predict so too and agree within 20 %. No rule that looks at gains alone tells a
    saddle, near which they first shrink and then grow again, from a maximum: several starts are the remedy.
    """

    tol: float = 1e-6

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        n_plain = _n_plain(history)
        if n_plain < 2:
            return None
        last, before = history[-1], history[-2]
        if abs(last.gain) <= last.noise and abs(before.gain) <= before.noise:
            # near a saddle the gains are as small as this, but the parameters move faster at each step
            is_slowing = not last.parameter_change > before.parameter_change or last.parameter_change < 1e-12
            return StopReason.PRECISION if is_slowing else None
        if n_plain < 3:
            return None
        now, earlier = _aitken(history[-2:]), _aitken(history[-3:-1])
        remaining = max(now, _by_leaps(history))
        if any(record.is_leap for record in history):
            agree = abs(now + last.gain - earlier) <= AGREEMENT * earlier + last.noise
            if not agree:
                return None
        else:
            remaining = max(remaining, earlier)
        if remaining <= last.noise:
            return StopReason.PRECISION
        return StopReason.AITKEN if remaining <= self.tol else None

    def wants_plain(self, history: Sequence[Record]) -> bool:
        """See `StoppingRule`: little is predicted to be left, and plain steps have not yet denied it."""
        n_plain, little = _n_plain(history), max(self.tol, history[-1].noise)
        if n_plain < 2:  # a leap that gained little
            leap = history[-1 - n_plain]
            return leap.is_leap and leap.gain <= little
        if n_plain >= PATIENCE:
            return False
        likely = max(_aitken(history[-2:]) if n_plain < len(history) - 1 else 0.0, _by_leaps(history))
        if not any(record.is_leap for record in history):
            likely = _aitken(history[-2:])
        return likely <= little


AGREEMENT = 0.2
"""Share by which two predictions of what is left may differ."""
PATIENCE = 6
"""Plain steps that a prediction may take to be confirmed before leaping goes on."""
RECENT = 4
"""Leaps whose lengths tell the slowest rate."""


def _n_plain(history: Sequence[Record]) -> int:
    """Plain steps since the last leap, or the start."""
    n = 0
    while n < len(history) - 1 and not history[-1 - n].is_leap:
        n += 1
    return n


def _aitken(records: Sequence[Record]) -> float:
    """Predicted gain after the second record, from its gain and that of the first."""
    gain, previous = max(records[1].gain, records[1].noise), records[0].gain
    if not previous > gain:
        return math.inf
    ratio = gain / previous
    return gain * ratio / (1 - ratio)


def _by_leaps(history: Sequence[Record]) -> float:
    """Predicted gain after the last plain step, from the slowest rate that recent leaps have met."""
    steps = [record.step for record in history if record.is_leap][-RECENT:]
    if not steps:
        return 0.0
    rate = (1 - 1 / max(max(steps), 1.0)) ** 2
    return max(history[-1].gain, 0.0) * rate / (1 - rate)


@dataclass(frozen=True)
class RelativeGain(Rule):
    """Stop when gain / |log-likelihood| is at most `tol`."""

    tol: float = 1e-10

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        last = history[-1]
        if _n_plain(history) and last.gain <= self.tol * abs(last.log_likelihood):
            return StopReason.RELATIVE
        return None


@dataclass(frozen=True)
class ParameterChange(Rule):
    """Stop when no parameter changes by more than `tol` any more."""

    tol: float = 1e-8

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        if _n_plain(history) and history[-1].parameter_change <= self.tol:
            return StopReason.PARAMETERS
        return None


@dataclass(frozen=True)
class MeanGain(Rule):
    """Stop when the gain per unit of weight is below `tol` in absolute value, as scikit-learn does."""

    tol: float = 1e-3

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        last = history[-1]
        if _n_plain(history) and abs(last.gain) < self.tol * last.weight:
            return StopReason.MEAN_GAIN
        return None


@dataclass(frozen=True)
class Iterations(Rule):
    """Never stop before `max_iter` iterations."""

    tol: float = 0.0
    at_limit: ClassVar[StopReason] = StopReason.ITERATIONS

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        return None


RULES: dict[str, Callable[..., StoppingRule]] = {
    "aitken": Aitken,
    "relative": RelativeGain,
    "parameters": ParameterChange,
    "mean-gain": MeanGain,
    "iterations": Iterations,
}


def stopping_rule(stop: str | StoppingRule, tol: float | None = None) -> StoppingRule:
    """A rule by its name, with its own default for `tol` if none is given; or the rule itself.

    Raises
    ------
    ModelError
        The name is unknown, or tol is not a finite number >= 0.
    """
    if not isinstance(stop, str):
        return stop
    if stop not in RULES:
        raise ModelError.choice(what="stopping rule", found=stop, available=RULES)
    if tol is None:
        return RULES[stop]()
    if isinstance(tol, bool) or not isinstance(tol, int | float) or not 0 <= tol < math.inf:
        raise ModelError.argument(name="tol", requirement="a finite number >= 0", found=tol)
    return RULES[stop](float(tol))
