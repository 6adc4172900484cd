"""Incomes whose age group is known for some rows only: simulated log-normal components, recovered.

The standard errors are those of the observed information: the second derivatives of the log-likelihood of the partly
labelled rows, written here with SciPy's normal density and differentiated numerically.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import chi2, norm

from emix import LogNormal, Mixture, fit

GROUPS = np.array(["20 to 34", "35 to 54", "55 and over"])
PROPORTIONS = np.array([0.3, 0.5, 0.2])
LOG_MEAN = np.array([7.4, 8.1, 8.7])
LOG_VARIANCE = np.array([0.09, 0.05, 0.12])
SHIFT = np.array([0.0, 0.1])
"""Log mean of a second income, of the next year, above the first."""


def simulate(seed, n, *, n_columns=1, share_missing=0.0):
    """Incomes (n, n_columns), and labels of which nine tenths are missing."""
    rng = np.random.default_rng(seed)
    z = rng.choice(3, size=n, p=PROPORTIONS)
    location = LOG_MEAN[z][:, None] + SHIFT[:n_columns]
    incomes = rng.lognormal(location, np.sqrt(LOG_VARIANCE[z])[:, None])
    incomes[rng.random(incomes.shape) < share_missing] = np.nan
    labels = np.where(rng.random(n) < 0.1, z, -1)
    return incomes, labels


def truth(n_columns=1):
    means = LOG_MEAN[:, None] + SHIFT[:n_columns]
    return np.concatenate([PROPORTIONS[:2], means.ravel(), np.repeat(LOG_VARIANCE, n_columns)])


def estimates(model):
    return np.concatenate(
        [model.mixing_proportions[:2], np.ravel(model.family.log_mean), np.ravel(model.family.log_variance)]
    )


def log_likelihood(theta, incomes, labels):
    """Of incomes, not of their logarithms; a row without an income counts for nothing."""
    d = incomes.shape[1]
    proportions = np.append(theta[:2], 1 - theta[:2].sum())
    mean, variance = theta[2 : 2 + 3 * d].reshape(3, d), theta[2 + 3 * d :].reshape(3, d)
    seen = ~np.isnan(incomes)
    u = np.log(np.where(seen, incomes, 1.0))
    cells = np.where(seen[:, None], norm.logpdf(u[:, None], mean, np.sqrt(variance)) - u[:, None], 0.0)
    joint = np.log(proportions) + cells.sum(axis=2)
    rows = np.where(labels < 0, logsumexp(joint, axis=1), joint[np.arange(len(u)), labels])
    return rows[seen.any(axis=1)].sum()


def information(theta, incomes, labels):
    """Minus the Hessian of the log-likelihood, by central differences."""
    step = 1e-4
    p = len(theta)
    shifts = step * np.eye(p)
    H = np.empty((p, p))
    for i in range(p):
        for j in range(i, p):
            corners = [(a, b, a * b) for a in (1, -1) for b in (1, -1)]
            H[i, j] = H[j, i] = sum(
                sign * log_likelihood(theta + a * shifts[i] + b * shifts[j], incomes, labels) for a, b, sign in corners
            ) / (4 * step**2)
    return -H


def assert_recovered(model, incomes, labels):
    """No parameter is 3 standard errors off, and together they are inside the 99 % confidence region."""
    found = estimates(model)
    error = found - truth(incomes.shape[1])
    observed = information(found, incomes, labels)
    standard_errors = np.sqrt(np.diag(np.linalg.inv(observed)))
    assert np.abs(error / standard_errors).max() < 3
    assert error @ observed @ error < chi2.ppf(0.99, df=len(found))


def test_recovered_within_standard_errors():
    incomes, labels = simulate(seed=1, n=3000)
    result = fit(Mixture(LogNormal(), 3), incomes, labels=labels, random_state=0)
    assert result.converged
    assert result.warnings == []
    assert_recovered(result.model, incomes, labels)
    assert_allclose(result.log_likelihood, log_likelihood(estimates(result.model), incomes, labels), rtol=1e-12)


def test_the_fit_is_a_maximum():
    """The gradient vanishes and the information is positive definite: stricter than recovery."""
    incomes, labels = simulate(seed=2, n=1000)
    model = fit(Mixture(LogNormal(), 3), incomes, labels=labels, tol=1e-12, random_state=0).model
    theta = estimates(model)
    observed = information(theta, incomes, labels)
    assert np.linalg.eigvalsh(observed).min() > 0
    step = 1e-5
    gradient = [
        (log_likelihood(theta + step * e, incomes, labels) - log_likelihood(theta - step * e, incomes, labels))
        / (2 * step)
        for e in np.eye(len(theta))
    ]
    newton_step = np.linalg.solve(observed, gradient) * np.sqrt(np.diag(observed))
    assert np.abs(newton_step).max() < 1e-4


def test_named_groups():
    """The labels may be the groups' names, None where unknown: components come in the order of the names."""
    incomes, labels = simulate(seed=1, n=3000)
    names = [None if label < 0 else str(GROUPS[label]) for label in labels]
    by_name = fit(Mixture(LogNormal(), 3), incomes, labels=names, random_state=0)
    by_number = fit(Mixture(LogNormal(), 3), incomes, labels=labels, random_state=0)
    assert by_name.model.component_names == tuple(GROUPS)
    assert_allclose(estimates(by_name.model), estimates(by_number.model), rtol=0, atol=0)


def test_missing_incomes():
    """A row whose only income is missing counts for nothing, and the result says how many there are."""
    incomes, labels = simulate(seed=3, n=3000, share_missing=0.05)
    missing = np.isnan(incomes[:, 0])
    assert missing[labels >= 0].any()
    result = fit(Mixture(LogNormal(), 3), incomes, labels=labels, random_state=0)
    assert_recovered(result.model, incomes, labels)
    dropped = fit(Mixture(LogNormal(), 3), incomes[~missing], labels=labels[~missing], random_state=0)
    assert_allclose(estimates(result.model), estimates(dropped.model), rtol=0, atol=0)
    assert result.total_weight == (~missing).sum()
    assert any(f"{missing.sum()} rows have no observed cell" in warning for warning in result.warnings)


def test_missing_incomes_of_one_of_two_years():
    """The year that is observed still counts."""
    incomes, labels = simulate(seed=4, n=3000, n_columns=2, share_missing=0.1)
    result = fit(Mixture(LogNormal(), 3), incomes, labels=labels, random_state=0)
    assert result.model.family.log_mean.shape == (3, 2)
    assert_recovered(result.model, incomes, labels)
    assert_allclose(result.log_likelihood, log_likelihood(estimates(result.model), incomes, labels), rtol=1e-12)
    complete = ~np.isnan(incomes).any(axis=1)
    only_complete = fit(Mixture(LogNormal(), 3), incomes[complete], labels=labels[complete], random_state=0)
    more = np.diag(information(estimates(result.model), incomes, labels))
    fewer = np.diag(information(estimates(only_complete.model), incomes[complete], labels[complete]))
    assert (more > fewer).all()


@pytest.mark.parametrize("share_missing", [0.0, 0.1])
def test_errors_are_as_large_as_the_standard_errors_say(share_missing):
    """Over thirty samples the squared standardised errors add up to a chi-square, neither too large nor too small."""
    total = 0.0
    for seed in range(100, 130):
        incomes, labels = simulate(seed, n=1500, share_missing=share_missing)
        model = fit(Mixture(LogNormal(), 3), incomes, labels=labels, n_init=1, random_state=0).model
        error = estimates(model) - truth()
        total += error @ information(estimates(model), incomes, labels) @ error
    low, high = chi2.ppf([0.001, 0.999], df=30 * 8)
    assert low < total < high
