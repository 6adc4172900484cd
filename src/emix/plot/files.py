"""Pictures to files, without a screen."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from emix import persistence
from emix.errors import FileError
from emix.plot import canvas
from emix.plot.bars import profile, responsibilities
from emix.plot.checks import qq, residuals
from emix.plot.columns import density
from emix.plot.matrix import pairs

KINDS: dict[str, Callable[..., Any]] = {
    "density": density,
    "pairs": pairs,
    "profile": profile,
    "responsibilities": responsibilities,
    "residuals": residuals,
    "qq": qq,
}
FORMATS = ("png", "pdf", "svg", "jpg", "jpeg", "eps", "tiff", "webp")
DATELESS = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "eps": {"CreationDate": None}}
"""So that the same picture has the same bytes."""


def check_format(path: str | Path) -> str:
    """The format that a file's name asks for.

    Raises
    ------
    FileError
        There is none of that name, or Matplotlib is not installed.
    """
    canvas.pyplot()
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise FileError.not_writable(path, detail=f"its name must end in .{', .'.join(FORMATS)}")
    return form


def save_picture(kind: str, model: Any, data: Any, path: str | Path, *, dpi: int = 150, **options: Any) -> None:
    """Draw one of the `KINDS` and write it, whole or not at all.

    Parameters
    ----------
    kind : str
        One of the `KINDS`.
    model, data
        As the function of that name takes them.
    path : path-like
        Its suffix is the format.
    dpi : int, default=150
        Dots per inch.
    **options
        Of that function.

    Raises
    ------
    FileError
        The path cannot be written, its format is unknown, or Matplotlib is not installed.
    """
    form, plt = check_format(path), canvas.pyplot()
    found = KINDS[kind](model, data, **options)
    figure = np.atleast_1d(np.asarray(found, dtype=object)).flat[0].figure
    whole = BytesIO()
    try:
        with plt.rc_context({"svg.hashsalt": "emix"}):
            figure.savefig(whole, format=form, dpi=dpi, metadata=DATELESS.get(form))
    finally:
        plt.close(figure)
    with persistence.atomic_write(path, is_binary=True) as file:
        file.write(whole.getvalue())
