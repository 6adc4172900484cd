"""Beta family: shares between 0 and 1 with two shapes, independent over columns.

T(x) = (logit x - logit m, m log(m / x) + (1 - m) log((1 - m) / (1 - x)), o) with m the whole column's mean, and
n = alpha + beta    coefficients = (alpha - n m, -n, alpha log m + beta log(1 - m) - log B(alpha, beta))
log h(x) = -log x - log(1 - x)
MLE: digamma(alpha) - digamma(n) = mean log x and digamma(beta) - digamma(n) = mean log(1 - x)
log x and log(1 - x) themselves are nearly linear in each other where a column is narrow: at a standard deviation of
1e-6 their means tell n, about 1e12, to four digits. The second statistic is what remains of both beside the line, with
all its digits.
Source: Johnson, Kotz & Balakrishnan (1995), Continuous Univariate Distributions 2, 2nd ed., section 25.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, expit, polygamma

from emix.block import Array, Schema, Summary
from emix.errors import DegenerateError, RootNotFoundError
from emix.families.base import RESOLUTION, VARIANCE_FLOOR, Binding, Parameter, Support, Work
from emix.families.columnwise import ColumnwiseFamily, by_column
from emix.families.digammas import gap_slope, log_minus_digamma, log_normaliser_at_scale
from emix.families.normal import positive_or_one
from emix.kernels.reference import excess_minus_log
from emix.spaces import POSITIVE

MAX_NEWTON = 100
NARROW = 0.05
"""A curve about the own mean below which alpha + beta is about half its inverse, and above 10."""
LONGEST = 2.0
"""Of a Newton step in the logarithm of a shape: below a shape of 1 the equations are exponential in it."""
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, repr=False)
class Beta(ColumnwiseFamily):
    """Shares, rates and other numbers strictly between 0 and 1.

    Parameters
    ----------
    alpha : array-like of shape (K,) or (K, d), optional
        alpha / (alpha + beta) is the mean.
    beta : array-like of shape (K,) or (K, d), optional
        With mean m, the variance is m (1 - m) / (alpha + beta + 1).

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Beta, Mixture, fit
    >>> x = np.random.default_rng(0).beta(2.0, 5.0, size=(5000, 1))
    >>> fit(Mixture(Beta(), 1), x).model.family.alpha.round(1)
    array([2.1])
    """

    alpha: Parameter = None
    beta: Parameter = None

    name = "beta"
    spaces = {"alpha": POSITIVE, "beta": POSITIVE}
    n_statistics = 2
    neutral = 0.5
    is_additive = False  # codes are for columns of few whole numbers, which these are not
    support = Support(
        "numbers > 0 and < 1",
        lower=0,
        lower_is_allowed=False,
        upper=1,
        upper_is_allowed=False,
        must_vary=True,
    )

    def bind(self, schema: Schema, summary: Summary) -> Self:
        inside = (summary.mean > 0) & (summary.mean < 1)
        scale = np.sqrt(positive_or_one(summary.variance))
        return self._bound(Binding(schema, np.where(inside, summary.mean, 0.5), scale))

    def _about(self) -> tuple[Array, Array]:
        return (np.full(1, 0.5), np.ones(1)) if self.binding is None else (self.binding.pivot, self.binding.scale)

    def _shapes(self) -> tuple[Array, Array]:
        return by_column(self.alpha), by_column(self.beta)

    @property
    def can_be_centred(self) -> bool:
        return True

    def centred(self) -> Self:
        if self.binding is None:
            return self
        a, b = (shape[0] for shape in self._shapes())
        m = a / (a + b)
        return replace(
            self, binding=Binding(self.binding.schema, m, np.sqrt(m * (b / (a + b)) / (a + b + 1)), is_own=True)
        )

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return (
            *(f"sum of log {c}" for c in self.columns),
            *(f"sum of log (1 - {c})" for c in self.columns),
            *(f"rows with {c}" for c in self.columns),
        )

    # -- density -----------------------------------------------------------------------------------------------------

    def cell_statistics(self, x: Array) -> Array:
        m = self._about()[0]
        below, below_curve = _log_ratio((x - m) / m, np.log(x) - np.log(m))
        above, above_curve = _log_ratio((m - x) / (1 - m), np.log1p(-x) - np.log1p(-m))
        return np.stack([(below - above).T, (m * below_curve + (1 - m) * above_curve).T])

    def cell_coefficients(self) -> tuple[Array, Array]:
        (a, b), m = self._shapes(), self._about()[0]
        return np.stack([_offset(a, b, m), -(a + b)], axis=1), _log_normaliser(a, b, m)

    def coefficient_sizes(self, coefficients: Array) -> Array:
        sizes, d = super().coefficient_sizes(coefficients), len(self.columns)
        sizes[:, :d] += 2 * self._shapes()[0]  # the first coefficient is alpha minus n m, about equal
        return sizes

    def log_base_measure(self, x: Array) -> Array:
        inside = np.where(np.isnan(x), 0.5, x)
        logs = -np.log(inside) - np.log1p(-inside)
        return np.asarray(np.where(np.isnan(x), 0.0, logs).sum(axis=1))

    # -- the M-step --------------------------------------------------------------------------------------------------

    def cell_maximize(self, expected: Array, observed: Array) -> dict[str, Array]:
        line, curve, m = expected[:, 0] / observed, expected[:, 1] / observed, self._about()[0]
        if self.fixed == {"alpha"}:
            return {"beta": _other_shape(by_column(self.alpha), np.log1p(-m) - curve - m * line)}
        if self.fixed == {"beta"}:
            return {"alpha": _other_shape(by_column(self.beta), np.log(m) - curve + (1 - m) * line)}
        spread = self._spread(line, curve, observed)
        a, b = shapes_from_means(line, np.maximum(curve, spread), m, spread)
        return {"alpha": a, "beta": b}

    def _spread(self, line: Array, curve: Array, observed: Array) -> Array:
        """What is left of the curve about each component's own mean, about 1 / (2 n); positive.

        Raises
        ------
        DegenerateError
            A component's variance fell below the floor.
        """
        m, scale = self._about()
        mean = expit(_logit(m) + line)
        spread, unit = curve - _divergence(line, m), 2 * mean * expit(-_logit(m) - line) / scale**2
        is_own = self.binding is not None and self.binding.is_own
        if is_own and (scale > RESOLUTION * np.minimum(m, 1 - m)).all():
            spread = np.maximum(spread, VARIANCE_FLOOR / np.maximum(unit, 1e-300))
        # above NARROW the spread alone says that there is no collapse, and no longer what the mean and the variance are
        is_wide = (unit * spread > VARIANCE_FLOOR) | (spread > NARROW)
        if not is_wide.all():
            k, j = np.argwhere(~is_wide)[0]
            ratio, weight = max(float((unit * spread)[k, j]), 0.0), float(observed[k, j])
            raise DegenerateError.collapsed(component=int(k), column=self.columns[j], ratio=ratio, weight=weight)
        return np.asarray(spread)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        drawn = rng.beta(self.of_column(self.alpha, labels), self.of_column(self.beta, labels))
        return np.clip(drawn, np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0))  # small shapes draw a rounded 0 or 1

    def cell_moments(self) -> tuple[Array, Array]:
        a, b = by_column(self.alpha), by_column(self.beta)
        return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        a, b = by_column(self.alpha)[:, None], by_column(self.beta)[:, None]
        return np.asarray(betainc(b, a, 1 - x) if is_upper else betainc(a, b, x))

    def coordinates(self, x: Array) -> Array:
        return np.asarray(2 * np.arcsin(np.sqrt(x)))

    def raw_statistics(self, expected: Array) -> Array:
        d, m = len(self.columns), self._about()[0]
        line, curve, n = expected[:, :d], expected[:, d : 2 * d], expected[:, 2 * d :]
        below, above = np.log(m) * n - curve + (1 - m) * line, np.log1p(-m) * n - curve - m * line
        return np.concatenate([below, above, n], axis=1)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, lines = self.maximize(expected), []
        for j, c in enumerate(self.columns):
            for name, what in (("alpha", c), ("beta", f"(1 - {c})")):
                if name not in self.fixed:
                    text = f"digamma({name}) - digamma(alpha + beta) = mean of log {what}"
                    lines.append(Work(name, by_column(getattr(fitted, name))[:, j], text))
        return tuple(lines)

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        a, b = self._shapes()
        n = a + b
        return (a / n) * (b / n) / (n + 1) / self._about()[1] ** 2, self.columns


def _logit(m: Array) -> Array:
    return np.asarray(np.log(m) - np.log1p(-m))


def _log_ratio(e: Array, far: Array) -> tuple[Array, Array]:
    """Log(1 + e), and e - log(1 + e) >= 0; `far` is the first where e is not small, and finite also near e = -1."""
    is_near = np.abs(e) < 0.4
    near = np.where(is_near, e, 0.0)
    log_ratio = np.where(is_near, np.log1p(near), far)
    return log_ratio, np.where(is_near, excess_minus_log(near), e - log_ratio)


def _offset(a: Array, b: Array, m: Array) -> Array:
    """Alpha - (alpha + beta) m, written so that its rounding is that of the smaller shape."""
    return a * (1 - m) - b * m


def _log_normaliser(a: Array, b: Array, m: Array) -> Array:
    """Alpha log m + beta log(1 - m) - log B(alpha, beta) from terms that are small where they nearly cancel."""
    n = a + b
    return log_normaliser_at_scale(a, n * m) + log_normaliser_at_scale(b, n * (1 - m)) - log_normaliser_at_scale(n, n)


def _divergence(step: Array, m: Array) -> Array:
    """Kullback-Leibler divergence of a coin m from the coin whose logit is larger by `step`.

    By the side of the coin that is rarer: then no terms cancel that are larger than its probability.
    """
    p, t = np.minimum(m, 1 - m), np.where(m > 0.5, -step, step)
    near = np.log1p(p * np.expm1(np.minimum(t, 1.0))) - p * t
    up = np.maximum(t, 0.0)  # log(1 - p + p e^t) without overflow
    far = up + np.log((1 - p) * np.exp(-up) + p * np.exp(t - up)) - p * t
    return np.asarray(np.maximum(np.where(t < 1, near, far), 0.0))


def shapes_from_means(line: Array, curve: Array, m: Array, spread: Array) -> tuple[Array, Array]:
    """Both shapes from the means of the two statistics about the pivot m, elementwise.

    Newton's method on the logarithms of the shapes: an ascent direction of the log-likelihood, which is concave in the
    shapes; a step that loses is halved. `spread` is the curve about the component's own mean.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-12, or than what rounding moves a component far from the pivot, after 100 steps.
    """
    shift = _logit(m)
    lower, upper = np.exp(np.log(m) - curve + (1 - m) * line), np.exp(np.log1p(-m) - curve - m * line)
    rest = 2 * np.maximum(1 - lower - upper, 1e-300)  # geometric means of x and 1 - x: they add up to less than 1
    is_narrow = spread < NARROW
    n = 0.5 / spread
    a = np.where(is_narrow, np.maximum(n * expit(shift + line), 1e-3), 0.5 + lower / rest)
    b = np.where(is_narrow, np.maximum(n * expit(-shift - line), 1e-3), 0.5 + upper / rest)
    tolerance = 1e-12 + 16 * EPS * (curve + m * (1 - m) * np.abs(line)) / spread
    value = _objective(a, b, line, curve, m)
    for _ in range(MAX_NEWTON):
        du, dv = _newton_step(a, b, line, curve, m)
        size = np.maximum(np.abs(du), np.abs(dv))
        is_last = size <= tolerance
        length = np.minimum(1.0, LONGEST / np.maximum(size, 1e-300))
        for _ in range(60):
            reached = _objective(a * np.exp(length * du), b * np.exp(length * dv), line, curve, m)
            noise = 1e-11 * (1 + np.abs(value)) + 64 * EPS * (a + b) * (curve + np.abs(line))
            lost = ~is_last & ~(reached >= value - noise)
            if not lost.any():
                break
            length = np.where(lost, length / 2, length)
        a, b, value = a * np.exp(length * du), b * np.exp(length * dv), reached
        if is_last.all():
            return a, b
    found = {"means of the statistics": np.stack([line, curve])}
    raise RootNotFoundError.newton(what="the Beta shapes", max_steps=MAX_NEWTON, found=found)


def _newton_step(a: Array, b: Array, line: Array, curve: Array, m: Array) -> tuple[Array, Array]:
    """Newton's step in log a and log b.

    For the difference of both equations, and for their mean with weights m and 1 - m: what cancels in it for large
    shapes is left out, so that the small differences that tell alpha + beta keep their digits.
    """
    n, step = a + b, np.log(a * (1 - m) / (b * m))
    gap_a, gap_b = log_minus_digamma(a), log_minus_digamma(b)
    first = step - gap_a + gap_b - line
    second = m * gap_a + (1 - m) * gap_b - log_minus_digamma(n) + _divergence(step, m) - curve
    slope_a, slope_b, slope_n, off = a * gap_slope(a), b * gap_slope(b), gap_slope(n), a / n - m
    first_u, first_v = 1 - slope_a, slope_b - 1
    second_u, second_v = m * slope_a - a * slope_n + off, (1 - m) * slope_b - b * slope_n - off
    det = first_u * second_v - first_v * second_u
    return (first_v * second - second_v * first) / det, (second_u * first - first_u * second) / det


def _objective(a: Array, b: Array, line: Array, curve: Array, m: Array) -> Array:
    return _offset(a, b, m) * line - (a + b) * curve + _log_normaliser(a, b, m)


def _other_shape(known: Array, mean_log: Array) -> Array:
    """The root b of digamma(b) - digamma(known + b) = mean_log < 0, elementwise.

    The left side is increasing and concave in log b: from the left Newton's method never overshoots. Both starts are
    left of the root: digamma(b) - digamma(n) is below log(b / n) and below 1 / n - 1 / b.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-12 of the shape after 100 steps.
    """
    least = known / -mean_log
    by_fractions = 2 * least / (known + np.sqrt(known**2 + 4 * least))
    v = np.log(np.maximum(known / np.expm1(np.minimum(-mean_log, 700.0)), by_fractions))
    for _ in range(MAX_NEWTON):
        b = np.exp(v)
        n = known + b
        value = -np.log1p(known / b) - log_minus_digamma(b) + log_minus_digamma(n) - mean_log
        slope = b * (polygamma(1, b) - polygamma(1, n))
        step = np.clip(value / slope, -LONGEST, LONGEST)
        v = v - step
        if (np.abs(step) <= 1e-12).all():
            return np.asarray(np.exp(v))
    found = {"mean log": mean_log}
    raise RootNotFoundError.newton(what="a Beta shape beside a fixed one", max_steps=MAX_NEWTON, found=found)
