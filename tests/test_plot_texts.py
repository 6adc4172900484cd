"""Names and numbers in pictures: read as they are, and with room."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

import emix

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def test_dollars_in_names_are_no_formulas():
    rng = np.random.default_rng(0)
    names = ["cost $", r"price $\frac", r"$\foo$"]
    table = {name: rng.normal(size=60) for name in names}
    table["b $x$"] = np.where(rng.random(60) < 0.5, "a $1$", "$").astype(object)
    families = {**dict.fromkeys(names, "normal"), "b $x$": "categorical"}
    fitted = emix.MixtureModel(1, family=families, n_init=1, random_state=0).fit(table)
    model = emix.Mixture(emix.MultivariateNormal(), 1)
    numbers = {name: table[name] for name in names}
    result = emix.fit(model, numbers)
    axes = [
        emix.plot.pairs(fitted, table)[3, 0],
        emix.plot.profile(fitted),
        emix.plot.density(fitted, table, "b $x$"),
        emix.plot.residuals(result, numbers),
        emix.plot.residuals(result, numbers, column=r"$\foo$"),
        emix.plot.qq(result, numbers),
    ]
    for ax in axes:
        ax.figure.canvas.draw()
    shown = [text for ax in axes for text in ax.findobj(matplotlib.text.Text)]
    read = {found for text in shown for found, is_math in [text._preprocess_math(text.get_text())] if not is_math}
    assert {*names, "b $x$", "a $1$", "b $x$ = a $1$"} <= read


def test_the_numbers_of_long_bars_have_room_beside_the_axis():
    model = emix.Mixture(emix.Normal([[-123_456.0], [98_765.0], [98_770.0]], [[1e8], [1e8], [1e8]]))
    ax = emix.plot.profile(model, kind="differences")
    ax.figure.canvas.draw()
    inside = ax.get_window_extent()
    for text in ax.texts:
        if "," in text.get_text():
            box = text.get_window_extent()
            assert inside.x0 <= box.x0
            assert box.x1 <= inside.x1
