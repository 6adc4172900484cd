"""Gaussian mixtures: results of other software, from the folder that the variable EMIX_REFERENCE names.

Each test reads what is expected, and how exactly, from one case of cases.json; the case names its source.
"""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_near, assert_relative, sorted_by
from numpy.testing import assert_allclose

from emix import Mixture, MultivariateNormal, Normal, fit, responsibilities

STRUCTURE_OF = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
"""mclust's name of a covariance model, and ours."""
TO_THE_END = {"tol": 1e-13, "max_iter": 100_000}


# -- one normal column -------------------------------------------------------------------------------------------------


def test_faithful_waiting_2_unequal(reference, published):
    expected, tolerance = reference.case("faithful_waiting_2_V")
    start = Mixture(Normal(mean=[55.0, 80.0], variance=[25.0, 25.0]))
    result = fit(start, published("faithful.csv")["waiting"], stop="parameters", tol=1e-10)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["param"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["param"])
    assert_near(result.model.family.variance, expected["sigmasq"], tolerance["param"])
    assert_near(result.log_likelihood, expected["published"]["loglik"], tolerance["published"])


def test_faithful_waiting_2_equal(reference, published):
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


def test_galaxies_3_from_partition(reference):
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


# -- several normal columns --------------------------------------------------------------------------------------------


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
    assert_relative(result.model.mixing_proportions, parameters["pro"], tolerance["mean_rel"])
    assert_relative(result.model.family.mean, parameters["mean"], tolerance["mean_rel"])
    assert_relative(result.model.family.covariance, parameters["sigma"], tolerance["mean_rel"])


@pytest.mark.parametrize("name", STRUCTURE_OF)
def test_mclust_mstep_iris(reference, iris, name):
    """One M-step from hard labels; known labels give the log-likelihood of rows and labels together."""
    expected, tolerance = reference.case("mclust_mstep_iris")
    x, species = iris
    model = Mixture(MultivariateNormal(structure=STRUCTURE_OF[name]), 3)
    known = fit(model, x, labels=species)
    assert_near(known.log_likelihood, expected["complete_loglik"][name], tolerance["complete_loglik"])
    parameters = reference.output("mclust_mstep.json")["iris"]["models"][name]
    assert_relative(known.model.mixing_proportions, parameters["pro"], tolerance["sigma_rel"])
    assert_relative(known.model.family.mean, parameters["mean"], tolerance["sigma_rel"])
    assert_relative(known.model.family.covariance, parameters["sigma"], tolerance["sigma_rel"])
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
    assert_relative(result.model.family.mean, expected[name]["mean"], 1e-5)
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
    started = fit(model, x, sample_weight=weight, start=species, stop="iterations", max_iter=0).model
    means = [np.average(x[species == k], axis=0, weights=weight[species == k]) for k in range(3)]
    assert_allclose(started.family.mean, means, rtol=1e-13)
    scaled = fit(model, x, sample_weight=weight / 3, start=species, **TO_THE_END)
    assert_near(scaled.log_likelihood, expected["mclust_reported_loglik"], tolerance["weighted_loglik"])


def test_faithful_mv2_trace(reference, faithful):
    expected, tolerance = reference.case("faithful_mv2_trace")
    start = Mixture(MultivariateNormal([[2.0, 55.0], [4.5, 80.0]], np.repeat([np.diag([0.5, 50.0])], 2, axis=0)))
    n = len(expected["loglik_by_iteration"])
    result = fit(start, faithful[0], stop="iterations", max_iter=n - 1)
    assert_near(
        [record.log_likelihood for record in result.history], expected["loglik_by_iteration"], tolerance["trace"]
    )
    assert_near(result.log_likelihood, expected["limit"], tolerance["limit"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["limit"])
    assert_relative(result.model.family.mean, expected["mean"], tolerance["limit"])
    assert_relative(result.model.family.covariance, expected["sigma"], 1e-6)


def test_nclus_full(reference):
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
    assert_relative(model.family.mean, np.array(full["mean"])[order], tolerance["mean_rel"])
