"""Checkpoints: a fit that was killed goes on to the same bits; what is no checkpoint of this fit is left alone."""

import errno
import json
import warnings
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import emix
from benchmarks import kills
from emix import state
from emix.em import checkpoint as checkpoints
from emix.em.acceleration import Daarem
from emix.em.stopping import Rule

MODEL = emix.Mixture(emix.MultivariateNormal(), 2)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr("emix.persistence.os.fsync", lambda handle: None)  # at each pass it takes longer than the fit


def data():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 1.5])


def fit(path, *, stop_at=None, rows=None, model=MODEL, **how):
    def tell(progress):
        if stop_at is not None and progress.record.iteration >= stop_at:
            raise InterruptedError

    rows = data() if rows is None else rows
    return emix.fit(model, rows, **{"random_state": 0, "n_init": 3, **how}, checkpoint=path, on_iteration=tell)


def bits(result):
    parameters = [np.asarray(value).tobytes() for value in result.model.parameters.values()]
    return parameters, result.log_likelihood, [record.log_likelihood for record in result.history]


def test_ten_kills_change_nothing():
    killed, same = kills.survives("gaussian", 5, 0)
    assert (killed, same) == (5, True)
    killed, same = kills.survives("far apart", 5, 100)
    assert (killed, same) == (5, True)


@pytest.mark.parametrize("stop_at", [1, 5, 15, 30])
@pytest.mark.parametrize("kind", ["common axes", "student", "counts", "categories", "own model"])
def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path, kind, stop_at):
    model, rows = kills.problem(kind)
    path = tmp_path / "fit.ckpt"
    how = {"model": model, "rows": rows, "tol": 1e-8}
    want = fit(None, **how)
    with pytest.raises(InterruptedError):
        fit(path, stop_at=min(stop_at, want.n_iter), **how)
    again = fit(path, **how)
    assert again.log_likelihood == want.log_likelihood
    assert again.n_iter == want.n_iter
    assert [one.log_likelihood for one in again.starts] == [one.log_likelihood for one in want.starts]


def test_a_finished_checkpoint_returns_its_result(tmp_path):
    path = tmp_path / "fit.ckpt"
    first = fit(path)

    def never(_):
        raise AssertionError

    again = emix.fit(MODEL, data(), random_state=0, n_init=3, checkpoint=path, on_iteration=never)
    assert bits(again) == bits(first)
    assert again.stop_reason is first.stop_reason
    assert again.warnings == first.warnings
    assert emix.predict(again.model, data()).tolist() == emix.predict(first.model, data()).tolist()


def test_a_seed_that_was_drawn_is_kept(tmp_path):
    path = tmp_path / "fit.ckpt"
    with pytest.raises(InterruptedError):
        fit(path, stop_at=12, random_state=None)
    again = fit(path, random_state=None)
    assert bits(again) == bits(fit(None, random_state=again.seed))


def test_a_stream_goes_on_as_well(tmp_path):
    rows = emix.scan(np.tile(data(), (40, 1)), memory_limit=0)
    path = tmp_path / "fit.ckpt"
    with pytest.raises(InterruptedError):
        fit(path, rows=rows, stop_at=4)
    assert bits(fit(path, rows=rows)) == bits(fit(None, rows=rows))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"n_init": 4}, "n_init = 3"),
        ({"random_state": 1}, "random_state = 0"),
        ({"tol": 1e-3}, "stop"),
        ({"model": emix.Mixture(emix.MultivariateNormal(), 3)}, "the model"),
        ({"model": emix.Mixture(emix.MultivariateNormal(), 2, prior_rows=0.5)}, "options and parameters"),
        ({"rows": data() * 2}, "data"),
        ({"rows": data()[:-1]}, "the number of rows = 600"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused_and_left(tmp_path, change, what):
    path = tmp_path / "fit.ckpt"
    fit(path)
    before = path.read_bytes()
    with pytest.raises(emix.FileError, match=what):
        fit(path, **change)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text", "format", "version", "not utf-8"])
def test_a_damaged_checkpoint_is_refused_and_left(tmp_path, damage):
    path = tmp_path / "fit.ckpt"
    fit(path)
    data_ = path.read_bytes()
    head = json.loads(data_.split(b"\n")[0])
    damaged = {
        "cut": data_[: len(data_) // 2],
        "empty": b"",
        "bit": data_.replace(b'"seed": 0', b'"seed": 1'),
        "text": b"Dear reader\n",
        "format": json.dumps({**head, "format": "other"}).encode() + b"\n{}",
        "version": json.dumps({**head, "version": 99}).encode() + b"\n{}",
        "not utf-8": b"\xff\xfe\x00",
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(emix.FileError, match="a checkpoint that emix wrote is required"):
        fit(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_costs_the_checkpoint_and_not_the_fit(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "fit.ckpt"
    monkeypatch.setattr("emix.persistence.os.replace", full)
    with pytest.warns(emix.errors.CheckpointWarning, match="without its checkpoint(.|\n)*no space left") as told:
        result = fit(path)
    assert len(told) == 1
    assert bits(result) == bits(fit(None))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "fit[1].ckpt"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("emix.persistence.os.replace", killed)
        patched.setattr("emix.persistence.os.unlink", lambda name: None)  # a killed process tidies nothing up
        with pytest.raises(KeyboardInterrupt):
            fit(path)
    assert len(list(tmp_path.iterdir())) > 0
    fit(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_refused_before_the_fit(tmp_path):
    with pytest.raises(emix.FileError, match="there is no folder"):
        fit(tmp_path / "nowhere" / "fit.ckpt", rows="no such file")


def test_a_model_that_no_checkpoint_can_hold_costs_the_checkpoint(tmp_path):
    class Mean:
        value, helper = 0.0, object()

        def expect(self, chunk):
            n = float(chunk.weight.sum())
            return emix.Expectation(np.array([n, chunk.weight @ chunk.x[:, 0]]), -((self.value - 1) ** 2), n)

        def maximize(self, statistics):
            new = Mean()
            new.value = (self.value + 1) / 2
            return new

    with pytest.warns(emix.errors.CheckpointWarning, match="Mean"):
        emix.fit(Mean(), data(), stop="iterations", max_iter=2, checkpoint=tmp_path / "fit.ckpt")


def test_state_keeps_every_bit():
    rng = np.random.default_rng(0)
    accelerator = Daarem()
    for _ in range(4):
        accelerator.propose(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)))
        accelerator.told(True)
    value = {
        "array": np.asfortranarray(rng.normal(size=(3, 2))),
        "odd": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "numbers": (0.1, np.float64(1 / 3), -np.inf, 7, True, None),
        "reason": emix.StopReason.AITKEN,
        "accelerator": accelerator,
        1: frozenset({"b", "a"}),
    }
    again = state.decode(json.loads(json.dumps(state.encode(value))))
    assert again["array"].tobytes("F") == value["array"].tobytes("F")
    assert again["array"].flags.f_contiguous
    assert again["odd"].tobytes() == value["odd"].tobytes()
    assert again["numbers"] == value["numbers"]
    assert again["reason"] is emix.StopReason.AITKEN
    assert again[1] == value[1]
    x, y = rng.normal(size=(2, 2, 3))
    assert np.array_equal(again["accelerator"].propose(x, y), accelerator.propose(x, y))


@pytest.mark.parametrize(
    "document",
    [
        {"is": "object", "type": "os:system", "fields": {}},
        {"is": "object", "type": "emix.state:encode", "fields": {}},
        {"is": "array", "dtype": "<f8", "shape": [2], "order": "C", "data": "AAAA"},
        {"is": "tuple"},
        {"is": "enum", "type": "emix.results:StopReason", "value": "bored"},
    ],
)
def test_a_state_that_is_none_is_refused(document):
    with pytest.raises(ValueError, match=r"state|bored|buffer"), warnings.catch_warnings():
        state.decode(document)


# -- what tells one fit from another -----------------------------------------------------------------------------------


def labelled(path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 2)) + 2.0 * (rng.random(20_000) < 0.5)[:, None]
    known = np.where(rng.random(20_000) < 0.1, (x[:, 0] > 1).astype(int), -1)
    columns = {"x0": x[:, 0], "x1": x[:, 1], "known": known, "other": known[::-1], "heavy": 1.0 + (x[:, 0] > 0)}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"labels": "other"}, "labels = known; now it is other"),
        ({}, "labels = known; now it is None"),
        ({"labels": "known", "sample_weight": "heavy"}, "sample_weight = None; now it is heavy"),
    ],
)
@pytest.mark.parametrize("kind", ["scan", "dask"])
def test_a_stream_is_told_by_its_columns_of_labels_and_weights(tmp_path, kind, other, what):
    file = labelled(tmp_path / "rows.parquet")

    def rows(*aside):
        if kind == "dask":
            frame = pd.read_parquet(file, columns=["x0", "x1", *aside])
            return dd.from_pandas(frame, npartitions=2)
        return emix.scan(file, memory_limit=0).select(["x0", "x1", *aside])

    how = {"model": emix.Mixture(emix.Normal(), 2), "n_init": 1, "max_iter": 2, "stop": "iterations"}
    fit(tmp_path / "fit.ckpt", rows=rows("known"), labels="known", **how)
    with pytest.raises(emix.FileError, match=what):
        fit(tmp_path / "fit.ckpt", rows=rows(*other.values()), **other, **how)


@pytest.mark.parametrize("kind", ["reader", "dask"])
def test_a_stream_is_told_by_what_its_labels_are(tmp_path, kind):
    frame = pd.read_parquet(labelled(tmp_path / "rows.parquet"))[["x0", "x1", "known", "other"]]

    def rows(column):
        own = frame[["x0", "x1"]].assign(known=frame[column])
        if kind == "dask":
            return dd.from_pandas(own, npartitions=2)
        return emix.scan(pa.Table.from_pandas(own), memory_limit=0)

    how = {"model": emix.Mixture(emix.Normal(), 2), "n_init": 1, "max_iter": 2, "stop": "iterations", "labels": "known"}
    fit(tmp_path / "fit.ckpt", rows=rows("known"), **how)
    with pytest.raises(emix.FileError, match="for data = "):
        fit(tmp_path / "fit.ckpt", rows=rows("other"), **how)


START = np.arange(600) % 2


class Bored:
    """A stopping rule of the user's own."""

    at_limit = emix.StopReason.MAX_ITER

    def __init__(self, after):
        self.after = after

    def __call__(self, history):
        return emix.StopReason.ITERATIONS if len(history) > self.after else None

    def wants_plain(self, history):
        return False


@dataclass(frozen=True)
class Weary(Rule):
    """Another one."""

    after: int

    def __call__(self, history):
        return emix.StopReason.ITERATIONS if len(history) > self.after else None


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"start": pd.Series(START)}, {"start": pd.Series(1 - START)}, "start"),
        ({"start": pl.Series(START)}, {"start": pl.Series(1 - START)}, "start"),
        ({"start": START.astype(str).astype(object)}, {"start": (1 - START).astype(str).astype(object)}, "start"),
        ({"random_state": np.int64(0)}, {"random_state": np.int64(1)}, "random_state = 0; now it is 1"),
        ({"random_state": np.random.default_rng(0)}, {"random_state": np.random.default_rng(1)}, "random_state = "),
        ({"tol": 1.0}, {"tol": 1e-3}, r"stop = Aitken\(tol=1.0\); now it is Aitken\(tol=0.001\)"),
        ({"stop": Bored(2)}, {"stop": Bored(3)}, "stop"),
        ({"stop": Weary(2)}, {"stop": Weary(3)}, "stop"),
    ],
)
def test_arguments_are_told_apart_whatever_their_kind(tmp_path, first, second, what):
    path = tmp_path / "fit.ckpt"
    fit(path, **{"tol": 1.0, **first})
    with pytest.raises(emix.FileError, match=what):
        fit(path, **{"tol": 1.0, **second})


def test_a_series_and_a_generator_go_on_as_well(tmp_path):
    path = tmp_path / "fit.ckpt"
    first = fit(path, start=pd.Series(START), random_state=np.random.default_rng(0), tol=1.0)
    again = fit(path, start=pd.Series(START), random_state=np.random.default_rng(0), tol=1.0, stop_at=0)
    assert bits(again) == bits(first)


@pytest.mark.parametrize("rule", [Bored, Weary])
def test_a_rule_of_the_users_own_goes_on_as_well(tmp_path, rule):
    first = fit(tmp_path / "fit.ckpt", stop=rule(3))
    assert bits(fit(tmp_path / "fit.ckpt", stop=rule(3), stop_at=0)) == bits(first)


def test_an_argument_that_cannot_be_told_from_others_is_refused(tmp_path):
    rule = Bored(2)
    rule.helper = object()
    with pytest.raises(emix.ModelError, match="stop needs what a checkpoint can hold"):
        fit(tmp_path / "fit.ckpt", stop=rule)


def test_two_cells_that_changed_places_are_other_data(tmp_path):
    rows = data()
    fit(tmp_path / "fit.ckpt", rows=rows)
    rows[[3, 4], 0] = rows[[4, 3], 0]
    with pytest.raises(emix.FileError, match="for data = "):
        fit(tmp_path / "fit.ckpt", rows=rows)


def test_the_finished_checkpoint_of_a_users_own_model_returns_its_result(tmp_path):
    model, rows = kills.problem("own model")
    how = {"model": model, "rows": rows, "stop": "iterations", "max_iter": 5}
    first = fit(tmp_path / "fit.ckpt", **how)
    again = fit(tmp_path / "fit.ckpt", stop_at=0, **how)
    assert again.log_likelihood == first.log_likelihood
    assert again.n_iter == first.n_iter
