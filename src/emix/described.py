"""A mixture in words and tables: titles of components, a line per parameter; what notebooks and `emix show` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from emix.block import Array
from emix.families import Columns, Family
from emix.families.columnwise import by_column
from emix.latent import IndependentDraws
from emix.markup import html_table, html_text, markdown_table, markdown_text

MAX_LINES = 60
SAID_TWICE = {"variance", "log_variance", "covariance"}
"""Parameters that people read as standard deviations and correlations, which are listed too where there is room."""


class Described(Protocol):
    """What a mixture has that people are shown."""

    @property
    def component_names(self) -> tuple[str, ...] | None:
        """Names for the components, where they have any."""

    @property
    def family(self) -> Family:
        """With or without parameters."""

    @property
    def has_noise(self) -> bool:
        """Whether the last component is noise."""

    @property
    def latent_size(self) -> int:
        """Number of components, noise included."""

    @property
    def is_fitted(self) -> bool:
        """Whether all parameters have values."""

    @property
    def latent(self) -> IndependentDraws:
        """Holds the mixing proportions."""


class ShownInNotebooks:
    """Parent of what a notebook shows as a table of its components."""

    def _repr_html_(self: Described) -> str:
        return html_of(self)


def component_title(model: Described, k: int) -> str:
    """A component's name for a table's head."""
    if model.has_noise and k == model.latent_size - 1:
        return "noise"
    return f"component {k}" if model.component_names is None else f"{model.component_names[k]} ({k})"


def parameter_lines(family: Family, names: tuple[str, ...] = ()) -> list[tuple[str, Array]]:
    """(what, one value per component) for every parameter, in the units of the data.

    Columns are called `names` where the family is not bound to data yet, or x0, x1, ...
    """
    if isinstance(family, Columns):
        return [line for part in family.parts for line in _lines(part.family, part.names, ", ".join(part.names))]
    return _lines(family, names, "")


def _lines(family: Family, names: tuple[str, ...], label: str) -> list[tuple[str, Array]]:
    """Of one family, whose parameters for all its columns together are those of `label`, if it has one."""
    of_all = f" of {label}" if label else ""
    if family.binding is not None:
        names = family.columns
    if family.name == "categorical":
        probabilities: Any = family.parameters["probabilities"]
        arrays = probabilities if isinstance(probabilities, tuple) else (probabilities,)
        values = np.concatenate(arrays, axis=1).T
        if family.binding is not None:
            return list(zip((f"p({name})" for name in family.statistic_names), values, strict=True))
        names = names or tuple(f"x{j}" for j in range(len(arrays)))
        levels = (f"p({name} = {i})" for name, own in zip(names, arrays, strict=True) for i in range(own.shape[1]))
        return list(zip(levels, values, strict=True))
    widths = [np.shape(value)[1] for value in family.parameters.values() if np.ndim(value) > 1]
    names = names or tuple(f"x{j}" for j in range(max(widths, default=1)))
    lines: list[tuple[str, Array]] = []
    for parameter, value in family.parameters.items():
        if not isinstance(value, tuple) and value.ndim == 3:
            lines += _covariance_lines(value, names, "standard deviation" if parameter == "covariance" else parameter)
            continue
        columns = by_column(value)
        if columns.shape[1] == 1:
            lines.append((parameter + of_all, columns[:, 0]))
        else:
            lines += [(f"{parameter} of {name}", column) for name, column in zip(names, columns.T, strict=True)]
        if parameter in ("variance", "log_variance"):
            word = parameter.replace("variance", "standard deviation").replace("log_", "log ")
            own = (of_all,) if columns.shape[1] == 1 else tuple(f" of {name}" for name in names)
            lines += [(word + name, np.sqrt(column)) for name, column in zip(own, columns.T, strict=True)]
    return lines


def _covariance_lines(C: Array, names: tuple[str, ...], word: str) -> list[tuple[str, Array]]:
    """Standard deviations and correlations, which people can read, for covariances, which they cannot."""
    deviation = np.sqrt(np.diagonal(C, axis1=1, axis2=2))
    lines = [(f"{word} of {name}", deviation[:, j]) for j, name in enumerate(names)]
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            correlation = C[:, i, j] / (deviation[:, i] * deviation[:, j])
            if correlation.any():
                lines.append((f"correlation of {names[i]}, {names[j]}", correlation))
    return lines


def number(value: float, digits: int = 6) -> str:
    """So many significant digits, without an exponent where people would not write one."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value))))) if value else 1
        return f"{value:,.{min(decimals, 6)}f}"
    return f"{value:.{digits - 1}e}"


def capitalised(text: str) -> str:
    """With a capital first letter, and the others as they are."""
    return text[:1].upper() + text[1:]


# -- tables ------------------------------------------------------------------------------------------------------------


def component_table(model: Described, counts: Sequence[float] | None = None) -> tuple[list[str], list[list[str]]]:
    """Titles and lines of the components side by side: proportions, expected rows, parameters.

    Parameters
    ----------
    model : Mixture
        With parameters.
    counts : sequence of float of length K, optional
        Expected number of rows of each component.
    """
    head = ["", *(component_title(model, k) for k in range(model.latent_size))]
    rows = [["proportion", *(number(p) for p in model.latent.mixing_proportions)]]
    if counts is not None:
        rows.append(["expected rows", *(f"{count:,.1f}" for count in counts)])
    blank = [""] * model.has_noise
    rows += [[name, *(number(value) for value in values), *blank] for name, values in parameter_lines(model.family)]
    return head, rows


def summary_rows(summary: Mapping[str, Any], sentence: str) -> list[list[str]]:
    """Log-likelihood, free parameters, criteria, the ending; `summary` is that of a `FitResult`."""
    rows = [["log-likelihood", f"{summary['log_likelihood']:,.6f}"]]
    if summary["n_free_parameters"] is not None:
        rows.append(["free parameters", str(summary["n_free_parameters"])])
        rows += [[name.upper(), f"{summary[name]:,.4f}"] for name in ("aic", "bic", "icl")]
    rows.append(["rows", f"{summary['total_weight']:,.10g}"])
    n = summary["n_iter"]
    return [*rows, ["ended", f"{sentence}; {n} iteration" + "s" * (n != 1)]]


def html_of(
    model: Any, summary: Mapping[str, Any] | None = None, sentence: str = "", warnings: Sequence[str] = ()
) -> str:
    """A model, and how its fit ended, as HTML that needs nothing else; also of a user's own model."""
    parts = [html_text(str(model))]
    if isinstance(model, ShownInNotebooks) and model.is_fitted:  # type: ignore[attr-defined]
        head, rows = component_table(model, (summary or {}).get("expected_counts"))  # type: ignore[arg-type]
        parts.append(html_table(head, rows[:MAX_LINES]))
        if len(rows) > MAX_LINES:
            parts.append(html_text(_left_out(len(rows))))
    if summary:
        parts.append(html_table(("", ""), summary_rows(summary, sentence)))
    return "\n".join([*parts, *(html_text(f"Warning: {warning}") for warning in warnings)])


def markdown_of(model: Described, summary: Mapping[str, Any] | None = None, sentence: str = "") -> str:
    """The same as Markdown."""
    parts = [f"**{markdown_text(str(model))}**"]
    if model.is_fitted:
        head, rows = component_table(model, (summary or {}).get("expected_counts"))
        parts.append(markdown_table(head, rows[:MAX_LINES]))
        if len(rows) > MAX_LINES:
            parts.append(_left_out(len(rows)))
    if summary:
        parts.append(markdown_table(("", ""), summary_rows(summary, sentence)))
    return "\n\n".join(parts)


def _left_out(n_rows: int) -> str:
    return f"... and {n_rows - MAX_LINES} more lines; JSON has all of them"
