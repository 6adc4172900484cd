"""Rows that are read and checked once for all models that are fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from emix.block import Array, Chunk, Expectation
from emix.data.protocol import RowSource
from emix.data.source import InMemorySource
from emix.em.starts import SAMPLE_ROWS
from emix.errors import DataError, EmixError, ModelError
from emix.families import Columns, Family
from emix.fitting.opening import OpenRows
from emix.fitting.starting import Seeding, Start, is_seeded, make_starts
from emix.model import Mixture

T = TypeVar("T")


class Rows:
    """Rows with what is known of them, for one model or for many, in one thread or in several.

    Parameters
    ----------
    opened : OpenRows
        A table or a scan, with labels and weights.
    n_jobs : int
        Threads for reading and for the passes of a model that is fitted alone.
    """

    def __init__(self, opened: OpenRows, *, n_jobs: int = 1) -> None:
        self.opened, self.n_jobs = opened, n_jobs
        self._made: dict[Hashable, Any] = {}
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:  # what was made is made anew in another process
        return {"opened": self.opened, "n_jobs": self.n_jobs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes, when it is first asked for; an error is raised again for whoever asks again."""
        with self._lock:
            if key not in self._made:
                try:
                    self._made[key] = make()
                except EmixError as error:
                    self._made[key] = error
            found = self._made[key]
        if isinstance(found, EmixError):
            raise found.with_traceback(None)
        return found  # type: ignore[no-any-return]

    def with_levels(self, model: Mixture) -> Mixture:
        """The model bound to the categories of all rows, for a fit to some: one that these lack has probability 0."""
        if not _has_levels(model.family):
            return model
        key = ("bound", model.family.row_key)
        binding = self._once(key, lambda: self.begun(model, None, n_init=1, seed=0)[0].family.binding)
        return replace(model, family=replace(model.family, binding=binding))

    def read(self, model: Mixture, *, is_drawn: bool) -> tuple[Mixture, RowSource, Hashable]:
        """The rows that count for the model, checked; the model with the names that labels gave; and their key.

        Where starts are drawn from the rows (`is_drawn`), there must be as many distinct ones as components.

        Raises
        ------
        DataError
            Whatever is wrong with the data, or fewer distinct rows than components.
        """
        K, opened, names = model.latent_size, self.opened, model.component_names
        known = self._once(("labels", K, names), lambda: opened.knowledge(K, names)) if opened.has_labels else None
        family, binding = model.family, model.family.binding
        key = (family.row_key, None if binding is None else id(binding), (K, names) if opened.has_labels else None)
        if binding is not None:
            self._once(("binding", id(binding)), lambda: binding)  # its id is its own as long as it lives
        rows: RowSource = self._once(("rows", key), lambda: opened.source(model, known, self.n_jobs))
        rows = rows.for_components(K)
        if rows.component_names is not None:
            model = replace(model, component_names=rows.component_names)
        if is_drawn and not (rows.knowledge is not None and rows.knowledge.is_everything):
            n_distinct = self._once(("distinct", key, K), lambda: rows.n_distinct(K))
            if n_distinct < K:
                raise DataError.too_few_distinct(n_distinct=n_distinct, n_rows=rows.n_rows, n_components=K)
        return model, rows, key

    def begun(
        self, model: Mixture, start: Any, *, n_init: int, seed: int
    ) -> tuple[Mixture, RowSource, list[Start], RowSource]:
        """The model bound to the rows that count, these rows, its starts, and the rows that short runs see.

        Raises
        ------
        DataError
            As `read` does.
        ModelError
            The start, or a prior, is none that the model can have.
        """
        K, draws = model.latent_size, is_seeded(model, start)
        model, rows, key = self.read(model, is_drawn=draws)
        model = model.bind(rows.schema, rows.summary)
        bound = model.family
        source: RowSource = self._once(("source", key), lambda: rows.collapsed().prepared_for(bound))
        source = source.for_components(K)
        model = _with_prior(model, source)
        sample: RowSource = source
        if draws:
            sample = self._once(("sample", key, seed), lambda: source.sample(SAMPLE_ROWS, seed))
        is_all = sample.n_rows == source.n_rows and not source.is_streamed
        sample = source if is_all else sample.for_components(K)

        def seeding() -> Seeding:
            assert isinstance(sample, InMemorySource)
            drawn = sample
            return self._once(("seeding", key, seed), lambda: Seeding.of(drawn, bound))

        starts = make_starts(model, rows, sample, self.opened, start, n_init=n_init, seed=seed, seeding=seeding)
        return model, source, starts, sample


def _has_levels(family: Family) -> bool:
    parts = [part.family for part in family.parts] if isinstance(family, Columns) else [family]
    return any(part.support.is_categorical for part in parts)


def _with_prior(model: Mixture, source: RowSource) -> Mixture:
    """With what the model's prior is made of, where it has one."""
    if not model.prior_rows:
        return model
    model = model.with_prior_of(sums_of_rows(model, source))
    parts: list[tuple[Family, Any, Any]] = [(model.family, slice(None), slice(None))]
    if isinstance(model.family, Columns):
        groups = model.family.column_groups(source.schema)
        families = [part.family for part in model.family.parts]
        parts = list(zip(families, groups, model.family.rows, strict=True))
    for family, columns, rows in parts:
        is_complete = not source.summary.n_missing[columns].any()
        if not family.has_constant_sums(model.prior_statistics[rows], is_complete=is_complete):
            raise ModelError.no_prior_rows(columns=family.columns, family=family.name)
    return model


def sums_of_rows(model: Mixture, source: RowSource) -> Array:
    """(1 + D,) statistics of all rows, weighted, whatever their component."""

    def summed(chunk: Chunk) -> Expectation:
        return Expectation(model.sum_statistics(chunk, chunk.weight[None]), 0.0)

    return np.asarray(source.sum_over_chunks(summed).statistics[0])
