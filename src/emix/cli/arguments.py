"""From the text of options to models and starts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from emix import persistence
from emix.data.auto import Assumed, Assumption, assume, identifiers, measurements
from emix.data.table import Table
from emix.em.starts import METHODS
from emix.errors import ModelError
from emix.families import Categorical, Columns, Family, MultivariateNormal, StudentT, parse
from emix.families.columns import Part
from emix.model import Mixture

SHOWN = 30
"""Columns that are kept of which it is said what was assumed."""


@dataclass(frozen=True)
class Sample:
    """Rows from which families are assumed: of a table all, of files every `step`-th or the first.

    Attributes
    ----------
    table : Table
        The rows, with the columns of the model.
    step : int
        1 where no row between them is left out.
    are_chosen : bool
        Whether the columns were asked for one by one.
    title : str
        What families are assumed of.
    """

    table: Table
    step: int = 1
    are_chosen: bool = False
    title: str = "the columns"


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
    sample: Sample,
    n_components: int,
    family: str | None,
    covariance: str | None,
    fix: str | None,
    start: str | Mixture | dict[str, Any] | None,
    *,
    noise: bool = False,
    constraints: Sequence[str] = (),
) -> Mixture:
    """The mixture that the options describe.

    Raises
    ------
    ModelError
        A family, parameter or number of components that cannot be.
    """
    chosen = family_of(sample, n_components, family, covariance)
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


def is_open(family: str | None, covariance: str | None) -> bool:
    """Whether families are assumed from the columns, or some of them are."""
    return is_by_column(family) or (family is None and covariance is None)


def without_identifiers(sample: Sample, family: str | None, covariance: str | None) -> Sample:
    """The sample without the columns that only number or name its rows, which is said on stderr.

    Families that are assumed column by column leave them out themselves.
    """
    table = sample.table
    if sample.are_chosen or table.is_tosses or is_open(family, covariance):
        return sample
    if family is None and any(cells.dtype.kind not in "iuf" for cells in table.columns):
        return sample
    found = identifiers(table, step=sample.step)
    if not found or len(found) == len(table.names):
        return sample
    _say("Left out (--columns keeps it):", found)
    return replace(sample, table=table.without(*(one.column for one in found)))


def family_of(sample: Sample, n_components: int, family: str | None, covariance: str | None) -> Family:
    """The family that `--family` and `--covariance` say, or that the columns look like.

    Raises
    ------
    ModelError
        There is no such family or covariance.
    """
    table = sample.table
    if family is None and covariance is not None:
        return _with_covariance(sample, n_components, covariance)
    if family is None or (table.is_tosses and family.strip() == "binomial"):
        return assumed(sample, [n_components])(n_components)
    if is_by_column(family):
        given: dict[str | tuple[str, ...], Family] = {}
        for piece in _split(family):
            name, _, text = piece.partition("=")
            key = _columns(name.strip(), table)
            given[key] = parse(text)
            _check_event(key, given[key])
        if covariance is not None:
            given = _all_with(covariance, given)
        return assumed(sample, [n_components], given)(n_components)
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


def _check_event(key: str | tuple[str, ...], family: Family) -> None:
    """Raise where a family of durations lacks its column of events, and say how both are named."""
    names, event = (key,) if isinstance(key, str) else key, family.support.event_column
    if event is not None and event not in names:
        remedy = f'--family "({",".join(names)},{event})={family}"'.replace("'", "")
        raise ModelError.lacks_event(family=family.name, column=event, found=names, remedy=remedy)


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


def _with_covariance(sample: Sample, n_components: int, covariance: str) -> Family:
    """One multivariate normal of all columns of numbers, and beside it what the other columns look like."""
    chosen = MultivariateNormal(structure=covariance)
    numbers = measurements(sample.table)
    if all(cells.dtype.kind in "iuf" for cells in sample.table.columns) or not numbers:
        return chosen
    given: dict[Any, Family] = {numbers if len(numbers) > 1 else numbers[0]: chosen}
    return assumed(sample, [n_components], given)(n_components)


def assumed(sample: Sample, numbers: Sequence[int], given: dict[Any, Family] | None = None) -> Callable[[int], Family]:
    """What the columns look like, for each number of components, said on stderr."""
    found: Assumed = assume(sample.table, given=given, are_chosen=sample.are_chosen, step=sample.step)
    _say(f"Assumed of {sample.title} (--family COLUMN=FAMILY changes it):", found.assumptions(*numbers))
    return found.family


def _say(title: str, assumptions: list[Assumption]) -> None:
    """What was assumed; of many columns of all that were left out, and of the first others."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(title, highlight=False)
    kept = [one for one in assumptions if one.family is not None]
    for one in assumptions:
        if one.family is None or one in kept[:SHOWN]:
            console.print(Text(f"  {one}"))
    if len(kept) > SHOWN:
        console.print(f"  ... and {len(kept) - SHOWN} more columns", highlight=False)


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
