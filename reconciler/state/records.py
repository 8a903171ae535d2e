"""The values that only the Store holds. Frozen; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from reconciler.model import JSON, Location, Ref

NOWHERE = Location("")
DELETING = ("delete", "replace")
"""Values of `AuditEntry.action` that count against the deletion budget once they are done."""


def utcnow() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log, which only grows. `at` must be aware."""

    at: datetime
    actor: str
    """Who or what did it, such as `reconcile` or a user's name."""
    ref: Ref | None
    """None: it concerns the whole installation."""
    action: str
    """One lower-case word: the action's class (`create`, `delete`, ...), or a command (`suspend`, `confirm`, ...)."""
    result: Literal["done", "started", "failed"] = "done"
    glyph: str = ""
    detail: Mapping[str, JSON] = field(default_factory=dict)
    """Plain values without secrets: what changed, why, the error."""
    revision: str = ""
    """Of the source."""
    location: Location = NOWHERE


@dataclass(frozen=True, slots=True)
class Intent:
    """A create that was begun and is not known to be finished. What follows must first look whether it happened."""

    ref: Ref
    action: str
    state: Literal["intended", "created"]
    """`intended`: the tool may or may not have been called. `created`: the tool said yes, the inventory does not say so yet."""
    external_id: str
    """Given by the tool; from this try, or from an earlier one that was never finished. Empty = not known."""
    digest: str
    at: datetime
    """When the state was entered."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A resource that a person took out of reconciliation."""

    ref: Ref
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Writer:
    """Who holds the Store's one lease for writing to tools. `ttl` is in seconds."""

    token: int
    actor: str
    host: str
    machine: str
    """This boot of this machine (and PID namespace): within it `pid` and `birth` name one process."""
    pid: int
    birth: str
    since: datetime
    heartbeat_at: datetime
    ttl: float

    def __str__(self) -> str:
        return f"`{self.actor}` (pid {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC)"
