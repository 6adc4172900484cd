"""The peers, each given the same start and the same work; those that are not installed are left out."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import emix

Run = Callable[[], float | tuple[float, float]]
"""Does the work; returns the log-likelihood, and the seconds where only a part of the call is the work."""


def _sklearn(x: np.ndarray, means: np.ndarray, covariance: np.ndarray, kind: str, **options: Any) -> Any:
    from sklearn.mixture import GaussianMixture

    K = len(means)
    precision = np.linalg.inv(covariance)
    start = np.repeat(precision[None], K, 0) if kind == "full" else np.repeat(np.diag(precision)[None], K, 0)
    return GaussianMixture(
        K, covariance_type=kind, weights_init=np.full(K, 1 / K), means_init=means, precisions_init=start, **options
    )


def gaussian(x: np.ndarray, means: np.ndarray, covariance: np.ndarray, kind: str, *, iterations: int) -> dict[str, Run]:
    """A fixed number of iterations."""

    def sklearn() -> float:
        model = _sklearn(x, means, covariance, kind, max_iter=iterations, tol=0.0, reg_covar=0.0).fit(x)
        return float(model.lower_bound_ * len(x))

    found: dict[str, Run] = {"scikit-learn": sklearn}
    if kind == "full":
        program = armadillo()
        if program is not None:
            found["Armadillo"] = lambda: _run_armadillo(program, x, means, covariance, iterations)
    return found


def gaussian_to(x: np.ndarray, means: np.ndarray, covariance: np.ndarray, target: float) -> dict[str, Run]:
    """Scikit-learn at the tolerance that it needs to reach a log-likelihood.

    Both take the same plain steps, so ours tell at which iteration that is, and what the gain per row is there.
    """
    family = emix.MultivariateNormal(means, np.repeat(covariance[None], len(means), 0))
    plain = {"accelerate": False, "tol": 1e-9 * len(x), "max_iter": 20_000, "n_jobs": -1}
    history = emix.fit(emix.Mixture(family), x, **plain).history
    reached = next((record for record in history[1:] if record.log_likelihood >= target), history[-1])
    tol = max(reached.gain / len(x), 1e-15)

    def run() -> float:
        options = {"tol": tol, "max_iter": 100_000, "reg_covar": 0.0}
        return float(_sklearn(x, means, covariance, "full", **options).fit(x).lower_bound_ * len(x))

    return {f"scikit-learn, tol={tol:.0e}, {reached.iteration} iterations": run}


def items(x: np.ndarray, start: np.ndarray, *, iterations: int) -> dict[str, Run]:
    """StepMix takes no start parameters: its own random start, the same number of iterations of the same size."""
    if find_spec("stepmix") is None:
        return {}
    from stepmix.stepmix import StepMix

    def stepmix() -> float:
        model = StepMix(
            n_components=len(start),
            measurement="binary_nan" if np.isnan(x).any() else "binary",
            max_iter=iterations,
            abs_tol=0.0,
            rel_tol=0.0,
            progress_bar=0,
            random_state=0,
        )
        return float(model.fit(x).score(x) * len(x))

    return {"StepMix (its own start)": stepmix}


def counts(x: np.ndarray, rates: list[float], *, iterations: int) -> dict[str, Run]:
    """Pomegranate's general mixture."""
    if find_spec("pomegranate") is None:
        return {}
    import torch
    from pomegranate.distributions import Poisson
    from pomegranate.gmm import GeneralMixtureModel

    data = torch.tensor(x)

    def pomegranate() -> float:
        parts = [Poisson(torch.tensor([rate], dtype=torch.float64)) for rate in rates]
        priors = torch.full((len(rates),), 1 / len(rates), dtype=torch.float64)
        model = GeneralMixtureModel(parts, priors=priors, max_iter=iterations, tol=-1e300)
        model.fit(data)
        return float(model.log_probability(data).sum())

    return {"pomegranate": pomegranate}


@functools.cache
def armadillo() -> Path | None:
    """The C++ program, compiled, where a compiler and the library are present."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    source = Path(__file__).parent / "armadillo_gmm.cpp"
    program = Path(tempfile.gettempdir()) / "emix_armadillo_gmm"
    command = [compiler, "-O3", "-march=native", "-fopenmp", str(source), "-o", str(program), "-larmadillo"]
    built = subprocess.run(command, capture_output=True, check=False)
    return program if built.returncode == 0 else None


def _run_armadillo(
    program: Path, x: np.ndarray, means: np.ndarray, covariance: np.ndarray, iterations: int
) -> tuple[float, float]:
    """Only the program's own clock counts, not the files through which the data go."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in (("x", x), ("means", means), ("covariance", covariance)):
            np.ascontiguousarray(array).tofile(Path(folder) / name)
        sizes = [str(size) for size in (*x.shape, len(means), iterations)]
        out = subprocess.run([program, folder, *sizes], capture_output=True, text=True, check=True).stdout
    seconds, log_likelihood = map(float, out.split())
    return log_likelihood, seconds
