"""From the text of options to models and starts."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from emix import persistence
from emix.data.auto import assume
from emix.data.table import Table
from emix.em.starts import METHODS
from emix.errors import ModelError
from emix.families import Family, MultivariateNormal, StudentT, parse
from emix.model import Mixture


def parse_start(text: str | None) -> str | Mixture | dict[str, Any] | None:
    """A method's name, a model from a file, or parameters by name.

    Raises
    ------
    ModelError
        It is none of these.
    """
    if text is None or text in METHODS:
        return text
    if "=" in text:
        return dict(_assignment(part) for part in text.split(";") if part.strip())
    if Path(text).suffix == ".json" or Path(text).exists():
        return persistence.load(text)
    raise ModelError.choice(
        what="start", found=text, available=[*METHODS, "a model file", "parameters such as probability=0.6,0.5"]
    )


def _assignment(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    value = value.strip()
    try:
        return name.strip(), ast.literal_eval(value if value.startswith("[") else f"[{value}]")
    except (ValueError, SyntaxError) as error:
        raise ModelError.argument(
            name="--start",
            requirement="parameters such as 'probability=0.6,0.5; mixing_proportions=0.5,0.5'",
            found=text,
        ) from error


def build_model(
    table: Table,
    n_components: int,
    family: str | None,
    covariance: str | None,
    fix: str | None,
    start: str | Mixture | dict[str, Any] | None,
    *,
    noise: bool = False,
    assumed_of: str = "of the columns",
) -> Mixture:
    """The mixture that the options describe; `assumed_of` says what families are assumed from.

    Raises
    ------
    ModelError
        A family, parameter or number of components that cannot be.
    """
    chosen = _family(table, n_components, family, covariance, assumed_of)
    fixed = frozenset(name.strip() for name in (fix or "").split(",") if name.strip())
    given: dict[str, Any] = dict(start) if isinstance(start, dict) else {}
    proportions = given.pop("mixing_proportions", None)
    for name in given:
        if name not in chosen.spaces:
            raise ModelError.choice(
                what="parameter in --start", found=name, available=["mixing_proportions", *chosen.spaces]
            )
    chosen = chosen.with_parameters(given) if given else chosen
    if isinstance(start, dict) and not chosen.is_fitted:
        missing = [name for name in chosen.spaces if name not in chosen.parameters]
        raise ModelError.argument(name="--start", requirement=f"values for {', '.join(missing)} as well", found=given)
    if isinstance(start, Mixture) and fixed:
        held = {name: value for name, value in start.family.parameters.items() if name in fixed}
        chosen = chosen.with_parameters(held)
        proportions = start.mixing_proportions if "mixing_proportions" in fixed else None
    return Mixture(chosen, n_components, proportions, fixed, noise=noise)


def _family(table: Table, n_components: int, family: str | None, covariance: str | None, assumed_of: str) -> Family:
    if family is None and covariance is not None:
        return MultivariateNormal(structure=covariance)
    if family is None or (table.is_tosses and family.strip() == "binomial"):
        return _assumed(table, n_components, {}, assumed_of)
    by_column = re.fullmatch(r"[^=()]+=.*", family.strip())
    if by_column is not None:
        pieces = [piece.partition("=") for piece in re.split(r",(?![^()]*\))", family)]
        return _assumed(table, n_components, {name.strip(): parse(text) for name, _, text in pieces}, assumed_of)
    chosen = parse(family)
    if covariance is not None:
        if not isinstance(chosen, MultivariateNormal | StudentT):
            requirement = "the family multivariate_normal or student_t"
            raise ModelError.argument(name="--covariance", requirement=requirement, found=str(chosen))
        chosen = replace(chosen, structure=covariance)
    return chosen


def _assumed(table: Table, n_components: int, given: dict[str, Family], assumed_of: str) -> Family:
    """What the columns look like, said on stderr where it is more than one kind."""
    family, assumptions = assume(table, n_components, given=given)
    if assumptions:
        console = Console(stderr=True)
        console.print(f"Assumed {assumed_of} (--family COLUMN=FAMILY changes it):", highlight=False)
        for one in assumptions:
            console.print(Text(f"  {one}"))
    return family
