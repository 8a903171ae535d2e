"""Which statuses open an alert, how bad it is, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.alerting.opening import turn
from reconciler.alerting.values import Alert
from reconciler.model import Condition, Health, Location, Ref, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DATASET, DEPLOYMENT = Ref("Dataset", "p", "d"), Ref("Deployment", "p", "s")


def status(health: Health, reason: str = "", ref: Ref = DATASET, *more: Condition, synced: str = "", severity: str = "") -> Status:
    well = health is Health.HEALTHY and not synced
    ready = Condition("Ready", well, reason or str(health), "why", severity=severity)
    same = Condition("Synced", not synced, synced or "AsDesired", "not as desired" if synced else "")
    if health is Health.HEALTHY and synced:
        ready = Condition("Ready", False, synced, "not as desired")
    return Status(ref, health, (ready, same, *more), "", Location("a.yaml", 1), "why")


def opened(given: Status, *firing: Alert) -> tuple[str, str] | None:
    made = turn({each.ref: each for each in firing}, [given], (), NOW)
    assert len(made.opened) <= 1
    return (made.opened[0].reason, made.opened[0].severity) if made.opened else None


def firing(severity: str = "warning", reason: str = "RunFailed", ref: Ref = DATASET) -> Alert:
    return Alert("1", ref, reason, severity, "why", NOW - timedelta(hours=1), location=Location("a.yaml", 1))  # type: ignore[arg-type]


STALLED = Condition("Stalled", True, "Terminal", "never again")
HELD = Condition("Admitted", False, "WaitingForMemory", "waits")
REMARK = Condition("Compatible", False, "AwaitingApproval", "waits for a yes")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (status(Health.HEALTHY), None),
        (status(Health.SUSPENDED), None),
        (status(Health.PROGRESSING, "RollingOut"), None),
        (status(Health.DEGRADED, "DataMissing"), ("DataMissing", "warning")),
        (status(Health.DEGRADED, "ReplicaFailed", DEPLOYMENT), ("ReplicaFailed", "critical")),
        (status(Health.DEGRADED, "ServiceDown", Ref("Platform", None, "x")), ("ServiceDown", "critical")),
        (status(Health.DEGRADED, "Drift", DEPLOYMENT, severity="info"), ("Drift", "info")),
        (status(Health.DEGRADED, "Drift", severity="critical"), ("Drift", "critical")),
        (status(Health.DEGRADED, "X", DATASET, STALLED), ("Terminal", "critical")),
        (status(Health.MISSING), ("Missing", "warning")),
        (status(Health.MISSING, "", DATASET, synced="NotOurs"), ("NotOurs", "warning")),
        (status(Health.MISSING, "DependencyFailed", DATASET, synced="DependencyFailed"), ("DependencyFailed", "info")),
        (status(Health.MISSING, "DependencyProgressing", DATASET, synced="DependencyProgressing"), None),
        (status(Health.DEGRADED, "DataMissing", DATASET, synced="DependencyProgressing"), ("DataMissing", "warning")),
        (status(Health.UNKNOWN, "ToolUnreachable"), ("ToolUnreachable", "warning")),
        (status(Health.PROGRESSING, "WaitingForMemory", DATASET, HELD), ("WaitingForMemory", "info")),
        (status(Health.HEALTHY, "AwaitingApproval", DATASET, REMARK), ("AwaitingApproval", "info")),
        (status(Health.HEALTHY, synced="LeftOverDiff"), ("LeftOverDiff", "warning")),
        (status(Health.HEALTHY, synced="ObserveOnly"), ("ObserveOnly", "info")),
        (status(Health.HEALTHY, synced="Stopped"), None),
    ],
)
def test_what_opens_an_alert(given: Status, expected: tuple[str, str] | None) -> None:
    assert opened(given) == expected


def test_what_is_as_before_changes_nothing() -> None:
    before = firing()
    assert not turn({DATASET: before}, [status(Health.DEGRADED, "RunFailed")], (), NOW)
    assert not turn({}, [status(Health.HEALTHY)], (DEPLOYMENT,), NOW)


def test_other_words_keep_the_alert_and_another_reason_makes_another() -> None:
    before = firing()
    reworded = turn({DATASET: before}, [status(Health.DEGRADED, "RunFailed", severity="critical")], (), NOW)
    assert reworded.updated == (replace(before, severity="critical"),)
    other = turn({DATASET: before}, [status(Health.DEGRADED, "DataMissing")], (), NOW)
    assert other.ended == (replace(before, ended=NOW),)
    assert [each.reason for each in other.opened] == ["DataMissing"]
    assert other.opened[0].since == NOW


@pytest.mark.parametrize("given", [status(Health.HEALTHY), status(Health.SUSPENDED)])
def test_what_ends_it(given: Status) -> None:
    assert turn({DATASET: firing()}, [given], (), NOW).ended == (replace(firing(), ended=NOW),)


def test_what_is_gone_has_no_alert() -> None:
    assert turn({DATASET: firing()}, (), (DATASET,), NOW).ended == (replace(firing(), ended=NOW),)


def test_what_is_tried_again_stays_and_what_only_waited_does_not() -> None:
    on_its_way = status(Health.PROGRESSING, "RollingOut")
    assert not turn({DATASET: firing()}, [on_its_way], (), NOW)
    assert not turn({DATASET: firing()}, [status(Health.PROGRESSING, "WaitingForMemory", DATASET, HELD)], (), NOW)
    assert turn({DATASET: firing("info", "WaitingForMemory")}, [on_its_way], (), NOW).ended
    assert not turn({DATASET: firing()}, [status(Health.MISSING, "", DATASET, synced="Stopped")], (), NOW)


def test_ids_are_of_resource_reason_and_moment() -> None:
    def made(ref: Ref, reason: str, at: datetime) -> str:
        return turn({}, [status(Health.DEGRADED, reason, ref)], (), at).opened[0].id

    ids = {made(ref, reason, at) for ref in (DATASET, DEPLOYMENT) for reason in ("A", "B") for at in (NOW, NOW + timedelta(seconds=1))}
    assert len(ids) == 8
    assert made(DATASET, "A", NOW) == made(DATASET, "A", NOW)
