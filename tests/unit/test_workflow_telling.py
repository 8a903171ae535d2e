"""What differs about a workflow, and how it is, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controllers.task import TaskController
from controllers.workflows import asking, telling
from controllers.workflows.waiting import answer_to
from reconciler.exchange import Request
from reconciler.model import KNOWN_AFTER_APPLY, Health, Present, Ref, Resource, Status
from reconciler.testing.context import make_context, make_resource
from schemas.workflow import KIND, WorkflowSpec

DATA, MODEL = Ref("Dataset", "p", "d"), Ref("Model", "other", "m")
SPEC = {"tasks": [{"name": "a", "command": "a.py"}], "triggers": [{"dataset": "d"}, {"model": "other/m"}]}


def made(spec: dict[str, Any] | None = None, **inputs: Any) -> Resource[WorkflowSpec]:
    found = make_resource(KIND, "flow", spec or SPEC, project="p", references=[DATA, MODEL])
    return replace(found, inputs={DATA: {"digest": "d1"}, MODEL: {"version": "3"}, **inputs})  # type: ignore[return-value]


def seen(**raw: Any) -> Present:
    fired = {str(DATA): {"value": "d1", "number": 0}, str(MODEL): {"value": "3", "number": 0}}
    usual = {"want": "x", "delivered": "x", "read": True, "lost": False, "error": "", "trouble": "", "paused": False, "active": []}
    return Present("p.flow", {}, raw={**usual, "last": None, "fired": fired, "pool": None, **raw})


def paths(resource: Resource[WorkflowSpec], present: Present) -> list[str]:
    return [each.path for each in telling.changes(resource, present)]


def test_nothing_differs_when_all_is_as_it_was_heard() -> None:
    assert paths(made(), seen()) == []


@pytest.mark.parametrize(("ref", "outputs"), [(DATA, {"digest": "d2"}), (MODEL, {"version": "4"})])
def test_another_version_starts_a_run(ref: Ref, outputs: dict[str, str]) -> None:
    (change,) = telling.changes(replace(made(), inputs={**made().inputs, ref: outputs}), seen())
    assert (change.path, change.note) == (f"triggers.{ref}", f"starts a run: {ref} changed")


@pytest.mark.parametrize("outputs", [{"digest": KNOWN_AFTER_APPLY}, {"digest": ""}, {"*": KNOWN_AFTER_APPLY}])
def test_what_is_not_known_yet_starts_nothing(outputs: dict[str, str]) -> None:
    assert paths(replace(made(), inputs={**made().inputs, DATA: outputs}), seen()) == []


def test_a_new_trigger_only_listens_and_a_paused_workflow_hears_nothing() -> None:
    (change, _) = telling.changes(made(), seen(fired={}))
    assert change.note == "watched from now on"
    moved = replace(made({**SPEC, "paused": True}), inputs={DATA: {"digest": "d9"}, MODEL: {"version": "9"}})
    assert paths(moved, seen(paused=True)) == []


def test_a_breach_is_heard_once_its_end_starts_nothing_and_the_first_one_counts() -> None:
    monitor = Ref("Monitor", "p", "drift")
    flow = replace(made({**SPEC, "triggers": [{"monitor": "drift"}]}), references=(monitor,))

    def told(breach: str, heard: str | None) -> list[str]:
        fired = {} if heard is None else {str(monitor): {"value": heard, "number": 1}}
        return [each.note for each in telling.changes(replace(flow, inputs={monitor: {"breach": breach}}), seen(fired=fired))]

    assert told("none", None) == ["watched from now on"]
    assert told("none", "none") == []
    assert told("b1", "none") == ["starts a run: monitor/p/drift has a breach"]
    assert told("b1", "b1") == []
    assert told("none", "b1") == ["is over"]
    assert told("b2", "b1") == ["starts a run: monitor/p/drift has a breach"]


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ({"verdict": "pass", "judged": "99.0"}, None),
        ({"verdict": "hold", "judged": "101.0"}, None),
        ({"verdict": "", "judged": ""}, None),
        ({"verdict": "pass", "judged": "101.0"}, True),
        ({"verdict": "fail", "judged": "101.0"}, False),
    ],
)
def test_a_step_waits_for_the_verdict_on_a_window_that_ends_after_it_began(
    outputs: dict[str, str], answer: bool | None, tmp_path: Path
) -> None:
    monitor = Ref("Monitor", "p", "drift")
    work = {"do": "wait", "step": "monitor", "ref": str(monitor), "timeout": None}
    [child] = asking.children(made(), [Request("task-1", "p.flow", "r", "t", 1, 100.0, work)], [], {}, 100.0)
    ctx = replace(
        make_context(tmp_path),
        told=lambda _: Status(monitor, Health.DEGRADED, (), message="2 of 3 columns drifted"),
        told_since=datetime.fromtimestamp(200.0, UTC),
    )
    found = answer_to(replace(child, inputs={monitor: outputs}), ctx)
    assert (found and found.ok) == answer
    assert found is None or found.ok or "2 of 3 columns drifted" in found.why


def test_what_was_changed_in_the_repository_or_deleted_in_airflow_is_delivered_again() -> None:
    (outside,) = telling.changes(made(), seen(delivered="y"))
    assert (outside.have, outside.want) == ("y", "x")
    (lost,) = telling.changes(made(), seen(lost=True))
    assert lost.note == "it was deleted in Airflow"
    (paused,) = telling.changes(made(), seen(paused=True))
    assert (paused.path, paused.have, paused.want) == ("spec.paused", True, False)


def test_an_edited_task_is_shown_where_it_is() -> None:
    before = made()
    now = made({**SPEC, "tasks": [{"name": "a", "command": "a.py fast", "retries": 2}]})
    edited = replace(now, last=telling.fields(before))
    assert set(paths(edited, seen(delivered="y"))) == {"spec.tasks.a.command", "spec.tasks.a.retries"}


@pytest.mark.parametrize(
    ("raw", "health", "word"),
    [
        ({"trouble": "no delivery: why"}, Health.DEGRADED, "no delivery"),
        ({"error": "SyntaxError", "read": False}, Health.DEGRADED, "cannot read"),
        ({"read": False}, Health.PROGRESSING, "Airflow reads it"),
        ({"active": ["by-hand-1"]}, Health.PROGRESSING, "by-hand-1"),
        ({}, Health.HEALTHY, "has not run yet"),
        ({"last": {"id": "r", "state": "success"}}, Health.HEALTHY, "run r succeeded"),
        ({"last": {"id": "r", "state": "failed", "failure": {"task": "a", "why": "exit 1"}}}, Health.DEGRADED, "task a: exit 1"),
    ],
)
def test_health_tells_delivery_then_runs(raw: dict[str, Any], health: Health, word: str) -> None:
    found = telling.health(made(), seen(**raw))
    assert found.health is health
    assert word in found.message


def test_a_failure_is_stalled_where_nothing_starts_it_again() -> None:
    last = {"id": "r", "state": "failed", "failure": {"task": "a", "why": "exit 1"}}
    alone = made({"tasks": SPEC["tasks"]})
    assert telling.health(alone, seen(last=last)).stalled
    assert not telling.health(made(), seen(last=last)).stalled


def test_a_later_try_waits_until_what_the_earlier_one_left_has_ended() -> None:
    tries = [Request(f"task-{number}", "p.flow", "r", "a", number, float(number), {"do": "command"}) for number in (2, 1)]
    (child,) = asking.children(made(), tries, (), {}, 5.0)
    assert (child.spec.id, child.spec.older, child.ref.key) == ("task-2", ("task-1",), "a@r")
    (change,) = TaskController().diff(child, Present("task-2", {}, raw={"ends": ["task-1"]}))
    assert change.want == "ended"


def test_a_request_that_airflow_has_forgotten_is_withdrawn_after_a_while() -> None:
    one = Request("task-1", "p.flow", "r", "a", 1, 100.0, {"do": "command"})
    (young,) = asking.children(made(), [one], (), {}, 100.0 + asking.GRACE_SECONDS / 2)
    (old,) = asking.children(made(), [one], (), {}, 100.0 + asking.GRACE_SECONDS * 2)
    assert (young.spec.dead, old.spec.dead) == (False, True)
