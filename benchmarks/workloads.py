"""What is measured: data, a start, and how each contender takes the same work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import emix
from benchmarks import peers
from benchmarks.peers import Run


@dataclass(frozen=True)
class Workload:
    """A name, the contenders (each runs the work and returns the log-likelihood it ended with), and the arithmetic."""

    name: str
    contenders: Callable[[], dict[str, Run]]
    flop: float = 0.0


def _fit(model: emix.Mixture, x: Any, **options: Any) -> Run:
    return lambda: float(emix.fit(model, x, n_jobs=-1, **options).log_likelihood)


def groups(n: int, d: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows in K round groups, shuffled; and K of them as start means."""
    rng = np.random.default_rng(seed)
    x = np.vstack([rng.normal(rng.normal(0, 3, d), 1, (n // K, d)) for _ in range(K)])
    rng.shuffle(x)
    return x, x[:K].copy()


def gaussian(n: int, d: int, K: int, kind: str) -> Callable[[bool], Workload]:
    """A Gaussian mixture, 10 iterations from one start."""

    def make(tiny: bool) -> Workload:
        few = min(K, 4) if tiny else K
        rows = max(n // 1000, 10 * few * (d + 2)) if tiny else n

        def contenders() -> dict[str, Run]:
            x, means = groups(rows, d, few)
            pooled = np.cov(x.T)
            start = pooled if kind == "full" else np.diag(np.diag(pooled))
            family = emix.MultivariateNormal(means, np.repeat(start[None], few, 0), structure=kind)
            iterations = 2 if tiny else 10
            ours = _fit(emix.Mixture(family), x, stop="iterations", max_iter=iterations)
            others = peers.gaussian(x, means, start, kind, iterations=iterations)
            return {"emix": ours, **others}

        n_statistics = 1 + d + (d * (d + 1) // 2 if kind == "full" else d)
        return Workload(
            f"{kind} Gaussian {n:,} x {d}, K={K}, 10 iterations", contenders, 4.0 * n * K * n_statistics * 10
        )

    return make


def items(n: int, d: int, K: int, missing: float = 0.0) -> Callable[[bool], Workload]:
    """Binary items, a share of them missing, 50 iterations from one start."""

    def make(tiny: bool) -> Workload:
        rows = n // 1000 if tiny else n

        def contenders() -> dict[str, Run]:
            rng = np.random.default_rng(0)
            p, z = rng.uniform(0.2, 0.8, (K, d)), rng.integers(0, K, rows)
            x = (rng.random((rows, d)) < p[z]).astype(float)
            start = rng.uniform(0.3, 0.7, (K, d))
            x[rng.random(x.shape) < missing] = np.nan
            ours = _fit(emix.Mixture(emix.Bernoulli(start)), x, stop="iterations", max_iter=50)
            return {"emix": ours, **peers.items(x, start, iterations=50)}

        holes = f", {missing:.0%} missing" if missing else ""
        return Workload(f"{d} binary items, {n:,} rows{holes}, K={K}, 50 iterations", contenders)

    return make


def counts(tiny: bool) -> Workload:
    """A Poisson mixture, 50 iterations from one start."""
    n = 1000 if tiny else 1_000_000

    def contenders() -> dict[str, Run]:
        rng = np.random.default_rng(0)
        x = rng.poisson(np.array([2.0, 6.0, 12.0])[rng.integers(0, 3, n)]).astype(float)[:, None]
        rates = [1.0, 5.0, 10.0]
        ours = _fit(emix.Mixture(emix.Poisson(rates)), x, stop="iterations", max_iter=50)
        return {"emix": ours, **peers.counts(x, rates, iterations=50)}

    return Workload("Poisson 1,000,000 x 1, K=3, 50 iterations", contenders)


def overlapping(tiny: bool) -> Workload:
    """To the same final log-likelihood, within 1e-6 per row of the best known: what tolerance means in practice."""
    n = 400 if tiny else 100_000

    def contenders() -> dict[str, Run]:
        rng = np.random.default_rng(1)
        centres = rng.normal(0, 2.0, (6, 4))
        x = centres[rng.integers(0, 6, n)] + rng.normal(size=(n, 4))
        start = np.cov(x.T)
        family = emix.MultivariateNormal(centres, np.repeat(start[None], 6, 0))
        best = emix.fit(emix.Mixture(family), x, tol=1e-9, n_jobs=-1, max_iter=20_000).log_likelihood
        target = best - 1e-6 * n
        ours = _fit(emix.Mixture(family), x, tol=1e-7 * n)
        return {"emix": ours, **peers.gaussian_to(x, centres, start, target)}

    return Workload("overlapping Gaussians 100,000 x 4, K=6, to 1e-6 per row of the best", contenders)


def small(name: str, x: Callable[[], np.ndarray], K: int) -> Callable[[bool], Workload]:
    """Small data, one start, warm: where most fits happen."""

    def make(tiny: bool) -> Workload:
        def contenders() -> dict[str, Run]:
            rows = x()
            means = rows[np.linspace(0, len(rows) - 1, K).astype(int)]
            start = np.cov(rows.T)
            family = emix.MultivariateNormal(means, np.repeat(start[None], K, 0))
            ours = _fit(emix.Mixture(family), rows, tol=1e-4)
            target = ours() - 1e-3
            return {"emix": ours, **peers.gaussian_to(rows, means, start, target)}

        return Workload(name, contenders)

    return make


def mixed(tiny: bool) -> Workload:
    """A table of three kinds of columns, a tenth missing: a whole fit, starts included."""
    n, K = (3_000 if tiny else 1_000_000), 5

    def contenders() -> dict[str, Run]:
        rng = np.random.default_rng(0)
        z, table, families = rng.integers(0, K, n), {}, {}
        for j in range(3):
            table[f"n{j}"], families[f"n{j}"] = rng.normal(0, 2, K)[z] + rng.normal(size=n), emix.Normal()
        for j in range(2):
            table[f"p{j}"], families[f"p{j}"] = rng.poisson(rng.uniform(1, 10, K)[z]).astype(float), emix.Poisson()
        for j in range(3):
            edges = np.cumsum(rng.dirichlet(np.ones(4), K), axis=1)[:, :-1]
            table[f"c{j}"], families[f"c{j}"] = (rng.random((n, 1)) > edges[z]).sum(1).astype(float), emix.Categorical()
        for cells in table.values():
            cells[rng.random(n) < 0.1] = np.nan
        return {"emix": _fit(emix.Mixture(emix.Columns(families), K), table, random_state=0)}

    return Workload("3 normal, 2 Poisson, 3 categorical columns, 1,000,000 rows, 10% missing, K=5, a fit", contenders)


def answers(tiny: bool) -> Workload:
    """A large survey: a whole fit, starts included."""
    n, d, K = (2_000, 20, 5) if tiny else (500_000, 200, 5)

    def contenders() -> dict[str, Run]:
        rng = np.random.default_rng(0)
        z, edges = rng.integers(0, K, n), np.cumsum(rng.dirichlet(np.full(4, 2.0), (K, d)), axis=2)[:, :, :-1]
        x = np.empty((n, d), dtype=np.int8)
        for j in range(d):
            x[:, j] = (rng.random((n, 1)) > edges[z, j]).sum(axis=1)
        return {"emix": _fit(emix.Mixture(emix.Categorical(), K), x, random_state=0)}

    return Workload("200 items of 4 levels, 500,000 rows, K=5, a fit", contenders)


def three_coins(tiny: bool) -> Workload:
    """Ten tosses and three coins; nobody else has this model, so its time stands alone."""

    def contenders() -> dict[str, Run]:
        tosses = [1, 1, 0, 1, 0, 0, 1, 0, 1, 1]
        start = emix.Mixture(emix.Bernoulli([0.6, 0.7]), mixing_proportions=[0.4, 0.6])
        return {"emix": _fit(start, tosses)}

    return Workload("three coins, 10 tosses", contenders)


def _faithful() -> np.ndarray:
    return np.loadtxt("examples/old_faithful.csv", delimiter=",", skiprows=1)


def _iris() -> np.ndarray:
    from sklearn.datasets import load_iris

    return np.asarray(load_iris().data)


def _all() -> Iterator[Callable[[bool], Workload]]:
    for n, d, K in [(200_000, 2, 3), (200_000, 8, 8), (200_000, 16, 16), (100_000, 32, 16), (50_000, 64, 16)]:
        yield gaussian(n, d, K, "full")
    yield gaussian(1_000_000, 16, 16, "diag")
    yield items(100_000, 20, 4)
    yield items(100_000, 20, 4, 0.2)
    yield items(1_000_000, 10, 3)
    yield answers
    yield mixed
    yield counts
    yield overlapping
    yield small("iris, K=3, full", _iris, 3)
    yield small("Old Faithful, K=2, full", _faithful, 2)
    yield three_coins


WORKLOADS = list(_all())
