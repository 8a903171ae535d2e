"""Which alerts statuses open and end. Pure.

What fires is left alone while its resource is on its way (Progressing): something is being tried, and nobody knows yet."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.alerting.values import Alert
from reconciler.model import Condition, Health, Ref, Status
from schemas.alertpolicy import Severity

VITAL = frozenset({"Platform", "Deployment"})
"""Kinds that others stand on: degraded, they are critical."""
CONSEQUENCES = frozenset({"DependencyBlocked", "DependencyFailed", "DependencyInvalid", "DependencyMissing", "DependencyUnhealthy"})
"""What is in the way has an alert of its own."""
DECISIONS = frozenset(
    {"ObserveOnly", "Drifted", "OutsideWindow", "AwaitingApproval", "PolicyDenied", "ConfirmDelete", "InUse", "LaunchBudget"}
)
"""As somebody wants it, or until somebody says yes."""
PASSING = frozenset({"DependencyProgressing", "Settling", "Stopped"})
"""Nothing is known yet."""


@dataclass(frozen=True)
class Turn:
    """What changes among the alerts; empty = nothing."""

    opened: tuple[Alert, ...] = ()
    ended: tuple[Alert, ...] = ()
    updated: tuple[Alert, ...] = ()
    """Fire as before, with other words or another severity."""

    def __bool__(self) -> bool:
        return bool(self.opened or self.ended or self.updated)


def turn(firing: Mapping[Ref, Alert], statuses: Iterable[Status], gone: Collection[Ref], now: datetime) -> Turn:
    """What these statuses make of the alerts that fire; `gone` are resources that are no more. What is not named stays."""
    opened: list[Alert] = []
    ended: list[Alert] = []
    updated: list[Alert] = []
    for status in statuses:
        before = firing.get(status.ref)
        if before is None and status.health is Health.HEALTHY and _is_ready(status):
            continue  # by far the most
        wanted = _alert(status, before, now)
        if wanted is before:
            continue
        if before is not None and wanted is not None and wanted.id == before.id:
            updated.append(wanted)
            continue
        if before is not None:
            ended.append(replace(before, ended=now))
        if wanted is not None:
            opened.append(wanted)
    ended += [replace(firing[ref], ended=now) for ref in gone if ref in firing]
    return Turn(tuple(opened), tuple(ended), tuple(updated))


def _alert(status: Status, before: Alert | None, now: datetime) -> Alert | None:
    """The alert that a resource has from now on; `before` itself where nothing differs."""
    conditions: dict[str, Condition] = {each.type: each for each in status.conditions}
    ready, synced = conditions.get("Ready"), conditions.get("Synced")
    if synced is not None and synced.reason in PASSING and status.health is not Health.DEGRADED and not _stalled(conditions):
        return before
    if status.health is Health.PROGRESSING and before is not None and before.severity != "info":
        return before
    found = _trouble(status, conditions)
    if found is None:
        return None
    reason, message = found.reason, found.message or status.message
    severity = severity_of(status, reason, ready)
    if before is not None and before.reason == reason:
        same = (before.severity, before.message, before.location) == (severity, message, status.location)
        return before if same else replace(before, severity=severity, message=message, location=status.location)
    return Alert(alert_id(status.ref, reason, now), status.ref, reason, severity, message, now, location=status.location)


def alert_id(ref: Ref, reason: str, since: datetime) -> str:
    """The same for the same transition."""
    return hashlib.sha256("\0".join((str(ref), reason, since.isoformat())).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _trouble(status: Status, conditions: Mapping[str, Condition]) -> Condition | None:
    """The condition that says what is wrong; None = nothing is."""
    ready, synced, admitted = (conditions.get(each) for each in ("Ready", "Synced", "Admitted"))
    if (stalled := _stalled(conditions)) is not None:
        return stalled
    match status.health:
        case Health.DEGRADED | Health.MISSING | Health.UNKNOWN:
            return _telling(ready, synced, str(status.health))
        case Health.PROGRESSING:
            return admitted if admitted is not None and admitted.status is False else None
        case Health.HEALTHY if not status.ready:
            return ready
        case Health.HEALTHY:
            remark = conditions.get("Compatible")
            return remark if remark is not None and remark.status is False else None
        case _:
            return None


def _telling(ready: Condition | None, synced: Condition | None, health: str) -> Condition | None:
    """Ready, unless it only repeats the health and Synced knows a reason."""
    vague = ready is None or ready.reason in ("", health)
    return synced if vague and synced is not None and synced.status is not True and synced.reason else ready


def severity_of(status: Status, reason: str, ready: Condition | None = None) -> Severity:
    """How bad a status is: what its controller says, else what its health and its reason mean."""
    said = ready.severity if ready is not None else ""
    match said:
        case "info" | "warning" | "critical":
            return said
        case _:
            pass
    if any(each.type == "Stalled" and each.status for each in status.conditions):
        return "critical"
    if status.health is Health.DEGRADED:
        return "critical" if status.ref.kind in VITAL else "warning"
    if reason in CONSEQUENCES | DECISIONS or status.health in (Health.PROGRESSING, Health.SUSPENDED):
        return "info"
    return "info" if status.health is Health.HEALTHY and status.ready else "warning"


def _stalled(conditions: Mapping[str, Condition]) -> Condition | None:
    found = conditions.get("Stalled")
    return found if found is not None and found.status else None


def _is_ready(status: Status) -> bool:
    """Ready, and without a remark."""
    return status.ready and not any(each.type == "Compatible" and each.status is False for each in status.conditions)
