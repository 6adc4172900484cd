"""Fitted candidates side by side: criteria, the table, and the choice among them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals.stable.v1 as nw

from emix.errors import FitError, ModelError
from emix.frames import frame_of
from emix.markup import html_table, html_text, text_table
from emix.results import FitResult

REPR_LINES = 10
"""Candidates that a console shows."""
NAMED = 3
"""Candidates that are named of those that failed for one reason."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One family with one number of components, and how its fit ended.

    Attributes
    ----------
    family : str
        As text that `families.parse` reads back: `multivariate_normal(structure='VEV')`.
    n_components : int
        K.
    result : FitResult or None
        None where the fit failed, or an interrupt came first.
    error : str
        Why there is no result, or no cross-validated log-likelihood; empty where nothing failed.
    seconds : float
        That the fit took, cross-validation included.
    cross_validated : float or None
        Log-likelihood of all rows, each under the fit to the folds without it; total, weighted, in nats; -inf where a
        row was impossible. None where it was not asked for or failed.
    entropy : float or None
        1 - sum of w r log(1/r) over rows and components / (total weight x log K): 1 where each row's component is
        certain, 0 where nothing is known of it (entropy R2; Ramaswamy et al. 1993). None without a result.
    started_from : str
        The simpler family whose estimates the fit started from, where it did.
    """

    family: str
    n_components: int
    result: FitResult | None = None
    error: str = ""
    seconds: float = 0.0
    cross_validated: float | None = None
    entropy: float | None = None
    started_from: str = ""

    @property
    def converged(self) -> bool:
        """Whether there is a fit, and its stopping rule was met."""
        return self.result is not None and self.result.converged

    def value(self, criterion: str) -> float | None:
        """A criterion of `CRITERIA` by name; None where there is no result or it was not computed.

        Raises
        ------
        ModelError
            The name is unknown.
        """
        if criterion not in CRITERIA:
            raise ModelError.choice(what="criterion", found=criterion, available=CRITERIA)
        return None if self.result is None else CRITERIA[criterion](self)

    def row(self) -> dict[str, Any]:
        """Plain numbers, None where there are none."""
        result = self.result
        own = dict.fromkeys(("log_likelihood", "n_free_parameters", "aic", "aicc", "bic", "sabic", "icl"))
        if result is not None:
            own = {name: getattr(result, name) for name in own}
        return {
            "family": self.family,
            "n_components": self.n_components,
            **own,
            "entropy": self.entropy,
            "cross_validated": self.cross_validated,
            "converged": self.converged,
            "seconds": self.seconds,
            "error": self.error,
        }

    def __str__(self) -> str:
        """Like `2 x normal`."""
        return f"{self.n_components} x {self.family}"

    def __repr__(self) -> str:
        """How it ended too."""
        if self.result is None:
            return f"{self}: {_said_short(self.error)}"
        return f"{self}: log-likelihood {self.result.log_likelihood:,.3f}; {self.result.stop_reason.sentence}"


CRITERIA: dict[str, Callable[[Any], float | None]] = {
    "bic": lambda candidate: candidate.result.bic,
    "aic": lambda candidate: candidate.result.aic,
    "aicc": lambda candidate: candidate.result.aicc,
    "sabic": lambda candidate: candidate.result.sabic,
    "icl": lambda candidate: candidate.result.icl,
    "cross_validated": lambda candidate: candidate.cross_validated,
}
"""Of all the smallest is the best, but of the cross-validated log-likelihood the largest."""


def is_better_smaller(criterion: str) -> bool:
    """Whether the smallest value of a criterion is the best."""
    return criterion != "cross_validated"


@dataclass(frozen=True, eq=False)
class Selection:
    """All candidates and the chosen one.

    Attributes
    ----------
    candidates : tuple of Candidate
        Family by family, and in each by number of components, as they were asked for.
    criterion : str
        That decided.
    is_complete : bool
        False where an interrupt left candidates out; their `error` says so.
    warnings : list of str
        What a statistician would point out about the choice.
    """

    candidates: tuple[Candidate, ...]
    criterion: str = "bic"
    is_complete: bool = True
    warnings: list[str] = field(default_factory=list)

    def ranked(self, criterion: str | None = None) -> list[Candidate]:
        """Candidates that can be chosen, best first: those that converged; where none did, those with a result.

        Raises
        ------
        ModelError
            The criterion is unknown.
        """
        name = self.criterion if criterion is None else criterion
        sign = 1 if is_better_smaller(name) else -1
        values = [(one, one.value(name)) for one in self.candidates]
        finite = [(sign * value, one) for one, value in values if value is not None and math.isfinite(value)]
        ended = [pair for pair in finite if pair[1].converged] or finite
        return [one for _, one in sorted(ended, key=lambda pair: pair[0])]

    def _repr_html_(self) -> str:
        """For notebooks: the candidates, best first, and what failed."""
        notes = [*self.failures(), *(f"Warning: {text}" for text in self.warnings)]
        return html_table(*self._table(), "Candidates") + "".join(html_text(note) for note in notes)

    def __repr__(self) -> str:
        """The best candidates as a table, why one was chosen, and what failed."""
        head, rows = self._table()
        lines = [text_table(head, rows[:REPR_LINES])]
        lines += [f"... and {len(rows) - REPR_LINES} more; to_frame() has all of them"] * (len(rows) > REPR_LINES)
        return "\n".join([*lines, str(self)])

    def _table(self) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Titles, and a line for each candidate that can be chosen, best first."""
        head = ("family", "K", "log-likelihood", "free", title_of(self.criterion), "converged")
        rows: list[Sequence[str]] = []
        for one in self.ranked():
            assert one.result is not None  # of what can be chosen
            numbers = (one.result.log_likelihood, one.value(self.criterion))
            log_likelihood, value = (f"{number:,.3f}" for number in numbers)
            n_free, converged = str(one.result.n_free_parameters), "yes" if one.converged else "no"
            rows.append((one.family, str(one.n_components), log_likelihood, n_free, value, converged))
        return head, rows

    def failures(self) -> list[str]:
        """A sentence for each reason for which candidates have no result, naming them; empty where none failed."""
        by_reason: dict[str, list[str]] = {}
        for one in self.candidates:
            if one.error:
                by_reason.setdefault(_said_short(one.error), []).append(str(one))
        found = []
        for reason, names in by_reason.items():
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            found.append(f"{', '.join(names[:NAMED])}{more} failed: {reason}")
        return found

    @property
    def best(self) -> Candidate:
        """The chosen candidate.

        Raises
        ------
        FitError
            No candidate has a value of the criterion.
        """
        ranked = self.ranked()
        if not ranked:
            errors = [one.error for one in self.candidates if one.error]
            raise FitError.no_candidate(n_candidates=len(self.candidates), criterion=self.criterion, first=errors[:1])
        return ranked[0]

    @property
    def result(self) -> FitResult:
        """The fit of the chosen candidate."""
        best = self.best
        assert best.result is not None  # of every candidate that can be chosen
        return best.result

    @property
    def reason(self) -> str:
        """Why the best was chosen, in a sentence."""
        ranked, name = self.ranked(), title_of(self.criterion)
        best = self.best
        text = f"{best} has the {'smallest' if is_better_smaller(self.criterion) else 'largest'} {name}"
        if len(ranked) > 1:
            behind = abs(float(ranked[1].value(self.criterion) or 0.0) - float(best.value(self.criterion) or 0.0))
            text += f"; the next, {ranked[1]}, is {behind:.4g} away"
        return f"{text}."

    def rows(self) -> list[dict[str, Any]]:
        """The table: one dict per candidate with its criteria; None where there is no number."""
        return [one.row() for one in self.candidates]

    def to_frame(self, library: str | None = None) -> Any:
        """The table as a data frame of pandas, polars or pyarrow: by default of the library of the data.

        Raises
        ------
        ModelError
            The library is unknown or not installed.
        """
        rows = self.rows()
        types: dict[str, Any] = dict.fromkeys(rows[0], nw.Float64())
        types |= {"family": nw.String(), "error": nw.String(), "converged": nw.Boolean()}
        types |= {"n_components": nw.Int64(), "n_free_parameters": nw.Float64() if _has_gaps(rows) else nw.Int64()}
        of_fits = next((one.result.library for one in self.candidates if one.result is not None), None)
        return frame_of({name: [row[name] for row in rows] for name in types}, types, library or of_fits)

    def __str__(self) -> str:
        """The reason, and what is missing."""
        reason = self.reason if self.ranked() else "No candidate can be chosen."
        if not self.is_complete:
            reason += " Interrupted: some candidates are missing."
        return "\n".join([reason, *self.failures()])


def _said_short(error: str) -> str:
    """The first sentence of an error: what is required, or what happened."""
    return error.split("\n")[0].strip()


def _has_gaps(rows: list[dict[str, Any]]) -> bool:
    return any(row["n_free_parameters"] is None for row in rows)


def title_of(criterion: str) -> str:
    """A criterion's name for people."""
    return {"cross_validated": "cross-validated log-likelihood", "aicc": "AICc"}.get(criterion, criterion.upper())


def short_names(families: Iterable[str]) -> dict[str, str]:
    """Each family's name for people, by its own: its structure alone where the families differ in nothing else."""
    names = list(dict.fromkeys(families))
    found = [re.fullmatch(r"(\w+)(?:\(structure='([^']+)'\))?", name) for name in names]
    is_structure_alone = len(names) > 1 and all(found) and len({one[1] for one in found if one is not None}) == 1

    def short(name: str, one: re.Match[str] | None) -> str:
        if one is None:
            return name
        return one[2] or "full" if is_structure_alone else " ".join(part for part in one.groups() if part)

    return {name: short(name, one) for name, one in zip(names, found, strict=True)}


def pointed_out(selection: Selection) -> list[str]:
    """What a statistician would say about the choice."""
    found: list[str] = []
    ranked = selection.ranked()
    if not ranked:
        return found
    best = ranked[0]
    if not best.converged:
        found.append(
            "no candidate converged: the choice is among fits whose stopping rule was not met. Raise max_iter."
        )
    most = max(one.n_components for one in selection.candidates)
    numbers = {one.n_components for one in selection.candidates}
    if best.n_components == most and len(numbers) > 1:
        found.append(f"the best has {most} components, the most that were asked for: more may be better still.")
    better = _better_but_unconverged(selection, best)
    if better:
        found.append(
            f"{better[0]} would be better by this criterion, but did not converge: it was not chosen. Raise max_iter."
        )
    return found


def _better_but_unconverged(selection: Selection, best: Candidate) -> list[Candidate]:
    sign = 1 if is_better_smaller(selection.criterion) else -1
    limit = sign * float(best.value(selection.criterion) or 0.0)
    values = [(one, one.value(selection.criterion)) for one in selection.candidates if not one.converged]
    return [one for one, value in values if value is not None and sign * value < limit and one is not best]
