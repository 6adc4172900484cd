"""Families side by side: a table whose columns are of several kinds."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import emix
from emix import (
    Bernoulli,
    Binomial,
    Categorical,
    Columns,
    Gamma,
    LogNormal,
    Mixture,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    fit,
)
from emix.data.auto import assume
from emix.data.table import read_table
from emix.report.profile import profiles


def people(n=500, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    table = {
        "age": np.where(z, 30.0, 50.0) + 5 * rng.normal(size=n),
        "visits": rng.poisson(np.where(z, 2, 6)).astype(float),
        "city": np.where(rng.random(n) < np.where(z, 0.8, 0.2), "A", "B").astype(object),
        "height": 170 + 8 * rng.normal(size=n) + 5 * z,
        "member": (rng.random(n) < np.where(z, 0.3, 0.7)).astype(float),
        "income": np.exp(rng.normal(np.where(z, 7, 8), 0.5)),
    }
    table["weight"] = 0.9 * table["height"] - 90 + 6 * rng.normal(size=n)
    for name, cells in table.items():
        cells[rng.random(n) < missing] = None if name == "city" else np.nan
    return table, z


FAMILIES = {
    "age": Normal(),
    "visits": Poisson(),
    "city": Categorical(),
    ("height", "weight"): MultivariateNormal(structure="VVV"),
    "member": Bernoulli(),
    "income": LogNormal(),
}


@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_densities_and_sums_are_those_of_the_parts(missing):
    table, _ = people(missing=missing)
    result = fit(Mixture(Columns(FAMILIES), 2), table, random_state=0)
    model, p = result.model, result.model.mixing_proportions
    joint = np.log(p)[None]
    for part in model.family.parts:
        own = {name: table[name] for name in part.names}
        alone = Mixture(part.family, mixing_proportions=p)
        step = emix.e_step(alone, own)
        joint = joint + step.log_prob
        if not part.family.is_linear(is_complete=not missing):  # its first M-step starts from moments of all rows
            continue
        spec = FAMILIES[part.names if len(part.names) > 1 else part.names[0]]
        start = emix.responsibilities(model, table)
        again = fit(Mixture(spec, 2), own, start=start, stop="iterations", max_iter=0).model
        for name, value in again.family.parameters.items():  # the M-step of a part is its family's own
            assert_allclose(value, model.parameters[f"{part.label}.{name}"], rtol=1e-3, atol=1e-3)
    top = joint.max(axis=1)
    wanted = top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
    assert_allclose(emix.score_samples(model, table), wanted, rtol=1e-10)
    assert_allclose(wanted.sum(), result.log_likelihood, rtol=1e-10)


def test_one_part_is_the_family_itself():
    table, _ = people()
    for name, family in FAMILIES.items():
        names = name if isinstance(name, tuple) else (name,)
        own = {column: table[column] for column in names}
        options = {"random_state": 0, "n_init": 2}
        alone = fit(Mixture(family, 2), own, **options)
        within = fit(Mixture(Columns({name: family}), 2), own, **options)
        assert [r.log_likelihood for r in alone.history] == [r.log_likelihood for r in within.history]
        assert alone.n_free_parameters == within.n_free_parameters


def test_groups_are_found_and_everything_survives_a_file(tmp_path):
    table, z = people(missing=0.1)
    result = fit(Mixture(Columns(FAMILIES), 2), table, random_state=0)
    agree = (emix.predict(result.model, table) == z).mean()
    assert max(agree, 1 - agree) > 0.97
    result.save(tmp_path / "model.json")
    again = emix.load(tmp_path / "model.json")
    assert_array_equal(emix.score_samples(again, table), emix.score_samples(result.model, table))
    assert str(again) == str(result.model)
    rows, _ = emix.sample(again, 50, random_state=0)
    assert set(rows[:, 2]) <= {"A", "B"}
    shuffled = {name: table[name] for name in reversed(table)}  # columns are matched by name
    assert_array_equal(emix.score_samples(again, shuffled), emix.score_samples(again, table))
    vector = again.to_vector()
    assert len(vector) == again.n_free_parameters == result.n_free_parameters
    assert_allclose(emix.score_samples(again.from_vector(vector), table), emix.score_samples(again, table), rtol=1e-9)


def test_fixed_parameters_have_the_name_of_their_column():
    table, _ = people()
    families = {"age": Normal(variance=[25.0, 25.0]), "visits": Poisson()}
    result = fit(Mixture(Columns(families), 2, fixed={"age.variance"}), table, random_state=0)
    assert_array_equal(result.model.parameters["age.variance"], [25.0, 25.0])
    assert result.n_free_parameters == 1 + 2 + 2
    with pytest.raises(emix.ModelError, match=r"age\.mean"):
        Mixture(Columns(families), 2, fixed={"age.centre"})


def test_columns_that_are_read_beside_and_parts_that_are_not_linear():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    tosses = rng.integers(5, 15, 300)
    table = {
        "heads": rng.binomial(tosses, np.where(z, 0.2, 0.8)).astype(float),
        "tosses": tosses.astype(float),
        "noise": rng.standard_t(3, 300) + 4 * z,
    }
    result = fit(Mixture(Columns({"heads": Binomial("tosses"), "noise": StudentT()}), 2), table, random_state=0)
    assert result.converged
    agree = (emix.predict(result.model, table) == z).mean()
    assert max(agree, 1 - agree) > 0.95


def test_what_cannot_be():
    with pytest.raises(emix.ModelError, match="mapping of columns"):
        Columns([Normal()])
    with pytest.raises(emix.ModelError, match="each once"):
        Columns({("a", "b"): MultivariateNormal(), "a": Normal()})
    with pytest.raises(emix.ModelError, match="unknown family"):
        Columns({"a": "gaussian"})
    table, _ = people()
    with pytest.raises(emix.DataError, match="'salary'"):
        fit(Mixture(Columns({"salary": Normal()}), 2), table)
    with pytest.raises(emix.DataError, match=r"(?s)poisson.*column 'age'"):
        fit(Mixture(Columns({"age": Poisson()}), 2), table)
    with pytest.raises(emix.ModelError, match="different numbers"):
        Columns({"a": Poisson([1.0, 2.0]), "b": Poisson([1.0, 2.0, 3.0])})
    assert Multinomial().is_additive is False


def test_what_is_assumed_of_a_table_and_why():
    rng = np.random.default_rng(0)
    table, _ = people(300)
    table |= {
        "id": np.arange(300.0),
        "code": np.array([f"r{i}" for i in range(300)], dtype=object),
        "same": np.full(300, 7.0),
        "flag": rng.random(300) < 0.5,
        "wide": rng.negative_binomial(1, 0.1, 300).clip(0, 100).astype(float),
        "gamma": rng.gamma(0.2, 2.0, 300) + 1e-12,
    }
    whole = assume(read_table(table), given={"height": Gamma()})
    family, assumed = whole.family(2), whole.assumptions(2)
    found = {one.column: one.family and one.family.name for one in assumed}
    assert found == {
        "age": "normal",
        "visits": "poisson",
        "city": "categorical",
        "height": "gamma",
        "member": "bernoulli",
        "income": "lognormal",
        "weight": "normal",
        "id": None,
        "code": None,
        "same": None,
        "flag": "bernoulli",
        "wide": "negative_binomial",
        "gamma": "gamma",
    }
    assert {part.label for part in family.parts} == {name for name, kind in found.items() if kind}
    assert all(one.reason for one in assumed)


def test_the_profile_puts_the_telling_columns_first():
    table, _ = people(2000)
    table["idle"] = np.random.default_rng(1).normal(size=2000)
    result = fit(Mixture(Columns({**FAMILIES, "idle": Normal()}), 2), table, random_state=0)
    found = profiles(result.model)
    assert found[0].column == "age"
    assert found[-1].column in ("idle", "weight")
    assert found[0].apart == pytest.approx(0.8, abs=0.05)  # 10^2 / (10^2 + 5^2)
    (city,) = (one for one in found if one.column == "city")
    assert city.apart == pytest.approx(0.36, abs=0.06)  # (0.8 - 0.2)^2


def test_a_survey_from_the_command_line(run):
    out = run("fit", "examples/survey.csv", "-k", 3, "--seed", 0)
    assert out.exit_code == 0
    assert "id: left out (an identifier: 400 different texts)" in out.stderr
    assert "visits: poisson" in out.stderr
    assert "apart" in out.stdout
    other = run("fit", "examples/survey.csv", "-k", 2, "--seed", 0, "--family", "spent=gamma,age=normal", "--json")
    parts = json.loads(other.stdout)["model"]["family"]["parts"]
    assert {part["columns"][0]: part["family"]["name"] for part in parts}["spent"] == "gamma"


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("known", ["nothing", "labels", "q"])
@pytest.mark.parametrize(
    "names", [["age", "visits", "city", "member", "income"], ["visits", "city"], ["age", "income"], ["city", "age"]]
)
def test_kernel_and_twin_agree(monkeypatch, names, known, missing):
    table, z = people(3000, missing=missing)
    rng = np.random.default_rng(1)
    labels = {
        "nothing": None,
        "labels": np.where(rng.random(3000) < 0.3, z, -1),
        "q": rng.uniform(0.1, 2.0, (3000, 3)),
    }[known]
    model = Mixture(Columns({name: FAMILIES[name] for name in names}), 3)
    found = []
    for limit in (0, np.inf):
        monkeypatch.setattr("emix.kernels.dispatch.COMPILE_FROM", limit)
        options = {"stop": "iterations", "max_iter": 4, "n_init": 1, "random_state": 0}
        found.append(fit(model, {n: table[n] for n in names}, labels=labels, sample_weight=1 + z, **options))
    fast, plain = ([record.log_likelihood for record in one.history] for one in found)
    assert_allclose(fast, plain, rtol=1e-12)
    for name, value in found[0].model.parameters.items():
        assert_allclose(value, found[1].model.parameters[name], rtol=1e-9)


def test_the_estimator_takes_a_table_as_it_is():
    table, z = people(missing=0.1)
    model = emix.MixtureModel(2, random_state=0).fit(read_frame(table))
    assert {one.column for one in model.assumptions_} == set(table)
    own = emix.MixtureModel(2, family={"age": Normal(), "city": "categorical"}, random_state=0).fit(read_frame(table))
    assert own.family_.columns == ("age", "city")
    agree = (model.predict(read_frame(table)) == z).mean()
    assert max(agree, 1 - agree) > 0.95


def read_frame(table):
    import pandas as pd

    return pd.DataFrame(table)


def test_a_category_that_the_fit_did_not_see():
    table = {"city": np.array(["A", "B", "A", "C"] * 20, dtype=object), "age": np.arange(80.0)}
    new = {"city": np.array(["Z"], dtype=object), "age": np.array([3.0])}
    known = {"city": np.array([None], dtype=object), "age": np.array([3.0])}
    for unknown in ("error", "missing"):
        families = {"city": Categorical(unknown=unknown), "age": Normal()}
        model = fit(Mixture(Columns(families), 2), table, random_state=0).model
        if unknown == "missing":
            assert_array_equal(emix.score_samples(model, new), emix.score_samples(model, known))
        else:
            with pytest.raises(emix.DataError, match=r"(?s)'city'.*'Z' in row 0"):
                emix.score_samples(model, new)
    with pytest.raises(emix.ModelError, match="unknown categories"):
        Categorical(unknown="guess")


def test_missing_categories_of_a_large_table_stay_missing_beside_other_columns(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    n = 3_000
    group = rng.random(n) < 0.4
    city = np.where(rng.random(n) < np.where(group, 0.8, 0.3), "Rome", "Oslo").astype(object)
    city[rng.random(n) < 0.2] = None
    frame = pd.DataFrame({"size": rng.normal(size=n) + 3 * group, "city": city})
    family = emix.Columns({"size": emix.Normal(), "city": emix.Categorical()})
    how = {"random_state": 0, "n_init": 1, "stop": "iterations", "max_iter": 3}
    want = emix.fit(emix.Mixture(family, 2), frame, **how)
    frame.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr("emix.data.encode.COMPACT_FROM", 1_000)
    for data in (frame, emix.scan(tmp_path / "rows.parquet", memory_limit=0)):
        assert emix.fit(emix.Mixture(family, 2), data, **how).log_likelihood == want.log_likelihood


def test_a_column_that_is_read_beside_another_may_be_named_with_it():
    rng = np.random.default_rng(0)
    tosses = rng.integers(3, 9, 60)
    table = {"h": rng.binomial(tosses, 0.4), "n": tosses, "x": rng.normal(size=60)}
    one, two = (
        fit(Mixture(Columns({key: Binomial("n"), "x": Normal()}), 1), table).log_likelihood for key in ("h", ("h", "n"))
    )
    assert one == two
    assumed = assume(read_table(table), given={"h": Binomial("n")})
    assert [one.column for one in assumed.columns] == ["h", "x"]  # n is no column of its own
    with pytest.raises(emix.ModelError, match=r"\('t', 'died'\): CensoredWeibull\(event='died'\)"):
        Columns({"t": emix.CensoredWeibull(event="died"), "x": Normal()})
