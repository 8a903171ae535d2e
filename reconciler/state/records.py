"""The values that only the Store holds. Frozen; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from reconciler.admission.values import Item, Lease
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
class Approval:
    """Somebody's yes to one desired state of one resource."""

    ref: Ref
    digest: str
    """Of the manifest, or of the deletion: see `reconciler.approval`."""
    actor: str
    at: datetime
    revision: str
    """At which it was asked for, with its author where git tells."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A commit of a source that is not taken, nor another one with the same content of its manifests' folders."""

    source: str
    revision: str
    """The full id."""
    trees: Mapping[str, str]
    """Folder, relative to the repository -> git's id of its content."""
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


@dataclass(frozen=True, slots=True)
class Queued:
    """Work that waits for its lease, with all that the admission queue tells of it: no manifest need be read."""

    item: Item
    accepted: bool = True
    """Its launch was within the launch budget, or a person confirmed it."""
    template: str = ""
    """`Demand.template`."""
    detail: Mapping[str, JSON] = field(default_factory=dict)
    """Facts for people: the amounts declared, the peak learned, the place in the manifests. Without secrets."""

    @property
    def ref(self) -> Ref:
        return self.item.ref


@dataclass(frozen=True, slots=True)
class Held:
    """A lease and the work that runs under it."""

    lease: Lease
    job: str = ""
    """Id in the runner; empty = nothing is known to have been started."""
    template: str = ""
    largest_buffer: int = 0
    preemptor: Ref | None = None
    """For whom it was asked to stop."""
    why: str = ""
    """What it was asked to stop for, or was paused for."""
    detail: Mapping[str, JSON] = field(default_factory=dict)
    """As in `Queued`."""

    @property
    def ref(self) -> Ref:
        return self.lease.ref

    def waiting(self, not_before: datetime | None = None) -> Queued:
        """The same work in the queue again, with its old waiting time; when it was stopped for somebody, that is counted."""
        lease = self.lease
        item = Item(
            ref=lease.ref,
            project=lease.project,
            amounts=lease.amounts,
            priority=lease.priority,
            since=lease.queued,
            work=lease.work,
            seconds=lease.seconds,
            preemptible=lease.preemptible,
            not_before=not_before,
            largest_buffer=self.largest_buffer,
            preempted=lease.preempted + (self.preemptor is not None),
        )
        return Queued(item, template=self.template, detail=self.detail)


Role = Literal["viewer", "operator", "approver", "admin"]
EVERY = "*"
"""Among the projects of a token: all of them, and what belongs to none."""


@dataclass(frozen=True, slots=True)
class Token:
    """Somebody who may ask the API. The secret itself is kept nowhere."""

    id: str
    name: str
    role: Role
    projects: frozenset[str]
    """Names of projects; EVERY = all of them."""
    hash: str
    """SHA-256 of the secret, as hex digits."""
    actor: str
    """Who made it."""
    created: datetime
    expires: datetime | None = None
    """None = never."""
    revoked: datetime | None = None

    def good(self, now: datetime) -> bool:
        """Whether it opens anything still."""
        return self.revoked is None and (self.expires is None or now < self.expires)


@dataclass(frozen=True, slots=True)
class Order:
    """Something that the loop was asked to do."""

    number: int
    at: datetime
    ref: Ref
    actor: str
    action: Literal["run", "rollback"]
    detail: Mapping[str, JSON] = field(default_factory=dict)
    state: Literal["waiting", "begun", "done", "failed"] = "waiting"
    """`begun`: it is under way, or the loop ended in the middle of it; it is not tried again."""
    result: str = ""
    """What came of it, or why it failed, in words."""
    finished: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a request that named itself. `status` 0 = it is under way."""

    request: str
    """Digest of what was asked."""
    status: int = 0
    body: str = ""
