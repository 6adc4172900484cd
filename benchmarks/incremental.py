"""How many passes incremental EM needs: `python -m benchmarks.incremental [ROWS]` (default 1,000,000).

A pass is one reading of all rows. Each method starts from the same parameters, which 10 iterations of the best of 10
starts on every so-manieth row give. Counted are the passes until the log-likelihood is that at which plain EM stops by
the default rule (1e-6 nats still to gain), less the rounding of the log-likelihood; in brackets the passes until the
method's own end, that which tells the exact log-likelihood included. The second table says how much log-likelihood
is still missing, in nats, after the first few passes.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import emix

SAMPLE = 10_000
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("plain EM", {"accelerate": False}),
    ("accelerated EM", {}),
    *(
        (f"incremental, {n} blocks, no leaps", {"algorithm": "incremental", "n_blocks": n, "accelerate": False})
        for n in (4, 16, 64)
    ),
    *((f"incremental, {n} blocks", {"algorithm": "incremental", "n_blocks": n}) for n in (4, 8, 16, 32, 64)),
]

EARLY, FIRST = ("plain EM", "accelerated EM", "incremental, 16 blocks"), (3, 5, 10)
"""Methods and numbers of passes of the second table."""


def gaussians(n: int, centres: float, spread: float, seed: int = 0) -> np.ndarray:
    """Eight Gaussians in eight dimensions, in no order."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(8, 8)) * centres
    factor = rng.normal(size=(8, 8, 8)) * spread + np.eye(8)
    z, x = rng.integers(0, 8, n), np.empty((n, 8))
    for k in range(8):
        x[z == k] = mean[k] + rng.normal(size=(int((z == k).sum()), 8)) @ factor[k].T
    return x


def mixed(n: int, gap: float, seed: int = 0) -> tuple[emix.Mixture, dict[str, np.ndarray]]:
    """Three normal, two Poisson and three categorical columns, a tenth of the cells missing."""
    rng, K = np.random.default_rng(seed), 5
    z, table, families = rng.integers(0, K, n), {}, {}
    for j in range(3):
        table[f"n{j}"], families[f"n{j}"] = rng.normal(0, gap, K)[z] + rng.normal(size=n), emix.Normal()
    for j in range(2):
        table[f"p{j}"], families[f"p{j}"] = rng.poisson(rng.uniform(2, 2 + 3 * gap, K)[z]).astype(float), emix.Poisson()
    for j in range(3):
        edges = np.cumsum(rng.dirichlet(np.ones(4) / gap, K), axis=1)[:, :-1]
        table[f"c{j}"], families[f"c{j}"] = (rng.random((n, 1)) > edges[z]).sum(1).astype(float), emix.Categorical()
    for cells in table.values():
        cells[rng.random(n) < 0.1] = np.nan
    return emix.Mixture(emix.Columns(families), K), table


def problems(n: int) -> Iterator[tuple[str, emix.Mixture, Any]]:
    """Name, specification, rows."""
    full = emix.Mixture(emix.MultivariateNormal(), 8)
    x = gaussians(n, 1.0, 0.2)
    yield f"Gaussians {n:,} x 8, K=8, centres of sd 1", full, x
    yield "the same, sorted by the first column", full, x[np.argsort(x[:, 0])]
    yield f"Gaussians {n:,} x 8, K=8, centres of sd 1, nearly equal covariances", full, gaussians(n, 1.0, 0.1)
    model, table = mixed(n // 2, 1.0)
    yield f"mixed table, {n // 2:,} rows, 10 % missing, K=5", model, table


def start_of(model: emix.Mixture, data: Any, n: int) -> emix.Mixture:
    """Parameters from every so-manieth row."""
    step = max(1, n // SAMPLE)
    some = {name: cells[::step] for name, cells in data.items()} if isinstance(data, dict) else data[::step]
    how: dict[str, Any] = {"start": "k-means++", "stop": "iterations", "max_iter": 10, "random_state": 0}
    fitted = emix.fit(model, some, **how, n_jobs=-1).model
    return emix.Mixture(fitted.family, mixing_proportions=fitted.mixing_proportions)


def passes(start: emix.Mixture, data: Any, how: dict[str, Any]) -> tuple[list[tuple[int, float]], int, float]:
    """(passes so far, log-likelihood or the bound on it) after each, all passes, and seconds per pass."""
    found: list[tuple[int, float]] = []

    def tell(one: emix.fitting.Pass) -> None:
        found.append((one.record.iteration + 1, one.record.log_likelihood))

    began = time.perf_counter()
    result = emix.fit(start, data, **how, n_jobs=-1, on_iteration=tell)
    took = time.perf_counter() - began
    closing = len(found) > 1 and found[-1][0] == found[-2][0]
    if closing:  # a pass that tells the log-likelihood itself in the place of the last bound
        found[-1] = (found[-1][0] + 1, found[-1][1])
    if not result.converged:
        raise RuntimeError(str(result))
    return found, result.n_iter + 1 + closing, took / (result.n_iter + 1)


def main(arguments: list[str]) -> None:
    """Count and print."""
    warnings.filterwarnings("ignore")
    n = int(arguments[0]) if arguments else 1_000_000
    names = [name for name, _ in METHODS]
    print(f"| problem | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
    early = []
    for name, model, data in problems(n):
        rows = len(next(iter(data.values()))) if isinstance(data, dict) else len(data)
        start = start_of(model, data, rows)
        cells, missing, target = [], [], np.inf
        for method, how in METHODS:
            found, total, seconds = passes(start, data, how)
            if method == "plain EM":
                target = found[-1][1] - 16 * np.finfo(float).eps * abs(found[-1][1])
            reached = next((str(at) for at, value in found if value >= target), "not reached")
            cells.append(f"{reached} ({total})")
            if method in EARLY:
                missing += [f"{target - max(value for at, value in found if at <= first):.2g}" for first in FIRST]
            print(f"{name}: {method}: {reached} ({total}), {seconds:.3f} s per pass", file=sys.stderr, flush=True)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        early.append(f"| {name} | {' | '.join(missing)} |")
    titles = [f"{method}, {first} passes" for method in EARLY for first in FIRST]
    print(f"\n| still missing after | {' | '.join(titles)} |\n|{' --- |' * (len(titles) + 1)}")
    print("\n".join(early))


if __name__ == "__main__":
    main(sys.argv[1:])
