"""Covariance structures: published M-steps, and the laws that each of them obeys."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_near
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import FactorAnalysis

import emix
from emix import Mixture, MultivariateNormal
from emix.errors import ModelError, RootNotFoundError
from emix.families.structures import (
    ALIASES,
    STRUCTURES,
    FactorAnalytic,
    common_loadings,
    orientation,
    scaling,
    structure,
    uniquenesses,
)

FACTORS = [
    FactorAnalytic(1),
    FactorAnalytic(2),
    FactorAnalytic(1, frozenset({"loadings"})),
    FactorAnalytic(2, frozenset({"uniquenesses"})),
    FactorAnalytic(2, frozenset({"loadings", "uniquenesses"})),
]
EVERY = [*STRUCTURES.values(), *FACTORS]
ORDER = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
AXIS_ALIGNED = {"EII", "VII", "EEI", "VEI", "EVI", "VVI"}
by_name = pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
of_fourteen = pytest.mark.parametrize("one", STRUCTURES.values(), ids=STRUCTURES.keys())


def criterion(C, W, count):
    """sum_k n_k log |C_k| + trace(C_k^-1 W_k), which an M-step minimises."""
    log_det = np.linalg.slogdet(C)[1]
    return float(count @ log_det + np.einsum("kii->", np.linalg.solve(C, W)))


def problem(seed, K, d):
    """Scatter of K groups with correlated columns, and counts that need not be whole."""
    rng = np.random.default_rng(seed)
    count = rng.uniform(d + 10, 120, K)
    mixing = np.eye(d) + 0.6 * rng.normal(size=(K, d, d))
    rows = [rng.normal(size=(int(n), d)) @ A for n, A in zip(count, mixing, strict=True)]
    return np.stack([x.T @ x for x in rows]), count


problems = st.builds(problem, st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5))


def factor_problem(seed, K, d):
    """Scatter of groups with two factors, so that maxima seldom lie at the bound of a uniqueness."""
    rng = np.random.default_rng(seed)
    count = rng.uniform(150, 400, K)
    scatter = []
    for n in count.astype(int):
        signs = rng.choice([-1.0, 1.0], (2, d))
        x = rng.normal(size=(n, 2)) @ (signs * rng.uniform(0.5, 1.2, (2, d))) + rng.normal(size=(n, d))
        x *= rng.uniform(0.8, 1.5, d)
        scatter.append(x.T @ x)
    return np.stack(scatter), count


wide_problems = st.builds(factor_problem, st.integers(0, 10_000), st.integers(1, 3), st.integers(6, 7))
few = settings(max_examples=25, deadline=None)


def draw_for(one, data):
    return data.draw(wide_problems if isinstance(one, FactorAnalytic) else problems)


# -- published ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def iris(published):
    columns = published("iris.csv")
    species = np.unique(columns.pop("Species"), return_inverse=True)[1]
    x = np.stack(list(columns.values()), axis=1)
    parts = [x[species == k] for k in range(3)]
    return np.stack([(part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) for part in parts]), np.full(3, 50.0)


def complete_log_likelihood(C, W, count):
    n, d = count.sum(), W.shape[1]
    return -0.5 * criterion(C, W, count) - 0.5 * n * d * np.log(2 * np.pi) + count @ np.log(count / n)


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "VVE"])
def test_mclust_mstep_iris(reference, iris, name):
    """One M-step of mclust 6.0.0 from the species."""
    expected, tolerance = reference.case("mclust_mstep_iris")
    found = STRUCTURES[name].covariances(*iris)
    sigma = np.array(reference.output("mclust_mstep.json")["iris"]["models"][name]["sigma"])
    assert_allclose(found, sigma, rtol=tolerance["sigma_rel"], atol=1e-12)
    assert_near(complete_log_likelihood(found, *iris), expected["complete_loglik"][name], tolerance["complete_loglik"])


def test_common_principal_components_of_flury_1984(reference, iris):
    """The criterion of Flury (1984) on the irises; mclust's own VVE stops short of it."""
    expected, tolerance = reference.case("vve_mstep_common_principal_components")
    found = complete_log_likelihood(STRUCTURES["VVE"].covariances(*iris), *iris)
    assert_near(found, expected["complete_loglik"], tolerance["complete_loglik"])
    assert found > expected["mclust_value"] + 0.4


@of_fourteen
def test_free_parameters_are_those_of_mclust(reference, one):
    for case, K, d in (("mclust_me_iris", 3, 4), ("mclust_me_faithful", 2, 2)):
        df = reference.case(case)[0]["models"][one.name]["df"]
        assert one.n_free(K, d) == df - (K - 1) - K * d


@pytest.mark.parametrize(("d", "q", "seed"), [(5, 1, 0), (6, 2, 1)])
def test_factors_are_those_of_scikit_learn(d, q, seed):
    """One component; scikit-learn's EM stops a little short of the maximum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2_000, q)) @ (rng.uniform(0.5, 1.5, (q, d)) * rng.choice([-1.0, 1.0], (q, d)))
    x += rng.normal(size=x.shape) * rng.uniform(0.4, 1.2, d)
    x -= x.mean(axis=0)
    theirs = FactorAnalysis(q, tol=1e-8, max_iter=10_000, svd_method="lapack").fit(x)
    W, count = (x.T @ x)[None], np.array([2_000.0])
    ours = FactorAnalytic(q).covariances(W, count)
    assert_allclose(ours[0], theirs.get_covariance(), rtol=2e-3, atol=2e-4)
    gain = criterion(theirs.get_covariance()[None], W, count) - criterion(ours, W, count)
    assert 0 <= gain < 1e-4


# -- laws --------------------------------------------------------------------------------------------------------------


def logs_of_spectrum(C):
    """Log volumes (K,) and log shapes (K, d), decreasing."""
    logs = np.log(np.linalg.eigvalsh(C)[:, ::-1])
    return logs.mean(axis=1), logs - logs.mean(axis=1, keepdims=True)


@of_fourteen
@given(problem=problems)
@few
def test_letters_mean_what_they_say(one, problem):
    C = one.covariances(*problem)
    assert_array_equal(C, C.transpose(0, 2, 1))
    volumes, shapes = logs_of_spectrum(C)
    volume, shape, axes = one.name
    if volume == "E":
        assert_allclose(volumes, volumes[0], atol=1e-10)
    if shape == "E":
        assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), atol=1e-9)
    if shape == "I":
        assert_allclose(shapes, 0, atol=1e-12)
    if axes == "I":
        assert_array_equal(C * (1 - np.eye(C.shape[1])), 0)
    if axes == "E":  # matrices have the same axes if and only if they commute
        products = C[:, None] @ C[None]
        size = np.linalg.norm(C, axis=(1, 2))
        assert np.abs(products - products.swapaxes(-1, -2)).max() <= 1e-11 * size.max() ** 2


@by_name
@given(data=st.data())
@few
def test_no_neighbour_is_better(one, data):
    W, count = draw_for(one, data)
    K, d = W.shape[:2]
    C = one.covariances(W, count)
    least = criterion(C, W, count)
    vector = one.to_vector(C)
    rng = np.random.default_rng(0)
    steps = np.concatenate([np.eye(len(vector)), -np.eye(len(vector)), rng.normal(size=(20, len(vector)))])
    if isinstance(one, FactorAnalytic):  # at the bound of a uniqueness the way down is closed
        n_psi = d if "uniquenesses" in one.tied else K * d
        assume(vector[-n_psi:].min() > np.log(1e-6 * np.diagonal(C, axis1=1, axis2=2).min()))
    for size in (1e-2, 1e-4):
        for step in steps:
            other = criterion(one.from_vector(vector + size * step, K, d), W, count)
            assert other >= least - 1e-11 * count.sum() * d


NESTED = ["EII EEI EEE VVV", "EII VII VEI VVI VVE VVV", "EEI EVI VVI", "EII EEI VEI VEE VEV VVV", "EEE VEE VVV"]
NESTED += ["EEI EEE EVE EVV VVV", "EEE EEV EVV", "EVE VVE VVV", "VEE VVE"]


@pytest.mark.parametrize("chain", NESTED)
@given(problem=problems)
@few
def test_a_freer_structure_fits_better(chain, problem):
    reached = [criterion(STRUCTURES[name].covariances(*problem), *problem) for name in chain.split()]
    assert (np.diff(reached) <= 1e-10 * problem[1].sum() * problem[0].shape[1]).all()


@pytest.mark.parametrize("q", [1, 2])
@given(problem=wide_problems)
@few
def test_factors_lie_between_diagonal_and_free(q, problem):
    bounds = [criterion(STRUCTURES[name].covariances(*problem), *problem) for name in ("VVI", "VVV")]
    own, more = (criterion(FactorAnalytic(one).covariances(*problem), *problem) for one in (q, q + 1))
    tied = [
        criterion(FactorAnalytic(q, frozenset({t})).covariances(*problem), *problem) for t in uniquenesses_or_loadings
    ]
    assert bounds[1] - 1e-6 <= own <= bounds[0] + 1e-6
    assert more <= own + 1e-6
    assert min(tied) >= own - 1e-6


uniquenesses_or_loadings = ("uniquenesses", "loadings")


@pytest.mark.parametrize("one", [one for one in EVERY if one.is_scale_free], ids=lambda one: one.name)
@given(data=st.data(), exponents=st.lists(st.integers(-6, 6), min_size=7, max_size=7))
@few
def test_units_of_the_columns(one, data, exponents):
    """Powers of two, so that only the structure can make a difference."""
    W, count = draw_for(one, data)
    A = 2.0 ** np.array(exponents)[: W.shape[1]]
    expected = one.covariances(W, count) * np.outer(A, A)
    found = one.covariances(W * np.outer(A, A), count)
    size = np.sqrt(np.einsum("kii->ki", expected))
    off = np.abs(found - expected) / (size[:, :, None] * size[:, None, :])
    assert off.max() <= 1e-6


@pytest.mark.parametrize("name", ["EII", "VII", "EVE", "VVE", "EEV", "VEV"])
def test_what_is_not_free_of_scale(name):
    W, count = problem(3, 3, 3)
    A = np.diag([1.0, 30.0, 0.02])
    one = STRUCTURES[name]
    assert not one.is_scale_free
    assert not np.allclose(one.covariances(A @ W @ A, count), A @ one.covariances(W, count) @ A, rtol=1e-3)


@by_name
@given(data=st.data(), exponent=st.sampled_from([-16, -9, 9, 16]))
@few
def test_any_common_scale(one, data, exponent):
    W, count = draw_for(one, data)
    found, expected = one.covariances(W * 10.0**exponent, count), one.covariances(W, count)
    size = np.abs(expected).max()
    if one.name in ("EVE", "VVE"):  # rounding may lead to another of several orientations that are as good
        assert_allclose(
            criterion(found / 10.0**exponent, W, count), criterion(expected, W, count), rtol=0, atol=1e-9 * count.sum()
        )
    else:
        assert np.abs(found / 10.0**exponent - expected).max() <= 1e-6 * size


@by_name
@given(data=st.data())
@few
def test_vector_round_trip(one, data):
    W, count = draw_for(one, data)
    K, d = W.shape[:2]
    C = one.covariances(W, count)
    vector = one.to_vector(C)
    assert vector.shape == (one.n_free(K, d),)
    size = np.sqrt(np.einsum("kii->ki", C))
    off = np.abs(one.from_vector(vector, K, d) - C) / (size[:, :, None] * size[:, None, :])
    assert off.max() <= 1e-8


@by_name
@given(data=st.data(), seed=st.integers(0, 1_000))
@few
def test_previous_never_makes_it_worse(one, data, seed):
    W, count = draw_for(one, data)
    K, d = W.shape[:2]
    first = one.to_vector(one.covariances(W, count))
    moved = first + 0.3 * np.random.default_rng(seed).normal(size=len(first))
    previous = one.from_vector(moved, K, d)
    found = one.covariances(W, count, previous)
    slack = 1e-10 * count.sum() * d
    assert criterion(found, W, count) <= criterion(previous, W, count) + slack
    if one.name not in ("EVE", "VVE") and not isinstance(one, FactorAnalytic):  # the others have one optimum
        assert_allclose(found, one.covariances(W, count), rtol=1e-7, atol=1e-9 * np.abs(found).max())
    again = one.covariances(W, count, found)
    assert criterion(again, W, count) <= criterion(found, W, count) + slack


@of_fourteen
@given(seed=st.integers(0, 10_000), d=st.integers(1, 6))
@few
def test_one_component(one, seed, d):
    W, count = problem(seed, 1, d)
    expected = W / count[0]
    if one.name[2] == "I":
        expected = expected * np.eye(d)
    if one.name[1] == "I":
        expected = np.trace(expected[0]) / d * np.eye(d)[None]
    assert_allclose(one.covariances(W, count), expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("name", sorted(AXIS_ALIGNED))
def test_only_diagonals_matter(name):
    W, count = problem(1, 3, 4)
    one = STRUCTURES[name]
    assert not one.has_products
    assert_array_equal(one.covariances(W * np.eye(4), count), one.covariances(W, count))
    assert all(other.has_products for other in EVERY if other.name not in AXIS_ALIGNED)


# -- the edges ---------------------------------------------------------------------------------------------------------


@by_name
@pytest.mark.parametrize("kind", ["empty component", "all empty", "flat column", "rank one", "far apart"])
def test_singular_scatter_gives_no_nan(one, kind):
    W, count = problem(5, 3, 4)
    if kind == "empty component":
        W[1] = 0
    elif kind == "all empty":
        W[:] = 0
    elif kind == "flat column":
        W[:, 2] = W[:, :, 2] = 0
    elif kind == "rank one":
        W[1] = np.outer(W[1, 0], W[1, 0]) / W[1, 0, 0]
    else:
        W[1] *= 1e-20
    found = one.covariances(W, count)
    assert np.isfinite(found).all()
    assert (np.linalg.eigvalsh(found) >= -1e-12 * np.abs(found).max()).all()
    assert np.isfinite(one.covariances(W, count, STRUCTURES["VVV"].covariances(*problem(5, 3, 4)))).all()
    if kind == "all empty":
        assert_array_equal(found, 0)


def test_many_columns_take_conjugate_gradients():
    """Beyond the size up to which the curvature is written out: the optimum is stationary all the same."""
    d = orientation.DENSE + 4
    rng = np.random.default_rng(0)
    D = np.linalg.qr(rng.normal(size=(d, d)))[0]
    C = D @ (np.exp(rng.normal(size=(3, d)))[:, :, None] * D.T)
    count = np.array([40.0, 60.0, 90.0])
    W = np.stack([n * A for n, A in zip(count, C, strict=True)])
    assert_allclose(STRUCTURES["VVE"].covariances(W, count), C, atol=1e-10)
    noisy = np.stack([(x := rng.multivariate_normal(np.zeros(d), A, 200)).T @ x for A in C])
    for name in ("EVE", "VVE"):
        found = STRUCTURES[name].covariances(noisy, count)
        vector, least = STRUCTURES[name].to_vector(found), criterion(found, noisy, count)
        for _ in range(50):
            other = STRUCTURES[name].from_vector(vector + 1e-3 * rng.normal(size=len(vector)), 3, d)
            assert criterion(other, noisy, count) > least


def test_written_and_matrix_free_curvature_agree(monkeypatch):
    W, count = problem(8, 3, 5)
    start = np.stack([np.eye(5)] * 3) * np.arange(1.0, 6.0)
    for name in ("EVE", "VVE"):
        written = STRUCTURES[name].covariances(W, count, start)
        monkeypatch.setattr(orientation, "DENSE", 0)
        free = STRUCTURES[name].covariances(W, count, STRUCTURES[name].covariances(W, count, written))
        monkeypatch.undo()
        assert_allclose(free, written, atol=1e-9 * np.abs(written).max())


def test_a_heywood_case_ends_at_the_bound():
    """A correlation above what one factor can share drives a uniqueness to 1e-8 of its variance."""
    R = np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.6], [0.8, 0.6, 1.0]])
    C = FactorAnalytic(1).covariances(100 * R[None], np.array([100.0]))
    assert_allclose(np.diagonal(C[0]), 1, atol=1e-6)
    assert_allclose(C[0, 0, 1:], [0.9, 0.8], atol=1e-6)
    assert_allclose(C[0, 1, 2], 0.9 * 0.8, atol=1e-6)  # the factor is the first column itself
    assert_allclose(np.exp(FactorAnalytic(1).to_vector(C)[3:]), [1e-8, 0.19, 0.36], rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "one"),
    [
        (scaling, STRUCTURES["VEI"]),
        (scaling, STRUCTURES["VEE"]),
        (orientation, STRUCTURES["VVE"]),
        (uniquenesses, FactorAnalytic(1)),
        (common_loadings, FactorAnalytic(1, frozenset({"loadings"}))),
    ],
    ids=["VEI", "VEE", "VVE", "factors", "common loadings"],
)
def test_an_unconverged_covariance_is_never_returned(monkeypatch, module, one):
    monkeypatch.setattr(module, "MAX_STEPS", 1)
    with pytest.raises(RootNotFoundError, match="did not converge in 1 "):
        one.covariances(*problem(0, 3, 5))


def test_names():
    assert list(STRUCTURES) == ORDER
    assert structure("vev") is STRUCTURES["VEV"]
    assert structure(STRUCTURES["EEE"]) is STRUCTURES["EEE"]
    assert {alias: structure(alias).name for alias in ALIASES} == ALIASES
    with pytest.raises(ModelError, match=r"unknown covariance structure 'XYZ'.\n  The choices are: 'EII', 'VII'"):
        structure("XYZ")


def test_one_column_has_one_or_k_variances():
    W, count = problem(2, 3, 1)
    assert_allclose(structure("E").covariances(W, count), W.sum() / count.sum())
    assert_allclose(structure("V").covariances(W, count), W / count[:, None, None])
    for one in STRUCTURES.values():
        assert_allclose(one.covariances(W, count), structure(one.name[0]).covariances(W, count), rtol=1e-12)
        assert one.n_free(3, 1) == (1 if one.name[0] == "E" else 3)


def test_factors_that_cannot_be():
    with pytest.raises(ModelError, match="n_factors needs a whole number >= 1"):
        FactorAnalytic(0)
    with pytest.raises(ModelError, match="unknown part to tie 'means'"):
        FactorAnalytic(1, frozenset({"means"}))
    with pytest.raises(ModelError, match="3 columns can tell at most 1 common factor:"):
        FactorAnalytic(3).covariances(*problem(0, 2, 3))
    x = np.random.default_rng(0).normal(size=(60, 5))
    for d, most in ((2, 0), (3, 1), (4, 1), (5, 2)):  # Ledermann (1937), Psychometrika 2, 85-93
        with pytest.raises(ModelError, match=f"{d} columns can tell {f'at most {most}' if most else 'no'} common"):
            emix.fit(Mixture(MultivariateNormal(structure=FactorAnalytic(most + 1)), 1), x[:, :d])
        if most:
            fitted = emix.fit(Mixture(MultivariateNormal(structure=FactorAnalytic(most)), 1), x[:, :d]).model
            assert fitted.family.n_free_parameters <= d + d * (d + 1) // 2
    with pytest.raises(ModelError, match="off by"):
        FactorAnalytic(1).to_vector(STRUCTURES["VVV"].covariances(*problem(0, 2, 6)))


@pytest.mark.parametrize(("K", "d", "q"), [(2, 6, 1), (3, 7, 2)])
def test_free_parameters_of_factors(K, d, q):
    """McLachlan & Peel (2000), section 8.3: rotations of q factors take away q (q - 1) / 2."""
    loading = d * q - q * (q - 1) // 2
    for tied, expected in (
        ((), K * (loading + d)),
        (("loadings",), loading + K * d),
        (("uniquenesses",), K * loading + d),
        (("loadings", "uniquenesses"), loading + d),
    ):
        assert FactorAnalytic(q, frozenset(tied)).n_free(K, d) == expected


@pytest.mark.parametrize(("seed", "K"), [(1048, 2), (2428, 3)])
def test_volumes_of_nearly_singular_scatter_converge(seed, K):
    """The last gain, 1e-10, lies below the rounding of a determinant of condition 1e7: the line search never saw it."""
    W, count = problem(seed, K, 3)
    C = STRUCTURES["VEE"].covariances(W, count)
    again = STRUCTURES["VEE"].covariances(W, count, C)
    assert_allclose(again, C, rtol=1e-7)
    assert criterion(C, W, count) <= criterion(STRUCTURES["EEE"].covariances(W, count), W, count)
