"""The HTML report, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from emix import persistence
from emix.data.table import Table, read_table
from emix.results import FitResult, load_result


def check(path: Path) -> None:
    """Raise if no report could be written there: before a fit, not after it.

    Raises
    ------
    FileError
        The path cannot be written, or a package is missing.
    """
    from emix.report.html.page import require_packages  # with SciPy's distributions: half a second

    require_packages()
    persistence.check_writable(path)


def after_fit(result: FitResult, table: Table, path: Path, known: dict[str, Any]) -> None:
    """The report of a fit that was just made; `known` holds its labels and sample weights."""
    from emix.report.html import write_report

    write_report(result, table, path, labels=known["labels"], sample_weight=known["sample_weight"])
    _say(path)


def report(
    model_path: Path, data: Path, *, out: Path, labels: str | None, weights: str | None, title: str | None
) -> int:
    """The report of a saved fit."""
    check(out)
    from emix.report.html import write_report

    result = load_result(model_path) or persistence.load(model_path)
    table = read_table(data)
    known = {
        "labels": None if labels is None else table.column(labels),
        "sample_weight": None if weights is None else table.column(weights),
    }
    write_report(result, table, out, title=title, **known)
    _say(out)
    return 0


def _say(path: Path) -> None:
    Console(stderr=True).print(f"Report written to {path}", highlight=False, markup=False, soft_wrap=True)
