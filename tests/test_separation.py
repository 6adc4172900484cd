"""Distances between components and merged clusters, against SciPy's integrals and every possible pair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

import emix
from emix import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Columns,
    Exponential,
    Gamma,
    Geometric,
    InverseGaussian,
    LogNormal,
    Mixture,
    ModelError,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    merge_components,
    separation,
)

THREE = MultivariateNormal(
    [[0.0, 1.0], [3.0, -1.0], [0.5, 0.5]],
    [[[1.0, 0.6], [0.6, 2.0]], [[0.5, -0.2], [-0.2, 0.3]], [[2.0, 0.0], [0.0, 0.1]]],
)
MEASURES = ("bhattacharyya", "kullback-leibler")
REFERENCE = Path(__file__).parent / "reference"


# -- distances ---------------------------------------------------------------------------------------------------------


def integral(one, other, measure, low, high):
    if measure == "bhattacharyya":
        return -np.log(integrate.quad(lambda x: np.sqrt(one.pdf(x) * other.pdf(x)), low, high, epsabs=1e-13)[0])
    return integrate.quad(
        lambda x: (one.pdf(x) - other.pdf(x)) * (one.logpdf(x) - other.logpdf(x)), low, high, epsabs=1e-12
    )[0]


@pytest.mark.parametrize("measure", MEASURES)
def test_distance_of_one_column_is_the_integral(measure):
    mean, variance = [0.0, 1.5, -2.0], [1.0, 0.3, 2.5]
    found = separation(Mixture(Normal(mean, variance)), measure)
    lognormal = separation(Mixture(LogNormal(mean, variance)), measure)
    for i in range(3):
        for j in range(3):
            parts = [stats.norm(mean[k], np.sqrt(variance[k])) for k in (i, j)]
            assert_allclose(found[i, j], integral(*parts, measure, -15, 15), rtol=1e-8, atol=1e-10)
    assert_allclose(lognormal, found, rtol=1e-14)


def test_distances_of_two_columns_are_the_integrals():
    parts = [stats.multivariate_normal(m, C) for m, C in zip(THREE.mean, THREE.covariance, strict=True)]
    axis = np.linspace(-14, 14, 1401)
    cells = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    pdf, log_pdf = np.stack([one.pdf(cells) for one in parts]), np.stack([one.logpdf(cells) for one in parts])
    area = (axis[1] - axis[0]) ** 2  # smooth and 0 at the border: equal weights integrate to rounding
    overlap, divergence = (separation(Mixture(THREE), measure) for measure in MEASURES)
    for i in range(3):
        for j in range(3):
            wanted = -np.log(np.sqrt(pdf[i] * pdf[j]).sum() * area)
            assert_allclose(overlap[i, j], wanted, rtol=1e-9, atol=1e-9)
            wanted = ((pdf[i] - pdf[j]) * (log_pdf[i] - log_pdf[j])).sum() * area
            assert_allclose(divergence[i, j], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_distances_are_symmetric_and_do_not_depend_on_units(measure):
    found = separation(Mixture(THREE), measure)
    assert_array_equal(found, found.T)
    assert_array_equal(np.diag(found), 0.0)
    assert (found[~np.eye(3, dtype=bool)] > 0).all()
    A = np.array([[1e3, 0.0], [2.0, 1e-3]])
    turned = MultivariateNormal(THREE.mean @ A.T + 7, A @ THREE.covariance @ A.T)
    assert_allclose(separation(Mixture(turned), measure), found, rtol=1e-7)
    independent = Normal([[0.0, 1.0], [3.0, -1.0]], [[1.0, 2.0], [0.5, 0.3]])
    diagonal = MultivariateNormal(independent.mean, independent.variance[:, :, None] * np.eye(2))
    assert_allclose(separation(Mixture(independent), measure), separation(Mixture(diagonal), measure), rtol=1e-14)


CONTINUOUS = [
    (Gamma([2.0, 5.0], [1.0, 3.0]), [stats.gamma(2.0), stats.gamma(5.0, scale=1 / 3)]),
    (Exponential([0.5, 2.0]), [stats.expon(scale=2.0), stats.expon(scale=0.5)]),
    (InverseGaussian([1.0, 2.0], [3.0, 4.0]), [stats.invgauss(1 / 3, scale=3), stats.invgauss(0.5, scale=4)]),
    (Beta([2.0, 3.0], [4.0, 2.5]), [stats.beta(2.0, 4.0), stats.beta(3.0, 2.5)]),
]
DISCRETE = [
    (Poisson([2.0, 7.0]), [stats.poisson(2.0), stats.poisson(7.0)]),
    (Geometric([0.3, 0.6]), [stats.geom(0.3), stats.geom(0.6)]),
    (Binomial(9, [0.3, 0.6]), [stats.binom(9, 0.3), stats.binom(9, 0.6)]),
    (Bernoulli([0.3, 0.6]), [stats.bernoulli(0.3), stats.bernoulli(0.6)]),
]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("family", "parts"), CONTINUOUS, ids=lambda one: getattr(one, "name", None))
def test_distance_of_other_numbers_is_the_integral(family, parts, measure):
    found = separation(Mixture(family), measure)
    high = 1 - 1e-13 if family.name == "beta" else 50.0
    assert_allclose(found[0, 1], integral(*parts, measure, 1e-13, high), rtol=1e-6)
    assert_array_equal(np.diagonal(found), 0)
    assert found[0, 1] == found[1, 0]


@pytest.mark.parametrize(("family", "parts"), DISCRETE, ids=lambda one: getattr(one, "name", None))
def test_distance_of_counts_is_the_sum(family, parts):
    x = np.arange(200) if family.name not in ("bernoulli", "binomial") else np.arange(10)
    x = x[parts[0].pmf(x) * parts[1].pmf(x) > 0]
    f, g = (one.pmf(x) for one in parts)
    assert_allclose(separation(Mixture(family))[0, 1], -np.log(np.sqrt(f * g).sum()), rtol=1e-11)
    wanted = ((f - g) * (np.log(f) - np.log(g))).sum()
    assert_allclose(separation(Mixture(family), "kullback-leibler")[0, 1], wanted, rtol=1e-9)


def test_distances_add_over_columns_and_parts():
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    families = {
        "a": Poisson([2.0, 7.0]),
        "b": Categorical(p),
        ("c", "d"): MultivariateNormal(THREE.mean[:2], THREE.covariance[:2]),
    }
    for measure in MEASURES:
        wanted = sum(separation(Mixture(family), measure) for family in families.values())
        assert_allclose(separation(Mixture(Columns(families)), measure), wanted, rtol=1e-13)
    overlap, exchange = (separation(Mixture(Categorical(p)), measure)[0, 1] for measure in MEASURES)
    assert_allclose(overlap, -np.log(np.sqrt(p[0] * p[1]).sum()), rtol=1e-13)
    assert_allclose(exchange, stats.entropy(p[0], p[1]) + stats.entropy(p[1], p[0]), rtol=1e-13)


def test_what_is_impossible_under_one_component_is_infinitely_far():
    certain = Mixture(Categorical([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]))
    assert_array_equal(separation(certain, "kullback-leibler"), np.where(np.eye(3) == 1, 0.0, np.inf))
    overlap = separation(certain)
    assert np.isfinite(overlap[0, 1])
    assert overlap[0, 2] == np.inf
    for family in (Geometric([1.0, 0.5]), Poisson([0.0, 2.0]), Bernoulli([0.0, 0.5])):
        assert separation(Mixture(family), "kullback-leibler")[0, 1] == np.inf
        assert np.isfinite(separation(Mixture(family))).all()


def test_half_the_overlap_bounds_the_share_that_is_misplaced():
    model = Mixture(Normal([0.0, 2.0], [1.0, 1.0]))
    misplaced = stats.norm.cdf(-1.0)
    assert misplaced < np.exp(-separation(model)[0, 1]) / 2 < 2.5 * misplaced


def test_what_has_no_distance_is_refused():
    with pytest.raises(ModelError, match="components that are normal, log-normal"):
        separation(Mixture(StudentT([[1.0], [2.0]], [[[1.0]], [[1.0]]], [4.0, 5.0])))
    with pytest.raises(ModelError, match="bhattacharyya"):
        separation(Mixture(THREE), "euclid")
    with pytest.raises(ModelError, match="a model with parameters"):
        separation(Mixture(Normal(), 2))


# -- merged clusters ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Two long clusters, each of which takes several round components, and a third far off."""
    rng = np.random.default_rng(4)
    t = rng.uniform(-4, 4, 400)
    arcs = np.column_stack([t, np.where(np.arange(400) < 200, 0.0, 5.0)]) + 0.4 * rng.standard_normal((400, 2))
    return np.vstack([arcs, rng.normal(20.0, 1.0, (50, 2))])


@pytest.fixture(scope="module")
def model(rows) -> Mixture:
    return emix.fit(Mixture(MultivariateNormal(structure="spherical"), 6), rows, random_state=0, n_init=4).model


def entropy(resp: np.ndarray, weight: np.ndarray | float = 1.0) -> float:
    return float((stats.entropy(resp, axis=1) * weight).sum())


def test_each_merge_is_the_one_that_lowers_the_entropy_most(model, rows):
    merging = merge_components(model, rows)
    resp = emix.responsibilities(model, rows)
    assert_array_equal(merging.component_responsibilities, resp)
    assert_allclose(merging.entropies[0], entropy(resp), rtol=1e-10)
    assert len(merging.entropies) == 6
    assert len(merging.merges) == 5
    for n in range(6, 1, -1):
        before = merging.responsibilities(n)
        possible = []
        for i in range(n):
            for j in range(i):
                rest = [k for k in range(n) if k not in (i, j)]
                possible.append(entropy(np.column_stack([before[:, rest], before[:, i] + before[:, j]])))
        assert_allclose(merging.entropies[7 - n], min(possible), rtol=1e-9, atol=1e-9)
        assert_allclose(entropy(merging.responsibilities(n - 1)), min(possible), rtol=1e-9, atol=1e-9)
        assert merging.entropies[7 - n] <= merging.entropies[6 - n] + 1e-9
    assert_allclose(merging.entropies[-1], 0.0, atol=1e-9)


def test_merged_clusters_are_the_true_ones(model, rows):
    labels = merge_components(model, rows).labels(3)
    truth = np.repeat([0, 1, 2], [200, 200, 50])
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (truth, labels), 1)
    assert table.max(axis=1).sum() >= 448
    assert sorted(table.argmax(axis=1)) == [0, 1, 2]
    assert emix.predict(model, rows).max() == 5  # what is merged are clusters: the density keeps its components


def test_groups_and_responsibilities_belong_together(model, rows):
    merging = merge_components(model, rows)
    for n in range(1, 7):
        groups, resp = merging.groups(n), merging.responsibilities(n)
        assert sorted(k for group in groups for k in group) == list(range(6))
        assert [group[0] for group in groups] == sorted(group[0] for group in groups)
        for c, group in enumerate(groups):
            assert_allclose(resp[:, c], merging.component_responsibilities[:, group].sum(axis=1), rtol=1e-14)
        assert_array_equal(merging.labels(n), resp.argmax(axis=1))


def test_merging_can_end_early(model, rows):
    whole, part = merge_components(model, rows), merge_components(model, rows, 4)
    assert part.merges == whole.merges[:2]
    assert_array_equal(part.entropies, whole.entropies[:3])
    with pytest.raises(ModelError, match="from 4 to 6"):
        part.labels(3)


def test_a_row_of_weight_3_counts_three_times(model, rows):
    weight = np.where(np.arange(len(rows)) % 4 == 0, 3.0, 1.0)
    found = merge_components(model, rows, sample_weight=weight)
    wanted = merge_components(model, np.repeat(rows, weight.astype(int), axis=0))
    assert found.merges == wanted.merges
    assert_allclose(found.entropies, wanted.entropies, rtol=1e-10, atol=1e-9)
    assert_allclose(found.entropies[0], entropy(found.component_responsibilities, weight), rtol=1e-10)


@pytest.mark.parametrize("name", ["iris", "faithful"])
def test_components_merge_as_clustcombi_merges_them(published, name):
    """Baudry et al. (2010), as their own implementation in mclust does it for these five components."""
    known = json.loads((REFERENCE / "clustcombi.json").read_text())[name]
    columns = published(f"{name}.csv")
    columns.pop("Species", None)
    x = np.column_stack(list(columns.values()))
    family = MultivariateNormal(known["mean"], known["covariance"], structure=known["structure"])
    merging = merge_components(Mixture(family, mixing_proportions=known["proportions"]), x)
    assert [sorted(map(list, pair)) for pair in merging.merges] == known["merges"]
    assert_allclose(merging.entropies, known["entropies"], rtol=1e-6, atol=1e-6)


def test_merging_is_printed_in_a_line():
    merging = merge_components(Mixture(Poisson([1.0, 1.2, 30.0])), [0, 1, 2, 30, 29])
    assert repr(merging).startswith("Merging(3 components of 5 rows; merged 0 + 1, 0&1 + 2; entropies ")
    assert "\n" not in repr(merging)


def test_components_of_any_family_merge():
    counts = np.random.default_rng(0).poisson(np.repeat([1.0, 1.2, 30.0], 50))
    merging = merge_components(Mixture(Poisson([1.0, 1.2, 30.0])), counts)
    assert merging.merges[0] == ((0,), (1,))
    assert merging.groups(2) == ((0, 1), (2,))


@pytest.mark.parametrize("n", [0, 7, 2.0, True, "2"])
def test_impossible_numbers_of_clusters_are_refused(model, rows, n):
    with pytest.raises(ModelError, match="n_clusters"):
        merge_components(model, rows, n)
    with pytest.raises(ModelError, match="n_clusters"):
        merge_components(model, rows).groups(n)
