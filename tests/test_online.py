"""Online EM: rows seen once; near the batch estimate, reproducible, and nothing learnt from a batch that fails."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import LatentClassAnalysis, MixtureModel, OnlineEM

N = 40_000


def normals(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.35, rng.normal(-1, 1, n), rng.normal(3, 1.3, n))


def learn(online, x, size=500, **known):
    for i in range(0, len(x), size):
        online.update(x[i : i + size], **{name: value[i : i + size] for name, value in known.items()})
    return online


def normal(**how):
    return OnlineEM(emix.Mixture(emix.Normal(), 2), **{"random_state": 0, "n_init": 2, **how})


def vector(model):
    order = np.argsort(model.family.mean)
    parts = (model.mixing_proportions, model.family.mean, np.log(model.family.variance))
    return np.concatenate([part[order] for part in parts])


# -- near the batch estimate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [200, 2_000])
def test_the_estimate_is_within_a_few_standard_errors_of_the_batch_estimate(size):
    """Standard errors from 40 independent data sets of a tenth of the size, batch estimates of all."""
    start = emix.Mixture(emix.Normal([-1.0, 3.0], [1.0, 1.69]), mixing_proportions=[0.35, 0.65])
    small = [vector(emix.fit(start, normals(N // 10, seed)).model) for seed in range(100, 140)]
    error = np.std(small, axis=0) / np.sqrt(10)
    for seed in range(2):
        x = normals(seed=seed)
        want = vector(emix.fit(start, x).model)
        online = learn(normal(), x, size)
        assert online.rows_seen == N
        assert (np.abs(vector(online.model) - want) < 3 * error).all()


def test_exponent_one_without_overlap_is_the_mean_of_all_rows():
    """Where components are certain the statistics do not depend on the parameters, and step 1 / t averages them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=5_000) + 100.0 * (rng.random(5_000) < 0.4)
    online = learn(normal(step_exponent=1.0, average=False, delay=1.0), x, 777)
    sizes = np.bincount((x > 50).astype(int)) / len(x)
    order = np.argsort(online.model.family.mean)
    # the first batch counts as if delay rows more had been seen with it
    assert_allclose(online.model.mixing_proportions[order], sizes, atol=1 / 777)
    assert_allclose(online.model.family.mean[order], [x[x < 50].mean(), x[x > 50].mean()], atol=2e-3)
    steps = [record.step for record in online.history]
    seen = np.cumsum([record.rows for record in online.history])
    assert_allclose(steps[1:], np.diff(seen) / (seen[1:] + 1.0), rtol=1e-12)


def test_a_stream_that_changes_is_followed_without_the_average():
    x = np.concatenate([normals(20_000), normals(20_000, seed=1) + 5.0])
    followed = learn(normal(average=False, step_exponent=0.55), x)
    assert_allclose(sorted(followed.model.family.mean), [4.0, 8.0], atol=0.4)
    scores = [record.log_likelihood / record.weight for record in followed.history]
    assert scores[40] < scores[39] - 1.0  # the first batch after the change was a surprise
    assert scores[-1] > scores[40] + 1.0


def test_weights_and_how_the_stream_is_cut():
    x = normals(4_000)
    online = learn(normal(), x, 400)
    doubled = learn(normal(), x, 400, sample_weight=np.full(len(x), 2.0))
    assert_allclose(vector(doubled.model), vector(online.model), atol=1e-4)  # the first fits end within tol
    assert doubled.weight_seen == 2 * online.weight_seen == 8_000
    assert doubled.rows_seen == 4_000
    with_zeros = normal()
    for i in range(0, len(x), 400):
        batch = np.concatenate([x[i : i + 400], [50.0, np.nan]])
        with_zeros.update(batch, sample_weight=np.append(np.ones(len(batch) - 2), [0.0, 1.0]))
    assert_allclose(vector(with_zeros.model), vector(online.model), rtol=1e-9)
    assert with_zeros.rows_seen == 4_000
    halves = learn(learn(normal(first_rows=400), x[:400], 400), x[400:], 200)
    assert np.abs(vector(halves.model) - vector(online.model)).max() < 0.05  # a standard error


# -- what comes in -----------------------------------------------------------------------------------------------------


def test_it_is_reproducible_and_saves_its_model(tmp_path):
    x = normals(5_000)
    first, second = learn(normal(), x), learn(normal(n_jobs=2), x)
    for name, value in first.model.parameters.items():
        assert_array_equal(value, second.model.parameters[name])
    emix.save(first.model, tmp_path / "model.json")
    assert_array_equal(emix.predict(emix.load(tmp_path / "model.json"), x), emix.predict(first.model, x))


def test_rows_are_gathered_for_the_first_fit():
    x = normals(3_000)
    online = normal(first_rows=1_000)
    online.update(x[:400])
    with pytest.raises(emix.ModelError, match=r"first fit of a stream needs 1,000 rows(.|\n)*Seen so far: 400"):
        _ = online.model
    online.update(x[400:800], sample_weight=np.full(400, 0.5))
    assert online.rows_seen == 800
    assert online.weight_seen == 0
    online.update(x[800:1_000], labels=[-1] * 200)
    weight = np.concatenate([np.ones(400), np.full(400, 0.5), np.ones(200)])
    want = emix.fit(emix.Mixture(emix.Normal(), 2), x[:1_000], sample_weight=weight, n_init=2, random_state=0).model
    assert_allclose(vector(online.model), vector(want), atol=1e-4)
    assert len(online.history) == 1


def test_parameters_are_a_start():
    start = emix.Mixture(emix.Normal([-1.0, 3.0], [1.0, 1.0]))
    online = OnlineEM(start)
    x = normals(2_000)
    online.update(x[:50])
    assert_allclose(vector(online.model), vector(emix.e_step(start, x[:50]).maximize()), rtol=1e-9)
    assert_array_equal(np.argsort(learn(online, x[50:], 1).model.family.mean), [0, 1])  # single rows, too


def table(n, seed=0, cities=("Rome", "Oslo")):
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.4
    own = rng.choice(cities, n).astype(object)
    own[rng.random(n) < 0.1] = None
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(4.0 * z, 1.0)),
            "n": rng.poisson(np.where(z, 6.0, 1.0)),
            "city": np.where(z & (rng.random(n) < 0.9) & (own != None), cities[0], own),  # noqa: E711
        }
    )


FAMILIES = {"x": emix.Normal(), "n": emix.Poisson(), "city": emix.Categorical()}


def test_mixed_tables_with_missing_cells_and_labels_by_name():
    online = OnlineEM(emix.Mixture(emix.Columns(FAMILIES), 2), random_state=0, n_init=2)
    for seed in range(12):
        rows = table(500, seed)
        labels = np.where(rows["n"] > 8, "many", None)
        if seed == 0:
            labels = np.where(rows["n"] == 0, "few", labels)
        online.update(rows, labels=labels)
    assert online.model.component_names == ("few", "many")
    few, many = online.model.family.parameters[next(p for p in online.model.family.parameters if "rate" in p)]
    assert few == pytest.approx(1.0, abs=0.2)
    assert many == pytest.approx(6.0, abs=0.4)
    assert online.rows_seen == 6_000
    with pytest.raises(emix.DataError, match=r"'few', 'many'(.|\n)*Found 'some' in row 1"):
        online.update(rows, labels=[None, "some"] + [None] * 498)


def test_a_category_that_was_not_announced_is_refused_and_nothing_learnt():
    online = OnlineEM(emix.Mixture(emix.Columns(FAMILIES), 2), random_state=0, n_init=1).update(table(400))
    before = online.model
    late = table(50, 1)
    late.loc[7, "city"] = "Cork"
    with pytest.raises(emix.DataError, match=r"Found 'Cork' in row 7(.|\n)*levels="):
        online.update(late)
    assert online.model is before
    assert online.rows_seen == 400
    announced = OnlineEM(
        emix.Mixture(emix.Columns(FAMILIES), 2), levels={"city": ["Oslo", "Rome", "Cork"]}, random_state=0, n_init=1
    )
    announced.update(table(400)).update(late)
    p = announced.model.family.parameters
    cork = next(value for name, value in p.items() if "probabilities" in name)[:, 2]
    assert (cork > 0).all()
    assert cork.max() < 0.1
    for seed in range(2, 8):
        announced.update(table(500, seed, ("Rome", "Cork")))
    assert next(value for name, value in announced.model.family.parameters.items() if "prob" in name)[:, 2].min() > 0.01


def test_what_no_row_had_before_is_learnt():
    """A count above 0 where all were 0 is impossible under the first fit, and not an error."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.poisson(np.where(rng.random(3_000) < 0.5, 1.0, 9.0)), np.zeros(3_000)])
    x[1_000:, 1] = rng.poisson(0.5, 2_000)
    online = learn(OnlineEM(emix.Mixture(emix.Poisson(), 2), random_state=0, n_init=2), x)
    assert 0.2 < online.model.mixing_proportions @ online.model.family.rate[:, 1] < 0.6


def test_gaussians_with_holes_that_come_later_and_sparse_counts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6_000, 3)) + 3.0 * (rng.random(6_000) < 0.5)[:, None]
    holes = np.where((rng.random(x.shape) < 0.2) & (np.arange(6_000) >= 1_000)[:, None], np.nan, x)
    online = learn(OnlineEM(emix.Mixture(emix.MultivariateNormal(), 2), random_state=0, n_init=2), holes, 1_000)
    want = emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), holes, random_state=0, n_init=2).model
    found, right = (np.sort(one.family.mean, axis=0) for one in (online.model, want))
    assert_allclose(found, right, atol=0.1)
    counts = scipy.sparse.csr_array(rng.poisson(np.where(rng.random((900, 1)) < 0.5, 0.2, 3.0), (900, 6)))
    sparse = OnlineEM(emix.Mixture(emix.Poisson(), 2), random_state=0, n_init=2, first_rows=500)
    dense = OnlineEM(emix.Mixture(emix.Poisson(), 2), random_state=0, n_init=2, first_rows=500)
    for i in range(0, 900, 300):
        sparse.update(counts[i : i + 300])
        dense.update(counts[i : i + 300].toarray())
    assert_allclose(np.sort(sparse.model.family.rate, axis=0), np.sort(dense.model.family.rate, axis=0), rtol=1e-3)


def test_a_scan_is_learnt_as_it_is_read():
    x = normals(N)[:, None]
    online = normal().update(emix.scan(x, memory_limit=0))
    assert online.rows_seen == N
    assert_allclose(sorted(online.model.family.mean), [-1.0, 3.0], atol=0.1)
    with pytest.raises(emix.ModelError, match="the name of a column"):
        normal().update(emix.scan(x, memory_limit=0), sample_weight=np.ones(N))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"step_exponent": 0.5}, "step_exponent needs a number above 1/2"),
        ({"step_exponent": 1.1}, "step_exponent needs a number above 1/2"),
        ({"delay": 0.5}, "delay needs a finite number >= 1"),
        ({"first_rows": 0}, "first_rows needs a whole number >= 1"),
        ({"mixture": emix.Mixture(emix.StudentT(), 2)}, "online EM needs a mixture(.|\n)*'student_t'"),
        ({"mixture": emix.Poisson()}, "online EM needs a mixture(.|\n)*Found Poisson"),
    ],
)
def test_arguments_that_cannot_be(how, message):
    with pytest.raises(emix.ModelError, match=message):
        OnlineEM(**{"mixture": emix.Mixture(emix.Normal(), 2), **how})


def test_components_too_far_apart_are_refused():
    rng = np.random.default_rng(0)
    x = rng.permutation(np.concatenate([1e-3 * rng.normal(size=500), 1e6 + rng.normal(size=500)]))
    with pytest.raises(emix.ModelError, match=r"online EM needs(.|\n)*so far apart(.|\n)*algorithm='batch'"):
        normal().update(x)


def test_batches_that_cannot_be():
    online = normal()
    with pytest.raises(emix.ModelError, match="Seen so far: 0"):
        _ = online.statistics
    with pytest.raises(emix.DataError, match="has the same value, 1"):
        online.update([1.0, 1.0])
    with pytest.raises(emix.DataError, match="3 components need at least 3 distinct rows"):
        OnlineEM(emix.Mixture(emix.Normal(), 3)).update([1.0, 2.0])
    online.update(normals(500))
    before = online.model
    for bad, message in [(np.ones((3, 2)), "Found 2 columns"), (["a"], "needs numbers"), ([np.inf], "inf")]:
        with pytest.raises(emix.DataError, match=message):
            online.update(bad)
    online.update([np.nan])
    assert online.model is not None
    assert_array_equal(online.model.family.mean, before.family.mean)
    assert online.rows_seen == 500
    with pytest.raises(emix.ModelError, match="column of categories 'x'"):
        OnlineEM(emix.Mixture(emix.Columns(FAMILIES), 2), levels={"x": ["a"]}).update(table(100))


# -- the estimators ----------------------------------------------------------------------------------------------------


def test_mixture_model_partial_fit():
    x = normals(5_000)[:, None]
    model = MixtureModel(2, family="normal", random_state=0, n_init=2)
    for i in range(0, 5_000, 500):
        assert model.partial_fit(x[i : i + 500]) is model
    online = learn(normal(), x)
    assert_array_equal(model.family_.mean, online.model.family.mean)
    assert model.n_samples_seen_ == 5_000
    assert_array_equal(model.predict(x), emix.predict(online.model, x))
    assert not hasattr(model, "result_")
    with pytest.raises(ValueError, match="2 features"):
        model.partial_fit(np.ones((3, 2)))
    model.fit(x)
    assert not hasattr(model, "online_")
    fitted = model.family_.mean.copy()
    model.partial_fit(x[:1_000])
    assert model.n_samples_seen_ == 1_000
    assert not hasattr(model, "log_likelihood_")
    assert_allclose(model.family_.mean, fitted, atol=0.3)


def test_a_stream_of_several_kinds_of_columns():
    model = MixtureModel(2, random_state=0, n_init=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(4):
            model.partial_fit(table(600, seed)[["x", "city"]])
    assert {one.column for one in model.assumptions_} == {"x", "city"}
    assert model.predict_proba(table(20, 9)[["x", "city"]]).shape == (20, 2)
    with pytest.raises(emix.ModelError, match="'negative_binomial' of 'n'"):
        MixtureModel(2).partial_fit(table(600))


def test_latent_classes_partial_fit():
    rng = np.random.default_rng(0)
    z = rng.random(6_000) < 0.4
    x = (rng.random((6_000, 5)) < np.where(z[:, None], 0.85, 0.2)).astype(int)
    model = LatentClassAnalysis(2, random_state=0, n_init=2)
    levels = {f"x{j}": [0, 1, 2] for j in range(5)}
    for i in range(0, 6_000, 600):
        model.partial_fit(x[i : i + 600], levels=levels if i == 0 else None)
    want = LatentClassAnalysis(2, random_state=0, n_init=2).fit(x)
    assert_allclose(np.sort(model.class_sizes_), np.sort(want.class_sizes_), atol=0.03)
    assert model.item_levels_["x0"] == (0, 1, 2)
    assert_allclose(model.item_response_probabilities_["x0"].sum(axis=1), 1.0)
    with pytest.raises(emix.ModelError, match="the first call of partial_fit"):
        model.partial_fit(x[:5], levels=levels)
    x[0, 0] = 7
    with pytest.raises(emix.DataError, match="Found 7 in row 0"):
        model.partial_fit(x[:5])


def test_a_batch_in_which_nothing_counts_changes_nothing(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 2)) + 4.0 * (np.arange(300) % 2)[:, None]
    online = emix.OnlineEM(emix.Mixture(emix.MultivariateNormal(), 2), random_state=0).update(x)
    before = online.statistics
    online.update(np.full((3, 2), np.nan)).update(x, sample_weight=np.zeros(300))
    assert np.array_equal(online.statistics, before)
    assert online.rows_seen == 300
    columns = {"a": x[:, 0], "b": x[:, 1]}
    pq.write_table(pa.table({**columns, "w": np.ones(300)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.0], "b": [2.0], "w": [0.0]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({**columns, "w": np.ones(300)}), tmp_path / "3.parquet")
    scan = emix.scan(tmp_path, memory_limit=0)
    online = emix.OnlineEM(emix.Mixture(emix.MultivariateNormal(), 2), random_state=0)
    assert online.update(scan, sample_weight="w").rows_seen == 600
    start = emix.Mixture(emix.Poisson([2.0, 9.0]))
    nothing = emix.OnlineEM(start).update(np.full(3, np.nan)).update(np.ones(3), sample_weight=[0, 0, 0])
    assert nothing.rows_seen == 0


@pytest.mark.parametrize("kind", ["batches", "reader", "generator"])
def test_rows_that_can_be_read_once_are_learnt_as_they_come(kind):
    x = np.random.default_rng(0).poisson(np.where(np.arange(3_000) % 3 == 0, 2.0, 9.0))
    table = pa.table({"n": x, "known": np.where(np.arange(3_000) < 50, (x > 5).astype(int), -1)})
    once = emix.OnlineEM(emix.Mixture(emix.Poisson(), 2), random_state=0)
    for batch in table.to_batches(max_chunksize=500):
        once.update(batch, labels="known")
    online = emix.OnlineEM(emix.Mixture(emix.Poisson(), 2), random_state=0)
    sources = {
        "batches": table.to_batches(max_chunksize=500),
        "reader": [table.to_reader(max_chunksize=500)],
        "generator": [iter(table.to_batches(max_chunksize=500))],
    }
    for source in sources[kind]:
        online.update(source, labels="known")
    assert online.rows_seen == once.rows_seen == 3_000
    assert np.array_equal(online.statistics, once.statistics)
