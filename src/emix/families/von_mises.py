"""Von Mises family: angles with a mean direction and a concentration, independent over columns.

T(x) = (1 - cos y, sin y, o) with y = x - pivot, the pivot the whole column's mean
coefficients = (-k cos(m), k sin(m), k (cos(m) - 1) - log(2 pi e^-k I0(k))) with m = direction - pivot, k > 0
MLE: direction of the mean of (cos y, sin y), and I1(k) / I0(k) = R, the length of that mean
Written with 1 - cos y, 1 - R keeps its digits where the angles lie close together: as 1 minus a mean cosine it has
eight at a concentration of 1e8.
Source: Mardia & Jupp (2000), Directional Statistics, section 5.3.1; Banerjee, Dhillon, Ghosh & Sra (2005), Journal of
Machine Learning Research 6, 1345-1382, equation 4.4 (start value); Abramowitz & Stegun (1964), 9.7.1 (large k).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e

from emix.block import Array, Schema, Summary
from emix.errors import DegenerateError, ModelError, RootNotFoundError
from emix.families.base import VARIANCE_FLOOR, Binding, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.normal import LOG_2PI, positive_or_one
from emix.spaces import NONNEGATIVE, REAL

TURN = {"radians": 2 * np.pi, "degrees": 360.0}
"""A full turn in each unit."""
MAX_NEWTON = 50
ASYMPTOTIC = 30.0
"""Above this concentration 1 - I1 / I0 is summed from the asymptotic series of both: the difference would lose digits.
Its 20th term is 1e-17 of the first there."""

FAR = 4 * np.pi
"""Radians beyond which whole turns are taken off an angle before anything else."""

RESOLVED = 1e-8
"""Radians: below this spread a cosine is 1 to all its digits, and the sums know the angles no better."""


@dataclass(frozen=True, eq=False, repr=False)
class VonMises(ColumnwiseFamily):
    """Angles: directions, times of day or of the year.

    Parameters
    ----------
    direction : array-like of shape (K,) or (K, d), optional
        Mean direction, in `unit`. Estimates lie in (-pi, pi] for radians and in [0, 360) for degrees.
    concentration : array-like of shape (K,) or (K, d), optional
        0 is uniform on the circle; the variance of a narrow component is about 1 / concentration, in squared radians.
    unit : {'radians', 'degrees'}, default='radians'
        Of the data and of `direction`. Densities are per unit too. Angles may lie outside one turn.

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Mixture, VonMises, fit
    >>> hours = np.array([[23.5], [0.5], [1.0], [23.0]])
    >>> fit(Mixture(VonMises(unit="degrees"), 1), 15 * hours).model.family.direction.round(6)
    array([0.])
    """

    direction: Parameter = None
    concentration: Parameter = None
    unit: str = "radians"

    name = "von_mises"
    spaces = {"direction": REAL, "concentration": NONNEGATIVE}
    n_statistics = 2
    neutral = 0.0
    is_additive = False  # a coded column has a table entry for each whole number between its extremes
    support = Support("finite numbers (angles)", must_vary=True)

    def __post_init__(self) -> None:
        if self.unit not in TURN:
            raise ModelError.choice(what="unit of angles", found=self.unit, available=TURN)
        super().__post_init__()

    def bind(self, schema: Schema, summary: Summary) -> Self:
        pivot = np.where(np.isfinite(summary.mean), summary.mean, 0.0)
        spread = np.sqrt(positive_or_one(summary.variance)) * self._radians
        pivot = self._turned_back(pivot)
        return self._bound(Binding(schema, pivot, np.minimum(spread, np.pi / np.sqrt(3))))  # of the uniform circle

    @property
    def _radians(self) -> float:
        """Radians in one unit."""
        return 2 * np.pi / TURN[self.unit]

    def _about(self) -> tuple[Array, Array]:
        return (np.zeros(1), np.ones(1)) if self.binding is None else (self.binding.pivot, self.binding.scale)

    def _from_pivot(self, angle: Array) -> Array:
        """In radians; whole turns are taken off before degrees are converted, which is exact."""
        step = self._turned_back(angle) - self._about()[0]
        return step if self.unit == "radians" else np.fmod(step, 360.0) * self._radians

    def _turned_back(self, angle: Array) -> Array:
        """Without whole turns where there are many: at 1e8 radians a difference of angles keeps eight digits only.

        Sine and cosine know pi to all digits that it takes; angle - turns x 2 pi in floating point does not.
        """
        if self.unit == "degrees":
            return np.fmod(angle, 360.0)
        is_far = np.abs(angle) > FAR
        if not is_far.any():
            return angle
        far = np.where(is_far, angle, 0.0)
        return np.where(is_far, np.arctan2(np.sin(far), np.cos(far)), angle)

    @property
    def can_be_centred(self) -> bool:
        return True

    def centred(self) -> Self:
        if self.binding is None:
            return self
        direction, k = by_column(self.direction)[0], by_column(self.concentration)[0]
        spread = 1 / np.sqrt(np.maximum(k, 3 / np.pi**2))
        own = Binding(self.binding.schema, self._turned_back(direction), spread, is_own=True)
        return replace(self, binding=own)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"sum of cos {c}" for c in self.columns),
            *(f"sum of sin {c}" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    # -- density -----------------------------------------------------------------------------------------------------

    def cell_statistics(self, x: Array) -> Array:
        y = self._from_pivot(x).T
        return np.stack([2 * np.sin(y / 2) ** 2, np.sin(y)])

    def cell_coefficients(self) -> tuple[Array, Array]:
        k, m = by_column(self.concentration), self._from_pivot(by_column(self.direction))
        log_normaliser = -2 * k * np.sin(m / 2) ** 2 - np.log(i0e(k)) - LOG_2PI + np.log(self._radians)
        return np.stack([-k * np.cos(m), k * np.sin(m)], axis=1), log_normaliser

    # -- the M-step --------------------------------------------------------------------------------------------------

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        versine, sine, values = expected[:, 0] / observed, expected[:, 1] / observed, {}
        if "direction" in self.fixed:
            m = self._from_pivot(by_column(self.direction))
            gap = 2 * np.sin(m / 2) ** 2 + versine * np.cos(m) - sine * np.sin(m)
            length = np.maximum((1 - versine) * np.cos(m) + sine * np.sin(m), 0.0)  # none points away: then 0
        else:
            m = np.arctan2(sine, 1 - versine)
            values["direction"] = self._in_turn(self._about()[0] + m / self._radians)
            length = np.hypot(1 - versine, sine)
            gap = (2 * versine - versine**2 - sine**2) / (1 + length)
        if "concentration" not in self.fixed:
            values["concentration"] = concentration_from_length(length, self._checked(np.minimum(gap, 1.0), observed))
        return values

    def _in_turn(self, angle: Array) -> Array:
        if self.unit == "degrees":
            turned = np.mod(angle, 360.0)
            return np.where(turned < 360.0, turned, 0.0)  # -1e-20 is 360 after rounding
        is_inside = (angle > -np.pi) & (angle <= np.pi)
        turned = angle - 2 * np.pi * np.ceil((angle - np.pi) / (2 * np.pi))
        return np.where(is_inside, angle, np.clip(turned, -np.pi, np.pi))

    def _checked(self, gap: Array, observed: Array) -> Array:
        """1 - R, about half the variance, if it is above the floor.

        Raises
        ------
        DegenerateError
            A component's angles are all but equal.
        """
        scale = self._about()[1]
        if self.binding is not None and self.binding.is_own and (scale > RESOLVED).all():
            return np.maximum(gap, VARIANCE_FLOOR * scale**2 / 2)
        share = 2 * gap / scale**2
        if not (share > VARIANCE_FLOOR).all():
            k, j = np.argwhere(~(share > VARIANCE_FLOOR))[0]
            ratio, weight = max(float(share[k, j]), 0.0), float(observed[k, j])
            raise DegenerateError.collapsed(component=int(k), column=self.columns[j], ratio=ratio, weight=weight)
        return gap

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        drawn = rng.vonmises(0.0, self.of_column(self.concentration, labels))
        return self._in_turn(self.of_column(self.direction, labels) + drawn / self._radians)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        """From -pi radians, or 0 degrees, on: a circle has no first angle."""
        from scipy.stats import vonmises  # half a second that a fit need not wait

        k, turn = by_column(self.concentration)[:, None], self._radians
        first = -np.pi if self.unit == "radians" else 0.0
        mean, angle = by_column(self.direction)[:, None] * turn, self._in_turn(x) * turn
        own = vonmises.cdf(angle - mean, k) - vonmises.cdf(first - mean, k)
        return np.asarray(np.clip(1 - own if is_upper else own, 0.0, 1.0))

    def mean_points(self) -> Array:
        """(K, d) means of exp(i angle), of the length I1 / I0 of the concentration."""
        k = by_column(self.concentration)
        return np.asarray(i1e(k) / i0e(k) * np.exp(1j * by_column(self.direction) * self._radians))

    def conditional_means(self, x: Array) -> Array:
        """The mean of a missing angle is the mean direction."""
        return np.where(np.isnan(x), by_column(self.direction)[:, None, :], x)

    def impute(self, x: Array, resp: Array) -> Array:
        """Rows (B, d) with each missing angle at the direction of the mean point of all components on the circle."""
        angle = np.angle(resp @ self.mean_points()) / self._radians
        return np.where(np.isnan(x), self._in_turn(angle), x)

    def coordinates(self, x: Array) -> Array:
        y = self._from_pivot(x)
        return np.concatenate([np.cos(y), np.sin(y)], axis=1)

    def raw_statistics(self, expected: Array) -> Array:
        d, pivot = len(self.columns), self._about()[0] * self._radians
        n = expected[:, 2 * d :]
        cosine, sine = n - expected[:, :d], expected[:, d : 2 * d]
        turned = (cosine * np.cos(pivot) - sine * np.sin(pivot), sine * np.cos(pivot) + cosine * np.sin(pivot))
        return np.concatenate([*turned, n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, lines = self.maximize(expected), []
        for j, c in enumerate(self.columns):
            if "direction" not in self.fixed:
                text = f"direction of (sum of cos {c}, sum of sin {c})"
                lines.append(Work("direction", by_column(fitted.direction)[:, j], text))
            if "concentration" not in self.fixed:
                what = "mean cosine from the direction" if "direction" in self.fixed else "mean resultant length"
                value = by_column(fitted.concentration)[:, j]
                lines.append(Work("concentration", value, f"I1(k) / I0(k) = {what} of {c}"))
        return tuple(lines)

    def boundary_noise(self) -> float:
        """A difference of angles is rounded by eps of a turn, k times their spread of 1 / sqrt(k) in a log-density."""
        by_row = np.sqrt(by_column(self.concentration)).sum(axis=1)
        return 2 * np.pi * float(np.finfo(np.float64).eps) * float(by_row.max())

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        return 1 / np.maximum(by_column(self.concentration), 3 / np.pi**2) / self._about()[1] ** 2, self.columns


def concentration_from_length(length: Array, gap: Array) -> Array:
    """The root k of I1(k) / I0(k) = R, elementwise, from R and from 1 - R, whichever has the digits.

    The ratio is increasing and concave: Newton's method overshoots at most once, and a step that leaves the positive
    numbers is halved.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-13 of the concentration after 50 steps.
    """
    is_short = length < 0.5
    R = np.where(is_short, length, 1 - gap)
    k = R * (2 - R * R) / (gap * (1 + R))
    for _ in range(MAX_NEWTON):
        short_of = _gap(k)
        value = np.where(is_short, i1e(k) / i0e(k) - R, gap - short_of)
        step = value / _slope(k, short_of)
        new = np.where(k - step > 0, k - step, k / 2)
        new = np.where(R > 0, new, 0.0)
        if (np.abs(new - k) <= 1e-13 * k).all():
            return np.asarray(new)
        k = new
    found = {"mean resultant length": length}
    raise RootNotFoundError.newton(what="the von Mises concentration", max_steps=MAX_NEWTON, found=found)


def _gap(k: Array) -> Array:
    """1 - I1(k) / I0(k) with full relative precision."""
    far = np.maximum(k, ASYMPTOTIC)
    difference, zeroth = np.zeros_like(far), np.ones_like(far)
    term_0, term_1 = np.ones_like(far), np.ones_like(far)
    for j in range(1, 21):
        odd = (2 * j - 1) ** 2
        term_0, term_1 = term_0 * odd / (8 * j * far), term_1 * (odd - 4) / (8 * j * far)
        difference, zeroth = difference + (term_0 - term_1), zeroth + term_0
    return np.where(k > ASYMPTOTIC, difference / zeroth, 1 - i1e(k) / i0e(k))


def _slope(k: Array, gap: Array) -> Array:
    """Derivative of I1 / I0; from 1e3 on its series, to 1e-6, as the difference loses its digits."""
    far, near = np.maximum(k, 1e3), np.maximum(k, 1e-8)
    exact = np.where(k > 1e-8, gap * (2 - gap) - (1 - gap) / near, 0.5)
    return np.where(k > 1e3, (0.5 + 0.25 / far) / far**2, exact)
