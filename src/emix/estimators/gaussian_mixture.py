"""A Gaussian mixture with scikit-learn's arguments and attributes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np

from emix.block import Array
from emix.data.table import Table
from emix.errors import ModelError
from emix.estimators.base import MixtureEstimator
from emix.families import STRUCTURES, MultivariateNormal
from emix.fitting import Pass, fit
from emix.fitting.fit import draw_seed
from emix.model import Mixture

INIT_PARAMS = {"kmeans": "k-means++", "k-means++": "k-means++", "random": "random", "random_from_data": "random"}


class GaussianMixture(MixtureEstimator):
    """Gaussian mixture: change the import, keep the rest.

        z_i ~ Categorical(weights_);   x_i | z_i = k ~ Normal(means_[k], covariances_[k]).

    Parameters
    ----------
    n_components : int, default=1
        K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Structure of the covariances.
    tol : float, default=1e-3
        Stop when the mean log-likelihood per row gains less. It is scikit-learn's default and stops early; `emix.fit`
        and `MixtureModel` stop by what is still to be gained.
    reg_covar : float, default=1e-6
        Added to each variance after the M-step. With 0 the estimates are maximum likelihood.
    max_iter, n_init : int, default=100, 1
        Iterations at most; number of starts.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How rows are seeded.
    weights_init, means_init, precisions_init : array-like, optional
        Start parameters, each optional.
    random_state, warm_start, verbose, verbose_interval
        As in scikit-learn.
    start : Mixture, array-like of labels (n_samples,) or responsibilities (n_samples, n_components), or str, optional
        As in `emix.fit`; replaces `init_params`.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
        In scikit-learn's shapes, which depend on `covariance_type`.
    lower_bound_ : float
        Mean log-likelihood per row, of these very parameters.
    lower_bounds_ : list of float
        The same, per iteration.
    converged_ : bool
    n_iter_ : int
    result_ : FitResult
        Everything that `emix.fit` returns.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        start: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.start = start

    def fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Fit to the rows of X; `y` is ignored, knowledge about components is `labels`."""
        if self.covariance_type not in STRUCTURES:
            raise ModelError.choice(what="covariance_type", found=self.covariance_type, available=STRUCTURES)
        if not isinstance(self.reg_covar, int | float) or not self.reg_covar >= 0:
            raise ModelError.argument(name="reg_covar", requirement="a number >= 0", found=self.reg_covar)
        if self.init_params not in INIT_PARAMS:
            raise ModelError.choice(what="init_params", found=self.init_params, available=INIT_PARAMS)
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, int | np.integer):
            raise ModelError.n_components(self.n_components)
        family = MultivariateNormal(structure=self.covariance_type, added_variance=float(self.reg_covar))
        table = self._read(X, family, reset=True)
        model = Mixture(family, int(self.n_components))
        known = {"labels": labels, "sample_weight": sample_weight}
        self.result_ = self._run(
            model,
            table,
            **known,
            start=self._start(model, table, known),
            stop="mean-gain",
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            random_state=self.random_state,
            accelerate=False,
            on_iteration=self._report if self.verbose else None,
        )
        self._publish()
        return self

    def _start(self, model: Mixture, table: Table, known: dict[str, Any]) -> Any:
        if self.warm_start and hasattr(self, "result_"):
            return self.result_.model
        method = self.start if self.start is not None else INIT_PARAMS[self.init_params]
        if all(one is None for one in (self.weights_init, self.means_init, self.precisions_init)):
            return method
        seed = draw_seed(self.random_state)
        starts = []
        for index in range(self.n_init):
            first = fit(
                model, table, **known, start=method, stop="iterations", max_iter=0, n_init=1, random_state=seed + index
            )
            starts.append(self._with_given(first.model))
        return starts

    def _with_given(self, model: Mixture) -> Mixture:
        family = model.family
        assert isinstance(family, MultivariateNormal)
        values: dict[str, Any] = {}
        if self.means_init is not None:
            values["mean"] = self.means_init
        if self.precisions_init is not None:
            values["covariance"] = self._full(np.asarray(self.precisions_init, dtype=np.float64), *family.mean.shape)
        weights = model.mixing_proportions if self.weights_init is None else self.weights_init
        return replace(model, family=replace(family, **values), mixing_proportions=weights)

    def _full(self, precisions: Array, K: int, d: int) -> Array:
        """Precisions in scikit-learn's shape to covariances (K, d, d)."""
        required = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}[self.covariance_type]
        if precisions.shape != required:
            raise ModelError.argument(
                name="precisions_init", requirement=f"the shape {required}", found=precisions.shape
            )
        if self.covariance_type in ("full", "tied"):
            return np.broadcast_to(np.linalg.inv(precisions), (K, d, d))
        return np.broadcast_to(1 / precisions.reshape(K, -1), (K, d))[:, :, None] * np.eye(d)

    def _publish(self) -> None:
        result, family = self.result_, self._model.family
        assert isinstance(family, MultivariateNormal)
        C = np.asarray(family.covariance)
        lower = np.linalg.cholesky(C)
        upper = np.linalg.solve(lower, np.broadcast_to(np.eye(C.shape[1]), C.shape)).transpose(0, 2, 1)
        self.weights_ = self._model.latent.mixing_proportions
        self.means_ = family.mean
        self.covariances_ = self._chosen(C)
        self.precisions_cholesky_ = self._chosen(upper)
        self.precisions_ = self._chosen(upper @ upper.transpose(0, 2, 1))
        self.converged_ = result.converged
        self.n_iter_ = result.n_iter
        self.lower_bound_ = result.log_likelihood / result.total_weight
        self.lower_bounds_ = [record.log_likelihood / result.total_weight for record in result.history[1:]]

    def _chosen(self, matrices: Array) -> Array:
        """(K, d, d) in scikit-learn's shape."""
        if self.covariance_type == "full":
            return matrices
        if self.covariance_type == "tied":
            return np.asarray(matrices[0])
        diagonals = np.diagonal(matrices, axis1=1, axis2=2)
        return np.array(diagonals if self.covariance_type == "diag" else diagonals[:, 0])

    def _report(self, one: Pass) -> None:
        record = one.record
        if record.iteration % self.verbose_interval == 0:
            print(f"start {one.start + 1} of {one.n_starts}, iteration {record.iteration}: {record.log_likelihood:.5f}")
