"""The contract of a family: what a row looks like given its component.

A family turns a row x into sufficient statistics T(x), its parameters into coefficients with
log p(x given k) = coefficients[k] . T(x) + log h(x), and sums of expected statistics back into parameters.
`Family` holds what all families share; columnwise.py what those share whose columns are independent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Schema, Summary, updated
from emix.constraints import NO_CONSTRAINTS, Constraints
from emix.errors import DegenerateError, ModelError
from emix.families import constrained, entries
from emix.families.constrainable import Constrainable
from emix.families.declarations import RESOLUTION as RESOLUTION
from emix.families.declarations import VARIANCE_FLOOR as VARIANCE_FLOOR
from emix.families.declarations import WITH_PRIOR as WITH_PRIOR
from emix.families.declarations import Binding as Binding
from emix.families.declarations import Support as Support
from emix.families.declarations import Work as Work
from emix.families.imputable import Imputable
from emix.families.imputable import LevelShares as LevelShares
from emix.families.patterns import Moments
from emix.kernels.tiles import Tile
from emix.spaces import Space

Parameter = Any
"""A constructor takes anything array-like for a parameter; the instance holds a float array, or None until fitted."""


@dataclass(frozen=True, eq=False, repr=False)
class Family(Imputable, Constrainable):
    """Parent of all families: immutable; a specification until its parameters are given or fitted.

    Attributes
    ----------
    fixed : frozenset of str
        Names of the parameters that `maximize` leaves as they are; it then returns the constrained maximum.
    constraints : Constraints
        On single entries of parameters: held, tied, bounded. `Mixture` reads them from text.
    binding : Binding or None
        Columns, category levels, pivot and scale of the data the family is bound to.
    """

    fixed: frozenset[str] = field(default=frozenset(), kw_only=True)
    constraints: Constraints = field(default=NO_CONSTRAINTS, kw_only=True, repr=False)
    binding: Binding | None = field(default=None, kw_only=True, repr=False)

    name: ClassVar[str]
    spaces: ClassVar[Mapping[str, Space]]
    """Parameter name -> the space one component's entries live in, in the order of the constructor."""

    groups_by_pattern: ClassVar[bool] = False
    """Whether rows with missing cells are summed by the pattern of what is observed, from `moments`."""
    takes_noise: ClassVar[bool] = False
    """Whether cells are real numbers whose density a uniform one can be compared with."""
    is_additive: ClassVar[bool] = False
    """Whether T(x) is the sum of what each cell adds, and a missing cell adds nothing."""

    # -- parameters --------------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        """Turn lists into read-only arrays and check them, once."""
        if self.prior_kind is not None:
            object.__setattr__(self, "prior", self.prior_kind.read(self._prior, owner=f"{self.name}: prior"))
        counts = {}
        for name, space in self.spaces.items():
            value = getattr(self, name)
            if value is None:
                continue
            value = self._as_parameter(name, value, space)
            object.__setattr__(self, name, value)
            counts[name] = len(value[0] if isinstance(value, tuple) else value)
        if len(set(counts.values())) > 1:
            raise ModelError.n_components_differ(counts)
        for name in self.fixed:
            if name not in self.spaces:
                raise ModelError.unknown_fixed(found=name, available=self.spaces)

    def _as_parameter(self, name: str, value: Any, space: Space) -> Any:
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelError.parameter(
                family=self.name, name=name, requirement="numbers, one entry per component", found=repr(value)
            ) from error
        if array.ndim == 0 or array.size == 0:
            raise ModelError.parameter(
                family=self.name,
                name=name,
                requirement="one entry per component, like [0.6, 0.5]",
                found=repr(value),
            )
        space.check(array, family=self.name, name=name)
        if array.ndim == 2 and array.shape[1] == 1 and space.drops_single_column:
            array = array[:, 0]
        array.flags.writeable = False
        return array

    def estimated(self, **values: Any) -> Self:
        """The same family with parameters from an M-step, float arrays; each must lie in its space."""
        for name, value in values.items():
            space = self.space(name)
            for array in value if isinstance(value, tuple) else (value,):
                space.check(array, family=self.name, name=name)
                array.flags.writeable = False
            if not isinstance(value, tuple) and value.ndim == 2 and value.shape[1] == 1 and space.drops_single_column:
                values[name] = value[:, 0]
        return updated(self, **values)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter name -> array with the component axis first; only those that have a value."""
        found = {name: getattr(self, name) for name in self.spaces}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def is_fitted(self) -> bool:
        """Whether all parameters have values."""
        return len(self.parameters) == len(self.spaces)

    @property
    def n_components(self) -> int | None:
        """K, or None while no parameter has a value."""
        for value in self.parameters.values():
            return len(value[0] if isinstance(value, tuple) else value)
        return None

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's other arguments, such as `n_trials`; what a specification is, apart from parameters."""
        skipped = {*self.spaces, "fixed", "constraints", "binding"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skipped}

    def __str__(self) -> str:
        """Like `binomial(n_trials=10)`; `families.parse` reads it back."""
        defaults = {f.name: f.default for f in fields(self)}
        given = ", ".join(f"{k}={v!r}" for k, v in self.options.items() if v != defaults[k])
        return f"{self.name}({given})" if given else self.name

    def __repr__(self) -> str:
        """Only what differs from the defaults: `Binomial(n_trials=10, probability=array([0.8, 0.5]))`."""
        values = ((f.name, getattr(self, f.name), f.default) for f in fields(self) if f.repr)
        given = (f"{k}={v!r}" for k, v, default in values if isinstance(v, np.ndarray | tuple) or v != default)
        return f"{type(self).__name__}({', '.join(given)})"

    def with_fixed(self, names: frozenset[str]) -> Self:
        """The same family with these parameters held fixed."""
        return replace(self, fixed=names)

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same family with these parameters; None for one that is to be estimated."""
        return replace(self, **values)

    def reordered(self, order: NDArray[np.intp]) -> Self:
        """The same family with its components in this order; some of them alone are under no constraints."""
        K, own = self.constraints.n_components, self.constraints
        if own:
            items = tuple(one.reordered(order.tolist()) for one in own) if len(order) == K else ()
            own = Constraints(items, K) if items else NO_CONSTRAINTS
        values: dict[str, Any] = {name: take(value, order) for name, value in self.parameters.items()}
        priors = {} if self._prior is None else {"prior": self._prior.reordered(order, self._prior_columns())}
        return entries.settled(replace(self.with_parameters(values), constraints=own, **priors))

    def unchecked(self, values: Mapping[str, Any]) -> Self:
        """The same family with parameters that come from estimates: of any number of components, not looked at."""
        return updated(self, **values)

    # -- the contract ------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def support(self) -> Support:
        """What the cells may hold."""

    def bind(self, schema: Schema, summary: Summary) -> Self:
        """Take columns, levels, pivot and scale from the data: once per fit."""
        d = len(schema.names)
        return self._bound(Binding(schema, np.zeros(d), np.ones(d)))

    def _bound(self, binding: Binding) -> Self:
        bound = replace(self, binding=binding)
        bound._check_columns()
        return entries.settled(bound)

    @abstractmethod
    def _check_columns(self) -> None:
        """Raise if parameters that were given do not have the shape that the bound columns require."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the bound columns."""
        if self.binding is None:
            raise ModelError.not_fitted(f"The family '{self.name}' is not bound to data yet; it")
        return self.binding.names

    def with_values(self, summary: Summary) -> Self:
        """Bound to the distinct values of these data, and otherwise as it is, where the family needs them."""
        return self

    @property
    def n_sums(self) -> int:
        """How many statistics there are, D."""
        return len(self.statistic_names)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The bound columns, or x0, x1, ... of the parameters."""
        if self.binding is not None:
            return self.binding.names
        arrays = [value for value in self.parameters.values() if not isinstance(value, tuple)]
        widths = [value.shape[1] for value in arrays if value.ndim > 1]
        return tuple(f"x{j}" for j in range(max(widths, default=1)))

    @property
    def n_observed(self) -> int:
        """How many of the last statistics are counts of observed cells.

        Where no cell is missing these rows equal row 0 of the model, which then folds them into it.
        """
        return 0

    @property
    def row_key(self) -> Hashable:
        """Equal for families that check rows alike, start from them alike, and turn them into the same T(x)."""
        return str(self)

    @property
    @abstractmethod
    def statistic_names(self) -> tuple[str, ...]:
        """What each row of `statistics` sums to, in words."""

    @abstractmethod
    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        """T(x): (B, d) -> (D, B). With `is_complete` the last `n_observed` rows are left out: (D - n_observed, B)."""

    def tile(self) -> Tile | None:
        """The compiled filler that equals `statistics`; None if there is none."""
        return None

    @abstractmethod
    def coefficients(self) -> Array:
        """(K, D): log p(x given k) = coefficients[k] . T(x) + log h(x)."""

    def coefficient_sizes(self, coefficients: Array) -> Array:
        """(K, D): what these were computed from, before nearly equal terms cancelled; tells their rounding."""
        return np.abs(coefficients)

    @property
    def moments(self) -> Moments | None:
        """What the E-step of rows with missing cells reads, of a family that groups them by pattern."""
        return None

    def log_base_measure(self, x: Array) -> Array:
        """Log h(x), (B,): the part that no parameter touches."""
        return np.zeros(len(x))

    def is_linear(self, *, is_complete: bool) -> bool:
        """Whether log-densities and sums are linear in `statistics`, for complete rows or for rows with missing cells.

        A family where they are not overrides `log_prob` and `accumulate`, and stays additive over rows.
        """
        return True

    def has_constant_sums(self, sums: Array, *, is_complete: bool) -> bool:
        """Whether `sums` (D,) of all rows of a fit depend on no parameter, so that a prior can be made of them."""
        return self.is_linear(is_complete=is_complete)

    def log_prob(self, x: Array) -> Array:
        """Log p(x given k) without the base measure: (K, B)."""
        return self.coefficients() @ self.statistics(x)

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        """Sum weighted responsibilities (K, B) times what each row adds: (K, D). Also before there are parameters."""
        return weighted_resp @ self.statistics(x).T

    def maximize(self, expected: Array) -> Self:
        """M-step: expected statistics (K, D) -> the family with the maximum-likelihood parameters.

        What is fixed stays, and the rest is the constrained maximum. A component without rows keeps the parameters
        that it has: no row contradicts them.

        Raises
        ------
        DegenerateError
            A component has no rows and no previous parameters, or lost its spread.
        """
        if self.fixed.issuperset(self.spaces):
            return self
        sums = self.prior_sums(len(expected))
        if sums is None:
            return self._maximize_constrained(expected) if self.constraints else self._maximize(expected)
        with_prior = expected + sums
        fitted = self._maximize_constrained(with_prior) if self.constraints else self._maximize(with_prior)
        vars(fitted)["_prior_sums"] = sums  # the same in all iterations
        return fitted

    def _maximize_constrained(self, expected: Array) -> Self:
        """`maximize` under constraints; a family that has a closed form of its own there overrides it."""
        return constrained.maximum(self, expected)

    def maximize_apart(self, parts: Sequence[Self], expected: Array) -> Self:
        """The M-step from `parts`, each component as a family of its own, and the sums (K, D) that each took."""
        fitted = [part.maximize(expected[k : k + 1]) for k, part in enumerate(parts)]
        values: dict[str, Any] = {n: np.concatenate([getattr(part, n) for part in fitted]) for n in self.spaces}
        return replace(self, **values)

    def whole(self, sums: Array) -> Array:
        """All sums (K, 1 + D), row 0 first, from those of x alone, (K, 1 + d), where these tell the others."""
        return sums

    def maximize_groups(self, expected: Array, n_groups: int) -> Self:
        """The M-step of several mixtures at once, whose components lie one mixture after another: (G K, D).

        A family whose components share anything overrides this: mixtures share nothing.
        """
        return self.maximize(expected)

    @abstractmethod
    def _maximize(self, expected: Array) -> Self:
        """`maximize` where at least one parameter is free."""

    @abstractmethod
    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        """Draw one row per label: (n,) -> (n, d). `given` holds columns that are not drawn (numbers of tosses)."""

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        """P(cell <= value given k), or P(cell > value given k), of each cell by itself: (B, d) -> (K, B, d); NaN stays.

        Values outside the support are allowed: of whole numbers P(cell < x) is that of x - 1, of categories too, which
        count in the order of their codes.

        Raises
        ------
        ModelError
            The family's cells have no distribution function of their own.
        """
        requirement = "one whose columns have a distribution function each"
        raise ModelError.argument(name="family", requirement=requirement, found=self.name)

    @abstractmethod
    def coordinates(self, x: Array) -> Array:
        """(n, d) -> (n, e), variance-stabilised, so that Euclidean distance tells rows apart, for starts; NaN stays."""

    @property
    def n_free_parameters(self) -> int:
        """Of all components; what is fixed does not count."""
        total = 0
        for name, value in self.parameters.items():
            if name not in self.fixed:
                is_own = bool(self.constraints.of(name))
                total += entries.n_free(self, name) if is_own else self.space(name).n_free(value)
        return total

    def space(self, name: str) -> Space:
        """The space of one parameter of this very family, where it depends on an option."""
        return self.spaces[name]

    @property
    def can_be_centred(self) -> bool:
        """Whether `centred` exists: statistics taken about the component's own mean, in its own scale."""
        return False

    def centred(self) -> Self:
        """The same family of one component, bound with its own mean and spread as pivot and scale."""
        raise ModelError.argument(name="family", requirement="one that can be centred", found=self.name)

    # -- unconstrained coordinates, for standard errors ---------------------------------------------------------------

    def fisher_coefficients(self) -> Array | None:
        """(K, D) coefficients c with the gradient of log p(row given k) = that of c[k] . what the row adds to the sums.

        Fisher's identity: exact where the sums are taken at the very parameters. None where no sums tell the gradient.
        """
        return self.coefficients()

    def at_bound(self) -> dict[str, NDArray[np.bool_]]:
        """Parameter name -> which components' estimates lie at a finite bound, (K,) or (K, d): there is no slope."""
        return {}

    def to_vector(self) -> Array:
        """All free parameters in unconstrained coordinates: log, logit, stick-breaking logits, log-Cholesky."""
        free = [(n, v) for n, v in self.parameters.items() if n not in self.fixed]
        parts = [entries.to_vector(self, n) if self.constraints.of(n) else self.space(n).to_vector(v) for n, v in free]
        return np.concatenate(parts) if parts else np.zeros(0)

    def from_vector(self, vector: Array) -> Self:
        """The inverse of `to_vector`: the same family with other parameters."""
        values, used = {}, 0
        for name, like in self.parameters.items():
            if name not in self.fixed:
                if self.constraints.of(name):
                    values[name], step = entries.from_vector(self, name, vector[used:])
                else:
                    values[name], step = self.space(name).from_vector(vector[used:], like)
                used += step
        if used != len(vector):
            raise ModelError.argument(name="vector", requirement=f"{used} entries", found=len(vector))
        return replace(self, **values)

    # -- for people --------------------------------------------------------------------------------------------------

    def raw_statistics(self, expected: Array) -> Array:
        """Expected statistics (K, D) in the data's own units, where `statistics` are taken about a pivot."""
        return expected

    def work(self, expected: Array) -> tuple[Work, ...]:
        """How the M-step arrives at its free parameters, line by line, from expected statistics (K, D)."""
        if self.fixed.issuperset(self.spaces):
            return ()
        sums = self.prior_sums(len(expected))
        if sums is None:
            return constrained.work(self, expected) if self.constraints else self._work(expected)
        bare = updated(self, prior=None)
        lines = constrained.work(bare, expected + sums) if self.constraints else bare._work(expected + sums)
        return tuple(replace(line, text=f"{line.text}, {WITH_PRIOR}") for line in lines)

    def _work(self, expected: Array) -> tuple[Work, ...]:
        """`work` where at least one parameter is free."""
        fitted = self.maximize(expected)
        lines = []
        for name, value in fitted.parameters.items():
            array = np.asarray(value).reshape(len(value), -1)
            lines += [Work(name, column, "maximum of the expected log-likelihood") for column in array.T]
        return tuple(lines)

    def boundary_noise(self) -> float:
        """Rounding of a row's log-density by that of stored parameters, where an optimum on a boundary feels it.

        At a free optimum the log-likelihood is flat, and a parameter's last digit does not matter to first order.
        """
        return 0.0

    def remarks(self) -> tuple[tuple[int, str], ...]:
        """What a user should know of single components' estimates: (component, half a sentence), for the warnings."""
        return ()

    def narrowness(self) -> tuple[Array, tuple[str, ...]]:
        """(K, c) variances as shares of the whole column's, and c names: for the warning that one collapsed."""
        return np.ones((self.n_components or 1, 0)), ()


def take(value: Any, order: NDArray[np.intp]) -> Any:
    """Reorder the component axis of a parameter, which may be a tuple of arrays (one per column)."""
    return tuple(v[order] for v in value) if isinstance(value, tuple) else value[order]


def share(numerator: Array, denominator: Array, previous: Array | None) -> Array:
    """Numerator / denominator; where the denominator is 0 the previous value, which no row contradicts.

    Raises
    ------
    DegenerateError
        The denominator is 0 for a component that has no previous value.
    """
    if (denominator > 0).all():
        return numerator / denominator
    if previous is None:
        where = np.argwhere(np.broadcast_to(denominator <= 0, numerator.shape))[0]
        raise DegenerateError.empty(component=int(where[0]))
    known = denominator > 0
    return np.where(known, numerator / np.where(known, denominator, 1.0), previous)
