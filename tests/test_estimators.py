"""The scikit-learn face: attributes, knowledge about components, and agreement with scikit-learn's own mixture."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import sklearn.mixture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import emix
from emix import GaussianMixture, MixtureModel
from emix.results import StopReason


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
    with pytest.raises(ValueError, match="infinity"):
        MixtureModel(2, family="normal").fit(np.where(np.isnan(holes), np.inf, holes))


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


# rows chosen for 'tied' are left out: scikit-learn's first covariance then counts all rows, not those chosen alone
DRAWN_AS_SCIKIT_LEARN = [
    (structure, init_params)
    for structure in ("full", "tied", "diag", "spherical")
    for init_params in ("kmeans", "k-means++", "random", "random_from_data")
    if structure != "tied" or init_params in ("kmeans", "random")
]


@pytest.mark.parametrize(("structure", "init_params"), DRAWN_AS_SCIKIT_LEARN)
@pytest.mark.parametrize("options", [{}, {"max_iter": 3}, {"tol": 1e-6, "max_iter": 500}])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_same_random_state_same_fit_as_scikit_learn(rows, structure, init_params, options):
    for seed in range(2):
        arguments = {"covariance_type": structure, "init_params": init_params, "random_state": seed, **options}
        ours, theirs = (one(3, **arguments).fit(rows) for one in (GaussianMixture, sklearn.mixture.GaussianMixture))
        assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
        assert len(ours.lower_bounds_) == ours.n_iter_
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-11)
        assert_array_equal(ours.fit_predict(rows), theirs.predict(rows))
        assert ours.lower_bound_ == pytest.approx(theirs.score(rows), rel=1e-12)
        for one, other in zip(ours.sample(20), theirs.sample(20), strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_no_iterations_return_the_start_without_a_warning(rows, init_params):
    arguments = {"init_params": init_params, "random_state": 0, "max_iter": 0}
    ours, theirs = (one(3, **arguments).fit(rows) for one in (GaussianMixture, sklearn.mixture.GaussianMixture))
    for name in ("weights_", "means_", "covariances_"):
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12)
    assert (ours.n_iter_, ours.converged_, ours.lower_bounds_) == (0, False, [])


def test_lower_bound_is_of_the_parameters_returned(rows):
    model = GaussianMixture(2, random_state=0).fit(rows)
    assert model.lower_bounds_[-1] == model.lower_bound_ == pytest.approx(model.score(rows), rel=1e-13)


def test_verbose_says_starts_iterations_and_at_2_gains(rows, capsys):
    arguments = {"n_init": 2, "random_state": 0, "verbose_interval": 1, "init_params": "random"}
    GaussianMixture(2, verbose=1, **arguments).fit(rows)
    brief = capsys.readouterr().out
    assert brief.startswith("Initialization 0\n  Iteration 1\n")
    assert "Initialization 1\n" in brief
    GaussianMixture(2, verbose=2, **arguments).fit(rows)
    long = capsys.readouterr().out
    assert len(long.splitlines()) == len(brief.splitlines())
    assert "ll change" in long


def test_warning_is_both_emix_and_scikit_learns(rows):
    for model in (GaussianMixture(2, max_iter=2, tol=0.0), MixtureModel(2, max_iter=2, n_init=1)):
        with pytest.warns(ConvergenceWarning) as caught:
            model.fit(rows)
        assert issubclass(caught[0].category, emix.errors.ConvergenceWarning)


def test_sample_weight_is_repetition_and_labels_are_kept(rows):
    weight = 1.0 + np.arange(100) % 3
    repeated = np.repeat(rows, weight.astype(int), axis=0)
    init = {"weights_init": [0.3, 0.7], "means_init": rows[[0, 70]], "precisions_init": [np.eye(2)] * 2}
    weighted = GaussianMixture(2, **init).fit(rows, sample_weight=weight)
    theirs = sklearn.mixture.GaussianMixture(2, **init).fit(repeated)
    assert weighted.n_iter_ == theirs.n_iter_
    assert_allclose(weighted.means_, theirs.means_, rtol=1e-10)
    assert_allclose(weighted.covariances_, theirs.covariances_, rtol=1e-9)
    for init_params in ("kmeans", "k-means++", "random_from_data"):
        model = GaussianMixture(2, init_params=init_params, random_state=0, tol=1e-9, max_iter=1000)
        assert model.fit(rows, sample_weight=weight).lower_bound_ == pytest.approx(
            model.fit(repeated).lower_bound_, abs=1e-6
        )
    truth = np.repeat([1, 0], [60, 40])
    known = GaussianMixture(2, reg_covar=0).fit(rows, labels=truth)
    assert_allclose(known.means_, [rows[60:].mean(axis=0), rows[:60].mean(axis=0)], rtol=1e-12)
    assert_allclose(known.covariances_[1], np.cov(rows[:60].T, bias=True), rtol=1e-12)


def test_options_beyond_scikit_learns(rows):
    exact = emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), rows, random_state=0).log_likelihood
    model = GaussianMixture(
        2, reg_covar=0, stop="aitken", tol=1e-6, accelerate=True, n_init=4, n_jobs=2, random_state=0, max_iter=1000
    ).fit(rows)
    assert model.result_.stop_reason in (StopReason.AITKEN, StopReason.PRECISION)
    assert model.lower_bound_ * 100 == pytest.approx(exact, abs=1e-6)
    assert GaussianMixture(2, start="short-runs", n_init=4, random_state=0).fit(rows).converged_


def test_wanting_of_a_start_is_a_value_error_in_scikit_learns_words(rows):
    with pytest.raises(ValueError, match="some components have ill-defined empirical covariance") as caught:
        GaussianMixture(3, reg_covar=0, init_params="random_from_data", random_state=0).fit(rows)
    assert isinstance(caught.value, emix.errors.FitError)


def test_starts_left_out_are_said():
    rows = np.vstack([np.random.default_rng(0).normal(size=(20, 2)), [[4.0, 4.0]]])  # some clusters are of one row
    model = GaussianMixture(2, n_init=10, reg_covar=0, random_state=0, tol=0.1).fit(rows)
    said = [text for text in model.result_.warnings if "starts were left out" in text]
    assert len(said) == 1
    assert len(model.result_.starts) == 10 - int(said[0].split()[0]) < 10
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        GaussianMixture(4, n_init=10, reg_covar=0, random_state=0, tol=0.1).fit(rows)


def test_column_without_a_cell_is_named(rows):
    empty = rows.copy()
    empty[:, 1] = np.nan
    with pytest.raises(ValueError, match="Column 'x1' is missing in every row"):
        GaussianMixture(2).fit(empty)


def test_random_state_with_a_state_is_drawn_from_as_scikit_learn_does(rows):
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    GaussianMixture(2, n_init=3, random_state=ours, init_params="random").fit(rows)
    sklearn.mixture.GaussianMixture(2, n_init=3, random_state=theirs, init_params="random").fit(rows)
    assert ours.randint(10**9) == theirs.randint(10**9)
    drawn = GaussianMixture(2, random_state=np.random.default_rng(0)).fit(rows).means_
    assert_array_equal(drawn, GaussianMixture(2, random_state=np.random.default_rng(0)).fit(rows).means_)


@pytest.mark.parametrize("structure", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_missing_cells_count_for_nothing(rows, structure, init_params):
    holes = np.vstack([rows, [[np.nan, 1.5], [2.5, np.nan]]])
    arguments = {"covariance_type": structure, "init_params": init_params, "random_state": 0}
    model = GaussianMixture(2, tol=1e-8, max_iter=2000, **arguments).fit(holes)
    K, d = 2, 2
    C = model.covariances_
    variances = {"full": C, "tied": [C] * K, "diag": C, "spherical": C}[structure]
    variances = [np.diag(one) if np.ndim(one) == 2 else np.broadcast_to(one, d) for one in variances]
    for row, seen in ((100, 1), (101, 0)):  # a row is scored by the marginal density of what it has
        densities = [
            w * scipy.stats.norm.pdf(holes[row, seen], m[seen], np.sqrt(v[seen]))
            for w, m, v in zip(model.weights_, model.means_, variances, strict=True)
        ]
        assert model.score_samples(holes)[row] == pytest.approx(np.log(sum(densities)), rel=1e-10)
        assert_allclose(model.predict_proba(holes)[row], densities / np.sum(densities), rtol=1e-9)
    assert np.isfinite(GaussianMixture(1, **arguments).fit(holes).lower_bound_)


@pytest.mark.parametrize(
    ("structure", "same"), [("VVV", "full"), ("EEE", "tied"), ("VVI", "diag"), ("VII", "spherical")]
)
def test_names_of_mclust_with_an_equal_in_scikit_learn(rows, structure, same):
    truth = np.repeat([0, 1], [60, 40])
    ours = GaussianMixture(2, covariance_type=structure, start=truth, reg_covar=0).fit(rows)
    other = GaussianMixture(2, covariance_type=same, start=truth, reg_covar=0).fit(rows)
    assert ours.covariances_.shape == ours.precisions_.shape == (2, 2, 2)
    assert ours.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-12)
    assert_allclose(ours.means_, other.means_, rtol=1e-9)
    assert ours._n_parameters() == other._n_parameters()
    for init_params in ("kmeans", "k-means++", "random", "random_from_data"):
        assert (
            GaussianMixture(2, covariance_type=structure, init_params=init_params, random_state=1).fit(rows).converged_
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariance_type": "round"}, "'round'"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"init_params": "magic"}, "'magic'"),
        ({"n_components": 0}, "n_components"),
        ({"n_components": 1.5}, "n_components"),
        ({"n_components": 2, "means_init": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]}, "mean|shape"),
        ({"n_components": 2, "weights_init": [0.5, 0.6]}, "should be normalized, but got sum"),
        ({"n_components": 2, "precisions_init": [[1.0, 2.0]]}, "'full precision' should have the shape"),
        ({"n_components": 2, "init_params": "random", "tol": -1.0}, "tol"),
        ({"n_components": 2, "stop": "whenever"}, "'whenever'"),
        ({"n_components": 101}, "Expected n_samples >= n_components"),
    ],
)
def test_impossible_arguments_are_value_errors(rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**arguments).fit(rows)
