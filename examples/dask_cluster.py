"""A folder of Parquet files, fitted by the workers of a Dask cluster: python examples/dask_cluster.py [ROWS]

Each worker reads its part of the files once and keeps it. At each pass the model goes to the workers, and sums come
back: rows never travel. Instead of the local cluster that is started here, `Client("tcp://scheduler:8786")` uses one
that is running, whose workers have emix and see the files.
"""

import sys
import tempfile
import time

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

import emix

CENTRES = np.array([[0.0, 0.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0], [0.0, 4.0, 4.0, -4.0]])
SHARES = [0.5, 0.3, 0.2]


def part(i: int, n: int) -> pd.DataFrame:
    """Rows of one file: three clouds, and a visit in ten without its last measurement."""
    rng = np.random.default_rng(i)
    x = CENTRES[rng.choice(3, n, p=SHARES)] + rng.normal(size=(n, 4))
    x[rng.random(n) < 0.1, 3] = np.nan
    return pd.DataFrame(x, columns=["a", "b", "c", "d"])


def main(n_rows: int) -> None:
    n_files = max(4, n_rows // 250_000)
    rows = dd.from_map(part, range(n_files), n=n_rows // n_files)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        rows.to_parquet(folder)
        began = time.perf_counter()
        result = emix.fit(
            emix.Mixture(emix.MultivariateNormal(), 3),
            dd.read_parquet(folder),
            random_state=0,
            on_iteration=lambda one: print(f"\r{one.record.log_likelihood:.1f}", end="", file=sys.stderr),
        )
        seconds = time.perf_counter() - began
        print(result)
        n_workers, n_passes = len(client.ncores()), len(result.history)
        print(f"{result.total_weight:,.0f} rows, {n_workers} workers, {n_passes} passes, {seconds:.1f} s")
    print("shares", np.sort(result.model.mixing_proportions)[::-1].round(3))
    assert np.allclose(np.sort(result.model.mixing_proportions)[::-1], SHARES, atol=5 / np.sqrt(n_rows))


if __name__ == "__main__":  # the workers are processes of their own, which import this file
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
