"""Statuses: what is told of a resource after a pass."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import (
    Absent,
    Adopt,
    Blocked,
    Create,
    Delete,
    Done,
    Failed,
    Health,
    HealthReport,
    Keep,
    Present,
    Resource,
    Result,
    Started,
    Status,
    Unknown,
    Update,
)
from reconciler.record import statuses
from reconciler.registry import Kinds
from reconciler.testing import FakeTool, WidgetController, fake_kinds
from tests.unit.widgets import BIG, owned, ref, there, widget

A = widget("a")
SEEN = there("a")


def told(result: Result, seen: Any = SEEN, resource: Resource[Any] | None = A, kinds: Kinds | None = None) -> Status:
    (status,) = statuses([result], {A.ref: resource} if resource else {}, {A.ref: seen} if seen else {}, kinds or fake_kinds(FakeTool()))
    return status


def conditions(status: Status) -> dict[str, tuple[bool | None, str]]:
    return {each.type: (each.status, each.reason) for each in status.conditions}


HELD = Blocked(A.ref, "ImmutableField", "spec.color cannot change in place")
ROWS: list[Any] = [
    (Result(Keep(A.ref), None), SEEN, Health.HEALTHY, (True, "Healthy"), (True, "AsDesired")),
    (Result(Create(A), Done("1"), SEEN), Absent(), Health.HEALTHY, (True, "Healthy"), (True, "AsDesired")),
    (Result(Adopt(A, SEEN, ()), Done("1"), SEEN), SEEN, Health.HEALTHY, (True, "Healthy"), (True, "Adopted")),
    (Result(Create(A), Started("1")), Absent(), Health.PROGRESSING, (False, "Progressing"), (True, "AsDesired")),
    (Result(Create(A), Failed(Transient("busy"))), Absent(), Health.DEGRADED, (False, "Transient"), (False, "Transient")),
    (Result(Create(A), Failed(Conflict("taken"))), Absent(), Health.DEGRADED, (False, "Conflict"), (False, "Conflict")),
    (Result(Create(A), Failed(ValueError("x"))), Absent(), Health.DEGRADED, (False, "ValueError"), (False, "ValueError")),
    (Result(HELD, None), SEEN, Health.HEALTHY, (False, "ImmutableField"), (False, "ImmutableField")),
    (Result(HELD, None), Absent(), Health.MISSING, (False, "ImmutableField"), (False, "ImmutableField")),
    (
        Result(Blocked(A.ref, "Suspended", "by ann"), None),
        SEEN,
        Health.SUSPENDED,
        (False, "Suspended"),
        (False, "Suspended"),
    ),
    (
        Result(Blocked(A.ref, "ToolUnreachable", "no answer"), None),
        Unknown("no answer"),
        Health.UNKNOWN,
        (False, "ToolUnreachable"),
        (None, "ToolUnreachable"),
    ),
    (
        Result(Update(A, SEEN, (BIG,)), Done("1"), SEEN, left_over=(BIG,)),
        SEEN,
        Health.HEALTHY,
        (False, "LeftOverDiff"),
        (False, "LeftOverDiff"),
    ),
    (Result(Create(A), None), Absent(), Health.MISSING, (False, "Missing"), (False, "Stopped")),
    (Result(Update(A, SEEN, (BIG,)), None), SEEN, Health.HEALTHY, (False, "Stopped"), (False, "Stopped")),
    (Result(Create(A), Done("1"), Absent()), Absent(), Health.MISSING, (False, "Missing"), (True, "AsDesired")),
]
NAMES = [
    *("kept", "created", "adopted", "started", "failed for now", "conflict", "crashed", "held and there", "held and not there"),
    *("suspended", "unreachable", "left over", "stopped before a create", "stopped before an update", "gone again"),
]


@pytest.mark.parametrize(("result", "seen", "health", "ready", "synced"), ROWS, ids=NAMES)
def test_status(result: Result, seen: Any, health: Health, ready: Any, synced: Any) -> None:
    status = told(result, seen)
    assert status.health is health
    assert conditions(status)["Ready"] == ready
    assert conditions(status)["Synced"] == synced
    assert status.ready is (ready[0] is True)


def test_the_observed_digest_is_told_only_when_in_sync() -> None:
    assert told(Result(Keep(A.ref), None)).observed_digest == A.digest
    assert told(Result(HELD, None)).observed_digest == ""
    assert told(Result(Create(A), Failed(Transient("x")))).observed_digest == ""


@pytest.mark.parametrize(("error", "stalled"), [(Terminal("no"), True), (Conflict("taken"), True), (Transient("busy"), False)])
def test_only_what_will_fail_again_is_stalled(error: Exception, stalled: bool) -> None:
    assert ("Stalled" in conditions(told(Result(Create(A), Failed(error))))) is stalled


def test_what_is_gone_has_no_status_and_what_could_not_be_deleted_has() -> None:
    gone, kept = Result(Delete(owned("a")), Done("1")), Result(Delete(owned("a")), Failed(Transient("busy")))
    kinds = fake_kinds(FakeTool())
    assert statuses([gone], {}, {}, kinds) == ()
    (status,) = statuses([kept], {}, {}, kinds)
    assert (status.ref, status.health) == (ref("a"), Health.DEGRADED)


def test_a_deletion_that_waits_for_a_yes_is_told() -> None:
    status = told(Result(Blocked(A.ref, "ConfirmDelete", "needs a yes", wanted=Delete(owned("a"))), None), None, resource=None)
    assert (status.health, status.message, status.ready) == (Health.UNKNOWN, "needs a yes", False)


def test_the_place_of_the_manifest_is_told() -> None:
    assert told(Result(Keep(A.ref), None)).location == A.location


def test_the_message_does_not_flap() -> None:
    first, second = (told(Result(Create(A), Failed(Transient("busy")), attempts=count, seconds=count)) for count in (1, 4))
    assert first == second


def test_health_that_breaks_down_is_told_and_harms_nobody_else() -> None:
    class Broken(WidgetController):
        def health(self, resource: Resource[Any], seen: Present) -> HealthReport:
            raise KeyError("busy")

    status = told(Result(Keep(A.ref), None), kinds=Kinds({"Widget": Broken(FakeTool())}))
    assert (status.health, conditions(status)["Ready"]) == (Health.UNKNOWN, (False, "ControllerFailed"))


def test_how_bad_it_is_may_be_said_by_its_kind() -> None:
    class Grave(WidgetController):
        def health(self, resource: Resource[Any], seen: Present) -> HealthReport:
            return HealthReport(Health.DEGRADED, "it drifts", "Drift", severity="critical")

    status = told(Result(Keep(A.ref), None), kinds=Kinds({"Widget": Grave(FakeTool())}))
    assert {each.type: each.severity for each in status.conditions} == {"Ready": "critical", "Synced": ""}
    assert all(each.severity == "" for each in told(Result(Keep(A.ref), None)).conditions)
