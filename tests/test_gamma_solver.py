"""The Gamma shape: Newton's root against a bracketing solver, over all sizes that data can ask for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import digamma

from emix import Gamma, Mixture, fit
from emix.errors import FitError, RootNotFoundError
from emix.families import digammas
from emix.families.digammas import shape_from_digamma, shape_from_gap

# -1/(2b) - 1/(12b^2) + 1/(120b^4) - ...: Abramowitz & Stegun 6.3.18, digamma(b) - log b
BERNOULLI = [(1, -1 / np.longdouble(2)), (2, -1 / np.longdouble(12)), (4, 1 / np.longdouble(120))]
BERNOULLI += [(6, -1 / np.longdouble(252)), (8, 1 / np.longdouble(240)), (10, -1 / np.longdouble(132))]


def exact_digamma_minus_log(a: float) -> np.longdouble:
    """In extended precision and without cancellation: shifted up to b >= 40, where six terms suffice."""
    a = np.longdouble(a)
    n = max(0, int(np.ceil(40 - a)))
    b = a + n
    series = sum(factor / b**power for power, factor in BERNOULLI)
    return series + np.log1p(n / a) - sum((1 / (a + k) for k in range(n)), np.longdouble(0))


def bracketed(function, low: float = 1e-5, high: float = 1e14) -> float:
    """The root in log a."""
    return float(
        np.exp(brentq(lambda t: float(function(np.exp(t))), np.log(low), np.log(high), xtol=1e-15, rtol=1e-15))
    )


GAPS = np.logspace(-12, 3, 331)


def test_the_reference_is_digamma():
    for a in (1e-3, 0.3, 1.0, 7.0, 39.5, 60.0):
        assert_allclose(
            float(exact_digamma_minus_log(a) + np.log(np.longdouble(a))), digamma(a), rtol=2e-14, atol=1e-15
        )


def test_shape_from_gap_is_the_root():
    """Relative error 1e-12: as a plain difference log a - digamma(a) loses more than that above a shape of 500."""
    wanted = [bracketed(lambda a, gap=gap: -exact_digamma_minus_log(a) / np.longdouble(gap) - 1) for gap in GAPS]
    assert_allclose(shape_from_gap(GAPS), wanted, rtol=1e-12)


def test_shape_from_gap_converges_one_gap_at_a_time():
    """Each root by itself, on a fine grid: rounding in digamma must not keep the steps above the tolerance."""
    gaps = np.logspace(-12, 3, 20_001)
    alone = np.array([float(shape_from_gap(np.array([gap]))[0]) for gap in gaps[::7]])
    assert_allclose(shape_from_gap(gaps)[::7], alone, rtol=1e-12)
    assert (np.diff(alone) < 0).all()


@pytest.mark.parametrize("shape", [(7,), (3, 2), (1, 1), ()])
def test_shape_from_gap_is_elementwise(shape):
    gaps = np.random.default_rng(0).uniform(0.01, 3.0, shape)
    found = shape_from_gap(gaps)
    assert found.shape == shape
    assert_allclose(np.log(found) - digamma(found), gaps, rtol=1e-12)


def test_shape_from_digamma_is_the_root():
    targets = np.concatenate([-np.logspace(3, -3, 120), [0.0, digamma(1.0), -2.22], np.logspace(-3, np.log10(25), 120)])
    wanted = [bracketed(lambda a, t=t: exact_digamma_minus_log(a) + np.log(np.longdouble(a)) - t) for t in targets]
    assert_allclose(shape_from_digamma(targets), wanted, rtol=1e-12)


def test_shape_from_digamma_converges_on_a_fine_grid():
    targets = np.concatenate([-np.logspace(6, -6, 5_000), np.logspace(-6, np.log10(30), 5_000)])
    found = shape_from_digamma(targets)
    assert (np.diff(found) > 0).all()
    assert_allclose(digamma(found), targets, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("solver", "argument"), [(shape_from_gap, 0.5), (shape_from_digamma, 0.5)])
def test_an_unconverged_shape_is_never_returned(monkeypatch, solver, argument):
    exact = solver(np.array([argument]))
    monkeypatch.setattr(digammas, "MAX_NEWTON", 1)
    with pytest.raises(RootNotFoundError, match=r"did not converge in 1 safeguarded Newton steps.*0\.5"):
        solver(np.array([argument]))
    monkeypatch.setattr(digammas, "MAX_NEWTON", 8)
    assert_array_equal(solver(np.array([argument])), exact)


@pytest.mark.parametrize("fixed", [frozenset(), frozenset({"rate"})])
def test_an_unconverged_shape_ends_the_fit(monkeypatch, fixed):
    """It is a defect and no degenerate component: it must not be passed over as one bad start among many."""
    x = np.random.default_rng(0).gamma(3.0, 2.0, 100)
    monkeypatch.setattr(digammas, "MAX_NEWTON", 1)
    model = Mixture(Gamma([2.0, 5.0], [0.3, 2.0]), fixed=fixed)
    with pytest.raises(RootNotFoundError) as caught:
        fit(model, x)
    assert isinstance(caught.value, FitError)
