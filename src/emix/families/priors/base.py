"""What all priors share: hyperparameters that are checked once, compared, written and read.

A prior is immutable and knows no family and no data. Its hyperparameters are numbers, or nested tuples of them where
the user gave arrays, so that two priors can be compared and a file holds them to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emix.block import Array
from emix.errors import ModelError


class Range(NamedTuple):
    """What a hyperparameter may be: finite numbers from `least` on, or above it; None where that is resolved later."""

    requirement: str
    least: float = -np.inf
    least_is_allowed: bool = True
    may_be_none: bool = False

    def contains(self, value: Array) -> bool:
        """Whether all entries are allowed."""
        inside = value >= self.least if self.least_is_allowed else value > self.least
        return bool(value.size and np.isfinite(value).all() and inside.all())


INSIDE = "finite numbers >= 1 (below 1 the density is infinite on the boundary, where there is no mode)"
"""Why a concentration below 1 is refused: the posterior of an empty cell has no maximum inside."""


@dataclass(frozen=True, repr=False)
class Prior:
    """Parent of all priors."""

    word: ClassVar[str]
    """Its name in text, as in `poisson(prior=gamma(2, 0.5))`."""

    @classmethod
    def read(cls, value: Any, *, owner: str) -> Self | None:
        """A prior of this kind as it is, True for one with its defaults, or the mapping that a file holds.

        Raises
        ------
        ModelError
            It is none of these, or a hyperparameter cannot be.
        """
        if value is None or isinstance(value, cls):
            return value
        try:
            if value is True:
                return cls()
            if isinstance(value, Mapping):
                return cls(**value)
        except TypeError as error:
            raise ModelError.prior(owner=owner, kind=cls.__name__, found=value) from error
        raise ModelError.prior(owner=owner, kind=cls.__name__, found=value)

    def __repr__(self) -> str:
        """Only what differs from the defaults: `GammaPrior(shape=2.0, rate=0.5)`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        given = (f"{name}={value!r}" for name, value in values.items() if value != defaults[name])
        return f"{type(self).__name__}({', '.join(given)})"

    def reordered(self, order: NDArray[np.intp], d: int) -> Self:
        """For the components in this order: of d columns, what differs between components."""
        return self


@dataclass(frozen=True, repr=False)
class ColumnwisePrior(Prior):
    """A prior of parameters that are (K,) for one column and (K, d) for several.

    Each hyperparameter is a number; an array (K,) for one column, as the parameters are; an array (d,) for several
    columns, alike for all components; or an array (K, d).
    """

    ranges: ClassVar[Mapping[str, Range]]

    def __post_init__(self) -> None:
        """Turn arrays into tuples of numbers and check them."""
        for name, allowed in self.ranges.items():
            value = getattr(self, name)
            if value is None and allowed.may_be_none:
                continue
            array = as_numbers(value)
            if array is None or array.ndim > 2 or not allowed.contains(array):
                raise ModelError.parameter(
                    family=type(self).__name__, name=name, requirement=allowed.requirement, found=repr(value)
                )
            object.__setattr__(self, name, as_tuples(array))

    def values(self, name: str, K: int, d: int) -> Array:
        """A hyperparameter for each component and column, (K, d).

        Raises
        ------
        ModelError
            It does not have the shape for so many components and columns.
        """
        array = np.array(getattr(self, name), dtype=np.float64)
        one = (K,) if d == 1 else (d,)
        if array.shape not in ((), one, (K, d)):
            shapes = f"{shape_in_words(one)} or {shape_in_words((K, d))}"
            requirement = f"a number, or an array of shape {shapes}, for {K} components and {d} columns"
            raise ModelError.parameter(
                family=type(self).__name__, name=name, requirement=requirement, found=shape_in_words(array.shape)
            )
        return np.broadcast_to(array[:, None] if d == 1 and array.ndim == 1 else array, (K, d))

    def reordered(self, order: NDArray[np.intp], d: int) -> Self:
        """As in the parent class."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        of_components = 1 if d == 1 else 2  # dimensions from which the first axis is that of the components
        return replace(
            self, **{name: tuple(v[k] for k in order) for name, v in values.items() if depth(v) >= of_components}
        )


def as_numbers(value: Any) -> Array | None:
    """Anything array-like as floats; None for what is no number or ragged."""
    if isinstance(value, bool | str):
        return None
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def as_tuples(array: Array) -> Any:
    """An array as a number or nested tuples, which can be compared and written."""
    return float(array) if array.ndim == 0 else tuple(as_tuples(row) for row in array)


def depth(value: Any) -> int:
    """How many axes nested tuples have."""
    return 1 + depth(value[0]) if isinstance(value, tuple) and value else 0


def shape_in_words(shape: tuple[int, ...]) -> str:
    """Like `(3, 2)`, or `a single number`."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})" if shape else "a single number"
