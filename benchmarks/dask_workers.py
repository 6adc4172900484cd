"""What a Dask cluster costs and gives: `python -m benchmarks.dask_workers [--tiny]`.

Three tables: passes per second with one and with two local worker processes; the overhead of a pass over 64 partitions
of next to no rows; and fits in which a worker is killed (SIGKILL) at a random moment, which must have the bits of one
that was left alone.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd

import emix
from emix.data.dask_source import DaskSource
from emix.fitting.opening import open_rows

D, K = 8, 8


def part(i: int, n: int) -> pd.DataFrame:
    """Rows of a partition: drawn where they are needed, again and again the same."""
    rng = np.random.default_rng(i)
    group = rng.integers(0, K, n)
    return pd.DataFrame(rng.normal(size=(n, D)) + 4.0 * group[:, None], columns=[f"x{j}" for j in range(D)])


def frame(n_partitions: int, n: int) -> Any:
    """A Dask data frame of so many partitions of n rows."""
    return dd.from_map(part, range(n_partitions), n=n, meta=part(0, 1).iloc[:0])


@contextmanager
def workers(n: int) -> Iterator[distributed.Client]:
    """A local cluster of single-threaded processes."""
    own = {"n_workers": n, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**own) as cluster, distributed.Client(cluster) as client:
        yield client


def prepared(data: Any) -> tuple[DaskSource, Any]:
    """Rows that are read, and a model whose passes are compiled, on all workers."""
    kind = emix.Mixture(emix.MultivariateNormal(), K)
    model = emix.fit(kind, part(0, 5_000), n_init=1, max_iter=2, stop="iterations", random_state=0).model
    source = open_rows(data).source(kind, None, 1)
    assert isinstance(source, DaskSource)
    source = source.prepared_for(model.family)
    for _ in range(2):
        source.sum_over_chunks(model.expect)
    return source, model


def seconds_of(source: DaskSource, model: Any) -> float:
    """Of one pass."""
    began = time.perf_counter()
    source.sum_over_chunks(model.expect)
    return time.perf_counter() - began


def throughput(n: int, n_passes: int) -> dict[int, list[float]]:
    """Seconds of passes with one worker and with two, by turns, so that what else the machine does meets both."""
    found: dict[int, list[float]] = {1: [], 2: []}
    with workers(1) as one, workers(2) as two:
        clients, sources = {1: one, 2: two}, {}
        for count, client in clients.items():
            with client.as_current():
                sources[count] = prepared(frame(16, n))
        for _ in range(n_passes):
            for count, client in clients.items():
                with client.as_current():
                    found[count].append(seconds_of(*sources[count]))
    return found


def fitted(data: Any, **how: Any) -> emix.FitResult:
    """A fit of some dozens of passes."""
    return emix.fit(
        emix.Mixture(emix.MultivariateNormal(), 3),
        data,
        n_init=1,
        random_state=0,
        stop="iterations",
        max_iter=60,
        **how,
    )


def bits(result: emix.FitResult) -> bytes:
    """All numbers of a result."""
    return b"".join(np.asarray(one).tobytes() for one in [result.log_likelihood, *result.model.parameters.values()])


def killed(data: Any, seconds: float) -> bytes:
    """The bits of a fit in which one of two workers is killed a random time after its beginning."""
    with workers(2) as client:
        pids = list(client.run(os.getpid).values())
        timer = threading.Timer(random.uniform(0.0, seconds), os.kill, (random.choice(pids), signal.SIGKILL))
        timer.start()
        found = bits(fitted(data))
        was_late = timer.is_alive()
        timer.cancel()
    return killed(data, seconds / 2) if was_late else found


def main(arguments: list[str]) -> None:
    """Print the three tables."""
    is_tiny = "--tiny" in arguments
    n, n_passes, n_kills = (2_000, 3, 1) if is_tiny else (500_000, 60, 20)
    print("| workers | rows | seconds per pass, best | median | rows per second | times one worker |")
    print("| --- | --- | --- | --- | --- | --- |")
    found = throughput(n, n_passes)
    for count, seconds in found.items():
        rate, times = 16 * n / min(seconds), min(found[1]) / min(seconds)
        own = f"{min(seconds):.3f} | {statistics.median(seconds):.3f} | {rate:,.0f} | {times:.2f}"
        print(f"| {count} | {16 * n:,} x {D}, K={K} | {own} |", flush=True)
    with workers(2):
        source, model = prepared(frame(64, 50))
        seconds = [seconds_of(source, model) for _ in range(n_passes)]
        shown = f"{1e3 * statistics.median(seconds):.0f} ms ({1e3 * min(seconds):.0f} to {1e3 * max(seconds):.0f})"
        print(f"\noverhead of a pass over 64 partitions: {shown}")
        data = frame(16, 500 if is_tiny else 5_000)
        fitted(data)
        began = time.perf_counter()
        want = bits(fitted(data))
        lasted = time.perf_counter() - began
    same = sum(killed(data, lasted) == want for _ in range(n_kills))
    print(f"\na worker killed at a random moment: the same bits in {same} of {n_kills} fits of {lasted:.1f} s")


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # which tells of every worker that is killed
    main(sys.argv[1:])
