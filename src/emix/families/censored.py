"""What families of censored durations share, and the exponential one: a duration and whether it ended in an event.

T(x) = (t, e)    coefficients = (-rate, log rate)    MLE: rate = sum(w e) / sum(w t), events by total time
e is 1 for an event, which has the density at t, and 0 for a row censored at t, which has the probability of lasting
longer; censoring tells nothing else. A row whose duration or event is missing is (0, 0).
Source: Lawless (2003), Statistical Models and Methods for Lifetime Data, 2nd ed., sections 2.2 and 4.1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, safe_log
from emix.errors import DataError, DegenerateError, ModelError
from emix.families.base import Family, Parameter, Support, Work, share
from emix.spaces import NONNEGATIVE


class CensoredFamily(Family):
    """A column of durations, and one that tells which of them ended in an event; one parameter per component each."""

    event: str
    _takes_zero: ClassVar[bool] = True
    """Whether the density at a duration of 0 is a number, whatever the parameters."""

    def __post_init__(self) -> None:
        if not isinstance(self.event, str):
            raise ModelError.argument(name="event", requirement="the name of a column", found=self.event)
        super().__post_init__()

    @property
    def support(self) -> Support:
        return Support(
            f"durations {'>=' if self._takes_zero else '>'} 0",
            lower=0,
            lower_is_allowed=self._takes_zero,
            min_columns=2,
            max_columns=2,
            event_column=self.event,
            missing_is_joint=True,
        )

    def _check_columns(self) -> None:
        if len(self.columns) == 2 and self.event not in self.columns:
            raise DataError.unknown_column(column=self.event, available=self.columns)
        for name, value in self.parameters.items():
            if value.ndim != 1:
                raise ModelError.parameter(family=self.name, name=name, requirement="the shape (K,)", found=value.shape)

    @property
    def _event_column(self) -> int:
        """Where the events stand; last where no column has that name yet."""
        names = () if self.binding is None else self.binding.names
        return names.index(self.event) if self.event in names else 1

    @property
    def _words(self) -> tuple[str, str]:
        """Names of the durations and of the events."""
        event = self._event_column
        return self.columns[1 - event], self.columns[event]

    def _split(self, x: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Durations, events, and which rows have both; the others hold (1, 0)."""
        event = self._event_column
        seen = np.asarray(~np.isnan(x).any(axis=1))
        return np.where(seen, x[:, 1 - event], 1.0), np.where(seen, x[:, event], 0.0), seen

    @abstractmethod
    def _moments_of_durations(self) -> tuple[Array, Array]:
        """Mean and variance of the duration until the event, (K,) each; infinite where there is none."""

    def cell_moments(self) -> tuple[Array, Array]:
        """Of the durations until the event; what is censored, and when, no parameter tells."""
        found = np.full((2, self.n_components or 0, 2), np.nan)
        found[:, :, 1 - self._event_column] = self._moments_of_durations()
        return found[0], found[1]

    def _is_open(self, x: Array) -> NDArray[np.bool_]:
        """Rows without a duration that are not known to be censored."""
        return np.asarray(np.isnan(x[:, 1 - self._event_column]) & (x[:, self._event_column] != 0))

    def conditional_means(self, x: Array) -> Array:
        """A missing duration is that until the event, an event; when rows are censored is not known, and stays so."""
        own, mean = self._is_open(x), self._moments_of_durations()[0]
        if own.any() and not np.isfinite(mean).all():
            raise ModelError.no_mean(column=self._words[0], family=self)
        filled = np.repeat(x[None], len(mean), axis=0)
        filled[:, own, 1 - self._event_column] = mean[:, None]
        filled[:, own, self._event_column] = 1.0
        return filled

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """As `conditional_means` fills them."""
        own, drawn = self._is_open(x), x.copy()
        drawn[own] = self.sample(labels[own], rng)
        return drawn

    @abstractmethod
    def _draw(self, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Durations until the event, (n,); infinite where there is none."""

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        """Draw a duration and its event per label; `given` holds the times at which rows are censored, if any are."""
        time = self._draw(labels, rng)
        limit = np.full(len(labels), np.inf) if given is None else given[:, 0]
        if not np.isfinite(np.minimum(time, limit)).all():
            raise ModelError.argument(
                name="given", requirement="times of censoring: a component without events has no durations", found=given
            )
        columns = [np.minimum(time, limit), (time <= limit).astype(np.float64)]
        return np.stack(columns if self._event_column == 1 else columns[::-1], axis=1)


@dataclass(frozen=True, eq=False, repr=False)
class CensoredExponential(CensoredFamily):
    """Waiting times with a constant rate, some of them cut off before the event.

    Parameters
    ----------
    rate : array-like of shape (K,), optional
        Events per unit of time. 0 is a component in which nothing ever happens.
    event : str, default='event'
        The column that holds 1 for an event and 0 for a censored row (columns of an array are named x0, x1); the other
        one holds the durations.

    Examples
    --------
    >>> from emix import CensoredExponential, Mixture, fit
    >>> data = {"weeks": [6, 6, 10, 13], "died": [1, 0, 1, 0]}
    >>> fit(Mixture(CensoredExponential(event="died"), 1), data).model.family.rate.round(6)
    array([0.057143])
    """

    rate: Parameter = None
    event: str = "event"

    name = "censored_exponential"
    spaces = {"rate": NONNEGATIVE}

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"sum of {word}" for word in self._words)

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        time, ended, seen = self._split(x)
        return np.stack([time * seen, ended])

    def coefficients(self) -> Array:
        return np.stack([-self.rate, safe_log(self.rate)], axis=1)

    def _maximize(self, expected: Array) -> CensoredExponential:
        time, events = expected.T
        if ((time <= 0) & (events > 0)).any():
            k = int(np.argmax((time <= 0) & (events > 0)))
            raise DegenerateError.collapsed(component=k, column=self._words[0], ratio=0.0, weight=float(events[k]))
        return self.estimated(rate=share(events, time, self.rate))

    def _moments_of_durations(self) -> tuple[Array, Array]:
        mean = np.divide(1.0, self.rate, out=np.full(len(self.rate), np.inf), where=self.rate > 0)
        return mean, mean**2

    def _draw(self, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        rate = self.rate[labels]
        unit = rng.exponential(size=len(labels))
        return np.asarray(np.divide(unit, rate, out=np.full(len(labels), np.inf), where=rate > 0))

    def coordinates(self, x: Array) -> Array:
        return np.asarray(np.sqrt(x[:, 1 - self._event_column])[:, None])

    def _work(self, expected: Array) -> tuple[Work, ...]:
        time, ended = self._words
        value = np.asarray(self.maximize(expected).rate)
        return (Work("rate", value, f"sum of {ended} / sum of {time}", expected[:, 1], expected[:, 0]),)
