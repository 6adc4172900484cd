"""What to believe and what to distrust, in sentences; and what other analyses of the same fit add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emix.report.html.candidates import chosen_among
from emix.report.html.facts import CERTAIN, Facts
from emix.report.html.walk import REACHED
from emix.report.text import component_title, number
from emix.report.words import capitalised, family_words, listed_short, percent

FEW = 10
"""Expected rows per column and one more below which a component rests on few rows."""


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
    found += [Remark("warning", one) for one in others]
    if facts.result is not None:
        own = [one for one in facts.result.warnings if not one.startswith("the starts disagree")]
        found += [Remark("warning", one, topic="fit") for one in own]
    if diagnosis is not None:
        looked_at = {str(one.topic) for one in diagnosis.findings}
        found = [one for one in found if not one.topic or one.topic not in looked_at]
        found += [Remark(str(one.level), str(one.sentence), str(one.advice or "")) for one in diagnosis.findings]
    rank = {"warning": 0, "note": 1, "good": 2}
    once: dict[str, Remark] = {}
    for one in sorted(found, key=lambda one: rank.get(one.level, 1)):  # several analyses may have found the same
        once.setdefault(one.sentence.casefold().rstrip("."), replace(one, sentence=capitalised(one.sentence)))
    return list(once.values())


def _ending(facts: Facts) -> list[Remark]:
    result = facts.result
    if result is None:
        return [
            Remark("note", "How the fit ended is not known: the file holds the model alone.", "Fit it with --report.")
        ]
    if result.converged:
        sentence = f"The fit {result.stop_reason.sentence}, after {result.n_iter:,} iterations."
        return [Remark("good", sentence, topic="trace")]
    return [
        Remark(
            "warning",
            f"The fit did not converge: {result.stop_reason.sentence.removeprefix('not converged: ')}. "
            "The numbers here would still change.",
            "Fit again with more iterations (max_iter).",
            "trace",
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


def in_short(facts: Facts, selection: Any = None) -> list[str]:
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
    if selection is not None and len(selection.rows()) > 1:
        found.append(chosen_among(selection))
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
