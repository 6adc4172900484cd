"""Columns against each other: rows by component and certainty, and the outline of each component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.fitting.profile import column_profiles
from emix.fitting.use import prepared
from emix.inference.densities import ColumnDensity, column_position, density_of, kind_of, part_of, shown_columns
from emix.inference.display import DisplayRows, display_rows, outlines
from emix.model import Mixture
from emix.plot import canvas
from emix.plot.columns import draw_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISPLAYED = 1500
"""Rows that a panel has room for."""
MOST_COLUMNS = 6
"""Columns that are shown unless others are asked for: those that set the components apart most."""
LEAST_SIZE, ADDED_SIZE = 9.0, 34.0
"""Area of a certain row's mark, in square points, and what uncertainty adds."""
MOST_TICKS = 10
"""Levels of a category that are named on an axis."""
JITTER = 0.28


def pairs(
    model: Any,
    data: Any,
    axes: Any = None,
    *,
    columns: Any = None,
    sample_weight: Any = None,
    random_state: Any = 0,
) -> Any:
    """Each column against each other; on the diagonal its histogram and densities.

    A row has the colour and marker of its most probable component; the less certain that is, the larger and the
    emptier its mark (as in mclust's uncertainty plot). Over two continuous columns each component has an outline that
    holds 39 % of it: of normal components the ellipse of one standard deviation (for Student-t that of the scale
    matrix, for LogNormal drawn on the logarithms), of other families that are independent given the component the
    level of their density. Counts and categories have no outline: counts are jittered; two categories are tiles whose
    area is their number of rows, divided by component. Rows with a missing cell are in the panels that do not need it.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        Of any family.
    data, sample_weight
        As in `fit`. Of more than 1,500 rows so many are drawn; the title says so.
    axes : array of Axes, of shape (d, d), optional
        Where to draw; a new figure by default. Panels above the diagonal are switched off.
    columns : sequence of str or int, optional
        Which columns; by default all, and of more than 6 those that set the components apart most.
    random_state : int, default=0
        Seed of the draw and of the jitter.

    Returns
    -------
    ndarray of Axes, of shape (d, d)

    Raises
    ------
    ModelError
        There is no such column, or `axes` has another shape.
    DataError
        The data cannot be.
    FileError
        Matplotlib is not installed.
    """
    mixture = canvas.mixture_of(model)
    rows = display_rows(mixture, data, limit=DISPLAYED, random_state=random_state, sample_weight=sample_weight)
    mixture, source = prepared(mixture, data, sample_weight=sample_weight)
    positions, note = _chosen(mixture, columns)
    densities = [density_of(mixture, source, j) for j in positions]
    d = len(positions)
    grid = _grid(axes, d)
    rng = np.random.default_rng(random_state)
    for r in range(d):
        for c in range(d):
            ax = grid[r, c]
            if c > r:
                ax.set_axis_off()
                continue
            canvas.plain(ax)
            if c == r:
                draw_density(ax, mixture, densities[r], labels=False)
                ax.set_yticks([])
                ax.spines["left"].set_visible(False)
            else:
                _panel(ax, mixture, rows, (positions[c], positions[r]), (densities[c], densities[r]), rng)
    _label(grid, densities)
    beyond = [f"{canvas.literal(one.column)}: {text}" for one in densities for text in one.notes if "beyond" in text]
    _entitle(grid, mixture, [rows.note, note, *beyond])
    return grid


def _chosen(model: Mixture, columns: Any) -> tuple[list[int], str]:
    """Positions of the columns to show, and what is said of the others."""
    every = shown_columns(model)
    if columns is not None:
        asked = [columns] if isinstance(columns, str | int) else list(columns)
        found = [column_position(model, one) for one in asked]
        if not found or len(set(found)) < len(found):
            raise ModelError.argument(name="columns", requirement="columns, none twice", found=asked)
        return found, ""
    if len(every) <= MOST_COLUMNS:
        return every, ""
    names = model.family.columns
    telling = [names.index(one.column) for one in column_profiles(model) if one.column in names]
    ranked = list(dict.fromkeys([*(j for j in telling if j in every), *every]))
    note = f"{MOST_COLUMNS} of {len(every)} columns, those that set the components apart most"
    return sorted(ranked[:MOST_COLUMNS]), note


def _grid(axes: Any, d: int) -> Any:
    """Axes (d, d): those that were given, or of a new figure."""
    plt = canvas.pyplot()
    if axes is None:
        side = max(4.4, min(1.9 * d, 9.5))
        return plt.subplots(d, d, figsize=(side, side), squeeze=False, layout="constrained")[1]
    grid = np.atleast_2d(np.asarray(axes, dtype=object))
    if grid.shape != (d, d):
        raise ModelError.argument(
            name="axes", requirement=f"an array of Axes of the shape ({d}, {d})", found=grid.shape
        )
    return grid


def _panel(
    ax: Axes,
    model: Mixture,
    rows: DisplayRows,
    positions: tuple[int, int],
    densities: tuple[ColumnDensity, ColumnDensity],
    rng: np.random.Generator,
) -> None:
    """One column against another."""
    kinds = [kind_of(part_of(model.family, j)[0]) for j in positions]
    cells = [found.on_axis(rows.x[:, j]) for j, found in zip(positions, densities, strict=True)]
    if kinds == ["categories", "categories"]:
        _mosaic(ax, model, cells[0], cells[1], rows.responsibilities)
    else:
        x, y = (_jittered(c, kind, rng) for c, kind in zip(cells, kinds, strict=True))
        _scatter(ax, model, x, y, rows)
    spans = [_span(found) for found in densities]
    for outline in outlines(model, *positions, (spans[0], spans[1])):
        k = outline.component
        style: dict[str, Any] = {
            "colors": canvas.colour(model, k),
            "linestyles": [canvas.line(model, k)],
            "linewidths": 1.6,
        }
        if outline.curve is not None:
            x, y = outline.curve.T
            rim = canvas.haloed(3.0)
            ax.plot(x, y, color=style["colors"], linestyle=canvas.line(model, k), linewidth=1.6, path_effects=rim)
        else:
            level = ax.contour(outline.x, outline.y, outline.density, levels=[outline.level], **style)
            level.set_path_effects(canvas.haloed(3.0))
    ax.set_xlim(*spans[0])
    ax.set_ylim(*spans[1])


def _span(found: ColumnDensity) -> tuple[float, float]:
    low, high = float(found.edges[0]), float(found.edges[-1])
    margin = 0.03 * (high - low)
    return low - margin, high + margin


def _jittered(cells: Array, kind: str, rng: np.random.Generator) -> Array:
    """Whole numbers and codes, moved a little so that rows do not hide each other."""
    return cells if kind == "continuous" else cells + rng.uniform(-JITTER, JITTER, len(cells))


def _scatter(ax: Axes, model: Mixture, x: Array, y: Array, rows: DisplayRows) -> None:
    unsure, component = rows.uncertainty, rows.component
    seen = ~(np.isnan(x) | np.isnan(y))
    scale = min(1.0, 500 / max(len(x), 1)) ** 0.5  # many marks are smaller ones
    for k in range(model.latent_size):
        own = seen & (component == k)
        if not own.any():
            continue
        paint = canvas.pyplot().matplotlib.colors.to_rgba(canvas.colour(model, k))
        faces = np.repeat(np.array([paint]), own.sum(), axis=0)
        faces[:, 3] = 0.55 * (1 - unsure[own])
        ax.scatter(
            x[own],
            y[own],
            s=scale * (LEAST_SIZE + ADDED_SIZE * unsure[own]),
            facecolors=faces,
            edgecolors=[(*paint[:3], 0.8)],
            linewidths=0.5,
            marker=canvas.marker(model, k),
            rasterized=len(x) > 500,
        )


def _mosaic(ax: Axes, model: Mixture, x: Array, y: Array, resp: Array) -> None:
    """A tile per pair of categories: its area the number of rows, divided by component."""
    seen = ~(np.isnan(x) | np.isnan(y))
    codes = np.stack([x[seen], y[seen]], axis=1).astype(np.intp)
    tiles, inverse = np.unique(codes, axis=0, return_inverse=True)
    shares = np.zeros((len(tiles), resp.shape[1]))
    np.add.at(shares, inverse.ravel(), resp[seen])
    most = float(shares.sum(axis=1).max(initial=1.0))
    for (a, b), share in zip(tiles, shares, strict=True):
        side = 0.9 * float(np.sqrt(share.sum() / most))
        left = a - side / 2
        for k, width in enumerate(side * share / share.sum()):
            ax.bar(
                left,
                side,
                width,
                bottom=b - side / 2,
                align="edge",
                color=canvas.colour(model, k),
                hatch=canvas.hatch(model, k),
                edgecolor="white",
                linewidth=0.3,
            )
            left += width


def _label(grid: Any, densities: list[ColumnDensity]) -> None:
    """Names and ticks on the outer panels alone."""
    d = len(densities)
    limit = max(10, 60 // d)
    for r in range(d):
        for c in range(r + 1):
            ax, x, y = grid[r, c], densities[c], densities[r]
            for axis, found, is_outer in ((ax.xaxis, x, r == d - 1), (ax.yaxis, y, c == 0 and r > 0)):
                if found.kind == "categories" and (axis is ax.xaxis or c < r):
                    names = [canvas.clipped(level, 9) for level in found.levels]
                    every = -(-len(names) // MOST_TICKS)  # of many levels only some have room for their names
                    names = [name if i % every == 0 and is_outer else "" for i, name in enumerate(names)]
                    axis.set_ticks(np.arange(len(names)), names)
                    if axis is ax.xaxis and is_outer and max(map(len, names)) * len(names) > 70 // d:
                        axis.set_tick_params(rotation=90)
                elif not is_outer:
                    axis.set_tick_params(labelbottom=False, labelleft=False)
                if found.kind != "categories":
                    ax.locator_params(axis=axis.axis_name, nbins=4)
            ax.tick_params(labelsize=canvas.SMALLEST)
            if r == d - 1:
                ax.set_xlabel(canvas.clipped(x.column, limit), fontsize=canvas.SMALL)
            if c == 0 and r > 0:
                ax.set_ylabel(canvas.clipped(y.column, limit), fontsize=canvas.SMALL)
    if d == 1:
        grid[0, 0].set_ylabel("")


def _entitle(grid: Any, model: Mixture, notes: list[str]) -> None:
    """Title and legend of the whole figure: the corner above the diagonal is free."""
    lines = canvas.pyplot().matplotlib.lines
    figure = grid[0, 0].figure
    handles = [
        lines.Line2D(
            [],
            [],
            color=canvas.colour(model, k),
            linestyle=canvas.line(model, k),
            marker=canvas.marker(model, k),
            markersize=5,
            label=canvas.name(model, k),
        )
        for k in range(model.latent_size)
    ]
    d = len(grid)
    free = grid[0, -1] if d > 1 else grid[0, 0]
    is_long = len(handles) > 4 * max(d - 1, 1)
    place = "upper right" if d > 1 else "best"
    free.legend(handles=handles, fontsize=canvas.SMALL, frameon=False, loc=place, ncols=1 + is_long, borderaxespad=0.0)
    notes = [note for note in notes if note]
    if d > 1:
        has_marks = any(len(ax.collections) for ax in grid[np.tril_indices(d, -1)])
        text = "\n".join(["large and empty: uncertain"] * has_marks + notes)
        figure.suptitle(text, fontsize=canvas.SMALL, x=0.01, ha="left", color="#555555")
    else:
        canvas.entitle(grid[0, 0], "", notes)
