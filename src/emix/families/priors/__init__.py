"""Conjugate priors: what they add to the sums that an M-step reads, so that EM climbs to the posterior mode."""

from __future__ import annotations

from emix.families.priors.base import Prior
from emix.families.priors.columnwise import BetaPrior, GammaPrior, GammaRowsPrior, NormalInverseGammaPrior
from emix.families.priors.dirichlet import DirichletPrior
from emix.families.priors.gaussian import COMMON, POSSIBLE, ConjugatePrior

PRIORS: dict[str, type[Prior]] = {
    kind.word: kind
    for kind in (BetaPrior, GammaPrior, GammaRowsPrior, DirichletPrior, NormalInverseGammaPrior, ConjugatePrior)
}
"""By the names that text has for them: `poisson(prior=gamma(2, 0.5))`."""

__all__ = [
    "COMMON",
    "POSSIBLE",
    "PRIORS",
    "BetaPrior",
    "ConjugatePrior",
    "DirichletPrior",
    "GammaPrior",
    "GammaRowsPrior",
    "NormalInverseGammaPrior",
    "Prior",
]
