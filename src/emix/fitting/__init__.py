"""Where a model meets data: fit it, look at one E-step, use it on new rows."""

from emix.fitting.fit import fit
from emix.fitting.online import BatchRecord, OnlineEM
from emix.fitting.runs import Pass
from emix.fitting.use import EStep, e_step, impute, predict, responsibilities, sample, score_samples

__all__ = [
    "BatchRecord",
    "EStep",
    "OnlineEM",
    "Pass",
    "e_step",
    "fit",
    "impute",
    "predict",
    "responsibilities",
    "sample",
    "score_samples",
]
