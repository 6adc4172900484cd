"""Each component in plain sentences, from its rows: every row counts by its responsibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.described import capitalised as capitalised
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
"""Columns that a sentence tells, those in which the component differs most from the whole first."""
WORTH = 0.2
"""Standard deviations of the whole by which a component differs at least where a column is worth a word."""
LIKE_THE_WHOLE = 2
"""Columns that are told of a component that differs in none."""
ORDINALS = ("", "second ", "third ", "fourth ", "fifth ", "sixth ", "seventh ", "eighth ", "ninth ", "tenth ")
HEIGHTS = ("very", "low", "high", "average", "lowest", "highest", *(one.strip() for one in ORDINALS[1:]))
OPENINGS = (*HEIGHTS, "half", "mostly", "often", "more", "much", "rows", "no")
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
    alike: tuple[str, ...] = ()
    """Other components of which the same words are told, with other numbers."""

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{capitalised(self.title)}, {percent(self.share)} of rows: {self.text}.{self._note}"

    @property
    def text(self) -> str:
        """What sets it apart."""
        return joined(self.phrases) if self.phrases else "much like the table as a whole"

    @property
    def told(self) -> str:
        """The same as a sentence of its own; a column's name keeps its first letter as it is."""
        text = capitalised(self.text) if self.text.split(maxsplit=1)[0] in OPENINGS else self.text
        return f"{text}.{self._note}"

    @property
    def _note(self) -> str:
        return f" In these words like {' and '.join(self.alike)}: the numbers tell them apart." if self.alike else ""


@dataclass(frozen=True)
class Phrase:
    """What is said of one column of one component."""

    text: str
    words: str
    """The same without numbers."""
    differs: float
    """How far the component lies from the whole, in standard deviations of the whole."""


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
    counts = weighted_resp.sum(axis=0)
    told: list[list[Phrase]] = [[] for _ in range(K)]
    for j in np.argsort(-apart, kind="stable"):
        for k, phrase in enumerate(_phrases(model, columns[j], float(apart[j]), x, weighted_resp)):
            if phrase is not None and counts[k] > 1e-9 * total:
                told[k].append(phrase)
    told = [_chosen(one, is_alone=K == 1) for one in told]
    words = [tuple(phrase.words for phrase in one) for one in told]
    titles = [component_title(model, k) for k in range(K)]
    found = []
    for k, share in enumerate(model.latent.mixing_proportions):
        phrases = tuple(phrase.text for phrase in told[k])
        if model.has_noise and k == K - 1:
            phrases = ("rows that belong to none of the others, spread evenly over the whole range",)
        elif counts[k] <= 1e-9 * total:
            phrases = ("no rows",)
        elif K > 1 and phrases and told[k][0].differs < WORTH:
            phrases = (f"much like the table as a whole: {phrases[0]}", *phrases[1:])
        alike = tuple(titles[i] for i in range(K) if i != k and words[k] and words[i] == words[k])
        found.append(Description(titles[k], float(share), float(counts[k]), phrases, alike))
    return found


def _chosen(phrases: list[Phrase], *, is_alone: bool) -> list[Phrase]:
    """Those that tell most of the component; of one that differs in nothing from the whole the first few."""
    ranked = phrases if is_alone else sorted(phrases, key=lambda one: -one.differs)
    worth = [one for one in ranked if is_alone or one.differs >= WORTH]
    return worth[:TOLD] or ranked[:LIKE_THE_WHOLE]


def _phrases(model: Mixture, column: Column, apart: float, x: Array, weighted_resp: Array) -> list[Phrase | None]:
    """What is said of a column, one phrase per component; None where there is nothing to say."""
    K = weighted_resp.shape[1] - model.has_noise
    W = weighted_resp[:, :K]
    if not column.is_numeric:
        return [_of_levels(column, k, model) for k in range(K)]
    values = column.values(x)
    seen = ~np.isnan(values)
    values, W = values[seen], W[seen]
    # the mean square of how far the components differ is the share of the variance between them
    differs = float(np.sqrt(max(apart, 0.0)))
    if column.kind is Kind.ANGLE:
        return [Phrase(text, text, differs) for text in (_of_angles(column, values, W[:, k]) for k in range(K))]
    if column.kind is Kind.DURATION:
        return [Phrase(text, text, differs) for text in (_of_durations(column, k) for k in range(K))]
    return _of_numbers(column, values, W)


def _of_numbers(column: Column, values: Array, W: Array) -> list[Phrase | None]:
    """Where each component lies in the whole column, in a word, and its values."""
    total, weight = W.sum(axis=0), W.sum(axis=1)
    if weight.sum() <= 0:
        return [None] * W.shape[1]
    means = (W.T @ values) / np.where(total > 0, total, 1.0)
    whole = float(weight @ values / weight.sum())
    deviation = float(np.sqrt(weight @ (values - whole) ** 2 / weight.sum()))
    z = (means - whole) / deviation if deviation > 0 else np.zeros(len(means))
    low, high = weighted_quantiles(values, weight, ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2))
    levels = _levels(z, total > 0)
    found: list[Phrase | None] = []
    for k, own in enumerate(W.T):
        if total[k] <= 0:
            found.append(None)
            continue
        reach = weighted_quantiles(values, own, ((1 - MIDDLE) / 2, 0.5, (1 + MIDDLE) / 2))
        level, spread, differs = levels[k], "", abs(float(z[k]))
        if W.shape[1] == 1:
            level = ""
        elif differs < NEAR and high > low:  # of one in the middle whether it is closer together than the whole
            ratio = (reach[2] - reach[0]) / (high - low)
            spread = ", close together" if ratio < CLOSE else ", widely spread" if ratio > WIDE else ""
            differs = max(differs, abs(float(np.log(max(ratio, 0.01))))) if spread else differs
        name = f"{level} {column.name}{spread}".strip()
        found.append(Phrase(f"{name} ({_values(column, k, float(means[k]), reach, values)})", name, differs))
    return found


def _values(column: Column, k: int, mean: float, reach: Sequence[float], values: Array) -> str:
    """Like `about 54, most between 47 and 63`."""
    low, middle, high = reach
    if column.kind is Kind.SHARE:
        centre = float(column.probabilities[k]) if column.probabilities is not None else mean
        return f"{percent(centre)}, most between {percent(low)} and {percent(high)}"
    if column.kind is Kind.COUNT:
        most = f"nearly always {low:,.0f}" if low == high else f"most between {low:,.0f} and {high:,.0f}"
        return f"{rounded(mean, 1.0)} on average, {most}"
    width = high - low
    about, least, greatest = (rounded(one, width, is_positive=bool(values.min() > 0)) for one in (middle, low, high))
    most = f"most between {least} and {greatest}" if width > 0 else "nearly all the same"
    return f"about {about}, {most}"


def _levels(z: Array, has_rows: NDArray[np.bool_]) -> list[str]:
    """Like `very low`; where one word would do for components that differ, their place, like `second highest`."""

    def word(value: float) -> str:
        if abs(value) < NEAR:
            return "average"
        return f"{'very ' if abs(value) > FAR else ''}{'high' if value > 0 else 'low'}"

    words = [word(float(value)) for value in z]
    found = list(words)
    for one in {*words} - {"average"}:
        same = [k for k, other in enumerate(words) if other == one and has_rows[k]]
        if not same or np.ptp(z[same]) < NEAR:
            continue
        sign = 1.0 if "high" in one else -1.0
        order = [k for k in np.argsort(-sign * z, kind="stable") if has_rows[k]]
        for k in same:
            place = order.index(k)
            ordinal = ORDINALS[place] if place < len(ORDINALS) else f"{place + 1}th "
            found[k] = f"{ordinal}{'highest' if sign > 0 else 'lowest'}"
    return found


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


def _of_levels(column: Column, k: int, model: Mixture) -> Phrase:
    """The usual level, or that which the component has most in excess of the whole; of yes and no the share of yes."""
    table = column.probabilities
    assert table is not None
    p = model.latent.mixing_proportions[: len(table)]
    whole = p @ table / p.sum()
    own, is_alone = table[k], len(table) == 1

    def numbers(level: int) -> str:
        return percent(own[level]) + ("" if is_alone else f"; {percent(whole[level])} of all rows")

    def differs(level: int) -> float:
        return float(abs(own[level] - whole[level]) / max(np.sqrt(whole[level] * (1 - whole[level])), 1e-12))

    if column.levels == ("0", "1"):
        text = f"{column.name} = 1 in {numbers(1)}"
        return Phrase(text, text, differs(1))
    usual = int(own.argmax())
    is_usual = own[usual] >= 0.5 and own[usual] >= whole[usual] - 1e-9
    top = usual if is_usual or is_alone else int((own - whole).argmax())
    word = "mostly" if own[top] >= 0.5 else "often" if is_alone else "more often"
    words = f"{'' if column.kind is Kind.COMPOSITION else f'{column.name} '}{word} {column.levels[top]}"
    return Phrase(f"{words} ({numbers(top)})", words, differs(top))


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
