"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file that only its owner reads, all or nothing; `durable`: on disk before this returns, so that it survives a power cut."""
    # a name of its own (and mode 0600, as mkstemp makes it): two writers at once must not take each other's half
    handle, staged = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(staged).replace(path)
    except BaseException:  # a full disk must not be filled with halves of what was tried
        Path(staged).unlink(missing_ok=True)
        raise


def private_append(path: Path) -> BinaryIO:
    """A file to append to, that only its owner reads when it is new: whoever else holds it appends too."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def announce(path: Path) -> None:
    """Let those who watch a file by events of the file system hear that it changed; it stays as it is, its times included. Raises OSError.

    Its last byte is written again: new times alone are an event of another kind (watchdog 7), which hardly anybody listens to."""
    times = path.stat()
    with path.open("r+b") as file:
        if times.st_size:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(last)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def place_private(path: Path, text: str) -> None:
    """As `write_private`, for a folder that another program watches by events of the file system: it sees a file that comes (a link has an
    event of its own, a rename has none under the new name), and one that changes."""
    handle, staged = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(staged, path)
        except FileExistsError:
            Path(staged).replace(path)
            announce(path)
        except OSError:  # a file system without links
            Path(staged).replace(path)
            announce(path)
    finally:
        Path(staged).unlink(missing_ok=True)
