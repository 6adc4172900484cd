"""Errors about files that emix writes and reads, packages that are missing, and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from emix.errors.base import EmixError


class FileError(EmixError, ValueError):
    """A model file that is damaged, foreign or newer, or an output that cannot be written."""

    @classmethod
    def not_a_model(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"an emix model file is required.\n  '{path}': {detail}.\n  Make it with --out or emix.save.")

    @classmethod
    def newer(cls, path: Path | str, *, found: object, known: int) -> Self:
        return cls(
            f"this emix reads model files up to schema version {known}.\n  '{path}' has version {found}.\n"
            f"  Install a newer emix."
        )

    @classmethod
    def not_writable(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"an output that can be written is required.\n  '{path}': {detail}.\n  Choose another path.")

    @classmethod
    def same_file(cls, path: Path | str, *, first: str, second: str) -> Self:
        return cls(
            f"files that are read and written must be different ones.\n"
            f"  {first} and {second} are both '{path}': one would replace the other.\n  Choose another path."
        )

    @classmethod
    def not_a_checkpoint(cls, path: Path | str, *, detail: str) -> Self:
        return cls(
            f"a checkpoint that emix wrote is required, or no file at all.\n  '{path}': {detail}.\n"
            f"  It was left as it is: name another file, or remove this one to begin anew."
        )

    @classmethod
    def other_checkpoint(cls, path: Path | str, *, what: str, found: object, asked: object) -> Self:
        def short(value: object) -> str:
            text = str(value)
            return text if len(text) <= 80 else text[:77] + "..."

        return cls(
            f"a checkpoint goes on with the very fit that wrote it.\n"
            f"  '{path}' was written for {what} = {short(found)}; now it is {short(asked)}.\n"
            f"  It was left as it is: repeat the call that wrote it, or name another file."
        )

    @classmethod
    def no_room(cls, path: Path | str, *, n_bytes: int, detail: str) -> Self:
        return cls(
            f"the statistics of all blocks need {n_bytes:,} bytes in a temporary file.\n  '{path}': {detail}.\n"
            f"  Ask for fewer blocks (n_blocks=), or name a larger folder in the variable TMPDIR."
        )

    @classmethod
    def no_extra(cls, *, package: str, extra: str) -> Self:
        return cls(f"this needs the package '{package}'.\n  It is not installed.\n  Run: pip install 'emix[{extra}]'")


class ClusterError(EmixError, RuntimeError):
    """A Dask cluster that does not answer, breaks down, or whose workers lack what a fit needs."""

    @classmethod
    def unreachable(cls, address: str, *, detail: str) -> Self:
        return cls(
            f"a Dask scheduler is required.\n  None answers at '{address}': {detail}\n"
            f"  Start one (dask scheduler; dask worker tcp://...), correct the address, or use 'local'."
        )

    @classmethod
    def workers(cls, *, worker: str, found: object, required: str) -> Self:
        has = f"emix {found}" if isinstance(found, str) else f"no emix that can be imported ({found})"
        return cls(
            f"every worker of the cluster needs emix {required}.\n  The worker {worker} has {has}.\n"
            f"  Install this version of emix on the workers, and start them again."
        )

    @classmethod
    def no_file_on_worker(cls, path: Path) -> Self:
        return cls(
            f"the workers of the cluster read the files themselves.\n  One of them finds no '{path}'.\n"
            f"  Put the files where all workers see them under the same path."
        )

    @classmethod
    def lost(cls, *, detail: str) -> Self:
        return cls(
            f"the cluster could not finish a pass.\n  {detail}\n"
            f"  Where workers were killed for their memory, give them more, or cut the data into more partitions; then "
            f"repeat the call (checkpoint= goes on from the last pass)."
        )
