"""EM made visible: the tables of a textbook's worked example, iteration by iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.block import Array
from emix.families import Columns, Work
from emix.fitting.worked import Outcome, WorkedIteration
from emix.model import Mixture
from emix.report.text import component_title, parameter_lines

MAX_OUTCOMES = 30


def digits(value: float) -> str:
    """Seven decimals, as textbooks print them; an exponent where these would show nothing."""
    return f"{value:.7f}" if value == 0 or 1e-5 <= abs(value) < 1e9 else f"{value:.6e}"


def print_start(console: Console, model: Mixture, n_rows: float) -> None:
    """Where the iterations begin."""
    console.print(Text(f"{model}, rows of total weight {n_rows:g}"), style="bold")
    _print_parameters(console, model, "Start")


def print_iteration(console: Console, number: int, worked: WorkedIteration) -> None:
    """One E-step and one M-step."""
    model = worked.step.model
    console.rule(f"Iteration {number}")
    _print_e_step(console, model, worked.outcomes)
    _print_sums(console, model, worked)
    _print_m_step(console, model, worked)


def print_end(console: Console, model: Mixture, trace: Sequence[float], warnings: Sequence[str]) -> None:
    """The last parameters and how the log-likelihood climbed."""
    console.rule("After the last iteration")
    _print_parameters(console, model, "Parameters")
    console.print("Log-likelihood: " + " -> ".join(f"{value:.8f}" for value in trace))
    for warning in warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), warning))


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _print_parameters(console: Console, model: Mixture, title: str) -> None:
    names = [component_title(model, k) for k in range(model.latent_size)]
    table = _table(title, ["", *names])
    table.columns[0].justify = "left"
    table.add_row("mixing_proportions", *(digits(p) for p in model.latent.mixing_proportions))
    for name, values in parameter_lines(model.family):
        table.add_row(Text(name), *(digits(value) for value in values))
    console.print(table)
    console.print()


def _print_e_step(console: Console, model: Mixture, outcomes: Sequence[Outcome]) -> None:
    K = model.latent_size
    groups = ("likelihood p(x|k)", "joint p(x,k)", "responsibility p(k|x)")
    shown = outcomes[:MAX_OUTCOMES]
    label = ", ".join(model.family.columns)
    heads = [["likelihood", "joint", "resp."][g] + f" {k}" for g in range(3) for k in range(K)]
    values = [[*o.likelihood, *o.joint, *o.responsibility] for o in shown]
    width = max([len(label), *(len(cells_text(o.cells)) for o in shown)]) + 8 + 13 * 3 * K
    tables = [("E-step: each distinct outcome", range(3 * K))]
    if width > console.width:  # three narrow tables instead of one that would be cut off
        tables = [(f"E-step: {name}", range(g * K, (g + 1) * K)) for g, name in enumerate(groups)]
    for title, columns in tables:
        table = _table(title, [label, "rows", *(heads[c] for c in columns)])
        for outcome, row in zip(shown, values, strict=True):
            table.add_row(cells_text(outcome.cells), f"{outcome.weight:g}", *(digits(row[c]) for c in columns))
        console.print(table)
        if len(outcomes) > MAX_OUTCOMES:
            console.print(f"... and {len(outcomes) - MAX_OUTCOMES:,} more distinct outcomes, not shown")
        console.print()


def cells_text(cells: Sequence[object]) -> str:
    """A row's cells: `6`, or `1, 0, ?` with ? for a missing one."""
    return ", ".join("?" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells)


def _print_sums(console: Console, model: Mixture, worked: WorkedIteration) -> None:
    S, names = worked.step.expected_statistics, worked.step.statistic_names
    heads = [component_title(model, k) for k in range(len(S))]
    table = _table("Expected statistics: sums over rows of responsibility times ...", ["", *heads, "all"])
    table.columns[0].justify = "left"
    for name, column in zip(("rows (the expected counts)", *names[1:]), S.T, strict=True):
        table.add_row(Text(name), *(digits(value) for value in column), digits(column.sum()))
    console.print(table)
    if _is_completed(model, worked.outcomes):
        console.print("A missing cell counts with what the other cells of its row let one expect of it.")
    console.print()


def _is_completed(model: Mixture, outcomes: Sequence[Outcome]) -> bool:
    """Whether cells are missing of columns whose sums hold their expected values."""
    family = model.family
    parts = [part.family for part in family.parts] if isinstance(family, Columns) else [family]
    joint = {name for one in parts if one.groups_by_pattern for name in one.columns}
    places = [j for j, name in enumerate(family.columns) if name in joint]
    return any(outcome.cells[j] is None for outcome in outcomes for j in places)


def _print_m_step(console: Console, model: Mixture, worked: WorkedIteration) -> None:
    console.print(Text("M-step: the parameters that maximize the likelihood of these sums"), style="bold")
    for name in ("mixing_proportions", *sorted(model.family.fixed)):
        if name in model.fixed:
            console.print(f"  {name}: held fixed")
    counts = worked.step.expected_statistics[:, 0]
    for line in m_step_lines(model, counts, worked.work):
        console.print(Text(f"  {line.parameter} = {true_of(line, counts)}"))
        for k in range(len(line.value)):
            console.print(Text(f"    {component_title(model, k)}: {division(line, k, digits)}"))
    console.print()
    console.print(f"Log-likelihood of the parameters of this E-step: {worked.step.log_likelihood:.8f}")
    console.print()


def true_of(line: Work, counts: Array) -> str:
    """What a line says; where cells are missing it divides by the rows that have a value, not by all."""
    if line.denominator is None or np.allclose(line.denominator, counts, rtol=1e-9):
        return line.text
    return line.text + " with a value" * line.text.endswith(" rows")


def m_step_lines(model: Mixture, counts: Array, work: Sequence[Work]) -> list[Work]:
    """What a worked M-step shows: the mixing proportions from the expected counts (K,), then the family's own lines."""
    if "mixing_proportions" in model.fixed:
        return list(work)
    found = model.latent.maximize(counts)
    if found.constraints:
        text = f"the maximum under: {'; '.join(str(one) for one in found.constraints)}"
        return [Work("mixing_proportions", found.mixing_proportions, text), *work]
    extra = 0.0 if found.pseudo_counts is None else found.pseudo_counts
    total = np.full(len(counts), (counts + extra).sum())
    text = "expected rows / all rows" + ("" if found.pseudo_counts is None else ", pseudo-counts of the prior included")
    return [Work("mixing_proportions", found.mixing_proportions, text, counts + extra, total), *work]


def division(line: Work, k: int, digits: Callable[[float], str]) -> str:
    """How a worked line arrives at component k's value: `7.2 / 10 = 0.72`, or the value alone."""
    value: Array = line.value
    if line.numerator is None or line.denominator is None:
        return digits(value[k])
    return f"{digits(line.numerator[k])} / {digits(line.denominator[k])} = {digits(value[k])}"
