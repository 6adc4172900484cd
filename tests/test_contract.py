"""The contract of a family: each law written once and run over a registry of all families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Chunk,
    DataError,
    DegenerateError,
    Exponential,
    Gamma,
    Geometric,
    LogNormal,
    Mixture,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
)
from emix.block import Schema
from emix.data.summary import summarize
from emix.families import FAMILIES, STRUCTURES, Binding, Family

# -- the registry ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A family with parameters, the number of columns it is drawn in, and SciPy's density of it."""

    id: str
    family: Family
    n_columns: int
    density: Callable[[Family, np.ndarray, int], np.ndarray]
    """(family, x (n, d), k) -> density or mass of each row under component k."""
    given: Callable[[np.random.Generator, int], np.ndarray] | None = None
    """Numbers of tosses, or totals: the column that is not drawn."""
    tosses: Callable[[np.ndarray], np.ndarray] | None = None
    """Tosses of each row, where the statistics are heads and tails."""
    factorises: bool = True
    """Columns are independent given the component, so that a cell can be missing."""

    def levels(self) -> tuple:
        if not self.family.support.is_categorical:
            return (None,) * self.n_columns
        return tuple(tuple(range(p.shape[1])) for p in columns_of(self.family.probabilities))

    def draw(self, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n, d) and their components, of the proportions of `mixture`."""
        rng = np.random.default_rng(seed)
        labels = rng.choice(self.family.n_components, size=n, p=proportions(self.family))
        given = None if self.given is None else self.given(rng, n)
        start = Binding(Schema(names(self.n_columns), self.levels()), np.zeros(self.n_columns), np.ones(self.n_columns))
        return self.family._bound(start).sample(labels, rng, given), labels

    def bound(self, x: np.ndarray, weight: np.ndarray | None = None) -> Family:
        """The family bound to these rows: pivot and scale are theirs."""
        weight = np.ones(len(x)) if weight is None else weight
        return self.family.bind(Schema(names(self.n_columns), self.levels()), summarize(x, weight, with_logs=True))

    def mixture(self, x: np.ndarray) -> Mixture:
        return Mixture(self.bound(x), mixing_proportions=proportions(self.family))


def names(d: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(d))


def columns_of(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def proportions(family: Family) -> np.ndarray:
    return {2: np.array([0.35, 0.65]), 3: np.array([0.2, 0.3, 0.5])}[family.n_components]


def entry(parameter: np.ndarray, k: int) -> np.ndarray:
    """(K,) or (K, d) -> what broadcasts against (n, d)."""
    return np.atleast_1d(parameter[k])


def over_columns(density: Callable[..., np.ndarray], *parameters: str) -> Callable[..., np.ndarray]:
    """Product over columns of SciPy's `density(cell, parameters)`."""

    def product(family: Family, x: np.ndarray, k: int) -> np.ndarray:
        return density(x, *(entry(getattr(family, name), k) for name in parameters)).prod(axis=1)

    return product


def categorical_mass(family: Family, x: np.ndarray, k: int) -> np.ndarray:
    mass = np.ones(len(x))
    for j, p in enumerate(columns_of(family.probabilities)):
        mass *= stats.multinomial.pmf(np.eye(p.shape[1])[x[:, j].astype(int)], 1, p[k])
    return mass


def multinomial_mass(family: Family, x: np.ndarray, k: int) -> np.ndarray:
    return stats.multinomial.pmf(x, x.sum(axis=1), family.probabilities[k])


def multivariate_density(family: Family, x: np.ndarray, k: int) -> np.ndarray:
    return stats.multivariate_normal(family.mean[k], family.covariance[k]).pdf(x)


normal_density = over_columns(lambda x, m, v: stats.norm.pdf(x, m, np.sqrt(v)), "mean", "variance")
lognormal_density = over_columns(
    lambda x, m, v: stats.lognorm.pdf(x, np.sqrt(v), scale=np.exp(m)), "log_mean", "log_variance"
)
gamma_density = over_columns(lambda x, a, r: stats.gamma.pdf(x, a, scale=1 / r), "shape", "rate")
bernoulli_mass = over_columns(stats.bernoulli.pmf, "probability")
poisson_mass = over_columns(stats.poisson.pmf, "rate")
exponential_density = over_columns(lambda x, r: stats.expon.pdf(x, scale=1 / r), "rate")

COVARIANCES = {
    "full": [
        [[1.0, 0.3, 0.1], [0.3, 2.0, -0.5], [0.1, -0.5, 1.5]],
        [[2.0, -0.4, 0.0], [-0.4, 0.5, 0.1], [0.0, 0.1, 1.0]],
    ],
    "tied": [[[1.0, 0.3, 0.1], [0.3, 2.0, -0.5], [0.1, -0.5, 1.5]]] * 2,
    "diag": [np.diag([1.0, 2.0, 0.5]), np.diag([0.5, 0.3, 3.0])],
    "spherical": [0.7 * np.eye(3), 2.0 * np.eye(3)],
}

CASES = [
    Case("bernoulli-one-item", Bernoulli([0.2, 0.7]), 1, bernoulli_mass),
    Case("bernoulli-items", Bernoulli([[0.2, 0.9, 0.4], [0.7, 0.3, 0.6]]), 3, bernoulli_mass),
    Case(
        "bernoulli-shared",
        Bernoulli([0.25, 0.8], shared=True),
        5,
        bernoulli_mass,
        tosses=lambda x: np.full(len(x), 5.0),
    ),
    Case(
        "binomial-number",
        Binomial(10, [0.3, 0.5, 0.85]),
        1,
        lambda f, x, k: stats.binom.pmf(x[:, 0], 10, f.probability[k]),
        tosses=lambda x: np.full(len(x), 10.0),
        factorises=False,
    ),
    Case(
        "binomial-column",
        Binomial("x1", [0.3, 0.8]),
        2,
        lambda f, x, k: stats.binom.pmf(x[:, 0], x[:, 1], f.probability[k]),
        given=lambda rng, n: rng.integers(3, 15, size=(n, 1)).astype(float),
        tosses=lambda x: x[:, 1],
        factorises=False,
    ),
    Case("categorical-one-column", Categorical([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), 1, categorical_mass),
    Case(
        "categorical-columns",
        Categorical(
            ([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], [[0.9, 0.1], [0.3, 0.7]], [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
        ),
        3,
        categorical_mass,
    ),
    Case(
        "multinomial",
        Multinomial([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]),
        3,
        multinomial_mass,
        given=lambda rng, n: rng.integers(4, 20, size=(n, 1)).astype(float),
        factorises=False,
    ),
    Case("poisson-one-column", Poisson([1.3, 6.0, 15.0]), 1, poisson_mass),
    Case("poisson-columns", Poisson([[1.3, 6.0], [4.0, 0.5]]), 2, poisson_mass),
    Case("geometric-first-1", Geometric([[0.2, 0.5], [0.7, 0.1]]), 2, over_columns(stats.geom.pmf, "probability")),
    Case(
        "geometric-first-0",
        Geometric([0.15, 0.7], first=0),
        1,
        over_columns(lambda x, p: stats.geom.pmf(x + 1, p), "probability"),
    ),
    Case("exponential-one-column", Exponential([0.2, 3.0]), 1, exponential_density),
    Case("exponential-columns", Exponential([[0.2, 5.0], [3.0, 0.4]]), 2, exponential_density),
    Case("gamma-one-column", Gamma([2.0, 9.0], [1.5, 0.6]), 1, gamma_density),
    Case("gamma-columns", Gamma([[2.0, 0.6], [9.0, 4.0]], [[1.5, 0.2], [0.6, 40.0]]), 2, gamma_density),
    Case("normal-one-column", Normal([-1.0, 2.0], [0.5, 2.0]), 1, normal_density),
    Case("normal-columns", Normal([[-1.0, 30.0], [2.0, 10.0]], [[0.5, 9.0], [2.0, 40.0]]), 2, normal_density),
    Case("normal-incomes", Normal([2.5e6, 9e6], [4e11, 4e12]), 1, normal_density),  # units far from 1, as money has
    Case("normal-far", Normal([1e6, 1e6 + 0.05], [1e-4, 2e-4]), 1, normal_density),
    Case("lognormal-one-column", LogNormal([0.0, 2.0], [0.2, 0.6]), 1, lognormal_density),
    Case("lognormal-columns", LogNormal([[0.0, 9.0], [2.0, 7.0]], [[0.2, 0.4], [0.6, 0.1]]), 2, lognormal_density),
    *(
        Case(
            f"multivariate-normal-{structure}",
            MultivariateNormal([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], COVARIANCES[structure], structure=structure),
            3,
            multivariate_density,
            factorises=False,
        )
        for structure in STRUCTURES
    ),
]

LAWS: dict[str, list[Case]] = {}


def law(cases: list[Case]):
    """Run a test on each of these cases, and note that it does."""

    def register(test):
        LAWS[test.__name__] = cases
        return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)(test)

    return register


TWO_PARAMETERS = [case for case in CASES if len(case.family.spaces) == 2]
FACTORISED = [case for case in CASES if case.factorises]
ALL_OR_NOTHING = [case for case in CASES if not case.factorises and case.family.support.takes_missing]
REFUSING = [case for case in CASES if not case.family.support.takes_missing]
WITH_MEAN = [case for case in TWO_PARAMETERS if not isinstance(case.family, Gamma)]


def test_no_family_is_missing_from_the_registry():
    assert {case.family.name for case in CASES} == set(FAMILIES)
    assert {case.family.structure for case in CASES if isinstance(case.family, MultivariateNormal)} == set(STRUCTURES)
    assert len({case.id for case in CASES}) == len(CASES)


def test_no_law_is_without_cases():
    assert len(LAWS) >= 20
    assert all(LAWS.values()), [name for name, cases in LAWS.items() if not cases]
    of_all = {name for name, cases in LAWS.items() if {case.family.name for case in cases} == set(FAMILIES)}
    assert len(of_all) >= 12
    assert set(FACTORISED) | set(ALL_OR_NOTHING) | set(REFUSING) == set(CASES)


# -- helpers ---------------------------------------------------------------------------------------------------------


def soft_responsibilities(K: int, n: int, seed: int = 1) -> np.ndarray:
    """(K, n), columns sum to 1, none negligible."""
    return np.random.default_rng(seed).dirichlet(np.full(K, 0.7), size=n).T


def expected_under(case: Case, x: np.ndarray, seed: int = 1) -> tuple[Family, np.ndarray, np.ndarray]:
    """The family bound to x, expected statistics (K, D) of soft responsibilities, and these (K, n)."""
    family = case.bound(x)
    resp = soft_responsibilities(family.n_components, len(x), seed)
    return family, resp @ family.statistics(x).T, resp


def assert_same_parameters(found: Family, wanted: Family, rtol: float, atol: float = 0.0) -> None:
    assert found.parameters.keys() == wanted.parameters.keys()
    for name, value in wanted.parameters.items():
        for one, other in zip(columns_of(found.parameters[name]), columns_of(value), strict=True):
            assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=name)


def assert_same_expectation(found: emix.Expectation, wanted: emix.Expectation, rtol: float = 1e-11) -> None:
    scale = np.abs(wanted.statistics).max()
    assert_allclose(found.statistics, wanted.statistics, rtol=rtol, atol=rtol * scale)
    for name in ("log_likelihood", "weight", "magnitude", "log_map"):
        assert_allclose(getattr(found, name), getattr(wanted, name), rtol=rtol, atol=rtol, err_msg=name)


def objective(family: Family, expected: np.ndarray) -> float:
    """Q: what the M-step maximizes."""
    return float((family.coefficients() * expected).sum())


# -- the density -----------------------------------------------------------------------------------------------------


@law(CASES)
def test_density_is_that_of_scipy(case):
    x, _ = case.draw(200)
    family = case.bound(x)
    log_density = family.log_prob(x) + family.log_base_measure(x)
    assert log_density.shape == (family.n_components, 200)
    for k in range(family.n_components):
        wanted = case.density(family, x, k)
        assert_allclose(np.exp(log_density[k]), wanted, rtol=2e-11, atol=1e-300)


@law(CASES)
def test_density_does_not_depend_on_what_the_family_is_bound_to(case):
    x, _ = case.draw(200)
    elsewhere, _ = case.draw(50, seed=7)
    one, other = case.bound(x), case.bound(elsewhere)
    found, wanted = (f.log_prob(x) + f.log_base_measure(x) for f in (one, other))
    assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@law(CASES)
def test_log_likelihood_of_a_mixture_is_that_of_the_densities(case):
    x, _ = case.draw(200)
    model = case.mixture(x)
    joint = np.stack([p * case.density(case.family, x, k) for k, p in enumerate(model.mixing_proportions)])
    step = emix.e_step(model, x)
    assert_allclose(step.log_likelihood, np.log(joint.sum(axis=0)).sum(), rtol=1e-11)
    assert_allclose(step.responsibilities, (joint / joint.sum(axis=0)).T, rtol=1e-8, atol=1e-12)
    assert_allclose(emix.score_samples(model, x), np.log(joint.sum(axis=0)), rtol=1e-9, atol=1e-10)


# -- statistics add --------------------------------------------------------------------------------------------------


@law(CASES)
def test_statistics_add_over_rows(case):
    x, _ = case.draw(60)
    family, model = case.bound(x), case.mixture(x)
    T = family.statistics(x)
    assert T.shape == (family.coefficients().shape[1], 60)
    assert_array_equal(T, np.concatenate([family.statistics(x[:23]), family.statistics(x[23:])], axis=1))
    w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
    parts = model.expect(Chunk(x[:23], w[:23])) + model.expect(Chunk(x[23:], w[23:]))
    assert_same_expectation(parts, model.expect(Chunk(x, w)))


@law(CASES)
def test_expected_statistics_are_responsibilities_times_statistics(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
    found = model.expect(Chunk(x, w)).statistics
    weighted = emix.responsibilities(model, x).T * w
    wanted = np.concatenate([weighted.sum(axis=1, keepdims=True), weighted @ model.family.statistics(x).T], axis=1)
    assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@law(CASES)
def test_folding_the_observed_counts_changes_nothing(case):
    x, _ = case.draw(80)
    model = case.mixture(x)
    w = np.random.default_rng(3).uniform(0.1, 3.0, 80)
    assert_same_expectation(model.expect(Chunk(x, w, is_complete=True)), model.expect(Chunk(x, w, is_complete=False)))


@law(CASES)
def test_weight_2_equals_the_row_twice_in_the_e_step(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    w = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(x, w.astype(int), axis=0)
    assert len(twice) == 80
    assert_same_expectation(model.expect(Chunk(x, w)), model.expect(Chunk(twice, np.ones(80))))


@law(CASES)
def test_weight_2_equals_the_row_twice_in_a_fit(case):
    x, _ = case.draw(200)
    w = np.where(np.arange(200) % 3 == 0, 2.0, 1.0)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    model = Mixture(case.family, case.family.n_components)
    options = {"start": start, "stop": "iterations", "max_iter": 7}
    weighted = emix.fit(model, x, sample_weight=w, **options)
    repeated = emix.fit(model, np.repeat(x, w.astype(int), axis=0), **options)
    assert weighted.n_iter == repeated.n_iter == 7
    assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-9)
    assert_allclose(weighted.model.mixing_proportions, repeated.model.mixing_proportions, rtol=1e-9)
    assert_same_parameters(weighted.model.family, repeated.model.family, rtol=1e-9, atol=1e-12)
    for criterion in ("total_weight", "aic", "bic", "icl"):
        assert_allclose(getattr(weighted, criterion), getattr(repeated, criterion), rtol=1e-9, err_msg=criterion)


# -- missing cells ---------------------------------------------------------------------------------------------------


def without_column(family: Family, j: int) -> Family:
    """The family of the other columns, with the same pivots."""
    keep = [i for i in range(len(family.columns)) if i != j]
    binding, values = family.binding, {}
    for name, value in family.parameters.items():
        if isinstance(value, tuple):
            rest = tuple(value[i] for i in keep)
            values[name] = rest if len(rest) > 1 else rest[0]
        else:
            values[name] = value if getattr(family, "shared", False) else value[:, keep]
    schema = Schema(tuple(binding.names[i] for i in keep), tuple(binding.schema.levels[i] for i in keep))
    return replace(family, binding=Binding(schema, binding.pivot[keep], binding.scale[keep]), **values)


def shared_rows(family: Family, smaller: Family) -> list[int]:
    """Where each statistic of `smaller` stands among those of `family`."""
    return [family.statistic_names.index(name) for name in smaller.statistic_names]


@law([case for case in FACTORISED if case.n_columns > 1])
def test_a_missing_cell_equals_the_row_without_that_column(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    family = model.family
    for j in range(case.n_columns):
        smaller = without_column(family, j)
        some = np.arange(60) % 2 == 0
        holed, rest = x.copy(), np.delete(x, j, axis=1)
        holed[some, j] = np.nan
        one = family.log_prob(holed) + family.log_base_measure(holed)
        other = smaller.log_prob(rest) + smaller.log_base_measure(rest)
        assert_allclose(one[:, some], other[:, some], rtol=1e-11, atol=1e-11)

        small_model = Mixture(smaller, mixing_proportions=model.mixing_proportions)
        w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
        found = model.expect(Chunk(holed, w))
        complete = model.expect(Chunk(x[~some], w[~some]))
        partial = small_model.expect(Chunk(rest[some], w[some]))
        wanted = complete.statistics.copy()
        wanted[:, [0, *(1 + i for i in shared_rows(family, smaller))]] += partial.statistics
        assert_allclose(found.statistics, wanted, rtol=1e-11, atol=1e-11)
        assert_allclose(found.log_likelihood, complete.log_likelihood + partial.log_likelihood, rtol=1e-11)


@law([case for case in FACTORISED if case.n_columns > 1])
def test_a_missing_cell_says_nothing_of_its_column_in_the_m_step(case):
    """The M-step of a column uses the rows in which it is observed, and no other."""
    x, _ = case.draw(300)
    seen = np.random.default_rng(5).random(x.shape) > 0.3
    holed = np.where(seen, x, np.nan)
    family, expected, resp = expected_under(case, holed)
    if getattr(family, "shared", False):
        ones, cells = resp @ np.where(seen, x, 0.0).sum(axis=1), resp @ seen.sum(axis=1)
        assert_allclose(family.maximize(expected).probability, ones / cells, rtol=1e-12)
        return
    fitted = family.maximize(expected)
    for j in range(case.n_columns):
        alone = case.bound(x)
        for i in reversed([i for i in range(case.n_columns) if i != j]):
            alone = without_column(alone, i)
        observed = seen[:, j]
        wanted = alone.maximize(resp[:, observed] @ alone.statistics(x[observed][:, [j]]).T)
        for name, value in wanted.parameters.items():
            whole = fitted.parameters[name]
            assert_allclose(whole[j] if isinstance(whole, tuple) else whole[:, j], value, rtol=1e-10)


@law([case for case in FACTORISED if case.n_columns == 1])
def test_a_missing_single_cell_says_nothing(case):
    x, _ = case.draw(10)
    family = case.bound(x)
    x = x.copy()
    x[4] = np.nan
    assert_array_equal(family.statistics(x)[:, 4], 0.0)
    assert_array_equal((family.log_prob(x) + family.log_base_measure(x))[:, 4], 0.0)


@law(ALL_OR_NOTHING)
def test_a_missing_part_makes_the_row_say_nothing(case):
    x, _ = case.draw(12)
    family = case.bound(x)
    for j in range(case.n_columns):
        holed = x.copy()
        holed[4, j] = np.nan
        T = family.statistics(holed)
        assert_array_equal(T[:, 4], 0.0)
        assert_array_equal(np.delete(T, 4, axis=1), np.delete(family.statistics(x), 4, axis=1))
        assert_array_equal((family.log_prob(holed) + family.log_base_measure(holed))[:, 4], 0.0)


def rows_that_say_nothing(case: Case, x: np.ndarray) -> list[np.ndarray]:
    """Rows of which nothing is observed: all cells missing, or of a group that stands or falls together any one."""
    if case.factorises:
        return [np.full(case.n_columns, np.nan)]
    rows = [np.where(np.arange(case.n_columns) == j, np.nan, x[0]) for j in range(case.n_columns)]
    return [*rows, np.full(case.n_columns, np.nan)]


@law(FACTORISED + ALL_OR_NOTHING)
def test_a_row_with_nothing_observed_counts_for_nothing_in_the_e_step(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    wanted = emix.e_step(model, x)
    for row in rows_that_say_nothing(case, x):
        found = emix.e_step(model, np.vstack([x, row, row]))
        assert_allclose(found.expected_statistics, wanted.expected_statistics, rtol=1e-11, atol=1e-11)
        assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=1e-11)
        assert_allclose(found.responsibilities[-1], model.mixing_proportions, rtol=1e-12)
        assert_allclose(emix.score_samples(model, np.vstack([x, row]))[-1], 0.0, atol=1e-12)


@law(FACTORISED + ALL_OR_NOTHING)
def test_a_row_with_nothing_observed_counts_for_nothing_in_a_fit(case):
    x, _ = case.draw(60)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    options = {"start": start, "stop": "iterations", "max_iter": 3}
    wanted = emix.fit(start, x, **options)
    for row in rows_that_say_nothing(case, x):
        found = emix.fit(start, np.vstack([x, row, row]), **options)
        assert found.total_weight == wanted.total_weight == 60.0
        assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=1e-11)
        assert_allclose(found.model.mixing_proportions, wanted.model.mixing_proportions, rtol=1e-11)
        assert_same_parameters(found.model.family, wanted.model.family, rtol=1e-10, atol=1e-12)


@law(REFUSING)
def test_a_missing_cell_is_refused_in_words(case):
    x, _ = case.draw(30)
    x[17, 1] = np.nan
    with pytest.raises(DataError, match=r"cannot take missing values.*\n.*row 17, column 'x1'"):
        emix.fit(Mixture(case.family), x)
    with pytest.raises(DataError, match="cannot take missing values"):
        emix.e_step(Mixture(case.family), x)


# -- the M-step ------------------------------------------------------------------------------------------------------


def steps(size: int, n: int = 60) -> list[np.ndarray]:
    """Both ways along each coordinate, and in random directions, near and far."""
    rng = np.random.default_rng(11)
    axes = [sign * length * e for e in np.eye(size) for sign in (-1, 1) for length in (1e-3, 0.05, 0.5)]
    directions = rng.standard_normal((n, size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [*axes, *(directions * np.resize([1e-3, 1e-2, 0.1, 1.0], n)[:, None])]


def units(family: Family) -> np.ndarray:
    """Of each coordinate, the size of a step that matters: a normal mean in standard deviations, everything else 1."""
    if isinstance(family, Normal) and "mean" not in family.fixed:
        spread = np.sqrt(family.variance).ravel()
        return np.concatenate([spread, np.ones(len(family.to_vector()) - len(spread))])
    return np.ones(len(family.to_vector()))


def assert_is_maximum(fitted: Family, expected: np.ndarray) -> None:
    vector, best = fitted.to_vector(), objective(fitted, expected)
    assert len(vector) > 0
    for step in steps(len(vector)):
        assert objective(fitted.from_vector(vector + step * units(fitted)), expected) < best


@law(CASES)
def test_no_neighbour_of_maximize_scores_better(case):
    x, _ = case.draw(400)
    family, expected, _ = expected_under(case, x)
    assert_is_maximum(family.maximize(expected), expected)


@law(CASES)
def test_no_neighbour_of_maximize_scores_better_with_missing_cells(case):
    if case.family.support.takes_missing:
        x, _ = case.draw(400)
        x = np.where(np.random.default_rng(5).random(x.shape) > 0.2, x, np.nan)
        family, expected, _ = expected_under(case, x)
        assert_is_maximum(family.maximize(expected), expected)
    else:
        assert case in REFUSING


@law(TWO_PARAMETERS)
def test_no_neighbour_of_maximize_scores_better_with_one_parameter_fixed(case):
    x, _ = case.draw(400)
    family, expected, _ = expected_under(case, x)  # soft responsibilities: the fixed values are far from their optimum
    for name in family.spaces:
        held = family.with_fixed(frozenset({name}))
        fitted = held.maximize(expected)
        assert_array_equal(getattr(fitted, name), getattr(family, name))
        assert_is_maximum(fitted, expected)
        (free,) = set(family.spaces) - {name}
        assert not np.array_equal(getattr(fitted, free), getattr(family, free))


@law(CASES)
def test_maximize_leaves_a_family_that_is_fixed_as_it_is(case):
    x, _ = case.draw(100)
    family, expected, _ = expected_under(case, x)
    held = family.with_fixed(frozenset(family.spaces))
    assert_same_parameters(held.maximize(expected), family, rtol=0)


@law(WITH_MEAN)
def test_the_variance_about_a_fixed_mean_is_not_the_free_variance(case):
    x, _ = case.draw(400)
    family, expected, resp = expected_under(case, x)
    mean_name, variance_name = family.spaces
    held = family.with_fixed(frozenset({mean_name})).maximize(expected)
    u = np.log(x) if isinstance(family, LogNormal) else x
    mean = getattr(family, mean_name)
    centred = u[None] - (mean[:, None] if mean.ndim == 1 else mean)[:, None]  # (K, n, d)
    counts = resp.sum(axis=1)
    if isinstance(family, MultivariateNormal):
        scatter = np.einsum("kn,kni,knj->kij", resp, centred, centred)
        wanted = {
            "full": lambda: scatter / counts[:, None, None],
            "tied": lambda: np.repeat(scatter.sum(axis=0)[None] / counts.sum(), len(counts), axis=0),
            "diag": lambda: scatter / counts[:, None, None] * np.eye(3),
            "spherical": lambda: (np.trace(scatter, axis1=1, axis2=2) / counts / 3)[:, None, None] * np.eye(3),
        }[family.structure]()
    else:
        wanted = np.einsum("kn,kni->ki", resp, centred**2) / counts[:, None]
    found = getattr(held, variance_name)
    assert_allclose(found, wanted.reshape(found.shape), rtol=1e-9, atol=1e-12)
    assert not np.allclose(found, getattr(family.maximize(expected), variance_name), rtol=1e-3)


@law(CASES)
def test_work_arrives_at_the_parameters_of_the_m_step(case):
    x, _ = case.draw(200)
    family, expected, _ = expected_under(case, x)
    for fixed in (frozenset(), *(frozenset({name}) for name in family.spaces)):
        held = family.with_fixed(fixed)
        fitted, lines = held.maximize(expected), held.work(expected)
        assert {line.parameter for line in lines} >= set(family.spaces) - fixed
        for name in set(family.spaces) - fixed:
            values = [line.value for line in lines if line.parameter == name]
            value = getattr(fitted, name)
            if name == "covariance":
                i, j = np.triu_indices(3) if family.structure in ("full", "tied") else (np.arange(3), np.arange(3))
                wanted = list(value[:, i, j].T)
            else:
                wanted = [column for one in columns_of(value) for column in one.reshape(len(one), -1).T]
            assert_array_equal(values, wanted)
        for line in lines:
            assert line.text
            assert (line.numerator is None) == (line.denominator is None)
            if line.numerator is not None:
                assert_allclose(line.value, line.numerator / line.denominator, rtol=1e-9, err_msg=line.text)


@law(CASES)
def test_a_component_without_rows_keeps_its_parameters(case):
    x, _ = case.draw(200)
    family, expected, _ = expected_under(case, x)
    last = family.n_components - 1
    expected[last] = 0.0
    fitted = family.maximize(expected)
    for name, value in family.parameters.items():
        for old, new in zip(columns_of(value), columns_of(getattr(fitted, name)), strict=True):
            assert np.isfinite(new).all()
            assert not np.array_equal(new[0], old[0])
            if getattr(family, "structure", "") == "tied" and name == "covariance":
                assert_array_equal(new[last], new[0])  # it has no covariance of its own
            else:
                assert_allclose(new[last], old[last], rtol=1e-12, err_msg=name)


@law(CASES)
def test_a_component_without_rows_and_without_parameters_is_degenerate(case):
    x, _ = case.draw(200)
    family, expected, _ = expected_under(case, x)
    expected[1] = 0.0
    specification = replace(family, **dict.fromkeys(family.spaces))
    with pytest.raises(DegenerateError) as caught:
        specification.maximize(expected)
    assert caught.value.component == 1
    if getattr(family, "structure", "") == "tied":
        return  # a covariance that all share is told by the others
    for name in list(family.spaces)[:-1]:  # a mean that is held does not tell the variance
        held = replace(family, **{other: None for other in family.spaces if other != name}, fixed=frozenset({name}))
        with pytest.raises(DegenerateError):
            held.maximize(expected)


# -- the vector form -------------------------------------------------------------------------------------------------


@law(CASES)
def test_vector_round_trip(case):
    x, _ = case.draw(300)
    family, expected, _ = expected_under(case, x)
    family = family.maximize(expected)
    for fixed in (frozenset(), *(frozenset({name}) for name in family.spaces), frozenset(family.spaces)):
        held = family.with_fixed(fixed)
        vector = held.to_vector()
        assert vector.ndim == 1
        assert np.isfinite(vector).all()
        assert len(vector) == held.n_free_parameters
        assert (len(vector) == 0) == (fixed == set(family.spaces))
        assert_same_parameters(held.from_vector(vector), family, rtol=1e-12, atol=1e-14)
        moved = vector + np.linspace(-0.3, 0.4, len(vector))
        assert_allclose(held.from_vector(moved).to_vector(), moved, rtol=1e-9, atol=1e-12)
        with pytest.raises(emix.ModelError):
            held.from_vector(np.append(vector, 0.0))


@law(CASES)
def test_vector_round_trip_of_a_mixture(case):
    x, _ = case.draw(100)
    model = case.mixture(x)
    for fixed in ((), ("mixing_proportions",), tuple(case.family.spaces), ("mixing_proportions", *case.family.spaces)):
        held = replace(model, fixed=frozenset(fixed))
        vector = held.to_vector()
        assert len(vector) == held.n_free_parameters
        again = held.from_vector(vector)
        assert again.fixed == frozenset(fixed)
        assert_allclose(again.mixing_proportions, model.mixing_proportions, rtol=1e-12)
        assert_same_parameters(again.family, model.family, rtol=1e-12, atol=1e-14)
    assert model.n_free_parameters == model.family.n_free_parameters + len(model.mixing_proportions) - 1


N_FREE = {
    "bernoulli-one-item": 2,
    "bernoulli-items": 6,
    "bernoulli-shared": 2,
    "binomial-number": 3,
    "categorical-columns": 2 * (2 + 1 + 3),
    "multinomial": 4,
    "gamma-columns": 8,
    "normal-columns": 8,
    "multivariate-normal-full": 6 + 12,
    "multivariate-normal-tied": 6 + 6,
    "multivariate-normal-diag": 6 + 6,
    "multivariate-normal-spherical": 6 + 2,
}


@law([case for case in CASES if case.id in N_FREE])
def test_free_parameters_are_counted_as_textbooks_do(case):
    assert case.family.n_free_parameters == N_FREE[case.id]


# -- sampling --------------------------------------------------------------------------------------------------------


@law(CASES)
def test_sampling_then_fitting_recovers_the_parameters(case):
    """Wilks: twice the log-likelihood lost at the truth is chi-squared. Its 1 - 1e-6 quantile bounds every single
    parameter's error by about 5 standard errors."""
    x, labels = case.draw(4000, seed=21)
    truth = Mixture(case.family, mixing_proportions=proportions(case.family))
    counts = np.bincount(labels, minlength=case.family.n_components)
    assert_allclose(counts / 4000, truth.mixing_proportions, atol=5 * 0.5 / np.sqrt(4000))
    result = emix.fit(truth, x, tol=1e-3)
    assert result.converged
    lost = 2 * (result.log_likelihood - emix.e_step(truth, x).log_likelihood)
    assert 0 <= lost < stats.chi2.ppf(1 - 1e-6, result.n_free_parameters)
    # each component by itself too: labels known, so that an error of one cannot hide in another
    known = emix.fit(truth, x, labels=labels)
    free = known.model.family.n_free_parameters
    lost = sum(
        2 * np.log(case.density(known.model.family, rows, k) / case.density(case.family, rows, k)).sum()
        for k, rows in ((k, x[labels == k]) for k in range(case.family.n_components))
    )
    assert 0 < lost < stats.chi2.ppf(1 - 1e-6, free)


@law(CASES)
def test_public_sampling_is_seeded_and_possible(case):
    x, _ = case.draw(100)
    model = case.mixture(x)
    given = None if case.given is None else case.given(np.random.default_rng(0), 50)
    one, labels = emix.sample(model, 50, random_state=4, given=given)
    other, same = emix.sample(model, 50, random_state=4, given=given)
    assert_array_equal(one, other)
    assert_array_equal(labels, same)
    assert one.shape == (50, case.n_columns)
    assert np.isfinite(emix.score_samples(model, one)).all()
    if given is not None:
        wanted = one[:, 1] if case.id == "binomial-column" else one.sum(axis=1)
        assert_array_equal(wanted, given[:, 0])


# -- names and raw sums ----------------------------------------------------------------------------------------------


def meaning(name: str, x: np.ndarray, case: Case) -> np.ndarray:
    """What one row adds to the statistic of this name, (n,), read from its words."""

    def cell(word: str) -> np.ndarray:
        return np.log(cell(word.removeprefix("log "))) if word.startswith("log ") else x[:, int(word[1:])]

    if name in ("heads", "tails"):
        heads = x.sum(axis=1) if isinstance(case.family, Bernoulli) else x[:, 0]
        return heads if name == "heads" else case.tosses(x) - heads
    if name.startswith("rows"):
        return np.ones(len(x))
    if name.startswith("failures in "):
        return cell(name.removeprefix("failures in ")) - case.family.first
    if " = " in name:
        column, value = name.split(" = ")
        return (cell(column) == float(value)).astype(float)
    what = name.removeprefix("sum of ")
    assert what != name, name
    if " x " in what:
        one, other = what.split(" x ")
        return cell(one) * cell(other)
    return cell(what[:-2]) ** 2 if what.endswith("^2") else cell(what)


@law(CASES)
def test_statistics_are_named_and_raw_sums_are_in_the_units_of_the_data(case):
    x, _ = case.draw(150)
    family, expected, resp = expected_under(case, x)
    assert len(family.statistic_names) == expected.shape[1] == len(set(family.statistic_names))
    wanted = np.stack([resp @ meaning(name, x, case) for name in family.statistic_names], axis=1)
    assert_allclose(family.raw_statistics(expected), wanted, rtol=1e-11, atol=1e-9)
    step = emix.e_step(case.mixture(x), x)
    assert step.statistic_names == ("rows", *family.statistic_names)
    own = [step.responsibilities.T @ meaning(name, x, case) for name in step.statistic_names]
    assert_allclose(step.expected_statistics, np.stack(own, axis=1), rtol=1e-10, atol=1e-9)


# -- persistence -----------------------------------------------------------------------------------------------------


@law(CASES)
def test_persistence_keeps_every_bit(case, tmp_path):
    x, _ = case.draw(200)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    for fixed in (frozenset(), frozenset({"mixing_proportions", next(iter(case.family.spaces))})):
        model = emix.fit(replace(start, fixed=fixed), x, stop="iterations", max_iter=3).model
        model = replace(model, component_names=tuple("abc"[: model.n_components]))
        emix.save(model, tmp_path / "model.json")
        again = emix.load(tmp_path / "model.json")
        assert again.fixed == model.fixed == fixed
        assert again.family.fixed == model.family.fixed
        assert again.component_names == model.component_names
        assert again.family.options == model.family.options
        assert again.family.binding.schema == model.family.binding.schema
        for one, other in zip(
            (again.family.binding.pivot, again.family.binding.scale, again.mixing_proportions),
            (model.family.binding.pivot, model.family.binding.scale, model.mixing_proportions),
            strict=True,
        ):
            assert_array_equal(one, other)
        assert_same_parameters(again.family, model.family, rtol=0)
        assert emix.e_step(again, x).log_likelihood == emix.e_step(model, x).log_likelihood
        assert again.n_free_parameters == model.n_free_parameters


@law(CASES)
def test_a_specification_survives_its_text(case):
    again = emix.families.parse(str(case.family))
    assert type(again) is type(case.family)
    assert again.options == case.family.options
    assert not again.is_fitted


# -- the pivot -------------------------------------------------------------------------------------------------------


def exact_moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (d,) and covariance (d, d) in rational arithmetic: no rounding but the last."""
    weight = [Fraction(float(one)) for one in w]
    total = sum(weight)
    columns = [[Fraction(float(cell)) for cell in column] for column in x.T]
    means = [sum(a * b for a, b in zip(weight, column, strict=True)) / total for column in columns]
    centred = [[cell - mean for cell in column] for column, mean in zip(columns, means, strict=True)]
    covariance = [
        [float(sum(a * b * c for a, b, c in zip(weight, one, other, strict=True)) / total) for other in centred]
        for one in centred
    ]
    return np.array([float(mean) for mean in means]), np.array(covariance)


def test_normal_moments_keep_their_digits_far_from_zero():
    """Mean 1e6, sd 1e-2: from raw second moments the variance has relative error 2.2."""
    rng = np.random.default_rng(0)
    x = rng.normal(1e6, 1e-2, size=(200, 2))
    resp = soft_responsibilities(2, 200)
    case = Case("far", Normal([[1e6, 1e6]] * 2, [[1e-4, 1e-4]] * 2), 2, normal_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    for k in range(2):
        mean, covariance = exact_moments(x, resp[k])
        assert_allclose(
            fitted.mean[k], mean, rtol=0, atol=1e-9 * 1e-2 + 1.2e-10
        )  # 1.2e-10: half a unit in the last place
        assert_allclose(fitted.variance[k], np.diag(covariance), rtol=1e-9)
    raw = resp @ x**2 / resp.sum(axis=1, keepdims=True) - (resp @ x / resp.sum(axis=1, keepdims=True)) ** 2
    assert np.abs(raw / fitted.variance - 1).max() > 0.1  # what the pivot is for


@pytest.mark.parametrize("structure", STRUCTURES)
def test_multivariate_moments_keep_their_digits_far_from_zero(structure):
    rng = np.random.default_rng(1)
    shape = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.2, 0.7]]) * 1e-2
    x = 1e6 * np.array([1.0, -2.0, 0.5]) + rng.standard_normal((150, 3)) @ shape.T
    resp = soft_responsibilities(2, 150)
    family = MultivariateNormal(structure=structure).bind(Schema(names(3), (None,) * 3), summarize(x, np.ones(150)))
    fitted = family.maximize(resp @ family.statistics(x).T)
    moments = [exact_moments(x, resp[k]) for k in range(2)]
    counts = resp.sum(axis=1)
    pooled = sum(n * C for n, (_, C) in zip(counts, moments, strict=True)) / counts.sum()
    for k, (mean, C) in enumerate(moments):
        wanted = {
            "full": C,
            "tied": pooled,
            "diag": np.diag(np.diag(C)),
            "spherical": np.trace(C) / 3 * np.eye(3),
        }[structure]
        assert_allclose(fitted.mean[k], mean, rtol=0, atol=1e-9 * 1e-2 + 2.4e-10)
        assert_allclose(fitted.covariance[k], wanted, rtol=1e-9, atol=1e-9 * np.trace(C) / 3)


def test_lognormal_moments_keep_their_digits_for_a_narrow_distribution():
    rng = np.random.default_rng(2)
    x = rng.lognormal(9.0, 1e-3, size=(300, 1))
    resp = soft_responsibilities(2, 300)
    case = Case("narrow", LogNormal([9.0, 9.0], [1e-6, 1e-6]), 1, lognormal_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    u = np.log(x[:, 0].astype(np.longdouble))
    for k in range(2):
        w = resp[k].astype(np.longdouble)
        mean = (w * u).sum() / w.sum()
        assert_allclose(fitted.log_mean[k], float(mean), rtol=1e-14)
        assert_allclose(fitted.log_variance[k], float((w * (u - mean) ** 2).sum() / w.sum()), rtol=1e-9)


def exact_gamma_shape(x: np.ndarray, w: np.ndarray) -> float:
    """The root of log a - digamma(a) = log mean - mean log for a large shape, in extended precision."""
    x, w = x.astype(np.longdouble), w.astype(np.longdouble)
    mean = (w * x).sum() / w.sum()
    gap = -(w * np.log1p((x - mean) / mean)).sum() / w.sum()
    a = 1 / (2 * gap)
    for _ in range(50):
        a = (1 / 2 + 1 / (12 * a) - 1 / (120 * a**3)) / gap
    return float(a)


@pytest.mark.parametrize("shape", [1e4, 1e6, 1e8])
def test_gamma_shape_keeps_its_digits_where_it_is_large(shape):
    """log mean - mean log is 5e-9 at a shape of 1e8; as a difference of two logarithms it keeps seven digits."""
    rng = np.random.default_rng(3)
    x = rng.gamma(shape, 250 / shape, size=(300, 1))
    resp = soft_responsibilities(2, 300)
    case = Case("narrow", Gamma([shape] * 2, [shape / 250] * 2), 1, gamma_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    for k in range(2):
        wanted = exact_gamma_shape(x[:, 0], resp[k])
        assert_allclose(fitted.shape[k], wanted, rtol=1e-9)
        assert_allclose(fitted.shape[k] / fitted.rate[k], resp[k] @ x[:, 0] / resp[k].sum(), rtol=1e-13)


@pytest.mark.parametrize("shape", [1e4, 1e6, 1e8])
def test_gamma_density_keeps_its_digits_where_the_shape_is_large(shape):
    """Stirling in extended precision: a log r - log Gamma(a) - r are terms of 1e9 that cancel to about 10."""
    x = (250 * (1 + np.linspace(-2, 2, 9) / np.sqrt(shape)))[:, None]
    a, r, u = np.longdouble(shape), np.longdouble(shape) / 250, x[:, 0].astype(np.longdouble)
    z = r * u / a - 1
    tail = np.log(a / (2 * np.longdouble(np.pi))) / 2 - 1 / (12 * a) + 1 / (360 * a**3)  # a log a - a - log Gamma(a)
    wanted = a * (np.log1p(z) - z) + tail - np.log(u)
    family = Case("narrow", Gamma([shape] * 2, [shape / 250] * 2), 1, gamma_density).bound(x)
    assert_allclose(family.log_prob(x)[0], wanted.astype(float), rtol=0, atol=1e-9)
