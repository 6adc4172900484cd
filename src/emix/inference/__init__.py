"""After the fit: parts of a mixture given others, predictions from them, and how far components lie apart."""

from emix.inference.conditional import condition, interval_probability, marginal, predict_given
from emix.inference.separation import Merging, merge_components, separation

__all__ = [
    "Merging",
    "condition",
    "interval_probability",
    "marginal",
    "merge_components",
    "predict_given",
    "separation",
]
