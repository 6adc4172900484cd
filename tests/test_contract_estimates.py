"""The contract of a family, continued: the M-step, the vector form, sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import (
    CASES,
    LINEAR,
    TWO_PARAMETERS,
    WITH_MEAN,
    assert_same_parameters,
    columns_of,
    expected_under,
    law,
    objective,
    proportions,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import (
    DegenerateError,
    LogNormal,
    Mixture,
    MultivariateNormal,
    Normal,
)
from emix.families import Family
from emix.families.structures import structure

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


@law(LINEAR)
def test_no_neighbour_of_maximize_scores_better(case):
    x, _ = case.draw(400)
    family, expected, _ = expected_under(case, x)
    assert_is_maximum(family.maximize(expected), expected)


@law(LINEAR)
def test_no_neighbour_of_maximize_scores_better_with_missing_cells(case):
    x, _ = case.draw(400)
    x = np.where(np.random.default_rng(5).random(x.shape) > 0.2, x, np.nan)
    family, expected, _ = expected_under(case, x)
    assert_is_maximum(family.maximize(expected), expected)


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
        wanted = structure(family.structure).covariances(scatter, counts)
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
            if name in ("covariance", "scale") and value.ndim == 3:
                d = value.shape[1]
                i, j = np.triu_indices(d) if structure(family.structure).has_products else (np.arange(d), np.arange(d))
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
            if getattr(value, "ndim", 0) == 3 and structure(family.structure).name not in ("VII", "VVI", "VVV"):
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
        # factors are found again in the covariance, near a uniqueness of 0 to the root of the solver's precision
        atol = 2e-5 if "factor" in case.id else 1e-14
        assert_same_parameters(held.from_vector(vector), family, rtol=1e-12, atol=atol)
        moved = vector + np.linspace(-0.3, 0.4, len(vector))
        again = held.from_vector(moved)  # an orientation has several coordinates, so it is parameters that come back
        assert_same_parameters(again.from_vector(again.to_vector()), again, rtol=1e-9, atol=1e-9)
        if len(vector):
            assert not np.allclose(again.to_vector(), vector, rtol=1e-9, atol=0)
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
    "student-t-one-column": 2 + 2 + 2,
    "student-t-full": 6 + 12 + 2,
    "student-t-tied": 6 + 6 + 2,
    "student-t-spherical": 6 + 2 + 2,
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
        if case.id.startswith("censored"):  # times of censoring: rows without an event end there
            assert_array_equal(one[:, 0] < given[:, 0], one[:, 1] == 1)
            assert_array_equal(np.minimum(one[:, 0], given[:, 0]), one[:, 0])
            return
        wanted = one[:, 1] if case.id == "binomial-column" else one.sum(axis=1)
        assert_array_equal(wanted, given[:, 0])
