"""Rows in files against rows in memory: `python -m benchmarks.streaming [ROWS] [FOLDER]`.

Writes a folder of Parquet files (8 float64 columns, a million rows a file; 50 million rows take 3.2 GB), or takes the
one that is there, and fits a full-covariance mixture of 8 components for some passes: from the files, from the files
with a checkpoint, and from memory, each in a process of its own. The files are then in the page cache. Prints a table.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import emix
from benchmarks.__main__ import resident

D, K, PASSES = 8, 8, 8
FILE_ROWS = 1_000_000


def write(folder: Path, n_rows: int) -> None:
    """The files that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    centres, factors = rng.normal(size=(K, D)), rng.normal(size=(K, D, D)) * 0.2 + np.eye(D)
    for i in range(-(-n_rows // FILE_ROWS)):
        path, n = folder / f"part-{i:04d}.parquet", min(FILE_ROWS, n_rows - i * FILE_ROWS)
        own = np.random.default_rng(i)
        z = own.integers(0, K, n)
        x = centres[z] + np.einsum("nij,nj->ni", factors[z], own.normal(size=(n, D)))
        if not path.exists():
            table = pa.table({f"x{j}": x[:, j] for j in range(D)})
            pq.write_table(table, path, compression="none", use_dictionary=False)


def start() -> emix.Mixture:
    """Parameters somewhere near."""
    rng = np.random.default_rng(1)
    return emix.Mixture(emix.MultivariateNormal(rng.normal(size=(K, D)), np.repeat(2.0 * np.eye(D)[None], K, 0)))


def one(kind: str, folder: str) -> dict[str, float]:
    """Seconds a pass, and MB at most."""
    scan = emix.scan(folder, memory_limit=0)
    data = scan if kind != "memory" else scan.read()
    ends: list[float] = []
    how = {
        "stop": "iterations",
        "max_iter": PASSES,
        "n_jobs": -1,
        "on_iteration": lambda _: ends.append(time.perf_counter()),
    }
    with tempfile.TemporaryDirectory() as kept:
        checkpoint = f"{kept}/fit.ckpt" if kind == "checkpoint" else None
        began = time.perf_counter()
        result = emix.fit(emix.Mixture(emix.MultivariateNormal(), K), data, start=start(), checkpoint=checkpoint, **how)
        whole = time.perf_counter() - began
    return {
        "pass": statistics.median(np.diff(ends)),
        "whole": whole,
        "peak": resident("VmHWM"),
        "log_likelihood": result.log_likelihood,
    }


def main(arguments: list[str]) -> None:
    """Run, or be one of the runs."""
    if arguments[:1] == ["--one"]:
        print(json.dumps(one(arguments[1], arguments[2])))
        return
    n_rows = int(arguments[0]) if arguments else 50_000_000
    folder = Path(arguments[1] if len(arguments) > 1 else f"{tempfile.gettempdir()}/emix_streaming_{n_rows}")
    write(folder, n_rows)
    found: dict[str, list[dict[str, float]]] = {"files": [], "files, with a checkpoint": [], "memory": []}
    kinds = dict(zip(found, ("files", "checkpoint", "memory"), strict=True))
    for turn in range(3):
        for name, kind in kinds.items():
            if turn == 0 or kind != "memory":
                command = [sys.executable, "-m", "benchmarks.streaming", "--one", kind, str(folder)]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name].append(json.loads(run.stdout))
    base = min(one["pass"] for one in found["memory"])
    print(f"| {n_rows:,} x {D}, K={K}, from | seconds a pass | rows a second | of memory's | whole fit, s | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        step, whole = min(one["pass"] for one in runs), min(one["whole"] for one in runs)
        peak = max(one["peak"] for one in runs)
        print(f"| {name} | {step:.3f} | {n_rows / step:,.0f} | {base / step:.0%} | {whole:.2f} | {peak:,.0f} |")
    same = len({one["log_likelihood"] for runs in found.values() for one in runs}) == 1
    print(f"\nThe same bits from all: {'yes' if same else 'NO'}.")


if __name__ == "__main__":
    main(sys.argv[1:])
