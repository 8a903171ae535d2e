"""Whether there is anything new, asked for all pages at once."""

from __future__ import annotations

import asyncio

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
        self.number = 0

    async def look(self) -> None:
        """A look that is under way is enough."""
        if self._looking:
            return
        self._looking = True
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
