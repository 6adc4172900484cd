"""Incremental EM: climbs its bound block by block, and ends where batch EM ends, by the same promise."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fits import assert_same_bits

import emix
from emix.em import checkpoint as checkpoints
from emix.em import incremental
from emix.em.driver import Run

N = 70_000  # five chunks


def gaussians(n=N, seed=0, gap=1.2):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 3, n)
    return rng.normal(size=(n, 2)) + gap * np.array([[0, 0], [2, 1], [-1, 2]])[z]


START = emix.Mixture(
    emix.MultivariateNormal([[-0.5, -0.5], [2.0, 1.0], [0.0, 2.0]], [np.eye(2) * 2] * 3),
    mixing_proportions=[0.3, 0.3, 0.4],
)


def fit(x, start=START, **how):
    return emix.fit(start, x, **{"algorithm": "incremental", **how})


def mixed(n=N, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    table = {
        "a": rng.normal(2.0 * z, 1.0),
        "n": rng.poisson(np.where(z, 5.0, 2.0)).astype(float),
        "c": (rng.random(n) < np.where(z, 0.7, 0.3)).astype(float),
    }
    for cells in table.values():
        cells[rng.random(n) < 0.1] = np.nan
    families = {"a": emix.Normal(), "n": emix.Poisson(), "c": emix.Categorical()}
    return emix.Mixture(emix.Columns(families), 2), table


@pytest.fixture(scope="module")
def rows():
    return gaussians()


@pytest.fixture(scope="module")
def batch(rows):
    return emix.fit(START, rows, tol=1e-8)


# -- where it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_blocks", [2, 3, 5])
@pytest.mark.parametrize("accelerate", [True, False])
def test_it_ends_at_the_optimum_of_batch_em(rows, batch, n_blocks, accelerate):
    result = fit(rows, n_blocks=n_blocks, accelerate=accelerate)
    assert result.converged
    last = result.history[-1]
    assert not last.is_bound
    assert last.log_likelihood == result.log_likelihood
    assert result.log_likelihood >= batch.log_likelihood - 1e-6 - 8 * last.noise
    exact = emix.score_samples(result.model, rows).sum()  # by another path: row by row
    assert result.log_likelihood == pytest.approx(exact, rel=1e-13)
    bounds = [record for record in result.history if record.is_bound]
    assert bounds
    if not accelerate:
        assert len(bounds) == result.n_iter - 1  # the last one was replaced by the log-likelihood itself
    np.testing.assert_allclose(result.model.family.mean, batch.model.family.mean, atol=1e-4)


def test_it_needs_half_the_passes_of_plain_em_and_with_leaps_fewer(rows):
    plain = emix.fit(START, rows, accelerate=False)
    assert plain.n_iter > 60
    assert fit(rows, accelerate=False).n_iter < 0.62 * plain.n_iter
    assert fit(rows).n_iter < plain.n_iter / 3


def test_the_bound_is_a_bound_and_climbs(rows):
    seen = []
    fit(rows, accelerate=False, stop="iterations", max_iter=6, on_iteration=lambda one: seen.append(one))
    assert [one.record.is_bound for one in seen] == [False] + [True] * 6 + [False]
    for before, after in itertools.pairwise(seen):
        assert after.record.log_likelihood >= before.record.log_likelihood
    for one in seen:
        exact = emix.score_samples(one.model, rows).sum()
        assert one.record.log_likelihood <= exact + 8 * one.record.noise
    assert seen[3].record.log_likelihood < emix.score_samples(seen[3].model, rows).sum() - 1e-3  # and not always equal


def test_rows_in_the_order_of_their_groups_still_end_right(rows, batch):
    order = np.argsort(rows[:, 0])
    result = fit(rows[order])
    assert result.converged
    assert result.log_likelihood == pytest.approx(batch.log_likelihood, abs=1e-5)


def test_one_block_is_batch_em(rows):
    x = rows[:10_000]
    assert_same_bits(fit(x), emix.fit(START, x))
    assert fit(x).warnings == []
    asked = fit(rows, n_blocks=9, max_iter=3, stop="iterations")
    assert asked.warnings == [
        "9 blocks were asked for; the 70,000 rows that count (those that repeat only once) make 5 blocks, as a block "
        "holds at least 16,384 of them."
    ]


def test_passes_are_counted_and_limited(rows):
    for max_iter in (0, 1, 4):
        result = fit(rows, stop="iterations", max_iter=max_iter)
        assert result.n_iter == max_iter
        assert [record.iteration for record in result.history] == list(range(max_iter + 1))
        assert result.log_likelihood == pytest.approx(emix.score_samples(result.model, rows).sum(), rel=1e-13)
    with pytest.warns(emix.ConvergenceWarning, match="after 5 iterations"):
        assert not fit(rows, max_iter=5).converged


@pytest.mark.parametrize("stop", ["relative", "parameters", "mean-gain"])
def test_the_other_rules_look_at_the_bound(rows, stop):
    tol = {"relative": 1e-9, "parameters": 1e-3, "mean-gain": 1e-5}[stop]
    result = fit(rows, stop=stop, tol=tol, accelerate=False)
    assert result.stop_reason == stop
    last, before = result.history[-1], result.history[-2]
    assert before.is_bound
    assert last.gain >= 0


# -- all that a fit takes ----------------------------------------------------------------------------------------------


def test_missing_cells_of_several_kinds_and_of_gaussians(rows):
    model, table = mixed()
    labels = np.where(np.isnan(table["a"]), -1, table["a"] > 1.0)
    start = emix.fit(model, table, start=labels, stop="iterations", max_iter=1).model
    want, found = emix.fit(start, table), fit(table, start)
    assert any(record.is_bound for record in found.history)
    assert found.converged
    assert found.log_likelihood == pytest.approx(want.log_likelihood, abs=1e-5)
    holes = np.where(np.random.default_rng(1).random(rows.shape) < 0.1, np.nan, rows)
    few = {"stop": "iterations", "max_iter": 3}
    assert fit(holes, **few).log_likelihood > emix.fit(START, holes, **few, accelerate=False).log_likelihood


def test_weights_labels_and_priors(rows):
    rng = np.random.default_rng(2)
    weight, labels = rng.integers(0, 3, N) / 2.0, np.where(rng.random(N) < 0.05, (rows[:, 0] > 1.0) * 1, -1)
    family = emix.MultivariateNormal(START.family.mean, START.family.covariance, prior=emix.ConjugatePrior())
    start = emix.Mixture(family, mixing_proportions=START.mixing_proportions)
    known = {"sample_weight": weight, "labels": labels}
    want, found = emix.fit(start, rows, **known), fit(rows, start, **known)
    assert found.converged
    assert found.log_likelihood == pytest.approx(want.log_likelihood, abs=1e-3)
    objective = [one.log_likelihood + one.model.log_prior() for one in (found, want)]
    assert objective[0] == pytest.approx(objective[1], abs=1e-5)
    waits = np.random.default_rng(3).exponential(1.0, N) * np.where(rng.random(N) < 0.5, 1.0, 4.0)
    lasting = emix.Mixture(emix.Exponential([0.3, 2.0]), prior_rows=50.0)
    want, found = emix.fit(lasting, waits), fit(waits, lasting)
    np.testing.assert_allclose(found.model.family.rate, want.model.family.rate, rtol=1e-5)


def test_the_same_bits_for_threads_files_and_a_resumed_fit(rows, tmp_path, monkeypatch):
    how = {"tol": 1e-3, "n_blocks": 3}
    want = fit(rows, **how)
    assert_same_bits(fit(rows, n_jobs=2, **how), want)
    table = pa.table({"x0": rows[:, 0], "x1": rows[:, 1]})
    for i, (first, last) in enumerate(itertools.pairwise([0, 9_999, 31_000, N])):
        pq.write_table(table.slice(first, last - first), tmp_path / f"{i}.parquet", row_group_size=7_001)
    for n_jobs in (1, 2):
        streamed = fit(emix.scan(tmp_path, memory_limit=0), n_jobs=n_jobs, **how)
        assert_same_bits(streamed, want)
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)

    def interrupt(at):
        def tell(one):
            if one.record.iteration == at:
                raise InterruptedError

        return tell

    for at in (2, want.n_iter - 2):
        path = tmp_path / f"{at}.checkpoint"
        with pytest.raises(InterruptedError):
            fit(rows, checkpoint=path, on_iteration=interrupt(at), **how)
        assert_same_bits(fit(rows, checkpoint=path, **how), want)


def test_a_stream_with_missing_cells_has_the_bits_of_rows_in_memory(tmp_path, monkeypatch):
    x = np.where(np.random.default_rng(1).random((N, 2)) < 0.1, np.nan, gaussians())
    for module in ("preparation", "reading"):  # windows that end within blocks
        monkeypatch.setattr(f"emix.data.{module}.window_rows", lambda _: 32_768)
    how = {"stop": "iterations", "max_iter": 2, "n_blocks": 3}
    assert_same_bits(fit(emix.scan(x, memory_limit=0), n_jobs=2, **how), fit(x, **how))


def test_blocks_in_a_file_change_nothing(rows, tmp_path, monkeypatch):
    how = {"stop": "iterations", "max_iter": 3}
    want = fit(rows, **how)
    monkeypatch.setattr(incremental, "SPILL_FROM", 1)
    assert_same_bits(fit(rows, **how), want)
    with pytest.raises(emix.ModelError, match=r"a checkpoint of incremental EM(.|\n)*fewer blocks"):
        fit(rows, checkpoint=tmp_path / "x", **how)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(incremental.tempfile, "TemporaryFile", full)
    with pytest.raises(emix.FileError, match=r"temporary file(.|\n)*No space left(.|\n)*TMPDIR"):
        fit(rows, **how)


# -- what it refuses, and what it finds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"algorithm": "stochastic"}, "unknown algorithm 'stochastic'(.|\n)*'batch', 'incremental'"),
        ({"algorithm": "batch", "n_blocks": 4}, "n_blocks needs algorithm='incremental'"),
        ({"n_blocks": 0}, "n_blocks needs a whole number >= 1"),
        ({"start": emix.Mixture(emix.StudentT(), 2)}, "the family 'student_t'(.|\n)*algorithm='batch'"),
        ({"start": emix.Mixture(emix.NegativeBinomial(), 2)}, "the family 'negative_binomial'"),
    ],
)
def test_what_cannot_be_is_refused_before_the_rows_are_read(how, message):
    with pytest.raises(emix.ModelError, match=message):
        fit("no such file", **how)


def test_a_model_of_the_users_own_is_refused():
    class Own:
        def expect(self, chunk):
            raise AssertionError

        maximize = expect

    with pytest.raises(emix.ModelError, match=r"needs a mixture(.|\n)*Found Own"):
        fit([[1.0]], Own())


class Worsening(emix.Mixture):
    """Its M-step goes past the maximum."""

    def maximize(self, statistics):
        best = super().maximize(statistics)
        return replace(best, family=replace(best.family, rate=best.family.rate * 1.05))


def test_a_fall_after_a_block_is_an_error():
    rng = np.random.default_rng(0)
    x = rng.exponential(np.where(rng.random(N) < 0.5, 1.0, 0.2))
    optimum = emix.fit(emix.Mixture(emix.Exponential([1.0, 4.0])), x).model
    with pytest.raises(emix.InvariantError, match="In iteration 1 it fell"):
        fit(x, Worsening(optimum.family, mixing_proportions=optimum.mixing_proportions))


def test_the_tree_of_blocks_adds_without_drift():
    """After thousands of replacements the total has the bits of a tree that was filled once."""
    rng = np.random.default_rng(0)
    model = emix.Mixture(emix.Poisson([1.0, 2.0]))
    blocks, fresh = incremental.Blocks(5), incremental.Blocks(5)

    def sums(scale):
        return emix.Expectation(scale * rng.random((2, 3)), -1.0, 1.0)

    last = [sums(1.0) for _ in range(5)]
    for turn in range(2000):
        blocks.put(turn % 5, model, sums(1e8))
    for b, one in enumerate(last):
        blocks.put(b, model, one)
        fresh.put(b, model, one)
    assert np.array_equal(blocks.total, fresh.total)
    np.testing.assert_allclose(blocks.total, sum(one.statistics for one in last), rtol=1e-15)


def test_a_collapse_is_an_ending_of_its_start():
    x = np.concatenate([gaussians(40_000), np.full((3, 2), 9.0)])
    start = emix.Mixture(emix.MultivariateNormal([[0.0, 1.0], [9.0, 9.0]], [np.eye(2), np.eye(2) * 1e-3]))
    with pytest.raises(emix.FitError, match=r"component 1 collapsed(.|\n)*row 40000, row 40001"):
        fit(x, start)


def test_components_far_apart_are_summed_about_their_own_means_by_batch_em():
    rng = np.random.default_rng(0)
    x = rng.permutation(np.concatenate([1e-3 * rng.normal(size=20_000), 1e6 + rng.normal(size=20_000)]))
    found, want = (
        emix.fit(emix.Mixture(emix.Normal(), 2), x, random_state=0, n_init=2, algorithm=algorithm)
        for algorithm in ("incremental", "batch")
    )
    assert found.log_likelihood == pytest.approx(want.log_likelihood, abs=1e-4)
    assert found.warnings[-1].startswith("the components lie so far apart")
    assert want.warnings == []


def test_the_command_line_takes_it(run, tmp_path, rows):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": rows[:40_000, 0], "b": rows[:40_000, 1]}), path)
    known = ["--seed", 0, "--n-init", 1, "--tol", 1e-2, "--json"]
    done = run("fit", path, "-k", 2, "--algorithm", "incremental", "--n-blocks", 2, *known)
    assert done.exit_code == 0, done.output
    assert '"is_bound": true' in done.stdout
    refused = run("fit", path, "--algorithm", "quick")
    assert refused.exit_code == 2
    assert "unknown algorithm 'quick'" in refused.output


def test_the_driver_and_the_incremental_stage_share_a_run():
    assert incremental.Run is Run
