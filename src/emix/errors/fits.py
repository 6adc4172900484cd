"""Errors of a fit that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from emix.errors.base import EmixError


class FitError(EmixError, RuntimeError):
    """The fit failed for a reason that lies in the data and the model together."""

    @classmethod
    def degenerate_in_every_start(cls, *, n_starts: int, first: str) -> Self:
        starts = "the only start" if n_starts == 1 else f"all {n_starts} starts"
        return cls(
            f"no start led to a fit: {starts} ended in a degenerate component.\n  {first}\n"
            f"  Ask for fewer components or a simpler covariance (diag, spherical, tied); for more starts (n_init); or "
            f"give the variances a floor (variance_floor=0.001 of Normal, LogNormal or MultivariateNormal), or the "
            f"family a prior (prior=True, or prior_rows=1.0 of Mixture)."
        )

    @classmethod
    def no_candidate(cls, *, n_candidates: int, criterion: str, first: Sequence[str]) -> Self:
        reason = f"\n  The first failed: {first[0]}" if first else ""
        return cls(
            f"no candidate can be chosen by {criterion}: none of {n_candidates} has a finite value.{reason}\n"
            f"  Ask for fewer components or other families."
        )

    @classmethod
    def not_converged(cls, *, sentence: str, what: str) -> Self:
        return cls(
            f"{what} need a fit that converged.\n  This one: {sentence}.\n"
            f"  Fit again from it (start=result) with a larger max_iter, or another stopping rule."
        )

    @classmethod
    def other_data(cls, *, found: float, required: float) -> Self:
        return cls(
            f"the rows of the fit are required, with its labels and weights (labels, sample_weight).\n"
            f"  The model has the log-likelihood {found:.12g} on these rows, and had {required:.12g} in its fit.\n"
            f"  Give the same data, labels and weights."
        )

    @classmethod
    def no_maximum(cls, *, curvature: float) -> Self:
        return cls(
            f"standard errors need a maximum of the likelihood.\n"
            f"  In one direction the log-likelihood rises on both sides (curvature {curvature:.2g} of that of complete "
            f"data): a saddle.\n  Fit again with more starts (n_init), or fewer components."
        )

    @classmethod
    def too_few_replicates(cls, *, n: int, required: int, reason: str) -> Self:
        return cls(
            f"at least {required} replicates must succeed.\n  Only {n} did. {reason}\n"
            f"  Ask for more replicates, for fewer components, or for another kind of bootstrap."
        )


class DegenerateError(FitError):
    """A component lost its spread or its rows; ends one start, not the fit."""

    component: int = -1
    weight: float = 0.0
    """Of the rows that it rests on."""

    @classmethod
    def collapsed(cls, *, component: int, column: str, ratio: float, weight: float) -> Self:
        error = cls(
            f"component {component} collapsed: its variance of '{column}' fell to {ratio:.1e} of the whole column's, "
            f"on rows of total weight {weight:.6g}."
        )
        error.component, error.weight = component, weight
        return error

    @classmethod
    def unbounded(cls, *, component: int, column: str, distribution: str, at: float, weight: float) -> Self:
        error = cls(
            f"the density of component {component} rises without bound at {at!r} of '{column}'. Hold a parameter of "
            f"'{distribution}' that lets it, mostly loc (loc=0)."
        )
        error.component, error.weight = component, weight
        return error

    @classmethod
    def nowhere(cls, *, component: int, column: str, distribution: str) -> Self:
        error = cls(
            f"no parameters that were tried for '{distribution}' allow all values of '{column}' in component "
            f"{component}. Start from parameters, or hold fewer of them."
        )
        error.component = component
        return error

    @classmethod
    def empty(cls, *, component: int) -> Self:
        error = cls(f"component {component} has no rows to be estimated from.")
        error.component = component
        return error

    @classmethod
    def no_events(cls, *, component: int, weight: float) -> Self:
        error = cls(f"component {component} has no events: its scale would be infinite.")
        error.component, error.weight = component, weight
        return error

    @classmethod
    def few_events(cls, *, component: int) -> Self:
        error = cls(f"component {component} has next to no events: its scale left the range of numbers.")
        error.component = component
        return error


class RootNotFoundError(FitError):
    """A solver inside an M-step did not converge; no unconverged number is returned."""

    @classmethod
    def scipy_maximum(cls, *, distribution: str, component: int, column: str, last: object) -> Self:
        return cls(
            f"the likelihood of '{distribution}' for '{column}' in component {component} was not maximized.\n"
            f"  Found no end of the climb; last: {last}.\n"
            f"  Hold a parameter that the data say nothing of, or start from parameters nearer to the end."
        )

    @classmethod
    def newton(cls, *, what: str, max_steps: int, found: dict[str, Any]) -> Self:
        pairs = ((name, value.tolist() if hasattr(value, "tolist") else value) for name, value in found.items())
        numbers = "; ".join(f"{name}: {value}" for name, value in pairs)
        return cls(
            f"{what} did not converge in {max_steps} safeguarded Newton steps ({numbers}).\n"
            f"  This is a defect of emix: please report it with these numbers."
        )

    @classmethod
    def newton_gain(cls, *, what: str, max_steps: int, gain: float) -> Self:
        return cls.newton(what=what, max_steps=max_steps, found={"still to gain": f"{gain:.3g}"})

    @classmethod
    def constrained(cls, *, what: str, max_iter: int, left: float) -> Self:
        return cls(
            f"the maximum under the constraints on {what} was not found in {max_iter} steps (still to gain: {left:.3g} "
            f"nats).\n  Loosen the constraints, or give the model parameters to start from."
        )


class InvariantError(FitError):
    """A law of EM was violated; the iteration is named. Never passed off as convergence."""

    @classmethod
    def fell(cls, *, iteration: int, before: float, after: float, allowed: float) -> Self:
        return cls(
            f"the objective must never fall.\n  In iteration {iteration} it fell from {before!r} to {after!r}, "
            f"by more than rounding explains ({allowed:.1e}).\n"
            f"  The model's `maximize` does not maximize what its `expect` sums, or the data are too ill-conditioned."
        )

    @classmethod
    def lost_weight(cls, *, iteration: int, counted: float, total: float) -> Self:
        return cls(
            f"the expected counts must add up to the total weight.\n  In iteration {iteration} they add up to "
            f"{counted!r} instead of {total!r}.\n  The model's `expect` loses or invents rows."
        )

    @classmethod
    def statistics_not_finite(cls, *, iteration: int) -> Self:
        return cls(
            f"the expected statistics must be finite.\n  In iteration {iteration} some are not.\n"
            f"  Check the model's `expect`, or the scale of the data."
        )

    @classmethod
    def not_finite(cls, *, iteration: int, found: float) -> Self:
        return cls(
            f"the log-likelihood must be finite.\n  In iteration {iteration} it is {found}.\n"
            f"  Check the model's `expect`, or the scale of the data."
        )
