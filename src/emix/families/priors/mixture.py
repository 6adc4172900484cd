"""What a mixture does with its priors: of its family, of its proportions, and of rows like the whole table.

Where there are several, their densities multiply: what they add to the sums, and their logarithms, add up.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.families.priors.dirichlet import DirichletPrior

IMPOSSIBLE = -1e25
"""A log density below this is that of a parameter on the boundary, where the prior has none."""


class MixturePriors:
    """Parent of `Mixture`."""

    family: Any
    latent: Any
    latent_size: Any
    n_components: int | None
    prior_rows: float
    prior_statistics: Any
    mixing_prior: DirichletPrior | None

    def _check_priors(self) -> None:
        """Raise a `ModelError` if a prior is none for so many components and the columns that are bound."""
        prior = self.prior_rows
        if isinstance(prior, bool) or not isinstance(prior, int | float) or not 0 <= prior < np.inf:
            raise ModelError.argument(name="prior_rows", requirement="a finite number >= 0", found=prior)
        object.__setattr__(self, "mixing_prior", DirichletPrior.read(self.mixing_prior, owner="mixture: mixing_prior"))
        if self.mixing_prior is not None:
            self.mixing_prior.of_components(self.latent_size)
        self.family.check_prior(self.n_components)

    @property
    def has_prior(self) -> bool:
        """Whether estimates are posterior modes."""
        return self.prior_rows > 0 or self.mixing_prior is not None or self.family.has_prior

    @cached_property
    def _pseudo_counts(self) -> Array | None:
        """(K,) what the prior of the proportions adds to the expected counts."""
        return None if self.mixing_prior is None else self.mixing_prior.of_components(self.latent_size) - 1

    @property
    def _prior_sums(self) -> Array:
        """(D,) what the prior of rows adds to the expected statistics of each component."""
        return np.asarray(self.prior_rows * self.prior_statistics)

    def with_prior_of(self, sums: Array) -> Self:
        """With the prior that `prior_rows` asks for, from the sums (1 + D,) of all rows."""
        sums = self.family.whole(sums[None])[0]
        new: Self = replace(self, prior_statistics=sums[1:] / sums[0])  # type: ignore[type-var]
        return new

    def log_prior(self) -> float:
        """Log density of the parameters under the priors, in nats, up to a constant; 0 without one."""
        log_prior = self.family.log_prior()
        if self.mixing_prior is not None:
            log_prior += self.latent.log_prior()
        if self.prior_statistics is not None and not self.family.fixed.issuperset(self.family.spaces):
            log_prior += float((self.family.coefficients() @ self._prior_sums).sum())
        return float(log_prior)

    def check_start(self) -> None:
        """Raise a `ModelError` where a prior gives these parameters the density 0: nothing climbs from there."""
        if self.log_prior() < IMPOSSIBLE:
            raise ModelError.outside_prior(self)
