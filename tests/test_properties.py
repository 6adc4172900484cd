"""Random families, data, weights and missing cells: what must hold for all of them."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    ConvergenceWarning,
    DataError,
    Exponential,
    FitError,
    Gamma,
    Geometric,
    InvariantError,
    InverseGaussian,
    LogNormal,
    Mixture,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    TruncatedPoisson,
    VonMises,
    ZeroInflatedPoisson,
)
from emix.errors import RootNotFoundError
from emix.families import FAMILIES, STRUCTURES, Family
from emix.results import Record

FIXED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

WHOLE = {
    "poisson": (Poisson(), 0, 60),
    "negative_binomial": (NegativeBinomial(), 0, 60),
    "zero_inflated_poisson": (ZeroInflatedPoisson(), 0, 60),
    "truncated_poisson": (TruncatedPoisson(), 1, 60),
    "geometric": (Geometric(first=0), 0, 60),
    "binomial": (Binomial(12), 0, 12),
    "bernoulli": (Bernoulli(), 0, 1),
    "bernoulli-shared": (Bernoulli(shared=True), 0, 1),
    "multinomial": (Multinomial(), 0, 20),
    "categorical": (Categorical(), 0, 3),
}
POSITIVE = {
    "exponential": Exponential(),
    "gamma": Gamma(),
    "lognormal": LogNormal(),
    "inverse_gaussian": InverseGaussian(),
}
REAL = {"normal": Normal(), **{f"mvn-{s}": MultivariateNormal(structure=s) for s in STRUCTURES}}
ANY = {**REAL, "von_mises": VonMises()}


def test_every_family_is_drawn():
    drawn = [entry[0] for entry in WHOLE.values()] + [*POSITIVE.values(), *ANY.values()]
    with_laws_of_their_own = {"student_t", "beta", "censored_exponential", "censored_weibull", "scipy"}
    assert {family.name for family in drawn} == set(FAMILIES) - with_laws_of_their_own


@st.composite
def problems(draw) -> tuple[Family, int, np.ndarray, np.ndarray]:
    """A family, K, rows (with repeats, extremes and holes where it takes them) and weights."""
    name = draw(st.sampled_from([*WHOLE, *POSITIVE, *ANY]))
    n = draw(st.integers(8, 40))
    d = 1 if name == "binomial" else draw(st.integers(2 if name == "multinomial" else 1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if name in WHOLE:
        family, low, high = WHOLE[name]
        x = rng.integers(low, draw(st.integers(low + 1, high)) + 1, size=(n, d)).astype(float)
    else:
        spread = 10.0 ** draw(st.integers(-3, 3))
        groups = rng.integers(0, 2, size=(n, 1)) * draw(st.sampled_from([0.0, 1.0, 10.0]))
        if name in POSITIVE:
            family, x = (
                POSITIVE[name],
                np.exp(rng.normal(0, 1, size=(n, d)) * draw(st.sampled_from([0.01, 0.3, 2.0])) + groups),
            )
            x *= spread
        else:
            family, shift = ANY[name], draw(st.sampled_from([0.0, 1.0, -300.0])) * spread
            x = shift + spread * (groups + rng.normal(size=(n, d)))
        if draw(st.booleans()):
            x = np.round(x / spread, 1) * spread + (spread if name in POSITIVE else 0.0)
    if family.support.takes_missing and draw(st.booleans()):
        x[rng.random(x.shape) < draw(st.sampled_from([0.05, 0.4]))] = np.nan
    weight = np.ones(n)
    if draw(st.booleans()):
        weight = rng.choice([0.0, 1e-3, 0.5, 1.0, 7.0, 1e4], size=n)
    return family, draw(st.integers(1, 4)), x, weight


def attempt(family: Family, K: int, x: np.ndarray, weight: np.ndarray, **options) -> emix.FitResult | None:
    """A fit; None where the data cannot be, or every start degenerated, which is said in words.

    An invariant or a solver that fails is a FitError too, and an error of the test.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return emix.fit(Mixture(family, K), x, sample_weight=weight, **options)
    except (InvariantError, RootNotFoundError):
        raise
    except (DataError, FitError):
        return None


def rounding(result: emix.FitResult, record: Record) -> float:
    """Of the log-likelihood: some units in the last place of each row's, and of 1 per unit of weight; more where narrow
    components far apart make terms cancel, of which the record's own estimate knows."""
    return max(1e-12 * (abs(result.log_likelihood) + result.total_weight), 2 * record.noise)


@settings(FIXED, max_examples=120)
@given(problems(), st.sampled_from(["k-means++", "random", "short-runs"]), st.integers(0, 100))
def test_results_are_finite_and_the_log_likelihood_never_falls(problem, start, seed):
    family, K, x, weight = problem
    result = attempt(family, K, x, weight, start=start, n_init=2, max_iter=60, random_state=seed)
    assume(result is not None)
    model = result.model
    for name, value in model.parameters.items():
        for one in value if isinstance(value, tuple) else (value,):
            assert np.isfinite(one).all(), name
    assert_allclose(model.mixing_proportions.sum(), 1.0, rtol=1e-12)
    for number in (result.log_likelihood, result.aic, result.bic, result.icl):
        assert np.isfinite(number)
    for before, after in pairwise(result.history):
        assert after.log_likelihood >= before.log_likelihood - rounding(result, after)
    resp = emix.responsibilities(model, x)
    assert resp.shape == (len(x), K)
    assert (resp >= 0).all()
    assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)
    scores = emix.score_samples(model, x)
    assert not np.isnan(scores).any()
    assert_allclose(
        weight[weight > 0] @ scores[weight > 0], result.log_likelihood, rtol=1e-9, atol=1e-9 * result.total_weight
    )
    step = emix.e_step(model, x[weight > 0], sample_weight=weight[weight > 0])
    assert np.isfinite(step.expected_statistics).all()
    assert_allclose(step.expected_statistics[:, 0].sum(), result.total_weight, rtol=1e-11)
    assert not np.isnan(model.to_vector()).any()
    assert len(model.to_vector()) == result.n_free_parameters


@FIXED
@given(problems(), st.integers(0, 100))
def test_start_labels_and_holes_are_one_code_path(problem, seed):
    """Known labels for some rows: their responsibilities are certain, the others' still sum to 1, nothing falls."""
    family, K, x, weight = problem
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(len(x)) < 0.4, rng.integers(0, K, len(x)), -1)
    result = attempt(family, K, x, weight, labels=labels, n_init=2, max_iter=40, random_state=seed)
    assume(result is not None)
    assert all(record.gain >= -rounding(result, record) for record in result.history[1:])
    counted = weight > 0
    resp = emix.e_step(result.model, x[counted], labels=labels[counted]).responsibilities
    assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)
    known = labels[counted] >= 0
    assert (resp[known, labels[counted][known]] == 1.0).all()


@st.composite
def scaled_problems(draw) -> tuple[Family, np.ndarray, np.ndarray, np.ndarray]:
    """Normal rows in two groups, their labels as a start, and a factor per column from 1e-8 to 1e8."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d, n = draw(st.integers(1, 3)), draw(st.integers(60, 120))
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3.0 * labels[:, None] + rng.normal(size=(n, d))
    name = draw(st.sampled_from(list(REAL)))
    exponents = draw(st.lists(st.floats(-8, 8), min_size=d, max_size=d))
    factor = 10.0 ** np.array(exponents)
    is_scale_free = name == "normal" or STRUCTURES[name.removeprefix("mvn-")].is_scale_free
    return REAL[name], x, labels, factor if is_scale_free else np.full(d, factor[0])


@FIXED
@given(scaled_problems(), st.sampled_from([0.0, 1.0, 1e4]))
def test_normal_fits_are_equivariant_under_change_of_units(problem, shift):
    """x -> c x takes n log c off the log-likelihood and scales the parameters; a shift changes nothing else."""
    family, x, labels, factor = problem
    options = {"start": labels, "stop": "iterations", "max_iter": 15}
    plain = emix.fit(Mixture(family, 2), x, **options)
    scaled = emix.fit(Mixture(family, 2), (x + shift) * factor, **options)
    n, loss = len(x), np.log(factor).sum()
    tolerance = 1e-9 if shift < 1e3 else 1e-6  # x + 1e4 has itself lost four digits of x
    assert_allclose(
        scaled.log_likelihood + n * loss, plain.log_likelihood, rtol=tolerance, atol=1e-11 * n * np.abs(loss)
    )
    assert_allclose(scaled.model.mixing_proportions, plain.model.mixing_proportions, rtol=10 * tolerance)
    found, wanted = scaled.model.family.parameters, plain.model.family.parameters
    if isinstance(family, Normal):
        column = (lambda v: v[:, None]) if x.shape[1] == 1 else (lambda v: v)
        assert_allclose(column(found["mean"]) / factor - shift, column(wanted["mean"]), rtol=0, atol=10 * tolerance)
        assert_allclose(column(found["variance"]) / factor**2, column(wanted["variance"]), rtol=10 * tolerance)
    else:
        assert_allclose(found["mean"] / factor - shift, wanted["mean"], rtol=0, atol=10 * tolerance)
        back = found["covariance"] / np.outer(factor, factor)
        assert_allclose(back, wanted["covariance"], rtol=10 * tolerance, atol=10 * tolerance)
    assert emix.predict(scaled.model, (x + shift) * factor).tolist() == emix.predict(plain.model, x).tolist()


@FIXED
@given(problems(), st.integers(0, 100))
def test_saving_keeps_every_fit(problem, seed):
    """Through text and back: the same bits, whatever numbers a fit ends with."""
    family, K, x, weight = problem
    result = attempt(family, K, x, weight, n_init=1, max_iter=5, random_state=seed)
    assume(result is not None)
    again = emix.persistence.from_document(emix.persistence.to_document(result.model))
    for name, value in result.model.parameters.items():
        pairs = (
            zip(value, again.parameters[name], strict=True)
            if isinstance(value, tuple)
            else ((value, again.parameters[name]),)
        )
        assert all(np.array_equal(one, other) for one, other in pairs), name
    assert np.array_equal(emix.score_samples(again, x), emix.score_samples(result.model, x))


@FIXED
@given(st.data())
def test_weights_may_have_any_unit(data):
    """Weights times a constant scale the log-likelihood and change no parameter."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    factor = 10.0 ** data.draw(st.integers(-9, 9))
    x = rng.normal(size=(50, 2)) + 3 * (np.arange(50) % 2)[:, None]
    weight = rng.uniform(0.5, 2.0, 50)
    family = data.draw(st.sampled_from(list(REAL.values())))
    options = {"start": np.arange(50) % 2, "stop": "iterations", "max_iter": 6}
    one = emix.fit(Mixture(family, 2), x, sample_weight=weight, **options)
    other = emix.fit(Mixture(family, 2), x, sample_weight=factor * weight, **options)
    assert_allclose(other.log_likelihood, factor * one.log_likelihood, rtol=1e-10)
    for name, value in one.model.parameters.items():
        assert_allclose(other.model.parameters[name], value, rtol=1e-9, atol=1e-12)
