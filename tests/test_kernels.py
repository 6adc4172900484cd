"""The compiled kernel against its NumPy twin, for every family, with everything that a chunk may carry."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Geometric,
    LogNormal,
    Mixture,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
)
from emix.block import Schema
from emix.data.knowledge import Knowledge
from emix.data.source import InMemorySource
from emix.data.summary import summarize
from emix.families import FAMILIES
from emix.kernels import compiled, dispatch, reference, sparse

FAITHFUL = Path(__file__).parent.parent / "examples" / "old_faithful.csv"


def some(rng, K, d, low, high):
    return rng.uniform(low, high, (K, d))


def simplex(rng, K, c):
    p = rng.uniform(0.1, 1.0, (K, c))
    return p / p.sum(axis=1, keepdims=True)


def covariances(rng, K, d):
    A = rng.normal(size=(K, d, d))
    return A @ A.transpose(0, 2, 1) + np.eye(d)


CASES = {
    "bernoulli": lambda r, K, d, n: (Bernoulli(some(r, K, d, 0, 1)), r.integers(0, 2, (n, d))),
    "bernoulli, exact 0 and 1": lambda r, K, d, n: (Bernoulli(np.eye(K, d) * 0.5), np.zeros((n, d))),
    "bernoulli, shared": lambda r, K, d, n: (Bernoulli(r.random(K), shared=True), r.integers(0, 2, (n, d))),
    "binomial": lambda r, K, d, n: (Binomial(9, r.random(K)), r.integers(0, 10, (n, 1))),
    "binomial, column": lambda r, K, d, n: (Binomial("x1", r.random(K)), np.sort(r.integers(0, 9, (n, 2)), axis=1)),
    "categorical": lambda r, K, d, n: (
        Categorical([simplex(r, K, 3 + j) for j in range(d)]),
        np.stack([r.integers(0, 3 + j, n) for j in range(d)], axis=1),
    ),
    "multinomial": lambda r, K, d, n: (Multinomial(simplex(r, K, d + 1)), r.integers(0, 5, (n, d + 1))),
    "poisson": lambda r, K, d, n: (Poisson(some(r, K, d, 0.1, 9)), r.poisson(3.0, (n, d))),
    "geometric": lambda r, K, d, n: (Geometric(some(r, K, d, 0.1, 0.9)), r.geometric(0.3, (n, d))),
    "exponential": lambda r, K, d, n: (Exponential(some(r, K, d, 0.1, 9)), r.exponential(1.0, (n, d))),
    "gamma": lambda r, K, d, n: (Gamma(some(r, K, d, 0.3, 90), some(r, K, d, 0.1, 9)), r.gamma(3.0, 2.0, (n, d))),
    "normal": lambda r, K, d, n: (Normal(some(r, K, d, -3, 3), some(r, K, d, 0.1, 9)), r.normal(1, 2, (n, d))),
    "lognormal": lambda r, K, d, n: (LogNormal(some(r, K, d, -3, 3), some(r, K, d, 0.1, 9)), r.lognormal(1, 2, (n, d))),
    **{
        f"multivariate_normal, {structure}": lambda r, K, d, n, structure=structure: (
            MultivariateNormal(some(r, K, d, -3, 3), covariances(r, K, d), structure=structure),
            r.normal(1, 2, (n, d)),
        )
        for structure in ("full", "diag")
    },
}


def test_every_family_has_a_case():
    numpy_alone = {  # log-densities that are not linear in the statistics, or statistics that no kernel fills
        *("student_t", "negative_binomial", "truncated_poisson", "zero_inflated_poisson"),
        *("beta", "von_mises", "inverse_gaussian", "censored_exponential", "censored_weibull", "scipy"),
    }
    assert {name.split(",")[0] for name in CASES} == set(FAMILIES) - numpy_alone


def expectations(family, x, weight, knowledge, monkeypatch, K):
    """By the compiled kernel and by its twin."""
    levels = [tuple(range(p.shape[1])) for p in family._by_column()] if isinstance(family, Categorical) else None
    schema = Schema(tuple(f"x{j}" for j in range(x.shape[1])), tuple(levels or (None,) * x.shape[1]))
    summary = summarize(x, weight, with_logs=isinstance(family, Gamma | LogNormal))
    model = Mixture(family).bind(schema, summary)
    source = InMemorySource(x, weight, schema, summary, K, knowledge)
    found = []
    for limit in (0, np.inf):
        monkeypatch.setattr(dispatch, "COMPILE_FROM", limit)
        found.append(source.prepared_for(model.family).sum_over_chunks(model.expect))
    return found


@pytest.mark.parametrize("name", CASES)
def test_kernel_and_twin_agree(name, monkeypatch):
    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(
        st.integers(0, 2**32),
        st.integers(1, 9),
        st.integers(1, 4),
        st.sampled_from([1, 2, 31, 32, 33, 600, 1500]),
        st.booleans(),
        st.sampled_from(["nothing", "labels", "q"]),
        st.sampled_from([np.float64, np.float32]),
        st.sampled_from("CF"),
    )
    def check(seed, K, d, n, has_holes, known, dtype, order):
        rng = np.random.default_rng(seed)
        family, x = CASES[name](rng, K, d, n)
        x = np.array(x, dtype=dtype, order=order)
        if has_holes and family.support.takes_missing and n > 1:
            x[rng.random(x.shape) < 0.3] = np.nan
            x[0] = CASES[name](rng, K, d, n)[1][0]
        weight = rng.uniform(0.1, 3.0, n)
        knowledge = {
            "nothing": None,
            "labels": Knowledge(labels=rng.integers(-1, K, n)),
            "q": Knowledge(q=rng.uniform(0.1, 2.0, (n, K))),
        }[known]
        if "exact" in name:
            knowledge = None
        fast, plain = expectations(family, x, weight, knowledge, monkeypatch, K)
        scale = np.abs(plain.statistics).max()
        assert_allclose(fast.statistics, plain.statistics, rtol=1e-10, atol=1e-10 * scale)
        for field in ("log_likelihood", "weight", "magnitude", "log_map"):
            assert_allclose(getattr(fast, field), getattr(plain, field), rtol=1e-10, atol=1e-10 * n)

    check()


def test_sparse_rows_are_those_of_the_dense_kernel():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.3, (500, 40)).astype(float)
    K, weight = 5, rng.uniform(0.5, 2.0, 500)
    C = np.log(simplex(rng, K, 41))
    rows = scipy.sparse.csr_array(x)
    Ct = np.zeros((41, 8))
    Ct[:, :K] = C.T
    St, sums, bad = sparse.expect_sparse(
        rows.data, rows.indices, rows.indptr, weight, dispatch.NO_LABELS, dispatch.NO_KNOWLEDGE, Ct, K, 64
    )
    resp, evidence = reference.responsibilities(C @ np.hstack([np.ones((500, 1)), x]).T)
    assert bad == -1
    assert_allclose(St[:, :K].T, (resp * weight) @ np.hstack([np.ones((500, 1)), x]), rtol=1e-12)
    assert_allclose(sums[0], weight @ evidence, rtol=1e-12)


def test_an_impossible_row_is_named_by_the_kernel_too(monkeypatch):
    monkeypatch.setattr(dispatch, "COMPILE_FROM", 0)
    x = np.zeros(40_000)
    x[33_333] = 2
    with pytest.raises(emix.DataError, match="Row 33333 has"):
        emix.fit(Mixture(Poisson([0.0, 0.0])), x)


def test_exp_and_log_are_exact_to_the_last_digits():
    @njit(error_model="numpy", fastmath=compiled.EXACT)
    def apply(a, e, g, h):
        for i in range(len(a)):
            e[i] = compiled._exp(-a[i])
            g[i] = compiled._log(a[i])
            h[i] = compiled._excess_minus_log(a[i] - 1.0)

    a = np.concatenate([np.logspace(-12, np.log10(708), 40_001), [709.0, 1e5, 1e30]])
    e, g, h = np.empty_like(a), np.empty_like(a), np.empty_like(a)
    apply(a, e, g, h)
    assert_allclose(e[a <= 708], np.exp(-a[a <= 708]), rtol=5e-16)
    assert_array_equal(e[a > 708], 0.0)
    assert_allclose(g, np.log(a), rtol=4e-16, atol=4e-16)
    assert_allclose(h, reference.excess_minus_log(a - 1.0), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_bits_for_any_number_of_threads_and_nearly_the_same_for_any_layout(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60_000, 3)).astype(dtype) + np.repeat([0, 3, 6], 20_000)[:, None].astype(dtype)
    start = Mixture(MultivariateNormal(x[[0, 25_000, 50_000]].astype(float), [np.eye(3)] * 3))
    options = {"stop": "iterations", "max_iter": 8}
    one = emix.fit(start, x, n_jobs=1, **options)
    two = emix.fit(start, x, n_jobs=2, **options)
    other = emix.fit(start, np.asfortranarray(x), n_jobs=2, **options)
    history = [record.log_likelihood for record in one.history]
    assert history == [record.log_likelihood for record in two.history]
    assert_array_equal(one.model.family.covariance, two.model.family.covariance)
    assert_allclose([record.log_likelihood for record in other.history], history, rtol=1e-13)


def test_small_data_never_import_the_compiler():
    code = (
        "import sys, emix; emix.fit(emix.Mixture(emix.Normal(), 2), sys.argv[1], random_state=0);"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(FAITHFUL)], check=True)
