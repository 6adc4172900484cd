"""The fourteen covariance structures, priors and missing cells: results of other software and of textbooks.

Each test reads what is expected, and how exactly, from one case of cases.json; the case names its source.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from compare import assert_near, assert_relative

from emix import ConjugatePrior, FitError, Mixture, MultivariateNormal, e_step, fit, predict, responsibilities
from emix.families import STRUCTURES

TO_THE_END = {"tol": 1e-12, "max_iter": 100_000}
STARTS = {"n_init": 10, "random_state": 0, "max_iter": 3_000}
"""Of the tables of best fits."""


def with_holes(columns) -> np.ndarray:
    """Columns of numbers, in which an empty cell is missing."""
    cells = [[np.nan if cell == "" else float(cell) for cell in column] for column in columns.values()]
    return np.array(cells).T


# -- all structures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("dataset", ["iris", "faithful"])
def test_from_a_partition_to_convergence(reference, request, dataset, name):
    """M-step first. mclust's M-step of VVE does not reach its maximum: that structure has an expectation of its own."""
    expected, tolerance = reference.case(f"mclust_me_{dataset}")
    x, partition = request.getfixturevalue(dataset)
    result = fit(Mixture(MultivariateNormal(structure=name), partition.max() + 1), x, start=partition, **TO_THE_END)
    numbers = expected["models"][name]
    assert result.converged
    assert result.n_free_parameters == numbers["df"]
    if name == "VVE":
        assert_near(result.log_likelihood, numbers["own_loglik"], 1e-4)
        return
    assert_near(result.log_likelihood, numbers["loglik"], tolerance["loglik"])
    assert_near(result.log_likelihood, numbers["own_loglik"], tolerance["loglik"])
    assert_near(-result.bic, numbers["bic"], tolerance["bic"])  # mclust's is larger where the model is better
    parameters = reference.output("mclust_me.json")[dataset]["models"][name]
    assert_relative(result.model.mixing_proportions, parameters["pro"], tolerance["mean_rel"])
    assert_relative(result.model.family.mean, parameters["mean"], tolerance["mean_rel"])
    for found, wanted in zip(result.model.family.covariance, np.array(parameters["sigma"]), strict=True):
        assert_near(found, wanted, tolerance["mean_rel"] * np.abs(wanted).max())


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "VVE"])
def test_one_m_step_from_labels(reference, iris, name):
    """Discriminant analysis: estimates from known labels, and what they say of the rows without the labels."""
    expected, tolerance = reference.case("mclust_mstep_iris")
    x, species = iris
    model = Mixture(MultivariateNormal(structure=name), 3)
    known = fit(model, x, labels=species)
    assert_near(known.log_likelihood, expected["complete_loglik"][name], tolerance["complete_loglik"])
    started = fit(model, x, start=species, stop="iterations", max_iter=0)
    assert_near(started.log_likelihood, expected["observed_loglik_after_mstep"][name], tolerance["observed_loglik"])
    parameters = reference.output("mclust_mstep.json")["iris"]["models"][name]
    assert_relative(started.model.family.mean, parameters["mean"], tolerance["sigma_rel"])
    for found, wanted in zip(started.model.family.covariance, np.array(parameters["sigma"]), strict=True):
        assert_near(found, wanted, tolerance["sigma_rel"] * np.abs(wanted).max())


def test_common_principal_components(reference, iris):
    """The M-step of VVE, which is Flury's (1984): mclust stops below the maximum."""
    expected, tolerance = reference.case("vve_mstep_common_principal_components")
    x, species = iris
    known = fit(Mixture(MultivariateNormal(structure="VVE"), 3), x, labels=species)
    assert_near(known.log_likelihood, expected["complete_loglik"], tolerance["complete_loglik"])
    assert known.log_likelihood > expected["mclust_value"]


def test_discriminant_analysis_of_iris(reference, iris):
    """mclust's EDDA: the log-likelihood of the mixture at the estimates from labels, and flowers that are mistaken."""
    expected, tolerance = reference.case("mclust_edda_iris")
    x, species = iris
    started = fit(Mixture(MultivariateNormal(structure="VEV"), 3), x, start=species, stop="iterations", max_iter=0)
    assert_near(started.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(started.log_likelihood, expected["loglik_full"], 1e-6)
    assert (predict(started.model, x) != species).sum() == expected["training_errors"]
    n_free = started.n_free_parameters - 2  # proportions are not counted where labels give them
    assert n_free == expected["df"]
    assert_near(2 * started.log_likelihood - n_free * np.log(len(x)), expected["bic"], 2 * tolerance["loglik"])


# -- labels, fixed proportions, priors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_equal_proportions(reference, iris, name):
    expected, tolerance = reference.case("mclust_eqpro_iris")
    x, species = iris
    model = Mixture(MultivariateNormal(structure=name), 3, fixed={"mixing_proportions"})
    result = fit(model, x, start=species, **TO_THE_END)
    assert_near(result.log_likelihood, expected[name]["loglik"], tolerance["loglik"])
    assert_relative(result.model.family.mean, expected[name]["mean"], 1e-5)
    assert result.model.mixing_proportions.tolist() == [1 / 3] * 3


@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_every_fifth_label_known(reference, iris, name):
    expected, tolerance = reference.case(f"semisupervised_iris_{name}")
    x, species = iris
    labels = np.full(150, -1)
    labels[::5] = species[::5]
    result = fit(Mixture(MultivariateNormal(structure=name), 3), x, labels=labels, start=labels, **TO_THE_END)
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["mean"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["mean"])
    assert result.n_free_parameters == expected["df"]
    confusion = np.zeros((3, 3), dtype=int)
    found = responsibilities(result.model, x, labels=labels).argmax(axis=1)
    np.add.at(confusion, (species, found), 1)
    assert confusion.tolist() == expected["confusion_true_by_predicted"]


@pytest.mark.parametrize("prior_is", ["given", "default"])
@pytest.mark.parametrize("name", ["EEE", "VVV"])
def test_posterior_mode(reference, iris, name, prior_is):
    """The defaults of the prior are those that the case states as numbers."""
    expected, tolerance = reference.case(f"mclust_prior_iris_{name}")
    x, species = iris
    prior = ConjugatePrior(**expected["prior"]) if prior_is == "given" else ConjugatePrior()
    result = fit(Mixture(MultivariateNormal(structure=name, prior=prior), 3), x, start=species, **TO_THE_END)
    assert_near(result.log_likelihood, expected["loglik_at_map"], tolerance["loglik"])
    assert_near(result.model.mixing_proportions, expected["pro"], tolerance["param"])
    assert_near(result.model.family.mean, expected["mean"], tolerance["param"])
    assert_near(result.model.family.covariance, expected["sigma"], tolerance["param"])
    used = result.model.family.prior
    assert_near(used.mean, expected["prior"]["mean"], 1e-12)
    assert_near(used.scale, expected["prior"]["scale"], 1e-12)
    assert (used.shrinkage, used.dof) == (expected["prior"]["shrinkage"], expected["prior"]["dof"])


# -- the table of best fits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("dataset", ["iris", "faithful"])
def test_best_fit_is_no_worse_than_that_of_mclust(reference, request, dataset, name):
    """One to six components: the better of ten starts and of the hierarchical one run to its end reaches what mclust's
    hierarchical start reaches, or more. Where mclust found no fit we find one."""
    expected, tolerance = reference.case(f"mclust_bic_table_{dataset}")
    x, _ = request.getfixturevalue(dataset)
    rows = zip(expected["G"], *(expected[key][name] for key in ("loglik", "bic", "df")), strict=True)
    for n_components, log_likelihood, bic, n_free in rows:
        best = best_fit(Mixture(MultivariateNormal(structure=name), n_components), x)
        assert best.n_free_parameters == n_free
        if log_likelihood is None:
            assert np.isfinite(best.log_likelihood)
            continue
        assert best.log_likelihood >= log_likelihood - 1e-3, n_components
        assert -best.bic >= bic - 2e-3, n_components
        if n_components == 1:
            assert_near(-best.bic, bic, tolerance["G1_bic"])


def best_fit(model, x):
    """Of ten starts and of the hierarchical one alone, which may end in a degenerate component."""
    found = [fit(model, x, **STARTS)]
    with suppress(FitError):
        found.append(fit(model, x, **STARTS, start="ward"))
    return max(found, key=lambda result: result.log_likelihood)


# -- missing cells -----------------------------------------------------------------------------------------------------


def test_worms_in_apples(reference):
    """Little & Rubin (1987): the worms of the last six trees were not counted."""
    expected, tolerance = reference.case("apple_worms_missing")
    result = fit(Mixture(MultivariateNormal(), 1), with_holes(reference.read("apple.csv")), **TO_THE_END)
    assert_near(result.model.family.mean[0], expected["mean"], tolerance["mean"])
    assert_near(result.model.family.covariance[0], expected["cov"], tolerance["cov"])
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])


def test_cement_with_values_deleted(reference):
    expected, tolerance = reference.case("missvals_missing")
    result = fit(Mixture(MultivariateNormal(), 1), with_holes(reference.read("missvals.csv")), **TO_THE_END)
    assert result.converged
    assert_near(result.model.family.mean[0], expected["mean"], tolerance["mean"])
    assert_near(result.model.family.mean[0], expected["published_mean"], tolerance["mean"])
    assert_near(result.model.family.covariance[0], expected["cov"], tolerance["cov"])
    assert_near(result.log_likelihood, expected["loglik"], tolerance["loglik"])


@pytest.mark.parametrize(("correlation", "ending"), [(0.3, "maximum"), (-0.3, "maximum"), (0.0, "saddle")])
def test_two_maxima_and_a_saddle(reference, correlation, ending):
    """Murray (1977): the sign of the first correlation decides; from none EM cannot leave the ridge between."""
    expected, tolerance = reference.case("murray_two_maxima")
    x = with_holes(reference.read("murray.csv"))
    start = Mixture(MultivariateNormal([[0.0, 0.0]], [[[1.0, correlation], [correlation, 1.0]]]))
    result = fit(start, x, **TO_THE_END)
    wanted = expected[ending]
    covariance = np.sign(correlation) * 4 / 3 if ending == "maximum" else 0.0
    variance = wanted["var"]
    assert_near(result.model.family.mean[0], [0.0, 0.0], tolerance["param"])
    assert_near(result.model.family.covariance[0], [[variance, covariance], [covariance, variance]], tolerance["param"])
    assert_near(result.log_likelihood, wanted["loglik"], tolerance["loglik"])


def test_one_step_of_the_textbook(reference):
    """Johnson & Wichern: four rows, of which two have missing cells, and one step from stated parameters."""
    expected, tolerance = reference.case("johnson_wichern_one_step")
    nan = np.nan
    x = [[nan, 0.0, 3.0], [7.0, 2.0, 6.0], [5.0, 1.0, 2.0], [nan, nan, 5.0]]
    covariance = [[0.5, 0.25, 1.0], [0.25, 0.5, 0.75], [1.0, 0.75, 2.5]]
    start = Mixture(MultivariateNormal([[6.0, 1.0, 4.0]], [covariance]))
    by_hand = e_step(start, x).maximize()
    by_fit = fit(start, x, stop="iterations", max_iter=1).model
    for model in (by_hand, by_fit):
        assert_near(model.family.mean[0], expected["mean"], tolerance["full"])
        assert_near(model.family.covariance[0], expected["cov"], tolerance["full"])
        assert_near(model.family.mean[0], expected["printed_mean"], tolerance["printed"])
        assert_near(model.family.covariance[0], expected["printed_cov"], tolerance["printed"])
