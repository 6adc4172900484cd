"""What a fit asks of rows, wherever they are: in memory, sparse, streaming by, or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self

from emix.block import Chunk, Expectation, Schema, Summary
from emix.data.knowledge import Knowledge
from emix.families import Family


class Summable(Protocol):
    """Some rows."""

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree."""


class RowSource(Protocol):
    """The rows that count, checked for a family, to be read again at each pass."""

    @property
    def schema(self) -> Schema:
        """Columns and levels."""

    @property
    def summary(self) -> Summary:
        """The first look at the columns."""

    @property
    def n_rows(self) -> int:
        """Rows that count."""

    @property
    def n_chunks(self) -> int:
        """Into how many chunks the rows are cut."""

    @property
    def n_unobserved(self) -> int:
        """Rows that were left out because nothing of them is observed."""

    @property
    def total_weight(self) -> float:
        """Of the rows that count."""

    @property
    def is_complete(self) -> bool:
        """No cell is missing."""

    @property
    def is_streamed(self) -> bool:
        """Whether each pass reads the rows anew."""

    @property
    def knowledge(self) -> Knowledge | None:
        """What is known of the labels, where it is in memory."""

    @property
    def component_names(self) -> tuple[str, ...] | None:
        """Names of the components, where labels gave them."""

    @property
    def rows(self) -> Any:
        """Positions of the rows in the user's data, where some were left out; None for all."""

    @property
    def where(self) -> Callable[[int], str]:
        """Names a row of the user's data."""

    @property
    def chunks(self) -> Iterable[Chunk]:
        """The rows, cut."""

    def fingerprint(self) -> list[Any]:
        """What tells the rows with their weights and labels from others; as plain JSON."""

    def sum_over_chunks(self, fn: Callable[[Chunk], Expectation]) -> Expectation:
        """Sum of fn(chunk), by a fixed tree."""

    def in_blocks(self, n_blocks: int) -> Iterator[Summable]:
        """Consecutive groups of chunks, to be summed one after the other: all of them are one pass."""

    def sample(self, n: int, seed: int) -> RowSource:
        """About n distinct rows, drawn by a seeded hash of their content."""

    def n_distinct(self, enough: int) -> int:
        """Number of distinct rows, counted no further than `enough`."""

    def collapsed(self) -> RowSource:
        """Rows that repeat as one with their weights added, where that pays."""

    def prepared_for(self, family: Family) -> RowSource:
        """The same rows, with what the family computes of them once."""

    def for_components(self, n_components: int) -> Self:
        """The same rows for a model of so many components."""

    def with_jobs(self, n_jobs: int) -> Self:
        """The same rows, summed by so many threads."""
