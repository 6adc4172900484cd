"""A table that is read and checked once for all models that are fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from emix.block import Array, Chunk, Expectation
from emix.data.knowledge import read_labels
from emix.data.source import InMemorySource, make_source
from emix.data.sparse import make_sparse_source
from emix.data.table import Table
from emix.em.starts import SAMPLE_ROWS
from emix.errors import DataError, EmixError, ModelError
from emix.families import Columns, Family
from emix.fitting.starting import Seeding, Start, is_seeded, make_starts
from emix.model import Mixture

T = TypeVar("T")


class Rows:
    """The rows of a table with what is known of them, for one model or for many, in one thread or in several.

    Parameters
    ----------
    table : Table
        The columns.
    labels : optional
        As in `fit`.
    weight : ndarray of shape (n,), optional
        Row weights.
    n_jobs : int
        Threads for reading and for the passes of a model that is fitted alone.
    """

    def __init__(self, table: Table, *, labels: Any = None, weight: Array | None = None, n_jobs: int = 1) -> None:
        self.table, self.labels, self.weight, self.n_jobs = table, labels, weight, n_jobs
        self._made: dict[Hashable, Any] = {}
        self._lock = RLock()

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

    def begun(
        self, model: Mixture, start: Any, *, n_init: int, seed: int
    ) -> tuple[Mixture, InMemorySource, list[Start], InMemorySource]:
        """The model bound to the rows that count, these rows, its starts, and the rows that short runs see.

        Where starts are drawn from the rows, there must be as many distinct ones as components.

        Raises
        ------
        DataError
            Whatever is wrong with the data, or fewer distinct rows than components.
        ModelError
            The start, or a prior, is none that the model can have.
        """
        K, draws = model.latent_size, is_seeded(model, start)
        known = None
        if self.labels is not None:
            n_rows, table = self.table.n_rows, self.table
            names = model.component_names
            known = self._once(
                ("labels", K, names),
                lambda: read_labels(self.labels, n_components=K, n_rows=n_rows, table=table, names=names),
            )
            if known.names is not None:
                model = replace(model, component_names=known.names)
        family, binding = model.family, model.family.binding
        key = (family.row_key, None if binding is None else id(binding), None if known is None else K)
        if binding is not None:
            self._once(("binding", id(binding)), lambda: binding)  # its id is its own as long as it lives
        read = make_source if self.table.sparse is None else make_sparse_source
        rows = self._once(
            ("rows", key),
            lambda: read(
                self.table, family, n_components=K, knowledge=known, sample_weight=self.weight, n_jobs=self.n_jobs
            ),
        ).for_components(K)
        if draws and not (rows.knowledge is not None and rows.knowledge.is_everything):
            n_distinct = self._once(("distinct", key, K), lambda: rows.n_distinct(K))
            if n_distinct < K:
                raise DataError.too_few_distinct(n_distinct=n_distinct, n_rows=rows.n_rows, n_components=K)
        model = model.bind(rows.schema, rows.summary)
        bound = model.family
        source = self._once(("source", key), lambda: rows.collapsed().prepared_for(bound)).for_components(K)
        model = _with_prior(model, source)
        sample = self._once(("sample", key, seed), lambda: source.sample(SAMPLE_ROWS, seed)) if draws else source
        sample = source if sample.n_rows == source.n_rows else sample.for_components(K)

        def seeding() -> Seeding:
            return self._once(("seeding", key, seed), lambda: Seeding.of(sample, bound))

        table = self.table
        starts = make_starts(model, rows, sample, table, start, n_init=n_init, seed=seed, seeding=seeding)
        return model, source, starts, sample


def _has_levels(family: Family) -> bool:
    parts = [part.family for part in family.parts] if isinstance(family, Columns) else [family]
    return any(part.support.is_categorical for part in parts)


def _with_prior(model: Mixture, source: InMemorySource) -> Mixture:
    """With what the model's prior is made of, where it has one."""
    if not model.prior_rows:
        return model
    if not model.family.is_linear(is_complete=source.is_complete):
        requirement = "a family whose sums do not depend on its parameters (MultivariateNormal has `prior`)"
        raise ModelError.argument(name="prior_rows", requirement=requirement, found=model.family.name)
    return model.with_prior_of(sums_of_rows(model, source))


def sums_of_rows(model: Mixture, source: InMemorySource) -> Array:
    """(1 + D,) statistics of all rows, weighted, whatever their component."""

    def summed(chunk: Chunk) -> Expectation:
        return Expectation(model.sum_statistics(chunk, chunk.weight[None]), 0.0)

    return np.asarray(source.sum_over_chunks(summed).statistics[0])
