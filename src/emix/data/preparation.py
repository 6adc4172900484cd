"""What is computed of a chunk once, before the first pass: codes, patterns of missing cells, what no parameter touches.

The same for rows in memory and for rows that stream by, so that both have the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import CHUNK_ROWS, Chunk, Coding, Plan, Schema, Summary, readable
from emix.data.coding import encode, make_coding, make_plan
from emix.families import Columns, Family
from emix.families.patterns import find_patterns, pattern_keys
from emix.kernels import dispatch

PACK_FROM = 1_000_000
"""Cells from which packing is compiled."""
KEPT = 100_000
"""Numbers among the statistics of all rows up to which they are kept from iteration to iteration."""
WINDOW_CELLS = 4_000_000
"""Cells of a window of rows that is put into the order of its patterns: of a stream a window is held in memory."""


@dataclass(frozen=True)
class Preparation:
    """How the chunks of one fit are prepared: call it with each."""

    family: Family
    n_rows: int
    n_columns: int
    is_compiled: bool
    coding: Coding | None
    plan: Plan | None

    @classmethod
    def of(cls, family: Family, summary: Summary, schema: Schema, n_rows: int, n_components: int) -> Preparation:
        """For so many rows; they are coded, or read by a plan, where they are many and it pays."""
        is_compiled = n_rows * n_components * (1 + family.n_sums) >= dispatch.COMPILE_FROM
        coding = plan = None
        if is_compiled and isinstance(family, Columns):
            plan = make_plan(family, summary, schema, n_components)
        elif is_compiled and family.is_additive:
            coding = make_coding(family, summary, n_components)
        return cls(family, n_rows, len(schema.names), is_compiled, coding, plan)

    def __call__(self, chunk: Chunk, log_base: float | None = None) -> Chunk:
        """The chunk with what was computed of it; `log_base` where that is known already."""
        family, T = self.family, None
        n_cells = self.n_rows * self.n_columns
        if log_base is None:
            log_base = 0.0
            if type(family).log_base_measure is not Family.log_base_measure:  # it is not 0
                log_base = float(chunk.weight @ family.log_base_measure(chunk.cells))
        if n_cells <= KEPT and family.is_linear(is_complete=chunk.is_complete):
            T = family.statistics(chunk.cells, is_complete=chunk.is_complete)
            T = np.concatenate([np.ones((1, len(chunk.x))), T])
            T = T if T.size <= KEPT else None
        if self.is_compiled and family.groups_by_pattern and family.moments is not None and not chunk.is_complete:
            chunk = replace(chunk, patterns=find_patterns(chunk.x))
        codes, is_large = None, n_cells >= PACK_FROM
        if self.plan is not None and self.plan.coding is not None:
            columns = np.ascontiguousarray(chunk.x[:, self.plan.columns])
            codes = encode(columns, self.plan.coding, is_large=is_large)
        elif self.coding is not None:
            codes = encode(readable(chunk.x), self.coding, is_large=is_large)
        return replace(chunk, log_base=log_base, statistics=T, codes=codes, coding=self.coding, plan=self.plan)


def window_rows(n_columns: int) -> int:
    """Rows of a window: whole chunks."""
    return max(1, WINDOW_CELLS // (CHUNK_ROWS * n_columns)) * CHUNK_ROWS


def ordered_by_pattern(x: NDArray[Any]) -> NDArray[np.intp]:
    """Positions of the rows (n, d) in the order of their patterns of missing cells, window by window."""
    size = window_rows(x.shape[1])
    keys = pattern_keys(x)
    parts = [start + np.argsort(keys[start : start + size], kind="stable") for start in range(0, len(x), size)]
    return np.concatenate(parts)
