"""The output of a program, kept within bounds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from reconciler.runs.folder import Folder

MOST_BYTES = 64 << 20
"""A longer log is cut."""
KEPT_BYTES = 8 << 20
"""Of its beginning, and of its end each time that it is cut."""


class Log:
    """The program writes to the file itself, in append mode: it never waits for us, and goes on when we die. What it writes in the instant
    between reading the end and cutting the file is lost; nothing else is."""

    def __init__(self, folder: Folder, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
        self._folder, self._most, self._kept = folder, most, kept
        self._head, self._tail = folder.path / "log.head", folder.path / "log.tail"

    def bound(self) -> None:
        """Cut the log when it has grown too long; cheap otherwise."""
        try:
            size = self._folder.log.stat().st_size
        except FileNotFoundError:
            return
        if size <= self._most:
            return
        with self._folder.log.open("rb") as file:
            if not self._head.exists():
                self._head.write_bytes(file.read(self._kept))
            file.seek(-self._kept, os.SEEK_END)
            self._tail.write_bytes(file.read())
            os.truncate(self._folder.log, 0)


def whole(folder: Folder) -> Iterator[bytes]:
    """The kept output in order, in pieces, with a line where something was left out."""
    head, end = folder.path / "log.head", folder.path / "log.tail"
    if head.exists():
        yield from _pieces(head)
        yield b"\n[... the middle of a very long output was left out ...]\n"
        yield from _pieces(end)
    yield from _pieces(folder.log)


def _pieces(path: os.PathLike[str]) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # noqa: PTH123
        while piece := file.read(1 << 18):
            yield piece
