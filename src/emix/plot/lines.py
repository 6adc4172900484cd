"""How a fit climbed, and which of several models to choose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.inference.candidates import short_names, title_of
from emix.inference.display import near_best
from emix.plot import canvas
from emix.results import FitResult, StopReason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORTED = ("bic", "icl", "aic", "aicc", "sabic", "cross_validated")
CRITERIA = (*REPORTED, "log_likelihood", "entropy")
SCALES = ("gap", "log-likelihood")
LARGER_IS_BETTER = ("log_likelihood", "cross_validated", "entropy")


def trace(result: Any, ax: Axes | None = None, *, scale: str = "gap") -> Axes:
    """How the winning run climbed, iteration by iteration, and where the other starts ended that saw all rows.

    With 'gap' the axis shows how many nats the log-likelihood lies below the highest, in powers of ten: EM climbs by
    ever smaller steps, and a constant rate of convergence is a straight line. Steps that leapt ahead are marked.

    Parameters
    ----------
    result : FitResult or fitted estimator
        Of any model, also a user's own.
    ax : Axes, optional
        Where to draw; a new figure by default.
    scale : {'gap', 'log-likelihood'}, default='gap'
        What the axis shows.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        There is no history, or the scale is unknown.
    FileError
        Matplotlib is not installed.
    """
    result = canvas.result_of(result)
    if scale not in SCALES:
        raise ModelError.choice(what="scale", found=scale, available=SCALES)
    ax = canvas.axes(ax)
    ends = _ends(result)
    highest = max([result.log_likelihood, *(value for _, value, _ in ends)])
    floor = max(result.history[-1].noise, 1e-9)  # below its own rounding a log-likelihood has no distance to another

    def height(values: list[float]) -> Array:
        found = np.array(values)
        return np.maximum(highest - found, floor) if scale == "gap" else found

    iterations = np.array([record.iteration for record in result.history])
    values = height([record.log_likelihood for record in result.history])
    ax.plot(iterations, values, color=canvas.COLOURS[0], linewidth=1.5, marker=".", markersize=4, label="this run")
    is_leap = np.array([record.is_leap for record in result.history])
    if is_leap.any():
        ax.plot(iterations[is_leap], values[is_leap], "D", color=canvas.COLOURS[1], markersize=4, label="leaps")
    for is_short, marker, face, label in (
        (False, "o", "none", "other starts"),
        (True, "x", "auto", "short runs,\nnot continued"),
    ):
        others = [(at, value) for at, value, short in ends if short == is_short]
        if others:
            at, heights = [one for one, _ in others], height([value for _, value in others])
            ax.plot(at, heights, marker, color="#777777", markersize=5, markerfacecolor=face, label=label)
    ax.plot(iterations[-1], values[-1], "*", color=canvas.INK, markersize=10, label="the end", zorder=3)
    if scale == "gap":
        ax.set_yscale("log")
        ax.invert_yaxis()
        ax.set_ylabel("nats below the highest log-likelihood")
    else:
        ax.ticklabel_format(axis="y", useOffset=False, style="plain")
        ax.set_ylabel("log-likelihood, nats")
    ax.set_xlabel("iteration")
    ax.locator_params(axis="x", integer=True)
    n_failed = sum(start.stop_reason is StopReason.DEGENERATE for start in result.starts)
    failed = f"{n_failed} of {len(result.starts)} starts failed" if n_failed else ""
    n_else = len(result.starts) - n_failed - len(result.comparable_starts)
    sampled = f"not shown: {n_else} short run{'s' * (n_else > 1)} on a sample of the rows" if n_else else ""
    canvas.entitle(ax, f"Log-likelihood {result.log_likelihood:,.2f}: {_ending(result.stop_reason)}", [failed, sampled])
    canvas.legend(ax, beside=True)
    return ax


def _ends(result: FitResult) -> list[tuple[int, float, bool]]:
    """Iterations, log-likelihood and whether it was only a short run, of each other start of the same rows."""
    found = [
        (start.n_iter, start.log_likelihood, start.stop_reason is StopReason.SHORT_RUN)
        for start in result.comparable_starts
    ]
    own = (result.n_iter, result.log_likelihood, False)
    if own in found:
        found.remove(own)
    return found


def _ending(reason: StopReason) -> str:
    return reason.sentence.partition(":")[0].partition(";")[0]


def selection(selection: Any, criterion: str | None = None, ax: Axes | None = None) -> Axes:
    """A criterion over the number of components, one line per family, the best marked.

    Where a few candidates are so much worse that the others would lie on top of each other, the axis shows the better
    ones, and the picture says how many lie beyond it (`ax.autoscale()` shows all).

    Parameters
    ----------
    selection : Selection
        What `emix.select` returned.
    criterion : str, optional
        A number of its rows: 'bic', 'icl', 'aic', 'aicc' or 'sabic', of which the smallest is marked; 'log_likelihood',
        'cross_validated' or 'entropy' (R2), of which the largest is. By default the one that decided. Candidates that
        did not converge are marked only where none did.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        This is no selection, the criterion is unknown, or no candidate has it.
    FileError
        Matplotlib is not installed.
    """
    if not hasattr(selection, "rows") or not hasattr(selection, "criterion"):
        raise ModelError.argument(name="selection", requirement="what `emix.select` returned", found=selection)
    criterion = selection.criterion if criterion is None else criterion
    if criterion not in CRITERIA:
        raise ModelError.choice(what="criterion", found=criterion, available=CRITERIA)
    every = selection.rows()
    rows = [row for row in every if row.get(criterion) is not None and math.isfinite(row[criterion])]
    if not rows:
        raise ModelError.argument(name="selection", requirement=f"candidates with {criterion}", found=selection)
    names = {one: canvas.clipped(short, 40) for one, short in short_names(row["family"] for row in rows).items()}
    ax = canvas.axes(ax, (6.4, 4.0))
    for i, (family, name) in enumerate(names.items()):
        own = sorted((row["n_components"], row[criterion]) for row in rows if row["family"] == family)
        _draw_family(ax, i, own, name)
    is_smaller = criterion not in LARGER_IS_BETTER
    ended = [row for row in rows if row["converged"]] or rows
    best = (min if is_smaller else max)(ended, key=lambda row: row[criterion])
    ax.plot(best["n_components"], best[criterion], "*", color=canvas.INK, markersize=12, zorder=4, label="the best")
    ax.set_xlabel("number of components")
    ax.set_xticks(sorted({row["n_components"] for row in rows}))
    ax.ticklabel_format(axis="y", useOffset=False, style="plain")
    words = title_of(criterion) if criterion in REPORTED else criterion.replace("_", "-")
    ax.set_ylabel(f"{words} ({'smaller' if is_smaller else 'larger'} is better)")
    n_failed, K = sum(bool(row["error"]) for row in every), best["n_components"]
    notes = [f"{n_failed} of {len(every)} candidates failed" if n_failed else ""]
    notes.append("" if selection.is_complete else "interrupted: not all candidates were tried")
    notes.append(_near_best(ax, np.array([row[criterion] for row in rows]), is_smaller=is_smaller))
    canvas.entitle(ax, f"{names[best['family']]}, {K} component" + "s" * (K != 1), notes)
    canvas.legend(ax, beside=len(names) > 3)
    return ax


def _draw_family(ax: Axes, i: int, points: list[tuple[int, float]], name: str) -> None:
    """Colours, marks and dashes repeat after so many lines each that no two lines are the same."""
    ax.plot(
        *zip(*points, strict=True),
        color=canvas.COLOURS[i % len(canvas.COLOURS)],
        marker=canvas.MARKERS[i % len(canvas.MARKERS)],
        linestyle=canvas.LINES[i % len(canvas.LINES)],
        linewidth=1.4,
        markersize=5,
        label=name,
    )


def _near_best(ax: Axes, values: Array, *, is_smaller: bool) -> str:
    """Let the better candidates have the axis; what is said of those that are far worse."""
    span = near_best(values, is_smaller=is_smaller)
    if span is None:
        return ""
    ax.set_ylim(*span)
    n_beyond = int(((values < span[0]) | (values > span[1])).sum())
    return f"{n_beyond} of {len(values)} are far worse, beyond the axis"
