"""A tool to test against, honest where real ones are unpleasant.

Things have unique names, ids that the tool gives, plain fields and labels (which hold marks). A listing comes in pages. A deleted thing
stays in the trash and keeps its name reserved, as in MLflow. The tool can be slow, down, fail for a while, or carry a request out and
lose the answer. Every call is told to a wire log.

`FakeTool()` lives in memory; `FakeTool(FileShelf(path))` keeps its things in a file, so that what a killed process did is still there
for the next one."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from reconciler.controller import Call
from reconciler.errors import Conflict, Rejected, Transient
from reconciler.model import JSON

Wire = Callable[[Call], None]
Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Thing:
    """One object in the tool."""

    id: str
    name: str
    fields: Mapping[str, JSON] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    stage: Literal["active", "deleted"] = "active"
    busy: bool = False
    """Accepted, and not ready yet; `FakeTool.finish` ends it."""


Things = dict[str, Thing]
"""By id."""


class Shelf(Protocol):
    """Where the tool keeps its things."""

    def held(self) -> AbstractContextManager[Things]:
        """The things, for one call alone; what was changed in them is kept when the block ends without an error."""


class MemoryShelf:
    """Things that end with the process."""

    def __init__(self) -> None:
        self._things: Things = {}
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[Things]:
        with self._lock:
            yield self._things


class FileShelf:
    """Things in one JSON file; safe for several processes. A change is on disk before the call that made it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[Things]:
        with self._lock, self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else "{}"
            things = {key: Thing(**each) for key, each in json.loads(text).items()}
            yield things
            if (changed := json.dumps({key: asdict(each) for key, each in things.items()}, sort_keys=True)) != text:
                self._write(changed)

    def _write(self, text: str) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._path)


@dataclass
class _Trouble:
    """What goes wrong with the next `times` calls of a method."""

    method: str
    error: Exception
    times: int
    after: bool
    """True: the request is carried out, and its answer is lost."""


class FakeTool:
    """The tool. Every method that a client would call takes the wire log first.

    `hook(moment, method)` is called just before and just after each call takes effect, in the calling thread: a test kills its
    process there, or sets an Event. `latency` is in seconds for each call; `page_size` in things."""

    def __init__(self, shelf: Shelf | None = None, *, page_size: int = 100) -> None:
        self.latency = 0.0
        self.down = False
        self.page_size = page_size
        self.hook: Callable[[Moment, str], None] = lambda moment, method: None
        self._shelf = shelf or MemoryShelf()
        self._troubles: list[_Trouble] = []

    # --- what a client calls ---

    def page(self, wire: Wire, token: str = "") -> tuple[list[Thing], str]:
        """One page of all things, deleted ones too, in the order of their ids, and the next page's token (empty = that was the last)."""
        with self._call(wire, "list", token, write=False) as things:
            ordered = sorted(things.values(), key=lambda each: int(each.id))
            start = int(token or 0)
            more = start + self.page_size < len(ordered)
            return ordered[start : start + self.page_size], str(start + self.page_size) if more else ""

    def create(self, wire: Wire, name: str, fields: Mapping[str, JSON], labels: Mapping[str, str], *, busy: bool = False) -> Thing:
        """Make a thing with all its labels at once. Raises Conflict when the name is taken, by a deleted one too."""
        with self._call(wire, "create", name) as things:
            if any(each.name == name for each in things.values()):
                raise Conflict(f"there is a thing named {name} already")
            thing = Thing(str(max((int(key) for key in things), default=0) + 1), name, dict(fields), dict(labels), busy=busy)
            things[thing.id] = thing
            return thing

    def update(self, wire: Wire, id: str, fields: Mapping[str, JSON], labels: Mapping[str, str]) -> Thing:
        """Set these fields and labels; None removes a field. Raises Rejected when there is no active thing of this id."""
        with self._call(wire, "update", id) as things:
            thing = self._active(things, id)
            merged = {key: value for key, value in {**thing.fields, **fields}.items() if value is not None}
            things[id] = replace(thing, fields=merged, labels={**thing.labels, **labels})
            return things[id]

    def rename(self, wire: Wire, id: str, name: str) -> None:
        """Give a thing another name, which frees its old one."""
        with self._call(wire, "rename", id) as things:
            things[id] = replace(self._active(things, id), name=name)

    def delete(self, wire: Wire, id: str) -> None:
        """Put a thing into the trash. Raises Rejected when there is no active thing of this id."""
        with self._call(wire, "delete", id) as things:
            things[id] = replace(self._active(things, id), stage="deleted")

    def restore(self, wire: Wire, id: str) -> Thing:
        """Take a thing out of the trash."""
        with self._call(wire, "restore", id) as things:
            if id not in things:
                raise Rejected(f"there is no thing {id}")
            things[id] = replace(things[id], stage="active")
            return things[id]

    # --- what a person does to it ---

    def things(self) -> list[Thing]:
        """Everything in it, deleted or not, without a call on the wire."""
        with self._shelf.held() as things:
            return sorted(things.values(), key=lambda each: int(each.id))

    def named(self, name: str) -> list[Thing]:
        """The active things of this name: more than one would be a twin."""
        return [each for each in self.things() if each.name == name and each.stage == "active"]

    def edit(self, id: str, **changes: JSON) -> Thing:
        """Change a thing by hand, past the wire: `fields`, `labels`, `stage`, `name`, `busy`."""
        with self._shelf.held() as things:
            things[id] = replace(things[id], **changes)
            return things[id]

    def finish(self, name: str) -> None:
        """Let what is busy under this name become ready."""
        for each in self.named(name):
            self.edit(each.id, busy=False)

    def fail(self, method: str, error: Exception, times: int = 1) -> None:
        """Let the next `times` calls of `method` fail before they have any effect."""
        self._troubles.append(_Trouble(method, error, times, after=False))

    def lose_answer(self, method: str, times: int = 1) -> None:
        """Let the next `times` calls of `method` take effect and end in a time-out all the same."""
        self._troubles.append(_Trouble(method, Transient(f"no answer to {method}", maybe_done=True, retry_after=0), times, after=True))

    # --- how ---

    @contextmanager
    def _call(self, wire: Wire, method: str, target: str, *, write: bool = True) -> Iterator[Things]:
        began, status = time.monotonic(), "failed"
        try:
            time.sleep(self.latency)
            if self.down:
                raise Transient("the fake tool does not answer", retry_after=0)
            self.hook("before", method)
            self._stumble(method, after=False)
            with self._shelf.held() as things:
                yield things
            self.hook("after", method)
            self._stumble(method, after=True)
            status = "ok"
        finally:
            wire(Call("fake", method, target, write, status, time.monotonic() - began))

    def _stumble(self, method: str, *, after: bool) -> None:
        for trouble in self._troubles:
            if trouble.method == method and trouble.after is after and trouble.times:
                trouble.times -= 1
                raise trouble.error

    @staticmethod
    def _active(things: Things, id: str) -> Thing:
        if id not in things or things[id].stage != "active":
            raise Rejected(f"there is no active thing {id}")
        return things[id]
