"""Where scikit-learn's Gaussian mixture starts: the parameters given, checked, and the responsibilities drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.utils import check_random_state

from emix.block import Array
from emix.errors import ModelError
from emix.fitting.settings import draw_seed

SHAPES = ("full", "tied", "diag", "spherical")
"""The structures that scikit-learn has."""


def random_state_of(random_state: Any) -> np.random.RandomState:
    """What scikit-learn draws from; also for a Generator, which it does not take."""
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(draw_seed(random_state))
    state: np.random.RandomState = check_random_state(random_state)
    return state


def filled(X: NDArray[Any]) -> NDArray[Any]:
    """Missing cells at their column's mean, for choosing rows and clusters; a column without cells at 0."""
    is_missing = np.isnan(X)
    mean = np.where(is_missing, 0.0, X).sum(axis=0) / np.maximum((~is_missing).sum(axis=0), 1)
    return np.where(is_missing, mean.astype(X.dtype), X)


def first_responsibilities(
    X: NDArray[Any], weight: Array | None, K: int, method: str, rng: np.random.RandomState, *, to_nearest: bool
) -> Array:
    """(n, K) to start from, drawn as scikit-learn draws them.

    Rows that are chosen stand alone in their components, whose spread is then `reg_covar` alone; with `to_nearest`
    every other row joins the nearest of them, in standardised columns.
    """
    n = len(X)
    if method == "random":
        drawn: Array = rng.uniform(size=(n, K))
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))
    resp = np.zeros((n, K))
    if method == "kmeans":
        labels = KMeans(n_clusters=K, n_init=1, random_state=rng).fit(X, sample_weight=weight).labels_
        resp[np.arange(n), labels] = 1
        return resp
    if method == "k-means++":
        chosen = kmeans_plusplus(X, K, sample_weight=weight, random_state=rng)[1]
    else:
        chosen = rng.choice(n, size=K, replace=False, p=None if weight is None else weight / weight.sum())
    if to_nearest:
        spread = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
        distance = np.stack([(((X - X[i]) / spread) ** 2).sum(axis=1) for i in chosen])
        resp[np.arange(n), distance.argmin(axis=0)] = 1
    resp[chosen] = np.eye(K)
    return resp


def first_parameters(X: Array, weighted_resp: Array, structure: str, added: float) -> dict[str, Array]:
    """Parameters from responsibilities of which a component may have one row, or none, as scikit-learn takes them.

    emix's own M-step refuses such components: here `added` alone may be their spread, and 0 the mean of one without
    rows.
    """
    d = X.shape[1]
    count = weighted_resp.sum(axis=0) + 10 * np.finfo(np.float64).eps
    mean = weighted_resp.T @ X / count[:, None]
    scatter = np.empty((len(count), d, d))
    for k, w in enumerate(weighted_resp.T):
        away = X - mean[k]
        scatter[k] = (w * away.T) @ away if structure in ("full", "tied") else np.diag(w @ away**2)
    if structure == "tied":
        scatter[:] = scatter.sum(axis=0) * (count / count.sum())[:, None, None]
    covariance = scatter / count[:, None, None]
    if structure == "spherical":
        covariance = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    covariance = (covariance + covariance.transpose(0, 2, 1)) / 2 + added * np.eye(d)
    return {"mixing_proportions": count / count.sum(), "mean": mean, "covariance": covariance}


def given_parameters(weights: Any, means: Any, precisions: Any, *, structure: str, K: int, d: int) -> dict[str, Array]:
    """Those of `weights_init`, `means_init` and `precisions_init` that are not None, in emix's shapes.

    Raises
    ------
    ModelError
        The wrong shape, weights that are no proportions, or precisions that are not positive definite.
    """
    found = {}
    if weights is not None:
        found["mixing_proportions"] = _proportions(weights, K)
    if means is not None:
        found["mean"] = _shaped(means, (K, d), "means")
    if precisions is not None:
        found["covariance"] = _covariances(precisions, structure, K, d)
    return found


def are_definite(matrices: Array) -> bool:
    """Whether each (d, d) is positive definite by more than rounding, in whatever units its columns are.

    The covariance of two rows in two columns has a Cholesky factor whenever rounding so wishes.
    """
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    if not (variances > 0).all():
        return False
    scale = np.sqrt(variances)
    try:
        L = np.linalg.cholesky(matrices / (scale[..., :, None] * scale[..., None, :]))
    except np.linalg.LinAlgError:
        return False
    least = 10 * matrices.shape[-1] * np.finfo(np.float64).eps
    return bool((np.diagonal(L, axis1=-2, axis2=-1) ** 2 > least).all())


def _shaped(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array: Array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ModelError.init_shape(name=name, shape=shape, found=array.shape)
    return array


def _proportions(value: Any, K: int) -> Array:
    weights = _shaped(value, (K,), "weights")
    low, high, total = weights.min(), weights.max(), weights.sum()
    if not (low >= 0 and high <= 1):
        raise ModelError.init_range(low=low, high=high)
    if not abs(total - 1) <= (1e-6 if np.asarray(value).dtype == np.float32 else 1e-8):
        raise ModelError.init_sum(total)
    return np.asarray(weights / total)


def _covariances(precisions: Any, structure: str, K: int, d: int) -> Array:
    """Precisions, in scikit-learn's shape for the structure, as covariances (K, d, d)."""
    name = f"{structure} precision"
    P = _shaped(precisions, {"tied": (d, d), "diag": (K, d), "spherical": (K,)}.get(structure, (K, d, d)), name)
    if structure in ("diag", "spherical"):
        if not (P > 0).all():
            raise ModelError.init_precision(name=name, requirement="positive")
        return (1 / P.reshape(K, -1))[:, :, None] * np.eye(d)
    if not np.allclose(P, np.swapaxes(P, -1, -2)) or not are_definite(P):
        raise ModelError.init_precision(name=name, requirement="symmetric, positive-definite")
    C = np.linalg.inv(P)
    return np.array(np.broadcast_to((C + np.swapaxes(C, -1, -2)) / 2, (K, d, d)))
