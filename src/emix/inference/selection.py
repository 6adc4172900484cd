"""Model choice: several families and numbers of components, fitted side by side and compared by a criterion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock
from typing import Any
from uuid import uuid4

import numpy as np

from emix.block import Array
from emix.data.auto import assume
from emix.data.scan import Scan
from emix.data.table import Table
from emix.em.starts import METHODS
from emix.em.stopping import StoppingRule
from emix.errors import DataError, FitError, ModelError
from emix.families import Family, MultivariateNormal, StudentT, parse
from emix.families.structures import structure
from emix.fitting import Pass
from emix.fitting.opening import open_rows
from emix.fitting.rows import Rows
from emix.fitting.settings import Settings, make_settings, whole_number
from emix.inference.attempts import Attempt, Elsewhere, Outcome, Setting, Step, fit_again, fit_first, score_folds
from emix.inference.candidates import CRITERIA, Candidate, Selection, pointed_out
from emix.kernels import dispatch
from emix.model import Mixture
from emix.persistence import check_writable
from emix.processes import Crew
from emix.results import FitResult
from emix.threads import blas_limited, map_in_order

INTERRUPTED = "interrupted before it ended"
"""The error of a candidate that an interrupt left without a result."""
NESTED = "nested"
STARTS = (*METHODS, NESTED)
WORSE = 1e-4
"""Nats by which a structure may fall below a simpler one that it contains before it is fitted from that one."""

LOOKED_AT = 10_000
"""Rows of a scan from which families are chosen."""


@dataclass(frozen=True)
class Finished:
    """What `on_progress` is told after each candidate."""

    candidate: Candidate
    n_finished: int
    n_candidates: int


def select(
    data: Any,
    n_components: int | Iterable[int] = range(1, 10),
    family: Any = None,
    *,
    criterion: str = "bic",
    cross_validate: int | None = None,
    labels: Any = None,
    sample_weight: Any = None,
    start: str | None = None,
    n_init: int = 10,
    n_jobs: int | None = None,
    random_state: Any = None,
    max_iter: int = 10_000,
    stop: str | StoppingRule = "aitken",
    tol: float | None = None,
    fixed: Iterable[str] = (),
    noise: bool | float = False,
    prior_rows: float = 0.0,
    on_progress: Callable[[Finished], None] | None = None,
    out: str | Path | None = None,
) -> Selection:
    """Fit every family with every number of components, and choose one by a criterion.

    Parameters
    ----------
    data : array-like, data frame, dict of columns, list of toss sequences, path, or sparse matrix
        As in `fit`; read and checked once for all candidates.
    n_components : int or iterable of int, default=range(1, 10)
        Numbers of components, each once.
    family : Family, str, or list of these, optional
        Such as `"poisson"`, `MultivariateNormal(structure="VEV")`, or `MultivariateNormal.all_structures()`. Default:
        from the columns, for the largest number of components.
    criterion : {'bic', 'aic', 'aicc', 'sabic', 'icl', 'cross_validated'}, default='bic'
        By which to choose. Of the first five the smallest value is the best (mclust's BIC and ICL have the other sign),
        of the cross-validated log-likelihood, which needs `cross_validate`, the largest.
    cross_validate : int, optional
        Number of folds V. Rows are dealt to V folds at random, and each is scored under the fit to the other folds
        (Smyth 2000). Plain folds: rows that belong together are not kept together.
    labels, sample_weight
        As in `fit`. Cross-validation scores rows without their labels.
    start : {'short-runs', 'k-means++', 'random', 'ward', 'nested'}, optional
        How rows are seeded, as in `fit`: the same seeds for all families with as many components. 'nested' is the
        fastest: one run each, for a covariance structure from the estimates of the best simpler one that it contains,
        for all others from 'ward'.
    n_init, max_iter, stop, tol
        As in `fit`.
    n_jobs : int, optional
        Threads, among which candidates and then starts and rows are shared out; None means all cores. Of few rows, a
        selection that takes longer than a second goes on in as many processes. The result has the same bits for any
        number.
    random_state : int, numpy Generator or RandomState, optional
        Seed of starts and folds.
    fixed, noise, prior_rows
        As in `Mixture`, the same for all candidates.
    on_progress : callable, optional
        Called with a `Finished` (candidate, n_finished, n_candidates) after each candidate, one at a time.
    out : path, optional
        Where to save the chosen model, also after an interrupt.

    Returns
    -------
    Selection
        Each fit is that of `fit` with the same arguments ('nested' apart), with one exception: a covariance structure
        that ended below a simpler one that it contains, or failed, is fitted again from that one's estimates
        (`Candidate.started_from`).
        A candidate that fails, for instance because it has more components than there are distinct rows, is in the
        table with its error. Candidates that did not converge are not chosen unless none did, and a warning says so.

        KeyboardInterrupt: once a candidate has ended, an interrupt ends the others, and the selection among those that
        ended is returned with `is_complete` False; before that it is raised.

    Raises
    ------
    ModelError, DataError
        A candidate is named twice or cannot be, or an argument or the data cannot be: before anything is fitted.
    FitError
        Every candidate failed.

    References
    ----------
    Schwarz (1978), Annals of Statistics 6, 461-464 (BIC). Hurvich & Tsai (1989), Biometrika 76, 297-307 (AICc).
    Sclove (1987), Psychometrika 52, 333-343 (sample-size-adjusted BIC). Biernacki, Celeux & Govaert (2000), IEEE PAMI
    22, 719-725 (ICL). Smyth (2000), Statistics and Computing 10, 63-72 (cross-validated likelihood).

    Examples
    --------
    >>> from emix import select
    >>> counts = [[0], [1], [0], [1], [2], [9], [11], [10], [12], [8]]
    >>> chosen = select(counts, range(1, 4), ["poisson", "geometric"], random_state=0)
    >>> str(chosen.best), chosen.result.n_free_parameters
    ('2 x poisson', 3)
    """
    if criterion not in CRITERIA:
        raise ModelError.choice(what="criterion", found=criterion, available=CRITERIA)
    if criterion == "cross_validated" and cross_validate is None:
        raise ModelError.argument(name="cross_validate", requirement="a number of folds for this criterion", found=None)
    if start is not None and start not in STARTS:
        raise ModelError.choice(what="start", found=start, available=STARTS)
    if out is not None:
        check_writable(out)
    opened = open_rows(data, labels=labels, sample_weight=sample_weight, takes_sparse=True)
    some = opened.data.head(LOOKED_AT) if isinstance(opened.data, Scan) else opened.data
    own = {"fixed": frozenset(fixed), "noise": noise, "prior_rows": prior_rows}
    models = _models(some, n_components, family, opened.weight, **own)
    jobs = -1 if n_jobs is None else n_jobs
    settings = make_settings(
        stop=stop, tol=tol, max_iter=max_iter, n_init=n_init, n_jobs=jobs, random_state=random_state
    )
    folds = [] if cross_validate is None else _folds(opened.table.n_rows, cross_validate, settings.seed)
    rows = Rows(opened, n_jobs=settings.n_jobs)
    work = _Work(models, rows, settings, start, folds, on_progress)
    is_complete = work.done()
    chosen = Selection(tuple(work.candidates), criterion, is_complete)
    if not any(one.result is not None for one in chosen.candidates):
        if all(isinstance(error, DataError | ModelError) for error in work.failures):  # the input, not the fits
            raise work.failures[0]
        raise FitError.no_candidate(
            n_candidates=len(models), criterion=criterion, first=[one.error for one in chosen.candidates[:1]]
        )
    chosen.warnings.extend(pointed_out(chosen))
    if out is not None and chosen.ranked():  # no fit is chosen where no fold of any candidate was scored
        chosen.result.save(out)
    return chosen


# -- what to fit -------------------------------------------------------------------------------------------------------


def _models(
    table: Table, n_components: int | Iterable[int], family: Any, weight: Array | None, **options: Any
) -> list[Mixture]:
    """One mixture per candidate, family by family; whatever cannot be is an error here."""
    numbers = [n_components] if isinstance(n_components, int | np.integer) else list(n_components)
    numbers = [whole_number("n_components", number, least=1) for number in numbers]
    _check_once("n_components", numbers)
    families = _families(table, family, max(numbers), weight)
    _check_once("family", [str(one) for one in families])
    return [Mixture(one, number, **options) for one in families for number in numbers]


def _families(table: Table, family: Any, most: int, weight: Array | None) -> list[Family]:
    if family is None:
        return [assume(table, most, weight)[0]]
    given = [family] if isinstance(family, Family | str) else list(family)
    for one in given:
        if not isinstance(one, Family | str):
            requirement = "families, or their names, such as Poisson() or 'poisson'"
            raise ModelError.argument(name="family", requirement=requirement, found=one)
    return [parse(one) if isinstance(one, str) else one for one in given]


def _check_once(name: str, given: Sequence[Any]) -> None:
    """Raise where nothing is given, or something twice."""
    if not given:
        raise ModelError.argument(name=name, requirement="at least one", found=given)
    for one in given:
        if given.count(one) > 1:
            raise ModelError.twice(name=name, found=one)


def _folds(n_rows: int, n_folds: int, seed: int) -> list[Array]:
    """For each fold whether each row is in it (n,); the sizes differ by one at most."""
    whole_number("cross_validate", n_folds, least=2)
    if n_folds > n_rows:
        raise ModelError.argument(
            name="cross_validate", requirement=f"at most as many folds as rows ({n_rows})", found=n_folds
        )
    fold = np.empty(n_rows, dtype=np.intp)
    fold[np.random.default_rng([seed, n_folds]).permutation(n_rows)] = np.arange(n_rows) % n_folds
    return [np.asarray(fold == f, dtype=np.float64) for f in range(n_folds)]


# -- fitting it --------------------------------------------------------------------------------------------------------


class _Work:
    """All candidates, side by side: first from the seeds, then structures that are worse than a simpler one again."""

    def __init__(
        self,
        models: list[Mixture],
        rows: Rows,
        settings: Settings,
        start: str | None,
        folds: list[Array],
        on_progress: Callable[[Finished], None] | None,
    ) -> None:
        self.models, self.start, self.on_progress = models, start, on_progress
        self.candidates = [Candidate(str(one.family), _number(one), error=INTERRUPTED) for one in models]
        self.simpler = _simpler(models)
        self.failures: list[Exception] = []
        is_large = _is_large(models, rows)
        self.n_threads = min(settings.n_jobs, len(models)) if is_large else 1
        is_scan = isinstance(rows.opened.data, Scan)  # the rows are read anew for each model, its chunks side by side
        self.crew = Crew(1 if is_large or is_scan else settings.n_jobs)
        settings = replace(settings, n_jobs=max(1, settings.n_jobs // self.n_threads))
        n_rows = rows.opened.table.n_rows if folds else 0  # which a scan does not tell
        weight = np.ones(n_rows) if rows.opened.weight is None else rows.opened.weight
        training = [Rows(replace(rows.opened, weight=weight * (1 - fold))) for fold in folds]
        seeds = "ward" if start == NESTED else start
        pairs = tuple(zip(folds, training, strict=True))
        self.setting = Setting(rows, settings, seeds, weight, pairs, self._tell)
        self.key = uuid4().hex
        self._is_over, self._lock, self._n_finished = Event(), Lock(), 0

    def done(self) -> bool:
        """Fit all; False where an interrupt came."""
        order = sorted(
            range(len(self.models)), key=lambda i: self.models[i].latent_size
        )  # those left after an interrupt are the large
        levels = _by_generality(self.models, order)
        has_folds = bool(self.setting.folds)
        try:
            with blas_limited():
                for level in levels if self.start == NESTED else [order]:
                    self._each(fit_first, level, is_last=not has_folds)
                for level in levels[1:]:
                    self._each(fit_again, [i for i in level if self._is_behind(i)])
                if has_folds:
                    self._each(score_folds, order, is_last=True)
        except KeyboardInterrupt:
            self._is_over.set()
            if not any(one.result is not None for one in self.candidates):
                raise
            return False
        except BaseException:
            self._is_over.set()
            raise
        return True

    def _each(self, step: Step, order: list[int], *, is_last: bool = False) -> None:
        """One step of these candidates, in threads where passes are long, else in processes where the step is."""
        begins_simpler = step is fit_again or (step is fit_first and self.start == NESTED)
        attempts = [
            Attempt(self.models[i], self.candidates[i], self._best_simpler(i) if begins_simpler else None)
            for i in order
        ]

        def here(attempt: Attempt) -> Outcome:
            return step(attempt, self.setting)

        if self.n_threads > 1:
            pairs = list(zip(order, attempts, strict=True))
            map_in_order(lambda pair: self._take(pair[0], here(pair[1]), is_last=is_last), pairs, self.n_threads)
            return
        settings = replace(self.setting.settings, n_jobs=1)
        apart = Elsewhere(step, replace(self.setting, settings=settings, tell=None), self.key)
        with closing(self.crew.each(here, apart, attempts)) as done:
            for turn, outcome in done:
                self._take(order[turn], outcome, is_last=is_last)

    def _tell(self, one: Pass) -> None:
        if self._is_over.is_set():  # an interrupt, met in another thread: this one ends at its next pass
            raise KeyboardInterrupt

    def _best_simpler(self, i: int) -> FitResult | None:
        """Of the structures that this one contains, the one with the highest log-likelihood."""
        simpler = [self.candidates[j].result for j in self.simpler[i]]
        ended = [one for one in simpler if one is not None]
        return max(ended, key=lambda one: one.log_likelihood, default=None)

    def _is_behind(self, i: int) -> bool:
        """Whether a structure that this one contains came out better."""
        known, found = self._best_simpler(i), self.candidates[i].result
        reached = -np.inf if found is None else found.log_likelihood
        return known is not None and known.log_likelihood > reached + WORSE

    def _take(self, i: int, outcome: Outcome, *, is_last: bool) -> None:
        with self._lock:
            self.candidates[i] = outcome.found
            self.failures += outcome.failures
            self._n_finished += is_last
            if is_last and self.on_progress is not None:
                self.on_progress(Finished(outcome.found, self._n_finished, len(self.models)))


def _is_large(models: list[Mixture], rows: Rows) -> bool:
    """Whether a pass is long enough for threads: in short ones the interpreter's lock is held nearly throughout."""
    data = rows.opened.data
    if isinstance(data, Scan):
        return False
    K = float(np.mean([one.latent_size for one in models]))
    return bool(data.n_rows * K * len(data.names) >= dispatch.COMPILE_FROM)


def _number(model: Mixture) -> int:
    return int(model.n_components or 0)


# -- structures that contain each other --------------------------------------------------------------------------------

LETTERS = {"I": 0, "E": 1, "V": 2}
"""Volume, shape and orientation: identity is a case of equal, and equal one of variable."""


def _letters(model: Mixture) -> tuple[int, ...] | None:
    """Of a Gaussian or Student-t mixture in one of the fourteen structures, without a prior, which is not compared."""
    family = model.family
    if not isinstance(family, MultivariateNormal | StudentT) or model.prior_rows or getattr(family, "prior", None):
        return None
    name = structure(family.structure).name
    return tuple(LETTERS[letter] for letter in name) if len(name) == 3 else None


def _simpler(models: list[Mixture]) -> list[list[int]]:
    """For each model those among them that it has as special cases."""
    groups: dict[Any, list[tuple[int, tuple[int, ...]]]] = {}
    found: list[list[int]] = [[] for _ in models]
    for i, model in enumerate(models):
        letters = _letters(model)
        if letters is not None:
            groups.setdefault((model.latent_size, _apart_from_structure(model.family)), []).append((i, letters))
    for group in groups.values():
        for i, own in group:
            found[i] = [j for j, other in group if other != own and _is_at_most(other, own)]
    return found


def _is_at_most(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _apart_from_structure(family: Any) -> str:
    return str(replace(family, structure="full"))


def _by_generality(models: list[Mixture], order: list[int]) -> list[list[int]]:
    """The candidates in this order by level: one of the fourteen structures contains none but those of lower levels."""
    levels: dict[int, list[int]] = {0: []}
    for i in order:
        letters = _letters(models[i])
        levels.setdefault(0 if letters is None else sum(letters), []).append(i)
    return [levels[level] for level in sorted(levels)]
