"""Rows that repeat become one row with a weight: the same fit, in fewer rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import Bernoulli, Binomial, Categorical, Mixture, MultivariateNormal, Normal, Poisson, fit
from emix.data import source as sources
from emix.data.knowledge import Knowledge
from emix.data.source import make_source
from emix.data.table import read_table


def problems():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 3000)
    items = (rng.random((3000, 5)) < np.where(z, 0.7, 0.3)[:, None]).astype(float)
    holes = np.where(rng.random(items.shape) < 0.2, np.nan, items)
    grid = np.round(rng.normal(3.0 * z, 1.0), 1)
    yield "items", Mixture(Bernoulli([[0.4] * 5, [0.6] * 5])), items, {}
    yield "items, holes", Mixture(Bernoulli([[0.4] * 5, [0.6] * 5])), holes, {}
    yield "items, labels", Mixture(Bernoulli([[0.4] * 5, [0.6] * 5])), items, {"labels": np.where(z < 0.5, z, -1)}
    yield (
        "items, weights",
        Mixture(Bernoulli([[0.4] * 5, [0.6] * 5])),
        items,
        {"sample_weight": rng.uniform(0, 3, 3000)},
    )
    yield "counts", Mixture(Poisson([1.0, 6.0])), rng.poisson(1.0 + 5 * z).astype(float), {}
    yield "tosses", Mixture(Binomial(9, [0.3, 0.7])), rng.binomial(9, 0.3 + 0.4 * z).astype(float), {}
    yield "letters", Mixture(Categorical(), 2), np.array(list("abcd"))[rng.integers(0, 4, (3000, 2))], {"start": z}
    yield "fractions", Mixture(Normal([0.0, 3], [1.0, 1])), grid, {}
    pairs = np.column_stack([np.round(grid), np.round(rng.normal(z, 1.0))])
    yield "pairs", Mixture(MultivariateNormal([[0.0, 0], [3, 1]], [np.eye(2)] * 2)), pairs, {}


@pytest.mark.parametrize("problem", list(problems()), ids=lambda one: one[0])
def test_collapsed_rows_give_the_same_history(problem, monkeypatch):
    _, model, x, known = problem
    options = {"stop": "iterations", "max_iter": 12, **known}
    found = fit(model, x, **options)
    monkeypatch.setattr(sources, "COLLAPSE_FROM", np.inf)
    whole = fit(model, x, **options)
    assert_allclose(
        [record.log_likelihood for record in found.history],
        [record.log_likelihood for record in whole.history],
        rtol=1e-11,
    )
    assert found.total_weight == pytest.approx(whole.total_weight, rel=1e-12)
    for name, value in whole.model.parameters.items():
        for one, other in zip(np.atleast_1d(value), np.atleast_1d(found.model.parameters[name]), strict=True):
            assert_allclose(other, one, rtol=1e-9, atol=1e-12)


def source_of(x, knowledge=None):
    return make_source(read_table(x), Bernoulli(), n_components=2, knowledge=knowledge)


def test_as_many_rows_are_left_as_there_are_patterns():
    x = np.random.default_rng(0).integers(0, 2, (20_000, 4)).astype(float)
    collapsed = source_of(x).collapsed()
    assert collapsed.n_rows == 16
    assert collapsed.weight.sum() == 20_000
    assert_array_equal(collapsed.x, x[collapsed.rows])
    labels = np.random.default_rng(1).integers(-1, 2, 20_000)
    assert source_of(x, Knowledge(labels=labels)).collapsed().n_rows == 16 * 3


def test_rows_that_hardly_repeat_and_prior_weights_are_left_alone():
    x = np.random.default_rng(0).normal(size=(5000, 2))
    source = make_source(read_table(x), Normal(), n_components=2)
    assert source.collapsed() is source
    q = Knowledge(q=np.ones((5000, 2)))
    some = source_of(np.zeros((5000, 1)) + (np.arange(5000) % 2)[:, None], q)
    assert some.collapsed() is some


def test_packing_is_the_same_compiled_and_not(monkeypatch):
    x = pd.DataFrame(np.random.default_rng(0).integers(0, 3, (5000, 4)).astype(float)).mask(lambda one: one == 2)
    plain = source_of(x).collapsed()
    monkeypatch.setattr(sources, "PACK_FROM", 0)
    compiled = source_of(x).collapsed()
    assert_array_equal(plain.x, compiled.x)
    assert_array_equal(plain.weight, compiled.weight)


def test_an_impossible_row_keeps_its_place_in_the_users_data():
    x = np.zeros(2000)
    x[1234] = 3
    with pytest.raises(emix.DataError, match="Row 1234 has"):
        fit(Mixture(Poisson([0.0, 0.0])), x)
