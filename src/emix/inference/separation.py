"""How far components lie apart, and which of them to call one cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import xlogy

from emix.block import Array
from emix.data.source import that_count
from emix.errors import ModelError
from emix.families import Columns, Family, MultivariateNormal
from emix.fitting.use import named, prepared, source_responsibilities
from emix.inference.divergence import column_distances
from emix.results import Fitted, mixture_of

MEASURES = ("bhattacharyya", "kullback-leibler")


def separation(model: Fitted, measure: str = "bhattacharyya") -> Array:
    """Distance of each pair of components.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters. Of normal or log-normal components, correlated or not, or of gamma, exponential, inverse
        Gaussian, beta, Poisson, geometric, binomial, Bernoulli or categorical ones; or `Columns` of such, whose
        distances add over the parts.
    measure : {'bhattacharyya', 'kullback-leibler'}, default='bhattacharyya'
        Bhattacharyya: b = - log of the integral of sqrt(f_i f_j). Between two equally frequent components the best rule
        misplaces at most exp(-b) / 2 of the rows.
        Kullback-Leibler, both directions added: the integral of (f_i - f_j) (log f_i - log f_j).

    Returns
    -------
    ndarray of shape (K, K)
        Symmetric, in nats, 0 on the diagonal; infinite where a row is possible under one component and not under the
        other (for Bhattacharyya where no row is possible under both). The same in whatever units the columns are.
        Noise is no component.

    Notes
    -----
    With d the difference of the means, C_i the covariances of normal components and C their average, b is
    d' C^-1 d / 8 + log(|C|^2 / (|C_i| |C_j|)) / 4, and the other measure (tr(C_i^-1 C_j) + tr(C_j^-1 C_i)
    - 2 n_features + d' (C_i^-1 + C_j^-1) d) / 2.

    Raises
    ------
    ModelError
        The family has no such distance here, the measure is unknown, or the model has no parameters.

    References
    ----------
    Kailath (1967), IEEE Transactions on Communication Technology 15, 52-60.

    Examples
    --------
    >>> from emix import Mixture, Normal, separation
    >>> separation(Mixture(Normal([0.0, 2.0], [1.0, 1.0])))
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    if measure not in MEASURES:
        raise ModelError.choice(what="measure of separation", found=measure, available=MEASURES)
    family = named(mixture_of(model)).family
    parts = [part.family for part in family.parts] if isinstance(family, Columns) else [family]
    distances = np.asarray(sum(_of_family(one, measure) for one in parts))
    np.fill_diagonal(distances, 0.0)
    return np.asarray(np.maximum((distances + distances.T) / 2, 0.0))  # symmetric to the bit


def _of_family(family: Family, measure: str) -> Array:
    """(K, K) distances of one family's components."""
    if not isinstance(family, MultivariateNormal):
        return column_distances(family, measure)
    factors = np.asarray(np.linalg.cholesky(family.covariance), dtype=np.float64)
    K = len(factors)
    distances = np.zeros((K, K))
    for i in range(K):
        for j in range(i + 1, K):
            one = _bhattacharyya if measure == "bhattacharyya" else _kullback_leibler
            distances[i, j] = distances[j, i] = one(family.mean[i] - family.mean[j], factors[[i, j]])
    return distances


def _bhattacharyya(difference: Array, factors: Array) -> float:
    """Of two normals with Cholesky factors (2, d, d) of their covariances."""
    middle = np.linalg.cholesky((factors @ factors.transpose(0, 2, 1)).mean(axis=0))
    z = solve_triangular(middle, difference, lower=True)
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum()
    return float(z @ z / 8 + np.log(np.diagonal(middle)).sum() - log_det / 2)


def _kullback_leibler(difference: Array, factors: Array) -> float:
    """Of two normals, both directions added."""
    total = 0.0
    for L, other in (factors, factors[::-1]):
        z = solve_triangular(L, np.column_stack([other, difference]), lower=True)
        total += float((z * z).sum()) - len(difference)
    return total / 2


# -- clusters of several components ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merging:
    """Components merged step by step into fewer clusters; the density of the mixture stays what it is.

    Attributes
    ----------
    merges : tuple of pairs of tuples of int
        At each step the components of the two clusters that were merged.
    entropies : ndarray of shape (K - L + 1,)
        Of the responsibilities, in nats, for K, K - 1, ..., L clusters; falls at each step. Where it falls much less
        than before, clusters that are apart begin to be merged.
    component_responsibilities : ndarray of shape (n, K)
        p(component given row).
    """

    merges: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    entropies: Array
    component_responsibilities: Array

    def __repr__(self) -> str:
        """Without the responsibilities: `Merging(3 components of 5 rows; merged 0 + 1; entropies 0.9, 0.1)`."""
        n, K = self.component_responsibilities.shape
        steps = ", ".join(" + ".join("&".join(map(str, group)) for group in pair) for pair in self.merges)
        falling = ", ".join(f"{value:.4g}" for value in self.entropies)
        return f"Merging({K} components of {n} rows; merged {steps or 'none'}; entropies {falling})"

    def groups(self, n_clusters: int) -> tuple[tuple[int, ...], ...]:
        """The components of each cluster, clusters in the order of their first component.

        Raises
        ------
        ModelError
            There are not so many components, or they were not merged so far.
        """
        K = self.component_responsibilities.shape[1]
        least = K - len(self.merges)
        is_whole = isinstance(n_clusters, int | np.integer) and not isinstance(n_clusters, bool)
        if not is_whole or not least <= n_clusters <= K:
            raise ModelError.argument(
                name="n_clusters", requirement=f"a whole number from {least} to {K}", found=n_clusters
            )
        groups: list[tuple[int, ...]] = [(k,) for k in range(K)]
        for one, other in self.merges[: K - n_clusters]:
            groups = [group for group in groups if group not in (one, other)] + [tuple(sorted(one + other))]
        return tuple(sorted(groups))

    def responsibilities(self, n_clusters: int) -> Array:
        """p(cluster given row), (n, n_clusters)."""
        groups = self.groups(n_clusters)
        return np.stack([self.component_responsibilities[:, list(group)].sum(axis=1) for group in groups], axis=1)

    def labels(self, n_clusters: int) -> NDArray[np.intp]:
        """The cluster with the largest responsibility for each row, (n,)."""
        return np.asarray(self.responsibilities(n_clusters).argmax(axis=1))


def merge_components(model: Fitted, data: Any, n_clusters: int | None = None, *, sample_weight: Any = None) -> Merging:
    """Merge components into clusters, the two at a time whose merging lowers the entropy of the responsibilities most.

    Start from the number of components that BIC chooses: that many fit the density, often several to one cluster that
    is not normal. Any family will do; only the responsibilities are read.

    Parameters
    ----------
    model : Mixture, FitResult or fitted estimator
        With parameters.
    data
        As in `fit`.
    n_clusters : int, optional
        Where to end; 1 by default.
    sample_weight : array-like of shape (n,), optional
        Weight 3 equals the row three times.

    Raises
    ------
    ModelError
        `n_clusters` is no number of clusters.
    DataError
        The data cannot be.

    References
    ----------
    Baudry, Raftery, Celeux, Lo & Gottardo (2010), Journal of Computational and Graphical Statistics 19, 332-353.

    Examples
    --------
    >>> import numpy as np
    >>> from emix import Mixture, Normal, merge_components
    >>> model = Mixture(Normal([0.0, 1.0, 9.0], [1.0, 1.0, 1.0]))
    >>> merge_components(model, np.array([-1.0, 0.5, 2.0, 8.0, 10.0])).groups(2)
    ((0, 1), (2,))
    """
    model, source = prepared(model, data, sample_weight=sample_weight)
    resp, w = source_responsibilities(model, source), np.where(that_count(source, model.family), source.weight, 0.0)
    K = resp.shape[1]
    least = 1 if n_clusters is None else n_clusters
    if isinstance(least, bool) or not isinstance(least, int | np.integer) or not 1 <= least <= K:
        raise ModelError.argument(name="n_clusters", requirement=f"a whole number from 1 to {K}", found=n_clusters)
    parts = resp.T.copy()
    groups: list[tuple[int, ...]] = [(k,) for k in range(K)]
    entropies, merges = [_entropy(parts, w)], []
    while len(groups) > least:
        i, j = _best_pair(parts, w)
        merges.append((groups[i], groups[j]))
        parts[i] += parts[j]
        parts = np.delete(parts, j, axis=0)
        groups[i] = tuple(sorted(groups[i] + groups[j]))
        del groups[j]
        entropies.append(_entropy(parts, w))
    return Merging(tuple(merges), np.array(entropies), resp)


def _entropy(parts: Array, weight: Array) -> float:
    """Of responsibilities (K, n): - sum of w t log t."""
    return float(-(xlogy(parts, parts) @ weight).sum()) + 0.0


def _best_pair(parts: Array, weight: Array) -> tuple[int, int]:
    """The two rows of responsibilities (K, n) whose sum has the least entropy beside theirs; the first of equals."""
    K, own = len(parts), xlogy(parts, parts) @ weight
    gains = np.full((K, K), -np.inf)
    for i in range(K - 1):
        both = parts[i] + parts[i + 1 :]
        gains[i, i + 1 :] = xlogy(both, both) @ weight - own[i] - own[i + 1 :]
    return divmod(int(np.argmax(gains)), K)
