"""Any one-dimensional distribution of scipy.stats, independent over columns: the slower contract.

T(x) = (1[x = v] for v among the distinct values of the column), so that sums over rows are weights of values, additive
like all others; log p(row given k) = sum over columns of SciPy's log-density.
M-step: for each component and column the weighted maximum likelihood of the values, by `climb` in unconstrained
coordinates from the parameters before, so that no step loses; the first one from shapes that are tried, with location
and scale from the quartiles.
The rows stay in memory: there are as many statistics as different values, and a pass asks SciPy for each row.
Source: Virtanen et al. (2020), Nature Methods 17, 261-272 (the distributions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import LOG_ZERO, Array, Schema, Summary, updated
from emix.constraints import NO_CONSTRAINTS, Constraints
from emix.errors import DegenerateError, ModelError
from emix.families.base import Binding, Family, Support
from emix.families.columnwise import by_column
from emix.families.normal import finite_or_zero, positive_or_one
from emix.families.scipy_law import Law, ends, is_possible, law_named, law_of
from emix.families.scipy_maximum import Where, maximum
from emix.spaces import Space

FREE = "free"


@dataclass(frozen=True, eq=False, repr=False, init=False)
class ScipyDistribution(Family):
    """One or several independent columns, each of the same distribution of scipy.stats.

    Parameters
    ----------
    distribution : str or distribution of scipy.stats
        Such as 'weibull_min', 't', 'gumbel_r', 'nbinom', or `scipy.stats.weibull_min`; discrete or continuous.
    **parameters
        By SciPy's names: the shapes (`c` of 'weibull_min'), `loc` and, of a continuous one, `scale`. A number holds the
        parameter there in all components; an array of shape (K,) or (K, d) gives its values, which a fit starts from;
        'free' has it estimated. Default: shapes and scale are estimated. `loc` is held at 0 where the support has an
        end (as [0, inf) has) and for counts, and estimated otherwise; `scale` is held at 1 where the support has two
        ends (as [0, 1] has). Shapes that are nothing but whole numbers (`n` of 'binom') must be held.

    Raises
    ------
    ModelError
        There is no such distribution or parameter; or one is held, or given, where it cannot be.

    Notes
    -----
    Slower than the other families, and the rows stay in memory: the expected statistics are (K, V) weights of the V
    different values of the columns. Where V is in the millions a pass takes seconds, and acceleration keeps several
    such arrays; `accelerate=False` saves them. A location that is estimated for a distribution with an end
    (`loc='free'`) may let the density rise without bound at the lowest value; such a start ends as degenerate.

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Mixture, ScipyDistribution, fit
    >>> x = np.random.default_rng(0).weibull(2.0, size=500)
    >>> fit(Mixture(ScipyDistribution("weibull_min"), 1), x).model.family.c.round(1)
    array([2.])
    """

    distribution: str
    held: tuple[tuple[str, float], ...] = ()
    """Parameters that are numbers, the same in all components, and not estimated."""
    given: Mapping[str, Array] = field(default_factory=dict)
    """Parameters that have values: (K,) or (K, d)."""

    name = "scipy"

    def __init__(
        self,
        distribution: Any,
        *,
        held: tuple[tuple[str, float], ...] | None = None,
        given: Mapping[str, Array] | None = None,
        fixed: frozenset[str] = frozenset(),
        constraints: Constraints = NO_CONSTRAINTS,
        binding: Binding | None = None,
        **parameters: Any,
    ) -> None:
        law = law_of(distribution)
        numbers = dict(law.defaults if held is None else held)
        values = dict(given or {})
        for name, value in parameters.items():
            if name not in law.spaces:
                raise ModelError.choice(what=f"parameter of '{law.name}'", found=name, available=law.spaces)
            if value is None:
                values.pop(name, None)
            elif isinstance(value, str) and value == FREE:
                numbers.pop(name, None)
            elif np.ndim(value) == 0:
                numbers[name] = self._number(law, name, value)
            else:
                numbers.pop(name, None)
                values[name] = value
        for name in law.whole:
            if not float(numbers.get(name, 0.5)).is_integer():
                raise ModelError.held_shape(distribution=law.name, name=name, found=numbers.get(name, "no number"))
        if law.is_discrete and not float(numbers.get("loc", 0.5)).is_integer():
            raise ModelError.held_shape(distribution=law.name, name="loc", found=numbers.get("loc", repr(FREE)))
        if len(numbers) == len(law.spaces):
            requirement = f"one of '{law.name}' at least that is estimated, such as loc='free'"
            raise ModelError.argument(name="parameters", requirement=requirement, found=numbers)
        set_to = {"distribution": law.name, "held": tuple((n, numbers[n]) for n in law.spaces if n in numbers)}
        common = {"fixed": fixed, "constraints": constraints, "binding": binding}
        for name, value in {**set_to, "given": values, **common}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()
        if not is_possible(law, self.held):
            self._refuse(dict(self.held))

    def _refuse(self, found: dict[str, float]) -> NoReturn:
        requirement = "values that SciPy takes together"
        raise ModelError.parameter(family=str(self), name="shapes", requirement=requirement, found=found)

    @staticmethod
    def _number(law: Law, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            requirement = "a number, an array with one entry per component, or 'free'"
            raise ModelError.argument(name=name, requirement=requirement, found=value)
        law.spaces[name].check(np.array([float(value)]), family=law.name, name=name)
        return float(value)

    def __post_init__(self) -> None:
        kept = {}
        for name, value in self.given.items():
            if name in self.spaces:
                kept[name] = self._as_parameter(name, value, self.spaces[name])
        object.__setattr__(self, "given", kept)
        super().__post_init__()
        if self.is_fitted:
            for k, j in np.ndindex(by_column(next(iter(kept.values()))).shape):
                own = self._parameters_of(k, j)
                if not self._law.allows([own[name] for name in self._law.shapes]):
                    self._refuse(own)

    def __getattr__(self, name: str) -> Any:
        """A parameter by SciPy's name: its values, the number it is held at, or None while it has none."""
        own = vars(self)
        if "held" in own and not name.startswith("_"):
            if name in own.get("given", {}):
                return own["given"][name]
            if name in law_named(own["distribution"]).spaces:
                return dict(own["held"]).get(name)
        raise AttributeError(f"'{type(self).__name__}' has no attribute {name!r}")

    def __repr__(self) -> str:
        """As it is written."""
        words = {**self._settings, **self.given}
        given = "".join(f", {name}={value!r}" for name, value in words.items())
        return f"ScipyDistribution({self.distribution!r}{given})"

    def __str__(self) -> str:
        """Like `scipy(weibull_min)` or `scipy(t, df=5.0)`."""
        return f"scipy({', '.join([self.distribution, *(f'{n}={v}' for n, v in self._settings.items())])})"

    # -- parameters --------------------------------------------------------------------------------------------------

    @property
    def _law(self) -> Law:
        return law_named(self.distribution)

    @property
    def spaces(self) -> Mapping[str, Space]:  # type: ignore[override]
        """Parameters that are estimated -> space."""
        held = dict(self.held)
        return {name: space for name, space in self._law.spaces.items() if name not in held}

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: self.given[name] for name in self.spaces if name in self.given}

    @property
    def _settings(self) -> dict[str, Any]:
        """What differs from the defaults."""
        held, usual = dict(self.held), self._law.defaults
        own: dict[str, Any] = {name: value for name, value in held.items() if usual.get(name) != value}
        return {**own, **{name: FREE for name in usual if name not in held}}

    @property
    def options(self) -> dict[str, Any]:
        return {"distribution": self.distribution, **self._settings}

    def estimated(self, **values: Any) -> Self:
        for name, value in values.items():
            self.spaces[name].check(value, family=str(self), name=name)
            values[name] = value[:, 0] if value.ndim == 2 and value.shape[1] == 1 else value
            values[name].flags.writeable = False
        return updated(self, given={**self.given, **values})

    def unchecked(self, values: Mapping[str, Any]) -> Self:
        return updated(self, given={**self.given, **values})

    def _parameters_of(self, k: int, j: int) -> dict[str, float]:
        """SciPy's parameters of component k in column j."""
        own = {name: float(by_column(value)[k, j]) for name, value in self.given.items()}
        return {**dict(self.held), **own}

    # -- columns -----------------------------------------------------------------------------------------------------

    @property
    def support(self) -> Support:
        law = self._law
        lower, upper, takes_lower, takes_upper = ends(law, self.held)
        signs = ((lower, ">", takes_lower), (upper, "<", takes_upper))
        said = " and ".join(f"{sign}{'=' * takes} {end:g}" for end, sign, takes in signs if np.isfinite(end))
        kind = "whole numbers" if law.is_discrete else "numbers" if said else "finite numbers"
        said = f"{kind} {said}".strip() + f" for '{law.name}'"
        return Support(
            said,
            lower=lower,
            lower_is_allowed=takes_lower or not np.isfinite(lower),
            upper=upper,
            upper_is_allowed=takes_upper or not np.isfinite(upper),
            is_whole=law.is_discrete,
            must_vary=not law.is_discrete,
            needs_values=True,
        )

    @property
    def takes_noise(self) -> bool:  # type: ignore[override]
        """Whether it has a density."""
        return not self._law.is_discrete

    def bind(self, schema: Schema, summary: Summary) -> Self:
        scale = np.sqrt(positive_or_one(summary.variance))
        return self._bound(Binding(schema, finite_or_zero(summary.mean), scale, values=summary.values))

    def with_values(self, summary: Summary) -> Self:
        if self.binding is None:
            return self
        return updated(self, binding=replace(self.binding, values=summary.values))

    def _check_columns(self) -> None:
        d = len(self.columns)
        for name, value in self.parameters.items():
            if by_column(value).shape[1] != d:
                shape = "(K,)" if d == 1 else f"(K, {d})"
                raise ModelError.parameter(
                    family=str(self), name=name, requirement=f"the shape {shape} for {d} columns", found=value.shape
                )

    def _values(self) -> list[Array]:
        """The distinct values of each column, sorted.

        Raises
        ------
        ModelError
            The family is bound to none: a model from a file, or one that was bound by hand.
        """
        names, found = self.columns, () if self.binding is None else self.binding.values
        known = [one for one in found if one is not None]
        if len(known) != len(names):
            raise ModelError.other_values(distribution=self.distribution, column=names[0], found=None)
        return known

    @property
    def n_sums(self) -> int:
        return sum(map(len, self._values()))

    @property
    def statistic_names(self) -> tuple[str, ...]:
        pairs = zip(self.columns, self._values(), strict=True)
        return tuple(f"{c} = {int(v) if v.is_integer() else v!r}" for c, values in pairs for v in values.tolist())

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        return tuple((column,) for column in self.column_names)

    @property
    def statistic_columns(self) -> NDArray[np.intp]:
        sizes = [len(values) for values in self._values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def cell_weights(self, expected: Array) -> Array:
        ends = np.cumsum([len(values) for values in self._values()])[:-1]
        return np.stack([part.sum(axis=1) for part in np.split(expected, ends, axis=1)], axis=1)

    # -- densities and sums ------------------------------------------------------------------------------------------

    def is_linear(self, *, is_complete: bool) -> bool:
        return False  # rows that are scored later may have values that those of the fit have not

    def has_constant_sums(self, sums: Array, *, is_complete: bool) -> bool:
        return True

    def log_prob(self, x: Array) -> Array:
        K, d = self.n_components or 0, x.shape[1]
        found = np.zeros((K, len(x)))
        for j in range(d):
            seen = ~np.isnan(x[:, j])
            for k in range(K):
                found[k, seen] += self._log_density(x[seen, j], k, j)
        return found

    def _log_density(self, x: Array, k: int, j: int) -> Array:
        """Of component k in column j, `LOG_ZERO` where it is 0.

        Raises
        ------
        DegenerateError
            The density is infinite at one of the cells.
        """
        found = self._law.log_density(x, self._parameters_of(k, j))
        if np.isfinite(found).all():
            return found
        if (found == np.inf).any():
            at, column = float(x[np.argmax(found == np.inf)]), self.columns[j]
            raise DegenerateError.unbounded(
                component=k, column=column, distribution=self.distribution, at=at, weight=0.0
            )
        return np.where(np.isfinite(found), found, LOG_ZERO)

    def _positions(self, cells: Array, values: Array, j: int) -> NDArray[np.intp]:
        """Where observed cells stand among the values.

        Raises
        ------
        ModelError
            One of them is not among them.
        """
        at = np.minimum(np.searchsorted(values, cells), len(values) - 1)
        other = values[at] != cells
        if other.any():
            found = float(cells[np.argmax(other)])
            raise ModelError.other_values(distribution=self.distribution, column=self.columns[j], found=found)
        return at

    def accumulate(self, x: Array, weighted_resp: Array) -> Array:
        parts = []
        for j, values in enumerate(self._values()):
            seen = ~np.isnan(x[:, j])
            at = self._positions(x[seen, j], values, j)
            parts.append(np.stack([np.bincount(at, r[seen], minlength=len(values)) for r in weighted_resp]))
        return np.concatenate(parts, axis=1)

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        return np.concatenate(
            [(values[:, None] == column).astype(np.float64) for column, values in zip(x.T, self._values(), strict=True)]
        )

    def coefficients(self) -> Array:
        """(K, D): log-densities of the values."""
        pairs, K = enumerate(self._values()), range(self.n_components or 0)
        parts = [np.stack([self._log_density(values, k, j) for k in K]) for j, values in pairs]
        return np.concatenate(parts, axis=1)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        K = range(self.n_components or 0)
        found = np.stack(
            [
                np.stack([self._law.cdf(c, self._parameters_of(k, j), is_upper=is_upper) for j, c in enumerate(x.T)], 1)
                for k in K
            ]
        )
        return np.where(np.isnan(x), np.nan, found)

    def cell_moments(self) -> tuple[Array, Array]:
        """Means and variances of a cell, (K, d) each, as SciPy has them; infinite where they are."""
        places = [[(k, j) for j in range(len(self.column_names))] for k in range(self.n_components or 0)]
        with np.errstate(all="ignore"):
            found = np.array([[self._law.moments(self._parameters_of(k, j)) for k, j in row] for row in places])
        return found[..., 0], found[..., 1]

    # -- the M-step --------------------------------------------------------------------------------------------------

    def _maximize(self, expected: Array) -> Self:
        free = {name: space for name, space in self.spaces.items() if name not in self.fixed}
        K, values = len(expected), self._values()
        found = np.empty((len(free), K, len(values)))
        start = 0
        for j, column in enumerate(values):
            weights = expected[:, start : start + len(column)]
            start += len(column)
            for k in range(K):
                used, total = weights[k] != 0, float(weights[k].sum())
                if total <= 0 and not self.is_fitted:
                    raise DegenerateError.empty(component=k)
                own = self._parameters_of(k, j)
                if total > 0:
                    held = {name: value for name, value in own.items() if name not in free}
                    where = Where(k, self.columns[j], self._scale_of(j))
                    first = own if self.is_fitted else None
                    own = maximum(self._law, free, held, column[used], weights[k][used], where, first)
                found[:, k, j] = [own[name] for name in free]
        return self.estimated(**dict(zip(free, found, strict=True)))

    def _scale_of(self, j: int) -> float:
        """The standard deviation of the whole column."""
        return 1.0 if self.binding is None else float(self.binding.scale[j])

    # -- the rest ----------------------------------------------------------------------------------------------------

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        d = by_column(next(iter(self.given.values()))).shape[1]
        drawn = np.empty((len(labels), d))
        for j in range(d):
            for k in range(self.n_components or 0):
                mine = labels == k
                if mine.any():
                    own = self._parameters_of(k, j)
                    drawn[mine, j] = self._law.distribution.rvs(**own, size=int(mine.sum()), random_state=rng)
        return drawn

    def coordinates(self, x: Array) -> Array:
        support = self.support
        if support.lower == 0 and not np.isfinite(support.upper):
            return np.sqrt(x) if support.lower_is_allowed else np.log(x)
        pivot, unit = (0.0, 1.0) if self.binding is None else (self.binding.pivot, self.binding.scale)
        return np.asarray(np.arcsinh((x - pivot) / unit))  # rows far out are drawn in, or each would make a centre
