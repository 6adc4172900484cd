"""The files of a command: none of them replaces another."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

from emix.errors import FileError


def check_apart(read: list[Path], **written: Path | None) -> None:
    """Raise if a file would be written twice, or over what is read: before the work, not after it.

    Parameters
    ----------
    read : list of Path
        Of the data and models; a folder or glob stands for its files.
    **written : Path or None
        By the option that names it, without dashes.

    Raises
    ------
    FileError
        Two of them are the same file.
    """
    files = {f"--{name}": path for name, path in written.items() if path is not None and not _is_device(path)}
    for (first, path), (second, other) in combinations(files.items(), 2):
        if _is_same(path, other):
            raise FileError.same_file(path, first=first, second=second)
    for name, path in files.items():
        for one in read:
            if _is_same(path, one) or _is_among(path, one):
                raise FileError.same_file(path, first=name, second="what is read")


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or (one.exists() and other.exists() and one.samefile(other))


def _is_among(path: Path, data: Path) -> bool:
    """Whether a file that there is already is one of those that a folder or glob stands for."""
    if not path.is_file() or data.is_file():
        return False
    from emix.data.scan_files import files_of, is_many
    from emix.errors import DataError

    try:
        return is_many(data) and any(path.samefile(one) for one in files_of(data))
    except DataError:  # there are none, which is said when they are read
        return False


def _is_device(path: Path) -> bool:
    """A pipe, a terminal, /dev/null: written twice nothing is lost."""
    return path.exists() and not path.is_file()
