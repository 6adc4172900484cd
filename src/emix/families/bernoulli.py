"""Bernoulli family: one or several binary items, independent given the component.

T(x) = (x_1 .. x_d, o_1 - x_1 .. o_d - x_d)    coefficients = (log p, log(1 - p))    MLE: p = ones / (ones + zeros)
With shared=True one probability serves all items: T(x) = (number of ones, number of zeros). The likelihood is that of
the sequence, without the binomial coefficient that `Binomial` has. Overcomplete: a missing item is (0, 0).
Source: Bishop (2006), Pattern Recognition and Machine Learning, section 9.3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, safe_log, safe_log1m
from emix.errors import ModelError
from emix.families.base import Family, LevelShares, Parameter, Support, Work, share
from emix.families.columnwise import by_column
from emix.families.priors import BetaPrior
from emix.spaces import PROBABILITY


@dataclass(frozen=True, eq=False, repr=False)
class Bernoulli(Family):
    """Binary items: heads or tails, yes or no.

    Parameters
    ----------
    probability : array-like of shape (K,) or (K, d), optional
        Of a 1, per component and item; (K,) for one item or if shared.
    shared : bool, default=False
        One probability for all items of a row: the tosses of one coin.
    prior : BetaPrior, optional
        Of the probability: estimates are then posterior modes, (ones + a - 1) / (rows + a + b - 2).
    """

    probability: Parameter = None
    shared: bool = False
    prior: BetaPrior | None = None

    name = "bernoulli"
    is_additive = True
    prior_kind = BetaPrior
    spaces = {"probability": PROBABILITY}
    support = Support("0 or 1 (or true/false)", lower=0, upper=1, is_whole=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shared, bool):
            raise ModelError.argument(name="shared", requirement="True or False", found=self.shared)

    def _check_columns(self) -> None:
        d = 1 if self.shared else len(self.columns)
        if self.probability is not None and by_column(self.probability).shape[1] != d:
            shape = "(K,)" if d == 1 else f"(K, {d})"
            raise ModelError.parameter(
                family=self.name, name="probability", requirement=f"the shape {shape}", found=self.probability.shape
            )

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        return ((),) if self.shared else tuple((column,) for column in self.column_names)

    @property
    def statistic_columns(self) -> NDArray[np.intp]:
        return np.tile(np.arange(1 if self.shared else len(self.columns)), 2)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        if self.shared:
            return ("heads", "tails")
        return tuple(f"{c} = {value}" for value in (1, 0) for c in self.columns)

    def statistics(self, x: Array, *, is_complete: bool = False) -> Array:
        seen = ~np.isnan(x)
        ones = np.where(seen, x, 0.0)
        zeros = seen - ones
        if self.shared:
            return np.stack([ones.sum(axis=1), zeros.sum(axis=1)])
        return np.concatenate([ones.T, zeros.T])

    def coefficients(self) -> Array:
        p = by_column(self.probability)
        return np.concatenate([safe_log(p), safe_log1m(p)], axis=1)

    def _maximize(self, expected: Array) -> Self:
        ones, zeros = np.split(expected, 2, axis=1)
        previous = None if self.probability is None else by_column(self.probability)
        return self.estimated(probability=share(ones, ones + zeros, previous))

    def _prior_columns(self) -> int:
        return 1 if self.shared else len(self.columns)

    def _sums_of_prior(self, K: int) -> Array:
        return np.concatenate(self._hyperparameters(K, "a", "b"), axis=1) - 1

    def whole(self, sums: Array) -> Array:
        if self.shared or self.binding is None or sums.shape[1] != 1 + len(self.columns):
            return sums
        zeros = np.maximum(sums[:, :1] - sums[:, 1:], 0.0)  # a difference of equal sums may round to below 0
        return np.concatenate([sums, zeros], axis=1)

    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        p = by_column(self.probability)[labels]
        return (rng.random((len(labels), len(self.columns))) < p).astype(np.float64)

    def cell_moments(self) -> tuple[Array, Array]:
        p = by_column(self.probability)
        p = np.broadcast_to(p, (len(p), len(self.column_names)))
        return p, p * (1 - p)

    def level_shares(self) -> tuple[LevelShares, ...]:
        names = (", ".join(self.columns),) if self.shared else self.columns
        columns = by_column(self.probability).T
        return tuple(
            LevelShares(name, ("1", "0"), np.stack([ones, 1 - ones], axis=1))
            for name, ones in zip(names, columns, strict=True)
        )

    def cell_cdf(self, x: Array, *, is_upper: bool = False) -> Array:
        p = by_column(self.probability)[:, None]
        own = (
            np.where(x < 0, 1.0, np.where(x < 1, p, 0.0))
            if is_upper
            else np.where(x < 0, 0.0, np.where(x < 1, 1 - p, 1.0))
        )
        return np.where(np.isnan(x), np.nan, own)

    def coordinates(self, x: Array) -> Array:
        return x.sum(axis=1, keepdims=True) if self.shared else x

    def _work(self, expected: Array) -> tuple[Work, ...]:
        ones, zeros = np.split(expected, 2, axis=1)
        value = by_column(self.maximize(expected).probability)
        names = ("heads / (heads + tails)",) if self.shared else tuple(f"ones of {c} / rows" for c in self.columns)
        return tuple(Work("probability", value[:, j], t, ones[:, j], (ones + zeros)[:, j]) for j, t in enumerate(names))
