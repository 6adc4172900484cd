"""The fused E-step, compiled: tile by tile rows -> statistics -> log joint -> responsibilities -> sums.

All code of the E-step stands in this one file, because Numba's cache on disk sees edits of the file of the function
that it caches, and of no other. Tiles are statistic-major, (D, B), so that the inner loops run over rows with stride 1
and vectorise. Both matrix products are loops over 4 components x 4 statistics: 16 independent sums keep the
multiply-add units busy, and Numba compiles them for the processor that it finds (measured on one core of a machine with
AVX-512: 60 to 110 GFLOP/s against 40 to 60 of NumPy's bundled BLAS).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emix.kernels.tiles import COUNTED, GAMMA, LOGARITHM, PRODUCTS, SQUARES, TRIALS, ZEROED

SUMS = {"contract", "reassoc", "nsz", "arcp"}
"""Fast-math flags of sums and products, whose order of addition is free (but the same at every run)."""
EXACT = {"contract", "nsz", "nnan"}
"""Fast-math flags of exp and log: with `reassoc` the error of exp is 2e-14 instead of 2.5e-16."""
HOLES = {"contract", "nsz"}
"""Fast-math flags where NaN means a missing cell."""


@intrinsic
def _float_of_bits(typingctx: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), code


@intrinsic
def _bits_of_float(typingctx: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), code


@njit(inline="always", error_model="numpy")
def _exp(x):
    """exp(x) for x <= 0, exactly 0 below -708; vectorises.

    Cody-Waite reduction to |r| <= log(2) / 2, where Taylor's polynomial of degree 13 is exact to 4e-18: a dozen
    multiply-adds, which cost less than the one division of a rational function.
    """
    z = max(x, -708.0)
    n = np.floor(1.4426950408889634 * z + 0.5)
    r = z - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    value = (1.0 + (r + r * r * p)) * _float_of_bits((np.int64(n) + 1023) << 52)
    return value if x >= -708.0 else 0.0


@njit(inline="always", error_model="numpy")
def _log_tail(m):
    """log(1 + m) - m + m^2 / 2 for sqrt(1/2) <= 1 + m <= sqrt(2): m^3 P(m) / Q(m) of Cephes."""
    p = (
        (
            ((1.01875663804580931796e-4 * m + 4.97494994976747001425e-1) * m + 4.70579119878881725854) * m
            + 1.44989225341610930846e1
        )
        * m
        + 1.79368678507819816313e1
    ) * m + 7.70838733755885391666
    q = (
        (((m + 1.12873587189167450590e1) * m + 4.52279145837532221105e1) * m + 8.29875266912776603211e1) * m
        + 7.11544750618563894466e1
    ) * m + 2.31251620126765340583e1
    return m * m * m * p / q


@njit(inline="always", error_model="numpy")
def _log(x):
    """log(x) for normal positive x; vectorises."""
    bits = _bits_of_float(x)
    e = (bits >> 52) - 1022
    m = _float_of_bits((bits & 0x000FFFFFFFFFFFFF) | (1022 << 52))  # 1/2 <= m < 1
    low = m < 0.70710678118654752440
    f = float(e) - (1.0 if low else 0.0)
    m = (m + m if low else m) - 1.0
    return f * 0.693359375 + (m + (_log_tail(m) - 0.5 * m * m - f * 2.121944400546905827679e-4))


@njit(inline="always", error_model="numpy")
def _excess_minus_log(e):
    """E - log(1 + e), without cancellation for small e."""
    y = 1.0 + e
    near = 0.5 * e * e - _log_tail(e)
    return near if (y > 0.70710678118654752440 and y < 1.4142135623730950488) else e - _log(y)


# -- tiles -----------------------------------------------------------------------------------------------------------


@njit(fastmath=HOLES, nogil=True, error_model="numpy")
def _fill(x, row, b, kind, coordinate, shift, inverse, holes, T):
    """Rows row .. row + b of x (n, d) as the tile T (D, B), but for T[0], the constant 1.

    y = (u - shift) * inverse, u = x or log x.

    VALUES    y_j                                   SQUARES  y_j, y_j^2
    PRODUCTS  y_j, y_i y_j for i <= j               GAMMA    y_j, y_j - log(1 + y_j)
    TRIALS    x_0, n - x_0; n = shift[0], or x_1 if that is 0
    A missing cell is zeros; with COUNTED holes the tile ends with one row of 0 or 1 per column: whether it is observed.
    """
    d = x.shape[1]
    if kind == TRIALS:
        for i in range(b):
            n = shift[0] if shift[0] > 0.0 else float(x[row + i, d - 1])
            heads, tails = float(x[row + i, 0]), n - float(x[row + i, 0])
            T[1, i] = heads if tails == tails else 0.0
            T[2, i] = tails if tails == tails else 0.0
        return
    for j in range(d):
        y, s, v = T[1 + j], shift[j], inverse[j]
        for i in range(b):
            y[i] = float(x[row + i, j])
        if coordinate == LOGARITHM:
            for i in range(b):
                y[i] = _log(y[i])
        for i in range(b):
            y[i] = (y[i] - s) * v
    if holes == COUNTED:
        last = T.shape[0] - d
        for j in range(d):
            for i in range(b):
                seen = float(x[row + i, j]) == float(x[row + i, j])
                T[1 + j, i] = T[1 + j, i] if seen else 0.0
                T[last + j, i] = 1.0 if seen else 0.0
    elif holes == ZEROED:
        for j in range(d):
            if float(x[row, j]) != float(x[row, j]):
                T[1 + j, :b] = 0.0
    if kind == SQUARES:
        for j in range(d):
            y, square = T[1 + j], T[1 + d + j]
            for i in range(b):
                square[i] = y[i] * y[i]
    elif kind == GAMMA:
        for j in range(d):
            y, curve = T[1 + j], T[1 + d + j]
            for i in range(b):
                curve[i] = _excess_minus_log(y[i])
    elif kind == PRODUCTS:
        o = 1 + d
        for j in range(d):
            y = T[1 + j]
            for h in range(j, d):
                z, product = T[1 + h], T[o]
                for i in range(b):
                    product[i] = y[i] * z[i]
                o += 1


# -- products --------------------------------------------------------------------------------------------------------


@njit(fastmath=SUMS, nogil=True, error_model="numpy")
def _log_joint(C, T, L, b):
    """L[:, :b] = C @ T[:, :b]; the number of components is a multiple of 4."""
    K, D = C.shape
    for k in range(0, K, 4):
        L0, L1, L2, L3 = L[k], L[k + 1], L[k + 2], L[k + 3]
        C0, C1, C2, C3 = C[k], C[k + 1], C[k + 2], C[k + 3]
        for i in range(b):
            L0[i] = 0.0
            L1[i] = 0.0
            L2[i] = 0.0
            L3[i] = 0.0
        whole = D - D % 4
        for d in range(0, whole, 4):
            T0, T1, T2, T3 = T[d], T[d + 1], T[d + 2], T[d + 3]
            a00, a01, a02, a03 = C0[d], C0[d + 1], C0[d + 2], C0[d + 3]
            a10, a11, a12, a13 = C1[d], C1[d + 1], C1[d + 2], C1[d + 3]
            a20, a21, a22, a23 = C2[d], C2[d + 1], C2[d + 2], C2[d + 3]
            a30, a31, a32, a33 = C3[d], C3[d + 1], C3[d + 2], C3[d + 3]
            for i in range(b):
                t0, t1, t2, t3 = T0[i], T1[i], T2[i], T3[i]
                L0[i] += a00 * t0 + a01 * t1 + a02 * t2 + a03 * t3
                L1[i] += a10 * t0 + a11 * t1 + a12 * t2 + a13 * t3
                L2[i] += a20 * t0 + a21 * t1 + a22 * t2 + a23 * t3
                L3[i] += a30 * t0 + a31 * t1 + a32 * t2 + a33 * t3
        for d in range(whole, D):
            T0 = T[d]
            a00, a10, a20, a30 = C0[d], C1[d], C2[d], C3[d]
            for i in range(b):
                t0 = T0[i]
                L0[i] += a00 * t0
                L1[i] += a10 * t0
                L2[i] += a20 * t0
                L3[i] += a30 * t0


@njit(fastmath=SUMS, nogil=True, error_model="numpy")
def _accumulate(S, R, T, b):
    """S += R[:, :b] @ T[:, :b]'; the number of components is a multiple of 4."""
    K, D = S.shape
    for k in range(0, K, 4):
        R0, R1, R2, R3 = R[k], R[k + 1], R[k + 2], R[k + 3]
        whole = D - D % 4
        for d in range(0, whole, 4):
            T0, T1, T2, T3 = T[d], T[d + 1], T[d + 2], T[d + 3]
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = 0.0
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
            for i in range(b):
                t0, t1, t2, t3 = T0[i], T1[i], T2[i], T3[i]
                r0, r1, r2, r3 = R0[i], R1[i], R2[i], R3[i]
                s00 += r0 * t0
                s01 += r0 * t1
                s02 += r0 * t2
                s03 += r0 * t3
                s10 += r1 * t0
                s11 += r1 * t1
                s12 += r1 * t2
                s13 += r1 * t3
                s20 += r2 * t0
                s21 += r2 * t1
                s22 += r2 * t2
                s23 += r2 * t3
                s30 += r3 * t0
                s31 += r3 * t1
                s32 += r3 * t2
                s33 += r3 * t3
            S[k, d] += s00
            S[k, d + 1] += s01
            S[k, d + 2] += s02
            S[k, d + 3] += s03
            S[k + 1, d] += s10
            S[k + 1, d + 1] += s11
            S[k + 1, d + 2] += s12
            S[k + 1, d + 3] += s13
            S[k + 2, d] += s20
            S[k + 2, d + 1] += s21
            S[k + 2, d + 2] += s22
            S[k + 2, d + 3] += s23
            S[k + 3, d] += s30
            S[k + 3, d + 1] += s31
            S[k + 3, d + 2] += s32
            S[k + 3, d + 3] += s33
        for d in range(whole, D):
            T0 = T[d]
            s00 = s10 = s20 = s30 = 0.0
            for i in range(b):
                t0 = T0[i]
                s00 += R0[i] * t0
                s10 += R1[i] * t0
                s20 += R2[i] * t0
                s30 += R3[i] * t0
            S[k, d] += s00
            S[k + 1, d] += s10
            S[k + 2, d] += s20
            S[k + 3, d] += s30


# -- responsibilities ------------------------------------------------------------------------------------------------


@njit(fastmath=EXACT, nogil=True, error_model="numpy")
def _know(L, K, row, b, labels, log_q):
    """Add what is known of the labels: codes (n,), -1 unknown, or log q (n, K); an empty array says nothing."""
    if labels.shape[0] > 0:
        for i in range(b):
            label = labels[row + i]
            if label >= 0:
                for k in range(K):
                    if k != label:
                        L[k, i] -= 1e30
    if log_q.shape[0] > 0:
        for i in range(b):
            for k in range(K):
                L[k, i] += log_q[row + i, k]


@njit(fastmath=EXACT, nogil=True, error_model="numpy")
def _respond(L, K, row, b, weight, top, total, scale):
    """The first K rows of L (K, B) become weight x responsibility; `top` the log evidence, `total` log of its sum."""
    first = L[0]
    for i in range(b):
        top[i] = first[i]
        total[i] = 0.0
    for k in range(1, K):
        log_joint = L[k]
        for i in range(b):
            top[i] = max(top[i], log_joint[i])
    for k in range(K):
        log_joint = L[k]
        for i in range(b):
            e = _exp(log_joint[i] - top[i])
            log_joint[i] = e
            total[i] += e
    for i in range(b):
        scale[i] = weight[row + i] / total[i]
        total[i] = _log(total[i])
        top[i] += total[i]
    for k in range(K):
        resp = L[k]
        for i in range(b):
            resp[i] *= scale[i]


@njit(fastmath=SUMS, nogil=True, error_model="numpy")
def _sum_evidence(row, b, weight, evidence, log_total, sums):
    """Add to sums: log-likelihood, its magnitude, weight, sum of weight x log of the largest responsibility."""
    likelihood = magnitude = mass = certain = 0.0
    for i in range(b):
        w = weight[row + i]
        likelihood += w * evidence[i]
        magnitude += w * abs(evidence[i])
        mass += w
        certain -= w * log_total[i]
    sums[0] += likelihood
    sums[1] += magnitude
    sums[2] += mass
    sums[3] += certain


@njit(nogil=True, error_model="numpy")
def _impossible(row, b, evidence):
    for i in range(b):
        if evidence[i] < -1e25:
            return row + i
    return -1


@njit(nogil=True, error_model="numpy")
def _posterior(L, K, row, b, labels, log_q, weight, top, total, scale, sums):
    """From the log joint of a tile to weight x responsibility, in place, and its evidence to `sums`.

    Returns the first row that is impossible under every component, or -1.
    """
    _know(L, K, row, b, labels, log_q)
    _respond(L, K, row, b, weight, top, total, scale)
    bad = _impossible(row, b, top)
    if bad < 0:
        _sum_evidence(row, b, weight, top, total, sums)
    return bad


# -- the E-step of a chunk -------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True, error_model="numpy")
def expect_segments(x, weight, labels, log_q, C, edges, K, kind, coordinate, shift, inverse, holes, B):
    """Sums over the rows of a chunk, by dense tiles of B rows; each of P runs of rows has coefficients of its own.

    x (n, d); weight (n,); labels (n,) or (0,); log_q (n, K) or (0, 0); C (P, K rounded up to 4, D); edges (P + 1,).
    Returns S (as C), sums (4,), and the first row that is impossible under every component, or -1.
    """
    P, Kp, D = C.shape
    T, L = np.ones((D, B)), np.zeros((Kp, B))
    top, total, scale = np.empty(B), np.empty(B), np.empty(B)
    S, sums = np.zeros((P, Kp, D)), np.zeros(4)
    for p in range(P):
        for row in range(edges[p], edges[p + 1], B):
            b = min(B, edges[p + 1] - row)
            _fill(x, row, b, kind, coordinate, shift, inverse, holes, T)
            _log_joint(C[p], T, L, b)
            bad = _posterior(L, K, row, b, labels, log_q, weight, top, total, scale, sums)
            if bad >= 0:
                return S, sums, bad
            for k in range(K, Kp):
                L[k, :b] = 0.0
            _accumulate(S[p], L, T, b)
    return S, sums, -1


@njit(fastmath=SUMS, nogil=True, error_model="numpy")
def _gather(codes, row, b, offsets, Ct, k, L):
    """L[k : k + 4, :b] = the sum over a row's codes of what each adds to the log joint, Ct (n_codes, K)."""
    L0, L1, L2, L3 = L[k], L[k + 1], L[k + 2], L[k + 3]
    k0, k1, k2, k3 = np.uint64(k), np.uint64(k + 1), np.uint64(k + 2), np.uint64(k + 3)
    for i in range(b):
        a0 = a1 = a2 = a3 = 0.0
        for g in range(codes.shape[1]):
            at = np.uint64(offsets[g]) + np.uint64(codes[row + i, g])  # unsigned: no look at negative indices
            a0 += Ct[at, k0]
            a1 += Ct[at, k1]
            a2 += Ct[at, k2]
            a3 += Ct[at, k3]
        L0[i], L1[i], L2[i], L3[i] = a0, a1, a2, a3


@njit(fastmath=SUMS, nogil=True, error_model="numpy")
def _scatter(codes, row, b, offsets, R, k, St):
    """Add the rows' responsibilities R[k : k + 4, :b] to the sums of their codes, St (n_codes, K)."""
    R0, R1, R2, R3 = R[k], R[k + 1], R[k + 2], R[k + 3]
    k0, k1, k2, k3 = np.uint64(k), np.uint64(k + 1), np.uint64(k + 2), np.uint64(k + 3)
    for i in range(b):
        r0, r1, r2, r3 = R0[i], R1[i], R2[i], R3[i]
        for g in range(codes.shape[1]):
            at = np.uint64(offsets[g]) + np.uint64(codes[row + i, g])
            St[at, k0] += r0
            St[at, k1] += r1
            St[at, k2] += r2
            St[at, k3] += r3


@njit(nogil=True, cache=True, error_model="numpy")
def expect_codes(codes, weight, labels, log_q, Ct, K, offsets, B):
    """Sums over the rows of a chunk by index tiles: codes (n, G), what each adds to the log joint Ct (n_codes, K).

    K is rounded up to a multiple of 4 in Ct. Returns St (as Ct), the sums of responsibilities per code, sums (4,), and
    the first impossible row or -1.
    """
    n, (n_codes, Kp) = codes.shape[0], Ct.shape
    L = np.zeros((Kp, B))
    top, total, scale = np.empty(B), np.empty(B), np.empty(B)
    St, sums = np.zeros((n_codes, Kp)), np.zeros(4)
    for row in range(0, n, B):
        b = min(B, n - row)
        for k in range(0, Kp, 4):
            _gather(codes, row, b, offsets, Ct, k, L)
        bad = _posterior(L, K, row, b, labels, log_q, weight, top, total, scale, sums)
        if bad >= 0:
            return St, sums, bad
        for k in range(0, Kp, 4):
            _scatter(codes, row, b, offsets, L, k, St)
    return St, sums, -1


@njit(nogil=True, cache=True, error_model="numpy")
def expect_mixed(x, weight, labels, log_q, C, K, parts, shift, inverse, holes, codes, Ct, offsets, B):
    """Sums over rows whose columns are of several kinds: dense tiles side by side, and codes that are looked up.

    parts (P, 5): kind, coordinate, first column and the one after the last, and the first row of its tile, of each
    dense part; C (K rounded up to 4, D) in the order of these tiles; codes (n, G) or (n, 0), Ct as in `expect_codes`.
    Returns S (as C), St (as Ct), sums (4,), and the first impossible row or -1.
    """
    n, (Kp, D), G = x.shape[0], C.shape, codes.shape[1]
    T, L, M = np.ones((D, B)), np.zeros((Kp, B)), np.zeros((Kp, B))
    top, total, scale = np.empty(B), np.empty(B), np.empty(B)
    S, St, sums = np.zeros((Kp, D)), np.zeros(Ct.shape), np.zeros(4)
    for row in range(0, n, B):
        b = min(B, n - row)
        for p in range(parts.shape[0]):
            kind, coordinate, low, high, first = parts[p]
            end = parts[p + 1, 4] if p + 1 < parts.shape[0] else D
            own = T[first - 1 : end]
            _fill(x[:, low:high], row, b, kind, coordinate, shift[low:high], inverse[low:high], holes, own)
        _log_joint(C, T, L, b)
        if G > 0:
            for k in range(0, Kp, 4):
                _gather(codes, row, b, offsets, Ct, k, M)
            for k in range(K):
                for i in range(b):
                    L[k, i] += M[k, i]
        bad = _posterior(L, K, row, b, labels, log_q, weight, top, total, scale, sums)
        if bad >= 0:
            return S, St, sums, bad
        for k in range(K, Kp):
            L[k, :b] = 0.0
        _accumulate(S, L, T, b)
        if G > 0:
            for k in range(0, Kp, 4):
                _scatter(codes, row, b, offsets, L, k, St)
    return S, St, sums, -1
