"""The charts of how a fit went and how sure it is: the climb, the starts, certainty, candidates, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from emix.report.html.colours import NOISE, PALETTE, short, symbol
from emix.report.html.facts import CERTAIN, Facts
from emix.report.html.figures import GRID, INK, Figure, layout, safe
from emix.report.html.judgement import criterion_words, estimate_component, is_number
from emix.report.text import number
from emix.report.words import capitalised
from emix.results import FitResult, StopReason

MANY = 60
"""Iterations from which the early ones, where most is gained, need an axis that gives them room."""
SAME_TOP = 1e-4
"""Nats within which two starts ended at the same top."""
BLUE, GREEN, ORANGE = PALETTE[0], PALETTE[2], PALETTE[4]


def trace_figure(result: FitResult) -> Figure | None:
    """How the log-likelihood climbed in the run that won; None where its history is not known."""
    if len(result.history) < 2:
        return None
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(result.history) <= MANY else "lines",
        "x": [one.iteration for one in result.history],
        "y": [float(f"{one.log_likelihood:.12g}") for one in result.history],
        "line": {"color": BLUE, "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "iteration %{x}: %{y:.6f}<extra></extra>",
    }
    plain = layout("iteration", "log-likelihood")
    if len(result.history) > MANY:
        plain["xaxis"] = {**plain["xaxis"], **_early_first(line, result.history[-1].iteration)}
    caption = "The log-likelihood after each iteration of the run that won."
    if all(later.log_likelihood >= one.log_likelihood - one.noise for one, later in pairwise(result.history)):
        caption += " It never falls."
    return Figure("trace", "The climb", [line], plain, caption)


def _early_first(line: dict[str, Any], last: int) -> dict[str, Any]:
    """A logarithmic axis of iterations, on which the start stands at 1/2."""
    line["text"] = [str(one) for one in line["x"]]
    line["hovertemplate"] = "iteration %{text}: %{y:.6f}<extra></extra>"
    line["x"] = [max(one, 0.5) for one in line["x"]]
    at = [step * 10**power for power in range(len(str(last))) for step in (1, 3)]
    at = [one for one in at if one <= last]
    return {"type": "log", "tickvals": [0.5, *at], "ticktext": ["0", *map(str, at)]}


def starts_figure(result: FitResult) -> Figure | None:
    """Where the starts ended whose log-likelihood is of all rows; None for a single one."""
    ended = result.comparable_starts
    if len(ended) < 2:
        return None
    best = max(one.log_likelihood for one in ended)
    kinds = (
        ("run to the end", BLUE, "circle", [one for one in ended if one.stop_reason.converged]),
        ("short run, not continued", NOISE, "circle-open", [one for one in ended if not one.stop_reason.converged]),
    )
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [one.index + 1 for one in some],
            "y": [gap if (gap := float(f"{one.log_likelihood - best:.4g}")) < -SAME_TOP else 0.0 for one in some],
            "text": [safe(f"{one.method}: {one.stop_reason.sentence}") for one in some],
            "hovertemplate": "start %{x}: %{y:.4g} nats from the best<br>%{text}<extra></extra>",
            "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
        }
        for name, colour, symbol, some in kinds
        if some
    ]
    plain = layout("start", "nats from the best")
    plain["xaxis"] = {**plain["xaxis"], "dtick": max(1, len(result.starts) // 10)}
    if min(one.log_likelihood for one in ended) > best - 1:  # a picture of rounding would look like disagreement
        plain["yaxis"] = {**plain["yaxis"], "range": [-1.0, 0.1]}
    caption = "Each start climbs to the nearest top; the highest is taken."
    if not all(one.stop_reason.converged for one in ended):
        caption = "Each start climbs towards the nearest top, the most promising to their end; the highest is taken."
    n_else = sum(one.stop_reason is not StopReason.DEGENERATE for one in result.starts) - len(ended)
    if n_else:
        caption += f" Not shown: {n_else} short run{'s' * (n_else > 1)} on a sample of the rows."
    return Figure("starts", "The starts", data, plain, caption)


def certainty_figure(facts: Facts) -> Figure | None:
    """How sure the rows are of their component; None for a single component."""
    if facts.model.latent_size < 2:
        return None
    edges = np.linspace(1 / facts.model.latent_size, 1, 31)
    height = np.histogram(np.clip(facts.largest, edges[0], 1.0), edges, weights=facts.all_weight)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    bars = {
        "type": "bar",
        "x": short(100 * centres),
        "y": short(height),
        "width": 100 * float(edges[1] - edges[0]),
        "marker": {"color": [GREEN if one >= CERTAIN else ORANGE for one in centres], "line": {"width": 0}},
        "hovertemplate": "%{x:.0f} %: %{y:.1f} rows<extra></extra>",
    }
    caption = f"Each row's probability of its most probable component, in %; green from {100 * CERTAIN:.0f} %."
    return Figure("certainty", "How sure the rows are", [bars], layout("probability, %", "rows", bargap=0), caption)


def selection_figure(selection: Any) -> Figure | None:
    """The criterion against the number of components, one line per family; None where nothing was fitted."""
    by_family: dict[str, list[tuple[int, float]]] = {}
    for one in selection.rows():
        value = one.get(selection.criterion)
        if is_number(value):
            by_family.setdefault(str(one["family"]), []).append((int(one["n_components"]), float(value)))
    if not by_family:
        return None
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": safe(name),
            "x": [K for K, _ in sorted(points)],
            "y": [float(f"{value:.10g}") for _, value in sorted(points)],
            "line": {"color": PALETTE[i % len(PALETTE)], "width": 2},
            "marker": {"symbol": symbol(i), "size": 8},
            "hovertemplate": "%{x} components: %{y:.3f}<extra>" + safe(name) + "</extra>",
        }
        for i, (name, points) in enumerate(by_family.items())
    ]
    best = selection.best
    value = {(one["family"], one["n_components"]): one.get(selection.criterion) for one in selection.rows()}
    chosen = None if best is None else value.get((best.family, best.n_components))
    if chosen is not None:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "chosen",
                "x": [best.n_components],
                "y": [float(f"{chosen:.10g}")],
                "marker": {"symbol": "circle-open", "size": 18, "color": INK, "line": {"width": 3}},
                "hoverinfo": "skip",
            }
        )
    name = criterion_words(selection.criterion)
    plain = layout("number of components", name)
    plain["xaxis"] = {**plain["xaxis"], "dtick": 1}
    return Figure("selection", "Number of components", data, plain, f"{capitalised(name)} of each candidate.", 380)


def forest_figure(
    groups: Sequence[tuple[str, Sequence[Any]]], names: Sequence[str], palette: Sequence[str]
) -> Figure | None:
    """Estimates with their intervals, one panel per parameter and column; None where there is none.

    Parameters
    ----------
    groups : sequence of (title, estimates)
        Of one unit each.
    names, palette : sequence of str
        Of the components, with their colours.
    """
    if not groups:
        return None
    rows = [len(estimates) for _, estimates in groups]
    gap = 2.6
    total = sum(rows) + gap * len(groups)
    data: list[dict[str, Any]] = []
    plain = layout()
    del plain["xaxis"], plain["yaxis"]
    line = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": "#9AA5B1", "automargin": True}
    top = 1.0
    annotations = []
    for g, (title, estimates) in enumerate(groups):
        suffix = "" if g == 0 else str(g + 1)
        top -= 1.0 / total
        bottom = top - rows[g] / total
        labels = [safe(estimate_component(one, names)) or "whole model" for one in estimates]
        plain[f"xaxis{suffix}"] = {**line, "anchor": f"y{suffix}"}
        domain = [max(bottom, 0.0), min(top, 1.0)]
        plain[f"yaxis{suffix}"] = {**line, "anchor": f"x{suffix}", "domain": domain, "autorange": "reversed"}
        annotations.append(
            {
                "text": f"<b>{safe(title)}</b>",
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": min(top, 1.0),
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
        data += [
            _interval(one, label, suffix, palette[one.component] if label != "whole model" else INK)
            for one, label in zip(estimates, labels, strict=True)
        ]
        top = bottom - (gap - 1.0) / total
    plain["annotations"] = annotations
    return Figure("forest", "Estimates and their intervals", data, plain, "", int(40 + 30 * total))


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
