"""Which fit a checkpoint belongs to, and the runs that go through it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emix.data.protocol import RowSource
from emix.data.table import read_table
from emix.em.checkpoint import Checkpoint, read_body
from emix.em.driver import EMResult, RunState, run_em
from emix.em.incremental import run_incremental
from emix.em.stopping import Rule
from emix.errors import ModelError
from emix.model import Mixture
from emix.persistence import check_writable
from emix.state import NotPlainError, encode


def check_path(path: str | Path) -> None:
    """Raise at once if a checkpoint can be neither read nor written here.

    Raises
    ------
    FileError
        The file is damaged or no checkpoint, or the path cannot be written.
    """
    path = Path(path)
    if path.is_file():
        read_body(path)
    else:
        check_writable(path)


def open_checkpoint(path: str | Path, model: Any, source: RowSource, asked: dict[str, Any]) -> Checkpoint:
    """The checkpoint of this very fit.

    Raises
    ------
    FileError
        The file is that of another fit; the first difference is named.
    """
    types = own_types(model)
    whole = {
        "emix": version("emix"),
        "the model": str(model) if isinstance(model, Mixture) else type(model).__qualname__,
        "columns": list(source.schema.names),
        "the number of rows": source.n_rows,
        **{name: _told(name, value, types) for name, value in asked.items()},
        "data": data_digest(source),
        "the model's options and parameters": _digest_of_model(model, types),
    }
    return Checkpoint(path, whole, types)


def own_types(model: Any) -> dict[str, type]:
    """The dataclasses of a user's own model."""
    kind = type(model)
    return (
        {}
        if isinstance(model, Mixture) or not is_dataclass(model)
        else {f"{kind.__module__}:{kind.__qualname__}": kind}
    )


def data_digest(source: RowSource) -> str:
    """Tells these rows from others: by all cells in memory, by names, sizes and times of files, and by moments."""
    parts = (encode(source.schema), encode(source.summary), source.component_names, source.fingerprint())
    return _sha256(parts)


def column_of(known: Any) -> str | None:
    """How labels or weights were given: by the name of their column, or as such; the digest of the data holds these."""
    return known if known is None or isinstance(known, str) else "an array"


def _sha256(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _told(name: str, value: Any, types: dict[str, type]) -> Any:
    """An argument as a checkpoint tells it from others: plain values and rules as they are, else by a digest.

    Raises
    ------
    ModelError
        It holds something that cannot be told from something else of its kind.
    """
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    is_own = type(value).__module__.partition(".")[0] == "emix"
    if isinstance(value, Rule) and is_own:
        return repr(value)
    if hasattr(value, "__array__"):
        value = [one.tolist() if one.dtype == object else one for one in read_table(value).columns]
    elif hasattr(value, "__dict__") and not is_own:  # a rule of the user's, whether a dataclass or not
        value = (type(value).__qualname__, vars(value))
    try:
        return _sha256(encode(value, types))
    except NotPlainError as error:
        requirement = "what a checkpoint can hold: numbers, text, arrays, or dataclasses of these"
        raise ModelError.argument(name=name, requirement=requirement, found=str(error)) from error


def _digest_of_model(model: Any, types: dict[str, type]) -> str:
    """Of all that a model holds; of one that no checkpoint can hold, its kind."""
    try:
        return _sha256(encode(model, types))
    except NotPlainError:
        return type(model).__qualname__


def run_kept(
    checkpoint: Checkpoint | None,
    key: str,
    model: Any,
    rows: RowSource,
    *,
    resumed: EMResult | None = None,
    n_blocks: int = 1,
    **options: Any,
) -> EMResult:
    """`run_em` that goes on from where the checkpoint has the run, and tells it how far it comes.

    With more blocks than one `run_incremental`.
    """
    run: Callable[..., EMResult] = run_em if n_blocks == 1 else partial(run_incremental, n_blocks=n_blocks)
    if checkpoint is None:
        return run(model, rows, resumed=resumed, **options)
    before = checkpoint.before(key)
    if isinstance(before, EMResult):
        return before
    keep: Callable[[RunState], None] = checkpoint.keeper(key)
    state = before if before is not None else resumed
    done = run(model if state is None else state.model, rows, resumed=state, keep=keep, **options)
    checkpoint.ended(key, done)
    return done
