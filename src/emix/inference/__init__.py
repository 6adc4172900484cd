"""After the fit: parts of a mixture given others, predictions, how far components lie apart, fit of tables, frames."""

from emix.inference.conditional import condition, interval_probability, marginal, predict_given
from emix.inference.frames import responsibilities_frame, to_frame
from emix.inference.separation import Merging, merge_components, separation
from emix.inference.tables import TableFit, bivariate_residuals, table_fit
from emix.inference.uncertainty import Estimate, Uncertainty, standard_errors

__all__ = [
    "Estimate",
    "Merging",
    "TableFit",
    "Uncertainty",
    "bivariate_residuals",
    "condition",
    "interval_probability",
    "marginal",
    "merge_components",
    "predict_given",
    "responsibilities_frame",
    "separation",
    "standard_errors",
    "table_fit",
    "to_frame",
]
