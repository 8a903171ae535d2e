"""One program to its end or to its deadline, with a process group of its own and a bounded output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_SAID = 1 << 16
"""Bytes that are kept of the end of stderr."""
_GRACE = 2.0
"""Seconds to remove its lock files between SIGTERM and SIGKILL."""


def output_of(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, until: float, most: int, hold: Sequence[int] = ()
) -> tuple[int, bytes, bytes]:
    """Its exit code, the first `most` bytes of stdout, and the end of stderr. It reads nothing, and has no terminal.

    Raises TimeoutError at `until` (monotonic clock), with its whole group ended, and OSError when it cannot be started."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=hold,
    )
    with process:
        try:
            return _read(process, until, most)
        finally:
            if process.returncode is None:
                _end(process)


def _read(process: subprocess.Popen[bytes], until: float, most: int) -> tuple[int, bytes, bytes]:
    """Read until both ends are closed and it has ended. Raises TimeoutError."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as open_ends:
        for pipe in (process.stdout, process.stderr):
            open_ends.register(pipe, selectors.EVENT_READ)
        while open_ends.get_map():
            ready = open_ends.select(min(_left(until), 0.5))
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    open_ends.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += chunk[: most - len(out)]
                else:
                    said = (said + chunk)[-_SAID:]
            if not ready and process.poll() is not None:
                break  # something that it left behind, such as ssh's shared connection, keeps the pipe open
    try:
        code = process.wait(_left(until))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return code, bytes(out), bytes(said)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _end(process: subprocess.Popen[bytes]) -> None:
    """End its group, which is its own. It is not waited for before the last signal, so that its number cannot be another's by then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    last = time.monotonic() + _GRACE
    assert process.stderr is not None
    with contextlib.suppress(TimeoutError), selectors.DefaultSelector() as closing:
        closing.register(process.stderr, selectors.EVENT_READ)
        while closing.select(_left(last)) and os.read(process.stderr.fileno(), 1 << 16):
            pass
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
