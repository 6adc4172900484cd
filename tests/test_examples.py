"""The examples run, and show what they claim."""

import runpy
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
