"""The contract of a family: each law written once and run over a registry of all families."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import (
    ALL_OR_NOTHING,
    CASES,
    COMPLETING,
    FACTORISED,
    LINEAR,
    Case,
    assert_same_expectation,
    assert_same_parameters,
    expected_under,
    law,
    proportions,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import (
    Chunk,
    DataError,
    Mixture,
    Normal,
    StudentT,
)
from emix.block import Schema
from emix.families import Binding, Family

# -- the density -----------------------------------------------------------------------------------------------------


@law(CASES)
def test_density_is_that_of_scipy(case):
    x, _ = case.draw(200)
    family = case.bound(x)
    log_density = family.log_prob(x) + family.log_base_measure(x)
    assert log_density.shape == (family.n_components, 200)
    for k in range(family.n_components):
        wanted = case.density(family, x, k)
        assert_allclose(np.exp(log_density[k]), wanted, rtol=2e-11, atol=1e-300)


@law(CASES)
def test_density_does_not_depend_on_what_the_family_is_bound_to(case):
    x, _ = case.draw(200)
    elsewhere, _ = case.draw(50, seed=7)
    one, other = case.bound(x), case.bound(elsewhere)
    found, wanted = (f.log_prob(x) + f.log_base_measure(x) for f in (one, other))
    assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@law(CASES)
def test_log_likelihood_of_a_mixture_is_that_of_the_densities(case):
    x, _ = case.draw(200)
    model = case.mixture(x)
    joint = np.stack([p * case.density(case.family, x, k) for k, p in enumerate(model.mixing_proportions)])
    step = emix.e_step(model, x)
    assert_allclose(step.log_likelihood, np.log(joint.sum(axis=0)).sum(), rtol=1e-11)
    assert_allclose(step.responsibilities, (joint / joint.sum(axis=0)).T, rtol=1e-8, atol=1e-12)
    assert_allclose(emix.score_samples(model, x), np.log(joint.sum(axis=0)), rtol=1e-9, atol=1e-10)


# -- statistics add --------------------------------------------------------------------------------------------------


@law(CASES)
def test_statistics_add_over_rows(case):
    x, _ = case.draw(60)
    family, model = case.bound(x), case.mixture(x)
    T = family.statistics(x)
    assert T.shape == (len(family.statistic_names), 60)
    assert_array_equal(T, np.concatenate([family.statistics(x[:23]), family.statistics(x[23:])], axis=1))
    w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
    parts = model.expect(Chunk(x[:23], w[:23])) + model.expect(Chunk(x[23:], w[23:]))
    assert_same_expectation(parts, model.expect(Chunk(x, w)))


@law(LINEAR)
def test_expected_statistics_are_responsibilities_times_statistics(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
    found = model.expect(Chunk(x, w)).statistics
    weighted = emix.responsibilities(model, x).T * w
    wanted = np.concatenate([weighted.sum(axis=1, keepdims=True), weighted @ model.family.statistics(x).T], axis=1)
    assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@law(CASES)
def test_folding_the_observed_counts_changes_nothing(case):
    x, _ = case.draw(80)
    model = case.mixture(x)
    w = np.random.default_rng(3).uniform(0.1, 3.0, 80)
    assert_same_expectation(model.expect(Chunk(x, w, is_complete=True)), model.expect(Chunk(x, w, is_complete=False)))


@law(CASES)
def test_weight_2_equals_the_row_twice_in_the_e_step(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    w = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(x, w.astype(int), axis=0)
    assert len(twice) == 80
    assert_same_expectation(model.expect(Chunk(x, w)), model.expect(Chunk(twice, np.ones(80))))


@law(CASES)
def test_weight_2_equals_the_row_twice_in_a_fit(case):
    x, _ = case.draw(200)
    w = np.where(np.arange(200) % 3 == 0, 2.0, 1.0)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    model = Mixture(case.family, case.family.n_components)
    options = {"start": start, "stop": "iterations", "max_iter": 7}
    weighted = emix.fit(model, x, sample_weight=w, **options)
    repeated = emix.fit(model, np.repeat(x, w.astype(int), axis=0), **options)
    assert weighted.n_iter == repeated.n_iter == 7
    assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-9)
    assert_allclose(weighted.model.mixing_proportions, repeated.model.mixing_proportions, rtol=1e-9)
    assert_same_parameters(weighted.model.family, repeated.model.family, rtol=1e-9, atol=1e-12)
    for criterion in ("total_weight", "aic", "bic", "icl"):
        assert_allclose(getattr(weighted, criterion), getattr(repeated, criterion), rtol=1e-9, err_msg=criterion)


# -- missing cells ---------------------------------------------------------------------------------------------------


def without_column(family: Family, j: int) -> Family:
    """The family of the other columns, with the same pivots."""
    keep = [i for i in range(len(family.columns)) if i != j]
    binding, values = family.binding, {}
    for name, value in family.parameters.items():
        if isinstance(value, tuple):
            rest = tuple(value[i] for i in keep)
            values[name] = rest if len(rest) > 1 else rest[0]
        else:
            values[name] = value if getattr(family, "shared", False) else value[:, keep]
    schema = Schema(tuple(binding.names[i] for i in keep), tuple(binding.schema.levels[i] for i in keep))
    own = tuple(binding.values[i] for i in keep) if binding.values else ()
    return replace(family, binding=Binding(schema, binding.pivot[keep], binding.scale[keep], values=own), **values)


def shared_rows(family: Family, smaller: Family) -> list[int]:
    """Where each statistic of `smaller` stands among those of `family`."""
    return [family.statistic_names.index(name) for name in smaller.statistic_names]


@law([case for case in FACTORISED if case.n_columns > 1])
def test_a_missing_cell_equals_the_row_without_that_column(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    family = model.family
    for j in range(case.n_columns):
        smaller = without_column(family, j)
        some = np.arange(60) % 2 == 0
        holed, rest = x.copy(), np.delete(x, j, axis=1)
        holed[some, j] = np.nan
        one = family.log_prob(holed) + family.log_base_measure(holed)
        other = smaller.log_prob(rest) + smaller.log_base_measure(rest)
        assert_allclose(one[:, some], other[:, some], rtol=1e-11, atol=1e-11)

        small_model = Mixture(smaller, mixing_proportions=model.mixing_proportions)
        w = np.random.default_rng(3).uniform(0.1, 3.0, 60)
        found = model.expect(Chunk(holed, w))
        complete = model.expect(Chunk(x[~some], w[~some]))
        partial = small_model.expect(Chunk(rest[some], w[some]))
        wanted = complete.statistics.copy()
        wanted[:, [0, *(1 + i for i in shared_rows(family, smaller))]] += partial.statistics
        assert_allclose(found.statistics, wanted, rtol=1e-11, atol=1e-11)
        assert_allclose(found.log_likelihood, complete.log_likelihood + partial.log_likelihood, rtol=1e-11)


@law([case for case in FACTORISED if case.n_columns > 1])
def test_a_missing_cell_says_nothing_of_its_column_in_the_m_step(case):
    """The M-step of a column uses the rows in which it is observed, and no other."""
    x, _ = case.draw(300)
    seen = np.random.default_rng(5).random(x.shape) > 0.3
    holed = np.where(seen, x, np.nan)
    family, expected, resp = expected_under(case, holed)
    if getattr(family, "shared", False):
        ones, cells = resp @ np.where(seen, x, 0.0).sum(axis=1), resp @ seen.sum(axis=1)
        assert_allclose(family.maximize(expected).probability, ones / cells, rtol=1e-12)
        return
    fitted = family.maximize(expected)
    for j in range(case.n_columns):
        alone = case.bound(x)
        for i in reversed([i for i in range(case.n_columns) if i != j]):
            alone = without_column(alone, i)
        observed = seen[:, j]
        wanted = alone.maximize(resp[:, observed] @ alone.statistics(x[observed][:, [j]]).T)
        for name, value in wanted.parameters.items():
            whole = fitted.parameters[name]
            assert_allclose(whole[j] if isinstance(whole, tuple) else whole[:, j], value, rtol=1e-10)


@law([case for case in FACTORISED if case.n_columns == 1])
def test_a_missing_single_cell_says_nothing(case):
    x, _ = case.draw(10)
    family = case.bound(x)
    x = x.copy()
    x[4] = np.nan
    assert_array_equal(family.statistics(x)[:, 4], 0.0)
    assert_array_equal((family.log_prob(x) + family.log_base_measure(x))[:, 4], 0.0)


@law([c for c in FACTORISED + COMPLETING if c.n_columns > 1 and not c.family.support.is_categorical])
def test_a_column_without_an_observed_cell_is_scored_by_a_model_that_saw_no_data(case):
    x, _ = case.draw(5)
    holed = x.copy()
    holed[:, 1] = np.nan
    wanted = emix.score_samples(case.mixture(x), holed)
    assert np.isfinite(wanted).all()
    model = Mixture(case.family, mixing_proportions=proportions(case.family))
    assert_allclose(emix.score_samples(model, holed), wanted, rtol=1e-9, atol=1e-9)


@law(COMPLETING)
def test_a_row_with_missing_cells_has_the_density_of_its_observed_ones(case):
    x, _ = case.draw(40)
    family, rng = case.bound(x), np.random.default_rng(3)
    holed = np.where(rng.random(x.shape) < 0.4, np.nan, x)
    found = np.exp(family.log_prob(holed))
    for i, row in enumerate(holed):
        seen = ~np.isnan(row)
        for k in range(family.n_components):
            if isinstance(family, StudentT):
                own = (family.mean[k, seen], family.scale[k][np.ix_(seen, seen)], family.degrees_of_freedom[k])
                density = stats.multivariate_t
            else:
                own = (family.mean[k, seen], family.covariance[k][np.ix_(seen, seen)])
                density = stats.multivariate_normal
            wanted = density(*own).pdf(row[seen]) if seen.any() else 1.0
            assert_allclose(found[k, i], wanted, rtol=1e-9)


@law(ALL_OR_NOTHING)
def test_a_missing_part_makes_the_row_say_nothing(case):
    x, _ = case.draw(12)
    family = case.bound(x)
    for j in range(case.n_columns):
        holed = x.copy()
        holed[4, j] = np.nan
        T = family.statistics(holed)
        assert_array_equal(T[:, 4], 0.0)
        assert_array_equal(np.delete(T, 4, axis=1), np.delete(family.statistics(x), 4, axis=1))
        assert_array_equal((family.log_prob(holed) + family.log_base_measure(holed))[:, 4], 0.0)


def rows_that_say_nothing(case: Case, x: np.ndarray) -> list[np.ndarray]:
    """Rows of which nothing is observed: all cells missing, or of a group that stands or falls together any one."""
    if not case.family.support.missing_is_joint:
        return [np.full(case.n_columns, np.nan)]
    rows = [np.where(np.arange(case.n_columns) == j, np.nan, x[0]) for j in range(case.n_columns)]
    return [*rows, np.full(case.n_columns, np.nan)]


@law(FACTORISED + ALL_OR_NOTHING + COMPLETING)
def test_a_row_with_nothing_observed_counts_for_nothing_in_the_e_step(case):
    x, _ = case.draw(60)
    model = case.mixture(x)
    wanted = emix.e_step(model, x)
    for row in rows_that_say_nothing(case, x):
        found = emix.e_step(model, np.vstack([x, row, row]))
        assert_allclose(found.expected_statistics, wanted.expected_statistics, rtol=1e-11, atol=1e-11)
        assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=1e-11)
        assert_allclose(found.responsibilities[-1], model.mixing_proportions, rtol=1e-12)
        assert_allclose(emix.score_samples(model, np.vstack([x, row]))[-1], 0.0, atol=1e-12)


@law(FACTORISED + ALL_OR_NOTHING + COMPLETING)
def test_a_row_with_nothing_observed_counts_for_nothing_in_a_fit(case):
    x, _ = case.draw(60)
    start = Mixture(case.family, mixing_proportions=proportions(case.family))
    options = {"start": start, "stop": "iterations", "max_iter": 3}
    wanted = emix.fit(start, x, **options)
    for row in rows_that_say_nothing(case, x):
        found = emix.fit(start, np.vstack([x, row, row]), **options)
        assert found.total_weight == wanted.total_weight == 60.0
        assert_allclose(found.log_likelihood, wanted.log_likelihood, rtol=1e-11)
        assert_allclose(found.model.mixing_proportions, wanted.model.mixing_proportions, rtol=1e-11)
        assert_same_parameters(found.model.family, wanted.model.family, rtol=1e-10, atol=1e-12)


class WithoutHoles(Normal):
    support = replace(Normal.support, takes_missing=False)


def test_a_missing_cell_is_refused_in_words_by_a_family_that_cannot_take_it():
    x = np.random.default_rng(0).normal(size=(30, 2))
    x[17, 1] = np.nan
    model = Mixture(WithoutHoles([[0.0, 0.0]], [[1.0, 1.0]]))
    with pytest.raises(DataError, match=r"cannot take missing values.*\n.*row 17, column 'x1'"):
        emix.fit(model, x)
    with pytest.raises(DataError, match="cannot take missing values"):
        emix.e_step(model, x)
