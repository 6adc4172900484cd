"""Each component in plain sentences, from its rows: every row counts by its responsibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emix.block import Array
from emix.families import CensoredWeibull, Columns, Family, ScipyDistribution
from emix.families.von_mises import TURN
from emix.model import Mixture
from emix.report.columns import Column, Kind
from emix.report.text import component_title, number

CLOSE, WIDE = 0.6, 1.4
"""Widths, as shares of the whole column's, below which a component is close together and above which widely spread."""
MIDDLE = 0.8
"""Share of a component's rows that 'most' means."""
TOLD = 4
"""Columns that a sentence tells, the most separating first."""
SEPARATING = 0.02
"""Share of a column's variance between the components below which it is not worth a word."""
OPENINGS = ("low", "high", "very", "average", "half", "mostly", "often", "more", "much", "rows", "no")
"""First words of a sentence that are not a column's name."""
NEAR, FAR = 0.25, 1.25
"""Standard deviations of the whole column within which a component is average, and beyond which it is very high."""


@dataclass(frozen=True)
class Description:
    """One component in words."""

    title: str
    share: float
    """Of all rows, 0 to 1."""
    rows: float
    """Expected number of rows, or their weight."""
    phrases: tuple[str, ...]
    """One per column that is told."""

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{capitalised(self.title)}, {percent(self.share)} of rows: {self.text}."

    @property
    def text(self) -> str:
        """What sets it apart."""
        return joined(self.phrases) if self.phrases else "much like the table as a whole"

    @property
    def told(self) -> str:
        """The same as a sentence of its own; a column's name keeps its first letter as it is."""
        return f"{capitalised(self.text) if self.text.split(maxsplit=1)[0] in OPENINGS else self.text}."


def describe(
    model: Mixture, columns: Sequence[Column], apart: Array, x: Array, weighted_resp: Array
) -> list[Description]:
    """All components, in their order.

    Parameters
    ----------
    model : Mixture
        With parameters, bound.
    columns : sequence of Column
        What is told.
    apart : ndarray of shape (c,)
        How far each column sets the components apart; tells which are told first.
    x : ndarray of shape (n, d)
        Rows, categories as codes, NaN where missing.
    weighted_resp : ndarray of shape (n, K)
        Row weight x responsibility.
    """
    K, total = model.latent_size, float(weighted_resp.sum())
    ranked = [int(j) for j in np.argsort(-apart, kind="stable")]
    order = [j for j in ranked if apart[j] >= SEPARATING or K == 1][:TOLD] or ranked[:2]
    phrases: list[list[str]] = [[] for _ in range(K)]
    for j in order:
        for k, phrase in enumerate(_phrases(model, columns[j], x, weighted_resp)):
            if phrase:
                phrases[k].append(phrase)
    if model.has_noise:
        phrases[-1] = ["rows that belong to none of the others, spread evenly over the whole range"]
    shares, counts = model.latent.mixing_proportions, weighted_resp.sum(axis=0)
    return [
        Description(
            component_title(model, k),
            float(shares[k]),
            float(counts[k]),
            tuple(phrases[k]) if counts[k] > 1e-9 * total else ("no rows",),
        )
        for k in range(K)
    ]


def _phrases(model: Mixture, column: Column, x: Array, weighted_resp: Array) -> list[str]:
    """What is said of a column, one phrase per component; empty where there is nothing to say."""
    K = weighted_resp.shape[1] - model.has_noise
    W = weighted_resp[:, :K]
    if not column.is_numeric:
        return [_of_levels(column, k, model) for k in range(K)]
    values = column.values(x)
    seen = ~np.isnan(values)
    values, W = values[seen], W[seen]
    if column.kind is Kind.ANGLE:
        return [_of_angles(column, values, W[:, k]) for k in range(K)]
    if column.kind is Kind.DURATION:
        return [_of_durations(column, k) for k in range(K)]
    return [_of_numbers(column, values, W, k) for k in range(K)]


def _of_numbers(column: Column, values: Array, W: Array, k: int) -> str:
    own = W[:, k]
    if own.sum() <= 0:
        return ""
    low, middle, high = weighted_quantiles(values, own, ((1 - MIDDLE) / 2, 0.5, (1 + MIDDLE) / 2))
    mean = float(own @ values / own.sum())
    level, spread = ("", "") if W.shape[1] == 1 else _level(mean, values, W.sum(axis=1), high - low)
    name = f"{level} {column.name}{spread}".strip()
    if column.kind is Kind.SHARE:
        centre = float(column.probabilities[k]) if column.probabilities is not None else mean
        return f"{name} ({percent(centre)}, most between {percent(low)} and {percent(high)})"
    if column.kind is Kind.COUNT:
        most = f"nearly always {low:,.0f}" if low == high else f"most between {low:,.0f} and {high:,.0f}"
        return f"{name} ({rounded(mean, 1.0)} on average, {most})"
    width = high - low
    about, least, greatest = (rounded(one, width, is_positive=bool(values.min() > 0)) for one in (middle, low, high))
    most = f"most between {least} and {greatest}" if width > 0 else "nearly all the same"
    return f"{name} (about {about}, {most})"


def _level(mean: float, values: Array, weight: Array, width: float) -> tuple[str, str]:
    """Where a component lies in the whole column; of one in the middle whether it is closer together than the whole."""
    whole = float(weight @ values / weight.sum())
    deviation = float(np.sqrt(weight @ (values - whole) ** 2 / weight.sum()))
    z = (mean - whole) / deviation if deviation > 0 else 0.0
    if abs(z) >= NEAR:
        return f"{'very ' if abs(z) > FAR else ''}{'high' if z > 0 else 'low'}", ""
    low, high = weighted_quantiles(values, weight, ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2))
    ratio = width / (high - low) if high > low else 1.0
    return "average", ", close together" if ratio < CLOSE else ", widely spread" if ratio > WIDE else ""


def _of_angles(column: Column, values: Array, weight: Array) -> str:
    turn = TURN[column.unit]
    sign = "°" if column.unit == "degrees" else " radians"
    phase = 2 * np.pi * values / turn
    centre = float(np.arctan2(weight @ np.sin(phase), weight @ np.cos(phase)))
    off = np.abs(np.angle(np.exp(1j * (phase - centre))))
    reach = weighted_quantiles(off, weight, (MIDDLE,))[0] * turn / (2 * np.pi)
    at = np.mod(centre, 2 * np.pi) * turn / (2 * np.pi)
    return f"{column.name} around {rounded(float(at), reach)}{sign} (most within {rounded(reach, reach)}{sign} of it)"


def _of_durations(column: Column, k: int) -> str:
    """From the model: what is cut off says nothing of when it would have ended."""
    family = column.family
    assert family is not None
    if isinstance(family, CensoredWeibull):
        half = float(family.scale[k] * np.log(2) ** (1 / family.shape[k]))
    else:
        rate = float(family.parameters["rate"][k])
        if rate == 0:
            return f"{column.name} without end (no event)"
        half = float(np.log(2)) / rate
    return f"half of {column.name} end before {rounded(half, half)} (those cut off allowed for)"


def _of_levels(column: Column, k: int, model: Mixture) -> str:
    """The level that the component has most in excess of the whole; of yes and no the share of yes."""
    table = column.probabilities
    assert table is not None
    p = model.latent.mixing_proportions[: len(table)]
    whole = p @ table / p.sum()
    own = table[k]
    against = "" if len(table) == 1 else "; {} of all rows"
    if column.levels == ("0", "1"):
        return f"{column.name} = 1 in {percent(own[1])}{against.format(percent(whole[1]))}"
    usual = int(own.argmax())
    top = usual if own[usual] >= 0.5 or len(table) == 1 else int((own - whole).argmax())
    word = "mostly" if own[top] >= 0.5 else "often" if len(table) == 1 else "more often"
    if column.kind is Kind.COMPOSITION:
        return f"{word} {column.levels[top]} ({percent(own[top])}{against.format(percent(whole[top]))})"
    return f"{column.name} {word} {column.levels[top]} ({percent(own[top])}{against.format(percent(whole[top]))})"


# -- numbers in sentences ----------------------------------------------------------------------------------------------


def weighted_quantiles(values: Array, weight: Array, at: Sequence[float]) -> list[float]:
    """The smallest value that so much of the weight does not exceed, for each share in `at`."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    where = np.searchsorted(total, np.asarray(at) * total[-1] * (1 - 1e-12))
    return [float(values[order[min(int(i), len(order) - 1)]]) for i in where]


def rounded(value: float, width: float, *, is_positive: bool = False) -> str:
    """With the digits that a fifth of `width`, a spread in the same unit, asks for; of a large one a twentieth.

    What cannot be 0 (`is_positive`) has a digit that is not 0.
    """
    if abs(value) <= 1e-9 * width:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        return number(value)
    width = width if width > 0 else abs(value) / 20
    decimals = -int(np.floor(np.log10(width / 5)))
    if decimals <= 0:
        decimals = min(0, -int(np.floor(np.log10(width / 20))))
    if is_positive:
        decimals = max(decimals, -int(np.floor(np.log10(abs(value)))))
    return f"{round(value, decimals) + 0.0:,.{max(decimals, 0)}f}"


def percent(share: float) -> str:
    """Like `36 %`, with a space that does not break; what is neither 0 nor 1 is not rounded to it."""
    if 0 < share < 0.01 or 0.99 < share < 1:
        text = f"{100 * share:.1f}"
        text = "under 0.1" if text == "0.0" else "over 99.9" if text == "100.0" else text
        return f"{text}\u00a0%"
    return f"{100 * share:.0f}\u00a0%"


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a; b; and c`: parts that hold commas of their own are parted by semicolons."""
    if len(parts) < 3:
        return " and ".join(parts)
    return "; ".join(parts[:-1]) + f"; and {parts[-1]}"


def capitalised(text: str) -> str:
    """The first letter alone."""
    return text[:1].upper() + text[1:]


def listed_short(names: Sequence[str], most: int) -> str:
    """`a, b, c`, or `a, b and 5 more columns` where there are more than `most`."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more columns"


# -- families ----------------------------------------------------------------------------------------------------------

FAMILY_WORDS = {
    "bernoulli": "answers of yes or no, each with a probability of its own",
    "binomial": "numbers of successes, with a probability of its own",
    "categorical": "answers, each with a probability of its own",
    "multinomial": "counts that are shared among the columns in proportions of its own",
    "poisson": "counts around a mean",
    "truncated_poisson": "counts of at least one around a mean",
    "zero_inflated_poisson": "counts around a mean, and more zeros than these would have",
    "negative_binomial": "counts around a mean, with a spread of their own",
    "geometric": "waiting times in whole steps",
    "exponential": "waiting times without a memory",
    "gamma": "positive numbers, skewed to the right",
    "inverse_gaussian": "positive numbers, skewed to the right",
    "beta": "shares between 0 and 1",
    "von_mises": "angles around a direction",
    "normal": "bell-shaped spreads around a mean",
    "lognormal": "positive numbers whose logarithms are bell-shaped",
    "multivariate_normal": "a bell-shaped cloud around a centre",
    "student_t": "a bell-shaped cloud with rows far out",
    "censored_exponential": "durations at a constant rate, some cut off",
    "censored_weibull": "durations at a rising or falling rate, some cut off",
    "scipy": "numbers that follow a distribution of SciPy",
}
"""What the rows of a component look like, for people who do not know the family's name."""


def family_words(family: Family) -> str:
    """A sentence on what a component is."""
    if isinstance(family, Columns):
        return "Each component has a distribution of its own for each column."
    name = family.distribution if isinstance(family, ScipyDistribution) else family.name
    words = FAMILY_WORDS.get(family.name, "rows that follow a distribution of its own")
    return f"Within a component: {words} ({name.replace('_', ' ')})."
