"""The values that flow from statuses to messages. Frozen; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from reconciler.model import JSON, NOWHERE, Location, Ref
from schemas.alertpolicy import AlertPolicySpec, Severity
from schemas.statusreport import Format, StatusReport

Phase = Literal["firing", "repeat", "resolved", "passed", "silenced", "changed", "report"]
"""What is told of an alert: that it fires, still fires, is over; `passed`: was and is over, told at once; `silenced`: nothing, for a
silence covers it. Of a line of the audit log: that it `changed` something. Of a scheduled report: the `report`."""
State = Literal["queued", "sending", "sent", "failed", "silenced"]
Group: TypeAlias = tuple[str, ...]
RANK: Mapping[str, int] = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is not as it should be, from when it was first seen until it is over."""

    id: str
    ref: Ref
    reason: str
    severity: Severity
    message: str
    since: datetime
    ended: datetime | None = None
    location: Location = NOWHERE

    @property
    def firing(self) -> bool:
        return self.ended is None


def subject_of(line: int) -> str:
    """What a line of the audit log is called among what is told."""
    return f"audit:{line:015}"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the audit log: something that was done."""

    id: int
    at: datetime
    ref: Ref | None
    action: str
    actor: str
    why: str = ""
    location: Location = NOWHERE

    @property
    def subject(self) -> str:
        """Its name among what is told; names sort as the lines do."""
        return subject_of(self.id)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a notification tells."""

    subject: str
    """Id of an alert, `Change.subject` or `Due.subject`."""
    phase: Phase
    nth: int = 0
    """Of a repeat: which; else 0."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What one receiver is to be told in one message."""

    policy: str
    receiver: str
    group: Group
    parts: tuple[Part, ...]
    id: str
    """Made of all the others: whoever decides the same again makes the same notification."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver of a policy was told, or is about to be told, of one subject."""

    at: datetime
    """The last time that it fires."""
    firing: bool = False
    reached: bool = False
    """Of having fired, one message at least arrived or may still arrive."""
    resolved: bool = False
    silenced: bool = False
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is sent about what it covers. Fields that are empty leave nothing out."""

    id: str
    start: datetime
    until: datetime
    why: str
    actor: str = ""
    kinds: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a policy has come: what lies before is dealt with and need not be read again."""

    ended: datetime
    """Alerts that ended before are."""
    audit: int
    """Lines of the audit log up to this one are."""


@dataclass(frozen=True, slots=True)
class Policy:
    """An AlertPolicy as it was applied."""

    name: str
    spec: AlertPolicySpec
    since: datetime
    """When it was first followed as it is now: what was over before is history."""
    mark: Mark


@dataclass(frozen=True, slots=True)
class ReportMark:
    """How far a scheduled report has come."""

    asked: str
    """Schedule and time zone that this holds for."""
    due: datetime
    """Its times up to this one are dealt with."""
    since: datetime
    """What was done after this is for the next one to tell."""
    made: datetime | None = None
    """When the last one was made; None = none was."""
    said: str = ""
    """Digest of what that one said."""


@dataclass(frozen=True, slots=True)
class Due:
    """A report that is to be made."""

    policy: str
    report: StatusReport
    at: datetime
    """The time of its schedule that it is made for."""
    mark: ReportMark
    missed: int = 0
    """Earlier times that nobody made one for: this one stands for them too."""

    @property
    def subject(self) -> str:
        """Its name among what is told."""
        return f"report:{self.report.name}@{self.at:%Y-%m-%dT%H:%MZ}"


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What a scheduled report says, as it was made: it is tried again with the same words."""

    name: str
    title: str
    html: str
    markdown: str
    text: tuple[str, ...]
    """Lines, the most important first."""
    facts: Mapping[str, JSON]
    """For programs."""
    format: Format | None = None
    """What was asked for; None = what suits the receiver."""


@dataclass(frozen=True, slots=True)
class Head:
    """The delivery that is next for one receiver of one policy."""

    policy: str
    receiver: str
    attempts: int
    at: datetime | None
    """When somebody may try it next; None = now."""
    error: str


@dataclass(frozen=True)
class Scene:
    """All that matters for who is to be told what, at one moment."""

    now: datetime
    policies: tuple[Policy, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """Those that fire, and those that ended after the first mark."""
    changes: tuple[Change, ...] = ()
    """After the first mark, in order."""
    told: Mapping[tuple[str, str, str], Told] = field(default_factory=dict)
    """By policy, receiver and subject."""
    spoken: Mapping[tuple[str, str, Group], datetime] = field(default_factory=dict)
    """By policy, receiver and group: when the last message was made."""
    silences: tuple[Silence, ...] = ()
    """Those of the Store, which hold for every policy."""
    failing: frozenset[tuple[str, str]] = frozenset()
    """Policy and receiver, where messages do not arrive, or cannot be sent for want of a secret."""
    flush: datetime | None = None
    """What was found since then waits for nothing: nobody will come back for it."""


@dataclass(frozen=True)
class Decision:
    """What follows from a scene."""

    notifications: tuple[Notification, ...] = ()
    silenced: tuple[tuple[str, str, str], ...] = ()
    """Policy, receiver and alert: what is not told for a silence, to be recorded once."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """By policy, where it could come further."""
    next: datetime | None = None
    """When to decide again although nothing happens; None = never."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on its way, or where it came to."""

    number: int
    """Those of a receiver are sent in this order."""
    id: str
    policy: str
    receiver: str
    group: Group
    created: datetime
    state: State
    attempts: int = 0
    next_try: datetime | None = None
    finished: datetime | None = None
    error: str = ""
    """Why the last attempt did not arrive; without secrets."""
    parts: tuple[Part, ...] = ()

    @property
    def notification(self) -> Notification:
        return Notification(self.policy, self.receiver, self.group, self.parts, self.id)


@dataclass(frozen=True, slots=True)
class Message:
    """A notification with what it is about."""

    notification: Notification
    alerts: tuple[tuple[Part, Alert], ...]
    changes: tuple[Change, ...]
    now: datetime
    successors: Mapping[str, str] = field(default_factory=dict)
    """Id of an alert that is over -> the reason for which its resource is not well now."""
    bulletin: Bulletin | None = None
    """Of a scheduled report, which tells nothing else."""
