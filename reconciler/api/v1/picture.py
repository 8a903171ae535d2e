"""What lists are made of, as the Store held it at one moment; read again only when something was written since."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.house import House, platform_in
from reconciler.model import Fields, Owned, Ref, Status
from reconciler.state import Suspension
from schemas.platform import PlatformSpec


@dataclass(frozen=True)
class Picture:
    """Frozen: what changes is another picture."""

    version: int
    """Grows with each picture that differs from the one before; of this process."""
    at: datetime
    """When the Store was read."""
    statuses: tuple[Status, ...]
    """By their Refs as text."""
    refs: tuple[str, ...]
    """The same order, for cursors."""
    by_ref: Mapping[Ref, Status]
    owned: Mapping[Ref, Owned]
    suspended: Mapping[Ref, Suspension]
    platform: PlatformSpec | None


class Pictures:
    """The newest picture, for any thread. Everything may raise StoreError."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._changes = -1
        self._last: Picture | None = None
        self._declared: tuple[int, Mapping[Ref, Fields]] | None = None

    def now(self) -> Picture:
        """As the Store is."""
        changes = self._house.store.changes()
        with self._lock:
            if self._last is None or changes != self._changes:
                self._last, self._changes = self._read(self._last), changes
            return self._last

    def declared(self) -> Mapping[Ref, Fields]:
        """What the manifests said when they were applied last, labels included."""
        changes = self._house.store.changes()
        with self._lock:
            if self._declared is None or self._declared[0] != changes:
                self._declared = (changes, self._house.store.manifests())
            return self._declared[1]

    def _read(self, before: Picture | None) -> Picture:
        store = self._house.store
        statuses, owned, suspended = store.statuses(), store.inventory(), store.suspensions()
        if before is not None and _same(before.by_ref, statuses) and _same(before.owned, owned) and before.suspended == suspended:
            return before
        ordered = sorted((str(ref), each) for ref, each in statuses.items())
        return Picture(
            version=1 if before is None else before.version + 1,
            at=self._house.now(),
            statuses=tuple(each for _, each in ordered),
            refs=tuple(text for text, _ in ordered),
            by_ref=statuses,
            owned=owned,
            suspended=suspended,
            platform=platform_in({}, owned),
        )


def _same(before: Mapping[Ref, object], now: Mapping[Ref, object]) -> bool:
    """Rows that are as they were are the same objects: the Store decodes none twice."""
    return len(before) == len(now) and all(before.get(ref) is each for ref, each in now.items())
