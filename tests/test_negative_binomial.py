"""Negative binomial components: densities, sizes, fits against direct maximisation, the Poisson limit, wide counts."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log

import numpy as np
import pytest
from cases import negative_binomial_mass, soft_responsibilities
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

import emix
from emix import Chunk, DataError, DegenerateError, FitError, Mixture, ModelError, NegativeBinomial
from emix.block import Schema
from emix.data.summary import summarize
from emix.errors import RootNotFoundError
from emix.families import negative_binomial
from emix.families.negative_binomial import FIRST_SIZE, MOST, digamma_rise, log_mass

TO_THE_END = {"tol": 1e-10, "max_iter": 100_000}
MITES = np.repeat(np.arange(8.0), [70, 38, 17, 10, 9, 3, 2, 1])
"""European red mites on 150 apple leaves: Bliss & Fisher (1953), Biometrics 9, 176-200, table 1."""


def two_groups(n: int = 1500, seed: int = 3) -> np.ndarray:
    family = NegativeBinomial([2.0, 30.0], [3.0, 6.0])
    return emix.sample(Mixture(family, mixing_proportions=[0.4, 0.6]), n, random_state=seed)[0]


def bound(x: np.ndarray) -> tuple[NegativeBinomial, np.ndarray]:
    """A specification bound to one column, and that column as cells (n, 1)."""
    cells = x[:, None]
    return NegativeBinomial().bind(Schema(("x0",), (None,)), summarize(cells, np.ones(len(x)))), cells


def log_likelihood(x: np.ndarray, weight: np.ndarray, mean: float, size: float) -> float:
    return float(weight @ stats.nbinom.logpmf(x, size, size / (size + mean)))


def best_size(x: np.ndarray, weight: np.ndarray, mean: float) -> float:
    """By bounded search in log size, from the best of a grid: SciPy's density, no derivative."""
    grid = np.linspace(-8, 10, 181)
    start = grid[np.argmax([log_likelihood(x, weight, mean, np.exp(t)) for t in grid])]
    found = optimize.minimize_scalar(
        lambda t: -log_likelihood(x, weight, mean, np.exp(t)),
        bounds=(start - 0.1, start + 0.1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(np.exp(found.x))


# -- the density -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 19, 20, 21, 400, 10**6, 10**9])
@pytest.mark.parametrize("mean", [Fraction(1, 1000), Fraction(7, 3), Fraction(250)])
def test_density_is_that_of_rational_arithmetic(size, mean):
    """P(x) = C(x + size - 1, x) (size / (size + mean))^size (mean / (size + mean))^x; log1p for the long power."""
    for x in (0, 1, 2, 19, 20, 150, 700):
        power = -size * float(np.log1p(np.longdouble(float(mean)) / size))
        counted = comb(x + size - 1, x) * (mean / (size + mean)) ** x
        exact = power + log(counted.numerator) - log(counted.denominator)
        found = float(log_mass(np.array(float(x)), np.array(float(mean)), np.array(float(size))))
        assert_allclose(found, exact, rtol=2e-13, atol=1e-13)


def test_density_at_a_huge_size_is_that_of_the_poisson():
    x = np.arange(300.0)
    for mean in (0.3, 20.0, 250.0):
        found = log_mass(x, np.array(mean), np.array(1e15))
        assert_allclose(found, stats.poisson.logpmf(x, mean), rtol=1e-9, atol=1e-12)


def test_density_is_finite_at_the_ends_of_its_parameters():
    x = np.array([0.0, 1.0, 5.0, 1e4, 1e15])
    for mean in (1e-300, 1e-17, 1.0, 1e18):
        for size in (1e-8, 1.0, 1e20):
            found = log_mass(x, np.array(mean), np.array(size))
            assert np.isfinite(found).all()
            assert (found <= 1e-15).all()
    # of size 1 it is geometric: P(x) = p (1 - p)^x, whose exponent here is lost in 1 - 1e-18
    assert_allclose(log_mass(x, np.array(1e18), np.array(1.0))[:4], np.log(1e-18) - 1e-18 * x[:4], rtol=1e-14)
    assert_allclose(log_mass(x, np.array(1e-17), np.array(1.0))[1:3], [np.log(1e-17), 5 * np.log(1e-17)], rtol=1e-14)


def test_the_rise_of_digamma_keeps_its_digits():
    """Summed term by term: digamma(x + s) - digamma(s) = sum of 1 / (s + j), j < x, in extended precision."""
    for s in (1e-6, 0.4, 3.0, 19.99, 20.0, 55.0, 1e4, 1e9):
        for x in (0, 1, 2, 30, 4000):
            large = np.longdouble(s)
            terms = (1 / (large + np.arange(x))).sum() if s < 1e4 else None
            exact = (
                float(terms - np.log1p(x / large))
                if terms is not None
                else float(x / (2 * large * (large + x)) + (1 / large**2 - 1 / (large + x) ** 2) / 12)
            )
            found = float(digamma_rise(np.array(s), np.array(float(x))))
            assert_allclose(found, exact, rtol=3e-12 if s < 20 else 3e-14, atol=5e-16)


# -- the M-step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_size_is_that_of_direct_maximisation(seed):
    rng = np.random.default_rng(seed)
    x = rng.negative_binomial(1.7, 0.2, size=400).astype(float)
    resp = soft_responsibilities(2, 400, seed)
    family, cells = bound(x)
    fitted = family.maximize(family.accumulate(cells, resp))
    for k in range(2):
        mean = resp[k] @ x / resp[k].sum()
        assert_allclose(fitted.mean[k], mean, rtol=1e-14)
        assert_allclose(fitted.size[k], best_size(x, resp[k], mean), rtol=2e-6)
    held = NegativeBinomial([9.0, 2.0], None, fixed=frozenset({"mean"}), binding=family.binding)
    fitted = held.maximize(family.accumulate(cells, resp))
    assert_array_equal(fitted.mean, [9.0, 2.0])
    for k in range(2):
        assert_allclose(fitted.size[k], best_size(x, resp[k], held.mean[k]), rtol=2e-6)


@pytest.mark.parametrize(("size", "rtol"), [(0.05, 1e-11), (2.0, 1e-11), (300.0, 1e-11), (1e4, 1e-9), (4e6, 1e-6)])
def test_the_maximum_on_a_distribution_itself_is_its_own_size(size, rtol):
    """Weights P(x) of mean 4, by their recursion in extended precision; at 4e6 the variance is 1.000001 x the mean."""
    s, m, x = np.longdouble(size), np.longdouble(4), np.arange(9_000)
    ratios = (x[:-1] + s) / (x[:-1] + 1) * (m / (m + s))
    mass = np.concatenate([[np.longdouble(1)], np.cumprod(ratios)])
    family, cells = bound(x.astype(float))
    fitted = family.maximize(family.accumulate(cells, (mass / mass.sum()).astype(float)[None]))
    assert_allclose(fitted.mean, [4.0], rtol=1e-14)
    assert_allclose(fitted.size, [size], rtol=rtol)


def test_without_overdispersion_the_size_is_at_its_bound():
    x = np.random.default_rng(0).binomial(20, 0.7, size=500).astype(float)
    result = emix.fit(Mixture(NegativeBinomial(), 1), x)
    assert_array_equal(result.model.family.size, MOST * x.max())
    assert_allclose(result.model.family.mean, x.mean(), rtol=1e-14)
    lost = stats.poisson.logpmf(x, x.mean()).sum() - result.log_likelihood
    assert 0 < lost < 1e-3
    held = emix.fit(Mixture(NegativeBinomial([x.mean()], [1e12]), 1), x, stop="iterations", max_iter=3)
    assert_array_equal(held.model.family.size, 1e12)  # the bound gives way to the start, or the step would lose


def test_a_size_that_is_held_may_be_any():
    model = Mixture(NegativeBinomial([1.0], [1e-12]), fixed={"size"})
    assert_array_equal(emix.fit(model, MITES).model.family.size, [1e-12])


def test_a_component_of_zeros_alone_is_possible():
    for start in (NegativeBinomial(), NegativeBinomial([2.0], [3.0])):
        result = emix.fit(Mixture(start, 1), np.zeros(20), stop="iterations", max_iter=4)
        assert result.log_likelihood == 0.0
        assert_array_equal(result.model.family.mean, [0.0])
        assert np.isfinite(result.model.family.size).all()
    assert_array_equal(result.model.family.size, [3.0])  # nothing contradicts what it was
    with pytest.raises(DataError, match="probability 0"):
        emix.e_step(result.model, [0.0, 1.0])
    assert_array_equal(emix.score_samples(result.model, [0.0, 1.0]), [0.0, -np.inf])


def test_an_unconverged_size_is_never_returned(monkeypatch):
    monkeypatch.setattr(negative_binomial, "MAX_NEWTON", 2)
    with pytest.raises(RootNotFoundError, match="did not converge in 2 safeguarded Newton steps") as caught:
        emix.fit(Mixture(NegativeBinomial(), 1), MITES)
    assert isinstance(caught.value, FitError)


# -- fits ------------------------------------------------------------------------------------------------------------


def test_mites_of_bliss_and_fisher_1953():
    """Biometrics 9, 176-200: mean 1.1467 and k = 1.02459, by maximum likelihood."""
    family = emix.fit(Mixture(NegativeBinomial(), 1), MITES, **TO_THE_END).model.family
    assert_allclose(family.mean, [1.1467], atol=5e-5)
    assert_allclose(family.size, [1.02459], atol=5e-6)


def test_fit_of_publications_is_the_direct_maximum(reference):
    x = reference.read("bioChemists.csv")["art"]
    result = emix.fit(Mixture(NegativeBinomial(), 1), x, **TO_THE_END)
    size = best_size(x, np.ones(len(x)), x.mean())
    assert_allclose(result.log_likelihood, log_likelihood(x, np.ones(len(x)), x.mean(), size), rtol=0, atol=1e-8)
    assert_allclose(result.model.family.size, [size], rtol=1e-6)
    again = emix.e_step(result.model, x).log_likelihood
    assert_allclose(again, result.log_likelihood, rtol=1e-14)


def mixture_log_likelihood(vector: np.ndarray, x: np.ndarray) -> float:
    """Of (logit of the first proportion, log means, log sizes), by SciPy's density."""
    p = 1 / (1 + np.exp(-vector[0]))
    m, s = np.exp(vector[1:3]), np.exp(vector[3:5])
    joint = [np.log(q) + stats.nbinom.logpmf(x, s[k], s[k] / (s[k] + m[k])) for k, q in enumerate((p, 1 - p))]
    return float(np.logaddexp(*joint).sum())


@pytest.mark.parametrize("accelerate", [False, True])
def test_fit_of_a_mixture_is_the_direct_maximum(accelerate):
    x = two_groups()
    result = emix.fit(Mixture(NegativeBinomial(), 2), x, accelerate=accelerate, random_state=0, **TO_THE_END)
    assert result.converged
    start = np.array([0.0, np.log(2), np.log(30), 0.0, 0.0])
    best = optimize.minimize(lambda v: -mixture_log_likelihood(v, x[:, 0]), start, method="BFGS")
    assert_allclose(result.log_likelihood, -best.fun, rtol=0, atol=1e-6)
    order = np.argsort(result.model.family.mean)
    family = result.model.family
    assert_allclose(family.mean[order], np.exp(best.x[1:3]), rtol=1e-4)
    assert_allclose(family.size[order], np.exp(best.x[3:5]), rtol=1e-3)
    assert_allclose(result.model.mixing_proportions[order][0], 1 / (1 + np.exp(-best.x[0])), rtol=1e-4)


def test_weights_and_missing_cells_are_those_of_the_rows_that_are_there():
    x = np.random.default_rng(1).negative_binomial(2.0, 0.3, size=(200, 2)).astype(float)
    weight = np.random.default_rng(2).uniform(0.2, 3.0, size=200)
    holed = x.copy()
    holed[::3, 1] = np.nan
    family = emix.fit(Mixture(NegativeBinomial(), 1), holed, sample_weight=weight, **TO_THE_END).model.family
    for j, rows in ((0, slice(None)), (1, ~np.isnan(holed[:, 1]))):
        mean = np.average(x[rows, j], weights=weight[rows])
        assert_allclose(family.mean[0, j], mean, rtol=1e-12)
        assert_allclose(family.size[0, j], best_size(x[rows, j], weight[rows], mean), rtol=2e-6)


# -- counts beyond the histogram -------------------------------------------------------------------------------------


def test_a_wide_range_of_counts_leads_to_the_direct_maximum():
    """Up to a million: a tenth of the rows is in the histogram, of the others the tangents gain step by step."""
    x = np.rint(np.random.default_rng(0).gamma(0.5, 2e5, size=2000))
    assert x.max() > 1e6
    result = emix.fit(Mixture(NegativeBinomial(), 1), x, **TO_THE_END)
    assert result.model.family.binding.scale == negative_binomial.VALUES
    # SciPy's density is 6e-11 off per row here: sums of logarithms in extended precision are not
    steps, mean = np.arange(1, int(x.max()) + 1).astype(np.longdouble), np.longdouble(x.mean())

    def exact(log_size: float) -> float:
        s = np.exp(np.longdouble(log_size))
        rises = np.concatenate([[0], np.cumsum(np.log1p((s - 1) / steps))])[x.astype(int)]
        return float((rises - s * np.log1p(mean / s) - x * np.log1p(s / mean)).sum())

    best = optimize.minimize_scalar(
        lambda t: -exact(t), bounds=(-1.0, 0.0), method="bounded", options={"xatol": 1e-9, "maxiter": 60}
    )
    assert_allclose(result.log_likelihood, -best.fun, rtol=0, atol=2e-9)
    assert_allclose(result.log_likelihood, exact(np.log(result.model.family.size[0])), rtol=1e-15)
    assert_allclose(result.model.family.size, [np.exp(best.x)], rtol=1e-5)


def test_what_is_beyond_the_histogram_does_not_change_the_optimum(monkeypatch):
    x = two_groups()
    start = Mixture(NegativeBinomial([3.0, 20.0], [1.0, 1.0]))
    wanted = emix.fit(start, x, start=start, **TO_THE_END)
    monkeypatch.setattr(negative_binomial, "VALUES", 6)
    found = emix.fit(start, x, start=start, **TO_THE_END)
    assert found.model.family.coefficients().shape == (2, 6 + 3)
    assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=0, atol=1e-8)
    assert_allclose(found.model.family.mean, wanted.model.family.mean, rtol=1e-5)
    assert_allclose(found.model.family.size, wanted.model.family.size, rtol=1e-4)
    assert (np.diff([record.log_likelihood for record in found.history]) > -1e-9).all()


def test_the_m_step_beyond_the_histogram_maximises_the_tangents():
    """Log Gamma(x + size) in place of its tangent has the same value at the present size, and is nowhere less."""
    x = two_groups(400)
    rows = Chunk(x, np.ones(400))
    whole = Mixture(NegativeBinomial([3.0, 20.0], [1.0, 2.0])).bind(
        Schema(("x0",), (None,)), summarize(x, np.ones(400))
    )
    low = x[x < 5][:, None]
    part = whole.bind(Schema(("x0",), (None,)), summarize(low, np.ones(len(low))))
    exact, tangent = whole.expect(rows).statistics[:, 1:], part.expect(rows).statistics[:, 1:]

    def gain(family: NegativeBinomial, statistics: np.ndarray, before: NegativeBinomial) -> float:
        return float(((family.coefficients() - before.coefficients()) * statistics).sum())

    fitted = part.family.maximize(tangent)
    best = gain(fitted, tangent, part.family)
    assert best > 0
    assert gain(whole.family.from_vector(fitted.to_vector()), exact, whole.family) >= best - 1e-9
    rng = np.random.default_rng(0)
    for length in np.repeat([1e-3, 0.03, 0.5], 20):
        near = fitted.from_vector(fitted.to_vector() + length * rng.standard_normal(4))
        assert gain(near, tangent, part.family) < best


def test_rows_that_come_later_may_have_larger_counts():
    x = two_groups()
    model = emix.fit(Mixture(NegativeBinomial(), 2), x, random_state=0).model
    later = np.array([0.0, 3.0, x.max() + 1, 5_000.0, 1e7])
    joint = [
        p * negative_binomial_mass(model.family, later[:, None], k) for k, p in enumerate(model.mixing_proportions)
    ]
    seen = np.sum(joint, axis=0) > 0
    assert seen.sum() >= 3
    assert_allclose(emix.score_samples(model, later)[seen], np.log(np.sum(joint, axis=0)[seen]), rtol=1e-10)
    assert np.isfinite(emix.score_samples(model, later)).all()
    step = emix.e_step(model, later[:4])
    assert_allclose(step.expected_statistics[:, 1:-3].sum() + step.expected_statistics[:, -1].sum(), 4.0, rtol=1e-12)
    after = step.maximize()
    assert emix.e_step(after, later[:4]).log_likelihood > step.log_likelihood
    counts = step.expected_statistics[:, 0]
    assert_allclose(after.family.mean, step.responsibilities.T @ later[:4] / counts, rtol=1e-12)


def test_a_cell_beyond_the_histogram_starts_from_the_first_size():
    family, _ = bound(np.array([1.0, 4.0]))
    T = family.statistics(np.array([[3.0], [0.0], [9.0], [np.nan]]))
    digammas = [-np.euler_gamma, -np.euler_gamma + (1 / np.arange(1, 10)).sum()]
    assert FIRST_SIZE == 1.0
    assert_allclose(
        T.T, [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, digammas[0], 1], [0] * 4 + [9, digammas[1], 1], [0] * 7]
    )
    assert family.statistic_names[0] == "x0 = 1"
    assert family.statistic_names[-3:] == (
        "sum of x0 beyond 4",
        "sum of digamma of x0 beyond 4",
        "rows with x0 beyond 4",
    )


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [-1.0, 2.5])
def test_other_cells_are_refused(cell):
    with pytest.raises(DataError, match=r"'negative_binomial' needs whole numbers >= 0"):
        emix.fit(Mixture(NegativeBinomial(), 1), [1.0, cell, 3.0])


def test_parameters_that_cannot_be_are_refused():
    with pytest.raises(ModelError, match="size needs positive finite numbers"):
        NegativeBinomial([1.0], [0.0])
    with pytest.raises(ModelError, match="mean needs finite numbers >= 0"):
        NegativeBinomial([-1.0], [1.0])
    with pytest.raises(ModelError, match=r"mean needs the shape \(K, 2\) for 2 columns"):
        emix.fit(Mixture(NegativeBinomial([1.0, 2.0], [1.0, 2.0])), np.ones((5, 2)))
    with pytest.raises(ModelError, match="not bound to data"):
        NegativeBinomial([1.0], [1.0]).coefficients()


def test_sums_that_no_rows_can_have_are_refused():
    """An extrapolated histogram may have a negative mean: a leap from there is given up, not believed."""
    family, cells = bound(MITES)
    expected = family.accumulate(cells, np.ones((1, len(cells))))
    expected[0, :8] = [200, 0, 0, 0, 0, 0, 0, -30]
    with pytest.raises(ModelError, match="mean needs finite numbers >= 0"):
        family.maximize(expected)
    with pytest.raises(DegenerateError):
        family.maximize(0 * expected)
