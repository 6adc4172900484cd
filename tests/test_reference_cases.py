"""Results of other software, from the folder that the environment variable EMIX_REFERENCE names.

Each test reads what is expected, and how exactly, from one case of cases.json; the case names its source.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln

from emix import (
    Bernoulli,
    Binomial,
    Mixture,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
    e_step,
    fit,
    responsibilities,
)

HERE = Path(__file__).parent
STRUCTURE_OF = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
"""mclust's name of a covariance model, and ours."""
TO_THE_END = {"tol": 1e-13, "max_iter": 100_000}


def assert_near(found, expected, tolerance) -> None:
    assert_allclose(found, expected, rtol=0, atol=tolerance)


def assert_same_share(found, expected, tolerance) -> None:
    """Relative to the size of each number."""
    assert_allclose(found, expected, rtol=tolerance, atol=1e-12)


def sorted_by(model, parameter) -> Mixture:
    """Components in the order of a parameter, of its first column where it has several."""
    values = np.asarray(getattr(model.family, parameter))
    return model.reordered(np.argsort(values.reshape(len(values), -1)[:, 0]))


def assert_trace(result, expected, tolerance) -> None:
    """The log-likelihood of the start and of each iteration."""
    found = [record.log_likelihood for record in result.history[: len(expected)]]
    assert_near(found, expected, tolerance)


# -- coins and counts ----------------------------------------------------------------------------------------------------


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


# -- one normal column ---------------------------------------------------------------------------------------------------


def test_faithful_waiting_2_V(reference, published):
    expected, tolerance = reference.case("faithful_waiting_2_V")
    start = Mixture(Normal(mean=[55.0, 80.0], variance=[25.0, 25.0]))
    result = fit(start, published("faithful.csv")["waiting"], stop="parameters", tol=1e-10)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["param"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["param"])
    assert_near(result.model.family.variance, expected["sigmasq"], tolerance["param"])
    assert_near(result.log_likelihood, expected["published"]["loglik"], tolerance["published"])


def test_faithful_waiting_2_E(reference, published):
    expected, tolerance = reference.case("faithful_waiting_2_E")
    family = MultivariateNormal([[55.0], [80.0]], np.full((2, 1, 1), 25.0), structure="tied")
    result = fit(Mixture(family), published("faithful.csv")["waiting"], stop="parameters", tol=1e-10)
    mean, variance = result.model.family.mean[:, 0], result.model.family.covariance[:, 0, 0]
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["param"])
    assert_near(mean, expected["mean"], tolerance["param"])
    assert_near(variance, expected["sigmasq"], tolerance["param"])
    printed = expected["published"]
    assert_near(result.model.mixing_proportions, printed["lambda_"], tolerance["published"])
    assert_near(mean, printed["mu"], tolerance["published"])
    assert_near(np.sqrt(variance), printed["sigma"], tolerance["published"])


def test_galaxies_3_V_from_partition(reference):
    expected, tolerance = reference.case("galaxies_3_V_from_partition")
    velocity = reference.read("galaxies.csv")["velocity_kms"] / 1000
    partition = np.digitize(velocity, [14, 30])
    result = fit(Mixture(Normal(), 3), velocity, start=partition, stop="parameters", tol=1e-12)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["param"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["param"])
    assert_near(result.model.family.variance, expected["sigmasq"], tolerance["param"])


@pytest.mark.parametrize(
    ("variances", "K"), [(variances, K) for variances in "EV" for K in range(1, 7) if (variances, K) < ("V", 4)]
)
def test_waiting_univariate_best(reference, published, variances, K):
    """The default starts reach the best known optimum."""
    expected, tolerance = reference.case("waiting_univariate_best")
    best = expected["best_known"][variances][str(K)]
    family = Normal() if variances == "V" else MultivariateNormal(structure="tied")
    result = fit(Mixture(family, K), published("faithful.csv")["waiting"], random_state=0, max_iter=3_000)
    assert result.log_likelihood >= best["loglik"] - tolerance["loglik"]
    assert -result.bic >= best["bic"] - 2 * tolerance["loglik"]
    assert not any("collapsed" in warning for warning in result.warnings)


def test_waiting_univariate_best_of_four_variances(reference, published):
    """Seven rows with a standard deviation of 0.7 minutes make the optimum, which few starts find."""
    expected, tolerance = reference.case("waiting_univariate_best")
    best = expected["best_known"]["V"]["4"]
    waiting = published("faithful.csv")["waiting"]
    result = fit(Mixture(Normal(), 4), waiting, start="random", n_init=40, random_state=0, max_iter=1_000)
    assert result.log_likelihood >= best["loglik"] - tolerance["loglik"]


@pytest.mark.parametrize("K", [4, 5, 6])
def test_waiting_univariate_best_is_an_optimum(reference, published, K):
    """From nearby, EM climbs to it: parameters rounded to two digits, and equal proportions."""
    expected, tolerance = reference.case("waiting_univariate_best")
    best = expected["best_known"]["V"][str(K)]
    mean, sd = np.round(best["mean"], 1), np.round(best["sd"], 1)
    waiting = published("faithful.csv")["waiting"]
    start = Mixture(Normal(mean, sd**2), mixing_proportions=np.round(best["pro"], 2) / np.round(best["pro"], 2).sum())
    result = fit(start, waiting, **TO_THE_END)
    assert_near(result.log_likelihood, best["loglik"], tolerance["loglik"])
    assert_near(sorted_by(result.model, "mean").family.mean, best["mean"], 0.01)


# -- several normal columns ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iris(published):
    columns = published("iris.csv")
    species = columns.pop("Species")
    return np.stack(list(columns.values()), axis=1), np.unique(species, return_inverse=True)[1]


@pytest.fixture(scope="module")
def faithful(published):
    columns = published("faithful.csv")
    x = np.stack([columns["eruptions"], columns["waiting"]], axis=1)
    return x, (columns["waiting"] >= 68).astype(int)


@pytest.mark.parametrize("name", STRUCTURE_OF)
@pytest.mark.parametrize("dataset", ["iris", "faithful"])
def test_mclust_me(reference, request, dataset, name):
    """From a hard partition, M-step first, to the end."""
    expected, tolerance = reference.case(f"mclust_me_{dataset}")
    x, partition = request.getfixturevalue(dataset)
    K = partition.max() + 1
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), K)
    result = fit(model, x, start=partition, **TO_THE_END)
    numbers = expected["models"][name]
    assert_near(result.log_likelihood, numbers["loglik"], tolerance["loglik"])
    assert_near(-result.bic, numbers["bic"], tolerance["bic"])
    assert result.n_free_parameters == numbers["df"]
    parameters = reference.output("mclust_me.json")[dataset]["models"][name]
    assert_same_share(result.model.mixing_proportions, parameters["pro"], tolerance["mean_rel"])
    assert_same_share(result.model.family.mean, parameters["mean"], tolerance["mean_rel"])
    assert_same_share(result.model.family.covariance, parameters["sigma"], tolerance["mean_rel"])


@pytest.mark.parametrize("name", STRUCTURE_OF)
def test_mclust_mstep_iris(reference, iris, name):
    """One M-step from hard labels; known labels give the log-likelihood of rows and labels together."""
    expected, tolerance = reference.case("mclust_mstep_iris")
    x, species = iris
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3)
    known = fit(model, x, labels=species)
    assert_near(known.log_likelihood, expected["complete_loglik"][name], tolerance["complete_loglik"])
    parameters = reference.output("mclust_mstep.json")["iris"]["models"][name]
    assert_same_share(known.model.mixing_proportions, parameters["pro"], tolerance["sigma_rel"])
    assert_same_share(known.model.family.mean, parameters["mean"], tolerance["sigma_rel"])
    assert_same_share(known.model.family.covariance, parameters["sigma"], tolerance["sigma_rel"])
    started = fit(model, x, start=species, stop="iterations", max_iter=0)
    observed = expected["observed_loglik_after_mstep"][name]
    assert_near(started.log_likelihood, observed, tolerance["observed_loglik"])


@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_semisupervised_iris(reference, iris, name):
    """The species of every fifth flower is known; the first M-step is on these alone."""
    expected, tolerance = reference.case(f"semisupervised_iris_{name}")
    x, species = iris
    labels = np.full(150, -1)
    labels[::5] = species[::5]
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3)
    result = fit(model, x, labels=labels, start=labels, **TO_THE_END)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.log_likelihood, expected["mclust_loglik"], tolerance["mclust_loglik"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["mean"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["mean"])
    assert result.n_free_parameters == expected["df"]
    confusion = np.zeros((3, 3), dtype=int)
    found = responsibilities(result.model, x, labels=labels).argmax(axis=1)  # a known flower is not predicted anew
    np.add.at(confusion, (species, found), 1)
    assert confusion.tolist() == expected["confusion_true_by_predicted"]


@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_semisupervised_iris_from_default_starts(reference, iris, name):
    """The labelled flowers are enough to find the same optimum."""
    expected, tolerance = reference.case(f"semisupervised_iris_{name}")
    x, species = iris
    labels = np.full(150, -1)
    labels[::5] = species[::5]
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3)
    result = fit(model, x, labels=labels, random_state=0)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])


@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_mclust_eqpro_iris(reference, iris, name):
    """Equal mixing proportions."""
    expected, tolerance = reference.case("mclust_eqpro_iris")
    x, species = iris
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3, fixed={"mixing_proportions"})
    result = fit(model, x, start=species, **TO_THE_END)
    assert_near(result.log_likelihood, expected[name]["loglik"], tolerance["loglik"])
    assert_same_share(result.model.family.mean, expected[name]["mean"], 1e-5)
    assert_allclose(result.model.mixing_proportions, 1 / 3, rtol=1e-15)
    free = fit(Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3), x, start=species)
    assert result.n_free_parameters == free.n_free_parameters - 2


def test_weighted_em_iris(reference, iris):
    """Weights 1, 2, 3, 1, 2, 3, ...; mclust divides them by the largest."""
    expected, tolerance = reference.case("weighted_em_iris")
    x, species = iris
    weight = np.tile([1.0, 2.0, 3.0], 50)
    model = Mixture(MultivariateNormal(), 3)
    result = fit(model, x, sample_weight=weight, start=species, **TO_THE_END)
    assert_near(result.log_likelihood, expected["weighted_loglik"], tolerance["weighted_loglik"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["mean"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["mean"])
    scaled = fit(model, x, sample_weight=weight / 3, start=species, **TO_THE_END)
    assert_near(scaled.log_likelihood, expected["mclust_reported_loglik"], tolerance["weighted_loglik"])


def test_faithful_mv2_trace(reference, faithful):
    expected, tolerance = reference.case("faithful_mv2_trace")
    start = Mixture(MultivariateNormal([[2.0, 55.0], [4.5, 80.0]], np.repeat([np.diag([0.5, 50.0])], 2, axis=0)))
    n = len(expected["loglik_by_iteration"])
    result = fit(start, faithful[0], stop="iterations", max_iter=n - 1)
    assert_trace(result, expected["loglik_by_iteration"], tolerance["trace"])
    assert_near(result.log_likelihood, expected["limit"], tolerance["limit"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["limit"])
    assert_same_share(result.model.family.mean, expected["mean"], tolerance["limit"])
    assert_same_share(result.model.family.covariance, expected["sigma"], 1e-6)


def test_Nclus_full(reference):
    expected, tolerance = reference.case("Nclus_full")
    points = reference.read("Nclus.csv")
    result = fit(Mixture(MultivariateNormal(), 4), points, random_state=0)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert result.log_likelihood > expected["flexmix_published"]
    assert result.log_likelihood > expected["mclust_default"]
    model = sorted_by(result.model, "mean")
    order = np.argsort(np.array(expected["mean"])[:, 0])
    assert_near(model.family.mean, np.array(expected["mean"])[order], 1e-3)
    assert_near(model.mixing_proportions, np.array(expected["pi"])[order], 1e-4)


def test_mclust_best_faithful(reference, faithful):
    """The model that mclust chooses, from the default starts.

    mclust stops at a relative gain of 1e-5, here 0.0103 nats below the optimum: the fit must not be worse, and near.
    """
    expected, tolerance = reference.case("mclust_best_faithful")
    full = expected["full"]
    result = fit(Mixture(MultivariateNormal(structure="tied"), 3), faithful[0], random_state=0)
    assert result.log_likelihood >= full["loglik"]
    assert -result.bic >= full["bic"]
    assert result.n_free_parameters == full["df"]
    order = np.argsort(np.array(full["mean"])[:, 0])
    model = sorted_by(result.model, "mean")
    assert_same_share(model.family.mean, np.array(full["mean"])[order], tolerance["mean_rel"])
