"""The loop: passes for as long as it is let. A saved file, a run that ends and the clock each cause as much work as they need."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.advance import LOOK, SHARE, Watch, advance, heard, saved
from reconciler.alerting.courier import telling
from reconciler.converge import converge, outdated, soon
from reconciler.errors import ReconcilerError, StalePlan
from reconciler.house import House, secret
from reconciler.loop import Report
from reconciler.pulse import Pulse
from reconciler.selection import Selection
from reconciler.source.follow import Followings, Standing
from reconciler.source.read import Desired, read
from reconciler.touched import touched

if TYPE_CHECKING:
    from watchfiles import Change

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the loop tries again after a pass that could not be made at all; doubled each time."""
DEBOUNCE_MS, STEP_MS = 200, 50
"""A save of several files counts as one change when they come within this time; how often the system is asked."""
IGNORED = frozenset({".git", ".mlops", ".venv", "__pycache__", ".ipynb_checkpoints", "node_modules"})
"""Folders whose files mean nothing to a pass."""


class Changed(threading.Event):
    """Set when a watched file has changed; remembers which."""

    def __init__(self) -> None:
        super().__init__()
        self._paths: set[str] = set()
        self._lock = threading.Lock()

    def tell(self, *paths: str) -> None:
        """No paths: something that no path names."""
        with self._lock:
            self._paths.update(paths or ("",))
        self.set()

    def take(self) -> frozenset[str]:
        """What changed since this was asked the last time."""
        self.clear()
        with self._lock:
            taken, self._paths = frozenset(self._paths), set()
        return taken


def run_forever(
    selection: Selection,
    house: House,
    *,
    every: float,
    stop: threading.Event,
    on_report: Callable[[Report], None],
    on_trouble: Callable[[ReconcilerError, float], None],
    pulse: Pulse | None = None,
    sources: Followings | None = None,
    on_news: Callable[[Standing], None] = lambda _: None,
) -> None:
    """Reconcile until `stop` is set: at once when a watched file changes, every `every` seconds (drift made by hand), and when runs end.

    A pass that raises is told to `on_trouble` with the seconds until the next try; nothing but `stop` ends the loop. `pulse` is kept.
    Repositories are followed by `sources`, which the Platform fills; `on_news` is told what came of each new commit."""
    files, pulse, failures = Changed(), pulse or Pulse(every), 0
    sources = sources or Followings(house.settings.root, house.settings.state, secret)
    loop = _Loop(selection, house, every, stop, on_report, files, pulse, sources)
    with watching(selection, house, files, stop), following(sources, house, files, stop, on_news), telling(house):
        while not stop.is_set():
            pulse.turn()
            try:
                loop.turn()
                failures = 0
            except StalePlan:
                loop.watch.pending = True
            except Exception as error:  # a defect costs one pass, not the loop
                failures += 1
                loop.watch.pending = True
                pause, told = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)), _told(error, house)
                pulse.pass_fails(str(told))
                on_trouble(told, pause)
                _sleep(pause, files, stop)
            _sleep(LOOK, files, stop)


@dataclass
class _Loop:
    """What the loop knows from one turn to the next."""

    selection: Selection
    house: House
    every: float
    stop: threading.Event
    on_report: Callable[[Report], None]
    files: Changed
    pulse: Pulse
    sources: Followings
    watch: Watch = field(default_factory=lambda: Watch(None))
    report: Report | None = None
    quiet: float = 0.0
    """Seconds after a whole pass until the next one, when nothing calls for it before."""

    def turn(self) -> None:
        """Do the one thing that is due, if any. Raises what a pass raises."""
        began, watch = time.monotonic(), self.watch
        changed = watch.changed()
        if self.report is None or watch.wants_pass(quiet=self.quiet):
            self.files.take()
            self._whole(began)
        elif self.files.is_set():
            self._saved(began, self.report)
        elif watch.wants_tasks():
            self.report, done = heard(self.report, self.selection, self.house, self.stop)
            watch.note_tasks(began)
            self._tell(done)
        elif changed or watch.wants_decision():
            self.report, done = advance(self.report, self.house, self.stop)
            watch.note_decision(began, done)
            self._tell(done)

    def _whole(self, began: float) -> None:
        self.pulse.pass_begins()
        self.report = converge(self.selection, self.house, stop=self.stop)
        self.pulse.pass_ends()
        if (ctx := self.report.proposal.context) is not None:
            self.sources.take(ctx.platform, own=True)
        self.watch.note_pass(began, self.report.proposal.context)
        self.watch.pending = bool(outdated(self.report))
        self.quiet = min(self.every, max(soon(self.report) or self.every, self.watch.cost / SHARE))
        self.on_report(self.report)
        gc.collect()  # what a pass leaves behind holds connections, and the oldest garbage is hardly ever collected by itself

    def _saved(self, began: float, report: Report) -> None:
        """A pass over what the changed manifests concern; over everything where that cannot be told."""
        paths = self.files.take()
        refs = None if self.selection.filtered or not self._are_manifests(paths) else touched(report, self._read())
        if refs is None:
            self._whole(began)
        elif refs:
            self.report, done = saved(report, refs, self.selection, self.house, self.stop)
            self.watch.note_decision(began, done)
            self.watch.pending |= bool(outdated(done))
            self._tell(replace(done, statuses=self.report.statuses))

    def _are_manifests(self, paths: Collection[str]) -> bool:
        root = self.house.settings.root.absolute()
        folders = [root / each for each in self.selection.paths]
        return all(each and any(Path(each).is_relative_to(folder) for folder in folders) for each in paths)

    def _read(self) -> Desired:
        store = self.house.store
        return read(self.selection, self.house.kinds, self.house.settings, store.inventory(), store.meta("root_paths") or "")

    def _tell(self, done: Report | None) -> None:
        if done is not None:
            self.on_report(done)


def _told(error: Exception, house: House) -> ReconcilerError:
    if isinstance(error, ReconcilerError):
        return error
    import traceback

    house.log.warning("pass_failed", error=repr(error), trace=traceback.format_exc())
    return ReconcilerError(f"the pass failed, which is a defect of the reconciler: {type(error).__name__}: {error}")


def _sleep(seconds: float, files: Changed, stop: threading.Event) -> None:
    """Wait, unless a file changes or the loop is to end."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0 and not files.wait(min(left, LOOK)):
        pass


@contextmanager
def watching(selection: Selection, house: House, files: Changed, stop: threading.Event) -> Iterator[None]:
    """Tells `files` whenever something below the manifests or a project's code changes; what cannot be watched is found by the clock."""
    done = threading.Event()

    def wait() -> None:
        from watchfiles import watch

        while not done.is_set() and not stop.is_set():
            paths = watched(selection, house)
            if not paths:
                done.wait(1.0)
                continue
            try:
                for found in watch(
                    *paths, watch_filter=_matters, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=done, raise_interrupt=False
                ):
                    files.tell(*(path for _, path in found))
                    if watched(selection, house) != paths:
                        break
            except (OSError, RuntimeError) as error:  # no more watches to be had, or a folder that is gone
                house.log.warning("watch_failed", error=str(error))
                done.wait(5.0)

    with _beside(wait, "watch-files", done):
        yield


@contextmanager
def following(
    sources: Followings, house: House, files: Changed, stop: threading.Event, on_news: Callable[[Standing], None]
) -> Iterator[None]:
    """Looks at the repositories, each when it is due or was pushed to, and tells `files` when one has moved."""
    done = threading.Event()

    def wait() -> None:
        while not done.wait(LOOK) and not stop.is_set():
            try:
                for each in sources.look():
                    on_news(each)
                    files.tell()
            except Exception as error:  # a defect costs a look, not the loop
                house.log.warning("follow_failed", error=repr(error))
                done.wait(FIRST_PAUSE)

    with _beside(wait, "follow-repositories", done):
        yield


@contextmanager
def _beside(work: Callable[[], None], name: str, done: threading.Event) -> Iterator[None]:
    """Runs `work` in a thread until the block ends, which sets `done`."""
    thread = threading.Thread(target=work, name=name, daemon=True)
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
