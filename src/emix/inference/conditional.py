"""Some columns of a mixture given others: marginals, conditionals, mixture regression, probabilities of boxes.

The proportions given some columns are the responsibilities of these; what happens within a component is in given.py.
Source: Ghahramani & Jordan (1994), Advances in Neural Information Processing Systems 6, 120-127.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emix.block import Array, Schema, as_cells
from emix.data.table import read_table
from emix.errors import ImpossibleRowError, ModelError
from emix.families import Binding
from emix.fitting import responsibilities, score_samples
from emix.fitting.fit import draw_seed, whole_number
from emix.fitting.use import bind_to_names, prepared
from emix.inference.columns import box_probability
from emix.inference.given import family_given, moments_given, of_columns, sample_given
from emix.model import Mixture

Column = str | int


def marginal(model: Mixture, columns: Column | Sequence[Column]) -> Mixture:
    """The mixture of some of the columns, whatever the others are.

    Parameters
    ----------
    model : Mixture
        With parameters; of `MultivariateNormal`, `StudentT`, or a family with independent columns.
    columns : str, int, or a sequence of them
        By name or position; the order given is kept.

    Raises
    ------
    ModelError
        There is no such column, one is named twice, or the family has no such thing.

    Examples
    --------
    >>> from emix import Mixture, MultivariateNormal, marginal
    >>> both = Mixture(MultivariateNormal([[0.0, 1.0], [5.0, 2.0]], [[[1.0, 0.5], [0.5, 2.0]]] * 2))
    >>> marginal(both, "x1").family.mean
    array([[1.],
           [2.]])
    """
    model = _bound(model)
    keep = _positions(model, columns)
    family = of_columns(model.family, keep)
    return replace(model, family=replace(family, binding=_binding_of(model, keep)))


def condition(model: Mixture, values: Mapping[Any, Any]) -> Mixture:
    """The mixture of the remaining columns, given the values of the others.

    Parameters
    ----------
    model : Mixture
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
    model = _bound(model)
    if not isinstance(values, Mapping) or not values:
        raise ModelError.argument(name="values", requirement="a dict of columns and their values", found=values)
    given = _positions(model, list(values))
    rest = _others(model, given)
    known = marginal(model, given)
    row = {name: _cell(value, name) for name, value in zip(known.family.columns, values.values(), strict=True)}
    x = _matrix(known, row)
    if np.isnan(x).any():
        raise ModelError.argument(name="values", requirement="a value for each column, none missing", found=values)
    if not np.isfinite(score_samples(known, row)).all():
        raise ImpossibleRowError.at(0, f"the row {dict(values)}")
    family = family_given(model.family, rest, given, x)
    family = replace(family, binding=_binding_of(model, rest))
    return replace(model, family=family, mixing_proportions=responsibilities(known, row)[0])


def predict_given(
    model: Mixture,
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
    model : Mixture
        As in `marginal`, of numeric columns.
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
        Conditional means of the targets, the components' averaged by their responsibilities.
    std : ndarray of shape (n, t)
        If `return_std`; by the law of total variance: within the components and between them. Infinite where a
        Student-t has none.
    covariance : ndarray of shape (n, t, t)
        If `return_cov`.
    drawn : ndarray of shape (n, draws, t)
        If `draws` is given. What was asked for comes as a tuple, in this order; the mean alone as it is.

    Raises
    ------
    ModelError
        There is no such column, none is left to predict from, or the targets have no mean (categories).
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
    model = _bound(model)
    wanted = _positions(model, targets)
    given = _others(model, wanted)
    known = marginal(model, given)
    table = read_table(data)
    resp, x = responsibilities(known, table), _matrix(known, table)
    rng = np.random.default_rng(draw_seed(random_state))
    n_draws = 0 if draws is None else whole_number("draws", draws, least=1)
    n, t = len(x), len(wanted)
    mean, covariance, drawn = np.empty((n, t)), np.empty((n, t, t)), np.empty((n, n_draws, t))
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
    std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    asked = ((std, return_std), (covariance, return_cov), (drawn, draws is not None))
    found = [value for value, is_asked in asked if is_asked]
    return (mean, *found) if found else mean


def _total(resp: Array, means: Array, within: Array) -> tuple[Array, Array]:
    """Mean (n, t) and covariance (n, t, t) over components, by the laws of total expectation and variance.

    From responsibilities (n, K), means (n, K, t) and covariances (n or 1, K, t, t) of the components.
    """
    mean = (resp[:, None] @ means)[:, 0]
    between = means - mean[:, None]
    is_finite = np.asarray(np.isfinite(within).all(axis=(2, 3)))
    own = np.where(is_finite[:, :, None, None], within, 0.0)
    flat = own.reshape(*own.shape[:2], -1)
    covariance = flat[0].T @ resp.T if len(flat) == 1 else (resp[:, None] @ flat)[:, 0].T
    covariance = covariance.T.reshape(len(resp), *within.shape[2:])
    covariance += (resp[:, :, None] * between).transpose(0, 2, 1) @ between
    without = np.asarray(resp * ~is_finite).any(axis=1)
    covariance[without] = np.where(np.eye(within.shape[2]) == 1, np.inf, np.nan)
    return mean, covariance


def interval_probability(model: Mixture, low: Any, high: Any) -> float:
    """Probability of a box: each column from `low` to `high`, both included.

    Parameters
    ----------
    model : Mixture
        As in `marginal`, of numeric columns; or `Binomial` with a number of tosses.
    low, high : float, array-like of shape (d,), or dict of column to float
        Bounds, also infinite; one number holds for all columns, and a column that a dict leaves out is unbounded.

    Returns
    -------
    float
        Exact to rounding for independent columns; within about 1e-6 where SciPy integrates over correlated ones.

    Raises
    ------
    ModelError
        A bound is no number, one lies above the other, or the family has no such thing.

    Examples
    --------
    >>> from emix import Mixture, Normal, interval_probability
    >>> round(interval_probability(Mixture(Normal([0.0], [1.0])), -1.96, 1.96), 3)
    0.95
    """
    model = _bound(model)
    lower, upper = _bounds(model, "low", low, -np.inf), _bounds(model, "high", high, np.inf)
    if not (lower <= upper).all():
        raise ModelError.argument(name="low", requirement="bounds below those of `high`", found=low)
    return float(model.latent.mixing_proportions @ box_probability(model.family, lower, upper))


# -- columns -----------------------------------------------------------------------------------------------------------


def _bound(model: Mixture) -> Mixture:
    """The model with columns x0, x1, ... where no fit named them."""
    if not model.is_fitted:
        raise ModelError.not_fitted("This mixture")
    if model.family.binding is not None:
        return model
    value = next(iter(model.family.parameters.values()))
    is_matrix = not isinstance(value, tuple) and value.ndim > 1 and not model.family.support.is_categorical
    d = len(value) if isinstance(value, tuple) else value.shape[1] if is_matrix else 1
    return bind_to_names(model, tuple(f"x{j}" for j in range(d)))


def _positions(model: Mixture, columns: Any) -> list[int]:
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


def _binding_of(model: Mixture, keep: list[int]) -> Binding:
    binding = model.family.binding
    assert binding is not None
    names, levels = binding.schema.names, binding.schema.levels
    schema = Schema(tuple(names[j] for j in keep), tuple(levels[j] for j in keep))
    return replace(binding, schema=schema, pivot=binding.pivot[keep], scale=binding.scale[keep], whitening=None)


def _matrix(model: Mixture, data: Any) -> Array:
    """The cells that the model reads, (n, d)."""
    return as_cells(prepared(model, data)[1].x)


def _cell(value: Any, name: str) -> list[Any]:
    if np.ndim(value) != 0:
        raise ModelError.argument(name=f"values[{name!r}]", requirement="one number or category", found=value)
    return [value]


def _bounds(model: Mixture, name: str, value: Any, unbounded: float) -> Array:
    """(d,) bounds."""
    names = model.family.columns
    try:
        if isinstance(value, Mapping):
            bounds = np.full(len(names), unbounded)
            bounds[_positions(model, list(value))] = [float(one) for one in value.values()]
        else:
            bounds = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(names),))
    except (TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError.argument(name=name, requirement=f"a number, or {len(names)} of them", found=value) from error
    if np.isnan(bounds).any():
        raise ModelError.argument(name=name, requirement="numbers, or inf", found=value)
    return bounds
