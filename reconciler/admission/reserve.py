"""Reservations: when there will be room for somebody who has waited too long. EASY backfill (Lifka 1995): others may start
only if they end before that moment, or fit beside the one who waits. Without it small work fills every hole for ever (Kueue #8309)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta

from reconciler.admission.feasible import COUNTED, Barrier, Gate, Room, ends, ends_by
from reconciler.admission.order import lease_of
from reconciler.admission.values import Item, Lease
from reconciler.model import Ref

MOST_RESERVATIONS = 8
"""More projects than this that starve at once take turns."""


class Reservations:
    """The reservations of one decision, the longest waiting first."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.barriers: list[Barrier] = []
        self._places: list[Lease] = []
        self._own: dict[Ref, tuple[int, Barrier | None]] = {}

    def full(self) -> bool:
        return len(self.barriers) >= MOST_RESERVATIONS

    def add(self, item: Item, future: Room, leases: Iterable[Lease], entitled: bool) -> None:
        """Keep the first room that there will be for `item`. Nothing is kept when no end of running work would make any.

        `future` is the room when all that was asked to stop is gone; `leases` is what runs in it."""
        found = self._find(item, future, leases, entitled)
        if found is not None:
            self.barriers.append(found[0])
            self._places.append(found[1])

    def own(self, item: Item, future: Room, leases: Iterable[Lease]) -> Barrier | None:
        """The same for the head of a project against the rest of that project; made anew when the room has changed."""
        known = self._own.get(item.ref)
        if known is None or known[0] != future.changes:
            found = self._find(item, future, leases, True)
            known = self._own[item.ref] = (future.changes, found[0] if found else None)
        return known[1]

    def _find(self, item: Item, future: Room, leases: Iterable[Lease], entitled: bool) -> tuple[Barrier, Lease] | None:
        room = future.copy()
        for place in self._places:
            room.add(place)
        start = 0.0
        for end, lease in self._coming(leases):
            node = self._node(item, room)
            if node is not None:
                break
            room.remove(lease)
            start = end
        else:
            node = self._node(item, room)
        if node is None:
            return None
        place = lease_of(item, node, self._gate.now)
        room.add(place)
        return Barrier(item, room, None if start == math.inf else self._gate.now + timedelta(seconds=start), entitled), place

    def started(self, item: Item, lease: Lease) -> None:
        """Something was granted: what it takes is missing where it will still run when the reserved room is there."""
        for barrier in self.barriers:
            if barrier.until is None or not ends_by(item, self._gate.now, barrier.until):
                barrier.room.add(lease)

    def _coming(self, leases: Iterable[Lease]) -> list[tuple[float, Lease]]:
        """Seconds until each piece of running or reserved work ends, the first first; inf = it ends, nobody knows when."""
        now = self._gate.now
        found: list[tuple[float, Lease]] = []
        for lease in leases:
            if not lease.ending and lease.work in COUNTED:
                left = ends(lease, now)
                found.append((math.inf if left is None else left, lease))
        for barrier, place in zip(self.barriers, self._places, strict=True):
            start = math.inf if barrier.until is None else (barrier.until - now).total_seconds()
            found.append((start + (math.inf if place.seconds is None else place.seconds), place))
        return sorted(found, key=lambda each: (each[0], str(each[1].ref)))

    def _node(self, item: Item, room: Room) -> str | None:
        share = self._gate.tree.share(item.project)
        if not room.usage.fits(share, item.amounts):
            return None
        return next(
            (name for name in self._gate.nodes if self._gate.could_hold(name, item) and self._gate.lacks(name, item.amounts, room) is None),
            None,
        )
