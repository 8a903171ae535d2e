"""What the files of a model's folder come to: one digest over names and contents. Pure: the files are read by whoever holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath


def digest_of_files(files: Mapping[str, str]) -> str:
    """SHA-256, as 64 hex digits, over every file's name (relative, POSIX) and the SHA-256 of its bytes, in the order of the names."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()


def first_difference(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The first file, by name, that is not as it should be, in words; empty when all are."""
    for name in sorted({*wanted, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} does not belong there"
        if wanted[name] != found[name]:
            return f"{name} was changed"
    return ""


def is_inside(name: str) -> bool:
    """True for a relative POSIX path that cannot lead out of the folder that it is used in."""
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name  # no control characters, and no bytes that are no UTF-8
    return plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts and str(path) == name
