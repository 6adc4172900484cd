"""What other analyses add to the HTML report: candidates, intervals, findings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects
import pytest

import emix
from emix.report.html.candidates import selection_figure
from emix.report.html.facts import gather
from emix.report.html.figures import component_figures
from emix.report.html.forest import forest_figure


def selection_of(result, names, numbers, criterion="bic"):
    """Candidates with the fit of one, moved: the first families are far worse, as spheres are of long clouds."""
    found = [
        emix.inference.Candidate(
            name, K, replace(result, log_likelihood=-1100.0 - 5 * K - i - 900 * (i < 2)), entropy=0.9
        )
        for i, name in enumerate(names)
        for K in numbers
    ]
    return emix.inference.Selection(tuple(found), criterion)


STRUCTURES = [f"multivariate_normal(structure='{one}')" for one in emix.families.STRUCTURES]


def test_fourteen_structures_can_be_told_apart_and_the_best_have_the_room(eruptions):
    selection = selection_of(eruptions[1], STRUCTURES, range(1, 7))
    figure = selection_figure(selection)
    *lines, chosen = figure.data
    assert [one["name"] for one in lines] == list(emix.families.STRUCTURES)
    looks = {(one["line"]["color"], one["line"]["dash"], one["marker"]["symbol"]) for one in lines}
    assert len(looks) == 14
    low, high = figure.layout["yaxis"]["range"]
    values = [one.value("bic") for one in selection.candidates]
    assert low < min(values) < high < max(values)
    assert chosen["y"][0] == pytest.approx(min(values))
    assert sorted(values)[-13] < high  # all but those of the two spheres
    assert f"{sum(v > high for v in values)} of the 84 are far worse and lie beyond the axis" in figure.caption


def test_the_candidates_have_all_criteria_and_the_choice_is_in_short(written, eruptions):
    selection = selection_of(eruptions[1], STRUCTURES[:3], (1, 2), "sabic")
    found = written(eruptions[1], eruptions[0], selection=selection)
    for text in (
        "The model was chosen among 6 candidates (1 to 2 components, 3 covariance structures) by the SABIC.",
        "0.900",
        "than the whole",
    ):
        assert text in found
    head = "family components SABIC AIC AICc BIC ICL entropy R² log-likelihood free parameters converged"
    assert "".join(head.split()) in "".join(found.text.split())


def test_what_two_analyses_say_is_told_once(written, eruptions):
    data, result = eruptions
    result = replace(result, warnings=["component 0 of 'waiting' ended at a bound."])
    diagnosis = emix.diagnose(result, data)
    found = written(result, data, diagnosis=diagnosis, uncertainty=SimpleNamespace(notes=["Rough."], estimates=[]))
    text = " ".join(found.text.split()).casefold()
    in_short, distrust = text.split("the components", 1)[0], text.split("what to distrust", 2)[-1]
    for part in (in_short, distrust):
        assert part.count("component 0 of 'waiting' ended at a bound") == 1
    assert distrust.count("converged:") == 1
    assert "the fit converged" not in distrust


def estimate(parameter, component, column, level=None, note="", bounds=(0.1, 0.3)):
    lower, upper = (None, None) if note else bounds
    return emix.inference.Estimate(parameter, component, column, level, 0.2, None if note else 0.05, lower, upper, note)


def test_intervals_say_what_they_are_of_and_what_has_none():
    names = ("component 0", "component 1")
    found = [
        *(estimate("correlation", k, "eruptions", "waiting") for k in (0, 1)),
        *(estimate("covariance", k, "eruptions", "waiting") for k in (0, 1)),
        estimate("probabilities", 0, "a question that goes on for longer than a line", "and so does its answer"),
        *(estimate("rate", 0, f"column {j}") for j in range(14)),
        estimate("size", 1, "loans", note="at the boundary"),
        estimate("size", 0, "loans", note="not told by these data"),
        estimate("scale", 0, "time"),
        estimate("scale", 1, "time", note="tied to component 0"),
    ]
    figure = forest_figure(SimpleNamespace(estimates=found), names, ("#000000", "#111111"))
    titles = [one["text"] for one in figure.layout["annotations"]]
    assert titles[0] == "<b>correlation of eruptions, waiting</b>"
    assert titles[1] == "<b>p(a question that goes on for longer<br>than a line = and so does its answer)</b>"
    assert len(titles) == 12
    for told in (
        "5 more parameters have their intervals in the table.",
        "At the boundary of what they may be, and so without an interval: size of loans, component 1.",
        "1 more number has no interval",
    ):
        assert told in figure.caption
    tied = forest_figure(SimpleNamespace(estimates=found[-2:]), names, ("#000000", "#111111"))
    assert [one["y"] for one in tied.data] == [["all components"]]
    plotly.graph_objects.Figure(figure.data, figure.layout)


def test_names_with_marks_are_escaped_once():
    rng = np.random.default_rng(0)
    data = {"a & b <c>": rng.normal(size=60), "d": rng.normal(size=60)}
    data["e & f"] = np.where(rng.random(60) < 0.3, None, np.where(data["d"] > 0, "x", "y")).astype(object)
    family = emix.Columns({"a & b <c>": "normal", "d": "normal", "e & f": "categorical"})
    figures = component_figures(gather(emix.fit(emix.Mixture(family, 1), data), data))
    axes = [figures[0].layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
    assert sorted(axes) == ["a &amp; b &lt;c&gt;", "d"]
    n_missing = sum(value is None for value in data["e & f"])
    assert f"{n_missing} cells are missing." in next(one for one in figures if one.title == "e & f").caption


def test_a_small_scan_is_read_and_a_large_one_is_refused(tmp_path, eruptions):
    data = {name: cells[:80] for name, cells in eruptions[0].items()} | {"times": np.tile([1.0, 2.0], 40)}
    lines = [",".join(map(str, row)) for row in zip(*data.values(), strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join([",".join(data), *lines]) + "\n")
    rows = emix.scan(tmp_path / "rows.csv")
    result = emix.fit(emix.Mixture(emix.MultivariateNormal(), 1), rows, sample_weight="times", random_state=0)
    facts = gather(result, rows, sample_weight="times")
    assert (len(facts.rows), facts.total_weight) == (80, 120.0)
    assert [column.name for column in facts.columns] == ["eruptions", "waiting"]
    emix.write_report(result, rows, tmp_path / "report.html", sample_weight="times")
    with pytest.raises(emix.DataError, match="a report needs all rows in memory"):
        gather(result, emix.scan(tmp_path / "rows.csv", memory_limit=0), sample_weight="times")
