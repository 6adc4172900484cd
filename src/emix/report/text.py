"""A model and a fit as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.described import MAX_LINES, component_table, component_title, number, parameter_lines
from emix.model import Mixture
from emix.results import FitResult

__all__ = ["component_title", "number", "parameter_lines", "print_model", "print_result", "print_summary"]


def print_model(console: Console, model: Mixture, counts: Sequence[float] | None = None) -> None:
    """The components side by side: proportions, expected rows, parameters."""
    head, rows = component_table(model, counts)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for k, title in enumerate(head):
        table.add_column(title, justify="right" if k else "left", no_wrap=k > 0)
    n_lead = 1 + (counts is not None)
    for row in rows[: n_lead + MAX_LINES]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if len(rows) > n_lead + MAX_LINES:
        console.print(f"... and {len(rows) - n_lead - MAX_LINES} more lines; --json has all of them")


def print_summary(console: Console, summary: dict[str, Any], sentence: str) -> None:
    """Log-likelihood, free parameters, criteria, the ending."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("log-likelihood", f"{summary['log_likelihood']:,.6f}")
    if summary.get("log_prior") is not None:
        table.add_row("log prior (estimates are posterior modes)", f"{summary['log_prior']:,.6f}")
    table.add_row("free parameters", str(summary["n_free_parameters"]))
    for name in ("aic", "bic", "icl"):
        table.add_row(name.upper() + " (smaller is better)" * (name == "aic"), f"{summary[name]:,.4f}")
    console.print(table)
    iterations = f"{summary['n_iter']} iteration" + "s" * (summary["n_iter"] != 1)
    console.print(Text(f"{sentence[0].upper()}{sentence[1:]} ({summary['stop_reason']}, after {iterations})."))


def print_result(console: Console, result: FitResult, title: str) -> None:
    """Everything that `emix fit` says."""
    console.print(Text(title), style="bold")
    console.print()
    print_model(console, result.model, result.expected_counts)
    console.print()
    print_summary(console, result.summary(), result.stop_reason.sentence)
    n_ended = sum(start.stop_reason.converged for start in result.starts)
    if len(result.starts) > 1:
        console.print(f"{len(result.starts)} starts, {n_ended} run to convergence; --seed {result.seed} repeats this.")
    for warning in result.warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), warning))
