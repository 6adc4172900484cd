"""The loop: its invariants, its endings, and that nothing but the data and the seed decides the result."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Chunk,
    ConvergenceWarning,
    Expectation,
    Exponential,
    Gamma,
    InvariantError,
    LogNormal,
    Mixture,
    ModelError,
    MultivariateNormal,
    Normal,
    Poisson,
    StopReason,
    fit,
)
from emix.block import CHUNK_ROWS
from emix.em.stopping import RULES, Aitken, Iterations, MeanGain, ParameterChange, RelativeGain, stopping_rule
from emix.model import Audit, Model
from emix.results import Record

NOTICES = np.repeat(np.arange(10.0), [162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
"""Death notices per day (Hasselblad 1969): two Poissons that overlap so much that EM takes thousands of steps."""


def two_normals(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.4, rng.normal(-1, 1, n), rng.normal(2, 1.5, n))


def assert_same_bits(one: emix.FitResult, other: emix.FitResult) -> None:
    assert one.log_likelihood == other.log_likelihood
    assert [r.log_likelihood for r in one.history] == [r.log_likelihood for r in other.history]
    assert one.starts == other.starts
    assert one.model.parameters.keys() == other.model.parameters.keys()
    for name, value in one.model.parameters.items():
        assert_array_equal(value, other.model.parameters[name])


def assert_same_fit(one: emix.FitResult, other: emix.FitResult, rtol: float = 1e-9) -> None:
    """Components in the same order: the starts are the same too."""
    assert_allclose(one.log_likelihood, other.log_likelihood, rtol=rtol)
    for name, value in one.model.parameters.items():
        assert_allclose(value, other.model.parameters[name], rtol=rtol, atol=1e-12, err_msg=name)


# -- the invariants, broken on purpose -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scripted:
    """A model whose log-likelihood follows a script."""

    script: tuple[float, ...]
    position: int = 0

    def expect(self, chunk: Chunk) -> Expectation:
        return Expectation(np.zeros(1), self.script[self.position], float(chunk.weight.sum()))

    def maximize(self, statistics: np.ndarray) -> Scripted:
        return replace(self, position=self.position + 1)


def test_a_fall_of_the_log_likelihood_is_an_error_that_names_the_iteration():
    with pytest.raises(InvariantError, match=r"must never fall.*\n.*In iteration 3 it fell from -9\.0 to -9\.5,"):
        fit(Scripted((-12.0, -10.0, -9.0, -9.5, -8.0)), [1.0], stop="iterations", max_iter=4)


def test_only_rounding_may_fall():
    """The noise of a log-likelihood of 10 is 8 eps 10 = 1.8e-14: twice that is rounding, 1e-12 is not."""
    fit(Scripted((-10.0, -10.0 - 1e-14)), [1.0], stop="iterations", max_iter=1)
    with pytest.raises(InvariantError, match="In iteration 1 it fell"):
        fit(Scripted((-10.0, -10.0 - 1e-12)), [1.0], stop="iterations", max_iter=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_log_likelihood_that_is_not_finite_is_an_error(value):
    with pytest.raises(InvariantError, match=r"must be finite.*\n.*In iteration 2 it is (nan|inf|-inf)"):
        fit(Scripted((-10.0, -9.0, value)), [1.0], stop="iterations", max_iter=3)


class Worsening(Mixture):
    """Its M-step goes past the maximum."""

    def maximize(self, statistics):
        best = super().maximize(statistics)
        return replace(best, family=replace(best.family, rate=best.family.rate * 1.3))


def test_an_m_step_that_does_not_maximize_is_found():
    optimum = fit(Mixture(Poisson([1.0, 3.0])), NOTICES).model
    with pytest.raises(InvariantError, match=r"In iteration 1 it fell.*\n.*`maximize` does not maximize"):
        fit(Worsening(optimum.family, mixing_proportions=optimum.mixing_proportions), NOTICES)


class Losing(Mixture):
    """Its E-step loses a part of each row."""

    def expect(self, chunk):
        whole = super().expect(chunk)
        return replace(whole, statistics=whole.statistics * (1 - 1e-6))


def test_an_e_step_that_loses_rows_is_found():
    with pytest.raises(InvariantError, match=r"counts must add up.*\n.*In iteration 0 .* instead of 1096\.0"):
        fit(Losing(Poisson([1.0, 3.0])), NOTICES)


@dataclass(frozen=True)
class Audited(Scripted):
    """Its own audit counts other rows than its expectation from the second iteration on."""

    counted: float = 0.0
    is_monotone: bool = True

    def audit(self, expectation: Expectation) -> Audit:
        counted = self.counted if self.position >= 2 else expectation.weight
        return Audit(counted, 1e-12, self.is_monotone)


@pytest.mark.parametrize("counted", [2.5, 0.0, math.nan])
def test_a_model_whose_own_audit_does_not_add_up_is_found(counted):
    with pytest.raises(InvariantError, match=r"counts must add up.*\n.*In iteration 2 .* instead of 3\.0"):
        fit(Audited((-9.0, -8.0, -7.0, -6.0), counted=counted), [1.0, 2.0, 3.0], stop="iterations", max_iter=3)


def test_the_fall_check_is_off_where_the_m_step_is_no_maximum():
    script = (-9.0, -8.0, -8.5)
    result = fit(Audited(script, counted=1.0, is_monotone=False), [1.0], stop="iterations", max_iter=2)
    assert result.log_likelihood == -8.5
    assert not result.is_monotone


def test_an_added_variance_turns_the_fall_check_off_and_says_so():
    x = np.column_stack([two_normals(200, 1), two_normals(200, 2)])
    optimum = fit(Mixture(MultivariateNormal(), 2), x, n_init=3, random_state=0).model
    family = MultivariateNormal(optimum.family.mean, optimum.family.covariance, added_variance=0.3)
    result = fit(Mixture(family, mixing_proportions=optimum.mixing_proportions), x, stop="iterations", max_iter=3)
    assert result.history[1].gain < -1e-3
    assert not result.is_monotone
    assert any("reg_covar" in warning for warning in result.warnings)


def test_a_row_of_great_weight_is_no_fall():
    """Of a component that holds nearly all weight, log p(z) is near 0 and so is the log-likelihood; but its rounding is
    that of p(z) near 1, once per unit of weight: 1e6 times 1e-16, where 8 eps |log-likelihood| is 1e-14."""
    x, weight = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.001, 0.5, 1.0, 1e6, 1.0]
    labels = [-1, -1, 1, -1, 0, -1]
    result = fit(Mixture(Binomial(12), 2), x, sample_weight=weight, labels=labels, n_init=1, random_state=0)
    assert result.converged
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, labels = rng.integers(0, 2, size=(6, 1)), np.where(rng.random(6) < 0.4, rng.integers(0, 2, 6), -1)
        weight = rng.choice([1e-3, 0.5, 1.0, 7.0, 1e4, 1e6], size=6)
        if x.min() < x.max():
            options = {"stop": "iterations", "max_iter": 40, "n_init": 1, "random_state": 0}
            fit(Mixture(Poisson(), 2), x, sample_weight=weight, labels=labels, **options)


@pytest.mark.parametrize("shape", [30.0, 300.0, 1e4, 1e5, 1e6, 1e8])
def test_narrow_gammas_are_fitted_to_the_end(shape):
    """A coefficient of variation of 6 % is ordinary, of 1e-4 that of a good scale: neither may break an invariant."""
    rng = np.random.default_rng(3)
    mean = np.where(rng.random(1500) < 0.4, 250.0, 250.0 * (1 + 3 / np.sqrt(shape)))
    x = rng.gamma(shape, mean / shape)
    result = fit(Mixture(Gamma(), 2), x, n_init=1, random_state=0)
    assert result.converged
    order = np.argsort(result.model.family.shape / result.model.family.rate)
    fitted = result.model.reordered(order)
    assert_allclose(fitted.mixing_proportions, [0.4, 0.6], atol=0.12)
    assert_allclose(fitted.family.shape, shape, rtol=0.5)


# -- the stopping rules, each alone ----------------------------------------------------------------------------------


def history_of(values: list[float], *, noise: float = 0.0, changes: list[float] | None = None, weight: float = 1.0):
    records = []
    for i, value in enumerate(values):
        gain = value - values[i - 1] if i else math.nan
        change = (changes[i] if changes else 1.0) if i else math.nan
        records.append(Record(i, value, gain, change, 0.0, noise, weight))
    return records


def first_stop(rule, records) -> tuple[int, StopReason] | None:
    for n in range(1, len(records) + 1):
        if reason := rule(records[:n]):
            return n - 1, reason
    return None


def gains_to_values(gains: list[float], start: float = -100.0) -> list[float]:
    return [start, *(start + np.cumsum(gains)).tolist()]


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 0.99])
def test_aitken_stops_where_a_geometric_sequence_has_less_than_tol_to_come(ratio):
    """It asks for two predictions, so it stops one iteration after the first that is right."""
    gains = ratio ** np.arange(3000)
    tol = 1e-4
    still_to_come = gains * ratio / (1 - ratio)
    stopped, reason = first_stop(Aitken(tol), history_of(gains_to_values(gains.tolist())))
    assert reason is StopReason.AITKEN
    first = 1 + int(np.argmax(still_to_come <= tol))  # gains[i] belongs to iteration i + 1
    assert stopped in (first + 1, first + 2)  # rounding of the values at -100 decides the last
    assert still_to_come[stopped - 1] <= tol


def test_aitken_is_not_taken_in_by_a_plateau():
    growing = [1e-7 * 1.5**i for i in range(40)]
    assert first_stop(Aitken(1e-6), history_of(gains_to_values(growing))) is None
    steady = [i * 1e-7 for i in range(500)]
    assert first_stop(Aitken(1e-6), history_of(steady, noise=1e-14)) is None


def test_aitken_is_not_taken_in_by_one_small_gain():
    assert first_stop(Aitken(1e-6), history_of(gains_to_values([1.0, 0.5, 1e-9, 0.3, 0.1]))) is None


def test_aitken_ends_at_the_precision_of_the_log_likelihood():
    records = history_of(gains_to_values([1.0, 0.1, 1e-9, -1e-9, 0.0]), noise=1e-8)
    assert first_stop(Aitken(0.0), records) == (4, StopReason.PRECISION)
    one_only = history_of(gains_to_values([1.0, 0.9, 1e-9, 0.8, 0.7]), noise=1e-8)
    assert first_stop(Aitken(0.0), one_only) is None


def test_relative_gain_alone():
    records = history_of(gains_to_values([10.0, 1.0, 0.1, 0.01]))
    assert first_stop(RelativeGain(1e-3), records) == (4, StopReason.RELATIVE)  # 0.01 <= 1e-3 x 88.9 < 0.1
    assert first_stop(RelativeGain(2e-3), records) == (3, StopReason.RELATIVE)
    assert first_stop(RelativeGain(1e-5), records) is None


def test_parameter_change_alone():
    records = history_of(gains_to_values([0.0] * 4), changes=[math.nan, 1.0, 0.1, 0.01, 0.001])
    assert first_stop(ParameterChange(0.01), records) == (3, StopReason.PARAMETERS)
    assert first_stop(ParameterChange(1e-4), records) is None


def test_mean_gain_alone():
    records = history_of(gains_to_values([10.0, 1.0, 0.1, 0.01]), weight=50.0)
    assert first_stop(MeanGain(1e-2), records) == (3, StopReason.MEAN_GAIN)  # 0.1 < 0.01 x 50 < 1
    assert first_stop(MeanGain(1e-4), records) is None
    falling = history_of(gains_to_values([10.0, -0.1]), weight=50.0)
    assert first_stop(MeanGain(1e-2), falling) == (2, StopReason.MEAN_GAIN)


def test_iterations_never_stops_by_itself():
    assert first_stop(Iterations(), history_of([-1.0] * 30, noise=1.0, changes=[0.0] * 30)) is None


@pytest.mark.parametrize("rule", list(RULES))
def test_no_rule_stops_at_the_start(rule):
    assert RULES[rule](1e300)(history_of([-10.0])) is None


ON_REAL_FITS = {"aitken": 1e-4, "relative": 1e-9, "parameters": 1e-5, "mean-gain": 1e-7}


@pytest.mark.parametrize(("stop", "tol"), ON_REAL_FITS.items())
def test_each_rule_ends_a_real_fit_at_its_first_chance(stop, tol):
    result = fit(Mixture(Poisson([1.0, 3.0])), NOTICES, stop=stop, tol=tol, accelerate=False)
    assert result.stop_reason == stop
    assert result.converged
    assert result.n_iter > 20
    rule = stopping_rule(stop, tol)
    assert first_stop(rule, result.history) == (result.n_iter, result.stop_reason)
    last, before = result.history[-1], result.history[-2]
    measured = {
        "relative": lambda r: r.gain / abs(r.log_likelihood),
        "parameters": lambda r: r.parameter_change,
        "mean-gain": lambda r: r.gain / 1096,
    }
    if stop in measured:
        assert measured[stop](last) <= tol < measured[stop](before)


def test_parameter_change_is_relative_where_a_parameter_exceeds_1():
    x = two_normals() * 1e3 + 5e4
    history = fit(Mixture(Normal(), 2), x, stop="iterations", max_iter=1, n_init=1, random_state=0)
    before = fit(Mixture(Normal(), 2), x, stop="iterations", max_iter=0, n_init=1, random_state=0).model.parameters
    changes = [
        np.abs(new - before[name]) / np.maximum(np.abs(before[name]), 1)
        for name, new in history.model.parameters.items()
    ]
    assert history.history[1].parameter_change == max(change.max() for change in changes)


@pytest.mark.parametrize(("stop", "tol"), ON_REAL_FITS.items())
def test_running_out_of_iterations_is_not_convergence(stop, tol):
    with pytest.warns(ConvergenceWarning, match=r"not converged: the iterations ran out.*after 3 iterations") as caught:
        result = fit(Mixture(Poisson([1.0, 3.0])), NOTICES, stop=stop, tol=tol, max_iter=3)
    assert caught[0].filename == __file__
    assert result.stop_reason is StopReason.MAX_ITER
    assert not result.converged
    assert result.n_iter == 3


@pytest.mark.parametrize("max_iter", [0, 1, 7, 25])
def test_iterations_does_exactly_as_many_maps(max_iter):
    """Also from short runs, which are continued and not begun again; and no warning: it is what was asked for."""
    model = Mixture(Poisson([1.0, 3.0]))
    result = fit(model, NOTICES, stop="iterations", max_iter=max_iter)
    assert result.n_iter == max_iter
    assert result.stop_reason is StopReason.ITERATIONS
    assert not result.converged
    for _ in range(max_iter):
        model = emix.e_step(model, NOTICES).maximize()
    for name, value in model.parameters.items():
        assert_allclose(result.model.parameters[name], value, rtol=1e-12)
    for start in ("k-means++", "random", "short-runs"):
        assert fit(Mixture(Poisson(), 2), NOTICES, start=start, stop="iterations", max_iter=max_iter).n_iter == max_iter


def test_unknown_rules_and_tolerances_are_refused():
    for arguments in (
        {"stop": "never"},
        {"tol": -1.0},
        {"tol": math.nan},
        {"max_iter": -1},
        {"n_init": 0},
        {"n_jobs": 0},
    ):
        with pytest.raises(ModelError):
            fit(Mixture(Poisson(), 2), NOTICES, **arguments)


def test_a_rule_of_ones_own():
    class AfterFive:
        at_limit = StopReason.MAX_ITER

        def __call__(self, history):
            return StopReason.RELATIVE if history[-1].iteration == 5 else None

    result = fit(Mixture(Poisson([1.0, 3.0])), NOTICES, stop=AfterFive(), accelerate=False)
    assert result.n_iter == 5
    assert result.converged


# -- aitken's promise ------------------------------------------------------------------------------------------------


def random_problem(i: int) -> tuple[Mixture, np.ndarray]:
    """A small sample of overlapping components, sometimes fitted with one component too many."""
    rng = np.random.default_rng([77, i])
    n, K = int(rng.integers(40, 160)), int(rng.integers(2, 4))
    labels = rng.integers(0, 2, n)
    kind = i % 8
    if kind == 0:
        return Mixture(Normal(), K), rng.normal(labels * rng.uniform(1.5, 4), 1.0)[:, None]
    if kind == 1:
        return Mixture(Poisson(), K), rng.poisson(1 + labels * rng.uniform(1, 6))[:, None].astype(float)
    if kind == 2:
        return Mixture(Exponential(), K), rng.exponential(1 + labels * rng.uniform(2, 9))[:, None]
    if kind == 3:
        p = rng.uniform(0.1, 0.9, size=(2, 5))
        return Mixture(Bernoulli(), K), (rng.random((n, 5)) < p[labels]).astype(float)
    if kind == 4:
        mean = np.array([[0.0, 0.0], rng.uniform(1, 4, 2)])
        return Mixture(MultivariateNormal(structure=["full", "tied", "diag", "spherical"][i // 8 % 4]), 2), rng.normal(
            mean[labels], 1.0
        )
    if kind == 5:
        return Mixture(Binomial(12), K), rng.binomial(12, np.array([0.3, 0.3 + rng.uniform(0.1, 0.6)])[labels])[
            :, None
        ].astype(float)
    if kind == 6:
        return Mixture(LogNormal(), 2), rng.lognormal(labels * rng.uniform(1, 3), 0.7)[:, None]
    levels = rng.dirichlet(np.ones(3), size=(2, 4))
    cells = [[rng.choice(3, p=levels[z, j]) for j in range(4)] for z in labels]
    return Mixture(Categorical(), K), np.array(cells, dtype=float)


def test_aitken_keeps_its_promise():
    """Fits that ended as converged at tol=1e-6 have less than 10 tol to gain, however long one goes on."""
    left = {}
    for i in range(80):
        model, x = random_problem(i)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                result = fit(model, x, n_init=1, random_state=i, tol=1e-6, max_iter=1000)
        except emix.FitError:  # a component collapsed on a few rows: nothing to promise
            continue
        if not result.converged:
            continue
        longer = fit(result.model, x, stop="iterations", max_iter=max(300, result.n_iter))
        left[i] = longer.log_likelihood - result.log_likelihood
    assert len(left) >= 60
    assert {i: gain for i, gain in left.items() if gain > 1e-5} == {}


def test_tol_0_runs_to_the_precision_of_the_log_likelihood():
    result = fit(Mixture(Normal([-1.0, 2.0], [1.0, 2.0])), two_normals(), tol=0.0)
    assert result.stop_reason is StopReason.PRECISION
    assert result.converged
    longer = fit(result.model, two_normals(), stop="iterations", max_iter=2000)
    assert longer.log_likelihood - result.log_likelihood < 1e-9


# -- what is reported ------------------------------------------------------------------------------------------------


def holed(x: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(x.shape) < 0.15, np.nan, x)


def problems() -> dict[str, tuple[Mixture, np.ndarray, dict]]:
    rng = np.random.default_rng(8)
    x = np.column_stack([two_normals(200, 1), two_normals(200, 2)])
    weight, labels = rng.uniform(0.2, 3.0, 200), np.where(rng.random(200) < 0.2, (x[:, 0] > 0.5).astype(int), -1)
    q = np.where(labels[:, None] < 0, 1.0, np.eye(2)[labels] * 0.8 + 0.1)
    return {
        "normal, holes": (Mixture(Normal(), 2), holed(x), {}),
        "normal, labels": (Mixture(Normal(), 2), x, {"labels": labels}),
        "normal, all labels": (Mixture(Normal(), 2), x, {"labels": (x[:, 0] > 0.5).astype(int)}),
        "normal, q and weights": (Mixture(Normal(), 2), x, {"labels": q, "sample_weight": weight}),
        "multivariate": (Mixture(MultivariateNormal(), 2), x, {"sample_weight": weight}),
        "gamma, zero weights": (Mixture(Gamma(), 2), np.exp(x / 3), {"sample_weight": np.where(weight < 1, 0, weight)}),
        "counts": (Mixture(Poisson(), 3), rng.poisson(np.exp(x)).astype(float), {"sample_weight": weight}),
        "items": (Mixture(Bernoulli(), 2), holed((x > 0).astype(float)), {}),
        "tosses": (Mixture(Binomial(10), 2), rng.binomial(10, 1 / (1 + np.exp(-x[:, 0])))[:, None], {}),
        "labels of things": (Mixture(Categorical(), 2), np.where(x > 1, "b", np.where(x > 0, "a", "c")), {}),
    }


@pytest.mark.parametrize("name", list(problems()))
@pytest.mark.parametrize("n_init", [1, 4])
def test_the_reported_log_likelihood_is_that_of_the_returned_model(name, n_init):
    model, x, known = problems()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for stop, max_iter in (("aitken", 5000), ("aitken", 14), ("iterations", 0)):
            result = fit(model, x, stop=stop, max_iter=max_iter, n_init=n_init, random_state=1, **known)
            step = emix.e_step(result.model, x, **known)
            assert_allclose(result.log_likelihood, step.log_likelihood, rtol=1e-12)
            assert result.log_likelihood == result.history[-1].log_likelihood
            assert_allclose(result.total_weight, step.expected_statistics[:, 0].sum(), rtol=1e-12)


@pytest.mark.parametrize("accelerate", [False, "squarem", "daarem"])
@pytest.mark.parametrize("name", list(problems()))
@pytest.mark.parametrize("n_init", [1, 5])
def test_the_history_is_whole_and_never_falls(name, n_init, accelerate):
    model, x, known = problems()[name]
    result = fit(model, x, n_init=n_init, random_state=2, accelerate=accelerate, **known)
    history = result.history
    iterations = [record.iteration for record in history]
    assert iterations == sorted(set(iterations))
    assert (iterations[0], iterations[-1]) == (0, result.n_iter)
    if not accelerate:
        assert iterations == list(range(result.n_iter + 1))
        assert not any(record.is_leap for record in history)
    assert math.isnan(history[0].gain)
    assert math.isnan(history[0].parameter_change)
    for before, after in pairwise(history):
        assert after.gain == after.log_likelihood - before.log_likelihood
        assert after.gain >= -1e-12 * (abs(after.log_likelihood) + result.total_weight)
        assert after.noise < 1e-6
        assert after.parameter_change >= 0 or after.is_leap, f"iteration {after.iteration}"
        assert after.seconds >= before.seconds >= 0
        assert after.weight == result.total_weight
    n_starts = 1 if name == "normal, all labels" else n_init
    assert [start.index for start in result.starts] == list(range(n_starts))
    highest = max(start.log_likelihood for start in result.starts if start.stop_reason.converged)
    assert highest == pytest.approx(result.log_likelihood, rel=1e-13)  # the first of those that agree is taken
    assert any(s.n_iter == result.n_iter and s.stop_reason == result.stop_reason for s in result.starts)


def test_all_labels_known_is_plain_maximum_likelihood():
    model, x, known = problems()["normal, all labels"]
    result = fit(model, x, **known)
    assert result.n_iter <= 3
    for k in range(2):
        rows = x[known["labels"] == k]
        assert_allclose(result.model.family.mean[k], rows.mean(axis=0), rtol=1e-12)
        assert_allclose(result.model.family.variance[k], rows.var(axis=0), rtol=1e-11)


def test_on_iteration_is_told_every_pass_once():
    told = []
    options = {"stop": "iterations", "max_iter": 15, "random_state": 0, "on_iteration": told.append}
    result = fit(Mixture(Poisson(), 2), NOTICES, n_init=1, **options)
    assert [(one.start, one.n_starts) for one in told] == [(0, 1)] * 16
    assert [one.record for one in told] == result.history
    assert told[-1].model is result.model
    assert_allclose(emix.e_step(told[3].model, NOTICES).log_likelihood, told[3].record.log_likelihood, rtol=1e-12)
    told.clear()
    result = fit(Mixture(Poisson(), 2), NOTICES, n_init=4, **options)
    best = max(result.starts, key=lambda start: start.log_likelihood).index
    assert [one.record for one in told if one.start == best] == result.history
    assert {one.start for one in told} == set(range(4))
    assert {one.n_starts for one in told} == {4}


# -- the same result, whatever does not matter -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def many_rows() -> np.ndarray:
    x = np.column_stack([two_normals(3 * CHUNK_ROWS + 777, 4), two_normals(3 * CHUNK_ROWS + 777, 5)])
    assert len(x) > 3 * CHUNK_ROWS
    return x


@pytest.mark.parametrize("family", [Normal(), MultivariateNormal()], ids=str)
@pytest.mark.parametrize("n_init", [1, 3])
def test_the_number_of_threads_does_not_change_a_bit(many_rows, family, n_init):
    options = {"stop": "iterations", "max_iter": 4, "n_init": n_init, "random_state": 3, "start": "random"}
    alone = fit(Mixture(family, 2), many_rows, n_jobs=1, **options)
    for n_jobs in (2, 3):
        assert_same_bits(fit(Mixture(family, 2), many_rows, n_jobs=n_jobs, **options), alone)


def test_threads_and_short_runs():
    options = {"n_init": 5, "random_state": 3}
    x = two_normals()
    assert_same_bits(fit(Mixture(Normal(), 3), x, n_jobs=2, **options), fit(Mixture(Normal(), 3), x, **options))


@pytest.mark.parametrize("start", ["k-means++", "random", "short-runs"])
def test_a_seed_repeats_the_fit_to_the_bit(start):
    x = two_normals()
    options = {"start": start, "n_init": 4, "max_iter": 40, "stop": "iterations"}
    one = fit(Mixture(Normal(), 3), x, random_state=5, **options)
    assert_same_bits(fit(Mixture(Normal(), 3), x, random_state=5, **options), one)
    assert one.seed == 5
    other = fit(Mixture(Normal(), 3), x, random_state=6, **options)
    assert [s.log_likelihood for s in one.starts] != [s.log_likelihood for s in other.starts]
    for make in (np.random.default_rng, np.random.RandomState):
        drawn = fit(Mixture(Normal(), 3), x, random_state=make(5), **options)
        assert_same_bits(fit(Mixture(Normal(), 3), x, random_state=make(5), **options), drawn)
        assert_same_bits(fit(Mixture(Normal(), 3), x, random_state=drawn.seed, **options), drawn)


def test_a_fit_without_a_seed_tells_the_seed_that_repeats_it():
    x = two_normals()
    results = [fit(Mixture(Normal(), 3), x, n_init=3, start="random", stop="iterations", max_iter=20) for _ in range(3)]
    assert len({result.seed for result in results}) == 3
    for result in results:
        options = {"n_init": 3, "start": "random", "stop": "iterations", "max_iter": 20}
        assert_same_bits(fit(Mixture(Normal(), 3), x, random_state=result.seed, **options), result)


def rows_of_every_kind() -> dict[str, tuple[Mixture, np.ndarray]]:
    rng = np.random.default_rng(9)
    x = np.column_stack([two_normals(150, 6), two_normals(150, 7)])
    return {
        "normal": (Mixture(Normal(), 2), x),
        "normal, holes": (Mixture(Normal(), 2), holed(x)),
        "multivariate": (Mixture(MultivariateNormal(), 2), x),
        "poisson": (Mixture(Poisson(), 3), rng.poisson(np.exp(x)).astype(float)),
        # whole numbers: rows half way between two seeds, so that rounding must not decide where they belong
        "normal, whole numbers": (Mixture(Normal(), 3), np.round(2 * x[:, :1])),
        "shared items": (Mixture(Bernoulli(shared=True), 2), (rng.random((150, 8)) < 0.3 + 0.4 * (x[:, :1] > 0)) * 1.0),
        "items": (Mixture(Bernoulli(), 2), (x > 0.3).repeat(2, axis=1) * 1.0),
        "binomial": (Mixture(Binomial(10), 2), rng.binomial(10, 1 / (1 + np.exp(-x[:, :1]))).astype(float)),
        "categorical": (Mixture(Categorical(), 2), rng.integers(0, 3, (150, 4)).astype(float)),
    }


STARTS = ["k-means++", "random", "short-runs"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", list(rows_of_every_kind()))
def test_the_order_of_the_rows_does_not_matter(name, start):
    model, x = rows_of_every_kind()[name]
    options = {"start": start, "n_init": 1, "stop": "iterations", "max_iter": 12}
    for seed in range(12):
        one = fit(model, x, random_state=seed, **options)
        other = fit(model, x[np.random.default_rng(seed).permutation(len(x))], random_state=seed, **options)
        assert_same_fit(one, other)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", list(rows_of_every_kind()))
def test_weight_3_equals_the_row_three_times_with_random_starts(name, start):
    model, x = rows_of_every_kind()[name]
    weight = np.where(np.arange(150) % 4 == 0, 3, 1)
    options = {"start": start, "n_init": 1, "stop": "iterations", "max_iter": 12}
    for seed in range(12):
        weighted = fit(model, x, sample_weight=weight, random_state=seed, **options)
        repeated = fit(model, np.repeat(x, weight, axis=0), random_state=seed, **options)
        assert_same_fit(weighted, repeated)
        assert_allclose(weighted.bic, repeated.bic, rtol=1e-9)
        assert_allclose(weighted.icl, repeated.icl, rtol=1e-9)


def test_rounding_does_not_choose_between_starts_that_found_the_same():
    """Several starts often are one, with the components in another order: which of them is taken, and with it the
    order of the components, must not depend on the last bit of a sum."""
    model, x = rows_of_every_kind()["poisson"]
    options = {"n_init": 3, "start": "k-means++", "stop": "iterations", "max_iter": 12}
    n_ties = 0
    for seed in range(10):
        one = fit(model, x, random_state=seed, **options)
        n_ties += sum(abs(start.log_likelihood - one.log_likelihood) < 1e-9 for start in one.starts) - 1
        for turn in range(3):
            other = fit(model, x[np.random.default_rng(turn).permutation(len(x))], random_state=seed, **options)
            assert_same_fit(one, other)
    assert n_ties > 0


def test_weight_0_leaves_the_row_out():
    x = two_normals()
    weight = np.where(np.arange(300) % 5 == 0, 0.0, 1.0)
    spoilt = np.where(weight == 0, 1e6, x)
    options = {"random_state": 0, "n_init": 3}
    assert_same_bits(
        fit(Mixture(Normal(), 2), spoilt, sample_weight=weight, **options),
        fit(Mixture(Normal(), 2), x[weight > 0], **options),
    )


# -- starts of one's own ---------------------------------------------------------------------------------------------


def test_a_start_is_taken_as_it_is():
    x = two_normals()
    start = Mixture(Normal([-1.0, 2.0], [1.0, 2.0]), mixing_proportions=[0.3, 0.7])
    for model, option in ((start, None), (Mixture(Normal(), 2), start), (Mixture(Normal(), 2), [start])):
        result = fit(model, x, start=option, stop="iterations", max_iter=0)
        assert_allclose(result.log_likelihood, emix.e_step(start, x).log_likelihood, rtol=1e-13)
        assert_array_equal(result.model.family.mean, [-1.0, 2.0])
    best = fit(
        Mixture(Normal(), 2),
        x,
        start=[Mixture(Normal([0.5, 0.5001], [4.0, 4.0])), start],
        stop="iterations",
        max_iter=2,
    )
    assert [s.method for s in best.starts] == ["given", "given"]
    assert best.log_likelihood == max(s.log_likelihood for s in best.starts)


def test_a_start_that_was_fitted_to_columns_in_another_order_is_matched_by_name():
    x = pd.DataFrame({"a": two_normals(200, 1), "b": 20 + two_normals(200, 2)})
    fitted = fit(Mixture(Normal(), 2), x, n_init=2, random_state=0)
    for option in ({"model": fitted.model}, {"model": Mixture(Normal(), 2), "start": fitted.model}):
        again = fit(data=x[["b", "a"]], stop="iterations", max_iter=0, **option)
        assert_allclose(again.log_likelihood, fitted.log_likelihood, rtol=1e-12, err_msg=str(list(option)))


def test_a_start_that_was_fitted_to_other_levels_is_refused():
    x = np.array([["a"], ["b"], ["c"]] * 20, dtype=object)
    fitted = fit(Mixture(Categorical(), 1), x)
    other = np.array([["b"], ["c"], ["d"]] * 20, dtype=object)
    with pytest.raises(emix.EmixError, match="level"):
        fit(fitted.model, other)
    with pytest.raises(emix.EmixError, match="level"):
        fit(Mixture(Categorical(), 1), other, start=fitted.model)


def test_a_collapsed_start_is_left_out_and_only_all_of_them_end_the_fit():
    x = two_normals()
    good, bad = Mixture(Normal([-1.0, 2.0], [1.0, 2.0])), Mixture(Normal([0.5, x[0]], [4.0, 1e-14]))
    result = fit(Mixture(Normal(), 2), x, start=[bad, good])
    assert [s.stop_reason for s in result.starts] == [StopReason.DEGENERATE, StopReason.AITKEN]
    assert result.starts[0].message.startswith("In iteration 1 component 1 collapsed")
    assert result.starts[0].log_likelihood > emix.e_step(bad, x[1:]).log_likelihood
    assert result.converged
    assert any(warning.startswith("1 of 2 starts ended in a degenerate component") for warning in result.warnings)
    assert_same_bits(replace(result, starts=[]), replace(fit(Mixture(Normal(), 2), x, start=good), starts=[]))
    with pytest.raises(emix.FitError, match=r"no start led to a fit.*\n.*component 1 collapsed"):
        fit(Mixture(Normal(), 2), x, start=bad)


# -- a model of one's own --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linkage:
    """Genetic linkage (Dempster, Laird & Rubin 1977, section 1): cells of 1/2 + p/4, (1 - p)/4, (1 - p)/4, p/4."""

    p: float

    def expect(self, chunk: Chunk) -> Expectation:
        y, p = chunk.weight @ chunk.x, self.p
        hidden = y[0] * (p / 4) / (1 / 2 + p / 4)
        cells = np.array([1 / 2 + p / 4, (1 - p) / 4, (1 - p) / 4, p / 4])
        return Expectation(np.array([hidden + y[3], y[1] + y[2]]), float(y @ np.log(cells)))

    def maximize(self, statistics: np.ndarray) -> Linkage:
        return type(self)(statistics[0] / statistics.sum())


class LinkageWithParameters(Linkage):
    n_free_parameters = 1

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"p": np.array([self.p])}


class Wrapped:
    """The two methods and nothing else to be seen."""

    def __init__(self, model: Linkage) -> None:
        self._model = model

    def expect(self, chunk: Chunk) -> Expectation:
        return self._model.expect(chunk)

    def maximize(self, statistics: np.ndarray) -> Wrapped:
        return Wrapped(self._model.maximize(statistics))


COUNTS = [[125.0, 18.0, 20.0, 34.0]]


def test_a_model_with_only_expect_and_maximize():
    """The iterates that Dempster, Laird & Rubin (1977) print, and the root of the likelihood equation."""
    assert isinstance(Linkage(0.5), Model)
    printed = [0.500000000, 0.608247423, 0.624321051, 0.626488879, 0.626777323, 0.626815632, 0.626820719]
    iterates = [fit(Linkage(0.5), COUNTS, stop="iterations", max_iter=i).model.p for i in range(7)]
    assert_allclose(iterates, printed, rtol=0, atol=1.5e-9)
    result = fit(Linkage(0.5), COUNTS, tol=1e-12)
    assert result.converged
    assert_allclose(result.model.p, (15 + math.sqrt(15**2 + 4 * 197 * 68)) / (2 * 197), rtol=1e-7)
    assert_allclose(result.model.p, 0.6268214979, rtol=0, atol=1e-8)
    assert_allclose(result.history[1].parameter_change, 0.608247423 - 0.5, atol=1e-9)  # told from the dataclass' fields
    with pytest.raises(ModelError, match="free parameters"):
        _ = result.aic


def test_what_a_model_of_ones_own_gets_when_it_has_more():
    with pytest.raises(ModelError, match="'parameters'"):
        fit(Wrapped(Linkage(0.5)), COUNTS, stop="parameters")
    assert math.isnan(fit(Wrapped(Linkage(0.5)), COUNTS).history[1].parameter_change)
    for model in (Linkage(0.5), LinkageWithParameters(0.5)):
        result = fit(model, COUNTS, stop="parameters", tol=1e-9)
        assert result.stop_reason is StopReason.PARAMETERS
        assert_allclose(result.model.p, 0.6268214979, rtol=0, atol=1e-9)
    assert result.aic == -2 * result.log_likelihood + 2
    several = fit(LinkageWithParameters(0.5), COUNTS, start=[LinkageWithParameters(p) for p in (0.1, 0.5, 0.9)])
    assert len(several.starts) == 3
    assert several.converged


def test_a_model_of_ones_own_is_weighted():
    weighted = fit(Linkage(0.5), COUNTS, sample_weight=[2.0], stop="iterations", max_iter=5)
    repeated = fit(Linkage(0.5), COUNTS * 2, stop="iterations", max_iter=5)
    assert_allclose(weighted.model.p, repeated.model.p, rtol=1e-13)
    assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-13)
