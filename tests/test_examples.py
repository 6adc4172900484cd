"""The examples run, and show what they claim."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["film_ratings", "crowd_labels", "latent_classes", "missing_cells"])
def test_examples_run(name, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "converged" in out
    assert "nan" not in out


def test_knowing_the_workers_beats_the_majority():
    example = runpy.run_path(str(EXAMPLES / "crowd_labels.py"))
    table, truth = example["answers"]()
    import emix

    first = example["majority"](table)
    model = emix.fit(emix.Mixture(emix.Categorical(), 3, prior_rows=1.0), table, start=first).model
    assert (emix.predict(model, table) == truth).mean() > (first == truth).mean() + 0.03


def test_the_table_of_the_readme_from_the_command_line_and_in_python(run, monkeypatch, capsys):
    """Both commands as they stand there lead to the same fit."""
    monkeypatch.chdir(EXAMPLES.parent)
    readme = Path("README.md").read_text()
    five = re.search(r"import pandas as pd\n.*?(?=```)", readme, re.DOTALL).group()
    command = re.search(r"emix (fit examples/library.csv.*)", readme).group(1)
    exec(compile("import emix\n" + five, "README.md", "exec"), {})
    said = capsys.readouterr().out
    out = run(*shlex.split(command), "--json")
    assert f"log-likelihood {json.loads(out.stdout)['log_likelihood']:.6f}" in said
    assert "fees: lognormal" in said
    assert "reader: left out (an identifier: 300 different texts)" in out.stderr
    assert json.loads(out.stdout)["model"]["component_names"] == ["family", "retired", "student"]
