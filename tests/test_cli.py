"""The command line as its users meet it: output, exit codes, errors, files."""

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

import emix
import emix.fitting
import emix.persistence

EXAMPLES = Path(__file__).parent.parent / "examples"
FAITHFUL = str(EXAMPLES / "old_faithful.csv")
COINS = str(EXAMPLES / "five_coins.txt")
THREE_COINS = str(EXAMPLES / "three_coins.txt")
THREE_COINS_START = "probability=0.4,0.5,0.65; mixing_proportions=0.25,0.5,0.25"


# -- fit -------------------------------------------------------------------------------------------------------------


def test_fit_prints_what_a_statistician_wants_first(run):
    out = run("fit", FAITHFUL, "--seed", 1)
    assert out.exit_code == 0
    assert out.stderr == ""
    for text in (
        "mixture of 2 x multivariate_normal",
        "272 rows of eruptions, waiting",
        "proportion",
        "mean of waiting",
    ):
        assert text in out.stdout
    for text in ("log-likelihood             -1,130.263960", "free parameters                       11", "BIC", "ICL"):
        assert text in out.stdout
    assert "Converged: " in out.stdout


def test_json_has_the_keys_of_the_result_and_nothing_else_is_on_stdout(run):
    out = run("fit", FAITHFUL, "--columns", "waiting", "--json", "--seed", 1)
    found = json.loads(out.stdout)
    result = emix.fit(
        emix.Mixture(emix.Normal(), 2), emix.data.table.read_table(FAITHFUL).select(["waiting"]), random_state=1
    )
    assert found["log_likelihood"] == result.log_likelihood
    assert (found["bic"], found["icl"], found["aic"]) == (result.bic, result.icl, result.aic)
    assert found["converged"] is True
    assert found["stop_reason"] == str(result.stop_reason)
    assert found["model"]["family"]["parameters"]["mean"] == result.model.family.mean.tolist()
    assert found["history"][-1]["iteration"] == found["n_iter"] == result.n_iter
    assert len(found["starts"]) == 10


def test_same_seed_same_bits_and_any_number_of_threads(run):
    first, second = (run("fit", FAITHFUL, "-k", 3, "--json", "--seed", 7, "--n-jobs", n) for n in (1, 2))
    assert json.loads(first.stdout)["model"] == json.loads(second.stdout)["model"]


def test_unconverged_is_said_and_exits_with_1(run):
    out = run("fit", FAITHFUL, "--max-iter", 1)
    assert out.exit_code == 1
    assert "Not converged: the iterations ran out" in out.stdout
    assert "Not converged" in out.stderr


def test_degenerate_in_every_start_exits_with_3(run, file):
    # two tight groups of three cannot feed six normals: each start collapses on single rows
    path = file("six.csv", "a\n1\n2\n3\n10\n11\n12\n")
    out = run("fit", path, "-k", 6, "--seed", 0)
    assert out.exit_code == 3
    assert "no start led to a fit" in out.stderr
    assert "collapsed" in out.stderr
    assert out.stdout == ""


def test_fewer_groups_than_components_is_pointed_out(run):
    out = run("fit", THREE_COINS, "-k", 3, "--start", THREE_COINS_START)
    assert out.exit_code == 0
    assert "the data do not support 3 components" in " ".join(out.stdout.split())


def test_toss_files_are_binomial_and_items_on_request(run):
    counts = json.loads(
        run("fit", COINS, "--start", "probability=0.6,0.5", "--fix", "mixing_proportions", "--json").stdout
    )
    assert counts["model"]["family"]["name"] == "binomial"
    assert counts["model"]["family"]["options"] == {"n_trials": 10}
    assert_allclose(counts["model"]["family"]["parameters"]["probability"], [0.7968, 0.5196], atol=5e-5)
    items = json.loads(run("fit", COINS, "--family", "bernoulli(shared=True)", "--seed", 0, "--json").stdout)
    assert items["model"]["family"]["name"] == "bernoulli"


def test_labels_and_weights_columns_are_not_data(run, file):
    path = file("t.csv", "heads,coin,times\n5,B,1\n9,A,1\n8,A,1\n4,B,1\n7,A,1\n")
    out = run("fit", path, "--family", "binomial(n_trials=10)", "--labels", "coin", "--weights", "times", "--json")
    found = json.loads(out.stdout)
    assert_allclose(found["model"]["family"]["parameters"]["probability"], [0.8, 0.45], rtol=1e-12)
    assert found["model"]["component_names"] == ["A", "B"]


def test_trials_from_a_column(run, file):
    path = file("t.csv", "deaths,total\n3,39\n14,116\n11,93\n127,1520\n2,30\n30,90\n")
    out = run("fit", path, "--family", "binomial(n_trials=total)", "--seed", 0, "--json")
    assert out.exit_code == 0
    assert json.loads(out.stdout)["model"]["family"]["options"] == {"n_trials": "total"}


def test_start_from_a_model_file_and_fix_a_parameter_of_it(run, tmp_path):
    model = tmp_path / "m.json"
    run("fit", FAITHFUL, "--family", "normal", "--columns", "waiting", "--seed", 1, "--out", model)
    out = run(
        "fit", FAITHFUL, "--family", "normal", "--columns", "waiting", "--start", model, "--fix", "variance", "--json"
    )
    found = json.loads(out.stdout)
    assert found["n_free_parameters"] == 3
    assert found["model"]["family"]["parameters"]["variance"] == emix.load(model).family.variance.tolist()


@pytest.mark.parametrize("kind", ["tsv", "semicolon", "parquet"])
def test_other_formats_give_the_same_fit(run, tmp_path, kind):
    rows = [line.split(",") for line in Path(FAITHFUL).read_text().splitlines()]
    path = tmp_path / {"tsv": "f.tsv", "semicolon": "f.csv", "parquet": "f.parquet"}[kind]
    if kind == "parquet":
        columns = {name: [float(row[j]) for row in rows[1:]] for j, name in enumerate(rows[0])}
        pq.write_table(pa.table(columns), path)
    else:
        path.write_text("\n".join({"tsv": "\t", "semicolon": ";"}[kind].join(row) for row in rows) + "\n")
    assert json.loads(run("fit", path, "--seed", 3, "--json").stdout)["log_likelihood"] == pytest.approx(
        json.loads(run("fit", FAITHFUL, "--seed", 3, "--json").stdout)["log_likelihood"], abs=0
    )


def test_covariance_chooses_the_structure(run):
    found = json.loads(run("fit", FAITHFUL, "--covariance", "tied", "--seed", 0, "--json").stdout)
    assert found["model"]["family"]["options"]["structure"] == "tied"
    assert found["n_free_parameters"] == 8


def test_missing_cells_are_taken(run, file):
    path = file("m.csv", "a,b\n1,\n2,3\n,5\n6,9\n7,8\n1.5,2\n")
    assert run("fit", path, "-k", 1, "--family", "normal").exit_code == 0
    assert run("fit", path, "-k", 1).exit_code == 0
    assert run("fit", path, "-k", 1, "--family", "student_t").exit_code == 0


# -- the other commands ----------------------------------------------------------------------------------------------


@pytest.fixture
def model(run, tmp_path):
    path = tmp_path / "model.json"
    assert run("fit", FAITHFUL, "--seed", 1, "--out", path).exit_code == 0
    return path


def test_predict_writes_components_and_responsibilities(run, model, tmp_path):
    out = run("predict", model, FAITHFUL)
    rows = list(csv.DictReader(out.stdout.splitlines()))
    resp = emix.responsibilities(emix.load(model), FAITHFUL)
    assert [int(row["component"]) for row in rows] == resp.argmax(axis=1).tolist()
    assert [float(row["responsibility_1"]) for row in rows] == resp[:, 1].tolist()
    path = tmp_path / "rows.csv"
    assert run("predict", model, FAITHFUL, "--out", path).stdout == ""
    assert path.read_text() == out.stdout
    assert json.loads(run("predict", model, FAITHFUL, "--json").stdout)["responsibilities"] == resp.tolist()


def test_score_is_the_log_likelihood_of_the_fit(run, model):
    found = json.loads(run("score", model, FAITHFUL, "--json").stdout)
    assert found["log_likelihood"] == pytest.approx(-1130.26396, abs=1e-5)
    assert found["mean_log_likelihood"] == pytest.approx(found["log_likelihood"] / 272)
    assert "log-likelihood  -1130.26396" in run("score", model, FAITHFUL).stdout


def test_impossible_rows_score_minus_infinity_and_are_counted(run, file, tmp_path):
    document = {"format": "emix-model", "schema_version": 1, "fit": {}}
    mixture = emix.Mixture(emix.Poisson([0.0, 0.0]))
    document["model"] = emix.persistence.to_document(mixture)
    path = file("zero.json", json.dumps(document))
    out = run("score", path, file("c.csv", "n\n0\n3\n"), "--json")
    assert json.loads(out.stdout) == {
        "log_likelihood": None,
        "mean_log_likelihood": None,
        "total_weight": 2.0,
        "n_impossible_rows": 1,
    }


def test_sample_is_seeded_and_has_the_columns(run, model):
    one, two = run("sample", model, "-n", 5, "--seed", 3), run("sample", model, "-n", 5, "--seed", 3)
    assert one.stdout == two.stdout
    rows = list(csv.DictReader(one.stdout.splitlines()))
    assert len(rows) == 5
    assert set(rows[0]) == {"eruptions", "waiting", "component"}


def test_show_prints_the_model_and_its_fit(run, model):
    out = run("show", model)
    assert "mean of waiting" in out.stdout
    assert "-1,130.263960" in out.stdout
    assert json.loads(run("show", model, "--json").stdout)["converged"] is True


def test_categories_go_in_and_come_out_as_text(run, file, tmp_path):
    rows = "\n".join(["red,small"] * 6 + ["blue,large"] * 5 + ["red,large", ",small", "blue,"])
    path, saved = file("c.csv", f"colour,size\n{rows}\n"), tmp_path / "c.json"
    assert run("fit", path, "--seed", 0, "--out", saved).exit_code == 0
    assert "p(colour = red)" in run("show", saved).stdout
    drawn = list(csv.DictReader(run("sample", saved, "-n", 20, "--seed", 0).stdout.splitlines()))
    assert {row["colour"] for row in drawn} == {"red", "blue"}
    unseen = run("predict", saved, file("d.csv", "colour,size\ngreen,small\n"))
    assert unseen.exit_code == 2
    assert "'green'" in unseen.stderr
    assert "'blue', 'red'" in unseen.stderr


def test_explain_prints_the_worked_example_of_the_three_coins(run):
    out = run("explain", THREE_COINS, "-k", 3, "--start", THREE_COINS_START)
    assert out.exit_code == 0
    lines = [line.split() for line in out.stdout.splitlines()]
    assert ["6", "4", "0.1114767", "0.2050781", "0.2376685"] in lines
    assert ["6", "4", "0.0278692", "0.1025391", "0.0594171"] in lines
    assert ["6", "4", "0.1468149", "0.5401758", "0.3130094"] in lines
    assert ["2", "4", "0.5674795", "0.4124300", "0.0200905"] in lines
    counts = next(line for line in lines if line[:1] == ["rows"] and "counts)" in line)
    assert counts[-4:] == ["6.6744913", "10.5237552", "2.8017535", "20.0000000"]
    assert "component 0: 23.6042391 / 66.7449129 = 0.3536485" in out.stdout
    assert "component 2: 2.8017535 / 20.0000000 = 0.1400877" in out.stdout


def test_explain_several_iterations_and_held_parameters(run):
    out = run("explain", COINS, "--start", "probability=0.6,0.5", "--fix", "mixing_proportions", "--iterations", 2)
    assert "Iteration 2" in out.stdout
    assert "mixing_proportions: held fixed" in out.stdout
    assert "0.4491489" in out.stdout
    assert "= 0.7130122" in out.stdout  # Do & Batzoglou's 0.71 after one iteration
    assert "= 0.7452920" in out.stdout


@pytest.mark.parametrize(
    "family",
    ["poisson", "exponential", "normal", "gamma", "lognormal", "geometric", "multivariate_normal", "categorical"],
)
def test_explain_works_for_any_family(run, file, family):
    path = file("t.csv", "a\n1\n2\n3\n8\n9\n12\n2\n")
    out = run("explain", path, "--family", family)
    assert out.exit_code == 0
    assert "M-step" in out.stdout


# -- as processes ----------------------------------------------------------------------------------------------------


def emix_process(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "emix", *map(str, arguments)], **options)


def slow_data(tmp_path):
    """Overlapping groups, so that EM with a tiny tol has work for many seconds."""
    rng = np.random.default_rng(0)
    path = tmp_path / "slow.csv"
    np.savetxt(path, rng.normal(size=(100_000, 3)), delimiter=",", header="a,b,c", comments="")
    return path


class Terminal:
    """A command whose messages go to a terminal."""

    def __init__(self, *arguments):
        self.end, other_end = pty.openpty()
        self.out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish; a pipe that nobody empties would block the command
        self.deadline = time.monotonic() + 60
        self.process = emix_process(
            *arguments,
            stdout=self.out,
            stderr=other_end,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(other_end)

    def read(self, until=None):
        """What is shown, up to a text or to the end."""
        shown = b""
        while until is None or until not in shown:
            if not select.select([self.end], [], [], max(0.0, self.deadline - time.monotonic()))[0]:
                self.process.kill()
                pytest.fail("nothing more was shown for a minute")
            try:
                part = os.read(self.end, 65536)
            except OSError:  # Linux's way to say that the other end was closed
                break
            if not part:
                break
            shown += part
        return shown

    def finish(self):
        """Exit code and standard output."""
        code = self.process.wait(timeout=60)
        os.close(self.end)
        self.out.seek(0)
        with self.out:
            return code, self.out.read()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_exits_with_130(tmp_path, n_jobs):
    terminal = Terminal("fit", slow_data(tmp_path), "-k", 8, "--tol", 0, "--n-jobs", n_jobs)
    assert b"iteration" in terminal.read(until=b"iteration")
    terminal.process.send_signal(signal.SIGINT)
    assert b"Interrupted." in terminal.read()
    assert terminal.finish() == (130, b"")


def test_progress_appears_on_a_terminal_only(tmp_path):
    terminal = Terminal("fit", slow_data(tmp_path), "-k", 8, "--tol", 0, "--max-iter", 200, "--n-jobs", 1, "--json")
    shown = terminal.read()
    json.loads(terminal.finish()[1])
    assert b"iteration" in shown


def test_help_of_every_command_has_an_example(run):
    for command in ("fit", "predict", "score", "impute", "sample", "show", "plot", "explain"):
        out = run(command, "--help")
        assert out.exit_code == 0
        assert f"Example: emix {command}" in " ".join(out.stdout.split())


def test_the_command_line_never_imports_scikit_learn():
    code = (
        "import sys; from emix.cli import app; from typer.testing import CliRunner;"
        f"assert CliRunner().invoke(app, ['fit', {FAITHFUL!r}, '--seed', '1']).exit_code == 0;"
        "assert not any(name.split('.')[0] == 'sklearn' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_families_of_single_columns_add_up(run, file):
    path = file("m.csv", "a,b,c\n" + "\n".join(f"{i % 7 + 0.5},{i % 5 + 1},{'xyz'[i % 3]}" for i in range(40)))
    found = json.loads(run("fit", path, "--family", "a=gamma", "--family", "b=poisson", "--seed", 0, "--json").stdout)
    names = {part["columns"][0]: part["family"]["name"] for part in found["model"]["family"]["parts"]}
    assert names == {"a": "gamma", "b": "poisson", "c": "categorical"}
    assert run("fit", path, "--family", "normal", "--family", "poisson").exit_code == 2
    only = file("w.csv", "a\n1\n2\n3\n")
    refused = run("fit", only, "--weights", "a")
    assert refused.exit_code == 2
    assert "at least one column" in refused.stderr


# -- many files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def halves(tmp_path):
    """The rows of a file in two."""
    (tmp_path / "rows").mkdir()
    head, *lines = Path(FAITHFUL).read_text().splitlines()
    paths = []
    for name, own in (("1.csv", lines[:100]), ("2.csv", lines[100:])):
        paths.append(tmp_path / "rows" / name)
        paths[-1].write_text("\n".join([head, *own]) + "\n")
    return paths


@pytest.mark.parametrize(
    "command",
    [
        ["intervals", "MODEL", "DATA"],
        ["impute", "MODEL", "DATA"],
        ["predict", "MODEL", "DATA"],
        ["score", "MODEL", "DATA"],
        ["explain", "DATA", "--start", "MODEL"],
    ],
)
def test_every_command_takes_the_rows_of_a_file_in_many(run, model, halves, command):
    def said(*paths):
        put = {"MODEL": [model], "DATA": paths}
        out = run(*[one for word in command for one in put.get(word, [word])])
        assert out.exit_code == 0, out.stderr
        return out.stdout

    whole = said(FAITHFUL)
    assert said(*halves) == whole
    assert said(halves[0].parent) == whole
    assert said(halves[0].parent / "*.csv") == whole


def test_pictures_and_reports_take_the_rows_of_many_files(run, model, halves, tmp_path):
    assert run("plot", model, *halves, "--kind", "pairs", "--out", tmp_path / "picture.png").exit_code == 0
    assert run("report", model, halves[0].parent, "--out", tmp_path / "report.html").exit_code == 0


def test_files_too_large_to_hold_are_refused_in_the_words_of_the_command_line(run, model, halves, monkeypatch):
    monkeypatch.setattr("emix.data.scan.Scan.is_small", False)
    out = run("intervals", model, *halves)
    assert out.exit_code == 2
    assert "emix intervals needs all rows in memory.\n  Found files of more than 64 MiB, or --dask." in out.stderr
    assert "emix.scan" not in out.stderr
