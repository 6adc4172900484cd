"""When to stop: small objects that look at the history and name the ending, or say nothing.

`tol` means, for each rule:
    aitken       log-likelihood still to be gained, total, in nats: estimates lie within sqrt(2 tol) standard errors
    relative     gain / |log-likelihood|
    parameters   largest change of any parameter, relative to its size where that exceeds 1
    mean-gain    gain per unit of weight (what scikit-learn calls tol)
    iterations   not used: exactly max_iter iterations
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Aitken:
    """Stop when the gain still to come is below `tol`, or below the rounding of the log-likelihood.

    EM's gains shrink by a factor c from one iteration to the next, so that gain x c / (1 - c) is still to come (Aitken;
    Boehning et al. 1994). Two predictions in a row must agree. No rule that looks at gains alone tells a saddle, near
    which they first shrink and then grow again, from a maximum: several starts are the remedy.
    """

    tol: float = 1e-6
    at_limit: ClassVar[StopReason] = StopReason.MAX_ITER

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        if len(history) < 3:
            return None
        last, before = history[-1], history[-2]
        if abs(last.gain) <= last.noise and abs(before.gain) <= before.noise:
            return StopReason.PRECISION
        if len(history) < 4:
            return None
        remaining = max(self._remaining(history[-3:]), self._remaining(history[-4:-1]))
        if remaining <= last.noise:
            return StopReason.PRECISION
        return StopReason.AITKEN if remaining <= self.tol else None

    @staticmethod
    def _remaining(records: Sequence[Record]) -> float:
        """Predicted gain after the last record, from its gain and the one before."""
        gain, previous = records[-1].gain, records[-2].gain
        if gain <= records[-1].noise:
            gain = records[-1].noise
        if not previous > gain:
            return float("inf")
        ratio = gain / previous
        return gain * ratio / (1 - ratio)


@dataclass(frozen=True)
class RelativeGain:
    """Stop when gain / |log-likelihood| is at most `tol`."""

    tol: float = 1e-8
    at_limit: ClassVar[StopReason] = StopReason.MAX_ITER

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        last = history[-1]
        if len(history) > 1 and last.gain <= self.tol * abs(last.log_likelihood):
            return StopReason.RELATIVE
        return None


@dataclass(frozen=True)
class ParameterChange:
    """Stop when no parameter changes by more than `tol` any more."""

    tol: float = 1e-8
    at_limit: ClassVar[StopReason] = StopReason.MAX_ITER

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        if len(history) > 1 and history[-1].parameter_change <= self.tol:
            return StopReason.PARAMETERS
        return None


@dataclass(frozen=True)
class MeanGain:
    """Stop when the gain per unit of weight is below `tol` in absolute value, as scikit-learn does."""

    tol: float = 1e-3
    at_limit: ClassVar[StopReason] = StopReason.MAX_ITER

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        last = history[-1]
        if len(history) > 1 and abs(last.gain) < self.tol * last.weight:
            return StopReason.MEAN_GAIN
        return None


@dataclass(frozen=True)
class Iterations:
    """Never stop before `max_iter` iterations."""

    tol: float = 0.0
    at_limit: ClassVar[StopReason] = StopReason.ITERATIONS

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        return None


RULES: dict[str, Callable[[float], StoppingRule]] = {
    "aitken": Aitken,
    "relative": RelativeGain,
    "parameters": ParameterChange,
    "mean-gain": MeanGain,
    "iterations": Iterations,
}


def stopping_rule(stop: str | StoppingRule, tol: float) -> StoppingRule:
    """A rule by its name, or the rule itself.

    Raises
    ------
    ModelError
        The name is unknown, or tol is negative or not a number.
    """
    if not isinstance(stop, str):
        return stop
    if stop not in RULES:
        raise ModelError.choice(what="stopping rule", found=stop, available=RULES)
    if isinstance(tol, bool) or not isinstance(tol, int | float) or not tol >= 0:
        raise ModelError.argument(name="tol", requirement="a number >= 0", found=tol)
    return RULES[stop](float(tol))
