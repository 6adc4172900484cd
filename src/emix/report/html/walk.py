"""Plain EM once more, step by step, on rows few enough to draw: what the report's step-through shows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from emix.block import Array
from emix.centred import plain
from emix.errors import ConvergenceWarning, FitError
from emix.fitting.fit import fit
from emix.fitting.runs import Pass
from emix.fitting.use import e_step, responsibilities
from emix.model import Mixture
from emix.report.html.facts import SEED, Facts
from emix.results import FitResult

WALKED_ROWS = 1_000
"""Rows that are walked on, at most."""
EARLY = 15
"""First iterations that are all shown."""
FRAMES = 60
"""Iterations that are shown, at most."""
WALKS = 5
"""Seeded starts that are tried."""
WORK = 1e9
"""Rows x components x statistics x iterations that a walk may cost: it is cut off rather than awaited."""
MOST_ITERATIONS = 1_500
SCOUTED = 200
"""Iterations, with leaps, by which the starts are compared."""
REACHED = 0.01
"""Nats by which a walk may end below the best and still have found the same optimum."""


@dataclass(frozen=True)
class Step:
    """An iteration: the parameters after so many M-steps, and their log-likelihood in nats."""

    iteration: int
    log_likelihood: float
    model: Mixture


@dataclass(frozen=True)
class Walk:
    """A run of plain EM.

    Attributes
    ----------
    rows : ndarray of int
        Positions among the drawn rows of the facts.
    steps : list of Step
        All iterations.
    shown : list of int
        Positions of those that are shown.
    seed : int
        Of the start.
    converged : bool
    below : float
        Nats by which the reported model is better on the same rows; negative where it is worse.
    """

    rows: NDArray[np.intp]
    steps: list[Step]
    shown: list[int]
    seed: int
    converged: bool
    below: float


def walk(facts: Facts) -> Walk | None:
    """Run plain EM from seeded starts; of those that reach the best optimum the one that began lowest.

    None where every start, or the run itself, ended in a degenerate component.
    """
    n = len(facts.rows)
    rows = np.arange(n)
    if n > WALKED_ROWS:
        rows = np.sort(np.random.default_rng(SEED).choice(n, WALKED_ROWS, replace=False))
    size = len(rows) * facts.model.latent_size * (1 + len(facts.model.family.statistic_names))
    limit = int(np.clip(WORK / size, 50, MOST_ITERATIONS))
    runs = {seed: _run(facts, rows, seed, min(limit, SCOUTED), leaps=True) for seed in range(SEED, SEED + WALKS)}
    ended = {seed: run[1] for seed, run in runs.items() if run is not None}
    if not ended:
        return None
    best = max(result.log_likelihood for result in ended.values())
    reached = [seed for seed, result in ended.items() if result.log_likelihood >= best - REACHED]
    seed = min(reached, key=lambda one: ended[one].history[0].log_likelihood)
    run = _run(facts, rows, seed, limit, leaps=False)
    if run is None:
        return None
    steps, result = run
    table, labels, weight = facts.part(facts.rows[rows])
    order = _order(facts, rows, responsibilities(result.model, table, labels=labels))
    steps = [Step(one.iteration, one.log_likelihood, one.model.reordered(order)) for one in steps]
    reported = e_step(facts.model, table, labels=labels, sample_weight=weight) if table.sparse is None else None
    below = 0.0 if reported is None else reported.log_likelihood - steps[-1].log_likelihood
    shown = _shown(np.array([one.log_likelihood for one in steps]))
    return Walk(rows, steps, shown, seed, result.converged, below)


def _run(
    facts: Facts, rows: NDArray[np.intp], seed: int, limit: int, *, leaps: bool
) -> tuple[list[Step], FitResult] | None:
    """All iterations from one random start; None where a component degenerated."""
    table, labels, weight = facts.part(facts.rows[rows])
    steps: list[Step] = []

    def keep(one: Pass) -> None:
        if steps and one.record.iteration == 0:  # the centred path goes on where the other ended
            return
        steps.append(Step(len(steps), one.record.log_likelihood, plain(one.model)))

    known = {"labels": labels, "sample_weight": weight}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it
            result = fit(
                plain(facts.model),
                table,
                **known,
                start="random",
                n_init=1,
                max_iter=limit,
                accelerate=leaps,
                random_state=seed,
                on_iteration=keep,
            )
    except FitError:
        return None
    return steps, result


def _order(facts: Facts, rows: NDArray[np.intp], resp: Array) -> NDArray[np.intp]:
    """Which component of the walk comes first, second, ...: so that each has the colour of its like in the report."""
    K = facts.model.latent_size - facts.model.has_noise
    if facts.labels is not None:  # known labels order them already
        return np.arange(K)
    shared = (facts.resp[rows] * facts.weight[rows, None]).T @ resp
    return np.asarray(linear_sum_assignment(-shared[:K, :K])[1])


def _shown(trace: Array) -> list[int]:
    """All early iterations; of the later ones those at equal ratios of the log-likelihood still to be gained.

    Where these fall together, on a plateau or a cliff, the widest gaps between them are halved instead.
    """
    last = len(trace) - 1
    if last < FRAMES:
        return list(range(last + 1))
    early = list(range(EARLY))
    left = np.maximum.accumulate((trace[-1] - trace[EARLY:])[::-1])[::-1]
    level = np.log(np.maximum(left, max(left[0], 1e-300) * 1e-9))
    wanted = np.linspace(level[0], level[-1], FRAMES - EARLY - 1)
    later = {EARLY + int(np.argmin(np.abs(level - one))) for one in wanted}
    shown = sorted({*early, *later, last})
    while len(shown) < FRAMES:
        widest = int(np.argmax(np.diff(shown)))
        shown.insert(widest + 1, (shown[widest] + shown[widest + 1]) // 2)
    return shown
