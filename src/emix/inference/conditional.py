"""Some columns of a mixture given others: marginals, conditionals, mixture regression.

The proportions given some columns are the responsibilities of these; what happens within a component is in given.py.
Source: Ghahramani & Jordan (1994), Advances in Neural Information Processing Systems 6, 120-127.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emix.block import Array, as_cells
from emix.data.table import read_table
from emix.errors import ImpossibleRowError, ModelError
from emix.families import Family
from emix.fitting import responsibilities, score_samples
from emix.fitting.settings import draw_seed, whole_number
from emix.fitting.use import decoded, named, prepared
from emix.inference.given import arranged, binding_of, family_given, moments_given, of_columns, sample_given
from emix.model import Mixture
from emix.results import Fitted, mixture_of

Column = str | int


def marginal(model: Fitted, columns: Column | Sequence[Column]) -> Mixture:
    """The mixture of some of the columns, whatever the others are.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters; of `MultivariateNormal`, `StudentT`, a family with independent columns, or `Columns` of any.
    columns : str, int, or a sequence of them
        By name or position; the order given is kept, but columns that share a part of `Columns` stay side by side.

    Raises
    ------
    ModelError
        There is no such column, one is named twice, or the family's columns cannot be taken apart (`Multinomial`,
        censored times, a column of tosses): all or none of them can be kept.

    Examples
    --------
    >>> from emix import Mixture, MultivariateNormal, marginal
    >>> both = Mixture(MultivariateNormal([[0.0, 1.0], [5.0, 2.0]], [[[1.0, 0.5], [0.5, 2.0]]] * 2))
    >>> marginal(both, "x1").family.mean
    array([[1.],
           [2.]])
    """
    model = bound(model)
    keep = arranged(model.family, positions(model, columns))
    return _part_of(replace(model, constraints=()), keep, of_columns(model.family, keep))


def condition(model: Fitted, values: Mapping[Any, Any]) -> Mixture:
    """The mixture of the remaining columns, given the values of the others.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        As in `marginal`.
    values : dict of column (name or position) to number or category
        What is known of one row.

    Returns
    -------
    Mixture
        Its proportions are the responsibilities of the components for these values.

    Raises
    ------
    ModelError
        There is no such column, no column is left, or the family has no such thing.
    DataError
        A value cannot be of its column, or the values are impossible under every component.

    Examples
    --------
    >>> from emix import Mixture, MultivariateNormal, condition
    >>> both = Mixture(MultivariateNormal([[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]]))
    >>> condition(both, {"x0": 2.0}).family.mean
    array([[1.]])
    """
    model = bound(model)
    if not isinstance(values, Mapping) or not values:
        raise ModelError.argument(name="values", requirement="a dict of columns and their values", found=values)
    asked = positions(model, list(values))
    given = arranged(model.family, asked)
    rest = _others(model, given)
    known = marginal(model, given)
    names = [model.family.columns[j] for j in asked]
    row = {name: _cell(value, name) for name, value in zip(names, values.values(), strict=True)}
    x = _matrix(known, row)
    if np.isnan(x).any():
        raise ModelError.argument(name="values", requirement="a value for each column, none missing", found=values)
    if not np.isfinite(score_samples(known, row)).all():
        raise ImpossibleRowError.at(0, f"the row {dict(values)}")
    left = _part_of(replace(model, constraints=()), rest, family_given(model.family, rest, given, x))
    return replace(left, mixing_proportions=responsibilities(known, row)[0])


def predict_given(
    model: Fitted,
    data: Any,
    targets: Column | Sequence[Column],
    *,
    return_std: bool = False,
    return_cov: bool = False,
    draws: int | None = None,
    random_state: Any = None,
) -> Any:
    """Predict some columns of each row from all the others: mixture regression.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        As in `marginal`, without noise.
    data : as in `fit`
        Rows with the columns that are not targets: by name, or, without names, in the order of the model.
    targets : str, int, or a sequence of them
        Columns to predict, by name or position.
    return_std, return_cov : bool, default=False
        Also return the conditional standard deviations or covariances.
    draws : int, optional
        Also draw so many times from the conditional distribution of each row.
    random_state : int, numpy Generator or RandomState, optional
        Seed of the draws.

    Returns
    -------
    mean : ndarray of shape (n, t)
        Conditional means of the targets, the components' averaged by their responsibilities. A target that is a number
        is one of the t columns; a category has one for each of its levels, in their order in `binding.schema`: the
        probability of that level.
    std : ndarray of shape (n, t)
        If `return_std`; by the law of total variance: within the components and between them. Infinite where a
        Student-t has none.
    covariance : ndarray of shape (n, t, t)
        If `return_cov`; infinite like `std`.
    drawn : ndarray of shape (n, draws, number of targets)
        If `draws` is given; of objects, with levels as they are in the data, where there are categories. What was asked
        for comes as a tuple, in this order; the mean alone as it is.

    Raises
    ------
    ModelError
        There is no such column, none is left to predict from, or the targets have no mean.
    DataError
        The data cannot be.

    Examples
    --------
    >>> from emix import Mixture, MultivariateNormal, predict_given
    >>> both = Mixture(MultivariateNormal([[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]]))
    >>> predict_given(both, {"x0": [0.0, 2.0]}, "x1")
    array([[0.],
           [1.]])
    """
    model = without_noise(bound(model))
    asked = positions(model, targets)
    wanted = arranged(model.family, asked)
    given = arranged(model.family, _others(model, wanted))
    known = marginal(model, given)
    table = read_table(data)
    resp, x = responsibilities(known, table), _matrix(known, table)
    rng = np.random.default_rng(draw_seed(random_state))
    n_draws = 0 if draws is None else whole_number("draws", draws, least=1)
    levels = [model.family.binding.schema.levels[j] for j in wanted] if model.family.binding is not None else []
    edges = np.cumsum([0, *(1 if known_levels is None else len(known_levels) for known_levels in levels)])
    n, t = len(x), int(edges[-1])
    mean, covariance, drawn = np.empty((n, t)), np.empty((n, t, t)), np.empty((n, n_draws, len(wanted)))
    missing = np.isnan(x)
    patterns, pattern = missing[:1], np.zeros(n, dtype=np.intp)
    if missing.any():
        patterns, pattern = np.unique(missing, axis=0, return_inverse=True)
    for index, is_missing in enumerate(patterns):  # rows with the same cells missing are predicted from the same others
        rows, seen = np.flatnonzero(pattern.ravel() == index), ~is_missing
        columns, cells = [j for j, is_seen in zip(given, seen, strict=True) if is_seen], x[rows][:, seen]
        means, within = moments_given(model.family, wanted, columns, cells)
        mean[rows], covariance[rows] = _total(resp[rows], means, within)
        if n_draws:
            drawn[rows] = sample_given(model.family, wanted, columns, cells, resp[rows], n_draws, rng)
    order = [wanted.index(j) for j in asked]
    own = np.concatenate([np.arange(edges[i], edges[i + 1]) for i in order])
    mean, covariance = mean[:, own], covariance[:, own][:, :, own]
    codes = drawn[:, :, order].reshape(n * n_draws, len(order))
    draws_asked = decoded(codes, tuple(levels[i] for i in order)).reshape(n, n_draws, len(order))
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    wished = ((std, return_std), (covariance, return_cov), (draws_asked, draws is not None))
    found = [value for value, is_wished in wished if is_wished]
    return (mean, *found) if found else mean


def _total(resp: Array, means: Array, within: Array) -> tuple[Array, Array]:
    """Mean (n, t) and covariance (n, t, t) over components, by the laws of total expectation and variance.

    From responsibilities (n, K), means (n, K, t) and covariances (n or 1, K, t, t) of the components.
    """
    mean = (resp[:, None] @ means)[:, 0]
    between = means - mean[:, None]
    is_infinite = np.isinf(within)
    own = np.where(is_infinite, 0.0, within)
    flat = own.reshape(*own.shape[:2], -1)
    covariance = flat[0].T @ resp.T if len(flat) == 1 else (resp[:, None] @ flat)[:, 0].T
    covariance = covariance.T.reshape(len(resp), *within.shape[2:])
    covariance += (resp[:, :, None] * between).transpose(0, 2, 1) @ between
    if is_infinite.any():
        covariance[((resp > 0)[:, :, None, None] & is_infinite).any(axis=1)] = np.inf
    return mean, covariance


# -- columns -----------------------------------------------------------------------------------------------------------


def bound(model: Fitted) -> Mixture:
    """The model, or that of a fit, with columns x0, x1, ... where no data named them."""
    return named(mixture_of(model))


def without_noise(model: Mixture) -> Mixture:
    """The model; an error where it has noise, whose columns have no distribution of their own."""
    if model.has_noise:
        raise ModelError.argument(name="model", requirement="a mixture without noise", found=str(model))
    return model


def _part_of(model: Mixture, keep: list[int], family: Family) -> Mixture:
    """The mixture of these columns; a prior on the rows of all columns is left behind."""
    binding = model.family.binding
    assert binding is not None
    family, noise = replace(family, binding=binding_of(binding, keep)), model.noise
    if model.has_noise:  # a box in the proportions of the columns: its sides multiply to the volume
        width = np.log(binding.scale) + (np.log(float(noise)) - np.log(binding.scale).sum()) / len(binding.scale)
        noise = float(np.exp(width[keep].sum()))
    fixed = {"mixing_proportions"}.intersection(model.fixed)
    return replace(model, family=family, noise=noise, fixed=fixed, prior_statistics=None)


def positions(model: Mixture, columns: Any) -> list[int]:
    """Columns by name or position -> positions.

    Raises
    ------
    ModelError
        There is none of that name or number, or one comes twice.
    """
    names = model.family.columns
    asked: list[Any] = [columns] if isinstance(columns, str | int | np.integer) else list(columns)
    found = []
    for one in asked:
        is_number = isinstance(one, int | np.integer) and not isinstance(one, bool)
        if is_number and -len(names) <= one < len(names):
            found.append(int(one) % len(names))
        elif isinstance(one, str) and one in names:
            found.append(names.index(one))
        else:
            raise ModelError.choice(what="column", found=one, available=names)
    if not found or len(set(found)) < len(found):
        raise ModelError.argument(name="columns", requirement="at least one column, and none twice", found=asked)
    return found


def _others(model: Mixture, columns: list[int]) -> list[int]:
    rest = [j for j in range(len(model.family.columns)) if j not in columns]
    if not rest:
        raise ModelError.argument(
            name="columns", requirement="at least one column beside them", found=list(model.family.columns)
        )
    return rest


def _matrix(model: Mixture, data: Any) -> Array:
    """The cells that the model reads, (n, d)."""
    return as_cells(prepared(model, data)[1].x)


def _cell(value: Any, name: str) -> list[Any]:
    if np.ndim(value) != 0:
        raise ModelError.argument(name=f"values[{name!r}]", requirement="one number or category", found=value)
    return [value]
