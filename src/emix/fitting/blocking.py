"""Which algorithm a fit runs, and into how many blocks incremental EM groups the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from emix.block import CHUNK_ROWS
from emix.centred import CentredMixture
from emix.data.protocol import RowSource
from emix.em.incremental import N_BLOCKS
from emix.errors import ModelError, listed
from emix.families import Columns
from emix.model import Mixture

ALGORITHMS = ("batch", "incremental")


@dataclass(frozen=True)
class Blocking:
    """What was asked for: by default batch EM."""

    is_incremental: bool = False
    n_blocks: int | None = None

    @classmethod
    def asked(cls, algorithm: str, n_blocks: int | None, model: Any) -> Self:
        """From the arguments of a fit.

        Raises
        ------
        ModelError
            There is no such algorithm, it has no blocks, or the model's sums depend on its parameters.
        """
        if algorithm not in ALGORITHMS:
            raise ModelError.choice(what="algorithm", found=algorithm, available=ALGORITHMS)
        if algorithm == "batch":
            if n_blocks is not None:
                raise ModelError.argument(name="n_blocks", requirement="algorithm='incremental'", found=n_blocks)
            return cls()
        check_linear(model, "algorithm='incremental'")
        return cls(True, n_blocks)

    def of(self, rows: RowSource, model: Any) -> int:
        """Number of blocks of these rows; 1 for batch EM, also where the sums' coordinates move with the means."""
        if not self.is_incremental or isinstance(model, CentredMixture):
            return 1
        return min(N_BLOCKS if self.n_blocks is None else self.n_blocks, rows.n_chunks)

    def notes(self, rows: RowSource, models: list[Any]) -> list[str]:
        """Where it was not as asked for."""
        found = []
        if self.is_incremental and any(isinstance(model, CentredMixture) for model in models):
            found.append(
                "the components lie so far apart, or are so narrow, that each is summed about its own mean: batch EM "
                "did that, or ended it."
            )
        if self.n_blocks is not None and self.n_blocks > rows.n_chunks:
            n = rows.n_chunks
            blocks = "1 block, with which incremental EM is batch EM" if n == 1 else f"{n} blocks"
            found.append(
                f"{self.n_blocks} blocks were asked for; the {rows.n_rows:,} rows that count (those that repeat only "
                f"once) make {blocks}, as a block holds at least {CHUNK_ROWS:,} of them."
            )
        return found


BATCH = Blocking()


def check_linear(model: Any, what: str) -> None:
    """Raise unless expected statistics are those of rows that were observed, whatever the parameters.

    Also of a family whose rows with missing cells are filled in by expectation: what is summed are statistics of
    complete rows.

    Raises
    ------
    ModelError
        The sums depend on the parameters (Student-t weights, histograms of counts), or the model is no mixture.
    """
    if not isinstance(model, Mixture):
        raise ModelError.needs_linear(what=what, found=type(model).__name__)
    parts = model.family.parts if isinstance(model.family, Columns) else (None,)
    for part in parts:
        family = model.family if part is None else part.family
        if not family.is_linear(is_complete=True):
            where = "" if part is None else f" of {listed(part.names)}"
            raise ModelError.needs_linear(what=what, found=f"the family '{family.name}'{where}")
