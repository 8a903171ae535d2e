"""One look at the Store for all event streams, several times in a second while somebody listens, and none while nobody does."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.api.v1.answers import BOOT
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Door
from reconciler.api.v1.filters import Filter, labels_of
from reconciler.api.v1.picture import Picture
from reconciler.api.v1.problems import busy
from reconciler.api.v1.trail import entry_value
from reconciler.model import Ref, Status
from reconciler.report.json import ref_value, status_value
from reconciler.report.show import rfc3339

Name = Literal["status", "gone", "audit", "plan", "resync"]
TICK = 0.4
"""Seconds between two looks, at least."""
SHARE = 4.0
"""Times as long as a look took is waited until the next one: with ten thousand resources a look costs something."""
LONGEST = 1.2
"""Seconds between two looks, at most."""
REMEMBERED = 5000
"""Events that a stream which comes again can be given."""
REPLAYED = 500
"""Lines of the audit log that a stream from before this process is given; after more it has to read the lists again."""
QUEUE = 1000
"""Events that wait for one reader; who falls behind further is disconnected, and may come again."""


@dataclass(frozen=True, slots=True)
class Event:
    """`id` says how far the audit log was, and which event of this process it is."""

    number: int
    id: str
    name: Name
    data: str
    ref: Ref | None = None
    status: Status | None = None

    @property
    def text(self) -> str:
        """As it is sent: `data` is JSON in one line."""
        return f"id: {self.id}\nevent: {self.name}\ndata: {self.data}\n\n"


@dataclass(eq=False)
class Stream:
    """One reader: what it may see of what it asks for."""

    who: Asker
    wanted: Filter
    names: frozenset[str]
    queue: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    """None: the end."""


class Watcher:
    """Used in the event loop's thread alone; the Store is read in others."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._streams: set[Stream] = set()
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._events: deque[Event] = deque(maxlen=REMEMBERED)
        self._number = 0
        self._changes = -1
        self._line = 0
        self._picture: Picture | None = None
        self._plan = 0

    async def join(self, stream: Stream, last: str) -> list[Event]:
        """Tell `stream` of what happens from now on; what it missed since the event with the id `last` (empty: nothing).

        Raises Problem 503 where there are too many already."""
        limits, own = self._door.limits, sum(each.who.key == stream.who.key for each in self._streams)
        if len(self._streams) >= limits.streams or own >= limits.streams_each or self._door.closing.is_set():
            raise busy("there are too many event streams already", 5)
        self._streams.add(stream)  # counted from now on, told nothing before it is caught up
        try:
            await self._look()
            missed = await self._missed(last)
        except BaseException:
            self._streams.discard(stream)
            raise
        while not stream.queue.empty():  # of the look above: what it may see of it is among what it missed
            stream.queue.get_nowait()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return [each for each in missed if self._tells(stream, each)]

    def leave(self, stream: Stream) -> None:
        """Safe to repeat."""
        self._streams.discard(stream)

    async def _run(self) -> None:
        took = 0.0
        while self._streams:
            await asyncio.sleep(min(LONGEST, max(TICK, SHARE * took)))
            if self._door.closing.is_set():
                for each in list(self._streams):
                    self._end(each)
                return
            began = time.monotonic()
            try:
                await self._look()
            except Exception as error:  # the Store is busy or away, or a defect: the next look finds all that happened
                self._door.house.log.aside.warning("events_not_read", error=repr(error))
            took = time.monotonic() - began

    async def _look(self) -> None:
        async with self._looking:
            for each in await asyncio.to_thread(lambda: list(self._news())):
                self._events.append(each)
                for stream in list(self._streams):
                    if self._tells(stream, each):
                        self._put(stream, each)

    def _put(self, stream: Stream, event: Event) -> None:
        try:
            stream.queue.put_nowait(event)
        except asyncio.QueueFull:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        self._streams.discard(stream)
        while stream.queue.full():
            stream.queue.get_nowait()
        stream.queue.put_nowait(None)

    def _tells(self, stream: Stream, event: Event) -> bool:
        """Whether it is asked for, and may be seen."""
        if event.name in ("plan", "resync"):
            return event.name == "resync" or event.name in stream.names
        if event.name not in stream.names or not (stream.who.everywhere if event.ref is None else stream.who.sees(event.ref)):
            return False
        wanted, labels = stream.wanted, labels_of(self._door.pictures.labels() if stream.wanted.labels else {})
        if event.status is not None:
            return wanted.lets(event.status, labels)
        return wanted == Filter(labels={}) if event.ref is None else wanted.lets_ref(event.ref, labels)

    # --- what happened -------------------------------------------------------------------------------------------

    def _news(self) -> Iterator[Event]:
        """What happened since the last look; at the first one, nothing."""
        store = self._door.house.store
        if self._picture is None:
            self._line, self._picture = store.lines.last(), self._door.pictures.now()
            self._plan = self._door.board.last.number if self._door.board.last is not None else 0
            return
        if (changes := store.changes()) != self._changes:
            self._changes = changes
            while lines := store.lines.after(self._line, REPLAYED):
                for number, entry in lines:
                    self._line = number
                    yield self._event("audit", entry_value(number, entry), entry.ref)
            before, self._picture = self._picture, self._door.pictures.now()
            if before is not self._picture:
                yield from self._turned(before, self._picture)
        if (last := self._door.board.last) is not None and last.number != self._plan:
            self._plan = last.number
            yield self._event("plan", {"number": last.number, "at": rfc3339(last.at), "writes": len(last.proposal.plan.writes)})

    def _turned(self, before: Picture, now: Picture) -> Iterator[Event]:
        turned = [each for each in now.statuses if before.by_ref.get(each.ref) is not each]
        owned = self._door.pictures.owned([each.ref for each in turned]) if len(turned) <= REPLAYED else self._door.pictures.inventory()
        for each in turned:
            yield self._event("status", status_value(each, owned.get(each.ref)), each.ref, each)
        for ref in sorted(before.by_ref.keys() - now.by_ref.keys()):
            yield self._event("gone", ref_value(ref), ref)

    def _event(self, name: Name, value: Any, ref: Ref | None = None, status: Status | None = None) -> Event:
        self._number += 1
        data = json.dumps(value, default=str, separators=(",", ":"))
        return Event(self._number, f"{self._line}-{BOOT}-{self._number}", name, data, ref, status)

    async def _missed(self, last: str) -> list[Event]:
        """What came after the event of this id: all of it while it is remembered, else the lines of the audit log, and the advice to read
        the lists again."""
        if not last:
            return []
        line, _, rest = last.partition("-")
        boot, _, number = rest.partition("-")
        oldest = self._events[0].number if self._events else self._number + 1
        if boot == BOOT and number.isdecimal() and oldest - 1 <= int(number) <= self._number:
            return [each for each in self._events if each.number > int(number)]
        found: list[Event] = []
        if line.isdecimal() and len(line) < 18:
            lines = await asyncio.to_thread(self._door.house.store.lines.after, int(line), REPLAYED + 1)
            told = lines if len(lines) <= REPLAYED else []
            found = [self._replayed("audit", at, entry_value(at, entry), entry.ref) for at, entry in told if at <= self._line]
        why = "what happened since then is not remembered as a whole: read the lists again"
        return [*found, self._replayed("resync", self._line, {"why": why})]

    def _replayed(self, name: Name, line: int, value: Any, ref: Ref | None = None) -> Event:
        data = json.dumps(value, default=str, separators=(",", ":"))
        return Event(0, f"{line}-{BOOT}-{self._number}", name, data, ref)
