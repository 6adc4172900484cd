"""Rows on a Dask cluster: the answer of rows in memory, the same bits in each run, and after a worker is killed."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
from fits import assert_same_bits, assert_same_fit

import emix
from emix.data import dask_graph, dask_source
from emix.data.dask_graph import each
from emix.data.dask_scan import dask_scan
from emix.errors import FileError
from emix.fitting.opening import open_rows

EXAMPLES = Path(__file__).parent.parent / "examples"
N = 20_000
EDGES = [0, 1, 9_000, 9_000, 9_500, N - 1]  # one partition of a single row; the third is made empty


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "protocol": "tcp"}
    with (
        distributed.LocalCluster(processes=True, host="127.0.0.1", **options) as workers,
        distributed.Client(workers, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    group = rng.random(N) < 0.4
    x = rng.normal(size=(N, 2)) + 3.0 * group[:, None]
    known = np.where(group, "left", "right").astype(object)
    known[rng.random(N) > 0.01] = None
    city = rng.choice(np.array(["Rome", "Oslo", "Cork"], object), N)
    city[rng.random(N) < 0.1] = None
    return pd.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "hole": np.where(rng.random(N) < 0.3, np.nan, x[:, 0] + rng.normal(size=N)),
            "count": rng.poisson(np.where(group, 6.0, 1.0)),
            "yes": (rng.random(N) < np.where(group, 0.8, 0.3)).astype(float),
            "no": (rng.random(N) < np.where(group, 0.1, 0.5)).astype(float),
            "city": city,
            "weight": 0.37 * rng.integers(0, 4, N),
            "known": known,
        }
    )


def partitioned(frame):
    """Five partitions of very different lengths, one of them empty."""
    return dd.from_map(lambda i: frame.iloc[EDGES[i] : EDGES[i + 1] + (i == 4)], range(5), meta=frame.iloc[:0])


CASES = {
    "gaussian": (emix.MultivariateNormal(), ["a", "b"], {}),
    "holes": (emix.MultivariateNormal(), ["a", "b", "hole", "weight"], {"sample_weight": "weight"}),
    "labels": (emix.Normal(), ["a", "b", "known"], {"labels": "known"}),
    "repeated rows": (emix.Bernoulli(), ["yes", "no", "known"], {"labels": "known"}),
    "many kinds": (
        emix.Columns({"a": emix.Normal(), "city": emix.Categorical(), "count": emix.Poisson()}),
        ["a", "city", "count"],
        {},
    ),
}


def fitted(data, family, **how):
    how = {"random_state": 1, "n_init": 2, "max_iter": 12, "stop": "iterations", **how}
    return emix.fit(emix.Mixture(family, 2), data, **how)


@pytest.mark.parametrize("case", CASES)
def test_partitions_have_the_answer_of_rows_in_memory_and_the_same_bits_anywhere(rows, client, case):
    family, names, known = CASES[case]
    in_memory = fitted(rows[names], family, **known)
    in_threads = fitted(partitioned(rows[names]), family, **known)
    assert_same_fit(in_threads, in_memory)
    assert in_threads.n_iter == in_memory.n_iter
    assert in_threads.model.component_names == in_memory.model.component_names
    assert in_threads.total_weight == pytest.approx(in_memory.total_weight, rel=1e-14)
    with client.as_current():
        assert_same_bits(fitted(partitioned(rows[names]), family, **known), in_threads)


def test_rows_that_are_not_held_are_read_at_each_pass_to_the_same_bits(rows, monkeypatch):
    names = ["a", "b", "hole"]
    held = fitted(partitioned(rows[names]), emix.MultivariateNormal())
    monkeypatch.setattr(dask_source, "HELD", 0)
    assert_same_bits(fitted(partitioned(rows[names]), emix.MultivariateNormal()), held)


def test_arrays_are_cut_by_rows(rows):
    x = rows[["a", "b"]].to_numpy()
    start = emix.Mixture(emix.Normal([[0.0, 0.0], [3.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]))
    how = {"start": start}
    want = fitted(x, emix.Normal(), **how)
    for array in (da.from_array(x, chunks=(3_000, 1)), da.from_array(x, chunks=(N, 2))):
        assert_same_fit(fitted(array, emix.Normal(), **how), want)
    single = x.astype(np.float32)
    assert_same_fit(
        fitted(da.from_array(single, chunks=(7_000, 2)), emix.Normal(), **how), fitted(single, emix.Normal(), **how)
    )
    ages = dd.from_pandas(rows["a"], npartitions=3)
    assert_same_fit(fitted(ages, emix.Normal()), fitted(rows[["a"]], emix.Normal()))
    assert_same_fit(fitted(da.from_array(x[:, 0], chunks=3_000), emix.Normal()), fitted(x[:, 0], emix.Normal()))


@pytest.mark.parametrize("kind", ["object", "string[pyarrow]", "category"])
def test_text_of_every_kind(rows, kind):
    frame = rows[["city", "count"]].assign(city=rows["city"].astype(kind))
    with dask.config.set({"dataframe.convert-string": kind == "string[pyarrow]"}):
        found = fitted(dd.from_pandas(frame, npartitions=3), emix.Categorical())
    assert_same_fit(found, fitted(rows[["city", "count"]], emix.Categorical()))


def source_of(data, names, family):
    opened = open_rows(data[names])
    return opened.source(emix.Mixture(family, 2), None, 1)


def test_a_sample_holds_the_rows_that_it_holds_in_memory(rows):
    names = ["a", "hole"]
    of_frame = source_of(rows, names, emix.Normal()).sample(500, 7)
    of_dask = source_of(partitioned(rows), names, emix.Normal()).sample(500, 7)
    assert np.array_equal(of_dask.x, of_frame.x, equal_nan=True)
    assert np.array_equal(of_dask.rows, of_frame.rows)
    assert source_of(partitioned(rows), names, emix.Normal()).n_distinct(3) == 3
    assert source_of(partitioned(rows), ["yes", "no"], emix.Normal()).n_distinct(9) == 4


def test_repeated_rows_that_are_many_stay_in_their_partitions(rows, monkeypatch):
    monkeypatch.setattr(dask_source, "SMALL", 0)
    source = source_of(partitioned(rows), ["yes", "no"], emix.Bernoulli()).collapsed()
    assert source.n_rows == 1 + 4 + 4 + 4
    assert source.total_weight == N
    drawn = source.sample(100, 0)  # merged over the partitions
    assert sorted(drawn.weight) == sorted(rows.groupby(["yes", "no"]).size())


def test_a_partition_that_moves_is_prepared_again_to_the_same_bits(rows):
    source = source_of(partitioned(rows), ["a", "b", "hole"], emix.MultivariateNormal())
    model = fitted(rows[["a", "b", "hole"]], emix.MultivariateNormal(), max_iter=1).model
    source = source.prepared_for(model.family)
    here = dask.compute(source.parts[1])[0]
    there = pickle.loads(pickle.dumps(here))
    assert "chunks" not in vars(there.rows)
    assert sys.getsizeof(there) > there.rows.x.nbytes
    one, other = (part.rows.sum_over_chunks(model.expect) for part in (here, there))
    assert one.log_likelihood == other.log_likelihood
    assert np.array_equal(one.statistics, other.statistics)


def test_predictions_go_partition_by_partition(rows):
    model = fitted(rows[["a", "city"]], emix.Columns({"a": emix.Normal(), "city": emix.Categorical()})).model
    assert np.array_equal(emix.predict(model, partitioned(rows)), emix.predict(model, rows))
    assert np.array_equal(emix.score_samples(model, partitioned(rows)), emix.score_samples(model, rows))


def test_a_model_of_the_users_own_goes_to_the_workers(rows, client):
    class Mean:
        def __init__(self, value):
            self.value = value

        def expect(self, chunk):
            sums = np.array([chunk.weight.sum(), (chunk.weight * chunk.x[:, 0]).sum()])
            return emix.Expectation(sums, -float((chunk.weight * (chunk.x[:, 0] - self.value) ** 2).sum()), sums[0])

        def maximize(self, statistics):
            return Mean(statistics[1] / statistics[0])

    with client.as_current():
        result = emix.fit(Mean(0.0), partitioned(rows[["a"]]), stop="iterations", max_iter=1)
    assert result.model.value == pytest.approx(rows["a"].mean(), rel=1e-13)


def test_a_checkpoint_goes_on_to_the_same_bits_and_knows_its_partitions(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("emix.em.checkpoint.EVERY", 0.0)
    frame, path = rows[["a", "b"]], tmp_path / "fit.ckpt"
    want = fitted(partitioned(frame), emix.Normal())

    def interrupt(one):
        if one.record.iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(partitioned(frame), emix.Normal(), checkpoint=path, on_iteration=interrupt)
    with pytest.raises(FileError, match="written for data"):
        fitted(dd.from_pandas(frame, npartitions=3), emix.Normal(), checkpoint=path)
    assert_same_bits(fitted(partitioned(frame), emix.Normal(), checkpoint=path), want)


# -- what fails --------------------------------------------------------------------------------------------------------


def test_a_cell_outside_the_support_is_named_with_its_partition(rows, client):
    frame = rows[["count"]].copy()
    frame.loc[9_123, "count"] = -3
    with client.as_current(), pytest.raises(emix.DataError, match="Found -3 in row 123 of partition 3, column 'count'"):
        fitted(partitioned(frame), emix.Poisson())


def test_a_row_that_is_impossible_is_named_with_its_partition(rows):
    frame = rows[["yes"]].assign(yes=1.0)
    frame.loc[9_123, "yes"] = 0.0
    start = emix.Mixture(emix.Bernoulli(probability=[[1.0], [1.0]]))
    with pytest.raises(emix.DataError, match="Row 123 of partition 3 has probability 0"):
        fitted(partitioned(frame), emix.Bernoulli(), start=start)


def test_a_partition_that_cannot_be_read_is_named(rows, client):
    def damaged(frame, partition_info=None):
        if partition_info is not None and partition_info["number"] == 2:
            raise OSError("the disk is gone")
        return frame

    frame = rows[["a", "b"]]
    data = dd.from_pandas(frame, npartitions=4).map_partitions(damaged, meta=frame.iloc[:0])
    message = r"(?s)Partition 2 of 4 failed with OSError: the disk is gone.*\.partitions\[2\]"
    with pytest.raises(emix.DataError, match=message):
        fitted(data, emix.Normal())
    with client.as_current(), pytest.raises(emix.DataError, match=message):
        fitted(data, emix.Normal())


def test_what_is_no_table_of_dask_is_refused():
    with pytest.raises(emix.DataError, match=r"a data frame or an array is required"):
        fitted(dask.delayed(1), emix.Normal())
    with pytest.raises(emix.DataError, match=r"Found float64 of shape \(2, 2, 2\)"):
        fitted(da.zeros((2, 2, 2)), emix.Normal())
    with pytest.raises(emix.DataError, match="at least one row is required"):
        fitted(dd.from_pandas(pd.DataFrame({"a": []}, dtype=float), npartitions=1), emix.Normal())
    with pytest.raises(emix.DataError, match="no column 'wait'"):
        fitted(da.zeros((9, 2)), emix.Normal(), sample_weight="wait")


def test_workers_need_emix(rows, client, monkeypatch):
    monkeypatch.setattr(dask_graph, "WHICH", "emix:nothing_of_this_name")
    with client.as_current(), pytest.raises(emix.ClusterError, match="no emix that can be imported"):
        fitted(partitioned(rows[["a"]]), emix.Normal())


def test_a_cluster_that_is_not_there_or_breaks_down(monkeypatch):
    monkeypatch.setattr(dask_graph, "PATIENCE", "0.2s")
    with (
        pytest.raises(emix.ClusterError, match=r"None answers at 'tcp://127\.0\.0\.1:9'"),
        dask_graph.cluster("tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(emix.ClusterError, match="could not finish a pass"):
        dask_graph.computed(each(_kill, [dask.delayed(1)]))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FileError, match=r"pip install 'emix\[dask\]'"), dask_graph.cluster("local"):
        pass


def _kill(_, __):
    raise distributed.client.FutureCancelledError("emix-read", "lost")


# -- the command line, the examples, a worker that is killed -----------------------------------------------------------


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i in range(4):
        part = rows[["a", "city", "known"]].iloc[i * 5_000 : (i + 1) * 5_000]
        part.to_parquet(folder / f"part-{i}.parquet", row_group_size=1_100)
    return sorted(folder.glob("*.parquet"))


def test_the_command_line_takes_files_folders_globs_and_a_cluster(run, files, client, tmp_path, monkeypatch):
    how = ["--seed", "1", "--n-init", "2", "--labels", "known", "--stop", "iterations", "--max-iter", "8"]
    want = run("fit", *files, *how, "--out", tmp_path / "scan.json")
    assert want.exit_code == 1
    assert "Assumed of a sample of 10,000 rows" in want.stderr
    assert "city: categorical" in want.stderr
    address = client.scheduler.address
    monkeypatch.setattr("emix.data.scan_files.PIECE_ROWS", 2_000)  # row groups are partitions too
    for i, data in enumerate([files[0].parent, files[0].parent / "*.parquet"]):
        checkpoint = ["--checkpoint", tmp_path / f"{i}.ckpt"]
        found = run("fit", data, *how, *checkpoint, "--dask", address, "--out", tmp_path / "dask.json")
        assert found.exit_code == 1
        assert (tmp_path / f"{i}.ckpt").exists()
        one, other = emix.load(tmp_path / "scan.json"), emix.load(tmp_path / "dask.json")
        assert other.mixing_proportions == pytest.approx(one.mixing_proportions, rel=1e-9)
    bad = run("fit", files[0], "--dask", address, "--columns", "a", "--weights", "known")
    assert bad.exit_code == 2
    assert "in row 1 of 'part-0.parquet'" in bad.stderr


def test_files_that_workers_do_not_see_are_named(files, client):
    scan = emix.scan(files)
    moved = files[2].rename(files[2].with_suffix(".away"))
    try:
        with client.as_current(), pytest.raises(emix.ClusterError, match=r"finds no '.*part-2\.parquet'"):
            fitted(dask_scan(scan.select(["a"])), emix.Normal())
    finally:
        moved.rename(files[2])


@pytest.mark.parametrize("name", ["dask_cluster", "larger_than_memory"])
def test_examples_run(name):
    run = subprocess.run([sys.executable, EXAMPLES / f"{name}.py", "40000"], capture_output=True, text=True, check=True)
    assert "converged" in run.stdout
    assert "shares [0." in run.stdout


def test_a_worker_that_is_killed_changes_no_bit(rows, client):
    names, how = ["a", "b", "hole"], {"max_iter": 15}
    want = fitted(partitioned(rows[names]), emix.MultivariateNormal(), **how)
    killed = []

    def kill(one):
        if one.record.iteration == 5 and not killed:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    with client.as_current():
        found = fitted(partitioned(rows[names]), emix.MultivariateNormal(), on_iteration=kill, **how)
    assert killed
    assert_same_bits(found, want)


INTERRUPTED = """
import os, threading, time
from emix.data import dask_graph
os.cpu_count = lambda: 1
if __name__ == "__main__":
    try:
        with dask_graph.cluster("local") as client:
            sleeping = client.submit(time.sleep, 5)
            threading.Timer(0.5, print, ("up",), {"flush": True}).start()  # once this thread waits for the result
            sleeping.result()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupt_of_this_machines_workers_says_nothing_of_them(tmp_path):
    (tmp_path / "main.py").write_text(INTERRUPTED)
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, tmp_path / "main.py"], **how) as process:
        assert process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers are meant, too
        assert process.communicate() == ("interrupted\n", "")
