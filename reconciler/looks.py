"""How old what is known of the tools may be: when each kind was looked at, and when it will be again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.model import Observation, Ref, Unknown
from reconciler.selection import Selection
from reconciler.shard import Shard
from schemas.base import duration_value

if TYPE_CHECKING:
    from reconciler.state import Store

LOOKED, EVERY = "looked_at", "look_every"
"""In the Store, as JSON: kind (and shard) -> when it was read the last time; kind -> seconds until the next look, `*` = all others."""
OTHERS = "*"


def kinds_read(selection: Selection, observations: Mapping[Ref, Observation]) -> frozenset[str]:
    """Kinds of which all resources were read, by a pass that looked at `selection`."""
    if selection.part or selection.projects or selection.labels or selection.refs:
        return frozenset()
    seen = {ref.kind: True for ref in observations if not ref.key}
    seen |= {ref.kind: False for ref, each in observations.items() if isinstance(each, Unknown)}
    return frozenset(kind for kind, read in seen.items() if read)


def note_looks(store: Store, kinds: Iterable[str], at: datetime, shard: Shard | None = None) -> None:
    """Remember that these kinds were looked at, with `shard` those of its projects."""
    own = f" {shard}" if shard is not None else ""
    before = {key: said for key, said in _kept(store, LOOKED).items() if key.partition("/")[2] == own.partition("/")[2]}
    store.set_meta(LOOKED, json.dumps({**before, **{f"{kind}{own}": at.isoformat() for kind in kinds}}, sort_keys=True))


def looks(store: Store) -> Mapping[str, datetime]:
    """When all of each kind had been looked at."""
    found: dict[str, datetime] = {}
    for key, said in _kept(store, LOOKED).items():
        with suppress(TypeError, ValueError):
            kind, at = key.partition(" ")[0], datetime.fromisoformat(str(said))
            found[kind] = min(at, found.get(kind, at))
    return found


def bounds(store: Store) -> Mapping[str, float]:
    """How often the loop that led last looks, in seconds, by kind; `*` = all others."""
    return {kind: float(each) for kind, each in _kept(store, EVERY).items() if isinstance(each, int | float)}


def _kept(store: Store, key: str) -> dict[str, object]:
    with suppress(ValueError):
        found = json.loads(store.meta(key) or "{}")
        return found if isinstance(found, dict) else {}
    return {}


@dataclass
class Looks:
    """When the loop looks at which kind although nothing calls for it. Times are monotonic seconds."""

    every: float
    """Of kinds that have no time of their own."""
    own: Mapping[str, float] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)

    def take(self, poll: Mapping[str, str], store: Store) -> None:
        """What the Platform says from now on; kept for those who ask how old things may be."""
        self.own = {kind: duration_value(each).total_seconds() for kind, each in poll.items()}
        told = json.dumps({OTHERS: self.every, **self.own}, sort_keys=True)
        if store.meta(EVERY) != told:
            store.set_meta(EVERY, told)

    def of(self, kind: str) -> float:
        return self.own.get(kind, self.every)

    def note(self, kinds: Iterable[str], at: float) -> None:
        self.at |= dict.fromkeys(kinds, at)

    def due(self, kinds: Collection[str], now: float) -> frozenset[str]:
        """Those of `kinds` whose time has come."""
        return frozenset(each for each in kinds if now - self.at.get(each, 0.0) >= self.of(each))

    def whole(self, kinds: Collection[str]) -> float:
        """Seconds after which a pass over all of `kinds` is due: until then, passes over those that are asked more often do."""
        return max(map(self.of, kinds), default=self.every)
