"""Time of an iteration by covariance structure, and with missing cells: `python -m benchmarks.structures`."""

from __future__ import annotations

import argparse
import time

import numpy as np

import emix
from emix.families import STRUCTURES

SQUARES = ("EII", "VII", "EEI", "VEI", "EVI", "VVI")
"""Structures that read the squares alone: they are measured against VVI, the others against VVV."""


def seconds_per_iteration(family: emix.MultivariateNormal, x: np.ndarray, repetitions: int, n_jobs: int) -> float:
    """Median over repetitions of what ten iterations more cost, per iteration."""

    def run(iterations: int) -> float:
        began = time.perf_counter()
        emix.fit(emix.Mixture(family), x, stop="iterations", max_iter=iterations, n_jobs=n_jobs)
        return time.perf_counter() - began

    run(1)
    return float(np.median([(run(12) - run(2)) / 10 for _ in range(repetitions)]))


def groups(n: int, d: int, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in K overlapping groups of different shapes; start means and covariances."""
    rng = np.random.default_rng(0)
    centres, shapes = rng.normal(0, 1.5, (K, d)), 0.4 * rng.normal(size=(K, d, d)) + np.eye(d)
    z = rng.integers(0, K, n)
    x = centres[z] + (shapes[z] @ rng.normal(size=(n, d, 1)))[..., 0]
    return x, centres, np.repeat(np.cov(x.T)[None], K, 0)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes, one repetition")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    n, repetitions = (2_000, 1) if options.tiny else (100_000, options.repeat)

    x, means, covariances = groups(n, 8, 8)
    start = emix.fit(
        emix.Mixture(emix.MultivariateNormal(means, covariances)), x, stop="iterations", max_iter=3, n_jobs=options.jobs
    ).model.family
    times = {}
    for name, one in STRUCTURES.items():
        allowed = one.covariances(start.covariance * (n / 8), np.full(8, n / 8))
        family = emix.MultivariateNormal(start.mean, allowed, structure=name)
        times[name] = seconds_per_iteration(family, x, repetitions, options.jobs)
    print(f"| structure, {n:,} x 8, K=8 | ms per iteration | over its closed form |\n| --- | --- | --- |")
    for name, seconds in times.items():
        base = times["VVI" if name in SQUARES else "VVV"]
        print(f"| {name} | {1e3 * seconds:.2f} | {100 * (seconds / base - 1):+.0f}% |")

    x, means, covariances = groups(n, 8, 4)
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    few = rng.random((5, 8)) < 0.3
    few[0] = False
    five = np.where(few[rng.integers(0, 5, n)], np.nan, x)
    tables = {"complete": x, "5 patterns": five, "a fifth missing, about 250 patterns": holes}
    family = emix.MultivariateNormal(means, covariances)
    print(f"\n| missing cells, {n:,} x 8, K=4 | ms per iteration | times complete |\n| --- | --- | --- |")
    base = None
    for name, rows in tables.items():
        seconds = seconds_per_iteration(family, rows, repetitions, options.jobs)
        base = base or seconds
        print(f"| {name} | {1e3 * seconds:.2f} | {seconds / base:.2f} |")


if __name__ == "__main__":
    main()
