"""The E-step of one tile in plain NumPy: the reference that any compiled kernel must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

IMPOSSIBLE = -1e25
"""A row whose largest log joint is below this has probability 0 under every component."""


def log_evidence(log_joint: Array) -> Array:
    """Log sum_k exp(log_joint[k]) per row: (K, B) -> (B,), about the row maximum; -inf for an impossible row."""
    top = log_joint.max(axis=0)
    total = np.exp(log_joint - top).sum(axis=0)
    return np.where(top < IMPOSSIBLE, -np.inf, top + np.log(total))


def responsibilities(log_joint: Array) -> tuple[Array, Array]:
    """(K, B) log joint -> responsibilities (K, B) whose columns sum to 1, and the log evidence (B,).

    Overwrites `log_joint`: a second (K, B) array would double the memory of the E-step. A row that is impossible
    under every component keeps responsibilities that sum to 1 and has the log evidence -inf.
    """
    top = log_joint.max(axis=0)
    log_joint -= top
    resp = np.exp(log_joint, out=log_joint)
    total = resp.sum(axis=0)
    resp /= total
    return resp, np.where(top < IMPOSSIBLE, -np.inf, top + np.log(total))


def scan(x: NDArray[Any], weight: Array) -> Array:
    """A first look at a chunk (n, d), column by column.

    Rows of the result (8, d): weight of the observed cells, their mean, weighted squares about it, minimum, maximum,
    number of missing, of infinite, and of fractional cells.
    """
    cells = np.ascontiguousarray(x, dtype=np.float64)
    seen = ~np.isnan(cells)
    filled = np.where(seen, cells, 0.0)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        mass = weight @ seen
        mean = weight @ filled / np.where(mass > 0, mass, 1.0)
        second = weight @ np.where(seen, (cells - mean) ** 2, 0.0)
    return np.stack(
        [
            mass,
            mean,
            second,
            np.where(seen, cells, np.inf).min(axis=0),
            np.where(seen, cells, -np.inf).max(axis=0),
            (~seen).sum(axis=0),
            np.isinf(cells).sum(axis=0),
            (filled != np.floor(filled)).sum(axis=0),
        ]
    )


def excess_minus_log(e: Array) -> Array:
    """E - log(1 + e) with full relative precision also for small e: e^2 / 2 - e^3 P(e) / Q(e), P and Q of Cephes."""
    p = (1.01875663804580931796e-4, 4.97494994976747001425e-1, 4.70579119878881725854, 1.44989225341610930846e1,
         1.79368678507819816313e1, 7.70838733755885391666)  # fmt: skip
    q = (1.0, 1.12873587189167450590e1, 4.52279145837532221105e1, 8.29875266912776603211e1, 7.11544750618563894466e1,
         2.31251620126765340583e1)  # fmt: skip
    is_near = (e > -0.29) & (e < 0.41)
    near = np.where(is_near, e, 0.0)
    tail = near**3 * np.polyval(p, near) / np.polyval(q, near)
    return np.where(is_near, 0.5 * near * near - tail, e - np.log1p(e))
