"""The charts of how a fit went and how sure it is: the climb, the starts, certainty."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from emix.report.html.colours import NOISE, PALETTE, short
from emix.report.html.facts import CERTAIN, Facts
from emix.report.html.figures import Figure, layout, safe
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
