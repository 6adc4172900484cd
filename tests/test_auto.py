"""Families assumed from the columns: what is said of each, what is left out, and what is no column at all."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

import emix
from emix.data.auto import assume
from emix.data.table import read_table


def survey(n=200, holes=0.1):
    """Answers 0 or 1 to six questions, by two kinds of people."""
    rng = np.random.default_rng(0)
    x = (rng.random((n, 6)) < np.where(rng.random(n) < 0.5, 0.8, 0.2)[:, None]).astype(float)
    x[rng.random(x.shape) < holes] = np.nan
    return pd.DataFrame(x, columns=list("abcdef"))


def people(n=200):
    """Columns of numbers of every kind."""
    rng = np.random.default_rng(1)
    z = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "visits": rng.poisson(np.where(z, 2, 4)),
            "calls": rng.negative_binomial(1, 0.1, n).clip(0, 100),
            "income": np.exp(rng.normal(np.where(z, 9, 10), 0.5)),
            "member": rng.integers(0, 2, n),
            "sex": rng.integers(1, 3, n),
            "height": rng.normal(np.where(z, 160, 180), 8),
        }
    )


def families(table, K=2, **how):
    whole = assume(read_table(table), **how)
    return {one.column: one.family and one.family.name for one in whole.assumptions(K)}


# -- what is assumed ---------------------------------------------------------------------------------------------------


def test_a_survey_of_numbers_is_bernoulli(run, file):
    frame = survey()
    path = file("survey.csv", frame.to_csv(index=False))
    out = run("fit", path, "--components", 2, "--seed", 0)
    assert out.exit_code == 0
    assert "mixture of 2 x bernoulli; 200 rows" in out.stdout
    assert "a: bernoulli (0 or 1" in out.stderr
    model = emix.MixtureModel(2, random_state=0).fit(frame)
    assert model.family_.name == "bernoulli"
    assert [one.column for one in model.assumptions_] == list("abcdef")
    assert emix.select(frame, [1, 2], random_state=0).result.model.family.name == "bernoulli"


def test_columns_of_numbers_each_have_the_family_of_their_values(run, file):
    frame = people()
    assert families(frame) == {
        "visits": "poisson",
        "calls": "negative_binomial",
        "income": "lognormal",
        "member": "bernoulli",
        "sex": "categorical",
        "height": "normal",
    }
    path = file("people.csv", frame.to_csv(index=False))
    out = run("fit", path, "-k", 2, "--seed", 0, "--n-init", 2, "--family", "income=gamma", "--json")
    parts = json.loads(out.stdout)["model"]["family"]["parts"]
    assert {part["columns"][0]: part["family"]["name"] for part in parts}["income"] == "gamma"
    assert "income: gamma (as asked for)" in out.stderr
    assert "sex: categorical (two different numbers, 1 and 2)" in out.stderr


def test_counts_alone_are_counts_and_normal_columns_are_one():
    frame = people()
    assert emix.MixtureModel(2, random_state=0, n_init=1).fit(frame[["visits"]]).family_.name == "poisson"
    assert emix.MixtureModel(2, random_state=0, n_init=1).fit(frame[["visits"]].to_numpy()).family_.name == "poisson"
    assert assume(read_table("examples/old_faithful.csv")).family(2).name == "multivariate_normal"
    assert families(frame[["visits", "height"]]) == {"visits": "poisson", "height": "normal"}


def test_each_number_of_components_has_the_covariances_that_its_rows_allow(run):
    found = assume(read_table("examples/old_faithful.csv").take(np.arange(30)))
    assert [found.family(K).structure for K in (2, 9, 10, 20)] == ["full", "full", "diag", "diag"]
    (few,), (both,) = found.assumptions(20), found.assumptions(1, 20)
    assert "too few for full covariances" in few.reason
    assert "diag from 10 components on" in both.reason
    rows = read_table("examples/old_faithful.csv").take(np.arange(30))
    chosen = emix.select(rows, [1, 10], random_state=0, n_init=1, max_iter=3)
    names = [one.family for one in chosen.candidates]
    assert names == ["multivariate_normal", "multivariate_normal(structure='diag')"]
    out = run("fit", "examples/old_faithful.csv", "-k", "1,200", "--n-init", 1, "--max-iter", 1, "--seed", 0)
    assert "diag from 86 components on, for which 256 different rows are too few" in out.stderr


def test_true_and_false_with_holes_are_no_numbers_to_people(run, file):
    flags = file("flags.csv", "flag,x\n" + "true,1.5\n,2.25\nfalse,3.5\n" * 5)
    assert "flag: bernoulli (0 or 1, false or true)" in run("fit", flags, "-k", 1).stderr


def test_categories_whose_names_are_numbers_are_categories():
    frame = people()[["height"]].assign(answer=pd.Categorical([1, 2, 3, None] * 50))
    assert families(frame) == {"height": "normal", "answer": "categorical"}
    model = emix.MixtureModel(2, random_state=0, n_init=1).fit(frame)
    assert model.family_.part("answer").tables[0].shape == (2, 3)
    assert emix.MixtureModel(1, family="poisson").fit(frame[["answer"]]).family_.rate == pytest.approx(2.0)


def test_a_wide_table_is_not_said_column_by_column(run, file):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.integers(0, 2, (60, 40)), columns=[f"q{j}" for j in range(40)]).assign(same=1)
    out = run("fit", file("wide.csv", wide.to_csv(index=False)), "-k", 1)
    assert "... and 10 more columns" in out.stderr
    assert "same: left out (a single value)" in out.stderr


# -- profile -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--covariance", "diag"], ["--family", "normal"]])
def test_every_fit_of_several_columns_ends_with_a_profile(run, options):
    out = run("fit", "examples/old_faithful.csv", "--seed", 0, "--n-init", 1, *options)
    lines = out.stdout[out.stdout.index("column  ") :].splitlines()
    assert lines[0].split() == ["column", "apart", "whole", "component", "0", "component", "1"]
    assert [line.split()[0] for line in lines[1:3]] == ["eruptions", "waiting"]
    assert float(lines[1].split()[1]) > float(lines[2].split()[1])


def test_parameters_of_columns_with_short_names_are_told_apart(run, file):
    frame = survey().assign(k="x")
    out = run("fit", file("survey.csv", frame.to_csv(index=False)), "--seed", 0, "--n-init", 1)
    for name in "abcdef":
        assert f"probability of {name} " in out.stdout


# -- what is left out --------------------------------------------------------------------------------------------------


def test_columns_of_one_value_or_none_are_left_out_of_numbers_too():
    frame = people()[["height"]].assign(width=people().height[::-1].to_numpy(), same=5, none=np.nan, yes=True)
    frame["empty"] = pd.Series([None] * len(frame), dtype=object)
    model = emix.MixtureModel(2, random_state=0, n_init=1).fit(frame)
    assert model.family_.columns == ("height", "width")
    reasons = {one.column: one.reason for one in model.assumptions_ if one.family is None}
    assert reasons == {"same": "a single value", "none": "no value", "yes": "a single value", "empty": "no value"}
    assert model.predict(frame).shape == (200,)
    with pytest.raises(emix.DataError, match=r"(?s)tells rows apart.*same: left out \(a single value\)"):
        emix.MixtureModel(2).fit(frame[["same", "none"]])


def test_identifiers_with_gaps_are_left_out_unless_asked_for(run, file):
    rng = np.random.default_rng(0)
    frame = people(500).assign(user=rng.permutation(500) * 5 + 100_000)
    assert families(frame)["user"] is None
    path = file("users.csv", frame.to_csv(index=False))
    how = ("-k", 1, "--columns", "user,height")
    assert "user: left out (an identifier: 500 different whole numbers from" in run("fit", path, "-k", 1).stderr
    assert "mixture of 1 x multivariate_normal; 500 rows of user, height" in run("fit", path, *how).stdout
    assert "user: normal (as asked for)" in run("fit", path, "-k", 1, "--family", "user=normal").stderr


@pytest.mark.parametrize(
    ("name", "numbers", "is_identifier"),
    [
        ("income", lambda rng: 20_000 + rng.permutation(90_000)[:200], False),  # chance alone makes no repeat
        ("customer_id", lambda rng: 20_000 + rng.permutation(90_000)[:200], True),
        ("PassengerId", lambda rng: rng.permutation(500)[:200], True),
        ("bid", lambda rng: 20_000 + rng.permutation(90_000)[:200], False),
        ("customer_id", lambda rng: 20_000 + rng.integers(0, 50, 200), False),  # they repeat: visits of customers
        ("id", lambda rng: rng.normal(size=200), False),
        ("x", lambda rng: np.arange(200) + 0.5, False),
    ],
)
def test_what_is_an_identifier(name, numbers, is_identifier):
    frame = people().assign(**{name: numbers(np.random.default_rng(0))})
    assert (families(frame)[name] is None) == is_identifier


def test_numbers_in_turn_stay_where_there_is_nothing_else_or_no_name():
    assert families({"x": np.arange(3, 23)}) == {"x": "normal"}
    rows = np.stack([np.arange(200.0), people().height], axis=1)
    assert emix.MixtureModel(1).fit(rows).family_.columns == ("x0", "x1")


def test_a_folder_leaves_out_what_a_file_leaves_out(run, tmp_path):
    frame = people(400)[["height", "income"]].assign(id=np.arange(400) * 3)
    (tmp_path / "rows").mkdir()
    for i, part in enumerate((frame[:250], frame[250:])):
        part.to_parquet(tmp_path / "rows" / f"{i}.parquet")
    frame.to_parquet(tmp_path / "all.parquet")
    for options in ([], ["--family", "normal"], ["--covariance", "full"]):
        for path in (tmp_path / "rows", tmp_path / "all.parquet"):
            out = run("fit", path, "-k", 1, *options, "--json")
            assert "id: left out (an identifier: " in out.stderr
            assert "sample" not in out.stderr
            assert "id" not in json.dumps(json.loads(out.stdout)["model"]["family"].get("columns"))


# -- columns that are neither numbers nor text -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([str(i) for i in range(50)] + ["young"] * 50, "from numbers to text: '49' in row 49, 'young' in row 50"),
        (["a", "b"] * 25 + ["7"] * 50, "from text to numbers: 'b' in row 49, '7' in row 50"),
        ([1.5, 2.5] * 25 + ["x", "y"] * 25, "from numbers to text: '2.5' in row 49, 'x' in row 50"),
    ],
)
def test_a_column_that_changes_its_kind_is_named(cells, said):
    table = {"age": np.array(cells, dtype=object), "x": np.arange(100) + 0.5}
    with pytest.raises(emix.DataError, match=f"'age' changes {said}") as error:
        assume(read_table(table))
    assert "'categorical'" in str(error.value)
    asked = assume(read_table(table), given={"age": emix.Categorical()})
    assert asked.family(2).part("age").name == "categorical"


def test_codes_of_numbers_and_text_in_any_order_are_categories():
    rng = np.random.default_rng(0)
    codes = rng.choice(np.array(["A1", "7", "B2", "9", "C1"], dtype=object), 200)
    assert families({"code": codes, "x": rng.normal(size=200)})["code"] == "categorical"


# -- the estimator -----------------------------------------------------------------------------------------------------


def test_the_estimator_takes_dicts_and_arrays_of_text(caplog):
    rng = np.random.default_rng(0)
    size, word = rng.normal(size=60).round(2), np.array(list("xyz" * 20), dtype=object)
    mixed = np.array([[s, w] for s, w in zip(size, word, strict=True)], dtype=object)
    caplog.set_level(logging.INFO, logger="emix")
    for X in ({"x0": size.tolist(), "x1": word.tolist()}, mixed, mixed.tolist(), pd.DataFrame(mixed)):
        model = emix.MixtureModel(2, random_state=0, n_init=1).fit(X)
        assert [part.family.name for part in model.family_.parts] == ["normal", "categorical"]
        assert model.predict_proba(X).shape == (60, 2)
    assert "x1: categorical" in caplog.text
    for X in (word[:, None], word[:, None].astype(str)):
        assert emix.MixtureModel(2, random_state=0, n_init=1).fit(X).family_.name == "categorical"
    numbers = {"a": size.tolist(), "b": size[::-1].tolist()}
    assert emix.MixtureModel(2, random_state=0, n_init=1).fit(numbers).family_.name == "multivariate_normal"


def test_text_that_only_names_the_rows_does_not_hinder_the_estimator():
    frame = people()[["height", "income"]].assign(name=[f"p{i}" for i in range(200)])
    model = emix.MixtureModel(2, random_state=0, n_init=1).fit(frame)
    assert model.family_.columns == ("height", "income")


# -- choices -----------------------------------------------------------------------------------------------------------


def test_a_choice_of_many_columns_is_told_in_short_lines(run, file):
    path = file("people.csv", people(900).to_csv(index=False))
    out = run("fit", path, "--components", "1:2", "--criterion", "aic", "--seed", 0, "--n-init", 1, "--max-iter", 3)
    table, _, chosen = out.stdout.partition("Chosen: ")
    head, first, *_ = (line.split() for line in table.splitlines())
    assert head[:2] == ["best", "first"]
    assert "AIC" in head
    assert first[:3] == ["K", "=", "1"]
    said = " ".join(chosen.split())
    assert said.startswith("1 x columns has the smallest AIC")
    assert " x columns(" not in said.partition("mixture of")[0]


def test_sparse_rows_need_a_family():
    with pytest.raises(emix.ModelError, match="a family that reads sparse rows"):
        emix.select(csr_array(np.eye(5)), [1, 2])
