"""The picture of a choice among models."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
import pytest

import emix
from emix.inference.display import near_best

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@dataclass
class Chosen:
    """What `emix.select` returns, as far as a picture reads it."""

    table: list
    is_complete: bool = True
    criterion: str = "bic"

    def rows(self):
        return self.table


def candidate(family, K, bic, error="", converged=True):
    return {"family": family, "n_components": K, "bic": bic, "entropy": None, "error": error, "converged": converged}


def test_the_best_candidate_is_marked():
    table = [candidate("normal", K, value) for K, value in ((1, 50.0), (2, 30.0), (3, 35.0))]
    table += [candidate("gamma", 1, 40.0), candidate("gamma", 2, None, error="failed"), candidate("gamma", 3, 10.0)]
    table[-1]["converged"] = False
    ax = emix.plot.selection(Chosen(table, is_complete=False), ax=plt.subplots()[1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["normal", "gamma", "the best"]
    star = next(line for line in ax.lines if line.get_label() == "the best")
    assert (star.get_xdata(), star.get_ydata()) == ([2], [30.0])
    notes = " ".join(text.get_text() for text in ax.texts)
    assert "1 of 6 candidates failed" in notes
    assert "interrupted" in notes
    assert "smaller is better" in ax.get_ylabel()
    with pytest.raises(emix.ModelError, match="candidates with entropy"):
        emix.plot.selection(Chosen(table), "entropy")
    with pytest.raises(emix.ModelError, match="criterion"):
        emix.plot.selection(Chosen(table), "dic")


def test_the_criterion_that_decided_is_shown():
    table = [{**candidate("normal", K, bic), "icl": icl} for K, bic, icl in ((1, 50.0, 20.0), (2, 30.0, 40.0))]
    ax = emix.plot.selection(Chosen(table, criterion="icl"))
    assert ax.get_ylabel() == "ICL (smaller is better)"
    assert ax.get_title(loc="left") == "normal, 1 component"
    assert emix.plot.selection(Chosen(table, criterion="icl"), "bic").get_title(loc="left") == "normal, 2 components"


def test_what_is_no_selection_is_refused():
    result = emix.fit(emix.Mixture(emix.Poisson(), 1), [1, 2, 3])
    with pytest.raises(emix.ModelError, match=r"what `emix\.select` returned"):
        emix.plot.selection(result)


def test_fourteen_structures_have_short_names_lines_of_their_own_and_an_axis_for_the_better_ones():
    structures = emix.families.STRUCTURES
    table = [
        candidate(
            f"multivariate_normal(structure='{one}')", K, 2300.0 + 7 * i + 10 * abs(K - 3) + 700 * (i < 2 or K < 2)
        )
        for i, one in enumerate(structures)
        for K in range(1, 7)
    ]
    ax = emix.plot.selection(Chosen(table))
    *lines, best = ax.lines
    assert [line.get_label() for line in lines] == list(structures)
    assert (
        len({(line.get_color(), line.get_marker(), line.get_linestyle(), str(line._dash_pattern)) for line in lines})
        == 14
    )
    low, high = ax.get_ylim()
    assert low < best.get_ydata()[0] == 2314.0
    assert high < 2900
    assert "24 of 84 are far worse, beyond the axis" in " ".join(text.get_text() for text in ax.texts)


def test_an_axis_is_cut_only_where_the_better_half_would_lie_together():
    near = np.array([10.0, 11.0, 12.0, 13.0])
    assert near_best(near, is_smaller=True) is None
    assert near_best(np.append(near, 20.0), is_smaller=True) is None
    low, high = near_best(np.append(near, 900.0), is_smaller=True)
    assert low < 10
    assert 13 < high < 30
    low, high = near_best(-np.append(near, 900.0), is_smaller=False)
    assert low < -13
    assert -10 < high < -9
    assert near_best(np.array([1.0, 1.0, 1.0, 50.0]), is_smaller=True) is None
