"""What to believe and what to distrust, in sentences; and what other analyses of the same fit add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.report.html.facts import CERTAIN, Facts
from emix.report.html.walk import REACHED
from emix.report.text import component_title, number
from emix.report.words import capitalised, family_words, listed_short, percent

FEW = 10
"""Expected rows per column and one more below which a component rests on few rows."""
MOST_LETTERS = 5
"""Of a criterion that is an abbreviation."""
FOREST_GROUPS = 12
"""Parameters whose intervals are drawn; the table has all."""


@dataclass(frozen=True)
class Remark:
    """Something to know: `good`, a `note`, or a `warning`; the topic is that of a diagnosis."""

    level: str
    sentence: str
    advice: str = ""
    topic: str = ""


def remarks(facts: Facts, diagnosis: Any = None, others: Sequence[str] = ()) -> list[Remark]:
    """Warnings first, then notes, then what is well.

    A diagnosis speaks for the topics that it has looked at; `others` are warnings of other analyses.
    """
    found = [*_ending(facts), *_starts(facts), *_certainty(facts), *_sizes(facts), *_missing(facts)]
    found += [Remark("warning", capitalised(one)) for one in others]
    if facts.result is not None:
        own = [one for one in facts.result.warnings if not one.startswith("the starts disagree")]
        found += [Remark("warning", capitalised(one)) for one in own]
    if diagnosis is not None:
        looked_at = {str(one.topic) for one in diagnosis.findings}
        found = [one for one in found if not one.topic or one.topic not in looked_at]
        found += [Remark(str(one.level), str(one.sentence), str(one.advice or "")) for one in diagnosis.findings]
    rank = {"warning": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda one: rank.get(one.level, 1))


def _ending(facts: Facts) -> list[Remark]:
    result = facts.result
    if result is None:
        return [
            Remark("note", "How the fit ended is not known: the file holds the model alone.", "Fit it with --report.")
        ]
    if result.converged:
        return [Remark("good", f"The fit {result.stop_reason.sentence}, after {result.n_iter:,} iterations.")]
    return [
        Remark(
            "warning",
            f"The fit did not converge: {result.stop_reason.sentence.removeprefix('not converged: ')}. "
            "The numbers here would still change.",
            "Fit again with more iterations (max_iter).",
        )
    ]


def _starts(facts: Facts) -> list[Remark]:
    result = facts.result
    if result is None:
        return []
    ended = [one for one in result.starts if one.stop_reason.converged]
    if facts.model.latent_size == 1 or not ended:
        return []
    best = max(one.log_likelihood for one in ended)
    n_best = sum(best - one.log_likelihood <= REACHED for one in ended)
    if len(ended) == 1:
        sentence = "Only one run went to its end: whether there is a better optimum was hardly looked at."
        if len(result.starts) > 1:
            sentence = (
                f"Of {len(result.starts)} starts only the most promising one was run to its end: "
                "whether another would have come out higher is not known."
            )
        return [Remark("note", sentence, "Fit with more starts (n_init).", "starts")]
    if n_best == len(ended):
        sentence = f"All {len(ended)} starts that were run to their end found the same optimum."
        return [Remark("good", sentence, topic="starts")]
    worst = best - min(one.log_likelihood for one in ended)
    sentence = (
        f"Only {n_best} of {len(ended)} starts found the best optimum; the others ended up to {worst:.3g} nats lower."
    )
    return [Remark("warning" if n_best == 1 else "note", sentence, "Fit with more starts (n_init).", "starts")]


def _certainty(facts: Facts) -> list[Remark]:
    if facts.model.latent_size == 1:
        return []
    unsure = float(facts.all_weight[facts.largest < CERTAIN].sum()) / facts.total_weight
    if unsure == 0:
        sentence = f"Each row is at least {percent(CERTAIN)} sure of its component."
        return [Remark("good", sentence, topic="certainty")]
    sentence = f"{percent(unsure)} of the rows are less than {percent(CERTAIN)} sure of their component."
    level = "good" if unsure < 0.05 else "note" if unsure < 0.3 else "warning"
    advice = (
        "" if level == "good" else "Count such rows by their probabilities, and do not treat the groups as certain."
    )
    return [Remark(level, sentence, advice, "certainty")]


def _sizes(facts: Facts) -> list[Remark]:
    K = facts.model.latent_size - facts.model.has_noise
    # weights above 1 are counts of rows, weights below 1 shares of them
    few = FEW * (len(facts.columns) + 1) * min(1.0, facts.total_weight / len(facts.all_weight))
    found = []
    for k in range(K):
        count, title = float(facts.counts[k]), component_title(facts.model, k)
        if count < few and K > 1:
            sentence = f"{capitalised(title)} rests on few rows ({count:,.1f}): its numbers are rough."
            found.append(Remark("note", sentence, "Try fewer components.", "size"))
    return found


def _missing(facts: Facts) -> list[Remark]:
    n_cells = float(np.size(facts.n_missing)) * len(facts.all_weight)
    n_missing = float(facts.n_missing.sum())
    if not n_missing:
        return []
    return [
        Remark(
            "note",
            f"{percent(n_missing / n_cells)} of the cells are missing. They were neither filled nor dropped: the fit "
            "is exact if whether a cell is missing does not depend on what it would hold, given the others.",
        )
    ]


def in_short(facts: Facts) -> list[str]:
    """What a reader should know who reads nothing else."""
    K = facts.model.latent_size - facts.model.has_noise
    names = [column.name for column in facts.columns]
    rows = f"{facts.total_weight:,.10g} rows"
    if len(facts.all_weight) != facts.total_weight:
        rows = f"rows of total weight {facts.total_weight:,.10g} ({len(facts.all_weight):,} lines)"
    groups = "one component" if K == 1 else f"{K} components"
    noise = ", and noise" if facts.model.has_noise else ""
    what = f"{capitalised(groups)} in {rows} of {listed_short(names, 7)}{noise}."
    found = [f"{what} {family_words(facts.model.family)}"]
    if facts.model.latent_size > 1:
        found.append(
            f"On average a row is {percent(float(facts.all_weight @ facts.largest) / facts.total_weight)} sure of its "
            f"component; entropy R² is {percent(facts.entropy_r2)}."
        )
    return found


def criteria(facts: Facts) -> list[tuple[str, str]]:
    """(term, number) of the fit."""
    result = facts.result
    found = [("log-likelihood", number(facts.log_likelihood))]
    found.append(("free parameters", f"{facts.model.n_free_parameters:,}"))
    if result is not None:
        found += [(name.upper(), number(getattr(result, name))) for name in ("aic", "bic", "icl")]
    return found


def criterion_words(criterion: str) -> str:
    """Like `BIC`."""
    return criterion.upper() if len(criterion) <= MOST_LETTERS else criterion.replace("_", "-") + " log-likelihood"


def selection_rows(selection: Any) -> list[dict[str, str]]:
    """The candidates as text, best first, the chosen one marked; those without the criterion come last."""
    best, found = selection.best, []
    sign = -1.0 if selection.criterion == "cross_validated" else 1.0

    def rank(row: dict[str, Any]) -> float:
        value = row.get(selection.criterion)
        return sign * float(value) if value is not None and is_number(value) else np.inf

    for one in sorted(selection.rows(), key=rank):
        shown = ("log_likelihood", "aic", "bic", "icl", selection.criterion)
        text = {name: f"{one[name]:,.2f}" if is_number(one.get(name)) else "" for name in shown}
        text["family"], text["n_components"] = short_family(str(one["family"])), str(one["n_components"])
        text["n_free_parameters"] = "" if one.get("n_free_parameters") is None else f"{one['n_free_parameters']:,}"
        text["error"] = str(one.get("error") or "").split("\n")[0]
        if not text["error"] and not one.get("converged"):
            text["error"] = "not converged"
        is_best = best is not None and (one["family"], one["n_components"]) == (best.family, best.n_components)
        text["mark"] = "chosen" if is_best else ""
        found.append(text)
    return found


def short_family(text: str) -> str:
    """Like `VEV`, where the structure says it all."""
    head, tail = "multivariate_normal(structure='", "')"
    is_structure = text.startswith(head) and text.endswith(tail) and text.count("=") == 1
    return text.removeprefix(head).removesuffix(tail) if is_structure else text


def is_number(value: Any) -> bool:
    """Whether there is a finite number."""
    return value is not None and bool(np.isfinite(value))


def estimate_groups(uncertainty: Any) -> list[tuple[str, Sequence[Any]]]:
    """Estimates of one parameter and column together; the first that are drawn."""
    groups: dict[str, Sequence[Any]] = {}
    for one in uncertainty.estimates:
        if _is_drawn(one):
            groups[estimate_title(one)] = [*groups.get(estimate_title(one), ()), one]
    return list(groups.items())[:FOREST_GROUPS]


def _is_drawn(one: Any) -> bool:
    return all(is_number(v) for v in (one.value, one.lower, one.upper))


def estimate_title(one: Any) -> str:
    """What an estimate is of: `mean of waiting`, `probabilities of town = south`."""
    level = f" = {one.level_name}" if one.level_name else ""
    return f"{one.parameter.replace('_', ' ')}{f' of {one.column}' if one.column else ''}{level}"


def estimate_component(one: Any, names: Sequence[str]) -> str:
    """Which component an estimate is of; empty for one of the whole model."""
    return "" if one.component is None or one.component < 0 else names[one.component]


def estimate_rows(uncertainty: Any, names: Sequence[str]) -> list[dict[str, str]]:
    """All estimates as text."""

    def text(value: Any) -> str:
        return number(float(value)) if is_number(value) else ""

    return [
        {
            "what": estimate_title(one),
            "component": estimate_component(one, names),
            "value": text(one.value),
            "standard_error": text(one.standard_error),
            "interval": f"{text(one.lower)} to {text(one.upper)}" if _is_drawn(one) else "",
            "note": str(one.note or ""),
        }
        for one in uncertainty.estimates
    ]
