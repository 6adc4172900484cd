"""Binomial family: heads in a known number of tosses.

T(x) = (x, n - x)    coefficients = (log p, log(1 - p))    log h(x) = log C(n, x)    MLE: p = sum(w x) / sum(w n)
The likelihood is that of the count, with the binomial coefficient; `Bernoulli(shared=True)` has that of the sequence.
Overcomplete: a row whose heads or tosses are missing is (0, 0).
Source: Casella & Berger (2002), Statistical Inference, 2nd ed., section 3.2; Do & Batzoglou (2008) for the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammaln

from emix.block import Array, safe_log, safe_log1m
from emix.errors import ModelError
from emix.families.base import Family, LevelShares, Parameter, Support, Work, share
from emix.families.priors import BetaPrior
from emix.kernels.tiles import TRIALS, Tile
from emix.spaces import PROBABILITY


@dataclass(frozen=True, eq=False, repr=False)
class Binomial(Family):
    """Heads among a number of tosses that is the same for all rows, or stands in a column of its own.

    Parameters
    ----------
    n_trials : int or str
        Tosses per row, or the name of the column that holds them (columns of an array are named x0, x1, ...).
    probability : array-like of shape (K,), optional
        Of heads.
    prior : BetaPrior, optional
        Of the probability: estimates are then posterior modes, (heads + a - 1) / (tosses + a + b - 2).
    """

    n_trials: int | str
    probability: Parameter = None
    prior: BetaPrior | None = None

    name = "binomial"
    prior_kind = BetaPrior
    spaces = {"probability": PROBABILITY}

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.n_trials
        is_number = isinstance(n, int | np.integer) and not isinstance(n, bool) and 1 <= n <= 2**53
        if not (isinstance(n, str) or is_number):
            raise ModelError.argument(name="n_trials", requirement="a whole number >= 1 or a column's name", found=n)
        if not isinstance(n, str):
            object.__setattr__(self, "n_trials", int(n))

    @property
    def support(self) -> Support:
        column = self.n_trials if isinstance(self.n_trials, str) else None
        upper = np.inf if column is not None else float(self.n_trials)
        bound = f"the row's '{column}'" if column is not None else f"{self.n_trials}"
        return Support(
            f"whole numbers from 0 to {bound}",
            lower=0,
            upper=upper,
            is_whole=True,
            max_columns=1,
            bound_column=column,
            missing_is_joint=True,
            counts_tosses=True,
        )

    def _check_columns(self) -> None:
        if self.probability is not None and self.probability.ndim != 1:
            raise ModelError.parameter(
                family=self.name, name="probability", requirement="the shape (K,)", found=self.probability.shape
            )

    def _trials(self, x: Array) -> Array | float:
        return x[:, 1] if isinstance(self.n_trials, str) else float(self.n_trials)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        return ("heads", "tails")

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        heads = x[:, 0]
        T = np.stack([heads, self._trials(x) - heads])
        return T if is_complete else np.where(np.isnan(T).any(axis=0), 0.0, T)

    def tile(self) -> Tile:
        n = 0.0 if isinstance(self.n_trials, str) else float(self.n_trials)
        return Tile(TRIALS, np.array([n]), np.ones(1))

    def coefficients(self) -> Array:
        return np.stack([safe_log(self.probability), safe_log1m(self.probability)], axis=1)

    def log_base_measure(self, x: Array) -> Array:
        n, heads = self._trials(x), x[:, 0]
        log_choose = gammaln(n + 1) - gammaln(heads + 1) - gammaln(n - heads + 1)
        return np.where(np.isnan(log_choose), 0.0, log_choose)

    def _maximize(self, expected: Array) -> Self:
        heads, tails = expected.T
        return self.estimated(probability=share(heads, heads + tails, self.probability))

    def _prior_columns(self) -> int:
        return 1

    def _sums_of_prior(self, K: int) -> Array:
        return np.concatenate(self._hyperparameters(K, "a", "b"), axis=1) - 1

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        if isinstance(self.n_trials, str):
            if given is None:
                raise ModelError.argument(name="given", requirement=f"the column '{self.n_trials}'", found=None)
            trials = given[:, 0]
            return np.stack([rng.binomial(trials.astype(np.int64), self.probability[labels]), trials], axis=1)
        heads = rng.binomial(self.n_trials, self.probability[labels])
        return np.asarray(heads, dtype=np.float64)[:, None]

    def cell_moments(self) -> tuple[Array, Array]:
        if isinstance(self.n_trials, str):
            return super().cell_moments()
        p = self.probability[:, None]
        return self.n_trials * p, self.n_trials * p * (1 - p)

    def level_shares(self) -> tuple[LevelShares, ...]:
        if not isinstance(self.n_trials, str):
            return ()
        heads = np.stack([self.probability, 1 - self.probability], axis=1)
        return (LevelShares(f"{self.columns[0]} out of {self.n_trials}", ("heads", "tails"), heads),)

    def conditional_means(self, x: Array) -> Array:
        """Of heads among the row's tosses; where these are missing, both stay so."""
        if not isinstance(self.n_trials, str):
            return super().conditional_means(x)
        filled = np.repeat(x[None], len(self.probability), axis=0)
        filled[:, :, 0] = np.where(np.isnan(x[:, 0]), self.probability[:, None] * x[:, 1], x[:, 0])
        return filled

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        if not isinstance(self.n_trials, str):
            return super().draw_missing(x, labels, rng)
        heads, tosses = x.T
        drawn = rng.binomial(np.nan_to_num(tosses).astype(np.int64), self.probability[labels])
        return np.stack([np.where(np.isnan(heads) & ~np.isnan(tosses), drawn, heads), tosses], axis=1)

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        count, p = x[:, :1], np.asarray(self.probability)[:, None, None]
        n = x[:, 1:2] if isinstance(self.n_trials, str) else np.full_like(count, self.n_trials)
        inside = (count >= 0) & (count < n)
        k, left = np.where(inside, count, 0.0) + 1, np.where(inside, n - count, 1.0)
        own = betainc(k, left, p) if is_upper else betainc(left, k, 1 - p)
        own = np.where(inside, own, (count < 0) == is_upper)
        return np.where(np.isnan(count), np.nan, own)

    def coordinates(self, x: Array) -> Array:
        n = self._trials(x)
        share_of_heads = np.divide(x[:, 0], n, out=np.full(len(x), 0.5), where=np.asarray(n > 0) | np.isnan(n))
        return np.asarray(2 * np.arcsin(np.sqrt(share_of_heads)))[
            :, None
        ]  # variance about 1 / n whatever the probability

    def _work(self, expected: Array) -> tuple[Work, ...]:
        heads, tails = expected.T
        value = self.maximize(expected).probability
        return (Work("probability", np.asarray(value), "heads / (heads + tails)", heads, heads + tails),)
