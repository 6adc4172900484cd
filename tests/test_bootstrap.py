"""The bootstrap and the tests that rest on drawn data."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cases import CASES
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import FitError, Mixture, ModelError, MultivariateNormal, Normal, Poisson
from emix.inference.replicates import fit_alone, fit_together, with_weights
from emix.inference.uncertainty import Uncertainty

KINDS = ("parametric", "nonparametric", "weighted")
EVERY_FAMILY = {case.family.name: case for case in CASES if case.n_columns > 1 or case.family.name == "binomial"}


@pytest.fixture(scope="module")
def eee(faithful):
    """Three components of one covariance, as mclust chooses for Old Faithful."""
    x, _ = faithful
    return x, emix.fit(Mixture(MultivariateNormal(structure="EEE"), 3), x, random_state=0)


def arrays_of(found: emix.Bootstrap) -> list[np.ndarray]:
    parts = (value if isinstance(value, tuple) else (value,) for value in found.replicates.values())
    return [array for part in parts for array in part]


# -- fits side by side are those of the driver -----------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["EEE", "VVV", "VEI", "EII", "VEV"])
def test_fits_side_by_side_are_those_of_the_driver(structure, iris):
    x, _ = iris
    result = emix.fit(Mixture(MultivariateNormal(structure=structure), 2), x, random_state=0)
    rng = np.random.default_rng(0)
    weights = [rng.exponential(size=len(x)) for _ in range(4)]
    source = emix.fitting.use.prepared(result.model, x)[1].prepared_for(result.model.family)
    together = fit_together(result.model, [source], weights, [np.zeros(len(x))])
    for weight, one in zip(weights, together, strict=True):
        alone = fit_alone(result.model, with_weights(source, weight))
        best = emix.fit(result.model, x, start=result.model, sample_weight=weight, tol=1e-10)
        for found in (one, alone):
            assert not found.failure
            assert -1e-9 <= best.log_likelihood - found.log_likelihood < 1e-3  # the rule promises about 1e-4
            assert_allclose(found.values["mean"], best.model.family.mean, atol=0.01)


def test_label_knowledge_and_missing_cells_stay(iris):
    x, species = iris
    labels = np.where(np.arange(len(x)) % 5 == 0, species > 0, -1).astype(int)
    holed = np.where(np.random.default_rng(0).random(x.shape) < 0.1, np.nan, x)
    for family, rows in ((MultivariateNormal(), holed), (Normal(), holed), (Normal(), x)):
        result = emix.fit(Mixture(family, 2), rows, labels=labels, random_state=0)
        for kind in KINDS:
            found = emix.bootstrap(result, rows, kind=kind, n_replicates=4, labels=labels, random_state=0)
            assert found.n_replicates == 4
            assert found.switched == 0
            assert_allclose(found.replicates["mean"].mean(axis=0), result.model.family.mean, atol=0.5)


@pytest.mark.parametrize("name", sorted(EVERY_FAMILY))
def test_every_family_and_kind_has_the_same_bits_for_any_number_of_threads(name):
    case = EVERY_FAMILY[name]
    x, _ = case.draw(60)
    result = emix.fit(case.mixture(x), x)
    for kind in KINDS:
        options = {"kind": kind, "n_replicates": 2, "random_state": 1}
        one = emix.bootstrap(result, x, **options)
        other = emix.bootstrap(result, x, n_jobs=2, **options)
        assert one.n_failed == other.n_failed
        for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
            assert_array_equal(a, b)
        assert len({*map(str, arrays_of(one)[1])}) == one.n_replicates  # no two replicates are alike


# -- what it should find ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_one_component_has_its_textbook_distribution(kind):
    x = np.random.default_rng(3).normal(5, 2, (100, 1))
    result = emix.fit(Mixture(Normal(), 1), x)
    found = emix.bootstrap(result, x, kind=kind, n_replicates=999, random_state=0, level=0.9)
    mean = found.of("mean", 0)
    s = x.std() / 10
    assert_allclose(mean.standard_error, s, rtol=0.08)  # known to 2.2 %
    assert_allclose([mean.lower, mean.upper], x.mean() + s * stats.norm.ppf([0.05, 0.95]), atol=0.15 * s)
    assert found.of("mixing_proportion").note == "fixed"


def test_weights_that_count_rows_are_rows():
    """A weight of 3 is drawn as three rows, whatever the kind."""
    x, w = np.array([1.0, 4.0, 9.0]), np.array([30, 40, 30])
    result = emix.fit(Mixture(Poisson(), 1), x, sample_weight=w)
    sd = {
        "parametric": np.sqrt(result.model.family.rate[0] / 100),
        "nonparametric": np.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w) / 100),
    }
    sd["weighted"] = sd["nonparametric"]
    for kind in KINDS:
        found = emix.bootstrap(result, x, kind=kind, sample_weight=w, n_replicates=999, random_state=0)
        assert_allclose(found.of("rate", 0).standard_error, sd[kind], rtol=0.08)
    half = emix.fit(Mixture(Poisson(), 1), x, sample_weight=w / 4)
    with pytest.raises(ModelError, match="whole numbers for a parametric bootstrap"):
        emix.bootstrap(half, x, sample_weight=w / 4)


def test_old_faithful_agrees_with_the_observed_information(eee):
    x, result = eee
    observed = emix.standard_errors(result, x)
    found = emix.bootstrap(result, x, n_replicates=400, random_state=0)
    pairs = [(a, b) for a, b in zip(found.estimates, observed.estimates, strict=True) if a.parameter == "mean"]
    assert [a.name for a in found.estimates] == list(observed.names)
    for a, b in pairs:
        assert_allclose(a.standard_error, b.standard_error, rtol=0.2)
        assert a.lower < a.value < a.upper
    assert found.is_complete
    assert found.n_failed == 0
    again = emix.bootstrap(result, x, n_replicates=400, random_state=found.seed, n_jobs=2)
    assert_array_equal(found.replicates["mean"], again.replicates["mean"])


def test_components_that_change_places_are_put_back(monkeypatch):
    """Replicates whose components were permuted on the way are found, and reported."""
    x = np.random.default_rng(0).poisson(np.repeat([1.0, 12.0], 60))
    result = emix.fit(Mixture(Poisson(), 2), x, random_state=0)
    straight = emix.bootstrap(result, x, n_replicates=20, random_state=0)
    together = emix.inference.replicates.fit_together

    def turned(*arguments):
        found = together(*arguments)
        for one in found[::2]:
            for name in one.values:
                one.values[name] = one.values[name][::-1]
        return found

    module = sys.modules["emix.inference.bootstrap"]  # the package's attribute of this name is the function
    monkeypatch.setattr(module, "fit_together", turned)
    found = emix.bootstrap(result, x, n_replicates=20, random_state=0)
    assert found.switched == 0.5
    for a, b in zip(arrays_of(found), arrays_of(straight), strict=True):
        assert_array_equal(a, b)
    assert emix.diagnose(result, x, found).of("labels")[0].level == "warning"


def test_failures_are_counted_and_named(eee):
    x, _ = eee
    few = x[:9]
    result = emix.fit(Mixture(MultivariateNormal(), 2), few, random_state=1, n_init=40)
    found = emix.bootstrap(result, few, kind="nonparametric", n_replicates=60, random_state=0)
    assert found.n_failed > 0
    assert found.n_failed + found.n_replicates == 60
    assert any("lost its spread" in reason for reason in found.failures)
    assert sum(found.failures.values()) == found.n_failed


def test_progress_and_interrupt(eee):
    x, result = eee
    wide = np.tile(x, (70, 1))  # too many rows to run side by side: one replicate after another
    big = emix.fit(result.model, wide, start=result.model)
    told = []

    def stop_after_three(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    found = emix.bootstrap(big, wide, n_replicates=50, kind="parametric", random_state=0, on_progress=stop_after_three)
    assert told == [(1, 50), (2, 50), (3, 50)]
    assert not found.is_complete
    assert found.n_replicates == 3

    def stop_at_once(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emix.bootstrap(big, wide, n_replicates=50, kind="parametric", random_state=0, on_progress=stop_at_once)


def test_refusals(eee):
    x, result = eee
    for wrong, message in (
        ({"kind": "jackknife"}, "kind of bootstrap"),
        ({"n_replicates": 1}, "whole number >= 2"),
        ({"level": 1.0}, "between 0 and 1"),
    ):
        with pytest.raises(ModelError, match=message):
            emix.bootstrap(result, x, **wrong)
    with pytest.raises(FitError, match="the rows of the fit are required"):
        emix.bootstrap(result, x[1:])


# -- one more component ----------------------------------------------------------------------------------------------


def test_likelihood_ratio_test_stops_early_where_one_component_is_enough():
    x = np.random.default_rng(1).normal(size=(80, 1))
    small = emix.fit(Mixture(Normal(), 1), x)
    options = {"n_replicates": 99, "stop_at": 4, "n_init": 2, "random_state": 0}
    found = emix.likelihood_ratio_test(small, x, **options)
    assert found.is_sequential
    assert found.n_exceeding == 4
    assert (found.replicates >= found.statistic).sum() == 4
    assert found.replicates[-1] >= found.statistic  # not one draw too many
    assert found.p_value == 4 / len(found.replicates)
    assert found.n_components == (1, 2)
    again = emix.likelihood_ratio_test(small, x, n_jobs=2, **options)
    assert_array_equal(found.replicates, again.replicates)
    assert "1 against 2 components" in str(found)


def test_likelihood_ratio_test_finds_the_second_component(faithful):
    x = faithful[0][::3, 1]
    small = emix.fit(Mixture(Normal(), 1), x)
    found = emix.likelihood_ratio_test(small, x, n_replicates=9, n_init=2, random_state=0)
    assert found.n_exceeding == 0
    assert found.p_value == 1 / (1 + len(found.replicates)) <= 1 / 8
    assert len(found.replicates) + found.n_failed == 9
    assert_allclose(found.statistic, 2 * (found.result.log_likelihood - small.log_likelihood))
    assert found.result.model.n_components == 2


def test_likelihood_ratio_test_of_categories_with_missing_cells():
    rng = np.random.default_rng(0)
    rows = {"a": rng.choice(["x", "y", None], 60, p=[0.5, 0.4, 0.1]), "b": rng.choice(["u", "v", "w"], 60)}
    small = emix.fit(Mixture(emix.Categorical(), 1), rows)
    found = emix.likelihood_ratio_test(small, rows, n_replicates=6, n_init=1, random_state=0)
    assert found.n_failed == 0
    assert 0 < found.p_value <= 1
    held = emix.fit(Mixture(Poisson([3.0]), fixed={"rate"}), [1, 2, 3])
    with pytest.raises(ModelError, match="nothing held fixed"):
        emix.likelihood_ratio_test(held, [1, 2, 3])
    with pytest.raises(ModelError, match="whole number >= 2"):
        emix.likelihood_ratio_test(small, rows, n_components=1)


# -- linear hypotheses -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sure(faithful):
    x, _ = faithful
    return emix.standard_errors(emix.fit(Mixture(Normal(), 2), x, random_state=0), x)


def test_wald_of_one_restriction_is_the_squared_z(sure):
    one = sure.of("mean", 0, "x0")
    found = emix.wald_test(sure, "mean[0, x0] = 2")
    assert_allclose(found.statistic, ((one.value - 2) / one.standard_error) ** 2, rtol=1e-10)
    assert_allclose(found.p_value, stats.chi2.sf(found.statistic, 1), rtol=1e-10)
    same = emix.wald_test(sure, "2.5 * mean[0, x0] - 1 = mean[0, x0] + 2")
    assert_allclose(same.statistic, found.statistic, rtol=1e-9)


def test_wald_of_several_restrictions(sure: Uncertainty):
    texts = ["mean[0, x0] = mean[1, x0]", "mean[0, x1] - mean[1, x1] = 0"]
    found = emix.wald_test(sure, texts)
    i, j, k, m = (sure.names.index(f"mean[{c}, {name}]") for name in ("x0", "x1") for c in (0, 1))
    R = np.zeros((2, len(sure.names)))
    R[0, [i, j]] = R[1, [k, m]] = 1, -1
    off = R @ [one.value for one in sure.estimates]
    assert_allclose(found.statistic, off @ np.linalg.solve(R @ sure.covariance @ R.T, off), rtol=1e-8)
    assert found.df == 2
    mapped = emix.wald_test(sure, [{"mean[0, x0]": 1, "mean[1, x0]": -1}, {"mean[0, x1]": 1, "mean[1, x1]": -1}])
    assert_allclose(mapped.statistic, found.statistic)
    assert emix.wald_test(sure, [*texts, texts[0]]).df == 2  # said twice
    halves = emix.wald_test(sure, "mixing_proportion[0] = mixing_proportion[1] = 0.5")
    assert halves.df == 1  # they add up to 1
    share = sure.of("mixing_proportion", 0)
    assert_allclose(halves.statistic, ((share.value - 0.5) / share.standard_error) ** 2, rtol=1e-8)


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        ("mean[0, x0] = foo", "'foo' is neither a number nor an estimate"),
        ("mean[0, x0]", "it has no '='"),
        ("mean[0, x0] =", "one side is empty"),
        ("mean[0, x0] mean[1, x0] = 0", "neither a number nor an estimate"),
        ("mixing_proportion[0] + mixing_proportion[1] = 1", "always differ by the same number"),
        (["mean[0, x0] = 2", "mean[0, x0] = 3"], "contradict each other"),
        ([], "no restriction"),
        ({"nobody": 1.0}, "there is no such estimate"),
    ],
)
def test_hypotheses_that_say_nothing_are_refused(sure, hypothesis, message):
    with pytest.raises(ModelError, match=message):
        emix.wald_test(sure, hypothesis)


# -- at a boundary ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_at_a_boundary_has_no_interval(kind):
    """As in `standard_errors`: replicates of a probability of 0 tell nothing of it."""
    x = np.c_[[1] * 30 + [0] * 30, [1] * 30 + [0] * 28 + [1] * 2, [1] * 25 + [0] * 35, [1] * 29 + [0] * 31]
    result = emix.fit(Mixture(emix.Bernoulli(), 2), x, random_state=0)
    found = emix.bootstrap(result, x, kind=kind, n_replicates=20, random_state=0)
    assert [one.note for one in found.estimates] == [one.note for one in emix.standard_errors(result, x).estimates]
    assert sum(one.note == "at the boundary" for one in found.estimates) == 5
    for one in found.estimates:
        if one.note:
            assert one.standard_error is one.lower is one.upper is None
            assert str(one).endswith("(at the boundary)")
        else:
            assert one.lower <= one.value <= one.upper
    assert str(found).count("at the boundary") == 5


def test_a_floor_and_a_rate_of_zero_are_boundaries_too(faithful):
    x = faithful[0]
    result = emix.fit(Mixture(MultivariateNormal(variance_floor=0.5), 2), x, random_state=0)
    found = emix.bootstrap(result, x, n_replicates=3, random_state=0)
    assert {one.note for one in found.of("covariance")} == {"at the boundary"}
    assert all(one.standard_error for one in found.of("mean"))
    counts = np.c_[[0] * 20 + [9] * 20, [9, 11] * 20]
    result = emix.fit(Mixture(Poisson(), 2), counts, random_state=0)
    found = emix.bootstrap(result, counts, n_replicates=3, random_state=0)
    assert sorted(one.note for one in found.of("rate")) == ["", "", "", "at the boundary"]
