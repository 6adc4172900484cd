"""The report's charts, as Plotly's own plain data: traces and a layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.block import Array
from emix.report.columns import Column, Kind
from emix.report.html.colours import colours, faded, short, symbol
from emix.report.html.facts import SEED, Facts
from emix.report.html.scene import LEVELS, Scene, axis, drawn_at, make_scene, outlines
from emix.report.text import component_title

POINTS = 1_500
"""Rows that a scatter plot shows, at most."""
COLUMNS = 12
"""Columns that have a chart of their own, at most."""
LETTERS = 20
"""Of a level's name on an axis."""
NAMED = 6
"""Components, at most, that each chart has a legend of; the cards above have the colours too."""
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


def clipped(text: str, letters: int = LETTERS) -> str:
    """A name, short enough to leave room for what stands beside it; hovering shows all of it."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


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
                "symbol": symbol(k),
                "size": 7,
                "opacity": short(0.25 + 0.6 * _certainty(resp[label == k, k], resp.shape[1]), 2),
            },
        }
        for k in range(facts.model.latent_size)
    ]
    data += _outlines(facts, scene)
    caption = f"{scene.note} Pale points are uncertain."
    if len(some) < len(facts.all_weight):
        caption += f" {len(some):,} of {len(facts.all_weight):,} rows are drawn."
    title = "The rows and the components" if scene.kind == "plane" else "A map of the rows"
    return Figure("map", title, data, layout(*scene.labels), caption, 440)


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
    if column.kind is Kind.SHARE and column.probabilities is not None:
        tallest = float(np.histogram(values[seen], one.edges, weights=weighted[seen].sum(axis=1))[0].max())
        data += [
            {
                "type": "scatter",
                "mode": "lines",
                "x": short([p, p]),
                "y": [0.0, tallest],
                "line": {"color": own[k], "width": 3},
                "hovertemplate": "probability %{x}<extra>" + names[k] + "</extra>",
                "showlegend": False,
            }
            for k, p in enumerate(column.probabilities)
        ]
    notes = [f"{100 * facts.apart[j]:.0f}\u00a0% of its variance lies between the components."]
    if column.kind is Kind.DURATION:
        notes.append("Bars: all durations, also those cut off. Curves: when events would be seen were none cut off.")
    if one.n_beyond:
        notes.append(f"{one.n_beyond:,} of the {len(values):,} rows drawn lie beyond the axis.")
    n_missing = int((~seen).sum())
    if n_missing:
        notes.append(f"{n_missing:,} cells are missing.")
    plain = layout(column.name, "rows", barmode="stack", bargap=0, showlegend=len(names) <= NAMED)
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
    n_missing = int(np.isnan(facts.x[:, list(column.positions)]).any(axis=1).sum())
    caption += f" {n_missing:,} cells are missing." if n_missing else ""
    plain = layout("%", "", barmode="group", showlegend=len(names) <= NAMED)
    ticks = {"tickvals": levels, "ticktext": [safe(clipped(column.levels[level])) for level in shown]}
    plain["yaxis"] = {**plain["yaxis"], "autorange": "reversed", "type": "category", **ticks}
    plain["xaxis"] = {**plain["xaxis"], "rangemode": "tozero"}
    return Figure(f"column-{j}", column.name, data, plain, caption, max(320, 60 + 16 * len(levels) * (len(table) + 1)))
