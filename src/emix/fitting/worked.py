"""One EM iteration with every number in sight, for people who learn it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.block import Array
from emix.families import Work
from emix.fitting.use import EStep, e_step, prepared
from emix.kernels import reference
from emix.model import Mixture


@dataclass(frozen=True)
class Outcome:
    """A distinct row: its cells, how often it occurred, and per component likelihood, joint and responsibility (K,)."""

    cells: tuple[Any, ...]
    weight: float
    likelihood: Array
    joint: Array
    responsibility: Array


@dataclass(frozen=True)
class WorkedIteration:
    """The E-step by outcome and summed, and the M-step with the division that gave each parameter."""

    step: EStep
    outcomes: tuple[Outcome, ...]
    work: tuple[Work, ...]
    next_model: Mixture


def worked_iteration(model: Mixture, data: Any, *, labels: Any = None, sample_weight: Any = None) -> WorkedIteration:
    """One E-step and one M-step, worked.

    Parameters
    ----------
    model : Mixture
        With parameters.
    data, labels, sample_weight
        As in `emix.fit`.
    """
    step = e_step(model, data, labels=labels, sample_weight=sample_weight)
    return WorkedIteration(
        step,
        _outcomes(model, data, labels, sample_weight),
        step.model.work(step.expectation.statistics),
        step.maximize(),
    )


def _outcomes(model: Mixture, data: Any, labels: Any, sample_weight: Any) -> tuple[Outcome, ...]:
    model, source = prepared(model, data, labels=labels, sample_weight=sample_weight)
    known = np.zeros((source.n_rows, 1))
    if source.knowledge is not None:  # a row whose label is known has other responsibilities than one that is not
        q, labelled = source.knowledge.q, source.knowledge.labels
        known = q if q is not None else np.asarray(labelled, dtype=np.float64)[:, None] + 1
    keys = np.where(np.isnan(source.x), np.inf, source.x)
    _, first, group = np.unique(np.hstack([keys, known]), axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(group.ravel(), weights=source.weight)
    found = []
    for chunk in source.chunks:
        rows = np.flatnonzero((first >= chunk.start) & (first < chunk.start + len(chunk.x)))
        here = first[rows] - chunk.start
        log_base = model.family.log_base_measure(chunk.cells[here])
        likelihood = np.exp(model.log_prob(chunk.cells[here]) + log_base).T
        log_joint = model.log_joint(chunk)[:, here]
        joint = np.exp(log_joint + log_base).T
        resp = reference.responsibilities(log_joint)[0].T
        for i, row in enumerate(rows):
            cells = _cells(model, chunk.x[here[i]])
            found.append((row, Outcome(cells, float(counts[row]), likelihood[i], joint[i], resp[i])))
    return tuple(outcome for _, outcome in sorted(found, key=lambda pair: pair[0]))


def _cells(model: Mixture, row: Array) -> tuple[Any, ...]:
    """Cells as the user wrote them: levels instead of codes, None where missing."""
    levels = model.family.binding.schema.levels if model.family.binding is not None else (None,) * len(row)
    cells = []
    for value, known in zip(row, levels, strict=True):
        cells.append(None if np.isnan(value) else float(value) if known is None else known[int(value)])
    return tuple(cells)
