"""The benchmarks run: tiny sizes, no clock looked at."""

import subprocess
import sys
from pathlib import Path

from benchmarks import coverage

ROOT = Path(__file__).parent.parent


def test_every_workload_runs_against_scikit_learn_at_least():
    command = [sys.executable, "-m", "benchmarks", "--tiny"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [line for line in out.splitlines() if line.startswith("|")][2:]
    named = [row for row in rows if not row.startswith("|  |")]
    assert len(named) == 16
    assert all("| emix |" in row for row in named)
    assert sum("scikit-learn" in row for row in rows) >= 9
    assert "nan" not in out


def test_coverage_counts_the_intervals_of_each_kind():
    rows = coverage.run("two latent classes, six items, 1,000 rows", 2, 1)
    assert ["mixing_proportion" in rows[0], "probabilities" in rows[1], "0 not converged" in rows[2]] == [True] * 3
