"""What both estimators share: input checks, predictions, criteria."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import narwhals.stable.v1 as nw
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning as SklearnConvergenceWarning
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_is_fitted, validate_data

from emix.block import Array
from emix.data.knowledge import read_weights
from emix.data.sparse import takes_sparse
from emix.data.table import Table, from_matrix, read_table
from emix.errors import ConvergenceWarning
from emix.families import Family
from emix.fitting import OnlineEM, fit, sample, score_samples
from emix.fitting.use import responsibilities
from emix.frames import library_of
from emix.model import Mixture
from emix.results import FitResult

KEPT = ("n_features_in_", "feature_names_in_", "assumptions_")
"""Attributes that tell of the columns and not of a fit."""


class NotConvergedWarning(ConvergenceWarning, SklearnConvergenceWarning):  # type: ignore[misc]
    """The fit ended before its stopping rule was met: for filters on emix's warning and on scikit-learn's."""


class MixtureEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Parent of the estimators. After `fit`, `result_` holds everything that `emix.fit` returned."""

    result_: FitResult
    online_: OnlineEM
    _library: str | None
    """Whose data frame was fitted to."""

    def _read(self, X: Any, family: Family, *, reset: bool) -> Table:
        """X, checked; what is fitted to tells whose data frames are given out."""
        table = self._checked(X, family, reset=reset)
        if not reset:
            return table
        frame = nw.from_native(X, pass_through=True, eager_only=True, allow_series=True)
        self._library = library_of(frame) if isinstance(frame, nw.DataFrame | nw.Series) else None
        return replace(table, library=self._library)

    def _checked(self, X: Any, family: Family, *, reset: bool) -> Table:
        """Check X as scikit-learn does, which knows no text, and note its features."""
        table = read_table(X) if family.support.is_categorical else _with_text(X)
        if table is not None:
            _check_feature_names(self, X, reset=reset)
            _check_n_features(self, np.empty((1, len(table.names))), reset=reset)
            return table
        if issparse(X) and takes_sparse(family):
            return read_table(
                validate_data(self, X, reset=reset, accept_sparse="csr", dtype=None, ensure_all_finite=False),
                takes_sparse=True,
            )
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan" if family.support.takes_missing else True,
            ensure_min_samples=2 if reset and family.support.must_vary else 1,
        )
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{j}" for j in range(np.shape(array)[1])]
        own = hasattr(self, "feature_names_in_")
        return from_matrix(np.asarray(array), tuple(str(name) for name in names), has_names=own)

    def _run(self, model: Mixture, table: Table, *, not_converged: str | None = "{}", **arguments: Any) -> FitResult:
        """`emix.fit`, with its warning as scikit-learn's, put as `not_converged` says; None for no warning."""
        if hasattr(self, "online_"):
            del self.online_, self.n_samples_seen_
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            result = fit(model, table, **arguments)
        for one in caught:
            if not issubclass(one.category, ConvergenceWarning):
                warnings.warn(str(one.message), one.category, stacklevel=3)
            elif not_converged is not None:
                warnings.warn(not_converged.format(one.message), NotConvergedWarning, stacklevel=3)
        return result

    def _learn(self, model: Mixture, table: Table, options: dict[str, Any], **known: Any) -> None:
        """`OnlineEM.update`; the first batch since a fit, or at all, begins a stream. What told of a fit is gone."""
        if not hasattr(self, "online_"):
            online = OnlineEM(self.result_.model if hasattr(self, "result_") else model, **options).update(
                table, **known
            )
            for name in [name for name in vars(self) if name.endswith("_") and name not in KEPT]:
                delattr(self, name)
            self.online_ = online
        else:
            self.online_.update(table, **known)
        self.n_samples_seen_ = self.online_.rows_seen

    @property
    def _model(self) -> Mixture:
        if hasattr(self, "online_"):
            return self.online_.model
        check_is_fitted(self, "result_")
        return self.result_.model  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Responsibilities, (n_samples, n_components): rows sum to 1."""
        return responsibilities(self._model, self._read(X, self._model.family, reset=False))

    def transform(self, X: Any) -> Any:
        """Responsibilities, (n_samples, n_components), in the container that `set_output` asks for.

        A data frame has the columns `get_feature_names_out()`, one of pandas the index of X.
        """
        return self.predict_proba(X)

    @property
    def _n_features_out(self) -> int:
        """How many columns `transform` returns."""
        return int(self._model.latent_size)

    def to_frame(self, backend: str | None = None) -> Any:
        """Mixing proportions and parameters as a tidy table, as `Mixture.to_frame` describes it.

        Parameters
        ----------
        backend : {'pandas', 'polars', 'pyarrow'}, optional
            Whose data frame; by default that of the frame that was fitted to, else the first that is installed.

        Raises
        ------
        ModelError
            The backend is unknown or not installed.
        """
        return self._model.to_frame(backend or self._library)

    def predict(self, X: Any) -> NDArray[np.intp]:
        """The component with the largest responsibility for each row, (n_samples,)."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))

    @abstractmethod
    def fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Fit to the rows of X; `y` is ignored."""

    def fit_predict(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> NDArray[np.intp]:
        """Fit, then predict the same rows."""
        return self.fit(X, y, labels=labels, sample_weight=sample_weight).predict(X)

    def score_samples(self, X: Any) -> Array:
        """Log-density of each row, (n_samples,), in nats."""
        return score_samples(self._model, self._read(X, self._model.family, reset=False))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Weighted mean of the log-density per row, in nats."""
        scores, weight = self._scores(X, sample_weight)
        return float(weight @ scores / weight.sum())

    def _scores(self, X: Any, sample_weight: Any) -> tuple[Array, Array]:
        table = self._read(X, self._model.family, reset=False)
        weight = read_weights(sample_weight, n_rows=table.n_rows, table=table)
        return score_samples(self._model, table), np.ones(table.n_rows) if weight is None else weight

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """-2 log-likelihood + 2 free parameters on X: smaller is better."""
        scores, weight = self._scores(X, sample_weight)
        return float(-2 * weight @ scores + 2 * self._model.n_free_parameters)

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """-2 log-likelihood + free parameters x log total weight on X: smaller is better."""
        scores, weight = self._scores(X, sample_weight)
        return float(-2 * weight @ scores + self._model.n_free_parameters * math.log(weight.sum()))

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """BIC - 2 sum of weight x log of each row's largest responsibility on X."""
        _, weight = self._scores(X, sample_weight)
        return float(self.bic(X, sample_weight) - 2 * weight @ np.log(self.predict_proba(X).max(axis=1)))

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw rows and their components; seeded by the estimator's `random_state` unless one is given."""
        seed = self.random_state if random_state is None else random_state
        return sample(self._model, n_samples, random_state=seed)


def _with_text(X: Any) -> Table | None:
    """X as a table where it is a dict of columns, or some of its cells are text; else None."""
    if isinstance(X, Mapping) and not issparse(X):  # one kind of sparse matrix is a dict
        return read_table(X)
    if hasattr(X, "columns"):
        table = read_table(X)
        return table if any(cells.dtype == object for cells in table.columns) else None
    if not isinstance(X, np.ndarray | list | tuple):
        return None
    try:
        array = np.asarray(X)
    except ValueError:  # rows of different lengths, of which scikit-learn says so
        return None
    if array.dtype.kind in "US" and array.ndim == 2:
        return read_table(np.asarray(X, dtype=object))  # numbers beside the text stay numbers
    has_text = array.dtype.kind in "US" or (array.dtype == object and any(isinstance(one, str) for one in array.flat))
    return read_table(X) if has_text else None
