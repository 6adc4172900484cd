"""The contract of a family, continued: moments of cells, missing cells filled in, columns in the profile."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, law
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import Binomial, Categorical, CensoredExponential, CensoredWeibull, Columns, Mixture, Multinomial, VonMises
from emix.fitting.profile import column_profiles

MOMENTS = [
    case
    for case in CASES
    if case.n_columns == 1
    and not isinstance(case.family, emix.VonMises | emix.StudentT | emix.Bernoulli | emix.Categorical)
    and case.id != "scipy-t-held"  # a quadrature does not reach its tails either
]


@law(MOMENTS)
def test_means_and_variances_of_cells_are_those_of_the_density(case):
    x, _ = case.draw(50)
    mean, variance = case.bound(x).cell_moments()
    for k in range(len(mean)):
        if case.family.support.is_whole:
            at = np.arange(0.0, 3000 if case.family.name != "binomial" else 11)
            mass = case.density(case.family, at[:, None], k)
            first, second = mass @ at, mass @ (at - mean[k, 0]) ** 2
        else:
            spread = np.sqrt(variance[k, 0])
            support = case.family.support
            # panels of a standard deviation: the width that a quadrature rule resolves
            low, high = max(support.lower, mean[k, 0] - 40 * spread), min(support.upper, mean[k, 0] + 400 * spread)
            edges = np.unique(np.clip(mean[k, 0] + spread * np.r_[-40:41:0.5, 50:401:10], low, high))

            def moment(power, k=k, edges=edges, case=case, centre=mean[k, 0]):
                nodes, weights = np.polynomial.legendre.leggauss(24)
                middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
                at = (middle[:, None] + half[:, None] * nodes).ravel()
                density = case.density(case.family, at[:, None], k)
                return (half[:, None] * weights).ravel() @ (density * (at - centre) ** power)

            first, second = mean[k, 0] + moment(1), moment(2)
        assert_allclose([mean[k, 0], variance[k, 0]], [first, second], rtol=2e-4)


# -- missing cells -----------------------------------------------------------------------------------------------------

N_DRAWS = 4_000
FILLED = [case for case in CASES if not isinstance(case.family, Categorical | Multinomial)]


@law(FILLED)
def test_a_missing_cell_is_filled_with_the_mean_of_its_draws(case):
    x, _ = case.draw(50)
    family, rng = case.bound(x), np.random.default_rng(2)
    is_open = isinstance(family, CensoredExponential | CensoredWeibull)  # a time is missing, and what ended it
    for j in range(1 if is_open or case.given is not None else case.n_columns):
        holed = x[:1].copy()
        holed[0, slice(None) if is_open else j] = np.nan
        means = family.conditional_means(holed)
        for k in range(family.n_components):
            rows = np.repeat(holed, N_DRAWS, axis=0)
            drawn = family.draw_missing(rows, np.full(N_DRAWS, k), rng)
            assert_array_equal(drawn[:, ~np.isnan(holed[0])], rows[:, ~np.isnan(holed[0])])
            assert_array_equal(means[k, 0, ~np.isnan(holed[0])], holed[0, ~np.isnan(holed[0])])
            cells, mean = drawn[:, j], means[k, 0, j]
            if isinstance(family, VonMises):
                turn = 2 * np.pi / (360.0 if family.unit == "degrees" else 2 * np.pi)
                cells, mean = np.sin((cells - mean) * turn), 0.0
            assert abs(cells.mean() - mean) <= 6 * cells.std() / np.sqrt(N_DRAWS)


def test_the_mean_of_an_angle_is_on_the_circle():
    model = emix.Mixture(VonMises([350.0, 20.0], [50.0, 50.0], unit="degrees"))
    assert_allclose(emix.impute(model, [np.nan, 40.0]), [[5.0], [40.0]], rtol=1e-12)


def test_what_only_unknown_totals_tell_stays_missing_and_is_named():
    counts = Columns(
        {"heads": Binomial("tosses", [0.25]), ("a", "b"): Multinomial([[0.5, 0.5]]), "z": emix.Poisson([3.0])}
    )
    nan = np.nan
    data = {"heads": [1.0, nan, nan], "tosses": [4.0, 8.0, nan], "a": [1.0, nan, 2.0], "b": [2.0] * 3, "z": [nan, 1, 2]}
    wanted = [[1, 4, 1, 2, 3], [2, 8, nan, 2, 1], [nan, nan, 2, 2, 2]]
    with pytest.warns(emix.EmixWarning, match="cells of 'heads', 'tosses', 'a' stay missing"):
        found = emix.impute(Mixture(counts), data)
    assert_array_equal(found, wanted)
    with pytest.warns(emix.EmixWarning, match="stay missing"):
        drawn = emix.impute(Mixture(counts), data, draws=3, random_state=0)
    assert_array_equal(np.isnan(drawn), np.isnan([wanted] * 3))
    assert set(drawn[:, 1, 0]) <= set(range(9))


def test_a_duration_is_filled_until_the_event_and_a_time_of_censoring_is_not():
    nan = np.nan
    model = Mixture(CensoredExponential([0.25], event="died"))
    data = {"died": [1, nan, 0, nan], "weeks": [nan, nan, nan, 3.0]}
    with pytest.warns(emix.EmixWarning, match="cells of 'died', 'weeks' stay missing"):
        assert_array_equal(emix.impute(model, data), [[1, 4], [1, 4], [0, nan], [nan, 3]])


def test_a_column_without_a_mean_blocks_the_table_only_where_it_has_holes():
    data = {"x": [0.0, 1.0, 3.0, 2.0], "n": [1, 2, 0, 3]}
    model = emix.fit(
        Mixture(Columns({"x": emix.ScipyDistribution("cauchy"), "n": emix.Geometric(first=0)}), 1), data
    ).model
    assert_allclose(emix.impute(model, {"x": [5.0], "n": [np.nan]}), [[5.0, 1.5]], rtol=1e-12)
    with pytest.raises(emix.ModelError, match=r"'x' has missing cells.*'scipy\(cauchy\)'.*\n.*draws=1"):
        emix.impute(model, {"x": [np.nan], "n": [2]})


# -- profiles ----------------------------------------------------------------------------------------------------------


@law(CASES)
def test_every_column_has_its_place_in_the_profile(case):
    x, _ = case.draw(50)
    found = column_profiles(case.mixture(x))
    family = case.family
    is_one = isinstance(family, Multinomial | CensoredExponential | CensoredWeibull) or getattr(family, "shared", False)
    assert len(found) == (1 if is_one or case.given is not None else case.n_columns)
    for one in found:
        assert 0 <= one.apart <= 1
        assert np.isfinite(one.whole).all()
        assert np.isfinite(one.components).all()
        assert np.isfinite(one.differences).all()


def test_the_profile_names_the_durations_and_not_their_events():
    data = {"died": [1, 1, 0, 1], "weeks": [2.0, 3.0, 4.0, 9.0]}
    (one,) = column_profiles(emix.fit(Mixture(CensoredExponential(event="died"), 1), data).model)
    assert one.column == "weeks"
