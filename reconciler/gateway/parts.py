"""Rows that one thread writes as Parquet, so that who has something to write never waits for a disk.

::

    ROOT/PROJECT/NAME/date=YYYY-MM-DD/part-START-PID.parquet      rows of one day (UTC); START is the time of its first flush
    ROOT/PROJECT/NAME/.retain                                     seconds for which a day is kept once it has ended
    ROOT/PROJECT/NAME/.rows                                       how many were ever written

A part is written under another name and moved into place, so that readers see whole files only. It grows with each flush, replaced by
itself and what is new, until it is full; then the next one begins. A process that is killed loses only what was not flushed yet. What a
disk refuses waits and is tried again, as long as there is room for what waits; then nothing more is taken."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from reconciler.errors import Terminal
from reconciler.files import write_private
from reconciler.gateway.parquet import STAGED, Kind, Row, ended, folder, load, save, table
from reconciler.model.serving import ROWS, ever_written

FLUSH = 10.0
"""Seconds that a row waits at most; it is what a killed process loses."""
PART_ROWS, PART_BYTES = 50_000, 32 << 20
"""A part that has as many rows, or as many bytes in memory, is full: what grows is read again with each flush."""
FLUSH_ROWS, FLUSH_BYTES = 10_000, 8 << 20
"""So much is written without waiting for FLUSH."""
QUEUE_ROWS, QUEUE_BYTES = 50_000, 32 << 20
"""What waits at most; more is dropped and counted."""
SWEEP = 3600.0
"""Seconds between two looks for days that are to be removed."""
_log = logging.getLogger("reconciler.gateway")


@dataclass(frozen=True, slots=True)
class _Waiting:
    project: str
    name: str
    at: float
    rows: Sequence[Row]
    size: int
    retain: float


class Parts:
    """Writes below `root`. `flush` is in seconds; `clock` gives Unix seconds."""

    def __init__(self, root: Path, columns: Mapping[str, Kind], *, flush: float = FLUSH, clock: Callable[[], float] = time.time) -> None:
        self._root, self._columns, self._flush, self._clock = root, columns, flush, clock
        self._wake = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._rows = self._bytes = 0
        self._oldest = 0.0
        """When the first of what waits came (monotonic)."""
        self._closing = False
        self._open: dict[Path, tuple[Path, int]] = {}
        """Folder of a day -> the part that grows there, and its rows."""
        self._retained: dict[Path, float] = {}
        self._counted: dict[Path, int] = {}
        self._failing = False
        self._rests_until = 0.0
        """The disk refused something: until then (monotonic) it is left alone."""
        self.written = 0
        """Rows on disk."""
        self.dropped = 0
        """Rows that were not written: too many waited, or there was no disk to take them until the end."""
        self._thread = threading.Thread(target=self._run, name=f"{root.name}-writer", daemon=True)
        self._thread.start()

    def put(self, project: str, name: str, rows: Sequence[Row], size: int, retain: float) -> bool:
        """Have `rows` written, about `size` bytes; their day is kept for `retain` seconds. False: dropped, for too much waits."""
        with self._wake:
            if self._closing or self._rows + len(rows) > QUEUE_ROWS or self._bytes + size > QUEUE_BYTES:
                self.dropped += len(rows)
                return False
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting.append(_Waiting(project, name, self._clock(), rows, size, retain))
            self._rows, self._bytes = self._rows + len(rows), self._bytes + size
            if len(self._waiting) == 1 or self._full():
                self._wake.notify()
            return True

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, and end; at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        swept = -SWEEP
        while True:
            if time.monotonic() - swept >= SWEEP:
                with contextlib.suppress(OSError):
                    self._sweep()
                swept = time.monotonic()
            with self._wake:
                if not self._due():
                    self._wake.wait(self._patience())  # until then, or until there is something new to wait for
                taken = self._take() if self._due() else []
                done = self._closing
            left = [each for (project, name, day), found in _grouped(taken).items() for each in self._keep(project, name, day, found)]
            with self._wake:
                if done:
                    self.dropped += sum(len(each.rows) for each in left)
                    return
                self._settle(taken, left)

    def _settle(self, taken: Sequence[_Waiting], left: list[_Waiting]) -> None:
        """What was taken has room no more; what the disk refused of it is tried again, before what came since."""
        self._rows -= sum(len(each.rows) for each in taken) - sum(len(each.rows) for each in left)
        self._bytes -= sum(each.size for each in taken) - sum(each.size for each in left)
        self._failing = bool(left)
        if left:
            self._waiting[:0] = left
            self._oldest = time.monotonic()
            self._rests_until = self._oldest + max(self._flush, 0.01)

    def _full(self) -> bool:
        return self._rows >= FLUSH_ROWS or self._bytes >= FLUSH_BYTES

    def _due(self) -> bool:
        if self._closing:
            return True
        now = time.monotonic()
        return now >= self._rests_until and (self._full() or (bool(self._waiting) and now - self._oldest >= self._flush))

    def _patience(self) -> float:
        now = time.monotonic()
        return max(0.0, self._oldest + self._flush - now, self._rests_until - now) if self._waiting else SWEEP

    def _take(self) -> list[_Waiting]:
        taken, self._waiting = self._waiting, []
        return taken

    def _keep(self, project: str, name: str, day: date, found: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Write them; what the disk has no room for comes back."""
        rows = [row for each in found for row in each.rows]
        try:
            where = folder(self._root, project, name)
            self._note(where, found[-1].retain)
            self._append(where / f"date={day.isoformat()}", rows)
            self._count(where, len(rows))
        except OSError as error:
            if not self._failing:
                _log.warning("%s of %s/%s wait to be written: %s", self._root.name, project, name, error)
            return found
        except Exception as error:  # whatever it is: the thread lives on, and requests are answered
            _log.warning("%s of %s/%s are not written: %s", self._root.name, project, name, error)
            with self._wake:
                self.dropped += len(rows)
            return ()
        self.written += len(rows)
        return ()

    def _append(self, day: Path, rows: Sequence[Row]) -> None:
        import pyarrow as pa

        _make(self._root, day)
        tables = [table(self._columns, rows)]
        path, before = self._open.get(day, (self._fresh(day), 0))
        if before:
            try:
                tables.insert(0, load(path))
            except (FileNotFoundError, Terminal):  # somebody removed or damaged it
                path, before = self._fresh(day), 0
        whole = pa.concat_tables(tables)
        save(path, whole)
        for other in [each for each in self._open if each.parent == day.parent]:  # a day that is over gets no more rows
            del self._open[other]
        if before + len(rows) < PART_ROWS and whole.nbytes < PART_BYTES:
            self._open[day] = (path, before + len(rows))

    def _fresh(self, day: Path) -> Path:
        """A part that is not there yet, whatever the clock says."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        while (path := day / f"part-{at:%Y%m%dT%H%M%S.%f}-{os.getpid()}.parquet").exists():
            at += timedelta(microseconds=1)
        return path

    def _note(self, where: Path, retain: float) -> None:
        if self._retained.get(where) != retain:
            _make(self._root, where)
            write_private(where / ".retain", str(retain))
            self._retained[where] = retain

    def _count(self, where: Path, more: int) -> None:
        self._counted[where] = self._counted.get(where, ever_written(where)) + more
        write_private(where / ROWS, str(self._counted[where]), durable=False)

    def _sweep(self) -> None:
        """Remove the days whose time is over, those of deployments that are gone too, and what killed writers left."""
        now = self._clock()
        for note in self._root.glob("*/*/.retain"):
            with contextlib.suppress(OSError, ValueError):
                retain = float(note.read_text(encoding="utf-8"))
                for day in note.parent.glob("date=*"):
                    if ended(day) + retain <= now:
                        shutil.rmtree(day, ignore_errors=True)
            for half in note.parent.glob(f"date=*/{STAGED}*"):
                with contextlib.suppress(OSError):
                    if now - half.stat().st_mtime > SWEEP:
                        half.unlink()


def _grouped(taken: Iterable[_Waiting]) -> dict[tuple[str, str, date], list[_Waiting]]:
    found: dict[tuple[str, str, date], list[_Waiting]] = {}
    for each in taken:
        found.setdefault((each.project, each.name, datetime.fromtimestamp(each.at, UTC).date()), []).append(each)
    return found


def _make(root: Path, path: Path) -> None:
    """`path` below `root`, entered by nobody else; `root` and what is above it too."""
    for each in (root.parent, root, *reversed([up for up in path.parents if up.is_relative_to(root) and up != root]), path):
        each.mkdir(mode=0o700, exist_ok=True)
