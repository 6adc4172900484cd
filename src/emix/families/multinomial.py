"""Multinomial family: a vector of counts, such as the words of a document.

T(x) = x    coefficients = log p    log h(x) = log(n! / prod x_c!)    MLE: p_c = sum(w x_c) / sum(w n)
Overcomplete: a row with a missing count is all zeros, because the other counts' total is then unknown.
Source: Nigam, McCallum, Thrun & Mitchell (2000), Machine Learning 39, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from emix.block import Array, safe_log
from emix.errors import ModelError
from emix.families.base import Family, LevelShares, Parameter, Support, Work, share
from emix.families.priors import DirichletPrior
from emix.kernels.tiles import VALUES, Tile
from emix.spaces import SIMPLEX


@dataclass(frozen=True, eq=False, repr=False)
class Multinomial(Family):
    """Counts over the columns, given each row's total.

    Parameters
    ----------
    probabilities : array-like of shape (K, d), optional
        Of each column; rows sum to 1.
    prior : DirichletPrior, optional
        Of the probabilities: estimates are then posterior modes, (sum of x_c + concentration - 1) / their sum.
    """

    probabilities: Parameter = None
    prior: DirichletPrior | None = None

    name = "multinomial"
    prior_kind = DirichletPrior
    spaces = {"probabilities": SIMPLEX}
    support = Support("whole numbers >= 0", lower=0, is_whole=True, min_columns=2, missing_is_joint=True)

    def _check_columns(self) -> None:
        if self.probabilities is not None and self.probabilities.shape[1] != len(self.columns):
            raise ModelError.parameter(
                family=self.name,
                name="probabilities",
                requirement=f"the shape (K, {len(self.columns)})",
                found=self.probabilities.shape,
            )

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        return tuple((column,) for column in self.column_names)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return tuple(f"sum of {c}" for c in self.columns)

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        return np.asarray(x.T if is_complete else np.where(np.isnan(x).any(axis=1), 0.0, x.T))

    def tile(self) -> Tile:
        d = len(self.columns)
        return Tile(VALUES, np.zeros(d), np.ones(d), takes_holes=False)

    def coefficients(self) -> Array:
        return safe_log(self.probabilities)

    def log_base_measure(self, x: Array) -> Array:
        log_choose = gammaln(x.sum(axis=1) + 1) - gammaln(x + 1).sum(axis=1)
        return np.where(np.isnan(log_choose), 0.0, log_choose)

    def _maximize(self, expected: Array) -> Self:
        return self.estimated(probabilities=share(expected, expected.sum(axis=1, keepdims=True), self.probabilities))

    def _prior_columns(self) -> int:
        return 1

    def _sums_of_prior(self, K: int) -> Array:
        return np.asarray(self._prior.of_columns(self.columns, K) - 1)

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        """`given` (n, 1) holds the total of each row."""
        if given is None:
            raise ModelError.argument(name="given", requirement="the total count of each row", found=None)
        return rng.multinomial(given[:, 0].astype(np.int64), self.probabilities[labels]).astype(np.float64)

    def level_shares(self) -> tuple[LevelShares, ...]:
        return (LevelShares("share of the total", self.columns, self.probabilities),)

    def conditional_means(self, x: Array) -> Array:
        """As they are: without the row's total nothing is known of a missing count."""
        return np.broadcast_to(x, (len(self.probabilities), *x.shape))

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """As they are."""
        return x

    def coordinates(self, x: Array) -> Array:
        total = x.sum(axis=1, keepdims=True)
        shares = np.divide(x, total, out=np.zeros_like(x), where=(total > 0) | np.isnan(total))
        return np.asarray(np.sqrt(shares))  # Hellinger

    def _work(self, expected: Array) -> tuple[Work, ...]:
        value, total = self.maximize(expected).probabilities, expected.sum(axis=1)
        return tuple(
            Work("probabilities", value[:, j], f"sum of {c} / sum of all", expected[:, j], total)
            for j, c in enumerate(self.columns)
        )
