"""Published estimates and textbook formulas, compared with every printed digit."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from compare import assert_printed
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from emix import Mixture, MultivariateNormal, Normal, Poisson, e_step, fit

EXAMPLE = Path(__file__).parents[1] / "examples" / "linkage.py"
TO_THE_END = {"stop": "parameters", "tol": 1e-12, "max_iter": 100_000}


# -- genetic linkage: Dempster, Laird & Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38 --------------


@pytest.fixture(scope="module")
def linkage():
    return runpy.run_path(str(EXAMPLE))["Linkage"]


@pytest.fixture(scope="module")
def counts(published):
    return published("linkage.csv")["count"][None]


def iterate(linkage, counts, n):
    return fit(linkage(theta=0.5), counts, stop="iterations", max_iter=n)


def test_linkage_iterates_of_dempster_laird_rubin_1977(linkage, counts):
    """Section 1, table 1. The paper's ninth digits carry its own rounding (0.624321051 for 0.62432105037)."""
    printed = [0.500000000, 0.608247423, 0.624321051, 0.626488879, 0.626777323, 0.626815632, 0.626820719]
    found = [iterate(linkage, counts, n).model.theta for n in range(7)]
    assert_allclose(found, printed, rtol=0, atol=1e-9)


def test_linkage_iterates_in_exact_arithmetic(linkage, counts):
    """The paper's map t -> (34 + 125 t / (2 + t)) / (72 + 125 t / (2 + t)), to all digits."""
    theta = 0.5
    for n in range(9):
        assert_allclose(iterate(linkage, counts, n).model.theta, theta, rtol=1e-15)
        hidden = 125 * theta / (2 + theta)
        theta = (34 + hidden) / (72 + hidden)


def test_linkage_limit(linkage, counts):
    """The root of 197 t^2 - 15 t - 68 = 0; the paper prints 0.6268214980."""
    result = iterate(linkage, counts, 30)
    assert_printed(result.model.theta, "0.6268214979")
    assert_allclose(result.model.theta, (15 + np.sqrt(53809)) / 394, rtol=1e-15)


def test_linkage_is_stopped_and_checked_like_any_model(linkage, counts):
    """A model of one's own has the default rule, a history that rises, and says how it ended."""
    result = fit(linkage(theta=0.5), counts)
    assert result.converged
    assert result.log_likelihood == result.history[-1].log_likelihood
    gains = [record.gain for record in result.history[1:]]
    assert min(gains) > 0
    assert_printed(result.model.theta, "0.6268")


def test_linkage_example_prints_the_iterates(capsys):
    """The table of the paper, as examples/linkage.py prints it, and the counts of the published table."""
    names = runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    for theta in ("0.500000000", "0.608247423", "0.626488879", "0.626820719"):
        assert theta in printed
    assert "converged" in printed
    assert names["COUNTS"] == [[125, 18, 20, 34]]


# -- death notices: Hasselblad (1969), Journal of the American Statistical Association 64, 1459-1471 -------------------


@pytest.mark.parametrize("n_init", [1, 10])
def test_death_notices_of_hasselblad_1969(published, n_init):
    """Two Poissons on the days with 0 to 9 notices, rows weighted by the number of days."""
    notices = published("deaths.csv")
    assert notices["days"].tolist() == [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    result = fit(
        Mixture(Poisson(), 2),
        notices["deaths"],
        sample_weight=notices["days"],
        stop="parameters",
        tol=1e-9,
        n_init=n_init,
        random_state=0,
    )
    model = result.model.reordered(np.argsort(result.model.family.rate))
    assert_printed(model.mixing_proportions, "0.3599 0.6401")
    assert_printed(model.family.rate, "1.2561 2.6634")
    assert_printed(result.log_likelihood, "-1989.9459")
    assert result.converged
    assert result.total_weight == 1096


def test_death_notices_day_by_day(published):
    """1,096 rows of weight 1 are the same data as ten rows weighted by days: same start, same iterates."""
    notices = published("deaths.csv")
    start = Mixture(Poisson(rate=[1.0, 3.0]))
    weighted = fit(start, notices["deaths"], sample_weight=notices["days"], stop="iterations", max_iter=50)
    one_by_one = fit(start, np.repeat(notices["deaths"], notices["days"].astype(int)), stop="iterations", max_iter=50)
    assert_allclose(weighted.model.family.rate, one_by_one.model.family.rate, rtol=1e-12)
    assert_allclose(weighted.log_likelihood, one_by_one.log_likelihood, rtol=1e-12)
    assert_allclose(weighted.bic, one_by_one.bic, rtol=1e-12)


# -- Old Faithful: Azzalini & Bowman (1990), Applied Statistics 39, 357-365 --------------------------------------------


def test_old_faithful_waiting_times(published):
    """Two normals, each with a variance: Benaglia et al. (2009), Journal of Statistical Software 32(6), section 2.3."""
    waiting = published("faithful.csv")["waiting"]
    result = fit(Mixture(Normal(), 2), waiting, tol=1e-10, random_state=0)
    model = result.model.reordered(np.argsort(result.model.family.mean))
    assert_printed(model.mixing_proportions, "0.3609 0.6391")
    assert_printed(model.family.mean, "54.615 80.091")
    assert_printed(np.sqrt(model.family.variance), "5.871 5.868")
    assert_printed(result.log_likelihood, "-1034.002")
    assert result.warnings == []


# -- Gaussian mixtures by the textbook update: Bishop (2006), section 9.2.2 --------------------------------------------

STRUCTURES = ("full", "tied", "diag", "spherical")


def textbook_iteration(x, proportions, means, covariances, structure):
    """Bishop (2006), equations 9.23 to 9.28, with the constrained covariances of Celeux & Govaert (1995)."""
    components = zip(proportions, means, covariances, strict=True)
    joint = np.stack([pi * multivariate_normal(mean, C).pdf(x) for pi, mean, C in components], axis=1)
    log_likelihood = np.log(joint.sum(axis=1)).sum()
    resp = joint / joint.sum(axis=1, keepdims=True)
    counts = resp.sum(axis=0)
    means = resp.T @ x / counts[:, None]
    scatter = np.stack([(r[:, None] * (x - m)).T @ (x - m) for r, m in zip(resp.T, means, strict=True)])
    K, d = means.shape
    covariances = {
        "full": scatter / counts[:, None, None],
        "tied": np.repeat(scatter.sum(axis=0, keepdims=True) / len(x), K, axis=0),
        "diag": scatter * np.eye(d) / counts[:, None, None],
        "spherical": (np.trace(scatter, axis1=1, axis2=2) / (d * counts))[:, None, None] * np.eye(d),
    }[structure]
    return counts / len(x), means, covariances, log_likelihood


@pytest.fixture(scope="module")
def gaussian_start(published):
    """Three components on the iris data, far from the optimum, and a covariance that all structures can have."""
    iris = published("iris.csv")
    x = np.stack([column for name, column in iris.items() if name != "Species"], axis=1)
    return x, np.array([0.2, 0.5, 0.3]), x[[10, 60, 149]], np.repeat(0.6 * np.eye(4)[None], 3, axis=0)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_gaussian_iteration_is_that_of_the_textbook(gaussian_start, structure):
    """Bishop (2006), section 9.2.2: responsibilities, then proportions, means, covariances."""
    x, proportions, means, covariances = gaussian_start
    model = Mixture(MultivariateNormal(means, covariances, structure=structure), mixing_proportions=proportions)
    result = fit(model, x, stop="iterations", max_iter=1)
    expected = textbook_iteration(x, proportions, means, covariances, structure)
    assert_allclose(result.model.mixing_proportions, expected[0], rtol=1e-12)
    assert_allclose(result.model.family.mean, expected[1], rtol=1e-12)
    assert_allclose(result.model.family.covariance, expected[2], rtol=1e-12, atol=1e-15)
    assert_allclose(result.history[0].log_likelihood, expected[3], rtol=1e-13)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_gaussian_log_likelihood_never_falls(gaussian_start, structure):
    """Forty iterations: each log-likelihood is that of the textbook's iterates, and none is below the one before."""
    x, *parameters = gaussian_start
    model = Mixture(MultivariateNormal(*parameters[1:], structure=structure), mixing_proportions=parameters[0])
    history = fit(model, x, stop="iterations", max_iter=40).history
    for record in history:
        *parameters, log_likelihood = textbook_iteration(x, *parameters, structure)
        assert_allclose(record.log_likelihood, log_likelihood, rtol=1e-10)
    gains = np.array([record.gain for record in history[1:]])
    assert (gains[:10] > 0).all()
    assert (gains >= -np.array([record.noise for record in history[1:]])).all()
    assert max(record.noise for record in history) < 1e-9


def test_univariate_iteration_is_that_of_the_textbook(published):
    """The same formulas in one dimension, on the waiting times of Old Faithful."""
    waiting = published("faithful.csv")["waiting"]
    model = Mixture(Normal(mean=[50.0, 75.0], variance=[40.0, 90.0]), mixing_proportions=[0.3, 0.7])
    after = e_step(model, waiting).maximize()
    expected = textbook_iteration(waiting[:, None], [0.3, 0.7], [[50.0], [75.0]], [[[40.0]], [[90.0]]], "full")
    assert_allclose(after.mixing_proportions, expected[0], rtol=1e-12)
    assert_allclose(after.family.mean, expected[1][:, 0], rtol=1e-12)
    assert_allclose(after.family.variance, expected[2][:, 0, 0], rtol=1e-11)
