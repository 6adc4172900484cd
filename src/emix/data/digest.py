"""What tells rows from others, at the speed of memory: a checksum of their cells."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS


def digest_of(*arrays: NDArray[Any] | None, after: int = 0) -> int:
    """CRC-32 of the cells of all arrays, row after row, however they lie in memory; `after` goes on from another.

    Twice as fast as a cryptographic hash: what is told apart are mistakes, not forgeries.
    """
    found = after
    for array in arrays:
        if array is None:
            continue
        found = zlib.crc32(f"{array.dtype.str}{array.shape[1:]}".encode(), found)
        for start in range(0, len(array), CHUNK_ROWS):
            found = zlib.crc32(np.ascontiguousarray(array[start : start + CHUNK_ROWS]).data, found)
    return found
