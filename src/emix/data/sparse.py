"""Sparse rows: cells that are not stored are zeros, and no pass visits them.

The statistics of `Bernoulli`, `Poisson` and `Multinomial` are linear in x once what a row of zeros pays stands on
row 0, so a pass costs the stored cells times K. The expected statistics stay dense (K, 1 + D): with many columns they
are large, so that the rows are cut into fewer and larger chunks than others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emix.block import Array, Chunk, Schema, Summary, mix
from emix.data.encode import column_names
from emix.data.knowledge import Knowledge
from emix.data.source import InMemorySource, hash_rows, rows_per_chunk
from emix.data.table import Table
from emix.errors import DataError
from emix.families import Bernoulli, Family, Multinomial, Poisson, Support
from emix.kernels.dispatch import PIECE, SparseRows

AS_DENSE = 1_000_000
"""Cells up to which starts are those of the dense rows."""
DIRECTIONS = 128
"""Of a random projection: squared distances keep their size to one part in eight (one standard deviation)."""
PREFERRED = np.uint64(1 << 20)
"""Divides the rank of rows with label knowledge in the draw of a sample: they come first."""


def takes_sparse(family: Family) -> bool:
    """Whether a family reads sparse rows."""
    return isinstance(family, Multinomial | Poisson) or (isinstance(family, Bernoulli) and not family.shared)


@dataclass(frozen=True)
class SparseSource(InMemorySource):
    """The rows that count, as `SparseRows` in `x`, with weights and label knowledge."""

    x: Any

    @property
    def _cells(self) -> tuple[NDArray[Any], ...]:
        """All arrays that hold cells."""
        return self.x.data, self.x.indices, self.x.indptr

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The rows, cut into as many chunks as their sums may take memory: the same for any number of threads."""
        n_sums = 8 * self.n_components * (1 + self.x.n_columns)
        n_bytes = self.x.data.nbytes + self.x.indices.nbytes + self.x.indptr.nbytes
        size = rows_per_chunk(self.n_rows, n_bytes, n_sums)
        chunks = []
        for start in range(0, self.n_rows, size):
            part = slice(start, min(start + size, self.n_rows))
            known = {} if self.knowledge is None else self.knowledge.part(part)
            chunk = Chunk(self.x.part(part), self.weight[part], start, self.n_rows, True, **known)
            if self.family is not None:
                chunk = replace(chunk, log_base=float(chunk.weight @ log_base_of(chunk, self.family)))
            chunks.append(chunk)
        return tuple(chunks)

    def take(self, rows: NDArray[np.intp], *, is_subset: bool = True) -> Self:
        """Only these rows, or all of them in this order."""
        if is_subset and len(rows) == self.n_rows:
            return self
        known = None if self.knowledge is None else self.knowledge.take(rows)
        positions = rows if self.rows is None else self.rows[rows]
        x = rows_of(self.x.matrix[rows])
        return replace(self, x=x, weight=self.weight[rows], knowledge=known, rows=positions)

    def sample(self, n: int, seed: int) -> Self:
        """About n rows, drawn by a seeded hash of their content; those whose component is known come first."""
        if self.n_rows <= n:
            return self
        rank = mix(self.row_hash ^ np.uint64(seed))
        known = self.known_responsibilities()
        if known is not None:
            rank[known[0]] //= PREFERRED
        return self.take(np.flatnonzero(rank <= np.partition(rank, n - 1)[n - 1]))

    def spread(self, sample: InMemorySource, resp: Array, blur: float) -> Array:
        """Start responsibilities (n, K) of all rows from those of a sample: every row counts a little for everyone.

        The other rows weigh together `blur` of what the sample weighs; those with label knowledge weigh in full.
        """
        if sample.rows is None or sample.n_rows == self.n_rows:
            return resp
        at = sample.rows if self.rows is None else np.searchsorted(self.rows, sample.rows)
        others = float(self.weight.sum() - self.weight[at].sum())
        each = min(1.0, blur * float(sample.weight.sum()) / others) / resp.shape[1]
        out = np.full((self.n_rows, resp.shape[1]), each)
        known = self.known_responsibilities()
        if known is not None:
            out[known[0]] = known[1]
        out[at] = resp
        return out

    def collapsed(self) -> Self:
        """The same rows: sparse ones hardly repeat."""
        return self

    def prepared_for(self, family: Family) -> Self:
        """The same rows; log base measures are computed once for all passes."""
        return replace(self, family=family)

    @property
    def _is_small(self) -> bool:
        return self.n_rows * int(self.x.n_columns) <= AS_DENSE

    @cached_property
    def row_hash(self) -> NDArray[np.uint64]:
        """64 bits per row that depend on nothing but its cells: a sum over those that are not 0."""
        if self._is_small:
            return hash_rows(self.x.matrix.toarray())
        out = np.zeros(self.n_rows, dtype=np.uint64)
        for rows, x in self.x.pieces():
            cells = x.data.astype(np.float64)
            h = mix(cells.view(np.uint64) ^ mix(x.indices.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))
            h[cells == 0] = 0
            total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(h)])  # wraps around, and back
            out[rows] = total[x.indptr[1:]] - total[x.indptr[:-1]]
        return mix(out)

    def n_distinct(self, enough: int) -> int:
        """Number of distinct rows."""
        return len(np.unique(self.row_hash))

    def coordinates(self, family: Family) -> Array:
        """(n, e) coordinates for starts: those of the dense rows where these are few, else a random projection.

        Source: Achlioptas (2003), Journal of Computer and System Sciences 66, 671-687.
        """
        matrix = self.x.matrix
        if self._is_small:
            dense = InMemorySource(matrix.toarray(), self.weight, self.schema, self.summary, self.n_components)
            return dense.coordinates(family)
        d, data = int(self.x.n_columns), self.x.data.astype(np.float64)
        if isinstance(family, Multinomial):
            total = np.asarray(matrix.sum(axis=1), dtype=np.float64)
            data = np.sqrt(data / np.repeat(np.where(total > 0, total, 1.0), np.diff(self.x.indptr)))
        elif isinstance(family, Poisson):
            data = 2 * np.sqrt(data)
        signs = 2 * np.random.default_rng(0).integers(0, 2, (d, DIRECTIONS), dtype=np.int8) - np.float32(1)
        projected = replace(self.x, data=data).matrix @ signs / np.sqrt(DIRECTIONS)
        return np.asarray(np.round(projected, 9))


def make_sparse_source(
    table: Table,
    family: Family,
    *,
    n_components: int,
    knowledge: Knowledge | None = None,
    sample_weight: Array | None = None,
    for_fit: bool = True,
    n_jobs: int = 1,
) -> SparseSource:
    """Check a sparse table for a family; with `for_fit`, rows of weight 0 are left out.

    Raises
    ------
    DataError
        The family does not read sparse rows, or a stored cell is missing, negative or otherwise outside the support;
        the cell is named by row and column.
    """
    if not takes_sparse(family):
        reading = "bernoulli, poisson and multinomial do; dense rows come from its toarray()"
        raise DataError.unreadable(f"a sparse matrix, which the family '{family}' does not read ({reading})")
    known = None if family.binding is None else family.binding.schema
    names = column_names(table, family.support, family=family.name, schema=known)
    x = rows_of(table.sparse)
    _check_cells(x, family.support, family.name, table)
    schema = Schema(names, (None,) * len(names))
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    counts = weight > 0
    source = SparseSource(
        x, weight, schema, _summary(x, weight), n_components, knowledge, n_jobs=n_jobs, where=table.where
    )
    return source.take(np.flatnonzero(counts)) if for_fit and not counts.all() else source


def rows_of(matrix: Any) -> SparseRows:
    """SciPy's CSR array as sparse rows."""
    return SparseRows(matrix.data, matrix.indices, matrix.indptr, int(matrix.shape[1]))


def log_base_of(chunk: Chunk, family: Family) -> Array:
    """Log h(x) of a chunk's rows, (B,)."""
    x: Any = chunk.x
    if not isinstance(x, SparseRows):
        return family.log_base_measure(chunk.cells)
    if isinstance(family, Bernoulli):
        return np.zeros(len(x))
    out = np.empty(len(x))
    for rows, piece in x.pieces():
        cells = piece.data.astype(np.float64)
        base = -np.asarray(replace(piece, data=gammaln(cells + 1)).matrix.sum(axis=1))
        if isinstance(family, Multinomial):
            base += gammaln(np.asarray(replace(piece, data=cells).matrix.sum(axis=1)) + 1)
        out[rows] = base
    return out


def _check_cells(x: SparseRows, support: Support, family: str, table: Table) -> None:
    """Raise for the first stored cell outside the support, or that is missing: sparse rows have no missing cells."""
    found = None
    for start in range(0, len(x.data), PIECE):
        cells = x.data[start : start + PIECE]
        if cells.dtype == np.bool_:
            continue
        bad = ~((cells >= support.lower) & (cells <= support.upper) & np.isfinite(cells))
        if cells.dtype.kind == "f":
            bad |= cells != np.floor(cells)
        if bad.any():
            first = start + int(np.argmax(bad))
            found = (first if found is None else found[0], int(bad.sum()) + (0 if found is None else found[1]))
    if found is None:
        return
    at, n_bad = found
    value = float(x.data[at])
    raise DataError.outside_support(
        family=family,
        requirement=f"{support.requirement}, and no missing cell in a sparse matrix",
        found=str(int(value)) if value.is_integer() else repr(value),
        where=table.where(int(np.searchsorted(x.indptr, at, side="right")) - 1),
        column=table.names[int(x.indices[at])],
        n_bad=n_bad,
        n_rows=len(x),
        hint="Correct or drop these rows, or leave the column out; zeros need not be stored.",
    )


def _summary(x: SparseRows, weight: Array) -> Summary:
    """Weighted moments and extremes per column, over stored cells and zeros."""
    d, total = x.n_columns, float(weight.sum())
    sums, squares, stored = np.zeros(d), np.zeros(d), np.zeros(d)
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    for rows, part in x.pieces():
        cells = part.data.astype(np.float64)
        each = np.repeat(weight[rows], np.diff(part.indptr)) * cells
        sums += np.bincount(part.indices, weights=each, minlength=d)
        squares += np.bincount(part.indices, weights=each * cells, minlength=d)
        stored += np.bincount(part.indices, minlength=d)
        np.minimum.at(low, part.indices, cells)
        np.maximum.at(high, part.indices, cells)
    has_zeros = stored < len(x)
    low, high = np.where(has_zeros, np.minimum(low, 0.0), low), np.where(has_zeros, np.maximum(high, 0.0), high)
    mean = sums / total
    variance = np.where(low == high, 0.0, np.maximum(squares / total - mean**2, 0.0))
    none, unknown = np.zeros(d), np.full(d, np.nan)
    return Summary(total, mean, variance, low, high, none, none, none, unknown, unknown)
