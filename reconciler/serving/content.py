"""The files of a model's folder, hashed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.errors import Terminal
from reconciler.model.content import digest_of_files, is_inside


def digest(folder: Path) -> str:
    """SHA-256 over names and contents, as 64 hex digits. Raises Terminal as `files` does."""
    return digest_of_files(files(folder))


def files(folder: Path) -> Mapping[str, str]:
    """Name, relative and POSIX, of every file -> SHA-256 of its bytes.

    Raises Terminal for a link, a device, an odd name or an empty folder, and when something cannot be read."""
    try:
        found = {name: _hashed(folder / name) for name in names(folder)}
    except OSError as error:
        raise Terminal(f"the model's files cannot be read: {error.strerror}", hint=str(error.filename)) from error
    if not found:
        raise Terminal("the model's folder holds no file")
    return found


def names(folder: Path) -> Iterator[str]:
    """Name of every file below the folder. Raises Terminal for what is neither a plain file nor a folder."""
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise Terminal(f"{name} in the model's folder is a link or a special file; a model is made of plain files")
        if not is_inside(name):
            raise Terminal(f"a model's file cannot be called {name!r}")
        yield name


def _hashed(path: Path) -> str:
    # what was a plain file a moment ago may be a link now
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
