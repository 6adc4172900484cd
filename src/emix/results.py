"""What a fit returns: the model, its history, how it ended, criteria. Numbers only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emix.described import component_table, html_of
from emix.errors import FileError, ModelError
from emix.markup import text_table
from emix.model import Mixture
from emix.persistence import from_document, read_document, save, to_document

REPR_LINES = 20
"""Lines of the components that a console shows of a fit."""


class StopReason(StrEnum):
    """Every way a run can end. `converged` is derived from it."""

    AITKEN = "aitken"
    RELATIVE = "relative"
    PARAMETERS = "parameters"
    MEAN_GAIN = "mean-gain"
    PRECISION = "precision"
    ITERATIONS = "iterations"
    MAX_ITER = "max_iter"
    SHORT_RUN = "short_run"
    DEGENERATE = "degenerate"

    @property
    def converged(self) -> bool:
        """Whether the stopping rule was met."""
        return self in _CONVERGED

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return _SENTENCES[self]


_CONVERGED = {
    StopReason.AITKEN,
    StopReason.RELATIVE,
    StopReason.PARAMETERS,
    StopReason.MEAN_GAIN,
    StopReason.PRECISION,
}
_SENTENCES = {
    StopReason.AITKEN: "converged: the log-likelihood still to be gained is estimated below tol",
    StopReason.RELATIVE: "converged: the relative gain in log-likelihood fell below tol",
    StopReason.PARAMETERS: "converged: no parameter changed by more than tol",
    StopReason.MEAN_GAIN: "converged: the gain in log-likelihood per row fell below tol",
    StopReason.PRECISION: "converged: what is still to be gained is below the rounding of the log-likelihood",
    StopReason.ITERATIONS: "stopped after the number of iterations asked for; convergence was not looked at",
    StopReason.MAX_ITER: "not converged: the iterations ran out",
    StopReason.SHORT_RUN: "a short run, not continued: another start was better",
    StopReason.DEGENERATE: "failed: a component lost its spread or its rows",
}


@dataclass(frozen=True)
class Record:
    """One iteration of the history; iteration 0 is the start.

    Attributes
    ----------
    iteration : int
        Number of EM maps applied so far, those of refused leaps included.
    log_likelihood : float
        Of the parameters after that many maps; total, weighted, in nats.
    gain : float
        Over the iteration before; NaN for iteration 0.
    parameter_change : float
        Largest change of any parameter, relative to its size where that exceeds 1; NaN for iteration 0.
    seconds : float
        Since the run began.
    noise : float
        Rounding of the log-likelihood, in nats.
    weight : float
        Total weight of the rows.
    is_leap : bool
        Reached by an accelerated step: `gain` and `parameter_change` are not those of one EM map.
    """

    iteration: int
    log_likelihood: float
    gain: float
    parameter_change: float
    seconds: float
    noise: float = 0.0
    weight: float = 1.0
    is_leap: bool = False
    step: float = 0.0
    """Length of the last leap in plain steps, where it was made from; 0 without acceleration."""
    is_bound: bool = False
    """Of an incremental pass: `log_likelihood` is the bound that it climbs, at most that of the parameters."""


@dataclass(frozen=True)
class StartRecord:
    """How one start ended."""

    index: int
    method: str
    log_likelihood: float
    stop_reason: StopReason
    n_iter: int
    message: str = ""
    log_prior: float = 0.0
    """Of its parameters, up to a constant; 0 without a prior."""
    weight: float | None = None
    """Total weight of the rows that `log_likelihood` is of: less than that of the fit for a short run on a sample. None
    where it is not known."""


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how the fit ended.

    Attributes
    ----------
    model : Mixture, or the user's own model
        With the parameters that `log_likelihood` belongs to.
    log_likelihood : float
        Total, weighted, in nats, with all constants.
    history : list of Record
        One per iteration of the run that won; record 0 is its start.
    stop_reason : StopReason
        How that run ended.
    total_weight : float
        The number of rows that count, or the sum of their weights: the n of BIC.
    log_map : float
        Sum of weight x log of each row's largest responsibility, for the ICL.
    expected_counts : ndarray of shape (K,) or None
        Expected number of rows (their weight) of each component; None for a user's own model.
    starts : list of StartRecord
        All starts with their endings.
    warnings : list of str
        What a statistician would point out.
    seed : int
        Reproduces the fit: `random_state=seed`.
    log_prior : float or None
        Under a prior, the log density of the parameters, in nats, up to a constant: the estimates are posterior modes
        (MAP), which maximize the sum of both. None for maximum likelihood. The criteria know the log-likelihood alone.
    """

    model: Any
    log_likelihood: float
    history: list[Record]
    stop_reason: StopReason
    total_weight: float
    log_map: float = 0.0
    expected_counts: Any = None
    starts: list[StartRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seed: int = 0
    is_monotone: bool = True
    log_prior: float | None = None
    library: str | None = None
    """Whose data frame it was fitted to: 'pandas', 'polars' or 'pyarrow'; None for other data, and in files."""

    @property
    def converged(self) -> bool:
        """Whether the stopping rule was met; False when the iterations ran out."""
        return self.stop_reason.converged

    @property
    def n_iter(self) -> int:
        """EM maps applied, leaps included; the final evaluation is not one."""
        return self.history[-1].iteration

    @property
    def n_free_parameters(self) -> int:
        """Free parameters of the model."""
        if not hasattr(self.model, "n_free_parameters"):
            raise ModelError.no_free_parameters(self.model)
        return int(self.model.n_free_parameters)

    @property
    def comparable_starts(self) -> list[StartRecord]:
        """Starts that led to a model and whose log-likelihood is of all rows: not short runs on a sample of them."""
        return [one for one in self.starts if _is_of_all_rows(one, self.total_weight)]

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 free parameters: smaller is better."""
        return -2 * self.log_likelihood + 2 * self.n_free_parameters

    @property
    def bic(self) -> float:
        """-2 log-likelihood + free parameters x log total weight: smaller is better (mclust has the other sign)."""
        return -2 * self.log_likelihood + self.n_free_parameters * math.log(self.total_weight)

    @property
    def aicc(self) -> float:
        """AIC + 2 p (p + 1) / (n - p - 1), for few rows; inf where none are left (Hurvich & Tsai 1989)."""
        p, left = self.n_free_parameters, self.total_weight - self.n_free_parameters - 1
        return self.aic + 2 * p * (p + 1) / left if left > 0 else math.inf

    @property
    def sabic(self) -> float:
        """BIC with log((n + 2) / 24) in the place of log n: smaller is better (Sclove 1987)."""
        return -2 * self.log_likelihood + self.n_free_parameters * math.log((self.total_weight + 2) / 24)

    @property
    def icl(self) -> float:
        """BIC - 2 sum of weight x log of each row's largest responsibility (Biernacki, Celeux & Govaert 2000)."""
        return self.bic - 2 * self.log_map

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts and numbers, for JSON."""
        return {
            **self.summary(),
            "warnings": self.warnings,
            "starts": [_finite(asdict(start)) for start in self.starts],
            "history": [_finite(asdict(record)) for record in self.history],
            "model": to_document(self.model) if isinstance(self.model, Mixture) else None,
        }

    def summary(self) -> dict[str, Any]:
        """The numbers that are kept with a saved model."""
        criteria: dict[str, Any] = dict.fromkeys(("aic", "bic", "icl", "n_free_parameters"))
        if hasattr(self.model, "n_free_parameters"):
            criteria = {name: getattr(self, name) for name in criteria}
        return {
            "log_likelihood": self.log_likelihood,
            "log_prior": self.log_prior,
            **criteria,
            "total_weight": self.total_weight,
            "expected_counts": None if self.expected_counts is None else self.expected_counts.tolist(),
            "converged": self.converged,
            "stop_reason": str(self.stop_reason),
            "n_iter": self.n_iter,
            "seed": self.seed,
        }

    def save(self, path: str | Path) -> None:
        """Write the model and how the fit ended to a JSON file; `emix.load` reads the model, `load_result` both."""
        starts = [_finite(asdict(start)) for start in self.starts]
        save(self.model, path, summary={**self.summary(), "warnings": self.warnings, "starts": starts})

    def to_frame(self, backend: str | None = None) -> Any:
        """Mixing proportions and parameters as a tidy table, as `Mixture.to_frame` describes it.

        Parameters
        ----------
        backend : {'pandas', 'polars', 'pyarrow'}, optional
            Whose data frame; by default that of the frame that was fitted to.

        Raises
        ------
        ModelError
            It is unknown or not installed, or the fit was of a model of the user's own.
        """
        return mixture_of(self).to_frame(backend or self.library)

    def __str__(self) -> str:
        """A line."""
        ending = self.stop_reason.sentence
        prior = "" if self.log_prior is None else f", log prior {self.log_prior:.6f} (posterior mode)"
        return f"{self.model}: log-likelihood {self.log_likelihood:.6f}{prior} after {self.n_iter} iterations; {ending}"

    def __repr__(self) -> str:
        """The line, the components as a table, and the warnings."""
        if not isinstance(self.model, Mixture):
            return str(self)
        head, rows = component_table(self.model, self.expected_counts)
        lines = [str(self), text_table(head, rows[:REPR_LINES])]
        lines += [f"... and {len(rows) - REPR_LINES} more lines"] * (len(rows) > REPR_LINES)
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        return html_of(self.model, self.summary(), self.stop_reason.sentence, self.warnings)


def _is_of_all_rows(start: StartRecord, total_weight: float) -> bool:
    if start.stop_reason is StopReason.DEGENERATE or not math.isfinite(start.log_likelihood):
        return False
    if start.weight is None:  # of a file that does not say: its message does
        return not start.message.startswith("on a sample")
    return math.isclose(start.weight, total_weight, rel_tol=1e-9)


# -- what people hand on: a model, what a fit returned, or an estimator ------------------------------------------------


class FittedEstimator(Protocol):
    """What an estimator has after `fit`."""

    result_: FitResult


Fitted = Mixture | FitResult | FittedEstimator
"""Whatever has a mixture with parameters: functions that look at one take any of these."""


def mixture_of(model: Any) -> Mixture:
    """The mixture of a model with parameters, of what a fit returned, or of an estimator that was fitted.

    Raises
    ------
    ModelError
        It is none of these, or has no parameters.
    """
    online = getattr(model, "online_", None)  # of an estimator that learnt from a stream
    found = model_of(_fitted(model)) if online is None else online.model
    if not isinstance(found, Mixture):
        requirement = "a Mixture, what `emix.fit` returned of one, or a fitted estimator"
        raise ModelError.kind(name="model", requirement=requirement, found=found)
    if not found.is_fitted:
        raise ModelError.not_fitted("This mixture")
    return found


def model_of(subject: Any) -> Any:
    """The model of what a fit returned; anything else as it is, also a specification or a user's own model."""
    return subject.model if isinstance(subject, FitResult) else subject


def result_of(result: Any, *, name: str = "result") -> FitResult:
    """What a fit returned, itself or in an estimator.

    Raises
    ------
    ModelError
        It is neither.
    """
    found = _fitted(result)
    if not isinstance(found, FitResult):
        requirement = "what `emix.fit` returned, or a fitted estimator: a model alone has no history"
        raise ModelError.kind(name=name, requirement=requirement, found=result)
    return found


def _fitted(subject: Any) -> Any:
    """The result of an estimator, which need not be imported to be recognised; anything else as it is."""
    found = getattr(subject, "result_", subject)
    if hasattr(subject, "get_params") and found is subject:
        raise ModelError.not_fitted(f"This {type(subject).__name__}")
    return found


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields for JSON, which has no NaN and no infinity: None."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in fields.items()}


def load_result(path: str | Path) -> FitResult | None:
    """What a model file knows of its fit; None where it holds a model alone.

    The history is its last record, with NaN for what the file does not say.

    Raises
    ------
    FileError
        The file is missing, damaged, foreign or of a newer schema.
    """
    document = read_document(path)
    fit, model = document.get("fit"), from_document(document["model"], path)
    if not fit:
        return None
    try:
        last = Record(int(fit["n_iter"]), float(fit["log_likelihood"]), math.nan, math.nan, math.nan)
        counts = fit.get("expected_counts")
        return FitResult(
            model,
            last.log_likelihood,
            [last],
            StopReason(fit["stop_reason"]),
            total_weight=float(fit["total_weight"]),
            log_map=(float(fit["bic"]) - float(fit["icl"])) / 2,
            expected_counts=None if counts is None else np.array(counts, dtype=np.float64),
            starts=[_start(one) for one in fit.get("starts", [])],
            warnings=[str(one) for one in fit.get("warnings", [])],
            seed=int(fit.get("seed", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FileError.not_a_model(path, detail="its summary of the fit is damaged") from error


def _start(fields: dict[str, Any]) -> StartRecord:
    """The record of a start as `_finite` wrote it."""
    value = fields["log_likelihood"]
    log_likelihood = -math.inf if value is None else float(value)
    return StartRecord(**{**fields, "log_likelihood": log_likelihood, "stop_reason": StopReason(fields["stop_reason"])})
