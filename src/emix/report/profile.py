"""How the components differ from the whole, column by column, the columns that separate them most first."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emix.fitting.profile import ColumnProfile, column_profiles
from emix.model import Mixture
from emix.report.text import component_title, number


@dataclass(frozen=True)
class Profile:
    """One column: how far it sets the components apart, and what it is like in the whole and in each."""

    column: str
    apart: float
    """Share of the column's variance that lies between components (for categories Goodman and Kruskal's tau)."""
    whole: str
    components: tuple[str, ...]


def profiles(model: Mixture) -> list[Profile]:
    """Of all columns whose families have moments, the most telling first."""
    return [_in_words(one) for one in column_profiles(model)]


def _in_words(one: ColumnProfile) -> Profile:
    """A mean, or the level that each component has most in excess of the whole."""
    if not one.levels:
        whole, cells = number(float(one.whole[0])), tuple(number(float(m)) for m in one.components[:, 0])
        return Profile(one.column, one.apart, whole, cells)
    top, most = (one.components - one.whole).argmax(axis=1), int(one.whole.argmax())
    pairs = zip(one.components, top, strict=True)
    cells = tuple(f"{one.levels[level]} {100 * row[level]:.0f}%" for row, level in pairs)
    return Profile(one.column, one.apart, f"{one.levels[most]} {100 * one.whole[most]:.0f}%", cells)


def print_profile(console: Console, model: Mixture, limit: int = 30) -> None:
    """The profile as a table."""
    found = profiles(model)
    if len(found) < 2 or len(found[0].components) < 2:
        return
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for title in ("column", "apart", "whole"):
        table.add_column(title, justify="left" if title == "column" else "right", no_wrap=True)
    for k in range(len(found[0].components)):
        table.add_column(component_title(model, k), justify="right", no_wrap=True)
    for one in found[:limit]:
        table.add_row(*(Text(cell) for cell in (one.column, f"{one.apart:.2f}", one.whole, *one.components)))
    console.print(table)
    console.print("apart: share of a column's variance that lies between the components, 0 to 1")
    if len(found) > limit:
        console.print(f"... and {len(found) - limit} more columns")
