"""Parameters and responsibilities as tables, in the user's own data-frame library."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v1 as nw

from emix.block import Array
from emix.fitting import responsibilities
from emix.frames import frame_of, library_of
from emix.model import Mixture
from emix.results import mixture_of


def to_frame(model: Any, backend: str | None = None) -> Any:
    """Mixing proportions and parameters as a tidy table: one number per row.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    backend : {'pandas', 'polars', 'pyarrow'}, optional
        Whose data frame; by default that of the frame that the model was fitted to, as far as what is given knows of it
        (a `Mixture` by itself does not), else the first of these that is installed.

    Returns
    -------
    data frame
        As `Mixture.to_frame` describes it.

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
    mixture = mixture_of(model)
    return (model if hasattr(model, "to_frame") else mixture).to_frame(backend)


def responsibilities_frame(model: Any, data: Any, *, labels: Any = None) -> Any:
    """Responsibilities as a data frame, one column per component and one row per row of the data.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
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
    mixture = mixture_of(model)
    resp: Array = responsibilities(mixture, data, labels=labels)
    names = [component_column(mixture, k) for k in range(resp.shape[1])]
    given = nw.from_native(data, pass_through=True, eager_only=True, allow_series=True)
    is_frame = isinstance(given, nw.DataFrame | nw.Series)
    columns = dict(zip(names, resp.T, strict=True))
    frame = frame_of(columns, dict.fromkeys(names, nw.Float64()), library_of(given) if is_frame else None)
    index = nw.maybe_get_index(given) if is_frame else None
    if index is not None:
        frame.index = index
    return frame


def component_column(model: Mixture, k: int) -> str:
    """What the column of a component is called."""
    if model.component_names is not None:
        return model.component_names[k]
    return "noise" if model.has_noise and k == model.latent_size - 1 else f"component {k}"
