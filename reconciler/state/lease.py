"""The leases for writing to tools and for leading: a heartbeat says that the holder lives, a token that only grows says who was first.

No tool checks our tokens, so a holder asks `check` before each write to one; every write to the Store is checked in its own transaction.
The lease's age is wall time, compared between hosts: those that share one Store need clocks that agree within a third of its ttl."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, select, update

from reconciler.errors import StoreError, WriterBusy
from reconciler.state.database import Database, upsert
from reconciler.state.records import Writer
from reconciler.state.tables import lease as table

BEATS = 3
"""Heartbeats in one ttl: the lease outlives one that was late and one that was lost."""
_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
"""Counts sleep: a laptop that wakes up must know that its lease has run out. (macOS: CLOCK_MONOTONIC does, time.monotonic does not.)"""


_HOLDER = ("token", "actor", "host", "machine", "pid", "birth", "since", "heartbeat_at", "ttl")
"""Columns, in the order of Writer's fields."""


@dataclass
class _Held:
    token: int
    ttl: float
    beaten: float
    """When the last heartbeat was sent, on _CLOCK."""


WRITER, LEADER = 1, 2
"""What a lease is for, by the number of its row: one pass, or a loop as long as it runs."""
SHARDS = 1000
"""Rows from here on are for leading a part: `1000 * parts + part`."""


def leader_slot(number: int, of: int) -> int:
    """The row for leading part `number` of `of`; of one, the whole."""
    return LEADER if of == 1 else SHARDS * of + number


def _doing(slot: int) -> str:
    """What the holder of that row does, in words that end before "this installation"."""
    if slot < SHARDS:
        return "is reconciling" if slot == WRITER else "leads"
    return f"leads part {slot % SHARDS} of {slot // SHARDS} of"


class Lease:
    """This process' view of a lease; holds it at most once at a time."""

    def __init__(self, database: Database, now: Callable[[], datetime], slot: int = WRITER) -> None:
        self._database = database
        self._now = now
        self._slot = slot
        self._mine = table.c.id == slot
        self._held: _Held | None = None
        self._seen: dict[tuple[str, int, str], tuple[tuple[int, datetime], float]] = {}
        """By process, the last heartbeat that was seen here, and when for the first time, on _CLOCK."""

    @contextlib.contextmanager
    def hold(self, actor: str, ttl: float) -> Iterator[int]:
        """Take the lease, keep it alive from a thread of its own, give it back. Yields the token.

        Raises WriterBusy when somebody else holds it."""
        token = self._take(actor, ttl)
        ended = threading.Event()
        beat = threading.Thread(target=self._keep_alive, args=(ended, ttl / BEATS), name="store-heartbeat", daemon=True)
        beat.start()
        try:
            yield token
        finally:
            ended.set()
            beat.join()
            self._give_back(token)

    def last(self) -> int:
        """Token of the latest holder; 0 = there has been none."""
        rows = self._database.rows(select(table.c.token).where(self._mine))
        return int(rows[0][0]) if rows else 0

    def holder(self) -> Writer | None:
        """Who holds the lease, living or not; None when nobody does."""
        rows = self._database.rows(self._holder())
        return Writer(*rows[0]) if rows else None

    def is_live(self, writer: Writer) -> bool:
        """False when the lease has run out, or its holder is known to have ended."""
        return self._left(writer) >= 0 and not _is_dead(writer)

    def _left(self, writer: Writer) -> float:
        """Seconds until the lease runs out: by wall time, or because no heartbeat has come for so long while we looked. A clock that is
        put back, here or there, makes the last heartbeat one of the future, and its lease would never end."""
        who, beat, now = (writer.machine, writer.pid, writer.birth), (writer.token, writer.heartbeat_at), time.clock_gettime(_CLOCK)
        before, since = self._seen.get(who, (None, now))
        self._seen[who] = beat, since if beat == before else now
        return writer.ttl - max((self._now() - writer.heartbeat_at).total_seconds(), now - self._seen[who][1])

    def leaders(self) -> dict[int, Writer]:
        """Every live process that leads, by its row."""
        columns = (*_HOLDER, "id")
        asked = select(*(table.c[name] for name in columns)).where(table.c.id != WRITER, table.c.actor.is_not(None))
        found = {int(row[-1]): Writer(*row[:-1]) for row in self._database.rows(asked)}
        return {slot: each for slot, each in sorted(found.items()) if self.is_live(each)}

    def refuse_division(self) -> None:
        """Raise WriterBusy while a live process leads by another division of the installation: two would look after the same project."""
        mine = self._slot // SHARDS
        for slot, other in self.leaders().items():
            if slot // SHARDS != mine:
                why = f"{other} {_doing(slot)} this installation"
                raise WriterBusy(why, hint="every loop needs the same number of parts: stop the others first")

    def renew(self) -> None:
        """Send one heartbeat. Raises StoreError when the lease is not held, or was taken over."""
        held = self._must_hold()
        sent = time.clock_gettime(_CLOCK)
        with self._database.write() as connection:
            mine = self._mine & (table.c.token == held.token) & table.c.actor.is_not(None)
            if connection.execute(update(table).where(mine).values(heartbeat_at=self._now())).rowcount != 1:
                raise self._lost(connection)
        held.beaten = sent

    def check(self) -> int:
        """The token, if a write to a tool may start now. Asks the database only when the last heartbeat is old. Raises StoreError."""
        held = self._must_hold()
        if time.clock_gettime(_CLOCK) - held.beaten > held.ttl * (BEATS - 1) / BEATS:
            self.renew()
        return held.token

    def guard(self, connection: Connection) -> None:
        """Raise StoreError when we held the lease and somebody took it over. In a write's own transaction: nobody can in between."""
        held = self._held  # taken once: another thread may give the lease back meanwhile
        if held is None:
            return
        # FOR SHARE holds off a take-over in PostgreSQL until this write is done; SQLite's write lock does it there.
        token = connection.execute(select(table.c.token).where(self._mine).with_for_update(read=True)).scalar()
        if token != held.token:
            raise self._lost(connection)

    def refuse_live(self, connection: Connection) -> None:
        """Raise WriterBusy while a live process holds the lease. In a write's own transaction: nobody can take it in between."""
        row = connection.execute(self._holder().with_for_update()).one_or_none()
        if row is not None and self.is_live(other := Writer(*row)):
            hint = f"wait for it or stop it; if it has died, its lease runs out in {max(self._left(other), 0):.0f} s"
            raise WriterBusy(f"{other} {_doing(self._slot)} this installation", hint=hint)

    def leave(self, connection: Connection, token: int) -> None:
        """Note that `token` was the last one, and that nobody holds the lease."""
        upsert(connection, table, [{**self._row(token, "", 0.0), "actor": None}])

    def _take(self, actor: str, ttl: float) -> int:
        if self._held is not None:
            raise StoreError("the Store's lease is already held by this process")
        sent = time.clock_gettime(_CLOCK)
        with self._database.write() as connection:
            self.refuse_live(connection)
            token = (connection.execute(select(table.c.token).where(self._mine)).scalar() or 0) + 1
            upsert(connection, table, [self._row(token, actor, ttl)])
        self._held = _Held(token, ttl, sent)
        return token

    def _give_back(self, token: int) -> None:
        self._held = None
        # A Store that fails now must not hide why the block ended; the lease runs out by itself.
        with contextlib.suppress(StoreError), self._database.write() as connection:
            connection.execute(update(table).where(self._mine, table.c.token == token).values(actor=None))

    def _keep_alive(self, ended: threading.Event, pause: float) -> None:
        while not ended.wait(pause):
            # What went wrong comes out where it matters: in `check` and `guard`.
            with contextlib.suppress(StoreError):
                self.renew()

    def _must_hold(self) -> _Held:
        if self._held is None:
            raise StoreError("this process does not hold the Store's lease")
        return self._held

    def _holder(self) -> Select[Any]:
        return select(*(table.c[name] for name in _HOLDER)).where(self._mine, table.c.actor.is_not(None))

    def _row(self, token: int, actor: str, ttl: float) -> dict[str, Any]:
        from reconciler.platform.process import birth

        pid, now = os.getpid(), self._now()
        return {
            **{"id": self._slot, "token": token, "actor": actor, "host": platform.node(), "machine": machine(), "pid": pid},
            **{"birth": birth(pid) or "", "since": now, "heartbeat_at": now, "ttl": ttl},
        }

    def _lost(self, connection: Connection) -> StoreError:
        row = connection.execute(self._holder()).one_or_none()
        who = f"{Writer(*row)} has taken over" if row else "the lease was given back"
        return StoreError(f"{who}: nothing more is written here", hint="run again when it has ended")


def _is_dead(writer: Writer) -> bool:
    """True only when it is certain: same boot of the same machine, and no such process any more."""
    from reconciler.platform.process import birth

    return writer.machine == machine() and birth(writer.pid) != writer.birth


@cache
def machine() -> str:
    """Names this boot of this machine and the PID namespace: where PIDs mean the same. Two containers may share a host's name."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    # Not known: equal to no other process' machine, so that nobody is taken for dead.
    return f"{platform.node()}:{os.getpid()}:{time.time_ns()}"
