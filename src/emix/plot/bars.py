"""Components by their columns, and rows by their components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emix.errors import ModelError
from emix.fitting.profile import ColumnProfile, column_profiles
from emix.inference.display import display_rows
from emix.model import Mixture
from emix.plot import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("shares", "differences", "heat")
MOST_COMPONENTS = 6
"""With more than these, bars give way to a map."""
MOST_WITH_DIGITS = 10
"""With more components a map has room for two digits only."""
MOST_LINES = 24
"""Columns, or levels of them, that are shown: those that set the components apart most."""
MOST_STACKED = 7
"""Items beside each other as stacked bars."""
WORTH_A_NUMBER = 0.11
"""Share of a bar in which a level's name has room."""
WIDTH = 6.4
"""Of a picture of bars, in inches; and of a letter beside it:"""
LETTER = 0.066
DISPLAYED = 2000
"""Rows that a picture has room for."""


def profile(model: Any, data: Any = None, ax: Axes | None = None, *, kind: str | None = None) -> Axes:
    """What sets the components apart, the most telling columns first.

    - 'shares', for categories: one bar per item and component, divided by the probability of each answer.
    - 'differences': how far each component's mean, or share of a level, lies from the whole, in standard deviations of
      the whole; the value itself stands at the end of the bar.
    - 'heat': the same as a map, for many components.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        Its columns have moments: all families of emix do.
    data : as in `fit`, optional
        Not needed: what is shown are the model's own means and probabilities. With it, components are entitled with
        their share of these rows instead of their mixing proportion.
    ax : Axes, optional
        Where to draw; a new figure by default.
    kind : {'shares', 'differences', 'heat'}, optional
        Chosen from the columns and the number of components by default.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        No column has moments, there are only numbers where shares are asked for, or the kind is unknown.
    FileError
        Matplotlib is not installed.
    """
    mixture = canvas.named(canvas.mixture_of(model))
    if kind is not None and kind not in KINDS:
        raise ModelError.choice(what="kind of profile", found=kind, available=KINDS)
    found = column_profiles(mixture)
    if not found:
        raise ModelError.argument(
            name="model", requirement="a family whose columns have moments", found=mixture.family.name
        )
    K = len(found[0].components)
    is_categorical = all(one.levels for one in found)
    if kind is None:
        few = K <= MOST_COMPONENTS
        kind = "shares" if few and is_categorical else "differences" if few else "heat"
    if kind == "shares" and not is_categorical:
        raise ModelError.argument(name="kind", requirement="'differences' or 'heat' for numbers", found=kind)
    shares = mixture.latent.mixing_proportions
    if data is not None:
        shares = display_rows(mixture, data, limit=DISPLAYED * 10).responsibilities.mean(axis=0)
    names = [f"{canvas.name(mixture, k)}, {100 * shares[k]:.0f} %" for k in range(K)]
    if kind == "shares":
        return _stacked(ax, mixture, found[:MOST_STACKED], names, len(found))
    lines = _lines(found)
    shown = lines[:MOST_LINES]
    note = f"{len(shown)} of {len(lines)} lines" if len(shown) < len(lines) else ""
    draw = _differences if kind == "differences" else _heat
    return draw(ax, mixture, shown, names, note)


# -- profiles ----------------------------------------------------------------------------------------------------------


def _stacked(ax: Axes | None, mixture: Mixture, found: list[ColumnProfile], names: list[str], n_all: int) -> Axes:
    K = len(names)
    ax = canvas.axes(ax, (float(np.clip(2.2 + 0.34 * (K + 1) * len(found), 4.6, 9.5)), 4.0))
    for i, one in enumerate(found):
        for k in range(K):
            _stack(ax, mixture, i * (K + 1) + k, k, one, names[k] if i == 0 else "_")
    middles = [i * (K + 1) + (K - 1) / 2 for i in range(len(found))]
    ax.set_xticks(middles, [canvas.clipped(one.column, 16) for one in found])
    ax.tick_params(axis="x", length=0, pad=15)
    places = [i * (K + 1) + k for i in range(len(found)) for k in range(K)]
    short = [canvas.short_name(mixture, k, 4) for k in range(K)]
    ax.set_xticks(places, short * len(found), minor=True, fontsize=canvas.SMALLEST)
    ax.tick_params(axis="x", which="minor", length=0, pad=2)
    ax.set_xlim(-0.9, len(found) * (K + 1) - 1.1)
    ax.set_ylim(0, 1)
    ax.set_ylabel("probability of each answer")
    note = f"{len(found)} of {n_all} items, those that set the components apart most" if n_all > len(found) else ""
    canvas.entitle(ax, "Item-response probabilities", [note])
    canvas.legend(ax, beside=True)
    return ax


def _stack(ax: Axes, mixture: Mixture, place: int, k: int, one: ColumnProfile, label: str) -> None:
    """One bar: levels in shades of the component's colour, from dark to pale, with their names where there is room."""
    base, n = 0.0, len(one.levels)
    for i, share in enumerate(one.components[k]):
        shade = _tint(canvas.colour(mixture, k), i / max(n - 1, 1) * 0.82)
        ax.bar(
            place,
            share,
            0.92,
            bottom=base,
            color=shade,
            edgecolor="white",
            linewidth=0.8,
            label=label if i == 0 else "_",
        )
        if share >= WORTH_A_NUMBER:
            ink = "white" if i < (n - 1) / 2 else canvas.INK
            text = canvas.clipped(one.levels[i], 9)
            is_long = len(text) > 3
            ax.text(
                place,
                base + share / 2,
                text,
                ha="center",
                va="center",
                fontsize=canvas.SMALLEST,
                color=ink,
                rotation=90 if is_long and share > 0.055 * len(text) else 0,
                clip_on=True,
            )
        base += share


def _tint(colour: str, share: float) -> tuple[float, float, float]:
    """A colour mixed with so much white."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c + (1 - c) * share for c in channels)
    return red, green, blue


def _lines(found: list[ColumnProfile]) -> list[tuple[str, list[str], Any]]:
    """Name, values in words and differences (K,) of each column or level; of two levels one is enough."""
    lines: list[tuple[str, list[str], Any]] = []
    for one in found:
        if not one.levels:
            digits = 3 if len(one.components) <= MOST_WITH_DIGITS else 2
            words = [_in_words(value, digits) for value in one.components[:, 0]]
            lines.append((canvas.clipped(one.column), words, one.differences[:, 0]))
            continue
        order = np.argsort(-np.abs(one.differences).max(axis=0), kind="stable")
        if len(one.levels) == 2:
            order = np.array([one.levels.index("1") if "1" in one.levels else 1])
        for i in order:
            words = [f"{100 * share:.0f} %" for share in one.components[:, i]]
            lines.append((canvas.clipped(f"{one.column} = {one.levels[i]}", 30), words, one.differences[:, i]))
    return lines


def _in_words(value: float, digits: int) -> str:
    """Two or three digits are enough in a picture."""
    if value == 0 or 0.01 <= abs(value) < 1e6:
        decimals = 0 if value == 0 else max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
        return f"{value:,.{decimals}f}"
    return f"{value:.2g}"


def _differences(
    ax: Axes | None, mixture: Mixture, lines: list[tuple[str, list[str], Any]], names: list[str], note: str
) -> Axes:
    K, is_own = len(names), ax is None
    ax = canvas.axes(ax, (WIDTH, 1.2 + len(lines) * (0.17 * K + 0.16)))
    widest = max(float(np.abs(values).max()) for _, _, values in lines) or 1.0
    height = 0.8 / K
    for k in range(K):
        places = [i - 0.4 + height * (k + 0.5) for i in range(len(lines))]
        values = [float(line[2][k]) for line in lines]
        ax.barh(
            places,
            values,
            height,
            color=canvas.colour(mixture, k),
            hatch=canvas.hatch(mixture, k),
            edgecolor="white",
            linewidth=0.5,
            label=names[k],
        )
        for place, value, line in zip(places, values, lines, strict=True):
            side = 1 if value >= 0 else -1
            ax.text(
                value + side * 0.015 * widest,
                place,
                line[1][k],
                va="center",
                ha="left" if side > 0 else "right",
                fontsize=canvas.SMALLEST,
                color=canvas.INK,
            )
    ax.axvline(0, color="#888888", linewidth=0.8)
    ax.set_yticks(range(len(lines)), [line[0] for line in lines])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xlim(*_span(lines, _inches(ax, is_own, [line[0] for line in lines], names)))
    ax.set_xlabel("difference from the whole, in standard deviations of the whole")
    canvas.entitle(ax, "What sets the components apart", [note])
    canvas.legend(ax, beside=True)
    return ax


def _inches(ax: Axes, is_own: bool, beside: list[str], legend: list[str]) -> float:
    """Width of the Axes; of a figure of our own, whose layout is not made yet, what its texts will leave."""
    if not is_own:
        return float(ax.get_window_extent().width) / float(ax.figure.dpi)
    return max(1.0, WIDTH - 0.6 - LETTER * (max(map(len, beside)) + max(map(len, legend))))


def _span(lines: list[tuple[str, list[str], Any]], inches: float) -> tuple[float, float]:
    """Of the axis, so that also the longest bar on either side has room for its number."""
    ends = [(float(value), len(word)) for _, words, values in lines for word, value in zip(words, values, strict=True)]
    room = LETTER * canvas.SMALLEST / canvas.SMALL / inches  # of a letter, as a share of the axis
    values = [0.0, *(value for value, _ in ends)]
    span = least = max(values) - min(values) or 1.0
    for _ in range(8):  # a wider axis widens the numbers, in its own unit
        left = min(0.0, *(value - (n + 1) * room * span for value, n in ends if value < 0), 0.0)
        right = max(0.0, *(value + (n + 1) * room * span for value, n in ends if value >= 0), 0.0)
        span = max(right - left, least)
    return left, right


def _heat(
    ax: Axes | None, mixture: Mixture, lines: list[tuple[str, list[str], Any]], names: list[str], note: str
) -> Axes:
    K = len(names)
    ax = canvas.axes(ax, (min(2.6 + 0.48 * K, 10.5), 1.6 + 0.28 * len(lines)))
    values = np.array([line[2] for line in lines])
    bound = float(np.abs(values).max()) or 1.0
    image = ax.imshow(values, cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto")
    size = canvas.SMALLEST if K <= MOST_WITH_DIGITS else canvas.SMALLEST - 0.5
    for i, (_, words, row) in enumerate(lines):
        for k, word in enumerate(words):
            ink = "white" if abs(row[k]) > 0.62 * bound else canvas.INK
            ax.text(k, i, word.replace(" %", "%"), ha="center", va="center", fontsize=size, color=ink)
    ax.set_yticks(range(len(lines)), [line[0] for line in lines])
    ax.set_xticks(range(K), [canvas.short_name(mixture, k) for k in range(K)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("component")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("difference from the whole,\nstandard deviations", fontsize=canvas.SMALL)
    bar.ax.tick_params(labelsize=canvas.SMALL)
    bar.outline.set_visible(False)
    canvas.entitle(ax, "What sets the components apart", [note])
    return ax


# -- rows --------------------------------------------------------------------------------------------------------------


def responsibilities(
    model: Any, data: Any, ax: Axes | None = None, *, sample_weight: Any = None, random_state: Any = 0
) -> Axes:
    """Responsibilities of the rows as stacked bars, sorted by component and certainty.

    Sharp steps say that the components are told apart; long slopes, that many rows could be of either.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        Of any family.
    data, sample_weight
        As in `fit`. Of more than 2,000 rows so many are drawn; the title says so.
    ax : Axes, optional
        Where to draw; a new figure by default.
    random_state : int, default=0
        Seed of that draw.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        The data cannot be.
    FileError
        Matplotlib is not installed.
    """
    mixture = canvas.mixture_of(model)
    rows = display_rows(mixture, data, limit=DISPLAYED, random_state=random_state, sample_weight=sample_weight)
    resp, component = rows.responsibilities, rows.component
    order = np.lexsort((-resp.max(axis=1), component))
    resp, component = resp[order], component[order]
    ax = canvas.axes(ax, (6.8, 3.4))
    n, K = resp.shape
    edges = np.linspace(0, 100, n + 1)
    base = np.zeros(n)
    for k in range(K):
        ax.stairs(
            base + resp[:, k],
            edges,
            baseline=base,
            fill=True,
            color=canvas.colour(mixture, k),
            hatch=canvas.hatch(mixture, k),
            edgecolor="white",
            linewidth=0,
            label=canvas.name(mixture, k),
        )
        base = base + resp[:, k]
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 1)
    for k in range(K):
        own = np.flatnonzero(component == k)
        if len(own) and own[0] > 0:
            ax.axvline(edges[own[0]], color="white", linewidth=1.2)
    unsure = float((resp.max(axis=1) < 0.8).mean())
    share = f"{100 * unsure:.0f} %" if unsure >= 0.01 else "Fewer than 1 %" if unsure > 0 else "None"
    ax.set_xlabel("rows, % (sorted by component, then by certainty)")
    ax.set_ylabel("p(component given row)")
    canvas.entitle(ax, f"{share} of the rows are below 80 % in every component", [rows.note])
    canvas.legend(ax, beside=True)
    return ax
