"""Gaussian mixtures: data, specifications and arguments that cannot be, and the words that say so."""

from __future__ import annotations

import numpy as np
import pytest

from emix import (
    ConjugatePrior,
    DataError,
    FactorAnalytic,
    FitError,
    GaussianMixture,
    Mixture,
    ModelError,
    MultivariateNormal,
    ScipyDistribution,
    StudentT,
    fit,
    impute,
    predict,
)
from emix.families import STRUCTURES
from emix.families.structures import ALIASES

NAN = np.nan
ROUND = np.eye(2)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(30, 3))


def gaussians(K: int = 2, **options) -> Mixture:
    return Mixture(MultivariateNormal(**options), K)


# -- data --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["full", "diag", "VEV"])
def test_no_cell_is_observed(structure):
    with pytest.raises(DataError, match=r"all rows are without an observed cell|at least one observed value"):
        fit(gaussians(structure=structure), np.full((6, 3), NAN))


@pytest.mark.parametrize("structure", ["full", "diag", "VEV"])
def test_a_column_without_a_cell_is_named(x, structure):
    x[:, 1] = NAN
    with pytest.raises(DataError, match="Column 'x1' is missing in every row"):
        fit(gaussians(structure=structure), x)


@pytest.mark.parametrize("structure", ["full", "tied", "diag"])
def test_a_variance_that_shrinks_without_end_is_a_collapse(structure):
    """Zeros with holes: the imputed variance shrinks by a factor per iteration, and is never exactly 0."""
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    answers = (rng.random((300, 4)) < np.where(z, 0.8, 0.2)[:, None]).astype(float)
    answers[rng.random(answers.shape) < 0.1] = NAN
    start = (np.nan_to_num(answers[:, 0]) > 0).astype(int)
    with pytest.raises(FitError, match=r"component . collapsed: its variance of 'x0' fell to"):
        fit(gaussians(structure=structure), answers, start=start)


def test_a_column_is_without_a_cell_among_the_rows_that_count(x):
    x[:20, 1] = NAN
    with pytest.raises(DataError, match="Column 'x1' is missing in every row"):
        fit(gaussians(), x, sample_weight=np.repeat([1.0, 0.0], [20, 10]))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_cells_are_located(x, value):
    model = fit(gaussians(1), x).model
    x[4, 2], x[5, 0] = value, NAN
    for use in (lambda: fit(gaussians(), x), lambda: predict(model, x), lambda: impute(model, x)):
        with pytest.raises(DataError, match=rf"finite numbers.\n  Found {value} in row 4, column 'x2'"):
            use()


def test_a_spread_whose_square_is_no_number(x):
    with pytest.raises(DataError, match=r"(?s)Column 'x0' runs from .*Change its unit"):
        fit(gaussians(), x * 1e200)


@pytest.mark.parametrize("structure", ["EII", "VVV"])
def test_more_components_than_distinct_rows(structure):
    rows = np.repeat([[0.0, 1.0], [2.0, 5.0]], 10, axis=0)
    with pytest.raises(DataError, match=r"at least 3 distinct rows.\n  Found 2 distinct among 20 samples"):
        fit(gaussians(3, structure=structure), rows)


def test_other_columns_than_the_model_has(x):
    with pytest.raises(DataError, match="fitted to 3 columns"):
        impute(fit(gaussians(1), x).model, x[:, :2])
    start = Mixture(MultivariateNormal([[0, 0], [1, 1]], [ROUND, ROUND]))
    with pytest.raises(ModelError, match=r"shape \(K, 3\) for 3 columns"):
        fit(start, x)


# -- structures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["XYZ", "EVI ", "", 3, None])
def test_unknown_structures_list_the_known(structure):
    with pytest.raises(ModelError, match="unknown covariance structure") as caught:
        MultivariateNormal(structure=structure)
    missing = [name for name in (*STRUCTURES, *ALIASES) if f"'{name}'" not in str(caught.value)]
    assert not missing


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_as_many_factors_as_columns(x, n_columns):
    with pytest.raises(ModelError, match=rf"{n_columns} columns? can tell (no|at most 1) common factor"):
        fit(gaussians(structure=FactorAnalytic(3)), x[:, :n_columns])


@pytest.mark.parametrize("n_factors", [0, -1, 1.5, True, "2"])
def test_impossible_numbers_of_factors(n_factors):
    with pytest.raises(ModelError, match="n_factors needs a whole number >= 1"):
        FactorAnalytic(n_factors)


def test_a_structure_in_the_first_place_is_one():
    assert str(MultivariateNormal("VVV")) == str(MultivariateNormal(structure="VVV"))
    assert MultivariateNormal(FactorAnalytic(2)).structure == "factor_analytic(2)"
    assert StudentT("diag").structure == "diag"
    with pytest.raises(ModelError, match="unknown covariance structure 'VVX'"):
        MultivariateNormal("VVX")
    with pytest.raises(ModelError, match=r"mean needs numbers, beside structure=.*\n.*'VVV'"):
        MultivariateNormal("VVV", structure="EEE")


def test_unknown_parts_to_tie():
    with pytest.raises(ModelError, match="unknown part to tie 'loading'") as caught:
        FactorAnalytic(1, tied={"loading"})
    assert "'loadings', 'uniquenesses'" in str(caught.value)


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "covariance",
    [
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 1.0], [1.0, 1.0]],
        [[-1.0, 0.0], [0.0, 1.0]],
        [[1.0, 0.5], [0.2, 1.0]],
        [[1.0, NAN], [NAN, 1.0]],
        [[np.inf, 0.0], [0.0, 1.0]],
    ],
)
@pytest.mark.parametrize("structure", ["full", "diag", "EEV"])
def test_covariances_that_are_none(covariance, structure):
    with pytest.raises(ModelError, match="covariance needs"):
        MultivariateNormal([[0.0, 0.0]], [covariance], structure=structure)


def test_parameters_of_different_shapes():
    with pytest.raises(ModelError, match=r"covariance needs the shape \(K, 2, 2\)"):
        MultivariateNormal([[0.0, 0.0]], [[[1.0]]])
    with pytest.raises(ModelError, match="one entry per component"):
        MultivariateNormal([[0.0, 0.0], [1.0, 1.0]], [ROUND])
    with pytest.raises(ModelError, match="mean needs finite numbers"):
        MultivariateNormal([[0.0, NAN]], [ROUND])


# -- prior and floor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", FactorAnalytic(1)])
def test_structures_without_a_prior_or_a_floor(structure):
    with pytest.raises(ModelError, match="prior needs one of the structures EII, EEI, EEE, VII, VVI, VVV"):
        MultivariateNormal(structure=structure, prior=ConjugatePrior())
    with pytest.raises(ModelError, match="variance_floor needs one of the structures EII, EEI, EEE, VII, VVI, VVV"):
        MultivariateNormal(structure=structure, variance_floor=0.01)


def test_a_prior_beside_fixed_parameters():
    with pytest.raises(ModelError, match="prior needs nothing held fixed"):
        MultivariateNormal([[0.0, 0.0]], [ROUND], fixed={"mean"}, prior=ConjugatePrior())


@pytest.mark.parametrize("floor", [-1, NAN, np.inf, "a", True, None])
def test_floors_that_are_none(floor):
    with pytest.raises(ModelError, match="variance_floor needs a finite number >= 0"):
        MultivariateNormal(variance_floor=floor)


@pytest.mark.parametrize("prior", ["yes", 0.5, False, [0.01]])
def test_priors_that_are_none(prior):
    with pytest.raises(ModelError, match="prior"):
        MultivariateNormal(prior=prior)


@pytest.mark.parametrize(
    "hyperparameter",
    [
        {"shrinkage": -1},
        {"shrinkage": NAN},
        {"shrinkage": True},
        {"dof": -5},
        {"dof": NAN},
        {"dof": "a"},
        {"scale": [[-1.0, 0.0], [0.0, -1.0]]},
        {"scale": [[1.0, 0.9], [0.0, 1.0]]},
        {"scale": [1.0, 2.0]},
        {"mean": [0.0, NAN]},
        {"mean": ["a", "b"]},
    ],
    ids=str,
)
def test_hyperparameters_that_are_none(hyperparameter):
    with pytest.raises(ModelError, match=next(iter(hyperparameter))):
        ConjugatePrior(**hyperparameter)


@pytest.mark.parametrize("given", [{"mean": [0.0]}, {"mean": [0.0, 0.0]}, {"scale": ROUND}, {"scale": np.eye(4)}])
def test_a_prior_for_other_columns(x, given):
    with pytest.raises(ModelError, match=rf"(?s){next(iter(given))}.*3 columns"):
        fit(gaussians(prior=ConjugatePrior(**given)), x, random_state=0)


# -- the estimator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means_init": [[0, 0], [1, 1]]}, r"'means' should have the shape of \(2, 3\), but got \(2, 2\)"),
        ({"means_init": [0, 0, 0]}, r"'means' should have the shape of \(2, 3\), but got \(3,\)"),
        ({"means_init": [[0, 0, 0]] * 3}, r"'means' should have the shape of \(2, 3\), but got \(3, 3\)"),
        ({"means_init": [[0, 0, NAN], [1, 1, 1]]}, "finite"),
        ({"precisions_init": np.eye(3)}, r"'full precision' should have the shape of \(2, 3, 3\)"),
        ({"precisions_init": -np.array([np.eye(3)] * 2)}, "symmetric, positive-definite"),
        ({"weights_init": [0.5, 0.6]}, "should be normalized"),
        ({"covariance_type": "round"}, "unknown covariance structure 'round'"),
        ({"covariance_type": FactorAnalytic(3)}, "3 columns can tell at most 1 common factor"),
    ],
    ids=str,
)
def test_arguments_of_the_estimator(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, **arguments).fit(x)


def test_data_of_the_estimator(x):
    with pytest.raises(ValueError, match="n_samples"):
        GaussianMixture(2).fit(np.ones((1, 3)))
    x[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture(2).fit(x)


# -- imputation --------------------------------------------------------------------------------------------------------


def test_imputation_that_cannot_be(x):
    model = fit(gaussians(1), x).model
    for draws in (0, -1, 1.5, True):
        with pytest.raises(ModelError, match="draws needs a whole number >= 1"):
            impute(model, x, draws=draws)
    cauchy = fit(Mixture(ScipyDistribution("cauchy"), 1), [0.0, 1.0, 3.0, 2.0]).model
    with pytest.raises(ModelError, match=r"'x0' has missing cells, and its family 'scipy\(cauchy\)'[^$]*draws=1"):
        impute(cauchy, [1.0, NAN])
    assert np.isfinite(impute(cauchy, [1.0, NAN], draws=1)).all()
    with pytest.raises(ModelError, match="Fit it first"):
        impute(gaussians(), x)
