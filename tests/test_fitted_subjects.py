"""What looks at a model with parameters takes it as a mixture, as what a fit returned, or in a fitted estimator."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import emix
from emix import Mixture, ModelError

ITEMS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [0, 0]] * 5)
NUMBERS = np.array([[0.0, 1.0], [0.5, 1.5], [0.2, 0.4], [5.0, 8.0], [6.0, 7.0], [5.5, 9.0]] * 5) + np.eye(30, 2)
HOLED = np.where(np.arange(60).reshape(30, 2) == 7, np.nan, NUMBERS)
OF_ITEMS = {
    "table_fit": lambda m: emix.table_fit(m, ITEMS).chi2,
    "bivariate_residuals": lambda m: emix.bivariate_residuals(m, ITEMS),
}
OF_NUMBERS = {
    "e_step": lambda m: emix.e_step(m, NUMBERS).responsibilities,
    "score_samples": lambda m: emix.score_samples(m, NUMBERS),
    "responsibilities": lambda m: emix.responsibilities(m, NUMBERS),
    "predict": lambda m: emix.predict(m, NUMBERS),
    "impute": lambda m: emix.impute(m, HOLED),
    "sample": lambda m: emix.sample(m, 5, random_state=0)[0],
    "quantile_residuals": lambda m: emix.quantile_residuals(m, NUMBERS),
    "separation": lambda m: emix.separation(m),
    "merge_components": lambda m: emix.merge_components(m, NUMBERS).entropies,
    "marginal": lambda m: emix.marginal(m, 0).family.mean,
    "condition": lambda m: emix.condition(m, {0: 1.0}).family.mean,
    "predict_given": lambda m: emix.predict_given(m, {"x0": [1.0, 5.0]}, 1),
    "interval_probability": lambda m: emix.interval_probability(m, 0.0, 5.0),
}
OF_FITS = {
    "standard_errors": lambda r: [one.value for one in emix.standard_errors(r, NUMBERS).estimates],
    "bootstrap": lambda r: emix.bootstrap(r, NUMBERS, n_replicates=2, random_state=0).replicates["mean"],
    "likelihood_ratio_test": lambda r: (
        emix.likelihood_ratio_test(r, NUMBERS, n_replicates=1, n_init=1, random_state=0).statistic
    ),
    "diagnose": lambda r: emix.diagnose(r, NUMBERS).influence,
}


@pytest.fixture(scope="module")
def of_items():
    return emix.fit(Mixture(emix.Bernoulli(), 1), ITEMS), emix.MixtureModel(1, family="bernoulli").fit(ITEMS)


@pytest.fixture(scope="module")
def of_numbers():
    estimator = emix.MixtureModel(2, family="multivariate_normal(structure='EEI')", random_state=0).fit(NUMBERS)
    return estimator.result_, estimator


@pytest.mark.parametrize("name", [*OF_ITEMS, *OF_NUMBERS])
def test_a_fit_stands_for_its_model(name, of_items, of_numbers):
    function = (OF_ITEMS | OF_NUMBERS)[name]
    result, estimator = of_items if name in OF_ITEMS else of_numbers
    expected = function(result.model)
    for subject in (result, estimator):
        assert_allclose(np.asarray(function(subject), dtype=float), np.asarray(expected, dtype=float), rtol=1e-12)
    for wrong in (None, 3, "model.json"):
        with pytest.raises(ModelError, match="model needs a Mixture"):
            function(wrong)
    with pytest.raises(ModelError, match="a model with parameters is required"):
        function(emix.MixtureModel(2))
    with pytest.raises(ModelError, match="a model with parameters is required"):
        function(Mixture(emix.Poisson(), 2))


@pytest.mark.parametrize("name", OF_FITS)
def test_an_estimator_stands_for_its_fit(name, of_numbers):
    result, estimator = of_numbers
    assert_allclose(OF_FITS[name](estimator), OF_FITS[name](result), rtol=1e-12)
    for wrong in (None, result.model):
        with pytest.raises(ModelError, match=r"needs what `emix\.fit` returned"):
            OF_FITS[name](wrong)


def test_a_result_is_saved_by_itself(of_numbers, tmp_path):
    with pytest.raises(ModelError, match=r"result\.save\(path\)"):
        emix.save(of_numbers[0], tmp_path / "model.json")


def test_a_fit_goes_on_from_a_result(of_numbers):
    result, _ = of_numbers
    model = Mixture(emix.MultivariateNormal(structure="EEI"), 2)
    for again in (emix.fit(result, NUMBERS), emix.fit(model, NUMBERS, start=result)):
        assert again.history[0].log_likelihood == pytest.approx(result.log_likelihood, rel=1e-12)
    assert emix.OnlineEM(result).mixture is result.model
    assert len(emix.fit(model, NUMBERS, start=[result, result.model]).starts) == 2
    with pytest.raises(ModelError, match="a model of your own with `expect` and `maximize`"):
        emix.fit(None, NUMBERS)
