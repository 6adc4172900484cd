"""One case or more for each family: the registry that the contract tests run over, and their helpers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import emix
from emix import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    CensoredExponential,
    CensoredWeibull,
    Exponential,
    Gamma,
    Geometric,
    InverseGaussian,
    LogNormal,
    Mixture,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    ScipyDistribution,
    StudentT,
    TruncatedPoisson,
    VonMises,
    ZeroInflatedPoisson,
)
from emix.block import Schema, Summary
from emix.data.summary import summarize
from emix.families import STRUCTURES, Binding, FactorAnalytic, Family
from emix.families.student_t import SCALE_STRUCTURES

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
        return self.family.bind(Schema(names(self.n_columns), self.levels()), self.summary(x, weight))

    def summary(self, x: np.ndarray, weight: np.ndarray) -> Summary:
        return summarize(x, weight, with_logs=True, with_values=self.family.support.needs_values)

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


def student_density(family: Family, x: np.ndarray, k: int) -> np.ndarray:
    return stats.multivariate_t(family.mean[k], family.scale[k], family.degrees_of_freedom[k]).pdf(x).reshape(len(x))


normal_density = over_columns(lambda x, m, v: stats.norm.pdf(x, m, np.sqrt(v)), "mean", "variance")
lognormal_density = over_columns(
    lambda x, m, v: stats.lognorm.pdf(x, np.sqrt(v), scale=np.exp(m)), "log_mean", "log_variance"
)
gamma_density = over_columns(lambda x, a, r: stats.gamma.pdf(x, a, scale=1 / r), "shape", "rate")
bernoulli_mass = over_columns(stats.bernoulli.pmf, "probability")
poisson_mass = over_columns(stats.poisson.pmf, "rate")
negative_binomial_mass = over_columns(lambda x, m, s: stats.nbinom.pmf(x, s, s / (s + m)), "mean", "size")
truncated_poisson_mass = over_columns(lambda x, r: stats.poisson.pmf(x, r) * (x > 0) / stats.poisson.sf(0, r), "rate")
zero_inflated_mass = over_columns(
    lambda x, r, z: z * (x == 0) + (1 - z) * stats.poisson.pmf(x, r), "rate", "zero_probability"
)
exponential_density = over_columns(lambda x, r: stats.expon.pdf(x, scale=1 / r), "rate")
beta_density = over_columns(stats.beta.pdf, "alpha", "beta")
von_mises_density = over_columns(lambda x, m, k: stats.vonmises.pdf(x, k, loc=m), "direction", "concentration")
degrees_density = over_columns(
    lambda x, m, k: np.pi / 180 * stats.vonmises.pdf(np.deg2rad(x), k, loc=np.deg2rad(m)), "direction", "concentration"
)
inverse_gaussian_density = over_columns(
    lambda x, m, shape: stats.invgauss.pdf(x, m / shape, scale=shape), "mean", "shape"
)


def censored_density(law: Callable[[Family, int], object]) -> Callable[[Family, np.ndarray, int], np.ndarray]:
    """Of a duration x0 and whether it ended in an event, x1: the density, or the probability of lasting longer."""

    def density(family: Family, x: np.ndarray, k: int) -> np.ndarray:
        frozen = law(family, k)
        return np.where(x[:, 1] == 1, frozen.pdf(x[:, 0]), frozen.sf(x[:, 0]))

    return density


COVARIANCES = {
    "full": [
        [[1.0, 0.3, 0.1], [0.3, 2.0, -0.5], [0.1, -0.5, 1.5]],
        [[2.0, -0.4, 0.0], [-0.4, 0.5, 0.1], [0.0, 0.1, 1.0]],
    ],
    "tied": [[[1.0, 0.3, 0.1], [0.3, 2.0, -0.5], [0.1, -0.5, 1.5]]] * 2,
    "diag": [np.diag([1.0, 2.0, 0.5]), np.diag([0.5, 0.3, 3.0])],
    "spherical": [0.7 * np.eye(3), 2.0 * np.eye(3)],
}

GAUSSIAN = {
    **COVARIANCES,
    **{  # two matrices that the structure allows, from two that it may not
        name: one.covariances(np.array(COVARIANCES["full"]) * np.array([50, 80])[:, None, None], np.array([50.0, 80.0]))
        for name, one in STRUCTURES.items()
    },
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
    Case("truncated-poisson-one-column", TruncatedPoisson([0.4, 6.0]), 1, truncated_poisson_mass),
    Case("truncated-poisson-columns", TruncatedPoisson([[1.3, 6.0], [4.0, 0.2]]), 2, truncated_poisson_mass),
    Case("zero-inflated-one-column", ZeroInflatedPoisson([1.5, 9.0], [0.5, 0.1]), 1, zero_inflated_mass),
    Case(
        "zero-inflated-columns",
        ZeroInflatedPoisson([[3.0, 2.0], [9.0, 0.8]], [[0.2, 0.6], [0.4, 0.3]]),
        2,
        zero_inflated_mass,
    ),
    Case("negative-binomial-one-column", NegativeBinomial([2.0, 30.0], [1.5, 8.0]), 1, negative_binomial_mass),
    Case(
        "negative-binomial-columns",
        NegativeBinomial([[2.0, 40.0], [9.0, 5.0]], [[0.7, 10.0], [4.0, 1.5]]),
        2,
        negative_binomial_mass,
    ),
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
            MultivariateNormal([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], covariance, structure=structure),
            3,
            multivariate_density,
            factorises=False,
        )
        for structure, covariance in GAUSSIAN.items()
    ),
    Case(
        "multivariate-normal-factors",
        MultivariateNormal(
            [[0.0, 1.0, 2.0, 0.0, 1.0], [3.0, -1.0, 0.5, 2.0, 0.0]],
            [
                np.outer(loadings, loadings) + np.diag([0.5, 1.5, 1.0, 0.7, 0.9])
                for loadings in ([0.8, 0.5, -0.6, 1.0, 0.7], [1.1, -0.4, 0.7, 0.9, -1.2])
            ],
            structure=FactorAnalytic(1),
        ),
        5,
        multivariate_density,
        factorises=False,
    ),
    Case(
        "student-t-one-column",
        StudentT([[-1.0], [6.0]], [[[0.5]], [[2.0]]], [3.0, 8.0]),
        1,
        student_density,
        factorises=False,
    ),
    *(
        Case(
            f"student-t-{structure}",
            StudentT([[0.0, 1.0, 2.0], [5.0, -3.0, 0.5]], COVARIANCES[structure], [3.0, 8.0], structure=structure),
            3,
            student_density,
            factorises=False,
        )
        for structure in SCALE_STRUCTURES
    ),
    Case("beta-one-column", Beta([2.0, 9.0], [5.0, 1.5]), 1, beta_density),
    Case("beta-columns", Beta([[2.0, 0.6], [9.0, 40.0]], [[5.0, 0.7], [1.5, 3.0]]), 2, beta_density),
    Case("von-mises-one-column", VonMises([0.2, 1.5], [2.0, 12.0]), 1, von_mises_density),
    Case("von-mises-columns", VonMises([[-0.5, 2.0], [1.0, 1.0]], [[2.0, 0.7], [12.0, 60.0]]), 2, von_mises_density),
    Case("von-mises-degrees", VonMises([20.0, 80.0], [2.0, 12.0], unit="degrees"), 1, degrees_density),
    Case("inverse-gaussian-one-column", InverseGaussian([1.0, 7.0], [3.0, 20.0]), 1, inverse_gaussian_density),
    Case(
        "inverse-gaussian-columns",
        InverseGaussian([[1.0, 300.0], [7.0, 90.0]], [[3.0, 100.0], [20.0, 900.0]]),
        2,
        inverse_gaussian_density,
    ),
    Case(
        "censored-exponential",
        CensoredExponential([0.2, 3.0], event="x1"),
        2,
        censored_density(lambda f, k: stats.expon(scale=1 / f.rate[k])),
        given=lambda rng, n: rng.exponential(3.0, size=(n, 1)),
        factorises=False,
    ),
    Case(
        "censored-weibull",
        CensoredWeibull([0.8, 3.0], [2.0, 9.0], event="x1"),
        2,
        censored_density(lambda f, k: stats.weibull_min(f.shape[k], scale=f.scale[k])),
        given=lambda rng, n: rng.exponential(15.0, size=(n, 1)),
        factorises=False,
    ),
    Case(
        "scipy-weibull-columns",
        ScipyDistribution("weibull_min", c=[[0.9, 2.0], [3.0, 1.2]], scale=[[2.0, 30.0], [9.0, 5.0]]),
        2,
        over_columns(lambda x, c, s: stats.weibull_min.pdf(x, c, scale=s), "c", "scale"),
    ),
    Case(
        "scipy-t-held",
        ScipyDistribution("t", df=4, loc=[-1.0, 6.0], scale=[0.7, 2.0]),
        1,
        over_columns(lambda x, m, s: stats.t.pdf(x, 4, m, s), "loc", "scale"),
    ),
    Case(
        "scipy-poisson",
        ScipyDistribution("poisson", mu=[1.5, 9.0]),
        1,
        over_columns(stats.poisson.pmf, "mu"),
    ),
]

LAWS: dict[str, list[Case]] = {}


def law(cases: list[Case]):
    """Run a test on each of these cases, and note that it does."""

    def register(test):
        LAWS[test.__name__] = cases
        return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)(test)

    return register


TWO_PARAMETERS = [case for case in CASES if len(case.family.spaces) == 2 and case.family.is_linear(is_complete=True)]
FACTORISED = [case for case in CASES if case.factorises]
ALL_OR_NOTHING = [case for case in CASES if case.family.support.missing_is_joint]
COMPLETING = [case for case in CASES if case.family.groups_by_pattern]
"""A missing cell is not left out but expected, given the others of its row."""
LINEAR = [case for case in CASES if case.family.is_linear(is_complete=True)]
WITH_MEAN = [case for case in TWO_PARAMETERS if any("variance" in name for name in case.family.spaces)]


# -- helpers ---------------------------------------------------------------------------------------------------------


def soft_responsibilities(K: int, n: int, seed: int = 1) -> np.ndarray:
    """(K, n), columns sum to 1, none negligible."""
    return np.random.default_rng(seed).dirichlet(np.full(K, 0.7), size=n).T


def expected_under(case: Case, x: np.ndarray, seed: int = 1) -> tuple[Family, np.ndarray, np.ndarray]:
    """The family bound to x, expected statistics (K, D) of soft responsibilities, and these (K, n)."""
    family = case.bound(x)
    resp = soft_responsibilities(family.n_components, len(x), seed)
    return family, family.accumulate(x, resp), resp


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
