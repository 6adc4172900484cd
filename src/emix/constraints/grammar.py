"""Constraints as text, one each: `sd tied`, `mean[0] = 0`, `mean[0] = mean[1]`, `0.1 <= mixing_proportions[1] <= 0.5`.

PARAMETER[COMPONENT, COLUMN, LEVEL]    the indices may be left out from the right; * and what is left out mean all
X tied           equal in all components, each column (and level) by itself
X = Y = ...      equal entries of one parameter
X = 1/3          held at a number
X fixed          held at its value in the start
X >= a, X <= b, a <= X <= b
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from emix.errors import ModelError

OPERATORS = re.compile(r"<=|>=|==|=|<|>")
PLAIN = re.compile(r"[^\s,'\"\[\]*](?:[^,'\"\[\]]*[^\s,'\"\[\]])?")
"""A column or level that needs no quotes."""


@dataclass(frozen=True)
class Entry:
    """Some entries of a parameter."""

    parameter: str
    component: int | str | None = None
    """Number or name; None for all."""
    places: tuple[str | None, ...] = ()
    """Column and level; None for all."""

    def __str__(self) -> str:
        """As it is written."""
        indices = [self.component, *self.places]
        while indices and indices[-1] is None:
            indices.pop()
        return self.parameter + (f"[{', '.join(_quoted(one) for one in indices)}]" if indices else "")


@dataclass(frozen=True)
class Constraint:
    """One constraint on the entries of one parameter.

    Attributes
    ----------
    kind : {'tied', 'equal', 'fixed', 'bounded'}
        With 'equal' the entries are equal, and equal to `value` where there is one.
    entries : tuple of Entry
        Of one parameter.
    held : tuple of float or None
        With 'fixed', the values of the entries, once they are known: components first, then columns and levels.
    """

    kind: str
    entries: tuple[Entry, ...]
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    held: tuple[float, ...] | None = field(default=None, repr=False)
    written: str = field(default="", repr=False, compare=False)
    """As the user wrote it, where that was of another name (`sd`)."""

    @property
    def parameter(self) -> str:
        """Its name."""
        return self.entries[0].parameter

    def __str__(self) -> str:
        """As it is written; `parse_constraint` reads it back, to the last bit."""
        if self.written:
            return self.written
        first = str(self.entries[0])
        if self.kind in ("tied", "fixed"):
            return f"{first} {self.kind}"
        if self.kind == "equal":
            sides = [str(entry) for entry in self.entries] + ([] if self.value is None else [_written(self.value)])
            return " = ".join(sides)
        if self.lower is None or self.upper is None:
            return f"{first} >= {_written(self.lower)}" if self.upper is None else f"{first} <= {_written(self.upper)}"
        return f"{_written(self.lower)} <= {first} <= {_written(self.upper)}"

    def of_parameter(self, name: str) -> Constraint:
        """The same on a parameter of another name."""
        return replace(self, entries=tuple(replace(entry, parameter=name) for entry in self.entries))

    def powered(self, name: str, power: int) -> Constraint:
        """The same on the parameter `name`, which is this power of what is written (a variance, of a deviation).

        Raises
        ------
        ModelError
            A number is below 0.
        """
        numbers = [number for number in (self.value, self.lower, self.upper) if number is not None]
        if any(number < 0 for number in numbers):
            raise ModelError.constraint_impossible(found=self, detail=f"'{self.parameter}' lies at or above 0")
        value, lower, upper = (None if n is None else n**power for n in (self.value, self.lower, self.upper))
        return replace(self.of_parameter(name), value=value, lower=lower, upper=upper, written=str(self))

    def named(self, names: Sequence[str] | None) -> Constraint:
        """With numbers for the components that `names` knows by name."""
        known = {} if names is None else {name: k for k, name in enumerate(names)}
        return replace(
            self,
            entries=tuple(
                replace(entry, component=known.get(entry.component, entry.component))
                if isinstance(entry.component, str)
                else entry
                for entry in self.entries
            ),
        )

    def reordered(self, order: Sequence[int]) -> Constraint:
        """The same of components in this order; what is fixed is read again from the parameters."""
        place = {int(old): new for new, old in enumerate(order)}
        entries = tuple(
            replace(entry, component=place.get(entry.component, entry.component))
            if isinstance(entry.component, int)
            else entry
            for entry in self.entries
        )
        return replace(self, entries=entries, held=None, written="")


@dataclass(frozen=True)
class Constraints:
    """The constraints on the parameters of a family of so many components."""

    items: tuple[Constraint, ...] = ()
    n_components: int = 0

    def __iter__(self) -> Iterator[Constraint]:
        """One after another."""
        return iter(self.items)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.items)

    def of(self, name: str) -> tuple[Constraint, ...]:
        """Those on one parameter."""
        return tuple(one for one in self.items if one.parameter == name)


NO_CONSTRAINTS = Constraints()


def parse_constraint(text: str | Constraint) -> Constraint:
    """A constraint from its text.

    Raises
    ------
    ModelError
        It is none of the forms.
    """
    if isinstance(text, Constraint):
        return text
    if not isinstance(text, str):
        raise ModelError.constraint_text(found=text, detail="a constraint is written as text")
    sides, operators = _sides(text)
    if not operators:
        what, _, word = text.strip().rpartition(" ")
        if word not in ("tied", "fixed") or not what.strip():
            raise ModelError.constraint_text(found=text, detail="it has no =, <= or >=, nor ends in tied or fixed")
        return Constraint(word, (_entry(what, text),))
    kinds = {"=" if one == "==" else one for one in operators}
    if kinds & {"<", ">"}:
        raise ModelError.constraint_text(found=text, detail="a bound is written <= or >=, and is allowed itself")
    if len(kinds) > 1:
        raise ModelError.constraint_text(found=text, detail="it mixes different signs")
    numbers = [_number(side) for side in sides]
    entries = tuple(_entry(side, text) for side, number in zip(sides, numbers, strict=True) if number is None)
    values = {number for number in numbers if number is not None}
    if not entries:
        raise ModelError.constraint_text(found=text, detail="it names no parameter")
    if kinds == {"="}:
        if len(values) > 1:
            raise ModelError.constraint_text(found=text, detail="it gives two values")
        if len({entry.parameter for entry in entries}) > 1:
            raise ModelError.constraint_text(found=text, detail="it ties different parameters, not entries of one")
        return Constraint("equal", entries, value=values.pop() if values else None)
    if kinds == {">="}:
        sides, numbers = sides[::-1], numbers[::-1]
    known = [number is not None for number in numbers]
    if known not in ([True, False], [False, True], [True, False, True]):
        raise ModelError.constraint_text(found=text, detail="a bound is a number")
    place = known.index(False)
    lower = numbers[place - 1] if place > 0 else None
    upper = numbers[place + 1] if place + 1 < len(numbers) else None
    return Constraint("bounded", entries, lower=lower, upper=upper)


def _characters(text: str) -> Iterator[tuple[int, str, bool]]:
    """Position, character, and whether it stands outside quotes and brackets; quotes only count in brackets."""
    quote, depth = "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
            yield i, c, False
        elif depth and c in "'\"":
            quote = c
            yield i, c, False
        else:
            depth += (c == "[") - (c == "]")
            yield i, c, depth == 0 and c != "]"


def _sides(text: str) -> tuple[list[str], list[str]]:
    """What stands between the signs, and the signs."""
    masked = "".join(c if outside else " " for _, c, outside in _characters(text))
    signs = list(OPERATORS.finditer(masked))
    edges = [0, *(edge for sign in signs for edge in sign.span()), len(text)]
    return [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)], [sign.group() for sign in signs]


def _number(text: str) -> float | None:
    """A finite number such as `0.5` or `1/3`; None for anything else."""
    try:
        return float(Fraction(text)) if "/" in text else _finite(float(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _entry(text: str, whole: str) -> Entry:
    """`mean[0, age]`."""
    name, bracket, rest = text.strip().partition("[")
    if not name.strip() or "]" in name or (bracket and not rest.rstrip().endswith("]")):
        raise ModelError.constraint_text(found=whole, detail=f"{text!r} is no entry such as mean[0, age]")
    if not bracket:
        return Entry(name.strip())
    items = _items(rest.rstrip()[:-1])
    if not 1 <= len(items) <= 3 or "" in items:
        raise ModelError.constraint_text(found=whole, detail="the indices are COMPONENT, COLUMN, LEVEL")
    first = items[0]
    component = int(first) if first is not None and first.isdecimal() else first
    return Entry(name.strip(), component, tuple(items[1:]))


def _items(text: str) -> list[str | None]:
    """Between commas, without quotes; None for *."""
    items, start, quote = [], 0, ""
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == ",":
            items.append(text[start:i])
            start = i + 1
    items.append(text[start:])
    return [_unquoted(one.strip()) for one in items]


def _unquoted(text: str) -> str | None:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return None if text == "*" else text


def _quoted(value: int | str | None) -> str:
    if value is None:
        return "*"
    text = str(value)
    return text if PLAIN.fullmatch(text) else f'"{text}"' if '"' not in text else f"'{text}'"


def _written(value: float | None) -> str:
    """The shortest text that gives the same number."""
    text = repr(float(value or 0.0))
    return text.removesuffix(".0")
