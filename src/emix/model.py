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

from emix.block import Array, Chunk, Expectation, Schema, Summary, updated
from emix.constraints import Constraint, parse_constraint
from emix.described import ShownInNotebooks
from emix.errors import ModelError
from emix.expectation import ExpectingMixture
from emix.families import Family, Work
from emix.families.priors import DirichletPrior
from emix.families.priors.mixture import MixturePriors
from emix.families.structures.base import Structure
from emix.latent import IndependentDraws
from emix.tidy import parameter_frame


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
class Mixture(ShownInNotebooks, MixturePriors, ExpectingMixture):
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
    constraints : sequence of str, default=()
        On single entries, one text each: `"sd tied"`, `"mean[0] = 0"`, `"mean[0] = mean[1]"`, `"mean[1] fixed"` (at its
        value in the start), `"0.1 <= mixing_proportions[1]"`. The indices are COMPONENT, COLUMN, LEVEL, where there are
        several; components are numbers from 0, or names. The M-step is then the constrained maximum; what is held or
        tied is not counted by `n_free_parameters`, an active bound is.
    component_names : sequence of str, optional
        Names for the components, where labels gave them names.
    noise : bool or float, default=False
        One component more, the last, that is uniform over a volume (in the units of the columns, multiplied): rows that
        belong to none of the others (Banfield & Raftery 1993). True takes the volume of the box that the rows fill. For
        families of real numbers and rows without missing cells.
    prior_rows : float, default=0.0
        A weak conjugate prior: each component is taken to have seen so many rows more, which are like the whole table
        (Clogg et al. 1991; Dirichlet, beta, gamma, ... by the family). Estimates are then posterior modes, off the
        boundary: no probability is 0 where the table has the category. With 0 they are maximum likelihood. Beside a
        `prior` of the family both count: their densities multiply.
    mixing_prior : DirichletPrior, optional
        Of the mixing proportions, which are then posterior modes: (expected rows + concentration - 1) / their sum.

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
    mixing_prior: DirichletPrior | None = None
    constraints: Any = ()

    def __post_init__(self) -> None:
        """Settle K, equal proportions where none are given, and who holds what fixed."""
        if not isinstance(self.noise, bool) and not (isinstance(self.noise, int | float) and 0 < self.noise < np.inf):
            raise ModelError.argument(name="noise", requirement="True, False or a volume > 0", found=self.noise)
        if not isinstance(self.family, Family):
            raise ModelError.no_family(found=self.family, is_structure=isinstance(self.family, Structure))
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
        self._check_priors()
        fixed = frozenset({self.fixed} if isinstance(self.fixed, str) else self.fixed) | self.family.fixed
        available = ("mixing_proportions", *self.family.spaces)
        for name in sorted(fixed):
            if name not in available:
                raise ModelError.unknown_fixed(found=name, available=available)
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "family", self.family.with_fixed(fixed & set(self.family.spaces)))
        self._settle_constraints(K)
        if self.mixing_proportions is None and (self.family.is_fitted or "mixing_proportions" in fixed):
            equal = IndependentDraws.possible(self.latent_size, self._latent_constraints)
            object.__setattr__(self, "mixing_proportions", equal.mixing_proportions)
        if self.mixing_proportions is not None:
            object.__setattr__(self, "mixing_proportions", self.latent.mixing_proportions)
            held = iter(self.latent.checked())
            own = (next(held) if one.parameter == "mixing_proportions" else one for one in self.constraints)
            object.__setattr__(self, "constraints", tuple(own))
        if self.component_names is not None and len(self.component_names) != self.latent_size:
            requirement = f"{self.latent_size} names, one per component"
            raise ModelError.argument(name="component_names", requirement=requirement, found=self.component_names)
        for name in sorted(self.family.fixed):
            if getattr(self.family, name) is None:
                raise ModelError.fixed_without_value(name)

    def _settle_constraints(self, K: int) -> None:
        """Read the texts, and give the family those that are its own."""
        given = (self.constraints,) if isinstance(self.constraints, str | Constraint) else self.constraints
        parsed = tuple(parse_constraint(one).named(self.component_names) for one in given)
        object.__setattr__(self, "constraints", parsed)
        own = [one for one in parsed if one.parameter != "mixing_proportions"]
        object.__setattr__(self, "family", self.family.with_constraints(own, K))

    @property
    def _latent_constraints(self) -> tuple[Constraint, ...]:
        return tuple(one for one in self.constraints if one.parameter == "mixing_proportions")

    @cached_property
    def latent(self) -> IndependentDraws:
        """p(z)."""
        if self.mixing_proportions is None:
            raise ModelError.not_fitted("This mixture")
        is_fixed = "mixing_proportions" in self.fixed
        return IndependentDraws(self.mixing_proportions, is_fixed, self._pseudo_counts, self._latent_constraints)

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
        held += f", constraints: {'; '.join(str(one) for one in self.constraints)}" if self.constraints else ""
        return f"mixture of {self.n_components} x {self.family}{held}"

    # -- EM ----------------------------------------------------------------------------------------------------------

    def _sizes(self) -> Array:
        """(K, 1 + D) sizes of what the coefficients were computed from; 0 for the logarithm of a probability 0."""
        sizes, K = np.abs(self._coefficients[0]), self.latent_size - self.has_noise
        sizes[:K, 1:] = self.family.coefficient_sizes(self._coefficients[0][:K, 1:])
        sizes[sizes >= 1e25] = 0.0
        return sizes

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
        own = statistics[: self.latent_size - self.has_noise, 1:]
        return self.family.work(own if self.prior_statistics is None else own + self._prior_sums)

    def maximize(self, statistics: Array) -> Self:
        """M-step: expected statistics (K, 1 + D), in the coordinates of `expect`, to the next mixture.

        Those of sparse rows are (K, 1 + d): sums of x, which tell the others.
        """
        latent = self.latent if self.mixing_proportions is not None else None
        if latent is None:
            about = (self._latent_constraints, self._pseudo_counts)
            latent = IndependentDraws.possible(len(statistics), *about)
        latent = latent.maximize(statistics[:, 0])
        own = self.family.whole(statistics)[: len(statistics) - self.has_noise, 1:]
        family = self.family.maximize(own if self.prior_statistics is None else own + self._prior_sums)
        return updated(self, family=family, mixing_proportions=latent.mixing_proportions, latent=latent)

    def objective(self, statistics: Array) -> float:
        """What the M-step maximizes, at these parameters: up to a constant, in nats."""
        own = self.family.whole(statistics)[: self.latent_size - self.has_noise, 1:]
        return float(self.latent.coefficients() @ statistics[:, 0] + self.family.cell_objective(own).sum())

    def audit(self, expectation: Expectation) -> Audit:
        """What the driver checks of a pass.

        The log-likelihood is a sum of coefficients times statistics: its rounding is that of the largest terms, and at
        least that of a probability near 1, whose logarithm is near 0, once per unit of weight.
        """
        S, terms = expectation.statistics, 0.0
        if self.family.is_linear(is_complete=True):
            sizes = self._sizes()
            sizes *= self.family.whole(S)
            terms = float(np.abs(sizes, out=sizes).sum())
        for name in ("_coefficients", "_sparse_coefficients"):  # the next pass is another model's
            vars(self).pop(name, None)
        noise = 8 * float(np.finfo(np.float64).eps) * max(expectation.magnitude, terms, expectation.weight)
        noise += expectation.weight * self.family.boundary_noise() + self.family.prior_noise()
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
        values = {
            "mixing_proportions": proportions,
            "component_names": names,
            "mixing_prior": None if self.mixing_prior is None else self.mixing_prior.reordered(all_of, 0),
            "constraints": tuple(one.reordered(all_of.tolist()) for one in self.constraints),
        }
        return replace(self, family=self.family.reordered(order), **values)

    def to_frame(self, backend: str | None = None) -> Any:
        """Mixing proportions and parameters as a tidy table: one number per row.

        Parameters
        ----------
        backend : {'pandas', 'polars', 'pyarrow'}, optional
            Whose data frame; the first of these that is installed by default.

        Returns
        -------
        data frame with the columns
            component : its name, or its number where components have no names;
            column : of the data; of a number that a group of columns shares all their names, like `height,weight`; null
                for a number of the component as a whole;
            parameter : such as `mixing_proportion`, `mean`, `probabilities`;
            level : of a categorical column, or the second column of a covariance; else null;
            value : float.

        Raises
        ------
        ModelError
            The model has no parameters, or the backend is unknown or not installed.
        """
        return parameter_frame(self, backend)

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
