"""Standard errors and intervals as a text table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.described import SAID_TWICE
from emix.model import Mixture
from emix.report.text import component_title, number

if TYPE_CHECKING:  # it loads SciPy's distributions: half a second that other commands need not wait
    from emix.inference import Uncertainty

MAX_LINES = 120
METHODS = {"observed": "observed information", "outer": "outer product of the scores", "sandwich": "sandwich"}


def print_intervals(console: Console, model: Mixture, found: Uncertainty) -> None:
    """Each number with its standard error and interval, or why it has none; one that is shared is listed once."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("")
    table.add_column("component", no_wrap=True)
    for title in ("estimate", "std. error", f"{100 * found.level:g}% interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    listed = [one for one in found.estimates if one.parameter not in SAID_TWICE]
    tied = {estimate_title(one) for one in listed if one.note.startswith("tied to")}
    shown = [one for one in listed if not one.note.startswith("tied to")]
    before = ""
    for one in shown[:MAX_LINES]:
        what = estimate_title(one)
        component = "all" if what in tied else component_title(model, one.component).removeprefix("component ")
        interval = "" if one.lower is None or one.upper is None else f"{number(one.lower)} to {number(one.upper)}"
        error = "" if one.standard_error is None else number(one.standard_error)
        table.add_row(Text("" if what == before else what), component, number(one.value), error, interval, one.note)
        before = what
    console.print(table)
    if len(shown) > MAX_LINES:
        console.print(f"... and {len(shown) - MAX_LINES} more lines; --json has all of them")
    console.print(f"Standard errors from the {METHODS[found.method]}.")
    for note in found.notes:
        console.print(Text.assemble(("Note: ", "bold"), note))


def intervals_document(found: Uncertainty) -> dict[str, object]:
    """Everything as plain dicts and numbers, for JSON."""
    return {
        "method": found.method,
        "level": found.level,
        "condition": found.condition if found.condition < float("inf") else None,
        "notes": list(found.notes),
        "estimates": [vars(one) | {"name": one.name} for one in found.estimates],
    }


def estimate_title(one: Any) -> str:
    """What an estimate is of: `mean of waiting`, `p(town = south)`, `correlation of eruptions, waiting`."""
    word, level = one.parameter.replace("_", " "), one.level_name
    if one.parameter == "probabilities" and one.column is not None and level is not None:
        return f"p({one.column} = {level})"
    named = ", ".join(part for part in (one.column, level) if part is not None)
    return f"{word} of {named}" if named else word
