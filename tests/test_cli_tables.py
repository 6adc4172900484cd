"""Real tables at the command line: correlated columns, identifiers, holes that are filled, whole numbers."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import emix

SURVEY = str(Path(__file__).parent.parent / "examples" / "survey.csv")


def parts(found: str) -> dict:
    return {",".join(one["columns"]): one["family"] for one in json.loads(found)["model"]["family"]["parts"]}


@pytest.mark.parametrize(
    "options",
    [
        ["--family", "(age, spent)=multivariate_normal(structure=VVI)"],
        ["--family", "(age,spent)=multivariate_normal", "--covariance", "VVI"],
        ["--family", "visits=poisson,(age,spent)=multivariate_normal(structure=VVI)", "--family", "town=categorical"],
    ],
    ids=["in the family", "by --covariance", "among others"],
)
def test_correlated_columns_share_a_family(run, options):
    out = run("fit", SURVEY, *options, "--seed", 0, "--n-init", 2, "--json")
    found = parts(out.stdout)
    assert list(found) == ["age,spent", "visits", "member", "town"]
    assert found["age,spent"]["options"]["structure"] == "VVI"
    assert "(age, spent): multivariate_normal(structure='VVI') (as asked for)" in out.stderr
    assert "id: left out (an identifier: 400 different texts)" in out.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--family", "age=normal", "--covariance", "VVV"], "--covariance needs the family multivariate_normal"),
        (["--family", "(age,zz)=multivariate_normal"], "no column 'zz'"),
        (["--family", "(age,spent)=multivariate_normal,age=normal"], "'age' more than once"),
        (["--family", "(age,spent)=nonsense"], "unknown family 'nonsense'"),
        (["--family", "=normal"], "no column ''"),
    ],
)
def test_impossible_families_of_columns(run, options, message):
    out = run("fit", SURVEY, *options)
    assert out.exit_code == 2
    assert message in out.stderr


def test_covariance_takes_the_numbers_of_a_table_of_several_kinds(run):
    out = run("fit", SURVEY, "--covariance", "VVI", "--seed", 0, "--n-init", 2, "--json")
    assert parts(out.stdout)["age,visits,spent"]["options"]["structure"] == "VVI"
    assert set(parts(out.stdout)) == {"age,visits,spent", "member", "town"}


def test_identifiers_are_left_out_of_any_family_and_named(run, file):
    body = "".join(f"{i + 1},p{i},{(i * 37) % 11 + 0.5},{(i * 17) % 7}\n" for i in range(40))
    path = file("t.csv", "row,name,a,b\n" + body)
    out = run("fit", path, "--family", "normal", "-k", 1)
    assert "40 rows of a, b" in out.stdout
    assert "row: left out (an identifier: each number from 1 to 40 in turn)" in out.stderr
    assert "name: left out (an identifier: 40 different texts)" in out.stderr
    kept = run("fit", path, "--family", "normal", "--columns", "row,a", "-k", 1)
    assert "40 rows of row, a" in kept.stdout
    assert kept.stderr == ""
    assert "rows of row" in run("fit", file("one.csv", "row\n" + "".join(f"{i}\n" for i in range(20))), "-k", 1).stdout


def test_a_column_whose_name_has_brackets(run, file):
    path = file("b.csv", "income (k),age\n" + "".join(f"{i % 9 + 1},{i % 7 + 20}\n" for i in range(30)))
    out = run("fit", path, "--family", "income (k)=gamma", "--seed", 0, "--n-init", 2, "--json")
    assert parts(out.stdout)["income (k)"]["name"] == "gamma"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.json"
    families = {
        ("age", "spent"): emix.MultivariateNormal(),
        "visits": emix.Poisson(),
        "member": emix.Categorical(),
        "town": emix.Categorical(),
    }
    emix.fit(emix.Mixture(emix.Columns(families), 2), SURVEY, random_state=0, n_init=2).save(path)
    return path


def test_impute_fills_the_holes_and_keeps_everything_else(run, saved, tmp_path):
    given = list(csv.DictReader(Path(SURVEY).read_text().splitlines()))
    out = run("impute", saved, SURVEY)
    rows = list(csv.DictReader(out.stdout.splitlines()))
    assert list(rows[0]) == list(given[0])  # the identifier too, which is none of the model's
    wanted = emix.impute(emix.load(saved), SURVEY)
    columns = list(emix.load(saved).family.columns)
    for i, (row, before) in enumerate(zip(rows, given, strict=True)):
        for name, cell in row.items():
            if before[name]:
                assert cell == before[name] or float(cell) == float(before[name])
            elif name in ("member", "town"):
                assert cell == wanted[i, columns.index(name)]
            else:
                assert float(cell) == wanted[i, columns.index(name)]
    assert {row["visits"] for row, before in zip(rows, given, strict=True) if before["visits"]} <= set(
        map(str, range(20))
    )
    path = tmp_path / "complete.csv"
    assert run("impute", saved, SURVEY, "--out", path).stdout == ""
    assert path.read_text() == out.stdout
    assert json.loads(run("impute", saved, SURVEY, "--json").stdout)["columns"] == list(given[0])


def test_impute_of_the_table_in_the_readme(run, tmp_path):
    library, path = Path(SURVEY).parent / "library.csv", tmp_path / "m.json"
    run("fit", library, "--components", 3, "--n-init", 1, "--seed", 0, "--out", path)
    rows = list(csv.reader(run("impute", path, library).stdout.splitlines()))
    given = list(csv.reader(library.read_text().splitlines()))
    assert len(rows) == len(given)
    assert all(all(row) for row in rows)
    assert sum(not all(row) for row in given) > 100


def test_impute_says_which_cells_stay_missing(run, file, tmp_path):
    data = file("tosses.csv", "heads,tosses\n3,4\n1,4\n2,4\n,4\n,\n")
    path = tmp_path / "m.json"
    run("fit", data, "--components", 1, "--family", "heads=binomial(n_trials=tosses)", "--out", path)
    out = run("impute", path, data)
    assert out.stdout.splitlines()[-2:] == ["2,4", ","]
    assert "Warning: cells of 'heads', 'tosses' stay missing" in out.stderr


def test_impute_keeps_dates_and_texts_as_they_were(run, file, tmp_path):
    rows = "".join(
        f"2024-01-{i + 1:02d},{i % 4}{'' if i % 5 else '.5'},n{i},{i + 0.5 if i % 3 else ''}\n" for i in range(20)
    )
    path, saved = file("d.csv", "when,a,note,b\n" + rows), tmp_path / "m.json"
    assert run("fit", path, "--columns", "a,b", "--family", "normal", "-k", 1, "--out", saved).exit_code == 0
    found = list(csv.DictReader(run("impute", saved, path).stdout.splitlines()))
    for row, before in zip(found, csv.DictReader(path.read_text().splitlines()), strict=True):
        assert (row["when"], row["note"]) == (before["when"], before["note"])
        assert row["b"]


def test_impute_draws_as_often_as_asked(run, saved):
    out = run("impute", saved, SURVEY, "--draws", 3, "--seed", 4)
    assert out.stdout == run("impute", saved, SURVEY, "--draws", 3, "--seed", 4).stdout
    rows = list(csv.DictReader(out.stdout.splitlines()))
    assert [row["draw"] for row in rows[::400]] == ["1", "2", "3"]
    assert all(row["visits"].isdigit() and row["age"] for row in rows)
    sets = np.array([float(row["age"]) for row in rows]).reshape(3, 400)
    differs = (sets != sets[0]).any(axis=0)
    given = csv.DictReader(Path(SURVEY).read_text().splitlines())
    assert differs.sum() == sum(not row["age"] for row in given)
    assert "--seed 4" in out.stderr
    refused = run("impute", saved, SURVEY, "--draws", 0)
    assert (refused.exit_code, "--draws needs" in refused.stderr) == (2, True)


def test_samples_have_whole_numbers_where_the_family_has(run, saved):
    rows = list(csv.DictReader(run("sample", saved, "-n", 30, "--seed", 0).stdout.splitlines()))
    assert all(row["visits"].isdigit() for row in rows)
    assert all("." in row["age"] for row in rows)
    assert {row["town"] for row in rows} <= {"centre", "north", "south"}
    document = json.loads(run("sample", saved, "-n", 30, "--seed", 0, "--json").stdout)
    assert all(isinstance(row[document["columns"].index("visits")], int) for row in document["rows"])


def test_a_weak_prior_is_an_option(run):
    options = ["fit", SURVEY, "--family", "town=categorical", "--columns", "town,visits", "--seed", 0, "--json"]
    plain, weak = (json.loads(run(*options, *more).stdout) for more in ([], ["--prior-rows", 5]))
    assert weak["model"]["prior_rows"] == 5
    assert weak["log_likelihood"] < plain["log_likelihood"]


def test_explain_says_which_rows_a_column_is_divided_by(run, file):
    holed = file("h.csv", "a,b\n1,2\n2,\n8,9\n9,7\n,3\n")
    said = run("explain", holed, "--family", "normal", "--seed", 0).stdout
    assert "mean = sum of a / rows with a value" in said
    whole = run("explain", file("w.csv", "a,b\n1,2\n2,3\n8,9\n9,7\n"), "--family", "normal", "--seed", 0).stdout
    assert "mean = sum of a / rows\n" in whole
    assert "A missing cell counts" not in said + whole
    assert "A missing cell counts with what" in run("explain", holed, "-k", 1, "--covariance", "full").stdout


def test_folders_are_predicted_and_scored_batch_by_batch(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from emix.cli.app import app

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.r_[rng.normal(size=50), 5 + rng.normal(size=50)], "w": rng.integers(0, 3, 100)})
    (tmp_path / "rows").mkdir()
    for i in range(4):
        frame[i * 25 : (i + 1) * 25].to_parquet(f"rows/{i}.parquet")
    frame.to_csv("rows.csv", index=False)

    def run(*arguments):
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("fit", "rows", "--columns", "x", "--seed", "0", "--n-init", "2", "--out", "m.json")
    assert run("predict", "m.json", "rows/*.parquet") == run("predict", "m.json", "rows.csv")
    assert run("score", "m.json", "rows", "--weights", "w") == run("score", "m.json", "rows.csv", "--weights", "w")


def test_weights_are_not_called_rows(run, file):
    path = file("w.csv", "a,w\n1.5,2\n2.5,3\n4,10\n7,5\n")
    saved = Path(path).parent / "m.json"
    assert "rows of a, of total weight 20" in run("fit", path, "-k", 1, "--weights", "w", "--out", saved).stdout
    assert "total weight    20" in run("score", saved, path, "--weights", "w").stdout
    assert "rows            4" in run("score", saved, path).stdout
