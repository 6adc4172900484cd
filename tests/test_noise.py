"""A uniform component for rows that belong to no other."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import emix
from emix import Mixture, MultivariateNormal, Normal, Poisson, StudentT, fit


@pytest.mark.parametrize("structure", ["EEE", "VVV", "VII", "VVI"])
def test_chevron_as_mclust_fits_it(reference, structure):
    expected, tolerance = reference.case("mclust_noise_chevron")
    wanted = expected["models"]["EEE" if structure == "VVV" else structure]
    columns = reference.read("chevron.csv")
    x = np.stack([columns["x"], columns["y"]], axis=1).astype(float)
    is_noise = np.array([word == "noise" for word in columns["class"]]).astype(int)
    model = Mixture(MultivariateNormal(structure=structure), 1, noise=1 / expected["Vinv"])
    result = fit(model, x, start=is_noise, tol=1e-9)
    assert_allclose(result.log_likelihood, wanted["loglik"], atol=tolerance["loglik"])
    assert_allclose(result.model.mixing_proportions, wanted["pro"], atol=tolerance["param"])
    assert_allclose(result.model.family.mean, wanted["mean"], rtol=tolerance["param"])
    assert_allclose(result.model.family.covariance, wanted["sigma"], rtol=tolerance["param"], atol=1e-3)


def scattered(n=400, d=2, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.vstack([rng.normal(-3, 0.5, (n, d)), rng.normal(3, 0.5, (n, d))])
    return np.vstack([groups, rng.uniform(-10, 10, (n // 4, d))])


@pytest.mark.parametrize("family", [MultivariateNormal(), MultivariateNormal(structure="EEI"), Normal(), StudentT()])
def test_the_box_of_the_rows_is_found_from_starts_of_our_own(family):
    x = scattered()
    result = fit(Mixture(family, 2, noise=True), x, random_state=0)
    assert result.converged
    assert result.model.noise == pytest.approx(np.prod(x.max(axis=0) - x.min(axis=0)))
    assert_allclose(result.model.mixing_proportions[-1], 100 / 900, atol=0.03)
    assert_allclose(np.sort(result.model.family.mean[:, 0]), [-3, 3], atol=0.1)
    labels = emix.predict(result.model, x)
    assert (labels[800:] == 2).mean() > 0.8
    assert (labels[:800] == 2).mean() < 0.05


def test_density_free_parameters_and_files(tmp_path):
    x = scattered()
    result = fit(Mixture(MultivariateNormal(), 2, noise=400.0), x, random_state=0)
    assert result.n_free_parameters == 2 + 2 * (2 + 3)
    without = Mixture(result.model.family, mixing_proportions=np.array([0.5, 0.5]))
    step = emix.e_step(without, x)
    p = result.model.mixing_proportions
    wanted = np.log(np.exp(step.log_prob) @ p[:2] + p[2] / 400.0)
    assert_allclose(emix.score_samples(result.model, x), wanted, rtol=1e-10)
    emix.save(result.model, tmp_path / "model.json")
    again = emix.load(tmp_path / "model.json")
    assert again.noise == 400.0
    assert_allclose(emix.score_samples(again, x), wanted, rtol=1e-10)
    drawn, labels = emix.sample(result.model, 5000, random_state=0)
    assert_allclose((labels == 2).mean(), p[2], atol=0.03)
    assert np.abs(np.asarray(drawn)[labels == 2]).max() > 5
    order = result.model.reordered(np.array([1, 0]))
    assert_allclose(order.mixing_proportions, p[[1, 0, 2]])


def test_compiled_and_not(monkeypatch):
    x = scattered()
    start = Mixture(MultivariateNormal([[-3.0, -3], [3, 3]], [np.eye(2)] * 2), noise=400.0)
    found = []
    for limit in (0, np.inf):
        monkeypatch.setattr("emix.kernels.dispatch.COMPILE_FROM", limit)
        found.append(fit(start, x, stop="iterations", max_iter=5))
    assert_allclose(found[0].log_likelihood, found[1].log_likelihood, rtol=1e-12)
    assert_allclose(found[0].model.family.covariance, found[1].model.family.covariance, rtol=1e-10)


def test_refusals():
    x = scattered()
    with pytest.raises(emix.ModelError, match="volume > 0"):
        Mixture(Normal(), 2, noise=-1.0)
    with pytest.raises(emix.ModelError, match="real numbers"):
        fit(Mixture(Poisson(), 2, noise=True), np.arange(20))
    x[0, 0] = np.nan
    with pytest.raises(emix.ModelError, match="without missing cells"):
        fit(Mixture(MultivariateNormal(), 2, noise=True), x)
