"""Negative binomial family: overdispersed counts, independent over columns.

    x ~ Poisson(u), u ~ Gamma(size, rate size / mean);    variance = mean + mean^2 / size
It is no exponential family in the size, but its log-density is a sum over cells of functions of whole numbers:
T(x) = (1[x = v] for v among the column's `values`, then x, digamma(x + size), 1 of a cell beyond them)
The histogram is exact. Of a cell beyond it (a count far above the lowest, or one that only later rows have) the convex
log Gamma(x + size) is replaced by its tangent at the present size, so that each step still gains.
MLE: mean = sum(w x) / sum(w), whatever the size; the size solves, with e = (x - mean) / (mean + size),
    sum of w (digamma(x + size) - digamma(size) - log(1 + x / size)) = sum of w (e - log(1 + e))
Where the variance is not above the mean, no size is large enough: it is bounded at 1e6 x the largest count, where the
density is a Poisson's to six digits.
Source: Johnson, Kemp & Kotz (2005), Univariate Discrete Distributions, 3rd ed., section 5.8; Levin & Reeds (1977),
Annals of Statistics 5, 79-87 (one maximum, if the variance is above the mean); Loader (2000), Fast and Accurate
Computation of Binomial Probabilities (the density).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, digamma, gammaln, polygamma

from emix.block import LOG_ZERO, Array, Schema, Summary
from emix.errors import DegenerateError, ModelError, RootNotFoundError
from emix.families.base import Binding, Family, Parameter, Support, Work
from emix.families.columnwise import by_column
from emix.families.normal import LOG_2PI
from emix.kernels.reference import excess_minus_log
from emix.spaces import NONNEGATIVE, POSITIVE

VALUES = 10_000
"""Counts of a column that are kept one by one, from the lowest on; all that are larger share three sums."""
LEAST, MOST = 1e-8, 1e6
"""Bounds of an estimated size; the upper one in units of the largest count."""
FIRST_SIZE = 1.0
"""Of cells beyond the histogram, while there are no parameters."""
ASYMPTOTIC = 20.0
"""From here on series replace log Gamma and digamma, whose differences would lose their digits."""
MAX_NEWTON = 200


@dataclass(frozen=True, eq=False, repr=False)
class NegativeBinomial(Family):
    """Counts that vary more than a Poisson's: visits, accidents, reads.

    Parameters
    ----------
    mean : array-like of shape (K,) or (K, d), optional
        Expected count. 0 is allowed: only counts of 0 are then possible.
    size : array-like of shape (K,) or (K, d), optional
        The variance is mean + mean^2 / size; the probability of success of textbooks is size / (size + mean). Estimated
        up to 1e6 x the largest count, as the constrained maximum: a component there is as good as Poisson.
    """

    mean: Parameter = None
    size: Parameter = None

    name = "negative_binomial"
    spaces = {"mean": NONNEGATIVE, "size": POSITIVE}
    support = Support("whole numbers >= 0", lower=0, is_whole=True)

    def bind(self, schema: Schema, summary: Summary) -> Self:
        is_observed = summary.maximum >= summary.minimum
        low = np.where(is_observed, np.maximum(summary.minimum, 0.0), 0.0)
        high = np.where(is_observed, np.maximum(summary.maximum, low), 0.0)
        return self._bound(Binding(schema, low, np.minimum(high - low + 1, VALUES)))

    def _check_columns(self) -> None:
        d = len(self.columns)
        for name, value in self.parameters.items():
            if by_column(value).shape[1] != d:
                shape = "(K,)" if d == 1 else f"(K, {d})"
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape {shape} for {d} columns", found=value.shape
                )

    def values(self) -> tuple[Array, ...]:
        """The counts of each column that have a statistic of their own: neighbours, the lowest first."""
        if self.binding is None:
            raise ModelError.not_fitted(f"The family '{self.name}' is not bound to data yet; it")
        pairs = zip(self.binding.pivot, self.binding.scale, strict=True)
        return tuple(low + np.arange(int(n)) for low, n in pairs)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(
            name
            for c, values in zip(self.columns, self.values(), strict=True)
            for name in (
                *(f"{c} = {value:.0f}" for value in values),
                *(f"{what} {c} beyond {values[-1]:.0f}" for what in ("sum of", "sum of digamma of", "rows with")),
            )
        )

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        return tuple((column,) for column in self.column_names)

    @property
    def statistic_columns(self) -> NDArray[np.intp]:
        sizes = [len(values) + 3 for values in self.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def cell_objective(self, expected: Array) -> Array:
        found = []
        for j, table in enumerate(self._tables(expected)):
            m, s = by_column(self.mean)[:, j, None], by_column(self.size)[:, j, None]
            inside = (table.weights * log_mass(table.values, m, s)).sum(axis=1)
            log_p = np.where(m > 0, np.log(np.where(m > 0, m, 1.0)) - np.log(m + s), LOG_ZERO)[:, 0]
            of_count = (-s * np.log1p(m / s) - gammaln(s))[:, 0]
            beyond = table.beyond_total * log_p + table.beyond_digamma * s[:, 0] + table.beyond_count * of_count
            found.append(inside + beyond)
        return np.stack(found, axis=1)

    def cell_weights(self, expected: Array) -> Array:
        return np.stack([table.count for table in self._tables(expected)], axis=1)

    def search_bounds(self, expected: Array) -> dict[str, tuple[Array, Array]]:
        ends = [self._size_bounds(j, len(expected)) for j in range(len(self.columns))]
        return {"size": (np.stack([low for low, _ in ends], axis=1), np.stack([high for _, high in ends], axis=1))}

    # -- densities and sums ------------------------------------------------------------------------------------------

    def is_linear(self, *, is_complete: bool) -> bool:
        return False  # rows that are scored later may have counts that the histogram of the fit has not

    def has_constant_sums(self, sums: Array, *, is_complete: bool) -> bool:
        """Where no cell is beyond the histogram."""
        return all(not table.beyond_count.any() for table in self._tables(sums[None]))

    def log_prob(self, x: Array) -> Array:
        m, s = by_column(self.mean), by_column(self.size)
        found = np.zeros((len(m), len(x)))
        for j, column in enumerate(x.T):
            seen = ~np.isnan(column)
            distinct, inverse = np.unique(column[seen], return_inverse=True)
            found[:, seen] += log_mass(distinct, m[:, j, None], s[:, j, None])[:, inverse]
        return found

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        K, parts = len(weighted_resp), []
        for j, values in enumerate(self.values()):
            cells = x[:, j]
            size = np.full(K, FIRST_SIZE) if self.size is None else by_column(self.size)[:, j]
            is_inside = (cells >= values[0]) & (cells <= values[-1])
            step, inside = (cells[is_inside] - values[0]).astype(np.intp), weighted_resp[:, is_inside]
            parts.append(np.stack([np.bincount(step, r, minlength=len(values)) for r in inside]))
            is_beyond = ~is_inside & ~np.isnan(cells)
            cells, r = cells[is_beyond], weighted_resp[:, is_beyond]
            tangents = (r * digamma(cells + size[:, None])).sum(axis=1)
            parts.append(np.stack([r @ cells, tangents, r.sum(axis=1)], axis=1))
        return np.concatenate(parts, axis=1)

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        """T(x); of a cell beyond the histogram as while nothing is known of the size."""
        parts = []
        for column, values in zip(x.T, self.values(), strict=True):
            is_beyond = (column < values[0]) | (column > values[-1])
            cells = np.where(is_beyond, column, 0.0)
            parts.append((values[:, None] == column).astype(np.float64))
            parts.append(np.stack([cells, np.where(is_beyond, digamma(cells + FIRST_SIZE), 0.0), is_beyond]))
        return np.concatenate(parts)

    def coefficients(self) -> Array:
        """(K, D): times expected statistics, what the M-step maximizes."""
        parts = []
        for j, values in enumerate(self.values()):
            m, s = by_column(self.mean)[:, j, None], by_column(self.size)[:, j, None]
            log_p = np.where(m > 0, np.log(np.where(m > 0, m, 1.0)) - np.log(m + s), LOG_ZERO)
            parts += [log_mass(values, m, s), log_p, s, -s * np.log1p(m / s) - gammaln(s)]
        return np.concatenate(parts, axis=1)

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _tables(self, expected: Array) -> Iterator[Table]:
        start = 0
        for values in self.values():
            stop = start + len(values)
            histogram, beyond = expected[:, start:stop], expected[:, stop : stop + 3]
            is_used = (histogram != 0).any(axis=0)  # of a wide range few counts occur
            yield Table(values[is_used], histogram[:, is_used], *beyond.T)
            start = stop + 3

    def _maximize(self, expected: Array) -> Self:
        found = []
        for j, table in enumerate(self._tables(expected)):
            is_empty = table.count <= 0
            if is_empty.any() and not self.is_fitted:
                raise DegenerateError.empty(component=int(np.argmax(is_empty)))
            previous = {name: by_column(value)[:, j] for name, value in self.parameters.items()}
            new = dict(previous)
            if "mean" not in self.fixed:
                new["mean"] = table.total / np.where(is_empty, 1.0, table.count)
                self.spaces["mean"].check(new["mean"], family=self.name, name="mean")
            if "size" not in self.fixed:
                new["size"] = self._size(table, new["mean"], previous.get("size"), j)
            found.append({name: np.where(is_empty, previous.get(name, value), value) for name, value in new.items()})
        free = [name for name in self.spaces if name not in self.fixed]
        return self.estimated(**{name: np.stack([one[name] for one in found], axis=1) for name in free})

    def _size(self, table: Table, mean: Array, previous: Array | None, j: int) -> Array:
        """(K,), the constrained maximum; the bounds give way to what a start had, so that no step can lose."""
        least, most = self._size_bounds(j, len(mean))
        tells = (table.count > 0) & (mean > 0)
        found = size_beside(np.where(tells, mean, 1.0), table, least, most)
        return np.where(tells, found, most if previous is None else previous)

    def _size_bounds(self, j: int, K: int) -> tuple[Array, Array]:
        """Of the estimated size (K,) of a column; wide enough for the previous one."""
        previous, largest = self.size, max(float(self.values()[j][-1]), 1.0)
        least, most = np.full(K, LEAST), np.full(K, MOST * largest)
        if previous is None:
            return least, most
        return np.minimum(least, by_column(previous)[:, j]), np.maximum(most, by_column(previous)[:, j])

    def at_bound(self) -> dict[str, NDArray[np.bool_]]:
        largest = np.array([max(float(values[-1]), 1.0) for values in self.values()])
        size = by_column(self.size)
        found = (size >= MOST * largest * (1 - 1e-9)) | (size <= LEAST * (1 + 1e-9))
        return {"size": found if self.size.ndim > 1 else found[:, 0]}

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        mean, size = by_column(self.mean)[labels], by_column(self.size)[labels]
        return np.asarray(rng.poisson(rng.gamma(size) * (mean / size)), dtype=np.float64)

    def cell_moments(self) -> tuple[Array, Array]:
        mean = by_column(self.mean)
        return mean, mean + mean**2 / by_column(self.size)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        m, s = by_column(self.mean)[:, None], by_column(self.size)[:, None]
        count = np.maximum(x, 0.0) + 1
        own = betainc(count, s, m / (m + s)) if is_upper else betainc(s, count, s / (m + s))
        return np.where(x < 0, float(is_upper), own)

    def coordinates(self, x: Array) -> Array:
        return np.asarray(2 * np.arcsinh(np.sqrt(x)))  # Anscombe: variance about 1 at a size of 1, whatever the mean

    def remarks(self) -> tuple[tuple[int, str], ...]:
        if "size" in self.fixed:
            return ()
        largest = np.array([max(float(values[-1]), 1.0) for values in self.values()])
        is_poisson = (by_column(self.size) >= MOST * largest) & (by_column(self.mean) > 0)
        text = "ended at the bound of the size of '{}': its counts vary no more than a Poisson's. "
        remedy = "Use Poisson." if is_poisson.all() else "Its size says nothing beyond that."
        return tuple((int(k), text.format(self.columns[j]) + remedy) for k, j in np.argwhere(is_poisson))

    def _work(self, expected: Array) -> tuple[Work, ...]:
        fitted, lines = self.maximize(expected), []
        for j, (c, table) in enumerate(zip(self.columns, self._tables(expected), strict=True)):
            if "mean" not in self.fixed:
                value = by_column(fitted.mean)[:, j]
                lines.append(Work("mean", value, f"sum of {c} / rows with {c}", table.total, table.count))
            if "size" not in self.fixed:
                text = (
                    f"mean of digamma({c} + size) - digamma(size) - log(1 + {c} / size) = mean of e - log(1 + e), "
                    f"e = ({c} - mean) / (mean + size)"
                )
                lines.append(Work("size", by_column(fitted.size)[:, j], text))
        return tuple(lines)


@dataclass(frozen=True, eq=False)
class Table:
    """What was summed of one column: values (V,), weights (K, V); sums (K,) of the cells beyond."""

    values: Array
    weights: Array
    beyond_total: Array
    beyond_digamma: Array
    beyond_count: Array

    @property
    def count(self) -> Array:
        """(K,) expected observed cells."""
        return np.asarray(self.weights.sum(axis=1) + self.beyond_count)

    @property
    def total(self) -> Array:
        """(K,) expected sum of x."""
        return np.asarray(self.weights @ self.values + self.beyond_total)


def log_mass(x: Array, mean: Array, size: Array) -> Array:
    """Log P(x), elementwise and broadcast; `LOG_ZERO` for a positive count at a mean of 0.

    Loader's saddle-point form: deviance terms and the error of Stirling's formula, all of the size of the result or
    smaller. Of log Gamma(x + size) and its neighbours nothing is left at a size of 1e16.
    """
    is_positive = (x > 0) & (mean > 0)
    count, m = np.where(x > 0, x, 1.0), np.where(mean > 0, mean, 1.0)
    ratio = (count + size) / (m + size)
    of_size = excess_of((count - m) / (m + size), ratio)
    of_count = excess_of((size / (m + size)) * ((m - count) / count), m / count * ratio)
    deviance = size * of_size + count * of_count
    stirling = stirling_error(size + count) - stirling_error(size) - stirling_error(count)
    positive = stirling - deviance - 0.5 * (LOG_2PI + np.log(count) + np.log1p(count / size))
    return np.where(is_positive, positive, np.where(x > 0, LOG_ZERO, -size * np.log1p(mean / size)))


def excess_of(e: Array, ratio: Array) -> Array:
    """E - log(1 + e), where 1 + e is known as a ratio that keeps its digits where e is about -1."""
    return np.where(e > -0.25, excess_minus_log(np.maximum(e, -0.25)), e - np.log(ratio))


def stirling_error(z: Array) -> Array:
    """Of Stirling's formula: log Gamma(z + 1) - (z + 1/2) log z + z - log(2 pi) / 2, elementwise for z > 0."""
    far, near = np.maximum(z, ASYMPTOTIC), np.minimum(z, ASYMPTOTIC)
    u = 1 / (far * far)
    series = (1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u * (1 / 1188))))) / far
    plain = gammaln(near + 1) - (near + 0.5) * np.log(near) + near - 0.5 * LOG_2PI
    return np.where(z >= ASYMPTOTIC, series, plain)


def digamma_rise(s: Array, x: Array) -> Array:
    """digamma(x + s) - digamma(s) - log(1 + x / s) >= 0: about x / (2 s (s + x)), exact also where that is tiny."""

    def tail(z: Array) -> Array:
        u = 1 / (z * z)
        return u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u * (1 / 132)))))

    far, near = np.maximum(s, ASYMPTOTIC), np.minimum(s, ASYMPTOTIC)
    series = x / (2 * far * (far + x)) + tail(far) - tail(far + x)
    return np.where(s >= ASYMPTOTIC, series, digamma(x + near) - digamma(near) - np.log1p(x / near))


def size_beside(mean: Array, table: Table, least: Array, most: Array) -> Array:
    """The size (K,) within [least, most] of the highest likelihood beside these means (K,), all positive.

    Newton's method in log size on the derivative of the log-likelihood; a step that leaves the bracket halves it.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-11 after 200 steps.
    """
    m, x, h = mean[:, None], table.values, table.weights
    low, high = np.log(least), np.log(most)
    at_least, at_most = _derivative(least, m, table)[0] <= 0, _derivative(most, m, table)[0] >= 0
    spread = (h * ((x - m) ** 2 - x)).sum(axis=1)  # by moments: mean^2 / (variance - mean)
    guess = mean**2 * np.abs(h).sum(axis=1) / np.where(spread > 0, spread, np.inf)
    t = np.clip(np.log(np.where(guess > 0, guess, 1.0)), low, high)
    for _ in range(MAX_NEWTON):
        f, slope = _derivative(np.exp(t), m, table)
        low, high = np.where(f >= 0, t, low), np.where(f <= 0, t, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = t - f / (slope * np.exp(t))
        new = np.where((slope < 0) & (new > low) & (new < high), new, (low + high) / 2)
        if (np.abs(new - t) <= 1e-11).all():
            return np.where(at_most, most, np.where(at_least, least, np.exp(new)))
        t = new
    found = {"means": mean, "last": np.exp(t)}
    raise RootNotFoundError.newton(what="the size of a negative binomial", max_steps=MAX_NEWTON, found=found)


def _derivative(size: Array, m: Array, table: Table) -> tuple[Array, Array]:
    """First and second derivative (K,) of what the M-step maximizes with respect to the size."""
    s, x = size[:, None], table.values
    e = (x - m) / (m + s)
    first = (table.weights * (digamma_rise(s, x) - excess_of(e, (x + s) / (m + s)))).sum(axis=1)
    curve = polygamma(1, x + s) - polygamma(1, s) + x / (s * (x + s)) + e * e / (x + s)
    second = (table.weights * curve).sum(axis=1)
    if table.beyond_count.any():
        total, rise, count, mean = table.beyond_total, table.beyond_digamma, table.beyond_count, m[:, 0]
        share = (total + count * size) / (mean + size)
        first += rise - count * (digamma(size) - np.log(size / (mean + size)) - 1) - share
        second += -count * (polygamma(1, size) - 1 / size + 2 / (mean + size)) + share / (mean + size)
    return first, second
