"""What must hold of every fit of Gaussian mixtures, whatever structure, rows, weights, holes and units."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import emix
from emix import ConvergenceWarning, DataError, FactorAnalytic, FitError, InvariantError, Mixture, MultivariateNormal
from emix.errors import RootNotFoundError
from emix.families import STRUCTURES

FIXED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a seed of rows does not shrink to anything simpler
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
AFFINE = ("EEE", "VEE", "EVV", "VVV")
"""Any invertible map of the columns leads to the mapped fit."""
BY_COLUMN = ("EEI", "VEI", "EVI", "VVI")
"""Any change of each column's unit, and of its zero."""
TURNING = ("EII", "VII", "EVE", "VVE", "EEV", "VEV")
"""Any rotation, and a common change of units."""
ALL = [*STRUCTURES, FactorAnalytic(1)]


def test_every_structure_has_its_group():
    assert {*AFFINE, *BY_COLUMN, *TURNING} == set(STRUCTURES)


def named(structure) -> str:
    return structure if isinstance(structure, str) else structure.name


def least_columns(structure, least: int = 2) -> int:
    """Two columns cannot tell a common factor."""
    return 3 if isinstance(structure, FactorAnalytic) else least


def attempt(structure, K: int, x: np.ndarray, ended: Counter | None = None, **options) -> emix.FitResult | None:
    """A fit; None where every start degenerated or the data cannot be, which is said in words.

    An invariant or a solver that fails is a FitError too, and an error of the test.
    """
    ended = Counter() if ended is None else ended
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = emix.fit(Mixture(MultivariateNormal(structure=structure), K), x, **options)
    except (InvariantError, RootNotFoundError):
        raise
    except (DataError, FitError) as error:
        ended[type(error).__name__] += 1
        return None
    ended["fit"] += 1
    return result


def assert_seldom_refused(ended: Counter) -> None:
    """Data are drawn so that a fit is nearly always possible; else the laws would say nothing."""
    assert ended["fit"] > 0.75 * ended.total(), ended


def covariances_in_units(result: emix.FitResult, unit: np.ndarray) -> np.ndarray:
    return np.asarray(result.model.family.covariance / np.outer(unit, unit))


# -- numbers -----------------------------------------------------------------------------------------------------------


GROUPS = {"affine": AFFINE, "by column": BY_COLUMN, "turning": TURNING, "factors": (FactorAnalytic(1),)}


@st.composite
def problems(draw, structures):
    """A structure, K, rows in groups or not (repeated, rounded, with holes, in any units), and weights."""
    structure = draw(st.sampled_from(structures))
    d = draw(st.integers(least_columns(structure, 1), 4))
    n, K = draw(st.integers(16, 48)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    half = np.eye(d) + draw(st.sampled_from([0.0, 0.5, 2.0])) * rng.normal(size=(d, d))
    x = rng.normal(size=(n, d)) @ half + rng.integers(0, K, size=(n, 1)) * draw(st.sampled_from([0.0, 3.0, 30.0]))
    if draw(st.booleans()):
        x = np.round(x, 1)
    scale = np.full(d, 10.0 ** draw(st.integers(-8, 8)))
    if draw(st.booleans()):
        scale = 10.0 ** np.array(draw(st.lists(st.floats(-8, 8), min_size=d, max_size=d)))
    x = (x + draw(st.sampled_from([0.0, 0.0, -30.0, 1e4]))) * scale
    if draw(st.booleans()):
        x[rng.random(x.shape) < draw(st.sampled_from([0.05, 0.25]))] = np.nan
    weight = rng.choice([0.0, 0.5, 1.0, 2.5], size=n, p=[0.05, 0.25, 0.45, 0.25]) if draw(st.booleans()) else None
    return structure, K, x, weight


@pytest.mark.parametrize("group", GROUPS)
def test_fits_are_finite_and_never_fall(group):
    """350 fits of each group."""
    ended: Counter = Counter()

    @settings(FIXED, max_examples=350)
    @given(
        problems(GROUPS[group]), st.sampled_from(["k-means++", "random", "ward"]), st.booleans(), st.integers(0, 100)
    )
    def law(problem, start, is_plain, seed):
        structure, K, x, weight = problem
        options = {"stop": "iterations", "max_iter": 15} if is_plain else {"max_iter": 30}
        result = attempt(
            structure, K, x, ended, sample_weight=weight, start=start, n_init=2, random_state=seed, **options
        )
        if result is None:
            return
        family = result.model.family
        assert np.isfinite(result.log_likelihood)
        assert np.isfinite(family.mean).all()
        assert np.isfinite(family.covariance).all()
        assert_allclose(result.model.mixing_proportions.sum(), 1.0, rtol=1e-12)
        assert (result.model.mixing_proportions >= 0).all()
        deviation = np.sqrt(np.diagonal(family.covariance, axis1=1, axis2=2))
        np.linalg.cholesky(family.covariance / (deviation[:, :, None] * deviation[:, None, :]))
        assert (family.covariance == family.covariance.transpose(0, 2, 1)).all()
        low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        if not np.isnan(x).any():  # a mean of rows lies among them
            slack = 1e-9 * (high - low) + 1e-12 * np.abs(low)
            assert ((family.mean >= low - slack) & (family.mean <= high + slack)).all()
        for before, after in pairwise(result.history):
            noise = max(1e-12 * (abs(after.log_likelihood) + result.total_weight), 2 * after.noise)
            assert after.log_likelihood >= before.log_likelihood - noise
        scores = emix.score_samples(result.model, x)
        assert not np.isnan(scores).any()
        counted = np.ones(len(x)) if weight is None else weight
        total = counted[counted > 0] @ scores[counted > 0]
        assert_allclose(total, result.log_likelihood, rtol=1e-9, atol=1e-8 * result.total_weight)

    law()
    assert_seldom_refused(ended)


@settings(FIXED, max_examples=150)
@given(st.sampled_from(ALL), st.integers(1, 3), st.integers(2, 3), st.integers(0, 2**32), st.sampled_from([0.0, 1e4]))
def test_single_precision_never_yields_a_negative_variance(structure, K, d, seed, shift):
    """Rows whose last digits are gone: at 1e4 + unit spread a float32 keeps three decimals."""
    rng, d = np.random.default_rng(seed), max(d, least_columns(structure))
    x = (rng.normal(size=(40, d)) + 3.0 * rng.integers(0, K, size=(40, 1)) + shift).astype(np.float32)
    result = attempt(structure, K, x, max_iter=15, stop="iterations", n_init=1, random_state=0)
    if result is not None:
        wide = attempt(structure, K, x.astype(np.float64), max_iter=15, stop="iterations", n_init=1, random_state=0)
        assert result.model.family.covariance.dtype == np.float64
        assert (np.linalg.eigvalsh(result.model.family.covariance) > 0).all()
        assert wide is not None
        assert_allclose(result.log_likelihood, wide.log_likelihood, rtol=1e-12)


# -- equivariance ------------------------------------------------------------------------------------------------------


@st.composite
def maps(draw):
    """A structure, rows in K groups with labels, and a map x A + b under which fits are mapped."""
    structure = draw(st.sampled_from(ALL))
    K, d = draw(st.integers(1, 3)), draw(st.integers(least_columns(structure), 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = 24 * K
    labels = np.arange(n) % K
    half = np.eye(d) + 0.4 * rng.normal(size=(K, d, d))
    centre = draw(st.sampled_from([1.0, 3.0])) * rng.normal(size=(K, d))
    x = np.einsum("nij,nj->ni", half[labels], rng.normal(size=(n, d))) + centre[labels]
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    common, each = 10.0 ** draw(st.floats(-6, 6)), np.exp(rng.uniform(-1, 1, size=d))
    kind = draw(st.sampled_from(["units", "own"]))
    if kind == "units":  # of all structures
        A = common * np.eye(d)
    elif structure in AFFINE:
        A = common * (turn * each) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    elif structure in TURNING:
        A = common * turn
    else:
        A = np.diag(10.0 ** rng.uniform(-6, 6, size=d))
    if np.count_nonzero(A) == d and draw(st.booleans()):  # columns stay apart: cells may be missing
        x[rng.random(x.shape) < 0.1] = np.nan
    return structure, K, x, labels, A, rng.normal(size=d) * draw(st.sampled_from([0.0, 100.0]))


def test_fits_are_equivariant():
    """300 pairs of fits: x -> x A + b takes n log |A| off the log-likelihood and maps the parameters, nothing else."""
    ended: Counter = Counter()

    @settings(FIXED, max_examples=300)
    @given(maps())
    def law(drawn):
        structure, K, x, labels, A, b = drawn
        mapped = np.where(np.isnan(x), np.nan, np.nan_to_num(x) @ A)
        unit = np.nanstd(mapped, axis=0)
        mapped = mapped + b * unit
        options = {"start": labels, "stop": "iterations", "max_iter": 15}
        one, other = (attempt(structure, K, rows, ended, **options) for rows in (x, mapped))
        if one is None or other is None:
            return
        if np.isnan(x).any():
            loss = (~np.isnan(x)).sum(axis=0) @ np.log(np.diag(A))
        else:
            loss = len(x) * np.linalg.slogdet(A)[1]
        assert_allclose(other.log_likelihood + loss, one.log_likelihood, rtol=0, atol=1e-6)
        assert_allclose(other.model.mixing_proportions, one.model.mixing_proportions, rtol=1e-6)
        mean, covariance = one.model.family.mean @ A + b * unit, A.T @ one.model.family.covariance @ A
        assert_allclose(other.model.family.mean / unit, mean / unit, rtol=0, atol=1e-6)
        found = covariances_in_units(other, unit)
        assert_allclose(found, covariance / np.outer(unit, unit), rtol=1e-6, atol=1e-6)

    law()
    assert_seldom_refused(ended)


# -- rows --------------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """A structure, K, rows in groups with labels and perhaps holes."""
    structure = draw(st.sampled_from(ALL))
    K, d = draw(st.integers(1, 3)), draw(st.integers(least_columns(structure), 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = np.arange(20 * K) % K
    x = rng.normal(size=(20 * K, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d)))
    x += draw(st.sampled_from([1.0, 3.0])) * rng.normal(size=(K, d))[labels]
    if draw(st.booleans()):
        x[rng.random(x.shape) < 0.15] = np.nan
    return structure, K, x, labels, rng


def assert_same(one: emix.FitResult, other: emix.FitResult, unit: np.ndarray) -> None:
    assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-9)
    assert_allclose(other.model.mixing_proportions, one.model.mixing_proportions, rtol=1e-9, atol=1e-9)
    assert_allclose(other.model.family.mean / unit, one.model.family.mean / unit, rtol=1e-9, atol=1e-9)
    assert_allclose(covariances_in_units(other, unit), covariances_in_units(one, unit), rtol=1e-8, atol=1e-9)


def test_repeated_rows_are_weights():
    """150 pairs of fits."""
    ended: Counter = Counter()

    @settings(FIXED, max_examples=150)
    @given(tables())
    def law(table):
        structure, K, x, labels, rng = table
        times = rng.integers(0, 4, size=len(x))
        options = {"stop": "iterations", "max_iter": 12}
        one = attempt(structure, K, x, ended, start=labels, sample_weight=times.astype(float), **options)
        other = attempt(structure, K, np.repeat(x, times, axis=0), ended, start=np.repeat(labels, times), **options)
        assert (one is None) == (other is None)
        if one is not None:
            assert_same(one, other, np.nanstd(x, axis=0))

    law()
    assert_seldom_refused(ended)


def test_the_order_of_rows_does_not_matter():
    """150 pairs of fits, from the same responsibilities."""
    ended: Counter = Counter()

    @settings(FIXED, max_examples=150)
    @given(tables())
    def law(table):
        structure, K, x, labels, rng = table
        order = rng.permutation(len(x))
        options = {"stop": "iterations", "max_iter": 12}
        one = attempt(structure, K, x, ended, start=labels, **options)
        other = attempt(structure, K, x[order], ended, start=labels[order], **options)
        assert (one is None) == (other is None)
        if one is not None:
            assert_same(one, other, np.nanstd(x, axis=0))

    law()
    assert_seldom_refused(ended)


# -- rows that leave no spread -----------------------------------------------------------------------------------------

AXIS_ALIGNED = ("EII", "VII", "EEI", "VEI", "EVI", "VVI")


def spreadless() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    two = rng.normal(size=(40, 2)) + 4.0 * (np.arange(40) % 2)[:, None]
    return {
        "two rows repeated": np.repeat([[0.0, 1.0, 2.0], [3.0, 1.5, 0.0]], 10, axis=0),
        "three rows repeated": np.repeat([[0.0, 1.0, 2.0], [3.0, 1.5, 0.0], [5.0, 4.0, 7.0]], 10, axis=0),
        "fewer rows than columns": rng.normal(size=(3, 5)),
        "collinear columns": np.column_stack([two, two.sum(axis=1)]),
        "identical columns": np.column_stack([two, two[:, 0]]),
    }


def ending(structure, K: int, x: np.ndarray) -> str:
    """'fit' where it is sound, 'degenerate' where it is said that a component collapsed; anything else is an error."""
    try:
        result = emix.fit(Mixture(MultivariateNormal(structure=structure), K), x, n_init=4, random_state=0)
    except (InvariantError, RootNotFoundError):
        raise
    except FitError as error:
        return "degenerate" if "degenerate component" in str(error) else str(error)
    assert result.converged
    assert np.isfinite(result.log_likelihood)
    assert (np.linalg.eigvalsh(result.model.family.covariance) > 0).all()
    return "fit"


@pytest.mark.parametrize("structure", ALL, ids=named)
def test_a_constant_column_is_named(structure):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(40, 2)), np.full(40, 3.0)])
    with pytest.raises(DataError, match="Column 'x2' has the same value, 3, in every row"):
        emix.fit(Mixture(MultivariateNormal(structure=structure), 2), x)


@pytest.mark.parametrize("table", spreadless())
@pytest.mark.parametrize("structure", ALL, ids=named)
def test_one_component_without_spread_in_some_direction(structure, table):
    """Variances along the columns are all that axis-aligned structures need; a factor model keeps its least uniqueness,
    unless the columns leave it none; all others are degenerate."""
    found = ending(structure, 1, spreadless()[table])
    if isinstance(structure, FactorAnalytic):
        assert found in ("fit", "degenerate")
    else:
        assert found == ("fit" if structure in AXIS_ALIGNED else "degenerate")


@pytest.mark.parametrize("table", spreadless())
@pytest.mark.parametrize("structure", ALL, ids=named)
def test_two_components_without_spread_in_some_direction(structure, table):
    """Where rows are few it depends on the start whether a component keeps a spread; the words are the same."""
    found = ending(structure, 2, spreadless()[table])
    if isinstance(structure, FactorAnalytic) or table in ("three rows repeated", "fewer rows than columns"):
        assert found in ("fit", "degenerate")
    elif table == "two rows repeated":
        assert found == "degenerate"
    else:
        assert found == ("fit" if structure in AXIS_ALIGNED else "degenerate")


@pytest.mark.parametrize("exponent", [0, 2, 4, 6, 8])
@pytest.mark.parametrize("structure", ["EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"])
def test_one_ellipsoid_is_the_covariance_of_the_rows_in_any_units(structure, exponent):
    """With one component all structures without fixed axes are the same model."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    unit = np.array([1.0, 10.0**exponent, 10.0**-exponent])
    result = emix.fit(Mixture(MultivariateNormal(structure=structure), 1), x * unit)
    covariance = np.cov(x.T, bias=True)
    assert_allclose(covariances_in_units(result, unit)[0], covariance, rtol=0, atol=1e-6)
    wanted = multivariate_normal(x.mean(axis=0), covariance).logpdf(x).sum()
    assert_allclose(result.log_likelihood, wanted, rtol=0, atol=1e-6)
