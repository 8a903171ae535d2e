"""Whether there is anything new, asked for all pages at once."""

from __future__ import annotations

import asyncio
import time

from reconciler.api.v1.door import Door
from reconciler.errors import ReconcilerError

TICK = 0.5
"""Seconds between two looks while anybody looks at a page."""


class News:
    """`number` grows whenever the Store was written or the loop has made a plan. Used in the event loop's thread alone."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._seen: tuple[int, int] | None = None
        self._looking = False
        self._looked = 0.0
        self.number = 0

    async def look(self) -> None:
        """One look in a tick is enough for all pages."""
        now = time.monotonic()
        if self._looking or now - self._looked < 0.9 * TICK:
            return
        self._looking, self._looked = True, now
        try:
            changes = await asyncio.to_thread(self._door.house.store.changes)
        except ReconcilerError:
            return  # the Store is away: the pages say so when they read
        finally:
            self._looking = False
        last = self._door.board.last
        if (seen := (changes, last.number if last is not None else 0)) != self._seen:
            self._seen = seen
            self.number += 1
