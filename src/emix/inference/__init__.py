"""After the fit: how sure it is, tests, diagnosis; parts of a mixture given others, predictions, separation, frames."""

from emix.inference.bootstrap import Bootstrap, bootstrap
from emix.inference.boxes import interval_probability
from emix.inference.candidates import Candidate, Selection
from emix.inference.conditional import condition, marginal, predict_given
from emix.inference.diagnosis import Diagnosis, Finding, diagnose
from emix.inference.estimates import Estimate
from emix.inference.frames import responsibilities_frame, to_frame
from emix.inference.goodness import quantile_residuals
from emix.inference.selection import select
from emix.inference.separation import Merging, merge_components, separation
from emix.inference.tables import TableFit, bivariate_residuals, item_names, table_fit
from emix.inference.tests import LikelihoodRatioTest, WaldTest, likelihood_ratio_test, wald_test
from emix.inference.uncertainty import Uncertainty, standard_errors

__all__ = [
    "Bootstrap",
    "Candidate",
    "Diagnosis",
    "Estimate",
    "Finding",
    "LikelihoodRatioTest",
    "Merging",
    "Selection",
    "TableFit",
    "Uncertainty",
    "WaldTest",
    "bivariate_residuals",
    "bootstrap",
    "condition",
    "diagnose",
    "interval_probability",
    "item_names",
    "likelihood_ratio_test",
    "marginal",
    "merge_components",
    "predict_given",
    "quantile_residuals",
    "responsibilities_frame",
    "select",
    "separation",
    "standard_errors",
    "table_fit",
    "to_frame",
    "wald_test",
]
