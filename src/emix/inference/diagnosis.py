"""What there is to know about a fit before its numbers are believed: findings in words, each with what to do about it.

The influence of a row is its one-step Cook-like distance s' I^-1 s w, with its score s and the observed information I:
about (leaving the row out) twice what the log-likelihood of the others would rise by moving to their own estimates, or
the squared distance of that move in standard errors.
Source: Cook (1986), Journal of the Royal Statistical Society B 48, 133-169; McLachlan & Peel (2000), Finite Mixture
Models, sections 2.12 to 2.16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emix.block import Array
from emix.data.source import InMemorySource
from emix.described import capitalised
from emix.errors import FitError, ModelError
from emix.fitting.advice import name_of
from emix.inference.bootstrap import Bootstrap
from emix.inference.estimates import AT_BOUNDARY, UNTOLD, Estimate
from emix.inference.information import Information
from emix.inference.readings import LOGIT
from emix.inference.separation import separation
from emix.inference.uncertainty import (
    Inverse,
    Uncertainty,
    check_same_rows,
    counting_rows,
    information_of,
    inverted,
    note_of,
)
from emix.kernels.reference import responsibilities
from emix.markup import html_table
from emix.model import Mixture
from emix.results import FitResult, FittedEstimator, StopReason, mixture_of, result_of
from emix.threads import blas_limited

SAME = 0.01
"""Nats within which starts reached the same optimum."""
CERTAIN = 0.8
"""A largest responsibility from which a row's component counts as known."""
DOUBTFUL = 0.3
"""Share of rows without a certain component that is worth a warning."""
APART, OVERLAP, ALIKE = 0.14, 0.6, 0.9
"""What two components share, exp(-Bhattacharyya distance), where they begin to touch, to overlap, and to be hardly two.
Between equally frequent ones the best rule misplaces at most half. Two normals of equal spread share 0.14, exp(-2),
at 4 standard deviations, where 2.3 % are misplaced; 0.61, exp(-1/2), at 2, where their density no longer has two peaks
(16 %); and 0.9 at 0.9."""
SMALL = 5.0
"""Rows per parameter of a component below which it rests on little."""
INFLUENCE = 1.0
"""Squared distance, in standard errors, that a single row may move the estimates before it is named."""
NEARLY_SINGULAR = 1e6
SLOW = 0.01
"""Share of complete data's information below which a direction is all but unknown; EM's rate is 1 minus the least."""
SWITCHED = 0.05
"""Share of replicates with components in another order from which labels are in doubt."""
NAMED = 5
UNIDENTIFIED = ("the model is not identified", "the model may not be identified")
"""How the fit begins to say so."""
OF_THESE = ("certainty", "overlap", "size", "starts", "influence")
"""Topics whose findings are of these estimates alone, where others fit as well."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
        'starts', 'trace', 'certainty', 'overlap', 'size', 'influence', 'information', 'labels', or 'fit'.
    level : {'good', 'note', 'warning'}
    sentence : str
        What was found.
    advice : str
        What to do, or what it means.
    value : float or None
        The number behind it.
    """

    topic: str
    level: str
    sentence: str
    advice: str
    value: float | None = None

    def __str__(self) -> str:
        """A line."""
        return f"{self.level}: {self.topic}: {self.sentence} {self.advice}".rstrip()


@dataclass(frozen=True)
class Diagnosis:
    """All findings, the most serious first.

    Attributes
    ----------
    findings : tuple of Finding
    influence : ndarray of shape (n,) or None
        Of each row of the data, the squared distance (in standard errors) by which it moves the estimates; None where
        there is no information to measure it by.
    """

    findings: tuple[Finding, ...]
    influence: Array | None = None

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that ask for something to be done."""
        return tuple(one for one in self.findings if one.level == "warning")

    def of(self, topic: str) -> tuple[Finding, ...]:
        """The findings on a topic."""
        return tuple(one for one in self.findings if one.topic == topic)

    def _repr_html_(self) -> str:
        """For notebooks: the findings, one a row."""
        rows = [(one.topic, one.level, f"{one.sentence} {one.advice}".strip()) for one in self.findings]
        return html_table(("", "", ""), rows, "Diagnosis")

    def __str__(self) -> str:
        """A line for each finding."""
        return "\n".join(str(one) for one in self.findings)

    __repr__ = __str__


def diagnose(
    result: FitResult | FittedEstimator,
    data: Any,
    uncertainty: Uncertainty | Bootstrap | None = None,
    *,
    labels: Any = None,
    sample_weight: Any = None,
) -> Diagnosis:
    """Look at a fit as a statistician would before believing it.

    Parameters
    ----------
    result : FitResult or fitted estimator
        Of a mixture; converged or not.
    data, labels, sample_weight
        Those of the fit.
    uncertainty : Uncertainty or Bootstrap, optional
        From `standard_errors` (what its estimates leave in doubt), or from `bootstrap` (label switching, failures).

    Returns
    -------
    Diagnosis

    Raises
    ------
    FitError
        The rows are not those of the fit.
    ModelError
        This is no result of a mixture.
    DataError
        The data cannot be.

    Examples
    --------
    >>> import emix
    >>> x = [0, 1, 0, 2, 1, 9, 12, 10, 11, 8]
    >>> found = emix.diagnose(emix.fit(emix.Mixture(emix.Poisson(), 2), x, random_state=0), x)
    >>> [one.level for one in found.of("starts")]
    ['good']
    """
    result = result_of(result)
    mixture_of(result)
    model, source = counting_rows(result, data, labels=labels, sample_weight=sample_weight)
    found = [*_starts(result), *_trace(result)]
    resp = np.concatenate([responsibilities(model.log_joint(chunk))[0] for chunk in source.chunks], axis=1)
    found += _certainty(resp, source.weight)
    found += _overlap(model, resp, source.weight)
    found += _sizes(model, resp @ source.weight)
    influence, is_told = None, not any(text.startswith(UNIDENTIFIED) for text in result.warnings)
    if result.converged:
        try:
            info = information_of(result, data, labels=labels, sample_weight=sample_weight)
            with blas_limited():
                inverse = inverted(info, "observed")
                more, influence = _influence(info, inverse)
            is_told &= math.isfinite(inverse.condition)
            found += [*_information(info, inverse, uncertainty), *more]
        except FitError as error:
            check_same_rows(_log_likelihood(model, source), result)
            first = str(error).splitlines()
            found.append(Finding("information", "warning", capitalised(first[1].strip()), first[-1].strip()))
    else:
        check_same_rows(_log_likelihood(model, source), result)
    if isinstance(uncertainty, Bootstrap):
        found += _labels(uncertainty)
    found += [Finding("fit", "warning", capitalised(text), "") for text in result.warnings if not _is_said(text)]
    if not is_told:
        found = [_of_these_alone(one) for one in found]
    order = {"warning": 0, "note": 1, "good": 2}
    return Diagnosis(tuple(sorted(found, key=lambda one: order[one.level])), influence)


def _of_these_alone(one: Finding) -> Finding:
    """A finding, with what it is worth where other estimates fit as well."""
    if one.level != "good" or one.topic not in OF_THESE:
        return one
    return replace(one, level="note", advice="But other estimates fit as well as these: see the warning.")


def _is_said(text: str) -> bool:
    """Whether a warning of the fit is a finding here already."""
    return text.startswith("the starts disagree")


def _log_likelihood(model: Mixture, source: InMemorySource) -> float:
    counted = source.take(np.flatnonzero(source.weight > 0))
    return float(counted.sum_over_chunks(model.expect).log_likelihood)


def _starts(result: FitResult) -> Iterator[Finding]:
    n_starts = len(result.starts)
    ended = [start.log_likelihood + start.log_prior for start in result.starts if start.stop_reason.converged]
    n_short = sum(start.stop_reason is StopReason.SHORT_RUN for start in result.starts)
    if n_starts == 1:
        advice = "Other starts may lead to a better optimum (n_init)."
        yield Finding("starts", "note", "There was one start.", advice, 1.0)
    elif len(ended) == 1 and n_short:
        sentence = f"Of {n_starts} starts only the most promising one was run to its end."
        advice = "Whether another would have come out higher is not known: start='k-means++' runs each to its end."
        yield Finding("starts", "note", sentence, advice)
    elif ended:
        yield _optima(np.array(ended))
    n_failed = sum(start.stop_reason is StopReason.DEGENERATE for start in result.starts)
    if n_failed:
        sentence = f"{n_failed} of {n_starts} starts ended in a degenerate component."
        advice = "Ask for fewer components, a simpler covariance, or a floor or prior for the variances."
        yield Finding("starts", "warning" if 2 * n_failed > n_starts else "note", sentence, advice)


def _optima(ended: Array) -> Finding:
    """Where the starts came out that ran to the end."""
    n_best, optima = int((ended.max() - ended <= SAME).sum()), len(np.unique(ended.round(1)))
    share = n_best / len(ended)
    sentence = f"{n_best} of {len(ended)} starts that ran to the end reached the best optimum"
    sentence += "." if optima == 1 else f"; there are {optima} different ones."
    if n_best == 1:
        advice = "A better one may exist: try more starts (n_init), or fewer components."
        return Finding("starts", "warning", sentence, advice, share)
    if share <= 0.5:
        advice = "The likelihood has several optima: try more starts (n_init)."
        return Finding("starts", "note", sentence, advice, share)
    return Finding("starts", "good", sentence, "More starts would hardly change the result.", share)


def _trace(result: FitResult) -> Iterator[Finding]:
    sentence = f"{capitalised(result.stop_reason.sentence)}, after {result.n_iter} iterations."
    if not result.converged:
        advice = "Raise max_iter and start from this model (start=result)."
        yield Finding("trace", "warning", sentence, advice, float(result.n_iter))
    else:
        yield Finding("trace", "good", sentence, "Nothing is to be done.", float(result.n_iter))
    falls = [one for one in result.history[1:] if one.gain < -8 * one.noise]
    if falls and result.is_monotone:
        worst = min(falls, key=lambda one: one.gain)
        where = f"by up to {-worst.gain:.2g} in iteration {worst.iteration}"
        sentence = f"The log-likelihood fell in {len(falls)} iterations, {where}."
        yield Finding("trace", "warning", sentence, "EM never does: look at the scale of the data.", worst.gain)


def _certainty(resp: Array, weight: Array) -> Iterator[Finding]:
    if len(resp) == 1:
        return
    share = float(weight @ (resp.max(axis=0) < CERTAIN) / weight.sum())
    sentence = f"{share:.0%} of the rows have no component with a probability of {CERTAIN:.0%} or more."
    if share <= DOUBTFUL / 3:
        yield Finding("certainty", "good", sentence, "Rows can be assigned to components.", share)
    elif share <= DOUBTFUL:
        advice = "Work with their probabilities (responsibilities) rather than with assigned components."
        yield Finding("certainty", "note", sentence, advice, share)
    else:
        advice = "Do not assign rows: use the responsibilities, merge components (merge_components), or ask for fewer."
        yield Finding("certainty", "warning", sentence, advice, share)


def _overlap(model: Mixture, resp: Array, weight: Array) -> Iterator[Finding]:
    """Of the two components that are hardest to tell apart."""
    K = model.latent_size - model.has_noise
    if K < 2:
        return
    try:
        shared = np.exp(-separation(model))
        how = "from 0, no value in common, to 1, the same [exp(-Bhattacharyya distance)]"
    except ModelError:  # no such distance: by the rows that both claim
        weighted = resp[:K] * np.sqrt(weight)
        size = np.sqrt((weighted**2).sum(axis=1))
        shared = weighted @ weighted.T / np.maximum(np.outer(size, size), 1e-300)
        how = "from 0, no row that both claim, to 1, all of them [cosine of the responsibilities]"
    np.fill_diagonal(shared, -1.0)
    i, j = divmod(int(shared.argmax()), K)
    value = float(shared[i, j])
    sentence = f"Components {name_of(model, i)} and {name_of(model, j)} overlap most: {value:.2f} on a scale {how}."
    if value < APART:
        yield Finding("overlap", "good", sentence, "All components are well apart.", value)
    elif value < OVERLAP:
        advice = "They touch: between them rows are in doubt, and are better reported by their probabilities."
        yield Finding("overlap", "note", sentence, advice, value)
    else:
        advice = "They may be one cluster that is not of the family's shape: see merge_components, or ask for fewer."
        yield Finding("overlap", "warning" if value > ALIKE else "note", sentence, advice, value)


def _sizes(model: Mixture, counts: Array) -> Iterator[Finding]:
    K = model.latent_size - model.has_noise
    per = max(1.0, model.family.n_free_parameters / K)
    k = int(counts[:K].argmin())
    ratio = float(counts[k] / per)
    each = f"{ratio:.3g}" if ratio < 100 else f"{ratio:,.0f}"
    sentence = f"The smallest component, {name_of(model, k)}, rests on {counts[k]:,.1f} rows, {each} per parameter."
    if ratio >= SMALL:
        yield Finding("size", "good", sentence, "That is enough for its parameters.", ratio)
    else:
        advice = "Its estimates are rough: ask for fewer components or a simpler covariance, or use a prior."
        yield Finding("size", "warning" if ratio < 1 else "note", sentence, advice, ratio)


def _information(info: Information, inverse: Inverse, uncertainty: Uncertainty | Bootstrap | None) -> Iterator[Finding]:
    condition, n_held = inverse.condition, int((~info.is_free).sum())
    if not math.isfinite(condition):
        n = inverse.flat.shape[1]
        sentence = f"Of {n} direction{'s' * (n > 1)} of the parameters the data tell nothing."
        yield Finding("information", "warning", sentence, "Ask for fewer components, or hold some parameters fixed.")
    elif condition > NEARLY_SINGULAR:
        sentence = f"In some direction the data tell next to nothing [condition of the information {condition:.1e}]."
        advice = "Intervals are rough: compare with emix.bootstrap."
        yield Finding("information", "warning", sentence, advice, condition)
    else:
        widest, others = 1 / math.sqrt(inverse.least), " about the other parameters" if n_held else ""
        sentence = f"The information{others} is sound; hidden labels widen standard errors up to {widest:.2g} times."
        advice = "Their standard errors can be computed." if n_held else "Standard errors can be computed."
        yield Finding("information", "good", sentence, advice, condition)
    if inverse.least < SLOW:
        sentence = f"In one direction the data tell {inverse.least:.2g} of what they would if the labels were known."
        advice = "Components overlap so much that it is hardly known which is which: compare with fewer."
        yield Finding("information", "note", sentence, advice, inverse.least)
    if n_held:
        yield _held(info, n_held)
    if isinstance(uncertainty, Uncertainty):
        yield from _doubts(uncertainty)


def _held(info: Information, n_held: int) -> Finding:
    """Parameters at the boundary of what they may be, and what to do about those of their kind."""
    held = [(reading[0], reading[1]) for reading in info.readings() if note_of(info, reading) == AT_BOUNDARY]
    named = [Estimate(one.parameter, k, one.column, one.level_name, 0.0, None, None, None).name for one, k in held]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    told = f": {', '.join(named[:NAMED])}{more}" if named else ""
    n_all = len(info.is_free)
    lie = "lies" if n_held == 1 else "lie"
    sentence = f"{n_held} of {n_all} free parameters {lie} at the boundary of what they may be{told}."
    advice = "These have no standard errors."
    if any(one.scale == LOGIT for one, _ in held):
        advice += " A weak prior (prior_rows=1.0) moves probabilities off 0 and 1."
    if any(one.scale != LOGIT for one, _ in held):
        advice += " An estimate at a bound says that a simpler family or covariance, or fewer components, may do."
    return Finding("information", "note", sentence, advice, n_held)


def _doubts(uncertainty: Uncertainty) -> Iterator[Finding]:
    """What the estimates leave in doubt."""
    for one in uncertainty.estimates:
        if one.parameter == "mixing_proportion" and one.value < 2 * (one.standard_error or 0.0):
            sentence = f"The proportion of component {one.component} is {one.value:.3g}, with a standard error of "
            sentence += f"{one.standard_error:.2g}."
            advice = "Whether the component exists is in doubt: see likelihood_ratio_test."
            yield Finding("information", "note", sentence, advice, one.value)
    n_none = sum(one.note in (AT_BOUNDARY, UNTOLD) for one in uncertainty.estimates)
    if n_none:
        sentence = f"{n_none} of {len(uncertainty.estimates)} numbers have no interval."
        yield Finding("information", "note", sentence, "Their notes say why.", n_none)


def _influence(info: Information, inverse: Inverse) -> tuple[list[Finding], Array]:
    """Rows that move the estimates most, by their own part in the likelihood."""
    source = info.source
    distance = np.zeros(source.n_rows)
    for rows, scores in info.row_scores():
        moved = scores @ inverse.covariance
        distance[rows] = source.weight[rows] * (moved * scores).sum(axis=1)
    order = np.argsort(-distance, kind="stable")[:NAMED]
    top = [int(i) for i in order if distance[i] > INFLUENCE]
    value = float(distance[order[0]]) if len(order) else 0.0
    if not top:
        sentence = f"No row moves the estimates by more than {math.sqrt(max(value, 0.0)):.2g} standard errors."
        return [Finding("influence", "good", sentence, "No single row decides the result.", value)], distance
    named = ", ".join(f"{source.where(i)} ({math.sqrt(distance[i]):.2g})" for i in top)
    n_more = int((distance > INFLUENCE).sum()) - len(top)
    sentence = (
        f"These rows move the estimates most, in standard errors: {named}{f' and {n_more} more' if n_more else ''}."
    )
    advice = "Check them, and fit without them: a component that rests on one row, or an outlier (StudentT, noise)."
    level = "warning" if value > 4 * INFLUENCE else "note"
    return [Finding("influence", level, sentence, advice, value)], distance


def _labels(found: Bootstrap) -> Iterator[Finding]:
    sentence = f"In {found.switched:.1%} of {found.n_replicates} replicates the components changed places."
    if found.switched <= SWITCHED:
        yield Finding("labels", "good", sentence, "Each component keeps its meaning over samples.", found.switched)
    else:
        advice = "Which component is which is in doubt: parameters of single components mean little."
        yield Finding("labels", "warning", sentence, advice, found.switched)
    if found.n_failed:
        text, count = max(found.failures.items(), key=lambda one: one[1])
        total = found.n_failed + found.n_replicates
        sentence = f"{found.n_failed} of {total} replicates failed, most ({count}): {text}."
        level = "warning" if found.n_failed > total / 20 else "note"
        advice = "The bootstrap tells of the others alone: ask for fewer components or a prior."
        yield Finding("labels", level, sentence, advice, found.n_failed)
