"""The HTML report without a browser: its words and numbers, what it refuses, and that it keeps to itself."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects
import pytest
from cases import CASES
from numpy.testing import assert_allclose
from report_page import Page
from scipy import stats

import emix
from emix.data.table import read_table
from emix.families import FAMILIES
from emix.report import words
from emix.report.columns import columns_of
from emix.report.html import page, walk
from emix.report.html.facts import gather
from emix.report.html.figures import component_figures
from emix.report.html.scene import outlines
from emix.report.html.steps import steps_payload
from emix.report.html.write import _walk_notes
from emix.results import load_result

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def steps(eruptions):
    facts = gather(eruptions[1], eruptions[0])
    run = walk.walk(facts)
    return facts, run, steps_payload(facts, run)


@pytest.fixture(scope="module")
def survey():
    from pathlib import Path

    table = read_table(Path(__file__).parent.parent / "examples" / "survey.csv").without("id")
    family = emix.Columns(
        {"age": "normal", "visits": "poisson", "member": "categorical", "town": "categorical", "spent": "lognormal"}
    )
    return table, emix.fit(emix.Mixture(family, 3), table, random_state=1)


# -- every family ------------------------------------------------------------------------------------------------------

ONE_EACH = {case.family.name: case for case in CASES}


def test_every_family_is_in_the_registry_of_words():
    assert set(words.FAMILY_WORDS) == set(FAMILIES)


@pytest.mark.parametrize("case", ONE_EACH.values(), ids=ONE_EACH)
def test_every_family_has_words_pictures_and_steps(case, monkeypatch):
    monkeypatch.setattr(walk, "MOST_ITERATIONS", 3)
    monkeypatch.setattr(walk, "SCOUTED", 2)
    monkeypatch.setattr(walk, "WALKS", 1)
    x, _ = case.draw(60)
    facts = gather(case.mixture(x), x)
    for one in facts.descriptions:
        assert one.phrases
        assert "nan" not in one.sentence
    figures = component_figures(facts)
    assert figures
    for one in figures:
        plotly.graph_objects.Figure(one.data[0])
    run = walk.walk(facts)
    assert run is not None
    json.dumps(steps_payload(facts, run), allow_nan=False)


@pytest.mark.parametrize("id_", ["poisson-columns", "gamma-columns", "negative-binomial-columns", "student-t-full"])
def test_curves_are_the_densities_of_scipy(id_):
    case = next(one for one in CASES if one.id == id_)
    x, _ = case.draw(60)
    family = case.mixture(x).family
    for j, column in enumerate(columns_of(case.mixture(x))):
        at = np.unique(x[:, j])
        match family.name:
            case "poisson":
                expected = [stats.poisson.pmf(at, rate) for rate in family.rate[:, j]]
            case "gamma":
                expected = [
                    stats.gamma.pdf(at, a, scale=1 / b)
                    for a, b in zip(family.shape[:, j], family.rate[:, j], strict=True)
                ]
            case "negative_binomial":
                pairs = zip(family.mean[:, j], family.size[:, j], strict=True)
                expected = [stats.nbinom.pmf(at, size, size / (size + mean)) for mean, size in pairs]
            case _:
                own = zip(family.mean[:, j], family.scale[:, j, j], family.degrees_of_freedom, strict=True)
                expected = [stats.t.pdf(at, v, m, np.sqrt(s)) for m, s, v in own]
        assert_allclose(column.density(at), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["normal", "student_t"])
def test_an_outline_holds_80_percent_of_its_component(kind):
    C = [[[2.0, 1.2], [1.2, 1.0]]]
    family = emix.MultivariateNormal([[3.0, -1.0]], C) if kind == "normal" else emix.StudentT([[3.0, -1.0]], C, [4.0])
    rng = np.random.default_rng(1)
    if kind == "normal":
        x = stats.multivariate_normal([3.0, -1.0], C[0]).rvs(40_000, random_state=rng)
    else:
        x = stats.multivariate_t([3.0, -1.0], C[0], 4.0).rvs(40_000, random_state=rng)
    model = gather(emix.Mixture(family), x[:100]).model
    (centre, root), *_ = outlines(model.family, tuple(columns_of(model)), (x[:, 0], x[:, 1]), np.ones((len(x), 1)))
    inside = ((np.linalg.solve(root, (x - centre).T) ** 2).sum(axis=0) <= 1).mean()
    assert abs(inside - 0.8) < 4 * np.sqrt(0.8 * 0.2 / len(x))


# -- the step-through --------------------------------------------------------------------------------------------------


def test_the_steps_are_plain_em_as_scipy_computes_it(steps, faithful):
    """Each step's responsibilities from SciPy's densities, and their weighted moments as the next step's parameters."""
    _, run, payload = steps
    x = faithful[0]
    stored = np.frombuffer(base64.b64decode(payload["resp"]), dtype=np.uint8)
    row = np.array(payload["rows"]) - 1
    stored = stored.reshape(len(payload["frames"]), len(row), 2) / 255
    for step, later, frame, resp in zip(run.steps, run.steps[1:], payload["frames"], stored, strict=False):
        family, shares = step.model.family, step.model.mixing_proportions
        joint = np.stack(
            [
                p * stats.multivariate_normal(m, C).pdf(x)
                for p, m, C in zip(shares, family.mean, family.covariance, strict=True)
            ],
            axis=1,
        )
        own = joint / joint.sum(axis=1, keepdims=True)
        assert_allclose(step.log_likelihood, np.log(joint.sum(axis=1)).sum(), rtol=1e-10)
        assert_allclose(resp, own[row], atol=0.5001 / 255)
        assert_allclose(later.model.mixing_proportions, own.mean(axis=0), rtol=1e-9)
        assert_allclose(later.model.family.mean, own.T @ x / own.sum(axis=0)[:, None], rtol=1e-9)
        assert [float(count) for count in frame["counts"]] == pytest.approx(own.sum(axis=0), abs=0.0051)


def test_the_steps_climb_to_the_reported_model(steps):
    facts, run, payload = steps
    trace = [one.log_likelihood for one in run.steps]
    assert (np.diff(trace) > -1e-9).all()
    assert run.converged
    assert trace[-1] == pytest.approx(facts.result.log_likelihood, abs=1e-5)
    assert trace[0] < trace[-1] - 100  # of the seeded starts the one with the longest way
    assert_allclose(run.steps[-1].model.family.mean, facts.model.family.mean, rtol=1e-3)  # in the report's order
    assert len(payload["frames"]) == len(run.steps)


def test_a_long_walk_is_thinned_where_little_is_gained():
    trace = -100 * 0.99 ** np.arange(2000)
    shown = walk._shown(trace)
    assert len(shown) == walk.FRAMES
    assert shown[: walk.EARLY] == list(range(walk.EARLY))
    assert shown[-1] == 1999
    assert np.diff(shown).max() < 400
    plateau = np.r_[np.zeros(400), np.arange(5.0)]
    assert len({*walk._shown(plateau)}) == walk.FRAMES


def test_of_a_long_walk_iterations_are_counted_as_the_slider_does(steps):
    facts, run, payload = steps
    last = payload["frames"][-1]["iteration"]
    thinned = replace(run, shown=run.shown[:3] + run.shown[-1:])
    notes = " ".join(_walk_notes(facts, thinned))
    assert f"The start and 3 of its {last} iterations are shown" in notes
    assert payload["all_rows"] == "all rows"


def test_a_dozen_components_are_told_apart(faithful):
    x = faithful[0][:, 1]
    model = emix.Mixture(emix.Normal(np.linspace(x.min(), x.max(), 12), np.full(12, 4.0)))
    facts = gather(model, x)
    step = walk.Step(0, 0.0, facts.model)
    payload = steps_payload(facts, walk.Walk(np.arange(len(x)), [step], [0], 0, True, 0.0))
    assert payload["briefs"] == [str(k) for k in range(12)]
    looks = zip(payload["colours"], payload["dashes"], payload["symbols"], strict=True)
    assert len(set(looks)) == 12
    assert len(set(zip(payload["colours"], payload["dashes"], strict=True))) == 12


def test_a_worked_row_shows_the_division_that_gave_its_responsibility(steps):
    frame = steps[2]["frames"][3]
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    joint = [float(cells[1].replace("×10", "e").translate(raised)) for cells in frame["example"]]
    share = [float(cells[2].removesuffix(" %")) for cells in frame["example"]]
    assert_allclose(share, 100 * np.array(joint) / sum(joint), atol=0.1)
    line = steps[2]["lines"].index({"parameter": "mean", "text": "sum of waiting / rows"})
    total, rest = frame["work"][line][0].replace(",", "").split(" / ")
    count, mean = rest.split(" = ")
    assert float(total) / float(count) == pytest.approx(float(mean), rel=1e-4)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_asks_for_nothing(written, survey):
    found = written(survey[1], survey[0])
    for tag, attrs in found.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert "default-src 'none'" in found.policy
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for attrs, text in found.scripts
        if not attrs
    }
    assert hashes == {part.strip(";") for part in found.policy.split() if "sha256" in part}
    for words_ in (
        "3 components in 400 rows of age, visits, member, town, spent",
        "member mostly no (79 %; 48 % of all",
    ):
        assert words_ in found
    charts = found.data["charts"]
    assert set(charts) == {"map", "trace", "starts", "certainty", *(f"column-{j}" for j in range(5))}
    for chart in charts.values():  # Plotly checks each name and value
        plotly.graph_objects.Figure(chart["data"], chart["layout"])


def test_the_users_text_is_text(written):
    rng = np.random.default_rng(0)
    data = {
        EVIL: np.r_[rng.normal(size=40), 9 + rng.normal(size=40)],
        "{{ 7 * 7 }}": ["</script><img src=x onerror=alert(2)>"] * 40 + ["\ud800 <b>"] * 40,
    }
    family = emix.Columns({EVIL: emix.Normal(), "{{ 7 * 7 }}": emix.Categorical()})
    found = written(emix.fit(emix.Mixture(family, 2), data, random_state=0, n_init=1), data, title=f"<i>{EVIL}")
    assert [tag for tag, _ in found.tags if tag in ("img", "b", "i")] == []
    assert len(found.scripts) == 3
    assert EVIL in found
    assert "{{ 7 * 7 }}" in found
    for chart in found.data["charts"].values():  # Plotly reads tags in labels
        assert "<script" not in json.dumps(chart)
        assert "<img" not in json.dumps(chart)


def test_the_same_report_has_the_same_bytes(eruptions, tmp_path):
    for name in ("a", "b"):
        emix.write_report(eruptions[1], eruptions[0], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_count_rows_and_the_page_says_so(written, published, monkeypatch):
    monkeypatch.setattr(walk, "MOST_ITERATIONS", 50)
    deaths = published("deaths.csv")
    data, weight = {"deaths": deaths["deaths"]}, deaths["days"]
    result = emix.fit(emix.Mixture(emix.Poisson(), 2), data, sample_weight=weight, random_state=1)
    found = written(result, data, sample_weight=weight)
    assert "rows of total weight 1,096 (10 lines) of deaths" in found
    assert "low deaths (1.3 on average" in found.text.lower()
    bars = [one for one in found.data["charts"]["column-0"]["data"] if one["type"] == "bar"]
    assert_allclose(np.sum([one["y"] for one in bars], axis=0), weight, rtol=1e-3)


def test_many_rows_are_sampled_and_the_file_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 2)) + 4 * rng.integers(0, 2, (100_000, 1))
    result = emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), x, random_state=0, n_init=1)
    path = tmp_path / "report.html"
    emix.write_report(result, x, path)
    assert path.stat().st_size < 8e6
    found = Page(path.read_text(encoding="utf-8"))
    assert "It sees 1,000 of the 100,000 rows" in found
    assert found.data["steps"]["all_rows"] == "these 1,000 rows"
    assert "20,000 of the 100,000 rows, drawn at random with a fixed seed" in found


def test_what_other_analyses_found_is_shown(written, eruptions):
    data, result = eruptions
    rows = [
        {
            "family": "VVV",
            "n_components": K,
            "log_likelihood": -K,
            "n_free_parameters": 6 * K - 1,
            "aic": 9.0,
            "icl": None,
        }
        | {"bic": float(bic), "converged": K < 3, "error": "no start led to a fit" if K == 4 else ""}
        for K, bic in ((1, 2607.6), (2, 2322.2), (3, 2333.7), (4, np.nan))
    ]
    selection = SimpleNamespace(
        rows=lambda: rows,
        best=SimpleNamespace(family="VVV", n_components=2),
        criterion="bic",
        is_complete=False,
        warnings=["the choice is narrow"],
    )
    common = {"parameter": "mean", "column": "waiting", "level_name": None, "note": ""}
    estimates = [
        SimpleNamespace(component=0, value=54.5, standard_error=0.7, lower=53.1, upper=55.9, **common),
        SimpleNamespace(component=1, value=80.0, standard_error=None, lower=None, upper=None, **common),
    ]
    uncertainty = SimpleNamespace(estimates=estimates, level=0.95, method="observed")
    finding = SimpleNamespace(topic="influence", level="warning", sentence="Row 3 moves it.", advice="Look.", value=1.0)
    diagnosis = SimpleNamespace(findings=(finding,))
    found = written(result, data, selection=selection, uncertainty=uncertainty, diagnosis=diagnosis)
    for text in (
        "2,333.70",
        "chosen",
        "no start led to a fit",
        "interrupted",
        "53.1000 to 55.9000",
        "The choice is narrow",
    ):
        assert text in found
    assert "Warning: Row 3 moves it." in found
    selected, forest = found.data["charts"]["selection"], found.data["charts"]["forest"]
    assert selected["data"][0]["y"] == [2607.6, 2322.2, 2333.7]
    assert selected["data"][1]["x"] == [2]
    assert len(forest["data"]) == 1  # what has no interval is in the table alone
    for chart in (selected, forest):
        plotly.graph_objects.Figure(chart["data"], chart["layout"])


def test_doubts_are_told(written, faithful):
    with pytest.warns(emix.ConvergenceWarning):
        result = emix.fit(emix.Mixture(emix.Normal(), 4), faithful[0], random_state=0, max_iter=12, n_init=2)
    found = written(result, faithful[0])
    assert "The fit did not converge: the iterations ran out" in found
    assert "of the rows are less than 90 % sure of their component" in found
    assert "Only one run went to its end" in found or "starts" in found


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_written_is_found_before_anything_is_computed(eruptions, tmp_path, monkeypatch):
    monkeypatch.setattr("emix.report.html.write.gather", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(emix.FileError, match="there is no folder"):
        emix.write_report(eruptions[1], eruptions[0], tmp_path / "no" / "report.html")


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_package_is_named_with_what_to_install(package, eruptions, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(emix.FileError, match=rf"'{package}'(.|\n)*pip install 'emix\[report\]'"):
        emix.write_report(eruptions[1], eruptions[0], tmp_path / "report.html")


def test_other_rows_than_those_of_the_fit_are_refused(eruptions, tmp_path):
    data, result = eruptions
    with pytest.raises(emix.DataError, match=r"the rows that the model was fitted to(.|\n)*total weight 100"):
        emix.write_report(result, {name: x[:100] for name, x in data.items()}, tmp_path / "report.html")
    with pytest.raises(emix.DataError, match="no column 'waiting'"):
        emix.write_report(result, {"eruptions": data["eruptions"]}, tmp_path / "report.html")
    with pytest.raises(emix.ModelError, match="fit of a Mixture"):
        emix.write_report("model.json", data, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


# -- the command line --------------------------------------------------------------------------------------------------


def test_fit_with_a_report_and_the_report_of_the_saved_fit(run, published, tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "MOST_ITERATIONS", 50)
    table = str(tmp_path / "deaths.csv")
    deaths = published("deaths.csv")
    lines = [f"{int(x)},{int(n)}" for x, n in zip(deaths["deaths"], deaths["days"], strict=True)]
    (tmp_path / "deaths.csv").write_text("\n".join(["deaths,days", *lines]) + "\n")
    model, first, second = tmp_path / "m.json", tmp_path / "first.html", tmp_path / "second.html"
    options = ("--family", "poisson", "--weights", "days", "--seed", 1)
    out = run("fit", table, *options, "--out", model, "--report", first)
    assert out.exit_code == 0, out.stderr
    assert f"Report written to {first}" in out.stderr
    out = run("report", model, table, "--weights", "days", "--out", second, "--title", "Deaths & days")
    assert out.exit_code == 0, out.stderr
    one, other = (Page(path.read_text(encoding="utf-8")) for path in (first, second))
    assert "Deaths & days" in other
    assert one.data["steps"] == other.data["steps"]
    assert one.data["charts"]["starts"] == other.data["charts"]["starts"]
    assert "trace" not in other.data["charts"]  # a model file does not keep the history
    out = run("report", model, table, "--out", second)
    assert out.exit_code == 2
    assert "total weight 1,096" in out.stderr
    assert "total weight 10" in out.stderr
    out = run("fit", table, *options, "--report", tmp_path / "no" / "report.html")
    assert out.exit_code == 2
    assert out.stdout == ""
    assert "there is no folder" in out.stderr


def test_a_saved_fit_knows_how_it_ended(eruptions, tmp_path):
    result = eruptions[1]
    result.save(tmp_path / "m.json")
    read = load_result(tmp_path / "m.json")
    assert read is not None
    assert (read.summary(), read.starts, read.warnings) == (result.summary(), result.starts, result.warnings)
    emix.save(result.model, tmp_path / "alone.json")
    assert load_result(tmp_path / "alone.json") is None
    document = json.loads((tmp_path / "m.json").read_text())
    for start in document["fit"]["starts"]:
        del start["weight"]  # a file of before they were kept
    (tmp_path / "m.json").write_text(json.dumps(document))
    assert [one.log_likelihood for one in load_result(tmp_path / "m.json").starts] == [
        one.log_likelihood for one in result.starts
    ]
    document["fit"]["stop_reason"] = "boredom"
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(emix.FileError, match="summary of the fit is damaged"):
        load_result(tmp_path / "m.json")


def test_a_model_alone_has_a_report_that_says_what_is_not_known(written, eruptions):
    found = written(eruptions[1].model, eruptions[0])
    assert "How the fit ended is not known" in found
    assert "BIC" not in found.data["charts"]


def test_nothing_of_the_report_is_loaded_before_it_is_asked_for():
    code = "import sys, emix.cli.commands; print({'plotly', 'jinja2', 'emix.report.html'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_the_templates_are_where_the_package_is():
    folder = page.files("emix.report.html") / "templates"
    assert {one.name for one in folder.iterdir()} == {"report.css", "report.html.j2", "report.js", "steps.html.j2"}
