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
from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.block import Array
from emix.data.source import InMemorySource
from emix.errors import FitError, ModelError
from emix.fitting.advice import name_of
from emix.inference.bootstrap import Bootstrap
from emix.inference.estimates import AT_BOUNDARY, UNTOLD
from emix.inference.information import Information
from emix.inference.separation import separation
from emix.inference.uncertainty import (
    Inverse,
    Uncertainty,
    check_same_rows,
    counting_rows,
    information_of,
    inverted,
)
from emix.kernels.reference import responsibilities
from emix.markup import html_table
from emix.model import Mixture
from emix.results import FitResult, FittedEstimator, mixture_of, result_of
from emix.threads import blas_limited

SAME = 0.01
"""Nats within which starts reached the same optimum."""
CERTAIN = 0.8
"""A largest responsibility from which a row's component counts as known."""
DOUBTFUL = 0.3
"""Share of rows without a certain component that is worth a warning."""
OVERLAP = 0.5
"""exp(-Bhattacharyya distance) from which two components overlap a lot: the best rule misplaces up to a quarter."""
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
        return f"{self.level}: {self.topic}: {self.sentence} {self.advice}"


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
    influence = None
    if result.converged:
        try:
            info = information_of(result, data, labels=labels, sample_weight=sample_weight)
            with blas_limited():
                inverse = inverted(info, "observed")
                more, influence = _influence(info, inverse)
            found += [*_information(info, inverse, uncertainty), *more]
        except FitError as error:
            check_same_rows(_log_likelihood(model, source), result)
            first = str(error).splitlines()
            found.append(Finding("information", "warning", first[1].strip(), first[-1].strip()))
    else:
        check_same_rows(_log_likelihood(model, source), result)
    if isinstance(uncertainty, Bootstrap):
        found += _labels(uncertainty)
    found += [Finding("fit", "warning", text, "") for text in result.warnings if not _is_said(text)]
    order = {"warning": 0, "note": 1, "good": 2}
    return Diagnosis(tuple(sorted(found, key=lambda one: order[one.level])), influence)


def _is_said(text: str) -> bool:
    """Whether a warning of the fit is a finding here already."""
    return text.startswith("the starts disagree")


def _log_likelihood(model: Mixture, source: InMemorySource) -> float:
    counted = source.take(np.flatnonzero(source.weight > 0))
    return float(counted.sum_over_chunks(model.expect).log_likelihood)


def _starts(result: FitResult) -> Iterator[Finding]:
    ended = [start for start in result.starts if start.stop_reason.converged]
    failed = [start for start in result.starts if start.stop_reason.value == "degenerate"]
    if len(result.starts) > 1 and ended:
        best = max(start.log_likelihood for start in ended)
        n_best = sum(best - start.log_likelihood <= SAME for start in ended)
        optima = len({round(start.log_likelihood, 1) for start in ended})
        sentence = f"{n_best} of {len(ended)} starts that ran to the end reached the best optimum"
        sentence += "." if optima == 1 else f"; there are {optima} different ones."
        if n_best > 1 or len(ended) == 1:
            advice = "More starts would hardly change the result." if n_best > 1 else "The others were ended early."
            level = "good" if 2 * n_best > len(ended) else "note"
            if level == "note":
                advice = "The likelihood has several optima: try more starts (n_init)."
            yield Finding("starts", level, sentence, advice, n_best / len(ended))
        else:
            advice = "A better one may exist: try more starts (n_init), or fewer components."
            yield Finding("starts", "warning", sentence, advice, n_best / len(ended))
    elif len(result.starts) == 1:
        yield Finding(
            "starts", "note", "there was one start.", "Other starts may lead to a better optimum (n_init).", 1.0
        )
    if failed:
        sentence = f"{len(failed)} of {len(result.starts)} starts ended in a degenerate component."
        advice = "Ask for fewer components, a simpler covariance, or a floor or prior for the variances."
        yield Finding("starts", "warning" if 2 * len(failed) > len(result.starts) else "note", sentence, advice)


def _trace(result: FitResult) -> Iterator[Finding]:
    sentence = f"{result.stop_reason.sentence}, after {result.n_iter} iterations."
    if not result.converged:
        advice = "Raise max_iter and start from this model (start=result.model)."
        yield Finding("trace", "warning", sentence, advice, float(result.n_iter))
    else:
        yield Finding("trace", "good", sentence, "Nothing is to be done.", float(result.n_iter))
    falls = [one for one in result.history[1:] if one.gain < -8 * one.noise]
    if falls and result.is_monotone:
        worst = min(falls, key=lambda one: one.gain)
        where = f"by up to {-worst.gain:.2g} in iteration {worst.iteration}"
        sentence = f"the objective fell in {len(falls)} iterations, {where}."
        yield Finding("trace", "warning", sentence, "EM never does: look at the scale of the data.", worst.gain)


def _certainty(resp: Array, weight: Array) -> Iterator[Finding]:
    if len(resp) == 1:
        return
    share = float(weight @ (resp.max(axis=0) < CERTAIN) / weight.sum())
    sentence = f"{share:.0%} of the rows have no component with a probability of {CERTAIN:.0%} or more."
    if share <= DOUBTFUL / 3:
        yield Finding("certainty", "good", sentence, "Rows can be assigned to components.", share)
    elif share <= DOUBTFUL:
        advice = "Work with responsibilities rather than with assigned components."
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
        shared, how = np.exp(-separation(model)), "exp(-Bhattacharyya distance)"
    except ModelError:  # no such distance: by the rows that both claim
        weighted = resp[:K] * np.sqrt(weight)
        size = np.sqrt((weighted**2).sum(axis=1))
        shared, how = weighted @ weighted.T / np.maximum(np.outer(size, size), 1e-300), "cosine of the responsibilities"
    np.fill_diagonal(shared, -1.0)
    i, j = divmod(int(shared.argmax()), K)
    value = float(shared[i, j])
    sentence = f"components {name_of(model, i)} and {name_of(model, j)} overlap most: {value:.2f} ({how}, 0 to 1)."
    if value < OVERLAP:
        yield Finding("overlap", "good", sentence, "All components are well apart.", value)
    else:
        level = "warning" if value > 0.9 else "note"
        advice = "They may be one cluster that is not of the family's shape: see merge_components, or ask for fewer."
        yield Finding("overlap", level, sentence, advice, value)


def _sizes(model: Mixture, counts: Array) -> Iterator[Finding]:
    K = model.latent_size - model.has_noise
    per = max(1.0, model.family.n_free_parameters / K)
    k = int(counts[:K].argmin())
    ratio = float(counts[k] / per)
    sentence = f"the smallest component, {name_of(model, k)}, rests on {counts[k]:.4g} rows, {ratio:.3g} per parameter."
    if ratio >= SMALL:
        yield Finding("size", "good", sentence, "That is enough for its parameters.", ratio)
    else:
        advice = "Its estimates are rough: ask for fewer components or a simpler covariance, or use a prior."
        yield Finding("size", "warning" if ratio < 1 else "note", sentence, advice, ratio)


def _information(info: Information, inverse: Inverse, uncertainty: Uncertainty | Bootstrap | None) -> Iterator[Finding]:
    condition = inverse.condition
    if not math.isfinite(condition):
        n = inverse.flat.shape[1]
        sentence = f"of {n} direction{'s' * (n > 1)} of the parameters the data tell nothing."
        yield Finding("information", "warning", sentence, "Ask for fewer components, or hold some parameters fixed.")
    elif condition > NEARLY_SINGULAR:
        sentence = f"the information is nearly singular (condition {condition:.1e})."
        yield Finding(
            "information", "warning", sentence, "Intervals are rough: compare with emix.bootstrap.", condition
        )
    else:
        widest = 1 / math.sqrt(inverse.least)
        sentence = f"the information is sound; hidden labels widen standard errors up to {widest:.2g} times."
        yield Finding("information", "good", sentence, "Standard errors can be computed.", condition)
    if inverse.least < SLOW:
        sentence = f"in one direction the data tell {inverse.least:.2g} of what they would if the labels were known."
        advice = "Components overlap so much that it is hardly known which is which: compare with fewer."
        yield Finding("information", "note", sentence, advice, inverse.least)
    n_held = int((~info.is_free).sum())
    if n_held:
        sentence = f"{n_held} of {len(info.is_free)} parameters lie at the boundary of what they may be."
        advice = "They have no standard errors; a weak prior (prior_rows=1.0) moves probabilities off 0 and 1."
        yield Finding("information", "note", sentence, advice, n_held)
    if isinstance(uncertainty, Uncertainty):
        wide = [
            one
            for one in uncertainty.estimates
            if one.parameter == "mixing_proportion" and one.value < 2 * (one.standard_error or 0.0)
        ]
        for one in wide:
            sentence = f"{one.name} is {one.value:.3g} with a standard error of {one.standard_error:.2g}."
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
        sentence = f"no row moves the estimates by more than {math.sqrt(max(value, 0.0)):.2g} standard errors."
        return [Finding("influence", "good", sentence, "No single row decides the result.", value)], distance
    named = ", ".join(f"{source.where(i)} ({math.sqrt(distance[i]):.2g})" for i in top)
    n_more = int((distance > INFLUENCE).sum()) - len(top)
    sentence = (
        f"these rows move the estimates most, in standard errors: {named}{f' and {n_more} more' if n_more else ''}."
    )
    advice = "Check them, and fit without them: a component that rests on one row, or an outlier (StudentT, noise)."
    level = "warning" if value > 4 * INFLUENCE else "note"
    return [Finding("influence", level, sentence, advice, value)], distance


def _labels(found: Bootstrap) -> Iterator[Finding]:
    sentence = f"in {found.switched:.1%} of {found.n_replicates} replicates the components changed places."
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
