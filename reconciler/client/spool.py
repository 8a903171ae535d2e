"""What could not be delivered: append-only files in the installation's state folder.

::

    client/<project>/<started>-<pid>-<random>.jsonl    one record a line; its writer holds it locked (flock) for as long as it lives
    client/<project>/<same>.done                       how many of its records were delivered, and which runs they became
    client/<project>/files/<random>-<name>             artifacts, copied: the original may be gone by then
    client/<project>/refused.jsonl                     records that the tool said no to, each with its answer

A record is delivered in the order of its file, and noted as delivered after the tool has taken it. One that was taken and not noted (the
process died in between) is sent again; records are made so that the tool knows them again: runs by a tag, values by their time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from reconciler.client.errors import NotAsked, Refused

Record = Mapping[str, Any]
Deliver = Callable[[Record, dict[str, str]], None]
"""Does what a record says; the mapping holds the ids of runs by the client's names for them, and may be added to."""


@dataclass
class Spool:
    """The spool of one project, with the file of this process."""

    folder: Path
    _file: IO[str] | None = None
    _path: Path | None = None
    waiting: int = 0
    """Records of this process that were not delivered yet."""
    refused: int = 0
    """Records that this process delivered and a tool said no to."""
    _owner: int = 0
    """Process that opened the file: a forked one begins a file of its own."""
    ids: dict[str, str] = field(default_factory=dict)
    """Runs that became something, by the client's name for them."""

    def put(self, record: Record) -> None:
        """Append a record; on disk when this returns. Raises NotAsked when the disk does not take it."""
        try:
            file = self._opened()
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise NotAsked(f"what a tool did not take cannot be kept at {self.folder}: {error.strerror}") from error
        self.waiting += 1

    def keep(self, file: Path) -> Path:
        """A copy of an artifact that waits. Raises OSError."""
        place = self.folder / "files" / f"{os.urandom(8).hex()}-{file.name}"
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        import shutil

        shutil.copyfile(file, place)
        return place

    def deliver(self, deliver: Deliver) -> int:
        """Send what waits: of processes that are gone, then our own, each file in its order. How many records went.

        Raises what `deliver` raises, other than Refused: then the rest waits. What was refused is put aside with the answer."""
        sent = 0
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.name == REFUSED:
                continue
            with _claimed(path, own=path == self._path) as free:
                if free:
                    sent += self._file_delivered(path, deliver)
        return sent

    def left(self) -> int:
        """Records that wait, those of other processes included."""
        return sum(
            max(0, len(path.read_bytes().splitlines()) - _progress(path)[0]) for path in self.folder.glob("*.jsonl") if path.name != REFUSED
        )

    def close(self) -> None:
        """Let go of this process's file; one with nothing left in it goes."""
        if self._file is not None and self._path is not None:
            if not self.waiting:
                _remove(self._path)
            self._file.close()
        self._file = self._path = None

    def _opened(self) -> IO[str]:
        if self._file is None or self._owner != os.getpid():
            self._owner, self.waiting = os.getpid(), 0
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
            self._path = self.folder / name
            self._file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600), "a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        return self._file

    def _file_delivered(self, path: Path, deliver: Deliver) -> int:
        done, known = _progress(path)
        ids = self.ids if path == self._path else known
        ids.update(known)
        sent, lines = 0, path.read_text(encoding="utf-8").splitlines()
        for line in lines[done:]:
            try:
                record = json.loads(line)
            except ValueError:  # half a line: its writer was killed within it
                record = {}
            try:
                if record:
                    deliver(record, ids)
            except Refused as error:
                self._refused(record, error)
            done, sent = done + 1, sent + 1
            _note(path, done, ids)
            if copied := record.get("copy"):
                (self.folder / "files" / str(copied)).unlink(missing_ok=True)
            if path == self._path:
                self.waiting = max(0, self.waiting - 1)
        if path == self._path:
            self.waiting = 0
        else:
            _remove(path)
        return sent

    def _refused(self, record: Record, error: Refused) -> None:
        self.refused += 1
        with (self.folder / REFUSED).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"record": record, "answer": str(error), "at": time.time()}) + "\n")


REFUSED = "refused.jsonl"


@contextlib.contextmanager
def _claimed(path: Path, *, own: bool) -> Iterator[bool]:
    """Whether the file may be delivered: its writer is gone and nobody else delivers it; our own is ours already."""
    if own:
        yield True
        return
    try:
        file = path.open("r+")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield path.exists()  # another one may have delivered and removed it meanwhile


def _progress(path: Path) -> tuple[int, dict[str, str]]:
    try:
        found = json.loads(path.with_suffix(".done").read_bytes())
        return int(found["done"]), {str(key): str(value) for key, value in found["ids"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def _note(path: Path, done: int, ids: Mapping[str, str]) -> None:
    staged = path.with_suffix(".noting")
    staged.write_text(json.dumps({"done": done, "ids": dict(ids)}), encoding="utf-8")
    staged.replace(path.with_suffix(".done"))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".done").unlink(missing_ok=True)
