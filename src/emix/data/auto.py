"""Which family fits a table whose user did not say."""

from __future__ import annotations

import numpy as np

from emix.block import Array
from emix.data.source import hash_rows
from emix.data.table import Table
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
    if all(is_text):
        return Categorical()
    if any(is_text):
        name = table.names[is_text.index(True)]
        row = next(i for i, value in enumerate(table.column(name)) if value is not None)
        found = table.column(name)[row]
        raise DataError.not_a_number(
            family="multivariate_normal", found=str(found), where=table.where(row), column=name
        )
    if all(column.dtype == np.bool_ for column in table.columns):
        return Bernoulli()
    if len(table.columns) == 1:
        return Normal()
    x = np.stack([column.astype(np.float64) for column in table.columns], axis=1)
    n_distinct = len(np.unique(hash_rows(x if sample_weight is None else x[sample_weight > 0])))
    is_enough = n_distinct > n_components * (x.shape[1] + 1)
    return MultivariateNormal(structure="full" if is_enough else "diag")
