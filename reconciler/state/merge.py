"""What a new status keeps of the old one. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from reconciler.model import Condition, Status


def merged(new: Status, old: Status | None, now: datetime) -> Status:
    """`new` with `since` filled in: the old moment where a condition's status (true, false, not known) is the same, else `now`.

    Where nothing differs it is `old` itself."""
    before = {each.type: each for each in old.conditions} if old else {}
    conditions = tuple(_dated(each, before.get(each.type), now) for each in new.conditions)
    if old is not None and conditions == old.conditions and _rest(new) == _rest(old):
        return old
    return replace(new, conditions=conditions)


def is_transition(new: Status, old: Status | None) -> bool:
    """True when the resource is new, or its health or its Ready condition differs."""
    return old is None or new.health != old.health or _ready(new) != _ready(old)


def _dated(new: Condition, old: Condition | None, now: datetime) -> Condition:
    if old is None or old.since is None or old.status is not new.status:
        return replace(new, since=now)
    same = (old.reason, old.message, old.severity) == (new.reason, new.message, new.severity)
    return old if same else replace(new, since=old.since)


def _rest(status: Status) -> tuple[object, ...]:
    return status.ref, status.health, status.observed_digest, status.location, status.message


def _ready(status: Status) -> bool | None:
    return next((each.status for each in status.conditions if each.type == "Ready"), None)
