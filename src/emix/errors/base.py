"""The parents of every error and warning, and the warnings."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], limit: int = 24) -> str:
    """Names in quotes, in a line: `'a', 'b', 'c' (and 4 more)`."""
    shown = [repr(str(name)) for name in names]
    more = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" (and {more} more)" if more > 0 else "")


class EmixError(Exception):
    """The parent of every error that emix raises on purpose."""


class EmixWarning(UserWarning):
    """The parent of every warning of emix."""


class ConvergenceWarning(EmixWarning):
    """The fit ended before its stopping rule was met."""


class ImputationWarning(EmixWarning):
    """Cells stay missing, as nothing that was observed tells them."""

    @classmethod
    def left(cls, columns: Iterable[str]) -> ImputationWarning:
        """Which, and why."""
        return cls(
            f"cells of {listed(columns)} stay missing: numbers of tosses, totals of counts and times of censoring are "
            f"not modelled, and what depends on them cannot be told without them."
        )


class CheckpointWarning(EmixWarning):
    """A checkpoint could not be written; the fit goes on without it."""
