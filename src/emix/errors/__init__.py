"""Every error and warning of emix, one factory per message.

A message says what is required, what was found and where, and what to do.
All errors derive from `EmixError`; those about data, models and files are also `ValueError`, those about a
fit that failed are also `RuntimeError`, so that callers who know only the built-in classes still catch them.
"""

from emix.errors.base import CheckpointWarning, ConvergenceWarning, EmixError, EmixWarning, ImputationWarning, listed
from emix.errors.data import DATE, DECIMAL_COMMA, DataError, ImpossibleRowError
from emix.errors.files import ClusterError, FileError
from emix.errors.fits import DegenerateError, FitError, InvariantError, RootNotFoundError
from emix.errors.models import ModelError

__all__ = [
    "DATE",
    "DECIMAL_COMMA",
    "CheckpointWarning",
    "ClusterError",
    "ConvergenceWarning",
    "DataError",
    "DegenerateError",
    "EmixError",
    "EmixWarning",
    "FileError",
    "FitError",
    "ImpossibleRowError",
    "ImputationWarning",
    "InvariantError",
    "ModelError",
    "RootNotFoundError",
    "listed",
]
