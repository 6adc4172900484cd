"""Censored durations: published fits, SciPy's censored likelihood, and what cannot be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import brentq

import emix
from emix import CensoredExponential, CensoredWeibull, DataError, FitError, Mixture, ModelError, fit


def weibull_data(n: int = 300, seed: int = 0, shape: float = 2.0, scale: float = 10.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    time, limit = scale * rng.weibull(shape, n), rng.exponential(15.0, n)
    return {"died": (time <= limit).astype(float), "time": np.minimum(time, limit)}


def weibull_maximum(time: np.ndarray, event: np.ndarray) -> tuple[float, float]:
    """The root of the profile's score in the shape (Lawless 2003, equation 5.2.6), by bracketing."""
    time = time / time.max()  # so that powers stay finite

    def score(k: float) -> float:
        power = time**k
        return 1 / k + np.log(time[event == 1]).mean() - power @ np.log(time) / power.sum()

    k = brentq(score, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)
    return k, ((time**k).sum() / event.sum()) ** (1 / k)


# -- published -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["6-MP", "control"])
def test_gehan_leukaemia_trial(reference, arm):
    """Freireich et al. (1963), Gehan (1965): weeks of remission; closed form, and R survival's survreg."""
    expected, tolerance = reference.case("gehan_censored_exponential")
    data = reference.read("gehan.csv")
    rows = data["treat"] == arm
    table = {"time": data["time"][rows], "cens": data["cens"][rows]}
    result = fit(Mixture(CensoredExponential(event="cens"), 1), table)
    wanted = expected[arm]
    assert_allclose(result.model.family.rate[0], wanted["rate"], rtol=tolerance["rel"])
    assert_allclose(result.log_likelihood, wanted["loglik"], rtol=tolerance["rel"])
    step = emix.e_step(result.model, table)
    assert_array_equal(step.expected_statistics[0, 1:], [wanted["exposure"], wanted["events"]])
    weibull = fit(Mixture(CensoredWeibull(event="cens"), 1), table, tol=1e-12)
    k, s = weibull_maximum(table["time"], table["cens"])
    assert_allclose(weibull.model.family.shape[0], k, rtol=1e-6)
    assert_allclose(weibull.model.family.scale[0], s * table["time"].max(), rtol=1e-6)
    assert weibull.log_likelihood > result.log_likelihood


def test_veteran_two_exponentials(reference):
    """R mixtools' expRMM_EM on the Veterans' Administration lung cancer trial."""
    expected, tolerance = reference.case("veteran_censored_exp2")
    data = reference.read("veteran.csv")
    table = {"time": data["time"], "status": data["status"]}
    start = Mixture(CensoredExponential([1 / 30, 1 / 200], event="status"))
    result = fit(start, table, tol=1e-10)
    assert_allclose(result.model.family.rate, expected["rate"], rtol=tolerance["rate_rel"])
    assert_allclose(result.model.mixing_proportions, expected["pi"], atol=tolerance["pi"])
    assert_allclose(result.log_likelihood, expected["loglik"], atol=tolerance["loglik"])
    single = fit(Mixture(CensoredExponential(event="status"), 1), table)
    assert_allclose(single.model.family.rate[0], expected["rate_1_component"], rtol=1e-12)
    assert_allclose(single.log_likelihood, expected["loglik_1_component"], rtol=1e-12)
    drawn = fit(Mixture(CensoredExponential(event="status"), 2), table, random_state=0)
    assert_allclose(drawn.log_likelihood, expected["loglik"], atol=tolerance["loglik"])


# -- the Weibull step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.2, 0.9, 1.0, 4.0, 60.0, 3000.0])
def test_the_weibull_fit_is_the_maximum(shape):
    data = weibull_data(400, shape=shape)
    result = fit(Mixture(CensoredWeibull(event="died"), 1), data, tol=1e-12, accelerate=False)
    family = result.model.family
    if shape < 100:
        k, s = weibull_maximum(data["time"], data["died"])
        assert_allclose([family.shape[0], family.scale[0]], [k, s * data["time"].max()], rtol=2e-7)
    frozen = stats.weibull_min(family.shape[0], scale=family.scale[0])
    ended = data["died"] == 1
    wanted = frozen.logpdf(data["time"][ended]).sum() + frozen.logsf(data["time"][~ended]).sum()
    assert_allclose(result.log_likelihood, wanted, rtol=1e-10)
    assert result.n_iter < 30


def test_the_weibull_fit_is_that_of_scipy():
    data = weibull_data(200)
    ended = data["died"] == 1
    censored = stats.CensoredData(uncensored=data["time"][ended], right=data["time"][~ended])
    k, _, s = stats.weibull_min.fit(censored, floc=0)
    family = fit(Mixture(CensoredWeibull(event="died"), 1), data, tol=1e-12).model.family
    assert_allclose([family.shape[0], family.scale[0]], [k, s], rtol=1e-4)  # of SciPy's simplex


@pytest.mark.parametrize("fixed", [(), ("shape",), ("scale",)])
@pytest.mark.parametrize("start", [([0.1, 30.0], [0.01, 500.0]), ([1.0, 1.0], [3.0, 8.0]), ([9.0, 0.05], [10.0, 1.0])])
def test_the_log_likelihood_never_falls_from_far_starts(fixed, start):
    one, other = weibull_data(150, seed=1, shape=0.7, scale=3.0), weibull_data(150, seed=2, shape=5.0, scale=20.0)
    data = {name: np.concatenate([one[name], other[name]]) for name in one}
    model = Mixture(CensoredWeibull(*start, event="died", fixed=frozenset(fixed)))
    result = fit(model, data, stop="iterations", max_iter=100)
    for before, after in pairwise(result.history):
        assert after.log_likelihood >= before.log_likelihood - 1e-10 * abs(before.log_likelihood)
    for name in fixed:
        assert_array_equal(getattr(result.model.family, name), getattr(model.family, name))


def test_a_fixed_weibull_parameter_leaves_the_constrained_maximum():
    data = weibull_data(300)
    time, events = data["time"], data["died"].sum()
    family = fit(Mixture(CensoredWeibull([1.0], event="died", fixed={"shape"}), 1), data).model.family
    assert_allclose(family.scale[0], time.sum() / events, rtol=1e-12)
    family = fit(Mixture(CensoredWeibull(scale=[8.0], event="died", fixed={"scale"}), 1), data, tol=1e-12).model.family
    k, ratio = family.shape[0], np.log(time / 8.0)
    score = events / k + data["died"] @ ratio - np.exp(k * ratio) @ ratio
    assert abs(score) < 1e-4 * events


def test_two_weibull_components_are_found():
    one, other = weibull_data(900, seed=1, shape=1.2, scale=2.0), weibull_data(600, seed=2, shape=6.0, scale=12.0)
    data = {name: np.concatenate([one[name], other[name]]) for name in one}
    result = fit(Mixture(CensoredWeibull(event="died"), 2), data, random_state=0)
    assert result.converged
    truth = Mixture(CensoredWeibull([1.2, 6.0], [2.0, 12.0], event="died"), mixing_proportions=[0.6, 0.4])
    gained = 2 * (result.log_likelihood - emix.e_step(truth, data).log_likelihood)
    assert 0 <= gained < stats.chi2.ppf(1 - 1e-6, 5)


# -- columns, boundaries, mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CensoredExponential, CensoredWeibull])
def test_the_order_of_the_columns_does_not_matter(kind):
    data = weibull_data(100)
    turned = {name: data[name] for name in ("time", "died")}
    one, other = (fit(Mixture(kind(event="died"), 1), table) for table in (data, turned))
    assert one.log_likelihood == other.log_likelihood
    drawn, _ = emix.sample(one.model, 20, random_state=0, given=np.full(20, 5.0))
    again, _ = emix.sample(other.model, 20, random_state=0, given=np.full(20, 5.0))
    assert_array_equal(drawn, again[:, ::-1])
    assert set(drawn[:, 0]) <= {0.0, 1.0}


@pytest.mark.parametrize("kind", [CensoredExponential, CensoredWeibull])
def test_mistakes_are_named(kind):
    data = weibull_data(30)
    with pytest.raises(DataError, match="there is no column 'dead'"):
        fit(Mixture(kind(event="dead"), 1), data)
    coded = np.where(np.arange(30) == 7, 2.0, data["died"])
    said = r"needs 1 \(event\) or 0 \(censored\), or true and false, .*\n  Found 2 in row 7, column 'died'"
    with pytest.raises(DataError, match=said):
        fit(Mixture(kind(event="died"), 1), {**data, "died": coded})
    with pytest.raises(DataError, match=r"Found the text 'yes' in row 0, column 'died'"):
        fit(Mixture(kind(event="died"), 1), {**data, "died": np.where(data["died"] == 1, "yes", "no")[::-1].tolist()})
    with pytest.raises(DataError, match=r"Found -1 in row 3, column 'time'"):
        fit(Mixture(kind(event="died"), 1), {**data, "time": np.where(np.arange(30) == 3, -1, data["time"])})
    with pytest.raises(DataError, match="exactly 2 columns"):
        fit(Mixture(kind(event="died"), 1), {**data, "age": data["time"]})
    with pytest.raises(ModelError, match="event needs the name of a column"):
        kind(event=1)


@pytest.mark.parametrize("kind", [CensoredExponential, CensoredWeibull])
def test_events_may_be_true_and_false(kind):
    data = weibull_data(40)
    told = {**data, "died": data["died"] == 1}
    one, other = (fit(Mixture(kind(event="died"), 1), table) for table in (data, told))
    assert one.log_likelihood == other.log_likelihood


def test_a_duration_of_0_is_refused_where_its_density_is_not_finite():
    data = weibull_data(30)
    data["time"][4] = 0.0
    with pytest.raises(DataError, match=r"needs durations > 0.\n  Found 0 in row 4, column 'time'"):
        fit(Mixture(CensoredWeibull(event="died"), 1), data)
    assert fit(Mixture(CensoredExponential(event="died"), 1), data).converged


def test_a_component_without_events_has_a_rate_of_0_or_no_weibull_scale():
    data = {"time": np.array([1.0, 2.0, 3.0, 50.0, 60.0]), "died": np.array([1.0, 1, 1, 0, 0])}
    labels = [0, 0, 0, 1, 1]
    result = fit(Mixture(CensoredExponential(event="died"), 2), data, labels=labels)
    assert_array_equal(result.model.family.rate, [0.5, 0.0])
    assert_allclose(result.log_likelihood, 3 * (np.log(0.5) - 1) + 3 * np.log(0.6) + 2 * np.log(0.4), rtol=1e-14)
    with pytest.raises(ModelError, match="times of censoring"):
        emix.sample(result.model, 50, random_state=0)
    rows, drawn = emix.sample(result.model, 50, random_state=0, given=np.full(50, 4.0))
    assert_array_equal(rows[drawn == 1], np.tile([4.0, 0.0], (int((drawn == 1).sum()), 1)))
    with pytest.raises(FitError, match="component 1 has no events"):
        fit(Mixture(CensoredWeibull(event="died"), 2), data, labels=labels)


def test_equal_durations_collapse_by_name():
    data = {"time": np.array([2.0, 2, 2, 5, 7, 9]), "died": np.ones(6)}
    with pytest.raises(FitError, match=r"component 0 collapsed: its variance of 'time'"):
        fit(Mixture(CensoredWeibull(event="died"), 2), data, labels=[0, 0, 0, 1, 1, 1])
    zeros = {"time": np.array([0.0, 0, 5, 7]), "died": np.ones(4)}
    with pytest.raises(FitError, match=r"component 0 collapsed: its variance of 'time'"):
        fit(Mixture(CensoredExponential(event="died"), 2), zeros, labels=[0, 0, 1, 1])


def test_rows_that_lack_a_duration_or_an_event_are_told_from_empty_ones():
    data = {"t": [1.0, 2.0, 3.0, 2.5, np.nan], "died": [1, 0, np.nan, 1, 1], "x": [1.0, 3.0, np.nan, 4.0, 2.0]}
    plain = fit(Mixture(CensoredWeibull(event="died"), 1), {name: data[name] for name in ("t", "died")})
    assert "2 rows lack a value of 't' or 'died', which count only together, and count for nothing." in plain.warnings
    family = emix.Columns({("t", "died"): CensoredWeibull(event="died"), "x": emix.Normal()})
    (said,) = (one for one in fit(Mixture(family, 1), data).warnings if "for nothing" in one)
    assert said.startswith("1 row has no observed cell but perhaps one of 't' and 'died', which count only together")
