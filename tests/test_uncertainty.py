"""Standard errors: against numerical derivatives of the densities, published values, and repetition of rows."""

from __future__ import annotations

import itertools
import json
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, Case, law
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import emix
from emix import Columns, DataError, FitError, Mixture, ModelError, Normal, Poisson
from emix.fitting.use import prepared
from emix.inference.information import information
from emix.inference.uncertainty import interval

EXAMPLE = Path(__file__).parents[1] / "examples" / "linkage.py"
LEVELS = (1.0, 0.5, 0.25)


# -- every family: the information is the Hessian of the densities ---------------------------------------------------


def at_zero_step(estimates) -> np.ndarray:
    """Richardson's extrapolation, written out."""
    coarse = [(4 * b - a) / 3 for a, b in itertools.pairwise(estimates)]
    return (16 * coarse[1] - coarse[0]) / 15


def along(values_at, *, second: bool = False) -> np.ndarray:
    """First or second derivative at 0 of a function of a number."""
    if second:
        centre = values_at(0.0)
        return at_zero_step([(values_at(h) + values_at(-h) - 2 * centre) / h**2 for h in LEVELS])
    return at_zero_step([(values_at(h) - values_at(-h)) / (2 * h) for h in LEVELS])


def lines(unit: np.ndarray, seed: int = 1, n: int = 3) -> np.ndarray:
    """Directions (n, p) that mix all coordinates: p (p + 1) / 2 entries one by one would take too long."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, len(unit))) * unit * 0.6 / np.sqrt(len(unit))


def assert_is_information(model: Mixture, x: np.ndarray, atol: float) -> None:
    """In units of the complete data: scores row by row, and curvature."""
    found = information(*prepared(model, x))
    assert found.is_free.all()
    assert_allclose(found.log_likelihood, emix.score_samples(model, x).sum(), rtol=1e-12)
    own = np.concatenate([rows for _, rows in found.row_scores()])
    assert_allclose(found.outer, own.T @ own, rtol=1e-9, atol=1e-9 * np.abs(found.outer).max())
    assert_allclose(found.score, own.sum(axis=0), rtol=1e-9, atol=1e-9 * np.abs(own).sum())
    vector = model.to_vector()
    for line in lines(1 / np.sqrt(np.abs(np.diagonal(found.complete)))):
        seen: dict[float, np.ndarray] = {}

        def scores(t: float, line: np.ndarray = line, seen: dict[float, np.ndarray] = seen) -> np.ndarray:
            if t not in seen:
                seen[t] = emix.score_samples(model.from_vector(vector + t * line), x)
            return seen[t]

        assert_allclose(own @ line, along(scores), rtol=0, atol=atol)
        curvature = along(lambda t: scores(t).sum(), second=True)
        assert_allclose(-line @ found.observed @ line, curvature, rtol=0, atol=atol)


# rounding of what it is compared with: densities of rows 1e6 away from 0 have lost six digits
HARDER = {"normal-far": 1e-5, "multivariate-normal-factors": 1e-6}


@law(CASES)
def test_information_is_that_of_the_densities(case: Case):
    x, _ = case.draw(80)
    assert_is_information(case.mixture(x), x, HARDER.get(case.id, 3e-7))


def mixed_rows(n: int = 150) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    z = rng.random(n) < 0.4
    return {
        "a": np.where(z, rng.normal(0, 1, n), rng.normal(3, 2, n)),
        "b": np.where(z, rng.poisson(2, n), rng.poisson(6, n)),
        "c": np.where(z, rng.choice(["u", "v", "w"], n), rng.choice(["u", "v"], n, p=[0.9, 0.1])),
        "d": np.where(z, rng.negative_binomial(3, 0.4, n), rng.negative_binomial(2, 0.1, n)),
        "e": np.where(rng.random(n) < 0.2, np.nan, rng.normal(z * 2.0, 1, n)),
    }


def log_likelihood_of(model: Mixture, rows, **known) -> float:
    return emix.e_step(model, rows, **known).log_likelihood


def assert_curvature(result, rows, **known) -> None:
    """Of a fit: the observed information along lines is what the log-likelihood loses."""
    found = information(*prepared(result.model, rows, **known))
    vector = result.model.to_vector()
    for own in lines(1 / np.sqrt(np.diagonal(found.complete)), n=2):
        line = np.zeros(len(vector))
        line[found.is_free] = own

        def log_likelihood(t: float, line: np.ndarray = line) -> float:
            return log_likelihood_of(result.model.from_vector(vector + t * line), rows, **known)

        assert_allclose(-own @ found.observed @ own, along(log_likelihood, second=True), rtol=1e-6, atol=1e-7)


def test_families_side_by_side_with_missing_cells():
    rows = mixed_rows()
    kinds = {"a": Normal(), "b": Poisson(), "c": "categorical", "d": "negative_binomial", "e": Normal()}
    result = emix.fit(Mixture(Columns(kinds), 2), rows, random_state=0)
    assert_curvature(result, rows)
    found = emix.standard_errors(result, rows)
    assert {one.column for one in found.estimates} == {None, "a", "b", "c", "d", "e"}
    assert found.of("probabilities", 0, "c")[2].level_name == "w"


def test_gaussians_with_missing_cells_known_labels_and_noise(iris):
    x, species = iris
    rng = np.random.default_rng(1)
    holed = np.where(rng.random(x.shape) < 0.15, np.nan, x)
    labels = np.where(rng.random(len(x)) < 0.3, species > 0, -1).astype(int)
    result = emix.fit(Mixture(emix.MultivariateNormal(), 2), holed, labels=labels, random_state=0)
    assert_curvature(result, holed, labels=labels)
    result = emix.fit(Mixture(emix.StudentT(), 2, noise=True), x[:, :2], random_state=0)
    assert_curvature(result, x[:, :2])


def test_weight_3_equals_the_row_three_times():
    x = np.random.default_rng(0).poisson(np.repeat([2.0, 9.0], 40))
    w = np.where(np.arange(80) % 4 == 0, 3, 1)
    result = emix.fit(Mixture(Poisson(), 2), x, sample_weight=w, random_state=0, tol=1e-12)
    twice = np.repeat(x, w)
    again = emix.fit(Mixture(Poisson(), 2), twice, start=result.model, tol=1e-12)
    for method in ("observed", "outer", "sandwich"):
        one = emix.standard_errors(result, x, sample_weight=w, method=method)
        other = emix.standard_errors(again, twice, method=method)
        assert_allclose(one.covariance, other.covariance, rtol=1e-6)


# -- what is known of the answer -------------------------------------------------------------------------------------


def test_one_component_has_the_textbook_standard_errors():
    x = np.random.default_rng(3).normal(5, 2, (60, 1))
    result = emix.fit(Mixture(Normal(), 1), x)
    found, n, s = emix.standard_errors(result, x), 60, x.std()
    assert_allclose(found.of("mean", 0).standard_error, s / np.sqrt(n), rtol=1e-9)
    assert_allclose(found.of("variance", 0).standard_error, s**2 * np.sqrt(2 / n), rtol=1e-9)
    assert_allclose(found.of("standard_deviation", 0).standard_error, s / np.sqrt(2 * n), rtol=1e-9)
    assert found.of("mixing_proportion").note == "fixed"
    assert found.condition == pytest.approx(1.0)


def test_a_correlation_has_fishers_standard_error():
    x = np.random.default_rng(4).multivariate_normal([0, 0], [[1, 0.6], [0.6, 2]], 200)
    result = emix.fit(Mixture(emix.MultivariateNormal(), 1), x)
    r = emix.standard_errors(result, x).of("correlation", 0)
    assert_allclose(r.standard_error, (1 - r.value**2) / np.sqrt(200), rtol=1e-8)
    z = np.arctanh(r.value) + 1.959963984540054 / np.sqrt(200) * np.array([-1, 1])
    assert_allclose([r.lower, r.upper], np.tanh(z), rtol=1e-8)


def test_a_sandwich_does_not_mind_a_wrong_family():
    """Poisson rates of counts that vary more: the sandwich is the standard deviation of the mean, sd / sqrt(n)."""
    x = np.random.default_rng(5).negative_binomial(2, 0.2, 300)
    result = emix.fit(Mixture(Poisson(), 1), x)
    sandwich = emix.standard_errors(result, x, method="sandwich").of("rate", 0).standard_error
    assert_allclose(sandwich, x.std() / np.sqrt(300), rtol=1e-9)
    assert_allclose(emix.standard_errors(result, x).of("rate", 0).standard_error, np.sqrt(x.mean() / 300), rtol=1e-9)


def test_linkage_by_its_vector_form(published, reference):
    linkage, counts = runpy.run_path(str(EXAMPLE))["Linkage"], published("linkage.csv")["count"][None]
    result = emix.fit(linkage(theta=0.5), counts, stop="parameters", tol=1e-13)
    found = emix.standard_errors(result, counts)
    expected, tolerance = reference.case("linkage_information_se")
    theta = found.of("theta")
    assert_allclose(theta.standard_error, expected["se"], rtol=tolerance["rel"])
    assert 0.5 < theta.lower < theta.value < theta.upper < 0.75
    with pytest.raises(ModelError, match="'observed' for a model of your own"):
        emix.standard_errors(result, counts, method="outer")


def test_a_model_without_a_vector_form_is_told_what_to_add():
    class Plain:
        def expect(self, chunk):
            return emix.Expectation(np.zeros(1), 0.0, weight=1.0)

        def maximize(self, statistics):
            return self

    result = emix.fit(Plain(), [[1.0]], stop="relative")
    with pytest.raises(ModelError, match="Plain has no `to_vector"):
        emix.standard_errors(result, [[1.0]])


def test_deaths(published, reference):
    table = published("deaths.csv")
    counts, days = table["deaths"], table["days"]
    result = emix.fit(Mixture(Poisson(), 2), counts, sample_weight=days, random_state=0)
    model = result.model.reordered(np.argsort(result.model.family.rate))
    result = emix.fit(model, counts, sample_weight=days, start=model)
    found = emix.standard_errors(result, counts, sample_weight=days)
    expected, tolerance = reference.case("deaths_se")
    own = [found.of("mixing_proportion", 0), found.of("rate", 0), found.of("rate", 1)]
    assert_allclose([one.standard_error for one in own], expected["se"], rtol=tolerance["rel"])


def test_faithful_waiting(faithful, reference):
    waiting = faithful[0][:, 1]
    start = Mixture(Normal([55.0, 80.0], [30.0, 30.0]))
    found = emix.standard_errors(emix.fit(start, waiting, start=start), waiting)
    expected, tolerance = reference.case("faithful_waiting_se")
    own = [found.of("mixing_proportion", 0), *found.of("mean"), *found.of("standard_deviation")]
    assert_allclose([one.standard_error for one in own], expected["se"], rtol=tolerance["rel"])


def test_gehan(reference):
    table = reference.read("gehan.csv")
    expected, tolerance = reference.case("gehan_censored_exponential")
    for arm in ("6-MP", "control"):
        mine = table["treat"] == arm
        rows = {"time": table["time"][mine], "cens": table["cens"][mine]}
        result = emix.fit(Mixture(emix.CensoredExponential(event="cens"), 1), rows)
        rate = emix.standard_errors(result, rows).of("rate")
        assert_allclose(rate.standard_error, expected[arm]["se_rate"], rtol=tolerance["rel"])


# -- boundaries, ties, what is held fixed, what the data do not tell -------------------------------------------------


@pytest.fixture(scope="module")
def carcinoma(reference):
    table = reference.read("carcinoma.csv")
    result = emix.fit(Mixture(emix.Categorical(), 3), table, random_state=0)
    return table, result, emix.standard_errors(result, table)


@pytest.mark.parametrize("family", [Normal(), emix.Columns({"x": Normal(), "y": emix.Poisson()})])
def test_a_label_of_a_row_with_nothing_observed_says_nothing(family):
    """Such a row counts for nothing, in the fit and in whatever is of the fit's own rows."""
    rng = np.random.default_rng(0)
    table = {"x": np.r_[[np.nan] * 3, rng.normal(0, 1, 40), rng.normal(4, 1, 40)]}
    table["y"] = np.where(np.isnan(table["x"]), np.nan, rng.poisson(3, 83))
    if isinstance(family, Normal):
        del table["y"]
    labels = np.full(83, -1)
    labels[[0, 1, 2, 5, 50]] = [1, 1, 1, 0, 1]
    known = {name: column[3:] for name, column in table.items()}
    result = emix.fit(Mixture(family, 2), table, labels=labels, random_state=0)
    for method in ("observed", "sandwich"):
        whole = emix.standard_errors(result, table, labels=labels, method=method)
        own = emix.standard_errors(result, known, labels=labels[3:], method=method)
        assert_allclose(whole.covariance, own.covariance, rtol=1e-10)
    found, without = emix.diagnose(result, table, labels=labels), emix.diagnose(result, known, labels=labels[3:])
    assert_allclose(found.influence, np.r_[0, 0, 0, without.influence], rtol=1e-8)
    assert [one.value for one in found.findings] == pytest.approx([one.value for one in without.findings])
    drawn = [emix.bootstrap(result, table, labels=labels, n_replicates=2, random_state=0, kind="nonparametric")]
    drawn += [emix.bootstrap(result, known, labels=labels[3:], n_replicates=2, random_state=0, kind="nonparametric")]
    assert_allclose(*(one.replicates["mean" if "mean" in one.replicates else "x.mean"] for one in drawn), rtol=1e-10)


def test_a_family_that_is_fixed_leaves_the_proportions(faithful):
    x = faithful[0][:, 1]
    model = Mixture(Normal([54.0, 80.0], [36.0, 36.0]), fixed={"mean", "variance"})
    found = emix.standard_errors(emix.fit(model, x), x)
    one, other = found.of("mixing_proportion")
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-9)
    binomial = np.sqrt(one.value * other.value / len(x))
    assert binomial < one.standard_error < 1.2 * binomial
    assert {each.note for each in found.estimates[2:]} == {"fixed"}


def test_probabilities_at_the_boundary_have_no_interval(carcinoma):
    _, result, found = carcinoma
    for one in found.estimates:
        is_extreme = not 1e-4 < one.value < 1 - 1e-4
        assert (one.note == "at the boundary") == is_extreme, one
        assert (one.standard_error is None) == (one.lower is None) == is_extreme
        if not is_extreme:
            assert 0 < one.lower < one.value < one.upper < 1
    assert np.linalg.matrix_rank(found.covariance) < result.n_free_parameters
    frame = found.to_frame("pandas")
    assert list(frame.columns[:5]) == ["parameter", "component", "column", "level_name", "value"]
    assert frame["standard_error"].isna().sum() == sum(one.standard_error is None for one in found.estimates)


def test_the_levels_of_an_item_vary_together(carcinoma):
    """Two answers add up to 1: the same standard error, and mirrored intervals."""
    _, _, found = carcinoma
    first, last = (one for one in found.of("probabilities", 0, "B"))
    if first.standard_error is not None:
        assert_allclose(first.standard_error, last.standard_error, rtol=1e-9)
        assert_allclose(first.lower, 1 - last.upper, rtol=1e-9)
    total = sum(np.array(found.names) == name for name in [f"mixing_proportion[{k}]" for k in range(3)])
    assert_allclose(total @ found.covariance @ total, 0.0, atol=1e-12)


def test_tied_and_fixed_parameters_say_so(faithful):
    x, _ = faithful
    tied = emix.fit(Mixture(emix.MultivariateNormal(structure="EEE"), 2), x, random_state=0)
    found = emix.standard_errors(tied, x)
    first, second = found.of("covariance", column="x0")[0::2][:1] + found.of("covariance", column="x0")[1::2][:1]
    assert (first.note, second.note) == ("", "tied to component 0")
    assert first.standard_error == second.standard_error
    held = Mixture(Normal([50.0, 80.0], [30.0, 30.0]), fixed={"mean", "mixing_proportions"})
    result = emix.fit(held, x[:, 1], start=held)
    found = emix.standard_errors(result, x[:, 1])
    assert {one.note for one in found.of("mean")} == {one.note for one in found.of("mixing_proportion")} == {"fixed"}
    n = result.expected_counts
    assert all(one.standard_error > one.value * np.sqrt(2 / k) for one, k in zip(found.of("variance"), n, strict=True))


def test_bounds_are_boundaries(faithful):
    x, _ = faithful
    result = emix.fit(Mixture(emix.MultivariateNormal(variance_floor=0.5), 2), x, random_state=0)
    found = emix.standard_errors(result, x)
    assert {one.note for one in found.of("covariance")} == {"at the boundary"}
    assert all(one.standard_error is not None for one in found.of("mean"))
    flat = np.linspace(-1, 1, 100)[:, None]
    result = emix.fit(Mixture(emix.StudentT(), 1), flat)
    assert emix.standard_errors(result, flat).of("degrees_of_freedom").note == "at the boundary"


def test_directions_that_the_data_do_not_tell_have_no_interval():
    """Two classes and two binary items: five parameters for the three free cells of a table."""
    rows = {"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}
    weight = [40, 10, 15, 35]
    result = emix.fit(Mixture(emix.Categorical(), 2), rows, sample_weight=weight, random_state=0)
    found = emix.standard_errors(result, rows, sample_weight=weight)
    assert found.condition == np.inf
    assert "these data tell nothing" in found.notes[0]
    untold = [one for one in found.estimates if one.note == "not told by these data"]
    assert len(untold) >= 6
    assert all(one.lower is None for one in untold)


def test_a_prior_is_information():
    x = np.random.default_rng(0).binomial(1, [0.0, 0.3], (40, 2))
    result = emix.fit(Mixture(emix.Bernoulli(), 1, prior_rows=2.0), x)
    found = emix.standard_errors(result, x)
    p = result.model.family.probability[0, 1]
    assert_allclose(found.of("probability", 0, "x1").standard_error, np.sqrt(p * (1 - p) / 42), rtol=1e-8)
    assert "prior" in found.notes[-1]


def test_a_conjugate_prior_enters_by_its_curvature(faithful):
    x, _ = faithful
    result = emix.fit(Mixture(emix.MultivariateNormal(prior=True, structure="EEE"), 2), x, random_state=0)
    vector, found = result.model.to_vector(), information(*prepared(result.model, x))

    def objective(v):
        model = result.model.from_vector(v)
        return emix.score_samples(model, x).sum() + model.log_prior()

    for line in lines(1 / np.sqrt(np.diagonal(found.observed))):
        wanted = along(lambda t: objective(vector + t * line), second=True)  # noqa: B023 - used at once
        assert_allclose(-line @ found.observed @ line, wanted, rtol=1e-6)


# -- refusals --------------------------------------------------------------------------------------------------------


def test_other_rows_weights_or_endings_are_refused(faithful):
    x, _ = faithful
    result = emix.fit(Mixture(Normal(), 2), x, random_state=0)
    with pytest.raises(FitError, match="the rows of the fit are required"):
        emix.standard_errors(result, x[:-1])
    with pytest.raises(FitError, match="sample_weight"):
        emix.standard_errors(result, x, sample_weight=np.arange(len(x)) % 2 + 1)
    with pytest.raises(DataError, match="2 columns"):
        emix.standard_errors(result, np.column_stack([x, x]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = emix.fit(Mixture(Normal(), 3), x, max_iter=2, n_init=1, random_state=0)
    with pytest.raises(FitError, match="need a fit that converged"):
        emix.standard_errors(begun, x)
    for wrong, message in (({"method": "exact"}, "unknown method"), ({"level": 95}, "between 0 and 1")):
        with pytest.raises(ModelError, match=message):
            emix.standard_errors(result, x, **wrong)
    with pytest.raises(ModelError, match=r"unknown estimate 'meen\[0\]'"):
        emix.standard_errors(result, x).of("meen", 0)


def test_a_saddle_is_no_maximum():
    """Two equal components on two clusters: EM stands still, and the log-likelihood rises to both sides."""
    x = np.r_[np.full(20, 1.0), np.full(20, 9.0)] + np.arange(40) % 5
    start = Mixture(Poisson([7.0, 7.0]))
    result = emix.fit(start, x, start=start)
    with pytest.raises(FitError, match="a saddle"):
        emix.standard_errors(result, x)


@pytest.mark.parametrize(
    ("value", "scale", "low", "high"), [(0.99, "logit", 0, 1), (0.1, "log", 0, np.inf), (-0.9, "fisher z", -1, 1)]
)
def test_intervals_stay_where_the_number_may_be(value, scale, low, high):
    lower, upper = interval(value, 3.0, scale, 0.95)
    assert low <= lower < value < upper <= high
    lower, upper = interval(value, 1e-6, scale, 0.9)
    assert_allclose([lower - value, upper - value], stats.norm.ppf([0.05, 0.95]) * 1e-6, rtol=1e-3)


# -- the command line ------------------------------------------------------------------------------------------------


def test_intervals_on_the_command_line(run, file, tmp_path):
    data = file("rows.csv", "x\n" + "\n".join(map(str, [1, 0, 2, 1, 3, 9, 12, 8, 10, 11])))
    done = run("fit", data, "--family", "poisson", "--intervals", "--seed", 1, "--out", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    assert "std. error" in done.output
    assert "95% interval" in done.output
    said = run("intervals", tmp_path / "m.json", data, "--method", "sandwich", "--level", 0.9)
    assert said.exit_code == 0
    assert "90% interval" in said.output
    assert "sandwich" in said.output
    x = np.array([1, 0, 2, 1, 3, 9, 12, 8, 10, 11])
    document = json.loads(run("intervals", tmp_path / "m.json", data, "--json").stdout)
    result = emix.fit(emix.load(tmp_path / "m.json"), {"x": x}, start=emix.load(tmp_path / "m.json"))
    wanted = emix.standard_errors(result, {"x": x})
    assert_allclose([one["value"] for one in document["estimates"]], [one.value for one in wanted.estimates], rtol=1e-4)
    other = file("other.csv", "x\n1\n2\n3\n")
    refused = run("intervals", tmp_path / "m.json", other)
    assert refused.exit_code == 3
    assert "the rows of the fit are required, with its labels and weights (--labels, --weights)." in refused.output
    begun = run("fit", data, "--family", "normal", "--max-iter", 2, "--intervals", "--seed", 1)
    assert "Fit again from it (--start MODEL) with a larger --max-iter" in begun.stderr


def test_names_and_covariances_are_in_the_order_of_the_estimates(faithful):
    x, _ = faithful
    found = emix.standard_errors(emix.fit(Mixture(Normal(), 2), x, random_state=0), x)
    assert found.names[:4] == ("mixing_proportion[0]", "mixing_proportion[1]", "mean[0, x0]", "mean[1, x0]")
    errors = np.array([one.standard_error for one in found.estimates])
    assert_array_equal(np.sqrt(np.maximum(np.diagonal(found.covariance), 0)), errors)
