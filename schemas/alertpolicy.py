"""AlertPolicy: who is told of what, how often, and when not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from string import Template
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from schemas.base import DnsLabel, Duration, KindInfo, Moment, Spec, Strict, duration_value
from schemas.cron import zone_trouble
from schemas.receiver import Receiver, check_receiver
from schemas.statusreport import StatusReport, check_named, check_reports

Severity = Literal["info", "warning", "critical"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KINDS = (
    *("AlertPolicy", "Dataset", "Deployment", "Experiment", "Model"),
    *("Monitor", "Platform", "Project", "ResourceQuota", "Workflow"),
)
"""Of this package: for "did you mean"; other packages bring more."""
ACTIONS = (
    *("create", "update", "replace", "delete", "adopt", "move", "rollback", "suspend", "resume", "run"),
    *("silence", "unsilence", "admit", "preempt", "release"),
)
"""Of the audit log, for the same."""
TITLE = ("count", "kind", "name", "policy", "project", "reason", "ref", "severity", "status")
TEXT = ("kind", "lasted", "location", "message", "name", "project", "reason", "ref", "severity", "since", "status")
"""What `templates` may ask for."""


_CLOCK = re.compile(r"^([01]\d|2[0-3]):[0-5]\d$")


def _clock(found: Any) -> Any:
    """YAML 1.1 reads 22:30 as a number to the base of 60."""
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 24 * 60:
        found = f"{found // 60:02}:{found % 60:02}"
    if isinstance(found, str) and not _CLOCK.match(found):
        raise ValueError(f"'{found}' is not a time of day; expected 00:00 to 23:59, such as 22:30")
    return found


Clock = Annotated[
    str, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": _CLOCK.pattern, "description": "a time of day: 22:30"})
]
Glob = Annotated[str, StringConstraints(min_length=1, max_length=300)]
"""A text with `*` for any part of it."""
Action = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]*$", max_length=40)]
KindName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]


class Route(Strict):
    """What goes to whom. All conditions must hold; what is unset leaves nothing out. Every route that fits sends."""

    receivers: tuple[DnsLabel, ...]
    kinds: tuple[KindName, ...] = ()
    projects: tuple[DnsLabel, ...] = ()
    severity: Severity | Literal["none"] = "warning"
    """At least so bad; `none`: no alerts, `changes` only."""
    reasons: tuple[Glob, ...] = ()
    """Patterns of reasons, such as `RunFailed`, `Waiting*`."""
    refs: tuple[Glob, ...] = ()
    """Patterns of resources, such as `deployment/vision/*`; with `#`, of what a resource stands for (its runs, replicas)."""
    changes: bool | tuple[Action, ...] = False
    """What was done, too: `true`, or some of create, update, replace, delete, adopt, move, rollback, suspend, resume, run, ..."""
    resolved: bool = True
    """Tell the end of what was told."""
    after: Duration = "0s"
    """Only what lasts so long."""


class QuietHours(Strict):
    """A time in which nothing is sent; what is still true at its end is sent then, in one message for each group."""

    days: tuple[Day, ...] = WEEK
    """On which it begins."""
    from_: Annotated[Clock, Field(alias="from")]
    to: Clock
    """On the next day when it is not after `from`."""
    timezone: str = "UTC"
    """IANA name."""
    unless: Literal["warning", "critical", "nothing"] = "critical"
    """What is at least so bad is sent all the same."""


class Silence(Strict):
    """Maintenance: what fits is recorded and not sent; what still fires at its end is sent then."""

    from_: Annotated[Moment | None, Field(alias="from")] = None
    until: Moment
    kinds: tuple[KindName, ...] = ()
    projects: tuple[DnsLabel, ...] = ()
    reasons: tuple[Glob, ...] = ()
    refs: tuple[Glob, ...] = ()
    why: Annotated[str, StringConstraints(min_length=3, max_length=1000)]


class Templates(Strict):
    """Own words, with `$name` where a value goes; unset = the usual words."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    """First line of a message."""
    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    """Once for each alert."""


class AlertPolicySpec(Spec):
    """Receivers, and the routes that lead to them."""

    receivers: tuple[Receiver, ...]
    routes: tuple[Route, ...] = ()
    """May be left out where there are `reports`."""
    reports: tuple[StatusReport, ...] = ()
    group_by: tuple[Literal["kind", "project", "name", "reason", "severity"], ...] = ("project",)
    """What is alike in these goes into one message; empty = everything does."""
    group_wait: Duration = "30s"
    """A new group waits so long for more to come; a single `reconcile` does not wait for what it found itself."""
    group_interval: Duration = "5m"
    """Between two messages of a group, at least."""
    repeat_every: Duration = "4h"
    """What still fires is told again; `0s` = never."""
    quiet_hours: tuple[QuietHours, ...] = ()
    silences: tuple[Silence, ...] = ()
    templates: Templates = Templates()


def check(spec: AlertPolicySpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    names = [each.name for each in spec.receivers]
    for field, given in (("receivers", spec.receivers), ("routes", (*spec.routes, *spec.reports))):
        if not given:
            yield field, "nobody would be told anything: name one at least"
    used = {name for each in spec.routes for name in each.receivers} | {name for each in spec.reports for name in each.receivers}
    for number, receiver in enumerate(spec.receivers):
        yield from check_receiver(f"receivers.{number}", receiver, names, used)
    for number, route in enumerate(spec.routes):
        yield from _route(f"routes.{number}", route, names)
    yield from check_reports(spec.reports, names)
    for number, quiet in enumerate(spec.quiet_hours):
        if trouble := zone_trouble(quiet.timezone):
            yield f"quietHours.{number}.timezone", trouble
        if not quiet.days:
            yield f"quietHours.{number}.days", "name one day at least, or leave the field out for every day"
    for number, silence in enumerate(spec.silences):
        yield from _kinds(f"silences.{number}", silence.kinds)
        if silence.from_ is not None and silence.from_ >= silence.until:
            yield f"silences.{number}.until", "ends before it begins"
    for field, text, hours in (("groupWait", spec.group_wait, 1), ("groupInterval", spec.group_interval, 24)):
        if duration_value(text).total_seconds() > hours * 3600:
            yield field, f"expected at most {hours}h"
    if 0 < duration_value(spec.repeat_every).total_seconds() < 60:
        yield "repeatEvery", "expected at least 1m, or 0s for never"
    yield from _template("templates.title", spec.templates.title, TITLE)
    yield from _template("templates.text", spec.templates.text, TEXT)


def _route(path: str, route: Route, names: list[str]) -> Iterator[tuple[str, str]]:
    if not route.receivers:
        yield f"{path}.receivers", "a route leads to one receiver at least"
    yield from check_named(f"{path}.receivers", route.receivers, names)
    yield from _kinds(path, route.kinds)
    for number, action in enumerate(() if isinstance(route.changes, bool) else route.changes):
        if action not in ACTIONS and (close := get_close_matches(action, ACTIONS, n=1, cutoff=0.75)):
            yield f"{path}.changes.{number}", f"nothing is called '{action}'. Did you mean `{close[0]}`?"
    if route.severity == "none" and not route.changes:
        yield f"{path}.severity", "`none` leaves nothing to tell: set `changes` with it"


def _kinds(path: str, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """A kind may be another package's; one that is nearly one of ours is a slip of the pen."""
    for number, kind in enumerate(kinds):
        if kind not in KINDS and (close := get_close_matches(kind, KINDS, n=1, cutoff=0.75)):
            yield f"{path}.kinds.{number}", f"there is no kind '{kind}'. Did you mean `{close[0]}`?"


def _template(path: str, text: str | None, allowed: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    template = Template(text or "")
    if not template.is_valid():
        yield path, "`$` stands before a name; write `$$` for the sign itself"
    for name in template.get_identifiers():
        if name not in allowed:
            yield path, f"there is no `${name}` here; known are ${', $'.join(allowed)}"


KIND = KindInfo(
    name="AlertPolicy",
    spec=AlertPolicySpec,
    scope="installation",
    prune="auto",
    summary="Who is told of what goes wrong, of what was done and, by schedule, of where everything stands; how often, and when not.",
    root_only=True,
    check=check,
)
