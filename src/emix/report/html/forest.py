"""Estimates with their intervals: as a table, and as panels of one parameter and column each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emix.described import SAID_TWICE
from emix.inference.estimates import AT_BOUNDARY
from emix.report.html.candidates import is_number
from emix.report.html.colours import short
from emix.report.html.figures import GRID, INK, Figure, clipped, layout, safe
from emix.report.intervals import estimate_title
from emix.report.text import number

PANELS = 12
"""Parameters whose intervals are drawn, at most; the table has all."""
NAMED = 6
"""Numbers at the boundary that are named beneath the chart, at most."""
LETTERS, LABEL_LETTERS = 40, 16
"""Of a line of a panel's title, and of a component's name beside its interval: what a narrow screen holds."""
LETTER = 7.5
"""Pixels of a letter."""
ALL = "all components"
"""Beside an estimate that all of them share."""
AXIS = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": "#9AA5B1"}
ROW, TITLE, TICKS = 30, 19, 44
"""Pixels of an interval, of a line of a title, and of the numbers beneath a panel."""


def estimate_component(one: Any, names: Sequence[str]) -> str:
    """Which component an estimate is of; empty for one of the whole model."""
    return "" if one.component is None or one.component < 0 else names[one.component]


def estimate_rows(uncertainty: Any, names: Sequence[str]) -> list[dict[str, str]]:
    """All estimates as text."""

    def text(value: Any) -> str:
        return number(float(value)) if is_number(value) else ""

    return [
        {
            "what": estimate_title(one),
            "component": estimate_component(one, names),
            "value": text(one.value),
            "standard_error": text(one.standard_error),
            "interval": f"{text(one.lower)} to {text(one.upper)}" if _has_interval(one) else "",
            "note": str(one.note or ""),
        }
        for one in uncertainty.estimates
    ]


def _has_interval(one: Any) -> bool:
    return all(is_number(v) for v in (one.value, one.lower, one.upper))


def forest_figure(uncertainty: Any, names: Sequence[str], palette: Sequence[str]) -> Figure | None:
    """One panel per parameter and column, of one unit each; None where no estimate has an interval.

    Parameters
    ----------
    uncertainty : Uncertainty or Bootstrap
        With all its estimates.
    names, palette : sequence of str
        Of the components, with their colours.
    """
    read = [one for one in uncertainty.estimates if one.parameter not in SAID_TWICE]
    tied = {estimate_title(one) for one in read if one.note.startswith("tied to")}
    groups: dict[str, list[Any]] = {}
    for one in read:
        if _has_interval(one) and not one.note.startswith("tied to"):
            groups.setdefault(estimate_title(one), []).append(one)
    if not groups:
        return None

    def label(one: Any) -> str:
        return ALL if estimate_title(one) in tied else estimate_component(one, names) or "whole model"

    panels = [_Panel(title, of, [label(one) for one in of], palette) for title, of in list(groups.items())[:PANELS]]
    left = int(14 + LETTER * min(LABEL_LETTERS, max(map(len, (*names, ALL)))))
    plain = layout(margin={"l": left, "r": 12, "t": 10, "b": 0}, annotations=[])
    total, top = sum(panel.height for panel in panels), 0
    data: list[dict[str, Any]] = []
    for g, panel in enumerate(panels):
        suffix = "" if g == 0 else str(g + 1)
        begin = top + TITLE * len(panel.lines)
        domain = [1 - (begin + ROW * len(panel.estimates)) / total, 1 - begin / total]
        plain[f"xaxis{suffix}"] = {**AXIS, "anchor": f"y{suffix}", "nticks": 6}
        plain[f"yaxis{suffix}"] = {**AXIS, "anchor": f"x{suffix}", "domain": domain, **panel.ticks}
        plain["annotations"].append(_title(panel.lines, domain[1], -left))
        data += panel.intervals(suffix)
        top += panel.height
    caption = " ".join(_left_out(read, len(groups) - len(panels), label))
    return Figure("forest", "Estimates and their intervals", data, plain, caption, 10 + total)


@dataclass(frozen=True)
class _Panel:
    """The estimates of one parameter and column that have an interval, with what stands beside each."""

    title: str
    estimates: list[Any]
    labels: list[str]
    palette: Sequence[str]

    @property
    def lines(self) -> list[str]:
        return textwrap.wrap(self.title, LETTERS) or [""]

    @property
    def height(self) -> int:
        return TITLE * len(self.lines) + ROW * len(self.estimates) + TICKS

    @property
    def ticks(self) -> dict[str, Any]:
        return {
            "type": "category",
            "autorange": "reversed",
            "tickvals": [safe(label) for label in self.labels],
            "ticktext": [safe(clipped(label, LABEL_LETTERS)) for label in self.labels],
        }

    def intervals(self, suffix: str) -> list[dict[str, Any]]:
        found = []
        for one, label in zip(self.estimates, self.labels, strict=True):
            of_all = label == ALL or one.component is None or one.component < 0
            found.append(_interval(one, safe(label), suffix, INK if of_all else self.palette[one.component]))
        return found


def _left_out(estimates: Sequence[Any], n_more: int, label: Callable[[Any], str]) -> list[str]:
    """What has no panel, or is missing from its own, and why."""
    found = []
    if n_more:
        have = "parameter has its" if n_more == 1 else "parameters have their"
        found.append(f"{n_more:,} more {have} intervals in the table.")
    at_bound = [one for one in estimates if one.note == AT_BOUNDARY]
    if at_bound:
        told = "; ".join(f"{estimate_title(one)}, {label(one)}" for one in at_bound[:NAMED])
        more = f"; and {len(at_bound) - NAMED:,} more" if len(at_bound) > NAMED else ""
        found.append(f"At the boundary of what they may be, and so without an interval: {told}{more}.")
    others = [one for one in estimates if not _has_interval(one) and one.note not in (AT_BOUNDARY, "")]
    n_others = sum(not one.note.startswith("tied to") for one in others)
    if n_others:
        have = "number has" if n_others == 1 else "numbers have"
        found.append(f"{n_others:,} more {have} no interval: the notes in the table say why.")
    return found


def _title(lines: Sequence[str], y: float, shift: int) -> dict[str, Any]:
    return {
        "text": f"<b>{'<br>'.join(safe(one) for one in lines)}</b>",
        "align": "left",
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "xshift": shift,
        "y": y,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _interval(one: Any, label: str, suffix: str, colour: str) -> dict[str, Any]:
    """One estimate and its interval, on the axes of its panel."""
    value, lower, upper = (float(v) for v in (one.value, one.lower, one.upper))
    bar = {"type": "data", "symmetric": False, "array": short([upper - value]), "arrayminus": short([value - lower])}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short([value]),
        "y": [label],
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
        "error_x": {**bar, "color": colour, "thickness": 2, "width": 5},
        "marker": {"color": colour, "size": 9},
        "text": [f"{number(value)}, {number(lower)} to {number(upper)}"],
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "showlegend": False,
    }
