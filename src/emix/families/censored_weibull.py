"""Weibull family of censored durations: a rate of events that rises or falls with time.

log p(t, e) = e (log k - log t + u) - h    u = k log(t / s), h = exp(u) the cumulative hazard
with shape k and scale s; e is 1 for an event and 0 for a row censored at t.
The sums are (1, k, log s, e, e u, h, h u, h u^2, |u|^3 (h^(1/2) + h^(3/2))), at each component's own k and s, which
they carry along. The M-step needs the sum M(x) of h^(1 + x) for a shape (1 + x) k, which they do not tell but bound:
    M(x) <= sum h + x sum h u + x^2 / 2 sum h u^2 + |x|^3 / 6 sum |u|^3 (h^(1/2) + h^(3/2)) for |x| <= 1/2
by Taylor's theorem, since h^(1 + y) lies between h^(1/2) and h^(3/2). The step climbs the log-likelihood with M
replaced by the bound. Both are equal at x = 0, and so are their derivatives: the log-likelihood never falls, and near
its maximum the step is Newton's.
Source: Lawless (2003), Statistical Models and Methods for Lifetime Data, 2nd ed., section 5.2; Lange (2016),
MM Optimization Algorithms (steps by bounds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from emix.block import Array
from emix.errors import DegenerateError, ModelError
from emix.families.base import VARIANCE_FLOOR, Parameter, Work
from emix.families.censored import CensoredFamily
from emix.spaces import POSITIVE

LARGEST = 200.0
"""Logarithm of a scale at most, and of a hazard beyond which it is cut: where a component has any part in a row, the
row's hazard is below 1e25."""
FARTHEST = 0.5
"""By which share a shape may change in one step: the bound holds no further."""
HALVINGS = 60
"""From the longest step to the last digit of the shape."""


@dataclass(frozen=True, eq=False, repr=False)
class CensoredWeibull(CensoredFamily):
    """Durations with a rate of events that rises (shape > 1) or falls (shape < 1), some cut off before the event.

    Parameters
    ----------
    shape : array-like of shape (K,), optional
        1 is exponential.
    scale : array-like of shape (K,), optional
        In the unit of the durations: 63.2 % of them end before it.
    event : str, default='event'
        The column that holds 1 for an event and 0 for a censored row (columns of an array are named x0, x1); the other
        one holds the durations, all > 0. Without censored rows it holds ones.

    Notes
    -----
    One M-step does not maximize fully, it climbs: after a start it takes some iterations more than others.
    """

    shape: Parameter = None
    scale: Parameter = None
    event: str = "event"

    name = "censored_weibull"
    spaces = {"shape": POSITIVE, "scale": POSITIVE}
    _takes_zero = False

    def is_linear(self, *, is_complete: bool) -> bool:
        return False

    def coefficients(self) -> Array:
        raise ModelError.argument(
            name="family", requirement="one whose log-density is linear in its statistics", found=self.name
        )

    def fisher_coefficients(self) -> None:
        """None: the sums bound the likelihood at other shapes, and tell its gradient only at their own."""
        return

    # -- densities and sums ------------------------------------------------------------------------------------------

    def log_prob(self, x: Array) -> Array:
        time, ended, seen = self._split(x)
        k = self.shape[:, None]
        log_ratio = np.log(time) - np.log(self.scale)[:, None]
        hazard = np.exp(np.minimum(k * log_ratio, LARGEST))
        log_rate = np.log(k) - np.log(self.scale)[:, None] + (k - 1) * log_ratio
        return np.asarray((ended * log_rate - hazard) * seen)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        own = ("", " x log hazard", " x log hazard x log hazard")
        events = f"sum of {self._words[1]}"
        first = ("rows", "rows x shape", "rows x log scale", events, f"{events} x log hazard")
        return (*first, *(f"sum of hazard{more}" for more in own), "sum of remainder of log hazard")

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        """What a row adds before there are parameters: those of a shape and a scale of 1."""
        return np.asarray(self._rows(x, np.ones(1), np.ones(1))[0])

    def _rows(self, x: Array, shape: Array, scale: Array) -> Array:
        """(K, 9, B): what each row adds under each component."""
        time, ended, seen = self._split(x)
        k, s = shape[:, None], scale[:, None]
        u = k * (np.log(time) - np.log(s))
        cut, ones = np.clip(u, -LARGEST, LARGEST), np.ones_like(u)
        h, remainder = np.exp(cut), np.abs(u) ** 3 * (np.exp(0.5 * cut) + np.exp(1.5 * cut))
        own = [ones, k * ones, np.log(s) * ones, ended * ones, ended * u, h, h * u, h * u * u, remainder]
        return np.asarray(np.stack(own, axis=1) * seen)

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        K = len(weighted_resp)
        shape, scale = (np.ones(K) if value is None else value for value in (self.shape, self.scale))
        return np.asarray(np.einsum("kdb,kb->kd", self._rows(x, shape, scale), weighted_resp))

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _maximize(self, expected: Array) -> Self:
        n, has_rows = expected[:, 0], expected[:, 0] > 0
        if not has_rows.all() and not self.is_fitted:
            raise DegenerateError.empty(component=int(np.argmin(has_rows)))
        # whatever is computed for components without rows is thrown away
        sums = np.where(has_rows[:, None], expected, expected[np.argmax(n)])
        shape, scale = self._climbed(sums)
        values = {}
        for name, new in (("shape", shape), ("scale", scale)):
            if name not in self.fixed:
                values[name] = new if has_rows.all() else np.where(has_rows, new, getattr(self, name))
        return self.estimated(**values)

    def _climbed(self, sums: Array) -> tuple[Array, Array]:
        """Shape and scale after the step, (K,) each.

        Raises
        ------
        DegenerateError
            A component has no events, so that its scale is infinite; or its durations are all but equal.
        """
        n, events = sums[:, 0], sums[:, 3]
        if not (events > 0).all():
            found = int(np.argmin(events > 0))
            raise DegenerateError.no_events(component=found, weight=float(n[found]))
        k, log_scale = sums[:, 1] / n, sums[:, 2] / n
        if "shape" in self.fixed:
            return k, self._scale(log_scale + np.log(sums[:, 5] / events) / k)
        step, hazard = self._step(events, sums[:, 4], sums[:, 5:])
        k = k * (1 + step)
        width = np.pi**2 / 6 / k**2  # the variance of log t
        if not (width > VARIANCE_FLOOR).all():
            found = int(np.argmin(width > VARIANCE_FLOOR))
            raise DegenerateError.collapsed(
                component=found, column=self._words[0], ratio=float(width[found]), weight=float(n[found])
            )
        return k, self._scale(log_scale + np.log(hazard / events) / k)

    def cell_objective(self, expected: Array) -> Array:
        """The bound of the log-likelihood at these parameters; `expected` carries those that its sums were taken at."""
        n, events, rise = expected[:, 0], expected[:, 3], expected[:, 4]
        total, first, second, third = expected[:, 5:].T
        unit = np.where(n > 0, n, 1.0)
        k, log_scale = np.where(n > 0, expected[:, 1] / unit, 1.0), expected[:, 2] / unit
        x, shift = self.shape / k - 1, self.shape * (log_scale - np.log(self.scale))
        hazard = total + x * (first + x * (second / 2 + np.abs(x) * third / 6))
        value = events * (np.log(self.shape) + shift) + (1 + x) * rise - hazard * np.exp(shift)
        return np.asarray(value[:, None])

    def cell_weights(self, expected: Array) -> Array:
        return expected[:, :1]

    def search_bounds(self, expected: Array) -> dict[str, tuple[Array, Array]]:
        n = expected[:, :1]
        k = np.where(n > 0, expected[:, 1:2] / np.where(n > 0, n, 1.0), 1.0)
        return {"shape": ((1 - FARTHEST) * k, (1 + FARTHEST) * k)}

    def _scale(self, logarithm: Array) -> Array:
        """From its logarithm; that of a component which is held fixed is not looked at.

        Raises
        ------
        DegenerateError
            It is no number any more: next to no events among rows of great weight.
        """
        if "scale" in self.fixed:
            return np.asarray(self.scale)
        if not (np.abs(logarithm) < LARGEST).all():
            raise DegenerateError.few_events(component=int(np.argmax(np.abs(logarithm))))
        return np.asarray(np.exp(logarithm))

    def _step(self, events: Array, rise: Array, sums: Array) -> tuple[Array, Array]:
        """Share by which the shape changes, and the bound on the sum of hazards there; (K,) each.

        At a zero of the bound's slope it is higher than at 0 if there is but one; where it is not, the step is halved.
        """
        total, first, second, third = sums.T
        is_free = "scale" not in self.fixed

        def bound(x: Array) -> Array:
            return np.asarray(total + x * (first + x * (second / 2 + np.abs(x) * third / 6)))

        def value(x: Array) -> Array:
            lost = events * np.log(bound(x) / total) if is_free else bound(x) - total
            return np.asarray(events * np.log1p(x) + x * rise - lost)

        def slope(x: Array) -> Array:
            rate = first + x * (second + np.abs(x) * third / 2)
            return np.asarray(events / (1 + x) + rise - (events / bound(x) * rate if is_free else rate))

        low, high = np.where(slope(0 * total) > 0, 0.0, -FARTHEST), np.where(slope(0 * total) > 0, FARTHEST, 0.0)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            is_rising = slope(middle) > 0
            low, high = np.where(is_rising, middle, low), np.where(is_rising, high, middle)
        x = (low + high) / 2
        for _ in range(HALVINGS):
            x = np.where(value(x) >= 0, x, x / 2)
        return x, bound(x)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _moments_of_durations(self) -> tuple[Array, Array]:
        first, second = (gamma(1 + n / self.shape) for n in (1, 2))
        return self.scale * first, self.scale**2 * (second - first**2)

    def _draw(self, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        drawn = self.scale[labels] * rng.weibull(self.shape[labels])
        return np.asarray(
            np.maximum(drawn, np.finfo(np.float64).tiny)
        )  # a shape near 0 draws values that underflow to 0

    def coordinates(self, x: Array) -> Array:
        return np.asarray(np.log(x[:, 1 - self._event_column])[:, None])

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, lines = self.maximize(expected), []
        time, ended = self._words
        if "shape" not in self.fixed:
            text = f"a step towards 1 / shape = mean of log {time} by hazard - mean of log {time} at events"
            lines.append(Work("shape", np.asarray(fitted.shape), text))
        if "scale" not in self.fixed:
            text = f"(sum of {time}^shape / sum of {ended})^(1 / shape)"
            lines.append(Work("scale", np.asarray(fitted.scale), text))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return 1 / self.shape[:, None] ** 2, self._words[:1]
