"""Whether the model holds: residuals of the rows, and of the tables of two items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emix.block import Array
from emix.errors import ModelError
from emix.families import Bernoulli, Categorical, Columns
from emix.fitting.use import prepared
from emix.inference.densities import column_position, drawn_rows, shown_columns
from emix.inference.goodness import quantile_residuals
from emix.inference.tables import bivariate_residuals, item_names
from emix.model import Mixture
from emix.plot import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISPLAYED = 3000
"""Rows that a picture has room for."""
MOST_ITEMS = 15
"""Items up to which the residuals of their tables are written into the map."""
LEVEL = 0.95
"""Of the band that each ordered residual of a true model lies in."""
MOST_COLUMNS = 8


def residuals(
    model: Any, data: Any, ax: Axes | None = None, *, column: str | int | None = None, random_state: Any = 0
) -> Axes:
    """What the model does not explain.

    Of numbers the quantile residuals: standard normal, whatever the family, if the model is true; of one column in
    the order of the rows, which shows a drift, several side by side. Of categorical items the bivariate residuals:
    about 1 where the classes explain why two items go together, well above where they do not.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data : as in `fit`
        Of more than 3,000 rows so many are drawn; the title says so.
    ax : Axes, optional
        Where to draw; a new figure by default.
    column : str or int, optional
        Only this one.
    random_state : int, default=0
        Seed of that draw, and of the quantile residuals of counts, which are drawn within their step.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        There is no such column, the family has no distribution function, or a single categorical item, which has no
        other to go with.
    DataError
        The data cannot be.
    FileError
        Matplotlib is not installed.

    References
    ----------
    Dunn & Smyth (1996), Journal of Computational and Graphical Statistics 5, 236-244.
    """
    mixture = canvas.mixture_of(model)
    if column is None and _is_questionnaire(mixture):
        return _tables(mixture, data, ax)
    names, rows, found, note = _quantile_residuals(mixture, data, column, random_state)
    ax = canvas.axes(ax)
    if len(names) == 1:
        ax.scatter(rows, found[:, 0], s=9, color=canvas.COLOURS[0], alpha=0.45, linewidths=0, rasterized=True)
        ax.set_xlabel("row")
    else:
        rng = np.random.default_rng(0)
        for i, z in enumerate(found.T):
            seen = z[~np.isnan(z)]
            if len(seen) == 0:
                continue
            place = i + rng.uniform(-0.3, 0.3, len(seen))
            ax.scatter(place, seen, s=6, color=canvas.COLOURS[0], alpha=0.3, linewidths=0, rasterized=True)
            ax.plot(np.full(3, i), np.quantile(seen, [0.25, 0.5, 0.75]), "_", color=canvas.INK, markersize=18)
        ax.set_xticks(range(len(names)), [canvas.clipped(one, 14) for one in names])
        if sum(map(len, names)) > 60:
            ax.tick_params(axis="x", rotation=40)
    for height, style in ((0.0, "-"), (-1.96, (0, (5, 3))), (1.96, (0, (5, 3)))):
        ax.axhline(height, color="#777777", linewidth=0.8, linestyle=style, zorder=0)
    beyond = 100 * float((np.abs(found[~np.isnan(found)]) > 1.96).mean())
    ax.set_ylabel("quantile residual" + (f" of {canvas.clipped(names[0])}" if len(names) == 1 else ""))
    quartiles = "" if len(names) == 1 else "dashes: quartiles and median"
    canvas.entitle(ax, f"{beyond:.1f} % beyond \u00b11.96; 5 % if the model is true", [note, quartiles])
    return ax


def qq(
    model: Any, data: Any, column: str | int | None = None, ax: Axes | None = None, *, random_state: Any = 0
) -> Axes:
    """Ordered quantile residuals against those of a standard normal, on the line if the model is true.

    The band holds each ordered residual of a true model with probability 95 % (pointwise; by the beta distribution of
    uniform order statistics).

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data : as in `fit`
        Of more than 3,000 rows so many are drawn; the title says so.
    column : str or int, optional
        Only this one.
    ax : Axes, optional
        Where to draw; a new figure by default.
    random_state : int, default=0
        Seed of that draw, and of the residuals of counts.

    Returns
    -------
    Axes

    Raises
    ------
    ModelError
        There is no such column, or the family has no distribution function.
    DataError
        The data cannot be.
    FileError
        Matplotlib is not installed.
    """
    mixture = canvas.mixture_of(model)
    names, _, found, note = _quantile_residuals(mixture, data, column, random_state)
    ax = canvas.axes(ax, (4.6, 4.4))
    n = int((~np.isnan(found)).sum(axis=0).max())
    theory = _normal_quantiles(n)
    ranks = np.arange(1, n + 1)
    low, high = (stats.norm.ppf(stats.beta.ppf(q, ranks, n + 1 - ranks)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    ax.fill_between(theory, low, high, color=canvas.PALE, linewidth=0, label="95 % of each, if true")
    ax.axline((0, 0), slope=1, color="#777777", linewidth=0.8)
    for i, z in enumerate(found.T):
        ordered = np.sort(z[~np.isnan(z)])
        ax.plot(
            _normal_quantiles(len(ordered)),
            ordered,
            linestyle="none",
            marker=canvas.MARKERS[i % len(canvas.MARKERS)],
            markersize=3.2,
            markerfacecolor="none",
            markeredgewidth=0.7,
            color=canvas.COLOURS[i % len(canvas.COLOURS)],
            label=canvas.clipped(names[i]),
            rasterized=len(ordered) > 1000,
        )
    ax.set_xlabel("quantiles of the standard normal")
    ax.set_ylabel("ordered quantile residuals")
    canvas.entitle(ax, "Quantile residuals", [note])
    canvas.legend(ax, loc="upper left")
    return ax


def _normal_quantiles(n: int) -> Array:
    """Of the ranks 1 ... n."""
    return np.asarray(stats.norm.ppf((np.arange(1, n + 1) - 0.5) / n))


def _quantile_residuals(
    model: Mixture, data: Any, column: str | int | None, random_state: Any
) -> tuple[list[str], NDArray[np.intp], Array, str]:
    """Names of the columns to show, positions of the rows (n,), residuals (n, c), and a note on what is not shown."""
    model, source = prepared(model, data)
    every = shown_columns(model)
    chosen = every[:MOST_COLUMNS] if column is None else [column_position(model, column)]
    if not set(chosen) <= set(every):
        requirement = f"one of {', '.join(model.family.columns[j] for j in every)}"
        raise ModelError.argument(name="column", requirement=requirement, found=column)
    some = drawn_rows(source, DISPLAYED, random_state)
    rows = np.arange(source.n_rows) if some.rows is None else some.rows
    found = np.asarray(quantile_residuals(model, data, random_state=random_state))[rows]
    notes = [f"{len(rows):,} of {source.n_rows:,} rows, drawn at random" if len(rows) < source.n_rows else ""]
    notes.append(f"{len(chosen)} of {len(every)} columns" if column is None and len(chosen) < len(every) else "")
    names = [model.family.columns[j] for j in chosen]
    # a column that is read beside another has no residuals
    places = [every.index(j) if found.shape[1] == len(every) else j for j in chosen]
    return names, rows, found[:, places], "; ".join(note for note in notes if note)


def _is_questionnaire(model: Mixture) -> bool:
    """Whether all columns are items: then their tables say more than residuals of single answers."""
    family = model.family
    if isinstance(family, Columns):
        parts = family.parts
        n_items = sum(len(part.names) for part in parts if isinstance(part.family, Categorical | Bernoulli))
        return 1 < n_items == sum(len(part.names) for part in parts)
    is_items = isinstance(family, Bernoulli) and family.binding is not None and len(family.columns) > 1
    return is_items or isinstance(family, Categorical)


def _tables(model: Mixture, data: Any, ax: Axes | None) -> Axes:
    """Bivariate residuals of all pairs of items, as a map."""
    model, _ = prepared(model, data)
    names = item_names(model)
    d = len(names)
    if d < 2:
        raise ModelError.argument(name="model", requirement="two categorical items or more", found=list(names))
    found = np.asarray(bivariate_residuals(model, data), dtype=np.float64)
    below = np.tril(np.ones((d, d), dtype=np.bool_), -1) & np.isfinite(found)
    ax = canvas.axes(ax, (min(2.4 + 0.5 * d, 9.0), min(1.8 + 0.42 * d, 8.0)))
    shown = np.ma.masked_where(~below, found)
    bound = max(float(found[below].max(initial=0.0)), 4.0)
    image = ax.imshow(shown[1:, :-1], cmap="Oranges", vmin=0, vmax=bound, aspect="auto")
    if d <= MOST_ITEMS:
        for i, j in zip(*np.nonzero(below), strict=True):
            ink = "white" if found[i, j] > 0.62 * bound else canvas.INK
            text = f"{found[i, j]:.1f}"
            ax.text(j, i - 1, text, ha="center", va="center", fontsize=canvas.SMALLEST, color=ink)
    ax.set_xticks(range(d - 1), [canvas.clipped(one, 12) for one in names[:-1]], rotation=40, ha="right")
    ax.set_yticks(range(d - 1), [canvas.clipped(one, 16) for one in names[1:]])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("bivariate residual", fontsize=canvas.SMALL)
    bar.ax.tick_params(labelsize=canvas.SMALL)
    bar.outline.set_visible(False)
    canvas.entitle(ax, "Pairs of items that the classes do not explain", ["about 1 where they do"])
    return ax
