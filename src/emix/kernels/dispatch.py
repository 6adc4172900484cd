"""From a chunk and coefficients to sums, by the compiled kernel. Imports Numba only when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emix.kernels import reference
from emix.kernels.tiles import COMPLETE, COUNTED, ZEROED, MixedTiles, Tile

Array = NDArray[np.float64]

COMPILE_FROM = 1_000_000
"""Rows x components x statistics from which a pass is compiled: below it NumPy needs some milliseconds, and a first
fit on a small file never waits for a compiler."""
TILE_BYTES = 384 * 1024
"""Of one tile: a good part of a core's L2 cache, which the log joint and the responsibilities share."""
CODED_ROWS = 256
"""Rows of a tile of codes."""
SPARSE_ROWS = 256
"""Rows of a tile of sparse rows."""
PIECE = 500_000
"""Stored cells that are looked at together outside the kernel: what is computed of them takes 4 MB an array."""
NO_LABELS = np.zeros(0, dtype=np.int64)
NO_KNOWLEDGE = np.zeros((0, 0))


class Sums(NamedTuple):
    """What a pass over a chunk adds up: S (K, D) and four scalars; `impossible` is a row or -1."""

    statistics: Array
    log_likelihood: float
    magnitude: float
    weight: float
    log_map: float
    impossible: int


@dataclass(frozen=True)
class SparseRows:
    """Rows of which only some cells are stored, by SciPy's CSR arrays; the others are 0.

    Attributes
    ----------
    data, indices : ndarray of shape (n_stored,)
        The stored cells and their columns.
    indptr : ndarray of shape (n + 1,)
        Where each row's cells begin, and the end.
    n_columns : int
        d.
    """

    data: NDArray[Any]
    indices: NDArray[Any]
    indptr: NDArray[Any]
    n_columns: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def part(self, rows: slice) -> SparseRows:
        """Consecutive rows; their cells are views."""
        pointers = self.indptr[rows.start : rows.stop + 1]
        cells = slice(int(pointers[0]), int(pointers[-1]))
        return SparseRows(self.data[cells], self.indices[cells], pointers - pointers[0], self.n_columns)

    def pieces(self) -> Iterator[tuple[slice, SparseRows]]:
        """Consecutive rows with about `PIECE` stored cells, and where they are."""
        step = max(1, len(self) * PIECE // max(len(self.data), 1))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self.part(rows)

    def times(self, columns: Array) -> Array:
        """Product with columns (d, m): (n, m). SciPy widens the cells for its products, here piece by piece."""
        return np.concatenate([piece.matrix @ columns for _, piece in self.pieces()])

    def sums(self, weights: Array) -> Array:
        """Of the rows times weights (n, m): (d, m)."""
        total = np.zeros((self.n_columns, weights.shape[1]))
        for rows, piece in self.pieces():
            total += piece.matrix.T @ weights[rows]
        return total

    @property
    def matrix(self) -> Any:
        """SciPy's array (n, d) over the same memory."""
        import scipy.sparse  # a tenth of a second that other rows need not wait for

        return scipy.sparse.csr_array((self.data, self.indices, self.indptr), shape=(len(self), self.n_columns))


class SparseCoefficients(NamedTuple):
    """What the stored cells of sparse rows add to the log joint.

    Attributes
    ----------
    table : ndarray of shape (1 + d, K rounded up)
        As from `code_table`; row 0 is the log joint of a row of zeros.
    certain : ndarray of shape (d, K) or None
        1 for a one that is certain under a component; None where none is.
    """

    table: Array
    certain: Array | None

    def log_joint(self, x: SparseRows, n_components: int) -> Array:
        """(K, B), by SciPy's product."""
        log_joint = self.table[0, :n_components, None] + x.times(self.table[1:, :n_components]).T
        return log_joint if self.certain is None else log_joint + self.log_certain(x).T

    def log_certain(self, x: SparseRows) -> Array:
        """(B, K): -1e30 for each certain one that a row lacks; whole numbers are subtracted, so that 0 is exactly 0."""
        assert self.certain is not None
        return np.asarray(-1e30 * (self.certain.sum(axis=0) - x.times(self.certain)))


def sparse_coefficients(coefficients: Array, *, has_zeros: bool) -> SparseCoefficients:
    """From coefficients (K, 1 + d) of 1 and x; with `has_zeros` (K, 1 + 2 d) of 1, the ones and the zeros of x.

    A one that is certain would add 1e30 to the -1e30 of a row of zeros, and all digits of the others would be lost: it
    adds nothing instead, and `log_certain` refuses the rows without it.
    """
    if not has_zeros:
        return SparseCoefficients(code_table(coefficients.T), None)
    ones, zeros = np.split(coefficients[:, 1:], 2, axis=1)
    certain = zeros < reference.IMPOSSIBLE
    zeros = np.where(certain, 0.0, zeros)
    C = np.concatenate([coefficients[:, :1] + zeros.sum(axis=1, keepdims=True), ones - zeros], axis=1)
    return SparseCoefficients(code_table(C.T), certain.T.astype(np.float64) if certain.any() else None)


def expect(
    x: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    coefficients: Array,
    tile: Tile,
    has_holes: bool,
) -> Sums:
    """E-step over the rows of x (n, d) with coefficients (K, D), both in the tile's own layout.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        float64 or float32, any strides.
    weight : ndarray of shape (n,)
        Row weights.
    labels : ndarray of shape (n,) or None
        Known component, -1 where unknown.
    log_q : ndarray of shape (n, K) or None
        Log of what multiplies p(z = k) for each row.
    coefficients : ndarray of shape (K, D)
        Of the tile's statistics.
    tile : Tile
        The filler.
    has_holes : bool
        A missing cell is possible; the tile then ends with its counts of observed cells.
    """
    edges, holes = np.array([0, len(x)]), COUNTED if has_holes else COMPLETE
    sums = expect_segments(x, weight, labels, log_q, coefficients[None], edges, tile, holes=holes)
    return sums._replace(statistics=sums.statistics[0])


def expect_segments(
    x: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    coefficients: Array,
    edges: NDArray[np.int64],
    tile: Tile,
    *,
    holes: int = ZEROED,
) -> Sums:
    """As `expect`, with coefficients of their own (P, K, D) for each run of rows between edges (P + 1,).

    By default missing cells count as zeros, whose coefficients are zeros too. The statistics of the sums are (P, K, D).
    """
    P, K, D = coefficients.shape
    C = np.zeros((P, -(-K // 4) * 4, D))
    C[:, :K] = coefficients
    known = NO_LABELS if labels is None else labels
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    about = (tile.kind, tile.coordinate, tile.shift, 1 / tile.scale, holes, tile_rows(D))
    with interruptible():
        S, sums, bad = compiled().expect_segments(x, weight, known, log_q, C, edges, K, *about)
    return Sums(S[:, :K], sums[0], sums[1], sums[2], sums[3], bad)


def expect_codes(
    codes: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    table: Array,
    n_components: int,
    offsets: NDArray[np.int64],
) -> Sums:
    """E-step over coded rows (n, G); `table` as from `code_table`. The sums are of responsibilities, (n_codes, K)."""
    known = NO_LABELS if labels is None else labels
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    with interruptible():
        St, sums, bad = compiled().expect_codes(codes, weight, known, log_q, table, n_components, offsets, CODED_ROWS)
    return Sums(St[:, :n_components], sums[0], sums[1], sums[2], sums[3], bad)


def expect_sparse(
    x: SparseRows,
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    coefficients: SparseCoefficients,
    n_components: int,
) -> Sums:
    """E-step over sparse rows; the statistics of the sums are (K, 1 + d)."""
    from emix.kernels import sparse

    known = NO_LABELS if labels is None else labels
    if coefficients.certain is not None:
        log_q = coefficients.log_certain(x) + (0.0 if log_q is None else log_q)
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    data = x.data if x.data.dtype in (np.float64, np.float32) else x.data.astype(np.float64)
    cells = (data, x.indices, x.indptr)
    with interruptible():
        St, sums, bad = sparse.expect_sparse(
            *cells, weight, known, log_q, coefficients.table, n_components, SPARSE_ROWS
        )
    return Sums(St[:, :n_components].T, sums[0], sums[1], sums[2], sums[3], bad)


def expect_mixed(
    x: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    coefficients: Array,
    tiles: MixedTiles,
    codes: NDArray[Any] | None,
    table: Array,
    offsets: NDArray[np.int64],
    *,
    has_holes: bool,
) -> tuple[Sums, Array]:
    """E-step over columns of several kinds: the sums with statistics (K, D) of the dense tiles, and (n_codes, K)."""
    K, D = coefficients.shape
    C = np.zeros((-(-K // 4) * 4, D))
    C[:K] = coefficients
    known = NO_LABELS if labels is None else labels
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    codes = np.zeros((len(x), 0), dtype=np.uint8) if codes is None else codes
    holes = COUNTED if has_holes else COMPLETE
    rows = min(tile_rows(D), CODED_ROWS)
    about = (tiles.parts, tiles.shift, 1 / tiles.scale, holes)
    with interruptible():
        S, St, sums, bad = compiled().expect_mixed(x, weight, known, log_q, C, K, *about, codes, table, offsets, rows)
    return Sums(S[:K], sums[0], sums[1], sums[2], sums[3], bad), St[:, :K]


def code_table(additions: Array) -> Array:
    """What each code adds to the log joint, (n_codes, K), with the components rounded up to a multiple of 4."""
    n_codes, K = additions.shape
    table = np.zeros((n_codes, -(-K // 4) * 4))
    table[:, :K] = additions
    return table


@contextmanager
def interruptible() -> Iterator[None]:
    """An interrupt that arrives inside compiled code comes out as a SystemError; make it an interrupt again."""
    try:
        yield
    except SystemError as error:
        cause: BaseException | None = error
        while isinstance(cause, SystemError):  # one for each layer of compiled code that it came through
            cause = cause.__cause__
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def scan(x: NDArray[Any], weight: Array, *, is_large: bool) -> Array:
    """A first look at a chunk: see `reference.scan`."""
    if not is_large:
        return reference.scan(x, weight)
    out = np.zeros((8, x.shape[1]))
    with interruptible():
        look().scan(x, weight, out)
    return out


def pack(
    x: NDArray[Any], minimum: Array, stride: NDArray[np.int64], missing: NDArray[np.int64], *, is_large: bool
) -> NDArray[np.int64]:
    """One whole number per row (n,), equal for equal rows of whole numbers."""
    if not is_large:
        steps = np.where(np.isnan(x), missing, np.asarray(x, dtype=np.float64) - minimum)
        return steps.astype(np.int64) @ stride
    codes = np.empty(len(x), dtype=np.int64)
    with interruptible():
        look().pack(x, minimum, stride, missing, codes)
    return codes


def tile_rows(n_statistics: int) -> int:
    """Rows per tile: as many as keep it in the L2 cache, a multiple of 32 between 64 and 512."""
    return int(np.clip(TILE_BYTES // (8 * n_statistics) // 32 * 32, 64, 512))


def look() -> ModuleType:
    """The compiled first look at the rows."""
    from emix.kernels import look

    return look


def compiled() -> ModuleType:
    """The compiled kernels."""
    from emix.kernels import compiled

    return compiled
