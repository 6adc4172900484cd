"""What a tile of statistics holds, by name: how a family tells the compiled kernel to fill it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VALUES, SQUARES, PRODUCTS, TRIALS, GAMMA = range(5)
"""Kinds of dense tiles: see `_fill` in compiled.py."""
COMPLETE, COUNTED, ZEROED = range(3)
"""What the filler does about missing cells: there are none; zeros, and a row of 0 or 1 per column; zeros, in columns
that are missing in all rows of the tile."""
PLAIN, LOGARITHM = range(2)
"""Which coordinate y is of: x, or log x."""


class Tile(NamedTuple):
    """A filler and its constants: y = (u - shift) / scale, u = x or log x."""

    kind: int
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    coordinate: int = PLAIN
    takes_holes: bool = True
    """Whether the filler knows what a missing cell means; otherwise such data take the NumPy path."""


class MixedTiles(NamedTuple):
    """Dense tiles side by side, for columns of several kinds.

    `parts` (P, 5) are kind, coordinate, first column, the column after the last, and first row of the tile; `shift` and
    `scale` have an entry for each column of the table.
    """

    parts: NDArray[np.int64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
