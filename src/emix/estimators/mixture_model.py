"""A mixture of any family as a scikit-learn estimator."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from emix.block import Array
from emix.data.auto import Assumption, assume
from emix.data.knowledge import read_weights
from emix.data.table import Table
from emix.errors import ModelError
from emix.estimators.base import MixtureEstimator
from emix.families import Columns, Family, MultivariateNormal, parse
from emix.model import Mixture

logger = logging.getLogger("emix")


class MixtureModel(MixtureEstimator):
    """Mixture of members of one family, fitted by expectation maximization.

        z_i ~ Categorical(weights_);   x_i | z_i = k ~ family_ with the parameters of component k.

    Parameters
    ----------
    n_components : int, default=1
        K.
    family : Family, str, or mapping of columns to families, default='auto'
        Such as `Poisson()`, `'binomial(n_trials=10)'` or `{"age": Normal(), "city": "categorical"}`. 'auto': columns of
        true and false or of 0 and 1 are Bernoulli, text and two other numbers Categorical, small whole numbers Poisson
        or NegativeBinomial, positive skewed numbers LogNormal or Gamma, all others Normal; several columns of nothing
        but normal numbers are one MultivariateNormal. Identifiers and columns of a single value or none are left out.
    start, stop, tol, max_iter, n_init, n_jobs, random_state, accelerate, algorithm, n_blocks
        As in `emix.fit`.
    constraints : sequence of str, default=()
        On single parameters, as in `Mixture`: `("sd tied", "mean[0] = 0")`.
    step_exponent : float, default=0.6
        Of `partial_fit`, as in `emix.OnlineEM`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing proportions.
    family_ : Family
        With its fitted parameters, such as `family_.rate`.
    assumptions_ : list of Assumption
        With 'auto': what was assumed of each column, or of those that share a family, and why; also logged.
    log_likelihood_ : float
        Total, weighted, in nats, of the fitted parameters.
    history_ : list of Record
        One per iteration.
    stop_reason_ : StopReason
        How the fit ended.
    converged_ : bool
        Derived from `stop_reason_`.
    n_iter_ : int
        EM maps applied.
    result_ : FitResult
        Everything that `emix.fit` returns.
    online_ : OnlineEM
        After `partial_fit`, which leaves of those above `weights_`, `family_` and `assumptions_`.
    n_samples_seen_ : int
        After `partial_fit`: rows that counted so far.

    Raises
    ------
    DataError
        A cell outside the family's support; the row and the column are named.

    Examples
    --------
    >>> from emix import MixtureModel, Poisson
    >>> model = MixtureModel(2, family=Poisson(), random_state=0).fit([[0], [1], [0], [9], [11], [10]])
    >>> sorted(model.family_.rate.round(1))
    [np.float64(0.3), np.float64(10.0)]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        family: Family | str | Mapping[Any, Any] = "auto",
        start: Any = None,
        stop: Any = "aitken",
        tol: float | None = None,
        max_iter: int = 10_000,
        n_init: int = 10,
        n_jobs: int | None = None,
        random_state: Any = None,
        accelerate: bool | str = True,
        algorithm: str = "batch",
        n_blocks: int | None = None,
        step_exponent: float = 0.6,
        constraints: Sequence[str] = (),
    ) -> None:
        self.n_components = n_components
        self.family = family
        self.start = start
        self.stop = stop
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.accelerate = accelerate
        self.constraints = constraints
        self.algorithm = algorithm
        self.n_blocks = n_blocks
        self.step_exponent = step_exponent

    def fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Fit to the rows of X.

        Parameters
        ----------
        X : array-like, data frame or dict of columns, of shape (n_samples, n_features)
            NaN is missing, where the family takes it.
        y : ignored
            Knowledge about components is `labels`.
        labels : array-like of shape (n_samples,) or (n_samples, n_components), optional
            Known components, -1 where unknown; or q >= 0.
        sample_weight : array-like of shape (n_samples,), optional
            Weight 3 equals the row three times.
        """
        table, weight = self._rows(X, sample_weight, reset=True)
        self.result_ = self._run(
            self._specified(table, weight),
            table,
            labels=labels,
            sample_weight=weight,
            start=self.start,
            stop=self.stop,
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
            accelerate=self.accelerate,
            algorithm=self.algorithm,
            n_blocks=self.n_blocks,
        )
        self._describe()
        self.log_likelihood_ = self.result_.log_likelihood
        self.history_ = self.result_.history
        self.stop_reason_ = self.result_.stop_reason
        self.converged_ = self.result_.converged
        self.n_iter_ = self.result_.n_iter
        return self

    def partial_fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Learn from the next rows of a stream, each of which is seen once (`emix.OnlineEM`).

        The first call fits its rows with `n_init` starts and settles the family and the categories. After `fit` the
        stream begins with the parameters of that fit, whose rows count no further.

        Parameters
        ----------
        X, y, labels, sample_weight
            As in `fit`; a batch may be a single row.

        Raises
        ------
        DataError, ModelError
            As in `emix.OnlineEM.update`.
        """
        is_first = not (hasattr(self, "online_") or hasattr(self, "result_"))
        table, weight = self._rows(X, sample_weight, reset=is_first)
        model = self._specified(table, weight) if is_first else self._model
        options = {
            "step_exponent": self.step_exponent,
            "n_init": self.n_init,
            "n_jobs": self.n_jobs,
            "random_state": self.random_state,
        }
        self._learn(model, table, options, labels=labels, sample_weight=weight)
        self._describe()
        return self

    def _rows(self, X: Any, sample_weight: Any, *, reset: bool) -> tuple[Table, Array | None]:
        """X and the weights, checked."""
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, int | np.integer):
            raise ModelError.n_components(self.n_components)
        family = (self._chosen() or MultivariateNormal()) if reset else self._model.family  # a first guess of numbers
        table = self._read(X, family, reset=reset)
        return table, read_weights(sample_weight, n_rows=table.n_rows, table=table)

    def _specified(self, table: Table, weight: Array | None) -> Mixture:
        """The mixture to be fitted, with the family that was asked for or that the columns look like."""
        family, K = self._chosen(), int(self.n_components)
        self.assumptions_: list[Assumption] = []
        if family is None:
            assumed = assume(table, weight)
            family, self.assumptions_ = assumed.family(K), assumed.assumptions(K)
            for one in self.assumptions_:
                logger.info("assumed %s", one)
        return Mixture(family, K, constraints=self.constraints)

    def _describe(self) -> None:
        """Parameters by their names."""
        model = self._model
        self.weights_ = model.latent.mixing_proportions
        self.family_ = model.family

    def _chosen(self) -> Family | None:
        """The family that was asked for; None where it is to be chosen from the data."""
        if isinstance(self.family, Family):
            return self.family
        if isinstance(self.family, Mapping):
            return Columns(self.family)
        return None if self.family == "auto" else parse(self.family)

    def __sklearn_tags__(self) -> Any:
        """NaN is allowed where the chosen family takes it."""
        tags = super().__sklearn_tags__()
        family = self._chosen()
        tags.input_tags.allow_nan = family is None or family.support.takes_missing
        return tags
