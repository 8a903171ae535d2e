"""The loop: passes for as long as it is let. A saved file, a run that ends and the clock each cause as much work as they need."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.advance import LOOK, SHARE, Watch, advance, heard
from reconciler.alerting.courier import telling
from reconciler.converge import converge, outdated, soon
from reconciler.errors import ReconcilerError, StalePlan
from reconciler.house import House
from reconciler.loop import Report
from reconciler.pulse import Pulse
from reconciler.selection import Selection

if TYPE_CHECKING:
    from watchfiles import Change

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the loop tries again after a pass that could not be made at all; doubled each time."""
DEBOUNCE_MS, STEP_MS = 200, 50
"""A save of several files counts as one change when they come within this time; how often the system is asked."""
IGNORED = frozenset({".git", ".mlops", ".venv", "__pycache__", ".ipynb_checkpoints", "node_modules"})
"""Folders whose files mean nothing to a pass."""


def run_forever(
    selection: Selection,
    house: House,
    *,
    every: float,
    stop: threading.Event,
    on_report: Callable[[Report], None],
    on_trouble: Callable[[ReconcilerError, float], None],
    pulse: Pulse | None = None,
) -> None:
    """Reconcile until `stop` is set: at once when a watched file changes, every `every` seconds (drift made by hand), and when runs end.

    A pass that raises is told to `on_trouble` with the seconds until the next try; nothing but `stop` ends the loop. `pulse` is kept."""
    pulse = pulse or Pulse(every)
    files, watch, report, failures = threading.Event(), Watch(None), None, 0
    quiet = every
    with watching(selection, house, files, stop), telling(house):
        while not stop.is_set():
            began = time.monotonic()
            pulse.turn()
            try:
                changed = watch.changed()
                if report is None or files.is_set() or watch.wants_pass(quiet=quiet):
                    files.clear()
                    pulse.pass_begins()
                    report = converge(selection, house, stop=stop)
                    pulse.pass_ends()
                    watch.note_pass(began, report.proposal.context)
                    watch.pending = bool(outdated(report))
                    quiet = min(every, max(soon(report) or every, watch.cost / SHARE))
                    on_report(report)
                    gc.collect()  # what a pass leaves behind holds connections, and the oldest garbage is hardly ever collected by itself
                elif watch.wants_tasks():
                    report, done = heard(report, selection, house, stop)
                    watch.note_tasks(began)
                    if done is not None:
                        on_report(done)
                elif changed or watch.wants_decision():
                    report, done = advance(report, house, stop)
                    watch.note_decision(began, done)
                    if done is not None:
                        on_report(done)
                failures = 0
            except StalePlan:
                watch.pending = True
            except Exception as error:  # a defect costs one pass, not the loop
                failures += 1
                pause, told = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)), _told(error, house)
                pulse.pass_fails(str(told))
                on_trouble(told, pause)
                _sleep(pause, files, stop)
            _sleep(LOOK, files, stop)


def _told(error: Exception, house: House) -> ReconcilerError:
    if isinstance(error, ReconcilerError):
        return error
    import traceback

    house.log.warning("pass_failed", error=repr(error), trace=traceback.format_exc())
    return ReconcilerError(f"the pass failed, which is a defect of the reconciler: {type(error).__name__}: {error}")


def _sleep(seconds: float, files: threading.Event, stop: threading.Event) -> None:
    """Wait, unless a file changes or the loop is to end."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0 and not files.wait(min(left, LOOK)):
        pass


@contextmanager
def watching(selection: Selection, house: House, files: threading.Event, stop: threading.Event) -> Iterator[None]:
    """Sets `files` whenever something below the manifests or a project's code changes; what cannot be watched is found by the clock."""
    done = threading.Event()

    def wait() -> None:
        from watchfiles import watch

        while not done.is_set() and not stop.is_set():
            paths = watched(selection, house)
            if not paths:
                done.wait(1.0)
                continue
            try:
                for _ in watch(*paths, watch_filter=_matters, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=done, raise_interrupt=False):
                    files.set()
                    if watched(selection, house) != paths:
                        break
            except (OSError, RuntimeError) as error:  # no more watches to be had, or a folder that is gone
                house.log.warning("watch_failed", error=str(error))
                done.wait(5.0)

    thread = threading.Thread(target=wait, name="watch-files", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5.0)


def watched(selection: Selection, house: House) -> tuple[Path, ...]:
    """Folders and files that a pass reads: manifests, and the code and data of projects."""
    root = house.settings.root.absolute()
    paths = {path if path.is_absolute() else root / path for path in selection.paths}
    for ref, owned in house.store.inventory().items():
        if ref.kind == "Project":
            paths.add(root / str(owned.applied.get("path", "")))
    return tuple(sorted(each for each in paths if each.exists() and each != root))


def _matters(change: Change, path: str) -> bool:
    return not IGNORED.intersection(Path(path).parts)
