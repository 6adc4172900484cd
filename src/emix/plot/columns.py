"""One column: its histogram under the densities of the components and their sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emix.inference.densities import ColumnDensity, column_density
from emix.model import Mixture
from emix.plot import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADROOM = 2.0
"""A density that rises to so many times the highest bar is cut there: of a shape without a bound nothing is lost."""
FEW = 40
"""Whole numbers up to which each has a mark of its own."""


def density(
    model: Any, data: Any, column: str | int | None = None, ax: Axes | None = None, *, sample_weight: Any = None
) -> Axes:
    """One column: the histogram of the rows, the density of each component, and their sum.

    Densities are multiplied by the mixing proportions, so that they add up to the mixture's. Counts are bars with the
    probabilities as points; of categories each component's part of the probability is stacked beside the observed
    share. Censored durations are shown by their Kaplan-Meier estimate; counts out of differing totals (`Binomial` with
    a column of tosses, `Multinomial`) by the mean over the rows' totals.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        Of any family.
    data, sample_weight
        As in `fit`.
    column : str or int, optional
        By name or position; may be left out where there is one.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        No column is named among several, there is none of that name, or the family's columns cannot be taken apart.
    DataError
        The data cannot be.
    FileError
        Matplotlib is not installed.
    """
    mixture = canvas.mixture_of(model)
    found = column_density(mixture, data, column, sample_weight=sample_weight)
    ax = canvas.axes(ax)
    draw_density(ax, mixture, found)
    ax.set_xlabel(canvas.literal(found.column))
    ax.set_ylabel({"continuous": "density", "counts": "probability", "categories": "share of rows"}[found.kind])
    title = f"{canvas.literal(found.column)}: {mixture.n_components} component" + "s" * (mixture.n_components != 1)
    canvas.entitle(ax, title, found.notes)
    canvas.legend(ax, beside=found.kind == "categories")
    return ax


def draw_density(ax: Axes, mixture: Mixture, found: ColumnDensity, *, labels: bool = True) -> None:
    """Bars and curves, without axis labels: also the diagonal of a matrix of pairs."""
    if found.kind == "categories":
        _draw_categories(ax, mixture, found)
    else:
        _draw_numbers(ax, mixture, found)
    if not labels:
        for line in ax.lines:
            line.set_label("_")
        for bars in ax.containers:
            bars.set_label("_")


def _draw_numbers(ax: Axes, mixture: Mixture, found: ColumnDensity) -> None:
    is_single = found.kind == "counts" and len(found.points) <= FEW
    width = np.diff(found.edges)
    gap = 0.86 if is_single else 1.0
    ax.bar(found.edges[:-1] + width / 2, found.heights, width * gap, color=canvas.PALE, edgecolor="white", label="rows")
    for k, component in enumerate(found.components):
        ax.plot(
            found.points,
            component,
            color=canvas.colour(mixture, k),
            linestyle=canvas.line(mixture, k),
            marker=canvas.marker(mixture, k) if is_single else None,
            markersize=4,
            linewidth=1.5,
            label=canvas.name(mixture, k),
        )
    if len(found.components) > 1:
        ax.plot(found.points, found.mixture, color="#8A8A8A", linewidth=2.6, label="mixture", zorder=1.8)
    highest = float(found.heights.max(initial=0.0))
    top = min(float(found.mixture.max()), HEADROOM * highest) if highest > 0 else float(found.mixture.max())
    ax.set_ylim(0, 1.08 * max(top, highest))
    margin = 0.02 * (found.edges[-1] - found.edges[0])
    ax.set_xlim(min(found.edges[0], found.points[0]) - margin, max(found.edges[-1], found.points[-1]) + margin)


def _draw_categories(ax: Axes, mixture: Mixture, found: ColumnDensity) -> None:
    places, base = np.arange(len(found.levels)), np.zeros(len(found.levels))
    for k, component in enumerate(found.components):
        ax.bar(
            places + 0.19,
            component,
            0.36,
            bottom=base,
            color=canvas.colour(mixture, k),
            hatch=canvas.hatch(mixture, k),
            edgecolor="white",
            linewidth=0.6,
            label=canvas.name(mixture, k),
        )
        base = base + component
    ax.bar(places - 0.19, found.heights, 0.36, color=canvas.PALE, edgecolor="#999999", linewidth=0.6, label="rows")
    longest = max(len(level) for level in found.levels)
    is_crowded = longest * len(found.levels) > 60
    ax.set_xticks(places, [canvas.clipped(level) for level in found.levels])
    if is_crowded:
        ax.tick_params(axis="x", rotation=40)
        for label in ax.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    ax.set_xlim(-0.6, len(found.levels) - 0.4)
    ax.set_ylim(0, 1.1 * max(float(base.max()), float(found.heights.max())))
