"""Conjugate priors: what they add to the sums that an M-step reads, so that EM climbs to the posterior mode (MAP).

Several priors of a mixture multiply: of its family, of its proportions, and `prior_rows`. A parameter held fixed
stays as it is, and what is free maximizes the same joint density beside it. Priors free no parameter and bind none: the
number of free parameters, AIC and BIC are those of the likelihood.
"""

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
