"""Priors by family: posterior modes against SciPy's optimiser on SciPy's densities, known formulas, and their laws."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import optimize, stats
from scipy.special import expit

import emix
from emix import (
    Bernoulli,
    BetaPrior,
    Binomial,
    Categorical,
    Columns,
    ConjugatePrior,
    DirichletPrior,
    Exponential,
    Gamma,
    GammaPrior,
    GammaRowsPrior,
    Geometric,
    LogNormal,
    Mixture,
    ModelError,
    Multinomial,
    MultivariateNormal,
    Normal,
    NormalInverseGammaPrior,
    Poisson,
    fit,
)
from emix.centred import centred, plain
from emix.families import parse

RNG = np.random.default_rng(0)
N = 40
WEIGHT = RNG.integers(1, 4, N).astype(float)


def with_holes(x):
    x = np.array(x, dtype=float)
    x[RNG.random(x.shape) < 0.2] = np.nan
    return x


COUNTS = with_holes(RNG.poisson(3.0, (N, 2)))
WAITS = with_holes(RNG.exponential(2.0, (N, 2)))
ITEMS = with_holes(RNG.random((N, 2)) < 0.2)
TOSSES = with_holes(RNG.geometric(0.3, (N, 2)))
HEADS = with_holes(RNG.binomial(7, 0.8, (N, 1)))
LEVELS = with_holes(RNG.integers(0, 3, (N, 1)))
WORDS = RNG.poisson([1.0, 2.0, 0.1], (N, 3)).astype(float)
REALS = with_holes(RNG.normal([3.0, -40.0], [1.0, 9.0], (N, 2)))
AMOUNTS = with_holes(RNG.gamma(3.0, [1.0, 20.0], (N, 2)))

GAMMA = {"shape": [2.5, 40.0], "rate": [0.5, 3.0]}
BETA = {"a": [1.5, 4.0], "b": [8.0, 1.0]}
NORMAL = {"mean": [0.0, -30.0], "shrinkage": [5.0, 0.2], "shape": [2.0, 0.7], "scale": [3.0, 80.0]}
ROWS = np.array([[1.0, 9.0], [3.0, 11.0]])
"""Two rows for the prior of Gamma: its density is their likelihood."""


def weighted(log_density, x):
    seen = ~np.isnan(x)
    cells = np.where(seen, x, 1.0)
    return float((WEIGHT[:, None] * np.where(seen, log_density(cells), 0.0)).sum())


def simplex(u):
    e = np.exp(np.append(u, 0.0) - np.max(np.append(u, 0.0)))
    return e / e.sum()


def gamma_log_prior(rate):
    return stats.gamma.logpdf(rate, GAMMA["shape"], scale=1 / np.array(GAMMA["rate"])).sum()


def beta_log_prior(p):
    return stats.beta.logpdf(p, BETA["a"], BETA["b"]).sum()


def normal_log_prior(m, v):
    p = {name: np.array(value) for name, value in NORMAL.items()}
    of_mean = stats.norm.logpdf(m, p["mean"], np.sqrt(v / p["shrinkage"]))
    return (of_mean + stats.invgamma.logpdf(v, p["shape"], scale=p["scale"])).sum()


def multinomial_objective(u):
    p = simplex(u)
    found = WEIGHT @ stats.multinomial.logpmf(WORDS, WORDS.sum(axis=1), p)
    return {"probabilities": p}, found + stats.dirichlet.logpdf(p, [1.5, 1.0, 3.0])


def categorical_objective(u):
    p = simplex(u)
    found = weighted(lambda x: np.log(p[np.minimum(x.astype(int), 2)]), LEVELS)
    return {"probabilities": p}, found + stats.dirichlet.logpdf(p, [2.0, 1.0, 5.5])


MODES = {  # family, data, and from unconstrained coordinates to the parameters and log-likelihood + log prior by SciPy
    "poisson": (
        Poisson(prior=GammaPrior(**GAMMA)),
        COUNTS,
        lambda u: (
            {"rate": np.exp(u)},
            weighted(lambda x: stats.poisson.logpmf(x, np.exp(u)), COUNTS) + gamma_log_prior(np.exp(u)),
        ),
        2,
    ),
    "exponential": (
        Exponential(prior=GammaPrior(**GAMMA)),
        WAITS,
        lambda u: (
            {"rate": np.exp(u)},
            weighted(lambda x: stats.expon.logpdf(x, scale=np.exp(-u)), WAITS) + gamma_log_prior(np.exp(u)),
        ),
        2,
    ),
    "bernoulli": (
        Bernoulli(prior=BetaPrior(**BETA)),
        ITEMS,
        lambda u: (
            {"probability": expit(u)},
            weighted(lambda x: stats.bernoulli.logpmf(x, expit(u)), ITEMS) + beta_log_prior(expit(u)),
        ),
        2,
    ),
    "geometric": (
        Geometric(prior=BetaPrior(**BETA)),
        TOSSES,
        lambda u: (
            {"probability": expit(u)},
            weighted(lambda x: stats.geom.logpmf(x, expit(u)), TOSSES) + beta_log_prior(expit(u)),
        ),
        2,
    ),
    "binomial": (
        Binomial(7, prior=BetaPrior(3, 9)),
        HEADS,
        lambda u: (
            {"probability": expit(u)},
            weighted(lambda x: stats.binom.logpmf(x, 7, expit(u)), HEADS) + stats.beta.logpdf(expit(u), 3, 9).sum(),
        ),
        1,
    ),
    "categorical": (Categorical(prior=DirichletPrior({0: 2, 2.0: 5.5})), LEVELS, categorical_objective, 2),
    "multinomial": (Multinomial(prior=DirichletPrior([1.5, 1.0, 3.0])), WORDS, multinomial_objective, 2),
    "normal": (
        Normal(prior=NormalInverseGammaPrior(**NORMAL)),
        REALS,
        lambda u: (
            {"mean": u[:2] * [1, 10], "variance": np.exp(u[2:])},
            weighted(lambda x: stats.norm.logpdf(x, u[:2] * [1, 10], np.exp(u[2:] / 2)), REALS)
            + normal_log_prior(u[:2] * [1, 10], np.exp(u[2:])),
        ),
        4,
    ),
    "lognormal": (
        LogNormal(prior=NormalInverseGammaPrior(**NORMAL)),
        AMOUNTS,
        lambda u: (
            {"log_mean": u[:2], "log_variance": np.exp(u[2:])},
            weighted(lambda x: stats.lognorm.logpdf(x, np.exp(u[2:] / 2), scale=np.exp(u[:2])), AMOUNTS)
            + normal_log_prior(u[:2], np.exp(u[2:])),
        ),
        4,
    ),
    "gamma": (
        Gamma(prior=GammaRowsPrior(2, ROWS.mean(axis=0), np.exp(np.log(ROWS).mean(axis=0)))),
        AMOUNTS,
        lambda u: (
            {"shape": np.exp(u[:2]), "rate": np.exp(u[2:])},
            weighted(lambda x: stats.gamma.logpdf(x, np.exp(u[:2]), scale=np.exp(-u[2:])), AMOUNTS)
            + stats.gamma.logpdf(ROWS, np.exp(u[:2]), scale=np.exp(-u[2:])).sum(),
        ),
        4,
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_one_component_is_the_posterior_mode_that_scipy_finds(name):
    family, x, described, size = MODES[name]
    result = fit(Mixture(family, 1), x, sample_weight=WEIGHT, random_state=0)
    found = optimize.minimize(
        lambda u: -described(u)[1],
        np.zeros(size),
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-11, "maxiter": 20_000, "maxfev": 20_000, "adaptive": True},
    )
    for parameter, value in described(found.x)[0].items():
        assert_allclose(result.model.parameters[parameter][0], np.squeeze(value), rtol=2e-6, atol=1e-9)
    # log_prior is the log density up to a constant: differences between two models are those of SciPy's
    other = described(found.x + 0.3)
    far = Mixture(
        result.model.family.with_parameters({k: np.atleast_1d(v)[None] if size > 1 else v for k, v in other[0].items()})
    )
    ours = emix.e_step(far, x, sample_weight=WEIGHT).log_likelihood + far.log_prior()
    assert_allclose(result.log_likelihood + result.log_prior - ours, -found.fun - other[1], rtol=1e-8)


TWO = [
    (Poisson(prior=GammaPrior(2, 0.5)), np.r_[RNG.poisson(2.0, (60, 2)), RNG.poisson(9.0, (60, 2))]),
    (Exponential(prior=GammaPrior(2, [0.5, 3.0])), RNG.exponential(2.0, (120, 2)) ** 2),
    (Bernoulli(prior=BetaPrior(2, 2)), RNG.random((120, 4)) < RNG.choice([0.2, 0.9], (120, 1))),
    (Bernoulli(shared=True, prior=BetaPrior([2, 9], 2)), RNG.random((120, 4)) < RNG.choice([0.2, 0.9], (120, 1))),
    (Geometric(prior=BetaPrior(2, 5)), RNG.geometric(RNG.choice([0.2, 0.9], (120, 1)), (120, 2))),
    (Categorical(prior=DirichletPrior([1.5, {1: 3}, [1, 2, 3]])), RNG.integers(0, 3, (120, 3))),
    (Normal(prior=True), np.r_[RNG.normal(0, 1, (60, 2)), RNG.normal(4, 2, (60, 2))]),
    (LogNormal(prior=NormalInverseGammaPrior(mean=1, shrinkage=3)), RNG.lognormal(1, 1, (120, 1))),
    (Gamma(prior=GammaRowsPrior(3, 2.0)), np.r_[RNG.gamma(2, 1, (60, 2)), RNG.gamma(20, 1, (60, 2))]),
    (
        Columns({"x0": Poisson(prior=GammaPrior(2, 0.5)), "x1": Normal(prior=True), "x2": Normal()}),
        np.c_[RNG.poisson(5, 120), np.r_[RNG.normal(0, 1, (60, 2)), RNG.normal(4, 2, (60, 2))]],
    ),
]


@pytest.mark.parametrize(("family", "x"), TWO, ids=lambda value: str(value)[:40] if hasattr(value, "name") else "")
def test_two_components_with_missing_cells_climb_to_a_mode(family, x, tmp_path):
    x = np.array(x, dtype=float)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    weight = np.random.default_rng(2).integers(1, 3, len(x))
    model = Mixture(family, 2, mixing_prior=DirichletPrior([3, 1]))
    result = fit(model, x, sample_weight=weight, random_state=0, n_init=2, tol=1e-9)
    assert result.converged
    assert all(record.gain >= -8 * record.noise for record in result.history[1:])
    model = result.model
    assert result.log_prior == model.log_prior() != 0
    assert "posterior mode" in str(result)
    assert (
        model.n_free_parameters
        == Mixture(parse_without_prior(model.family), 2, model.mixing_proportions).n_free_parameters
    )

    def objective(one):
        return float(weight @ emix.score_samples(one, x)) + one.log_prior()

    best, vector, rng = objective(model), model.to_vector(), np.random.default_rng(0)
    assert_allclose(best, result.log_likelihood + result.log_prior, rtol=1e-12)
    for _ in range(10):
        assert objective(model.from_vector(vector + 1e-3 * rng.normal(size=len(vector)))) < best + 1e-9
    twice = fit(Mixture(family, 2, mixing_prior=DirichletPrior([3, 1])), np.repeat(x, weight, axis=0), start=model)
    for name, value in model.parameters.items():  # weight 2 is the row twice
        for one, other in zip(as_tuple(twice.model.parameters[name]), as_tuple(value), strict=True):
            assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    emix.save(model, tmp_path / "m.json")
    again = emix.load(tmp_path / "m.json")
    assert again.mixing_prior == model.mixing_prior
    assert again.log_prior() == model.log_prior()
    turned = model.reordered(np.array([1, 0]))
    assert_allclose(turned.log_prior(), model.log_prior(), rtol=1e-12)
    if not isinstance(family, Columns):
        assert parse(str(family)).prior == family.prior


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def parse_without_prior(family):
    if isinstance(family, Columns):
        return Columns({part.names: parse_without_prior(part.family) for part in family.parts})
    return type(family)(**{**family.options, "prior": None}, **family.parameters)


@settings(max_examples=30, deadline=None)
@given(
    heads=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    a=st.floats(1.0, 50.0),
    b=st.floats(1.001, 50.0),
)
def test_the_beta_binomial_mode(heads, a, b):
    p = fit(Mixture(Binomial(5, prior=BetaPrior(a, b)), 1), heads).model.family.probability
    total = 5 * len(heads)
    assert_allclose(p, [(sum(heads) + a - 1) / (total + a + b - 2)], rtol=1e-12, atol=1e-15)


def test_an_empty_component_has_the_mode_of_its_prior_and_proportions_have_theirs():
    labels = np.zeros(12, dtype=int)
    x = np.arange(12)
    model = Mixture(Poisson(prior=GammaPrior([5, 9], [2, 4])), 2, mixing_prior=DirichletPrior([2, 5]))
    result = fit(model, x, labels=labels)
    assert_allclose(result.model.family.rate, [(66 + 4) / (12 + 2), 8 / 4], rtol=1e-14)
    assert_allclose(result.model.mixing_proportions, [13 / 17, 4 / 17], rtol=1e-14)


def test_one_normal_column_agrees_with_the_conjugate_prior_of_gaussians():
    rng = np.random.default_rng(5)
    x = np.r_[rng.normal(0, 1, (50, 1)), rng.normal(5, 2, (50, 1))]
    gaussian = ConjugatePrior(shrinkage=0.5, mean=[2.0], dof=7.0, scale=[[3.0]])
    ours = NormalInverseGammaPrior(mean=2.0, shrinkage=0.5, shape=3.5, scale=1.5)
    start = (x[:, 0] > 2).astype(int)
    options = {"start": start, "stop": "parameters", "tol": 1e-12}
    one = fit(Mixture(Normal(prior=ours), 2), x, **options)
    other = fit(Mixture(MultivariateNormal(prior=gaussian), 2), x, **options)
    assert_allclose(one.model.family.variance, other.model.family.covariance[:, 0, 0], rtol=1e-9)
    assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-11)


def test_what_is_fixed_stays_and_rows_of_the_table_join_the_prior():
    rng = np.random.default_rng(6)
    x = rng.normal(3, 2, (50, 1))
    prior = NormalInverseGammaPrior(mean=1.0, shrinkage=4.0, shape=2.0, scale=3.0)
    held = fit(Mixture(Normal(mean=[2.0], variance=[1.0], prior=prior), fixed={"mean"}), x).model.family
    assert_allclose(held.variance, [(((x - 2) ** 2).sum() + 4.0 * 1.0 + 6.0) / (50 + 4 + 3)], rtol=1e-12)
    counts = rng.poisson(3.0, 40)
    both = fit(Mixture(Poisson(prior=GammaPrior(3, 0.5)), 1, prior_rows=2.0), counts).model.family.rate
    assert_allclose(both, [(counts.sum() + 2 * counts.mean() + 2) / (40 + 2 + 0.5)], rtol=1e-12)
    still = fit(Mixture(Poisson(rate=[0.0, 3.0], prior=GammaPrior(3, 0.5)), fixed={"rate"}), counts)
    assert still.log_prior is None
    assert np.isfinite(still.log_likelihood)


@pytest.mark.parametrize(
    ("family", "x"),
    [
        (Normal(prior=NormalInverseGammaPrior(mean=[0.0, 30.0], shrinkage=0.3)), RNG.normal(0, 1, (100, 1))),
        (Gamma(prior=GammaRowsPrior([1, 2], [3, 30])), RNG.gamma(9, 1, (100, 1))),
        (LogNormal(prior=True), RNG.gamma(9, 1, (100, 1))),
    ],
    ids=["normal", "gamma", "lognormal"],
)
def test_the_centred_path_has_the_same_modes(family, x):
    x = np.r_[x, x * 0.5 + 40]
    start = (x[:, 0] > 25).astype(int)
    one = fit(Mixture(family, 2), x, start=start, tol=1e-9)
    other = fit(centred(one.model), x, tol=1e-9)
    assert_allclose(
        other.log_likelihood + plain(other.model).log_prior(), one.log_likelihood + one.log_prior, rtol=1e-10
    )
    for name, value in one.model.parameters.items():
        assert_allclose(other.model.parameters[name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GammaPrior(0.5, 1), r"GammaPrior: shape needs finite numbers >= 1 \(below 1"),
        (lambda: BetaPrior(2, [1, np.nan]), "BetaPrior: b needs finite numbers >= 1"),
        (lambda: DirichletPrior({"a": 0.2}), "DirichletPrior: concentration needs"),
        (lambda: DirichletPrior("2"), "DirichletPrior: concentration needs"),
        (lambda: NormalInverseGammaPrior(scale=0), "scale needs finite numbers > 0"),
        (lambda: GammaRowsPrior(1, 2, [3]).means(1, 1), "geometric_mean needs numbers below the mean"),
        (lambda: Poisson(prior=BetaPrior(2, 2)), "poisson: prior needs a GammaPrior"),
        (lambda: Poisson(prior=True), "poisson: prior needs a GammaPrior"),
        (lambda: Mixture(Poisson(), 3, mixing_prior=DirichletPrior([2, 2])), r"shape \(3,\), for 3 components"),
        (lambda: Mixture(Poisson(), 3, mixing_prior=2), "mixture: mixing_prior needs a DirichletPrior"),
        (lambda: fit(Mixture(Poisson(prior=GammaPrior([2, 2, 2], 1)), 2), COUNTS), r"shape \(2,\) or \(2, 2\)"),
        (
            lambda: fit(Mixture(Normal(prior=NormalInverseGammaPrior(shape=[2, 2, 2])), 2), REALS),
            "shape needs a number",
        ),
        (lambda: fit(Mixture(Categorical(prior=DirichletPrior({"x": 2})), 2), LEVELS), "unknown category of a Diri"),
        (lambda: fit(Mixture(Categorical(prior=DirichletPrior([2, 3])), 2), LEVELS), r"shape \(3,\) or \(2, 3\)"),
        (
            lambda: fit(Mixture(Poisson(rate=[0.0, 3.0], prior=GammaPrior(2, 1))), COUNTS[:, 0]),
            "possible under the prior",
        ),
        (lambda: parse("beta(prior=beta(2, 2))"), "beta takes no prior; those that do are bernoulli, binomial"),
        (lambda: parse("poisson(prior=gama(2, 1))"), "unknown prior 'gama'"),
        (lambda: parse("poisson(prior=gamma(2))"), "in its prior, missing 1 required positional argument: 'rate'"),
    ],
)
def test_priors_that_cannot_be(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_the_command_line_and_estimators_take_priors(tmp_path, run):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(f"{i % 5},{'xyz'[i % 3]}" for i in range(30)) + "\n")
    family = "a=poisson(prior=gamma(2, 0.5)),b=categorical(unknown=missing, prior=dirichlet({'x': 3, 'y': 2}))"
    out = run("fit", path, "-k", 1, "--family", family, "--json")
    assert out.exit_code == 0
    found = json.loads(out.stdout)
    parts = [part["family"]["parameters"] for part in found["model"]["family"]["parts"]]
    assert_allclose(parts[0]["rate"], [(60 + 1) / (30 + 0.5)])
    assert_allclose(parts[1]["probabilities"], [[12 / 33, 11 / 33, 10 / 33]])
    assert found["log_prior"] is not None
    model = emix.MixtureModel(1, family="poisson(prior=GammaPrior(shape=2, rate=0.5))").fit([[1], [2], [6]])
    assert_allclose(model.family_.rate, [10 / 3.5])
