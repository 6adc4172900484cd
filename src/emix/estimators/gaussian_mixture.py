"""A Gaussian mixture with scikit-learn's arguments, attributes, starts and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from emix.block import Array
from emix.data.knowledge import read_weights
from emix.data.table import Table
from emix.em.stopping import Rule, StoppingRule
from emix.errors import FitError, InvariantError, ModelError, RootNotFoundError
from emix.estimators.base import MixtureEstimator
from emix.estimators.gaussian_starts import (
    SHAPES,
    are_definite,
    filled,
    first_parameters,
    first_responsibilities,
    given_parameters,
    random_state_of,
)
from emix.families import MultivariateNormal
from emix.fitting import Pass, fit
from emix.fitting.settings import draw_seed, whole_number
from emix.model import Mixture
from emix.results import Record, StopReason

INIT_PARAMS = {"kmeans": "k-means++", "k-means++": "k-means++", "random": "random", "random_from_data": "random"}
"""scikit-learn's ways to start, and for each the one of emix that takes its place where labels are known."""

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale "
    "the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)


class IllDefinedError(FitError, ValueError):
    """A fit that failed, for callers who expect scikit-learn's ValueError."""

    @classmethod
    def covariance(cls, detail: str) -> Self:
        """Why, after scikit-learn's words."""
        return cls(f"{ILL_DEFINED}\n  {detail}")


@dataclass(frozen=True)
class ScikitLearnGain(Rule):
    """Stop as scikit-learn does: one M-step after the mean log-likelihood per row gained less than `tol`.

    Its iteration compares the parameters that it began with with those of the iteration before, and then moves on.
    """

    tol: float
    before: float = -np.inf
    """Log-likelihood of the parameters before the first, for a warm start; total, in nats."""

    def __call__(self, history: Sequence[Record]) -> StopReason | None:
        """See `StoppingRule`."""
        if len(history) < 2 or history[-1].is_leap or history[-2].is_leap:
            return None
        one = history[-2]
        gain = one.gain if len(history) > 2 else one.log_likelihood - self.before
        return StopReason.MEAN_GAIN if abs(gain) < self.tol * one.weight else None


class GaussianMixture(MixtureEstimator):
    """Gaussian mixture: change the import, keep the rest.

        z_i ~ Categorical(weights_);   x_i | z_i = k ~ Normal(means_[k], covariances_[k]).

    With the same `random_state` the starts are those of scikit-learn 1.9, and so are the steps, up to rounding.

    Parameters
    ----------
    n_components : int, default=1
        K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'} or a structure of `MultivariateNormal`, default='full'
        Structure of the covariances; 'VEV' and the other names of mclust, too.
    tol : float, default=1e-3
        Stop when the mean log-likelihood per row gains less. It is scikit-learn's default and stops early; `emix.fit`
        and `MixtureModel` stop by what is still to be gained. With `stop` it means what that rule says.
    reg_covar : float, default=1e-6
        Added to each variance after the M-step, in squared units of X. With 0 the estimates are maximum likelihood.
    max_iter, n_init : int, default=100, 1
        Iterations at most; number of starts.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Responsibilities for the first M-step: from `sklearn.cluster.KMeans`, rows chosen by k-means++, at random, or
        rows chosen at random. For a structure that only emix has, or where cells are missing, each row goes to the
        nearest of the rows chosen. For 'tied' the first covariance is that of the rows chosen, where scikit-learn's
        counts all rows and rarely leads to the best fit. Where `labels` are given, emix's own seeding around the
        labelled rows.
    weights_init, means_init, precisions_init : array-like, optional
        Start parameters in place of those, each optional; precisions in the shape of `precisions_`.
    random_state : int, RandomState, Generator, optional
        Seed of the starts and of `sample`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last solution.
    verbose, verbose_interval : int, default=0, 10
        Whether to print each start and every so many iterations; 2 also the times and gains.
    start : Mixture, array-like of labels (n_samples,) or responsibilities (n_samples, n_components), or str, optional
        As in `emix.fit`; replaces `init_params`.
    stop : str or StoppingRule, optional
        As in `emix.fit`; scikit-learn's rule if not given.
    accelerate : bool or str, default=False
        As in `emix.fit`.
    n_jobs : int, optional
        Threads; the result has the same bits for any number.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
    means_ : ndarray of shape (n_components, n_features)
    covariances_, precisions_, precisions_cholesky_ : ndarray
        (n_components, n_features, n_features), or in scikit-learn's shapes for 'tied' (n_features, n_features), 'diag'
        (n_components, n_features) and 'spherical' (n_components,). `precisions_cholesky_` is upper triangular, U U' is
        the precision. All of the dtype of X.
    lower_bound_ : float
        Mean log-likelihood per row, of these very parameters; scikit-learn's is that of those before the last M-step.
    lower_bounds_ : list of float
        The same after each iteration, (n_iter_,) without acceleration.
    converged_ : bool
    n_iter_ : int
        EM maps applied; as scikit-learn counts them.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names.
    result_ : FitResult
        Everything that `emix.fit` returns.

    Raises
    ------
    ValueError
        Arguments or data that cannot be, or all starts ended in a degenerate component; with scikit-learn's wording
        where it has one.

    Examples
    --------
    >>> from emix import GaussianMixture
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> model.means_.round(6)
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> model.predict([[0, 0], [12, 3]])
    array([1, 0])
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
        stop: str | StoppingRule | None = None,
        accelerate: bool | str = False,
        n_jobs: int | None = None,
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
        self.stop = stop
        self.accelerate = accelerate
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Fit to the rows of X.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Finite numbers; NaN is missing, where the family takes it.
        y : ignored
            Knowledge about components is `labels`.
        labels : array-like of shape (n_samples,) or (n_samples, n_components), optional
            Known components, -1 where unknown; or q >= 0, which multiplies p(z = k) for each row.
        sample_weight : array-like of shape (n_samples,), optional
            Weight 3 equals the row three times.
        """
        self._check_arguments()
        family = MultivariateNormal(structure=self.covariance_type, added_variance=float(self.reg_covar))
        table = self._read(X, family, reset=True)
        if table.n_rows < self.n_components:
            raise ModelError.too_few_samples(n_components=self.n_components, n_samples=table.n_rows)
        model = Mixture(family, int(self.n_components))
        known = {"labels": labels, "sample_weight": sample_weight}
        try:
            start, left_out = self._start(model, table, known)
            self.result_ = self._run(
                model,
                table,
                not_converged=NOT_CONVERGED if self.max_iter > 0 else None,
                **known,
                start=start,
                stop=self._rule() if self.stop is None else self.stop,
                tol=self.tol,
                max_iter=self.max_iter,
                n_init=self.n_init,
                n_jobs=self.n_jobs,
                random_state=self.random_state if isinstance(start, str) else self._fixed_seed(),
                accelerate=self.accelerate,
                on_iteration=self._report if self.verbose else None,
            )
        except FitError as error:
            if isinstance(error, IllDefinedError | InvariantError | RootNotFoundError):
                raise
            raise IllDefinedError.covariance(str(error)) from error
        if left_out:
            n_starts = len(left_out) + len(start)
            self.result_.warnings.append(f"{len(left_out)} of {n_starts} starts were left out. {left_out[0]}")
        self._publish(table)
        return self

    def _check_arguments(self) -> None:
        whole_number("n_components", self.n_components, least=1)
        whole_number("n_init", self.n_init, least=1)
        whole_number("max_iter", self.max_iter, least=0)
        whole_number("verbose_interval", self.verbose_interval, least=1)
        for name in ("reg_covar", "tol"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
                raise ModelError.argument(name=name, requirement="a finite number >= 0", found=value)
        if self.init_params not in INIT_PARAMS:
            raise ModelError.choice(what="init_params", found=self.init_params, available=INIT_PARAMS)

    def _rule(self) -> StoppingRule:
        """scikit-learn's; a warm start compares with the last iteration of the fit before."""
        if self._is_warm and len(self.result_.history) > 1:
            return ScikitLearnGain(float(self.tol), self.result_.history[-2].log_likelihood)
        return ScikitLearnGain(float(self.tol))

    @property
    def _is_warm(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "result_")

    def _fixed_seed(self) -> int:
        """For a fit whose starts are given: nothing is drawn from a `random_state` that has a state."""
        return int(self.random_state) if isinstance(self.random_state, int | np.integer) else 0

    # -- starts ------------------------------------------------------------------------------------------------------

    def _start(self, model: Mixture, table: Table, known: dict[str, Any]) -> tuple[Any, list[str]]:
        """What `emix.fit` takes as `start`, and why some starts are not among them."""
        if self._is_warm:
            return self.result_.model, []
        given = given_parameters(
            self.weights_init,
            self.means_init,
            self.precisions_init,
            structure=self.covariance_type,
            K=model.latent_size,
            d=len(table.names),
        )
        if len(given) == 3:
            return _with(model, **given), []
        if self.start is not None or known["labels"] is not None:
            method = self.start if self.start is not None else INIT_PARAMS[self.init_params]
            if not given:
                return method, []
            n_starts = self.n_init if isinstance(method, str) else 1
            seed = draw_seed(self.random_state)
            found = [_first_step(model, table, known, method, seed + i) for i in range(n_starts)]
        else:
            rng = random_state_of(self.random_state)
            found = [self._seeded(model, table, known, rng, given) for _ in range(self.n_init)]
        starts = [_with(one, **given) for one in found if isinstance(one, Mixture)]
        left_out = [one for one in found if isinstance(one, str)]
        if not starts:
            raise IllDefinedError.covariance(left_out[0])
        return starts, left_out

    def _seeded(
        self,
        model: Mixture,
        table: Table,
        known: dict[str, Any],
        rng: np.random.RandomState,
        given: dict[str, Array],
    ) -> Mixture | str:
        """The model after scikit-learn's first M-step, or why there is none."""
        X = np.asarray(table.matrix)
        weight = read_weights(known["sample_weight"], n_rows=table.n_rows, table=table)
        is_theirs = self.covariance_type in SHAPES and not np.isnan(X).any()
        if not is_theirs:
            X = filled(X)
        K, method = model.latent_size, self.init_params
        resp = first_responsibilities(X, weight, K, method, rng, to_nearest=not is_theirs)
        if not is_theirs:  # one column would be read as labels
            return _first_step(model, table, known, resp if K > 1 else np.zeros(len(X)), 0)
        weighted = resp if weight is None else resp * weight[:, None]
        values = first_parameters(X.astype(np.float64), weighted, self.covariance_type, float(self.reg_covar))
        values.update(given)
        if not are_definite(values["covariance"]):
            return "At the start the covariance of a component is not positive definite."
        return _with(model, **values)

    # -- what scikit-learn publishes ---------------------------------------------------------------------------------

    def _publish(self, table: Table) -> None:
        result, family = self.result_, self._model.family
        assert isinstance(family, MultivariateNormal)
        assert table.matrix is not None
        self._dtype = table.matrix.dtype
        C = np.asarray(family.covariance)
        upper = np.linalg.solve(np.linalg.cholesky(C), np.broadcast_to(np.eye(C.shape[1]), C.shape)).transpose(0, 2, 1)
        self.weights_ = self._model.latent.mixing_proportions.astype(self._dtype)
        self.means_ = family.mean.astype(self._dtype)
        self.covariances_ = self._chosen(C)
        self.precisions_cholesky_ = self._chosen(upper)
        self.precisions_ = self._chosen(upper @ upper.transpose(0, 2, 1))
        self.converged_ = result.converged
        self.n_iter_ = result.n_iter
        self.lower_bound_ = result.log_likelihood / result.total_weight
        self.lower_bounds_ = [record.log_likelihood / result.total_weight for record in result.history[1:]]

    def _chosen(self, matrices: Array) -> NDArray[Any]:
        """(K, d, d) in scikit-learn's shape and the dtype of X."""
        matrices = matrices.astype(self._dtype)
        if self.covariance_type == "tied":
            return np.array(matrices[0])
        if self.covariance_type not in ("diag", "spherical"):
            return matrices
        diagonals = np.diagonal(matrices, axis1=1, axis2=2)
        return np.array(diagonals if self.covariance_type == "diag" else diagonals[:, 0])

    def _report(self, one: Pass) -> None:
        record = one.record
        if record.iteration == 0:
            print(f"Initialization {one.start}")
        elif record.iteration % self.verbose_interval == 0:
            more = f"\t time {record.seconds:.5f}s\t ll change {record.gain / record.weight:.5f}"
            print(f"  Iteration {record.iteration}{more if self.verbose > 1 else ''}")

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Weighted mean of the log-density per row, in nats; without weights that of `score_samples`, as it is."""
        if sample_weight is None:
            return float(self.score_samples(X).mean())
        return super().score(X, y, sample_weight)

    def _n_parameters(self) -> int:
        """Free parameters, by the name under which scikit-learn's users know them."""
        return self._model.n_free_parameters

    def __sklearn_tags__(self) -> Any:
        """NaN is allowed: a missing cell. Responsibilities have the dtype of X."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Responsibilities, (n_samples, n_components): rows sum to 1; of the dtype of the X that was fitted."""
        return super().predict_proba(X).astype(self._dtype)

    def score_samples(self, X: Any) -> NDArray[Any]:
        """Log-density of each row, (n_samples,), in nats; of the dtype of the X that was fitted."""
        return super().score_samples(X).astype(self._dtype)

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Draw rows and their components, in the order of the components, as scikit-learn does.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState, Generator, optional
            Seed; that of the estimator if not given.
        """
        check_is_fitted(self, "result_")
        if isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ModelError.nothing_to_sample(n_samples)
        rng = random_state_of(self.random_state if random_state is None else random_state)
        family, d = self._model.family, self.n_features_in_
        counts = rng.multinomial(n_samples, self._model.latent.mixing_proportions)
        rows = []
        for n, mean, covariance in zip(counts, family.parameters["mean"], family.parameters["covariance"], strict=True):
            if self.covariance_type in ("diag", "spherical"):
                rows.append(mean + rng.standard_normal((n, d)) * np.sqrt(np.diagonal(covariance)))
            else:
                rows.append(rng.multivariate_normal(mean, covariance, int(n)))
        return np.vstack(rows), np.repeat(np.arange(len(counts)), counts)


def _first_step(model: Mixture, table: Table, known: dict[str, Any], start: Any, seed: int) -> Mixture | str:
    """The model after the M-step that `start` asks for, or why there is none."""
    try:
        first = fit(model, table, **known, start=start, stop="iterations", max_iter=0, n_init=1, random_state=seed)
    except FitError as error:
        return str(error)
    return first.model  # type: ignore[no-any-return]


def _with(model: Mixture, mixing_proportions: Any = None, **parameters: Any) -> Mixture:
    """The model with these parameters in place of its own."""
    weights = model.mixing_proportions if mixing_proportions is None else mixing_proportions
    return replace(model, family=replace(model.family, **parameters), mixing_proportions=weights)
