"""From a fit and its rows to a report in a file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from emix.model import Mixture
from emix.persistence import atomic_write, check_writable
from emix.report.html.candidates import candidate_columns, candidate_rows, criterion_words, selection_figure
from emix.report.html.colours import colours
from emix.report.html.facts import Facts, gather
from emix.report.html.figures import Figure, component_figures
from emix.report.html.fit_figures import certainty_figure, starts_figure, trace_figure
from emix.report.html.forest import estimate_rows, forest_figure
from emix.report.html.judgement import criteria, in_short, remarks
from emix.report.html.page import render, require_packages
from emix.report.html.steps import steps_payload
from emix.report.html.walk import Walk, walk
from emix.report.profile import profiles
from emix.report.text import component_title, number, parameter_lines
from emix.report.words import listed_short
from emix.results import FitResult
from emix.threads import blas_limited

PROFILED = 100
"""Columns of the profile, and lines of parameters, that are printed."""


def write_report(
    result: FitResult | Mixture,
    data: Any,
    path: str | Path,
    *,
    selection: Any = None,
    uncertainty: Any = None,
    diagnosis: Any = None,
    title: str | None = None,
    labels: Any = None,
    sample_weight: Any = None,
) -> None:
    """Write a report of a fit: one HTML file that a browser opens without a network.

    What was fitted, each component in words and pictures, how it was chosen, how sure it is, what to distrust, and EM
    step by step: a plain run on at most 1,000 of the rows, from a seeded start.

    Parameters
    ----------
    result : FitResult or Mixture
        What `fit` returned, `emix.results.load_result` read, or a model alone.
    data
        As in `fit`: the rows of the fit; a scan that is small enough to be read into memory. What is drawn of many is a
        seeded sample, and the report says so.
    path : path-like
        Replaced if it exists.
    selection : Selection, optional
        What `select` returned: its candidates are shown.
    uncertainty : Uncertainty or Bootstrap, optional
        Estimates with intervals, shown as a table and drawn.
    diagnosis : Diagnosis, optional
        Its findings join what to distrust.
    title : str, optional
        Of the page.
    labels, sample_weight
        As in `fit`, where the fit had them.

    Raises
    ------
    FileError
        The path cannot be written (found before anything is computed), or Plotly or Jinja2 is not installed.
    DataError
        The data cannot be, or are not those of the fit.
    ModelError
        There are no parameters, or the model is no `Mixture`.

    Examples
    --------
    >>> import emix, tempfile, pathlib
    >>> result = emix.fit(emix.Mixture(emix.Poisson([1.0, 5.0])), [0, 1, 1, 2, 5, 6, 4])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     emix.write_report(result, [0, 1, 1, 2, 5, 6, 4], pathlib.Path(folder) / "report.html")
    """
    require_packages()
    check_writable(path)
    with blas_limited():  # the matrices are small: threads would wait for each other
        facts = gather(result, data, labels=labels, sample_weight=sample_weight)
        page = _page(facts, selection, uncertainty, diagnosis, title)
    with atomic_write(path) as file:
        file.write(page)


def _page(facts: Facts, selection: Any, uncertainty: Any, diagnosis: Any, title: str | None) -> str:
    model, result = facts.model, facts.result
    names = [component_title(model, k) for k in range(model.latent_size)]
    run = walk(facts)
    components = component_figures(facts)
    others: list[Figure | None] = [certainty_figure(facts)]
    if uncertainty is not None:
        others.append(forest_figure(uncertainty, names, colours(model)))
    if result is not None:
        others += [trace_figure(result), starts_figure(result)]
    if selection is not None:
        others.append(selection_figure(selection))
    content = {
        "title": title or _title(facts),
        "model": str(model),
        "in_short": in_short(facts, selection),
        "remarks": remarks(facts, diagnosis, [*_said(selection, "warnings"), *_said(uncertainty, "notes")]),
        "components": list(zip(facts.descriptions, colours(model), strict=True)),
        "component_figures": [one.name for one in components],
        "n_columns": len(facts.columns),
        "names": names,
        "profile": _profile(facts),
        "parameters": _parameters(model),
        "criteria": criteria(facts),
        "result": result,
        "selection": None if selection is None else candidate_rows(selection),
        "selection_columns": [] if selection is None else candidate_columns(selection),
        "selection_is_complete": selection is None or bool(selection.is_complete),
        "criterion": "" if selection is None else str(selection.criterion),
        "criterion_words": "" if selection is None else criterion_words(selection.criterion),
        "estimates": None if uncertainty is None else estimate_rows(uncertainty, names),
        "interval_level": None if uncertainty is None else getattr(uncertainty, "level", None),
        "interval_method": "" if uncertainty is None else str(getattr(uncertainty, "method", "")),
        "placed": _placed(facts, names),
        "walk": _walk_notes(facts, run),
        "sampled": (len(facts.rows), len(facts.all_weight)) if facts.is_sampled else None,
        "version": version("emix"),
    }
    return render(
        content,
        [*components, *(one for one in others if one is not None)],
        None if run is None else steps_payload(facts, run),
    )


def _said(analysis: Any, name: str) -> list[str]:
    """Warnings or notes that another analysis has of its own; none of one that is not given."""
    return [str(one) for one in getattr(analysis, name, ())]


def _title(facts: Facts) -> str:
    K = facts.model.n_components
    names = [one.name for one in facts.columns]
    return f"{K} component{'' if K == 1 else 's'} of {listed_short(names, 5)}"


def _profile(facts: Facts) -> list[tuple[str, ...]]:
    """Column, apart, whole, one cell per component."""
    found = profiles(facts.model)[:PROFILED]
    return [(one.column, f"{one.apart:.2f}", one.whole, *one.components) for one in found]


def _parameters(model: Mixture) -> list[tuple[str, ...]]:
    """What, one cell per component."""
    shares = ("proportion", *(number(float(p)) for p in model.latent.mixing_proportions))
    lines = parameter_lines(model.family)[:PROFILED]
    blank = ("",) * model.has_noise
    return [shares, *((name, *(number(float(v)) for v in values), *blank) for name, values in lines)]


def _placed(facts: Facts, names: list[str]) -> list[tuple[str, ...]]:
    """Rows put into a component, by the component that they are expected to belong to."""
    if facts.model.latent_size < 2:
        return []
    return [(name, *(f"{v:,.1f}" for v in row)) for name, row in zip(names, facts.placed, strict=True)]


def _walk_notes(facts: Facts, run: Walk | None) -> list[str]:
    """What the step-through is, and how it compares with the fit."""
    if run is None:
        return []
    notes = [
        f"A run of plain EM for this page, from a random start (seed {run.seed}): not the run that gave the numbers "
        "above, which takes short cuts."
    ]
    if len(run.rows) < len(facts.all_weight):
        notes.append(f"It sees {len(run.rows):,} of the {len(facts.all_weight):,} rows, drawn at random.")
    else:
        notes.append("It sees all rows.")
    if len(run.shown) < len(run.steps):
        n, shown = len(run.steps) - 1, len(run.shown) - 1
        notes.append(f"The start and {shown} of its {n:,} iterations are shown: the later ones change little.")
    if not run.converged:
        notes.append("It was cut off before it converged.")
    if run.below > 0.01:
        notes.append(
            f"It ends {run.below:.3g} nats below the reported model on the same rows: EM climbs to the nearest top, "
            "which is why a fit takes several starts."
        )
    elif len(run.rows) == len(facts.all_weight):
        notes.append("It ends at the reported model.")
    return notes
