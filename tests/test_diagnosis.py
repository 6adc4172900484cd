"""Diagnosis of fits, quantile residuals, and the distribution functions that they rest on."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, Case, entry
from fits import NOTICES
from numpy.testing import assert_allclose
from scipy import stats

import emix
from emix import FitError, Mixture, ModelError, MultivariateNormal, Normal, Poisson
from emix.report.html.fit_figures import starts_figure

# -- distribution functions ------------------------------------------------------------------------------------------

BY_SCIPY = {
    "bernoulli": lambda f, k: stats.bernoulli(entry(f.probability, k)),
    "poisson": lambda f, k: stats.poisson(entry(f.rate, k)),
    "negative_binomial": lambda f, k: stats.nbinom(entry(f.size, k), 1 / (1 + entry(f.mean, k) / entry(f.size, k))),
    "geometric": lambda f, k: stats.geom(entry(f.probability, k), loc=f.first - 1),
    "exponential": lambda f, k: stats.expon(scale=1 / entry(f.rate, k)),
    "gamma": lambda f, k: stats.gamma(entry(f.shape, k), scale=1 / entry(f.rate, k)),
    "normal": lambda f, k: stats.norm(entry(f.mean, k), np.sqrt(entry(f.variance, k))),
    "lognormal": lambda f, k: stats.lognorm(np.sqrt(entry(f.log_variance, k)), scale=np.exp(entry(f.log_mean, k))),
    "multivariate_normal": lambda f, k: stats.norm(f.mean[k], np.sqrt(np.diagonal(f.covariance[k]))),
    "student_t": lambda f, k: stats.t(f.degrees_of_freedom[k], f.mean[k], np.sqrt(np.diagonal(f.scale[k]))),
    "beta": lambda f, k: stats.beta(entry(f.alpha, k), entry(f.beta, k)),
    "inverse_gaussian": lambda f, k: stats.invgauss(entry(f.mean, k) / entry(f.shape, k), scale=entry(f.shape, k)),
}
WITHOUT = {"multinomial", "censored_exponential", "censored_weibull"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_distribution_functions(case: Case):
    """SciPy's where it has them; else the sum of the family's own masses, or the integral of its density."""
    x, _ = case.draw(60, seed=3)
    family = case.bound(x)
    if family.name in WITHOUT:
        with pytest.raises(ModelError, match="a distribution function"):
            family.cell_cdf(x)
        return
    lower, upper = family.cell_cdf(x), family.cell_cdf(x, is_upper=True)
    assert_allclose(lower + upper, 1.0, atol=1e-12)
    if family.name in BY_SCIPY:
        for k in range(family.n_components):
            one = BY_SCIPY[family.name](family, k)
            assert_allclose(lower[k], one.cdf(x), rtol=1e-9, atol=1e-300)
            assert_allclose(upper[k], one.sf(x), rtol=1e-7, atol=1e-14)
    elif family.name == "binomial":
        n = x[:, 1] if case.n_columns > 1 else 10
        for k, p in enumerate(family.probability):
            assert_allclose(lower[k, :, 0], stats.binom.cdf(x[:, 0], n, p), rtol=1e-10)
    elif family.support.is_whole or family.support.is_categorical:
        if case.n_columns == 1:
            one_by_one = np.arange(x.min(), x.max() + 1)[:, None]
            below = family.cell_cdf(one_by_one) - family.cell_cdf(one_by_one - 1)
            for k in range(family.n_components):
                assert_allclose(below[k, :, 0], case.density(family, one_by_one, k), rtol=1e-9, atol=1e-15)
        assert (family.cell_cdf(np.full((1, x.shape[1]), -1.0)) == 0).all()
    else:  # its increase over a small step is the density
        if case.n_columns == 1:
            low, high = (1, 359) if getattr(family, "unit", "") == "degrees" else (-3, 3)
            step, inside = 1e-6, x[(x[:, 0] > low) & (x[:, 0] < high)]
            rise = (family.cell_cdf(inside + step) - family.cell_cdf(inside - step))[:, :, 0] / (2 * step)
            for k in range(family.n_components):
                assert_allclose(rise[k], case.density(family, inside, k), rtol=1e-4, atol=1e-8)


def test_far_tails_keep_their_digits():
    residual = emix.quantile_residuals(Mixture(Normal([0.0], [1.0])), [[-30.0], [30.0], [0.0], [1e6]])
    assert_allclose(residual[:3, 0], [-30.0, 30.0, 0.0], rtol=1e-12)
    assert 37 < residual[3, 0] < 38
    many = Mixture(Poisson([2.0]))
    assert emix.quantile_residuals(many, [60], random_state=0)[0, 0] > 12


@pytest.mark.parametrize(
    "name", ["poisson-columns", "categorical-columns", "gamma-columns", "student-t-full", "binomial-column"]
)
def test_residuals_are_standard_normal_if_the_model_is_true(name):
    case = next(case for case in CASES if case.id == name)
    x, _ = case.draw(2000, seed=2)
    residuals = emix.quantile_residuals(case.mixture(x), x, random_state=8)
    assert residuals.shape == (2000, case.n_columns - (name == "binomial-column"))
    for column in residuals.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
        assert abs(column.std() - 1) < 0.06


def test_residuals_show_what_a_model_lacks(faithful):
    x, _ = faithful
    one, two = (emix.fit(Mixture(Normal(), k), x, random_state=0).model for k in (1, 2))
    p_values = [stats.kstest(emix.quantile_residuals(model, x)[:, 0], "norm").pvalue for model in (one, two)]
    assert p_values[0] < 1e-6 < 0.05 < p_values[1]
    again = [emix.quantile_residuals(Mixture(Poisson([3.0])), [3, 1], random_state=5) for _ in range(2)]
    assert (again[0] == again[1]).all()


def test_residuals_of_several_kinds_of_columns_with_missing_cells():
    rows = {"a": [0.5, None, 2.0, 1.0], "b": ["u", "v", None, "u"]}
    model = emix.fit(Mixture(emix.Columns({"a": Normal(), "b": emix.Categorical()}), 1), rows).model
    found = emix.quantile_residuals(model, rows, random_state=0)
    assert (np.isnan(found) == [[False, False], [True, False], [False, True], [False, False]]).all()
    noisy = emix.fit(Mixture(Normal(), 1, noise=True), [[0.1], [0.2], [0.4], [9.0]], random_state=0).model
    with pytest.raises(ModelError, match="no noise"):
        emix.quantile_residuals(noisy, [[0.3]])


# -- diagnosis -------------------------------------------------------------------------------------------------------


def topics(found: emix.Diagnosis, level: str) -> set[str]:
    return {one.topic for one in found.findings if one.level == level}


def test_a_sound_fit_is_called_good(faithful):
    x, _ = faithful
    result = emix.fit(Mixture(MultivariateNormal(), 2), x, random_state=0)
    found = emix.diagnose(result, x)
    assert not found.warnings
    assert {"starts", "trace", "certainty", "overlap", "size", "information", "influence"} <= topics(found, "good")
    assert all(one.sentence.endswith(".") and one.advice for one in found.findings)
    assert "good: overlap: Components" in str(found)
    assert all(one.sentence[0].isupper() or one.sentence[0].isdigit() for one in found.findings)


def test_influence_is_what_leaving_a_row_out_does(faithful):
    """One step from the fit: the squared distance, in standard errors, to the estimates without the row."""
    x = np.vstack([faithful[0], [[5.5, 60.0]]])
    result = emix.fit(Mixture(MultivariateNormal(), 2), x, random_state=0, tol=1e-12)
    found = emix.diagnose(result, x)
    assert found.influence.argmax() == len(x) - 1
    assert "row 272" in found.of("influence")[0].sentence
    info = emix.inference.uncertainty.information_of(result, x)
    for row in (len(x) - 1, 3):
        without = emix.fit(result.model, np.delete(x, row, axis=0), start=result.model, tol=1e-12)
        move = without.model.to_vector() - info.vector
        assert_allclose(found.influence[row], move @ info.observed @ move, rtol=0.35 if row > 100 else 0.05)


def test_what_a_statistician_would_point_out(faithful):
    x, _ = faithful
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = emix.fit(Mixture(Normal(), 3), x, max_iter=3, n_init=1, random_state=0)
    found = emix.diagnose(begun, x)
    assert "trace" in topics(found, "warning")
    assert found.influence is None
    result = emix.fit(Mixture(Poisson(), 2), NOTICES, random_state=0)
    found = emix.diagnose(result, NOTICES, emix.standard_errors(result, NOTICES))
    assert "certainty" in topics(found, "warning")
    assert "overlap" in topics(found, "warning") | topics(found, "note")
    assert any("Whether the component exists is in doubt" in one.advice for one in found.findings)
    saddle = Mixture(Poisson([7.0, 7.0]))
    counts = np.r_[np.full(20, 1.0), np.full(20, 9.0)] + np.arange(40) % 5
    stuck = emix.fit(saddle, counts, start=saddle)
    assert any("a saddle" in one.sentence for one in emix.diagnose(stuck, counts).of("information"))
    with pytest.raises(FitError, match="the rows of the fit are required"):
        emix.diagnose(stuck, counts[1:])
    with pytest.raises(ModelError, match=r"needs what `emix\.fit` returned"):
        emix.diagnose(stuck.model, counts)


def test_small_components_and_boundaries(reference):
    table = reference.read("carcinoma.csv")
    result = emix.fit(Mixture(emix.Categorical(), 4), table, random_state=0)
    found = emix.diagnose(result, table)
    assert "size" in topics(found, "note") | topics(found, "warning")
    assert any("at the boundary" in one.sentence for one in found.of("information"))


def test_overlap_comes_in_steps_that_agree_with_the_certainty_of_rows(faithful):
    """Two normals of equal spread d standard deviations apart: at 2 their density has one peak, at 4 hardly a doubt."""
    rows = np.r_[stats.norm.ppf(np.arange(1, 200) / 200), stats.norm.ppf(np.arange(1, 200) / 200)]
    levels = {}
    for d in (0.5, 1.5, 3.0, 5.0):
        x = rows + d * (np.arange(len(rows)) >= 199)
        model = Mixture(Normal([0.0, d], [1.0, 1.0]), fixed={"mean", "variance"})
        (found,) = emix.diagnose(emix.fit(model, x), x).of("overlap")
        levels[d] = (found.level, found.advice.split()[1], "[exp(-Bhattacharyya distance)]" in found.sentence)
    assert levels[0.5] == ("warning", "may", True)
    assert levels[1.5] == ("note", "may", True)
    assert levels[3.0] == ("note", "touch:", True)
    assert levels[5.0] == ("good", "components", True)
    x = faithful[0]
    found = emix.diagnose(emix.fit(Mixture(MultivariateNormal(structure="EEE"), 3), x, random_state=0), x)
    assert {"certainty", "overlap"} <= topics(found, "note")


def test_nothing_is_good_about_one_of_many_estimates_that_fit_as_well():
    rows = {"a": [0, 0, 1, 1] * 20, "b": [0, 1, 0, 1] * 15 + [0, 0, 1, 1] * 5}
    found = emix.diagnose(emix.fit(Mixture(emix.Categorical(), 3), rows, random_state=0), rows)
    assert {"fit", "information"} <= topics(found, "warning")
    assert topics(found, "good") <= {"trace"}


def test_a_bound_is_explained_by_what_lies_there():
    counts = np.repeat(np.arange(9), [2, 7, 15, 20, 20, 16, 10, 6, 4])  # vary less than a Poisson's
    sizes = emix.diagnose(emix.fit(Mixture(emix.NegativeBinomial(), 1), counts), counts)
    (held,) = [one for one in sizes.of("information") if "at the boundary" in one.sentence]
    assert "size[0, x0]" in held.sentence
    assert "simpler family" in held.advice
    assert "prior" not in held.advice
    (sound,) = [one for one in sizes.of("information") if one.level == "good"]
    assert sound.sentence.startswith("The information about the other parameters")
    assert sound.advice == "Their standard errors can be computed."
    items = np.c_[[1] * 30 + [0] * 30, [1] * 28 + [0] * 30 + [1] * 2, [1] * 25 + [0] * 35]
    probabilities = emix.diagnose(emix.fit(Mixture(emix.Bernoulli(), 2), items, random_state=0), items)
    (held,) = [one for one in probabilities.of("information") if "at the boundary" in one.sentence]
    assert "probability[" in held.sentence
    assert "prior_rows=1.0" in held.advice
    assert "simpler family" not in held.advice


def test_short_runs_on_a_sample_are_no_starts_that_agree(monkeypatch):
    """Their log-likelihood is of fewer rows: they are not compared with the run on all, here nor in pictures."""
    monkeypatch.setattr("emix.fitting.rows.SAMPLE_ROWS", 200)
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, 600), rng.normal(4, 1, 600)]
    result = emix.fit(Mixture(Normal(), 2), x, n_init=4, random_state=0)
    assert sorted(start.weight for start in result.starts) == [200, 200, 200, 1200]
    assert [start.log_likelihood for start in result.comparable_starts] == [result.log_likelihood]
    (found,) = emix.diagnose(result, x).of("starts")
    assert found.level == "note"
    assert found.sentence == "Of 4 starts only the most promising one was run to its end."


def test_the_chart_of_starts_shows_those_that_saw_all_rows():
    """The log-likelihood of a short run on a sample is of fewer rows: nearer to 0, and no higher top."""
    rows = [0.0, 1.0, 0.0, 2.0, 1.0, 9.0, 12.0, 10.0, 11.0, 8.0]
    result = emix.fit(emix.Mixture(emix.Poisson(), 2), rows, random_state=0)
    short = replace(result.starts[0], log_likelihood=-1.0, stop_reason=emix.StopReason.SHORT_RUN, weight=5.0)
    figure = starts_figure(replace(result, starts=[*result.starts, short]))
    assert max(value for one in figure.data for value in one["y"]) == 0.0
    assert sum(len(one["y"]) for one in figure.data) == len(result.starts)
    assert "1 short run on a sample of the rows" in figure.caption
    old = replace(short, weight=None, message="on a sample of 5 distinct rows")
    assert starts_figure(replace(result, starts=[result.starts[0], old, short])) is None
