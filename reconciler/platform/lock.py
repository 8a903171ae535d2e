"""One starter or stopper at a time for each state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import Transient

WAIT_SECONDS = 60.0
"""How long a second caller waits: longer than any stop, whose time-out is 30 s by default."""


@contextlib.contextmanager
def held(path: Path, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock file at `path`. Raises Transient, with the holder's PID, when it is not to be had in `wait` seconds.

    flock belongs to the open file: a child between fork and exec still holds it when its parent was killed, and exec lets go of it
    (close-on-exec), so whoever gets the lock sees the child with the environment that marks it."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(handle, path, wait)
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                pid = os.pread(handle, 20, 0).decode(errors="replace") or "?"
                raise Transient(f"services are being started or stopped by pid {pid} ({path} is locked)", retry_after=5.0) from None
            time.sleep(0.05)
        else:
            return
