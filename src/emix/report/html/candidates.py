"""The candidates that a model was chosen among: a sentence, a table, and the chart of the criterion."""

from __future__ import annotations

from typing import Any

import numpy as np

from emix.inference.candidates import is_better_smaller, short_names, title_of
from emix.inference.display import near_best
from emix.report.html.colours import DASHES, LINE_COLOURS, symbol
from emix.report.html.figures import INK, Figure, clipped, layout, safe
from emix.report.words import capitalised

CRITERIA = ("aic", "aicc", "bic", "sabic", "icl")
LONGEST = 44
"""Letters of a family's name in a legend; hovering shows all of it."""
HEIGHT, LINE_HEIGHT = 340, 20
"""Of the chart without its legend, and of a line of that, in pixels."""
NARROW, MARK, LETTER = 250, 56, 7
"""Pixels of a legend on a narrow screen, of the sample of a line before a name, and of a letter."""


def chosen_among(selection: Any) -> str:
    """How many candidates there were, and by what one of them was chosen."""
    rows = selection.rows()
    families = {str(row["family"]) for row in rows}
    numbers = {int(row["n_components"]) for row in rows}
    of = f"{min(numbers)} to {max(numbers)} components" if len(numbers) > 1 else ""
    is_one = len({family.partition("(")[0] for family in families}) == 1 and "structure=" in " ".join(families)
    kinds = f"{len(families)} {'covariance structures' if is_one else 'families'}" if len(families) > 1 else ""
    what = f" ({', '.join(part for part in (of, kinds) if part)})" if of or kinds else ""
    return f"The model was chosen among {len(rows):,} candidates{what} by the {criterion_words(selection.criterion)}."


def criterion_words(criterion: str) -> str:
    """Like `BIC`."""
    return title_of(criterion)


def candidate_columns(selection: Any) -> list[tuple[str, str]]:
    """(key, title) of the numbers of a candidate."""
    found = [(name, title_of(name)) for name in CRITERIA] + [("entropy", "entropy R\u00b2")]
    if selection.criterion not in CRITERIA:
        found.insert(0, (selection.criterion, criterion_words(selection.criterion)))
    return found


def candidate_rows(selection: Any) -> list[dict[str, str]]:
    """The candidates as text, best first, the chosen one marked; those without the criterion come last."""
    best, found, every = selection.best, [], selection.rows()
    sign = 1.0 if is_better_smaller(selection.criterion) else -1.0
    names = short_names(str(one["family"]) for one in every)

    def rank(row: dict[str, Any]) -> float:
        value = row.get(selection.criterion)
        return sign * value if value is not None and is_number(value) else np.inf

    for one in sorted(every, key=rank):
        shown = ("log_likelihood", *CRITERIA, selection.criterion)
        text = {name: f"{one[name]:,.2f}" if is_number(one.get(name)) else "" for name in shown}
        text["entropy"] = f"{one['entropy']:.3f}" if is_number(one.get("entropy")) else ""
        text["family"], text["n_components"] = names[str(one["family"])], str(one["n_components"])
        text["n_free_parameters"] = "" if one.get("n_free_parameters") is None else f"{one['n_free_parameters']:,}"
        is_best = best is not None and (one["family"], one["n_components"]) == (best.family, best.n_components)
        text["mark"] = "chosen" if is_best else ""
        text["error"] = str(one.get("error") or "").split("\n")[0]
        text["converged"] = text["error"] or ("yes" if one.get("converged") else "no")
        found.append(text)
    return found


def is_number(value: Any) -> bool:
    """Whether there is a finite number."""
    return value is not None and bool(np.isfinite(value))


def selection_figure(selection: Any) -> Figure | None:
    """The criterion against the number of components, one line per family; None where nothing was fitted."""
    by_family: dict[str, list[tuple[int, float]]] = {}
    for one in selection.rows():
        value = one.get(selection.criterion)
        if is_number(value):
            by_family.setdefault(str(one["family"]), []).append((int(one["n_components"]), float(value)))
    if not by_family:
        return None
    names = short_names(by_family)
    data = [_line(i, names[family], points) for i, (family, points) in enumerate(by_family.items())]
    chosen = _chosen(selection)
    data += [] if chosen is None else [chosen]
    title = criterion_words(selection.criterion)
    plain = layout("number of components", title)
    plain["xaxis"] = {**plain["xaxis"], "dtick": 1}
    caption = f"{capitalised(title)} of each candidate: "
    caption += f"{'smaller' if is_better_smaller(selection.criterion) else 'larger'} is better."
    values = np.array([value for points in by_family.values() for _, value in points])
    span = near_best(values, is_smaller=is_better_smaller(selection.criterion))
    if span is not None:
        plain["yaxis"] = {**plain["yaxis"], "range": list(span)}
        n_beyond = int(((values < span[0]) | (values > span[1])).sum())
        caption += (
            f" {n_beyond:,} of the {len(values):,} are far worse and lie beyond the axis: a double click shows all."
        )
    height = HEIGHT + LINE_HEIGHT * _legend_lines([*(str(one["name"]) for one in data)])
    return Figure("selection", "Number of components", data, plain, caption, height)


def _line(i: int, name: str, points: list[tuple[int, float]]) -> dict[str, Any]:
    """A family: colours, dashes and marks repeat after so many lines each that no two lines are the same."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": safe(clipped(name, LONGEST)),
        "x": [K for K, _ in sorted(points)],
        "y": [float(f"{value:.10g}") for _, value in sorted(points)],
        "line": {"color": LINE_COLOURS[i % len(LINE_COLOURS)], "width": 2, "dash": DASHES[i % len(DASHES)]},
        "marker": {"symbol": symbol(i), "size": 8},
        "hovertemplate": "%{x} components: %{y:,.3f}<extra>" + safe(name) + "</extra>",
    }


def _chosen(selection: Any) -> dict[str, Any] | None:
    """A ring around the chosen candidate."""
    best = selection.best
    value = {(one["family"], one["n_components"]): one.get(selection.criterion) for one in selection.rows()}
    chosen = None if best is None else value.get((best.family, best.n_components))
    if chosen is None:
        return None
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen",
        "x": [best.n_components],
        "y": [float(f"{chosen:.10g}")],
        "marker": {"symbol": "circle-open", "size": 18, "color": INK, "line": {"width": 3}},
        "hoverinfo": "skip",
    }


def _legend_lines(names: list[str]) -> int:
    """Of a legend on a narrow screen, where each entry is as wide as the longest."""
    beside = max(1, NARROW // (MARK + LETTER * max(map(len, names))))
    return -(-len(names) // beside)
