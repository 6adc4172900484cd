"""Covariance matrices as parameters: what they may be, and how near each is to singular."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from emix.block import Array
from emix.families.declarations import Work
from emix.families.patterns import diagonals, pairs
from emix.families.structures import FactorAnalytic, Structure, structure
from emix.spaces import Space

HOW = {
    "EEE": "pooled over components",
    "EEI": "pooled over components",
    "EII": "pooled over components and columns",
    "VII": "averaged over columns",
    "VVI": "",
    "VVV": "",
}
"""In words, how the covariance comes from the scatter."""


class MeanSpace(Space):
    """The real line, always (K, d)."""

    drops_single_column = False


class CovarianceSpace(Space):
    """Symmetric positive definite matrices of one structure, in its own coordinates."""

    drops_single_column = False

    def __init__(self, name: str | Structure = "VVV") -> None:
        self.structure = structure(name)
        of = "" if self.structure.name == "VVV" else f" of the structure {self.structure.name}"
        self.requirement = f"symmetric positive definite matrices{of}, the shape (K, d, d)"

    def contains(self, value: Array) -> bool:
        if value.ndim != 3 or value.shape[1] != value.shape[2] or not np.isfinite(value).all():
            return False
        variances = diagonals(value)
        if not (variances > 0).all():
            return False
        size = np.sqrt(variances[:, :, None] * variances[:, None, :])
        if not (np.abs(value - value.transpose(0, 2, 1)) <= 1e-8 * np.maximum(np.abs(value), 1e-6 * size)).all():
            return False
        try:
            np.linalg.cholesky(value)
        except np.linalg.LinAlgError:
            return False
        return self._has_structure(value)

    def _has_structure(self, value: Array) -> bool:
        """Whether the covariances are of the structure: its coordinates lead back to them."""
        if isinstance(self.structure, FactorAnalytic):  # whose coordinates are not so exact near its boundary
            return True
        K, d, _ = value.shape
        again = self.structure.from_vector(self.structure.to_vector(value), K, d)
        deviation = np.sqrt(diagonals(value))
        return bool((np.abs(again - value) <= 1e-6 * deviation[:, :, None] * deviation[:, None, :]).all())

    def n_free(self, value: Any) -> int:
        return self.structure.n_free(*value.shape[:2])

    def to_vector(self, value: Any) -> Array:
        return self.structure.to_vector(value)

    def from_vector(self, vector: Array, like: Any) -> tuple[Any, int]:
        used = self.n_free(like)
        return self.structure.from_vector(vector[:used], *like.shape[:2]), used


def cholesky_pivots(C: Array) -> Array:
    """Variance of each column given those before it, (d,); from the first that is not positive on, what is left."""
    try:
        return np.asarray(np.diagonal(np.linalg.cholesky(C)) ** 2)
    except np.linalg.LinAlgError:
        pass  # not positive definite: find out in which column
    A, d = np.array(C, dtype=np.float64), len(C)
    pivots = np.zeros(d)
    for j in range(d):
        pivots[j] = A[j, j]
        if not A[j, j] > 0:
            break
        A[j + 1 :, j + 1 :] -= np.outer(A[j + 1 :, j], A[j, j + 1 :]) / A[j, j]
    return pivots


def scatter_about(products: Array, count: Array, m: Array, about: Array) -> Array:
    """(K, d, d) sums of w (y - about)(y - about)' from sums of products; diagonal where these are squares (K, d)."""
    d = m.shape[1]
    if products.shape[1] == d:
        squares = products - count[:, None] * (m * m if about is m else m * m - (m - about) ** 2)
        return np.asarray(squares[:, :, None] * np.eye(d))
    i, j, _ = pairs(d)
    taken = m[:, i] * m[:, j]
    if about is not m:  # the scatter about a fixed mean is larger by n_k off off'
        off = m - about
        taken -= off[:, i] * off[:, j]
    S = np.empty((len(m), d, d))
    S[:, i, j] = products - count[:, None] * taken
    S[:, j, i] = S[:, i, j]
    return S


def raw_sums(expected: Array, pivot: Array, A: Array, *, has_products: bool) -> Array:
    """Sums of y, of its products (or squares) and of rows, (K, D), with x = pivot + A y, as those of x."""
    d = len(pivot)
    i, j = pairs(d)[:2] if has_products else (np.arange(d), np.arange(d))
    y, n = expected[:, :d], expected[:, -1:]
    S = np.zeros((len(expected), d, d))
    S[:, i, j] = S[:, j, i] = expected[:, d:-1]
    first = y @ A.T
    cross = pivot[:, None] * first[:, None, :]
    second = A @ S @ A.T + cross + cross.transpose(0, 2, 1) + np.outer(pivot, pivot) * n[:, :, None]
    return np.concatenate([first + pivot * n, second[:, i, j], n], axis=1)


def in_units(covariance: Array, A: Array) -> Array:
    """Covariances (K, d, d) of x as those of y, x = A y."""
    half = np.linalg.inv(A)
    return symmetric(half @ covariance @ half.T)


def symmetric(matrices: Array) -> Array:
    """(K, d, d) without what rounding has put apart."""
    return np.asarray((matrices + matrices.transpose(0, 2, 1)) / 2)


def work_lines(
    names: Sequence[str], mean: Array, covariance: Array, raw: Array, pairs: Iterable[tuple[int, int]], structure: str
) -> list[Work]:
    """A worked M-step: means (K, d) and entries of covariances (K, d, d) from raw sums (K, D)."""
    how = HOW.get(structure, f"then the nearest covariances of {structure}")
    n, beside = raw[:, -1], f", {how}" if how else ""
    lines = [Work("mean", mean[:, j], f"sum of {name} / rows", raw[:, j], n) for j, name in enumerate(names)]
    for i, j in pairs:
        text = f"sum of ({names[i]} - mean)({names[j]} - mean) / rows{beside}"
        lines.append(Work("covariance", covariance[:, i, j], text))
    return lines


def pair_list(d: int, has_products: bool) -> list[tuple[int, int]]:
    """The columns of each product among the statistics."""
    i, j = pairs(d)[:2] if has_products else (np.arange(d), np.arange(d))
    return list(zip(i.tolist(), j.tolist(), strict=True))
