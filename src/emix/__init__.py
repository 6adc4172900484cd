"""emix: latent-variable models fitted by expectation maximization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emix.block import Chunk, Expectation
from emix.errors import (
    ConvergenceWarning,
    DataError,
    DegenerateError,
    EmixError,
    EmixWarning,
    FileError,
    FitError,
    InvariantError,
    ModelError,
)
from emix.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Geometric,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
)
from emix.fitting import EStep, e_step, fit, predict, sample, score_samples
from emix.fitting.use import responsibilities
from emix.model import Mixture
from emix.persistence import load, save
from emix.results import FitResult, StopReason

if TYPE_CHECKING:
    from emix.estimators import GaussianMixture, MixtureModel

__version__ = "0.1.0"

_LAZY = {"GaussianMixture": "emix.estimators", "MixtureModel": "emix.estimators"}
"""Names whose module imports scikit-learn, which takes longer than the rest together."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'emix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Chunk",
    "ConvergenceWarning",
    "DataError",
    "DegenerateError",
    "EStep",
    "EmixError",
    "EmixWarning",
    "Expectation",
    "Exponential",
    "FileError",
    "FitError",
    "FitResult",
    "Gamma",
    "GaussianMixture",
    "Geometric",
    "InvariantError",
    "LogNormal",
    "Mixture",
    "MixtureModel",
    "ModelError",
    "Multinomial",
    "MultivariateNormal",
    "Normal",
    "Poisson",
    "StopReason",
    "e_step",
    "fit",
    "load",
    "predict",
    "responsibilities",
    "sample",
    "save",
    "score_samples",
]
