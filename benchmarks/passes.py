"""How many passes plain EM, SQUAREM and damped Anderson acceleration need: `python -m benchmarks.passes`.

Slow problems, each from one start; passes until the log-likelihood is within 1e-8 of the best that any of them reaches
when run on, and in brackets where the default stopping rule ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import emix
from emix import Binomial, Exponential, Gamma, Mixture, MultivariateNormal, Poisson

METHODS = (False, "squarem", "daarem")
DAYS = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
FAMILIES_OF_EIGHT = [215, 1485, 5331, 10649, 14959, 11929, 6678, 2092, 342]


def problems() -> Iterator[tuple[str, Mixture, Any, Any]]:
    """Name, start, rows, weights."""
    yield "death notices (Hasselblad 1969)", Mixture(Poisson([1, 2.5]), None, [0.3, 0.7]), np.arange(10), DAYS
    boys = Mixture(Binomial(8, [0.5, 0.65]), None, [0.9, 0.1])
    yield "boys in families of eight (Fisher 1925)", boys, np.arange(9), FAMILIES_OF_EIGHT
    for seed, (n, d, K, gap) in enumerate([(500, 2, 3, 1.5), (1000, 3, 4, 1.5), (400, 1, 2, 1.0), (2000, 2, 3, 1.2)]):
        rng = np.random.default_rng(seed)
        centres = rng.normal(0, gap, (K, d))
        x = centres[rng.integers(0, K, n)] + rng.normal(size=(n, d))
        start = MultivariateNormal(centres + rng.normal(0, 0.3, centres.shape), [np.eye(d)] * K)
        yield f"overlapping Gaussians {n} x {d}, K={K}", Mixture(start), x, None
    rng = np.random.default_rng(5)
    z = rng.integers(0, 2, 1000)
    x = rng.gamma(np.array([2.0, 5])[z], np.array([1, 0.6])[z])
    yield "two Gammas", Mixture(Gamma([1.5, 6], [1, 1.5])), x, None
    yield "two Exponentials", Mixture(Exponential([0.3, 2])), rng.exponential(np.array([1, 2.5])[z]), None
    yield "two Binomials", Mixture(Binomial(8, [0.4, 0.6])), rng.binomial(8, np.array([0.45, 0.6])[z]), None


def main() -> None:
    """Count and print."""
    warnings.filterwarnings("ignore")
    print("| problem | plain EM | SQUAREM | Anderson (default) |\n| --- | --- | --- | --- |")
    for name, model, x, weight in problems():
        traces, ends = {}, {}
        for method in METHODS:
            options = {"sample_weight": weight, "accelerate": method, "max_iter": 40_000}
            traces[method] = emix.fit(model, x, tol=1e-13, **options).history
            ends[method] = emix.fit(model, x, **options).n_iter
        best = max(history[-1].log_likelihood for history in traces.values())
        cells = []
        for method in METHODS:
            close = (r.iteration for r in traces[method] if r.log_likelihood >= best - 1e-8)
            cells.append(f"{next(close, 'not reached')} ({ends[method]})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
