"""The loop: its invariants, its endings, and that nothing but the data and the seed decides the result."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fits import NOTICES, two_normals
from numpy.testing import assert_allclose

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
from emix.em.stopping import RULES, Aitken, Iterations, MeanGain, ParameterChange, RelativeGain, stopping_rule
from emix.model import Audit
from emix.results import Record

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


class Overflowing(Mixture):
    """Its sums are not finite, though its log-likelihood is."""

    def expect(self, chunk):
        found = super().expect(chunk)
        return replace(found, statistics=found.statistics * np.inf)


def test_sums_that_are_not_finite_are_an_error():
    with pytest.raises(InvariantError, match=r"statistics must be finite.*\n.*In iteration 0"):
        fit(Overflowing(Poisson([1.0, 3.0])), NOTICES)


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
