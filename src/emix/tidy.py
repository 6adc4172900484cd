"""The parameters of a mixture as a tidy table: one number per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from emix.described import Described
from emix.errors import ModelError
from emix.families import Categorical, Columns, Family
from emix.frames import frame_of_kinds


class _Cell(NamedTuple):
    """One number of one component."""

    component: int
    column: str | None
    parameter: str
    level: str | None
    value: float


def parameter_frame(model: Described, library: str | None) -> Any:
    """See `Mixture.to_frame`.

    Raises
    ------
    ModelError
        The model has no parameters, or the library is unknown or not installed.
    """
    if not model.is_fitted:
        raise ModelError.not_fitted("This mixture")
    shares = enumerate(model.latent.mixing_proportions)
    cells = [_Cell(k, None, "mixing_proportion", None, float(share)) for k, share in shares]
    cells += _cells(model.family)
    names = model.component_names
    return frame_of_kinds(
        {
            "component": [cell.component if names is None else names[cell.component] for cell in cells],
            **{name: [getattr(cell, name) for cell in cells] for name in ("column", "parameter", "level", "value")},
        },
        text=("column", "parameter", "level", *(() if names is None else ("component",))),
        whole=("component",),
        library=library,
    )


def own_columns(family: Family) -> tuple[str, ...]:
    """Names of the columns that a family has parameters for; x0, x1, ... before there are data."""
    if family.binding is not None:
        beside = family.support.bound_column is not None
        return family.columns[: len(family.columns) - beside]
    if isinstance(family, Categorical):
        return tuple(f"x{j}" for j in range(len(family.tables)))
    widths = [np.shape(value)[1] for value in family.parameters.values() if np.ndim(value) > 1]
    return tuple(f"x{j}" for j in range(max(widths, default=1)))


def _cells(family: Family) -> Iterator[_Cell]:
    """The numbers of a family, parameter by parameter, in the order of its columns and then of the components."""
    if not isinstance(family, Columns):
        yield from _cells_of(family, own_columns(family), None)
        return
    for part in family.parts:
        names = part.names if part.family.binding is None else own_columns(part.family)
        yield from _cells_of(part.family, names, part.label)


def _cells_of(family: Family, names: tuple[str, ...], label: str | None) -> Iterator[_Cell]:
    """Of one family; what is of no single one of its columns is of what `label` names."""
    if isinstance(family, Categorical):
        for j, table in enumerate(family.tables):
            levels = family.level_names[j] if family.level_names else tuple(str(code) for code in range(table.shape[1]))
            for name, row in zip(levels, table.T, strict=True):
                for k, value in enumerate(row):
                    yield _Cell(k, names[j], "probabilities", name, float(value))
        return
    for parameter, values in family.parameters.items():
        array = np.asarray(values)
        for index in np.ndindex(*array.shape[1:]):
            column = names[index[0]] if index else names[0] if len(names) == 1 else label
            level = names[index[1]] if len(index) == 2 else None
            for k in range(len(array)):
                yield _Cell(k, column, parameter, level, float(array[(k, *index)]))
