"""Fits that are killed at random moments and begun again: `python -m benchmarks.kills [KILLS]`.

Each run of a fit with a checkpoint is killed (SIGKILL) a random time after its first pass, and begun anew until it
ends;
the result must have the bits of a fit that was never killed. Prints a line per kind of model.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
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
        "counts": (emix.Mixture(emix.NegativeBinomial(), 2), counts),
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


def survives(kind: str, n_kills: int, seed: int) -> tuple[int, bool]:
    """Fits that were killed so often in all: how often they were, and whether each ended with the same bits."""
    want, killed, same = fitted(kind, None, is_killed=False), 0, True
    with tempfile.TemporaryDirectory() as folder:
        turn = 0
        while killed < n_kills:
            path = f"{folder}/{turn}.ckpt"
            turn += 1
            while True:
                seed += 1
                own = ["--one", kind, path, str(seed), "1" if killed < n_kills else "0"]
                run = subprocess.run([sys.executable, "-m", "benchmarks.kills", *own], capture_output=True, text=True)
                if run.returncode == -signal.SIGKILL:
                    killed += 1
                    continue
                if run.returncode:
                    raise RuntimeError(run.stderr)
                same = same and run.stdout.strip() == want
                break
    return killed, same


def main(arguments: list[str]) -> None:
    """Run, or be one of the runs."""
    if arguments[:1] == ["--one"]:
        kind, path, seed, is_killed = arguments[1:]
        random.seed(int(seed))
        print(fitted(kind, path, is_killed=is_killed == "1"))
        return
    total = int(arguments[0]) if arguments else 200
    print("| model | kills | the same bits |\n| --- | --- | --- |")
    for i, kind in enumerate(KINDS):
        share = total // len(KINDS) + (i < total % len(KINDS))
        killed, same = survives(kind, share, 1000 * i)
        print(f"| {kind} | {killed} | {'yes' if same else 'NO'} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
