"""`emix fit` with several numbers of components, families or covariances."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import emix
from emix.cli import selection as cli_selection
from emix.report.selection import print_selection

FAITHFUL = Path(__file__).parents[1] / "examples" / "old_faithful.csv"
COUNTS = "visits\n" + "\n".join(["0", "1", "0", "1", "2", "1", "9", "11", "10", "12", "8", "10"]) + "\n"
QUICK = ["--n-init", "2", "--seed", "0"]


@pytest.fixture
def counts(file):
    return file("counts.csv", COUNTS)


def flat(text):
    return " ".join(text.split())


def test_a_grid_of_all_structures(run, tmp_path):
    out = tmp_path / "best.json"
    done = run("fit", FAITHFUL, "-k", "2:3", "--covariance", "all", "--start", "nested", "--out", out, *QUICK[2:])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["BIC", "2", "3"]
    assert [line.split()[0] for line in lines[1:15]] == list(emix.families.STRUCTURES)
    assert lines[7].split()[2] == "2,314.3*"
    assert "Chosen: 3 x EEE has the smallest BIC; the next, 2 x VVE, is 5.9" in flat(done.stdout)
    assert "the most that were asked for" in flat(done.stdout)
    assert "mixture of 3 x multivariate_normal(structure='EEE'); 272 rows" in done.stdout
    assert emix.load(out).n_components == 3


def test_all_in_full_where_they_are_few(run, counts):
    done = run("fit", counts, "-k", "1,2", "--family", "poisson,negative_binomial", "--criterion", "icl", *QUICK)
    assert done.exit_code == 0, done.output
    head, *lines = (line.split() for line in done.stdout.splitlines())
    assert head[-8:] == ["free", "AIC", "AICc", "BIC", "SABIC", "ICL", "entropy", "converged"]
    assert lines[0][:2] == ["poisson", "2"]
    assert sorted(line[0] for line in lines[:4]) == ["negative_binomial"] * 2 + ["poisson"] * 2
    assert "Chosen: 2 x poisson has the smallest ICL" in flat(done.stdout)


def test_families_may_be_repeated_options(run, counts):
    done = run("fit", counts, "--family", "poisson", "--family", "binomial(n_trials=20)", "--json", *QUICK)
    document = json.loads(done.stdout)
    assert [one["family"] for one in document["candidates"]] == ["poisson", "binomial(n_trials=20)"]
    assert document["criterion"] == "bic"
    assert document["is_complete"]
    assert document["best"] == {"family": "binomial(n_trials=20)", "n_components": 2}
    assert document["result"]["bic"] == document["candidates"][1]["bic"] < document["candidates"][0]["bic"]


def test_cross_validation(run, counts):
    arguments = ["--family", "poisson", "--cross-validate", "3", "--criterion", "cross_validated"]
    done = run("fit", counts, "-k", "1:2", *arguments, *QUICK)
    assert done.exit_code == 0, done.output
    assert "held out" in done.stdout.splitlines()[0]
    assert "Chosen: 2 x poisson has the largest cross-validated log-likelihood" in flat(done.stdout)


def test_failures_are_named(run, counts):
    done = run("fit", counts, "-k", "2,13", "--family", "poisson", *QUICK)
    assert done.exit_code == 0
    assert "13 x poisson: 13 components need at least 13 distinct rows. Found 8 distinct" in flat(done.stdout)


def test_structures_of_a_column_and_of_student_t(run, counts):
    one = json.loads(run("fit", counts, "--covariance", "all", "-k", "1", "--json", *QUICK).stdout)
    assert [row["family"][-6:] for row in one["candidates"]] == ["'EII')", "'VII')"]
    arguments = ["--family", "student_t", "--family", "normal", "--covariance", "tied,full"]
    several = json.loads(run("fit", FAITHFUL, "-k", "1", *arguments, "--json", *QUICK).stdout)
    assert len(several["candidates"]) == 3  # the normal family has no covariance


def test_families_of_columns_are_one_candidate(run, file):
    table = file("t.csv", "age,city\n" + "".join(f"{20 + 7 * i % 40},{'ab'[i % 2]}\n" for i in range(40)))
    done = run("fit", table, "-k", "1:2", "--family", "age=lognormal", "--family", "city=categorical", "--json", *QUICK)
    families = {one["family"] for one in json.loads(done.stdout)["candidates"]}
    assert families == {"columns(age: lognormal, city: categorical)"}


def test_an_interrupt_prints_what_is_finished(run, counts, monkeypatch):
    def interrupt(self, one):
        if one.n_finished == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_selection.Bar, "__call__", interrupt)
    done = run("fit", counts, "-k", "1:4", "--family", "poisson", *QUICK)
    assert done.exit_code == 130
    assert "Chosen: " in done.stdout
    assert "Interrupted: 2 of 4 candidates have no result." in done.stderr


def test_nothing_to_choose_from_is_said_beneath_the_table(run, file):
    table = file("t.csv", "a\n0\n0\n0\n5\n")
    arguments = ["-k", "1", "--family", "normal", "--cross-validate", "4", "--criterion", "cross_validated"]
    done = run("fit", table, *arguments, *QUICK)
    assert done.exit_code == 3
    assert "Cross-validation failed" in done.stdout
    assert "no candidate can be chosen by cross_validated" in done.stderr
    document = json.loads(run("fit", table, *arguments, "--json", *QUICK).stdout)
    assert document["best"] is None
    assert document["candidates"][0]["bic"] is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-k", "1:x"], "--components needs whole numbers >= 1, such as 3, 2,3,5 or 1:9"),
        (["-k", "5:2"], "Found '5:2'"),
        (["-k", "0:2"], "--components needs a whole number >= 1. Found 0."),
        (["-k", "2,2"], "--components needs each candidate once. Found 2 more than once."),
        (["-k", "1:2", "--covariance", "VVV,ABC"], "unknown covariance structure 'ABC'"),
        (["-k", "1:2", "--family", "poisson", "--covariance", "all"], "--covariance"),
        (["-k", "1:2", "--criterion", "dic"], "unknown criterion 'dic'"),
        (["-k", "1:2", "--start", "probability=0.5"], "--start"),
        (["-k", "1:2", "--fix", "rate"], "mixing_proportions alone"),
        (["--cross-validate", "1"], "--cross-validate needs a whole number >= 2"),
        (
            ["--criterion", "cross_validated"],
            "--cross-validate needs a number of folds for this criterion. Found",
        ),
        (["--covariance", "VVV,EEE,VVV"], "--covariance needs each candidate once. Found 'VVV' more than once."),
        (["--family", "poisson,poisson"], "--family needs each candidate once. Found 'poisson' more than once."),
    ],
)
def test_what_cannot_be(run, counts, options, said):
    done = run("fit", counts, *options)
    assert done.exit_code == 2
    assert said in flat(done.stderr)


def selection_of(names, numbers, criterion="bic"):
    """Candidates with a fit of the same few rows each; their families have these names."""
    result = emix.fit(emix.Mixture(emix.Normal(), 1), [float(i) for i in range(9)], random_state=0)
    found = [
        emix.inference.Candidate(name, K, replace(result, log_likelihood=-1e3 - K - 10 * i), entropy=0.5)
        for i, name in enumerate(names)
        for K in numbers
    ]
    return emix.inference.Selection(tuple(found), criterion)


def printed(selection, width=80):
    console = Console(width=width, file=io.StringIO())
    print_selection(console, selection)
    return console.file.getvalue().splitlines()


def test_at_80_columns_a_grid_keeps_its_names_and_numbers():
    names = [f"multivariate_normal(structure='{one}')" for one in emix.families.STRUCTURES]
    lines = printed(selection_of(names, range(1, 13)))
    assert not any("\u2026" in line for line in lines)
    heads = [i for i, line in enumerate(lines) if line.startswith("BIC")]
    assert [int(K) for i in heads for K in lines[i].split()[1:]] == list(range(1, 13))
    for i in heads:
        assert [line.split()[0] for line in lines[i + 1 : i + 15]] == list(emix.families.STRUCTURES)
    cells = [cell for i in heads for cell in lines[i + 1].split()[1:]]
    assert [cell.rstrip("*") for cell in cells] == [f"{2004.4 + 2 * K:,.1f}" for K in range(1, 13)]


def test_one_family_with_many_numbers_of_components_at_80_columns():
    lines = printed(selection_of(["multivariate_normal"], range(1, 21)))
    assert not any("\u2026" in line for line in lines)
    assert [int(K) for line in lines if line.startswith("K  ") for K in line.split()[1:]] == list(range(1, 21))
    assert sum(line.startswith("BIC") for line in lines) == 3
    head = next(line for line in lines if line.startswith("best first")).split()
    assert head == ["best", "first", "log-likelihood", "free", "AIC", "BIC", "ICL", "entropy", "converged"]


@pytest.mark.parametrize("criterion", ["aic", "aicc", "sabic", "icl"])
def test_at_80_columns_the_list_has_the_criterion_that_decided(criterion):
    title = {"aicc": "AICc"}.get(criterion, criterion.upper())
    lines = printed(selection_of(["columns(age: lognormal, city: categorical, visits: poisson)", "normal"], (1, 2)))
    assert all(len(line) <= 80 for line in lines)
    lines = printed(selection_of(["student_t(structure='full')", "multivariate_normal"], (1, 2), criterion))
    assert title in lines[0].split()
    assert lines[1].split()[:3] == ["student_t", "full", "1"]
    assert not any("\u2026" in line for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_what_has_no_room_is_left_out_and_never_cut(width):
    names = ["multivariate_normal(structure='EII')", "columns(age: lognormal, city: categorical, visits: poisson)"]
    lines = printed(selection_of(names, range(1, 8), "aicc"), width)
    assert not any("\u2026" in line for line in lines)
    assert all("AICc" in line for line in lines if line.startswith(("best first", "AICc")))
    head = next(line for line in lines if line.startswith("best first"))
    assert ("converged" in head) == (width >= 80)
