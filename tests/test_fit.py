"""What a fit returns: its history, the same result whatever does not matter, starts and models of one's own."""

from __future__ import annotations

import importlib
import math
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from fits import NOTICES, assert_same_bits, assert_same_fit, two_normals
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Chunk,
    ConvergenceWarning,
    Expectation,
    FitError,
    Gamma,
    LogNormal,
    Mixture,
    ModelError,
    MultivariateNormal,
    Normal,
    Poisson,
    StopReason,
    fit,
    load,
)
from emix.block import CHUNK_ROWS
from emix.model import Model

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
    assert_array_equal(told[-1].model.family.rate, result.model.family.rate)
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


def test_large_tables_of_categories_are_held_as_small_integers(monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 3000)
    x = np.where(rng.random((3000, 5)) < 0.7, z[:, None] * 2, rng.integers(0, 4, (3000, 5))).astype(object)
    x[rng.random(x.shape) < 0.1] = None
    found = []
    for limit in (np.inf, 1):
        monkeypatch.setattr("emix.data.encode.COMPACT_FROM", limit)
        monkeypatch.setattr("emix.data.source.COMPACT_FROM", limit)
        result = fit(Mixture(Categorical(), 2), x, random_state=0, n_init=3)
        predicted = emix.predict(result.model, x).tolist()
        found.append((result.log_likelihood, predicted, result.n_iter, result.total_weight))
    assert found[0] == found[1]


def test_a_level_of_rows_without_weight_is_no_level():
    x = np.array(["a", "b", "a", "c"] * 10, dtype=object)
    weight = np.where(x == "c", 0.0, 1.0)
    result = fit(Mixture(Categorical(), 1), x, sample_weight=weight)
    assert result.model.family.binding.schema.levels == (("a", "b"),)
    assert result.n_free_parameters == 1
    assert_allclose(result.model.family.probabilities, [[2 / 3, 1 / 3]], rtol=1e-12)


@pytest.mark.parametrize("n_init", [1, 4])
def test_what_a_sample_did_not_hold_is_not_impossible(n_init):
    """Starts are made on 10,000 rows; three rows of 30,000 hold a category that is not among them."""
    rng = np.random.default_rng(0)
    z, n = rng.integers(0, 2, 30_000), 30_000
    x = np.where(rng.random((n, 12)) < 0.6, z[:, None] * 3, rng.integers(0, 6, (n, 12)))
    x[:3, 4] = 7
    result = fit(Mixture(Categorical(), 2), x, random_state=1, n_init=n_init)
    assert result.converged
    levels = result.model.family.binding.schema.levels[4]
    rare = result.model.family.probabilities[4][:, levels.index(7)]
    assert_allclose(result.model.mixing_proportions @ rare, 3 / n, rtol=1e-6)


def test_a_family_is_no_model_and_the_error_says_what_is():
    for wrong in (Poisson(), "poisson"):
        with pytest.raises(ModelError, match=r"Mixture\(Normal\(\), 2\)"):
            fit(wrong, [1, 2, 3])


def test_a_floor_for_variances_serves_tables_that_would_collapse():
    x = np.random.default_rng(0).normal(size=(12, 2))
    for seed in range(20):
        rows = x[np.random.default_rng(seed).permutation(12)[:8]]
        result = fit(Mixture(MultivariateNormal(variance_floor=0.01), 3), rows, random_state=seed)
        scale = rows.std(axis=0)
        values = np.linalg.eigvalsh(result.model.family.covariance / np.outer(scale, scale))
        assert values.min() >= 0.01 * (1 - 1e-9)
        assert all(record.gain >= -8 * record.noise for record in result.history[1:])


@pytest.mark.parametrize(("family", "log"), [(Normal, False), (LogNormal, True)], ids=["normal", "lognormal"])
def test_a_floor_for_variances_of_single_columns_is_the_constrained_maximum(family, log, tmp_path):
    x = np.random.default_rng(1).normal(size=40)
    resp = stats.norm.pdf(x[:, None], [0.0, x[3]], [2.0, 0.01])
    resp /= resp.sum(axis=1, keepdims=True)
    data, floor = np.exp(x) if log else x, 0.05
    fitted = fit(Mixture(family(variance_floor=floor), 2), data, start=resp, stop="iterations", max_iter=0).model.family
    least = floor * x.var()
    for k, w in enumerate(resp.T):
        mean, variance = (next(iter(fitted.parameters.values()))[k], list(fitted.parameters.values())[1][k])
        off = w @ (x - w @ x / w.sum()) ** 2
        found = optimize.minimize_scalar(
            lambda v, w=w, off=off: 0.5 * (w.sum() * np.log(v) + off / v), bounds=(least, 9.0), options={"xatol": 1e-12}
        )
        assert_allclose(variance, found.x, rtol=1e-6)
        assert_allclose(mean, w @ x / w.sum(), rtol=1e-9)
    assert_allclose(list(fitted.parameters.values())[1].min(), least, rtol=1e-12)  # the second component is held by it
    result = fit(Mixture(family(variance_floor=floor), 9), data, random_state=0)
    assert all(record.gain >= -8 * record.noise for record in result.history[1:])
    result.save(tmp_path / "m.json")
    assert load(tmp_path / "m.json").family.variance_floor == floor
    with pytest.raises(ModelError, match="variance_floor needs a finite number >= 0"):
        family(variance_floor=-1)


@pytest.mark.parametrize("family", [Normal(), LogNormal(), Gamma()], ids=str)
def test_the_remedies_that_a_collapse_names_exist(family):
    x = np.exp(np.r_[np.random.default_rng(0).normal(size=10), 1.25, 1.25, 1.25])
    with pytest.raises(FitError) as collapse:
        fit(Mixture(family, 10), x, random_state=0)
    assert "prior_rows=1.0 of Mixture" in str(collapse.value)
    assert fit(Mixture(family, 10, prior_rows=1.0), x, random_state=0).converged


def test_the_first_m_step_is_the_same_in_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (700, 4))
    x = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    options = {"start": rng.integers(0, 2, 700), "stop": "iterations", "max_iter": 0}
    whole = fit(Mixture(Categorical(), 2), x, **options)
    monkeypatch.setattr(importlib.import_module("emix.em.starts"), "PIECE", 1)
    pieces = fit(Mixture(Categorical(), 2), x, **options)
    for one, other in zip(pieces.model.family.probabilities, whole.model.family.probabilities, strict=True):
        assert_allclose(one, other, rtol=1e-12)
