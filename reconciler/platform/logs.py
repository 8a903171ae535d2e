"""A service's log file: `log`, and the older `log.1`, `log.2` ...: what earlier starts wrote, or earlier parts of a long one.

The service holds the file open and appends to it, whoever looks after it: a log that has grown too long is copied away and cut where it is.
What is written in the instant between the copy and the cut is lost; nothing else is. Whoever moves or cuts the file holds a lock on it, so
that who follows it sees both or neither."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

FILES = 4
"""Older files of each service, where nothing else is asked for."""
_TAIL_BYTES = 1 << 20


def rotate(path: Path, files: int = FILES) -> None:
    """Begin a new log for a start; the one before it is kept as `log.1`."""
    with contextlib.suppress(FileNotFoundError), _locked(path, fcntl.LOCK_EX):
        _shift(path, files)
        path.replace(_older(path, 1))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def bound(path: Path, size: int, files: int) -> bool:
    """Cut a log that has grown over `size` bytes, keeping what it said as `log.1`; cheap otherwise. Whether it was cut. Raises OSError."""
    _drop(path, files)
    try:
        if path.stat().st_size <= size:
            return False
        with _locked(path, fcntl.LOCK_EX) as file:
            if os.fstat(file.fileno()).st_size <= size:  # another loop has cut it
                return False
            _shift(path, files)  # first: on a full disk the oldest one makes room
            with os.fdopen(os.open(_older(path, 1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                os.truncate(file.fileno(), 0)
    except FileNotFoundError:  # begun anew by a start
        return False
    return True


def tail(path: Path, lines: int, since: float | None = None) -> str:
    """The last lines of the log, at most 1 MiB; empty when there is none. With `since` (Unix seconds, the start of the service) those of
    an older file that was cut off since then as well."""
    text = _last(path)
    if since is not None and text.count("\n") < lines and _changed(_older(path, 1)) > since:
        text = _last(_older(path, 1)) + text
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def follow(path: Path, stopped: Callable[[], bool], pause: float = 0.25) -> Iterator[str]:
    """Lines as they are written, from now on, across restarts of the service and cuts, until `stopped()`. `pause` is in seconds."""
    position, before, rest = _size(path), _state(path), b""
    while not stopped():
        fresh = b""
        with contextlib.suppress(FileNotFoundError), _locked(path, fcntl.LOCK_SH) as file:
            now = _state(path)
            if now[1] != before[1]:  # there is another older file: what was read of the present one goes on there
                fresh, position = _after(_older(path, 1), position), 0
            elif now[0] != before[0] or _size(path) < position:
                position = 0
            before = now
            file.seek(position)
            more = file.read()
            position, fresh = position + len(more), fresh + more
        *whole, rest = (rest + fresh).split(b"\n")
        yield from (line.decode("utf-8", errors="replace") for line in whole)
        if not fresh:
            time.sleep(pause)


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[BinaryIO]:
    """The file that is at `path`, with a lock on it. Raises FileNotFoundError."""
    while True:
        with path.open("r+b" if how == fcntl.LOCK_EX else "rb") as file:
            fcntl.flock(file, how)
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:  # else it was moved away while we waited
                yield file
                return


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _shift(path: Path, files: int) -> None:
    """Make room for a new `log.1`."""
    for number in range(files - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _older(path, number).replace(_older(path, number + 1))


def _drop(path: Path, files: int) -> None:
    """Remove what is older than the oldest of `files`; there were more when more were asked for."""
    number = files + 1
    while _older(path, number).exists():
        _older(path, number).unlink(missing_ok=True)
        number += 1


def _state(path: Path) -> tuple[int, int]:
    """Which file is at `path`, and which one is the first older one; -1 = none."""
    return _inode(path), _inode(_older(path, 1))


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _after(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read()
    except OSError:
        return b""


def _last(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(path) - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
