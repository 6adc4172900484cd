"""Student-t components: densities, fits and ascent against SciPy and direct maximisation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

import emix
from emix import DegenerateError, Mixture, ModelError, MultivariateNormal, StudentT
from emix.block import Schema
from emix.families import Binding
from emix.families.student_t import FIRST, LEAST, MOST, SCALE_STRUCTURES

TO_THE_END = {"tol": 1e-11, "max_iter": 100_000}


def heavy(n: int = 400, seed: int = 5) -> np.ndarray:
    """Two correlated columns with tails of 4 degrees of freedom, far from zero and in different units."""
    rows = stats.multivariate_t([0.0, 0.0], [[1.0, 0.6], [0.6, 2.0]], 4.0, seed=seed).rvs(n)
    return rows * [1.0, 50.0] + [10.0, -300.0]


def two_groups(n: int = 600, seed: int = 3) -> np.ndarray:
    family = StudentT([[0.0, 0.0], [6.0, 5.0]], [[[1.0, 0.3], [0.3, 1.0]], [[1.0, 0.5], [0.5, 2.0]]], [2.5, 8.0])
    return emix.sample(Mixture(family, mixing_proportions=[0.4, 0.6]), n, random_state=seed)[0]


# -- fits ------------------------------------------------------------------------------------------------------------


def test_fit_of_one_column_is_that_of_scipy():
    x = stats.t(3.5, loc=100.0, scale=0.25).rvs(800, random_state=1)
    result = emix.fit(Mixture(StudentT(), 1), x, **TO_THE_END)
    v, mean, scale = stats.t.fit(x, 5.0, loc=np.median(x), scale=x.std(), optimizer=tight)
    wanted = stats.t.logpdf(x, v, mean, scale).sum()
    assert result.log_likelihood >= wanted - 1e-8
    family = result.model.family
    assert_allclose(result.log_likelihood, wanted, rtol=0, atol=1e-6)
    assert_allclose(family.mean, [[mean]], rtol=1e-7)
    assert_allclose(family.scale, [[[scale**2]]], rtol=1e-4)
    assert_allclose(family.degrees_of_freedom, [v], rtol=1e-4)


def tight(function, x0, args, disp):
    return optimize.fmin(function, x0, args, xtol=1e-9, ftol=1e-12, maxiter=10_000, maxfun=10_000, disp=disp)


def test_fit_of_two_columns_is_the_direct_maximum():
    x = heavy()
    y = (x - x.mean(axis=0)) / x.std(axis=0)

    def minus(vector):
        m, (a, b, c), log_v = vector[:2], vector[2:5], vector[5]
        L = np.array([[np.exp(a), 0.0], [b, np.exp(c)]])
        return -stats.multivariate_t(m, L @ L.T, np.exp(log_v)).logpdf(y).sum()

    best = optimize.minimize(minus, np.zeros(6), method="BFGS", options={"gtol": 1e-5})
    L = np.array([[np.exp(best.x[2]), 0.0], [best.x[3], np.exp(best.x[4])]])
    result = emix.fit(Mixture(StudentT(), 1), x, **TO_THE_END)
    family = result.model.family
    assert_allclose(result.log_likelihood, -best.fun - len(x) * np.log(x.std(axis=0)).sum(), rtol=0, atol=1e-7)
    assert_allclose(family.mean[0], x.mean(axis=0) + x.std(axis=0) * best.x[:2], rtol=1e-6)
    assert_allclose(family.scale[0], L @ L.T * np.outer(x.std(axis=0), x.std(axis=0)), rtol=1e-5)
    assert_allclose(family.degrees_of_freedom, np.exp(best.x[5:]), rtol=1e-5)


# -- missing cells ---------------------------------------------------------------------------------------------------


def with_holes(x: np.ndarray, share: float, seed: int = 4) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x)


def observed_log_likelihood(x: np.ndarray, mean, scale, v) -> float:
    """By SciPy's densities of the observed cells, row by row."""
    total = 0.0
    for pattern in np.unique(~np.isnan(x), axis=0):
        rows = x[(np.isnan(x) == ~pattern).all(axis=1)][:, pattern]
        if pattern.any():
            total += stats.multivariate_t(mean[pattern], scale[np.ix_(pattern, pattern)], v).logpdf(rows).sum()
    return total


def test_a_fit_with_missing_cells_is_the_direct_maximum_of_the_observed_ones():
    """Liu & Rubin (1995): ignorable holes; the maximum itself from SciPy, for 20 % of the cells missing."""
    x = with_holes(heavy(), 0.2)
    centre, unit = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    y = (x - centre) / unit

    def minus(vector):
        L = np.array([[np.exp(vector[2]), 0.0], [vector[3], np.exp(vector[4])]])
        return -observed_log_likelihood(y, vector[:2], L @ L.T, np.exp(vector[5]))

    best = optimize.minimize(minus, np.zeros(6), method="BFGS", options={"gtol": 1e-5})
    L = np.array([[np.exp(best.x[2]), 0.0], [best.x[3], np.exp(best.x[4])]])
    result = emix.fit(Mixture(StudentT(), 1), x, **TO_THE_END)
    family = result.model.family
    n_seen = (~np.isnan(x)).sum(axis=0)
    assert_allclose(result.log_likelihood, -best.fun - n_seen @ np.log(unit), rtol=0, atol=1e-7)
    assert_allclose(family.mean[0], centre + unit * best.x[:2], rtol=1e-5)
    assert_allclose(family.scale[0], L @ L.T * np.outer(unit, unit), rtol=1e-4)
    assert_allclose(family.degrees_of_freedom, np.exp(best.x[5:]), rtol=1e-4)


@pytest.mark.parametrize("structure", SCALE_STRUCTURES)
@pytest.mark.parametrize("fixed", [(), ("scale",), ("degrees_of_freedom",)])
def test_no_plain_step_loses_with_missing_cells(structure, fixed):
    x = with_holes(two_groups(120), 0.3)
    scale = [np.diag([1.5, 1.5])] * 2
    start = StudentT([[1.0, -1.0], [4.0, 4.0]], scale, [30.0, 1.0], structure=structure, fixed=frozenset(fixed))
    result = emix.fit(Mixture(start), x, stop="iterations", max_iter=30)
    assert np.diff([one.log_likelihood for one in result.history]).min() > -1e-9
    model = result.model
    resp, family = emix.responsibilities(model, x), model.family
    joint = [
        p * np.exp([observed_log_likelihood(row[None], m, s, v) for row in x])
        for p, m, s, v in zip(
            model.mixing_proportions, family.mean, family.scale, family.degrees_of_freedom, strict=True
        )
    ]
    nothing = np.isnan(x).all(axis=1)
    assert_allclose(np.log(np.sum(joint, axis=0))[~nothing].sum(), result.log_likelihood, rtol=1e-11)
    assert_allclose(resp, (joint / np.sum(joint, axis=0)).T, rtol=1e-8, atol=1e-12)


def test_rows_without_holes_are_summed_alike_by_both_paths():
    x = heavy()
    model = emix.fit(Mixture(StudentT(), 1), x).model
    family, resp = model.family, np.ones((1, len(x)))
    extra = np.vstack([x, [[np.nan, np.nan]]])  # says nothing of mean and scale, and takes the path of patterns
    one, other = family.accumulate(x, resp), family.accumulate(extra, np.append(resp, [[0.0]], axis=1))
    assert_allclose(one, other, rtol=1e-12, atol=1e-10)
    assert_allclose(family.log_prob(x)[0], family.log_prob(extra)[0, :-1], rtol=1e-12)


def test_missing_cells_are_filled_and_drawn_given_the_observed_ones():
    """The conditional of a bivariate t: location m1 + s01 / s00 (x0 - m0), v + 1 degrees of freedom (Ding 2016)."""
    scale, v = np.array([[2.0, 1.0], [1.0, 3.0]]), 5.0
    model = Mixture(StudentT([[1.0, -1.0]], [scale], [v]))
    x = np.tile([[4.0, np.nan]], (20_000, 1))
    location = -1 + 0.5 * 3.0
    assert_allclose(emix.impute(model, x[:1]), [[4.0, location]], rtol=1e-12)
    drawn = emix.impute(model, x, draws=1, random_state=0)[0][:, 1]
    width = np.sqrt((v + 3.0**2 / 2.0) / (v + 1) * (3.0 - 0.5))
    assert stats.kstest(drawn, stats.t(v + 1, location, width).cdf).pvalue > 1e-3


@pytest.mark.parametrize("structure", SCALE_STRUCTURES)
def test_a_fit_ends_where_the_gradient_of_the_log_likelihood_is_0(structure):
    """Score by central differences of SciPy's densities, in standard errors of each parameter."""
    x = two_groups()
    start = np.repeat([0, 1], 300)[np.argsort(np.argsort(x[:, 0]))]
    model = emix.fit(Mixture(StudentT(structure=structure), 2), x, start=start, **TO_THE_END).model
    vector = model.to_vector()

    def log_likelihood(at):
        one = model.from_vector(at)
        joint = [
            p * stats.multivariate_t(one.family.mean[k], one.family.scale[k], one.family.degrees_of_freedom[k]).pdf(x)
            for k, p in enumerate(one.mixing_proportions)
        ]
        return np.log(np.sum(joint, axis=0)).sum()

    middle = log_likelihood(vector)
    for e in np.eye(len(vector)) * 1e-4:
        above, below = log_likelihood(vector + e), log_likelihood(vector - e)
        slope, curvature = (above - below) / 2e-4, (above - 2 * middle + below) / 1e-8
        assert curvature < 0
        assert abs(slope) / np.sqrt(-curvature) < 2e-4


@pytest.mark.parametrize("structure", SCALE_STRUCTURES)
@pytest.mark.parametrize("fixed", [(), ("mean",), ("scale",), ("degrees_of_freedom",), ("mean", "scale")])
def test_no_plain_step_loses(structure, fixed):
    x = two_groups()
    scale = [np.diag([1.5, 1.5])] * 2
    start = StudentT([[1.0, -1.0], [4.0, 4.0]], scale, [30.0, 1.0], structure=structure, fixed=frozenset(fixed))
    model = Mixture(start)
    values = []
    for _ in range(40):
        step = emix.e_step(model, x)
        values.append(step.log_likelihood)
        model = step.maximize()
    assert np.diff(values).min() > -1e-9
    assert values[-1] > values[0] + 1
    for name in fixed:
        assert_array_equal(getattr(model.family, name), getattr(start, name))
    for name in set(start.spaces) - set(fixed):
        assert not np.array_equal(getattr(model.family, name), getattr(start, name))


def test_degrees_of_freedom_of_normal_rows_end_at_the_bound():
    """A short-tailed sample: the likelihood rises all the way to the normal."""
    x = np.random.default_rng(0).uniform(-1, 1, 500)
    family = emix.fit(Mixture(StudentT(), 1), x).model.family
    assert_allclose(family.degrees_of_freedom, MOST, rtol=1e-12)
    normal = emix.fit(Mixture(MultivariateNormal(), 1), x)
    assert_allclose(family.mean, normal.model.family.mean, atol=1e-3)
    assert_allclose(family.scale, normal.model.family.covariance, rtol=2e-2)


def test_degrees_of_freedom_stay_within_their_bounds_and_a_start_outside_is_no_fall():
    x = np.random.default_rng(1).standard_normal(300)
    wide = StudentT([[0.0]], [[[1.0]]], [1e9])
    assert emix.fit(Mixture(wide), x).model.family.degrees_of_freedom[0] > MOST
    for log_u, bound in ((-1e6, LEAST), (0.0, MOST)):  # the sums of u y, u y^2, u, log u and 1 of one row
        sums = np.array([[0.0, 1.0, 1.0, log_u, 1.0]])
        assert_array_equal(StudentT(binding=wide_binding()).maximize(sums).degrees_of_freedom, bound)


def wide_binding() -> Binding:
    return Binding(Schema(("x0",), (None,)), np.zeros(1), np.ones(1))


def test_held_degrees_of_freedom_and_known_proportions():
    x = two_groups()
    held = StudentT(degrees_of_freedom=[1e7, 1e7], fixed=frozenset({"degrees_of_freedom"}))
    found = emix.fit(Mixture(held, 2), x, random_state=0)
    wanted = emix.fit(Mixture(MultivariateNormal(), 2), x, random_state=0)
    assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=0, atol=0.05)
    assert found.n_free_parameters == wanted.n_free_parameters


def test_rows_far_out_do_not_move_the_centre():
    x = np.random.default_rng(2).standard_normal((200, 2))
    spoilt = np.vstack([x, [[1e4, -1e4], [-2e4, 1e4]]])
    found = emix.fit(Mixture(StudentT(), 1), spoilt).model.family
    assert_allclose(found.mean[0], x.mean(axis=0), atol=0.1)
    assert np.abs(spoilt.mean(axis=0)).max() > 40


def test_default_starts_recover_groups_with_heavy_tails():
    x = two_groups(3000)
    result = emix.fit(Mixture(StudentT(), 2), x, random_state=0)
    order = np.argsort(result.model.family.mean[:, 0])
    assert_allclose(result.model.family.mean[order], [[0, 0], [6, 5]], atol=0.2)
    assert_allclose(result.model.family.degrees_of_freedom[order], [2.5, 8.0], rtol=0.35)
    assert_allclose(result.model.mixing_proportions[order], [0.4, 0.6], atol=0.04)


def test_first_m_step_gives_the_moments_of_the_rows():
    x = heavy()
    source = Mixture(StudentT(), 1)
    result = emix.fit(source, x, start=np.zeros(len(x), dtype=int), stop="iterations", max_iter=0)
    assert_allclose(result.model.family.mean[0], x.mean(axis=0), rtol=1e-12)
    assert_allclose(result.model.family.scale[0], np.cov(x.T, bias=True), rtol=1e-12)
    assert_allclose(result.model.family.degrees_of_freedom, FIRST, rtol=1e-12)


@pytest.mark.parametrize("v", [0.1, 1.0, 30.0, 1e4, 1e9])
def test_density_keeps_its_digits_for_any_degrees_of_freedom(v):
    x = np.array([[-1e3], [-3.0], [0.0], [0.1], [40.0]])
    found = emix.score_samples(Mixture(StudentT([[0.5]], [[[4.0]]], [v])), x)
    assert_allclose(found, stats.t.logpdf(x[:, 0], v, 0.5, 2.0), rtol=1e-11)


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_component_on_equal_rows_collapses():
    x = np.concatenate([np.random.default_rng(0).standard_normal(100), np.full(30, 5.0)])
    with pytest.raises(emix.FitError, match="collapsed"):
        emix.fit(Mixture(StudentT(), 2), x, start=(np.arange(130) >= 100).astype(int))


def test_empty_component_without_degrees_of_freedom():
    family = StudentT([[0.0], [1.0]], [[[1.0]], [[1.0]]], fixed=frozenset({"mean", "scale"}))
    with pytest.raises(DegenerateError):
        family.maximize(np.array([[0.0, 1.0, 1.0, -0.1, 1.0], [0.0] * 5]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": [0.0, 1.0]},
        {"mean": [[0.0, 1.0]], "scale": [[[1.0]]]},
        {"mean": [[0.0]], "degrees_of_freedom": [[1.0, 2.0]]},
        {"degrees_of_freedom": [0.0]},
        {"scale": [[[1.0, 2.0], [2.0, 1.0]]]},
        {"structure": "round"},
    ],
)
def test_impossible_parameters_are_refused(arguments):
    with pytest.raises(ModelError):
        StudentT(**arguments)


def test_coefficients_are_refused_in_words():
    with pytest.raises(ModelError, match="linear in its statistics"):
        StudentT([[0.0]], [[[1.0]]], [3.0]).coefficients()


def test_degrees_of_freedom_at_their_bound_are_pointed_out():
    x = np.random.default_rng(0).uniform(size=(200, 1))  # lighter tails than the normal's
    result = emix.fit(Mixture(StudentT(), 1), x)
    assert result.model.family.degrees_of_freedom == [200.0]
    assert len([text for text in result.warnings if "as good as normal. Use MultivariateNormal." in text]) == 1
    held = emix.fit(Mixture(StudentT(degrees_of_freedom=[200.0]), 1, fixed={"degrees_of_freedom"}), x)
    assert held.warnings == []
    both = {"a": np.random.default_rng(1).binomial(8, 0.5, 500), "b": np.random.default_rng(0).uniform(size=500)}
    table = emix.fit(Mixture(emix.Columns({"a": emix.NegativeBinomial(), "b": StudentT()}), 1), both)
    assert any("component 0 of 'b' ended at the bound" in text for text in table.warnings)
    assert any("component 0 of 'a' ended at the bound of the size of 'a'" in text for text in table.warnings)
