"""From a chunk and coefficients to sums, by the compiled kernel. Imports Numba only when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    kernel = compiled()
    K, D = coefficients.shape
    known = NO_LABELS if labels is None else labels
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    C = np.zeros((-(-K // 4) * 4, D))
    C[:K] = coefficients
    rows, holes = tile_rows(D), COUNTED if has_holes else COMPLETE
    with interruptible():
        S, sums, bad = kernel.expect_dense(
            x, weight, known, log_q, C, K, tile.kind, tile.coordinate, tile.shift, 1 / tile.scale, holes, rows
        )
    return Sums(S[:K], sums[0], sums[1], sums[2], sums[3], bad)


def expect_segments(
    x: NDArray[Any],
    weight: Array,
    labels: NDArray[np.int64] | None,
    log_q: Array | None,
    coefficients: Array,
    edges: NDArray[np.int64],
    tile: Tile,
) -> Sums:
    """As `expect`, with coefficients of their own (P, K, D) for each run of rows between edges (P + 1,).

    Missing cells count as zeros, whose coefficients are zeros too. The statistics of the sums are (P, K, D).
    """
    P, K, D = coefficients.shape
    C = np.zeros((P, -(-K // 4) * 4, D))
    C[:, :K] = coefficients
    known = NO_LABELS if labels is None else labels
    log_q = NO_KNOWLEDGE if log_q is None else log_q
    about = (tile.kind, tile.coordinate, tile.shift, 1 / tile.scale, ZEROED, tile_rows(D))
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
