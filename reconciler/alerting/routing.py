"""Which routes an alert or a change takes, and what keeps it back: silences and quiet hours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from zoneinfo import ZoneInfo

from reconciler.alerting.values import RANK, Alert, Change, Policy, Silence
from reconciler.model import Ref
from schemas.alertpolicy import WEEK, AlertPolicySpec, QuietHours, Route
from schemas.base import duration_value

TECHNICAL = frozenset({"admit", "preempt", "release"})
"""Actions of admission: told where a route names them, not where it asks for all that was done."""
TROUBLES = frozenset({"ReceiverFailing", "SecretMissing"})
"""Reasons of an AlertPolicy that are about single receivers."""
_NIGHTS = 15
"""Quiet hours that follow one another without a gap are followed so far."""


def routes_of(alert: Alert, spec: AlertPolicySpec, receiver: str, known: Mapping[Ref, Sequence[Alert]]) -> list[Route]:
    """The routes that bring it to `receiver`. What a resource tells is not told again for each of its children.

    `known` are the alerts of this moment by resource, those that are over included."""
    found = [each for each in spec.routes if receiver in each.receivers and _fits(alert, each)]
    if not alert.ref.key or not any(_includes(each, alert) for each in known.get(replace(alert.ref, key=""), ())):
        return found
    return [each for each in found if any("#" in pattern and _like(alert.ref, pattern) for pattern in each.refs)]


def _includes(parent: Alert, child: Alert) -> bool:
    """Whether the alert of a resource says enough about its child's: as bad, and at the same time."""
    together = parent.firing or (child.ended is not None and parent.ended is not None and parent.ended > child.since)
    return together and RANK[parent.severity] >= RANK[child.severity]


def is_told(change: Change, spec: AlertPolicySpec, receiver: str) -> bool:
    """Whether a route brings this line of the audit log to `receiver`."""
    return any(receiver in each.receivers and _asks(each, change.action) and _about(change.ref, each) for each in spec.routes)


def wants_changes(spec: AlertPolicySpec) -> bool:
    return any(each.changes for each in spec.routes)


def is_own_trouble(alert: Alert, policy: Policy, receiver: str, failing: frozenset[tuple[str, str]]) -> bool:
    """True for the trouble of the very receiver that would be told of it."""
    about_it = alert.ref == Ref("AlertPolicy", None, policy.name) and alert.reason in TROUBLES
    return about_it and (policy.name, receiver) in failing


def silenced_until(alert: Alert, silences: Iterable[Silence], now: datetime) -> datetime | None:
    """When the last silence that covers it ends; None = none does."""
    return max((each.until for each in silences if each.start <= now < each.until and covers(each, alert)), default=None)


def covers(silence: Silence, alert: Alert) -> bool:
    """Whether a silence is about this alert, whenever it holds."""
    return (
        (not silence.kinds or alert.ref.kind in silence.kinds)
        and (not silence.projects or alert.ref.owner in silence.projects)
        and (not silence.reasons or any(fnmatchcase(alert.reason, each) for each in silence.reasons))
        and (not silence.refs or any(_like(alert.ref, each) for each in silence.refs))
    )


def declared(policy: Policy) -> tuple[Silence, ...]:
    """The silences that its manifest declares."""
    return tuple(
        Silence(
            f"{policy.name}#{number}",
            each.from_ or policy.since,
            each.until,
            each.why,
            "",
            each.kinds,
            each.projects,
            each.reasons,
            each.refs,
        )
        for number, each in enumerate(policy.spec.silences)
    )


def quiet_until(hours: Sequence[QuietHours], severity: str, now: datetime) -> datetime | None:
    """When it may be sent again; None = now."""
    moment = now
    for _ in range(_NIGHTS):
        ends = [end for each in hours if not _passes(severity, each) and (end := _end(each, moment)) is not None]
        if not ends:
            break
        moment = max(ends)
    return None if moment == now else moment


def seconds(text: str) -> timedelta:
    """The time span of a duration of a schema."""
    return _span(text)


@lru_cache(maxsize=256)
def _span(text: str) -> timedelta:
    return duration_value(text)


def _fits(alert: Alert, route: Route) -> bool:
    if route.severity == "none" or RANK[alert.severity] < RANK[route.severity]:
        return False
    return _about(alert.ref, route) and (not route.reasons or any(fnmatchcase(alert.reason, each) for each in route.reasons))


def _about(ref: Ref | None, route: Route) -> bool:
    """Kinds, projects and refs. What concerns the installation as a whole passes where none of them is asked for."""
    if ref is None:
        return not (route.kinds or route.projects or route.refs)
    return (
        (not route.kinds or ref.kind in route.kinds)
        and (not route.projects or ref.owner in route.projects)
        and (not route.refs or any(_like(ref, each) for each in route.refs))
    )


def _asks(route: Route, action: str) -> bool:
    if isinstance(route.changes, bool):
        return route.changes and action not in TECHNICAL
    return action in route.changes


def _like(ref: Ref, pattern: str) -> bool:
    """A pattern without `#` is about resources, and with them about their children."""
    told = str(ref)
    return fnmatchcase(told if "#" in pattern else told.partition("#")[0], pattern)


def _passes(severity: str, hours: QuietHours) -> bool:
    return hours.unless != "nothing" and RANK[severity] >= RANK[hours.unless]


def _end(hours: QuietHours, now: datetime) -> datetime | None:
    """The end of these hours when `now` lies in them."""
    zone = ZoneInfo(hours.timezone)
    begin, end = time.fromisoformat(hours.from_), time.fromisoformat(hours.to)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        if WEEK[day.weekday()] not in hours.days:
            continue
        last = day + timedelta(days=1) if end <= begin else day
        start, stop = datetime.combine(day, begin, zone).astimezone(UTC), datetime.combine(last, end, zone).astimezone(UTC)
        if start <= now < stop:
            return stop
    return None
