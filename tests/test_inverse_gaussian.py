"""Inverse Gaussian: its estimates against SciPy and exact arithmetic, narrow and extreme columns."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import emix
from emix import FitError, InverseGaussian, Mixture, fit
from emix.centred import centred


def exact(x: np.ndarray, mean: float | None = None) -> tuple[float, float]:
    """Mean and shape in rational arithmetic: no rounding but the last; the shape about a given mean if there is one."""
    cells = [Fraction(float(cell)) for cell in x]
    m = sum(cells) / len(cells) if mean is None else Fraction(mean)
    return float(m), float(len(cells) / sum((cell - m) ** 2 / (m * m * cell) for cell in cells))


@pytest.mark.parametrize("width", [1.0, 1e-3, 1e-6, 1e-9])
def test_estimates_keep_their_digits(width):
    x = 250 * np.exp(width * np.random.default_rng(0).standard_normal(300))
    found = fit(Mixture(InverseGaussian(), 1), x).model.family
    assert_allclose([found.mean[0], found.shape[0]], exact(x), rtol=1e-12 + 1e-16 / width)


def test_fit_is_that_of_scipy():
    x = np.random.default_rng(0).wald(3.0, 8.0, size=400)
    result = fit(Mixture(InverseGaussian(), 1), x)
    found = result.model.family
    m, _, scale = stats.invgauss.fit(x, floc=0)
    assert_allclose(found.mean[0], m * scale, rtol=1e-10)
    assert_allclose(found.shape[0], scale, rtol=1e-10)
    assert_allclose(result.log_likelihood, stats.invgauss.logpdf(x, m, scale=scale).sum(), rtol=1e-12)


def test_the_shape_about_a_fixed_mean_is_not_the_free_shape():
    x = np.random.default_rng(0).wald(3.0, 8.0, size=100)
    held = fit(Mixture(InverseGaussian([2.0], fixed={"mean"}), 1), x).model.family
    assert_allclose(held.shape[0], exact(x, 2.0)[1], rtol=1e-13)
    free = fit(Mixture(InverseGaussian(shape=[5.0], fixed={"shape"}), 1), x).model.family
    assert_allclose(free.mean[0], x.mean(), rtol=1e-14)
    assert free.shape[0] == 5.0


def test_extreme_numbers_give_finite_results():
    x = np.concatenate([[5e-324, 1e-300, 1e100], np.random.default_rng(0).wald(1.0, 1.0, 40)])
    result = fit(Mixture(InverseGaussian(), 1), x)
    assert np.isfinite(result.log_likelihood)
    assert_allclose(result.model.family.mean[0], x.mean(), rtol=1e-12)


def test_two_components_are_found():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.wald(1.0, 9.0, 600), rng.wald(12.0, 90.0, 400)])
    result = fit(Mixture(InverseGaussian(), 2), x, random_state=0)
    order = np.argsort(result.model.family.mean)
    assert_allclose(result.model.mixing_proportions[order], [0.6, 0.4], atol=0.02)
    truth = Mixture(InverseGaussian([1.0, 12.0], [9.0, 90.0]), mixing_proportions=[0.6, 0.4])
    gained = 2 * (result.log_likelihood - emix.e_step(truth, x).log_likelihood)
    assert 0 <= gained < stats.chi2.ppf(1 - 1e-6, 5)


def test_both_paths_agree_where_both_are_valid():
    x = np.random.default_rng(0).wald(3.0, 8.0, size=(80, 1))
    step = emix.e_step(Mixture(InverseGaussian([2.0, 5.0], [4.0, 30.0])), x)
    other = emix.e_step(centred(step.model), x)
    assert_allclose(other.log_prob, step.log_prob, rtol=1e-10, atol=1e-12)
    assert_allclose(other.expected_statistics, step.expected_statistics, rtol=1e-9, atol=1e-10)
    for name, value in step.maximize().parameters.items():
        assert_allclose(other.maximize().parameters[name], value, rtol=1e-10, err_msg=name)


def test_a_component_of_equal_values_collapses_by_name():
    x = np.concatenate([np.full(5, 2.0), np.random.default_rng(0).wald(9.0, 20.0, 60)])
    with pytest.raises(FitError, match=r"component 0 collapsed: its variance of 'x0'"):
        fit(Mixture(InverseGaussian(), 2), x, labels=np.repeat([0, 1], [5, 60]))
