"""How well a mixture tells its rows, column by column: quantile residuals.

u_ij = F_j(x_ij) with F_j the mixture's distribution function of column j; for columns of whole numbers or categories a
uniform draw between F_j(x-) and F_j(x). Were the model true and its parameters known, u were uniform and the residual,
the standard normal quantile of u, standard normal.
Source: Dunn & Smyth (1996), Journal of Computational and Graphical Statistics 5, 236-244.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from emix.block import Array
from emix.errors import ModelError
from emix.families import Family
from emix.fitting.settings import draw_seed
from emix.fitting.use import prepared
from emix.inference.readings import groups_of
from emix.results import Fitted, mixture_of

LEAST = 1e-300
"""Probability of a tail below which a residual is not followed, 37 standard deviations out: it stays finite."""


def quantile_residuals(model: Fitted, data: Any, *, random_state: Any = None) -> Array:
    """Normal quantiles of the rows' places in the mixture's distribution, column by column.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters; of families whose columns have a distribution function each (not `Multinomial`, nor censored
        durations), without noise.
    data
        As in `fit`.
    random_state : int, numpy Generator or RandomState, optional
        Seed of the draws within the steps of discrete columns.

    Returns
    -------
    ndarray of shape (n, d)
        Standard normal where the model is true; NaN for a missing cell. A column that a family reads beside its own
        (numbers of tosses) has none.

    Raises
    ------
    ModelError
        A family has no such function, or there is noise.
    DataError
        The data cannot be.

    Examples
    --------
    >>> from emix import Mixture, Normal, quantile_residuals
    >>> quantile_residuals(Mixture(Normal([1.0], [4.0])), [1.0, 5.0]).round(6)
    array([[0.],
           [2.]])
    """
    model = mixture_of(model)
    if model.has_noise:
        raise ModelError.argument(name="model", requirement="no noise", found="a noise component")
    model, source = prepared(model, data)
    rng = np.random.default_rng(draw_seed(random_state))
    found = []
    for chunk in source.chunks:
        parts = [
            _residuals(group.family, model.latent.mixing_proportions, chunk.cells[:, group.columns], rng)
            for group in groups_of(model.family)
        ]
        found.append(np.concatenate(parts, axis=1))
    return np.concatenate(found)


def _residuals(family: Family, shares: Array, x: Array, rng: np.random.Generator) -> Array:
    """(B, d) of one family's columns."""

    def below(cells: Array, *, is_upper: bool) -> Array:
        return np.asarray(np.einsum("k,kbj->bj", shares, family.cell_cdf(cells, is_upper=is_upper)))

    lower, upper = below(x, is_upper=False), below(x, is_upper=True)
    if family.support.is_whole or family.support.is_categorical:
        step = x.copy()
        n_own = lower.shape[1]
        step[:, :n_own] -= 1
        share = rng.random(lower.shape)  # of the step that is taken from below
        lower_left, upper_left = below(step, is_upper=False), below(step, is_upper=True)
        lower = lower_left + share * (lower - lower_left)
        upper = upper + (1 - share) * (upper_left - upper)
    # from whichever tail is the shorter: far out 1 - u has no digits left
    found: Array = np.where(lower <= upper, ndtri(np.maximum(lower, LEAST)), -ndtri(np.maximum(upper, LEAST)))
    return found
