"""A service's log file: one per start, the one before it kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_TAIL_BYTES = 1 << 20


def rotate(path: Path) -> None:
    """Begin a new log; the log of the start before this one is kept as `log.1`."""
    if path.exists():
        path.replace(path.with_name(path.name + ".1"))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def tail(path: Path, lines: int) -> str:
    """The last lines of the log, at most 1 MiB; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def follow(path: Path, stopped: Callable[[], bool], pause: float = 0.25) -> Iterator[str]:
    """Lines as they are written, from now on, across restarts of the service, until `stopped()`. `pause` is in seconds."""
    position, inode, rest = _end_of(path)
    while not stopped():
        try:
            found = path.stat()
            if found.st_ino != inode or found.st_size < position:
                position, inode, rest = 0, found.st_ino, b""
            with path.open("rb") as file:
                file.seek(position)
                fresh = file.read()
        except OSError:
            fresh = b""
        position += len(fresh)
        *whole, rest = (rest + fresh).split(b"\n")
        yield from (line.decode("utf-8", errors="replace") for line in whole)
        if not fresh:
            time.sleep(pause)


def _end_of(path: Path) -> tuple[int, int, bytes]:
    try:
        found = path.stat()
    except OSError:
        return 0, -1, b""
    return found.st_size, found.st_ino, b""
