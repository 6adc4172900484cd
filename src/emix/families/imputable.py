"""What fills missing cells, and what profiles read of a family: moments of cells, and shares of levels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import ModelError


@dataclass(frozen=True)
class LevelShares:
    """Probabilities (K, L) of the levels of a column, or of what a whole row is shared among."""

    column: str
    levels: tuple[str, ...]
    probabilities: Array


class Imputable:
    """Parent of `Family`: cells that are independent given the component, unless the family overrides it."""

    @property
    @abstractmethod
    def column_names(self) -> tuple[str, ...]:
        """The bound columns, or x0, x1, ... of the parameters."""

    @property
    @abstractmethod
    def n_components(self) -> int | None:
        """K, or None while no parameter has a value."""

    @abstractmethod
    def sample(self, labels: NDArray[np.intp], rng: np.random.Generator, given: Array | None = None) -> Array:
        """Draw one row per label: (n,) -> (n, d). `given` holds columns that are not drawn (numbers of tosses)."""

    def cell_moments(self) -> tuple[Array, Array]:
        """Mean and variance of a cell by itself, (K, d) each, in the unit of the column: infinite where they are.

        NaN for a column that has none: categories, angles, what depends on other cells of its row.
        """
        nothing = np.full((self.n_components or 0, len(self.column_names)), np.nan)
        return nothing, nothing

    def level_shares(self) -> tuple[LevelShares, ...]:
        """Of a family whose columns are told by the probabilities of their levels and not by `cell_moments`."""
        return ()

    def conditional_means(self, x: Array) -> Array:
        """Rows (B, d) with each missing cell at its mean given the observed ones, by component: (K, B, d).

        What only unobserved totals could tell stays NaN.

        Raises
        ------
        ModelError
            A missing cell has no mean.
        """
        missing, mean = np.isnan(x), self.cell_moments()[0]
        without = missing.any(axis=0) & ~np.isfinite(mean).all(axis=0)
        if without.any():
            raise ModelError.no_mean(column=self.column_names[int(np.argmax(without))], family=self)
        return np.where(missing, mean[:, None, :], x)

    def impute(self, x: Array, resp: Array) -> Array:
        """Rows (B, d) with each missing cell at its mean given the observed ones, for responsibilities (B, K)."""
        return np.asarray(np.einsum("nk,knj->nj", resp, self.conditional_means(x)))

    def draw_missing(self, x: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Rows (B, d) with each missing cell drawn given the observed ones and the row's component."""
        return np.where(np.isnan(x), self.sample(labels, rng), x)
