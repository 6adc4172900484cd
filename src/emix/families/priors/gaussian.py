"""The conjugate prior of Gaussian components: normal for the mean, inverse Wishart or gamma for the covariance.

    mean | C ~ Normal(prior mean, C / shrinkage),    C ~ inverse Wishart(dof, scale)

It is MAP-EM: hyperparameters join the sums that the M-step reads, with pseudo-weight for means and covariances and none
for proportions. Where the covariance is common to all components there is one inverse Wishart and K means.
Source: Fraley & Raftery (2007), Journal of Classification 24, 155-181, tables 1 and 2 and section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families.priors.base import Prior, as_tuples

COMMON = ("EII", "EEI", "EEE")
POSSIBLE = (*COMMON, "VII", "VVI", "VVV")
"""Structures whose M-step is closed under the prior."""


@dataclass(frozen=True, repr=False)
class ConjugatePrior(Prior):
    """Prior of means and covariances of Gaussian components.

    Parameters
    ----------
    shrinkage : float, default=0.01
        Weight of the prior mean, in rows.
    mean : array-like of shape (d,), optional
        Default: the mean of all rows.
    dof : float, optional
        Degrees of freedom. Default: d + 2.
    scale : array-like of shape (d, d), optional
        Default: the covariance of all rows / K^(2/d); of diagonal and spherical structures its diagonal counts.
    """

    shrinkage: float = 0.01
    mean: Any = None
    dof: float | None = None
    scale: Any = None

    word = "conjugate"

    def __post_init__(self) -> None:
        """Turn lists into tuples of numbers, so that priors can be compared and written, and check them."""
        if not _is_number(self.shrinkage) or not 0 <= self.shrinkage < np.inf:
            raise ModelError.argument(name="shrinkage", requirement="a finite number >= 0", found=self.shrinkage)
        if self.dof is not None and (not _is_number(self.dof) or not 0 < self.dof < np.inf):
            raise ModelError.argument(name="prior dof", requirement="a finite number > 0", found=self.dof)
        for name, n_dimensions in (("mean", 1), ("scale", 2)):
            value = getattr(self, name)
            if value is None:
                continue
            requirement = "d finite numbers" if name == "mean" else "a symmetric positive definite matrix (d, d)"
            try:
                array = np.asarray(value, dtype=np.float64)
                if name == "scale":
                    np.linalg.cholesky(array)
            except (TypeError, ValueError, np.linalg.LinAlgError) as error:
                raise ModelError.argument(name=f"prior {name}", requirement=requirement, found=value) from error
            is_symmetric = n_dimensions == 1 or bool((np.abs(array - array.T) <= 1e-8 * np.abs(array)).all())
            if array.ndim != n_dimensions or not np.isfinite(array).all() or not is_symmetric:
                raise ModelError.argument(name=f"prior {name}", requirement=requirement, found=value)
            object.__setattr__(self, name, as_tuples(array))

    def __repr__(self) -> str:
        """What is given, arrays by their shape: `ConjugatePrior(shrinkage=0.01, dof=4.0, scale=2 x 2)`."""
        sizes = {"mean": "{0} numbers", "scale": "{0} x {0}"}
        given = [(name, getattr(self, name)) for name in ("shrinkage", "mean", "dof", "scale")]
        shown = (f"{n}={sizes[n].format(len(v)) if n in sizes else v}" for n, v in given if v is not None)
        return f"ConjugatePrior({', '.join(shown)})"

    def check_columns(self, d: int) -> None:
        """Raise a `ModelError` if the prior is of another number of columns."""
        for name in ("mean", "scale"):
            value = getattr(self, name)
            if value is not None and len(value) != d:
                raise ModelError.argument(name=f"prior {name}", requirement=f"{d} columns", found=len(value))

    def resolved(self, n: float, total: Array, products: Array, K: int, pivot: Array, unit: Array) -> ConjugatePrior:
        """With its defaults, from the weight n and the sums (d,) and (d, d) of all rows, about a pivot in a unit."""
        d, mean = len(total), total / n
        covariance = (products - n * np.outer(mean, mean)) / (n - 1) * np.outer(unit, unit)
        return replace(
            self,
            mean=pivot + unit * mean if self.mean is None else self.mean,
            dof=d + 2.0 if self.dof is None else self.dof,
            scale=covariance / K ** (2 / d) if self.scale is None else self.scale,
        )

    def joined(self, structure: str, count: Array, mean: Array, scatter: Array) -> tuple[Array, Array, Array]:
        """Counts (K,), means (K, d) and scatter (K, d, d) of the rows -> those whose maximum is the posterior's."""
        K, d = mean.shape
        prior_mean, scale, dof = np.array(self.mean), np.array(self.scale), float(self.dof or 0.0)
        weight = count + self.shrinkage
        off = mean - prior_mean
        pull = (self.shrinkage * count / weight)[:, None, None] * off[:, :, None] * off[:, None, :]
        joined_mean = (count[:, None] * mean + self.shrinkage * prior_mean) / weight[:, None]
        n_shares = K if structure in COMMON else 1
        if structure.endswith("II"):
            scale = np.eye(d) * np.trace(scale) / d / d
            extra = (dof + 2) / d
        else:
            extra = dof + (2 if structure.endswith("I") else d + 1)
        return count + 1 + extra / n_shares, joined_mean, scatter + pull + scale / n_shares

    def log_densities(self, structure: str, mean: Array, covariance: Array) -> Array:
        """(K,) log prior of each component's parameters, in nats, up to a constant.

        A covariance that is common to all counts once, with the first.
        """
        d = mean.shape[1]
        prior_mean, scale, dof = np.array(self.mean), np.array(self.scale), float(self.dof or 0.0)
        exponent = dof + d + 1
        if structure.endswith("II"):
            scale, exponent = np.eye(d) * np.trace(scale) / d / d, (dof + 2) / d
        elif structure.endswith("I"):
            exponent = dof + 2
        P, log_det = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
        off = mean - prior_mean
        of_means = -0.5 * (log_det + self.shrinkage * np.einsum("ki,kij,kj->k", off, P, off))
        each = -0.5 * (exponent * log_det + np.trace(P @ scale, axis1=1, axis2=2))
        return np.asarray(of_means + (each * (np.arange(len(each)) == 0) if structure in COMMON else each))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
