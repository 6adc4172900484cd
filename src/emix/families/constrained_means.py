"""Constraints on the means of Gaussian components, and single covariances that are held.

Given covariances C_k the objective is -1/2 sum_k n_k (m_k - x_k)' C_k^-1 (m_k - x_k) in the means, x_k those of rows:
least squares in the groups of entries, bounded where they are. Given means the covariances are the structure's own, of
the scatter about these means. Both by turns climb to the joint maximum. Where no mean is tied across components and
each covariance is its component's own, the first turn from the free covariances W_k is the maximum already: it
minimises log |W_k + (m - x_k)(m - x_k)'| = log |W_k| + log(1 + (m - x_k)' W_k^-1 (m - x_k)).
Source: Mardia, Kent & Bibby (1979), Multivariate Analysis, section 5.3.1 (constrained means); Meng & Rubin (1993),
Biometrika 80, 267-278 (conditional maximization).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from emix.block import Array, updated
from emix.constraints import NO_CONSTRAINTS, Groups
from emix.errors import DegenerateError, ModelError, RootNotFoundError
from emix.families.base import Family
from emix.families.covariance import CovarianceSpace, MeanSpace
from emix.families.entries import groups_of
from emix.families.structures import Structure, structure

if TYPE_CHECKING:
    from emix.families.multivariate_normal import MultivariateNormal

F = TypeVar("F", bound="MultivariateNormal")

EPS = float(np.finfo(np.float64).eps)
APART = ("VII", "VVI", "VVV")
"""Structures in which a component's covariance depends on its own rows alone."""
MAX_TURNS = 10_000
TOLERANCE = 1e-9
"""Turns end where no mean moves by more than this many of its component's standard deviations: what
is left to gain is of the order of its square, below the rounding of the log-likelihood."""


class GaussianFamily(Family):
    """What families with a mean and a matrix per component share, and what constraints read of them."""

    def _settle_structure(self) -> None:
        """Take a structure that stands in the first place, where the mean is, for one: `MultivariateNormal("VVV")`.

        Raises
        ------
        ModelError
            Another one was given by name too.
        """
        first, default = vars(self)["mean"], type(self).__dataclass_fields__["structure"].default
        if isinstance(first, str | Structure):
            if vars(self)["structure"] != default:
                raise ModelError.argument(name="mean", requirement="numbers, beside structure=", found=first)
            vars(self).update(mean=None, structure=first)

    def _check_shapes(self) -> None:
        """Raise if parameters are not of one number of columns."""
        known = [value for value in self.parameters.values() if value.ndim > 1]
        d = known[0].shape[1] if known else "d"
        for name, value in self.parameters.items():
            space = self.spaces[name]
            shape = (d,) if isinstance(space, MeanSpace) else (d, d) if isinstance(space, CovarianceSpace) else ()
            if value.shape[1:] != shape:
                text = ", ".join(str(size) for size in ("K", *shape))
                raise ModelError.parameter(
                    family=self.name, name=name, requirement=f"the shape ({text})", found=value.shape
                )

    @property
    def has_own_matrices(self) -> bool:
        """Whether each component's matrix depends on its own rows alone."""
        return structure(str(getattr(self, "structure", ""))).name in APART

    def entry_labels(self, name: str) -> tuple[tuple[str, ...], ...]:
        names = self.column_names
        if self.has_matrices(name):
            return tuple((one, other) for one in names for other in names)
        return tuple((one,) for one in names) if isinstance(self.spaces[name], MeanSpace) else ((),)

    def has_matrices(self, name: str) -> bool:
        return isinstance(self.spaces[name], CovarianceSpace)

    def obstacle_to_hold(self, name: str) -> str:
        if self.has_own_matrices:
            return ""
        return f"the structure {getattr(self, 'structure', '')} shares parts of them, so that none is held alone"


def constrained_gaussian(family: F, expected: Array) -> F:
    """The M-step of a `MultivariateNormal` under constraints, from expected statistics (K, D).

    Raises
    ------
    DegenerateError
        A component has no rows and no previous parameters, or lost its spread.
    RootNotFoundError
        Means and covariances did not come to rest.
    """
    means, matrices = groups_of(family, "mean"), groups_of(family, "covariance")
    bare = updated(family, constraints=NO_CONSTRAINTS)
    is_held = np.asarray(~matrices.is_free[matrices.group].any(axis=1), dtype=np.bool_).reshape(-1)
    d = means.group.shape[1]
    held = np.where(is_held[:, None], matrices.held, 0.0).reshape(-1, d, d)
    others = expected[~is_held].sum(axis=0) if (~is_held).any() else expected.sum(axis=0)
    expected_free = np.where(is_held[:, None], others, expected)  # thrown away again, and no reason to collapse

    def covariances(mean: Array | None) -> Array:
        about = bare if mean is None else updated(bare, mean=mean, fixed=bare.fixed | {"mean"})
        if "covariance" in family.fixed or is_held.all():
            return np.asarray(family.covariance if "covariance" in family.fixed else held)
        found = about._maximize(expected_free).covariance
        return np.where(is_held[:, None, None], held, found)

    count = expected[:, -1]
    if not (count > 0).all() and family.mean is None:
        raise DegenerateError.empty(component=int(np.argmin(count)))
    pivot, scale = family._about(d)
    centre = pivot + scale * (expected[:, :d] / np.where(count > 0, count, 1.0)[:, None])
    if family.mean is not None:
        centre = np.where(count[:, None] > 0, centre, family.mean)
    is_apart = family.has_own_matrices and not _is_across(means)
    previous = family.covariance if family.is_fitted and not is_apart else None
    C = covariances(None) if previous is None else previous
    mean = _means(means, C, count, centre)
    for _ in range(MAX_TURNS):
        C = covariances(mean)
        new = _means(means, C, count, centre)
        deviation = np.sqrt(np.diagonal(C, axis1=1, axis2=2))
        moved = (np.abs(new - mean) - 4 * EPS * np.abs(new)) / deviation
        mean = new
        if moved.max() <= TOLERANCE:
            values = {"mean": mean, "covariance": covariances(mean)}
            return updated(family, **{name: value for name, value in values.items() if name not in family.fixed})
    raise RootNotFoundError.constrained(what="means", max_iter=MAX_TURNS, left=float(moved.max()))


def _is_across(means: Groups) -> bool:
    """Whether a tie joins different components."""
    owner = np.broadcast_to(np.arange(len(means.group))[:, None], means.group.shape).ravel()
    order = np.argsort(means.group.ravel(), kind="stable")
    same = np.diff(means.group.ravel()[order]) == 0
    return bool((same & (np.diff(owner[order]) != 0)).any())


def _means(means: Groups, C: Array, count: Array, centre: Array) -> Array:
    """The best means (K, d) for given covariances: least squares, from the centres made feasible."""
    start = means.projected(centre)
    K, d = centre.shape
    used = np.flatnonzero(means.is_free)
    if len(used) == 0:
        return start
    place = np.full(len(means.value), -1)
    place[used] = np.arange(len(used))
    index = place[means.group]  # (K, d)
    weight = np.sqrt(np.maximum(count, 0.0) / max(float(count.max()), 1e-300))
    half = np.linalg.inv(np.linalg.cholesky(C)) * weight[:, None, None]
    unit = np.sqrt(np.diagonal(C, axis1=1, axis2=2)).ravel()[means.first[used]]
    A = np.zeros((K, d, len(used) + 1))
    for j in range(d):
        np.add.at(A, (np.arange(K)[:, None], np.arange(d), index[:, j : j + 1]), half[:, :, j])
    A = A[:, :, : len(used)].reshape(K * d, -1) * unit
    b = (half @ (centre - start)[:, :, None]).reshape(-1)
    low, high = ((end[used] - start.ravel()[means.first[used]]) / unit for end in (means.lower, means.upper))
    step = np.linalg.lstsq(A, b, rcond=None)[0]
    if (step < low).any() or (step > high).any():
        from scipy.optimize import lsq_linear  # 0.2 s that only bounds need

        found = lsq_linear(A, b, bounds=(low, np.where(high > low, high, low + 1e-300)), method="bvls", tol=1e-15)
        if not found.success:
            raise RootNotFoundError.constrained(what="means", max_iter=found.nit, left=float(found.optimality))
        step = found.x
    value = means.value.copy()
    value[used] = start.ravel()[means.first[used]] + unit * step
    return np.where(np.isnan(means.held), np.clip(value, means.lower, means.upper)[means.group], means.held)
