"""From the text of options to models and starts."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from emix import persistence
from emix.data.auto import Assumption, assume, identifiers, measurements
from emix.data.table import Table
from emix.em.starts import METHODS
from emix.errors import ModelError
from emix.families import Categorical, Columns, Family, MultivariateNormal, StudentT, parse
from emix.families.columns import Part
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
    constraints: Sequence[str] = (),
    assumed_of: str = "of the columns",
) -> Mixture:
    """The mixture that the options describe; `assumed_of` says what families are assumed from.

    Raises
    ------
    ModelError
        A family, parameter or number of components that cannot be.
    """
    chosen = family_of(table, n_components, family, covariance, assumed_of)
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
    return Mixture(chosen, n_components, proportions, fixed, noise=noise, constraints=tuple(constraints))


def is_by_column(text: str | None) -> bool:
    """Whether this gives families to columns: `age=normal,(height,weight)=multivariate_normal`."""
    head, equals, _ = (text or "").partition("=")
    return bool(equals) and head.count("(") == head.count(")")  # else an argument: `binomial(n_trials=10)`


def without_identifiers(table: Table, family: str | None) -> Table:
    """The table without the columns that only number or name its rows, which is said on stderr.

    A family that is given column by column, or chosen so, leaves them out itself.
    """
    is_mixed = any(cells.dtype.kind not in "iuf" for cells in table.columns)
    if table.is_tosses or is_by_column(family) or (family is None and is_mixed):
        return table
    found = identifiers(table)
    if not found or len(found) == len(table.names):
        return table
    _say("Left out (--columns keeps it):", found)
    return table.without(*(one.column for one in found))


def family_of(
    table: Table,
    n_components: int,
    family: str | None,
    covariance: str | None,
    assumed_of: str = "of the columns",
) -> Family:
    """The family that `--family` and `--covariance` say, or that the columns look like.

    Raises
    ------
    ModelError
        There is no such family or covariance.
    """
    if family is None and covariance is not None:
        return _with_covariance(table, n_components, covariance)
    if family is None or (table.is_tosses and family.strip() == "binomial"):
        return _assumed(table, n_components, {}, assumed_of)
    if is_by_column(family):
        given: dict[str | tuple[str, ...], Family] = {}
        for piece in _split(family):
            name, _, text = piece.partition("=")
            given[_columns(name.strip(), table)] = parse(text)
        if covariance is not None:
            given = _all_with(covariance, given)
        return _assumed(table, n_components, given, assumed_of)
    chosen = parse(family)
    return chosen if covariance is None else _all_with(covariance, {family: chosen})[family]


def _split(text: str) -> list[str]:
    """Pieces between commas outside of brackets."""
    pieces, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece for piece in pieces if piece.strip()]


def _columns(text: str, table: Table) -> str | tuple[str, ...]:
    """A column, or `(height,weight)` for several that share a family."""
    if text in table.names or not (text.startswith("(") and text.endswith(")")):
        return text
    names = tuple(name.strip() for name in text[1:-1].split(",") if name.strip())
    return names if len(names) > 1 else names[0] if names else text


def _all_with(covariance: str, given: dict[Any, Family]) -> dict[Any, Family]:
    """The families with this covariance, where they have one.

    Raises
    ------
    ModelError
        None of them has.
    """
    changed = {
        key: replace(one, structure=covariance) if isinstance(one, MultivariateNormal | StudentT) else one
        for key, one in given.items()
    }
    if all(new is old for new, old in zip(changed.values(), given.values(), strict=True)):
        requirement = "the family multivariate_normal or student_t"
        raise ModelError.argument(
            name="--covariance", requirement=requirement, found=", ".join(map(str, given.values()))
        )
    return changed


def _with_covariance(table: Table, n_components: int, covariance: str) -> Family:
    """One multivariate normal of all columns of numbers, and beside it what the other columns look like."""
    chosen = MultivariateNormal(structure=covariance)
    numbers = measurements(table)
    if all(cells.dtype.kind in "iuf" for cells in table.columns) or not numbers:
        return chosen
    return _assumed(table, n_components, {numbers if len(numbers) > 1 else numbers[0]: chosen})


def _assumed(table: Table, n_components: int, given: dict[Any, Family], assumed_of: str = "of the columns") -> Family:
    """What the columns look like, said on stderr where it is more than one kind."""
    family, assumptions = assume(table, n_components, given=given)
    _say(f"Assumed {assumed_of} (--family COLUMN=FAMILY changes it):", assumptions)
    return family


def _say(title: str, assumptions: list[Assumption]) -> None:
    if assumptions:
        console = Console(stderr=True, soft_wrap=True)
        console.print(title, highlight=False)
        for one in assumptions:
            console.print(Text(f"  {one}"))


def with_unknown_as_missing(model: Mixture, *, is_asked: bool) -> Mixture:
    """The model, to which a category that it does not know is as good as a missing cell."""
    if not is_asked:
        return model
    family = model.family
    if isinstance(family, Columns):
        parts = tuple(Part(part.names, _forgiving(part.family)) for part in family.parts)
        return replace(model, family=replace(family, families=parts))
    return replace(model, family=_forgiving(family))


def _forgiving(family: Family) -> Family:
    return replace(family, unknown="missing") if isinstance(family, Categorical) else family
