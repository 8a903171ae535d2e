"""Who serves: one file for each replica, written by itself, believed only while the replica lives.

::

    serving/replicas/APP/ID.json     `Registration`
    serving/replicas/APP/ID.lock     held (flock) for as long as the replica's process lives

Liveness is the lock, not a PID: it ends with the process that holds it, whatever ends that. What a dead replica left says why it
ended, until somebody sweeps."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from reconciler.errors import Transient
from reconciler.files import write_private
from reconciler.model.serving import Registration, applications_file, replicas_folder
from reconciler.runs.folder import acquire, is_held

KEPT_SECONDS = 3600.0
"""How long what a dead replica left is kept for people to read."""


@dataclass
class Entry:
    """A replica's own registration: held by the replica, replaced as a whole, safe to change from several threads."""

    path: Path
    now: Registration
    _lock: int
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def change(self, **fields: Any) -> None:
        """Write the registration with these fields changed; nothing is written when nothing changes, or when it was left already."""
        with self._guard:
            wanted = replace(self.now, **fields)
            if wanted != self.now and self._lock >= 0:
                self.now = wanted
                write_private(self.path, json.dumps(asdict(wanted)), durable=False)

    def leave(self, *, keep: bool = False) -> None:
        """End the registration; `keep`: what it says last stays readable, as that of a dead replica. Safe to repeat."""
        with self._guard:
            if self._lock < 0:
                return
            if not keep:
                self.path.unlink(missing_ok=True)
                self.path.with_suffix(".lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def enter(state_dir: Path, first: Registration) -> Entry:
    """Take the lock of this replica and write what it says first. Raises Transient when some other process holds it."""
    folder = replicas_folder(state_dir) / first.app
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{first.replica}.json"
    handle = acquire(path.with_suffix(".lock"))
    if handle is None:
        raise Transient(f"replica {first.replica} of {first.app} is registered by another process")
    write_private(path, json.dumps(asdict(first)), durable=False)
    return Entry(path, first, handle)


def standing(state_dir: Path) -> Mapping[str, tuple[Registration, ...]]:
    """The replicas that live, by application, oldest first; whatever their state. Reads only."""
    found: dict[str, list[Registration]] = {}
    for path in _files(state_dir):
        if is_held(path.with_suffix(".lock")) and (each := read(path)) is not None:
            found.setdefault(each.app, []).append(each)
    return {app: tuple(sorted(each, key=lambda one: (one.since, one.replica))) for app, each in found.items()}


def failures(state_dir: Path, app: str) -> str:
    """Why the last replica of `app` that failed did so; empty when none did."""
    told = [each for path in _files(state_dir, app) if (each := read(path)) is not None and each.state == "failed" and each.why]
    return max(told, key=lambda each: each.since).why if told else ""


def read(path: Path) -> Registration | None:
    """What a replica's file says; None when there is none, or it is not one. A newer replica may say more than is known here."""
    try:
        raw = json.loads(path.read_bytes())
        return Registration(**{each.name: raw[each.name] for each in fields(Registration) if each.name in raw})
    except (OSError, ValueError, TypeError):
        return None


def sweep(state_dir: Path) -> None:
    """Remove what the dead left: after an hour, and at once where nobody asks for their application any more. Safe to repeat."""
    wanted = declared(state_dir)
    for folder in _folders(state_dir):
        if folder.name in wanted or any(is_held(lock) for lock in folder.glob("*.lock")):
            for path in _files(state_dir, folder.name):
                _forget(path, KEPT_SECONDS)
        else:
            for path in _files(state_dir, folder.name):
                _forget(path, 0.0)
            shutil.rmtree(folder, ignore_errors=True)


def _forget(path: Path, kept: float) -> None:
    """Remove the registration of a replica that died so many seconds ago, with its socket and the folder that was made for that."""
    lock = path.with_suffix(".lock")
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime < kept or is_held(lock):
            return
        left = read(path)
        if left is not None and left.socket:
            _forget_socket(Path(left.socket))
        path.unlink()
        lock.unlink()


def _forget_socket(socket: Path) -> None:
    with contextlib.suppress(OSError):
        if socket.is_socket() and socket.parent.stat().st_mode & 0o077 == 0:
            socket.unlink()
            socket.parent.rmdir()


def declared(state_dir: Path) -> Mapping[str, Mapping[str, Any]]:
    """The applications that the reconciler has asked for, by name; empty when it never did."""
    try:
        found = json.loads(applications_file(state_dir).read_bytes())["applications"]
        return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folders(state_dir: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(replicas_folder(state_dir)) as entries:
        yield from (Path(each.path) for each in entries if each.is_dir(follow_symlinks=False))


def _files(state_dir: Path, app: str | None = None) -> Iterator[Path]:
    for folder in _folders(state_dir):
        if app in (None, folder.name):
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                yield from (Path(each.path) for each in entries if each.name.endswith(".json") and not each.name.startswith("."))
