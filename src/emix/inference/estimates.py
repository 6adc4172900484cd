"""Numbers of a fit with their uncertainty: one by name, and all of them as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emix.described import SAID_TWICE, number
from emix.errors import ModelError
from emix.frames import frame_of_kinds
from emix.markup import html_table, text_table

AT_BOUNDARY, FIXED, UNTOLD = "at the boundary", "fixed", "not told by these data"
MAX_LINES = 60
DIGITS, ERROR_DIGITS = 5, 3


@dataclass(frozen=True)
class Estimate:
    """One number of a fit, with its uncertainty.

    Attributes
    ----------
    parameter : str
        Such as `mixing_proportion`, `mean`, `standard_deviation`, `probabilities`.
    component : int
        Its number, as in the fit; -1 for a number of a user's own model.
    column, level_name : str or None
        The column, or the names of the columns that share the number, like `time,died`; of a category the level, of a
        covariance or correlation the second column.
    value : float
        The estimate, in the units of the data.
    standard_error, lower, upper : float or None
        None where `note` says why.
    note : str
        'at the boundary', 'fixed', 'not told by these data' (nothing is known of a direction that matters to it),
        'tied to component 0' (the same number), or empty.
    """

    parameter: str
    component: int
    column: str | None
    level_name: str | None
    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    note: str = ""

    @property
    def name(self) -> str:
        """Like `mean[0, waiting]`."""
        inside = [str(self.component)] if self.component >= 0 else []
        inside += [str(part) for part in (self.column, self.level_name) if part is not None]
        return f"{self.parameter}[{', '.join(inside)}]" if inside else self.parameter

    def __str__(self) -> str:
        """Like `mean[0, waiting] = 54.479 (std. error 0.592, 53.318 to 55.639)`."""
        (_, value, error, ends, note), *_ = estimates_table([self])[1]
        inside = note if self.standard_error is None else f"std. error {error}, {ends}{f'; {note}' if note else ''}"
        return f"{self.name} = {value}{f' ({inside})' if inside else ''}"

    __repr__ = __str__


def chosen(
    estimates: Sequence[Estimate], parameter: str, component: int | None, column: str | None, level: Any = None
) -> Any:
    """See `Uncertainty.of`."""
    of_component = [
        one for one in estimates if one.parameter == parameter and (component is None or one.component == component)
    ]
    second = None if level is None else str(level)
    found = _of_columns(of_component, column, second)
    if not found and second is not None:  # of two columns, which is the same number either way
        found = _of_columns(of_component, second, column)
    if not found:
        available = [one.name for one in estimates if one.parameter == parameter] or {
            one.parameter: None for one in estimates
        }
        wanted = f"{parameter}[{', '.join(str(part) for part in (component, column, level) if part is not None)}]"
        raise ModelError.choice(what="estimate", found=wanted, available=available)
    return found[0] if len(found) == 1 else found


def _of_columns(estimates: Sequence[Estimate], column: str | None, second: str | None) -> tuple[Estimate, ...]:
    return tuple(
        one
        for one in estimates
        if (column is None or one.column == column) and (second is None or str(one.level_name) == second)
    )


def estimates_table(estimates: Sequence[Estimate]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Titles, and one row of words per estimate."""
    rows: list[Sequence[str]] = []
    for one in estimates:
        ends = ""
        if one.lower is not None and one.upper is not None:
            ends = f"{number(one.lower, DIGITS)} to {number(one.upper, DIGITS)}"
        error = "" if one.standard_error is None else number(one.standard_error, ERROR_DIGITS)
        rows.append((one.name, number(one.value, DIGITS), error, ends, one.note))
    return ("", "estimate", "std. error", "interval", ""), rows


def estimates_html(estimates: Sequence[Estimate], caption: str) -> str:
    """One row per estimate, for notebooks."""
    return html_table(*estimates_table(estimates), caption)


def estimates_text(estimates: Sequence[Estimate], caption: str) -> str:
    """The same for a terminal, without what is said twice, and no more lines than a screen or two."""
    listed = [one for one in estimates if one.parameter not in SAID_TWICE]
    lines = [caption, text_table(*estimates_table(listed[:MAX_LINES]))]
    if len(listed) > MAX_LINES:
        lines.append(f"... and {len(listed) - MAX_LINES} more lines; to_frame() has all of them")
    elif len(listed) < len(estimates):
        lines.append("Variances and covariances: see to_frame().")
    return "\n".join(lines)


def estimates_frame(estimates: Sequence[Estimate], library: str | None) -> Any:
    """One row per estimate."""
    names = ("parameter", "component", "column", "level_name", "value", "standard_error", "lower", "upper", "note")
    columns = {name: [getattr(one, name) for one in estimates] for name in names}
    return frame_of_kinds(
        columns, text=("parameter", "column", "level_name", "note"), whole=("component",), library=library
    )
