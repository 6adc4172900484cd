"""The E-step of a mixture: log joints, responsibilities, sums; by the kernel that suits the rows, or in NumPy.

What a chunk carries (codes, a plan, patterns, sparse rows) says which kernel reads it; all give the same sums.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, Coding, Expectation, Patterns, Plan, safe_log
from emix.errors import ImpossibleRowError, ModelError
from emix.families import Bernoulli, Family
from emix.families.patterns import expect_by_pattern
from emix.kernels import dispatch, reference
from emix.kernels.dispatch import SparseCoefficients, SparseRows
from emix.kernels.tiles import Tile
from emix.latent import IndependentDraws


class ExpectingMixture:
    """What a mixture is to its E-step; `Mixture` adds what it is made from and the M-step."""

    family: Family
    n_components: int | None
    noise: bool | float

    @property
    @abstractmethod
    def latent(self) -> IndependentDraws:
        """p(z)."""

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether all parameters have values."""

    @property
    def has_noise(self) -> bool:
        """Whether the last component is noise."""
        return self.noise is not False

    @property
    def latent_size(self) -> int:
        """How many values the label has: K, and one more with noise."""
        return int(self.n_components or 0) + self.has_noise

    @cached_property
    def _coefficients(self) -> tuple[Array, Array]:
        """(K, 1 + D) with the observed-count columns apart, and folded into row 0 for complete data."""
        if not self.is_fitted:
            raise ModelError.not_fitted("This mixture")
        own = self.family.coefficients()
        full = np.concatenate([self._with_noise(self.latent.coefficients())[:, None], self._and_noise(own)], axis=1)
        if not self.family.n_observed:
            return full, full
        folded = full[:, : -self.family.n_observed].copy()
        folded[:, 0] += full[:, -self.family.n_observed :].sum(axis=1)
        return full, folded

    def _with_noise(self, log_joint: Array) -> Array:
        """Log proportions (K,) or log joints (K, B), those of noise with its log density."""
        if self.has_noise:
            log_joint = log_joint.copy()
            log_joint[-1] -= np.log(self.noise)
        return log_joint

    def _and_noise(self, rows: Array) -> Array:
        """What a family gives of K components, with a row of zeros for noise."""
        return np.concatenate([rows, np.zeros((1, *rows.shape[1:]))]) if self.has_noise else rows

    def _tile(self, chunk: Chunk) -> Array:
        """T with row 0: (1 + D, B), or without the observed counts for a complete chunk."""
        if chunk.statistics is not None:
            return chunk.statistics
        own = self.family.statistics(chunk.cells, is_complete=chunk.is_complete)
        return np.concatenate([np.ones((1, len(chunk.x))), own])

    def log_joint(self, chunk: Chunk) -> Array:
        """Log p(x, z = k) and what is known of the label, (K, B); without the base measure."""
        if isinstance(chunk.x, SparseRows):
            log_joint = self._sparse_coefficients.log_joint(chunk.x, self.latent_size)
        elif self.family.is_linear(is_complete=chunk.is_complete):
            log_joint = self._coefficients[chunk.is_complete] @ self._tile(chunk)
        else:
            log_p = self._with_noise(self.latent.coefficients())
            log_joint = log_p[:, None] + self._and_noise(self.family.log_prob(chunk.cells))
        known = chunk.log_knowledge(self.latent.n_components)
        return log_joint if known is None else log_joint + known

    def sum_statistics(self, chunk: Chunk, weighted_resp: Array) -> Array:
        """Sum weighted responsibilities (K, B) times T over the rows: (K, 1 + D)."""
        if isinstance(chunk.x, SparseRows):
            own = chunk.x.sums(weighted_resp.T).T
            return np.concatenate([weighted_resp.sum(axis=1, keepdims=True), own], axis=1)
        if self.family.is_linear(is_complete=chunk.is_complete):
            return self._unfolded(weighted_resp @ self._tile(chunk).T, chunk.is_complete)
        K = self.latent_size - self.has_noise
        own = self._and_noise(self.family.accumulate(chunk.cells, weighted_resp[:K]))
        return np.concatenate([weighted_resp.sum(axis=1, keepdims=True), own], axis=1)

    def _unfolded(self, S: Array, is_complete: bool) -> Array:
        """With the counts of observed cells, which for complete rows are the expected counts."""
        if not is_complete or not self.family.n_observed:
            return S
        return np.concatenate([S, np.repeat(S[:, :1], self.family.n_observed, axis=1)], axis=1)

    def expect(self, chunk: Chunk) -> Expectation:
        """E-step on some rows.

        Raises
        ------
        ImpossibleRowError
            A row has probability 0 under every component.
        """
        if isinstance(chunk.x, SparseRows) and len(chunk.x.data) * self.latent_size >= dispatch.COMPILE_FROM:
            return self._expect_sparse(chunk, chunk.x)
        if chunk.plan is not None:
            return self._expect_mixed(chunk, chunk.plan)
        if chunk.codes is not None and chunk.coding is not None:
            return self._expect_coded(chunk, chunk.codes, chunk.coding)
        if chunk.patterns is not None:
            return self._expect_by_pattern(chunk, chunk.patterns)
        rows, known, tile = chunk.n_source_rows * self.latent_size, chunk.statistics, None
        if known is None or rows * (len(known) + self.family.n_observed) >= dispatch.COMPILE_FROM:
            tile = None if isinstance(chunk.x, SparseRows) else self.family.tile()
        if rows and tile is not None and (chunk.is_complete or tile.takes_holes):
            work = rows * self._coefficients[0].shape[1]
            if work >= dispatch.COMPILE_FROM:
                return self._expect_compiled(chunk, tile)
        resp, log_evidence = reference.responsibilities(self.log_joint(chunk))
        if not np.isfinite(log_evidence).all():
            raise ImpossibleRowError.at(chunk.start + int(np.argmax(~np.isfinite(log_evidence))))
        base = self._log_base(chunk)
        log_map = float(chunk.weight @ np.log(resp.max(axis=0)))
        resp *= chunk.weight
        return Expectation(
            self.sum_statistics(chunk, resp),
            float(chunk.weight @ log_evidence) + base,
            float(chunk.weight.sum()),
            float(chunk.weight @ np.abs(log_evidence)) + abs(base),
            log_map,
        )

    def _expect_compiled(self, chunk: Chunk, tile: Tile) -> Expectation:
        """The same by the compiled kernel, which never holds more than a tile of responsibilities."""
        coefficients = self._coefficients[chunk.is_complete]
        log_q = None if chunk.knowledge is None else safe_log(chunk.knowledge)
        sums = dispatch.expect(chunk.x, chunk.weight, chunk.labels, log_q, coefficients, tile, not chunk.is_complete)
        return self._compiled(chunk, sums, self._unfolded(sums.statistics, chunk.is_complete))

    def _expect_coded(self, chunk: Chunk, codes: NDArray[Any], coding: Coding) -> Expectation:
        """The same for rows that are codes: statistics are looked up, and summed once per code."""
        table = vars(self).get("_table")  # of all codes of the fit: the same for all chunks
        if table is None or table[0] is not coding:
            additions = coding.statistics.T @ self._coefficients[0].T
            table = vars(self)["_table"] = (coding, dispatch.code_table(additions))
        K, log_q = self.latent_size, None if chunk.knowledge is None else safe_log(chunk.knowledge)
        sums = dispatch.expect_codes(codes, chunk.weight, chunk.labels, log_q, table[1], K, coding.offsets)
        return self._compiled(chunk, sums, np.ascontiguousarray((coding.statistics @ sums.statistics).T))

    def _expect_mixed(self, chunk: Chunk, plan: Plan) -> Expectation:
        """The same for columns of several kinds: dense tiles and codes in one kernel."""
        full, n_observed, coding = self._coefficients[0], self.family.n_observed, plan.coding
        prepared = vars(self).get("_mixed")  # the same for all chunks of the fit
        if prepared is None or prepared[0] is not plan:
            C = full[:, plan.rows].copy()
            if chunk.is_complete:  # the counts of observed cells that are not coded are those of the rows
                C[:, 0] += full[:, full.shape[1] - n_observed :].sum(axis=1)
            additions = np.zeros((0, len(C)))
            if coding is not None:
                additions = coding.statistics.T @ full.T
                if chunk.is_complete:
                    counts = coding.statistics[full.shape[1] - n_observed :]
                    is_coded = np.asarray((counts != 0).sum(axis=1)).ravel() > 0
                    C[:, 0] -= full[:, full.shape[1] - n_observed :] @ is_coded
            prepared = vars(self)["_mixed"] = (plan, C, dispatch.code_table(additions))
        _, C, table = prepared
        log_q = None if chunk.knowledge is None else safe_log(chunk.knowledge)
        offsets = np.zeros(0, dtype=np.int64) if coding is None else coding.offsets
        sums, of_codes = dispatch.expect_mixed(
            chunk.x,
            chunk.weight,
            chunk.labels,
            log_q,
            C,
            plan.tiles,
            chunk.codes,
            table,
            offsets,
            has_holes=not chunk.is_complete,
        )
        S = np.zeros_like(full)
        S[:, plan.rows] = sums.statistics
        if coding is not None:
            S += (coding.statistics @ of_codes).T
        if chunk.is_complete and n_observed:
            S[:, -n_observed:] = S[:, :1]
        return self._compiled(chunk, sums, S)

    def _expect_by_pattern(self, chunk: Chunk, patterns: Patterns) -> Expectation:
        """The same for rows with missing cells, each pattern of them with coefficients of its own."""
        moments, tile = self.family.moments, self.family.tile()
        assert moments is not None  # of every family that groups rows by pattern
        assert tile is not None
        log_q = None if chunk.knowledge is None else safe_log(chunk.knowledge)
        log_p = self.latent.coefficients()
        sums = expect_by_pattern(moments, log_p, patterns, chunk.x, chunk.weight, chunk.labels, log_q, tile)
        return self._compiled(chunk, sums, sums.statistics)

    def _expect_sparse(self, chunk: Chunk, x: SparseRows) -> Expectation:
        """The same for sparse rows: only the stored cells are visited."""
        log_q = None if chunk.knowledge is None else safe_log(chunk.knowledge)
        sums = dispatch.expect_sparse(x, chunk.weight, chunk.labels, log_q, self._sparse_coefficients, self.latent_size)
        return self._compiled(chunk, sums, sums.statistics)

    @cached_property
    def _sparse_coefficients(self) -> SparseCoefficients:
        """Of the cells that sparse rows store; what a row of zeros pays stands on row 0."""
        return dispatch.sparse_coefficients(self._coefficients[1], has_zeros=isinstance(self.family, Bernoulli))

    def _compiled(self, chunk: Chunk, sums: dispatch.Sums, statistics: Array) -> Expectation:
        """From what a kernel summed."""
        if sums.impossible >= 0:
            raise ImpossibleRowError.at(chunk.start + sums.impossible)
        base = self._log_base(chunk)
        return Expectation(
            statistics, sums.log_likelihood + base, sums.weight, sums.magnitude + abs(base), sums.log_map
        )

    def _log_base(self, chunk: Chunk) -> float:
        """The chunk's weighted sum of log h(x), where it was not computed beforehand."""
        if chunk.log_base is not None:
            return chunk.log_base
        return float(chunk.weight @ self.family.log_base_measure(chunk.cells))
