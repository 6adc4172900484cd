"""The HTML report, from the command line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emix import persistence
from emix.cli.reading import rows_in_memory
from emix.data.scan import Scan
from emix.data.table import Table
from emix.errors import EmixError, FitError
from emix.model import Mixture
from emix.results import FitResult, load_result

if TYPE_CHECKING:
    from emix.inference import Selection, Uncertainty


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


def after_fit(
    result: FitResult,
    table: Table | Scan,
    path: Path,
    known: dict[str, Any],
    *,
    selection: Selection | None = None,
    uncertainty: Uncertainty | None = None,
) -> None:
    """The report of a fit that was just made; `known` holds its labels and sample weights."""
    own = {name: known[name] for name in ("labels", "sample_weight")}
    _write(result, table, path, selection=selection, uncertainty=uncertainty, **own)


def _write(
    result: FitResult | Mixture,
    table: Table | Scan,
    path: Path,
    *,
    uncertainty: Uncertainty | None = None,
    **options: Any,
) -> None:
    """With intervals and a diagnosis where the fit ended well; why there are none stands in the diagnosis, or here."""
    from emix.inference import diagnose, standard_errors
    from emix.report.html import write_report

    diagnosis, reason = None, ""
    if isinstance(result, FitResult):
        known = {name: options[name] for name in ("labels", "sample_weight")}
        try:
            uncertainty = standard_errors(result, table, **known) if uncertainty is None else uncertainty
        except EmixError as error:
            reason = f"The report has no intervals: {error}"
        with suppress(FitError):  # rows of another fit, which the report refuses in its own words
            diagnosis = diagnose(result, table, uncertainty, **known)
    write_report(result, table, path, uncertainty=uncertainty, diagnosis=diagnosis, **options)
    if reason:
        Console(stderr=True).print(reason, markup=False, highlight=False)
    _say(path)


def report(
    model_path: Path, data: list[Path], *, out: Path, labels: str | None, weights: str | None, title: str | None
) -> int:
    """The report of a saved fit."""
    check(out)
    result = load_result(model_path) or persistence.load(model_path)
    table = rows_in_memory(data, "emix report")
    known: dict[str, Any] = {
        "labels": None if labels is None else table.column(labels),
        "sample_weight": None if weights is None else table.column(weights),
    }
    _write(result, table, out, title=title, **known)
    return 0


def _say(path: Path) -> None:
    Console(stderr=True).print(f"Report written to {path}", highlight=False, markup=False, soft_wrap=True)
