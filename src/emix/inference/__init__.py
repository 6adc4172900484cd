"""After the fit: how sure it is, tests, diagnosis; parts of a mixture given others, predictions, separation, frames."""

from emix.inference.bootstrap import Bootstrap, bootstrap
from emix.inference.conditional import condition, interval_probability, marginal, predict_given
from emix.inference.diagnosis import Diagnosis, Finding, diagnose
from emix.inference.frames import responsibilities_frame, to_frame
from emix.inference.goodness import quantile_residuals
from emix.inference.separation import Merging, merge_components, separation
from emix.inference.tables import TableFit, bivariate_residuals, table_fit
from emix.inference.tests import LikelihoodRatioTest, WaldTest, likelihood_ratio_test, wald_test
from emix.inference.uncertainty import Estimate, Uncertainty, standard_errors

__all__ = [
    "Bootstrap",
    "Diagnosis",
    "Estimate",
    "Finding",
    "LikelihoodRatioTest",
    "Merging",
    "TableFit",
    "Uncertainty",
    "WaldTest",
    "bivariate_residuals",
    "bootstrap",
    "condition",
    "diagnose",
    "interval_probability",
    "likelihood_ratio_test",
    "marginal",
    "merge_components",
    "predict_given",
    "quantile_residuals",
    "responsibilities_frame",
    "separation",
    "standard_errors",
    "table_fit",
    "to_frame",
    "wald_test",
]
