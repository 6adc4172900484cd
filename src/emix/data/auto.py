"""Which family fits a table whose user did not say."""

from __future__ import annotations

import numpy as np

from emix.data.table import Table
from emix.errors import DataError
from emix.families import Bernoulli, Binomial, Categorical, Family, MultivariateNormal, Normal


def auto_family(table: Table, structure: str = "full") -> Family:
    """A family from the types of the columns.

    Coin tosses are Binomial, one numeric column is Normal, several are one MultivariateNormal, true/false columns are
    Bernoulli, text columns Categorical.

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
    return Normal() if len(table.columns) == 1 else MultivariateNormal(structure=structure)
