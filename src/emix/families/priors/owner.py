"""What a family does with its prior: the sums that it adds, and its log density.

Where the prior is conjugate its log density is, like the log-likelihood, linear in the coefficients of the family:
log prior = sum of coefficients x prior sums + a constant. The M-step on expected + prior sums is then its posterior
mode, and log-likelihood + log prior climbs.
Source: Dempster, Laird & Rubin (1977), Journal of the Royal Statistical Society B 39, section 2 (posterior modes);
Diaconis & Ylvisaker (1979), Annals of Statistics 7, 269-281 (conjugate priors as pseudo-statistics).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from emix.block import Array
from emix.families.priors.base import Prior
from emix.spaces import Space


class PriorOwner(ABC):
    """Parent of `Family`: a family that takes priors names their kind and writes `_sums_of_prior`."""

    prior_kind: ClassVar[type[Prior] | None] = None
    """What the constructor's `prior` must be; None for a family that has none."""

    fixed: frozenset[str]
    spaces: ClassVar[Mapping[str, Space]]
    binding: Any

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the bound columns."""

    @property
    @abstractmethod
    def n_components(self) -> int | None:
        """K, or None while no parameter has a value."""

    @abstractmethod
    def coefficients(self) -> Array:
        """(K, D), times T(x) the log-density."""

    @property
    def _prior(self) -> Any:
        return getattr(self, "prior", None)

    @property
    def has_prior(self) -> bool:
        """Whether `maximize` returns posterior modes instead of maximum-likelihood estimates."""
        return self._prior is not None and not self.fixed.issuperset(self.spaces)

    def _prior_columns(self) -> int:
        """For how many columns the prior may differ; 1 where there is a single parameter for all of them."""
        return len(self.columns)

    def _hyperparameters(self, K: int, *names: str) -> tuple[Array, ...]:
        """Of the prior, each (K, d)."""
        return tuple(self._prior.values(name, K, self._prior_columns()) for name in names)

    def prior_sums(self, K: int) -> Array | None:
        """(K, D) what the prior adds to the expected statistics; None without one.

        Raises
        ------
        ModelError
            Its hyperparameters do not have the shape that K components and the bound columns require.
        """
        known = vars(self).get("_prior_sums")  # by the M-step before: the same in all iterations
        if known is not None and len(known) == K:
            return np.asarray(known)
        return None if self._prior is None else self._sums_of_prior(K)

    def _sums_of_prior(self, K: int) -> Array | None:
        """`prior_sums` where there is a prior; None where it is joined to the sums in a way of its own."""
        return None

    def check_prior(self, K: int) -> None:
        """Raise a `ModelError` if the prior is not one for K components and the bound columns."""
        if self._prior is not None and self.binding is not None:
            self.prior_sums(K)

    def log_prior(self) -> float:
        """Log density of the parameters under the prior, in nats, up to a constant; 0 without one."""
        return float(self.log_prior_of_components().sum())

    def log_prior_of_components(self) -> Array:
        """(K,) what each component adds to `log_prior`."""
        terms = self._log_prior_terms()
        if terms.size == 0:
            return np.zeros(self.n_components or 0)
        return np.asarray(terms.sum(axis=1) if terms.ndim == 2 else terms.sum(axis=(0, 2)))

    def _log_prior_terms(self) -> Array:
        """What `log_prior` adds up; its rounding is that of these."""
        sums = self.prior_sums(self.n_components or 0) if self.has_prior else None
        return np.zeros(0) if sums is None else self.coefficients() * sums

    def prior_noise(self) -> float:
        """Rounding of `log_prior`, in nats."""
        return 8 * float(np.finfo(np.float64).eps) * float(np.abs(self._log_prior_terms()).sum())
