"""Bad input at the command line: exit code 2, one clear error, no traceback, nothing written."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import emix
import emix.fitting

FAITHFUL = str(Path(__file__).parent.parent / "examples" / "old_faithful.csv")

# case: content of the file, options, what the error must say
BAD = {
    "negative count": (
        "visits\n1\n2\n-3\n4\n-1\n", ["--family", "poisson"],
        ["whole numbers >= 0", "-3", "line 4", "'visits'", "2 such"],
    ),
    "fractional binomial count": (
        "h\n1\n2.5\n3\n", ["--family", "binomial(n_trials=10)"],
        ["2.5", "line 3", "from 0 to 10"],
    ),
    "more heads than tosses": (
        "h,n\n1,10\n12,10\n3,10\n", ["--family", "binomial(n_trials=n)"],
        ["12", "line 3", "'n'"],
    ),
    "infinite value": ("a,b\n1,2\n2,inf\n3,4\n5,5\n", [], ["finite", "inf", "line 3", "'b'"]),
    "constant column": ("a,b\n1,2\n2,2\n3,2\n4,2\n", [], ["vary", "'b'", "2"]),
    "fewer distinct rows": ("a\n1\n2\n1\n2\n", ["-k", "3"], ["3 distinct rows", "2 distinct"]),
    "unknown column": ("a,b\n1,2\n3,4\n", ["--columns", "a,zz"], ["'zz'", "'a', 'b'"]),
    "unknown label column": ("a,b\n1,2\n3,4\n", ["--labels", "zz"], ["'zz'", "'a', 'b'"]),
    "unknown family": ("a\n1\n2\n3\n", ["--family", "poison"], ["'poison'", "'poisson'"]),
    "zero components": ("a\n1\n2\n3\n", ["-k", "0"], ["--components", ">= 1", "0"]),
    "empty file": ("", [], ["header and rows"]),
    "header only": ("a,b\n", [], ["header and rows"]),
    "ragged file": ("a,b\n1,2\n3\n4,5\n", [], ["1 instead of 2", "line 3"]),
    "binary file": (bytes(range(256)) * 8, [], ["binary"]),
    "latin-1 bytes": (b"\xff\xfe\x81abc\n1\n2\n", [], ["binary"]),
    "text in a number column": ("a,b\n1,2\n3,x\n4,5\n6,7\n", [], ["'x'", "line 3", "'b'"]),
    "text far down": ("a\n" + "1\n2\n" * 2000 + "oops\n", ["--family", "normal"], ["'oops'", "line 4002"]),
    "label outside": ("a,g\n1,0\n2,1\n3,5\n8,\n9,1\n", ["--labels", "g"], ["0..1", "5", "line 4"]),
    "fractional label": ("a,g\n1,0\n2,0.5\n3,1\n8,\n9,1\n", ["--labels", "g"], ["0..1", "0.5", "line 3"]),
    "too many label names": ("a,g\n1,x\n2,y\n3,z\n", ["--labels", "g"], ["3 names", "'x', 'y', 'z'"]),
    "negative weight": ("a,w\n1,1\n2,-1\n3,1\n", ["--weights", "w"], [">= 0", "-1", "line 3"]),
    "weights all zero": ("a,w\n1,0\n2,0\n3,0\n", ["--weights", "w"], ["not all be zero"]),
    "text weights": ("a,w\n1,1\n2,x\n3,1\n", ["--weights", "w"], [">= 0", "'x'", "line 3"]),
    "missing folder": ("a\n1\n2\n3\n", ["--out", "no/such/folder/m.json"], ["can be written", "folder"]),
    "unknown start": ("a\n1\n2\n3\n", ["--start", "nonsense"], ["'nonsense'", "'k-means++'"]),
    "unknown start parameter": ("a\n1\n2\n3\n", ["--start", "rate=1,2"], ["'rate'", "'mean'"]),
    "start incomplete": ("a\n1\n2\n3\n", ["--start", "mean=1,2"], ["variance"]),
    "start of another size": (
        "a\n1\n2\n3\n", ["--start", "mean=1,2,3; variance=1,1,1"],
        ["--components: 2", "family: 3"],
    ),
    "probability above 1": (
        "h\n1\n2\n3\n", ["--family", "binomial(n_trials=10)", "--start", "probability=0.5,1.5"],
        ["from 0 to 1", "1.5"],
    ),
    "unknown fixed": ("a\n1\n2\n3\n", ["--fix", "foo"], ["'foo'", "'mixing_proportions'"]),
    "fixed without value": ("a\n1\n2\n3\n", ["--fix", "mean"], ["'mean'", "value"]),
    "unknown rule": ("a\n1\n2\n3\n", ["--stop", "foo"], ["'foo'", "'aitken'"]),
    "negative tol": ("a\n1\n2\n3\n", ["--tol", "-1"], ["--tol", ">= 0"]),
    "unknown structure": ("a,b\n1,2\n2,4\n3,1\n", ["--covariance", "weird"], ["'weird'", "'tied'"]),
    "repeated column": ("a,a\n1,2\n2,3\n", [], ["'a'", "more than once"]),
    "family without its argument": ("a\n1\n2\n", ["--family", "binomial"], ["n_trials"]),
    "family with code": ("a\n1\n2\n", ["--family", "poisson(__import__('os'))"], ["literal"]),
    "no such option": ("a\n1\n2\n", ["--frobnicate"], ["frobnicate"]),
    "zero starts": ("a\n1\n2\n3\n", ["--n-init", "0"], ["--n-init", ">= 1"]),
    "all missing column": ("a,b\n1,\n2,\n3,\n", ["--family", "normal"], ["'b'", "missing in every row"]),
    "zero under gamma": ("a\n1\n0\n3\n4\n", ["--family", "gamma"], ["> 0", "line 3"]),
    "zero under geometric": ("a\n1\n0\n3\n4\n", ["--family", "geometric"], [">= 1", "line 3", "first=0"]),
    "two under bernoulli": ("a,b\n1,0\n0,2\n1,1\n", ["--family", "bernoulli"], ["0 or 1", "line 3", "'b'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_input(run, file, tmp_path, monkeypatch, case):
    content, options, expected = BAD[case]
    monkeypatch.chdir(tmp_path)
    data = file("data.csv", content)
    before = sorted(tmp_path.iterdir())
    out = run("fit", data, *options, *([] if "--out" in options else ["--out", "model.json"]))
    assert out.exit_code == 2
    assert out.stdout == ""
    assert "Traceback" not in out.stderr
    for text in expected:
        assert text in out.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "found"), [("HTHT\nHTXT\n", ["'X'", "line 2"]), ("\n\n", ["header and rows"]), ("HH HT\n", ["' '"])]
)
def test_bad_toss_files(run, file, content, found):
    out = run("fit", file("tosses.txt", content))
    assert out.exit_code == 2
    for text in found:
        assert text in out.stderr


def test_sequences_of_different_length_under_a_fixed_number_of_tosses(run, file):
    out = run("fit", file("t.txt", "HTHT\nHHH\n"), "--family", "binomial(n_trials=4)")
    assert out.exit_code == 2
    assert "Found 3 in row 2 (line 2 of t.txt)" in out.stderr


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ('{"a": 1}', "does not say format"),
        ('{"format": "emix-model", "schema_version": 99, "model": {}}', "Install a newer emix"),
        ('{"format": "emix-model", "schema_version": 1, "model": {"kind": "mixture"}}', "damaged"),
        ('{"format": "emix-model", "schema_version": "1", "model": {}}', "schema version"),
        (b"\x80\x81\x82", "not JSON"),
    ],
)
@pytest.mark.parametrize("command", ["show", "predict", "score", "sample"])
def test_damaged_foreign_and_newer_models(run, file, tmp_path, command, content, found):
    path = tmp_path / "missing.json" if content is None else file("model.json", content)
    out = run(command, path, *([FAITHFUL] if command in ("predict", "score") else []))
    assert out.exit_code == 2
    assert found in out.stderr
    assert "Traceback" not in out.stderr


def test_an_output_that_cannot_be_written_is_found_before_the_fit(run, tmp_path, monkeypatch):
    monkeypatch.setattr(emix.fitting, "fit", lambda *_, **__: pytest.fail("the fit was started"))
    for path in (tmp_path, tmp_path / "no" / "m.json", Path(FAITHFUL) / "m.json"):
        assert run("fit", FAITHFUL, "--out", path).exit_code == 2


def test_an_existing_file_survives_a_failed_fit(run, file):
    kept = file("m.json", "precious")
    assert run("fit", file("bad.csv", "a\n1\nx\n3\n"), "--out", kept).exit_code == 2
    assert kept.read_text() == "precious"


def test_messages_name_the_options_of_the_command_line_and_pythons_name_arguments(run, file):
    path = file("n_init.csv", "n_init,b\n1,2\n2,x\n3,4\n4,5\n")
    said = run("fit", path).stderr
    assert "column 'b'" in said
    assert "leave the column out (--columns)" in said
    with pytest.raises(emix.DataError) as python:
        emix.fit(emix.Mixture(emix.Normal(), 2), path)
    assert "--" not in str(python.value)
    unknown = run("fit", path, "--columns", "n_init,zz").stderr
    assert "'n_init', 'b'" in unknown  # in quotes: the user's own
    collapsed = run("fit", file("six.csv", "a\n1\n2\n3\n10\n11\n12\n"), "-k", 6, "--seed", 0).stderr
    for option in ("--n-init", "--prior-rows 1", '--family "normal(variance_floor=0.001)"'):
        assert option in collapsed
    for option in (["--prior-rows", 1], ["--family", "normal(variance_floor=0.001)"]):  # and what is named helps
        assert run("fit", file("six.csv", "a\n1\n2\n3\n10\n11\n12\n"), "-k", 6, "--seed", 0, *option).exit_code == 0


@pytest.mark.parametrize("cell", ["2024-05-31", "31.5.2024", "5/31/2024", "2024-05-31T10:00:00"])
def test_dates_are_refused_in_words_unless_they_are_left_out(run, file, cell):
    path = file("d.csv", "when,x\n" + "".join(f"{cell},{x}\n" for x in (1, 2, 8, 9.5)))
    for options in ([], ["--family", "normal"], ["--columns", "when"]):
        out = run("fit", path, *options)
        assert out.exit_code == 2
        assert "column 'when' holds dates" in out.stderr
        assert "days since" in out.stderr
    assert run("fit", path, "--columns", "x", "--seed", 0).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--family", "normal"], ["--family", "a=gamma"]])
def test_decimal_commas_are_named_with_the_remedy(run, file, options):
    out = run("fit", file("c.csv", 'a,b\n"1,5",2\n"2,5",3\n"8,1",4\n"9,1",5\n'), *options)
    assert out.exit_code == 2
    assert "a decimal comma" in out.stderr
    assert "Write 1.5" in out.stderr
    assert "row 1 (line 2 of c.csv), column 'a'" in out.stderr


def test_decimal_commas_between_tabs_and_semicolons_are_read(run, file):
    rows = [("a", "b"), ("1,5", "2"), ("2,5", "3,5"), ("8,1", "4"), ("9,1", "5"), ("7,2", "1")]
    found = set()
    for name, mark in (("t.tsv", "\t"), ("s.csv", ";")):
        path = file(name, "".join(mark.join(row) + "\n" for row in rows))
        found.add(json.loads(run("fit", path, "--family", "normal", "-k", 1, "--json").stdout)["log_likelihood"])
    plain = np.array(rows[1:])
    x = np.char.replace(plain, ",", ".").astype(float)
    assert_allclose(list(found), stats.norm.logpdf(x, x.mean(axis=0), x.std(axis=0)).sum(), rtol=1e-12)
    assert len(found) == 1


def test_types_that_change_half_way_leave_the_other_columns_numbers(run, file):
    """Types are inferred from the first 16 MB; what comes later is named, and the columns beside it stay numbers."""
    pad = "x" * 2000
    body = "".join(f"{i % 7},{i % 5 + 0.5},{pad}\n" for i in range(9000))
    path = file("big.csv", "a,b,pad\n" + body + f"3,oops,{pad}\n")
    out = run("fit", path, "--columns", "a,b")
    assert out.exit_code == 2
    assert "'oops' in row 9001 (line 9002 of big.csv), column 'b'" in out.stderr
    assert "1 x normal; 9001 rows of a" in run("fit", path, "--columns", "a", "-k", 1).stdout


def test_contradictions_are_named(run, file):
    start = ["--family", "poisson", "--start", "rate=0,5"]
    out = run("fit", file("l.csv", "n,g\n0,0\n0,0\n3,0\n4,1\n"), "--labels", "g", *start)
    assert out.exit_code == 2
    assert "Row 3 (line 4 of l.csv) has probability 0" in out.stderr
    assert "or its label" in out.stderr
    levels = run(
        "fit", file("c.csv", "c\na\nb\nc\n"), "--family", "categorical", "--start", "probabilities=[.5,.5],[.2,.8]"
    )
    assert levels.exit_code == 2
    assert "probabilities of 'c' needs one for each of its 3 levels ('a', 'b', 'c')" in levels.stderr
    prior = ["--family", "multivariate_normal(prior={'mean': [0, 0, 0]})"]
    shape = run("fit", file("p.csv", "a,b\n1,2\n3,1\n4,4\n6,5\n7,8\n"), *prior)
    assert shape.exit_code == 2
    assert "prior mean needs 2 columns" in shape.stderr


def test_prediction_on_other_columns_and_levels(run, file, tmp_path):
    saved, body = tmp_path / "m.json", "".join(f"{i % 9 + 0.5},{'abc'[i % 3]}\n" for i in range(60))
    assert run("fit", file("t.csv", "x,c\n" + body), "--seed", 0, "--out", saved).exit_code == 0
    gone = run("predict", saved, file("g.csv", "x,d\n1,a\n"))
    assert gone.exit_code == 2
    assert "no column 'c'" in gone.stderr
    assert "'x', 'd'" in gone.stderr
    new = file("n.csv", "x,c\n1,zz\n2.5,a\n")
    refused = run("predict", saved, new)
    assert refused.exit_code == 2
    for text in ("column 'c'", "'zz'", "row 1 (line 2 of n.csv)", "--unknown-missing"):
        assert text in refused.stderr
    missing = run("predict", saved, file("m.csv", "x,c\n1,\n2.5,a\n"))
    for command in ("predict", "score"):
        alike = run(command, saved, new, "--unknown-missing")
        assert alike.stdout == run(command, saved, file("m.csv", "x,c\n1,\n2.5,a\n")).stdout
    assert missing.exit_code == 0


def test_commas_that_may_stand_between_thousands_are_not_taken_for_decimal_ones(run, file):
    out = run("fit", file("t.tsv", "a\tb\n1,500\t2\n2,500\t3\n8,100\t4\n"), "--family", "normal")
    assert out.exit_code == 2
    assert "Write 1.500 or 1500, whichever is meant" in out.stderr


def test_a_family_that_is_none_is_no_column(run, file):
    out = run("fit", file("a.csv", "a\n1\n2\n3\n"), "--family", "gaussian(x=1)")
    assert "unknown family 'gaussian'" in out.stderr


def test_no_file_of_a_command_replaces_another(run, file, tmp_path):
    table = file("t.csv", "a\n1\n2\n4\n9\n")
    before = Path(table).read_bytes()
    (tmp_path / "link.csv").symlink_to(table)
    same = tmp_path / "same"
    cases = [
        (["--report", same, "--out", same], "--out and --report are both"),
        (["--checkpoint", same, "--out", f"{tmp_path}/./same"], "--out and --checkpoint are both"),
        (["--out", table], "--out and what is read"),
        (["--report", tmp_path / "link.csv"], "--report and what is read"),
    ]
    for options, text in cases:
        out = run("fit", table, *options)
        assert out.exit_code == 2
        assert out.stdout == ""
        assert text in " ".join(out.stderr.split())
    out = run("fit", str(tmp_path / "*.csv"), "--out", table)
    assert "--out and what is read" in " ".join(out.stderr.split())
    assert Path(table).read_bytes() == before
    assert not same.exists()
    model = tmp_path / "m.json"
    assert run("fit", table, "--out", model, "--family", "normal", "-k", 1).exit_code == 0
    saved = model.read_bytes()
    for arguments in (("predict", model, table), ("report", model, table), ("sample", model), ("impute", model, table)):
        assert run(*arguments, "--out", model).exit_code == 2
    assert model.read_bytes() == saved
    out = run("fit", table, "--out", "/dev/null", "--report", "/dev/null", "--family", "normal", "-k", 1)
    assert out.exit_code == 0
