"""Covariance structures of Gaussian mixtures as M-steps: scatter matrices and counts -> covariances.

Fourteen by volume, shape and orientation (base.py says what the letters mean), and covariances by common factors.
"""

from __future__ import annotations

import re

from emix.errors import ModelError
from emix.families.structures.axis_aligned import EEI, EII, EVI, VEI, VII, VVI
from emix.families.structures.base import Structure
from emix.families.structures.common_axes import EVE, VVE
from emix.families.structures.ellipsoids import EEE, EEV, EVV, VEE, VEV, VVV
from emix.families.structures.factors import FactorAnalytic

STRUCTURES: dict[str, Structure] = {
    one.name: one
    for one in (
        EII(),
        VII(),
        EEI(),
        VEI(),
        EVI(),
        VVI(),
        EEE(),
        VEE(),
        EVE(),
        VVE(),
        EEV(),
        VEV(),
        EVV(),
        VVV(),
    )
}
"""The fourteen by mclust's names, in mclust's order."""

ALIASES = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII", "E": "EII", "V": "VII"}
"""Names that scikit-learn uses, and mclust's for a single column."""


def structure(spec: str | Structure) -> Structure:
    """A structure by its name, in capitals or not, by its alias, or as `factor_analytic(2)`; a structure as it is.

    Shared parts are written `factor_analytic(2, tied=loadings+uniquenesses)`, which is also how it is saved.

    Raises
    ------
    ModelError
        There is none of this name.
    """
    if isinstance(spec, Structure):
        return spec
    factors = re.fullmatch(r"factor_analytic\((\d+)(?:, *tied=([a-z+]+))?\)", spec) if isinstance(spec, str) else None
    if factors is not None:
        return FactorAnalytic(int(factors[1]), frozenset(factors[2].split("+") if factors[2] else ()))
    found = STRUCTURES.get(ALIASES.get(spec, spec).upper()) if isinstance(spec, str) else None
    if found is None:
        raise ModelError.choice(what="covariance structure", found=spec, available=[*STRUCTURES, *ALIASES])
    return found


__all__ = ["ALIASES", "STRUCTURES", "FactorAnalytic", "Structure", "structure"]
