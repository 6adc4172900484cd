"""After the fit: parts of a mixture given others, predictions, how far components lie apart, fit of tables, frames."""

from emix.inference.boxes import interval_probability
from emix.inference.candidates import Candidate, Selection
from emix.inference.conditional import condition, marginal, predict_given
from emix.inference.frames import responsibilities_frame, to_frame
from emix.inference.selection import select
from emix.inference.separation import Merging, merge_components, separation
from emix.inference.tables import TableFit, bivariate_residuals, item_names, table_fit

__all__ = [
    "Candidate",
    "Merging",
    "Selection",
    "TableFit",
    "bivariate_residuals",
    "condition",
    "interval_probability",
    "item_names",
    "marginal",
    "merge_components",
    "predict_given",
    "responsibilities_frame",
    "select",
    "separation",
    "table_fit",
    "to_frame",
]
