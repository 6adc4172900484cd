"""Processes beside this one, for many short tasks, most of which is Python: its lock keeps threads on one processor.

Joblib's workers begin without running the user's script again, and stay for the next call.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds of work in this process before others are started, which takes them about as long."""
WORTHWHILE = 4
"""Tasks that must be left then."""
MOST = 16
"""Processes at most: each holds some 150 MB of libraries."""


class Crew:
    """Does tasks in this process, and once that has taken a while, in others as well.

    Parameters
    ----------
    n_processes : int
        With 1 all is done here.
    """

    def __init__(self, n_processes: int) -> None:
        self.n_processes = min(n_processes, MOST)
        self.seconds = 0.0

    def each(
        self, here: Callable[[Any], T], apart: Callable[[Any], T], tasks: Sequence[Any]
    ) -> Generator[tuple[int, T]]:
        """Each task's number and what comes of it, as they are done: by `here`, or in other processes by `apart`.

        The latter and its tasks are pickled on their way.
        """
        for i, task in enumerate(tasks):
            if self.n_processes > 1 and self.seconds > PATIENCE and len(tasks) - i >= WORTHWHILE:
                yield from _apart(apart, list(enumerate(tasks))[i:], self.n_processes)
                return
            began = time.perf_counter()
            done = here(task)
            self.seconds += time.perf_counter() - began
            yield i, done


def _apart(fn: Callable[[Any], T], numbered: Sequence[tuple[int, Any]], n_processes: int) -> Generator[tuple[int, T]]:
    from joblib import Parallel, delayed  # 0.2 s, which a fit of one model need not wait for

    crew = Parallel(n_jobs=min(n_processes, len(numbered)), return_as="generator_unordered", batch_size=1)
    done = crew(delayed(_numbered)(fn, i, task) for i, task in numbered)
    try:
        for pair in done:  # noqa: UP028 - `yield from` would close it before the warning is silenced
            yield pair
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that tasks are cancelled is what an interrupt asks for
            done.close()


def _numbered(fn: Callable[[Any], T], i: int, task: Any) -> tuple[int, T]:
    return i, fn(task)
