"""Wakes the supervisor: a signal, a child that ended, or a time that has passed."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from reconciler.runs.folder import Folder


class Bell:
    """Installs the supervisor's signal handlers. One for the process, in its main thread."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.told = False
        """True once a SIGTERM came."""
        self._read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self.told = True

    def wait(self, seconds: float) -> None:
        """Until a signal comes or the time has passed."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._read, 512):
                    pass

    @property
    def stop(self) -> str | None:
        """Why the job is to stop; None = it is not."""
        with contextlib.suppress(OSError):
            return self._folder.stop.read_text(encoding="utf-8").strip() or "asked for"
        return "by a signal" if self.told else None

    @property
    def paused(self) -> bool:
        """True when it is to pause."""
        return self._folder.paused.exists()


def _pipe() -> tuple[int, int]:
    """Where pipe2 is missing (macOS). Handles that Python opens are not inherited."""
    ends = os.pipe()
    for each in ends:
        os.set_blocking(each, False)
    return ends
