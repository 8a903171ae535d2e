"""Tells the tracking server about one job: while it runs from a thread of its own, and at its end until the server has it all.

The watch never waits for the server. What the program writes is read from its files only as fast as the server takes it, so a server that
is away for hours costs no memory and loses nothing."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

from reconciler.errors import Rejected, Transient
from reconciler.model.jobs import Job
from reconciler.runs.context import context_tags
from reconciler.runs.folder import Ending, Folder
from reconciler.runs.metrics import Series, final
from reconciler.runs.processes import Usage
from reconciler.runs.results import Shipment
from reconciler.runs.system import System
from reconciler.runs.tracking import Metric, Tracking

TELL_SECONDS = 2.0
"""Between two looks for new metrics."""
PATIENCE_SECONDS = 600.0
"""At the end the server may be away for so long; what is not told by then waits for `tend`."""
LONGEST_PAUSE = 30.0
_WAITING = 1000
"""System metrics that wait for a server that is away; older ones are dropped."""


class Reporter:
    """One per supervisor."""

    def __init__(self, job: Job, folder: Folder) -> None:
        self._job, self._folder = job, folder
        self._auth = _credentials(folder)
        self._tracking: Tracking | None = None
        self._series = _series(folder)
        self._waiting: deque[Metric] = deque(maxlen=_WAITING)
        self._tags: dict[str, str] = {}
        """Those that the server does not have yet."""
        self._context: dict[str, str] = {}
        self._system: System | None = None
        self._blind = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def watts(self) -> float | None:
        """Mean power that was seen; None = the machine does not tell."""
        return self._system.watts if self._system else None

    def begin(self, python: Path, pid: int) -> None:
        """The program runs: from now on its metrics are told."""
        try:
            self._context = context_tags(python)
            self._system = System(self._folder)
        except Exception as error:  # what a machine is cannot be allowed to end a training
            note(f"context or sensors are not told: {error!r}")
        self._tags = {**self._job.tags, **self._context}
        if self._job.tracking:
            self._thread = threading.Thread(target=self._tell_on, name="report", daemon=True)
            self._thread.start()

    def look(self, usage: Usage) -> None:
        """Take note of what the program uses; never waits."""
        self._measure(lambda system: system.look(usage))

    def seen(self) -> dict[str, str]:
        """The program has ended: measure for the last time. The run's context, and what the sensors saw, as tags of the run."""
        self._measure(lambda system: system.last())
        return {**self._context, **(self._system.receipts() if self._system else {})}

    def finish(self, ending: Ending, give_up: Callable[[], bool]) -> bool:
        """Tell the end, and all that was not told yet. True when the server has it, or will never take it."""
        if not self._job.tracking:
            return True
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        shipment = Shipment(self._folder)
        deadline, pause, said = time.monotonic() + PATIENCE_SECONDS, 0.5, ""
        while True:
            try:
                self._tell(last=True)
                self._end(ending, shipment)
            except Transient as error:
                if said != (said := str(error)):
                    note(f"not told yet: {said}")
                if give_up() or time.monotonic() > deadline:
                    return False
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            except Rejected as error:
                note(f"the run's end is not taken: {error}")
                return True
            except Exception:
                note(f"told without metrics and artifacts, because of a defect:\n{traceback.format_exc()}")
                self._end_only(ending)
                return True
            else:
                return True

    def _measure(self, what: Callable[[System], list[Metric]]) -> None:
        """A sensor that fails costs its numbers, never the training."""
        if self._system is None or self._blind:
            return
        try:
            self._waiting.extend(what(self._system))
        except Exception as error:
            self._blind = True
            note(f"no system metrics any more: {error!r}")

    def _end(self, ending: Ending, shipment: Shipment) -> None:
        tracking = self._connect()
        left_out = shipment.send(tracking)
        tracking.tags({**self._job.tags, **ending.tags, **left_out})
        tracking.status(ending.status, ending.ended)

    def _end_only(self, ending: Ending) -> None:
        with contextlib.suppress(Transient, Rejected):
            self._connect().tags({**self._job.tags, **ending.tags})
            self._connect().status(ending.status, ending.ended)

    def _tell_on(self) -> None:
        pause, started = TELL_SECONDS, False
        while not self._over.is_set():
            try:
                if not started:
                    self._connect().status("RUNNING")
                    started = True
                self._tell()
                pause = TELL_SECONDS
            except Transient:
                pause = min(LONGEST_PAUSE, pause * 2)
            except Rejected as error:
                note(str(error))
                return
            except Exception:
                note(f"not told while it runs, because of a defect:\n{traceback.format_exc()}")
                return
            self._over.wait(pause)

    def _tell(self, last: bool = False) -> None:
        tracking = self._connect()
        if self._tags:
            tracking.tags(self._tags)
            self._tags = {}
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                tracking.metrics(batch)
            except Transient:
                self._waiting.extendleft(reversed(batch))
                raise
        while True:
            before = self._series.offset
            self._take(tracking, self._series.read(last))
            self._series.accept()
            if self._series.offset == before:
                break
            with contextlib.suppress(OSError):  # a full disk: a supervisor that comes after this one tells some of it twice
                self._folder.told.write_text(json.dumps({"offset": self._series.offset, "step": self._series.step}), encoding="utf-8")
        if last:
            self._take(tracking, final(self._folder.out / "metrics.json", self._series.step))

    def _take(self, tracking: Tracking, found: list[Metric]) -> None:
        """What the server refuses is left out with a note: trying again would not help, and the rest must not wait for it."""
        try:
            tracking.metrics(found)
        except Rejected as error:
            note(f"metrics left out: {error}")

    def _connect(self) -> Tracking:
        if self._tracking is None:
            self._tracking = Tracking(self._job.tracking, self._job.id, self._auth)
        return self._tracking


def note(text: str) -> None:
    """A line in supervisor.log; a disk that is full costs the line, not the supervisor."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")


def _credentials(folder: Folder) -> tuple[str, str] | None:
    """Read and removed: from here on they are in this process only."""
    try:
        user, password = json.loads(folder.credentials.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    folder.credentials.unlink(missing_ok=True)
    return str(user), str(password)


def _series(folder: Folder) -> Series:
    """Goes on where an earlier supervisor of this job stopped."""
    series = Series(folder.out / "metrics.jsonl")
    try:
        told = json.loads(folder.told.read_text(encoding="utf-8"))
        series.offset, series.step = int(told["offset"]), int(told["step"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return series
