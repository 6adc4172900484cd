"""The centred path: each component's statistics about its own mean, in its own scale.

About one pivot for all, a component that lies 1e6 of its own standard deviations away takes its variance as a small
difference of large numbers. Here each component reads the rows through a binding of its own, made from its parameters;
the same families do the same arithmetic with numbers of the size of 1. K times the filling of tiles, in NumPy, and no
leaps (the coordinates of the sums move with the parameters): only for fits that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from emix.block import Array, Chunk, Expectation, updated
from emix.families import Family, Work
from emix.model import Audit, Mixture

LARGE = 1e7
"""Sum of a component's coefficients, in units in which statistics are about 1, from which a row's log-density has less
than nine correct decimals."""


@dataclass(frozen=True, eq=False)
class CentredMixture(Mixture):
    """A mixture with parameters whose E-step and M-step are taken about each component's own mean."""

    @cached_property
    def _parts(self) -> list[Family]:
        """Each component as a family of its own."""
        return [self.family.reordered(np.array([k])).centred() for k in range(self.latent_size)]

    def log_joint(self, chunk: Chunk) -> Array:
        """As `Mixture.log_joint`."""
        log_p = self.latent.coefficients()
        rows = [log_p[k] + part.log_prob(chunk.cells)[0] for k, part in enumerate(self._parts)]
        known = chunk.log_knowledge(self.latent_size)
        return np.stack(rows) if known is None else np.stack(rows) + known

    def sum_statistics(self, chunk: Chunk, weighted_resp: Array) -> Array:
        """As `Mixture.sum_statistics`, each row of the result in its component's own coordinates."""
        pairs = zip(self._parts, weighted_resp, strict=True)
        own = np.concatenate([part.accumulate(chunk.cells, resp[None]) for part, resp in pairs])
        return np.concatenate([weighted_resp.sum(axis=1, keepdims=True), own], axis=1)

    def expect(self, chunk: Chunk) -> Expectation:
        """As `Mixture.expect`, by the NumPy path."""
        return super().expect(replace(chunk, n_source_rows=0))

    def maximize(self, statistics: Array) -> Self:
        """As `Mixture.maximize`, component by component."""
        family = self.family.maximize_apart(self._parts, statistics[:, 1:])
        proportions = self.latent.maximize(statistics[:, 0]).mixing_proportions
        return replace(self, family=updated(family), mixing_proportions=proportions)

    def log_prob(self, x: Array) -> Array:
        """As `Mixture.log_prob`."""
        return np.concatenate([part.log_prob(x) for part in self._parts])

    def raw_statistics(self, statistics: Array) -> Array:
        """As `Mixture.raw_statistics`."""
        parts = enumerate(self._parts)
        raw = [part.raw_statistics(statistics[k : k + 1, 1:]) for k, part in parts]
        return np.concatenate([statistics[:, :1], np.concatenate(raw)], axis=1)

    def work(self, statistics: Array) -> tuple[Work, ...]:
        """As `Mixture.work`."""
        by_part = [part.work(statistics[k : k + 1, 1:]) for k, part in enumerate(self._parts)]
        return tuple(_joined(lines) for lines in zip(*by_part, strict=True))

    def audit(self, expectation: Expectation) -> Audit:
        """As `Mixture.audit`; the terms of a centred sum are no larger than what they add up to.

        What remains is that a covariance is stored with eps of its largest entries. That moves its smallest conditional
        variance v by a share of eps / v, and a row's log-likelihood, at its maximum, by a quarter of its square.
        """
        eps, terms = float(np.finfo(np.float64).eps), 0.0
        least = min(float(part.narrowness()[0].min()) for part in self._parts)
        if not all(part.binding is None or part.binding.is_complete for part in self._parts):  # then not whitened
            S = np.abs(expectation.statistics[:, 1:])
            terms = sum(float(np.abs(part.coefficients()[0]) @ S[k]) for k, part in enumerate(self._parts))
        size = max(expectation.magnitude, expectation.weight, terms)
        noise = 8 * eps * size + expectation.weight * (eps / least) ** 2 / 4
        noise += expectation.weight * self.family.boundary_noise() + self.family.prior_noise()
        return Audit(float(expectation.statistics[:, 0].sum()), noise, True)


def _joined(lines: Sequence[Work]) -> Work:
    """One line of a worked M-step from those of the single components."""
    first = lines[0]
    arrays: dict[str, Any] = {
        name: None if getattr(first, name) is None else np.concatenate([getattr(line, name) for line in lines])
        for name in ("value", "numerator", "denominator")
    }
    return replace(first, **arrays)


def plain(model: Mixture) -> Mixture:
    """The same model as a `Mixture`, whatever path it was fitted on, and without what its fit had computed before.

    So that it gives the same bits as one that was saved and loaded.
    """
    values = {field.name: getattr(model, field.name) for field in fields(Mixture)}
    return Mixture(**{**values, "family": updated(model.family)})


def centred(model: Mixture) -> CentredMixture:
    """The same model on the centred path."""
    return CentredMixture(**{field.name: getattr(model, field.name) for field in fields(Mixture)})


def well_conditioned(model: Mixture) -> Mixture:
    """The model, on the centred path if its coefficients are so large that densities would lose their digits.

    Not under constraints: the M-step there takes each component by itself, and ties know none by itself.
    """
    if not model.family.can_be_centred or model.has_noise or model.constraints or isinstance(model, CentredMixture):
        return model
    sizes = np.abs(model.family.coefficients()).sum(axis=1)
    return centred(model) if (sizes > LARGE).any() else model
