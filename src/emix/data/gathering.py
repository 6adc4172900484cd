"""What one pass over a stream of chunks keeps in memory: a sample of its rows, or its distinct rows, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, Summary, mix
from emix.data.preparation import PACK_FROM
from emix.data.source import COUNTED, DISTINCT, hash_rows
from emix.kernels import dispatch

MERGED_ROWS = 1_000_000
"""Rows that are collapsed at a time."""


@dataclass(frozen=True)
class Drawn:
    """Some rows with their ranks in a draw, and their positions among the rows that count."""

    x: NDArray[Any]
    weight: Array
    labels: NDArray[np.intp] | None
    rank: NDArray[np.uint64]
    positions: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Drawn:
        """Only these."""
        labels = None if self.labels is None else self.labels[rows]
        return Drawn(self.x[rows], self.weight[rows], labels, self.rank[rows], self.positions[rows])


def drawn_below(limit: np.uint64, chunk: Chunk, seed: int) -> Drawn:
    """The rows of a chunk whose rank, a seeded hash of their content, is at most the limit."""
    rank = mix(hash_rows(chunk.x) ^ np.uint64(seed))
    everything = Drawn(chunk.x, chunk.weight, chunk.labels, rank, chunk.start + np.arange(len(rank)))
    return everything.take(np.flatnonzero(rank <= limit))


class Kept:
    """Rows with the smallest ranks so far, in the order in which they came."""

    def __init__(self) -> None:
        self._parts: list[Drawn] = []
        self.limit = np.uint64(0xFFFFFFFFFFFFFFFF)

    def add(self, some: Drawn) -> None:
        """The next rows."""
        self._parts.append(some)

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return sum(len(part.rank) for part in self._parts)

    def shrink(self, n: int) -> None:
        """Leave the n with the smallest ranks, and those of equal rank."""
        everything = self.joined
        self.limit = np.partition(everything.rank, n - 1)[n - 1]
        self._parts = [everything.take(np.flatnonzero(everything.rank <= self.limit))]

    @property
    def joined(self) -> Drawn:
        """All of them."""
        parts = self._parts
        labels = None if parts[0].labels is None else np.concatenate([part.labels for part in parts])
        return Drawn(
            np.ascontiguousarray(np.concatenate([part.x for part in parts])),
            np.concatenate([part.weight for part in parts]),
            labels,
            np.concatenate([part.rank for part in parts]),
            np.concatenate([part.positions for part in parts]),
        )


class Collapsing:
    """Counts distinct rows as `InMemorySource.collapsed` does, chunk by chunk, in the same order of additions."""

    def __init__(self, summary: Summary, n_rows: int, n_labels: int) -> None:
        sizes = summary.maximum - summary.minimum + 1 + (summary.n_missing > 0)
        n_codes = float(np.prod(sizes)) * n_labels
        is_whole = not summary.n_fractional.any() and not summary.n_infinite.any()
        self._is_counted = is_whole and n_codes <= max(COUNTED, 2 * n_rows)
        self._minimum, self._n_values = summary.minimum, int(np.prod(sizes)) if self._is_counted else 0
        self._strides = np.concatenate([[1], np.cumprod(sizes)[:-1]]).astype(np.int64) if self._is_counted else None
        self._missing = (sizes - 1).astype(np.int64) if self._is_counted else None
        self._is_large = n_rows * len(sizes) >= PACK_FROM
        self._keys: NDArray[Any] = np.zeros(0, dtype=np.int64 if self._is_counted else np.uint64)
        self._weight = np.zeros(0)
        self._firsts: list[Chunk] = []
        self._pending: list[Chunk] = []

    def _key(self, chunk: Chunk) -> NDArray[Any]:
        labels = chunk.labels
        if self._strides is not None and self._missing is not None:
            own = (self._minimum, self._strides, self._missing)
            codes = dispatch.pack(chunk.x, *own, is_large=self._is_large)
            return codes if labels is None else codes + (labels + 1) * self._n_values
        key = hash_rows(chunk.x)
        return key if labels is None else mix(key ^ (labels + 1).astype(np.uint64))

    def add(self, chunk: Chunk) -> bool:
        """Count a chunk; False where there are too many different rows to go on."""
        self._pending.append(chunk)
        return sum(len(one.x) for one in self._pending) < MERGED_ROWS or self._merge()

    def _merge(self) -> bool:
        if not self._pending:
            return True
        key = np.concatenate([self._key(chunk) for chunk in self._pending])
        x = np.concatenate([chunk.x for chunk in self._pending])
        weight = np.concatenate([chunk.weight for chunk in self._pending])
        has_labels = self._pending[0].labels is not None
        labels = np.concatenate([chunk.labels for chunk in self._pending]) if has_labels else None
        self._pending = []
        found, first = np.unique(key, return_index=True)
        is_new = ~np.isin(found, self._keys, assume_unique=True)
        new = first[is_new]
        self._firsts.append(Chunk(x[new], weight[new], labels=None if labels is None else labels[new]))
        keys = np.concatenate([self._keys, found[is_new]])
        order = np.argsort(keys, kind="stable")
        self._keys, self._weight = keys[order], np.concatenate([self._weight, np.zeros(len(new))])[order]
        first_rows = np.concatenate([one.x for one in self._firsts])[order]
        first_labels = np.concatenate([one.labels for one in self._firsts])[order] if has_labels else None
        self._firsts = [Chunk(first_rows, self._weight, labels=first_labels)]
        np.add.at(self._weight, np.searchsorted(self._keys, key), weight)
        return len(self._keys) <= DISTINCT

    @property
    def rows(self) -> tuple[NDArray[Any], Array, NDArray[np.intp] | None]:
        """Distinct rows, their weights and labels."""
        self._merge()
        return self._firsts[0].x, self._weight, self._firsts[0].labels
