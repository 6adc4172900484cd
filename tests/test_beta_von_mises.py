"""Beta and von Mises: their solvers, narrow columns, boundaries, units."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import digamma, i0e, i1e

import emix
from emix import Beta, FitError, Mixture, ModelError, VonMises, fit
from emix.centred import centred
from emix.families.von_mises import concentration_from_length


def one(family, x, **options):
    """The family fitted to a single component, and the result."""
    result = fit(Mixture(family, 1), x, **options)
    return result.model.family, result


# -- Beta ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(2.0, 5.0), (0.3, 0.2), (400.0, 3.0), (0.05, 7.0)])
def test_beta_fit_is_that_of_scipy(a, b):
    x = np.random.default_rng(0).beta(a, b, size=400)
    x = x[(x > 0) & (x < 1)]
    family, result = one(Beta(), x)
    found = family.alpha[0], family.beta[0]
    wanted = stats.beta.fit(x, *found, floc=0, fscale=1)[:2]
    assert_allclose(found, wanted, rtol=1e-6)
    assert_allclose(result.log_likelihood, stats.beta.logpdf(x, *found).sum(), rtol=1e-12)
    n = sum(found)
    assert_allclose(digamma(found[0]) - digamma(n), np.log(x).mean(), rtol=1e-10)
    assert_allclose(digamma(found[1]) - digamma(n), np.log1p(-x).mean(), rtol=1e-10)


@pytest.mark.parametrize("centre", [1e-3, 0.3, 0.999])
@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-7])
def test_beta_keeps_its_digits_in_a_narrow_column(centre, width):
    """n + 1 is m (1 - m) / variance up to a share of about the squared relative width."""
    width *= centre * (1 - centre)
    x = centre + width * np.random.default_rng(1).standard_normal(500)
    family, _ = one(Beta(), x)
    a, b = family.alpha[0], family.beta[0]
    y = x.astype(np.longdouble) - centre
    mean, variance = y.mean(), y.var()
    share = (width / (centre * (1 - centre))) ** 2
    assert_allclose(a / (a + b) - centre, float(mean), atol=5 * share * width + 2e-15 * centre)
    wanted = float((centre + mean) * (1 - centre - mean) / variance - 1)
    assert_allclose(a + b, wanted, rtol=max(20 * np.sqrt(share), 1e-9))


def test_beta_takes_every_number_between_0_and_1():
    x = np.concatenate([[5e-324, 1e-300, 1 - 2**-53], np.random.default_rng(0).uniform(size=50)])
    family, result = one(Beta(), x)
    assert np.isfinite(result.log_likelihood)
    n = family.alpha[0] + family.beta[0]
    assert_allclose(digamma(family.alpha[0]) - digamma(n), np.log(x).mean(), rtol=1e-10)
    assert_allclose(digamma(family.beta[0]) - digamma(n), np.log1p(-x).mean(), rtol=1e-10)
    for bad in (0.0, 1.0):
        with pytest.raises(emix.DataError, match=r"needs numbers > 0 and < 1"):
            fit(Mixture(Beta(), 1), [0.3, bad, 0.5])


def test_a_shape_beside_a_fixed_one_solves_its_equation():
    x = np.random.default_rng(3).beta(3.0, 2.0, size=200)
    for known in (1e-3, 0.5, 40.0, 1e6):
        family, _ = one(Beta([known], fixed={"alpha"}), x)
        found = family.beta[0]
        assert family.alpha[0] == known
        assert_allclose(digamma(found) - digamma(known + found), np.log1p(-x).mean(), rtol=1e-9)
        family, _ = one(Beta(beta=[known], fixed={"beta"}), x)
        found = family.alpha[0]
        assert_allclose(digamma(found) - digamma(known + found), np.log(x).mean(), rtol=1e-9)


def test_beta_components_of_very_different_width_are_found():
    rng = np.random.default_rng(1)
    narrow, wide = rng.normal(0.3, 1e-5, 300), rng.beta(40, 30, 300)
    result = fit(Mixture(Beta(), 2), np.concatenate([narrow, wide]), random_state=0)
    family = result.model.family.reordered(np.argsort(result.model.family.alpha))
    n = family.alpha + family.beta
    assert_allclose(n[1], 0.3 * 0.7 / narrow.var(), rtol=1e-3)
    assert_allclose(family.alpha[0], stats.beta.fit(wide, 40, 30, floc=0, fscale=1)[0], rtol=0.02)


def test_a_beta_component_of_equal_values_collapses_by_name():
    x = np.concatenate([np.full(5, 0.25), np.random.default_rng(0).uniform(0.5, 1, 60)])
    labels = np.repeat([0, 1], [5, 60])
    with pytest.raises(FitError, match=r"component 0 collapsed: its variance of 'x0'"):
        fit(Mixture(Beta(), 2), x, labels=labels)


# -- von Mises -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1e-8, 1e-3, 0.3, 1.0, 7.0, 29.999, 30.001, 100.0, 699.0])
def test_concentration_solves_its_equation(k):
    ratio = i1e(k) / i0e(k)
    assert_allclose(concentration_from_length(np.array([ratio]), np.array([1 - ratio]))[0], k, rtol=2e-12)


@pytest.mark.parametrize("k", [1e3, 1e5, 1e8, 1e12])
def test_a_large_concentration_keeps_its_digits(k):
    """1 - I1 / I0 = 1 / 2k + 1 / 8k^2 + 1 / 8k^3 + ... (Abramowitz & Stegun, 9.7.1)."""
    gap = 1 / (2 * k) + 1 / (8 * k**2) + 1 / (8 * k**3) + 25 / (128 * k**4) + 13 / (32 * k**5)
    assert_allclose(concentration_from_length(np.array([1 - gap]), np.array([gap]))[0], k, rtol=1e-13)


def test_no_preferred_direction_is_a_concentration_of_0():
    assert_array_equal(concentration_from_length(np.zeros(1), np.ones(1)), [0.0])
    x = np.arange(8) * np.pi / 4
    family, result = one(VonMises(), x)
    assert_allclose(family.concentration, 0, atol=1e-14)
    assert_allclose(result.log_likelihood, -8 * np.log(2 * np.pi), rtol=1e-14)


def test_a_fixed_direction_that_points_away_has_a_concentration_of_0():
    x = np.random.default_rng(0).vonmises(0, 3, size=100)
    family, result = one(VonMises([np.pi], fixed={"direction"}), x)
    assert_array_equal(family.concentration, [0.0])
    assert result.n_free_parameters == 1


@pytest.mark.parametrize(("direction", "k"), [(0.5, 0.7), (3.1, 5.0), (-2.0, 80.0)])
def test_von_mises_fit_is_that_of_scipy(direction, k):
    x = np.random.default_rng(0).vonmises(direction, k, size=300)
    family, result = one(VonMises(), x)
    wanted_k, wanted_direction, _ = stats.vonmises.fit(x, fscale=1)
    assert_allclose(family.concentration[0], wanted_k, rtol=1e-7)
    assert_allclose(np.exp(1j * family.direction[0]), np.exp(1j * wanted_direction), rtol=1e-8)
    assert_allclose(result.log_likelihood, stats.vonmises.logpdf(x, wanted_k, wanted_direction).sum(), rtol=1e-12)


@pytest.mark.parametrize("k", [1e4, 1e6, 1e8])
def test_a_narrow_circular_column_keeps_its_digits(k):
    y = np.random.default_rng(2).standard_normal(400) / np.sqrt(k)
    family, _ = one(VonMises(), 2 + y)
    y = (2 + y).astype(np.longdouble) - 2
    center = np.arctan2(np.sin(y).mean(), np.cos(y).mean())
    gap = float((2 * np.sin((y - center) / 2) ** 2).mean())
    assert_allclose(
        family.concentration[0], concentration_from_length(np.array([1 - gap]), np.array([gap]))[0], rtol=1e-9
    )
    assert_allclose(family.direction[0], 2 + float(center), rtol=4e-16)


def test_degrees_and_radians_are_the_same_model():
    rng = np.random.default_rng(4)
    degrees = np.mod(np.concatenate([rng.normal(350, 20, 300), rng.normal(120, 10, 200)]), 360)
    labels = np.repeat([0, 1], [300, 200])
    one_way = fit(Mixture(VonMises(unit="degrees"), 2), degrees, start=labels, tol=1e-12)
    other = fit(Mixture(VonMises(), 2), np.deg2rad(degrees), start=labels, tol=1e-12)
    direction = one_way.model.family.direction
    assert ((direction >= 0) & (direction < 360)).all()
    assert_allclose(np.mod(np.rad2deg(other.model.family.direction), 360), direction, rtol=1e-9)
    assert (np.abs(other.model.family.direction) <= np.pi).all()
    assert_allclose(one_way.model.family.concentration, other.model.family.concentration, rtol=1e-9)
    wanted = other.log_likelihood + 500 * np.log(np.pi / 180)  # densities per degree
    assert_allclose(one_way.log_likelihood, wanted, rtol=1e-12)


def test_whole_turns_change_nothing():
    x = np.array([5.0, 20.0, 355.0, 340.0, 10.0])
    turned = x + 360 * np.array([0, 1, -2, 3, 0])
    one_way, other = (fit(Mixture(VonMises(unit="degrees"), 1), y) for y in (x, turned))
    assert_allclose(other.log_likelihood, one_way.log_likelihood, rtol=1e-13)
    found = np.exp(1j * np.deg2rad([r.model.family.direction[0] for r in (one_way, other)]))
    assert_allclose(found[1], found[0], atol=1e-14)


@pytest.mark.parametrize(
    ("family", "draw"),
    [
        (Beta([2.0, 9.0], [5.0, 1.5]), lambda rng: rng.beta(2.0, 3.0, size=(80, 1))),
        (VonMises([0.1, 2.0], [2.0, 9.0]), lambda rng: rng.vonmises(1.0, 1.0, size=(80, 1))),
    ],
    ids=["beta", "von-mises"],
)
def test_both_paths_agree_where_both_are_valid(family, draw):
    x = draw(np.random.default_rng(0))
    step = emix.e_step(Mixture(family), x)
    other = emix.e_step(centred(step.model), x)
    assert_allclose(other.log_prob, step.log_prob, rtol=1e-10, atol=1e-12)
    assert_allclose(other.log_likelihood, step.log_likelihood, rtol=1e-12)
    assert_allclose(other.expected_statistics, step.expected_statistics, rtol=1e-9, atol=1e-10)
    for name, value in step.maximize().parameters.items():
        assert_allclose(other.maximize().parameters[name], value, rtol=1e-10, err_msg=name)


def test_mistakes_are_named():
    with pytest.raises(ModelError, match="unknown unit of angles 'grad'"):
        VonMises(unit="grad")
    with pytest.raises(ModelError, match="concentration needs finite numbers >= 0"):
        VonMises([0.0], [-1.0])
    with pytest.raises(ModelError, match="alpha needs positive finite numbers"):
        Beta([0.0], [1.0])
    x = np.concatenate([np.full(5, 1.0), np.random.default_rng(0).vonmises(3.0, 2.0, 60)])
    with pytest.raises(FitError, match=r"component 0 collapsed: its variance of 'x0'"):
        fit(Mixture(VonMises(), 2), x, labels=np.repeat([0, 1], [5, 60]))


@pytest.mark.parametrize("turns", [10**7, -(10**8)])
def test_many_turns_cost_no_digits_beyond_those_of_the_angles(turns):
    """The same fit as of the angles within a turn: at 1e8 radians a difference of angles had eight digits."""
    rng = np.random.default_rng(5)
    far = np.concatenate([rng.vonmises(1.0, 1e6, 60), rng.vonmises(-2.0, 4.0, 60)]) + 2 * np.pi * turns
    near = np.arctan2(np.sin(far), np.cos(far))  # exact: the library reduces by pi to all digits
    start = np.arange(120) // 60
    one, other = (emix.fit(emix.Mixture(VonMises(), 2), x, start=start, tol=1e-8) for x in (far, near))
    assert all(record.gain >= -8 * record.noise for record in one.history[1:])
    assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-11)
    assert_allclose(one.model.family.direction, other.model.family.direction, rtol=1e-12)
    assert_allclose(one.model.family.concentration, other.model.family.concentration, rtol=1e-8)
    x = far[:3, None]
    assert_allclose(emix.score_samples(one.model, x), emix.score_samples(one.model, near[:3, None]), rtol=1e-9)


def test_angles_that_differ_from_their_direction_by_nearly_a_turn_climb():
    """Directions are stored within a turn: x - direction has the rounding of 2 pi, 4e-16, where 1 / k is 5e-9."""
    rng = np.random.default_rng(79)
    n, off, k = (
        int(rng.integers(20, 200)),
        10.0 ** rng.uniform(0, 9) * rng.choice([-1, 1]),
        10.0 ** rng.uniform(0, 9, 2),
    )
    x = np.concatenate([rng.vonmises(m, one, n) for m, one in zip(rng.uniform(-3, 3, 2), k, strict=True)])
    assert off == pytest.approx(4.4117, abs=1e-4)
    result = fit(Mixture(VonMises(), 2), x + 2 * np.pi, random_state=0, n_init=2)  # it fell by 2e-11, of noise 7e-13
    assert result.converged
