"""Colours that people tell apart, also those who see no red or no green, and numbers short enough to send.

Source: Okabe & Ito (2008), Color Universal Design: the palette, without its yellow, which is too pale on white.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emix.block import Array
from emix.model import Mixture

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4EA3", "#5B4A3F", "#9AA11F", "#B03A5B")
"""The first six are Okabe and Ito's; the others follow where there are more components."""
LINE_COLOURS = PALETTE[:6]
"""Of lines, which dashes tell apart further: no two of these look alike to those who see no red or no green."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
NOISE = "#8C8C8C"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "triangle-down")


def colours(model: Mixture) -> list[str]:
    """One per component; noise is grey."""
    K = model.latent_size - model.has_noise
    return [PALETTE[k % len(PALETTE)] for k in range(K)] + [NOISE] * model.has_noise


def faded(colour: str, opacity: float) -> str:
    """The colour with this opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def short(values: Array | Sequence[float], digits: int = 5) -> list[float | None]:
    """Numbers with so many significant digits, as they are sent; None for what is not finite."""
    array = np.asarray(values, dtype=np.float64)
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in array.ravel()]


def symbol(k: int) -> str:
    """Of component k; another one where its colour comes again."""
    return SYMBOLS[(k + k // len(PALETTE)) % len(SYMBOLS)]
