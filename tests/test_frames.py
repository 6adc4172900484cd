"""Parameters and responsibilities as data frames of the user's own library."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cases import CASES
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import clone, config_context

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Columns,
    Mixture,
    ModelError,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    fit,
    responsibilities,
    responsibilities_frame,
    to_frame,
)

TIDY = ["component", "column", "parameter", "level", "value"]
NATIVE = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.Table}


def rows(model) -> list[tuple]:
    """The tidy table as tuples, nulls as None."""
    return [tuple(line.values()) for line in to_frame(model, backend="polars").to_dicts()]


@pytest.mark.parametrize("backend", NATIVE)
def test_each_library_gets_its_own_frame(backend):
    frame = to_frame(Mixture(Poisson([1.0, 4.0])), backend=backend)
    assert type(frame) is NATIVE[backend]
    values = frame["value"].to_list() if backend != "pyarrow" else frame["value"].to_pylist()
    assert values == [0.5, 0.5, 1.0, 4.0]
    assert list(frame.columns if backend != "pyarrow" else frame.column_names) == TIDY


def test_without_a_choice_the_first_library_that_is_installed(monkeypatch):
    from emix import frames

    assert type(to_frame(Mixture(Poisson([1.0])))) is pd.DataFrame
    real = frames.find_spec
    monkeypatch.setattr(frames, "find_spec", lambda name: None if name == "pandas" else real(name))
    assert type(to_frame(Mixture(Poisson([1.0])))) is pl.DataFrame
    with pytest.raises(ModelError, match="installed"):
        to_frame(Mixture(Poisson([1.0])), backend="pandas")
    monkeypatch.setattr(frames, "find_spec", lambda name: None if name in ("pandas", "polars") else real(name))
    assert type(to_frame(Mixture(Poisson([1.0])))) is pa.Table


def test_levels_are_those_of_the_data():
    data = {"city": ["Ulm", "Ulm", "Köln", "Köln"], "owns": [True, False, True, False]}
    model = fit(Mixture(Categorical(), 1), data).model
    assert rows(model) == [
        (0, None, "mixing_proportion", None, 1.0),
        (0, "city", "probabilities", "Köln", 0.5),
        (0, "city", "probabilities", "Ulm", 0.5),
        (0, "owns", "probabilities", "False", 0.5),
        (0, "owns", "probabilities", "True", 0.5),
    ]


def test_a_covariance_names_both_of_its_columns():
    C = np.array([[[2.0, 0.5], [0.5, 1.0]]])
    x = np.random.default_rng(0).normal(size=(50, 2))
    model = fit(Mixture(MultivariateNormal([[0.0, 0.0]], C)), pd.DataFrame(x, columns=["a", "b"])).model
    frame = to_frame(model, "pandas")
    wide = frame[frame.parameter == "covariance"].pivot(index="column", columns="level", values="value")
    assert_array_equal(wide.loc[["a", "b"], ["a", "b"]], model.family.covariance[0])
    assert_array_equal(frame[frame.parameter == "mean"].value, model.family.mean[0])
    assert frame[frame.parameter == "mean"].level.isna().all()


def test_before_there_are_data_columns_are_numbered():
    found = rows(Mixture(StudentT([[0.0, 1.0]], [np.eye(2)], [5.0])))
    assert found[1:3] == [(0, "x0", "mean", None, 0.0), (0, "x1", "mean", None, 1.0)]
    assert found[-1] == (0, None, "degrees_of_freedom", None, 5.0)  # of the component, not of a column
    assert rows(Mixture(Categorical([[[0.25, 0.75]], [[1.0, 0.0]]])))[1:] == [
        (0, "x0", "probabilities", "0", 0.25),
        (0, "x0", "probabilities", "1", 0.75),
        (0, "x1", "probabilities", "0", 1.0),
        (0, "x1", "probabilities", "1", 0.0),
    ]


def test_families_side_by_side():
    family = Columns({"age": Normal([30.0], [4.0]), "member": Bernoulli([0.25])})
    assert rows(Mixture(family))[1:] == [
        (0, "age", "mean", None, 30.0),
        (0, "age", "variance", None, 4.0),
        (0, "member", "probability", None, 0.25),
    ]


def test_groups_of_columns_are_told_apart():
    rng = np.random.default_rng(0)
    data = {"t": rng.exponential(2.0, 60), "died": np.repeat([1, 0, 1], 20)}
    data |= {"u": data["t"] * 3, "left": data["died"]}
    groups = {(t, event): emix.CensoredWeibull(event=event) for t, event in (("t", "died"), ("u", "left"))}
    found = fit(Mixture(Columns(groups), 1), data)
    keys = [line[:4] for line in rows(found.model)]
    assert keys[1:] == [(0, group, name, None) for group in ("t,died", "u,left") for name in ("shape", "scale")]
    errors = emix.standard_errors(found, data)
    assert errors.names[1:] == tuple(f"{name}[0, {group}]" for _, group, name, _ in keys[1:])
    assert errors.of("scale", column="u,left").value == found.model.family.part("u").scale[0]
    assert emix.wald_test(errors, "scale[0, t,died] = scale[0, u,left]").df == 1


def test_the_column_of_numbers_of_tosses_has_no_parameter():
    data = {"heads": [1, 2, 7, 8], "tosses": [10, 10, 10, 9]}
    model = fit(Mixture(Binomial("tosses"), 1), data).model
    assert rows(model)[1][:4] == (0, "heads", "probability", None)


def test_names_of_components_and_noise():
    x = np.concatenate([np.random.default_rng(0).normal(size=40), [50.0, -60.0]])
    labels = ["low", "high"] + [None] * 40
    named = fit(Mixture(Normal(), 2), x, labels=labels).model
    assert to_frame(named, "polars")["component"].unique().sort().to_list() == ["high", "low"]
    assert responsibilities_frame(named, pl.DataFrame({"x0": x})).columns == ["high", "low"]
    noisy = fit(Mixture(Normal([0.0], [1.0]), noise=True), x).model
    assert len(rows(noisy)) == 2 + 2
    assert list(responsibilities_frame(noisy, x).columns) == ["component 0", "noise"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_number_of_every_family_is_there_once(case):
    family = case.bound(case.draw(50)[0])
    table = rows(Mixture(family))[family.n_components :]
    assert len({line[:4] for line in table}) == len(table)
    found = [value for *_, value in table]
    expected = [
        np.ravel(one)
        for value in family.parameters.values()
        for one in (value if isinstance(value, tuple) else (value,))
    ]
    assert_array_equal(np.sort(found), np.sort(np.concatenate(expected)))


def test_responsibilities_keep_the_index_of_pandas():
    model = Mixture(Normal([0.0, 5.0], [1.0, 1.0]))
    index = pd.MultiIndex.from_tuples([("a", 3), ("a", 1), ("b", 2)])
    frame = responsibilities_frame(model, pd.DataFrame({"x": [0.0, 5.0, 2.5]}, index=index))
    assert frame.index.equals(index)
    assert list(frame.columns) == ["component 0", "component 1"]
    assert_array_equal(frame.to_numpy(), responsibilities(model, [0.0, 5.0, 2.5]))
    series = responsibilities_frame(model, pd.Series([0.0, 5.0], index=["p", "q"]))
    assert series.index.to_list() == ["p", "q"]


@pytest.mark.parametrize("kind", [pl.DataFrame, pa.table])
def test_responsibilities_in_the_library_of_the_data(kind):
    model = Mixture(Normal([0.0, 5.0], [1.0, 1.0]))
    frame = responsibilities_frame(model, kind({"x": [0.0, 5.0, 2.5]}), labels=[1, -1, -1])
    assert isinstance(frame, pl.DataFrame if kind is pl.DataFrame else pa.Table)
    own = np.column_stack([np.asarray(frame[name]) for name in ("component 0", "component 1")])
    assert_array_equal(own, responsibilities(model, [0.0, 5.0, 2.5], labels=[1, -1, -1]))
    assert_array_equal(own[0], [0.0, 1.0])


ESTIMATORS = [
    emix.MixtureModel(2, family="poisson", n_init=2, random_state=0),
    emix.GaussianMixture(2, random_state=0),
    emix.LatentClassAnalysis(2, n_init=2, random_state=0),
]
FEW = {"a": [0, 1, 1, 0, 3, 4, 3, 4] * 3, "b": [1, 0, 0, 1, 2, 3, 3, 2] * 3}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_an_estimator_gives_frames_of_the_library_that_it_was_fitted_to(estimator, kind):
    data = kind(FEW)
    model = clone(estimator).fit(data)
    frames = [model.to_frame(), to_frame(model), model.result_.to_frame(), to_frame(model.result_)]
    assert {type(one) for one in frames} == {type(data)}
    assert type(model.to_frame("polars")) is pl.DataFrame
    assert rows(model) == rows(model.result_.model)
    assert_array_equal(np.asarray(responsibilities_frame(model, data)), model.predict_proba(data))
    assert type(responsibilities_frame(model.result_, data)) is type(data)


def test_a_fit_of_a_frame_gives_frames_of_its_library():
    data = pl.DataFrame(FEW)
    found = fit(Mixture(Poisson(), 2), data, random_state=0)
    assert type(found.to_frame()) is type(to_frame(found)) is pl.DataFrame
    assert type(found.model.to_frame()) is pd.DataFrame  # a model by itself knows of no frame
    assert type(fit(Mixture(Poisson(), 2), FEW, random_state=0).to_frame()) is pd.DataFrame
    chosen = emix.select(data["a"], [1, 2], Poisson(), random_state=0, n_init=2)
    assert type(chosen.result.to_frame()) is type(chosen.to_frame()) is pl.DataFrame
    assert type(emix.standard_errors(found, data).to_frame()) is pl.DataFrame
    again = emix.bootstrap(found, data, n_replicates=3, random_state=0)
    assert type(again.to_frame()) is pl.DataFrame
    assert type(again.to_frame("pandas")) is pd.DataFrame
    online = emix.MixtureModel(2, family="poisson", random_state=0).partial_fit(data)
    assert type(to_frame(online)) is type(online.to_frame()) is pl.DataFrame


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
def test_set_output_is_honoured(estimator):
    data = pd.DataFrame(FEW, index=[f"r{i}" for i in range(24)])
    model = clone(estimator).fit(data)
    resp, names = model.predict_proba(data), [f"{type(model).__name__.lower()}{k}" for k in range(2)]
    assert model.get_feature_names_out().tolist() == names
    assert_array_equal(model.transform(data), resp)
    assert_frame_equal(
        model.set_output(transform="pandas").transform(data), pd.DataFrame(resp, index=data.index, columns=names)
    )
    assert type(model.predict_proba(data)) is np.ndarray
    found = model.set_output(transform="polars").transform(pl.DataFrame(FEW))
    assert type(found) is pl.DataFrame
    assert found.columns == names
    assert type(model.set_output(transform="default").transform(data)) is np.ndarray
    with config_context(transform_output="pandas"):
        assert clone(estimator).fit_transform(data).index.equals(data.index)


def test_what_was_not_fitted_is_refused():
    for frame in (to_frame, lambda model: responsibilities_frame(model, FEW)):
        with pytest.raises(ModelError, match="This MixtureModel has none"):
            frame(emix.MixtureModel(2))
        with pytest.raises(ModelError, match="fitted estimator"):
            frame(pd.DataFrame(FEW))


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match="Mixture"):
        to_frame(Poisson([1.0]))
    with pytest.raises(ModelError, match="parameters"):
        to_frame(Mixture(Poisson(), 2))
    with pytest.raises(ModelError, match="'dask'"):
        to_frame(Mixture(Poisson([1.0])), backend="dask")


def test_analyses_are_tables_in_notebooks():
    x = np.r_[np.random.default_rng(0).poisson(2, 60), np.random.default_rng(1).poisson(9, 60)]
    chosen = emix.select(x, range(1, 4), emix.Poisson(), random_state=0, n_init=2)
    errors = emix.standard_errors(chosen.result, x)
    again = emix.bootstrap(chosen.result, x, n_replicates=20, random_state=0)
    html = [one._repr_html_() for one in (chosen, errors, again, emix.diagnose(chosen.result, x, errors))]
    assert all(one.startswith("<table") and "</table>" in one and "nan" not in one for one in html)
    assert html[0].index("<td") < html[0].index(f"{chosen.best.result.bic:,.3f}")
    assert f"{errors.estimates[2].value:.5g}" in html[1]
