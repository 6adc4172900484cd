"""Fits that are killed at random moments and begun again: `python -m benchmarks.kills [KILLS]`.

Each run of a fit with a checkpoint is killed (SIGKILL) a random time after its first pass, and begun anew until it
ends;
the result must have the bits of a fit that was never killed. Prints a line per kind of model.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import emix
from emix.em import checkpoint as checkpoints

KINDS = ("gaussian", "common axes", "student", "counts", "categories", "far apart", "own model")
EVERY = 0.01
"""Seconds between two writings here, so that there are many states to go on from."""


def problem(kind: str) -> tuple[Any, Any]:
    """A model and data that take some dozens of passes."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(600, 3)), rng.normal(size=(600, 3)) @ (np.eye(3) * 0.5 + 0.2) + 1.5])
    counts = np.floor(np.abs(x) * 3)
    if kind == "far apart":
        return emix.Mixture(emix.Normal(), 2), np.concatenate([1e-3 * x[:600, 0], 1e6 + x[600:, 0]])
    if kind == "own model":
        sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
        from linkage import Linkage

        return Linkage(0.2), [[125.0, 18.0, 20.0, 34.0]]
    return {
        "gaussian": (emix.Mixture(emix.MultivariateNormal(), 3), x),
        "common axes": (emix.Mixture(emix.MultivariateNormal(structure="EVE"), 2), x),
        "student": (emix.Mixture(emix.StudentT(), 2), x),
        "counts": (emix.Mixture(emix.NegativeBinomial(), 2), counts[::4]),
        "categories": (emix.Mixture(emix.Categorical(), 3), counts),
    }[kind]


def fitted(kind: str, path: str | None, *, is_killed: bool, n_jobs: int = 2) -> str:
    """A digest of all bits of the result; with `is_killed` a timer is set at the first pass."""
    checkpoints.EVERY = EVERY
    model, data = problem(kind)
    timer = threading.Timer(random.uniform(0, 0.15), lambda: os.kill(os.getpid(), signal.SIGKILL))
    timer.daemon = True

    def tell(_: Any) -> None:
        if is_killed and not timer.is_alive() and timer.ident is None:
            timer.start()
        time.sleep(0.002)

    how: dict[str, Any] = {"n_init": 4, "tol": 1e-9} if isinstance(model, emix.Mixture) else {"tol": 1e-9}
    result = emix.fit(model, data, random_state=3, n_jobs=n_jobs, checkpoint=path, on_iteration=tell, **how)
    parameters = result.model.parameters if hasattr(result.model, "parameters") else vars(result.model)
    arrays = [a for v in parameters.values() for a in (v if isinstance(v, tuple) else (v,))]
    found = [result.log_likelihood.hex(), result.n_iter, *(np.asarray(a).tobytes().hex() for a in arrays)]
    found += [start.log_likelihood.hex() for start in result.starts]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def one_run(kind: str, path: str, seed: int, is_killed: bool, answer: Any) -> None:
    """A fit in a process of its own, that may not live to answer."""
    random.seed(seed)
    answer.send(fitted(kind, path, is_killed=is_killed))


def survives(kind: str, n_kills: int, seed: int) -> tuple[int, bool]:
    """Fits that were killed so often in all: how often they were, and whether each ended with the same bits."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.kills", "emix.fitting", "emix.cli.commands"])
    want, killed, same, turn = fitted(kind, None, is_killed=False), 0, True, 0
    with tempfile.TemporaryDirectory() as folder:
        while killed < n_kills:
            path, is_over = f"{folder}/{turn}.ckpt", False
            turn += 1
            while not is_over:
                seed += 1
                ours, theirs = context.Pipe(duplex=False)
                run = context.Process(target=one_run, args=(kind, path, seed, killed < n_kills, theirs))
                run.start()
                theirs.close()
                run.join()
                if run.exitcode == -signal.SIGKILL:
                    killed += 1
                elif run.exitcode:
                    raise RuntimeError(f"a run of {kind} ended with {run.exitcode}")
                else:
                    same, is_over = same and ours.recv() == want, True
                ours.close()
    return killed, same


def main(arguments: list[str]) -> None:
    """All kinds of models by turns."""
    total = int(arguments[0]) if arguments else 200
    print("| model | kills | the same bits |\n| --- | --- | --- |")
    for i, kind in enumerate(KINDS):
        share = total // len(KINDS) + (i < total % len(KINDS))
        killed, same = survives(kind, share, 1000 * i)
        print(f"| {kind} | {killed} | {'yes' if same else 'NO'} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
