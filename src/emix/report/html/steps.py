"""The step-through as data for the page: rows, colours, and every number of each step."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.centred import well_conditioned
from emix.data.source import InMemorySource
from emix.data.sparse import log_base_of
from emix.families import Work
from emix.fitting.use import prepared
from emix.kernels.reference import responsibilities
from emix.model import Mixture
from emix.report.explain import cells_text, division, m_step_lines
from emix.report.html.colours import PALETTE, colours, short, symbol
from emix.report.html.facts import SEED, Facts
from emix.report.html.figures import clipped
from emix.report.html.scene import LEVELS, Scene, drawn_at, make_scene
from emix.report.html.walk import Step, Walk
from emix.report.text import component_title

Key = tuple[str, str, int]
LINES = 12
"""Lines of a worked M-step that are shown, at most."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BRIEF = 10
"""Letters of a component's name on the map where there are many."""
CELLS = 6
"""Cells of the worked row that are shown, at most."""


def steps_payload(facts: Facts, walk: Walk) -> dict[str, Any]:
    """Everything that the page needs to step through a run, as plain data."""
    model = walk.steps[-1].model
    table, labels, weight = facts.part(facts.rows[walk.rows])
    _, source = prepared(model, table, labels=labels, sample_weight=weight, takes_sparse=True)
    if table.sparse is not None:  # whose log base measures are no family's to compute
        source = source.prepared_for(model.family)
    x = facts.x[walk.rows]
    passes = [_pass(walk.steps[i], source) for i in walk.shown]
    resp = np.stack([one[1] for one in passes])  # (F, n, K)
    first, group = _distinct(x, source)
    total = np.bincount(group, weights=source.weight).astype(np.float64)
    scene = make_scene(model, facts.columns, facts.order, x, source.weight, resp[-1])
    example = int(np.argmax(np.abs(np.diff(resp[:, first], axis=0)).sum(axis=(0, 2)))) if len(resp) > 1 else 0
    lines = _shown_lines(passes[-1][2], scene)
    points = drawn_at(replace(scene, points=scene.points[first]), np.random.default_rng(SEED))
    return {
        "kind": scene.kind,
        "note": f"{scene.note} Names mark the centres of the components." if scene.axis is None else scene.note,
        "axes": scene.labels,
        "titles": [component_title(model, k) for k in range(model.latent_size)],
        "briefs": [_brief(component_title(model, k)) for k in range(model.latent_size)],
        "colours": colours(model),
        "symbols": [symbol(k) for k in range(model.latent_size)],
        "dashes": ["solid" if k < len(PALETTE) else "dash" for k in range(model.latent_size)],
        "x": short(points[:, 0]),
        "y": short(points[:, 1]),
        "weight": short(total),
        "all_rows": "all rows" if len(x) == len(facts.all_weight) else f"these {len(x):,} rows",
        "rows": [int(row) + 1 for row in facts.rows[walk.rows][first]],
        "resp": base64.b64encode(np.round(resp[:, first] * 255).astype(np.uint8).tobytes()).decode(),
        "edges": [] if scene.axis is None else short(scene.axis.edges),
        "curve_at": [] if scene.axis is None else short(scene.axis.curve_at),
        "bars": [{"name": one.name, "levels": list(one.levels[:LEVELS])} for one in scene.bars],
        "lines": [{"parameter": parameter, "text": text} for parameter, text, _ in lines],
        "n_lines_left": max(0, len(passes[-1][2]) - LINES),
        "example": {"row": int(facts.rows[walk.rows][first[example]]) + 1, "cells": _cells(model, x[first[example]])},
        "frames": [
            _frame(walk, i, one, scene, source, first[example], lines)
            for i, one in zip(walk.shown, passes, strict=True)
        ],
    }


def _brief(title: str) -> str:
    """A component's name where there is little room: its number, or the beginning of its own name."""
    return clipped(title.removeprefix("component "), BRIEF)


def _pass(step: Step, source: InMemorySource) -> tuple[Mixture, Array, list[Work], Array]:
    """The E-step of a step: model, responsibilities (n, K), the lines of the M-step that follows, expected counts."""
    model = well_conditioned(step.model)
    resp = np.concatenate([responsibilities(model.log_joint(chunk))[0].T for chunk in source.chunks])
    expectation = source.sum_over_chunks(model.expect)
    counts = expectation.statistics[:, 0]
    return model, resp, m_step_lines(model, counts, model.work(expectation.statistics)), counts


def _distinct(x: Array, source: InMemorySource) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First occurrences of the distinct rows, and which of them each row is; rows of different labels differ."""
    known = np.zeros((len(x), 1))
    if source.knowledge is not None:
        q, labels = source.knowledge.q, source.knowledge.labels
        known = q if q is not None else np.asarray(labels, dtype=np.float64)[:, None] + 1
    keys = np.hstack([np.where(np.isnan(x), np.inf, x), known])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, group.ravel()


def _keyed(lines: Sequence[Work]) -> dict[Key, Work]:
    """Lines by parameter, text, and which of the lines of the same text each is."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for line in lines:
        found[line.parameter, line.text, seen[line.parameter, line.text]] = line
        seen[line.parameter, line.text] += 1
    return found


def _shown_lines(lines: Sequence[Work], scene: Scene) -> list[Key]:
    """The lines that are shown, in their order: proportions first, then those of the columns that are drawn."""
    drawn = [one.name for one in (*(scene.pair or ()), *scene.bars)]
    keys = list(_keyed(lines))
    is_about = [any(name in f"{key[0]} {key[1]}" for name in drawn) for key in keys]
    ranked = sorted(range(len(keys)), key=lambda i: (keys[i][0] != "mixing_proportions", not is_about[i], i))
    return [keys[i] for i in sorted(ranked[:LINES])]


def _frame(
    walk: Walk,
    index: int,
    one: tuple[Mixture, Array, list[Work], Array],
    scene: Scene,
    source: InMemorySource,
    example: int,
    shown: Sequence[Key],
) -> dict[str, Any]:
    model, resp, lines, counts = one
    step = walk.steps[index]
    named = _keyed(lines)
    return {
        "iteration": step.iteration,
        "log_likelihood": f"{step.log_likelihood:.6f}",
        "gain": None if index == 0 else f"{step.log_likelihood - walk.steps[index - 1].log_likelihood:.3g}",
        "shares": short(model.latent.mixing_proportions),
        "counts": [f"{count:,.2f}" for count in counts],
        "example": _example(model, source, example, resp),
        "work": [_values(named.get(key), model) for key in shown],
        **scene.of(model, resp * source.weight[:, None]),
    }


def _values(line: Work | None, model: Mixture) -> list[str]:
    if line is None:
        return [""] * model.latent_size
    return [division(line, k, digits) for k in range(len(line.value))] + [""] * (model.latent_size - len(line.value))


def digits(value: float) -> str:
    """Five significant digits, for a table that is read beside a picture."""
    size = abs(value)
    if value == 0 or 1e-4 <= size < 1e5:
        return f"{value:,.5g}"
    return f"{value:,.1f}" if 1e5 <= size < 1e9 else f"{value:.4e}"


def _example(model: Mixture, source: InMemorySource, row: int, resp: Array) -> list[list[str]]:
    """Of one row, by component: density, joint, responsibility."""
    chunk = source.take(np.array([row])).chunks[0]
    base = float(log_base_of(chunk, model.family)[0])
    joint = model.log_joint(chunk)[:, 0] + base
    density = joint - np.log(np.maximum(model.latent.mixing_proportions, 1e-300))
    return [[power(a), power(b), f"{100 * r:.2f} %"] for a, b, r in zip(density, joint, resp[row], strict=True)]


def power(log_value: float) -> str:
    """The exponential of a natural logarithm, also where it is too small for a float: `5.19×10⁻¹⁴⁵`."""
    if log_value < -1e25:
        return "0"
    if -9 < log_value < 13:
        return f"{np.exp(log_value):.4g}"
    exponent = int(np.floor(log_value / np.log(10)))
    return f"{np.exp(log_value - exponent * np.log(10)):.3f}×10{str(exponent).translate(RAISED)}"


def _cells(model: Mixture, row: Array) -> str:
    """The worked row: `eruptions 2.9, waiting 63`."""
    binding = model.family.binding
    assert binding is not None
    levels, names = binding.schema.levels, model.family.columns
    cells = [
        None if np.isnan(v) else known[int(v)] if known else float(v) for v, known in zip(row, levels, strict=True)
    ]
    text = ", ".join(f"{name} {cells_text([cell])}" for name, cell in list(zip(names, cells, strict=True))[:CELLS])
    return text + (", ..." if len(names) > CELLS else "")
