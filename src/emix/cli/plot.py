"""`emix plot`: a picture of a model and its data, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from emix import persistence
from emix.cli.reading import rows_in_memory
from emix.errors import ModelError
from emix.fitting.settings import whole_number
from emix.plot import files

TAKES = {
    "density": ("column", "sample_weight"),
    "pairs": ("columns", "sample_weight", "random_state"),
    "profile": (),
    "responsibilities": ("sample_weight", "random_state"),
    "residuals": ("column", "random_state"),
    "qq": ("column", "random_state"),
}
"""Kind of picture -> which of the options it takes."""
OPTIONS = {"column": "--column", "columns": "--columns", "sample_weight": "--weights"}


def plot(
    model_path: Path,
    data: list[Path],
    *,
    kind: str,
    out: Path,
    column: str | None,
    columns: list[str] | None,
    weights: str | None,
    seed: int,
    dpi: int,
) -> int:
    """Draw and save; what cannot be written is found before anything is computed."""
    if kind not in TAKES:
        raise ModelError.choice(what="kind of picture", found=kind, available=TAKES)
    given = {"column": column, "columns": columns, "sample_weight": weights}
    for name, value in given.items():
        if value is not None and name not in TAKES[kind]:
            takers = " or ".join(one for one, taken in TAKES.items() if name in taken)
            raise ModelError.argument(name=OPTIONS[name], requirement=f"--kind {takers}", found=f"--kind {kind}")
    whole_number("--dpi", dpi, least=30)
    whole_number("--seed", seed, least=0)
    files.check_format(out)
    persistence.check_writable(out)
    model, table = persistence.load(model_path), rows_in_memory(data, "emix plot")
    names = model.family.columns
    if kind == "density" and column is None and len(names) > 1:
        requirement = f"one column, for --kind density: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        raise ModelError.argument(name="--column", requirement=requirement, found="none")
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if weights is not None:
        options["sample_weight"] = table.column(weights)
    if "random_state" in TAKES[kind]:
        options["random_state"] = seed
    files.save_picture(kind, model, table, out, dpi=dpi, **options)
    Console(stderr=True).print(f"Picture written to {out}", highlight=False, soft_wrap=True)
    return 0
