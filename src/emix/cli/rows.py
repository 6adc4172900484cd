"""Commands that write rows: drawn ones, and given ones with their missing cells filled in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from emix import fitting, persistence
from emix.cli.arguments import with_unknown_as_missing
from emix.cli.commands import print_json, say, write_csv
from emix.cli.reading import rows_in_memory
from emix.data.table import Table
from emix.errors import ImputationWarning
from emix.families import Columns, Family
from emix.fitting.settings import draw_seed


def sample(model_path: Path, n: int, *, given: int | None, seed: int | None, out: Path | None, as_json: bool) -> int:
    """Drawn rows."""
    if out is not None:
        persistence.check_writable(out)
    model = persistence.load(model_path)
    seed = draw_seed(seed)
    drawn, labels = fitting.sample(model, n, random_state=seed, given=given)
    columns = list(model.family.columns) if model.family.binding else [f"x{j}" for j in range(drawn.shape[1])]
    whole = whole_columns(model.family, len(columns))
    rows = [[_plain(cell, is_whole=w) for cell, w in zip(row, whole, strict=True)] for row in drawn.tolist()]
    if as_json:
        print_json({"columns": columns, "rows": rows, "component": labels.tolist(), "seed": seed})
        return 0
    write_csv(out, [*columns, "component"], ([*row, k] for row, k in zip(rows, labels.tolist(), strict=True)))
    return 0


def impute(
    model_path: Path,
    data: list[Path],
    *,
    draws: int | None,
    seed: int | None,
    out: Path | None,
    as_json: bool,
    unknown: bool,
) -> int:
    """The rows of a table with their missing cells filled in, beside the columns that the model does not have."""
    if out is not None:
        persistence.check_writable(out)
    model = with_unknown_as_missing(persistence.load(model_path), is_asked=unknown)
    table, seed = rows_in_memory(data, "emix impute"), draw_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImputationWarning)
        completed = fitting.impute(model, table, draws=draws, random_state=seed)
    for one in caught:
        say(f"Warning: {one.message}")
    own = list(model.family.columns)
    names = list(table.names) if set(own) <= set(table.names) else own  # of tosses the model has counts
    sets = completed if draws is not None else completed[None]
    tables = [list(_rows(table, names, own, one)) for one in sets]
    if as_json:
        document: dict[str, Any] = {"columns": names, "rows": tables[0]}
        if draws is not None:
            document = {"columns": names, "draws": tables, "seed": seed}
        print_json(document)
        return 0
    if draws is None:
        write_csv(out, names, tables[0])
    else:
        head = ["draw", *names]
        write_csv(out, head, ([d, *row] for d, rows in enumerate(tables, start=1) for row in rows))
        say(f"{draws} completed tables, one after another; --seed {seed} repeats them.")
    return 0


def _rows(table: Table, names: Sequence[str], own: Sequence[str], completed: NDArray[Any]) -> Iterator[list[Any]]:
    """Rows of all columns: those of the model complete, the others as they were."""
    columns = []
    for name in names:
        cells = completed[:, own.index(name)] if name in own else table.column(name)
        observed = table.column(name) if name in table.names else cells
        is_whole = observed.dtype.kind in "iuf" and not (observed % 1 > 0).any()  # a missing cell is neither
        columns.append([_plain(cell, is_whole=is_whole) for cell in cells.tolist()])
    return ([*row] for row in zip(*columns, strict=True))


def _plain(cell: Any, *, is_whole: bool) -> Any:
    """A cell for CSV and JSON: a whole number without a point, None where missing."""
    if isinstance(cell, float) and cell != cell:
        return None
    return int(cell) if is_whole and isinstance(cell, float) and cell.is_integer() else cell


def whole_columns(family: Family, d: int) -> list[bool]:
    """Which of a family's d columns hold whole numbers."""
    if not isinstance(family, Columns):
        return [family.support.is_whole] * d
    found = []
    for part in family.parts:
        beside = part.family.support.bound_column is not None
        found += [part.family.support.is_whole] * (len(part.names) + beside)
    return found
