"""Coins and counts: results of other software, from the folder that the variable EMIX_REFERENCE names.

Each test reads what is expected, and how exactly, from one case of cases.json; the case names its source.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from compare import assert_near, sorted_by
from scipy.special import gammaln

from emix import Bernoulli, Binomial, Chunk, Mixture, Multinomial, Poisson, e_step, fit

HERE = Path(__file__).parent
TO_THE_END = {"tol": 1e-13, "max_iter": 100_000}


def test_linkage_dlr_mle(reference, published):
    expected, tolerance = reference.case("linkage_dlr_mle")
    linkage = runpy.run_path(str(HERE.parent / "examples" / "linkage.py"))["Linkage"]
    counts = published("linkage.csv")["count"]
    result = fit(linkage(theta=0.5), counts[None], stop="iterations", max_iter=30)
    assert_near(result.model.theta, expected["theta"], tolerance["theta"])
    log_coefficient = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    assert_near(result.log_likelihood + log_coefficient, expected["loglik_multinomial"], tolerance["loglik"])


def test_linkage_dlr_iterates(reference, published):
    expected, tolerance = reference.case("linkage_dlr_iterates")
    linkage = runpy.run_path(str(HERE.parent / "examples" / "linkage.py"))["Linkage"]
    counts = published("linkage.csv")["count"][None]
    found = [
        fit(linkage(theta=0.5), counts, stop="iterations", max_iter=n).model.theta
        for n in range(len(expected["iterates"]))
    ]
    assert_near(found, expected["iterates"], tolerance["abs"])


def test_coins_do_batzoglou(reference, published):
    expected, tolerance = reference.case("coins_do_batzoglou")
    heads = published("coins_do_batzoglou.csv")["heads"]
    model = Mixture(Binomial(10, probability=[0.6, 0.5]), fixed={"mixing_proportions"})
    step = e_step(model, heads)
    assert_near(step.responsibilities[:, 0], expected["estep0"]["z_A"], tolerance["full"])
    tosses = [[expected["estep0"][f"{coin}_{side}"] for side in ("heads", "tails")] for coin in "AB"]
    assert_near(step.expected_statistics[:, 1:], tosses, tolerance["full"])
    iterates = [
        fit(model, heads, stop="iterations", max_iter=n).model.family.probability
        for n in range(len(expected["iterates_full"]))
    ]
    assert_near(iterates, expected["iterates_full"], tolerance["full"])
    assert_near(iterates[1], expected["after_1_iteration"], tolerance["printed"])
    assert_near(iterates[10], expected["after_10_iterations"], tolerance["printed"])
    result = fit(model, heads, stop="parameters", tol=1e-12)
    assert_near(result.model.family.probability, expected["limit"], tolerance["full"])
    log_likelihood = expected["loglik_at_limit_with_binomial_coef_and_weights"]
    assert_near(result.log_likelihood, log_likelihood, tolerance["full"])


def test_coins_free_weights(reference, published):
    expected, tolerance = reference.case("coins_free_weights")
    heads = published("coins_do_batzoglou.csv")["heads"]
    result = fit(Mixture(Binomial(10, probability=[0.6, 0.5])), heads, stop="parameters", tol=1e-12)
    assert_near(result.model.mixing_proportions, expected["pi"], tolerance["param"])
    assert_near(result.model.family.probability, expected["theta"], tolerance["param"])
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])


def test_collins_three_coins(reference):
    """The first coin chooses which of the two others is tossed three times."""
    expected, tolerance = reference.case("collins_three_coins")
    model = Mixture(Binomial(3, probability=[0.3, 0.6]), mixing_proportions=[0.3, 0.7])
    for n, (full, printed) in enumerate(zip(expected["iterates"], expected["printed"], strict=True)):
        after = fit(model, ["HHH", "TTT", "HHH", "TTT"], stop="iterations", max_iter=n).model
        found = [after.mixing_proportions[0], *after.family.probability]
        assert_near(found, full, tolerance["full"])
        assert_near(found, printed, tolerance["printed"])


def test_boys8_binomial_mixture(reference, published):
    """Ten distinct rows that stand for 53,680; EM needs some 20,000 iterations."""
    expected, tolerance = reference.case("boys8_binomial_mixture")
    boys = published("boys8.csv")
    start = Mixture(Binomial(8, probability=[0.5, 0.65]), mixing_proportions=[0.9, 0.1])
    result = fit(start, boys["boys"], sample_weight=boys["families"], stop="parameters", tol=1e-9, max_iter=100_000)
    assert result.converged
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.family.probability, expected["p"], tolerance["p"])
    assert_near(result.model.mixing_proportions, expected["pi"], tolerance["pi"])
    one = fit(Mixture(Binomial(8), 1), boys["boys"], sample_weight=boys["families"])
    assert_near(one.log_likelihood, expected["loglik_1_component"], tolerance["loglik"])


def test_beta_control_binomial_2(reference):
    """Deaths among a number of patients that stands in a column of its own."""
    expected, tolerance = reference.case("beta_control_binomial_2")
    trial = reference.read("betablocker.csv")
    control = trial["Treatment"] == "Control"
    rows = {name: trial[name][control] for name in ("Deaths", "Total")}
    result = fit(Mixture(Binomial("Total"), 2), rows, random_state=0, **TO_THE_END)
    model = sorted_by(result.model, "probability")
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(model.family.probability, expected["p"], tolerance["param"])
    assert_near(model.mixing_proportions, expected["pi"], tolerance["param"])


def test_deaths_poisson2(reference, published):
    expected, tolerance = reference.case("deaths_poisson2")
    notices = published("deaths.csv")
    weight = notices["days"]
    start = Mixture(Poisson(rate=[1.0, 2.5]), mixing_proportions=[0.3, 0.7])
    result = fit(start, notices["deaths"], sample_weight=weight, stop="parameters", tol=1e-12)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.family.rate, expected["lam"], tolerance["param"])
    assert_near(result.model.mixing_proportions, expected["pi"], tolerance["param"])
    one = fit(Mixture(Poisson(), 1), notices["deaths"], sample_weight=weight)
    assert_near(one.log_likelihood, expected["loglik_1_component"], tolerance["loglik"])


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_earthquakes_poisson_mixtures(reference, published, K):
    expected, tolerance = reference.case("earthquakes_poisson_mixtures")
    expected = expected[f"m{K}"]
    counts = published("earthquakes.csv")["count"]
    result = fit(Mixture(Poisson(), K), counts, stop="parameters", tol=1e-8, max_iter=100_000, random_state=0)
    model = sorted_by(result.model, "rate")
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(model.family.rate, expected["lam"], tolerance["param"])
    if K > 1:
        assert_near(model.mixing_proportions, expected["delta"], tolerance["param"])
        assert_near(result.log_likelihood, expected["full"]["loglik"], tolerance["full"])
        assert_near(model.family.rate, expected["full"]["lam"], tolerance["full"])
        assert_near(model.mixing_proportions, expected["full"]["delta"], tolerance["full"])


def test_water_multinomial_3(reference):
    """The limit; the start of the published run is not at hand."""
    expected, tolerance = reference.case("water_multinomial_3")
    counts = reference.read("watermult.csv")
    result = fit(Mixture(Multinomial(), 3), counts, random_state=0, **TO_THE_END)
    order = np.argsort(-result.model.mixing_proportions)
    proportions = result.model.mixing_proportions[order]
    assert_near(result.log_likelihood, expected["loglik_with_multinomial_coef"], tolerance["loglik"])
    assert_near(proportions, expected["pi"], tolerance["pi"])
    assert_near(proportions, expected["published_lambda"], tolerance["published"])
    x = np.stack(list(counts.values()), axis=1)
    log_coefficients = (gammaln(x.sum(axis=1) + 1) - gammaln(x + 1).sum(axis=1)).sum()
    without = result.log_likelihood - log_coefficients
    assert_near(without, expected["loglik_without_coef"], tolerance["loglik"])


def test_whiskey_lc_2(reference):
    """484 distinct patterns of 21 brands, weighted by their frequency."""
    expected, tolerance = reference.case("whiskey_lc_2")
    brands = reference.read("whiskey.csv")
    frequency = brands.pop("Freq")
    result = fit(Mixture(Bernoulli(), 2), brands, sample_weight=frequency, random_state=0, tol=1e-9)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert result.n_free_parameters == expected["df"]
    assert result.total_weight == 2218
    shares = -np.sort(-result.model.mixing_proportions)
    assert_near(shares, expected["class_sizes"], tolerance["class_sizes"])


def test_dawid_skene_1979(reference):
    """Observers who err, as one multinomial.

    The confusion row of an observer is shared by all of his readings, so each patient is a vector of counts over the
    pairs of an observer and a response. As every patient has the same number of readings from each observer, the share
    of an observer in the estimated probabilities is his share of the readings, whatever the class: it moves the
    log-likelihood by a constant, as the multinomial coefficients do, and nothing else.
    """
    expected, tolerance = reference.case("dawid_skene_1979")
    table = json.loads((HERE / "reference" / "dawid_skene.json").read_text())
    counts = np.zeros((45, 5, 4))
    for patient, observers in table.items():
        for observer, responses in observers.items():
            for response in responses:
                counts[int(patient) - 1, int(observer) - 1, response - 1] += 1
    readings = counts.sum(axis=2)
    assert (readings == [3, 1, 1, 1, 1]).all()
    constant = (gammaln(7 + 1) - gammaln(counts + 1).sum(axis=(1, 2)) + 3 * np.log(3 / 7) + 4 * np.log(1 / 7)).sum()

    pooled = counts.sum(axis=1) / 7
    n = len(expected["loglik_by_iteration"])
    rows = counts.reshape(45, 20)
    result = fit(Mixture(Multinomial(), 4), rows, start=pooled, stop="iterations", max_iter=n - 1)
    trace = [record.log_likelihood - constant for record in result.history]
    assert_near(trace, expected["loglik_by_iteration"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["class_marginals"], tolerance["marginals_printed"])

    limit = fit(Mixture(Multinomial(), 4), rows, start=pooled, stop="parameters", tol=1e-10)
    assert_near(limit.log_likelihood - constant, expected["limit"], tolerance["loglik"])
    assert_near(limit.model.mixing_proportions, expected["class_marginals_full"], tolerance["full"])
    error_rates = limit.model.family.probabilities.reshape(4, 5, 4) / (readings[0] / 7)[:, None]
    assert_near(error_rates.transpose(1, 0, 2), expected["error_rates_full"], tolerance["full"])


@pytest.mark.parametrize("start", "ABC")
def test_deaths_squarem_counts(reference, published, start):
    """Plain EM applies its map exactly as often as R SQUAREM's fixed-point iteration does under the same rule."""
    expected, _ = reference.case("deaths_squarem_counts")
    notices = published("deaths.csv")
    x, weight = notices["deaths"], notices["days"]
    p, *rates = expected[f"start_{start}"]
    model = begun = Mixture(Poisson(rates), mixing_proportions=[p, 1 - p])
    model = fit(model, x, sample_weight=weight, stop="iterations", max_iter=0).model
    before, change, n_maps = np.array([p, *rates]), 1.0, 0
    chunk = Chunk(x[:, None], weight, is_complete=True)
    while change >= 1e-8:
        model, n_maps = model.maximize(model.expect(chunk).statistics), n_maps + 1
        now = np.array([model.mixing_proportions[0], *model.family.rate])
        before, change = now, np.linalg.norm(now - before)
    prefix = "published" if start == "A" else start
    assert n_maps == expected[f"{prefix}_em_fpevals"]
    leapt = fit(begun, x, sample_weight=weight, stop="parameters", tol=1e-8, accelerate="squarem")
    assert leapt.n_iter <= 3 * expected[f"{prefix}_squarem_fpevals"]
    assert leapt.n_iter * expected["speedup_at_least"] <= n_maps


def test_no_case_of_these_kinds_is_without_a_test(reference):
    """Counts, categories and censored durations; those of regressions wait for regressions."""
    kinds = {"binomial_mixture", "latent_class", "multinomial_mixture", "poisson_mixture", "zero_inflated_poisson"}
    kinds |= {"censored_exponential", "censored_exponential_mixture", "censored_normal", "acceleration"}
    later = {"motors_censored_regression"}
    said = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    wanted = {name for name, case in reference.cases.items() if case["kind"] in kinds}
    assert len(wanted) >= 13
    assert {name for name in wanted if f'"{name}"' not in said} <= later
