"""Sparse rows give the fits of the dense rows, and are refused with the cell named."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix.data import source, sparse
from emix.errors import DataError
from emix.kernels import dispatch

K = 3


def counts(n=900, d=40, *, binary=False, seed=0):
    """Rows of three groups; a row without anything, and a column without anything."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.3, 1.0, (K, d))
    z = rng.integers(0, K, n)
    x = rng.poisson(rate[z]).astype(float)
    x[7], x[:, 5] = 0, 0
    return (np.minimum(x, 1) if binary else x), z


FAMILIES = {
    "bernoulli": (emix.Bernoulli, "probability"),
    "poisson": (emix.Poisson, "rate"),
    "multinomial": (emix.Multinomial, "probabilities"),
}


@pytest.fixture(params=FAMILIES)
def case(request):
    x, z = counts(binary=request.param == "bernoulli")
    rng = np.random.default_rng(1)
    start = rng.dirichlet(np.ones(K), len(x))
    return FAMILIES[request.param][0](), FAMILIES[request.param][1], x, z, start


@pytest.fixture(params=["compiled", "numpy"])
def path(request, monkeypatch):
    """Both paths: the compiled kernel, and SciPy's products."""
    monkeypatch.setattr(dispatch, "COMPILE_FROM", 0 if request.param == "compiled" else 10**12)


def history(family, x, **arguments):
    result = emix.fit(emix.Mixture(family, K), x, stop="iterations", max_iter=25, **arguments)
    return np.array([record.log_likelihood for record in result.history]), result


def assert_same(family, name, x, csr, **arguments):
    dense, of_dense = history(family, x, **arguments)
    found, of_sparse = history(family, csr, **arguments)
    assert_allclose(found, dense, rtol=1e-10, atol=0)
    assert_allclose(getattr(of_sparse.model.family, name), getattr(of_dense.model.family, name), rtol=1e-7, atol=1e-10)
    assert_allclose(of_sparse.expected_counts, of_dense.expected_counts, rtol=1e-9)
    assert of_sparse.log_map == pytest.approx(of_dense.log_map, rel=1e-8)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("knowledge", ["nothing", "labels", "q", "weights", "labels and weights"])
def test_history_is_that_of_the_dense_rows(case, knowledge):
    family, name, x, z, start = case
    rng = np.random.default_rng(2)
    arguments = {}
    if "labels" in knowledge:
        arguments["labels"] = np.where(rng.random(len(x)) < 0.2, z, -1)
    if knowledge == "q":
        arguments["labels"] = rng.integers(1, 4, (len(x), K)).astype(float)
    if "weights" in knowledge:
        arguments["sample_weight"] = rng.integers(0, 4, len(x)) / 2
    assert_same(family, name, x, scipy.sparse.csr_matrix(x), start=start, **arguments)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.int32])
def test_history_does_not_depend_on_the_type(case, dtype):
    family, name, x, _, start = case
    assert_same(family, name, x, scipy.sparse.csr_array(x.astype(dtype)), start=start)


@pytest.mark.parametrize("form", ["csc", "coo", "lil", "dok", "bsr", "csr with stored zeros", "csr with repeats"])
def test_other_formats_are_read(case, form):
    family, name, x, _, start = case
    if form == "csr with stored zeros":
        csr = scipy.sparse.csr_array((x + 1).astype(float))
        csr.data -= 1
    elif form == "csr with repeats":  # each cell in two parts, of which the second is all but one
        one = scipy.sparse.csr_array(x)
        ones = scipy.sparse.csr_array(np.minimum(x, 1))
        data = np.stack([ones.data, one.data - ones.data], axis=1).ravel()
        csr = scipy.sparse.csr_array((data, np.repeat(one.indices, 2), 2 * one.indptr), shape=x.shape)
    else:
        csr = scipy.sparse.csr_array(x).asformat(form)
    n_stored = csr.nnz
    assert_same(family, name, x, csr, start=start)
    assert csr.nnz == n_stored  # the user's own is left as it was


@pytest.mark.usefixtures("path")
def test_default_starts_of_small_data_are_those_of_the_dense_rows(case):
    family, _, x, _, _ = case
    found = emix.fit(emix.Mixture(family, K), scipy.sparse.csr_array(x), random_state=0)
    dense = emix.fit(emix.Mixture(family, K), x, random_state=0)
    assert found.log_likelihood == pytest.approx(dense.log_likelihood, rel=1e-10)
    assert found.converged


def test_threads_change_no_bit(case, monkeypatch):
    family, _, x, _, start = case
    monkeypatch.setattr(dispatch, "COMPILE_FROM", 0)
    monkeypatch.setattr(source, "CHUNK_ROWS", 100)
    csr = scipy.sparse.csr_array(x)
    results = [history(family, csr, start=start, n_jobs=n) for n in (1, 2, 3)]
    for found, result in results[1:]:
        assert_array_equal(found, results[0][0])
        for name, value in result.model.parameters.items():
            assert_array_equal(value, results[0][1].model.parameters[name])


def test_several_chunks_add_to_the_same(case, monkeypatch):
    family, name, x, z, start = case
    monkeypatch.setattr(source, "CHUNK_ROWS", 100)
    table = emix.data.table.read_table(scipy.sparse.csr_array(x), takes_sparse=True)
    assert len(sparse.make_sparse_source(table, family, n_components=K).chunks) > 3
    assert_same(family, name, x, scipy.sparse.csr_array(x), start=start, labels=np.where(z == 1, 1, -1))


def test_use_of_a_model(case):
    family, _, x, z, start = case
    labels = np.where(np.arange(len(x)) % 5 == 0, z, -1)
    model = history(family, x, start=start)[1].model
    csr = scipy.sparse.csr_array(x)
    assert_allclose(emix.score_samples(model, csr), emix.score_samples(model, x), rtol=1e-10, atol=1e-10)
    for known in (None, labels):
        found = emix.responsibilities(model, csr, labels=known)
        assert_allclose(found, emix.responsibilities(model, x, labels=known), rtol=1e-8, atol=1e-12)
        assert_array_equal(emix.predict(model, csr, labels=known), found.argmax(axis=1))


@pytest.mark.parametrize("name", ["poisson", "multinomial", "bernoulli"])
def test_densities_are_those_of_scipy(name):
    x, _ = counts(n=50, d=6, binary=name == "bernoulli")
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, (2, 6))
    p /= p.sum(axis=1, keepdims=True) if name == "multinomial" else 1
    if name == "multinomial":
        log_prob = np.stack([scipy.stats.multinomial(x.sum(axis=1).astype(int), q).logpmf(x) for q in p])
    else:
        pmf = scipy.stats.poisson.logpmf if name == "poisson" else scipy.stats.bernoulli.logpmf
        log_prob = pmf(x[None], p[:, None]).sum(axis=2)
    expected = scipy.special.logsumexp(log_prob + np.log([[0.3], [0.7]]), axis=0)
    model = emix.Mixture(FAMILIES[name][0](p), mixing_proportions=[0.3, 0.7])
    assert_allclose(emix.score_samples(model, scipy.sparse.csr_array(x)), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("path")
def test_certain_items_lose_no_digit():
    p = np.array([[1.0, 0.0, 0.3, 1.0], [0.5, 0.2, 0.0, 1.0]])
    rows = np.array([[1.0, 0, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 1]])
    model = emix.Mixture(emix.Bernoulli(p))
    csr = scipy.sparse.csr_array(rows)
    expected = [0.5 * 0.7 + 0.5 * 0.5 * 0.8, 0.5 * 0.3, 0.5 * 0.5 * 0.2, 0.5 * 0.5 * 0.2]
    assert_allclose(emix.score_samples(model, csr), np.log(expected), rtol=1e-14)
    result = emix.fit(model, csr, stop="iterations", max_iter=3)
    assert result.history[0].log_likelihood == pytest.approx(np.log(expected).sum(), rel=1e-14)
    dense = emix.fit(model, rows, stop="iterations", max_iter=3)
    assert result.log_likelihood == pytest.approx(dense.log_likelihood, rel=1e-12)
    with pytest.raises(DataError, match="Row 1 has probability 0"):
        emix.fit(model, scipy.sparse.csr_array([[1.0, 0, 0, 1], [1, 0, 0, 0]]))


def test_large_data_start_from_a_projection_of_a_sample(monkeypatch):
    monkeypatch.setattr(sparse, "AS_DENSE", 0)
    monkeypatch.setattr(importlib.import_module("emix.fitting.rows"), "SAMPLE_ROWS", 300)
    x, z = counts(n=1500, d=60)
    x[1000:, 20] += np.arange(500) == 3  # a column that no row of a sample need have
    csr, labels = scipy.sparse.csr_array(x), np.where(np.arange(len(x)) < 60, z, -1)
    model = emix.Mixture(emix.Multinomial(), K)
    for arguments in ({"n_init": 1}, {"n_init": 4}, {"n_init": 1, "start": "ward"}):
        result = emix.fit(model, csr, labels=labels, random_state=0, **arguments)
        again = emix.fit(model, csr, labels=labels, random_state=0, **arguments)
        assert result.converged
        assert result.log_likelihood == again.log_likelihood
        assert (emix.predict(result.model, csr) == z).mean() > 0.95


def test_the_order_of_rows_does_not_choose_the_sample(monkeypatch):
    monkeypatch.setattr(sparse, "AS_DENSE", 0)
    x, _ = counts()
    order = np.random.default_rng(4).permutation(len(x))

    def sample(rows):
        table = emix.data.table.read_table(scipy.sparse.csr_array(rows), takes_sparse=True)
        return sparse.make_sparse_source(table, emix.Poisson(), n_components=K).sample(100, 5)

    one, other = sample(x), sample(x[order])
    assert_array_equal(np.sort(order[other.rows]), one.rows)


def test_estimator():
    x, z = counts()
    csr = scipy.sparse.csr_matrix(x)
    labels = np.where(np.arange(len(x)) < 100, z, -1)
    found = emix.MixtureModel(K, family="multinomial", random_state=0).fit(csr, labels=labels)
    dense = emix.MixtureModel(K, family="multinomial", random_state=0).fit(x, labels=labels)
    assert found.log_likelihood_ == pytest.approx(dense.log_likelihood_, rel=1e-10)
    assert_array_equal(found.predict(csr), dense.predict(x))
    assert_allclose(found.predict_proba(csr), dense.predict_proba(x), atol=1e-6)
    assert found.score(csr) == pytest.approx(dense.score(x), rel=1e-9)
    assert found.bic(csr) == pytest.approx(dense.bic(x), rel=1e-9)
    assert found.n_features_in_ == x.shape[1]
    with pytest.raises(ValueError, match="features"):
        found.predict(csr[:, :10])


@pytest.mark.parametrize(
    ("value", "family", "said"),
    [
        (np.nan, emix.Multinomial(), "Found nan in row 2, column 'x3'"),
        (-1.0, emix.Poisson(), "Found -1 in row 2, column 'x3'"),
        (0.5, emix.Poisson(), "Found 0.5 in row 2, column 'x3'"),
        (np.inf, emix.Multinomial(), "Found inf in row 2, column 'x3'"),
        (2.0, emix.Bernoulli(), "Found 2 in row 2, column 'x3'"),
    ],
)
def test_bad_cells_are_named(value, family, said):
    x, _ = counts(binary=True)
    csr = scipy.sparse.lil_array(x)
    csr[2, 3] = value
    with pytest.raises(DataError, match=said):
        emix.fit(emix.Mixture(family, 2), csr.tocsr())


def test_other_families_and_shapes_are_refused():
    csr = scipy.sparse.csr_array(np.eye(4))
    for family in (emix.Normal(), emix.Bernoulli(shared=True), emix.MultivariateNormal()):
        with pytest.raises(DataError, match="sparse matrix, which the family"):
            emix.fit(emix.Mixture(family, 2), csr)
    with pytest.raises(DataError, match="at least one row"):
        emix.fit(emix.Mixture(emix.Poisson(), 2), csr[:0])
    with pytest.raises(DataError, match="distinct"):
        emix.fit(emix.Mixture(emix.Poisson(), 5), csr)
    with pytest.raises(DataError, match="complex"):
        emix.fit(emix.Mixture(emix.Poisson(), 2), csr * 1j)
    with pytest.raises(DataError, match="sparse"):  # weights and labels are dense
        emix.fit(emix.Mixture(emix.Poisson(), 2), np.eye(4), labels=csr)
    model = emix.fit(emix.Mixture(emix.Poisson(), 2), csr, random_state=0).model
    with pytest.raises(DataError, match="4 columns"):
        emix.predict(model, csr[:, :3])


def test_chunks_are_few_where_the_sums_are_large():
    rng = np.random.default_rng(0)
    csr = scipy.sparse.random_array((40_000, 5_000), density=0.002, rng=rng, format="csr")
    csr.data = np.ceil(3 * csr.data)
    table = emix.data.table.read_table(csr, takes_sparse=True)
    chunks = sparse.make_sparse_source(table, emix.Multinomial(), n_components=3).chunks
    n_bytes = csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes
    assert len(chunks) * 3 * 5_001 * 8 <= n_bytes / source.SUMS_SHARE
    assert sum(len(chunk.x) for chunk in chunks) == 40_000
    assert all(np.shares_memory(chunk.x.data, csr.data) for chunk in chunks)
