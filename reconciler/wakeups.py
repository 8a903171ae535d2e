"""What wakes the loop: saved files and repositories that have moved, each looked after by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.guard.rules import stamps
from reconciler.house import House
from reconciler.selection import Selection
from reconciler.source.follow import Followings, Standing, standings
from reconciler.source.load import SUFFIXES, overlay_folders

if TYPE_CHECKING:
    from watchfiles import Change

DEBOUNCE_MS, STEP_MS = 200, 50
"""A save of several files counts as one change when they come within this time; how often the system is asked."""
IGNORED = frozenset({".git", ".mlops", ".venv", "__pycache__", ".ipynb_checkpoints", "node_modules"})
"""Folders whose files mean nothing to a pass."""
FOLLOW = 0.5
"""Seconds between two looks whether a repository is due, for a push is heard at once; and at the files of rules."""
OTHERS_EVERY = 2
"""Looks at our own repositories for one at what others have fetched."""
AFTER_DEFECT = 1.0
"""Seconds until the next look at the repositories after one that failed with a defect of ours."""


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


@contextmanager
def watching(selection: Selection, house: House, files: Changed, stop: threading.Event, *, manifests_only: bool = False) -> Iterator[None]:
    """Tells `files` whenever something below the manifests or a project's code changes; what cannot be watched is found by the clock."""
    done = threading.Event()

    def wait() -> None:
        from watchfiles import watch

        how: Any = {"watch_filter": _is_manifest if manifests_only else _matters, "debounce": DEBOUNCE_MS, "step": STEP_MS}
        while not done.is_set() and not stop.is_set():
            try:
                paths = watched(selection, house, manifests_only)
                if not paths:
                    done.wait(1.0)
                    continue
                for found in watch(*paths, **how, stop_event=done, raise_interrupt=False):
                    files.tell(*(path for _, path in found))
                    if watched(selection, house, manifests_only) != paths:
                        break
            except Exception as error:  # no more watches to be had, a folder that is gone, a Store that is busy: a pause, not the end
                house.log.aside.warning("watch_failed", error=str(error))
                done.wait(5.0)

    with beside(wait, "watch-files", done):
        yield


@contextmanager
def following(
    sources: Followings, house: House, files: Changed, stop: threading.Event, on_news: Callable[[Standing], None]
) -> Iterator[None]:
    """Looks at the repositories, each when it is due or was pushed to, and tells `files` when one has moved, by whomever."""
    done, log = threading.Event(), house.log.aside

    def trouble(now: Standing) -> None:
        if now.trouble:
            log.told("warning", "source_refused", **_where(now), newest=now.newest, why=now.trouble)
        else:
            log.told("info", "source_accepted", **_where(now))

    def wait() -> None:
        before, turn = _standing_at(house), 0
        while not done.is_set() and not stop.is_set():
            sources.wait(FOLLOW)
            turn += 1
            if turn % OTHERS_EVERY == 0 and (now := _standing_at(house)) != before:
                before = now
                files.tell()
            try:
                for each in sources.look(on_trouble=trouble):
                    log.told("info", "source_moved", **_where(each), author=each.author, subject=each.subject, rewritten=each.rewritten)
                    on_news(each)
                    files.tell()
                    before = _standing_at(house)
            except Exception as error:  # a defect costs a look, not the loop
                log.warning("follow_failed", error=repr(error))
                done.wait(AFTER_DEFECT)

    with beside(wait, "follow-repositories", done):
        yield


@contextmanager
def minding(rules: Callable[[], Sequence[str]], house: House, files: Changed, stop: threading.Event) -> Iterator[None]:
    """Tells `files` when a file of rules has changed, has come or is gone. `rules` are the entries of `spec.policy.rules` of now, which may
    name files that lie anywhere and are not there yet: these few are looked at, not watched."""
    done, root = threading.Event(), house.settings.root.absolute()

    def seen() -> tuple[Sequence[str], object]:
        entries = rules()
        return entries, stamps(entries, root)

    before = seen()

    def wait() -> None:
        nonlocal before
        while not done.wait(FOLLOW) and not stop.is_set():
            if (now := seen()) != before:
                before = now
                files.tell()

    with beside(wait, "mind-rules", done):
        yield


def _where(now: Standing) -> dict[str, str]:
    return {"source": now.source, "revision": now.commit}


def _standing_at(house: House) -> frozenset[str]:
    """Commits that repositories stand at: another loop, or a person's `reconcile`, may have fetched them."""
    try:
        return frozenset(f"{name} {each.commit}" for name, each in standings(house.settings.state).items())
    except OSError:  # no file descriptors at this moment: taken for a change, which costs a pass, and not the thread
        return frozenset()


@contextmanager
def beside(work: Callable[[], None], name: str, done: threading.Event) -> Iterator[None]:
    """Runs `work` in a thread until the block ends, which sets `done`."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5.0)


def watched(selection: Selection, house: House, manifests_only: bool = False) -> tuple[Path, ...]:
    """Folders and files that a pass reads: manifests, and the code and data of projects."""
    root = house.settings.root.absolute()
    paths = {*manifest_folders(selection, root)}
    if not manifests_only:
        paths |= {root / str(owned.applied.get("path", "")) for ref, owned in house.store.inventory().items() if ref.kind == "Project"}
    return tuple(sorted(each for each in paths if each.exists() and each != root))


def manifest_folders(selection: Selection, root: Path) -> tuple[Path, ...]:
    """What was named, and what the environment has beside it."""
    paths = tuple(root / each for each in selection.paths)
    if not selection.env:
        return paths
    beside = [each / selection.env for path in paths for each in overlay_folders(path, root)]
    return (*paths, *dict.fromkeys(beside))


def _matters(change: Change, path: str) -> bool:
    return not IGNORED.intersection(Path(path).parts)


def _is_manifest(change: Change, path: str) -> bool:
    return path.endswith(SUFFIXES) and _matters(change, path)
