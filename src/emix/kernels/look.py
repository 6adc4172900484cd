"""A first look at the rows, compiled: moments and checks in one scan, and whole rows packed into numbers."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(fastmath={"contract"}, nogil=True, cache=True, error_model="numpy")
def scan(x, weight, out):
    """Column by column over a chunk: see `reference.scan`, of which this is the compiled twin."""
    n, d = x.shape
    for j in range(d):
        mass = first = 0.0
        low, high = np.inf, -np.inf
        missing, infinite, broken = 0, 0, 0
        for i in range(n):
            cell = float(x[i, j])
            if cell != cell:
                missing += 1
            else:
                low, high = min(low, cell), max(high, cell)
                infinite += abs(cell) == np.inf
                broken += cell != np.floor(cell)
                mass += weight[i]
                first += weight[i] * cell
        mean = first / mass if mass > 0.0 else 0.0
        second = 0.0
        for i in range(n):
            cell = float(x[i, j])
            if cell == cell:
                second += weight[i] * (cell - mean) * (cell - mean)
        out[0, j], out[1, j], out[2, j], out[3, j], out[4, j] = mass, mean, second, low, high
        out[5, j], out[6, j], out[7, j] = missing, infinite, broken


@njit(nogil=True, cache=True, error_model="numpy")
def pack(x, minimum, stride, missing_code, codes):
    """Codes (n,) = sum over columns of (x - minimum) * stride: one whole number per distinct row."""
    n, d = x.shape
    for i in range(n):
        code = 0
        for j in range(d):
            cell = float(x[i, j])
            step = int(cell - minimum[j]) if cell == cell else missing_code[j]
            code += step * stride[j]
        codes[i] = code
