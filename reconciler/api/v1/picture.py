"""What lists are made of, as the Store held it at one moment; read again only when something was written since, and only what is needed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import is_

from reconciler.house import House, platform_in
from reconciler.model import Fields, Owned, Ref, Status
from schemas.platform import PlatformSpec


@dataclass(frozen=True)
class Picture:
    """Frozen: what changes is another picture."""

    at: datetime
    """When the Store was read."""
    statuses: tuple[Status, ...]
    """By their Refs as text."""
    refs: tuple[str, ...]
    """Those texts, for cursors."""
    by_ref: Mapping[Ref, Status]


class Pictures:
    """The newest picture, and what the inventory knows beside it; for any thread. Everything may raise StoreError."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._changes = -1
        self._last: Picture | None = None
        self._list: list[Status] = []
        self._places: list[int] = []
        """Of each of the list in the picture's order."""
        self._inventory: tuple[int, Mapping[Ref, Owned]] | None = None
        self._labels: tuple[int, Mapping[Ref, Mapping[str, str]]] | None = None
        self._platform: tuple[int, PlatformSpec | None] | None = None

    def now(self) -> Picture:
        """As the Store is."""
        changes = self._house.store.changes()
        with self._lock:
            if self._last is None or changes != self._changes:
                self._last, self._changes = self._read(self._last), changes
            return self._last

    def inventory(self) -> Mapping[Ref, Owned]:
        """All that we own."""
        changes = self._house.store.changes()
        with self._lock:
            if self._inventory is None or self._inventory[0] != changes:
                self._inventory = (changes, self._house.store.inventory())
            return self._inventory[1]

    def owned(self, refs: Collection[Ref]) -> Mapping[Ref, Owned]:
        """Of a page."""
        return self._house.store.owned_of(refs)

    def declared(self, ref: Ref) -> Fields | None:
        """What its manifest said when it was applied last."""
        return self._house.store.declared_of(ref)

    def labels(self) -> Mapping[Ref, Mapping[str, str]]:
        """Of all that carries any."""
        changes = self._house.store.changes()
        with self._lock:
            if self._labels is None or self._labels[0] != changes:
                found = {ref: each.get("labels") for ref, each in self._house.store.manifests().items()}
                self._labels = (changes, {ref: some for ref, some in found.items() if isinstance(some, Mapping) and some})
            return self._labels[1]

    def platform(self) -> PlatformSpec | None:
        """As it was applied last."""
        changes = self._house.store.changes()
        with self._lock:
            known = self._platform
        if known is not None and known[0] == changes:
            return known[1]
        found = platform_in({}, self._house.store.owned_of_kind("Platform"))
        with self._lock:
            self._platform = (changes, found)
        return found

    def _read(self, before: Picture | None) -> Picture:
        now = self._house.store.status_list()
        if before is not None and len(now) == len(self._list):
            moved = [at for at, same in enumerate(map(is_, now, self._list)) if not same]
            if not moved:
                return before
            if all(now[at].ref == self._list[at].ref for at in moved):
                self._list = now
                return self._changed(before, moved)
        self._list = now
        texts = [str(each.ref) for each in now]
        order = sorted(range(len(now)), key=texts.__getitem__)
        self._places = [0] * len(now)
        for place, at in enumerate(order):
            self._places[at] = place
        ordered, refs = tuple(now[at] for at in order), tuple(texts[at] for at in order)
        return Picture(self._house.now(), ordered, refs, {each.ref: each for each in now})

    def _changed(self, before: Picture, moved: Collection[int]) -> Picture:
        """The same resources, some of which stand otherwise."""
        ordered, by_ref = list(before.statuses), dict(before.by_ref)
        for at in moved:
            each = self._list[at]
            ordered[self._places[at]] = by_ref[each.ref] = each
        return Picture(self._house.now(), tuple(ordered), before.refs, by_ref)
