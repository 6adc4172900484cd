"""Data frames of the user's own library: which one it is, and how to make one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import narwhals.stable.v1 as nw

from emix.errors import ModelError

BACKENDS = ("pandas", "polars", "pyarrow")
"""In the order in which they are looked for."""


def library_of(frame: nw.DataFrame[Any] | nw.Series[Any]) -> str | None:
    """The name of a frame's library; None where it is none that frames are made of."""
    name = str(frame.implementation.value)
    return name if name in BACKENDS else None


def frame_of(columns: dict[str, Any], types: dict[str, Any], library: str | None) -> Any:
    """A data frame of the library of this name, or of the first that is installed.

    Raises
    ------
    ModelError
        The library is unknown or not installed.
    """
    return nw.from_dict(columns, schema=types, backend=_installed(library)).to_native()  # type: ignore[arg-type]


def frame_of_kinds(
    columns: dict[str, list[Any]], *, text: tuple[str, ...], whole: tuple[str, ...], library: str | None
) -> Any:
    """A table of text, whole numbers and, else, numbers, in which None is null."""
    types: dict[str, Any] = {
        name: nw.String() if name in text else nw.Int64() if name in whole else nw.Float64() for name in columns
    }
    return frame_of(columns, types, library)


def _installed(name: str | None) -> str:
    """A library that is there."""
    if name is None:
        return next(one for one in BACKENDS if find_spec(one) is not None)  # pyarrow is required
    if name not in BACKENDS:
        raise ModelError.choice(what="data-frame library", found=name, available=BACKENDS)
    if find_spec(name) is None:
        raise ModelError.argument(name="backend", requirement="an installed data-frame library", found=name)
    return name
