"""The report's charts, as Plotly's own plain data: traces and a layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.block import Array
from emix.report.columns import Column, Kind
from emix.report.html.colours import SYMBOLS, colours, faded, short
from emix.report.html.facts import CERTAIN, SEED, Facts
from emix.report.html.judgement import criterion_words, estimate_component, is_number
from emix.report.html.scene import LEVELS, Scene, axis, drawn_at, make_scene, outlines
from emix.report.text import component_title, number
from emix.report.words import capitalised
from emix.results import FitResult

POINTS = 1_500
"""Rows that a scatter plot shows, at most."""
COLUMNS = 12
"""Columns that have a chart of their own, at most."""
MANY = 60
"""Iterations from which the early ones, where most is gained, need an axis that gives them room."""
GRID = "#E6E9ED"
INK = "#22303C"
CIRCLE = 2 * np.pi * np.arange(61) / 60


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows in words."""

    name: str
    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    caption: str = ""
    height: int = 320


def layout(x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """What all charts have in common."""
    line = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": "#9AA5B1", "automargin": True}
    return {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 56, "r": 12, "t": 10, "b": 46},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"font": {"size": 13}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "dragmode": "zoom",
        "xaxis": {**line, "title": {"text": safe(x)}},
        "yaxis": {**line, "title": {"text": safe(y)}},
        **more,
    }


def safe(text: str) -> str:
    """A user's text for Plotly, which reads a few HTML tags in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def titles(facts: Facts) -> list[str]:
    """Names of the components, for legends."""
    return [safe(component_title(facts.model, k)) for k in range(facts.model.latent_size)]


def component_figures(facts: Facts) -> list[Figure]:
    """The map of the rows where there is one, then the most separating columns."""
    found = []
    if len(facts.columns) > 1:
        found.append(_map(facts))
    for j in facts.order[:COLUMNS]:
        one = facts.columns[j]
        if not one.is_numeric:
            found.append(_levels(facts, one, j))
        elif np.isfinite(one.values(facts.x)).any():
            found.append(_histogram(facts, one, j))
    return found


def _map(facts: Facts) -> Figure:
    some = np.arange(len(facts.rows))
    if len(some) > POINTS:
        some = np.sort(np.random.default_rng(SEED).choice(len(some), POINTS, replace=False))
    x, weight, resp = facts.x[some], facts.weight[some], facts.resp[some]
    scene = make_scene(facts.model, facts.columns, facts.order, x, weight, resp)
    points = drawn_at(scene, np.random.default_rng(SEED))
    if scene.kind == "projection":  # answers that many rows share
        points = points + np.random.default_rng(SEED).normal(0, 0.02 * np.nanstd(points), points.shape)
    label, names, own = resp.argmax(axis=1), titles(facts), colours(facts.model)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": names[k],
            "x": short(points[label == k, 0]),
            "y": short(points[label == k, 1]),
            "text": [
                f"row {row + 1}: {names[k]} with {100 * r:.1f} %"
                for row, r in zip(facts.rows[some][label == k], resp[label == k, k], strict=True)
            ],
            "hovertemplate": "%{text}<br>%{x}, %{y}<extra></extra>",
            "marker": {
                "color": own[k],
                "symbol": SYMBOLS[k % len(SYMBOLS)],
                "size": 7,
                "opacity": short(0.25 + 0.6 * _certainty(resp[label == k, k], resp.shape[1]), 2),
            },
        }
        for k in range(facts.model.latent_size)
    ]
    data += _outlines(facts, scene)
    names_of_axes = (safe(scene.labels[0]), safe(scene.labels[1]))
    caption = f"{scene.note} Pale points are uncertain."
    if len(some) < len(facts.all_weight):
        caption += f" {len(some):,} of {len(facts.all_weight):,} rows are drawn."
    title = "The rows and the components" if scene.kind == "plane" else "A map of the rows"
    return Figure("map", title, data, layout(*names_of_axes), caption, 440)


def _certainty(share: Array, K: int) -> Array:
    """0 where all components are equally likely, 1 where one is certain."""
    return np.ones_like(share) if K == 1 else np.clip((share - 1 / K) / (1 - 1 / K), 0.0, 1.0)


def _outlines(facts: Facts, scene: Scene) -> list[dict[str, Any]]:
    if scene.pair is None:
        return []
    K, own = facts.model.latent_size - facts.model.has_noise, colours(facts.model)
    values = (scene.pair[0].values(facts.x), scene.pair[1].values(facts.x))
    weighted = (facts.resp * facts.weight[:, None])[:, :K]
    found = []
    for k, (m, A) in enumerate(outlines(facts.model.family, scene.pair, values, weighted)):
        edge = m[:, None] + A @ np.stack([np.cos(CIRCLE), np.sin(CIRCLE)])
        found.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": short(edge[0]),
                "y": short(edge[1]),
                "line": {"color": own[k], "width": 2.5},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    return found


def _histogram(facts: Facts, column: Column, j: int) -> Figure:
    """The rows by bars, each split by component, under each component's curve."""
    values = column.values(facts.x)
    one = axis(column, values, facts.weight)
    scale = facts.total_weight / float(facts.weight.sum())
    own, names = colours(facts.model), titles(facts)
    centres = (one.edges[1:] + one.edges[:-1]) / 2
    seen = ~np.isnan(values)
    weighted = facts.resp * facts.weight[:, None] * scale
    data: list[dict[str, Any]] = []
    for k in range(facts.model.latent_size):
        height = np.histogram(values[seen], one.edges, weights=weighted[seen, k])[0]
        data.append(
            {
                "type": "bar",
                "name": names[k],
                "x": short(centres),
                "y": short(height),
                "width": one.width,
                "marker": {"color": faded(own[k], 0.45), "line": {"width": 0}},
                "hovertemplate": "%{x}: %{y:.1f} rows<extra>" + names[k] + "</extra>",
            }
        )
    curves = one.curves(facts.model.family, facts.model.latent.mixing_proportions, float(weighted[seen].sum()))
    at = short(one.curve_at)
    for k, curve in enumerate([] if curves is None else curves):
        is_count = column.kind is Kind.COUNT
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if is_count else "lines",
                "x": at,
                "y": short(curve),
                "line": {"color": own[k], "width": 2.5},
                "marker": {"size": 5},
                "hovertemplate": "%{x}: %{y:.1f} rows expected<extra>" + names[k] + "</extra>",
                "showlegend": False,
            }
        )
    notes = [f"{100 * facts.apart[j]:.0f}\u00a0% of its variance lies between the components."]
    if column.kind is Kind.DURATION:
        notes.append("Bars: all durations, also those cut off. Curves: when events would be seen were none cut off.")
    if one.n_beyond:
        notes.append(f"{one.n_beyond:,} of the {len(values):,} rows drawn lie beyond the axis.")
    n_missing = int((~seen).sum())
    if n_missing:
        notes.append(f"{n_missing:,} cells are missing.")
    plain = layout(column.name, "rows", barmode="stack", bargap=0)
    plain["yaxis"] = {**plain["yaxis"], "rangemode": "tozero"}
    return Figure(f"column-{j}", column.name, data, plain, " ".join(notes))


def _levels(facts: Facts, column: Column, j: int) -> Figure:
    """How often each level occurs in each component."""
    table = column.probabilities
    assert table is not None
    own, names = colours(facts.model), titles(facts)
    shown = np.sort(np.argsort(-table.max(axis=0), kind="stable")[:LEVELS])
    levels = [safe(column.levels[level]) for level in shown]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": names[k],
            "y": levels,
            "x": short(100 * row[shown], 4),
            "marker": {"color": own[k]},
            "hovertemplate": "%{y}: %{x:.1f} %<extra>" + names[k] + "</extra>",
        }
        for k, row in enumerate(table)
    ]
    more = f" {len(column.levels) - len(shown)} rarer ones are left out." if len(shown) < len(column.levels) else ""
    caption = f"{100 * facts.apart[j]:.0f}\u00a0% of its variance lies between the components.{more}"
    if column.kind is Kind.COMPOSITION:
        caption = f"How the counts of a row are shared among the columns.{more}"
    plain = layout("%", "", barmode="group")
    plain["yaxis"] = {**plain["yaxis"], "autorange": "reversed", "type": "category"}
    plain["xaxis"] = {**plain["xaxis"], "rangemode": "tozero"}
    return Figure(f"column-{j}", column.name, data, plain, caption, max(320, 60 + 16 * len(levels) * (len(table) + 1)))


def trace_figure(result: FitResult) -> Figure | None:
    """How the log-likelihood climbed in the run that won; None where its history is not known."""
    if len(result.history) < 2:
        return None
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [one.iteration for one in result.history],
        "y": [float(f"{one.log_likelihood:.12g}") for one in result.history],
        "line": {"color": "#0072B2", "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "iteration %{x}: %{y:.6f}<extra></extra>",
    }
    plain = layout("iteration", "log-likelihood")
    if len(result.history) > MANY:
        plain["xaxis"] = {**plain["xaxis"], **_early_first(line, result.history[-1].iteration)}
    caption = "The log-likelihood after each iteration of the run that won: steep at first, then flat. It never falls."
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
    """Where the starts ended; None for a single one."""
    ended = [one for one in result.starts if np.isfinite(one.log_likelihood)]
    if len(ended) < 2:
        return None
    best = max(one.log_likelihood for one in ended)
    kinds = (
        ("run to the end", "#0072B2", "circle", [one for one in ended if one.stop_reason.converged]),
        ("short run, not continued", "#8C8C8C", "circle-open", [one for one in ended if not one.stop_reason.converged]),
    )
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [one.index + 1 for one in some],
            "y": short([one.log_likelihood - best for one in some]),
            "text": [safe(f"{one.method}: {one.stop_reason.sentence}") for one in some],
            "hovertemplate": "start %{x}: %{y:.4g} nats from the best<br>%{text}<extra></extra>",
            "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
        }
        for name, colour, symbol, some in kinds
        if some
    ]
    plain = layout("start", "nats from the best")
    plain["xaxis"] = {**plain["xaxis"], "dtick": max(1, len(result.starts) // 10)}
    return Figure("starts", "The starts", data, plain, "Each start climbs to the nearest top; the highest is taken.")


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
        "marker": {"color": ["#009E73" if one >= CERTAIN else "#E69F00" for one in centres], "line": {"width": 0}},
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
    plain_colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4EA3", "#5B4A3F")
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": safe(name),
            "x": [K for K, _ in sorted(points)],
            "y": [float(f"{value:.10g}") for _, value in sorted(points)],
            "line": {"color": plain_colours[i % len(plain_colours)], "width": 2},
            "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8},
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
