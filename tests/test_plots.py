"""Pictures: every one of them for every family, finite and labelled; the numbers in them against SciPy."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from cases import CASES
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

import emix
from emix.families import FAMILIES
from emix.fitting.profile import column_profiles
from emix.inference.densities import column_density, component_densities, kaplan_meier, part_of, shown_columns
from emix.inference.display import SHARE, display_rows, outlines
from emix.plot import canvas

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
FAITHFUL = ROOT / "examples" / "old_faithful.csv"
BY_ID = {case.id: case for case in CASES}
ONE_PER_FAMILY = list({case.family.name: case for case in CASES}.values())
SINGLE = [case for case in CASES if case.n_columns == 1]


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def panels():
    """Axes to draw on again and again: making them takes most of the time."""
    figure, grid = plt.subplots(2, 2)
    yield grid
    plt.close(figure)


@pytest.fixture(scope="module")
def faithful_fit():
    return emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), FAITHFUL, random_state=0)


def cleared(ax):
    ax.clear()
    return ax


def assert_is_a_picture(ax, n_legend: int | None = None) -> None:
    """Everything on it is finite; it has labels, and a legend of so many entries."""
    for line in ax.lines:
        assert np.isfinite(np.asarray(line.get_data(), dtype=float)).all()
    for patch in ax.patches:
        if isinstance(patch, matplotlib.patches.Rectangle):
            assert np.isfinite([patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()]).all()
    for collection in ax.collections:
        assert np.isfinite(np.ma.getdata(collection.get_offsets())).all()
    assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
    assert ax.get_title(loc="left")
    assert ax.get_ylabel() or any(label.get_text() for label in ax.get_yticklabels())
    if n_legend is not None:
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert len(labels) == n_legend
        assert all(labels)


# -- every family ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ONE_PER_FAMILY, ids=lambda case: case.family.name)
def test_every_picture_of_every_family(case, panels):
    x, _ = case.draw(150)
    model = case.mixture(x)
    K, columns = model.latent_size, shown_columns(model)
    for j in columns[:2]:
        ax = emix.plot.density(model, x, j, cleared(panels[0, 0]))
        found = column_density(model, x, j)
        assert_is_a_picture(ax, K + 1 + (found.kind != "categories"))
        assert ax.get_xlabel() == model.family.columns[j]
        drawn = {line.get_label() for line in ax.lines} | {bars.get_label() for bars in ax.containers}
        assert {f"component {k}" for k in range(K)} | {"rows"} <= drawn
    assert_is_a_picture(emix.plot.responsibilities(model, x, cleared(panels[0, 1])), K)
    ax = emix.plot.profile(model, x, cleared(panels[1, 0]))
    assert_is_a_picture(ax, K)
    d = min(2, len(columns))
    for one in panels.flat:
        cleared(one)
    grid = emix.plot.pairs(model, x, panels[:d, :d], columns=columns[:d])
    assert grid.shape == (d, d)
    for r in range(d):
        assert grid[-1, r].get_xlabel() == model.family.columns[columns[r]]
        for c in range(r + 1):
            marks = grid[r, c].collections, grid[r, c].patches, grid[r, c].lines
            assert any(len(one) for one in marks)
    assert d == 1 or len(grid[0, 1].get_legend().get_texts()) == K


def test_no_family_is_missing():
    assert {case.family.name for case in ONE_PER_FAMILY} == set(FAMILIES)


def test_columns_of_several_kinds_with_holes_weights_and_long_names(panels):
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    long = "a column whose name is <long> & goes on and on"
    table = {
        "age": np.where(rng.random(300) < 0.1, np.nan, np.where(z, 30, 60) + 5 * rng.standard_normal(300)),
        long: np.array(["yes", "no", None], dtype=object)[
            (rng.random(300) < 0.4).astype(int) + (rng.random(300) < 0.1)
        ],
        "visits": rng.poisson(np.where(z, 2, 8)).astype(float),
    }
    families = {"age": emix.Normal(), long: emix.Categorical(), "visits": emix.Poisson()}
    fitted = emix.MixtureModel(2, family=families, n_init=2, random_state=0).fit(table)
    ax = emix.plot.density(fitted, table, "age")
    assert "rows without a value" in " ".join(text.get_text() for text in ax.texts)
    ax = emix.plot.profile(fitted)
    assert len(ax.get_legend().get_texts()) == 2
    assert all(len(label.get_text()) <= 30 for label in ax.get_yticklabels())
    grid = emix.plot.pairs(fitted, table, sample_weight=rng.integers(0, 3, 300))
    assert grid.shape == (3, 3)
    grid[0, 0].figure.canvas.draw()  # warnings, as of a layout that does not fit, are errors


def test_twenty_components_are_told_apart():
    model = emix.Mixture(emix.Normal(3.0 * np.arange(20), np.ones(20)))
    rows = np.linspace(-2, 60, 400)
    ax = emix.plot.density(model, rows)
    lines = [line for line in ax.lines if line.get_label().startswith("component")]
    assert len({(line.get_color(), line.get_linestyle(), str(line._dash_pattern[1])) for line in lines}) == 20
    assert len({(canvas.colour(model, k), canvas.hatch(model, k)) for k in range(20)}) == 20
    assert len({(canvas.colour(model, k), canvas.marker(model, k)) for k in range(20)}) == 20
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.y0 >= 0
    assert box.x1 <= ax.figure.bbox.x1 + 1
    ax = emix.plot.profile(model)  # a map
    assert ax.images[0].get_array().shape == (1, 20)


def test_colours_differ_to_those_who_see_no_red_or_no_green():
    """Simulated as by Vienot, Brettel & Mollon (1999), Color Research and Application 24, 243-252; CIELAB distances."""
    coded = np.array([[int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)] for one in canvas.COLOURS])
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    no_green = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    no_red = [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for seen in (np.eye(3), no_green, no_red):
        t = np.clip(linear @ np.transpose(seen), 0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
        f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab, axis=2)
        assert apart[np.triu_indices(len(lab), 1)].min() > 18.5


def test_noise_is_a_component_of_its_own(panels):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (200, 2)), rng.uniform(-20, 20, (60, 2))])
    result = emix.fit(emix.Mixture(emix.MultivariateNormal(), 1, noise=True), x, random_state=0)
    ax = emix.plot.density(result, x, 0, cleared(panels[0, 0]))
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["component 0", "noise"]
    found = column_density(result.model, x, 0)
    noise = result.model.latent.mixing_proportions[-1]
    assert_allclose(np.trapezoid(found.components[1], found.points), noise, rtol=0.05)  # within the box
    assert len(emix.plot.profile(result, x, cleared(panels[0, 1])).get_legend().get_texts()) == 1


# -- the numbers in them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SINGLE, ids=lambda case: case.id)
def test_densities_are_those_of_scipy(case):
    x, _ = case.draw(200)
    model = case.mixture(x)
    found = column_density(model, x)
    share = model.latent.mixing_proportions
    wanted = [share[k] * case.density(case.family, found.points[:, None], k) for k in range(model.latent_size)]
    assert_allclose(found.components, wanted, rtol=1e-9, atol=1e-12)
    inside = (x[:, 0] >= found.edges[0]) & (x[:, 0] <= found.edges[-1])
    if case.family.name != "von_mises":
        assert_allclose((found.heights * np.diff(found.edges)).sum(), inside.mean(), rtol=1e-12)


def test_marginals_are_those_of_scipy():
    family = BY_ID["multivariate-normal-full"].family
    points = np.linspace(-4, 4, 9)
    model = BY_ID["multivariate-normal-full"].mixture(BY_ID["multivariate-normal-full"].draw(50)[0])
    found = component_densities(*part_of(model.family, 1), points)
    sd = np.sqrt(family.covariance[:, 1, 1])
    assert_allclose(found, stats.norm.pdf(points, family.mean[:, 1, None], sd[:, None]), rtol=1e-9)
    case = BY_ID["student-t-full"]
    model = case.mixture(case.draw(50)[0])
    found = component_densities(*part_of(model.family, 2), points)
    own = case.family
    sd = np.sqrt(own.scale[:, 2, 2, None])
    assert_allclose(found, stats.t.pdf(points, own.degrees_of_freedom[:, None], own.mean[:, 2, None], sd), rtol=1e-9)
    case = BY_ID["multinomial"]
    x, _ = case.draw(60)
    found = column_density(case.mixture(x), x, 1)
    totals = x.sum(axis=1)
    share = case.mixture(x).latent.mixing_proportions
    wanted = [
        share[k] * stats.binom.pmf(found.points[:, None], totals, case.family.probabilities[k, 1]).mean(axis=1)
        for k in range(2)
    ]
    assert_allclose(found.components, wanted, rtol=1e-9, atol=1e-15)


def test_kaplan_meier_of_censored_durations_is_that_of_scipy():
    rng = np.random.default_rng(3)
    time, event = np.round(rng.exponential(10, 80), 1), (rng.random(80) < 0.7).astype(float)
    at, mass, rest = kaplan_meier(time, event, np.ones(80))
    censored = stats.CensoredData(time[event == 1], right=time[event == 0])
    wanted = stats.ecdf(censored).sf
    assert_allclose(1 - np.cumsum(mass), wanted.evaluate(at), rtol=1e-12, atol=1e-14)
    assert_allclose(rest, wanted.evaluate(np.array([1e9]))[0], rtol=1e-12, atol=1e-14)
    twice = kaplan_meier(np.tile(time, 2), np.tile(event, 2), np.ones(160))
    doubled = kaplan_meier(time, event, np.full(80, 2.0))
    assert_allclose(doubled[1], twice[1], rtol=1e-12)
    assert_allclose(doubled[1], mass, rtol=1e-12)


def test_the_profile_of_angles_knows_the_circle():
    model = emix.Mixture(emix.VonMises([350.0, 10.0], [20.0, 20.0], unit="degrees"))
    rows = np.array([[350.0], [10.0], [5.0]])
    (one,) = column_profiles(emix.fit(model, rows, max_iter=0, stop="iterations").model)
    assert_allclose(one.differences[:, 0], -one.differences[::-1, 0], atol=1e-12)
    assert abs(one.differences[0, 0]) < 1  # and not 170 degrees away
    assert_allclose(one.whole % 360, 0, atol=1e-9)
    rng = np.random.default_rng(0)
    angles = stats.vonmises.rvs(20, loc=np.deg2rad(rng.choice([350.0, 10.0], 200_000)), random_state=rng)
    total = 1 - np.abs(np.exp(1j * angles).mean()) ** 2
    within = 1 - (integrate.quad(lambda t: np.cos(t) * stats.vonmises.pdf(t, 20), -np.pi, np.pi)[0]) ** 2
    assert_allclose(one.apart, 1 - within / total, atol=0.01)


def test_outlines_hold_as_much_as_an_ellipse_of_one_standard_deviation():
    case = BY_ID["multivariate-normal-full"]
    model = case.mixture(case.draw(50)[0])
    found = outlines(model, 0, 2, ((-5, 5), (-5, 5)))
    for k, one in enumerate(found):
        keep = np.ix_([0, 2], [0, 2])
        away = one.curve - case.family.mean[k, [0, 2]]
        inverse = np.linalg.inv(case.family.covariance[k][keep])
        assert_allclose(np.einsum("ni,ij,nj->n", away, inverse, away), 1, rtol=1e-9)
    family = emix.Gamma([[2.0, 5.0]], [[1.0, 0.5]])
    rng = np.random.default_rng(0)
    x = rng.gamma([2.0, 5.0], [1.0, 2.0], (20_000, 2))
    model = emix.fit(emix.Mixture(family), x, max_iter=0, stop="iterations").model
    (one,) = outlines(model, 0, 1, ((0, 12), (0, 40)))
    density = stats.gamma.pdf(x[:, 0], 2) * stats.gamma.pdf(x[:, 1], 5, scale=2)
    top = (stats.gamma.pdf(one.x, 2)[None, :] * stats.gamma.pdf(one.y, 5, scale=2)[:, None]).max()
    assert_allclose((density >= one.level * top).mean(), SHARE, atol=0.012)
    assert outlines(BY_ID["poisson-columns"].mixture(BY_ID["poisson-columns"].draw(9)[0]), 0, 1, ((0, 1), (0, 1))) == []


def test_rows_beyond_all_others_do_not_squeeze_them():
    rng = np.random.default_rng(0)
    x = np.append(rng.normal(size=500), [1e4])
    found = column_density(emix.Mixture(emix.Normal([0.0], [1.0])), x)
    assert found.edges[-1] < 10
    assert found.notes == ("1 row lies beyond the axis",)
    one = column_density(emix.Mixture(emix.Poisson([3.0])), [3.0])  # a single row
    assert_array_equal(one.heights, [1.0])


def test_rare_categories_share_a_place_and_angles_a_turn():
    rng = np.random.default_rng(0)
    codes = rng.choice(30, 3000, p=np.r_[np.full(10, 0.005), np.full(20, 0.95 / 20)])
    table = {"town": np.array([f"t{i:02}" for i in range(30)])[codes].tolist()}
    result = emix.fit(emix.Mixture(emix.Categorical(), 1), table, random_state=0)
    found = column_density(result.model, table)
    assert len(found.levels) == 20
    assert found.levels[-1] == "11 others"
    at = found.on_axis(np.append(codes, np.nan))
    assert np.isnan(at[-1])
    for place, name in enumerate(found.levels[:-1]):
        assert {f"t{code:02}" for code in codes[at[:-1] == place]} == {name}
    assert_allclose(np.bincount(at[:-1].astype(int)) / 3000, found.heights, rtol=1e-12)
    assert_allclose(found.mixture, found.heights, rtol=1e-9)  # one component has the shares of the rows
    angles = emix.Mixture(emix.VonMises([90.0], [2.0], unit="degrees"))
    turned = column_density(angles, [[-10.0], [370.0], [100.0]])
    assert_allclose(turned.on_axis(np.array([-10.0, 370.0])), [350, 10])


def test_a_narrow_component_is_not_missed_between_the_points():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 100, 300), rng.normal(3, 1e-3, 300)])
    found = column_density(emix.Mixture(emix.Normal([0.0, 3.0], [1e4, 1e-6])), x)
    assert found.components[1].max() > 0.5 / (np.sqrt(2 * np.pi) * 1e-3) * 0.99


def test_large_data_are_sampled_from_a_seed_and_the_picture_says_so(panels):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(30_000) < 0.3, rng.normal(-3, 1, 30_000), rng.normal(3, 1, 30_000))
    model = emix.Mixture(emix.Normal([-3.0, 3.0], [1.0, 1.0]), mixing_proportions=[0.3, 0.7])
    rows = display_rows(model, x, limit=1000, random_state=1)
    assert len(rows.x) == 1000
    assert_array_equal(rows.x, display_rows(model, x, limit=1000, random_state=1).x)
    assert (rows.x != display_rows(model, x, limit=1000, random_state=2).x).any()
    assert abs((rows.component == 0).mean() - 0.3) < 4 * np.sqrt(0.21 / 1000)
    ax = emix.plot.responsibilities(model, x, cleared(panels[0, 0]))
    assert "2,000 of 30,000 rows" in " ".join(text.get_text() for text in ax.texts)
    weight = np.where(x < 0, 0.0, 2.0)
    assert (display_rows(model, x, limit=1000, sample_weight=weight).x > 0).all()


# -- fits, choices, checks ---------------------------------------------------------------------------------------------


def test_the_trace_climbs_to_the_end(panels, faithful_fit):
    ax = emix.plot.trace(faithful_fit, cleared(panels[0, 0]))
    assert_is_a_picture(ax)
    run = next(line for line in ax.lines if line.get_label() == "this run")
    assert_array_equal(run.get_xdata(), [record.iteration for record in faithful_fit.history])
    assert (np.diff(run.get_ydata()) <= 1e-8).all()
    assert ax.yaxis_inverted()
    ax = emix.plot.trace(faithful_fit, cleared(panels[0, 1]), scale="log-likelihood")
    run = next(line for line in ax.lines if line.get_label() == "this run")
    assert run.get_ydata()[-1] == faithful_fit.log_likelihood
    with pytest.raises(emix.ModelError, match="gap"):
        emix.plot.trace(faithful_fit, scale="logs")


def test_the_trace_leaves_out_short_runs_on_a_sample(panels, monkeypatch):
    """Their log-likelihood is of fewer rows."""
    monkeypatch.setattr("emix.fitting.rows.SAMPLE_ROWS", 200)
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, 600), rng.normal(3, 1, 600)]
    result = emix.fit(emix.Mixture(emix.Normal(), 2), x, n_init=4, random_state=0)
    ax = emix.plot.trace(result, cleared(panels[0, 0]), scale="log-likelihood")
    heights = np.concatenate([line.get_ydata() for line in ax.lines])
    assert heights.max() == result.log_likelihood
    assert not {"other starts", "short runs,\nnot continued"} & {line.get_label() for line in ax.lines}
    assert any("3 short runs on a sample of the rows" in text.get_text() for text in ax.texts)


def test_the_trace_of_a_users_own_model(panels):
    linkage = runpy.run_path(str(ROOT / "examples" / "linkage.py"))
    model = linkage["Linkage"](0.5)
    result = emix.fit(model, linkage["COUNTS"], start=model)
    assert_is_a_picture(emix.plot.trace(result, cleared(panels[0, 0])))
    with pytest.raises(emix.ModelError, match="a Mixture"):
        emix.plot.profile(result)
    assert "<p" in result._repr_html_()


def test_quantile_residuals_on_the_line_of_a_true_model(panels, monkeypatch):
    model = emix.Mixture(emix.Normal([-2.0, 3.0], [1.0, 4.0]), mixing_proportions=[0.4, 0.6])
    x, _ = emix.sample(model, 400, random_state=1)

    def residuals(model, data, random_state=0):
        u = 0.4 * stats.norm.cdf(data, -2, 1) + 0.6 * stats.norm.cdf(data, 3, 2)
        return stats.norm.ppf(u)

    monkeypatch.setitem(sys.modules, "emix.inference.goodness", SimpleNamespace(quantile_residuals=residuals))
    ax = emix.plot.qq(model, x, ax=cleared(panels[0, 0]))
    assert_is_a_picture(ax, 2)
    points = next(line for line in ax.lines if line.get_label() == "x0")
    assert np.abs(points.get_ydata() - points.get_xdata())[20:-20].max() < 0.25
    ax = emix.plot.residuals(model, x, cleared(panels[0, 1]))
    assert_is_a_picture(ax)
    beyond = float(ax.get_title(loc="left").split()[0])
    assert_allclose(beyond, 100 * (np.abs(residuals(model, x)) > 1.96).mean(), atol=0.051)


def test_bivariate_residuals_as_a_map(panels):
    case = BY_ID["categorical-columns"]
    x, _ = case.draw(200)
    model = case.mixture(x)
    ax = emix.plot.residuals(model, x, cleared(panels[0, 0]))
    wanted = emix.bivariate_residuals(model, x)
    shown = {text.get_text() for text in ax.texts}
    assert {f"{wanted[i, j]:.1f}" for i, j in ((1, 0), (2, 0), (2, 1))} <= shown
    with pytest.raises(emix.ModelError, match="two categorical items"):
        emix.plot.residuals(emix.Mixture(emix.Categorical([[0.5, 0.5]])), [[0], [1]])


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do(faithful_fit):
    plot = emix.plot
    with pytest.raises(emix.ModelError, match="one of eruptions, waiting"):
        plot.density(faithful_fit, FAITHFUL)
    with pytest.raises(emix.ModelError, match="unknown column 'length'"):
        plot.density(faithful_fit, FAITHFUL, "length")
    with pytest.raises(emix.ModelError, match="none twice"):
        plot.pairs(faithful_fit, FAITHFUL, columns=["waiting", 1])
    with pytest.raises(emix.ModelError, match=r"shape \(2, 2\)"):
        plot.pairs(faithful_fit, FAITHFUL, plt.subplots()[1])
    with pytest.raises(emix.ModelError, match="Axes of Matplotlib"):
        plot.profile(faithful_fit, ax="here")
    with pytest.raises(emix.ModelError, match="for numbers"):
        plot.profile(faithful_fit, kind="shares")
    with pytest.raises(emix.ModelError, match="This MixtureModel"):
        plot.profile(emix.MixtureModel(2))
    with pytest.raises(emix.ModelError, match="no history"):
        plot.trace(faithful_fit.model)
    with pytest.raises(emix.ModelError, match="This mixture"):
        plot.profile(emix.Mixture(emix.Normal(), 2))
    with pytest.raises(emix.DataError, match="missing in every row"):
        plot.density(faithful_fit, {"eruptions": [1.0], "waiting": [np.nan]}, "waiting")
    case = BY_ID["censored-weibull"]
    x, _ = case.draw(20)
    model = case.mixture(x)
    with pytest.raises(emix.ModelError, match="that the model describes"):
        plot.density(model, x, 1)
    with pytest.raises(emix.ModelError, match="ended in an event"):
        plot.density(model, x * [1, 0], 0)


def test_without_matplotlib_the_error_names_the_extra(faithful_fit, monkeypatch):
    for module in ("matplotlib.patheffects", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(emix.FileError, match=r"pip install 'emix\[plot\]'"):
        emix.plot.profile(faithful_fit)


def test_matplotlib_is_imported_with_the_first_picture_alone():
    code = "import sys, emix; before = 'emix.plot' in sys.modules; emix.plot.density; "
    code += "sys.exit(before or 'matplotlib' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
