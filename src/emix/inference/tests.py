"""Tests: one more component by a bootstrap of the likelihood ratio, and linear hypotheses by Wald's statistic.

Twice the log-likelihood ratio of K + 1 to K components follows no chi-squared distribution, as the smaller model lies
on the boundary of the larger (McLachlan 1987): its distribution is drawn from the smaller model. Drawing stops when
enough draws exceed the observed statistic that its p-value is plain (Besag & Clifford 1991).
Source: McLachlan (1987), Applied Statistics 36, 318-324; Besag & Clifford (1991), Biometrika 78, 301-304; Wald (1943),
Transactions of the American Mathematical Society 54, 426-482.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import chdtrc

from emix.block import Array, as_cells
from emix.data.source import InMemorySource
from emix.errors import ConvergenceWarning, EmixError, FitError, ModelError
from emix.fitting.fit import fit
from emix.fitting.settings import draw_seed, n_threads, whole_number
from emix.fitting.use import decoded
from emix.inference.bootstrap import OnProgress, Plan, make_plan
from emix.inference.replicates import fit_alone
from emix.inference.uncertainty import Uncertainty, converged_result
from emix.model import Mixture
from emix.results import FitResult, FittedEstimator, mixture_of
from emix.threads import map_in_order

BLOCK = 8
"""Replicates that are drawn before it is looked whether to stop: the same for any number of threads."""


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """Whether the data ask for more components.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    p_value : float
        Share of data sets from the smaller model, the observed one among them, whose statistic is as large.
    n_components : tuple of int
        Of both models.
    replicates : ndarray of shape (R,)
        Statistics of the data sets that were drawn, in their order.
    n_exceeding : int
        How many of these are at least the observed one.
    is_sequential : bool
        Drawing stopped because enough were.
    n_failed : int
        Data sets to which a model could not be fitted; they do not count.
    failures : dict of str to int
        Why, and how often.
    result : FitResult
        The fit of the larger model.
    seed : int
        `random_state=seed` repeats the test.
    is_complete : bool
        False after an interrupt.
    """

    statistic: float
    p_value: float
    n_components: tuple[int, int]
    replicates: Array
    n_exceeding: int
    is_sequential: bool
    n_failed: int
    failures: Mapping[str, int]
    result: FitResult
    seed: int
    is_complete: bool = True

    def __str__(self) -> str:
        """A line."""
        small, large = self.n_components
        return (
            f"{small} against {large} components: 2 log likelihood ratio {self.statistic:.4f}, p = {self.p_value:.4g} "
            f"({self.n_exceeding} of {len(self.replicates)} data sets from the smaller model reach it"
            f"{f'; {self.n_failed} more failed' if self.n_failed else ''}{'' if self.is_complete else '; interrupted'})"
        )

    __repr__ = __str__


def likelihood_ratio_test(
    result_small: FitResult | FittedEstimator,
    data: Any,
    *,
    n_components: int | None = None,
    n_replicates: int = 999,
    stop_at: int | None = 20,
    n_init: int = 10,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    on_progress: OnProgress | None = None,
) -> LikelihoodRatioTest:
    """Test K components against more by a parametric bootstrap of the likelihood ratio.

    Parameters
    ----------
    result_small : FitResult or fitted estimator
        Of K components; converged.
    data, sample_weight
        Those of the fit, without known labels. Weights are whole numbers.
    n_components : int, optional
        Of the larger model. Default: K + 1.
    n_replicates : int, default=999
        Data sets to draw, at most.
    stop_at : int or None, default=20
        Stop when so many of their statistics reach the observed one: the p-value is then `stop_at` / drawn, and
        certainly not small. None draws all.
    n_init : int, default=10
        Starts of each fit of the larger model. Too few for the data, and more for its replicates, would bias the test.
    n_jobs : int, optional
        Threads; None means 1, -1 all cores. The result has the same bits for any number.
    random_state : int, numpy Generator or RandomState, optional
        Seed.
    on_progress : callable, optional
        Called as `on_progress(done, total)`.

    Returns
    -------
    LikelihoodRatioTest

    Raises
    ------
    FitError
        The fit did not converge, the rows are not those of the fit, or no replicate succeeded.
    ModelError
        An argument is not possible.
    """
    result_small = converged_result(result_small, "Likelihood-ratio tests", name="result_small")
    model = mixture_of(result_small)
    K = int(model.n_components or 0)
    larger = whole_number("n_components", K + 1 if n_components is None else n_components, least=K + 1)
    n_replicates = whole_number("n_replicates", n_replicates, least=1)
    limit = n_replicates + 1 if stop_at is None else whole_number("stop_at", stop_at, least=1)
    seed, threads = draw_seed(random_state), n_threads(n_jobs)
    alternative = _with_components(model, larger)
    plan = make_plan(result_small, data, "parametric", None, sample_weight)
    result = fit(alternative, data, sample_weight=sample_weight, n_init=n_init, n_jobs=n_jobs, random_state=seed)
    observed = max(0.0, 2 * (result.log_likelihood - result_small.log_likelihood))
    seeds = np.random.SeedSequence(seed).spawn(n_replicates)
    found, failures = [], Counter[str]()
    n_exceeding, is_complete = 0, True
    try:
        for start in range(0, n_replicates, BLOCK):
            block = seeds[start : start + BLOCK]
            for one in map_in_order(lambda own: _replicate(plan, alternative, own, n_init), block, threads):
                if isinstance(one, str):
                    failures[one] += 1
                elif n_exceeding < limit:
                    found.append(one)
                    n_exceeding += one >= observed
            if on_progress is not None:
                on_progress(min(start + BLOCK, n_replicates), n_replicates)
            if n_exceeding >= limit:
                break
    except KeyboardInterrupt:
        if not found:
            raise
        is_complete = False
    if not found:
        reason = "; ".join(f"{text} ({count} times)" for text, count in failures.most_common(3))
        raise FitError.too_few_replicates(n=0, required=1, reason=reason)
    is_sequential = n_exceeding >= limit
    p_value = n_exceeding / len(found) if is_sequential else (n_exceeding + 1) / (len(found) + 1)
    return LikelihoodRatioTest(
        observed,
        p_value,
        (K, larger),
        np.array(found),
        n_exceeding,
        is_sequential,
        failures.total(),
        dict(failures),
        result,
        seed,
        is_complete,
    )


def _with_components(model: Mixture, n_components: int) -> Mixture:
    """The same specification with another number of components."""
    if model.fixed:
        requirement = "nothing held fixed: what is, is so for each of K components"
        raise ModelError.argument(name="result_small", requirement=requirement, found=sorted(model.fixed))
    family = model.family.with_parameters(dict.fromkeys(model.family.parameters))
    return replace(
        model,
        family=family,
        n_components=n_components,
        mixing_proportions=None,
        component_names=None,
        prior_statistics=None,
    )


def _replicate(plan: Plan, alternative: Mixture, seed: np.random.SeedSequence, n_init: int) -> float | str:
    """The statistic of a data set from the smaller model; or why there is none."""
    rng = np.random.Generator(np.random.PCG64(seed))
    source = plan.draw(rng)
    small = fit_alone(plan.model, source)
    if small.failure:
        return small.failure
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a replicate that did not converge is left out below
            large = fit(alternative, _as_columns(source), n_init=n_init, random_state=int(rng.integers(2**32)))
    except EmixError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if not large.converged:
        return f"the larger model: {large.stop_reason.sentence}"
    return max(0.0, 2 * (large.log_likelihood - small.log_likelihood))


def _as_columns(source: InMemorySource) -> dict[str, Any]:
    """The rows as columns by name, with levels as they are in the data."""
    rows = as_cells(source.x)
    columns: dict[str, Any] = {}
    for j, (name, levels) in enumerate(zip(source.schema.names, source.schema.levels, strict=True)):
        own = rows[:, j : j + 1]
        if levels is None:
            columns[name] = own[:, 0]
            continue
        missing = np.isnan(own[:, 0])
        cells = decoded(np.where(missing[:, None], 0.0, own), (levels,))[:, 0]
        columns[name] = [None if gone else cell for gone, cell in zip(missing, cells, strict=True)]
    return columns


# -- linear hypotheses -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WaldTest:
    """A linear hypothesis on the estimates.

    Attributes
    ----------
    statistic : float
        (R e - r)' (R V R')^-1 (R e - r), e the estimates and V their covariance.
    df : int
        Independent restrictions.
    p_value : float
        Of the chi-squared distribution.
    hypothesis : tuple of str
        The restrictions.
    """

    statistic: float
    df: int
    p_value: float
    hypothesis: tuple[str, ...]

    def __str__(self) -> str:
        """A line."""
        of = "1 degree" if self.df == 1 else f"{self.df} degrees"
        return f"{'; '.join(self.hypothesis)}: chi2 {self.statistic:.4f} with {of} of freedom, p = {self.p_value:.4g}"

    __repr__ = __str__


def wald_test(uncertainty: Uncertainty, hypothesis: Any) -> WaldTest:
    """Test linear hypotheses on the parameters of a fit.

    Parameters
    ----------
    uncertainty : Uncertainty
        What `standard_errors` returns.
    hypothesis : str, mapping of str to float, or a sequence of them
        Like `"mean[0, waiting] = mean[1, waiting]"`, `"rate[0] - 2 * rate[1] = 0"`, `"mean[0] = mean[1] = mean[2]"`;
        or coefficients by name, of a sum that is 0. The names are those of `uncertainty.names`.

    Returns
    -------
    WaldTest
        The chi-squared distribution holds for many rows, and not for hypotheses at a boundary (a proportion of 0), nor
        for those under which labels lose their meaning (two equal components): there `likelihood_ratio_test` serves.

    Raises
    ------
    ModelError
        A name is unknown, has no standard error, or the restrictions say nothing.

    Examples
    --------
    >>> import emix
    >>> result = emix.fit(emix.Mixture(emix.Poisson(), 1), [3, 5, 4, 8])
    >>> found = emix.wald_test(emix.standard_errors(result, [3, 5, 4, 8]), "rate[0, x0] = 4")
    >>> round(found.statistic, 6), found.df
    (0.8, 1)
    """
    if not isinstance(uncertainty, Uncertainty):
        requirement = "what emix.standard_errors returns"
        raise ModelError.argument(name="uncertainty", requirement=requirement, found=type(uncertainty).__name__)
    given = [hypothesis] if isinstance(hypothesis, str | Mapping) else list(hypothesis)
    restrictions: list[tuple[Array, float, str]] = []
    for one in given:
        restrictions += _of_mapping(uncertainty, one) if isinstance(one, Mapping) else _of_text(uncertainty, one)
    if not restrictions:
        raise ModelError.hypothesis(found=hypothesis, detail="there is no restriction")
    R = np.stack([row for row, _, _ in restrictions])
    used = [uncertainty.estimates[i] for i in np.flatnonzero(np.abs(R).sum(axis=0))]
    missing = [one.name for one in used if one.standard_error is None]
    if missing:
        notes = {one.name: one.note for one in uncertainty.estimates}
        detail = f"{missing[0]} has no standard error: it is {notes[missing[0]]}"
        raise ModelError.hypothesis(found=hypothesis, detail=detail)
    off = R @ np.array([one.value for one in uncertainty.estimates]) - np.array([r for _, r, _ in restrictions])
    V = R @ uncertainty.covariance @ R.T
    unit = np.sqrt(np.maximum(np.diagonal(V), 0.0))
    unit = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(V / np.outer(unit, unit))
    kept = values > 1e-10 * max(values[-1], 1e-300)
    if not kept.any() or values[-1] <= 1e-14:
        raise ModelError.hypothesis(found=hypothesis, detail="its two sides always differ by the same number")
    z = vectors.T @ (off / unit)
    if (np.abs(z[~kept]) > 1e-6 * max(1.0, float(np.abs(z).max()))).any():
        raise ModelError.hypothesis(found=hypothesis, detail="its restrictions contradict each other")
    statistic, df = float((z[kept] ** 2 / values[kept]).sum()), int(kept.sum())
    return WaldTest(statistic, df, float(chdtrc(df, statistic)), tuple(text for _, _, text in restrictions))


def _of_mapping(uncertainty: Uncertainty, coefficients: Mapping[str, float]) -> list[tuple[Array, float, str]]:
    row, names = np.zeros(len(uncertainty.names)), uncertainty.names
    for name, value in coefficients.items():
        if name not in names:
            raise ModelError.hypothesis(found=name, detail="there is no such estimate")
        row[names.index(name)] += float(value)
    return [(row, 0.0, " + ".join(f"{value:g} * {name}" for name, value in coefficients.items()) + " = 0")]


def _of_text(uncertainty: Uncertainty, text: Any) -> list[tuple[Array, float, str]]:
    """One restriction for each sign of equality."""
    if not isinstance(text, str):
        raise ModelError.hypothesis(found=text, detail="it is no text")
    coded = text
    for i in sorted(range(len(uncertainty.names)), key=lambda i: -len(uncertainty.names[i])):
        coded = coded.replace(uncertainty.names[i], f"{MARK}{i}{MARK}")
    sides = [_side(uncertainty, text, side) for side in coded.split("=")]
    if len(sides) < 2:
        raise ModelError.hypothesis(found=text, detail="it has no '='")
    pairs = itertools.pairwise(sides)
    return [(one[0] - other[0], other[1] - one[1], text.strip()) for one, other in pairs]


MARK = "\N{SECTION SIGN}"
"""Stands about the number of an estimate, in the place of its name."""
NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
TERM = re.compile(rf"\s*([+-]?)\s*(?:({NUMBER})\s*(\*\s*)?)?(?:{MARK}(\d+){MARK})?\s*")


def _side(uncertainty: Uncertainty, text: str, side: str) -> tuple[Array, float]:
    """Coefficients and constant of one side of an equation."""
    row, constant, place = np.zeros(len(uncertainty.names)), 0.0, 0
    while place < len(side):
        found = TERM.match(side, place)
        is_first = place == 0
        if found is None or (found[2] is None and found[4] is None) or (not is_first and not found[1]):
            rest = re.sub(rf"{MARK}(\d+){MARK}", lambda m: uncertainty.names[int(m[1])], side[place:])
            raise ModelError.hypothesis(found=text, detail=f"{rest.strip()!r} is neither a number nor an estimate")
        value = (-1.0 if found[1] == "-" else 1.0) * (float(found[2]) if found[2] is not None else 1.0)
        if found[4] is None:
            constant += value
        else:
            row[int(found[4])] += value
        place = found.end()
    if not side.strip():
        raise ModelError.hypothesis(found=text, detail="one side is empty")
    return row, constant
