"""Alerts, deliveries and silences, to rows and back. Pure.

Texts that people or tools make are kept as JSON, like all such text in the Store: see `reconciler.state.encode`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.alerting.values import Alert, Change, Delivery, Notification, Part, Silence, Told
from reconciler.state.encode import Row, audit_from, from_text, location_from, location_text, ref_from, ref_row, to_text

COVERS = ("kinds", "projects", "reasons", "refs")


def alert_row(alert: Alert) -> Row:
    return {
        "id": alert.id,
        **ref_row(alert.ref),
        "reason": to_text(alert.reason, alert.ref),
        "severity": alert.severity,
        "message": to_text(alert.message, alert.ref),
        "location": location_text(alert.location),
        "since": alert.since,
        "ended": alert.ended,
    }


def alert_from(row: Sequence[Any]) -> Alert:
    id_, kind, project, name, key, reason, severity, message, location, since, ended = row
    ref = ref_from(kind, project, name, key)
    return Alert(id_, ref, from_text(reason), severity, from_text(message), since, ended, location_from(location))


def change_from(row: Sequence[Any]) -> Change:
    """A line of the audit log, as far as it is told."""
    entry = audit_from(row)
    why = entry.detail.get("why") or entry.detail.get("reason") or _fields(entry.detail.get("changes"))
    action = entry.action.removesuffix("-confirmed")
    return Change(int(row[0]), entry.at, entry.ref, action, entry.actor, str(why or ""), entry.location)


def _fields(changes: Any) -> str:
    """The fields that were changed."""
    named = [str(each).removeprefix("spec.") for each in changes] if isinstance(changes, list) else []
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def delivery_row(made: Notification, state: str, created: Any) -> Row:
    return {
        "id": made.id,
        "policy": made.policy,
        "receiver": made.receiver,
        "about": to_text(list(made.group)),
        "created": created,
        "state": state,
        "attempts": 0,
        "next_try": created if state == "queued" else None,
        "finished": None if state == "queued" else created,
        "error": to_text(""),
        "claimer": "",
        "claimed_until": None,
    }


def part_rows(made: Notification, delivery: int) -> list[Row]:
    return [
        {
            "policy": made.policy,
            "receiver": made.receiver,
            "subject": each.subject,
            "phase": each.phase,
            "nth": each.nth,
            "delivery": delivery,
        }
        for each in made.parts
    ]


def delivery_from(row: Sequence[Any], parts: tuple[Part, ...] = ()) -> Delivery:
    number, id_, policy, receiver, about, created, state, attempts, next_try, finished, error, *_ = row
    group = tuple(from_text(about))
    return Delivery(number, id_, policy, receiver, group, created, state, attempts, next_try, finished, from_text(error), parts)


def silence_row(silence: Silence) -> Row:
    covers: Mapping[str, Any] = {name: list(getattr(silence, name)) for name in COVERS}
    return {
        "id": silence.id,
        "start": silence.start,
        "until": silence.until,
        "why": to_text(silence.why),
        "actor": to_text(silence.actor),
        "covers": to_text(dict(covers)),
    }


def silence_from(row: Sequence[Any]) -> Silence:
    id_, start, until, why, actor, covers = row
    kept = from_text(covers)
    return Silence(id_, start, until, from_text(why), from_text(actor), *(tuple(kept.get(name, ())) for name in COVERS))


def told_from(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, str, str], Told]:
    """Rows of (policy, receiver, subject, phase, newest, highest nth, whether one may arrive)."""
    found: dict[tuple[str, str, str], dict[str, Sequence[Any]]] = {}
    for policy, receiver, subject, phase, *rest in rows:
        found.setdefault((policy, receiver, subject), {})[phase] = rest
    return {name: _told(phases) for name, phases in found.items()}


def _told(phases: Mapping[str, Sequence[Any]]) -> Told:
    fired = [phases[name] for name in ("firing", "repeat", "changed") if name in phases]
    return Told(
        at=max(each[0] for each in (fired or phases.values())),
        firing=bool(fired),
        reached=any(bool(each[2]) for each in fired),
        resolved="resolved" in phases or "passed" in phases,
        silenced="silenced" in phases,
        repeats=int(phases["repeat"][1]) if "repeat" in phases else 0,
    )
