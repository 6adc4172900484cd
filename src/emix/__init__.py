"""emix: latent-variable models fitted by expectation maximization."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emix.block import (
        Chunk,
        Expectation,
    )
    from emix.data.scan import (
        Scan,
    )
    from emix.data.scan_readers import (
        scan,
    )
    from emix.errors import (
        ClusterError,
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
    from emix.estimators import (
        GaussianMixture,
        LatentClassAnalysis,
        MixtureModel,
    )
    from emix.families import (
        Bernoulli,
        Beta,
        Binomial,
        Categorical,
        CensoredExponential,
        CensoredWeibull,
        Columns,
        ConjugatePrior,
        Exponential,
        FactorAnalytic,
        Gamma,
        Geometric,
        InverseGaussian,
        LogNormal,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        Normal,
        Poisson,
        StudentT,
        TruncatedPoisson,
        VonMises,
        ZeroInflatedPoisson,
    )
    from emix.fitting import (
        EStep,
        e_step,
        fit,
        impute,
        predict,
        responsibilities,
        sample,
        score_samples,
    )
    from emix.inference import (
        Merging,
        TableFit,
        bivariate_residuals,
        condition,
        interval_probability,
        marginal,
        merge_components,
        predict_given,
        responsibilities_frame,
        separation,
        table_fit,
        to_frame,
    )
    from emix.model import (
        Mixture,
    )
    from emix.persistence import (
        load,
        save,
    )
    from emix.results import (
        FitResult,
        StopReason,
    )

__version__ = "0.1.0"

_HOMES = {
    "emix.block": "Chunk Expectation",
    "emix.data.scan": "Scan",
    "emix.data.scan_readers": "scan",
    "emix.errors": (
        "ClusterError ConvergenceWarning DataError DegenerateError EmixError EmixWarning FileError FitError "
        "InvariantError ModelError "
    ),
    "emix.estimators": "GaussianMixture LatentClassAnalysis MixtureModel",
    "emix.families": (
        "Bernoulli Beta Binomial Categorical CensoredExponential CensoredWeibull Columns ConjugatePrior Exponential "
        "FactorAnalytic Gamma Geometric InverseGaussian LogNormal Multinomial MultivariateNormal "
        "NegativeBinomial Normal Poisson StudentT TruncatedPoisson VonMises ZeroInflatedPoisson "
    ),
    "emix.fitting": "EStep e_step fit impute predict responsibilities sample score_samples",
    "emix.inference": (
        "Merging TableFit bivariate_residuals condition interval_probability marginal merge_components "
        "predict_given responsibilities_frame separation table_fit to_frame "
    ),
    "emix.model": "Mixture",
    "emix.persistence": "load save",
    "emix.results": "FitResult StopReason",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the command line's --help needs none of them."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'emix' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "CensoredExponential",
    "CensoredWeibull",
    "Chunk",
    "ClusterError",
    "Columns",
    "ConjugatePrior",
    "ConvergenceWarning",
    "DataError",
    "DegenerateError",
    "EStep",
    "EmixError",
    "EmixWarning",
    "Expectation",
    "Exponential",
    "FactorAnalytic",
    "FileError",
    "FitError",
    "FitResult",
    "Gamma",
    "GaussianMixture",
    "Geometric",
    "InvariantError",
    "InverseGaussian",
    "LatentClassAnalysis",
    "LogNormal",
    "Merging",
    "Mixture",
    "MixtureModel",
    "ModelError",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Scan",
    "StopReason",
    "StudentT",
    "TableFit",
    "TruncatedPoisson",
    "VonMises",
    "ZeroInflatedPoisson",
    "bivariate_residuals",
    "condition",
    "e_step",
    "fit",
    "impute",
    "interval_probability",
    "load",
    "marginal",
    "merge_components",
    "predict",
    "predict_given",
    "responsibilities",
    "responsibilities_frame",
    "sample",
    "save",
    "scan",
    "score_samples",
    "separation",
    "table_fit",
    "to_frame",
]
