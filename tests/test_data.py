"""Tables of every kind lead to the same fit; labels, weights and cells are checked where they enter."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix.data.table import read_table

NUMBERS = {"a": [1.0, 2.0, 1.5, 8.0, 9.0, np.nan, 8.5], "b": [3, 1, 2, 7, 9, 8, 8]}
START = emix.Mixture(emix.Normal([[1.0, 2.0], [8.0, 8.0]], [[1.0, 1.0], [1.0, 1.0]]))

FRAMES = {
    "array": lambda columns: np.column_stack(list(columns.values())),
    "column-major array": lambda columns: np.asfortranarray(np.column_stack(list(columns.values()))),
    "lists": lambda columns: np.column_stack(list(columns.values())).tolist(),
    "dict": lambda columns: columns,
    "pandas": pd.DataFrame,
    "pandas nullable": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "pandas arrow": lambda columns: pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda columns: pl.DataFrame(columns, nan_to_null=True),
    "pyarrow": lambda columns: pa.table(columns),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_table_gives_the_same_fit(kind):
    plain = emix.fit(START, FRAMES["array"](NUMBERS))
    result = emix.fit(START, FRAMES[kind](NUMBERS))
    assert result.log_likelihood == plain.log_likelihood
    assert_array_equal(result.model.family.mean, plain.model.family.mean)


@pytest.mark.parametrize("kind", ["dict", "pandas", "pandas nullable", "polars", "pyarrow"])
def test_columns_are_found_by_name(kind):
    model = emix.fit(START, FRAMES[kind](NUMBERS)).model
    other = {"z": [0, 0], "b": [1, 9], "a": [1.0, 9.0]}
    assert_array_equal(emix.predict(model, FRAMES[kind](other)), [0, 1])
    with pytest.raises(emix.DataError, match=r"no column 'a'.*\n.*'z', 'b'"):
        emix.predict(model, FRAMES[kind]({"z": [0, 0], "b": [1, 9]}))


def test_an_array_of_another_width_is_refused():
    model = emix.fit(START, FRAMES["array"](NUMBERS)).model
    with pytest.raises(emix.DataError, match=r"fitted to 2 columns \('x0', 'x1'\).\n  Found 3 columns"):
        emix.predict(model, np.ones((4, 3)))


@pytest.mark.parametrize(
    "labels",
    [
        ["x", None, "y", "x"],
        pd.Series(["x", None, "y", "x"], name="c"),
        pd.Series(pd.Categorical(["x", None, "y", "x"], categories=["y", "unused", "x"]), name="c"),
        pl.Series("c", ["x", None, "y", "x"]),
        pl.Series("c", ["x", None, "y", "x"], dtype=pl.Categorical),
        pa.chunked_array([["x", None], ["y", "x"]]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_categories_of_every_kind(labels):
    table = read_table(labels)
    assert table.columns[0].tolist() == ["x", None, "y", "x"]
    result = emix.fit(emix.Mixture(emix.Categorical(), 1), labels)
    assert result.model.family.binding.schema.levels == (("x", "y"),)
    assert_array_equal(result.model.family.probabilities.round(12), [[0.666666666667, 0.333333333333]])


def test_levels_may_be_numbers_and_truth_values():
    data = pd.DataFrame({"n": [3, 1, 3, 2], "half": [0.5, 1.0, 0.5, 2.0], "flag": [True, False, True, True]})
    schema = emix.fit(emix.Mixture(emix.Categorical(), 1), data).model.family.binding.schema
    assert schema.levels == ((1, 2, 3), (0.5, 1, 2), (False, True))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((2, 2, 2)), "shape"),
        (np.empty((0, 2)), "at least one row"),
        (np.empty((3, 0)), r"0 feature\(s\)"),
        (5.0, "single float"),
        (np.array([[1 + 2j], [3j]]), "Complex"),
        ([[1.0, 2.0], [3.0]], "different lengths|shape"),
        ({"a": [1, 2], "b": [1, 2, 3]}, "equal length"),
        (pd.DataFrame({"when": [datetime.datetime(2020, 1, 1)] * 2}), "'when'"),
        (scipy.sparse.csr_matrix(np.eye(3)), "sparse"),
        (np.array([{"a": 1}, {}], dtype=object), "dict"),
    ],
)
def test_what_is_no_table_is_refused(data, message):
    with pytest.raises(emix.DataError, match=message):
        emix.fit(emix.Mixture(emix.Normal(), 2), data)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, -1, -1, 0, 0], "row 2"),
        ([0, -2, 1, -1, -1, 0, 0], "row 1"),
        ([0, 1], r"shape \(7,\) or \(7, 2\)"),
        (np.ones((7, 3)), r"\(7, 2\)"),
        (np.where(np.arange(7)[:, None] == 3, 0.0, 1.0) * np.ones((7, 2)), "row 3"),
        (np.where(np.arange(7)[:, None] == 4, -1.0, 1.0) * np.ones((7, 2)), "row 4"),
    ],
)
def test_impossible_labels_are_refused(labels, message):
    with pytest.raises(emix.DataError, match=message):
        emix.fit(START, NUMBERS, labels=labels)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, 1, -1, 1, 1, 1, 1], "row 2"), ([1, np.inf] + [1] * 5, "row 1"), ([0] * 7, "zero"), ([1, 2], "shape")],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises(emix.DataError, match=message):
        emix.fit(START, NUMBERS, sample_weight=weights)


def test_a_row_that_no_component_allows_is_named_by_its_place_in_the_users_data():
    start = emix.Mixture(emix.Poisson([0.0, 0.0]))
    with pytest.raises(emix.DataError, match="Row 3 has probability 0"):
        emix.fit(start, [0, 0, 5, 2], sample_weight=[1, 1, 0, 1])
    with pytest.raises(emix.DataError, match="Row 2 has probability 0"):
        emix.e_step(start, [0, 0, 5, 2])
    assert_array_equal(emix.score_samples(start, [0, 5]), [0.0, -np.inf])


def test_rows_without_an_observed_cell_count_for_nothing():
    rows = np.column_stack(list(NUMBERS.values()))
    more = np.vstack([rows, [[np.nan, np.nan]]])
    result, plain = emix.fit(START, more), emix.fit(START, rows)
    assert result.log_likelihood == plain.log_likelihood
    assert result.total_weight == 7
    assert "1 row has no observed cell and counts for nothing" in " ".join(result.warnings)
    step = emix.e_step(plain.model, more)
    assert step.responsibilities[-1] == pytest.approx(plain.model.mixing_proportions, rel=1e-12)
    assert step.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-14)


def test_parameters_are_read_only_and_models_immutable():
    model = emix.fit(START, NUMBERS).model
    with pytest.raises(ValueError, match="read-only"):
        model.family.mean[0, 0] = 1.0
    with pytest.raises(AttributeError):
        model.mixing_proportions = [0.5, 0.5]


def test_given_data_are_left_as_they_were():
    rows = np.column_stack(list(NUMBERS.values()))
    before = rows.copy()
    emix.fit(emix.Mixture(emix.Normal(), 2), rows, random_state=0)
    assert_array_equal(rows, before)


@pytest.mark.parametrize("factor", [1e160, 1e-170])
def test_a_scale_whose_squares_overflow_is_refused(factor):
    with pytest.raises(emix.DataError, match="Change its unit"):
        emix.fit(emix.Mixture(emix.Normal(), 2), np.array([1.0, 2.0, 1.5, 8.0, 9.0]) * factor)


def test_an_impossible_row_of_weight_0_is_in_nobodys_way():
    start = emix.Mixture(emix.Poisson([0.0, 0.0]))
    assert emix.e_step(start, [0, 5], sample_weight=[1, 0]).log_likelihood == 0.0
    assert emix.fit(start, [0, 5, 0], sample_weight=[1, 0, 1], labels=[0, 1, 1]).log_likelihood == pytest.approx(
        2 * np.log(0.5)
    )


@pytest.mark.parametrize("value", [[], 0.5, "x", [[0.5, 0.6]], [[[0.5, 0.5]], [[1.0], [1.0]]]])
def test_impossible_probabilities_are_refused(value):
    with pytest.raises(emix.ModelError, match="probabilities"):
        emix.Categorical(value)


@pytest.mark.parametrize(
    "when",
    [
        [datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 3), datetime.date(2020, 1, 4)],
        np.array(["2020-01-01", "2020-01-02", "NaT", "2020-01-04"], dtype="datetime64[D]"),
        pd.Series(pd.to_datetime(["2020-01-01"] * 4)).dt.tz_localize("UTC"),
        pl.Series([datetime.timedelta(days=1)] * 4),
        pa.array([datetime.time(10, 0)] * 4),
        ["2020-01-01", "2020-01-02", "2020-02-01", None],
    ],
    ids=lambda one: type(one).__name__,
)
def test_dates_are_refused_where_they_are_used_and_only_there(when):
    data = {"when": when, "x": [1.0, 2.0, 8.0, 9.0]}
    with pytest.raises(emix.DataError, match=r"(?s)column 'when' holds dates.*days since"):
        emix.fit(emix.Mixture(emix.Normal(), 1), data)
    assert emix.fit(emix.Mixture(emix.Columns({"x": emix.Normal()}), 1), data).converged
    if not isinstance(when, list) or not isinstance(when[0], str):  # text may be names of components
        with pytest.raises(emix.DataError, match="holds dates"):
            emix.fit(emix.Mixture(emix.Normal(), 1), data["x"], labels=when)


X = [1.0, 1.5, 2.0, 5.0, 5.5, 6.0, 9.0, 9.5, 10.0]


def test_sets_of_labels_may_hold_names():
    numbers = [{0, 1}, 0, None, {1}, 1, {0, 1, 2}, 2, {2}, -1]
    names = [{"a", "b"}, "a", None, {"b"}, "b", {"a", "b", "c"}, "c", {"c"}, None]
    of_numbers = emix.fit(emix.Mixture(emix.Normal(), 3), X, labels=numbers, random_state=0)
    of_names = emix.fit(emix.Mixture(emix.Normal(), 3), X, labels=names, random_state=0)
    assert of_names.model.component_names == ("a", "b", "c")
    assert_array_equal(of_names.model.family.mean, of_numbers.model.family.mean)


def test_labels_find_the_components_that_a_fit_named():
    labels = ["low"] * 2 + [None] + ["mid"] * 3 + ["top"] * 2 + [None]
    model = emix.fit(emix.Mixture(emix.Normal(), 3), X, labels=labels, random_state=0).model
    known = emix.responsibilities(model, X[-2:], labels=["top", None])
    assert_array_equal(known[0], [0, 0, 1])
    within = emix.responsibilities(model, X[-2:], labels=[{"low", "mid"}, None])
    assert within[0, 2] == 0
    again = emix.fit(model, X, labels=[None] * 6 + ["top"] * 3).model
    assert again.component_names == ("low", "mid", "top")
    with pytest.raises(emix.DataError, match=r"(?s)'low', 'mid', 'top'.*'best' in row 1"):
        emix.responsibilities(model, X[-2:], labels=["top", "best"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"a", "b"}, 1, *[None] * 7], "not both"),
        ([{"a", "b"}, "c", "d", *[None] * 6], "4 names"),
        ([set(), "a", *[None] * 7], "positive one in each row"),
        ([{0, 7}, *[None] * 8], r"0\.\.2"),
        ([{0}] * 3, "shape"),
    ],
)
def test_impossible_sets_of_labels_are_refused(labels, message):
    with pytest.raises(emix.DataError, match=message):
        emix.fit(emix.Mixture(emix.Normal(), 3), X, labels=labels)


def test_levels_that_do_not_cover_the_data_are_named():
    for family in (emix.Categorical([[0.5, 0.5]]), emix.Columns({"c": emix.Categorical([[0.5, 0.5]])})):
        with pytest.raises(
            emix.ModelError, match=r"(?s)'c' needs one for each of its 3 levels \('u', 'v', 'w'\).*Found 2"
        ):
            emix.fit(emix.Mixture(family), {"c": ["u", "v", "w"]})


SIZES = {"size": ["S", "L", "S", None, "M", "L"], "n": [1, 2, 1, 2, 2, 1]}


@pytest.mark.parametrize("is_compact", [False, True])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_declared_levels_keep_their_order_and_those_that_no_row_holds(is_compact, is_streamed, monkeypatch, tmp_path):
    monkeypatch.setattr("emix.data.encode.COMPACT_FROM", 0 if is_compact else 10**9)
    monkeypatch.setattr("emix.data.source.COMPACT_FROM", 0 if is_compact else 10**9)
    data = pl.DataFrame(SIZES)
    if is_streamed:
        data.write_parquet(tmp_path / "rows.parquet")
        data = emix.scan(tmp_path / "rows.parquet", memory_limit=0)
    family = emix.Categorical(levels={"size": ["S", "M", "L", "XL"]})
    model = emix.fit(emix.Mixture(family, 1), data).model
    assert model.family.binding.schema.levels == (("S", "M", "L", "XL"), (1, 2))
    assert_allclose(model.family.probabilities[0], [[0.4, 0.2, 0.4, 0.0]], rtol=1e-12)
    emix.save(model, tmp_path / "m.json")
    assert emix.load(tmp_path / "m.json").family.levels == {"size": ("S", "M", "L", "XL")}


def test_declared_levels_of_all_columns_and_of_one_among_others():
    sizes = ("S", "M", "L")
    both = emix.fit(emix.Mixture(emix.Categorical(levels=sizes), 1), {"a": ["S", "S"], "b": ["M", "L"]}).model
    assert both.family.binding.schema.levels == (sizes, sizes)
    beside = emix.Columns({"n": emix.Poisson(), "size": f"categorical(levels={list(sizes)})"})
    weight = [1, 1, 1, 1, 0, 1]  # of the only M
    one = emix.fit(emix.Mixture(beside, 1, prior_rows=1.0), SIZES, sample_weight=weight).model
    assert one.family.binding.schema.levels == (None, sizes)
    alone = emix.Mixture(emix.Categorical([[0.5, 0.25, 0.25]], levels=sizes))
    assert set(emix.sample(alone, 50, random_state=0)[0][:, 0]) == set(sizes)
    assert_allclose(emix.score_samples(alone, ["L", "S"]), np.log([0.25, 0.5]), rtol=1e-12)
    prior = emix.Categorical(levels=sizes, prior=emix.DirichletPrior(2))
    seen = emix.fit(emix.Mixture(prior, 1), {"size": ["S", "L", "S"]}).model
    assert_allclose(seen.family.probabilities, [[3 / 6, 1 / 6, 2 / 6]], rtol=1e-12)


def test_a_cell_outside_the_declared_levels_is_refused_or_missing():
    with pytest.raises(emix.DataError, match=r"'size' may only hold.*'S', 'M'\.\n.*'L' in row 1.*\n.*levels="):
        emix.fit(emix.Mixture(emix.Categorical(levels={"size": ["S", "M"]}), 1), SIZES)
    forgiving = emix.Categorical(levels={"size": ["S", "M"]}, unknown="missing")
    model = emix.fit(emix.Mixture(forgiving, 1), SIZES).model
    assert_allclose(model.family.probabilities[0], [[2 / 3, 1 / 3]], rtol=1e-12)
    with pytest.raises(emix.ModelError, match=r"column of categories 'sise'.*\n.*'size'"):
        emix.fit(emix.Mixture(emix.Categorical(levels={"sise": ["S"]}), 1), SIZES)
    for wrong in ("SML", [], ["S", "S"], ["S", None], 3, {"size": []}):
        with pytest.raises(emix.ModelError, match="needs a list of different categories"):
            emix.Categorical(levels=wrong)


@pytest.mark.parametrize("family", [emix.Normal(), emix.Poisson(), emix.Categorical(), emix.Beta()], ids=str)
def test_a_column_that_is_missing_in_every_row_is_named(family):
    data = (
        {"a": [0.5, 0.25, 0.75], "b": [None] * 3}
        if family.name in ("beta", "normal")
        else {"a": [1, 2, 3], "b": [None] * 3}
    )
    for one in (family, emix.Columns({"a": family, "b": family})):
        with pytest.raises(emix.DataError, match="'b' is missing in every row"):
            emix.fit(emix.Mixture(one, 2), data)


def test_public_names_alone_are_listed():
    assert set(dir(emix)) == {*emix.__all__, "__version__"}
