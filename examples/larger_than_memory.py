"""Rows that stream by, in little memory: python examples/larger_than_memory.py [ROWS]

Writes a folder of Parquet files and fits it with `emix.scan`, which reads them anew at each pass and never holds them
all. What the process needed at its peak beyond what it had before is measured, and must stay below a ceiling that does
not depend on the number of rows.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import emix

N_COLUMNS = 8
PER_FILE = 250_000
CEILING = 256
"""MB above the process as it stands before the fit."""


def write(folder: Path, n_rows: int) -> None:
    """Two clouds, file by file."""
    for i, start in enumerate(range(0, n_rows, PER_FILE)):
        rng = np.random.default_rng(i)
        n = min(PER_FILE, n_rows - start)
        x = rng.normal(size=(n, N_COLUMNS)) + np.where(rng.random((n, 1)) < 0.4, 3.0, 0.0)
        pq.write_table(pa.table({f"x{j}": x[:, j] for j in range(N_COLUMNS)}), folder / f"part-{i:04}.parquet")


def peak() -> float:
    """MB that the process ever had in memory at once."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(n_rows: int) -> None:
    model = emix.Mixture(emix.MultivariateNormal(), 2)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), n_rows)
        warm = np.random.default_rng(0).normal(size=(60_000, N_COLUMNS))
        emix.fit(model, warm, random_state=0, n_init=1, max_iter=1, stop="iterations")  # compilers need memory, too
        before, began = peak(), time.perf_counter()
        result = emix.fit(model, emix.scan(folder, memory_limit=0), random_state=0)
        seconds, needed = time.perf_counter() - began, peak() - before
    print(result)
    print("shares", np.sort(result.model.mixing_proportions).round(3))
    print(
        f"{n_rows:,} rows are {n_rows * N_COLUMNS * 8 / 1e6:,.0f} MB; the fit of {seconds:.1f} s needed {needed:.0f} MB"
    )
    if needed > CEILING:
        sys.exit(f"more than the ceiling of {CEILING} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
