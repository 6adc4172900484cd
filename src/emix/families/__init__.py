"""p(x given z): one family per file, and the registry of them."""

from __future__ import annotations

import ast
import re
from typing import Any

from emix.errors import ModelError
from emix.families.base import Binding, Family, Support, Work
from emix.families.bernoulli import Bernoulli
from emix.families.beta import Beta
from emix.families.binomial import Binomial
from emix.families.categorical import Categorical
from emix.families.censored import CensoredExponential
from emix.families.censored_weibull import CensoredWeibull
from emix.families.columns import Columns
from emix.families.exponential import Exponential
from emix.families.gamma import Gamma
from emix.families.geometric import Geometric
from emix.families.inverse_gaussian import InverseGaussian
from emix.families.lognormal import LogNormal
from emix.families.multinomial import Multinomial
from emix.families.multivariate_normal import MultivariateNormal
from emix.families.negative_binomial import NegativeBinomial
from emix.families.normal import Normal
from emix.families.poisson import Poisson
from emix.families.priors import (
    PRIORS,
    BetaPrior,
    ConjugatePrior,
    DirichletPrior,
    GammaPrior,
    GammaRowsPrior,
    NormalInverseGammaPrior,
)
from emix.families.scipy_distribution import ScipyDistribution
from emix.families.structures import STRUCTURES, FactorAnalytic
from emix.families.student_t import StudentT
from emix.families.truncated_poisson import TruncatedPoisson
from emix.families.von_mises import VonMises
from emix.families.zero_inflated_poisson import ZeroInflatedPoisson

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Bernoulli,
        Binomial,
        Categorical,
        Multinomial,
        Poisson,
        TruncatedPoisson,
        ZeroInflatedPoisson,
        NegativeBinomial,
        Geometric,
        Exponential,
        Gamma,
        Normal,
        LogNormal,
        MultivariateNormal,
        StudentT,
        Beta,
        VonMises,
        InverseGaussian,
        CensoredExponential,
        CensoredWeibull,
        ScipyDistribution,
    )
}


def parse(text: str) -> Family:
    """A family from text such as `poisson` or `binomial(n_trials=10)`: a name and literals, never code.

    A prior is written in the same way: `poisson(prior=gamma(2, 0.5))`, `categorical(prior=dirichlet({'a': 2}))`.

    Raises
    ------
    ModelError
        The name is unknown, or the arguments are not literals that the family takes.
    """
    name, _, rest = text.strip().partition("(")
    kind = FAMILIES.get(name.strip().lower())
    if kind is None:
        raise ModelError.unknown_family(found=name.strip(), available=FAMILIES)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    if rest:
        try:
            call = ast.parse(f"f({rest}", mode="eval").body
            if not isinstance(call, ast.Call):
                raise ValueError("not a call")
            arguments = [_literal(argument) for argument in call.args]
            read = {"prior": _prior}
            keywords = {str(one.arg): read.get(str(one.arg), _literal)(one.value) for one in call.keywords}
        except ModelError:
            raise
        except TypeError as error:
            detail = re.sub(r"^\w+\.__init__\(\) ", "", str(error))
            raise ModelError.family_text(found=text, detail=f"in its prior, {detail}") from error
        except (SyntaxError, ValueError) as error:
            raise ModelError.family_text(found=text, detail="not a name with literal arguments") from error
    for name in ("fixed", "binding"):
        if name in keywords:
            raise ModelError.family_text(found=text, detail=f"'{name}' is no option of a family")
    if "prior" in keywords and kind.prior_kind is None:
        owners = ", ".join(one.name for one in FAMILIES.values() if one.prior_kind is not None)
        raise ModelError.family_text(found=text, detail=f"{kind.name} takes no prior; those that do are {owners}")
    try:
        return kind(*arguments, **keywords)
    except TypeError as error:
        detail = re.sub(r"^\w+\.__init__\(\) ", "", str(error))
        raise ModelError.family_text(found=text, detail=detail) from error


def _literal(node: ast.expr) -> Any:
    """A literal; a bare word is text, so that a shell needs no second pair of quotes: `binomial(n_trials=tosses)`."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id.lower(), node.id)
    return ast.literal_eval(node)


def _prior(node: ast.expr) -> Any:
    """A prior by its short name or its class: `gamma(2, 0.5)`, `GammaPrior(shape=2, rate=0.5)`; or a literal."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return _literal(node)
    named = {kind.__name__.lower(): kind for kind in PRIORS.values()} | PRIORS
    if node.func.id.lower() not in named:
        raise ModelError.choice(what="prior", found=node.func.id, available=PRIORS)
    values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return named[node.func.id.lower()](*(ast.literal_eval(one) for one in node.args), **values)


__all__ = [
    "FAMILIES",
    "STRUCTURES",
    "Bernoulli",
    "Beta",
    "BetaPrior",
    "Binding",
    "Binomial",
    "Categorical",
    "CensoredExponential",
    "CensoredWeibull",
    "Columns",
    "ConjugatePrior",
    "DirichletPrior",
    "Exponential",
    "FactorAnalytic",
    "Family",
    "Gamma",
    "GammaPrior",
    "GammaRowsPrior",
    "Geometric",
    "InverseGaussian",
    "LogNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "NormalInverseGammaPrior",
    "Poisson",
    "ScipyDistribution",
    "StudentT",
    "Support",
    "TruncatedPoisson",
    "VonMises",
    "Work",
    "ZeroInflatedPoisson",
    "parse",
]
