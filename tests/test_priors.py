"""A weak conjugate prior of rows like the whole table, and sets of allowed components."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import (
    Bernoulli,
    Categorical,
    Columns,
    Exponential,
    Gamma,
    Mixture,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    ScipyDistribution,
    StudentT,
    fit,
)


def answers(n=60, d=4, seed=0):
    return (np.random.default_rng(seed).random((n, d)) < 0.3).astype(float)


def test_the_posterior_mode_of_one_component_is_in_closed_form():
    x = answers()
    ones, n = x.sum(axis=0), len(x)
    for rows in (0.5, 10.0):
        p = fit(Mixture(Bernoulli(), 1, prior_rows=rows), x).model.family.probability[0]
        assert_allclose(p, (ones + rows * ones / n) / (n + rows), rtol=1e-12)
    labels = (np.arange(60) < 5).astype(int)
    x[:5, 0] = 1.0
    model = fit(Mixture(Bernoulli(), 2, prior_rows=2.0), x, labels=labels).model
    assert_allclose(model.family.probability[1], (x[:5].sum(axis=0) + 2 * x.mean(axis=0)) / 7, rtol=1e-12)
    assert_allclose(model.mixing_proportions, [55 / 60, 5 / 60], rtol=1e-12)  # no pseudo-weight for proportions


CASES = [
    (Bernoulli(), answers()),
    (Categorical(), np.random.default_rng(1).integers(0, 3, (60, 3))),
    (Poisson(), np.random.default_rng(2).poisson(3.0, (60, 2))),
    (Exponential(), np.random.default_rng(3).exponential(2.0, (60, 1))),
    (Gamma(), np.random.default_rng(4).gamma(2.0, 2.0, (60, 2))),
    (Multinomial(), np.random.default_rng(5).poisson(2.0, (60, 4))),
    (Normal(), np.random.default_rng(6).normal(size=(60, 2))),
    (MultivariateNormal(), np.random.default_rng(7).normal(size=(60, 2))),
    (Columns({"a": Normal(), "b": "poisson"}), {"a": np.random.default_rng(8).normal(size=60), "b": answers()[:, 0]}),
    (NegativeBinomial(), np.random.default_rng(9).negative_binomial(2, 0.3, (60, 2))),
    (ScipyDistribution("gumbel_r"), np.random.default_rng(10).gumbel(size=(60, 1))),
]


@pytest.mark.parametrize(("family", "x"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_the_objective_climbs_and_ends_where_no_neighbour_is_better(family, x):
    result = fit(Mixture(family, 2, prior_rows=1.0), x, random_state=0, tol=1e-9)
    assert result.converged
    assert all(record.gain >= -8 * record.noise for record in result.history[1:])
    model = result.model
    assert model.prior_rows == 1.0

    def objective(one):
        return emix.score_samples(one, x).sum() + one.log_prior()

    best, vector = objective(model), model.to_vector()
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = 1e-3 * rng.normal(size=len(vector))
        assert objective(model.from_vector(vector + step)) < best + 1e-9


def test_a_prior_keeps_probabilities_off_the_boundary(tmp_path):
    x = np.vstack([np.zeros((30, 3)), np.ones((30, 3))])
    sharp = fit(Mixture(Bernoulli(), 2), x, random_state=0).model.family.probability
    soft = fit(Mixture(Bernoulli(), 2, prior_rows=1.0), x, random_state=0).model
    assert set(np.round(sharp.ravel(), 12)) <= {0.0, 1.0}
    assert_allclose(np.sort(soft.family.probability[:, 0]), [0.5 / 31, 30.5 / 31], rtol=1e-3)
    emix.save(soft, tmp_path / "m.json")
    assert emix.load(tmp_path / "m.json").prior_rows == 1.0


def test_a_table_of_several_kinds_with_holes_has_a_prior():
    rng = np.random.default_rng(11)
    n = {"h": rng.normal(size=60), "w": rng.normal(size=60), "visits": rng.negative_binomial(2, 0.3, 60).astype(float)}
    data = n | {"town": np.where(np.arange(60) < 58, "Ulm", "Köln").astype(object)}
    data["visits"][3], data["town"][7] = np.nan, None
    family = Columns({("h", "w"): MultivariateNormal(), "visits": NegativeBinomial(), "town": Categorical()})
    result = fit(Mixture(family, 2, prior_rows=1.0), data, random_state=0, n_init=2)
    assert result.converged
    assert (result.model.family.part("town").probabilities > 0).all()
    data["h"] = np.r_[np.nan, data["h"][1:]]
    with pytest.raises(emix.ModelError, match=r"Those of 'multivariate_normal' do, here: columns 'h', 'w'"):
        fit(Mixture(family, 2, prior_rows=1.0), data)


def test_priors_that_cannot_be():
    with pytest.raises(emix.ModelError, match="prior_rows"):
        Mixture(Normal(), 2, prior_rows=-1.0)
    with pytest.raises(emix.ModelError, match="do not depend on their parameters"):
        fit(Mixture(StudentT(), 2, prior_rows=1.0), np.random.default_rng(0).normal(size=(50, 2)))


def test_sets_of_allowed_components_are_q_of_zeros_and_ones():
    x = np.random.default_rng(0).poisson([2.0, 9.0], (40, 2)).reshape(-1)
    allowed = [None if i % 3 else {0, 2} if i % 2 else 1 for i in range(80)]
    allowed[1] = {0, 1, 2}
    q = np.array(
        [[1, 1, 1] if one is None or one == {0, 1, 2} else [1, 0, 1] if one == {0, 2} else [0, 1, 0] for one in allowed]
    )
    options = {"random_state": 0, "n_init": 2}
    one = fit(Mixture(Poisson(), 3), x, labels=allowed, **options)
    other = fit(Mixture(Poisson(), 3), x, labels=q.astype(float), **options)
    assert one.log_likelihood == other.log_likelihood
    assert_array_equal(one.model.family.rate, other.model.family.rate)
    resp = emix.responsibilities(one.model, x, labels=allowed)
    assert (resp[np.array(q) == 0] == 0).all()
    with pytest.raises(emix.DataError, match=r"labels must be 0\.\.2"):
        fit(Mixture(Poisson(), 3), x, labels=[{7}, *allowed[1:]])
