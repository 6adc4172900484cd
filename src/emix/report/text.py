"""A model and a fit as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.block import Array
from emix.families import Columns, Family
from emix.families.columnwise import by_column
from emix.model import Mixture
from emix.results import FitResult

MAX_LINES = 60


def component_title(model: Mixture, k: int) -> str:
    """A component's name for a table's head."""
    if model.has_noise and k == model.latent_size - 1:
        return "noise"
    return f"component {k}" if model.component_names is None else f"{model.component_names[k]} ({k})"


def parameter_lines(family: Family) -> list[tuple[str, Array]]:
    """(what, one value per component) for every parameter, in the units of the data."""
    lines: list[tuple[str, Array]]
    if isinstance(family, Columns):
        lines = []
        for part in family.parts:
            is_single = len(part.names) == 1  # whose parameters do not name their column
            for name, values in parameter_lines(part.family):
                lines.append((name if part.label in name or not is_single else f"{name} of {part.label}", values))
        return lines
    names = family.columns if family.binding is not None else ()
    if family.name == "categorical":
        probabilities: Any = family.parameters["probabilities"]
        arrays = probabilities if isinstance(probabilities, tuple) else (probabilities,)
        values = np.concatenate(arrays, axis=1).T
        return list(zip((f"p({name})" for name in family.statistic_names), values, strict=True))
    lines = []
    for parameter, value in family.parameters.items():
        if not isinstance(value, tuple) and value.ndim == 3:
            lines += _covariance_lines(value, names, "standard deviation" if parameter == "covariance" else parameter)
            continue
        columns = by_column(value)
        if columns.shape[1] == 1:
            lines.append((parameter, columns[:, 0]))
        else:
            lines += [(f"{parameter} of {name}", column) for name, column in zip(names, columns.T, strict=True)]
        if parameter in ("variance", "log_variance"):
            word = parameter.replace("variance", "standard deviation").replace("log_", "log ")
            own = ("",) if columns.shape[1] == 1 else tuple(f" of {name}" for name in names)
            lines += [(word + name, np.sqrt(column)) for name, column in zip(own, columns.T, strict=True)]
    return lines


def _covariance_lines(C: Array, names: tuple[str, ...], word: str) -> list[tuple[str, Array]]:
    """Standard deviations and correlations, which people can read, for covariances, which they cannot."""
    deviation = np.sqrt(np.diagonal(C, axis1=1, axis2=2))
    lines = [(f"{word} of {name}", deviation[:, j]) for j, name in enumerate(names)]
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            correlation = C[:, i, j] / (deviation[:, i] * deviation[:, j])
            if correlation.any():
                lines.append((f"correlation of {names[i]}, {names[j]}", correlation))
    return lines


def number(value: float) -> str:
    """Six significant digits, without an exponent where people would not write one."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        digits = max(0, 5 - int(np.floor(np.log10(abs(value))))) if value else 1
        return f"{value:,.{min(digits, 6)}f}"
    return f"{value:.5e}"


def print_model(console: Console, model: Mixture, counts: Sequence[float] | None = None) -> None:
    """The components side by side: proportions, expected rows, parameters."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for k in range(model.latent_size):
        table.add_column(component_title(model, k), justify="right", no_wrap=True)
    table.add_row("proportion", *(number(p) for p in model.latent.mixing_proportions))
    if counts is not None:
        table.add_row("expected rows", *(f"{count:,.1f}" for count in counts))
    lines = parameter_lines(model.family)
    for name, values in lines[:MAX_LINES]:
        table.add_row(Text(name), *(number(value) for value in values), *([""] * model.has_noise))
    console.print(table)
    if len(lines) > MAX_LINES:
        console.print(f"... and {len(lines) - MAX_LINES} more lines; --json has all of them")


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
