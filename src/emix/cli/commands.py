"""What the commands do, once their arguments are parsed."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from emix import fitting, persistence
from emix.cli import report
from emix.cli.arguments import build_model, is_by_column, parse_start, with_unknown_as_missing, without_identifiers
from emix.cli.progress import Progress
from emix.cli.reading import are_many, in_memory, rows_in_memory, tables
from emix.cli.wording import for_command_line
from emix.data.dask_graph import cluster
from emix.data.dask_scan import dask_scan
from emix.data.knowledge import checked_weights
from emix.data.scan import Scan
from emix.data.scan_readers import scan
from emix.data.table import Table
from emix.described import html_of, markdown_of
from emix.errors import ConvergenceWarning, DataError, FileError, FitError, ModelError
from emix.families import Bernoulli, Categorical, Columns
from emix.fitting.settings import whole_number
from emix.fitting.worked import worked_iteration
from emix.model import Mixture
from emix.report import explain as explain_report
from emix.report import intervals, profile, text
from emix.results import FitResult, StopReason, load_result

if TYPE_CHECKING:
    from emix.inference import Uncertainty

FORMATS = ("text", "md", "json", "html")
"""In which `emix show` prints a model."""

SAMPLE = 10_000
"""Rows of files from which families are assumed."""


def one_family(given: list[str] | None) -> str | None:
    """What one or several `--family` say together.

    Raises
    ------
    ModelError
        There are several, and one of them is not for a column.
    """
    if not given:
        return None
    if len(given) > 1 and not all(is_by_column(one) for one in given):
        raise ModelError.argument(name="--family", requirement="one family, or several COLUMN=FAMILY", found=given)
    return ",".join(given)


@dataclass(frozen=True)
class Request:
    """What `fit` and `explain` have in common: a table, a model, what is known of the rows."""

    paths: list[Path]
    components: int
    family: str | None
    covariance: str | None
    noise: bool
    columns: str | None
    labels: str | None
    weights: str | None
    start: str | None
    fix: str | None
    seed: int | None
    prior_rows: float = 0.0
    constraints: tuple[str, ...] = ()

    @property
    def is_many(self) -> bool:
        """Whether the paths stand for files that are read as their rows stream by."""
        return are_many(self.paths)

    def scanned_rows(self) -> tuple[Scan, list[str], dict[str, Any]]:
        """Rows that stay in their files, the columns of the model, and the names of those of labels and weights."""
        rows = scan(self.paths)
        aside = [name for name in (self.labels, self.weights) if name is not None]
        names = [name for name in rows.names if name not in aside] if self.columns is None else self._chosen
        rows = rows.select([*names, *(name for name in aside if name not in names)])
        if not names:
            raise DataError.no_columns_beside()
        return rows, names, {"labels": self.labels, "sample_weight": self.weights}

    def scanned(self) -> tuple[Mixture, Scan, dict[str, Any]]:
        """The same as `read` for rows that stay in their files; families are assumed from a sample."""
        rows, names, known = self.scanned_rows()
        start = parse_start(self.start)
        sample, assumed_of = Table((), ()), f"of a sample of {SAMPLE:,} rows"
        if self.family is None or is_by_column(self.family):
            sample = rows.select(names).head(SAMPLE)
        own = (self.components, self.family, self.covariance, self.fix, start)
        model = build_model(sample, *own, noise=self.noise, constraints=self.constraints, assumed_of=assumed_of)
        model = replace(model, prior_rows=self.prior_rows) if self.prior_rows else model
        start = None if isinstance(start, dict) else start
        return model, rows, {**known, "start": start}

    @property
    def _chosen(self) -> list[str]:
        """The columns that are asked for."""
        names = [name.strip() for name in (self.columns or "").split(",")]
        for name in names:
            if names.count(name) > 1:
                raise DataError.repeated_column(column=name)
        return names

    def read_table(self) -> tuple[Table, dict[str, Any]]:
        """The columns of the model, and the arguments of `emix.fit` that come from other columns."""
        table = rows_in_memory(self.paths, "this command")
        aside = [name for name in (self.labels, self.weights) if name is not None]
        known = {
            "labels": None if self.labels is None else table.column(self.labels),
            "sample_weight": None if self.weights is None else table.column(self.weights),
        }
        if self.columns is not None:
            table = table.select(self._chosen)
        elif aside:
            if set(aside) >= set(table.names):
                raise DataError.no_columns_beside()
            table = table.without(*aside)
        if self.columns is None:
            table = without_identifiers(table, self.family)
        return table, known

    def read(self) -> tuple[Mixture, Table, dict[str, Any]]:
        """The model, its columns, and the arguments of `emix.fit` that come from other columns."""
        table, known = self.read_table()
        start = parse_start(self.start)
        how = (self.family, self.covariance, self.fix, start)
        model = build_model(table, self.components, *how, noise=self.noise, constraints=self.constraints)
        model = replace(model, prior_rows=self.prior_rows) if self.prior_rows else model
        if isinstance(start, dict):
            start = None
        return model, table, {**known, "start": start}


def fit(
    request: Request,
    *,
    stop: str,
    tol: float | None,
    max_iter: int,
    n_init: int,
    how: dict[str, Any],
    dask: str | None,
    out: Path | None,
    report_to: Path | None,
    as_json: bool,
    with_intervals: bool = False,
) -> int:
    """Fit, print, save, report."""
    if out is not None:
        persistence.check_writable(out)
    if report_to is not None:
        report.check(report_to)
    is_scan = request.is_many or dask is not None
    model, rows, arguments = request.scanned() if is_scan else request.read()
    for name, is_asked in (("--report", report_to is not None), ("--intervals", with_intervals)):
        if is_asked and isinstance(rows, Scan) and (dask is not None or not rows.is_small):
            raise DataError.needs_memory(name)
        if is_asked and isinstance(rows, Scan):
            rows, arguments = in_memory(rows, arguments)
    with ExitStack() as stack:
        if dask is not None:
            stack.enter_context(cluster(dask))
            rows = dask_scan(rows)
        progress = stack.enter_context(Progress())
        stack.enter_context(logged())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, and by the exit code
        result = fitting.fit(
            model,
            rows,
            **arguments,
            stop=stop,
            tol=tol,
            max_iter=max_iter,
            n_init=n_init,
            **how,
            random_state=request.seed,
            on_iteration=progress,
        )
    result.warnings[:] = map(for_command_line, result.warnings)
    if out is not None:
        result.save(out)
    found = intervals_of(result, rows, arguments) if with_intervals else None
    if as_json:
        more = {"intervals": None if found is None else intervals.intervals_document(found)} if with_intervals else {}
        print_json(result.to_dict() | more)
    else:
        print_fit(result)
        if found is not None:
            Console().print()
            intervals.print_intervals(Console(), result.model, found)
        if out is not None:
            Console(stderr=True).print(f"Model written to {out}", highlight=False)
    if report_to is not None:
        report.after_fit(result, rows, report_to, arguments, uncertainty=found)
    if not result.converged:
        say(f"{result.stop_reason.sentence.capitalize()}.")
    return 0 if result.converged else 1


def print_fit(result: FitResult) -> None:
    """The fitted model, as tables on stdout."""
    names = result.model.family.columns
    columns = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    text.print_result(Console(), result, f"{result.model}; {result.total_weight:g} rows of {columns}")
    if isinstance(result.model.family, Columns | Categorical | Bernoulli):
        Console().print()
        profile.print_profile(Console(), result.model)


def intervals_of(result: FitResult, table: Table | Scan, arguments: dict[str, Any]) -> Uncertainty | None:
    """Standard errors of a fit that ended well; else None, and the reason on stderr."""
    from emix.inference import standard_errors  # SciPy's distributions: half a second that others need not wait

    known = {name: arguments[name] for name in ("labels", "sample_weight")}
    try:
        return standard_errors(result, table, **known)
    except FitError as error:
        say(f"No intervals: {for_command_line(str(error))}")
        return None


def of_intervals(
    model_path: Path,
    data: list[Path],
    *,
    method: str,
    level: float,
    labels: str | None,
    weights: str | None,
    as_json: bool,
) -> int:
    """Standard errors of a saved fit on its rows."""
    from emix.inference import standard_errors

    result = saved_result(model_path)
    table = rows_in_memory(data, "emix intervals")
    found = standard_errors(
        result,
        table,
        method=method,
        level=level,
        labels=None if labels is None else table.column(labels),
        sample_weight=None if weights is None else table.column(weights),
    )
    if as_json:
        print_json(intervals.intervals_document(found))
    else:
        intervals.print_intervals(Console(), result.model, found)
    return 0


def saved_result(path: Path) -> FitResult:
    """What a model file tells of its fit.

    Raises
    ------
    FileError
        It tells nothing.
    """
    result = load_result(path)
    if result is None:
        raise FileError.not_a_model(path, detail="it does not tell of a fit")
    return result


def predict(model_path: Path, data: list[Path], *, out: Path | None, as_json: bool, unknown: bool = False) -> int:
    """Components and responsibilities."""
    if out is not None:
        persistence.check_writable(out)
    model = with_unknown_as_missing(persistence.load(model_path), is_asked=unknown)
    parts = (fitting.responsibilities(model, table) for table in tables(data))
    names = model.component_names
    if as_json:
        resp = np.concatenate(list(parts))
        labels = resp.argmax(axis=1).tolist()
        print_json({"component": labels, "responsibilities": resp.tolist(), "component_names": names})
        return 0
    head = ["component", *(["name"] if names else []), *(f"responsibility_{k}" for k in range(model.latent_size))]
    rows = (row for resp in parts for row in zip(resp.argmax(axis=1).tolist(), resp.tolist(), strict=True))
    write_csv(out, head, ([k, *([names[k]] if names else []), *row] for k, row in rows))
    return 0


def score(model_path: Path, data: list[Path], *, weights: str | None, as_json: bool, unknown: bool = False) -> int:
    """Log-likelihood, total and per row."""
    model = with_unknown_as_missing(persistence.load(model_path), is_asked=unknown)
    total = total_weight = 0.0
    impossible = 0
    for table in tables(data):
        weight = np.ones(table.n_rows) if weights is None else checked_weights(table.column(weights), table)
        scores = fitting.score_samples(model, table)
        total_weight += float(weight.sum())
        total += float(weight[weight > 0] @ scores[weight > 0])
        impossible += int((scores == -math.inf).sum())
    if total_weight == 0:
        raise DataError.weights_all_zero()
    found = {
        "log_likelihood": total if math.isfinite(total) else None,
        "mean_log_likelihood": total / total_weight if math.isfinite(total) else None,
        "total_weight": total_weight,
        "n_impossible_rows": impossible,
    }
    if as_json:
        print_json(found)
    else:
        print(
            f"log-likelihood  {total:.6f}\nper row         {total / total_weight:.6f}\nrows            {total_weight:g}"
        )
    if impossible:
        say(f"{impossible} rows are impossible under every component: the log-likelihood is -inf.")
    return 0


def show(model_path: Path, *, form: str) -> int:
    """A model and the summary of its fit, in one of the `FORMATS`."""
    if form not in FORMATS:
        raise ModelError.choice(what="format", found=form, available=FORMATS)
    document = persistence.read_document(model_path)
    model = persistence.load(model_path)
    reasons = {str(reason): reason.sentence for reason in StopReason}
    sentence = reasons.get(document["fit"].get("stop_reason", ""), "ended for a reason unknown here")
    if form == "json":
        print_json({**document["fit"], "model": persistence.to_document(model)})
        return 0
    if form != "text":
        print((html_of if form == "html" else markdown_of)(model, document["fit"], sentence))
        return 0
    console, summary = Console(), document["fit"]
    console.print(str(model), style="bold", markup=False, highlight=False)
    console.print()
    text.print_model(console, model, summary.get("expected_counts"))
    if summary:
        console.print()
        text.print_summary(console, summary, sentence)
    return 0


def explain(request: Request, *, iterations: int) -> int:
    """Worked iterations."""
    whole_number("--iterations", iterations, least=1)
    model, table, arguments = request.read()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, soft_wrap=False)
    with logged():
        begun = fitting.fit(
            model, table, **arguments, stop="iterations", max_iter=0, n_init=1, random_state=request.seed or 0
        )
    model, trace = begun.model, []
    known = {"labels": arguments["labels"], "sample_weight": arguments["sample_weight"]}
    explain_report.print_start(console, model, begun.total_weight)
    for number in range(1, iterations + 1):
        worked = worked_iteration(model, table, **known)
        explain_report.print_iteration(console, number, worked)
        trace.append(worked.step.log_likelihood)
        model = worked.next_model
    ended = fitting.fit(model, table, **known, stop="iterations", max_iter=0)
    explain_report.print_end(
        console, model, [*trace, ended.log_likelihood], [for_command_line(one) for one in ended.warnings]
    )
    return 0


@contextmanager
def logged() -> Iterator[None]:
    """What emix logs meanwhile, as messages for people."""
    logger, handler = logging.getLogger("emix"), logging.StreamHandler(sys.stderr)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def say(message: str) -> None:
    """A message for people: stderr."""
    print(message, file=sys.stderr)


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout."""
    try:
        print(json.dumps(document, allow_nan=False))
    except ValueError as error:
        raise ModelError.argument(name="--json", requirement="finite numbers", found=str(error)) from error


def write_csv(out: Path | None, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV to a file, whole or not at all, or to stdout."""
    if out is None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([head, *rows])
        sys.stdout.write(buffer.getvalue())
        return
    with persistence.atomic_write(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
