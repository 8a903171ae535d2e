"""What fires, who was told, and what is silenced, for people and for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.alerting.values import RANK, Alert, Delivery, Part, Silence
from reconciler.report.show import clean, count, paint, rfc3339, shorten, since, took, wrap
from schemas.statusreport import StatusReport

FORMAT_VERSION = 1
_STYLE = {"critical": "red", "warning": "yellow", "info": "cyan"}
_WORDS = {"queued": "waits", "sending": "is being sent", "failed": "failed", "silenced": "silenced"}
_HEADS = ("SEVERITY", "RESOURCE", "SINCE", "REASON", "TOLD", "WHY")


@dataclass(frozen=True)
class Overview:
    """What there is to show."""

    alerts: Sequence[Alert]
    """The newest first."""
    deliveries: Sequence[Delivery]
    """The newest first."""
    silences: Sequence[Silence]
    policies: int
    now: datetime
    reports: Sequence[Scheduled] = ()


@dataclass(frozen=True)
class Scheduled:
    """One scheduled report, and when it comes."""

    policy: str
    report: StatusReport
    next: datetime
    last: datetime | None = None
    """When one was made; None = none was yet."""
    waits: datetime | None = None
    """A time for which none was made yet: nothing runs that would."""


def alerts_text(seen: Overview, *, all_: bool = False, color: bool = False, width: int = 100) -> str:
    """What fires, the worst first; with `all_` what is over and every message, too."""
    firing = sorted((each for each in seen.alerts if each.firing), key=lambda each: (-RANK[each.severity], each.since, str(each.ref)))
    told = told_of(seen.deliveries)
    parts = [_headline(firing, seen)]
    if firing:
        parts += ["", *_table(firing, told, seen.now, color, width)]
    if seen.silences:
        parts += ["", "SILENCED", *(line for each in seen.silences for line in _silence(each, seen.now, width))]
    if seen.reports:
        parts += ["", "REPORTS", *(line for each in seen.reports for line in _scheduled(each, seen.now, width))]
    if all_:
        over = [each for each in seen.alerts if not each.firing]
        parts += ["", "OVER", *(line for each in over for line in _over(each, seen.now, width))] if over else []
        sent = [line for each in seen.deliveries for line in _delivery(each, seen, width)]
        parts += ["", "MESSAGES", *sent] if sent else []
    return "\n".join([*parts, "", _next(firing, seen, all_)])


def told_of(deliveries: Sequence[Delivery]) -> dict[str, dict[str, str]]:
    """Id of an alert -> receiver -> empty when it was told, else where the message is."""
    found: dict[str, dict[str, str]] = {}
    for each in reversed(deliveries):
        for part in each.parts:
            if part.phase not in ("changed", "report"):
                found.setdefault(part.subject, {})[each.receiver] = _WORDS.get(each.state, "")
    return found


def _headline(firing: Sequence[Alert], seen: Overview) -> str:
    counted = [(sum(each.severity == severity for each in firing), severity) for severity in ("critical", "warning", "info")]
    told = ", ".join(f"{number} {severity}" for number, severity in counted if number)
    held = f"   {count(len(seen.silences), 'silence')}" if seen.silences else ""
    nobody = "" if seen.policies else "   no AlertPolicy: nobody is told"
    if not firing:
        return f"Nothing fires.{held}{nobody}"
    return f"{count(len(firing), 'alert')} {'fires' if len(firing) == 1 else 'fire'}: {told}.{held}{nobody}"


def _table(firing: Sequence[Alert], told: Mapping[str, Mapping[str, str]], now: datetime, color: bool, width: int) -> list[str]:
    cells = [
        (each.severity, clean(str(each.ref)), since(each.since, now), clean(each.reason), _names(told.get(each.id, {}))) for each in firing
    ]
    sizes = [max(len(row[at]) for row in [_HEADS[:5], *cells]) for at in range(5)]
    lines = ["   ".join(f"{head:<{size}}" for head, size in zip(_HEADS, [*sizes, 0], strict=True)).rstrip()]
    indent = sum(sizes) + 15
    for each, row in zip(firing, cells, strict=True):
        padded = [f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)]
        padded[0] = paint(padded[0], _STYLE[each.severity], color)
        said = clean(each.message)
        beside = bool(said) and width - indent >= 24
        first, *rest = wrap(said, width, " " * indent) if beside else [""]
        lines.append(f"{'   '.join(padded)}   {first.strip()}".rstrip())
        lines += rest if beside else wrap(said, width, "    ")
    return lines


def _names(receivers: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({state})" if state else name for name, state in sorted(receivers.items())) or "-"


def _silence(each: Silence, now: datetime, width: int) -> list[str]:
    held = f"for {took((each.until - now).total_seconds())} more" if each.start <= now else f"from {rfc3339(each.start)}"
    by = f" by {clean(each.actor)}" if each.actor else ""
    return wrap(f"{clean(each.id)}  {covered(each)}  {held}{by}: {clean(each.why)}", width, "  ")


def covered(each: Silence) -> str:
    """What a silence is about."""
    named = [*each.refs, *(f"kind {name}" for name in each.kinds), *(f"project {name}" for name in each.projects), *each.reasons]
    return clean(", ".join(named)) or "everything"


def _scheduled(each: Scheduled, now: datetime, width: int) -> list[str]:
    to = ", ".join(dict.fromkeys(each.report.receivers))
    if each.waits is not None:
        when = f"due since {rfc3339(each.waits)}: the next `reconcile` makes it"
    else:
        when = f"next {rfc3339(each.next)} (in {took((each.next - now).total_seconds())})"
    last = f"last {rfc3339(each.last)}" if each.last else "none yet"
    return wrap(f"{clean(each.policy)}/{each.report.name} to {to}  {when}  {last}", width, "  ")


def _over(each: Alert, now: datetime, width: int) -> list[str]:
    lasted = took(((each.ended or now) - each.since).total_seconds())
    said = f": {clean(shorten(each.message, 300))}" if each.message else ""
    head = f"{each.severity} {clean(str(each.ref))}  over {since(each.ended, now)} ago, lasted {lasted}"
    return wrap(f"{head}: {clean(each.reason)}{said}", width, "  ")


def _delivery(each: Delivery, seen: Overview, width: int) -> list[str]:
    refs = {alert.id: str(alert.ref) for alert in seen.alerts}
    about = [_part(part, refs) for part in each.parts] or ["test"]
    shown = ", ".join(dict.fromkeys(about[:3])) + (f" and {len(about) - 3} more" if len(about) > 3 else "")
    state = each.state if each.attempts < 2 else f"{each.state} after {each.attempts} attempts"
    wrong = f": {each.error}" if each.error else ""
    return wrap(clean(f"{rfc3339(each.created)}  {each.policy} to {each.receiver}  {state}  {shown}{wrong}"), width, "  ")


def _part(part: Part, refs: Mapping[str, str]) -> str:
    if part.phase == "report":
        return part.subject.replace(":", " ", 1)
    return f"{part.phase} {refs[part.subject]}" if part.subject in refs else part.phase


def _next(firing: Sequence[Alert], seen: Overview, all_: bool) -> str:
    if firing:
        why = f"`reconcile why {clean(str(firing[0].ref))}` tells more"
        return f"Next: {why}; `reconcile silence REF --why TEXT` holds messages back."
    if not seen.policies:
        return "Next: an AlertPolicy says who is told: `reconcile explain AlertPolicy`."
    return (
        "Next: `reconcile alerts test POLICY` tries the way."
        if all_
        else "Next: `reconcile alerts --all` shows what is over and who was told."
    )


def alerts_json(seen: Overview, *, all_: bool = False) -> str:
    """The same for programs: see docs/alerts.md."""
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "alerts", **alerts_value(seen, all_=all_)}, indent=2, ensure_ascii=True)


def alerts_value(seen: Overview, *, all_: bool = False) -> dict[str, Any]:
    """The same as plain values."""
    told = told_of(seen.deliveries)
    value: dict[str, Any] = {
        "at": rfc3339(seen.now),
        "alerts": [_alert_value(each, told.get(each.id, {})) for each in seen.alerts],
        "silences": [_silence_value(each) for each in seen.silences],
        "reports": [_report_value(each) for each in seen.reports],
    }
    if all_:
        value["deliveries"] = [_delivery_value(each) for each in seen.deliveries]
    return value


def _alert_value(each: Alert, told: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": each.id,
        "ref": str(each.ref),
        "severity": each.severity,
        "reason": each.reason,
        "message": each.message,
        "since": rfc3339(each.since),
        "ended": rfc3339(each.ended),
        "location": str(each.location),
        "told": {name: state or "sent" for name, state in sorted(told.items())},
    }


def _silence_value(each: Silence) -> dict[str, Any]:
    about = {"refs": each.refs, "kinds": each.kinds, "projects": each.projects, "reasons": each.reasons}
    times = {"from": rfc3339(each.start), "until": rfc3339(each.until)}
    return {"id": each.id, **times, "why": each.why, "by": each.actor, **{name: list(found) for name, found in about.items()}}


def _report_value(each: Scheduled) -> dict[str, Any]:
    times = {"next": rfc3339(each.next), "last": rfc3339(each.last), "waits": rfc3339(each.waits)}
    return {"policy": each.policy, "name": each.report.name, "receivers": list(each.report.receivers), **times}


def _delivery_value(each: Delivery) -> dict[str, Any]:
    return {
        "id": each.id,
        "policy": each.policy,
        "receiver": each.receiver,
        "at": rfc3339(each.created),
        "state": each.state,
        "attempts": each.attempts,
        "nextTry": rfc3339(each.next_try) if each.state == "queued" else None,
        "finished": rfc3339(each.finished),
        "error": each.error,
        "parts": [{"subject": part.subject, "phase": part.phase, "nth": part.nth} for part in each.parts],
    }
