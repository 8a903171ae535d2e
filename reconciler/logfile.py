"""A file of JSON lines that stays within bounds: rotated by size, each line written by one call, so that a kill cuts
the last one at most; what comes next begins below it."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, cast

import structlog

TELL_AGAIN = 3600.0
"""Seconds after which it is said once more that nothing can be written."""


class LogFile:
    """`path`, and the older `path.1`, `path.2` ... of at most `files`, each of about `size` bytes; only the owner can read them.

    Raises OSError when it cannot be opened. Later on a full disk costs lines, and is told once on stderr."""

    def __init__(self, path: Path, size: int, files: int) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lines = logging.Logger("mlops")  # none of the process's tree: no library's settings reach it
        self._lines.addHandler(_Rotated(path, size, files))
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        self._logger = structlog.wrap_logger(
            self._lines, processors=[stamp, structlog.stdlib.add_log_level, _ordered, structlog.processors.JSONRenderer()]
        )

    def write(self, level: str, event: str, context: dict[str, Any]) -> None:
        """Append one line."""
        getattr(self._logger, level)(event, **context)


def _ordered(logger: Any, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """As a reader looks for it: when, how bad, what."""
    first = {name: line.pop(name) for name in ("time", "level", "event", "pass") if name in line}
    return {**first, **line}


class _Rotated(RotatingFileHandler):
    """Private files, one write for each line, and a file that was moved away (by another loop of this folder, or by hand) is begun anew."""

    def __init__(self, path: Path, size: int, files: int) -> None:
        super().__init__(path, maxBytes=size, backupCount=files, encoding="utf-8")
        self._told = -TELL_AGAIN

    def _open(self) -> io.TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        raw = io.FileIO(handle, "a+")
        end = os.fstat(handle).st_size
        if end and os.pread(handle, 1, end - 1) != b"\n":  # a full disk, or a kill in the middle of a write, has cut the last line
            raw.write(b"\n")
        return io.TextIOWrapper(cast("Any", raw), encoding="utf-8", write_through=True)  # no buffer: a line is written at once or not

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._is_here():
                if self.stream is not None:
                    self.stream.close()
                self.stream = self._open()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def _is_here(self) -> bool:
        if self.stream is None:
            return False
        try:
            here, opened = Path(self.baseFilename).stat(), os.fstat(self.stream.fileno())
        except (OSError, ValueError):  # moved away, or closed by a rotation that failed
            return False
        return (here.st_dev, here.st_ino) == (opened.st_dev, opened.st_ino)

    def handleError(self, record: logging.LogRecord) -> None:
        """The program goes on without this line."""
        if time.monotonic() - self._told >= TELL_AGAIN:
            self._told, error = time.monotonic(), sys.exc_info()[1]
            sys.stderr.write(f"{self.baseFilename} cannot be written: {getattr(error, 'strerror', None) or type(error).__name__}\n")
