"""Long fits survive being killed: their state goes to a file at pass boundaries, and the same call goes on from there.

The file is JSON with a checksum: what was asked for (a fingerprint of arguments and data), the seed, and of each run
either its end or its state. It is written whole or not at all, at most every `EVERY` seconds.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from warnings import warn

from emix.em.driver import EMResult, RunState
from emix.errors import CheckpointWarning, FileError
from emix.persistence import atomic_write, check_writable, remove_partial
from emix.state import NotPlainError, decode, encode

FORMAT = "emix-checkpoint"
VERSION = 1
EVERY = 5.0
"""Seconds between two writings at least."""


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : path-like
        Read if it exists, else made at the first writing.
    asked : mapping of str to plain JSON
        What was asked for: a file that was written for something else is refused.
    types : mapping of name to type
        Dataclasses of the user's own model.

    Raises
    ------
    FileError
        The file is damaged, no checkpoint, or that of another fit; or the path cannot be written.
    """

    def __init__(self, path: str | Path, asked: Mapping[str, Any], types: Mapping[str, type]) -> None:
        self.path, self._types = Path(path), types
        self._asked = json.loads(json.dumps(asked))
        self._runs: dict[str, Any] = {}
        self._result: Any = None
        self._lock, self._has_failed = threading.Lock(), False
        self._written = self._kept_at = time.monotonic()
        self._kept: dict[str, float] = {}
        self.seed: int | None = None
        if self.path.is_file():
            self._read()
        else:
            check_writable(self.path)
        remove_partial(self.path)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        body = read_body(self.path)
        for name, value in self._asked.items():
            if body["asked"].get(name) != value:
                raise FileError.other_checkpoint(self.path, what=name, found=body["asked"].get(name), asked=value)
        self.seed, self._runs, self._result = body["seed"], body["runs"], body["result"]

    def _decoded(self, document: Any) -> Any:
        try:
            return decode(document, self._types)
        except ValueError as error:
            raise FileError.not_a_checkpoint(self.path, detail=str(error)) from error

    @property
    def result(self) -> Any:
        """What the fit returned, where it was finished; None otherwise."""
        return None if self._result is None else self._decoded(self._result)

    def before(self, key: str) -> EMResult | RunState | None:
        """How far a run had come: its end, its state, or None."""
        document = self._runs.get(key)
        return None if document is None else self._decoded(document)

    # -- writing -----------------------------------------------------------------------------------------------------

    def keeper(self, key: str) -> Callable[[RunState], None]:
        """What a run tells its state at each pass boundary; most of the time it only looks at the clock."""

        def keep(state: RunState) -> None:
            now = time.monotonic()
            if now - self._kept.setdefault(key, now) >= EVERY:
                self._kept[key] = now
                self._put(key, state)

        return keep

    def ended(self, key: str, result: EMResult) -> None:
        """A run is over."""
        self._put(key, result)

    def finish(self, result: Any) -> None:
        """The fit is over: its result, and nothing else any more."""
        document = self._encoded(result)
        with self._lock:
            self._runs, self._result = {}, document
            self._write()

    def _put(self, key: str, state: EMResult | RunState) -> None:
        document = self._encoded(state)
        with self._lock:
            if document is None:
                return
            self._runs[key] = document
            if time.monotonic() - self._written >= EVERY:
                self._write()

    def _encoded(self, state: Any) -> Any:
        try:
            return encode(state, self._types)
        except NotPlainError as error:
            self._fail(f"the model holds a {error}, which a checkpoint cannot")
            return None

    def _write(self) -> None:
        """The whole file; a full disk costs the checkpoint and not the fit."""
        body = {"asked": self._asked, "seed": self.seed, "runs": self._runs, "result": self._result}
        text = json.dumps(body, allow_nan=False)
        head = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        try:
            with atomic_write(self.path) as file:
                file.write(json.dumps(head) + "\n" + text + "\n")
        except FileError as error:
            self._fail(str(error))
        self._written = time.monotonic()

    def _fail(self, detail: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            warn(f"The fit goes on without its checkpoint: {detail}", CheckpointWarning, stacklevel=2)


def read_body(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds, checked.

    Raises
    ------
    FileError
        It cannot be read, is damaged, or no checkpoint.
    """
    try:
        head_line, _, text = path.read_text(encoding="utf-8").partition("\n")
        if not head_line and not text:
            raise FileError.not_a_checkpoint(path, detail="it is empty: it was cut off")
        head = json.loads(head_line)
    except OSError as error:
        raise FileError.not_a_checkpoint(path, detail=(error.strerror or "it cannot be read").lower()) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FileError.not_a_checkpoint(path, detail="it is another kind of file, or was cut off") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise FileError.not_a_checkpoint(path, detail=f"it does not say format '{FORMAT}'")
    if head.get("version") != VERSION:
        raise FileError.not_a_checkpoint(path, detail=f"its version is {head.get('version')!r}, not {VERSION}")
    text = text.rstrip("\n")
    if hashlib.sha256(text.encode()).hexdigest() != head.get("sha256"):
        raise FileError.not_a_checkpoint(path, detail="its checksum is wrong: it was changed or cut off")
    body: dict[str, Any] = json.loads(text)
    return body
