"""The candidates of a model choice as text: a grid of the criterion, the best in full, what failed, and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.inference.candidates import Candidate, Selection, short_names, title_of

IN_FULL = 12
"""Candidates up to which all are listed in full; of more, the best of them beneath a grid."""
BEST = 6
"""That are listed in full beneath a grid."""
LONGEST = 30
"""Letters of a family's name that stand in one line."""
GAP = 2
"""Between the columns of a table."""
FIRST = ("log_likelihood", "n_free_parameters", "converged", "cross_validated")
WANTED = (*FIRST, "bic", "aic", "icl", "entropy", "aicc", "sabic")
"""Columns of the list beside the criterion that decided, as far as there is room for them; these first."""
NAMED_FAILURES = 3


def print_selection(console: Console, selection: Selection) -> None:
    """All candidates side by side, and why the best was chosen."""
    candidates, ranked = selection.candidates, selection.ranked()
    names = short_names(one.family for one in candidates)
    numbers = list(dict.fromkeys(one.n_components for one in candidates))
    shown = ranked
    if len(candidates) > IN_FULL and len(numbers) > 1:
        _print_grid(console, selection, names, numbers)
        console.print()
        shown = ranked[:BEST]
    _print_list(console, selection, shown, names)
    unconverged = [one for one in candidates if one.result is not None and not one.converged]
    if unconverged:
        listed = ", ".join(_label(one, names) for one in unconverged[:BEST])
        more = f" and {len(unconverged) - BEST} more" if len(unconverged) > BEST else ""
        console.print(Text(f"Not converged, so not chosen from: {listed}{more}."))
    _print_failures(console, candidates, names)
    console.print()
    if ranked:
        console.print(Text.assemble(("Chosen: ", "bold"), _reason(selection, names)))
    for warning in selection.warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), warning))


def _reason(selection: Selection, names: dict[str, str]) -> str:
    """The reason, with the short names."""
    reason = selection.reason
    for family in sorted(names, key=len, reverse=True):  # the longest first: one name may begin another
        for after in " ,":
            reason = reason.replace(f" x {family}{after}", f" x {names[family]}{after}")
    return reason


def _label(one: Candidate, names: dict[str, str]) -> str:
    return f"{one.n_components} x {names[one.family]}"


def _print_grid(console: Console, selection: Selection, names: dict[str, str], numbers: list[int]) -> None:
    """Families down, numbers of components across: as many of these beside each other as fit."""
    best = next(iter(selection.ranked()), None)
    by_place = {(one.family, one.n_components): one for one in selection.candidates}
    columns = {
        K: [_grid_cell(by_place.get((family, K)), best, selection.criterion) for family in names] for K in numbers
    }
    title = title_of(selection.criterion)
    # of a single family the number of components stands above, the criterion beside
    head, beside = (title, list(names.values())) if len(names) > 1 else ("K", [title])
    first = min(max(map(len, (head, *beside))), LONGEST)
    widths = [max(len(str(K)), *(cell.cell_len for cell in cells)) for K, cells in columns.items()]
    for block in _blocks(numbers, widths, console.width - first):
        table = _table(head, beside)
        for K in block:
            table.add_column(str(K), justify="right", no_wrap=True)
        for i, name in enumerate(beside):
            table.add_row(Text(name), *(columns[K][i] for K in block))
        console.print(table)
    marks = "* the best"
    marks += "; - without a result" * any(one.result is None for one in selection.candidates)
    marks += "; ? not converged" * any(one.result is not None and not one.converged for one in selection.candidates)
    console.print(Text(marks, style="dim"))


def _grid_cell(one: Candidate | None, best: Candidate | None, criterion: str) -> Text:
    value = None if one is None else one.value(criterion)
    text = "-" if value is None else f"{value:,.1f}"
    if one is not None and one is best:
        return Text(f"{text}*", style="bold")
    return Text(text + "?" * (one is not None and one.result is not None and not one.converged))


def _blocks(numbers: list[int], widths: list[int], room: int) -> Iterator[list[int]]:
    """The numbers in groups whose columns have room beside each other, one at least in each."""
    block: list[int] = []
    left = room
    for number, width in zip(numbers, widths, strict=True):
        if block and width + GAP > left:
            yield block
            block, left = [], room
        block.append(number)
        left -= width + GAP
    yield block


def _table(head: str, names: Sequence[str]) -> Table:
    """A table whose first column holds these names whole: the numbers beside them do not push them aside."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP // 2))
    longest = max(map(len, (head, *names)))
    table.add_column(head, min_width=min(longest, LONGEST), no_wrap=longest <= LONGEST, max_width=LONGEST)
    return table


def _print_list(console: Console, selection: Selection, shown: list[Candidate], names: dict[str, str]) -> None:
    """Each with its criteria, best first: that which decided, and of the others those that have room."""
    if not shown:
        return
    cells = [_cells(one) for one in shown]
    is_single = len(names) == 1  # its name stands beneath, and would take the room of two criteria
    beside = [f"K = {one.n_components}" if is_single else names[one.family] for one in shown]
    widths = {key: max(map(len, (_head(key), *(row[key] for row in cells)))) + GAP for key in cells[0]}
    has_folds = any(one.cross_validated is not None for one in selection.candidates)
    kept = {selection.criterion} if is_single else {selection.criterion, "n_components"}
    room = console.width - min(max(map(len, ("best first", *beside))), LONGEST) - sum(widths[key] for key in kept)
    for key in WANTED:
        if key not in kept and widths[key] <= room and (key != "cross_validated" or has_folds):
            kept.add(key)
            room -= widths[key]
    table = _table("best first", beside)
    for key in (keys := [key for key in widths if key in kept]):
        table.add_column(_head(key), justify="right", no_wrap=True)
    for name, row in zip(beside, cells, strict=True):
        table.add_row(Text(name), *(row[key] for key in keys))
    console.print(table)


def _head(key: str) -> str:
    """Of a column of the list."""
    own = {
        "n_components": "K",
        "log_likelihood": "log-likelihood",
        "n_free_parameters": "free",
        "entropy": "entropy",
        "cross_validated": "held out",
        "converged": "converged",
    }
    return own.get(key) or title_of(key)


def _cells(one: Candidate) -> dict[str, str]:
    """A line of the list, in the order of its columns."""
    row = one.row()
    cells = {"n_components": str(row["n_components"]), "log_likelihood": f"{row['log_likelihood']:,.3f}"}
    cells["n_free_parameters"] = str(row["n_free_parameters"])
    cells |= {name: f"{row[name]:,.1f}" for name in ("aic", "aicc", "bic", "sabic", "icl")}
    cells["entropy"] = f"{row['entropy']:.3f}"
    cells["cross_validated"] = "-" if row["cross_validated"] is None else f"{row['cross_validated']:,.2f}"
    return cells | {"converged": "yes" if one.converged else "no"}


def _print_failures(console: Console, candidates: tuple[Candidate, ...], names: dict[str, str]) -> None:
    """How many have no result, and the first reasons."""
    failed = [one for one in candidates if one.error]
    for one in failed[:NAMED_FAILURES]:
        *found, _ = one.error.split("\n") if "\n" in one.error else (one.error, "")  # without what to do
        console.print(Text(f"{_label(one, names)}: {' '.join(' '.join(found).split())}", style="yellow"))
    if len(failed) > NAMED_FAILURES:
        console.print(Text(f"... and {len(failed) - NAMED_FAILURES} more without a result; --json names the reasons."))
