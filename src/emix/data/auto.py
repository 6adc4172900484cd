"""Which family fits a table whose user did not say."""

from __future__ import annotations

import numpy as np

from emix.block import Array
from emix.data.source import hash_rows
from emix.data.table import Table, is_number
from emix.errors import DataError
from emix.families import Bernoulli, Binomial, Categorical, Family, MultivariateNormal, Normal


def auto_family(table: Table, n_components: int, sample_weight: Array | None = None) -> Family:
    """A family from the types of the columns.

    Coin tosses are Binomial, one numeric column is Normal, several are one MultivariateNormal, true/false columns are
    Bernoulli, text columns Categorical. The covariances are `full` where there are more distinct rows than
    K (d + 1), below which they could not all be regular, and `diag` otherwise.

    Raises
    ------
    DataError
        Numbers and text are mixed: no single family takes both.
    """
    if table.is_tosses:
        tosses = table.heads_and_tosses().column("tosses")
        return Binomial(int(tosses[0]) if (tosses == tosses[0]).all() else "tosses")
    is_text = [column.dtype == object for column in table.columns]
    if any(is_text) and not all(is_text):
        _refuse_text(table, table.names[is_text.index(True)])
    if all(is_text):
        for name in table.names:
            cells = [cell for cell in table.column(name) if isinstance(cell, str)]
            if 2 * sum(map(is_number, cells)) > len(cells):  # numbers with a slip among them, not categories
                _refuse_text(table, name)
        return Categorical()
    if all(column.dtype == np.bool_ for column in table.columns):
        return Bernoulli()
    if len(table.columns) == 1:
        return Normal()
    x = np.stack([column.astype(np.float64) for column in table.columns], axis=1)
    n_distinct = len(np.unique(hash_rows(x if sample_weight is None else x[sample_weight > 0])))
    is_enough = n_distinct > n_components * (x.shape[1] + 1)
    return MultivariateNormal(structure="full" if is_enough else "diag")


def _refuse_text(table: Table, name: str) -> None:
    row = table.first_text(name)
    if row is not None:
        found = str(table.column(name)[row])
        raise DataError.not_a_number(family="normal", found=found, where=table.where(row), column=name)
