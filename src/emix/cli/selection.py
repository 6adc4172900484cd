"""`emix fit` with several numbers of components, families or covariances: model choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from emix import persistence
from emix.cli import commands
from emix.cli.arguments import family_of
from emix.cli.progress import Bar
from emix.data.table import Table
from emix.errors import ModelError
from emix.families import STRUCTURES, Family, parse
from emix.families.student_t import SCALE_STRUCTURES
from emix.inference import Selection, select
from emix.inference.selection import STARTS
from emix.report.selection import print_selection

OUTSIDE = r",(?![^()]*\))"
"""A comma that is not within parentheses."""


@dataclass(frozen=True)
class Choice:
    """What there is to choose from, as the options have it."""

    components: str
    families: tuple[str, ...]
    covariance: str | None
    criterion: str | None
    cross_validate: int | None

    @property
    def is_asked_for(self) -> bool:
        """Whether there is more than one candidate, or a way to choose."""
        several = re.search(r"[:,]", self.components) is not None or len(self.families) > 1
        several |= self.covariance is not None and (self.covariance == "all" or "," in _bare(self.covariance))
        return several or self.criterion is not None or self.cross_validate is not None

    @property
    def numbers(self) -> list[int]:
        """`3`; `2,3,5`; `1:9`, with both ends; or these side by side.

        Raises
        ------
        ModelError
            It is none of these.
        """
        found: list[int] = []
        for part in self.components.split(","):
            ends = re.fullmatch(r"\s*([+-]?\d+)\s*(?::\s*([+-]?\d+)\s*)?", part)
            if ends is None or (ends[2] is not None and int(ends[2]) < int(ends[1])):
                requirement = "whole numbers >= 1, such as 3, 2,3,5 or 1:9"
                raise ModelError.argument(name="--components", requirement=requirement, found=self.components)
            found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
        return found


def read_choice(
    components: str, family: list[str] | None, covariance: str | None, criterion: str | None, folds: int | None
) -> Choice:
    """The options; a list of families is told from families of columns, which are one family together."""
    pieces = [piece.strip() for text in family or [] for piece in re.split(OUTSIDE, text)]
    is_by_column = any(re.match(r"[^=()]+=", piece) for piece in pieces)
    return Choice(components, () if is_by_column else tuple(pieces), covariance, criterion, folds)


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
) -> int:
    """Fit all candidates, print the table, the reason and the chosen model, and save it."""
    if out is not None:
        persistence.check_writable(out)
    if request.start is not None and request.start not in STARTS:
        requirement = f"one of {', '.join(STARTS)} where there are several candidates"
        raise ModelError.argument(name="--start", requirement=requirement, found=request.start)
    fixed = [name.strip() for name in (request.fix or "").split(",") if name.strip()]
    if set(fixed) - {"mixing_proportions"}:
        requirement = "mixing_proportions alone where there are several candidates"
        raise ModelError.argument(name="--fix", requirement=requirement, found=request.fix)
    table, known = request.read_table()
    numbers = choice.numbers
    with Bar() as bar:
        chosen = select(
            table,
            numbers,
            families_of(table, max(numbers), choice, request),
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
            on_progress=bar,
            out=out,
        )
    if as_json:
        commands.print_json(document_of(chosen))
    else:
        print_selection(Console(), chosen)
        Console().print()
        commands.print_fit(chosen.result)
        if out is not None:
            Console(stderr=True).print(f"Model written to {out}", highlight=False)
    if not chosen.is_complete:
        n_left_out = sum(one.result is None for one in chosen.candidates)
        commands.say(f"Interrupted: {n_left_out} of {len(chosen.candidates)} candidates have no result.")
        return 130
    return 0 if chosen.result.converged else 1


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


def _bare(text: str) -> str:
    """Without what is in parentheses."""
    return re.sub(r"\([^()]*\)", "", text)


def document_of(chosen: Selection) -> dict[str, Any]:
    """Everything for JSON: the table, the choice, and the chosen fit as `emix fit` has it."""
    candidates = []
    for one, row in zip(chosen.candidates, chosen.rows(), strict=True):
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        candidates.append({**finite, "started_from": one.started_from})
    best = chosen.best
    return {
        "criterion": chosen.criterion,
        "is_complete": chosen.is_complete,
        "best": {"family": best.family, "n_components": best.n_components},
        "reason": chosen.reason,
        "warnings": chosen.warnings,
        "candidates": candidates,
        "result": chosen.result.to_dict(),
    }
