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

import numpy as np

from emix.data.protocol import RowSource
from emix.em.checkpoint import Checkpoint, read_body
from emix.em.driver import EMResult, RunState, run_em
from emix.em.incremental import run_incremental
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
    if path.exists() and path.stat().st_size:
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
        "data": data_digest(source),
        **{name: _digest(value, types) for name, value in asked.items()},
        "the model's options and parameters": _digest(model, types),
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
    """Tells these rows from others by schema, size and moments, labels, and the files' names, sizes and times."""
    found = hashlib.sha256()
    known = source.knowledge
    for part in (encode(source.schema), encode(source.summary), source.fingerprint()):
        found.update(json.dumps(part).encode())
    if known is not None:
        for array in (known.labels, known.q):
            found.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _digest(value: Any, types: dict[str, type]) -> Any:
    """Plain values as they are; others as a digest of all that they hold."""
    if isinstance(value, str | int | float | bool | type(None)):
        return value
    if isinstance(value, list | tuple | np.ndarray | Mixture) or is_dataclass(value):
        try:
            return hashlib.sha256(json.dumps(encode(value, types)).encode()).hexdigest()[:16]
        except NotPlainError:
            pass
    return type(value).__qualname__


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
