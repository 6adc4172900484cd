"""Time and reach of a whole table of model choice beside R's mclust: `python -m benchmarks.selection`.

Fourteen covariance structures with one to nine components, on iris and on Old Faithful; mclust in its own process with
the package loaded, interleaved with emix, which goes on in other processes after a second.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np

import emix

DATA = Path(__file__).parents[1] / "tests" / "reference"
TABLES = {"iris": 4, "faithful": 2}
"""Names of files, and how many of their columns are numbers."""
STARTS = {"ward": "one hierarchical start", "nested": "from simpler structures", "short-runs": "ten starts (default)"}
REACHED = 1e-3
"""Nats within which two fits are the same."""
SCRIPT = """
suppressMessages(library(mclust))
x <- as.matrix(read.csv("{path}")[, 1:{d}])
begun <- proc.time()
table <- mclustBIC(x, G = 1:{most}, verbose = FALSE)
took <- proc.time() - begun
cat("#", took[["elapsed"]], "\\n")
write.csv(unclass(table)[, ], row.names = TRUE, quote = FALSE)
"""

Found = tuple[float, dict[tuple[str, int], float]]
"""Seconds, and BIC (smaller is better) by structure and number of components."""


def read(name: str) -> np.ndarray:
    """The numeric columns of a published table."""
    with (DATA / f"{name}.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    return np.array([row[: TABLES[name]] for row in rows], dtype=float)


def by_mclust(name: str, most: int) -> Found | None:
    """The table of mclust; None without R or the package."""
    if shutil.which("Rscript") is None:
        return None
    script = SCRIPT.format(path=DATA / f"{name}.csv", d=TABLES[name], most=most)
    ended = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if ended.returncode:
        return None
    head, names, *rows = [line for line in ended.stdout.splitlines() if line.strip()]
    structures = names.split(",")[1:]
    values = {}
    for row in rows:
        K, *cells = row.split(",")
        for structure, cell in zip(structures, cells, strict=True):
            if cell != "NA":
                values[structure, int(K.strip('"'))] = -float(cell)
    return float(head.split()[1]), values


def by_emix(x: np.ndarray, start: str, most: int) -> Found:
    """The table of emix."""
    began = time.perf_counter()
    families = emix.MultivariateNormal.all_structures()
    found = emix.select(x, range(1, most + 1), families, start=start, random_state=0)
    took = time.perf_counter() - began
    ended = [one for one in found.candidates if one.result is not None]
    return took, {(one.family.split("'")[1], one.n_components): one.result.bic for one in ended}


def compared(ours: dict[tuple[str, int], float], theirs: dict[tuple[str, int], float]) -> str:
    """How many fits are better, the same, worse (in log-likelihood), and found by one alone."""
    both = [(theirs[cell] - ours[cell]) / 2 for cell in ours.keys() & theirs.keys()]
    better, worse = sum(gain > REACHED for gain in both), sum(gain < -REACHED for gain in both)
    same = len(both) - better - worse
    return f"{better} | {same} | {worse} | {len(ours.keys() - theirs.keys())} | {len(theirs.keys() - ours.keys())}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="two components at most, one repetition, without R")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    most, repetitions = (2, 1) if options.tiny else (9, options.repeat)
    warnings.filterwarnings("ignore")
    print("| table | who | seconds | better than mclust | same | worse | emix alone | mclust alone |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in TABLES:
        x = read(name)
        by_emix(x, "ward", 1)  # warm-up
        runs: dict[str, list[Found]] = {start: [] for start in STARTS}
        others: list[Found] = []
        for _ in range(repetitions):
            other = None if options.tiny else by_mclust(name, most)
            others += [] if other is None else [other]
            for start in STARTS:
                runs[start].append(by_emix(x, start, most))
        for start, found in runs.items():
            ending = compared(found[0][1], others[0][1]) if others else " | | | |"
            print(f"| {name} | emix, {STARTS[start]} | {_median(found)} | {ending} |")
        if others:
            print(f"| {name} | mclust | {_median(others)} | | | | | |")


def _median(found: list[Found]) -> str:
    return f"{statistics.median(one[0] for one in found):.2f}"


if __name__ == "__main__":
    main()
