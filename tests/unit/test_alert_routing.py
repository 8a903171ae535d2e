"""Who is told: routes, children, silences, quiet hours; and marks, which say what need not be read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.alerting.decide import LAG, decide
from reconciler.alerting.routing import covers, quiet_until, routes_of
from reconciler.alerting.values import Alert, Change, Decision, Mark, Policy, Scene, Silence, Told
from reconciler.model import Ref
from schemas.alertpolicy import AlertPolicySpec, QuietHours

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
RECEIVERS = [{"name": name, "apprise": {"fromEnv": "X"}} for name in ("a", "b")]


def spec(*routes: dict[str, Any], **more: Any) -> AlertPolicySpec:
    given = [{"receivers": ["a"], **each} for each in routes or ({},)]
    used = {"receivers": ["b"], "severity": "none", "changes": ["never"]}
    return AlertPolicySpec.model_validate({"receivers": RECEIVERS, "routes": [*given, used], **more})


SWEEP = Ref("Experiment", "p", "e")


def alert(ref: Ref = SWEEP, severity: str = "warning", reason: str = "RunFailed", **more: Any) -> Alert:
    made: Any = {"id": f"{ref}-{reason}", "ref": ref, "reason": reason, "severity": severity, "message": "", "since": NOW, **more}
    return Alert(**made)


def policy(given: AlertPolicySpec, since: datetime = NOW - timedelta(days=1), audit: int = 0) -> Policy:
    return Policy("x", given, since, Mark(since, audit))


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ({}, True),
        ({"severity": "critical"}, False),
        ({"severity": "info"}, True),
        ({"kinds": ["Experiment", "Model"]}, True),
        ({"kinds": ["Model"]}, False),
        ({"projects": ["p"]}, True),
        ({"projects": ["q"]}, False),
        ({"reasons": ["Run*"]}, True),
        ({"reasons": ["run*"]}, False),
        ({"refs": ["experiment/*/e"]}, True),
        ({"refs": ["experiment/q/*"]}, False),
        ({"kinds": ["Experiment"], "projects": ["q"]}, False),
        ({"severity": "none", "changes": True}, False),
    ],
)
def test_all_conditions_of_a_route_must_hold(route: dict[str, Any], fits: bool) -> None:
    assert bool(routes_of(alert(), spec(route), "a", {})) is fits
    assert not routes_of(alert(), spec(route), "b", {})


def test_a_child_is_told_by_its_resource_unless_a_pattern_names_children_or_it_is_worse() -> None:
    parent = alert()
    child = alert(replace(parent.ref, key="r0"))
    known = {parent.ref: [parent]}
    assert not routes_of(child, spec(), "a", known)
    assert routes_of(child, spec(), "a", {})
    assert routes_of(replace(child, severity="critical"), spec(), "a", known)
    assert routes_of(child, spec({"refs": ["experiment/p/*#*"]}), "a", known)
    assert not routes_of(parent, spec({"refs": ["experiment/p/*#*"]}), "a", known)
    assert not routes_of(child, spec({"refs": ["experiment/p/e"]}), "a", known)
    over = replace(parent, ended=NOW + timedelta(minutes=1))
    assert routes_of(child, spec(), "a", {parent.ref: [over]})
    assert not routes_of(replace(child, ended=NOW + timedelta(minutes=2)), spec(), "a", {parent.ref: [over]})


def test_every_route_that_fits_sends_and_nobody_gets_it_twice() -> None:
    given = spec({}, {"receivers": ["a", "b"], "severity": "info"}, groupWait="0s")
    told = decide(Scene(NOW, (policy(given),), (alert(),))).notifications
    assert [(each.receiver, len(each.parts)) for each in told] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("kinds", ("Experiment",), True),
        ("kinds", ("Model",), False),
        ("projects", ("p",), True),
        ("reasons", ("*Failed",), True),
        ("reasons", ("Other",), False),
        ("refs", ("experiment/p/e",), True),
        ("refs", ("experiment/p/e#r1",), False),
        ("refs", ("experiment/p/e#r*",), True),
    ],
)
def test_what_a_silence_covers(field: str, value: tuple[str, ...], expected: bool) -> None:
    silence = Silence("1", NOW, NOW + timedelta(hours=1), "why", **{field: value})  # type: ignore[arg-type]
    assert covers(silence, alert(Ref("Experiment", "p", "e", "r0"))) is expected


def hours(**given: Any) -> QuietHours:
    return QuietHours.model_validate({"from": "22:00", "to": "07:00", **given})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "now", "severity", "expected"),
    [
        (hours(), "2026-03-02T21:59", "warning", None),
        (hours(), "2026-03-02T22:00", "warning", "2026-03-03T07:00"),
        (hours(), "2026-03-03T06:59", "warning", "2026-03-03T07:00"),
        (hours(), "2026-03-03T07:00", "warning", None),
        (hours(), "2026-03-02T23:00", "critical", None),
        (hours(unless="nothing"), "2026-03-02T23:00", "critical", "2026-03-03T07:00"),
        (hours(unless="warning"), "2026-03-02T23:00", "warning", None),
        (hours(unless="warning"), "2026-03-02T23:00", "info", "2026-03-03T07:00"),
        (hours(days=["mon"]), "2026-03-03T01:00", "info", "2026-03-03T07:00"),  # Monday's night
        (hours(days=["tue"]), "2026-03-03T01:00", "info", None),
        (hours(timezone="Europe/Berlin"), "2026-03-02T21:30", "info", "2026-03-03T06:00"),
        (hours(timezone="Europe/Berlin"), "2026-03-28T21:30", "info", "2026-03-29T05:00"),  # summer time begins that night
        (hours(**{"from": "12:00", "to": "13:00"}), "2026-03-02T12:30", "info", "2026-03-02T13:00"),
        (hours(**{"from": "00:00", "to": "00:00"}, days=["sat", "sun"]), "2026-03-07T10:00", "info", "2026-03-09T00:00"),
    ],
)
def test_quiet_hours(given: QuietHours, now: str, severity: str, expected: str | None) -> None:
    assert quiet_until([given], severity, at(now)) == (at(expected) if expected else None)


def test_a_clock_time_may_be_what_yaml_makes_of_it() -> None:
    assert hours(**{"from": 22 * 60}).from_ == "22:00"


# --- marks ---------------------------------------------------------------------------------------------------------


def changes(*ids: int, age: timedelta = timedelta(hours=1)) -> tuple[Change, ...]:
    return tuple(Change(each, NOW - age, Ref("Dataset", "p", "d"), "update", "ann") for each in ids)


def moved(decision: Decision) -> Mark | None:
    return decision.marks.get("x")


def test_a_mark_moves_with_what_is_told_and_not_past_what_waits() -> None:
    given = spec({"changes": True}, groupWait="0s")
    assert moved(decide(Scene(NOW, (policy(given),), (alert(),), changes(4, 7)))) == Mark(NOW - LAG, 7)
    night = spec({"changes": True}, groupWait="0s", quietHours=[{"from": "11:00", "to": "13:00"}])
    over = alert(Ref("Dataset", "p", "x"), since=NOW - timedelta(hours=5), ended=NOW - timedelta(hours=3))
    scene = Scene(NOW, (policy(night),), (over, alert(severity="critical")), changes(4, 7))
    assert moved(decide(scene)) == Mark(NOW - timedelta(hours=3) - timedelta.resolution, 0)


def test_a_mark_alone_is_moved_only_past_many() -> None:
    given, told = spec({"changes": True}), {("x", "a", each.subject): Told(NOW, firing=True) for each in changes(*range(300))}
    assert moved(decide(Scene(NOW, (policy(given),), changes=changes(*range(1, 20)), told=told))) is None
    assert moved(decide(Scene(NOW, (policy(given),), changes=changes(*range(1, 300)), told=told))) == Mark(NOW - LAG, 299)
    assert (
        moved(
            decide(
                Scene(
                    NOW,
                    (policy(given),),
                    changes=changes(
                        *range(1, 300),
                        age=timedelta(),
                    ),
                    told=told,
                )
            )
        )
        is None
    )


def test_the_same_scene_gives_the_same_ids() -> None:
    scene = Scene(NOW, (policy(spec(groupWait="0s")),), (alert(), alert(Ref("Model", "p", "m"))))
    (first,), (again,) = decide(scene).notifications, decide(replace(scene, now=NOW + timedelta(minutes=1))).notifications
    assert first.id == again.id
    (other,) = decide(replace(scene, alerts=(alert(),))).notifications
    assert other.id != first.id
