"""Parameters and responsibilities as tables, in the user's own data-frame library."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families import Categorical, Columns, Family
from emix.fitting import responsibilities
from emix.inference.readings import own_columns
from emix.model import Mixture
from emix.results import FitResult

BACKENDS = ("pandas", "polars", "pyarrow")
"""In the order in which they are looked for."""


class _Cell(NamedTuple):
    """One number of one component."""

    component: int
    column: str | None
    parameter: str
    level: str | None
    value: float


def to_frame(model: Mixture | FitResult, backend: str | None = None) -> Any:
    """Mixing proportions and parameters as a tidy table: one number per row.

    Parameters
    ----------
    model : Mixture or FitResult
        With parameters.
    backend : {'pandas', 'polars', 'pyarrow'}, optional
        Whose data frame; the first of these that is installed by default.

    Returns
    -------
    data frame with the columns
        component : its name, or its number where components have no names;
        column : of the data; null for a number of the component as a whole;
        parameter : such as `mixing_proportion`, `mean`, `probabilities`;
        level : of a categorical column, or the second column of a covariance; else null;
        value : float.

    Raises
    ------
    ModelError
        The model has no parameters, or the backend is unknown or not installed.

    Examples
    --------
    >>> from emix import Mixture, Poisson, to_frame
    >>> to_frame(Mixture(Poisson([1.0, 4.0])), backend="polars")["value"].to_list()
    [0.5, 0.5, 1.0, 4.0]
    """
    mixture = model.model if isinstance(model, FitResult) else model
    if not isinstance(mixture, Mixture):
        raise ModelError.argument(name="model", requirement="a Mixture or what a fit of one returns", found=model)
    if not mixture.is_fitted:
        raise ModelError.not_fitted("This mixture")
    shares = enumerate(mixture.latent.mixing_proportions)
    cells = [_Cell(k, None, "mixing_proportion", None, float(share)) for k, share in shares]
    cells += _family_cells(mixture.family)
    names = None if mixture.component_names is None else mixture.component_names
    return _frame(
        {
            "component": [cell.component if names is None else names[cell.component] for cell in cells],
            "column": [cell.column for cell in cells],
            "parameter": [cell.parameter for cell in cells],
            "level": [cell.level for cell in cells],
            "value": [cell.value for cell in cells],
        },
        {
            "component": nw.Int64() if names is None else nw.String(),
            "column": nw.String(),
            "parameter": nw.String(),
            "level": nw.String(),
            "value": nw.Float64(),
        },
        _backend(backend),
    )


def responsibilities_frame(model: Mixture | FitResult, data: Any, *, labels: Any = None) -> Any:
    """Responsibilities as a data frame, one column per component and one row per row of the data.

    Parameters
    ----------
    model : Mixture or FitResult
        With parameters.
    data, labels
        As in `responsibilities`.

    Returns
    -------
    data frame of shape (n, K)
        Of the library that `data` came from, with its index in pandas; for other data of the first of pandas, polars
        and pyarrow that is installed. Columns are named after the components: `component 0`, or by their names.

    Raises
    ------
    DataError, ModelError
        The data cannot be, or the model has no parameters.
    """
    mixture = model.model if isinstance(model, FitResult) else model
    resp: Array = responsibilities(mixture, data, labels=labels)
    names = [component_column(mixture, k) for k in range(resp.shape[1])]
    given = nw.from_native(data, pass_through=True, eager_only=True, allow_series=True)
    is_frame = isinstance(given, nw.DataFrame | nw.Series)
    columns = dict(zip(names, resp.T, strict=True))
    types = dict.fromkeys(names, nw.Float64())
    frame = _frame(columns, types, given.implementation if is_frame else _backend(None))
    index = nw.maybe_get_index(given) if is_frame else None
    if index is not None:
        frame.index = index
    return frame


def component_column(model: Mixture, k: int) -> str:
    """What the column of a component is called."""
    if model.component_names is not None:
        return model.component_names[k]
    return "noise" if model.has_noise and k == model.latent_size - 1 else f"component {k}"


def _backend(name: str | None) -> Any:
    """A library that is there."""
    if name is None:
        return next(one for one in BACKENDS if find_spec(one) is not None)  # pyarrow is required
    if name not in BACKENDS:
        raise ModelError.choice(what="data-frame library", found=name, available=BACKENDS)
    if find_spec(name) is None:
        raise ModelError.argument(name="backend", requirement="an installed data-frame library", found=name)
    return name


def frame_of(columns: dict[str, Any], types: dict[str, Any], library: str | None) -> Any:
    """A data frame of the library of this name, or of the first that is installed.

    Raises
    ------
    ModelError
        The library is unknown or not installed.
    """
    return _frame(columns, types, _backend(library))


def frame_of_kinds(
    columns: dict[str, list[Any]], *, text: tuple[str, ...], whole: tuple[str, ...], backend: str | None
) -> Any:
    """A table of text, whole numbers and, else, numbers, in which None is null."""
    types: dict[str, Any] = {
        name: nw.String() if name in text else nw.Int64() if name in whole else nw.Float64() for name in columns
    }
    return _frame(columns, types, _backend(backend))


def _frame(columns: dict[str, Any], types: dict[str, Any], backend: Any) -> Any:
    return nw.from_dict(columns, schema=types, backend=backend).to_native()


def _family_cells(family: Family) -> Iterator[_Cell]:
    """The numbers of a family, parameter by parameter, in the order of its columns and then of the components."""
    if isinstance(family, Columns):
        for part in family.parts:
            own = part.names if part.family.binding is None else None
            yield from _one_family_cells(part.family, own)
        return
    yield from _one_family_cells(family, None)


def _one_family_cells(family: Family, names: tuple[str, ...] | None) -> Iterator[_Cell]:
    if names is None:
        names = own_columns(family)
    if isinstance(family, Categorical):
        for j, table in enumerate(family.tables):
            levels = family.levels[j] if family.levels else tuple(str(code) for code in range(table.shape[1]))
            for name, row in zip(levels, table.T, strict=True):
                for k, value in enumerate(row):
                    yield _Cell(k, names[j], "probabilities", name, float(value))
        return
    for parameter, values in family.parameters.items():
        array = np.asarray(values)
        for index in np.ndindex(*array.shape[1:]):
            column = names[index[0]] if index else names[0] if len(names) == 1 else None
            level = names[index[1]] if len(index) == 2 else None
            for k in range(len(array)):
                yield _Cell(k, column, parameter, level, float(array[(k, *index)]))
