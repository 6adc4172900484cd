"""What a terminal shows while a fit runs: nothing for the first second, then start, iteration and log-likelihood."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emix.fitting import Pass

if TYPE_CHECKING:
    from emix.inference.selection import Finished

PATIENCE = 1.0
"""Seconds before anything is shown."""


class Progress:
    """A line on stderr, only on a terminal; called by `fit` after each pass, from any thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._status: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __call__(self, one: Pass) -> None:
        """Show a pass."""
        if not sys.stderr.isatty() or time.monotonic() - self._began < PATIENCE:
            return
        message = (
            f"start {one.start + 1} of {one.n_starts}, iteration {one.record.iteration}, log-likelihood "
            f"{one.record.log_likelihood:.6f}, gain {one.record.gain:.1e}, {time.monotonic() - self._began:.0f} s"
        )
        with self._lock:
            if self._status is None:
                from rich.console import Console

                self._status = Console(stderr=True).status(message)
                self._status.start()
            self._status.update(message)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()


class Bar:
    """How many candidates of a model choice have ended, on stderr and only on a terminal, after the first second."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, one: Finished) -> None:
        """Show that a candidate has ended."""
        if not sys.stderr.isatty() or time.monotonic() - self._began < PATIENCE:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=one.n_candidates)
            self._bar.start()
        text = f"{one.n_finished} of {one.n_candidates} candidates; last {one.candidate}"
        self._bar.update(self._task, completed=one.n_finished, description=text)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
