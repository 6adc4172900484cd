"""emix: latent-variable models fitted by expectation maximization."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emix import plot
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
        BetaPrior,
        Binomial,
        Categorical,
        CensoredExponential,
        CensoredWeibull,
        Columns,
        ConjugatePrior,
        DirichletPrior,
        Exponential,
        FactorAnalytic,
        Gamma,
        GammaPrior,
        GammaRowsPrior,
        Geometric,
        InverseGaussian,
        LogNormal,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        Normal,
        NormalInverseGammaPrior,
        Poisson,
        ScipyDistribution,
        StudentT,
        TruncatedPoisson,
        VonMises,
        ZeroInflatedPoisson,
    )
    from emix.fitting import (
        EStep,
        OnlineEM,
        e_step,
        fit,
        impute,
        predict,
        responsibilities,
        sample,
        score_samples,
    )
    from emix.inference import (
        Bootstrap,
        Candidate,
        Diagnosis,
        Estimate,
        Finding,
        LikelihoodRatioTest,
        Merging,
        Selection,
        TableFit,
        Uncertainty,
        WaldTest,
        bivariate_residuals,
        bootstrap,
        condition,
        diagnose,
        interval_probability,
        likelihood_ratio_test,
        marginal,
        merge_components,
        predict_given,
        quantile_residuals,
        responsibilities_frame,
        select,
        separation,
        standard_errors,
        table_fit,
        to_frame,
        wald_test,
    )
    from emix.model import (
        Mixture,
    )
    from emix.persistence import (
        load,
        save,
    )
    from emix.report.html import (
        write_report,
    )
    from emix.results import (
        FitResult,
        StopReason,
        load_result,
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
        "BetaPrior DirichletPrior GammaPrior GammaRowsPrior NormalInverseGammaPrior "
        "NegativeBinomial Normal Poisson ScipyDistribution StudentT TruncatedPoisson VonMises ZeroInflatedPoisson "
    ),
    "emix.fitting": "EStep OnlineEM e_step fit impute predict responsibilities sample score_samples",
    "emix.inference": (
        "Bootstrap Candidate Diagnosis Estimate Finding LikelihoodRatioTest Merging Selection TableFit Uncertainty "
        "WaldTest bivariate_residuals bootstrap condition diagnose interval_probability likelihood_ratio_test marginal "
        "merge_components predict_given quantile_residuals responsibilities_frame select separation standard_errors "
        "table_fit to_frame wald_test "
    ),
    "emix.model": "Mixture",
    "emix.persistence": "load save",
    "emix.report.html": "write_report",
    "emix.results": "FitResult StopReason load_result",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the command line's --help needs none of them."""
    if name == "plot":
        return import_module("emix.plot")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'emix' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, and nothing that happens to be imported."""
    return sorted([*__all__, "__version__", "plot"])


__all__ = [
    "Bernoulli",
    "Beta",
    "BetaPrior",
    "Binomial",
    "Bootstrap",
    "Candidate",
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
    "Diagnosis",
    "DirichletPrior",
    "EStep",
    "EmixError",
    "EmixWarning",
    "Estimate",
    "Expectation",
    "Exponential",
    "FactorAnalytic",
    "FileError",
    "Finding",
    "FitError",
    "FitResult",
    "Gamma",
    "GammaPrior",
    "GammaRowsPrior",
    "GaussianMixture",
    "Geometric",
    "InvariantError",
    "InverseGaussian",
    "LatentClassAnalysis",
    "LikelihoodRatioTest",
    "LogNormal",
    "Merging",
    "Mixture",
    "MixtureModel",
    "ModelError",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "NormalInverseGammaPrior",
    "OnlineEM",
    "Poisson",
    "Scan",
    "ScipyDistribution",
    "Selection",
    "StopReason",
    "StudentT",
    "TableFit",
    "TruncatedPoisson",
    "Uncertainty",
    "VonMises",
    "WaldTest",
    "ZeroInflatedPoisson",
    "bivariate_residuals",
    "bootstrap",
    "condition",
    "diagnose",
    "e_step",
    "fit",
    "impute",
    "interval_probability",
    "likelihood_ratio_test",
    "load",
    "load_result",
    "marginal",
    "merge_components",
    "plot",
    "predict",
    "predict_given",
    "quantile_residuals",
    "responsibilities",
    "responsibilities_frame",
    "sample",
    "save",
    "scan",
    "score_samples",
    "select",
    "separation",
    "standard_errors",
    "table_fit",
    "to_frame",
    "wald_test",
    "write_report",
]
