"""The whole state of a computation as plain JSON and back: every bit of every array, and no code.

Unlike a model file, which holds parameters, a state holds what an object remembers beside them (factors that an M-step
left, the points of an accelerator), so that what goes on from it has the same bits as if it had never stopped. Only
dataclasses and enumerations of emix itself, or of types that are named, are made again: a pickle can run code.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Literal

import numpy as np

PLAIN = (str, int, bool, type(None))


class NotPlainError(TypeError):
    """Something that a state cannot hold."""


def encode(value: Any, types: Mapping[str, type] | None = None) -> Any:
    """A value as dicts, lists, numbers and strings.

    Parameters
    ----------
    value : any
        Made of dataclasses, enumerations, arrays, numbers, strings, and containers of these.
    types : mapping of name to type, optional
        Dataclasses that do not belong to emix.

    Raises
    ------
    NotPlainError
        There is something else in it. What a dataclass holds beside its fields is left out then: it is made again.
    """
    if isinstance(value, Enum):
        return {"is": "enum", "type": _name_of(type(value), types), "value": value.value}
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float | np.floating):
        return {"is": "float", "value": float(value).hex()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        order: Literal["C", "F"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        data = base64.b64encode(value.tobytes(order=order)).decode("ascii")
        return {"is": "array", "dtype": value.dtype.str, "shape": list(value.shape), "order": order, "data": data}
    if isinstance(value, tuple | list | frozenset | set):
        items = sorted(value) if isinstance(value, frozenset | set) else value
        return {"is": type(value).__name__, "items": [encode(item, types) for item in items]}
    if isinstance(value, Mapping):
        pairs = [[encode(key, types), encode(item, types)] for key, item in value.items()]
        return {"is": "dict", "items": pairs}
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": "object", "type": _name_of(type(value), types), "fields": _fields(value, types)}
    raise NotPlainError(type(value).__name__)


def _fields(value: Any, types: Mapping[str, type] | None) -> dict[str, Any]:
    """All that a dataclass holds; of what it remembers beside its fields only what can be written."""
    own = set(type(value).__dataclass_fields__)
    found = {}
    for name, item in vars(value).items():
        try:
            found[name] = encode(item, types)
        except NotPlainError:
            if name in own:
                raise
    return found


def decode(document: Any, types: Mapping[str, type] | None = None) -> Any:
    """The inverse of `encode`.

    Raises
    ------
    ValueError
        The document is damaged, or names a type that is neither of emix nor among `types`.
    """
    try:
        return _decode(document, types)
    except (KeyError, TypeError, AttributeError, IndexError, ImportError, OverflowError) as error:
        raise ValueError(f"the state is damaged ({type(error).__name__}: {error})") from error


def _decode(document: Any, types: Mapping[str, type] | None) -> Any:
    if not isinstance(document, dict):
        return document
    kind = document["is"]
    if kind == "float":
        return float.fromhex(document["value"])
    if kind == "array":
        flat = np.frombuffer(base64.b64decode(document["data"], validate=True), dtype=np.dtype(document["dtype"]))
        array = flat.reshape(document["shape"], order=document["order"]).copy(order=document["order"])
        array.flags.writeable = True
        return array
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](_decode(item, types) for item in document["items"])
    if kind == "dict":
        return {_decode(key, types): _decode(item, types) for key, item in document["items"]}
    made = _type_of(document["type"], types)
    if kind == "enum":
        return made(document["value"])
    new = object.__new__(made)
    new.__dict__.update({name: _decode(item, types) for name, item in document["fields"].items()})
    return new


_CONTAINERS: dict[str, Any] = {"tuple": tuple, "list": list, "frozenset": frozenset, "set": set}


def _name_of(kind: type, types: Mapping[str, type] | None) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__.split(".")[0] != "emix" and name not in (types or {}):
        raise NotPlainError(name)
    return name


def _type_of(name: str, types: Mapping[str, type] | None) -> Any:
    """A dataclass or enumeration of emix, or one of `types`, by its name."""
    if types is not None and name in types:
        return types[name]
    module, _, qualified = name.partition(":")
    if module.split(".")[0] != "emix":
        raise ValueError(f"the state names the foreign type {name}")
    found: Any = import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    if not isinstance(found, type) or not (is_dataclass(found) or issubclass(found, Enum)):
        raise ValueError(f"the state names {name}, which is no state")
    return found
