"""Rows that stream by: the bits of rows in memory, whatever the files; and sources that fail honestly."""

import os
import warnings
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.dataset as ds
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

import emix
from emix.threads import each_in_order

N = 40_000  # three chunks


def table():
    rng = np.random.default_rng(0)
    group = rng.random(N) < 0.4
    x = rng.normal(size=(N, 3)) + 3.0 * group[:, None]
    return pa.table(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "hole": np.where(rng.random(N) < 0.3, np.nan, x[:, 0] + rng.normal(size=N)),
            "count": rng.poisson(np.where(group, 6.0, 1.0)),
            "yes": (rng.random(N) < np.where(group, 0.8, 0.3)).astype(float),
            "no": (rng.random(N) < np.where(group, 0.1, 0.5)).astype(float),
            "city": rng.choice(["Rome", "Oslo", "Cork"], N),
            "weight": 0.37 * rng.integers(0, 4, N),
            "known": pa.array(
                [("left", "right")[int(g)] if r < 0.01 else None for g, r in zip(group, rng.random(N), strict=True)]
            ),
        }
    )


@pytest.fixture(scope="module")
def rows():
    return table()


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    """Five files of different lengths, with small row groups that no chunk ends with."""
    path = tmp_path_factory.mktemp("scan")
    edges = [0, 1, 9_000, 9_500, 30_000, N]
    for i in range(5):
        part = rows.slice(edges[i], edges[i + 1] - edges[i])
        pq.write_table(part, path / f"part-{i}.parquet", row_group_size=7_777)
    return path


def bits(result):
    found = [np.float64(result.log_likelihood)]
    for value in result.model.parameters.values():
        found += list(value) if isinstance(value, tuple) else [value]
    return [np.asarray(one).tobytes() for one in found], result.n_iter, result.model.component_names


CASES = {
    "gaussian": (emix.MultivariateNormal(), ["a", "b", "c"], {}),
    "weights": (emix.MultivariateNormal(), ["a", "b", "weight"], {"sample_weight": "weight"}),
    "labels": (emix.Normal(), ["a", "b", "known"], {"labels": "known"}),
    "holes": (emix.MultivariateNormal(), ["a", "b", "hole"], {}),
    "counts": (emix.Poisson(), ["count"], {}),
    "repeated rows": (emix.Bernoulli(), ["yes", "no", "weight"], {"sample_weight": "weight"}),
    "labelled repeats": (emix.Bernoulli(), ["yes", "no", "known"], {"labels": "known"}),
    "many kinds": (emix.Columns({"a": emix.Normal(), "city": emix.Categorical(), "count": emix.Poisson()}), None, {}),
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_a_scan_has_the_bits_of_rows_in_memory(rows, folder, case, n_jobs):
    family, names, known = CASES[case]
    names = ["a", "city", "count"] if names is None else names
    how = {"random_state": 1, "n_init": 2, "max_iter": 12, "stop": "iterations", **known}
    in_memory = emix.fit(emix.Mixture(family, 2), rows.select(names), **how)
    streamed = emix.fit(emix.Mixture(family, 2), emix.scan(folder, memory_limit=0).select(names), n_jobs=n_jobs, **how)
    assert bits(streamed) == bits(in_memory)
    assert streamed.total_weight == in_memory.total_weight
    assert np.array_equal(streamed.expected_counts, in_memory.expected_counts)


def test_a_small_scan_is_read_into_memory(rows, folder):
    scan = emix.scan(folder)
    assert scan.is_small
    assert scan.n_rows == N
    model = emix.Mixture(emix.Normal(), 2)
    small = emix.fit(model, scan.select(["a"]), random_state=0, n_init=2)
    assert bits(small) == bits(emix.fit(model, rows.select(["a"]), random_state=0, n_init=2))


def sources(rows, folder, tmp_path):
    rows = rows.select(["a", "b"])
    pc.write_csv(rows, tmp_path / "rows.csv")
    with ipc.new_file(tmp_path / "rows.arrow", rows.schema) as file:
        file.write_table(rows, max_chunksize=5_000)
    array = np.memmap(tmp_path / "rows.bin", dtype=np.float64, mode="w+", shape=(N, 2))
    array[:] = np.stack([rows["a"].to_numpy(), rows["b"].to_numpy()], axis=1)
    yield emix.scan(str(folder / "*.parquet"), memory_limit=0).select(["a", "b"])
    yield emix.scan([folder / f"part-{i}.parquet" for i in range(5)], memory_limit=0).select(["a", "b"])
    yield emix.scan(tmp_path / "rows.csv", memory_limit=0)
    yield emix.scan(tmp_path / "rows.arrow", memory_limit=0)
    yield emix.scan(array, memory_limit=0)
    yield emix.scan(ds.dataset(folder), memory_limit=0).select(["a", "b"])
    yield emix.scan(rows, memory_limit=0)
    yield emix.scan(lambda: iter(rows.to_batches(max_chunksize=999)), memory_limit=0)
    yield emix.scan(lambda: iter([pl.DataFrame(rows)]), memory_limit=0)
    yield emix.scan(lambda: pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()), memory_limit=0)
    yield emix.scan(pl.scan_parquet(folder / "*.parquet").select("a", "b"), memory_limit=0)


def test_every_kind_of_source_gives_the_same_rows(rows, folder, tmp_path):
    start = emix.Mixture(emix.Normal([[0.0, 0.0], [3.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]))
    how = {"stop": "iterations", "max_iter": 2, "start": start}
    names = ["a", "b"]
    want = bits(emix.fit(emix.Mixture(emix.Normal(), 2), rows.select(names), **how))[0]
    n = 0
    for source in sources(rows, folder, tmp_path):
        assert bits(emix.fit(emix.Mixture(emix.Normal(), 2), source, **how))[0] == want
        n += 1
    assert n == 11


def test_a_model_of_the_users_own_reads_a_scan(tmp_path):
    class Mean:
        def __init__(self, value):
            self.value = value

        def expect(self, chunk):
            sums = np.array([chunk.weight.sum(), (chunk.weight * chunk.x[:, 0]).sum()])
            return emix.Expectation(sums, -float((chunk.weight * (chunk.x[:, 0] - self.value) ** 2).sum()), sums[0])

        def maximize(self, statistics):
            return Mean(statistics[1] / statistics[0])

    x = np.random.default_rng(0).normal(size=(20_000, 1))
    result = emix.fit(Mean(0.0), emix.scan(x, memory_limit=0), stop="iterations", max_iter=1)
    assert result.model.value == pytest.approx(x.mean(), abs=1e-14)


def test_predictions_of_a_scan_are_those_of_its_rows(rows, folder):
    names = ["a", "count"]
    family = emix.Columns({"a": emix.Normal(), "count": emix.Poisson()})
    model = emix.fit(emix.Mixture(family, 2), rows.select(names), random_state=0, n_init=1).model
    scan = emix.scan(folder, memory_limit=0)
    assert np.array_equal(emix.predict(model, scan), emix.predict(model, rows.select(names)))
    assert emix.score_samples(model, scan) == pytest.approx(emix.score_samples(model, rows.select(names)), abs=1e-12)


def test_rows_without_an_observed_cell_count_for_nothing(tmp_path):
    x = np.random.default_rng(0).normal(size=(30_000, 2))
    x[::7] = np.nan
    frame = pd.DataFrame(x, columns=["a", "b"])
    frame.to_parquet(tmp_path / "x.parquet")
    how = {"random_state": 0, "n_init": 1, "max_iter": 5, "stop": "iterations"}
    streamed = emix.fit(emix.Mixture(emix.Normal(), 2), emix.scan(tmp_path / "x.parquet", memory_limit=0), **how)
    assert bits(streamed) == bits(emix.fit(emix.Mixture(emix.Normal(), 2), frame, **how))
    assert streamed.total_weight == 30_000 - len(x[::7])
    assert any("no observed cell" in one for one in streamed.warnings)


# -- sources that fail -------------------------------------------------------------------------------------------------


def fit_normal(scan, **how):
    return emix.fit(emix.Mixture(emix.Normal(), 2), scan, random_state=0, n_init=1, max_iter=3, **how)


def test_a_truncated_file_is_named_with_its_row_group(rows, tmp_path):
    for name in ("one", "two"):
        pq.write_table(rows.select(["a"]), tmp_path / f"{name}.parquet", row_group_size=8_000, compression=None)
    path = tmp_path / "two.parquet"
    data = bytearray(path.read_bytes())
    data[200_000:201_000] = b"\xff" * 1_000  # pages of a later row group
    meta = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data[meta.dictionary_page_offset or meta.data_page_offset :][:8] = b"\x00" * 8
    start = meta.dictionary_page_offset or meta.data_page_offset
    data[start : start + 16] = b"\xff" * 16
    path.write_bytes(bytes(data))
    scan = emix.scan(tmp_path, memory_limit=0)
    with pytest.raises(emix.DataError, match=r"two\.parquet(.|\n)*row group 2:"):
        fit_normal(scan)
    path.write_bytes(bytes(data)[: len(data) // 2])
    with pytest.raises(emix.DataError, match=r"two\.parquet"):
        fit_normal(scan)
    with pytest.raises(emix.DataError, match=r"two\.parquet"):
        emix.scan(tmp_path)


def test_a_file_that_vanishes_between_passes_is_named(rows, tmp_path):
    for name in ("one", "two"):
        pq.write_table(rows.select(["a"]), tmp_path / f"{name}.parquet")
    scan = emix.scan(tmp_path, memory_limit=0)

    def remove(progress):
        if progress.record.iteration == 1:
            (tmp_path / "two.parquet").unlink()

    with pytest.raises(emix.DataError, match=r"two\.parquet' is no longer there"):
        fit_normal(scan, on_iteration=remove)


def test_a_file_that_grows_between_passes_is_named(rows, tmp_path):
    path = tmp_path / "one.parquet"
    pq.write_table(rows.select(["a"]).slice(0, 20_000), path)
    scan = emix.scan(path, memory_limit=0)
    pq.write_table(rows.select(["a"]), path)
    with pytest.raises(emix.DataError, match=r"one\.parquet' had [\d,]+ bytes and now has"):
        fit_normal(scan)
    with pytest.raises(emix.DataError, match=r"had 20,000 rows and now has 40,000"):
        fit_normal(replace(scan, stamps=None))  # as on other machines


def test_files_need_the_same_columns_and_types(rows, tmp_path):
    pq.write_table(rows.select(["a", "b"]), tmp_path / "one.parquet")
    pq.write_table(rows.select(["a", "c"]), tmp_path / "two.parquet")
    with pytest.raises(emix.DataError, match=r"two\.parquet' has no column 'b'"):
        emix.scan(tmp_path)
    pq.write_table(pa.table({"a": ["x", "y"], "b": [1.0, 2.0]}), tmp_path / "two.parquet")
    with pytest.raises(emix.DataError, match=r"'a' is string in '.*two\.parquet' and double"):
        emix.scan(tmp_path)


def test_a_cell_outside_the_support_is_named_with_its_file(tmp_path):
    pq.write_table(pa.table({"n": np.arange(5_000) % 7}), tmp_path / "one.parquet")
    bad = np.arange(5_000) % 7
    bad[4_321] = -3
    pq.write_table(pa.table({"n": bad}), tmp_path / "two.parquet")
    with pytest.raises(emix.DataError, match=r"Found -3 in row 4322 of 'two\.parquet', column 'n'"):
        emix.fit(emix.Mixture(emix.Poisson(), 2), emix.scan(tmp_path, memory_limit=0))


def test_a_csv_file_whose_types_change_half_way_is_named(tmp_path):
    (tmp_path / "one.csv").write_text("n\n" + "1\n" * 100)
    (tmp_path / "two.csv").write_text("n\n" + "1\n" * 50 + "many\n")
    with pytest.raises(emix.DataError, match=r"'many' in row 51 of '.*two\.csv', column 'n'"):
        fit_normal(emix.scan(tmp_path, memory_limit=0))


def test_a_reader_that_can_be_read_once_is_refused(rows):
    table = rows.select(["a"])
    batches = iter(table.to_batches())
    with pytest.raises(emix.DataError, match=r"same list_iterator again, which can be read once(.|\n)*OnlineEM"):
        fit_normal(emix.scan(lambda: batches, memory_limit=0))
    for source in (iter(table.to_batches()), (one for one in table.to_batches()), table.to_reader()):
        with pytest.raises(emix.DataError, match=r"which can be read once only\.\n  Give a function(.|\n)*OnlineEM"):
            emix.scan(source, memory_limit=0)
    with pytest.raises(emix.DataError, match="can be read once only"):
        fit_normal(table.to_reader())


def test_a_file_of_as_many_rows_that_is_written_anew_between_passes_is_named(rows, tmp_path):
    path = tmp_path / "one.parquet"
    pq.write_table(rows.select(["a"]), path)

    def write(progress):
        if progress.record.iteration == 1:
            pq.write_table(pa.table({"a": rows["a"].to_numpy() + 5.0}), path)
            os.utime(path, ns=(1, 1))

    with pytest.raises(emix.DataError, match=r"one\.parquet' had [\d,]+ bytes and now has"):
        fit_normal(emix.scan(path, memory_limit=0), on_iteration=write)


def test_a_memory_map_whose_file_is_written_anew_between_passes_is_named(rows, tmp_path):
    path = tmp_path / "one.npy"
    x = rows["a"].to_numpy().reshape(-1, 1)
    np.save(path, x)

    def write(progress):
        if progress.record.iteration == 1:
            np.save(path, x[::-1])
            os.utime(path, ns=(1, 1))

    with pytest.raises(emix.DataError, match=r"had 320,128 bytes and now has 320,128 \(written at another time\)"):
        fit_normal(emix.scan(np.load(path, mmap_mode="r"), memory_limit=0), on_iteration=write)


def test_the_damaged_row_group_is_named_where_a_batch_spans_many(rows, tmp_path):
    path = tmp_path / "one.parquet"
    pq.write_table(rows.select(["a"]), path, row_group_size=1_000, compression=None, use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(27).column(0).data_page_offset
    data[start : start + 16] = b"\xff" * 16
    path.write_bytes(bytes(data))
    with pytest.raises(emix.DataError, match="In row group 27: "):
        fit_normal(emix.scan(path, memory_limit=0))


def test_hidden_folders_are_passed_over_and_no_file_counts_twice(rows, tmp_path):
    table = rows.select(["a"]).slice(0, 10)
    for name in ("one.parquet", "_temporary/0/two.parquet", ".ipynb_checkpoints/one.parquet", "year=1/three.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / name)
    assert emix.scan(tmp_path).n_rows == 20
    assert emix.scan(tmp_path / "_temporary").n_rows == 10  # named itself
    with pytest.raises(emix.DataError, match=r"one\.parquet' comes twice"):
        emix.scan([tmp_path / "one.parquet", tmp_path])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "part-0").write_text("a\n1\n")
    with pytest.raises(emix.DataError, match=r"none' holds none that ends in '?\.parquet"):
        emix.scan(tmp_path / "none")


def test_repeated_names_of_columns_are_refused(rows, tmp_path):
    twice = pa.table([rows["a"], rows["b"], rows["b"]], names=["a", "b", "b"])
    pq.write_table(rows.select(["a", "b"]), tmp_path / "one.parquet")
    pq.write_table(twice, tmp_path / "two.parquet")
    with pytest.raises(emix.DataError, match=r"Found 'b' more than once in '.*two\.parquet'"):
        emix.scan(tmp_path)
    with pytest.raises(emix.DataError, match="Found 'b' more than once"):
        emix.scan(twice)
    (tmp_path / "one.csv").write_text("a,b,b\n1,2,3\n")
    with pytest.raises(emix.DataError, match=r"Found 'b' more than once in '.*one\.csv'"):
        emix.scan(tmp_path / "one.csv")


def test_csv_files_need_the_same_columns_when_they_are_scanned(tmp_path):
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    (tmp_path / "two.csv").write_text("a,b,more\n1,2,3\n")
    with pytest.raises(emix.DataError, match=r"one\.csv' has no column 'more'"):
        emix.scan(tmp_path)
    (tmp_path / "two.csv").write_text("a\n1\n")
    with pytest.raises(emix.DataError, match=r"two\.csv' has no column 'b'"):
        emix.scan(tmp_path)
    (tmp_path / "two.csv").write_text("b,a\n20,10\n")
    assert emix.scan(tmp_path).read().column("a").tolist() == [1.0, 10.0]
    (tmp_path / "two.csv").write_bytes(b"a,b\n10,\xe9\n")  # what no one asks for may be no UTF-8
    assert emix.scan(tmp_path).select(["a"]).read().column("a").tolist() == [1.0, 10.0]


def test_a_bad_cell_of_a_csv_file_is_named_by_row_and_column(tmp_path):
    (tmp_path / "one.csv").write_text("a,b\n" + "1,\n" * 100)  # b is empty
    (tmp_path / "two.csv").write_text("a,b\n" + "1,\n" * 50 + "oops,1\n")
    with pytest.raises(emix.DataError, match=r"Found 'oops' in row 51 of '.*two\.csv', column 'a'(.|\n)*makes numbers"):
        fit_normal(emix.scan(tmp_path, memory_limit=0))
    (tmp_path / "two.csv").write_text("a,b\n1,Rome\n")
    with pytest.raises(emix.DataError, match=r"Found 'Rome' in row 1(.|\n)*let a file come first"):
        emix.scan(tmp_path).read()
    (tmp_path / "two.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(emix.DataError, match=r"two\.csv' has 3 instead of 2 in line 3"):
        emix.scan(tmp_path).read()


def test_a_source_whose_column_becomes_text_is_refused():
    x = np.random.default_rng(0).normal(size=20_000)
    kinds = iter([pa.float64(), pa.float64(), *[pa.string()] * 9])

    def begin():
        return pa.table({"a": pa.array(x).cast(next(kinds))})

    with pytest.raises(emix.DataError, match="Column 'a' was double at first and now is string"):
        fit_normal(emix.scan(begin, memory_limit=0))


def test_frames_and_queries_are_scanned_whether_named_or_returned(rows):
    frame = pl.DataFrame(rows.select(["a"]))
    start = emix.Mixture(emix.Normal([[0.0], [3.0]], [[1.0], [1.0]]))
    how = {"stop": "iterations", "max_iter": 2, "start": start}
    want = bits(emix.fit(emix.Mixture(emix.Normal(), 2), frame, **how))
    data = [
        emix.scan(frame, memory_limit=0),
        emix.scan(frame.to_pandas().assign(scanner=1.0), memory_limit=0).select(["a"]),
        emix.scan(lambda: frame, memory_limit=0),
        emix.scan(lambda: frame.lazy(), memory_limit=0),
        frame.lazy(),
        ds.dataset(rows.select(["a"])),
        pa.RecordBatch.from_pandas(frame.to_pandas()),
    ]
    for one in data:
        assert bits(emix.fit(emix.Mixture(emix.Normal(), 2), one, **how)) == want


def test_a_relation_of_duckdb_is_scanned(rows):
    relation = duckdb.connect().from_arrow(rows.select(["a"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert emix.scan(relation, memory_limit=0).read().n_rows == N


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere/*.parquet", "there is none at|There is none at"),
        (42, "int"),
        (pl.Series([1.0, 2.0]), "Found a Series: "),
        (pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"]), "Found a DataFrame: Duplicate column names"),
        ("mixed", "one kind"),
    ],
)
def test_what_cannot_be_scanned_is_refused(tmp_path, rows, data, message):
    if isinstance(data, str) and data == "mixed":
        pq.write_table(rows.select(["a"]), tmp_path / "one.parquet")
        pc.write_csv(rows.select(["a"]), tmp_path / "two.csv")
        data = tmp_path
    with pytest.raises(emix.DataError, match=message):
        emix.scan(data)


def test_labels_and_weights_of_a_scan_are_columns(folder):
    with pytest.raises(emix.ModelError, match="the name of a column"):
        fit_normal(emix.scan(folder, memory_limit=0).select(["a"]), sample_weight=np.ones(N))
    with pytest.raises(emix.DataError, match="no column 'wait'"):
        fit_normal(emix.scan(folder, memory_limit=0).select(["a"]), sample_weight="wait")


def test_results_come_in_order_and_the_first_failure_is_raised():
    found = []
    each_in_order(lambda i: i * i, range(50), found.append, 3)
    assert found == [i * i for i in range(50)]

    def fail(i):
        if i >= 7:
            raise ValueError(str(i))
        return i

    with pytest.raises(ValueError, match=r"^7$"):
        each_in_order(fail, range(50), found.append, 3)
