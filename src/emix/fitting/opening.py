"""From what the user calls data, labels and weights to rows that a model can be fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emix.block import Array
from emix.data.dask_scan import DaskScan, dask_scan, is_dask
from emix.data.dask_source import make_dask_source
from emix.data.knowledge import Knowledge, read_labels, read_weights
from emix.data.protocol import RowSource
from emix.data.scan import Scan
from emix.data.scan_files import is_many
from emix.data.scan_readers import is_one_shot, is_query, scan
from emix.data.source import make_source, plain_source
from emix.data.sparse import make_sparse_source
from emix.data.stream import make_stream
from emix.data.table import Table, read_table
from emix.errors import DataError, ModelError
from emix.model import Mixture


@dataclass(frozen=True)
class OpenRows:
    """A table with its labels and weights, or a scan with the names of theirs."""

    data: Table | Scan
    labels: Any = None
    weight: Array | None = None
    names: tuple[str | None, str | None] = (None, None)
    """Columns of a scan that hold weights and labels."""

    @property
    def table(self) -> Table:
        """The rows in memory.

        Raises
        ------
        DataError
            They stream by.
        """
        if isinstance(self.data, Scan):
            raise DataError.needs_memory("a start from labels or responsibilities")
        return self.data

    @property
    def library(self) -> str | None:
        """Whose data frame the rows came in."""
        return self.data.library if isinstance(self.data, Table) else None

    @property
    def has_labels(self) -> bool:
        """Whether something is known of the labels."""
        return self.labels is not None or self.names[1] is not None

    def knowledge(self, n_components: int, names: tuple[str, ...] | None) -> Knowledge | None:
        """What is known of the labels of a table; those of a scan stream by.

        Raises
        ------
        DataError
            They cannot be read, or are none of so many components.
        """
        if isinstance(self.data, Scan):
            return None
        table = self.data
        return read_labels(self.labels, n_components=n_components, n_rows=table.n_rows, table=table, names=names)

    def source(self, model: Mixture, known: Knowledge | None, n_jobs: int) -> RowSource:
        """The rows that count, checked for a mixture."""
        K = model.latent_size
        weights, labels = self.names
        own: dict[str, Any] = {"weights": weights, "labels": labels, "names": model.component_names}
        if isinstance(self.data, DaskScan):
            return make_dask_source(self.data, model.family, n_components=K, **own)
        if isinstance(self.data, Scan):
            return make_stream(self.data, model.family, n_components=K, n_jobs=n_jobs, **own)
        table = self.data
        read = make_source if table.sparse is None else make_sparse_source
        return read(table, model.family, n_components=K, knowledge=known, sample_weight=self.weight, n_jobs=n_jobs)

    def source_for_any(self, model: Any, n_jobs: int) -> RowSource:
        """The rows as numbers, for a user's own model."""
        if isinstance(self.data, DaskScan):
            return make_dask_source(self.data, None, n_components=1, weights=self.names[0])
        if isinstance(self.data, Scan):
            return make_stream(self.data, None, n_components=1, weights=self.names[0], n_jobs=n_jobs)
        return plain_source(model, self.data, self.weight)


def open_data(data: Any, *, takes_sparse: bool = False) -> Table | Scan:
    """A table in memory, or a scan where the rows are in many files, more than its `memory_limit`, or Dask's.

    Raises
    ------
    DataError
        The data cannot be read.
    """
    if isinstance(data, str | Path) and is_many(data):
        data = scan(data)
    elif is_dask(data):
        data = dask_scan(data)
    elif is_query(data) or is_one_shot(data):
        data = scan(data)
    if not isinstance(data, Scan):
        return read_table(data, takes_sparse=takes_sparse)
    return data.read() if data.is_small else data


def open_rows(
    data: Any, *, labels: Any = None, sample_weight: Any = None, takes_sparse: bool = False, for_fit: bool = True
) -> OpenRows:
    """Data with labels and weights, which are arrays, or columns of the data by name; for a fit some weight counts.

    Raises
    ------
    DataError, ModelError
        Something cannot be read, or a scan was given arrays.
    """
    opened = open_data(data, takes_sparse=takes_sparse)
    if isinstance(opened, Scan):
        for name, given in (("labels", labels), ("sample_weight", sample_weight)):
            if given is not None and not isinstance(given, str):
                raise ModelError.argument(
                    name=name, requirement="the name of a column, as the rows stream by", found=type(given).__name__
                )
        return OpenRows(opened, names=(sample_weight, labels))
    aside = [name for name in (labels, sample_weight) if isinstance(name, str)]
    labels = opened.column(labels) if isinstance(labels, str) else labels
    sample_weight = opened.column(sample_weight) if isinstance(sample_weight, str) else sample_weight
    opened = opened.without(*aside) if aside else opened
    weight = read_weights(sample_weight, n_rows=opened.n_rows, table=opened, for_fit=for_fit)
    return OpenRows(opened, labels, weight)
