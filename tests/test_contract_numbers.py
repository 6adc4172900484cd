"""The contract of a family, continued: names and raw sums, persistence, the pivot."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from cases import (
    CASES,
    Case,
    assert_same_parameters,
    expected_under,
    gamma_density,
    law,
    lognormal_density,
    names,
    normal_density,
    proportions,
    soft_responsibilities,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma

import emix
from emix import (
    Bernoulli,
    Gamma,
    LogNormal,
    Mixture,
    MultivariateNormal,
    Normal,
)
from emix.block import Schema
from emix.data.summary import summarize
from emix.families import STRUCTURES
from emix.families.student_t import FIRST

# -- names and raw sums ----------------------------------------------------------------------------------------------


def meaning(name: str, x: np.ndarray, case: Case) -> np.ndarray:
    """What one row adds to the statistic of this name, (n,), read from its words."""

    def cell(word: str) -> np.ndarray:
        if word.startswith("log "):
            return np.log(cell(word.removeprefix("log ")))
        if word.startswith(("cos ", "sin ")):
            angle = cell(word[4:])
            return getattr(np, word[:3])(np.deg2rad(angle) if case.family.unit == "degrees" else angle)
        if word.startswith("(1 - "):
            return 1 - cell(word[5:-1])
        if word.startswith("1 / "):
            return 1 / cell(word[4:])
        if word == "hazard":  # of a Weibull shape and scale of 1: nothing is known of them yet
            return x[:, 0]
        if word == "remainder of log hazard":
            return np.abs(np.log(x[:, 0])) ** 3 * (x[:, 0] ** 0.5 + x[:, 0] ** 1.5)
        return x[:, int(word[1:])]

    if name in ("heads", "tails"):
        heads = x.sum(axis=1) if isinstance(case.family, Bernoulli) else x[:, 0]
        return heads if name == "heads" else case.tosses(x) - heads
    if " beyond " in name:  # the histogram of a negative binomial holds every count of the data it is bound to
        return np.zeros(len(x))
    if name.endswith(" > 0"):
        return (cell(name.removesuffix(" > 0")) > 0).astype(float)
    if name == "rows x log scale":  # of a Weibull scale of 1: nothing is known of it yet
        return np.zeros(len(x))
    if name.startswith("rows") or name == "sum of u":
        return np.ones(len(x))
    if name == "sum of log u":  # of a Student-t row of which nothing is known yet
        return np.full(len(x), digamma(FIRST / 2) - np.log(FIRST / 2))
    if name.startswith("failures in "):
        return cell(name.removeprefix("failures in ")) - case.family.first
    if " = " in name:
        column, value = name.split(" = ")
        return (cell(column) == float(value)).astype(float)
    what = name.removeprefix("sum of ")
    assert what != name, name
    what = what.removeprefix("u ")
    if " x " in what:
        return np.prod([cell(word) for word in what.split(" x ")], axis=0)
    return cell(what[:-2]) ** 2 if what.endswith("^2") else cell(what)


@law(CASES)
def test_statistics_are_named_and_raw_sums_are_in_the_units_of_the_data(case):
    x, _ = case.draw(150)
    family, _, resp = expected_under(case, x)
    expected = resp @ family.statistics(x).T
    assert len(family.statistic_names) == expected.shape[1] == len(set(family.statistic_names))
    wanted = np.stack([resp @ meaning(name, x, case) for name in family.statistic_names], axis=1)
    assert_allclose(family.raw_statistics(expected), wanted, rtol=1e-11, atol=1e-9)
    step = emix.e_step(case.mixture(x), x)
    assert step.statistic_names == ("rows", *family.statistic_names)
    if not family.is_linear(is_complete=True):
        return
    own = [step.responsibilities.T @ meaning(name, x, case) for name in step.statistic_names]
    assert_allclose(step.expected_statistics, np.stack(own, axis=1), rtol=1e-10, atol=1e-9)


# -- persistence -----------------------------------------------------------------------------------------------------


@law(CASES)
def test_persistence_keeps_every_bit(case, tmp_path):
    x, _ = case.draw(200)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    for fixed in (frozenset(), frozenset({"mixing_proportions", next(iter(case.family.spaces))})):
        model = emix.fit(replace(start, fixed=fixed), x, stop="iterations", max_iter=3).model
        model = replace(model, component_names=tuple("abc"[: model.n_components]))
        emix.save(model, tmp_path / "model.json")
        again = emix.load(tmp_path / "model.json")
        assert again.fixed == model.fixed == fixed
        assert again.family.fixed == model.family.fixed
        assert again.component_names == model.component_names
        assert again.family.options == model.family.options
        assert again.family.binding.schema == model.family.binding.schema
        for one, other in zip(
            (again.family.binding.pivot, again.family.binding.scale, again.mixing_proportions),
            (model.family.binding.pivot, model.family.binding.scale, model.mixing_proportions),
            strict=True,
        ):
            assert_array_equal(one, other)
        assert_same_parameters(again.family, model.family, rtol=0)
        assert emix.e_step(again, x).log_likelihood == emix.e_step(model, x).log_likelihood
        assert again.n_free_parameters == model.n_free_parameters


@law(CASES)
def test_a_specification_survives_its_text(case):
    again = emix.families.parse(str(case.family))
    assert type(again) is type(case.family)
    assert again.options == case.family.options
    assert not again.is_fitted


# -- the pivot -------------------------------------------------------------------------------------------------------


def exact_moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (d,) and covariance (d, d) in rational arithmetic: no rounding but the last."""
    weight = [Fraction(float(one)) for one in w]
    total = sum(weight)
    columns = [[Fraction(float(cell)) for cell in column] for column in x.T]
    means = [sum(a * b for a, b in zip(weight, column, strict=True)) / total for column in columns]
    centred = [[cell - mean for cell in column] for column, mean in zip(columns, means, strict=True)]
    covariance = [
        [float(sum(a * b * c for a, b, c in zip(weight, one, other, strict=True)) / total) for other in centred]
        for one in centred
    ]
    return np.array([float(mean) for mean in means]), np.array(covariance)


def test_normal_moments_keep_their_digits_far_from_zero():
    """Mean 1e6, sd 1e-2: from raw second moments the variance has relative error 2.2."""
    rng = np.random.default_rng(0)
    x = rng.normal(1e6, 1e-2, size=(200, 2))
    resp = soft_responsibilities(2, 200)
    case = Case("far", Normal([[1e6, 1e6]] * 2, [[1e-4, 1e-4]] * 2), 2, normal_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    for k in range(2):
        mean, covariance = exact_moments(x, resp[k])
        assert_allclose(
            fitted.mean[k], mean, rtol=0, atol=1e-9 * 1e-2 + 1.2e-10
        )  # 1.2e-10: half a unit in the last place
        assert_allclose(fitted.variance[k], np.diag(covariance), rtol=1e-9)
    raw = resp @ x**2 / resp.sum(axis=1, keepdims=True) - (resp @ x / resp.sum(axis=1, keepdims=True)) ** 2
    assert np.abs(raw / fitted.variance - 1).max() > 0.1  # what the pivot is for


@pytest.mark.parametrize("structure", STRUCTURES)
def test_multivariate_moments_keep_their_digits_far_from_zero(structure):
    rng = np.random.default_rng(1)
    shape = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.2, 0.7]]) * 1e-2
    x = 1e6 * np.array([1.0, -2.0, 0.5]) + rng.standard_normal((150, 3)) @ shape.T
    resp = soft_responsibilities(2, 150)
    family = MultivariateNormal(structure=structure).bind(Schema(names(3), (None,) * 3), summarize(x, np.ones(150)))
    fitted = family.maximize(resp @ family.statistics(x).T)
    moments = [exact_moments(x, resp[k]) for k in range(2)]
    counts = resp.sum(axis=1)
    exact = np.stack([n * C for n, (_, C) in zip(counts, moments, strict=True)])
    wanted = STRUCTURES[structure].covariances(exact, counts)
    for k, (mean, _) in enumerate(moments):
        assert_allclose(fitted.mean[k], mean, rtol=0, atol=1e-9 * 1e-2 + 2.4e-10)
        assert_allclose(fitted.covariance[k], wanted[k], rtol=1e-9, atol=1e-9 * np.trace(wanted[k]) / 3)


def test_lognormal_moments_keep_their_digits_for_a_narrow_distribution():
    rng = np.random.default_rng(2)
    x = rng.lognormal(9.0, 1e-3, size=(300, 1))
    resp = soft_responsibilities(2, 300)
    case = Case("narrow", LogNormal([9.0, 9.0], [1e-6, 1e-6]), 1, lognormal_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    u = np.log(x[:, 0].astype(np.longdouble))
    for k in range(2):
        w = resp[k].astype(np.longdouble)
        mean = (w * u).sum() / w.sum()
        assert_allclose(fitted.log_mean[k], float(mean), rtol=1e-14)
        assert_allclose(fitted.log_variance[k], float((w * (u - mean) ** 2).sum() / w.sum()), rtol=1e-9)


def exact_gamma_shape(x: np.ndarray, w: np.ndarray) -> float:
    """The root of log a - digamma(a) = log mean - mean log for a large shape, in extended precision."""
    x, w = x.astype(np.longdouble), w.astype(np.longdouble)
    mean = (w * x).sum() / w.sum()
    gap = -(w * np.log1p((x - mean) / mean)).sum() / w.sum()
    a = 1 / (2 * gap)
    for _ in range(50):
        a = (1 / 2 + 1 / (12 * a) - 1 / (120 * a**3)) / gap
    return float(a)


@pytest.mark.parametrize("shape", [1e4, 1e6, 1e8])
def test_gamma_shape_keeps_its_digits_where_it_is_large(shape):
    """log mean - mean log is 5e-9 at a shape of 1e8; as a difference of two logarithms it keeps seven digits."""
    rng = np.random.default_rng(3)
    x = rng.gamma(shape, 250 / shape, size=(300, 1))
    resp = soft_responsibilities(2, 300)
    case = Case("narrow", Gamma([shape] * 2, [shape / 250] * 2), 1, gamma_density)
    family = case.bound(x)
    fitted = family.maximize(resp @ family.statistics(x).T)
    for k in range(2):
        wanted = exact_gamma_shape(x[:, 0], resp[k])
        assert_allclose(fitted.shape[k], wanted, rtol=1e-9)
        assert_allclose(fitted.shape[k] / fitted.rate[k], resp[k] @ x[:, 0] / resp[k].sum(), rtol=1e-13)


@pytest.mark.parametrize("shape", [1e4, 1e6, 1e8])
def test_gamma_density_keeps_its_digits_where_the_shape_is_large(shape):
    """Stirling in extended precision: a log r - log Gamma(a) - r are terms of 1e9 that cancel to about 10."""
    x = (250 * (1 + np.linspace(-2, 2, 9) / np.sqrt(shape)))[:, None]
    a, r, u = np.longdouble(shape), np.longdouble(shape) / 250, x[:, 0].astype(np.longdouble)
    z = r * u / a - 1
    tail = np.log(a / (2 * np.longdouble(np.pi))) / 2 - 1 / (12 * a) + 1 / (360 * a**3)  # a log a - a - log Gamma(a)
    wanted = a * (np.log1p(z) - z) + tail - np.log(u)
    family = Case("narrow", Gamma([shape] * 2, [shape / 250] * 2), 1, gamma_density).bound(x)
    assert_allclose(family.log_prob(x)[0], wanted.astype(float), rtol=0, atol=1e-9)
