"""Models and fits as notebooks, files and the command line show them."""

from __future__ import annotations

import runpy
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest
from cases import CASES

import emix
from emix import persistence
from emix.described import parameter_lines

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
FAITHFUL = ROOT / "examples" / "old_faithful.csv"
BY_ID = {case.id: case for case in CASES}
ONE_PER_FAMILY = list({case.family.name: case for case in CASES}.values())
SINGLE = [case for case in CASES if case.n_columns == 1]


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def panels():
    """Axes to draw on again and again: making them takes most of the time."""
    figure, grid = plt.subplots(2, 2)
    yield grid
    plt.close(figure)


@pytest.fixture(scope="module")
def faithful_fit():
    return emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), FAITHFUL, random_state=0)


# -- notebooks, files, the command line --------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Checks that tags are closed in order, and gathers text and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.attributes, self.seen = [], [], [], set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


def test_notebooks_show_tables_without_a_way_out(faithful_fit):
    name = "<script>alert(1)</script>"
    odd = emix.fit(emix.Mixture(emix.Normal(), 1), {name: [1.0, 2.0, 4.0]}, random_state=0)
    for one in (faithful_fit, faithful_fit.model, odd, odd.model, emix.Mixture(emix.Poisson(), 2)):
        page = Tags(one._repr_html_())
        assert page.seen <= {"p", "table", "thead", "tbody", "tr", "th", "td"}
        assert {key for key, _ in page.attributes} <= {"style"}
        assert "http" not in one._repr_html_()
    names = {"x": [1.0, 2.0, 4.0], name: [3.0, 1.0, 2.0]}
    both = emix.fit(emix.Mixture(emix.Normal(), 1), names, random_state=0)
    assert any(name in word for word in Tags(both._repr_html_()).words)
    words = Tags(faithful_fit._repr_html_()).words
    assert f"{faithful_fit.log_likelihood:,.6f}" in words
    assert f"{faithful_fit.bic:,.4f}" in words
    assert "mean of waiting" in words
    for case in ONE_PER_FAMILY:  # as specified, before there are data
        assert Tags(emix.Mixture(case.family)._repr_html_()).words


def test_lines_name_their_column_whatever_it_is_called():
    durations = emix.CensoredWeibull([2.0], [9.0], event="died")
    families = {"a": emix.Bernoulli([0.5]), "at": emix.Poisson([2.0]), "mean": emix.Normal([1.0], [4.0])}
    families |= {("t", "died"): durations, ("h", "w"): emix.StudentT([[0.0, 1.0]], [[[1.0, 0.0], [0.0, 4.0]]], [5.0])}
    named = [name for name, _ in parameter_lines(emix.Columns(families))]
    assert named[:3] == ["probability of a", "rate of at", "mean of mean"]
    assert named[3:5] == ["variance of mean", "standard deviation of mean"]
    assert named[5:7] == ["shape of t, died", "scale of t, died"]
    assert named[7:] == ["mean of h", "mean of w", "scale of h", "scale of w", "degrees_of_freedom of h, w"]


def test_show_in_four_formats(run, faithful_fit, tmp_path):
    path = tmp_path / "model.json"
    faithful_fit.save(path)
    by = {form: run("show", path, "--format", form) for form in ("text", "md", "json", "html")}
    assert {one.exit_code for one in by.values()} == {0}
    assert by["text"].stdout == run("show", path).stdout
    assert by["json"].stdout == run("show", path, "--json").stdout
    assert "table" in Tags(by["html"].stdout).seen
    assert "| mean of waiting | 54.4785 | 79.9681 |" in by["md"].stdout
    lines = [line for line in by["md"].stdout.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {3, 4}
    wrong = run("show", path, "--format", "xml")
    assert wrong.exit_code == 2
    assert "'text', 'md', 'json', 'html'" in wrong.stderr


def test_markdown_marks_in_names_are_text(run, tmp_path):
    path = tmp_path / "model.json"
    emix.fit(emix.Mixture(emix.Normal(), 1), {"a|b*": [1.0, 2.0], "c_d": [2.0, 4.0]}, random_state=0).save(path)
    assert r"| mean of a\|b\* |" in run("show", path, "--format", "md").stdout


def test_plot_writes_the_same_bytes_twice(run, faithful_fit, tmp_path):
    path = tmp_path / "model.json"
    faithful_fit.save(path)
    for name, kind in (("a.svg", "profile"), ("a.png", "responsibilities")):
        out = tmp_path / name
        first = run("plot", path, FAITHFUL, "--kind", kind, "--out", out, "--dpi", 50)
        assert first.exit_code == 0
        assert first.stdout == ""
        assert str(out) in first.stderr.replace("\n", "")
        written = out.read_bytes()
        run("plot", path, FAITHFUL, "--kind", kind, "--out", out, "--dpi", 50)
        assert out.read_bytes() == written
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_plot_refuses_before_it_computes(run, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the model was read")

    monkeypatch.setattr(persistence, "load", never)
    out = tmp_path / "a.png"
    cases = {
        ("--out", tmp_path / "no" / "a.png"): "no folder",
        ("--out", tmp_path / "a.docx"): "must end in .png",
        ("--out", out, "--kind", "pie"): "'density', 'pairs'",
        ("--out", out, "--column", "waiting"): "density or residuals or qq",
        ("--out", out, "--dpi", 3): "--dpi needs",
    }
    for arguments, text in cases.items():
        found = run("plot", "model.json", FAITHFUL, *arguments)
        assert found.exit_code == 2, arguments
        assert text in found.stderr
    assert not out.exists()


def test_the_code_of_the_page_runs_and_its_pictures_are_small(monkeypatch):
    monkeypatch.chdir(ROOT)
    script = runpy.run_path("docs/make_pictures.py")
    names, sizes, pictured = {}, [], set()
    for code, picture in script["blocks"](Path("docs/plots.md").read_text()):
        exec(code, names)
        if picture is not None:
            assert script["figure_of"](names, code).axes
            sizes.append((Path("docs") / picture).stat().st_size)
            pictured |= {one for one in emix.plot.__all__ if f"emix.plot.{one}(" in code}
    assert pictured == set(emix.plot.__all__)
    assert max(sizes) < 60_000
    assert sum(sizes) < 800_000
    assert len(list(Path("docs/pictures").glob("*.png"))) >= len(sizes)


# -- the console -------------------------------------------------------------------------------------------------------


def test_the_console_shows_results_as_tables_and_not_as_arrays(faithful_fit):
    found = emix.standard_errors(faithful_fit, FAITHFUL)
    drawn = emix.bootstrap(faithful_fit, FAITHFUL, n_replicates=3, random_state=0)
    test = emix.likelihood_ratio_test(faithful_fit, FAITHFUL, n_replicates=2, n_init=1, random_state=0)
    wald = emix.wald_test(found, "mean[0, waiting] = 54")
    diagnosis = emix.diagnose(faithful_fit, FAITHFUL)
    for one in (faithful_fit, found, drawn, test, wald, diagnosis):
        for text in (repr(one), str(one)):
            assert len(text) < 2500
            assert "array(" not in text
            assert "Record(" not in text
    assert "mean[0, waiting]                      54.479       0.592     53.318 to 55.639" in repr(found)
    assert "3 parametric replicates" in repr(drawn)
    assert "mean of waiting                        54.4785      79.9681" in repr(faithful_fit)
    assert str(wald).startswith("mean[0, waiting] = 54: chi2 0.6")
    assert repr(found.of("mean", 0, "waiting")) == "mean[0, waiting] = 54.479 (std. error 0.592, 53.318 to 55.639)"
    many = emix.fit(emix.Mixture(emix.Normal(), 1), {f"c{j}": [1.0, 2.0, 4.0 + j] for j in range(60)})
    assert repr(emix.standard_errors(many, {f"c{j}": [1.0, 2.0, 4.0 + j] for j in range(60)})).count("\n") < 70


def test_what_failed_in_a_selection_is_named_with_its_reason():
    found = emix.select(FAITHFUL, [1, 2], [emix.MultivariateNormal(), emix.Poisson()], n_init=1, random_state=0)
    said = "1 x poisson, 2 x poisson failed: family 'poisson' needs whole numbers >= 0."
    assert found.failures() == [said]
    for text in (str(found), repr(found)):
        assert text.count(said) == 1
        assert len(text) < 1000
    assert "2 x poisson failed" in "".join(Tags(found._repr_html_()).words)
    assert repr(found.candidates[3]) == "2 x poisson: family 'poisson' needs whole numbers >= 0."


def test_one_correlation_is_found_by_its_columns_in_either_order(faithful_fit):
    found = emix.standard_errors(faithful_fit, FAITHFUL)
    one = found.of("correlation", 0, "eruptions", "waiting")
    assert one is found.of("correlation", 0, "waiting", "eruptions")
    assert one.name == "correlation[0, eruptions, waiting]"
    assert found.of("covariance", 1, "waiting", "waiting").value == pytest.approx(36.0462, abs=1e-4)
    with pytest.raises(emix.ModelError, match=r"unknown estimate 'correlation\[0, eruptions, x\]'"):
        found.of("correlation", 0, "eruptions", "x")
    items = {"answer": ["yes", "no", "yes", "yes"]}
    levels = emix.standard_errors(emix.fit(emix.Mixture(emix.Categorical(), 1), items), items)
    assert levels.of("probabilities", 0, "answer", "yes").value == pytest.approx(0.75)
