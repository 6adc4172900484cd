"""Parameter spaces: what values a parameter may take, how many are free, and their unconstrained coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit

from emix.block import Array
from emix.errors import ModelError


class Space:
    """The real line: any finite number."""

    requirement = "finite numbers"
    drops_single_column = True
    lower, upper, is_open = -np.inf, np.inf, False
    """Ends of what one entry may be, and whether the lower one itself is not allowed."""

    def contains(self, value: Array) -> bool:
        """Whether every entry is allowed."""
        return bool(np.isfinite(value).all())

    def check(self, value: Array, *, family: str, name: str) -> None:
        """Raise a `ModelError` that says what is required and what was found."""
        if not self.contains(value):
            raise ModelError.parameter(family=family, name=name, requirement=self.requirement, found=value.tolist())

    def n_free(self, value: Any) -> int:
        """Number of free numbers in the parameter."""
        return int(value.size)

    def to_vector(self, value: Any) -> Array:
        """Unconstrained coordinates, flat."""
        return np.asarray(value, dtype=np.float64).ravel()

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        """The parameter, in the shape of `like`, from the head of `vector`; and how many entries were used."""
        return vector[: like.size].reshape(like.shape), like.size


class Positive(Space):
    """Positive numbers, by their logarithm."""

    requirement = "positive finite numbers"
    lower, is_open = 0.0, True

    def contains(self, value: Array) -> bool:
        return bool((value > 0).all() and np.isfinite(value).all())

    def to_vector(self, value: Any) -> Array:
        return np.asarray(np.log(value)).ravel()

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        return np.exp(vector[: like.size]).reshape(like.shape), like.size


class Nonnegative(Positive):
    """Positive numbers and 0, which is a boundary: its coordinate is -inf."""

    requirement = "finite numbers >= 0"
    is_open = False

    def contains(self, value: Array) -> bool:
        return bool((value >= 0).all() and np.isfinite(value).all())

    def to_vector(self, value: Any) -> Array:
        with np.errstate(divide="ignore"):
            return super().to_vector(value)


class Probability(Space):
    """Numbers from 0 to 1, by their logit; 0 and 1 are boundaries: -inf and inf."""

    requirement = "numbers from 0 to 1"
    lower, upper = 0.0, 1.0

    def contains(self, value: Array) -> bool:
        return bool(((value >= 0) & (value <= 1)).all())

    def to_vector(self, value: Any) -> Array:
        return np.asarray(logit(value), dtype=np.float64).ravel()

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        return np.asarray(expit(vector[: like.size])).reshape(like.shape), like.size


class Simplex(Space):
    """Rows of probabilities that sum to 1, by stick-breaking logits: defined also where some are exactly 0."""

    requirement = "rows of probabilities that sum to 1"
    lower, upper = 0.0, 1.0
    drops_single_column = False

    def contains(self, value: Array) -> bool:
        return bool(value.ndim == 2 and (value >= 0).all() and (np.abs(value.sum(axis=-1) - 1) <= 1e-6).all())

    def n_free(self, value: Any) -> int:
        if isinstance(value, tuple):
            return sum(self.n_free(v) for v in value)
        return int(value.shape[0] * (value.shape[1] - 1))

    def to_vector(self, value: Any) -> Array:
        if isinstance(value, tuple):
            return np.concatenate([self.to_vector(v) for v in value])
        tail = np.cumsum(value[:, ::-1], axis=1)[:, ::-1]  # what is left of the stick, summed from the far end
        sticks = np.divide(value, tail, out=np.full_like(value, 0.5), where=tail > 0)
        return self.logits_of(sticks[:, :-1], value[:, :-1], tail[:, 1:])

    @staticmethod
    def logits_of(sticks: Array, taken: Array, left: Array) -> Array:
        """log(taken / left): the logit of each break without 1 - stick, which would cancel."""
        with np.errstate(divide="ignore", invalid="ignore"):
            out = np.log(taken) - np.log(left)
        return np.where((taken == 0) & (left == 0), 0.0, out).ravel()

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        if isinstance(like, tuple):
            parts, used = [], 0
            for one in like:
                part, step = self.from_vector(vector[used:], one)
                parts.append(part)
                used += step
            return tuple(parts), used
        K, C = like.shape
        used = K * (C - 1)
        logits = vector[:used].reshape(K, C - 1)
        left = np.concatenate([np.ones((K, 1)), np.cumprod(expit(-logits), axis=1)], axis=1)
        breaks = np.concatenate([expit(logits), np.ones((K, 1))], axis=1)
        return left * breaks, used


REAL, POSITIVE, NONNEGATIVE, PROBABILITY, SIMPLEX = Space(), Positive(), Nonnegative(), Probability(), Simplex()


class Interval(Space):
    """Numbers between two ends, by the logarithm of their distance from a finite end, or the logit between two.

    An end that is `closed` is allowed, as a boundary: its coordinate is -inf or inf.
    """

    def __init__(self, lower: float, upper: float, closed: tuple[bool, bool] = (False, False)) -> None:
        self.lower, self.upper, self.closed = lower, upper, closed

    @property
    def requirement(self) -> str:  # type: ignore[override]
        """In words."""
        sides = ((self.lower, ">", self.closed[0]), (self.upper, "<", self.closed[1]))
        said = [f"{sign}{'=' * closed} {end:g}" for end, sign, closed in sides if np.isfinite(end)]
        return " and ".join(["finite numbers", *said]).replace("numbers and", "numbers", 1)

    def contains(self, value: Array) -> bool:
        above = value >= self.lower if self.closed[0] else value > self.lower
        below = value <= self.upper if self.closed[1] else value < self.upper
        return bool((above & below & np.isfinite(value)).all())

    def to_vector(self, value: Any) -> Array:
        value = np.asarray(value, dtype=np.float64).ravel()
        with np.errstate(divide="ignore"):
            below = np.log(value - self.lower) if np.isfinite(self.lower) else None
            above = np.log(self.upper - value) if np.isfinite(self.upper) else None
        if below is None:
            return np.asarray(value if above is None else -above)
        return np.asarray(below if above is None else below - above)

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        u = vector[: like.size].reshape(like.shape)
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return self.lower + (self.upper - self.lower) * np.asarray(expit(u)), like.size
        if np.isfinite(self.lower):
            return self.lower + np.exp(u), like.size
        return (self.upper - np.exp(-u) if np.isfinite(self.upper) else u), like.size
