"""The E-step of one tile in plain NumPy: the reference that any compiled kernel must equal."""

from __future__ import annotations

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
