"""The scikit-learn face: attributes, knowledge about components, and agreement with scikit-learn's own mixture."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import emix
from emix import GaussianMixture, MixtureModel


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return np.vstack([rng.normal([0, 0], [1, 2], (60, 2)), rng.normal([5, 4], [2, 1], (40, 2))])


def test_mixture_model_has_the_results_attributes(rows):
    model = MixtureModel(2, random_state=0).fit(rows)
    result = emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), rows, random_state=0)
    assert_array_equal(model.weights_, result.model.mixing_proportions)
    assert_array_equal(model.family_.covariance, result.model.family.covariance)
    assert (model.log_likelihood_, model.n_iter_) == (result.log_likelihood, result.n_iter)
    assert (model.stop_reason_, model.converged_) == (result.stop_reason, True)
    assert [r.log_likelihood for r in model.history_] == [r.log_likelihood for r in result.history]
    assert model.score(rows) * 100 == pytest.approx(result.log_likelihood, rel=1e-12)
    for name in ("aic", "bic", "icl"):
        assert getattr(model, name)(rows) == pytest.approx(getattr(result, name), rel=1e-12)


def test_y_is_ignored_and_labels_are_not(rows):
    truth = np.repeat([0, 1], [60, 40])
    model = MixtureModel(2, random_state=0)
    plain = model.fit(rows).log_likelihood_
    assert model.fit(rows, 1 - truth).log_likelihood_ == plain
    known = model.fit(rows, labels=1 - truth)
    assert_allclose(known.family_.mean, [rows[60:].mean(axis=0), rows[:60].mean(axis=0)], rtol=1e-12)
    assert known.log_likelihood_ < plain


def test_weights_count_in_score_and_criteria(rows):
    weight = np.arange(100) % 3.0
    repeated = np.repeat(rows, weight.astype(int), axis=0)
    weighted = MixtureModel(2, random_state=0).fit(rows, sample_weight=weight)
    again = MixtureModel(2, random_state=0).fit(repeated)
    assert weighted.log_likelihood_ == pytest.approx(again.log_likelihood_, rel=1e-10)
    assert weighted.bic(rows, weight) == pytest.approx(again.bic(repeated), rel=1e-10)
    assert weighted.score(rows, sample_weight=weight) == pytest.approx(again.score(repeated), rel=1e-10)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_their_names(rows, frame):
    data = frame({"height": rows[:, 0], "width": rows[:, 1]})
    model = MixtureModel(2, random_state=0).fit(data)
    assert_array_equal(model.feature_names_in_, ["height", "width"])
    assert model.family_.columns == ("height", "width")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame({"width": rows[:, 1], "height": rows[:, 0]}))


def test_text_columns_are_categories():
    data = pd.DataFrame({"colour": ["red", "blue"] * 10, "size": ["S", "L"] * 10})
    model = MixtureModel(2, random_state=0).fit(data)
    assert model.family_.name == "categorical"
    assert_array_equal(model.feature_names_in_, ["colour", "size"])
    assert len(set(model.predict(data))) == 2
    assert model.sample(3)[0].dtype == object


def test_nan_is_missing_where_the_family_takes_it(rows):
    holes = rows.copy()
    holes[::7, 0] = np.nan
    assert MixtureModel(2, family="normal", random_state=0).fit(holes).converged_
    with pytest.raises(ValueError, match="NaN"):
        MixtureModel(2, family="multivariate_normal").fit(holes)


def test_pipeline_and_grid_search(rows):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MixtureModel(n_init=2, random_state=0)),
        {"mixturemodel__n_components": [1, 2], "mixturemodel__family": ["normal", "multivariate_normal"]},
        cv=2,
    ).fit(rows)
    assert search.best_params_["mixturemodel__n_components"] == 2


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.1])
def test_gaussian_mixture_takes_the_same_steps_as_scikit_learns(rows, covariance_type, reg_covar):
    K, d = 2, 2
    precisions = {
        "full": np.repeat(np.eye(d)[None], K, 0) * 0.5,
        "tied": np.eye(d) * 0.5,
        "diag": np.full((K, d), 0.5),
        "spherical": np.full(K, 0.5),
    }[covariance_type]
    arguments = {
        "covariance_type": covariance_type,
        "reg_covar": reg_covar,
        "weights_init": [0.3, 0.7],
        "means_init": rows[[0, 70]],
        "precisions_init": precisions,
        "max_iter": 7,
        "tol": 0.0,
    }
    with pytest.warns(ConvergenceWarning):
        ours = GaussianMixture(K, **arguments).fit(rows)
    with pytest.warns(ConvergenceWarning):
        theirs = sklearn.mixture.GaussianMixture(K, **arguments).fit(rows)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-12)
    assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), rtol=1e-8, atol=1e-12)
    assert_allclose(ours.score_samples(rows), theirs.score_samples(rows), rtol=1e-10)
    assert (ours.aic(rows), ours.bic(rows)) == pytest.approx((theirs.aic(rows), theirs.bic(rows)), rel=1e-10)
    assert not ours.converged_


def test_gaussian_mixture_from_labels_without_regularisation_is_maximum_likelihood(rows):
    truth = np.repeat([0, 1], [60, 40])
    model = GaussianMixture(2, start=truth, reg_covar=0, tol=1e-10, max_iter=1000).fit(rows)
    result = emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), rows, start=truth)
    assert model.lower_bound_ * 100 == pytest.approx(result.log_likelihood, abs=1e-5)
    assert model.result_.is_monotone


def test_added_variance_is_said():
    rows = np.random.default_rng(0).normal(size=(50, 2))
    assert any("reg_covar" in text for text in GaussianMixture(1).fit(rows).result_.warnings)


def test_warm_start_continues(rows):
    model = GaussianMixture(2, warm_start=True, max_iter=1, tol=0.0, random_state=0)
    scores = []
    for _ in range(4):
        with pytest.warns(ConvergenceWarning):
            scores.append(model.fit(rows).lower_bound_)
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariance_type": "round"}, "'round'"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"init_params": "magic"}, "'magic'"),
        ({"n_components": 0}, "n_components"),
        ({"n_components": 1.5}, "n_components"),
        ({"n_components": 2, "means_init": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]}, "mean|shape"),
        ({"n_components": 2, "weights_init": [0.5, 0.6]}, "sum to 1"),
        ({"n_components": 2, "precisions_init": [[1.0, 2.0]]}, "precisions_init"),
    ],
)
def test_impossible_arguments_are_value_errors(rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**arguments).fit(rows)
