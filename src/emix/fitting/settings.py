"""How runs go: the arguments of a fit that say so, checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emix.em.acceleration import ACCELERATORS, Accelerator
from emix.em.stopping import StoppingRule, stopping_rule
from emix.errors import ModelError
from emix.fitting.blocking import BATCH, Blocking


@dataclass(frozen=True)
class Settings:
    """How runs go: `fit` says what each means; `accelerator` makes one for each run, None for plain EM."""

    rule: StoppingRule
    max_iter: int
    n_init: int
    n_jobs: int
    seed: int
    accelerator: Callable[[], Accelerator] | None
    blocks: Blocking = BATCH


def make_settings(
    *,
    stop: str | StoppingRule = "aitken",
    tol: float | None = None,
    max_iter: int = 10_000,
    n_init: int = 10,
    n_jobs: int | None = None,
    random_state: Any = None,
    accelerate: bool | str = True,
) -> Settings:
    """The arguments of `fit` that say how runs go, checked.

    Raises
    ------
    ModelError
        One of them cannot be.
    """
    return Settings(
        stopping_rule(stop, tol),
        whole_number("max_iter", max_iter, least=0),
        whole_number("n_init", n_init, least=1),
        n_threads(n_jobs),
        draw_seed(random_state),
        acceleration(accelerate if stop != "iterations" else False),
    )


def acceleration(accelerate: bool | str) -> Callable[[], Accelerator] | None:
    """What makes an accelerator for each run; None for plain EM.

    Raises
    ------
    ModelError
        The name is unknown.
    """
    if accelerate is False or accelerate is None:
        return None
    name = "daarem" if accelerate is True else accelerate
    if name not in ACCELERATORS:
        raise ModelError.choice(what="acceleration", found=name, available=ACCELERATORS)
    return ACCELERATORS[name]


def whole_number(name: str, value: Any, *, least: int) -> int:
    """An argument that must be a whole number.

    Raises
    ------
    ModelError
        It is not, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ModelError.argument(name=name, requirement=f"a whole number >= {least}", found=value)
    return int(value)


def n_threads(n_jobs: Any) -> int:
    """Number of threads as scikit-learn counts them: None is 1, -1 all cores, -2 all but one."""
    if n_jobs is None:
        return 1
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0:
        raise ModelError.argument(name="n_jobs", requirement="None or a whole number other than 0", found=n_jobs)
    return int(n_jobs) if n_jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + int(n_jobs))


def draw_seed(random_state: Any) -> int:
    """A seed from what scikit-learn calls a random state; drawn afresh for None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return whole_number("random_state", random_state, least=0)
