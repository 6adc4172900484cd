"""The fused E-step of sparse counts, compiled: only the stored cells are visited."""

from __future__ import annotations

import numpy as np
from numba import njit

from emix.kernels.compiled import _posterior


@njit(nogil=True, cache=True, error_model="numpy")
def expect_sparse(data, indices, indptr, weight, labels, log_q, Ct, K, B):
    """Sums over the rows of a chunk by CSR tiles: only the stored cells are visited, the others are zero counts.

    data, indices, indptr: SciPy's CSR arrays; Ct (1 + d, K rounded up to 8). Returns as `expect_codes`.
    """
    n, (D, Kp) = len(indptr) - 1, Ct.shape
    Lt, L = np.empty((B, Kp)), np.empty((K, B))
    top, total, scale = np.empty(B), np.empty(B), np.empty(B)
    St, sums = np.zeros((D, Kp)), np.zeros(4)
    for row in range(0, n, B):
        b = min(B, n - row)
        for i in range(b):
            for k in range(Kp):
                Lt[i, k] = Ct[0, k]
            for at in range(indptr[row + i], indptr[row + i + 1]):
                count, column = float(data[at]), 1 + indices[at]
                for k in range(Kp):
                    Lt[i, k] += count * Ct[column, k]
        for k in range(K):
            for i in range(b):
                L[k, i] = Lt[i, k]
        bad = _posterior(L, K, row, b, labels, log_q, weight, top, total, scale, sums)
        if bad >= 0:
            return St, sums, bad
        for i in range(b):
            for k in range(Kp):
                Lt[i, k] = L[k, i] if k < K else 0.0
                St[0, k] += Lt[i, k]
            for at in range(indptr[row + i], indptr[row + i + 1]):
                count, column = float(data[at]), 1 + indices[at]
                for k in range(Kp):
                    St[column, k] += count * Lt[i, k]
    return St, sums, -1
