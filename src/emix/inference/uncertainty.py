"""Standard errors and confidence intervals of every parameter, on the scale on which people read it.

The information is taken in unconstrained coordinates (information.py), inverted there, and carried to each number by
its derivatives (the delta method). Intervals are symmetric on a scale on which the number has no bounds: logit of a
probability, log of a positive number, Fisher's z of a correlation; so they never leave what the number may be.
Source: Oakes (1999), Journal of the Royal Statistical Society B 61, 479-482; Louis (1982), ibid. 44, 226-233; White
(1982), Econometrica 50, 1-25 (the sandwich); McLachlan & Peel (2000), Finite Mixture Models, section 2.15.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from emix.block import Array
from emix.data.knowledge import read_weights
from emix.data.source import InMemorySource, plain_source, that_count
from emix.data.table import read_table
from emix.errors import FitError, ModelError
from emix.fitting.use import prepared
from emix.inference.estimates import (
    AT_BOUNDARY,
    FIXED,
    UNTOLD,
    Estimate,
    chosen,
    estimates_frame,
    estimates_html,
    estimates_text,
)
from emix.inference.information import Information, information
from emix.inference.readings import FISHER_Z, LOG, LOGIT, Reading
from emix.inference.smooth import smooth_covariance
from emix.markup import html_text
from emix.model import Mixture
from emix.results import FitResult, FittedEstimator, result_of
from emix.threads import blas_limited

METHODS = ("observed", "outer", "sandwich")
SADDLE = -1e-4
"""Curvature, as a share of that of complete data, from which on an optimum is none."""
FLAT = 1e-8
"""Curvature, as a share of that of complete data, below which nothing is known of a direction: a standard error is
then 10,000 times that of complete data."""
SEEN = 1e-3
"""Share of a number's gradient that may lie in such directions: below, they do not concern it."""


@dataclass(frozen=True)
class Uncertainty:
    """Standard errors and intervals of a fit.

    Attributes
    ----------
    estimates : tuple of Estimate
        Every parameter of every component.
    covariance : ndarray of shape (p, p)
        Of the estimates, in their order and on their natural scale; rows and columns of zeros where there is no
        standard error. Its rank is the number of free parameters that the data tell: proportions add up to 1.
    method : {'observed', 'outer', 'sandwich'}
        Which information.
    level : float
        Of the intervals.
    condition : float
        Condition number of the information, its coordinates in units in which complete data would have 1; infinite
        where a direction is flat. Its root is at most the factor by which the hidden labels widen a standard error.
    notes : tuple of str
        What to mind; empty where there is nothing to say.
    """

    estimates: tuple[Estimate, ...]
    covariance: Array
    method: str
    level: float
    condition: float
    notes: tuple[str, ...] = ()
    library: str | None = None
    """Whose data frame `to_frame` gives by default: that of the fit."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the estimates, like `mean[0, waiting]`."""
        return tuple(one.name for one in self.estimates)

    @property
    def _title(self) -> str:
        how = {"outer": "outer product of the scores", "sandwich": "sandwich"}.get(self.method, "observed information")
        return f"{100 * self.level:g} % intervals, {how}"

    def __str__(self) -> str:
        """The estimates as a table, and the notes."""
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join([estimates_text(self.estimates, self._title), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """For notebooks: the estimates, and the notes."""
        return estimates_html(self.estimates, self._title) + "".join(html_text(note) for note in self.notes)

    def of(
        self, parameter: str, component: int | None = None, column: str | None = None, level: str | None = None
    ) -> Any:
        """The estimate of a parameter, or the tuple of all that fit.

        Parameters
        ----------
        parameter : str
            Such as `mean`.
        component : int, optional
            Its number.
        column : str, optional
            Its name.
        level : str, optional
            Of a category the level, of a covariance or correlation the second column, in either order.

        Raises
        ------
        ModelError
            There is none.
        """
        return chosen(self.estimates, parameter, component, column, level)

    def to_frame(self, library: str | None = None) -> Any:
        """One row per estimate, as a data frame of pandas, polars or pyarrow: by default of the library of the fit."""
        return estimates_frame(self.estimates, library or self.library)


def standard_errors(
    result: FitResult | FittedEstimator,
    data: Any,
    *,
    method: str = "observed",
    level: float = 0.95,
    labels: Any = None,
    sample_weight: Any = None,
) -> Uncertainty:
    """Standard errors and confidence intervals of all parameters of a fit.

    Parameters
    ----------
    result : FitResult or fitted estimator
        Converged.
    data, labels, sample_weight
        Those of the fit. A weight of 3 equals the row three times.
    method : {'observed', 'outer', 'sandwich'}, default='observed'
        The observed information; the outer product of the rows' scores, which needs many more rows than parameters; or
        both as a sandwich, which holds where the model is not quite true.
    level : float, default=0.95
        Of the intervals.

    Returns
    -------
    Uncertainty
        Under a prior (`prior`, `prior_rows`) these are of the posterior mode: the prior's curvature counts.

    Raises
    ------
    FitError
        The fit did not converge, ended in a saddle, or the rows are not those of the fit.
    ModelError
        The method is unknown, or a model of your own has no vector form.
    DataError
        The data cannot be.

    Notes
    -----
    These are of the optimum that was found and its labels, for many rows; with few rows or overlapping components
    `bootstrap` tells more. Of a model of your own (with `to_vector` and `from_vector`) the log-likelihood is
    differentiated twice.

    Examples
    --------
    >>> import emix
    >>> result = emix.fit(emix.Mixture(emix.Poisson(), 1), [3, 5, 4, 8])
    >>> emix.standard_errors(result, [3, 5, 4, 8]).of("rate", 0).standard_error.round(6)
    1.118034
    """
    if method not in METHODS:
        raise ModelError.choice(what="method", found=method, available=METHODS)
    check_level(level)
    result = converged_result(result, "Standard errors")
    if not isinstance(result.model, Mixture):
        return _of_own_model(result, data, method, level, labels, sample_weight)
    info = information_of(result, data, labels=labels, sample_weight=sample_weight)
    with blas_limited():
        return replace(_reported(info, inverted(info, method), method, level), library=result.library)


def check_level(level: Any) -> None:
    """Raise a `ModelError` if this is no level of an interval."""
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ModelError.argument(name="level", requirement="a number between 0 and 1", found=level)


def converged_result(result: Any, what: str, *, name: str = "result") -> FitResult:
    """What a fit returned, itself or in an estimator; an error if it did not converge."""
    found = result_of(result, name=name)
    if not found.converged:
        raise FitError.not_converged(sentence=found.stop_reason.sentence, what=what)
    return found


def information_of(result: FitResult, data: Any, *, labels: Any = None, sample_weight: Any = None) -> Information:
    """The information of a fit of a mixture in its rows.

    Raises
    ------
    FitError
        The rows are not those of the fit.
    """
    model, source = counting_rows(result, data, labels=labels, sample_weight=sample_weight)
    info = information(model, source)
    check_same_rows(info.log_likelihood, result)
    return info


def counting_rows(result: FitResult, data: Any, *, labels: Any, sample_weight: Any) -> tuple[Mixture, InMemorySource]:
    """The model, and all rows of the data; those that do not count have the weight 0."""
    model, source = prepared(result.model, data, labels=labels, sample_weight=sample_weight)
    return model, replace(source, weight=np.where(that_count(source, model.family), source.weight, 0.0))


def check_same_rows(found: float, result: FitResult) -> None:
    """Raise if the log-likelihood of the rows is not that of the fit, up to rounding."""
    noise = 8 * result.history[-1].noise if result.history else 0.0
    if not abs(found - result.log_likelihood) <= 1e-8 * max(1.0, abs(result.log_likelihood)) + noise:
        raise FitError.other_data(found=found, required=result.log_likelihood)


# -- from the information to the numbers that people read ------------------------------------------------------------


@dataclass(frozen=True)
class Inverse:
    """Covariance (q, q) of the free coordinates, and the directions (q, f) of which the rows tell nothing.

    `least` is the smallest share of complete data's information that the rows have in any direction.
    """

    covariance: Array
    flat: Array
    condition: float
    least: float
    scale: Array = field(repr=False)


def inverted(info: Information, method: str) -> Inverse:
    """The covariance of the free coordinates.

    In units in which complete data would have the information 1, eigenvalues are shares of it, from 0 to 1. Directions
    that are flat are left out, and named.

    Raises
    ------
    FitError
        The log-likelihood rises in some direction: this is no maximum.
    """
    diagonal = np.diagonal(info.complete)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    bread, flat, condition, least = _pseudo_inverse(info.outer if method == "outer" else info.observed, scale)
    if method == "sandwich":
        bread = bread @ info.outer @ bread
    return Inverse((bread + bread.T) / 2, flat, condition, least, scale)


def _pseudo_inverse(matrix: Array, scale: Array) -> tuple[Array, Array, float, float]:
    if len(matrix) == 0:
        return matrix, matrix, 1.0, 1.0
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    if values[0] < SADDLE:
        raise FitError.no_maximum(curvature=float(values[0]))
    is_flat = values < FLAT * max(1.0, values[-1])
    kept = vectors[:, ~is_flat]
    inverse = (kept / values[~is_flat]) @ kept.T / np.outer(scale, scale)
    condition = np.inf if is_flat.any() else float(values[-1] / values[0])
    return inverse, vectors[:, is_flat], condition, max(float(values[0]), 0.0)


def _reported(info: Information, inverse: Inverse, method: str, level: float) -> Uncertainty:
    readings, is_free = info.readings(), info.is_free
    gradients = np.array([gradient for *_, gradient in readings]).reshape(len(readings), len(is_free))
    free = gradients[:, is_free]
    notes = np.array([note_of(info, one) for one in readings], dtype=object)
    in_units = free / inverse.scale
    size = np.sqrt((in_units**2).sum(axis=1))
    untold = np.sqrt(((in_units @ inverse.flat) ** 2).sum(axis=1)) > SEEN * size
    notes[(notes == "") & untold & (size > 0)] = UNTOLD
    free = np.where((notes == "")[:, None], free, 0.0)
    covariance = free @ inverse.covariance @ free.T
    deviations = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    seen: dict[tuple[Any, ...], tuple[int, Array]] = {}
    estimates = []
    for (one, k, value, gradient), note, deviation in zip(readings, notes.tolist(), deviations.tolist(), strict=True):
        key = (one.parameter, one.column, one.level_name)
        first = seen.setdefault(key, (k, gradient))
        if not note and first[0] != k and (first[1] == gradient).all():
            note = f"tied to component {first[0]}"
        has_error = note in ("", f"tied to component {first[0]}")
        lower, upper = interval(value, deviation, one.scale, level) if has_error else (None, None)
        estimates.append(
            Estimate(
                one.parameter,
                k,
                one.column,
                one.level_name,
                value,
                deviation if has_error else None,
                lower,
                upper,
                note,
            )
        )
    return Uncertainty(tuple(estimates), covariance, method, level, inverse.condition, _notes(inverse, notes, info))


def note_of(info: Information, reading: tuple[Reading, int, float, Array]) -> str:
    """Why a number has no standard error, as far as its own coordinates tell."""
    one, _, value, gradient = reading
    held, told = np.abs(gradient[~info.is_free]), np.abs(gradient[info.is_free])
    is_fixed = one.source in info.model.fixed or any(
        one.source in part.subject.family.fixed and one in part.subject.readings for part in info.parts
    )
    if is_fixed or (one.source == "mixing_proportions" and info.model.latent_size == 1):
        return FIXED
    if not gradient.any() and any(constraint.parameter == one.source for constraint in info.model.constraints):
        return FIXED
    if one.scale == LOGIT and not 0 < value < 1:
        return AT_BOUNDARY
    if held.size and one.scale == LOGIT and held.max() > 0.5 * value * (1 - value):
        return AT_BOUNDARY
    if not told.any():
        return AT_BOUNDARY
    return ""


def _notes(inverse: Inverse, notes: NDArray[Any], info: Information) -> tuple[str, ...]:
    found = []
    if inverse.flat.shape[1]:
        n = inverse.flat.shape[1]
        found.append(
            f"the information is singular: of {n} direction{'s' * (n > 1)} of the parameters these data tell nothing. "
            f"{int((notes == UNTOLD).sum())} numbers have no interval. Ask for fewer components, or hold some "
            "parameters fixed."
        )
    elif inverse.condition > 1e6:
        found.append(
            f"the information is nearly singular (condition {inverse.condition:.1e}): these intervals are rough. "
            "Compare with emix.bootstrap."
        )
    if info.model.log_prior() or info.model.prior_rows:
        found.append("of the posterior mode: the prior counts as information.")
    return tuple(found)


def interval(value: float, deviation: float, scale: str, level: float) -> tuple[float, float]:
    """Lower and upper limit, symmetric on the scale."""
    z = float(norm.ppf(0.5 + level / 2)) * np.array([-1.0, 1.0])
    with np.errstate(over="ignore"):
        if scale == LOG and value > 0:
            found = value * np.exp(np.clip(z * deviation / value, -700, 700))
        elif scale == LOGIT and 0 < value < 1:
            found = expit(logit(value) + z * deviation / (value * (1 - value)))
        elif scale == FISHER_Z and abs(value) < 1:
            found = np.tanh(np.arctanh(value) + z * deviation / (1 - value**2))
        else:
            found = value + z * deviation
    return float(found[0]), float(found[1])


# -- a model of the user's own ---------------------------------------------------------------------------------------


def _of_own_model(
    result: FitResult, data: Any, method: str, level: float, labels: Any, sample_weight: Any
) -> Uncertainty:
    model = result.model
    if not hasattr(model, "to_vector") or not hasattr(model, "from_vector"):
        raise ModelError.no_vector(model)
    if method != "observed":
        raise ModelError.argument(name="method", requirement="'observed' for a model of your own", found=method)
    if labels is not None:
        raise ModelError.argument(name="labels", requirement="None for a model of your own", found="labels")
    source = own_source(model, data, sample_weight)
    check_same_rows(float(source.sum_over_chunks(model.expect).log_likelihood), result)
    found = smooth_covariance(model, source)
    deviations = np.sqrt(np.maximum(np.diagonal(found.covariance), 0.0))
    estimates = []
    for name, value, deviation, gradient in zip(
        found.names, found.values, deviations.tolist(), found.gradients, strict=True
    ):
        told = np.flatnonzero(gradient)
        if len(told) == 0:
            estimates.append(Estimate(name, -1, None, None, value, None, None, None, FIXED))
            continue
        lower, upper = interval(value, deviation, "identity", level)
        if len(told) == 1:  # it follows one coordinate: the interval of that one, carried over
            lower, upper = found.carried(name, int(told[0]), level)
        estimates.append(Estimate(name, -1, None, None, value, deviation, lower, upper))
    return Uncertainty(tuple(estimates), found.covariance, method, level, found.condition)


def own_source(model: Any, data: Any, sample_weight: Any) -> InMemorySource:
    """Rows for a model of the user's own."""
    table = read_table(data)
    return plain_source(model, table, read_weights(sample_weight, n_rows=table.n_rows, table=table))
