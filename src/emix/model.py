"""The mixture: a latent structure and a family, with the two verbs that EM drives.

log p(x, z=k)        = coefficients[k] . T(x) + log h(x)      expect
expected statistics  = sum of weight x responsibility x T(x)  expect
new parameters       = maximum likelihood on those sums       maximize
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk, Coding, Expectation, Patterns, Plan, Schema, Summary, safe_log, updated
from emix.described import ShownInNotebooks
from emix.errors import ImpossibleRowError, ModelError
from emix.families import Bernoulli, Family, Work
from emix.families.patterns import expect_by_pattern
from emix.kernels import dispatch, reference
from emix.kernels.dispatch import SparseCoefficients, SparseRows
from emix.kernels.tiles import Tile
from emix.latent import IndependentDraws


@runtime_checkable
class Model(Protocol):
    """What the driver drives: a mixture, or a user's own class with these two methods.

    A model that also has `parameters` (a dict of arrays) gets the change of the parameters in its history and the
    stopping rule 'parameters'; one that has `n_free_parameters` gets AIC and BIC.
    """

    def expect(self, chunk: Chunk) -> Expectation:
        """E-step on some rows: expected statistics and log-likelihood under the model's parameters."""

    def maximize(self, statistics: Any) -> Model:
        """M-step: the model whose parameters maximize the likelihood of these statistics."""


class Audit(NamedTuple):
    """What the driver checks at every pass."""

    counted: float
    """Sum of the expected counts: must be the total weight."""
    noise: float
    """Rounding error of the log-likelihood, in nats: only a larger fall is a fall."""
    is_monotone: bool
    """Whether the M-step is an exact maximum, so that the objective can never fall."""


@dataclass(frozen=True, eq=False)
class Mixture(ShownInNotebooks):
    """A mixture of `n_components` members of one family: a specification, or a model with parameters. Immutable.

        z_i ~ Categorical(mixing_proportions);   x_i | z_i = k ~ family with the parameters of component k.

    Parameters
    ----------
    family : Family
        Such as `Poisson()`, or with parameters: `Binomial(10, probability=[0.6, 0.5])`.
    n_components : int, optional
        K; may be left out where parameters tell it.
    mixing_proportions : array-like of shape (K,), optional
        p(z = k). Equal where the family has parameters and these are not given.
    fixed : collection of str, default=()
        Parameters that a fit leaves as they are: `{"mixing_proportions"}`, or a parameter of the family by name. The
        M-step is then the constrained maximum and `n_free_parameters` follows.
    component_names : sequence of str, optional
        Names for the components, where labels gave them names.
    noise : bool or float, default=False
        One component more, the last, that is uniform over a volume (in the units of the columns, multiplied): rows that
        belong to none of the others (Banfield & Raftery 1993). True takes the volume of the box that the rows fill. For
        families of real numbers and rows without missing cells.
    prior_rows : float, default=0.0
        A weak conjugate prior: each component is taken to have seen so many rows more, which are like the whole table
        (Clogg et al. 1991; Dirichlet, beta, gamma, ... by the family). Estimates are then posterior modes, off the
        boundary: no probability is 0 where the table has the category. With 0 they are maximum likelihood.

    Raises
    ------
    ModelError
        The numbers of components disagree, a parameter is not possible, or one to be held fixed has no value.

    Examples
    --------
    >>> from emix import Binomial, Mixture
    >>> Mixture(Binomial(10, probability=[0.6, 0.5]), fixed={"mixing_proportions"}).mixing_proportions
    array([0.5, 0.5])
    """

    family: Family
    n_components: int | None = None
    mixing_proportions: Any = None
    fixed: Collection[str] = frozenset()
    component_names: tuple[str, ...] | None = None
    noise: bool | float = False
    prior_rows: float = 0.0
    prior_statistics: Any = None
    """(D,) mean statistics of the rows of a fit, which the prior is made of; set by `with_prior_of`."""

    def __post_init__(self) -> None:
        """Settle K, equal proportions where none are given, and who holds what fixed."""
        if not isinstance(self.noise, bool) and not (isinstance(self.noise, int | float) and 0 < self.noise < np.inf):
            raise ModelError.argument(name="noise", requirement="True, False or a volume > 0", found=self.noise)
        prior = self.prior_rows
        if isinstance(prior, bool) or not isinstance(prior, int | float) or not 0 <= prior < np.inf:
            raise ModelError.argument(name="prior_rows", requirement="a finite number >= 0", found=prior)
        if not isinstance(self.family, Family):
            raise ModelError.argument(name="family", requirement="a Family such as Poisson()", found=self.family)
        counts = {"n_components": self.n_components, "family": self.family.n_components}
        if self.mixing_proportions is not None:
            counts["mixing_proportions"] = np.size(np.asarray(self.mixing_proportions)) - self.has_noise
        known = {name: count for name, count in counts.items() if count is not None}
        n = self.n_components
        if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1):
            raise ModelError.n_components(n)
        if not known:
            raise ModelError.n_components_missing()
        if len(set(known.values())) > 1:
            raise ModelError.n_components_differ(known)
        K = int(next(iter(known.values())))
        object.__setattr__(self, "n_components", K)
        fixed = frozenset({self.fixed} if isinstance(self.fixed, str) else self.fixed) | self.family.fixed
        available = ("mixing_proportions", *self.family.spaces)
        for name in sorted(fixed):
            if name not in available:
                raise ModelError.unknown_fixed(found=name, available=available)
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "family", self.family.with_fixed(fixed & set(self.family.spaces)))
        if self.mixing_proportions is None and (self.family.is_fitted or "mixing_proportions" in fixed):
            object.__setattr__(self, "mixing_proportions", np.full(self.latent_size, 1 / self.latent_size))
        if self.mixing_proportions is not None:
            object.__setattr__(self, "mixing_proportions", self.latent.mixing_proportions)
        if self.component_names is not None and len(self.component_names) != self.latent_size:
            requirement = f"{self.latent_size} names, one per component"
            raise ModelError.argument(name="component_names", requirement=requirement, found=self.component_names)
        for name in sorted(self.family.fixed):
            if getattr(self.family, name) is None:
                raise ModelError.fixed_without_value(name)

    @property
    def has_noise(self) -> bool:
        """Whether the last component is noise."""
        return self.noise is not False

    @property
    def latent_size(self) -> int:
        """How many values the label has: K, and one more with noise."""
        return int(self.n_components or 0) + self.has_noise

    @cached_property
    def latent(self) -> IndependentDraws:
        """p(z)."""
        if self.mixing_proportions is None:
            raise ModelError.not_fitted("This mixture")
        return IndependentDraws(self.mixing_proportions, "mixing_proportions" in self.fixed)

    @property
    def is_fitted(self) -> bool:
        """Whether all parameters have values."""
        return self.mixing_proportions is not None and self.family.is_fitted

    @property
    def parameters(self) -> dict[str, Any]:
        """Name -> array with the component axis first."""
        return {"mixing_proportions": self.mixing_proportions, **self.family.parameters}

    @property
    def n_free_parameters(self) -> int:
        """What is fixed does not count."""
        return self.latent.n_free_parameters + self.family.n_free_parameters

    def bind(self, schema: Schema, summary: Summary) -> Self:
        """The same mixture with its family bound to these data.

        Raises
        ------
        ModelError
            There is noise, and the family or the rows cannot have it.
        """
        noise = self.noise
        if self.has_noise:
            if type(self.family).log_base_measure is not Family.log_base_measure or not self.family.takes_noise:
                raise ModelError.argument(name="noise", requirement="a family of real numbers", found=self.family.name)
            if not summary.is_complete:
                raise ModelError.argument(name="noise", requirement="rows without missing cells", found="some")
            noise = float(np.prod(summary.maximum - summary.minimum)) if noise is True else noise
        return replace(self, family=self.family.bind(schema, summary), noise=noise)

    def __str__(self) -> str:
        """Like `mixture of 3 x binomial(n_trials=10)`."""
        held = " and noise" if self.has_noise else ""
        held += f", fixed: {', '.join(sorted(self.fixed))}" if self.fixed else ""
        return f"mixture of {self.n_components} x {self.family}{held}"

    # -- EM ----------------------------------------------------------------------------------------------------------

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

    @cached_property
    def _sizes(self) -> Array:
        """(K, 1 + D) sizes of what the coefficients were computed from."""
        full, K = self._coefficients[0], self.latent_size - self.has_noise
        own = self._and_noise(self.family.coefficient_sizes(full[:K, 1:]))
        return np.concatenate([np.abs(full[:, :1]), own], axis=1)

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
            return self._from_sparse(np.concatenate([weighted_resp.sum(axis=1, keepdims=True), own], axis=1))
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

    def log_prob(self, x: Array) -> Array:
        """Log p(x given k) without the base measure: (B, d) -> (K, B)."""
        log_prob = self._and_noise(self.family.log_prob(x))
        if self.has_noise:
            log_prob[-1] = -np.log(self.noise)
        return log_prob

    def raw_statistics(self, statistics: Array) -> Array:
        """Expected statistics (K, 1 + D) in the units of the data."""
        return np.concatenate([statistics[:, :1], self.family.raw_statistics(statistics[:, 1:])], axis=1)

    def work(self, statistics: Array) -> tuple[Work, ...]:
        """How the M-step arrives at the family's parameters, line by line."""
        return self.family.work(statistics[: self.latent_size - self.has_noise, 1:])

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
        tile = None if isinstance(chunk.x, SparseRows) else self.family.tile()
        if chunk.n_source_rows and tile is not None and (chunk.is_complete or tile.takes_holes):
            work = chunk.n_source_rows * self.latent_size * self._coefficients[0].shape[1]
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
        return self._compiled(chunk, sums, self._from_sparse(sums.statistics))

    @cached_property
    def _sparse_coefficients(self) -> SparseCoefficients:
        """Of the cells that sparse rows store; what a row of zeros pays stands on row 0."""
        return dispatch.sparse_coefficients(self._coefficients[1], has_zeros=isinstance(self.family, Bernoulli))

    def _from_sparse(self, S: Array) -> Array:
        """Sums (K, 1 + d) of x over sparse rows -> those of all statistics, (K, 1 + D)."""
        if not isinstance(self.family, Bernoulli):
            return self._unfolded(S, is_complete=True)
        zeros = np.maximum(S[:, :1] - S[:, 1:], 0.0)  # a difference of equal sums may round to below 0
        return np.concatenate([S, zeros], axis=1)

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

    def maximize(self, statistics: Array) -> Self:
        """M-step: expected statistics (K, 1 + D), in the coordinates of `expect`, to the next mixture."""
        latent = IndependentDraws.equal(len(statistics)) if self.mixing_proportions is None else self.latent
        latent = latent.maximize(statistics[:, 0])
        own = statistics[: len(statistics) - self.has_noise, 1:]
        family = self.family.maximize(own if self.prior_statistics is None else own + self._prior_sums)
        return updated(self, family=family, mixing_proportions=latent.mixing_proportions, latent=latent)

    def log_prior(self) -> float:
        """Log density of the parameters under the prior, in nats, up to a constant; 0 without one."""
        log_prior = self.family.log_prior()
        if self.prior_statistics is not None:
            log_prior += float((self.family.coefficients() @ self._prior_sums).sum())
        return log_prior

    @property
    def _prior_sums(self) -> Array:
        """(D,) what the prior adds to the expected statistics of each component."""
        return np.asarray(self.prior_rows * self.prior_statistics)

    def with_prior_of(self, sums: Array) -> Self:
        """With the prior that `prior_rows` asks for, from the sums (1 + D,) of all rows.

        Raises
        ------
        ModelError
            The family's sums depend on its parameters, so that rows are no prior.
        """
        return replace(self, prior_statistics=sums[1:] / sums[0])

    def audit(self, expectation: Expectation) -> Audit:
        """What the driver checks of a pass.

        The log-likelihood is a sum of coefficients times statistics: its rounding is that of the largest terms, and at
        least that of a probability near 1, whose logarithm is near 0, once per unit of weight.
        """
        S, terms = expectation.statistics, 0.0
        if self.family.is_linear(is_complete=True):
            terms = float(np.abs(np.where(self._sizes < 1e25, self._sizes, 0.0) * S).sum())
        noise = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, terms, expectation.weight)
        noise += expectation.weight * self.family.boundary_noise()
        return Audit(float(S[:, 0].sum()), noise, getattr(self.family, "added_variance", 0.0) == 0.0)

    # -- the model in use --------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator, given: Array | None = None) -> tuple[Array, NDArray[np.intp]]:
        """Draw n rows and their components: (n, d) cells (categories as level codes) and (n,) components."""
        labels = self.latent.sample(n, rng)
        if not self.has_noise:
            return self.family.sample(labels, rng, given), labels
        K, binding = self.latent_size - 1, self.family.binding
        rows = self.family.sample(np.minimum(labels, K - 1), rng, given)
        if binding is not None:  # a box of the volume, about the pivot and in the proportions of the columns
            d = len(binding.scale)
            width = binding.scale * np.exp((np.log(self.noise) - np.log(binding.scale).sum()) / d)
            box = binding.pivot + width * (rng.random(rows.shape) - 0.5)
            rows = np.where((labels == K)[:, None], box, rows)
        return rows, labels

    def reordered(self, order: NDArray[np.intp]) -> Self:
        """The same mixture with its components in this order."""
        all_of = np.append(order, len(order)) if self.has_noise else order  # noise stays the last
        names = None if self.component_names is None else tuple(self.component_names[k] for k in all_of)
        proportions = self.latent.mixing_proportions[all_of]
        return replace(self, family=self.family.reordered(order), mixing_proportions=proportions, component_names=names)

    def to_vector(self) -> Array:
        """All free parameters in unconstrained coordinates."""
        return np.concatenate([self.latent.to_vector(), self.family.to_vector()])

    def from_vector(self, vector: Array) -> Self:
        """The inverse of `to_vector`."""
        used = self.latent.n_free_parameters
        latent = self.latent.from_vector(vector[:used])
        return replace(
            self, family=self.family.from_vector(vector[used:]), mixing_proportions=latent.mixing_proportions
        )

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """What each column of the expected statistics sums, in words."""
        return ("rows", *self.family.statistic_names)
