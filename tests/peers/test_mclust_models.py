"""mclust's fourteen covariance models by GaussianMixture: one M-step from labels, then EM, against mclust 6.0.0."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from emix import GaussianMixture

MODELS = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]


@pytest.fixture(scope="module")
def iris(reference):
    columns = reference.read("iris.csv")
    *measures, species = columns.values()
    return np.stack(measures, axis=1), np.unique(species, return_inverse=True)[1]


@pytest.mark.parametrize("name", MODELS)
def test_em_from_the_species(reference, iris, name):
    (X, species), (expected, tolerance) = iris, reference.case("mclust_me_iris")
    found = expected["models"][name]
    model = GaussianMixture(
        3, covariance_type=name, start=species, reg_covar=0, stop="aitken", tol=1e-8, max_iter=10_000, accelerate=True
    ).fit(X)
    assert model.converged_
    assert model._n_parameters() == found["df"]
    if name == "VVE":  # mclust 6.0.0 stops short of the maximum in this M-step
        assert model.lower_bound_ * 150 == pytest.approx(found["own_loglik"], abs=1e-4)
        return
    assert model.lower_bound_ * 150 == pytest.approx(found["loglik"], abs=tolerance["loglik"])
    assert model.bic(X) == pytest.approx(-found["bic"], abs=tolerance["bic"])
    theirs = np.array(reference.output("mclust_me.json")["iris"]["models"][name]["mean"])
    theirs = theirs if theirs.shape == (3, 4) else theirs.T
    assert_allclose(model.means_, theirs, rtol=tolerance["mean_rel"])


@pytest.mark.parametrize("name", [one for one in MODELS if one != "VVE"])
def test_one_m_step_from_the_species(reference, iris, name):
    (X, species), (expected, tolerance) = iris, reference.case("mclust_mstep_iris")
    model = GaussianMixture(3, covariance_type=name, start=species, reg_covar=0, max_iter=0).fit(X)
    assert model.score(X) * 150 == pytest.approx(
        expected["observed_loglik_after_mstep"][name], abs=tolerance["observed_loglik"]
    )


def test_row_weights(reference, iris):
    (X, species), (expected, tolerance) = iris, reference.case("weighted_em_iris")
    weight = 1.0 + np.arange(150) % 3
    model = GaussianMixture(3, start=species, reg_covar=0, stop="aitken", tol=1e-9, max_iter=10_000)
    model.fit(X, sample_weight=weight)
    assert model.result_.log_likelihood == pytest.approx(expected["weighted_loglik"], abs=tolerance["weighted_loglik"])
    assert_allclose(model.weights_, expected["pro"], atol=1e-5)
    assert_allclose(model.means_, expected["mean"], atol=tolerance["mean"])
