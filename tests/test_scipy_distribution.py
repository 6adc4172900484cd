"""Distributions of scipy.stats: the maxima of our own families and of SciPy, supports, starts, mistakes."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from compare import sorted_by
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import (
    Beta,
    Categorical,
    Columns,
    DataError,
    FitError,
    Gamma,
    LogNormal,
    Mixture,
    ModelError,
    NegativeBinomial,
    Normal,
    Poisson,
    ScipyDistribution,
    fit,
)

# -- the same maximum ------------------------------------------------------------------------------------------------


def two(draw, n: int = 250) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.concatenate([draw(rng, 0, n), draw(rng, 1, 2 * n)])


PAIRS = {
    "norm": (Normal(), lambda rng, k, n: rng.normal([0, 9][k], [1, 2][k], n)),
    "gamma": (Gamma(), lambda rng, k, n: rng.gamma([2, 40][k], [1, 0.5][k], n)),
    "lognorm": (LogNormal(), lambda rng, k, n: rng.lognormal([0, 3][k], [0.5, 0.3][k], n)),
    "beta": (Beta(), lambda rng, k, n: rng.beta([2, 30][k], [20, 5][k], n)),
    "poisson": (Poisson(), lambda rng, k, n: rng.poisson([2, 15][k], n)),
    "nbinom": (NegativeBinomial(), lambda rng, k, n: rng.negative_binomial([3, 9][k], [0.5, 0.1][k], n)),
}
PARAMETERS = {
    "norm": lambda f: (f.mean, np.sqrt(f.variance)),
    "gamma": lambda f: (f.shape, 1 / f.rate),
    "lognorm": lambda f: (np.sqrt(f.log_variance), np.exp(f.log_mean)),
    "beta": lambda f: (f.alpha, f.beta),
    "poisson": lambda f: (f.rate,),
    "nbinom": lambda f: (f.size, f.size / (f.size + f.mean)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_fit_has_the_maximum_of_our_own_family(name):
    own, draw = PAIRS[name]
    x = two(draw)
    options = {"random_state": 0, "n_init": 2, "tol": 1e-10}
    found, wanted = fit(Mixture(ScipyDistribution(name), 2), x, **options), fit(Mixture(own, 2), x, **options)
    assert found.converged
    assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=0, atol=1e-8)
    assert found.n_free_parameters == wanted.n_free_parameters
    model = sorted_by(found.model, next(iter(found.model.family.spaces)))
    like = sorted_by(wanted.model, next(iter(wanted.model.family.spaces)))
    if np.abs(model.mixing_proportions - like.mixing_proportions).max() > 0.1:
        like = like.reordered(np.array([1, 0]))
    for value, ours in zip(model.family.parameters.values(), PARAMETERS[name](like.family), strict=True):
        assert_allclose(value, ours, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("weibull_min", (1.7,)),
        ("gumbel_r", ()),
        ("genextreme", (0.2,)),
        ("skewnorm", (4.0,)),
        ("logistic", ()),
        ("invgauss", (0.6,)),
        ("laplace", ()),
    ],
)
def test_one_component_is_not_below_scipys_own_fit(name, shapes):
    law = getattr(stats, name)
    x = law.rvs(*shapes, scale=3.0, size=300, random_state=1)
    result = fit(Mixture(ScipyDistribution(name), 1), x)
    held = {} if "loc" in result.model.family.spaces else {"floc": 0}
    theirs = law.fit(x, **held)
    ours = [getattr(result.model.family, n) for n in (*(law.shapes or "").replace(",", "").split(), "loc", "scale")]
    assert_allclose(law.logpdf(x, *(np.ravel(v)[0] for v in ours)).sum(), result.log_likelihood, rtol=1e-12)
    best = law.logpdf(x, *theirs).sum()
    assert -1e-7 < result.log_likelihood - best < 1e-2  # SciPy's simplex stops at four digits


def test_missing_cells_weights_and_other_columns():
    rng = np.random.default_rng(2)
    income, city = np.round(rng.gamma(3.0, 2.0, 120), 1), rng.choice(["a", "b"], 120)
    income[::7] = np.nan
    weight = rng.integers(1, 4, 120)
    families = [Columns({"income": one, "city": Categorical()}) for one in (ScipyDistribution("gamma"), Gamma())]
    found, wanted = (
        fit(Mixture(one, 1), {"income": income, "city": city}, sample_weight=weight, tol=1e-10) for one in families
    )
    assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=0, atol=1e-9)
    assert_allclose(getattr(found.model.family, "income.a"), getattr(wanted.model.family, "income.shape"), rtol=1e-6)
    alone = fit(Mixture(ScipyDistribution("gamma"), 1), income)
    filled = emix.impute(alone.model, income)[::7]
    assert_allclose(filled[:, 0], (alone.model.family.a * alone.model.family.scale)[0])


def test_new_rows_with_other_values_are_scored_and_summed(tmp_path):
    rng = np.random.default_rng(3)
    x, other = rng.weibull(2.0, 100), rng.weibull(2.0, 30)
    model = fit(Mixture(ScipyDistribution("weibull_min"), 1), x).model
    family = model.family
    wanted = stats.weibull_min.logpdf(other, family.c[0], scale=family.scale[0])
    emix.save(model, tmp_path / "model.json")
    assert "values" not in (tmp_path / "model.json").read_text()
    for one in (model, emix.load(tmp_path / "model.json")):
        assert_allclose(emix.score_samples(one, other), wanted, rtol=1e-12)
        assert_allclose(
            emix.e_step(one, other).maximize().family.c, fit(one, other, max_iter=9).model.family.c, rtol=1e-6
        )
    with pytest.raises(ModelError, match=r"sums for 'weibull_min' are over the values.*\n.*which they lack"):
        model.expect(emix.Chunk(other[:, None], np.ones(30)))


def test_more_rows_than_a_chunk_have_few_large_sums():
    x = np.random.default_rng(0).gumbel(2.0, 3.0, 40_000)
    result = fit(Mixture(ScipyDistribution("gumbel_r"), 1), x)
    loc, scale = stats.gumbel_r.fit(x)
    assert_allclose([result.model.family.loc[0], result.model.family.scale[0]], [loc, scale], rtol=1e-6)
    from emix.data.source import rows_per_chunk

    assert rows_per_chunk(40_000, 8 * 40_000, 8 * 40_000) == 40_000  # one chunk: its sums are as large as the rows
    assert rows_per_chunk(40_000, 8 * 40_000, 8) == 13_334


# -- what is estimated -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "estimated"),
    [
        (ScipyDistribution("weibull_min"), ("c", "scale")),
        (ScipyDistribution("weibull_min", loc="free"), ("c", "loc", "scale")),
        (ScipyDistribution("weibull_min", loc=2), ("c", "scale")),
        (ScipyDistribution("t"), ("df", "loc", "scale")),
        (ScipyDistribution("t", df=4.0), ("loc", "scale")),
        (ScipyDistribution(stats.gumbel_r), ("loc", "scale")),
        (ScipyDistribution("beta"), ("a", "b")),
        (ScipyDistribution("vonmises"), ("kappa", "loc")),
        (ScipyDistribution("nbinom"), ("n", "p")),
        (ScipyDistribution("binom", n=10), ("p",)),
    ],
    ids=str,
)
def test_what_is_estimated(family, estimated):
    assert tuple(family.spaces) == estimated
    again = emix.families.parse(str(family))
    assert (again.options, again.held) == (family.options, family.held)
    assert repr(eval(repr(family))) == repr(family)


def test_a_location_that_is_held_shifts_the_support():
    x = 5 + np.random.default_rng(0).weibull(2.0, 200)
    held = fit(Mixture(ScipyDistribution("weibull_min", loc=5.0), 1), x).model.family
    shifted = fit(Mixture(ScipyDistribution("weibull_min"), 1), x - 5).model.family
    assert_allclose([held.c, held.scale], [shifted.c, shifted.scale], rtol=1e-6)
    with pytest.raises(DataError, match=r"needs numbers > 5 for 'weibull_min'.*\n.*Found 4.0?"):
        fit(Mixture(ScipyDistribution("weibull_min", loc=5.0), 1), [6.0, 4.0, 7.0])


def test_fixed_parameters_leave_the_constrained_maximum():
    x = np.random.default_rng(0).gamma(3.0, 2.0, 200)
    model = Mixture(ScipyDistribution("gamma", a=[2.0]), 1, fixed={"a"})
    family = fit(model, x).model.family
    assert_array_equal(family.a, [2.0])
    assert_allclose(family.scale, x.mean() / 2, rtol=1e-7)


def test_a_location_at_the_lowest_value_has_no_bound():
    """Shape 0.5: the density at the lowest value is infinite, wherever the others lie."""
    x = 3 + np.random.default_rng(0).weibull(0.5, 60)
    with pytest.raises(FitError, match=r"rises without bound at .* of 'x0'. Hold a parameter"):
        fit(Mixture(ScipyDistribution("weibull_min", loc="free"), 1), x)
    x = 3 + np.random.default_rng(0).weibull(3.0, 400)  # beside it there is a maximum
    result = fit(Mixture(ScipyDistribution("weibull_min", loc="free"), 1), x)
    free = result.model.family
    assert -0.5 < free.loc[0] - 3 < 0.3
    for step in np.eye(3) * 1e-3:
        near = stats.weibull_min.logpdf(x, *(np.array([free.c[0], free.loc[0], free.scale[0]]) + step)).sum()
        assert near < result.log_likelihood


def test_equal_cells_collapse_by_name():
    x = np.concatenate([np.full(20, 7.0), np.random.default_rng(0).normal(0, 1, 40)])
    with pytest.raises(FitError, match="component 0 collapsed: its variance of 'x0'"):
        fit(Mixture(ScipyDistribution("norm"), 2), x, labels=np.repeat([0, 1], [20, 40]))


def test_counts_that_are_all_equal_are_fitted():
    assert_allclose(fit(Mixture(ScipyDistribution("poisson"), 1), [3, 3, 3]).model.family.mu, 3, rtol=1e-6)


def test_noise_beside_heavy_tails():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.logistic(0, 1, 300), rng.uniform(-40, 40, 60)])
    result = fit(Mixture(ScipyDistribution("logistic"), 1, noise=True), x, random_state=0)
    assert 0.1 < result.model.mixing_proportions[1] < 0.25


# -- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("weibul_min",), {}, r"Found 'weibul_min': did you mean .*'weibull_min'"),
        (("zzzz",), {}, "its documentation lists them"),
        (("multivariate_normal",), {}, "several dimensions"),
        ((stats.multivariate_t,), {}, "one dimension is required"),
        ((stats.gamma(2.0, scale=3.0),), {}, r"ScipyDistribution\('gamma', a=2.0, scale=3.0\)"),
        ((stats.rv_histogram(np.histogram([1.0, 2.0, 4.0])),), {}, "not part of scipy.stats"),
        ((3,), {}, "Found 3"),
        (("gamma",), {"shape": 2}, r"unknown parameter of 'gamma' 'shape'.\n.*'a', 'loc', 'scale'"),
        (("gamma",), {"a": -1.0}, "a needs finite numbers > 0"),
        (("gamma",), {"a": [1.0, -2.0]}, "a needs finite numbers > 0"),
        (("gamma",), {"a": "two"}, "a needs a number, an array with one entry per component, or 'free'"),
        (("binom",), {}, "n of 'binom' is nothing but whole numbers"),
        (("poisson",), {"loc": "free"}, "loc of 'poisson' is nothing but whole numbers"),
        (("norm",), {"loc": 0, "scale": 1}, "one of 'norm' at least that is estimated"),
        (
            ("truncnorm",),
            {"a": [2.0], "b": [1.0], "loc": [0.0], "scale": [1.0]},
            "shapes needs values that SciPy takes together",
        ),
        (("truncnorm",), {"a": 2.0, "b": 1.0}, "shapes needs values that SciPy takes together"),
        (("binom",), {"n": 10.5}, r"n of 'binom' is nothing but whole numbers.*\n.*Found 10.5"),
    ],
)
def test_mistakes_are_named(arguments, options, said):
    with pytest.raises(ModelError, match=said):
        ScipyDistribution(*arguments, **options)


def test_the_slower_path_is_logged_once(caplog):
    with caplog.at_level(logging.INFO, logger="emix"):
        fit(Mixture(ScipyDistribution("norm"), 2), np.arange(30.0) ** 2, random_state=0, max_iter=3, stop="iterations")
    assert [one.message for one in caplog.records] == [
        "scipy(norm) asks SciPy for each row at each pass: this is slower than the other families."
    ]


def test_the_command_line(run, file):
    rng = np.random.default_rng(1)
    rows = "".join(f"{a:.3f},{b}\n" for a, b in zip(rng.gamma(2.0, 3.0, 40), rng.choice(["x", "y"], 40), strict=True))
    table = file("data.csv", f"income,city\n{rows}")
    found = run("fit", table, "-k", 1, "--columns", "income", "--family", "scipy(weibull_min)", "--seed", 0)
    assert found.exit_code == 0
    assert "c                " in found.stdout
    assert found.stderr.count("slower than the other families") == 1
    found = run("fit", table, "-k", 1, "--family", "income=scipy(gamma, loc=0)")
    assert found.exit_code == 0
    assert "a of income" in found.stdout
    assert "slower" in found.stderr
    found = run("fit", table, "-k", 1, "--columns", "income", "--family", "scipy(gama)")
    assert found.exit_code == 2
    assert "did you mean 'gamma'" in found.stderr
