"""Counts with too many zeros, or none: zero-inflated and zero-truncated Poisson components."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from cases import soft_responsibilities, truncated_poisson_mass, zero_inflated_mass
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

import emix
from emix import DataError, DegenerateError, FitError, Mixture, Poisson, TruncatedPoisson, ZeroInflatedPoisson
from emix.block import Schema
from emix.data.summary import summarize
from emix.errors import RootNotFoundError
from emix.families import Family, truncated_poisson, zero_inflated_poisson
from emix.families.truncated_poisson import mean_excess, rate_from_excess
from emix.families.zero_inflated_poisson import rate_beside

TO_THE_END = {"tol": 1e-10, "max_iter": 100_000}


def bound(family: Family, x: np.ndarray) -> tuple[Family, np.ndarray]:
    """A family bound to one column, and that column as cells (n, 1)."""
    cells = x[:, None].astype(float)
    return family.bind(Schema(("x0",), (None,)), summarize(cells, np.ones(len(x)))), cells


# -- zero-truncated: the rate ----------------------------------------------------------------------------------------


def test_the_rate_is_the_root():
    """Back into rate / (1 - exp(-rate)) - 1, in 60 digits, over all means that a computer can hold."""
    excess = np.logspace(-300, 17, 1001)
    rate = rate_from_excess(excess)
    with localcontext() as context:
        context.prec = 60
        for wanted, found in zip(excess, rate, strict=True):
            r = Decimal(float(found))
            value = r / (1 - (-r).exp()) - 1 if r > Decimal("1e-20") else r / 2
            assert_allclose(float(value), wanted, rtol=3e-15)


def test_the_mean_excess_is_exact_also_where_its_branches_meet():
    rate = np.concatenate(
        [np.logspace(-12, 2.8, 300), [9.999e-6, 1e-5, 1.0001e-5, 0.29999, 0.3, 0.30001, 699.0, 710.0]]
    )
    with localcontext() as context:
        context.prec = 60
        exact = [float(Decimal(float(r)) / (1 - (-Decimal(float(r))).exp()) - 1) for r in rate]
    assert_allclose(mean_excess(rate), exact, rtol=2e-15)


def test_counts_of_1_alone_have_a_rate_of_0():
    result = emix.fit(Mixture(TruncatedPoisson(), 1), np.ones(30))
    assert_array_equal(result.model.family.rate, [0.0])
    assert result.log_likelihood == 0.0
    assert_array_equal(emix.score_samples(result.model, [1.0, 2.0]), [0.0, -np.inf])
    assert_array_equal(emix.sample(result.model, 50, random_state=0)[0], 1.0)


def test_an_unconverged_rate_is_never_returned(monkeypatch):
    exact = rate_from_excess(np.array([0.5]))
    monkeypatch.setattr(truncated_poisson, "MAX_NEWTON", 1)
    with pytest.raises(RootNotFoundError, match=r"did not converge in 1 safeguarded Newton steps.*0\.5") as caught:
        rate_from_excess(np.array([0.5]))
    assert isinstance(caught.value, FitError)
    monkeypatch.setattr(truncated_poisson, "MAX_NEWTON", 8)
    assert_array_equal(rate_from_excess(np.array([0.5])), exact)


def test_truncated_fit_of_publications_is_the_direct_maximum(reference):
    art = reference.read("bioChemists.csv")["art"]
    x = art[art > 0]
    result = emix.fit(Mixture(TruncatedPoisson(), 1), x)

    def minus(rate):
        return -(stats.poisson.logpmf(x, rate) - stats.poisson.logsf(0, rate)).sum()

    best = optimize.minimize_scalar(minus, bounds=(0.1, 9.0), method="bounded", options={"xatol": 1e-10})
    assert_allclose(result.log_likelihood, -best.fun, rtol=1e-13)
    assert_allclose(result.model.family.rate, [best.x], rtol=1e-6)
    # counts above 0 of a zero-inflated Poisson are truncated: its rate, from R's pscl, is theirs
    wanted, tolerance = reference.case("zip_bio")
    assert_allclose(result.model.family.rate, [wanted["lam"]], rtol=0, atol=tolerance["param"])


def test_truncated_mixture_is_the_direct_maximum():
    model = Mixture(TruncatedPoisson([0.8, 7.0]), mixing_proportions=[0.5, 0.5])
    x, _ = emix.sample(model, 1000, random_state=3)
    result = emix.fit(Mixture(TruncatedPoisson(), 2), x, random_state=0, **TO_THE_END)

    def minus(vector):
        p, family = 1 / (1 + np.exp(-vector[0])), TruncatedPoisson(np.exp(vector[1:]))
        joint = [q * truncated_poisson_mass(family, x, k) for k, q in enumerate((p, 1 - p))]
        return -np.log(sum(joint)).sum()

    best = optimize.minimize(minus, [0.0, 0.0, 2.0], method="BFGS")
    order = np.argsort(result.model.family.rate)
    assert_allclose(result.log_likelihood, -best.fun, rtol=0, atol=1e-6)
    assert_allclose(result.model.family.rate[order], np.exp(best.x[1:]), rtol=1e-4)


@pytest.mark.parametrize("cell", [0.0, -1.0, 1.5])
def test_truncated_counts_begin_at_1(cell):
    with pytest.raises(DataError, match=r"'truncated_poisson' needs whole numbers >= 1.\n.*row 1, column"):
        emix.fit(Mixture(TruncatedPoisson(), 1), [1.0, cell, 3.0])


# -- zero-inflated ---------------------------------------------------------------------------------------------------


def test_zero_inflated_fit_of_publications_is_that_of_pscl(reference):
    """R's pscl 1.5.5, zeroinfl(art ~ 1 | 1); no iteration is needed: one component is in closed form but for a root."""
    x = reference.read("bioChemists.csv")["art"]
    wanted, tolerance = reference.case("zip_bio")
    result = emix.fit(Mixture(ZeroInflatedPoisson(), 1), x, tol=1e-10)
    family = result.model.family
    assert len(x) == wanted["n"]
    assert_allclose(family.zero_probability, [wanted["pi_zero"]], rtol=0, atol=tolerance["param"])
    assert_allclose(family.rate, [wanted["lam"]], rtol=0, atol=tolerance["param"])
    assert_allclose(result.log_likelihood, wanted["loglik"], rtol=0, atol=tolerance["loglik"])


def test_without_too_many_zeros_it_is_the_poisson():
    x = np.random.default_rng(0).binomial(8, 0.5, size=400).astype(float)
    wanted = emix.fit(Mixture(Poisson(), 1), x)
    result = emix.fit(Mixture(ZeroInflatedPoisson(), 1), x)
    assert_array_equal(result.model.family.zero_probability, [0.0])
    assert_allclose(result.model.family.rate, wanted.model.family.rate, rtol=1e-14)
    assert_allclose(result.log_likelihood, wanted.log_likelihood, rtol=1e-13)


def best_of(minus, bounds: tuple[float, float]) -> tuple[float, float]:
    """Where a function of one number is least: the best of 2,000 points, then a bounded search about it."""
    grid = np.linspace(*bounds, 2001)
    start, step = grid[np.argmin([minus(t) for t in grid])], grid[1] - grid[0]
    near = max(start - step, bounds[0]), min(start + step, bounds[1])
    found = optimize.minimize_scalar(minus, bounds=near, method="bounded", options={"xatol": 1e-12})
    return float(found.x), float(found.fun)


@pytest.mark.parametrize("seed", range(5))
def test_the_m_step_is_that_of_direct_maximisation(seed):
    rng = np.random.default_rng(seed)
    x = rng.poisson(rng.uniform(0.3, 5), size=300) * (rng.random(300) < rng.uniform(0.3, 1.0))
    resp = soft_responsibilities(2, 300, seed)
    family, cells = bound(ZeroInflatedPoisson([2.0, 0.7], [0.6, 0.15]), x)
    expected = family.accumulate(cells, resp)

    def minus(k: int, rate: float, z: float) -> float:
        with np.errstate(divide="ignore"):
            return -float(resp[k] @ np.log(z * (x == 0) + (1 - z) * stats.poisson.pmf(x, rate)))

    free = family.maximize(expected)
    of_rate = family.with_fixed(frozenset({"zero_probability"})).maximize(expected)
    of_zeros = family.with_fixed(frozenset({"rate"})).maximize(expected)
    for k in range(2):
        profile = [best_of(lambda r, k=k, z=z: minus(k, r, z), (0.01, 12.0))[1] for z in np.linspace(0, 0.9, 10)]
        reached = minus(k, free.rate[k], free.zero_probability[k])
        assert reached <= min(profile) + 1e-9
        for axis in (1e-4, -1e-4):
            assert reached <= minus(k, free.rate[k] + axis, free.zero_probability[k])
            if free.zero_probability[k] + axis >= 0:
                assert reached <= minus(k, free.rate[k], free.zero_probability[k] + axis)
        rate, lowest = best_of(lambda r, k=k: minus(k, r, family.zero_probability[k]), (0.01, 12.0))
        assert_allclose(of_rate.rate[k], rate, rtol=1e-6)
        assert minus(k, of_rate.rate[k], family.zero_probability[k]) <= lowest + 1e-9
        z, lowest = best_of(lambda z, k=k: minus(k, family.rate[k], z), (0.0, 1.0))
        assert_allclose(of_zeros.zero_probability[k], z, rtol=1e-5, atol=1e-6)
        assert minus(k, family.rate[k], of_zeros.zero_probability[k]) <= lowest + 1e-9


@pytest.mark.parametrize(("z", "low"), [(0.02, True), (0.1, False)])
def test_of_two_maxima_of_the_rate_the_higher_is_taken(z, low):
    """1,000 zeros and 60 counts of 20: rates of about 1.2 and 20 are both maxima beside a fixed share of zeros."""
    zeros, positive, total = 1000.0, 60.0, 1200.0

    def minus(t):
        rate = np.exp(t)
        return -(zeros * np.log(z + (1 - z) * np.exp(-rate)) + total * t - positive * rate)

    grid = np.linspace(np.log(1.0), np.log(21.0), 20_001)
    heights = np.array([minus(t) for t in grid])
    minima = grid[1:-1][(heights[1:-1] < heights[:-2]) & (heights[1:-1] < heights[2:])]
    assert len(minima) == 2
    one = np.ones((1, 1))
    found = rate_beside(z * one, zeros * one, positive * one, total * one)
    assert_allclose(np.log(found), [[minima[0 if low else 1]]], atol=4e-4)
    assert minus(np.log(found[0, 0])) <= heights.min() + 1e-9


def test_an_unconverged_rate_beside_fixed_zeros_is_never_returned(monkeypatch):
    monkeypatch.setattr(zero_inflated_poisson, "MAX_NEWTON", 1)
    one = np.ones((1, 1))
    with pytest.raises(RootNotFoundError, match="did not converge in 1 safeguarded Newton steps"):
        rate_beside(0.3 * one, 10 * one, 12 * one, 40 * one)


def test_the_ends_of_the_parameters():
    x = np.array([0, 0, 0, 2, 5])
    family, cells = bound(ZeroInflatedPoisson([3.0, 0.0, 3.0], [1.0, 0.4, 0.0]), x)
    density = np.exp(family.log_prob(cells) + family.log_base_measure(cells))
    poisson = stats.poisson.pmf(x, 3.0)
    assert_allclose(density, [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], poisson], rtol=1e-14)
    step = emix.e_step(Mixture(family, mixing_proportions=[0.2, 0.3, 0.5]), x)
    joint = np.array([0.2, 0.3, 0.5])[:, None] * density
    assert_allclose(step.responsibilities, (joint / joint.sum(axis=0)).T, rtol=1e-12)


def test_zeros_alone_are_a_poisson_of_rate_0():
    """Whether they are structural nothing tells; what is held fixed stays, and what is free is possible."""
    for fixed, rate, z in ((frozenset(), 0.0, 0.0), ({"rate"}, 2.0, 1.0), ({"zero_probability"}, 0.0, 0.3)):
        model = Mixture(ZeroInflatedPoisson([2.0], [0.3]), fixed=fixed)
        result = emix.fit(model, np.zeros(20), stop="iterations", max_iter=2)
        assert_array_equal(result.model.family.rate, [rate])
        assert_array_equal(result.model.family.zero_probability, [z])
        assert result.log_likelihood == 0.0
    held = Mixture(ZeroInflatedPoisson([0.0], [0.3]), fixed={"rate"})  # every zero_probability is as good
    assert_array_equal(emix.fit(held, np.zeros(20)).model.family.zero_probability, [0.3])


def test_positive_counts_alone_beside_fixed_parameters():
    x = np.array([1.0, 2.0, 6.0])
    free = emix.fit(Mixture(ZeroInflatedPoisson([2.0], [0.3]), fixed={"zero_probability"}), x).model.family
    assert_allclose(free.rate, [3.0], rtol=1e-12)
    free = emix.fit(Mixture(ZeroInflatedPoisson([2.0], [0.3]), fixed={"rate"}), x).model.family
    assert_array_equal(free.zero_probability, [0.0])


@pytest.mark.parametrize("accelerate", [False, True])
def test_zero_inflated_mixture_is_the_direct_maximum(accelerate):
    """Two columns: the structural zeros of one component would be confused with the low rate of the other in one."""
    truth = ZeroInflatedPoisson([[2.0, 3.0], [9.0, 6.0]], [[0.3, 0.5], [0.2, 0.1]])
    x, _ = emix.sample(Mixture(truth, mixing_proportions=[0.4, 0.6]), 800, random_state=1)
    result = emix.fit(Mixture(ZeroInflatedPoisson(), 2), x, accelerate=accelerate, random_state=0, **TO_THE_END)

    def family_of(vector):
        rate, z = np.exp(vector[1:5]), 1 / (1 + np.exp(-vector[5:]))
        return ZeroInflatedPoisson(rate.reshape(2, 2), z.reshape(2, 2))

    def minus(vector):
        p, family = 1 / (1 + np.exp(-vector[0])), family_of(vector)
        joint = [q * zero_inflated_mass(family, x, k) for k, q in enumerate((p, 1 - p))]
        return -np.log(sum(joint)).sum()

    best = optimize.minimize(minus, [0.0, *np.log([2, 3, 9, 6]), -1.0, 0.0, -1.0, -2.0], method="BFGS")
    order, wanted = np.argsort(result.model.family.rate[:, 0]), family_of(best.x)
    assert_allclose(result.log_likelihood, -best.fun, rtol=0, atol=1e-6)
    assert_allclose(result.model.family.rate[order], wanted.rate, rtol=1e-4)
    assert_allclose(result.model.family.zero_probability[order], wanted.zero_probability, atol=1e-4)


@pytest.mark.parametrize("family", [ZeroInflatedPoisson(), TruncatedPoisson()])
def test_an_empty_component_is_named(family):
    bound_family, cells = bound(family, np.array([1.0, 2.0, 3.0]))
    expected = bound_family.accumulate(cells, np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(DegenerateError) as caught:
        bound_family.maximize(expected)
    assert caught.value.component == 1
