"""What is happening now, on stderr: a live display on a terminal, a plain line at most every ten seconds elsewhere, or nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from reconciler.events import Event, Listener, silent
from reconciler.report.show import clean, count, listed, took

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY = 10.0
"""Seconds between two plain lines: enough to show life in a CI log, few enough to read it."""
_LINES = 8
"""Resources shown at once on a terminal."""


@contextmanager
def progress(stream: TextIO, *, quiet: bool = False, color: bool = True, every: float = EVERY) -> Iterator[Listener]:
    """Listens to a pass while the block runs. `quiet` shows nothing; a terminal gets the live display."""
    if quiet:
        yield silent
        return
    state = Picture()
    if stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"):
        with _live(stream, state, color):
            yield state.hear
    else:
        with _lines(stream, state, every):
            yield state.hear


class Picture:
    """What is known from the events so far. `hear` may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self.phase = ""
        self.done = self.total = self.failed = 0
        self.running: dict[str, tuple[str, float]] = {}
        """Resource -> (what happens to it, since when)."""
        self._began: float | None = None

    def hear(self, event: Event) -> None:
        """Take in one event."""
        with self._lock:
            name = clean(str(event.ref)) if event.ref else ""
            if event.total:
                self._began = self._began if self._began is not None else self._clock()
                self.done, self.total = event.done, event.total
            match event.kind:
                case "phase" | "wait":
                    self.phase = clean(event.text)
                    if not event.total:  # what was counted is over
                        self.done, self.total, self._began = 0, 0, None
                case "start" | "retry" if name:
                    since = self.running[name][1] if name in self.running else self._clock()
                    self.running[name] = (clean(event.text), since)
                case "done" | "failed":
                    self.running.pop(name, None)
                    self.failed += event.kind == "failed"
                case _:
                    self.phase = clean(event.text)

    def now(self) -> list[tuple[str, str, float]]:
        """(resource, what, seconds so far), the longest running first."""
        with self._lock:
            at = self._clock()
            found = [(name, text, at - since) for name, (text, since) in self.running.items()]
        return sorted(found, key=lambda each: -each[2])

    def estimate(self) -> float | None:
        """Seconds that are left if the rest goes as fast as what is done; None before two are done."""
        if self._began is None or self.done < 2 or self.done >= self.total:
            return None
        return (self._clock() - self._began) / self.done * (self.total - self.done)

    def headline(self) -> str:
        """`applying: 12 of 40, 1 failed, about 8 s left`."""
        parts = [f"{self.done} of {self.total}"] if self.total else []
        parts += [f"{self.failed} failed"] if self.failed else []
        left = self.estimate()
        parts += [f"about {took(left)} left"] if left is not None else []
        return ": ".join(filter(None, [self.phase or "working", ", ".join(parts)]))

    def line(self) -> str:
        """Everything on one line, for a log."""
        running = self.now()
        if not running:
            return self.headline()
        first = ", ".join(f"{name} {text}".strip() + f" ({took(spent)})" for name, text, spent in running[:2])
        more = f" and {count(len(running) - 2, 'other')}" if len(running) > 2 else ""
        return f"{self.headline()}; now {first}{more}"


@contextmanager
def _lines(stream: TextIO, state: Picture, every: float) -> Iterator[None]:
    stop = threading.Event()

    def write() -> None:
        began = time.monotonic()
        while not stop.wait(every):
            stream.write(f"[{took(time.monotonic() - began)}] {state.line()}\n")
            stream.flush()

    thread = threading.Thread(target=write, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _live(stream: TextIO, state: Picture, color: bool) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    spinner = Spinner("dots")

    class Display:
        """Drawn again from the picture ten times a second."""

        def __rich__(self) -> RenderableType:
            table = Table.grid(padding=(0, 1))
            table.add_row(spinner, Text(state.headline(), overflow="ellipsis", no_wrap=True))
            running = state.now()
            for name, text, spent in running[:_LINES]:
                table.add_row("", Text(f"{name}  {text}  {took(spent)}", style="dim", overflow="ellipsis", no_wrap=True))
            if len(running) > _LINES:
                table.add_row("", Text(listed([f"{len(running) - _LINES} more"]), style="dim"))
            return table

    console = Console(file=stream, no_color=not color)
    with Live(Display(), console=console, refresh_per_second=10, transient=True, redirect_stdout=False):
        yield
