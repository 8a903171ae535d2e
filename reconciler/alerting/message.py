"""What a notification says: a line and a text for people, and JSON for programs. Pure; every size is bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import Template
from typing import Any

from reconciler.alerting.values import RANK, Alert, Change, Message, Part
from reconciler.model import Ref
from reconciler.report.bulletin import worded
from reconciler.report.show import clean, count, rfc3339, took
from schemas.alertpolicy import Templates

FORMAT_VERSION = 1
SAMPLE = "test"
"""Id of the alert of a test."""
LINES = 20
"""Alerts and changes that a text names; how many more there are, it says."""
ENTRIES = 100
"""The same for JSON."""
ROOM = 10**6
"""Characters of a report in JSON."""
WORDS = 300
"""Characters of one message of a status in a text; in JSON, three times as many."""


def status_of(message: Message) -> str:
    """`firing` when anything fires, else `resolved`; or `changes`, or `report`."""
    if message.bulletin is not None:
        return "report"
    if message.changes:
        return "changes"
    return "firing" if any(_fires(part) for part, _ in message.alerts) else "resolved"


def title(message: Message, templates: Templates) -> str:
    """The first line: what, and how bad."""
    if message.bulletin is not None:
        return _short(message.bulletin.title, WORDS)
    if templates.title is not None:
        return _short(Template(templates.title).safe_substitute(_common(message)), WORDS)
    if message.changes:
        return _short(f"changed: {_named([each.ref for each in message.changes])}", WORDS)
    ordered = _ordered(message)
    if not ordered:
        return "nothing is known any more of what this was about"
    part, first = ordered[0]
    names = _named([each.ref for _, each in ordered])
    if status_of(message) == "resolved":
        return _short(f"resolved: {names} after {_lasted(first, message.now)}", WORDS)
    again = "still " if part.phase == "repeat" else ""
    said = f": {clean(first.message or first.reason)}" if len(ordered) == 1 else ""
    return _short(f"{again}{first.severity}: {names}{said}", WORDS)


def text(message: Message, templates: Templates) -> str:
    """One line for each alert or change, and what to do next."""
    ordered = _ordered(message)
    if templates.text is None:
        lines = [_line(part, alert, message) for part, alert in ordered[:LINES]]
    else:
        own = Template(templates.text)
        lines = [_short(own.safe_substitute(_values(part, alert, message)), 3 * WORDS) for part, alert in ordered[:LINES]]
    lines += [_change_line(each) for each in message.changes[:LINES]]
    if (more := len(ordered) + len(message.changes) - len(lines)) > 0:
        lines.append(f"and {more:,} more")
    return "\n".join([*lines, *_next(message, ordered)])


def body(message: Message) -> bytes:
    """For webhooks: see docs/alerts.md for what each field means."""
    ordered = _ordered(message)
    value: dict[str, Any] = {
        "formatVersion": FORMAT_VERSION,
        "id": message.notification.id,
        "policy": message.notification.policy,
        "receiver": message.notification.receiver,
        "group": [clean(each) for each in message.notification.group],
        "status": status_of(message),
        "at": rfc3339(message.now),
        "alerts": [_alert_value(part, alert) for part, alert in ordered[:ENTRIES]],
        "changes": [_change_value(each) for each in message.changes[:ENTRIES]],
        "left": max(0, len(ordered) - ENTRIES) + max(0, len(message.changes) - ENTRIES),
    }
    if (made := message.bulletin) is not None:
        told, form = worded(made, made.format or "markdown", ROOM)
        value["report"] = {**made.facts, "title": made.title, "format": form, "text": told}
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def sample(policy: str, now: datetime) -> Alert:
    """What `reconcile alerts test` tells of."""
    said = "this is a test of the way to this receiver; nothing is wrong"
    return Alert(SAMPLE, Ref("AlertPolicy", None, policy), "Test", "info", said, now)


def _ordered(message: Message) -> list[tuple[Part, Alert]]:
    """What fires before what is over, the worst first, each resource before its children."""
    return sorted(message.alerts, key=lambda each: (not _fires(each[0]), -RANK[each[1].severity], each[1].since, str(each[1].ref)))


def _fires(part: Part) -> bool:
    """Whether this is what is told of it, though it may be over by now: a message that comes late says what it was made to say."""
    return part.phase in ("firing", "repeat")


def _line(part: Part, alert: Alert, message: Message) -> str:
    at = f"  ({clean(str(alert.location))})" if alert.location.file else ""
    said = f": {_short(clean(alert.message), WORDS)}" if alert.message else ""
    name = clean(str(alert.ref))
    if _fires(part):
        late = "" if alert.firing else "  (over by now)"
        return f"{name}  {alert.severity} since {_moment(alert.since)}: {clean(alert.reason)}{said}{at}{late}"
    now = message.successors.get(alert.id, "")
    over = f"over after {_lasted(alert, message.now)}" + (f", now {clean(now)}" if now else "")
    when = f" (from {_moment(alert.since)}, not told before)" if part.phase == "passed" else ""
    return f"{name}  {over}{when}: {clean(alert.reason)}{said}"


def _change_line(change: Change) -> str:
    name = clean(str(change.ref)) if change.ref else "the installation"
    why = f": {_short(clean(change.why), WORDS)}" if change.why else ""
    at = f"  ({clean(str(change.location))})" if change.location.file else ""
    return f"{name}  {clean(change.action)} by {clean(change.actor)} at {_moment(change.at)}{why}{at}"


def _next(message: Message, ordered: Sequence[tuple[Part, Alert]]) -> list[str]:
    if ordered and _fires(ordered[0][0]) and ordered[0][1].id != SAMPLE:
        return [f"Next: reconcile why {clean(str(ordered[0][1].ref))}"]
    first = next((each.ref for each in message.changes if each.ref), None)
    return [f"Next: reconcile history {clean(str(first))}"] if first and not ordered else []


# --- values --------------------------------------------------------------------------------------------------------


def _values(part: Part, alert: Alert, message: Message) -> Mapping[str, str]:
    """What `templates.text` may name: see `schemas.alertpolicy.TEXT`."""
    return {
        "kind": alert.ref.kind,
        "lasted": _lasted(alert, message.now),
        "location": clean(str(alert.location)),
        "message": _short(clean(alert.message), WORDS),
        "name": clean(alert.ref.name),
        "project": clean(alert.ref.owner),
        "reason": clean(alert.reason),
        "ref": clean(str(alert.ref)),
        "severity": alert.severity,
        "since": _moment(alert.since),
        "status": "firing" if _fires(part) else "resolved",
    }


def _common(message: Message) -> Mapping[str, str]:
    """What `templates.title` may name: see `schemas.alertpolicy.TITLE`. What is not alike is told as how many there are."""
    ordered = _ordered(message)
    refs = [alert.ref for _, alert in ordered] + [each.ref for each in message.changes if each.ref]

    def alike(found: Sequence[str], noun: str) -> str:
        different = sorted(set(found))
        return clean(different[0]) if len(different) == 1 else count(len(different), noun) if different else ""

    return {
        "count": str(len(ordered) + len(message.changes)),
        "kind": alike([each.kind for each in refs], "kind"),
        "name": alike([each.name for each in refs], "name"),
        "policy": message.notification.policy,
        "project": alike([each.owner for each in refs], "project"),
        "reason": alike([alert.reason for _, alert in ordered], "reason"),
        "ref": alike([str(each) for each in refs], "resource"),
        "severity": max((alert.severity for _, alert in ordered), key=lambda each: RANK[each], default="info"),
        "status": status_of(message),
    }


def _alert_value(part: Part, alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        **_ref_value(alert.ref),
        "phase": part.phase,
        "status": "firing" if _fires(part) else "resolved",
        "severity": alert.severity,
        "reason": alert.reason,
        "message": _short(alert.message, 3 * WORDS),
        "since": rfc3339(alert.since),
        "ended": rfc3339(alert.ended),
        "location": str(alert.location),
    }


def _change_value(change: Change) -> dict[str, Any]:
    where = _ref_value(change.ref) if change.ref else {"ref": None, "kind": None, "project": None, "name": None}
    why = _short(change.why, 3 * WORDS)
    return {"id": change.id, **where, "action": change.action, "by": change.actor, "at": rfc3339(change.at), "why": why}


def _ref_value(ref: Ref) -> dict[str, Any]:
    return {"ref": str(ref), "kind": ref.kind, "project": ref.owner or None, "name": ref.name}


def _named(refs: Sequence[Ref | None]) -> str:
    names = list(dict.fromkeys(clean(str(each)) if each else "the installation" for each in refs))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def _lasted(alert: Alert, now: datetime) -> str:
    return took(max(0.0, ((alert.ended or now) - alert.since).total_seconds()))


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _short(said: str, most: int) -> str:
    return said if len(said) <= most else f"{said[: most - 1]}…"
