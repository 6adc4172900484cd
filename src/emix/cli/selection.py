"""`emix fit` with several numbers of components, families or covariances: model choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from emix import persistence
from emix.cli import commands, report
from emix.cli.arguments import family_of
from emix.cli.choice import OUTSIDE, Choice
from emix.cli.progress import Bar
from emix.cli.reading import in_memory
from emix.cli.wording import for_command_line
from emix.data.scan import Scan
from emix.data.table import Table
from emix.errors import DataError, ModelError
from emix.families import STRUCTURES, Family, parse
from emix.families.student_t import SCALE_STRUCTURES
from emix.inference import Selection, select
from emix.inference.selection import STARTS
from emix.report import intervals
from emix.report.selection import print_selection


def fit(
    request: commands.Request,
    choice: Choice,
    *,
    stop: str,
    tol: float | None,
    max_iter: int,
    n_init: int,
    n_jobs: int,
    out: Path | None,
    as_json: bool,
    with_intervals: bool = False,
    report_to: Path | None = None,
) -> int:
    """Fit all candidates, print the table, the reason and the chosen model, save it, report."""
    if out is not None:
        persistence.check_writable(out)
    if report_to is not None:
        report.check(report_to)
    if request.constraints:
        requirement = "one number of components and one family: they speak of single parameters"
        raise ModelError.argument(name="--constrain", requirement=requirement, found="several candidates")
    if request.start is not None and request.start not in STARTS:
        requirement = f"one of {', '.join(STARTS)} where there are several candidates"
        raise ModelError.argument(name="--start", requirement=requirement, found=request.start)
    fixed = [name.strip() for name in (request.fix or "").split(",") if name.strip()]
    if set(fixed) - {"mixing_proportions"}:
        requirement = "mixing_proportions alone where there are several candidates"
        raise ModelError.argument(name="--fix", requirement=requirement, found=request.fix)
    numbers, known = choice.numbers, dict[str, Any]()
    table: Table | Scan
    if request.is_many:
        table, names, known = request.scanned_rows()
        if (with_intervals or report_to is not None) and not table.is_small:
            raise DataError.needs_memory("--report" if report_to is not None else "--intervals")
        some = table.select(names).head(commands.SAMPLE)
        if with_intervals or report_to is not None:
            table, known = in_memory(table, known)
    else:
        table, known = request.read_table()
        some = table
    with Bar() as bar:
        chosen = select(
            table,
            numbers,
            families_of(some, max(numbers), choice, request),
            criterion=choice.criterion or "bic",
            cross_validate=choice.cross_validate,
            **known,
            start=request.start,
            stop=stop,
            tol=tol,
            max_iter=max_iter,
            n_init=n_init,
            n_jobs=n_jobs,
            random_state=request.seed,
            fixed=fixed,
            noise=request.noise,
            prior_rows=request.prior_rows,
            on_progress=bar,
            out=out,
        )
    chosen = in_options(chosen)
    is_chosen = bool(chosen.ranked())
    found = commands.intervals_of(chosen.result, table, known) if with_intervals and is_chosen else None
    if as_json:
        more = {"intervals": None if found is None else intervals.intervals_document(found)} if with_intervals else {}
        commands.print_json(document_of(chosen) | more)
    else:
        print_selection(Console(), chosen)
        if is_chosen:
            Console().print()
            commands.print_fit(chosen.result)
        if found is not None:
            Console().print()
            intervals.print_intervals(Console(), chosen.result.model, found)
        if out is not None and is_chosen:
            Console(stderr=True).print(f"Model written to {out}", highlight=False)
    if report_to is not None and is_chosen:
        report.after_fit(chosen.result, table, report_to, known, selection=chosen, uncertainty=found)
    if not chosen.is_complete:
        n_left_out = sum(one.result is None for one in chosen.candidates)
        commands.say(f"Interrupted: {n_left_out} of {len(chosen.candidates)} candidates have no result.")
        return 130
    return 0 if chosen.result.converged else 1


def in_options(chosen: Selection) -> Selection:
    """What is said of the candidates and of the chosen fit, in the words of the command line."""
    candidates = tuple(replace(one, error=for_command_line(one.error)) for one in chosen.candidates)
    for one in candidates:
        if one.result is not None:
            one.result.warnings[:] = map(for_command_line, one.result.warnings)
    return replace(chosen, candidates=candidates, warnings=[for_command_line(one) for one in chosen.warnings])


def families_of(table: Table, most: int, choice: Choice, request: commands.Request) -> list[Family]:
    """Every family in every covariance that it can have.

    Raises
    ------
    ModelError
        A name is unknown, or no family has a covariance.
    """
    if not choice.families and request.family is not None:  # families of columns
        return [family_of(table, most, request.family, choice.covariance)]
    names: Sequence[str | None] = choice.families or (None,)
    if choice.covariance is None:
        return [family_of(table, most, name, None) for name in names]
    asked = [one.strip() for one in re.split(OUTSIDE, choice.covariance)]
    for one in asked:
        if one and asked.count(one) > 1:
            raise ModelError.twice(name="--covariance", found=one)
    found: list[Family] = []
    for name in names:
        kind = "multivariate_normal" if name is None else parse(name).name
        if kind not in ("multivariate_normal", "student_t") and len(names) > 1:  # it has none; another of them has
            found.append(family_of(table, most, name, None))
            continue
        for structure in asked:
            every = _all_structures(kind, len(table.names)) if structure == "all" else [structure]
            found += [family_of(table, most, name, one) for one in every]
    return found


def _all_structures(kind: str, n_columns: int) -> list[str]:
    """Those of the family; of one column only the two that differ."""
    if kind == "student_t":
        return ["full", "tied"] if n_columns == 1 else list(SCALE_STRUCTURES)
    return ["EII", "VII"] if n_columns == 1 else list(STRUCTURES)


def document_of(chosen: Selection) -> dict[str, Any]:
    """Everything for JSON: the table, the choice, and the chosen fit as `emix fit` has it."""
    candidates = []
    for one, row in zip(chosen.candidates, chosen.rows(), strict=True):
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        candidates.append({**finite, "started_from": one.started_from})
    best = next(iter(chosen.ranked()), None)
    return {
        "criterion": chosen.criterion,
        "is_complete": chosen.is_complete,
        "best": None if best is None else {"family": best.family, "n_components": best.n_components},
        "reason": None if best is None else chosen.reason,
        "warnings": chosen.warnings,
        "candidates": candidates,
        "result": None if best is None or best.result is None else best.result.to_dict(),
    }
