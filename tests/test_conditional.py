"""Marginals, conditionals, mixture regression and probabilities of boxes, against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, law
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from sklearn.linear_model import LinearRegression

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    DataError,
    Exponential,
    Geometric,
    LogNormal,
    Mixture,
    ModelError,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    condition,
    interval_probability,
    marginal,
    predict_given,
)
from emix.families.columnwise import ColumnwiseFamily

APART = [
    case
    for case in CASES
    if case.n_columns > 1 and isinstance(case.family, ColumnwiseFamily | Bernoulli | Categorical | MultivariateNormal)
]
STUDENT = [case for case in CASES if case.n_columns > 1 and isinstance(case.family, StudentT)]
TWO = Mixture(
    MultivariateNormal([[0.0, 1.0], [3.0, -1.0]], [[[1.0, 0.6], [0.6, 2.0]], [[0.5, -0.2], [-0.2, 0.3]]]),
    mixing_proportions=[0.3, 0.7],
)
TWO_T = Mixture(StudentT(TWO.family.mean, TWO.family.covariance, [4.0, 9.0]), mixing_proportions=[0.3, 0.7])


def density(model: Mixture, x: np.ndarray) -> np.ndarray:
    """SciPy's density of `TWO` or `TWO_T`, (n,)."""
    f = model.family
    parts = []
    for k, p in enumerate(model.mixing_proportions):
        if isinstance(f, StudentT):
            one = stats.multivariate_t(f.mean[k], f.scale[k], f.degrees_of_freedom[k])
        else:
            one = stats.multivariate_normal(f.mean[k], f.covariance[k])
        parts.append(p * one.pdf(x))
    return np.sum(parts, axis=0)


# -- marginals and conditionals ----------------------------------------------------------------------------------------


def rows_of(case, n: int) -> np.ndarray:
    """Rows as a user has them: levels are those of the binding, 0, 1, ..."""
    return case.draw(n)[0]


@law(APART + STUDENT)
def test_a_density_is_the_marginal_times_the_conditional(case):
    x = rows_of(case, 12)
    model = case.mixture(rows_of(case, 300))
    for given in ([0], [case.n_columns - 1], list(range(1, case.n_columns))):
        rest = [j for j in range(case.n_columns) if j not in given]
        part = marginal(model, given)
        assert part.family.columns == tuple(f"x{j}" for j in given)
        for row in x:
            known = {f"x{j}": row[j] for j in given}
            other = condition(model, known)
            assert other.family.columns == tuple(f"x{j}" for j in rest)
            found = emix.score_samples(part, {k: [v] for k, v in known.items()})
            found = found + emix.score_samples(other, {f"x{j}": [row[j]] for j in rest})
            assert_allclose(found, emix.score_samples(model, row[None]), rtol=1e-9, atol=1e-10)
            assert_allclose(other.mixing_proportions.sum(), 1, rtol=1e-12)


@law(APART + STUDENT)
def test_parts_are_mixtures_like_any_other(case):
    x = rows_of(case, 300)
    part = marginal(case.mixture(x), [case.n_columns - 1, 0])
    assert part.family.columns == (f"x{case.n_columns - 1}", "x0")
    drawn, _ = emix.sample(part, 20, random_state=1)
    assert drawn.shape == (20, 2)
    assert np.isfinite(emix.score_samples(part, drawn)).all()
    assert set(emix.predict(part, drawn)) <= set(range(part.n_components))
    assert part.family.name in str(part)
    assert type(part.family).__name__ in repr(part)


@pytest.mark.parametrize("model", [TWO, TWO_T], ids=["normal", "student-t"])
def test_marginal_is_the_integral_over_the_other_column(model):
    for at in (-1.0, 0.5, 3.0):
        whole = integrate.quad(lambda y, at=at: density(model, np.array([at, y])), -np.inf, np.inf, epsabs=1e-12)[0]
        assert_allclose(np.exp(emix.score_samples(marginal(model, 0), [[at]])), whole, rtol=1e-8)


def test_marginal_keeps_names_and_their_order(published):
    faithful = published("faithful.csv")
    model = emix.fit(Mixture(MultivariateNormal(), 2), faithful, random_state=0).model
    turned = marginal(model, ["waiting", "eruptions"])
    assert turned.family.columns == ("waiting", "eruptions")
    assert_array_equal(turned.family.mean, model.family.mean[:, ::-1])
    assert_array_equal(turned.family.covariance, model.family.covariance[:, ::-1, ::-1])
    assert_allclose(emix.score_samples(turned, faithful), emix.score_samples(model, faithful), rtol=1e-12)
    assert_array_equal(marginal(model, -1).family.mean[:, 0], model.family.mean[:, 1])
    assert condition(model, {"waiting": 80.0}).family.columns == ("eruptions",)


def test_condition_of_categories_reads_levels():
    model = emix.fit(
        Mixture(Categorical(), 2), {"colour": list("rrgbrgbbgr"), "size": list("slslslslss")}, random_state=0
    ).model
    known = condition(model, {"size": "l"})
    assert known.family.binding.schema.levels == (("b", "g", "r"),)
    wanted = emix.responsibilities(marginal(model, "size"), {"size": ["l"]})[0]
    assert_allclose(known.mixing_proportions, wanted, rtol=1e-14)
    with pytest.raises(DataError, match="xl"):
        condition(model, {"size": "xl"})


# -- mixture regression ------------------------------------------------------------------------------------------------


def test_one_component_is_linear_regression(published):
    faithful = published("faithful.csv")
    waiting, eruptions = faithful["waiting"], faithful["eruptions"]
    model = emix.fit(Mixture(MultivariateNormal(), 1), faithful).model
    mean, std = predict_given(model, {"waiting": waiting}, "eruptions", return_std=True)
    wanted = LinearRegression().fit(waiting[:, None], eruptions).predict(waiting[:, None])
    assert_allclose(mean[:, 0], wanted, rtol=1e-10)
    assert_allclose(std[:, 0], np.sqrt(np.mean((eruptions - wanted) ** 2)), rtol=1e-10)


@pytest.mark.parametrize("model", [TWO, TWO_T], ids=["normal", "student-t"])
def test_predictions_are_the_moments_of_the_conditional_density(model):
    at = np.array([-1.0, 0.7, 1.5, 3.0])
    mean, std, covariance = predict_given(model, at[:, None], "x1", return_std=True, return_cov=True)
    for i, x in enumerate(at):
        moments = [
            integrate.quad(lambda y, p=p, x=x: y**p * density(model, np.array([x, y])), -np.inf, np.inf, epsabs=1e-11)
            for p in range(3)
        ]
        total, first, second = (one[0] for one in moments)
        assert_allclose(mean[i, 0], first / total, rtol=1e-6, atol=1e-8)
        assert_allclose(std[i, 0] ** 2, second / total - (first / total) ** 2, rtol=1e-6)
    assert_allclose(covariance[:, 0, 0], std[:, 0] ** 2, rtol=1e-12)


@law(STUDENT + [case for case in APART if isinstance(case.family, MultivariateNormal) and case.n_columns == 3])
def test_predictions_are_those_of_each_row_conditioned_alone(case):
    x = rows_of(case, 6)
    model = case.mixture(rows_of(case, 300))
    mean, covariance = predict_given(model, x[:, [1]], ["x2", "x0"], return_cov=True)
    for i, row in enumerate(x):
        part = marginal(condition(model, {"x1": row[1]}), ["x2", "x0"])
        f, p = part.family, part.mixing_proportions
        within = (
            f.scale * (f.degrees_of_freedom / (f.degrees_of_freedom - 2))[:, None, None]
            if isinstance(f, StudentT)
            else f.covariance
        )
        m = p @ f.mean
        second = np.einsum("k,kij->ij", p, within + f.mean[:, :, None] * f.mean[:, None])
        assert_allclose(mean[i], m, rtol=1e-9)
        assert_allclose(covariance[i], second - np.outer(m, m), rtol=1e-7, atol=1e-9)


def test_a_student_t_without_variance_says_so():
    model = Mixture(StudentT([[0.0, 0.0], [50.0, 0.0]], [np.eye(2)] * 2, [0.8, 5.0]), mixing_proportions=[0.5, 0.5])
    mean, std, covariance = predict_given(model, [[0.0]], "x1", return_std=True, return_cov=True)
    assert np.isfinite(mean).all()
    assert_array_equal(std, [[np.inf]])
    assert_array_equal(covariance, [[[np.inf]]])


def test_predictions_from_independent_columns_mix_the_components():
    model = Mixture(Poisson([[1.0, 10.0], [8.0, 2.0]]), mixing_proportions=[0.4, 0.6])
    mean, std = predict_given(model, {"x0": [0, 3, 20]}, "x1", return_std=True)
    joint = np.array([[0.4], [0.6]]) * stats.poisson.pmf([[0, 3, 20]], [[1.0], [8.0]])
    p = joint / joint.sum(axis=0)
    assert_allclose(mean[:, 0], 10 * p[0] + 2 * p[1], rtol=1e-12)
    assert_allclose(std[:, 0] ** 2, 110 * p[0] + 6 * p[1] - mean[:, 0] ** 2, rtol=1e-9)


@pytest.mark.parametrize(
    "family", [TWO.family, TWO_T.family, Normal([[0.0, 1.0], [3.0, -1.0]], [[1.0, 2.0], [0.5, 3]])]
)
def test_draws_have_the_moments_of_the_prediction(family):
    model, n = Mixture(family, mixing_proportions=[0.3, 0.7]), 40_000
    at = np.array([[0.2], [1.4], [2.9]])
    mean, std, drawn = predict_given(model, at, "x1", return_std=True, draws=n, random_state=3)
    assert drawn.shape == (3, n, 1)
    assert_allclose(drawn.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(n))
    assert_allclose(drawn.std(axis=1), std, rtol=0.05)
    again = predict_given(model, at, "x1", draws=n, random_state=3)[1]
    assert_array_equal(drawn, again)
    for x, column in zip(at, drawn[:, :, 0], strict=True):  # the whole distribution, not only two moments
        part = condition(model, {"x0": x[0]})
        quantiles = np.quantile(column, [0.1, 0.5, 0.9])
        found = [interval_probability(part, -np.inf, q) for q in quantiles]
        assert_allclose(found, [0.1, 0.5, 0.9], atol=5 * 0.5 / np.sqrt(n))


def test_rows_with_missing_cells_are_predicted_from_the_others():
    family = MultivariateNormal([[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]], [np.eye(3) + 0.5, 2 * np.eye(3) - 0.3])
    model = Mixture(family, mixing_proportions=[0.3, 0.7])
    rows = {"x0": [0.5, np.nan, 2.0, np.nan], "x1": [np.nan, 0.3, 1.0, np.nan]}
    mean, covariance, drawn = predict_given(model, rows, "x2", return_cov=True, draws=3, random_state=0)
    for i, names in enumerate((["x0"], ["x1"], ["x0", "x1"])):
        part = marginal(model, [*names, "x2"])
        row = {name: [rows[name][i]] for name in names}
        wanted = predict_given(part, row, "x2", return_cov=True)
        assert_allclose(mean[i : i + 1], wanted[0], rtol=1e-10)
        assert_allclose(covariance[i : i + 1], wanted[1], rtol=1e-10)
    assert_allclose(mean[3], model.mixing_proportions @ family.mean[:, 2:], rtol=1e-12)
    assert np.isfinite(drawn).all()


# -- probabilities of boxes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TWO, TWO_T], ids=["normal", "student-t"])
def test_probability_of_a_box_is_the_integral_of_the_density(model):
    low, high = [-0.5, -1.5], [3.2, 0.4]
    options = {"epsabs": 1e-9, "epsrel": 1e-9}
    whole = integrate.dblquad(lambda y, x: density(model, np.array([x, y])), -0.5, 3.2, -1.5, 0.4, **options)[0]
    assert_allclose(interval_probability(model, low, high), whole, rtol=0, atol=1e-6)
    assert interval_probability(model, -np.inf, np.inf) == pytest.approx(1.0, abs=1e-12)
    only = interval_probability(model, {"x1": -1.5}, {"x1": 0.4})
    assert_allclose(only, interval_probability(marginal(model, "x1"), -1.5, 0.4), rtol=1e-12)
    pieces = [interval_probability(model, [a, -np.inf], [b, 0.4]) for a, b in ((-np.inf, 1.0), (1.0, np.inf))]
    assert_allclose(sum(pieces), interval_probability(marginal(model, 1), -np.inf, 0.4), atol=1e-6)


def test_orthant_of_three_columns():
    """1/8 + 3 asin(r) / (4 pi) for equal correlations r (David 1953), in whatever units."""
    units = np.array([1.0, 1e3, 1e-4])
    covariance = (np.full((3, 3), 0.5) + 0.5 * np.eye(3)) * np.outer(units, units)
    model = Mixture(MultivariateNormal([5 * units], [covariance]))
    wanted = 1 / 8 + 3 * np.arcsin(0.5) / (4 * np.pi)
    assert_allclose(interval_probability(model, 5 * units, np.inf), wanted, rtol=0, atol=1e-6)
    assert interval_probability(model, 5 * units, np.inf) == interval_probability(model, 5 * units, np.inf)


@pytest.mark.parametrize(
    ("family", "low", "high", "wanted"),
    [
        (Normal([1.0], [4.0]), -np.inf, 3.0, stats.norm.cdf(1.0)),
        (Normal([0.0], [1.0]), 20.0, 21.0, stats.norm.sf(20.0) - stats.norm.sf(21.0)),
        (MultivariateNormal([[0.0]], [[[1.0]]]), 20.0, 21.0, stats.norm.sf(20.0) - stats.norm.sf(21.0)),
        (LogNormal([0.5], [0.3]), 1.0, 2.0, stats.lognorm(np.sqrt(0.3), scale=np.exp(0.5)).cdf([1, 2]) @ [-1, 1]),
        (emix.Gamma([2.0], [3.0]), 0.1, 1.0, stats.gamma(2.0, scale=1 / 3).cdf([0.1, 1]) @ [-1, 1]),
        (Exponential([2.0]), 0.5, np.inf, np.exp(-1.0)),
        (Poisson([3.0]), 2, 4, stats.poisson.pmf([2, 3, 4], 3).sum()),
        (Poisson([3.0]), 1.5, 4.5, stats.poisson.pmf([2, 3, 4], 3).sum()),
        (Geometric([0.3]), 1, 2, 0.3 + 0.7 * 0.3),
        (Geometric([0.3], first=0), 0, 1, 0.3 + 0.7 * 0.3),
        (Bernoulli([[0.3, 0.6]]), [1, 0], [1, 1], 0.3),
        (Bernoulli([0.3], shared=True), 1, 1, 0.3),
        (Binomial(5, [0.4]), 0, 2, stats.binom.cdf(2, 5, 0.4)),
        (StudentT([[1.0]], [[[4.0]]], [3.0]), 2.0, 5.0, stats.t.cdf([0.5, 2.0], 3.0) @ [-1, 1]),
        (Normal([[0.0, 1.0]], [[1.0, 4.0]]), [0, 1], [np.inf, 3], 0.5 * (stats.norm.cdf(1) - 0.5)),
    ],
)
def test_probability_of_an_interval_is_that_of_scipy(family, low, high, wanted):
    assert_allclose(interval_probability(Mixture(family), low, high), wanted, rtol=1e-12)


def test_probability_of_a_mixture_is_that_of_its_draws():
    model = Mixture(Poisson([[1.0, 10.0], [8.0, 2.0]]), mixing_proportions=[0.4, 0.6])
    x, _ = emix.sample(model, 100_000, random_state=0)
    share = ((x >= [2, 1]) & (x <= [9, 4])).all(axis=1).mean()
    assert_allclose(interval_probability(model, [2, 1], [9, 4]), share, atol=5 * 0.5 / np.sqrt(100_000))


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: marginal(TWO, "height"),
        lambda: marginal(TWO, 2),
        lambda: marginal(TWO, True),
        lambda: marginal(TWO, []),
        lambda: marginal(TWO, ["x0", 0]),
        lambda: condition(TWO, {"x0": 1.0, "x1": 2.0}),
        lambda: condition(TWO, {"height": 1.0}),
        lambda: condition(TWO, {}),
        lambda: condition(TWO, [1.0]),
        lambda: condition(TWO, {"x0": [1.0, 2.0]}),
        lambda: condition(Mixture(Normal([[0.0, 1.0]], [[1.0, 1.0]])), {"x0": np.nan}),
        lambda: predict_given(TWO, [[1.0]], ["x0", "x1"]),
        lambda: predict_given(TWO, [[1.0]], "height"),
        lambda: predict_given(TWO, [[1.0]], "x0", draws=0),
        lambda: interval_probability(TWO, 1.0, 0.0),
        lambda: interval_probability(TWO, "a", 0.0),
        lambda: interval_probability(TWO, [0.0, 1.0, 2.0], 5.0),
        lambda: interval_probability(TWO, np.nan, 0.0),
        lambda: interval_probability(TWO, {"height": 1.0}, 5.0),
        lambda: interval_probability(Mixture(Multinomial([[0.5, 0.5]])), 0, 1),
        lambda: interval_probability(Mixture(Categorical([[0.5, 0.5]])), 0, 1),
        lambda: marginal(Mixture(Multinomial([[0.2, 0.8]])), 0),
        lambda: marginal(Mixture(Normal(), 2), 0),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ModelError):
        call()


def test_values_of_the_wrong_kind_are_refused():
    with pytest.raises(DataError, match="needs numbers"):
        condition(TWO, {"x0": "tall"})
    with pytest.raises(DataError, match="finite"):
        condition(TWO, {"x0": np.inf})
    with pytest.raises(DataError, match="x0"):
        predict_given(TWO, {"x3": [1.0]}, "x1")
    with pytest.raises(DataError, match="probability 0"):
        condition(Mixture(Bernoulli([[1.0, 0.5]])), {"x0": 0})
