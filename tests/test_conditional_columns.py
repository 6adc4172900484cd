"""Marginals, conditionals, predictions, boxes and distances of families side by side, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, law
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Columns,
    InverseGaussian,
    LogNormal,
    Mixture,
    ModelError,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    TruncatedPoisson,
    VonMises,
    ZeroInflatedPoisson,
    condition,
    interval_probability,
    marginal,
    predict_given,
)
from emix.fitting.use import named

P = np.array([0.3, 0.7])
MEAN, COVARIANCE = [[170.0, 65.0], [180.0, 80.0]], [[[36.0, 18.0], [18.0, 25.0]], [[49.0, -14.0], [-14.0, 36.0]]]
CITY = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])


def model(**options) -> Mixture:
    families = {
        "age": Normal([30.0, 50.0], [25.0, 36.0]),
        ("height", "weight"): MultivariateNormal(MEAN, COVARIANCE),
        "city": Categorical(CITY),
        "visits": Poisson([2.0, 7.0]),
        "member": Bernoulli([0.3, 0.8]),
        "income": LogNormal([7.0, 8.0], [0.2, 0.3]),
    }
    return named(Mixture(Columns(families), mixing_proportions=P, **options))


ROW = {"age": 41.0, "height": 176.0, "weight": 70.0, "city": 1, "visits": 5, "member": 1, "income": 2000.0}


def densities(row: dict) -> dict[str, np.ndarray]:
    """SciPy's density of each part under both components."""
    both = [stats.multivariate_normal(m, C) for m, C in zip(MEAN, COVARIANCE, strict=True)]
    known = {
        "age": lambda: stats.norm.pdf(row["age"], [30, 50], [5, 6]),
        "height": lambda: np.array([one.pdf([row["height"], row["weight"]]) for one in both]),
        "city": lambda: CITY[:, row["city"]],
        "visits": lambda: stats.poisson.pmf(row["visits"], [2, 7]),
        "member": lambda: stats.bernoulli.pmf(row["member"], [0.3, 0.8]),
        "income": lambda: stats.lognorm.pdf(row["income"], np.sqrt([0.2, 0.3]), scale=np.exp([7, 8])),
    }
    return {name: one() for name, one in known.items() if name in row}


@pytest.mark.parametrize(
    "given", [["age"], ["height"], ["weight", "city"], ["visits", "height", "income"], ["city", "member", "visits"]]
)
def test_a_density_is_the_marginal_times_the_conditional(given):
    whole = emix.score_samples(model(), {name: [value] for name, value in ROW.items()})
    assert_allclose(whole, np.log(P @ np.prod(list(densities(ROW).values()), axis=0)), rtol=1e-12)
    part, other = marginal(model(), given), condition(model(), {name: ROW[name] for name in given})
    rest = [name for name in ROW if name not in given]
    assert sorted(part.family.columns) == sorted(given)
    assert sorted(other.family.columns) == sorted(rest)
    found = emix.score_samples(part, {name: [ROW[name]] for name in given})
    assert_allclose(found + emix.score_samples(other, {name: [ROW[name]] for name in rest}), whole, rtol=1e-12)
    drawn, _ = emix.sample(other, 5, random_state=0)
    assert drawn.shape == (5, len(rest))


def test_given_columns_weigh_the_components_and_leave_the_other_parts():
    known = {"city": 0, "visits": 9}
    other = condition(model(), known)
    joint = P * np.prod(list(densities(known).values()), axis=0)
    assert_allclose(other.mixing_proportions, joint / joint.sum(), rtol=1e-12)
    assert_array_equal(other.parameters["age.mean"], [30, 50])
    assert_array_equal(other.parameters["height,weight.covariance"], COVARIANCE)
    half = condition(model(), {"height": 176.0})  # the regression of weight on height, within each component
    assert_allclose(half.parameters["weight.mean"][:, 0], [65 + 18 / 36 * 6, 80 - 14 / 49 * -4], rtol=1e-12)
    assert_allclose(half.parameters["weight.covariance"].ravel(), [25 - 18**2 / 36, 36 - 14**2 / 49], rtol=1e-12)


def test_parts_keep_what_is_fixed_under_their_new_names():
    held = model(fixed={"height,weight.mean", "age.mean", "mixing_proportions"})
    assert marginal(held, ["weight", "city"]).fixed == {"weight.mean", "mixing_proportions"}
    assert marginal(held, "age").n_free_parameters == 2


def test_columns_of_a_part_stay_together():
    assert marginal(model(), ["weight", "age", "height"]).family.columns == ("weight", "height", "age")
    targets = ["weight", "age", "height"]
    mean, std = predict_given(
        model(), {name: [ROW[name]] for name in ROW if name not in targets}, targets, return_std=True
    )
    for j, name in enumerate(targets):  # predictions come as asked for
        data = {other: [ROW[other]] for other in ROW if other not in targets}
        alone = predict_given(marginal(model(), [*data, name]), data, name, return_std=True)
        assert_allclose([mean[0, j], std[0, j]], [alone[0][0, 0], alone[1][0, 0]], rtol=1e-12)


def test_tosses_and_totals_stay_with_their_column():
    whole = Mixture(Columns({"heads": Binomial("tosses", [0.2, 0.8]), "age": Normal([1.0, 2.0], [1.0, 1.0])}))
    assert marginal(whole, ["age"]).family.columns == ("age",)
    assert marginal(whole, ["heads", "tosses"]).family.columns == ("heads", "tosses")
    other = condition(whole, {"heads": 3, "tosses": 10})
    like = stats.binom.pmf(3, 10, [0.2, 0.8])
    assert_allclose(other.mixing_proportions, like / like.sum(), rtol=1e-12)
    with pytest.raises(ModelError, match="taken apart"):
        marginal(whole, "heads")


def test_a_model_from_a_fit_reads_levels_and_holes(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    table = {
        "age": np.where(rng.random(300) < 0.1, np.nan, rng.normal(30 + 20 * z, 5)),
        "city": np.where(rng.random(300) < 0.2 + 0.6 * z, "north", "south").astype(object),
        "visits": rng.poisson(2 + 5 * z),
    }
    families = {"age": Normal(), "city": Categorical(), "visits": NegativeBinomial()}
    emix.fit(Mixture(Columns(families), 2), table, random_state=0).save(tmp_path / "m.json")
    fitted = emix.load(tmp_path / "m.json")
    data = {name: table[name][:20] for name in ("age", "visits")}
    found, drawn = predict_given(fitted, data, "city", draws=3, random_state=0)
    resp = emix.responsibilities(marginal(fitted, ["age", "visits"]), data)
    assert_allclose(found, resp @ fitted.parameters["city.probabilities"], rtol=1e-12)
    assert fitted.family.part("city").level_names == (("north", "south"),)
    assert set(drawn.ravel()) == {"north", "south"}
    assert condition(fitted, {"city": "north"}).family.columns == ("age", "visits")
    with pytest.raises(emix.DataError, match="'west'"):
        condition(fitted, {"city": "west"})


# -- predictions -------------------------------------------------------------------------------------------------------


def test_predictions_of_numbers_and_categories():
    given = {"height": [176.0, 165.0], "visits": [5, 1]}
    targets = ["weight", "city", "income"]
    known = marginal(model(), [*given, *targets])
    mean, std, covariance = predict_given(known, given, targets, return_std=True, return_cov=True)
    assert mean.shape == (2, 5)  # weight, three cities, income
    for i in range(2):
        joint = (
            P * stats.poisson.pmf(given["visits"][i], [2, 7]) * stats.norm.pdf(given["height"][i], [170, 180], [6, 7])
        )
        p = joint / joint.sum()
        weight = np.array([65 + 0.5 * (given["height"][i] - 170), 80 - 14 / 49 * (given["height"][i] - 180)])
        income = np.exp(np.array([7.1, 8.15]))
        within = [25 - 18**2 / 36, 36 - 14**2 / 49]
        cells = np.column_stack([weight, CITY, income])
        assert_allclose(mean[i], p @ cells, rtol=1e-10)
        assert_allclose(std[i, 0] ** 2, p @ (within + weight**2) - (p @ weight) ** 2, rtol=1e-9)
        share = p @ CITY
        assert_allclose(std[i, 1:4] ** 2, share * (1 - share), rtol=1e-9)
        assert_allclose(covariance[i, 1, 2], -share[0] * share[1], rtol=1e-9)
        of_income = p @ (np.expm1([0.2, 0.3]) * income**2 + income**2) - (p @ income) ** 2
        assert_allclose(covariance[i, 4, 4], of_income, rtol=1e-9)
        assert_allclose(covariance[i, 0, 4], p @ (weight * income) - (p @ weight) * (p @ income), rtol=1e-8)
    assert_allclose(mean[:, 1:4].sum(axis=1), 1, rtol=1e-12)


def test_draws_are_those_of_the_prediction():
    given = {name: [ROW[name]] for name in ROW if name not in ("weight", "city", "visits")}
    mean, drawn = predict_given(model(), given, ["weight", "city", "visits"], draws=20_000, random_state=1)
    assert drawn.shape == (1, 20_000, 3)
    numbers = drawn[0, :, [0, 2]].astype(float)
    assert_allclose(numbers.mean(axis=1), mean[0, [0, 4]], atol=0.2)
    assert_allclose([(drawn[0, :, 1] == level).mean() for level in range(3)], mean[0, 1:4], atol=0.02)


def test_missing_cells_of_the_others_are_summed_out():
    given = {name: [ROW[name]] * 2 for name in ROW if name != "age"}
    given["height"], given["city"] = [176.0, np.nan], np.array([1, None], dtype=object)
    found = predict_given(model(), given, "age")
    for i, gone in enumerate(([], ["height", "city"])):
        known = {name: [given[name][i]] for name in given if name not in gone}
        alone = predict_given(marginal(model(), [*known, "age"]), known, "age")
        assert_allclose(found[i], alone[0], rtol=1e-10)


def test_a_student_t_part_without_variance_leaves_the_others_theirs():
    heavy = Columns(
        {
            "a": Poisson([1.0, 6.0]),
            "t": StudentT([[0.0], [5.0]], [[[1.0]], [[1.0]]], [1.5, 9.0]),
            "b": Poisson([2.0, 3.0]),
        }
    )
    std, covariance = predict_given(Mixture(heavy), {"a": [2]}, ["t", "b"], return_std=True, return_cov=True)[1:]
    assert std[0, 0] == np.inf
    assert np.isfinite(std[0, 1])
    assert np.isfinite(covariance[0, 0, 1])
    assert not np.isnan(covariance).any()


# -- boxes -------------------------------------------------------------------------------------------------------------

INTERVALS = [
    (NegativeBinomial([3.0], [1.5]), 2, 6, stats.nbinom.pmf(np.arange(2, 7), 1.5, 1.5 / 4.5).sum()),
    (InverseGaussian([2.0], [3.0]), 0.5, 2.5, np.diff(stats.invgauss.cdf([0.5, 2.5], 2 / 3, scale=3))[0]),
    (Beta([2.0], [5.0]), 0.1, 0.4, np.diff(stats.beta.cdf([0.1, 0.4], 2, 5))[0]),
    (TruncatedPoisson([2.0]), 1, 3, stats.poisson.pmf([1, 2, 3], 2).sum() / stats.poisson.sf(0, 2)),
    (TruncatedPoisson([0.0]), 1, 3, 1.0),
    (ZeroInflatedPoisson([2.0], [0.3]), 0, 1, 0.3 + 0.7 * stats.poisson.pmf([0, 1], 2).sum()),
    (ZeroInflatedPoisson([2.0], [0.3]), 1, 4, 0.7 * stats.poisson.pmf([1, 2, 3, 4], 2).sum()),
]


@pytest.mark.parametrize(("family", "low", "high", "wanted"), INTERVALS, ids=lambda one: getattr(one, "name", None))
def test_probability_of_an_interval(family, low, high, wanted):
    assert_allclose(interval_probability(Mixture(family), low, high), wanted, rtol=1e-12)


@law([case for case in CASES if case.n_columns == 1 and case.family.name in (
    "negative_binomial", "truncated_poisson", "zero_inflated_poisson", "inverse_gaussian", "beta")])  # fmt: skip
def test_moments_are_those_of_draws(case):
    fitted = Mixture(Columns({"x": case.family, "y": Poisson([2.0] * case.family.n_components)}))
    mean, std = predict_given(fitted, {"y": [2]}, "x", return_std=True)
    x = np.asarray(emix.sample(fitted, 60_000, random_state=0)[0][:, 0], dtype=float)
    assert_allclose(mean[0, 0], x.mean(), atol=5 * x.std() / np.sqrt(len(x)))
    assert_allclose(std[0, 0], x.std(), rtol=0.05)


def test_probability_of_a_box_is_the_product_within_components():
    found = interval_probability(model(), {"age": 30, "visits": 3, "city": 2}, {"age": 45, "visits": 6, "city": 2})
    age = np.diff(stats.norm.cdf([[30], [45]], [30, 50], [5, 6]), axis=0)[0]
    visits = stats.poisson.cdf(6, [2, 7]) - stats.poisson.cdf(2, [2, 7])
    assert_allclose(found, P @ (age * visits * CITY[:, 2]), rtol=1e-12)
    both = interval_probability(model(), {"height": 170, "weight": 60}, {"height": 180, "weight": 75})
    alone = interval_probability(marginal(model(), ["height", "weight"]), [170, 60], [180, 75])
    assert_allclose(both, alone, atol=2e-6)
    angles = Mixture(Columns({"hour": VonMises([0.0], [1.0]), "n": Poisson([3.0])}))
    assert_allclose(interval_probability(angles, {"n": 2}, {"n": 4}), stats.poisson.pmf([2, 3, 4], 3).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval_probability(model(), 0, 1), "'city' holds categories"),
        (lambda: interval_probability(model(), {"city": 0}, {"city": 1}), "same level of 'city'"),
        (lambda: interval_probability(model(), {"city": 0}, {"age": 1}), "same level of 'city'"),
        (lambda: interval_probability(model(), {"city": 7}, {"city": 7}), "level of 'city' 7"),
        (lambda: interval_probability(Mixture(VonMises([0.0], [1.0])), 0, 1), "distribution function"),
        (lambda: interval_probability(Mixture(Normal([0.0], [1.0]), noise=9.0), 0, 1), "without noise"),
        (lambda: predict_given(model(), {"age": [30.0]}, "salary"), "'salary'"),
        (lambda: condition(model(), dict(ROW)), "beside them"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ModelError, match=message):
        call()


def test_noise_keeps_its_density():
    x = np.vstack([np.random.default_rng(0).normal(size=(200, 2)), [[9.0, 9.0], [-8.0, 7.0]]])
    noisy = emix.fit(Mixture(MultivariateNormal(), 1, noise=True), x, random_state=0).model
    part, other = marginal(noisy, "x0"), condition(noisy, {"x0": 0.4})
    found = emix.score_samples(part, [[0.4]]) + emix.score_samples(other, [[1.2]])
    assert_allclose(found, emix.score_samples(noisy, [[0.4, 1.2]]), rtol=1e-10)
