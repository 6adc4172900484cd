"""Time and memory of an iteration on sparse counts, as of documents: `python -m benchmarks.sparse`."""

from __future__ import annotations

import argparse
import resource
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import scipy.sparse

import emix

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts the peak."""


def documents(n: int, d: int, words: int, n_topics: int) -> scipy.sparse.csr_array:
    """Rows of about `words` different columns, drawn from one of the topics' shares of a common, long-tailed use."""
    rng = np.random.default_rng(0)
    common = 1 / (np.arange(d) + 20.0)
    topic = rng.integers(0, n_topics, n)
    edges = np.stack([np.cumsum(common * rng.gamma(0.5, 2.0, d)) for _ in range(n_topics)])
    edges /= edges[:, -1:]
    draws = int(1.25 * words)
    indices = np.empty((n, draws), dtype=np.int32)
    for k in range(n_topics):
        mine = np.flatnonzero(topic == k)
        indices[mine] = np.searchsorted(edges[k], rng.random((len(mine), draws))).clip(0, d - 1)
    indptr = np.arange(0, n * draws + 1, draws, dtype=np.int32)
    rows = scipy.sparse.csr_array((np.ones(n * draws, dtype=np.float32), indices.ravel(), indptr), shape=(n, d))
    rows.sum_duplicates()
    return rows.copy()


class Peak:
    """The largest resident memory while it is watched, beyond what was there before."""

    def __enter__(self) -> Peak:
        self.before, self.largest, self.is_over = resident(), 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def _watch(self) -> None:
        while not self.is_over.wait(0.005):
            self.largest = max(self.largest, resident())

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.watcher.join()
        self.extra = max(self.largest - self.before, 0)


def resident() -> int:
    """Resident bytes now; where the system does not tell, their peak."""
    try:
        with open("/proc/self/statm") as counts:
            return int(counts.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


FAMILIES = {"multinomial": emix.Multinomial, "poisson": emix.Poisson, "bernoulli": emix.Bernoulli}


def measure(name: str, n: int, d: int, words: int, K: int, jobs: int, accelerate: bool) -> str:
    """A row of the table; in a process of its own, so that nothing is left of an earlier one."""
    rows = documents(n, d, words, K)
    if name == "bernoulli":
        rows.data[:] = 1
    size = rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    model, arguments = emix.Mixture(FAMILIES[name](), K), {"n_init": 1, "random_state": 0, "n_jobs": jobs}
    arguments |= {"tol": 1e-9} if accelerate else {"stop": "iterations"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", emix.ConvergenceWarning)
        emix.fit(model, rows[:2_000], max_iter=1, **arguments)  # compiles
        began = time.perf_counter()
        with Peak() as peak:
            result = emix.fit(model, rows, max_iter=10, **arguments)
        total = time.perf_counter() - began
    seconds = [record.seconds for record in result.history]
    each = (seconds[-1] - seconds[0]) / max(result.history[-1].iteration, 1)
    ratios = f"{peak.extra / 1e6:.0f} | {peak.extra / size:.2f}"
    return f"| {name} | {size / 1e6:.0f} | {each:.3f} | {total - seconds[-1]:.2f} | {ratios} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--accelerate", action="store_true", help="with the leaps of the default, which keep old sums")
    options = parser.parse_args()
    n, d, words, K = (2_000, 1_000, 30, 4) if options.tiny else (100_000, 30_000, 100, 20)
    print(f"{n:,} x {d:,}, about {words} stored cells a row, K={K}\n")
    print("| family | rows, MB | s per iteration | s of reading and start | memory beside the rows, MB | in rows |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in FAMILIES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            print(alone.submit(measure, name, n, d, words, K, options.jobs, options.accelerate).result(), flush=True)


if __name__ == "__main__":
    main()
