"""Model choice: the table against other software, the choice, and what happens when candidates fail."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_near
from scipy import stats
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture as Theirs

import emix
from emix import DataError, FitError, Mixture, ModelError, MultivariateNormal, Normal, Poisson, fit, processes, select
from emix.inference import attempts
from emix.inference import selection as selection_module
from emix.inference.selection import _simpler

COUNTS = [[0], [1], [0], [1], [2], [1], [9], [11], [10], [12], [8], [10]]


def sets(**changes):
    """Options of a short fit, and what a test changes of them."""
    return {"n_init": 2, "random_state": 0, **changes}


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["iris", "faithful"])
def chosen(request):
    """One to three components in all structures, by default starts."""
    x, _ = request.getfixturevalue(request.param)
    found = select(x, range(1, 4), MultivariateNormal.all_structures(), random_state=0)
    return request.param, x, found


def test_no_cell_is_below_mclusts(reference, chosen):
    """mclust 6.0.0's BIC table, one hierarchical start each."""
    name, _, found = chosen
    expected, tolerance = reference.case(f"mclust_bic_table_{name}")
    best = {}
    for one in found.candidates:
        structure = one.family.split("'")[1]
        wanted = {key: expected[key][structure][one.n_components - 1] for key in ("loglik", "bic", "df")}
        assert one.result.n_free_parameters == wanted["df"]
        assert one.result.log_likelihood >= wanted["loglik"] - 1e-3, str(one)
        assert -one.result.bic >= wanted["bic"] - 2e-3, str(one)
        best[structure, one.n_components] = -wanted["bic"]
        if one.n_components == 1:
            assert_near(-one.result.bic, wanted["bic"], tolerance["G1_bic"])
    best_of_theirs = min(best, key=best.get)
    assert (found.best.family.split("'")[1], found.best.n_components) == best_of_theirs
    assert_near(found.result.bic, best[best_of_theirs], 0.1)  # theirs ends while an iteration still gains 0.01


def test_no_structure_is_below_a_simpler_one(chosen):
    _, _, found = chosen
    models = [Mixture(emix.families.parse(one.family), one.n_components) for one in found.candidates]
    pairs = [(found.candidates[i], found.candidates[j]) for i, own in enumerate(_simpler(models)) for j in own]
    assert len(pairs) == 3 * 61  # of {E, V} x {II, EI, VI, EE, VE, EV, VV}: 3 x 25 ordered pairs, less 14 of equals
    for general, simple in pairs:
        assert general.result.log_likelihood >= simple.result.log_likelihood - 1e-4, f"{general}, {simple}"


def test_criteria_are_those_of_scikit_learn(chosen):
    _, x, found = chosen
    one = next(one for one in found.candidates if "VVV" in one.family and one.n_components == 3)
    model = one.result.model
    theirs = Theirs(3, covariance_type="full")
    theirs.weights_, theirs.means_ = model.mixing_proportions, model.family.mean
    theirs.covariances_ = model.family.covariance
    theirs.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(theirs.covariances_)).transpose(0, 2, 1)
    row, resp, p, n = one.row(), theirs.predict_proba(x), one.result.n_free_parameters, len(x)
    assert_near(row["bic"], theirs.bic(x), 1e-8)
    assert_near(row["aic"], theirs.aic(x), 1e-8)
    assert_near(row["aicc"], theirs.aic(x) + 2 * p * (p + 1) / (n - p - 1), 1e-8)
    assert_near(row["sabic"], theirs.aic(x) - 2 * p + p * np.log((n + 2) / 24), 1e-8)
    assert_near(row["icl"], theirs.bic(x) + 2 * n * log_loss(resp.argmax(axis=1), resp, labels=range(3)), 1e-7)
    assert_near(row["entropy"], 1 - stats.entropy(resp, axis=1).sum() / (n * np.log(3)), 1e-10)


def test_a_candidate_is_the_fit_with_the_same_arguments():
    found = select(COUNTS, [1, 2, 3], ["poisson", Normal()], **sets())
    names = [(one.family, one.n_components) for one in found.candidates]
    assert names == [(family, K) for family in ("poisson", "normal") for K in (1, 2, 3)]
    for one, family in zip(found.candidates, [Poisson()] * 3 + [Normal()] * 3, strict=True):
        if one.result is None:
            with pytest.raises(FitError):
                fit(Mixture(family, one.n_components), COUNTS, **sets())
            continue
        alone = fit(Mixture(family, one.n_components), COUNTS, **sets())
        assert one.result.log_likelihood == alone.log_likelihood
        assert one.result.seed == alone.seed
        for name, value in alone.model.parameters.items():
            assert np.array_equal(one.result.model.parameters[name], value)
    assert str(found.best) == "2 x normal"
    assert found.reason.startswith("2 x normal has the smallest BIC; the next, ")


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_the_same_bits_for_any_number_of_workers(monkeypatch, iris, workers):
    monkeypatch.setattr(selection_module, "_is_large", lambda models, rows: workers == "threads")
    monkeypatch.setattr(processes, "PATIENCE", 0.0)
    families = [MultivariateNormal(structure=name) for name in ("VVI", "EEV", "VVV")]
    tables = [select(iris[0], [2, 3], families, n_jobs=jobs, cross_validate=3, **sets()).rows() for jobs in (1, 3)]
    for one, other in zip(*tables, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_nested_starts_reach_as_far_with_one_run_each(iris):
    families = MultivariateNormal.all_structures()
    found = select(iris[0], [3], families, start="nested", random_state=0)
    froms = {one.family: one.started_from for one in found.candidates}
    assert froms["multivariate_normal(structure='EII')"] == ""
    assert froms["multivariate_normal(structure='EEE')"] == "multivariate_normal(structure='EEI')"
    assert all(len(one.result.starts) == 1 for one in found.candidates)
    best = select(iris[0], [3], families, **sets()).result
    assert_near(found.result.log_likelihood, best.log_likelihood, 1e-3)


def test_weights_and_labels(iris):
    x, species = iris
    labels = np.where(np.arange(150) % 5 == 0, species, -1)
    weighted = select(x, [3], "normal", labels=labels, sample_weight=np.full(150, 2.0), **sets())
    twice = select(np.repeat(x, 2, axis=0), [3], "normal", labels=np.repeat(labels, 2), **sets())
    assert_near(weighted.result.bic, twice.result.bic, 1e-6)
    names = np.array(["setosa", "versicolor", "virginica"], dtype=object)[species]
    named = select(x, [2, 3], "normal", labels=names, **sets())
    assert "may name at most 2 components" in named.candidates[0].error
    assert named.result.model.component_names == ("setosa", "versicolor", "virginica")


def test_frames_and_files(tmp_path):
    found = select(COUNTS, [1, 2], "poisson", out=tmp_path / "best.json", **sets())
    for library in ("pandas", "polars", "pyarrow"):
        frame = found.to_frame(library)
        assert np.asarray(frame["bic"]).tolist() == [row["bic"] for row in found.rows()]
    assert np.array_equal(emix.load(tmp_path / "best.json").family.rate, found.result.model.family.rate)
    with pytest.raises(ModelError, match="data-frame library"):
        found.to_frame("frames")


# -- cross-validation --------------------------------------------------------------------------------------------------


def test_leave_one_out_is_that_of_the_normal_distribution(faithful):
    x = faithful[0][:40, :1]
    found = select(x, [1], "normal", criterion="cross_validated", cross_validate=40, **sets())
    rest = [np.delete(x[:, 0], i) for i in range(40)]
    scores = [stats.norm(one.mean(), one.std()).logpdf(x[i, 0]) for i, one in enumerate(rest)]
    assert_near(found.best.cross_validated, sum(scores), 1e-8)


def test_cross_validation_chooses_two_components(faithful):
    found = select(faithful[0], [1, 2], criterion="cross_validated", cross_validate=4, **sets())
    assert found.best.n_components == 2
    assert "largest cross-validated log-likelihood" in found.reason
    again = select(faithful[0], [1, 2], criterion="cross_validated", cross_validate=4, **sets())
    assert again.best.cross_validated == found.best.cross_validated


def test_a_category_of_held_out_rows_alone_is_impossible():
    table = {"city": ["a", "b", "a", "b", "a", "b", "a", "c"]}
    assert select(table, [1], "categorical", cross_validate=8, **sets()).best.cross_validated == -np.inf


def test_a_fold_that_fails_is_said():
    table = [[0.0], [0.0], [0.0], [5.0]]
    found = select(table, [1], "normal", cross_validate=4, **sets())
    assert found.best.cross_validated is None
    assert "Cross-validation failed: family 'normal' needs columns that vary" in found.best.error
    with pytest.raises(FitError, match="no candidate can be chosen by cross_validated"):
        _ = select(table, [1], "normal", cross_validate=4, criterion="cross_validated", **sets()).best


# -- what can go wrong -------------------------------------------------------------------------------------------------


def test_a_candidate_that_fails_does_not_lose_the_others():
    found = select([[-1.0], [0.5], [2.0], [7.0], [8.0]], [1, 6], ["poisson", "normal"], **sets())
    errors = [one.error for one in found.candidates]
    assert "family 'poisson' needs" in errors[0]
    assert "6 components need at least 6 distinct rows" in errors[3]
    assert str(found.best) == "1 x normal"
    assert found.is_complete
    assert found.rows()[3]["bic"] is None
    assert found.to_frame()["n_free_parameters"].isna().tolist() == [True, True, False, True]


def test_data_that_no_candidate_can_have_are_an_error():
    with pytest.raises(DataError, match="poisson"):
        select([[-1.0], [2.0]], [1, 2], "poisson", **sets())
    with pytest.raises(DataError, match="poisson"):
        select([[-1.0], [2.0]], [1, 3], ["poisson", "beta"], **sets())
    with pytest.raises(FitError, match="no candidate can be chosen by bic"):
        select([[0.0, 1.0], [1.0, 1.5], [2.0, 7.0]], [3], ["multivariate_normal"], **sets())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_components": [1, 0]}, "n_components needs a whole number >= 1"),
        ({"n_components": -2}, "Found -2"),
        ({"n_components": [2, 3, 2]}, "2 more than once"),
        ({"n_components": []}, "at least one"),
        ({"n_components": [2.5]}, "Found 2.5"),
        ({"family": ["poisson", "normal", "poisson"]}, "'poisson' more than once"),
        ({"family": ["poison"]}, "unknown family 'poison'"),
        ({"family": [3]}, "Found 3"),
        ({"criterion": "dic"}, "unknown criterion 'dic'"),
        ({"criterion": "cross_validated"}, "cross_validate needs a number of folds"),
        ({"cross_validate": 1}, "a whole number >= 2"),
        ({"cross_validate": 13}, "at most as many folds as rows"),
        ({"start": "middle"}, "unknown start 'middle'"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_what_cannot_be_is_an_error_before_anything_is_fitted(monkeypatch, arguments, said):
    monkeypatch.setattr(attempts, "fit_rows", lambda *_: pytest.fail("something was fitted"))
    with pytest.raises(ModelError, match=said):
        select(COUNTS, **{"n_components": [1, 2], **arguments})


def test_fits_that_did_not_converge_are_not_chosen():
    found = select(COUNTS, [1, 2], "poisson", stop="relative", tol=0.0, max_iter=2, n_init=1, random_state=0)
    assert [one.converged for one in found.candidates] == [True, False]  # one component: nothing is left to gain
    assert found.best.n_components == 1
    assert "2 x poisson would be better by this criterion, but did not converge" in found.warnings[0]
    none = select(COUNTS, [2], "poisson", stop="relative", tol=0.0, max_iter=2, n_init=1, random_state=0)
    assert "no candidate converged" in none.warnings[0]
    assert none.best.n_components == 2


def test_the_largest_number_of_components_is_pointed_out():
    found = select(COUNTS, [1, 2], "poisson", **sets())
    assert found.warnings == ["the best has 2 components, the most that were asked for: more may be better still."]


# -- progress and interrupts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_keeps_what_is_finished(monkeypatch, jobs):
    monkeypatch.setattr(selection_module, "_is_large", lambda models, rows: True)

    def interrupt(one):
        if one.n_finished == 2:
            raise KeyboardInterrupt

    found = select(COUNTS, [1, 2, 3, 4], "poisson", n_jobs=jobs, on_progress=interrupt, **sets())
    assert not found.is_complete
    ended = [one for one in found.candidates if one.result is not None]
    assert 2 <= len(ended) < 4
    assert {one.error for one in found.candidates if one.result is None} == {"interrupted before it ended"}
    assert found.best in ended
    assert "Interrupted" in str(found)


def test_an_interrupt_of_other_processes_keeps_what_is_finished(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.0)

    def interrupt(one):
        if one.n_finished == 3:
            raise KeyboardInterrupt

    found = select(COUNTS, range(1, 9), "poisson", n_jobs=2, on_progress=interrupt, **sets())
    assert not found.is_complete
    assert sum(one.result is not None for one in found.candidates) == 3


def test_an_interrupt_before_anything_is_finished_is_raised(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(attempts, "fit_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        select(COUNTS, [1, 2], "poisson")


def test_progress_counts_every_candidate():
    told = []
    select(COUNTS, [1, 2, 20], "poisson", cross_validate=2, on_progress=told.append, **sets())
    assert [(one.n_finished, one.n_candidates) for one in told] == [(1, 3), (2, 3), (3, 3)]
    assert sorted(one.candidate.n_components for one in told) == [1, 2, 20]
