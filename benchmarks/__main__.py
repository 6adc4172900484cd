"""Run every workload against the peers that are installed, interleaved, and print a table.

    python -m benchmarks                 all workloads, median of 5
    python -m benchmarks --only full     those whose name contains a word
    python -m benchmarks --tiny          small sizes and one repetition: does it run?

Each workload starts all of them from the same parameters, for the same number of iterations or to the same final
log-likelihood; data are made before the clock starts, and one warm-up fit on a part of them compiles what is compiled.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.workloads import WORKLOADS, Workload


def dgemm_rate() -> float:
    """GFLOP/s of NumPy's matrix product on all threads."""
    A = np.random.default_rng(0).normal(size=(2000, 2000))
    A @ A
    times = []
    for _ in range(5):
        began = time.perf_counter()
        A @ A
        times.append(time.perf_counter() - began)
    return 2 * 2000**3 / statistics.median(times) / 1e9


def resident(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most since the last reset."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak_of(run: Callable[[], object]) -> float | None:
    """MB above the state before, where the system tells (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = resident("VmRSS")
        run()
        return resident("VmHWM") - before
    except OSError:
        return None


def measure(workload: Workload, repetitions: int) -> list[str]:
    """Rows of the table for one workload."""
    contenders = workload.contenders()
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    results: dict[str, float] = {}
    for name in names:
        contenders[name]()  # warm-up: compilers, caches, thread pools
    for _ in range(repetitions):
        for name in names:  # interleaved, so that a busy moment of the machine meets all of them
            began = time.perf_counter()
            done = contenders[name]()
            took = time.perf_counter() - began
            results[name], took = done if isinstance(done, tuple) else (done, took)
            times[name].append(took)
    ours = statistics.median(times["emix"])
    memory = peak_of(contenders["emix"])
    rows = []
    for name in names:
        middle = statistics.median(times[name])
        share = f"{workload.flop / middle / 1e9 / RATE:.0%}" if name == "emix" and workload.flop else ""
        peak = f"{memory:.0f} MB" if name == "emix" and memory is not None else ""
        rows.append(
            f"| {workload.name if name == 'emix' else ''} | {name} | {middle:.4f} | {min(times[name]):.4f} to "
            f"{max(times[name]):.4f} | {middle / ours:.1f} | {share} | {peak} | {results[name]:.6f} |"
        )
    return rows


def processor() -> str:
    """The processor's name."""
    try:
        text = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return platform.processor()
    return next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("Model name")), "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--tiny", action="store_true", help="small sizes, one repetition")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions; the median is printed (default 5)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"{processor()}, {platform.system()}, Python {platform.python_version()}; dgemm {RATE:.0f} GFLOP/s\n")
    print("| workload | who | seconds | range | times emix | of dgemm | memory | log-likelihood |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for make in WORKLOADS:
        workload = make(arguments.tiny)
        if arguments.only in workload.name:
            for row in measure(workload, 1 if arguments.tiny else arguments.repeat):
                print(row)
            sys.stdout.flush()


RATE = dgemm_rate()

if __name__ == "__main__":
    main()
