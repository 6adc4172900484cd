"""Gaussian rows with missing cells, against SciPy's densities, direct maximisation and the regression formulas."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from compare import assert_near
from fits import assert_same_fit
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import emix
from emix import FactorAnalytic, Mixture, MultivariateNormal, e_step, fit, impute, predict, responsibilities
from emix.families import STRUCTURES
from emix.kernels import dispatch

ALL = [*STRUCTURES, FactorAnalytic(1), FactorAnalytic(1, tied={"loadings"})]


def named(structure) -> str:
    return structure if isinstance(structure, str) else structure.name


def groups(n: int, d: int, K: int, seed: int = 0, apart: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated rows of K groups, each with a covariance of its own, and their groups."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % K
    centre = rng.normal(size=(K, d)) * apart
    half = np.eye(d) + 0.5 * rng.normal(size=(K, d, d))
    noise = rng.normal(size=(n, d))
    return centre[labels] + np.einsum("nij,nj->ni", half[labels], noise), labels


def punched(x: np.ndarray, share: float, seed: int = 1, *, keep_one: bool = True) -> np.ndarray:
    """With cells missing at random; no row without an observed cell, if `keep_one`."""
    rng = np.random.default_rng(seed)
    holes = rng.random(x.shape) < share
    if keep_one:
        holes[np.arange(len(x)), rng.integers(0, x.shape[1], len(x))] = False
    return np.where(holes, np.nan, x)


def fitted(structure, n: int = 120, d: int = 3, K: int = 2, seed: int = 0) -> Mixture:
    """A model fitted to complete rows."""
    x, labels = groups(n, d, K, seed)
    return fit(Mixture(MultivariateNormal(structure=structure), K), x, labels=labels).model


def log_densities(model: Mixture, x: np.ndarray) -> np.ndarray:
    """log p(observed cells given k), (n, K), by SciPy, row by row."""
    found = np.zeros((len(x), model.n_components))
    for i, row in enumerate(x):
        o = ~np.isnan(row)
        if o.any():
            for k, (m, C) in enumerate(zip(model.family.mean, model.family.covariance, strict=True)):
                found[i, k] = multivariate_normal(m[o], C[np.ix_(o, o)]).logpdf(row[o])
    return found


# -- densities ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_density_of_an_incomplete_row_is_that_of_its_observed_cells(structure):
    """Rows with nothing observed among them: their density is 1, and of their component the proportions speak."""
    model = fitted(structure, d=4)
    x = punched(groups(60, 4, 2, seed=5)[0], 0.5, keep_one=False)
    x[7] = np.nan
    step = e_step(model, x)
    wanted = log_densities(model, x)
    assert_allclose(step.log_prob, wanted, rtol=1e-11, atol=1e-11)
    joint = wanted + np.log(model.mixing_proportions)
    evidence = logsumexp(joint, axis=1)
    assert_allclose(step.responsibilities, np.exp(joint - evidence[:, None]), rtol=1e-9, atol=1e-14)
    assert_allclose(step.responsibilities[7], model.mixing_proportions, rtol=1e-13)
    assert_allclose(step.log_likelihood, evidence.sum(), rtol=1e-12)
    assert_allclose(emix.score_samples(model, x), evidence, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_a_model_of_complete_rows_predicts_rows_with_holes(structure):
    model = fitted(structure, d=4, K=3)
    x, labels = groups(90, 4, 3)
    x = punched(x, 0.4)
    wanted = log_densities(model, x) + np.log(model.mixing_proportions)
    assert_array_equal(predict(model, x), wanted.argmax(axis=1))
    assert (predict(model, x) == labels).mean() > 0.8


def test_densities_keep_their_digits_far_from_zero():
    model = fitted("full")
    moved = replace(model, family=MultivariateNormal(model.family.mean * 1e-3 + 1e5, model.family.covariance * 1e-6))
    x = punched(groups(60, 3, 2)[0] * 1e-3 + 1e5, 0.4)
    assert_allclose(e_step(moved, x).log_prob, log_densities(moved, x), rtol=1e-7, atol=1e-6)  # of x, 1e-11 is left


# -- the limit of EM ---------------------------------------------------------------------------------------------------


def cholesky_factor(v: np.ndarray) -> np.ndarray:
    return np.array([[np.exp(v[0]), 0.0], [v[2], np.exp(v[1])]])


def covariances(structure: str, K: int, v: np.ndarray) -> np.ndarray:
    """(K, 2, 2) from free coordinates, written down here anew."""
    if structure == "VVV":
        factors = [cholesky_factor(part) for part in v.reshape(K, 3)]
        return np.stack([L @ L.T for L in factors])
    if structure == "EEE":
        L = cholesky_factor(v)
        return np.stack([L @ L.T] * K)
    if structure == "VVI":
        return np.stack([np.diag(np.exp(part)) for part in v.reshape(K, 2)])
    shape = np.diag(np.exp([v[0], -v[0]]))
    volumes, angles = np.exp(v[1 : 1 + K]), v[1 + K :]
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    return np.stack([size * D @ shape @ D.T for size, D in zip(volumes, turns, strict=True)])


N_COORDINATES = {"VVV": lambda K: 3 * K, "EEE": lambda K: 3, "VVI": lambda K: 2 * K, "VEV": lambda K: 1 + 2 * K}


@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("structure", N_COORDINATES)
def test_the_limit_of_em_is_the_maximum(structure, K):
    """The log-likelihood of the observed cells, by SciPy's densities and maximised by BFGS, has the same maximum."""
    x, labels = groups(60, 2, K, seed=3, apart=3.0)
    x = punched(x, 0.25)
    result = fit(Mixture(MultivariateNormal(structure=structure), K), x, start=labels, tol=1e-10)
    assert result.converged
    patterns = [(o, x[(~np.isnan(x) == o).all(axis=1)][:, o]) for o in ([True, True], [True, False], [False, True])]
    patterns = [(np.array(o), rows) for o, rows in patterns]

    def parts(v):
        free = np.append(v[: K - 1], 0.0)
        mean = v[K - 1 : 3 * K - 1].reshape(K, 2)
        return np.exp(free - logsumexp(free)), mean, covariances(structure, K, v[3 * K - 1 :])

    def loss(v):
        pi, mean, C = parts(v)
        total = 0.0
        for o, rows in patterns:
            joint = [np.log(pi[k]) + multivariate_normal(mean[k][o], C[k][np.ix_(o, o)]).logpdf(rows) for k in range(K)]
            total -= logsumexp(np.array(joint).reshape(K, len(rows)), axis=0).sum()
        return total

    centre = np.stack([np.nanmean(x[labels == k], axis=0) for k in range(K)])
    start = np.concatenate([np.zeros(K - 1), centre.ravel(), np.full(N_COORDINATES[structure](K), 0.1)])
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-5, "maxiter": 2_000})
    assert_near(result.log_likelihood, -found.fun, 1e-7)
    pi, mean, C = parts(found.x)
    assert_near(result.model.mixing_proportions, pi, 1e-4)
    assert_near(result.model.family.mean, mean, 1e-3)
    assert_near(result.model.family.covariance, C, 1e-3 * np.abs(C).max())


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("structure", ALL, ids=named)
def test_the_log_likelihood_never_falls(structure, share):
    x, labels = groups(80, 4, 2, seed=11, apart=1.5)
    x = punched(x, share)
    result = fit(Mixture(MultivariateNormal(structure=structure), 2), x, start=labels, stop="iterations", max_iter=40)
    assert len(result.history) == 41
    for before, after in pairwise(result.history):
        assert after.log_likelihood >= before.log_likelihood - 1e-12 * abs(after.log_likelihood)
    assert result.log_likelihood > result.history[0].log_likelihood + 0.1
    assert_allclose(emix.score_samples(result.model, x).sum(), result.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_a_complete_table_on_the_path_of_missing_cells_is_the_same_fit(structure):
    """One more row, nearly without weight, with a hole: the fit is by pattern and must be that of the complete rows."""
    x, labels = groups(80, 3, 2, seed=2)
    more, known = np.vstack([x, [[x[0, 0], np.nan, x[0, 2]]]]), np.append(labels, labels[0])
    weight = np.append(np.ones(80), 1e-13)
    options = {"stop": "iterations", "max_iter": 10}
    model = Mixture(MultivariateNormal(structure=structure), 2)
    complete = fit(model, x, start=labels, **options)
    by_pattern = fit(model, more, start=known, sample_weight=weight, **options)
    assert_same_fit(by_pattern, complete, rtol=1e-8)


# -- the compiled path -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["nothing", "labels", "q"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("structure", ["VVV", "EEE", "VVI", "VEV", "VEI"])
def test_compiled_and_numpy_paths_agree(monkeypatch, structure, dtype, known):
    x, truth = groups(200, 4, 3, seed=7, apart=1.5)
    x = punched(x, 0.3).astype(dtype)
    rng = np.random.default_rng(0)
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], size=200)
    labels = {
        "nothing": None,
        "labels": np.where(rng.random(200) < 0.3, truth, -1),
        "q": rng.choice([0.0, 0.5, 1.0], size=(200, 3), p=[0.2, 0.3, 0.5]) + np.eye(3)[truth],
    }[known]
    results = []
    for limit in (0, np.inf):
        monkeypatch.setattr(dispatch, "COMPILE_FROM", limit)
        model = Mixture(MultivariateNormal(structure=structure), 3)
        options = {"start": truth, "labels": labels, "sample_weight": weight, "stop": "iterations", "max_iter": 12}
        results.append(fit(model, x, **options))
    assert_same_fit(*results, rtol=1e-9)
    history = [[record.log_likelihood for record in result.history] for result in results]
    assert_allclose(*history, rtol=1e-11)
    assert_allclose(results[0].expected_counts, results[1].expected_counts, rtol=1e-9)
    assert_allclose(results[0].icl, results[1].icl, rtol=1e-9)


def test_the_compiled_path_is_taken(monkeypatch):
    """What the test above compares are two paths."""
    calls = []
    segments = dispatch.expect_segments
    monkeypatch.setattr(dispatch, "expect_segments", lambda *given: calls.append(1) or segments(*given))
    x, labels = groups(60, 3, 2)
    for limit, expected in ((np.inf, 0), (0, 4)):
        monkeypatch.setattr(dispatch, "COMPILE_FROM", limit)
        fit(Mixture(MultivariateNormal(), 2), punched(x, 0.3), start=labels, stop="iterations", max_iter=3)
        assert len(calls) == expected


# -- rows and columns without observed cells ---------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_rows_with_nothing_observed_count_for_nothing(structure):
    x, labels = groups(60, 3, 2)
    x = punched(x, 0.2)
    more = np.vstack([x[:30], np.full((5, 3), np.nan), x[30:], np.full((4, 3), np.nan)])
    known = np.concatenate([labels[:30], np.full(5, -1), labels[30:], np.full(4, -1)])
    model, options = Mixture(MultivariateNormal(structure=structure), 2), {"stop": "iterations", "max_iter": 8}
    plain = fit(model, x, start=labels, **options)
    with_empty = fit(model, more, start=known, **options)
    assert_same_fit(with_empty, plain, rtol=1e-12)
    assert with_empty.total_weight == 60
    assert_allclose(with_empty.bic, plain.bic, rtol=1e-12)


def test_a_column_that_one_component_never_shows():
    """With known labels its other columns are estimated as if it did not exist, and nothing runs away."""
    x, labels = groups(90, 3, 2, seed=4)
    x[labels == 0, 1] = np.nan
    x[::7, 2] = np.nan
    result = fit(Mixture(MultivariateNormal(), 2), x, labels=labels, tol=1e-11)
    alone = fit(Mixture(MultivariateNormal(), 1), x[labels == 0][:, [0, 2]], tol=1e-11)
    family = result.model.family
    assert_allclose(family.mean[0, [0, 2]], alone.model.family.mean[0], rtol=1e-5)
    assert_allclose(family.covariance[0][np.ix_([0, 2], [0, 2])], alone.model.family.covariance[0], rtol=1e-4)
    assert np.isfinite(family.mean).all()
    assert (np.linalg.eigvalsh(family.covariance) > 0).all()
    low, high = np.nanmin(x[:, 1]), np.nanmax(x[:, 1])
    assert low < family.mean[0, 1] < high


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_a_column_that_one_component_never_shows_whatever_the_structure(structure):
    x, labels = groups(90, 3, 2, seed=4)
    x[labels == 0, 1] = np.nan
    result = fit(Mixture(MultivariateNormal(structure=structure), 2), x, start=labels, max_iter=3_000)
    family = result.model.family
    assert np.isfinite(family.mean).all()
    assert (np.linalg.eigvalsh(family.covariance) > 0).all()
    assert all(record.gain >= -1e-9 for record in result.history[1:])


# -- imputation --------------------------------------------------------------------------------------------------------


def conditional(model: Mixture, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responsibilities (K,), means (K, u) and covariances (K, u, u) of a row's missing cells: regression by solving."""
    o, u = ~np.isnan(row), np.isnan(row)
    log_joint, means, rest = [], [], []
    for pi, m, C in zip(model.mixing_proportions, model.family.mean, model.family.covariance, strict=True):
        slopes = np.linalg.solve(C[np.ix_(o, o)], C[np.ix_(o, u)]).T
        means.append(m[u] + slopes @ (row[o] - m[o]))
        rest.append(C[np.ix_(u, u)] - slopes @ C[np.ix_(o, u)])
        log_joint.append(np.log(pi) + (multivariate_normal(m[o], C[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0.0))
    log_joint = np.array(log_joint)
    return np.exp(log_joint - logsumexp(log_joint)), np.array(means), np.array(rest)


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_imputed_cells_are_conditional_means(structure):
    model = fitted(structure, d=4)
    x = punched(groups(50, 4, 2, seed=9, apart=1.0)[0], 0.4, keep_one=False)
    x[3], x[4] = np.nan, np.arange(4.0)
    filled = impute(model, x)
    assert not np.isnan(filled).any()
    observed = ~np.isnan(x)
    assert_array_equal(filled[observed], x[observed])
    for row, full in zip(x, filled, strict=True):
        if np.isnan(row).any():
            resp, means, _ = conditional(model, row)
            assert_allclose(full[np.isnan(row)], resp @ means, rtol=1e-9, atol=1e-9)
    assert_allclose(filled[3], model.mixing_proportions @ model.family.mean, rtol=1e-12)


@pytest.mark.parametrize("structure", ["VVV", "VVI", "EEV", FactorAnalytic(1)], ids=named)
def test_draws_have_the_conditional_mean_and_covariance(structure):
    """20,000 draws: means within 5 standard errors, covariances within 5 of theirs."""
    model = fitted(structure, d=3)
    between = model.family.mean.mean(axis=0)
    x = np.array([[between[0], np.nan, np.nan], [np.nan, between[1], between[2]], [np.nan] * 3, between])
    copies, n = 800, 20_000
    drawn = impute(model, np.repeat(x, copies, axis=0), draws=25, random_state=1)
    assert drawn.shape == (25, 4 * copies, 3)
    drawn = drawn.reshape(25, 4, copies, 3).transpose(1, 0, 2, 3).reshape(4, n, 3)
    assert_array_equal(drawn[3], np.tile(x[3], (n, 1)))
    for row, rows in zip(x[:3], drawn[:3], strict=True):
        u = np.isnan(row)
        assert_array_equal(rows[:, ~u], np.tile(row[~u], (n, 1)))
        resp, means, rest = conditional(model, row)
        mean = resp @ means
        covariance = np.einsum("k,kij->ij", resp, rest + np.einsum("ki,kj->kij", means - mean, means - mean))
        off = rows[:, u] - mean
        assert np.abs(off.mean(axis=0) / np.sqrt(np.diag(covariance) / n)).max() < 5
        products = off[:, :, None] * off[:, None, :]
        assert np.abs((products.mean(axis=0) - covariance) / (products.std(axis=0) / np.sqrt(n))).max() < 5


def test_draws_are_seeded():
    model = fitted("full")
    x = punched(groups(20, 3, 2, seed=9)[0], 0.4)
    one, same, other = (impute(model, x, draws=3, random_state=seed) for seed in (4, 4, 5))
    assert_array_equal(one, same)
    assert (one[0] != one[1]).any()
    assert (one != other).any()
    assert_array_equal(one[:, ~np.isnan(x)], np.tile(x[~np.isnan(x)], (3, 1)))


def test_imputing_complete_rows_changes_nothing():
    model = fitted("full")
    x = groups(20, 3, 2)[0]
    assert_array_equal(impute(model, x), x)
    assert_array_equal(impute(model, x, draws=2), [x, x])


def test_responsibilities_of_a_row_with_a_hole_ignore_the_cell():
    """They are those of the model of the other columns."""
    model = fitted("full", d=3)
    family = MultivariateNormal(model.family.mean[:, :2], model.family.covariance[:, :2, :2])
    x = groups(30, 3, 2, seed=6, apart=1.0)[0]
    x[:, 2] = np.nan
    without = responsibilities(Mixture(family, mixing_proportions=model.mixing_proportions), x[:, :2])
    assert_allclose(responsibilities(model, x), without, rtol=1e-10, atol=1e-14)


def test_cells_of_every_kind_are_filled_in():
    rng = np.random.default_rng(0)
    n = 400
    z = rng.integers(0, 2, n)
    table = {
        "age": np.where(z, 30.0, 60.0) + rng.normal(size=n),
        "visits": rng.poisson(np.where(z, 2.0, 9.0)).astype(float),
        "city": np.where(z, "A", "B").astype(object),
    }
    holed = {name: cells.copy() for name, cells in table.items()}
    for name, start in (("age", 0), ("visits", 20), ("city", 40)):
        holed[name][start : start + 20] = None if name == "city" else np.nan
    families = {"age": emix.Normal(), "visits": emix.Poisson(), "city": emix.Categorical()}
    model = emix.fit(emix.Mixture(emix.Columns(families), 2), holed, random_state=0).model
    filled = emix.impute(model, holed)
    assert (filled[40:60, 2] == table["city"][40:60]).mean() > 0.9
    assert set(filled[:, 2]) == {"A", "B"}
    assert np.abs(filled[:20, 0].astype(float) - table["age"][:20]).mean() < 5
    assert_allclose(filled[60:, 0].astype(float), table["age"][60:])
    draws = emix.impute(model, holed, draws=3, random_state=0)
    assert draws.shape == (3, n, 3)
    assert set(draws[:, :, 2].ravel()) == {"A", "B"}
