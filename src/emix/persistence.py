"""Models to and from files: JSON with a schema version; loading validates and runs no code; floats keep every bit."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emix.block import Schema
from emix.errors import EmixError, FileError, ModelError
from emix.families import FAMILIES, Binding, Columns, Family
from emix.families.columns import Part
from emix.model import Mixture

FORMAT = "emix-model"
SCHEMA_VERSION = 1
PARTIAL = ".partial"
"""How the names of files end that are being written."""


def save(model: Mixture, path: str | Path, *, summary: dict[str, Any] | None = None) -> None:
    """Write a model to a JSON file, atomically.

    Parameters
    ----------
    model : Mixture
        With parameters.
    path : path-like
        Replaced if it exists.
    summary : dict, optional
        What is worth knowing of the fit (log-likelihood, stop reason, ...); `emix show` prints it.

    Raises
    ------
    ModelError
        It is no mixture.
    FileError
        The path cannot be written. Nothing is left half-written.
    """
    if not isinstance(model, Mixture):
        requirement = "a Mixture (what a fit of one returned is saved by result.save(path))"
        raise ModelError.kind(name="model", requirement=requirement, found=model)
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "model": to_document(model), "fit": summary or {}}
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def load(path: str | Path) -> Mixture:
    """Read a model that `save` wrote.

    Raises
    ------
    FileError
        The file is missing, damaged, foreign or of a newer schema.
    """
    return from_document(read_document(path)["model"], path)


def read_document(path: str | Path) -> dict[str, Any]:
    """The whole of a model file, as a dict whose format and version are checked."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError.not_a_model(path, detail=(error.strerror or "it cannot be read").lower()) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FileError.not_a_model(path, detail="it is not JSON, or it was cut off") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FileError.not_a_model(path, detail=f"it does not say format '{FORMAT}'")
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise FileError.not_a_model(path, detail=f"its schema version is {version!r}")
    if version > SCHEMA_VERSION:
        raise FileError.newer(path, found=version, known=SCHEMA_VERSION)
    if not isinstance(document.get("model"), dict):
        raise FileError.not_a_model(path, detail="it has no model")
    if not _is_summary(document.get("fit", {})):
        raise FileError.not_a_model(path, detail="its summary of the fit is damaged")
    return document


def _is_summary(fit: Any) -> bool:
    """Whether this can be the summary of a fit: empty, or with the numbers that people are shown."""
    if not isinstance(fit, dict):
        return False
    numbers = ("log_likelihood", "aic", "bic", "icl", "n_free_parameters", "n_iter", "total_weight")
    whole = all(isinstance(fit.get(name), int | float) for name in numbers)
    return not fit or (whole and isinstance(fit.get("stop_reason"), str))


def to_document(model: Mixture) -> dict[str, Any]:
    """A mixture as plain dicts, lists, numbers and strings."""
    return {
        "kind": "mixture",
        "n_components": model.n_components,
        "mixing_proportions": None if model.mixing_proportions is None else model.latent.mixing_proportions.tolist(),
        "fixed": sorted(model.fixed),
        "component_names": model.component_names,
        "noise": model.noise,
        "prior_rows": model.prior_rows,
        "mixing_prior": _option(model.mixing_prior),
        "constraints": [str(one) for one in model.constraints],
        "family": _family_document(model.family),
        "binding": _binding_document(model.family.binding),
    }


def _family_document(family: Family) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": family.name,
        "options": {n: _option(value) for n, value in family.options.items() if n != "prior" or value is not None},
        "parameters": {name: _plain(value) for name, value in family.parameters.items()},
    }
    if isinstance(family, Columns):
        parts = [(part.names, part.family) for part in family.parts]
        document["parameters"] = {}
        document["parts"] = [
            {"columns": names, "family": _family_document(one), "binding": _binding_document(one.binding)}
            for names, one in parts
        ]
    return document


def _binding_document(binding: Binding | None) -> dict[str, Any] | None:
    if binding is None:
        return None
    return {
        "columns": binding.names,
        "levels": binding.schema.levels,
        "pivot": binding.pivot.tolist(),
        "scale": binding.scale.tolist(),
    }


def _family(described: dict[str, Any]) -> Family:
    """The family that a document describes."""
    if described["name"] == Columns.name:
        parts = {tuple(one["columns"]): _family(one["family"]) for one in described["parts"]}
        bindings = [one["binding"] for one in described["parts"]]
        columns = Columns(parts)
        bound = (
            Part(part.names, part.family if own is None else part.family._bound(_binding(own)))
            for part, own in zip(columns.parts, bindings, strict=True)
        )
        return replace(columns, families=tuple(bound))
    kind = FAMILIES[described["name"]]
    options, parameters = described["options"], described["parameters"]
    family = kind(**options)
    if not set(parameters) <= set(family.spaces):
        raise ValueError(f"parameters {sorted(parameters)} of {kind.name}")
    return family.with_parameters(parameters)


def _option(value: Any) -> Any:
    """An option as plain data: of a dataclass such as a prior its fields."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def from_document(document: dict[str, Any], path: str | Path = "model") -> Mixture:
    """The inverse of `to_document`, with every field checked."""
    try:
        if document["kind"] != "mixture":
            raise FileError.not_a_model(path, detail=f"its model is of the unknown kind {document['kind']!r}")
        family = _family(document["family"])
        names = document["component_names"]
        mixture = Mixture(
            family,
            document["n_components"],
            document["mixing_proportions"],
            frozenset(document["fixed"]),
            None if names is None else tuple(str(name) for name in names),
            document.get("noise", False),
            document.get("prior_rows", 0.0),
            mixing_prior=document.get("mixing_prior"),
            constraints=tuple(str(text) for text in document.get("constraints", ())),
        )
        if document["binding"] is None:
            return mixture
        return replace(mixture, family=mixture.family._bound(_binding(document["binding"])))
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, EmixError) as error:
        detail = f"its content is damaged ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        raise FileError.not_a_model(path, detail=detail) from error


def _binding(document: dict[str, Any]) -> Binding:
    names = tuple(str(name) for name in document["columns"])
    levels = tuple(None if one is None else tuple(one) for one in document["levels"])
    pivot, scale = (np.array(document[key], dtype=np.float64) for key in ("pivot", "scale"))
    if not (len(levels) == len(names) and pivot.shape == scale.shape == (len(names),)):
        raise ValueError("the binding's columns, levels, pivot and scale do not match")
    if not (np.isfinite(pivot).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("the binding's pivot or scale is not finite")
    return Binding(Schema(names, levels), pivot, scale)


def _plain(value: Any) -> Any:
    return [one.tolist() for one in value] if isinstance(value, tuple) else value.tolist()


def check_writable(path: str | Path) -> None:
    """Raise a `FileError` if the file could not be written later: found before the work, not after it.

    Raises
    ------
    FileError
        The folder is missing or closed, or the path is a folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise FileError.not_writable(path, detail="it is a folder")
    if not path.parent.is_dir():
        raise FileError.not_writable(path, detail=f"there is no folder '{path.parent}'")
    if path.exists() and not os.access(path, os.W_OK):
        raise FileError.not_writable(path, detail="the file is read-only")
    if path.exists() and not path.is_file():
        return
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    except OSError as error:
        raise FileError.not_writable(path, detail=(error.strerror or str(error)).lower()) from error
    os.close(handle)
    os.unlink(name)


def remove_partial(path: str | Path) -> None:
    """Remove what a process that was killed while it wrote this file has left beside it."""
    path = Path(os.path.realpath(path))
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[!.]' * 8}{PARTIAL}"):
        with suppress(OSError):
            left.unlink()


@contextmanager
def atomic_write(path: str | Path, *, is_binary: bool = False) -> Iterator[Any]:
    """A file, of text unless `is_binary`, that gets its name only when all of it is written, and is on the disk.

    Raises
    ------
    FileError
        The file cannot be created, written or renamed; an existing file stays as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    check_writable(path)
    how: dict[str, Any] = {"mode": "wb"} if is_binary else {"mode": "w", "encoding": "utf-8", "newline": ""}
    if path.exists() and not path.is_file():  # a pipe or a device: nothing to rename
        with path.open(**how) as file:
            yield file
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    try:
        with os.fdopen(handle, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the content
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except OSError as error:
        raise FileError.not_writable(path, detail=(error.strerror or str(error)).lower()) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
