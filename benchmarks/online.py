"""How near online EM comes to the batch estimate: `python -m benchmarks.online [DATA_SETS]` (default 20).

Two normals, 40,000 rows, each seen once. Deviations from the batch estimate of the same rows, as root mean squares over
data sets and parameters, in standard errors of the batch estimate (its spread over the data sets).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

import emix

ROWS = 40_000
BATCHES = (100, 500, 2_000)
HOW: list[tuple[str, dict[str, Any]]] = [
    ("0.6, average (default)", {}),
    ("0.6", {"average": False}),
    ("0.7, average", {"step_exponent": 0.7}),
    ("0.9, average", {"step_exponent": 0.9}),
    ("1, no average", {"step_exponent": 1.0, "average": False}),
]


def vector(model: emix.Mixture) -> np.ndarray:
    """Proportions, means and variances, components in the order of their means."""
    family: Any = model.family
    order = np.argsort(family.mean)
    return np.concatenate([part[order] for part in (model.mixing_proportions, family.mean, family.variance)])


def deviations(x: np.ndarray, size: int, how: dict[str, Any], want: np.ndarray) -> np.ndarray:
    """Of the estimate from batches of this size, the first of which holds 500 rows or more."""
    online = emix.OnlineEM(emix.Mixture(emix.Normal(), 2), random_state=0, n_init=2, first_rows=500, **how)
    for start in range(0, len(x), size):
        online.update(x[start : start + size])
    return vector(online.model) - want


def main(arguments: list[str]) -> None:
    """Count and print."""
    warnings.filterwarnings("ignore")
    n = int(arguments[0]) if arguments else 20
    print(f"| means apart | passes of plain EM | rows a batch |{'|'.join(f' {name} ' for name, _ in HOW)}|")
    print(f"|{' --- |' * (3 + len(HOW))}")
    for gap in (4.0, 2.5):
        rng = np.random.default_rng(0)
        sets = [rng.normal(0, 1, ROWS) for _ in range(n)]
        sets = [np.where(rng.random(ROWS) < 0.35, x, gap + 1.3 * x) for x in sets]
        start = emix.Mixture(emix.Normal([0.0, gap], [1.0, 1.69]), mixing_proportions=[0.35, 0.65])
        fits = [emix.fit(start, x) for x in sets]
        error = np.std([vector(fit.model) for fit in fits], axis=0)
        seeded = {"n_init": 1, "random_state": 0, "accelerate": False}
        passes = emix.fit(emix.Mixture(emix.Normal(), 2), sets[0], **seeded).n_iter
        for size in BATCHES:
            cells = []
            for _, how in HOW:
                pairs = zip(sets, fits, strict=True)
                found = [deviations(x, size, how, vector(fit.model)) / error for x, fit in pairs]
                cells.append(f"{np.sqrt(np.mean(np.square(found))):.2f}")
            print(f"| {gap} | {passes} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
