"""The candidates of a model choice as text: a grid of the criterion, the best in full, what failed, and the reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.inference.candidates import Candidate, Selection, title_of

IN_FULL = 12
"""Candidates up to which all are listed in full; of more, the best of them beneath a grid."""
BEST = 6
"""That are listed in full beneath a grid."""
WIDE = 110
"""Columns of a terminal from which all criteria have room."""
NAME = 8
"""Letters of a family's name that need room in a line."""
ALL = ("aic", "aicc", "bic", "sabic", "icl")
NAMED_FAILURES = 3


def print_selection(console: Console, selection: Selection) -> None:
    """All candidates side by side, and why the best was chosen."""
    candidates, ranked = selection.candidates, selection.ranked()
    names = {one: short_name(one, candidates) for one in dict.fromkeys(each.family for each in candidates)}
    numbers = list(dict.fromkeys(one.n_components for one in candidates))
    shown = ranked
    if len(candidates) > IN_FULL and len(numbers) > 1:
        _print_grid(console, selection, names, numbers)
        console.print()
        shown = ranked[:BEST]
    _print_list(console, shown, names, selection.criterion)
    unconverged = [one for one in candidates if one.result is not None and not one.converged]
    if unconverged:
        listed = ", ".join(_label(one, names) for one in unconverged[:BEST])
        more = f" and {len(unconverged) - BEST} more" if len(unconverged) > BEST else ""
        console.print(Text(f"Not converged, so not chosen from: {listed}{more}."))
    _print_failures(console, candidates, names)
    console.print()
    if ranked:
        console.print(Text.assemble(("Chosen: ", "bold"), _in_short(selection.reason, names)))
    for warning in selection.warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), _in_short(warning, names)))


def _in_short(text: str, names: dict[str, str]) -> str:
    """Text about candidates, with the short names."""
    for family in sorted(names, key=len, reverse=True):  # the longest first: one name may begin another
        for after in " ,":
            text = text.replace(f" x {family}{after}", f" x {names[family]}{after}")
    return text


def short_name(family: str, candidates: tuple[Candidate, ...]) -> str:
    """The structure alone where all families are multivariate normals that differ in nothing else; `columns` alone."""
    if family.startswith("columns(") and sum(one.startswith("columns(") for one in {c.family for c in candidates}) == 1:
        return "columns"
    pattern = re.compile(r"multivariate_normal(?:\(structure='([^']+)'\))?")
    if len({one.family for one in candidates}) > 1 and all(pattern.fullmatch(one.family) for one in candidates):
        found = pattern.fullmatch(family)
        return (found[1] if found is not None else None) or "full"
    return family


def _label(one: Candidate, names: dict[str, str]) -> str:
    return f"{one.n_components} x {names[one.family]}"


def _print_grid(console: Console, selection: Selection, names: dict[str, str], numbers: list[int]) -> None:
    """Families down, numbers of components across."""
    best = selection.ranked()[:1]
    by_place = {(one.family, one.n_components): one for one in selection.candidates}
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column(title_of(selection.criterion))
    for K in numbers:
        table.add_column(str(K), justify="right", no_wrap=True)
    for family, name in names.items():
        cells = []
        for K in numbers:
            one = by_place.get((family, K))
            value = None if one is None else one.value(selection.criterion)
            is_best = one is not None and any(one is each for each in best)
            text = "-" if value is None else f"{value:,.1f}"
            mark = "*" if is_best else "" if one is None or one.result is None or one.converged else "?"
            cells.append(Text(text + mark, style="bold" if is_best else ""))
        table.add_row(Text(name), *cells)
    console.print(table)
    marks = "* the best"
    marks += "; - without a result" * any(one.result is None for one in selection.candidates)
    marks += "; ? not converged" * any(one.result is not None and not one.converged for one in selection.candidates)
    console.print(Text(marks, style="dim"))


def _print_list(console: Console, shown: list[Candidate], names: dict[str, str], criterion: str) -> None:
    """Each with all its criteria, best first."""
    if not shown:
        return
    has_folds = any(one.cross_validated is not None for one in shown)
    kept = ALL if console.width >= WIDE else ("bic",) if has_folds else ("aic", "bic", "icl")
    stubs = {family: name[:NAME] for family, name in names.items()}
    least = _list(shown, stubs, kept, has_folds=has_folds).__rich_measure__(console, console.options).minimum
    if least > console.width:  # rather than names cut to pieces
        kept = (criterion if criterion in ALL else "bic",)
    console.print(_list(shown, names, kept, has_folds=has_folds))


def _list(shown: list[Candidate], names: dict[str, str], kept: Sequence[str], *, has_folds: bool) -> Table:
    criteria = [name for name in ALL if name in kept]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("best first")
    heads = ["K", "log-likelihood", "free", *map(title_of, criteria), "entropy"]
    for head in heads + ["held out"] * has_folds + ["converged"]:
        table.add_column(head, justify="right", no_wrap=True)
    for one in shown:
        row = one.row()
        cells = [str(row["n_components"]), f"{row['log_likelihood']:,.3f}", str(row["n_free_parameters"])]
        cells += [f"{row[name]:,.1f}" for name in criteria]
        cells.append(f"{row['entropy']:.3f}")
        if has_folds:
            cells.append("-" if row["cross_validated"] is None else f"{row['cross_validated']:,.2f}")
        table.add_row(Text(names[one.family]), *cells, "yes" if one.converged else "no")
    return table


def _print_failures(console: Console, candidates: tuple[Candidate, ...], names: dict[str, str]) -> None:
    """How many have no result, and the first reasons."""
    failed = [one for one in candidates if one.error]
    for one in failed[:NAMED_FAILURES]:
        *found, _ = one.error.split("\n") if "\n" in one.error else (one.error, "")  # without what to do
        console.print(Text(f"{_label(one, names)}: {' '.join(' '.join(found).split())}", style="yellow"))
    if len(failed) > NAMED_FAILURES:
        console.print(Text(f"... and {len(failed) - NAMED_FAILURES} more without a result; --json names the reasons."))
