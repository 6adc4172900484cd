"""The bootstrap: how estimates would vary over samples, from fits to replicates of the data.

parametric     rows drawn from the fitted model
nonparametric  rows drawn from the data with replacement: multinomial weights on the same rows
weighted       rows with exponential weights that add up to the number of rows (the weighted likelihood bootstrap)
Each replicate's EM starts from the fit, so that it stays with the optimum that is asked about; components are then
matched to those of the fit by the rows that they claim (an assignment problem, not all K! orders).
Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap; Newton & Raftery (1994), Journal of the Royal
Statistical Society B 56, 3-48 (weights); O'Hagan, Murphy, Scrucca & Gormley (2019), Computational Statistics 34,
1779-1813 (mixtures).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from emix.block import Array, as_cells
from emix.centred import plain
from emix.data.source import InMemorySource, that_count
from emix.data.summary import summarize
from emix.errors import FitError, ModelError
from emix.families import Binomial, Columns, Family, Multinomial
from emix.families.base import take
from emix.families.censored import CensoredFamily
from emix.fitting.settings import draw_seed, n_threads, whole_number
from emix.fitting.use import prepared
from emix.inference.derivatives import FEW
from emix.inference.estimates import (
    AT_BOUNDARY,
    FIXED,
    Estimate,
    chosen,
    estimates_frame,
    estimates_html,
    estimates_text,
)
from emix.inference.readings import LOGIT, Reading, bounded_readings, groups_of, proportions_reading, readings_of
from emix.inference.replicates import (
    Replicate,
    batch_size,
    can_run_together,
    fit_alone,
    fit_together,
    log_knowledge_of,
    overlaps,
    overlaps_together,
    statistics_of,
    with_weights,
)
from emix.inference.uncertainty import check_level, check_same_rows, converged_result
from emix.kernels.reference import responsibilities
from emix.model import Mixture
from emix.results import FitResult, FittedEstimator, mixture_of
from emix.spaces import Nonnegative
from emix.threads import blas_limited, map_in_order

KINDS = ("parametric", "nonparametric", "weighted")
LEAST = 2
"""Replicates without which there is no standard deviation."""
COMPARED = 1000
"""Rows by which components of large data are told apart."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Bootstrap:
    """Estimates with their bootstrap distribution.

    Attributes
    ----------
    estimates : tuple of Estimate
        Standard errors are standard deviations over the replicates, intervals their percentiles; None where `note`
        says why, above all of what lies at the boundary of what it may be: replicates tell nothing there.
    replicates : dict of str to ndarray of shape (R, ...), or tuple of such
        Parameters of the replicates that succeeded, with components in the order of the fit.
    n_failed : int
        Replicates without a fit.
    failures : dict of str to int
        Why, and how often.
    switched : float
        Share of the replicates whose components had to be put into another order: well above 0 where components
        overlap so much that they change places.
    kind : {'parametric', 'nonparametric', 'weighted'}
    level : float
        Of the intervals.
    seed : int
        `random_state=seed` repeats it.
    is_complete : bool
        False after an interrupt: fewer replicates than were asked for.
    """

    estimates: tuple[Estimate, ...]
    replicates: dict[str, Any]
    n_failed: int
    failures: Mapping[str, int]
    switched: float
    kind: str
    level: float
    seed: int
    is_complete: bool = True
    library: str | None = None
    """Whose data frame `to_frame` gives by default: that of the fit."""

    @property
    def n_replicates(self) -> int:
        """Replicates that succeeded."""
        return len(self.replicates["mixing_proportions"])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the estimates, like `mean[0, waiting]`."""
        return tuple(one.name for one in self.estimates)

    @property
    def _title(self) -> str:
        failed = f" ({self.n_failed} failed)" if self.n_failed else ""
        ended = "" if self.is_complete else ", interrupted"
        return f"{100 * self.level:g} % intervals, {self.n_replicates} {self.kind} replicates{failed}{ended}"

    def __str__(self) -> str:
        """The estimates as a table."""
        return estimates_text(self.estimates, self._title)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """For notebooks."""
        return estimates_html(self.estimates, self._title)

    def of(
        self, parameter: str, component: int | None = None, column: str | None = None, level: str | None = None
    ) -> Any:
        """The estimate of a parameter, or the tuple of all that fit; see `Uncertainty.of`."""
        return chosen(self.estimates, parameter, component, column, level)

    def to_frame(self, library: str | None = None) -> Any:
        """One row per estimate, as a data frame of pandas, polars or pyarrow: by default of the library of the fit."""
        return estimates_frame(self.estimates, library or self.library)


def bootstrap(
    result: FitResult | FittedEstimator,
    data: Any,
    *,
    kind: str = "parametric",
    n_replicates: int = 999,
    level: float = 0.95,
    labels: Any = None,
    sample_weight: Any = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    on_progress: OnProgress | None = None,
) -> Bootstrap:
    """Standard errors and percentile intervals from fits to replicates of the data.

    Parameters
    ----------
    result : FitResult or fitted estimator
        Converged, of a mixture.
    data, labels, sample_weight
        Those of the fit. Known labels stay known in each replicate; a weight of 3 equals the row three times.
    kind : {'parametric', 'nonparametric', 'weighted'}, default='parametric'
        See the module. A parametric replicate has missing cells, totals and times of censoring where the data have.
    n_replicates : int, default=999
        How many.
    level : float, default=0.95
        Of the intervals.
    n_jobs : int, optional
        Threads; None means 1, -1 all cores. The result has the same bits for any number.
    random_state : int, numpy Generator or RandomState, optional
        Seed.
    on_progress : callable, optional
        Called as `on_progress(done, total)`, in the threads that do the work.

    Returns
    -------
    Bootstrap
        After an interrupt (Ctrl-C) of what was finished, if that is at least two replicates.

    Raises
    ------
    FitError
        The fit did not converge, the rows are not those of the fit, or fewer than two replicates succeeded.
    ModelError
        An argument is not possible, or rows with such weights cannot be drawn from the model.
    DataError
        The data cannot be.

    Examples
    --------
    >>> import emix
    >>> result = emix.fit(emix.Mixture(emix.Poisson(), 1), [3, 5, 4, 8])
    >>> found = emix.bootstrap(result, [3, 5, 4, 8], n_replicates=99, random_state=0)
    >>> 0.8 < found.of("rate", 0).standard_error < 1.5
    True
    """
    if kind not in KINDS:
        raise ModelError.choice(what="kind of bootstrap", found=kind, available=KINDS)
    check_level(level)
    n_replicates = whole_number("n_replicates", n_replicates, least=LEAST)
    result = converged_result(result, "Bootstrap intervals")
    mixture_of(result)
    threads, seed = n_threads(n_jobs), draw_seed(random_state)
    plan = make_plan(result, data, kind, labels, sample_weight)
    seeds = np.random.SeedSequence(seed).spawn(n_replicates)
    step, lock = plan.n_together, Lock()
    found: dict[int, Replicate] = {}

    def run(start: int) -> None:
        some = plan.run(seeds[start : start + step])
        with lock:
            found.update(enumerate(some, start))
            done = len(found)
        if on_progress is not None:
            on_progress(done, n_replicates)

    is_complete = True
    with blas_limited():
        try:
            map_in_order(run, range(0, n_replicates, step), threads)
        except KeyboardInterrupt:
            if len(found) < LEAST:
                raise
            is_complete = False
        with lock:  # after an interrupt some threads may still be at their last replicates
            replicates = [found[i] for i in sorted(found)]
        done = _summarised(plan, replicates, kind=kind, level=level, seed=seed, is_complete=is_complete)
        return replace(done, library=result.library)


@dataclass(frozen=True)
class Plan:
    """How replicates of a fit are drawn and fitted.

    Attributes
    ----------
    model : Mixture
        The fit.
    source : InMemorySource
        Its rows that count; those that repeat are one, where replicates are weights.
    """

    model: Mixture
    source: InMemorySource
    kind: str

    @property
    def n_together(self) -> int:
        """Replicates that are run side by side."""
        return batch_size(self.model, self.source)

    def run(self, seeds: Sequence[np.random.SeedSequence]) -> list[Replicate]:
        """Fits to these replicates."""
        drawn = [self.draw(np.random.Generator(np.random.PCG64(one))) for one in seeds]
        if not can_run_together(self.model, self.source):
            return [fit_alone(self.model, one) for one in drawn]
        is_shared = self.kind != "parametric"
        sources = drawn[:1] if is_shared else drawn
        bases = [self._log_base] if is_shared else [self.model.family.log_base_measure(as_cells(s.x)) for s in sources]
        return fit_together(self.model, sources, [one.weight for one in drawn], bases)

    @cached_property
    def _log_base(self) -> Array:
        return self.model.family.log_base_measure(as_cells(self.source.x))

    def draw(self, rng: np.random.Generator) -> InMemorySource:
        """The rows of one replicate."""
        weight = self.source.weight
        total = float(weight.sum())
        if self.kind == "weighted":
            drawn: Array = np.asarray(rng.standard_gamma(weight), dtype=np.float64)
            return with_weights(self.source, drawn * (total / drawn.sum()))
        if self.kind == "nonparametric":
            n = max(1, round(total))
            counts = np.asarray(rng.multinomial(n, weight / total), dtype=np.float64)
            return with_weights(self.source, counts * (total / n))
        return self._drawn_rows(rng)

    def _drawn_rows(self, rng: np.random.Generator) -> InMemorySource:
        """Rows of the model in the place of those of the data."""
        model, source = self.model, self.source
        x, log_q = as_cells(source.x), log_knowledge_of(source, model.latent_size)
        if log_q is None:
            labels = model.latent.sample(len(x), rng)
        else:
            chances = np.exp(log_q) * model.latent.mixing_proportions[:, None]
            edges = np.cumsum(chances / chances.sum(axis=0), axis=0)[:-1]
            labels = (rng.random(len(x)) > edges).sum(axis=0)
        rows = sample_beside(model, labels, rng, x)
        rows = np.where(np.isnan(x), np.nan, rows)
        has_values = model.family.support.needs_values
        return replace(source, x=rows, summary=summarize(rows, source.weight, with_values=has_values))

    # -- which component is which --------------------------------------------------------------------------------------

    @cached_property
    def _compared(self) -> Any:
        """Some rows, as a chunk, and the responsibilities of the fit (K, n)."""
        step = -(-self.source.n_rows // COMPARED)
        rows = self.source if step == 1 else self.source.take(np.arange(0, self.source.n_rows, step))
        chunk = replace(rows, family=None, knowledge=None).chunks[0]
        return rows, chunk, responsibilities(self.model.log_joint(chunk))[0]

    def orders(self, replicates: Sequence[Replicate]) -> NDArray[np.intp]:
        """(R, K): which component of each replicate is which of the fit; noise stays the last."""
        rows, chunk, fitted = self._compared
        K = self.model.latent_size
        if can_run_together(self.model, self.source):
            tile = statistics_of(self.model, rows)
            blocks = [replicates[i : i + 64] for i in range(0, len(replicates), 64)]
            parts = [
                overlaps_together(self.model, tile, chunk.weight, fitted, block, is_complete=rows.is_complete)
                for block in blocks
            ]
            shared = np.concatenate(parts)
        else:
            shared = np.stack([overlaps(self.model, chunk, fitted, one) for one in replicates])
        n = K - self.model.has_noise
        orders = np.tile(np.arange(K), (len(replicates), 1))
        for order, cosine in zip(orders, shared, strict=True):
            own = cosine[:n, :n]
            if (own.argmax(axis=1) != np.arange(n)).any():
                order[:n] = linear_sum_assignment(-own)[1]
        return orders


def make_plan(result: FitResult, data: Any, kind: str, labels: Any, sample_weight: Any) -> Plan:
    """Read the rows of a fit, and say how replicates of them are made.

    Raises
    ------
    FitError
        The rows are not those of the fit.
    ModelError
        Rows with weights that are no whole numbers cannot be drawn.
    """
    model, source = prepared(result.model, data, labels=labels, sample_weight=sample_weight)
    source = source.take(np.flatnonzero(that_count(source, model.family)))
    check_same_rows(source.sum_over_chunks(model.expect).log_likelihood, result)
    if kind == "parametric":
        n = np.round(source.weight)
        if (n != source.weight).any():
            found = f"a weight of {source.weight[n != source.weight][0]:g}"
            requirement = "whole numbers for a parametric bootstrap (kind='weighted' takes any)"
            raise ModelError.argument(name="sample_weight", requirement=requirement, found=found)
        rows = np.repeat(np.arange(source.n_rows), n.astype(np.intp))
        source = replace(source.take(rows, is_subset=False), weight=np.ones(len(rows)))
    else:
        source = source.collapsed()
    return Plan(plain(model) if type(model) is Mixture else model, source.prepared_for(model.family), kind)


def sample_beside(model: Mixture, labels: NDArray[np.intp], rng: np.random.Generator, x: Array) -> Array:
    """Rows (n, d) of these components; totals, numbers of tosses and times of censoring are those of the rows x."""
    if model.has_noise:
        K = model.latent_size - 1
        without = replace(model, noise=False, mixing_proportions=None, component_names=None)
        rows = sample_beside(without, np.minimum(labels, K - 1), rng, x)
        center, widths = (x.min(axis=0) + x.max(axis=0)) / 2, np.ptp(x, axis=0)
        # a box of the noise's volume, in the proportions of that of the rows
        widths = widths * (float(model.noise) / widths.prod()) ** (1 / len(widths))
        return np.where((labels == K)[:, None], center + widths * (rng.random(rows.shape) - 0.5), rows)
    if not isinstance(model.family, Columns):
        return model.family.sample(labels, rng, given_of(model.family, x))
    parts = [
        group.family.sample(labels, rng, given_of(group.family, x[:, group.columns]))
        for group in groups_of(model.family)
    ]
    return np.concatenate(parts, axis=1)


def given_of(family: Any, x: Array) -> Array | None:
    """(n, 1) what is not drawn: numbers of tosses, totals, times at which rows are censored; None for nothing."""
    if isinstance(family, Binomial) and isinstance(family.n_trials, str):
        return np.where(np.isnan(x[:, 1:2]), 1.0, x[:, 1:2])
    if isinstance(family, Multinomial):
        return np.asarray(np.nan_to_num(x.sum(axis=1, keepdims=True)))
    if isinstance(family, CensoredFamily):
        event = family._event_column
        time, ended = x[:, 1 - event], x[:, event]
        # when a row that ended would have been censored is not known: never before the last row of the data
        return np.where(ended == 1, np.nanmax(time), time)[:, None]
    return None


def _summarised(
    plan: Plan, found: Sequence[Replicate], *, kind: str, level: float, seed: int, is_complete: bool
) -> Bootstrap:
    good = [one for one in found if not one.failure]
    failures = Counter(one.failure for one in found if one.failure)
    if len(good) < LEAST:
        reason = "; ".join(f"{text} ({count} times)" for text, count in failures.most_common(3))
        raise FitError.too_few_replicates(n=len(good), required=LEAST, reason=reason)
    orders = plan.orders(good)
    K = plan.model.latent_size
    switched = float((orders != np.arange(K)).any(axis=1).mean())
    values = {name: _stacked([one.values[name] for one in good], orders) for name in good[0].values}
    estimates = tuple(_estimates(plan, values, level))
    return Bootstrap(
        estimates, values, len(found) - len(good), dict(failures), switched, kind, level, seed, is_complete
    )


def _stacked(values: Sequence[Any], orders: NDArray[np.intp]) -> Any:
    """(R, K, ...) of a parameter, components in their order; a tuple of such for a tuple."""
    if isinstance(values[0], tuple):
        return tuple(_stacked(parts, orders) for parts in zip(*values, strict=True))
    n = len(values[0])
    return np.stack([take(value, order[:n]) for value, order in zip(values, orders, strict=True)])


def _estimates(plan: Plan, values: Mapping[str, Any], level: float) -> list[Estimate]:
    model, total = plan.model, float(plan.source.weight.sum())
    shares, K = model.latent.mixing_proportions, model.latent_size
    is_fixed = "mixing_proportions" in model.fixed or K == 1
    notes = [FIXED if is_fixed else AT_BOUNDARY * (p * (1 - p) * total < FEW) for p in shares.tolist()]
    found = _numbers(proportions_reading(), shares, values, notes, level)
    for group in groups_of(model.family):
        own = {name: values[f"{group.prefix}{name}"] for name in group.family.parameters}
        readings = readings_of(group)
        bounded = bounded_readings(group.family, readings)
        for r, one in enumerate(readings):
            now = np.asarray(one.read(group.family.parameters))
            if one.source in group.family.fixed:
                notes = [FIXED] * len(now)
            else:
                is_at = _near_boundary(group.family, one, now, total * shares[: len(now)]) | bounded.get(r, False)
                notes = [AT_BOUNDARY * held for held in is_at.tolist()]
            found += _numbers(one, now, own, notes, level)
    return found


def _near_boundary(family: Family, one: Reading, now: Array, rows: Array) -> NDArray[np.bool_]:
    """(K,) which numbers the rows of their component cannot tell from the end of what they may be."""
    told = rows
    if one.scale == LOGIT:
        told = rows * now * (1 - now)
    elif isinstance(family.space(one.source), Nonnegative):
        told = rows * now
    return np.asarray(told < FEW)


def _numbers(one: Reading, now: Array, values: Mapping[str, Any], notes: list[str], level: float) -> list[Estimate]:
    """Of each component, with the spread of the replicates; none where a note says why: at a boundary it is none."""
    drawn = one.read(values)
    deviations = drawn.std(axis=0, ddof=1)
    lower, upper = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    found = []
    for k, (value, note) in enumerate(zip(now.tolist(), notes, strict=True)):
        error, low, high = (None, None, None) if note else (float(deviations[k]), float(lower[k]), float(upper[k]))
        found.append(Estimate(one.parameter, k, one.column, one.level_name, value, error, low, high, note))
    return found
