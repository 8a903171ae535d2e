"""Orders, over a real loop: what is ordered happens, once, and the audit log says who ordered it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import Ref
from reconciler.testing import FakeTool, Recorder, WidgetController
from tests.contract.api_lab import Lab, problem, until


class Startable(WidgetController):
    """Widgets that can be started by hand, and go back, as workflows and deployments do."""

    def __init__(self, tool: FakeTool) -> None:
        super().__init__(tool)
        self.started: list[tuple[str, str, dict[str, Any], str]] = []
        self.trouble: Exception | None = None

    def start(self, ref: Ref, ctx: Context, conf: Any, by: str, run: str = "") -> str:
        if self.trouble is not None:
            raise self.trouble
        self.started.append((str(ref), run, dict(conf), by))
        return run

    def ended(self, ref: Ref, run: str, ctx: Context) -> None:
        return None

    def roll_back(self, ref: Ref, ctx: Context, why: str, by: str) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.started.append((str(ref), "back", {"why": why}, by))
        return "back at version 1"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path)
    found.project("p", ", sync: {approval: required}")
    found.project("q")
    found.widget("q", "w", "size: 1")
    with found.looping(every=3600):
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 4, "everything is Ready")
        yield found
    found.house.store.close()


@pytest.fixture
def startable(lab: Lab) -> Startable:
    """The controller of the widgets, from now on."""
    found = Startable(lab.tool)
    lab.house.kinds.controllers["Widget"] = found  # type: ignore[index]
    return found


def lines(lab: Lab, action: str) -> list[tuple[str, str]]:
    return [(each.actor, str(each.ref)) for each in lab.house.store.history() if each.action == action]


def test_reconcile_now_finds_what_was_changed_by_hand(lab: Lab) -> None:
    thing = next(each for each in lab.tool.things() if each.name == "q/w")
    lab.tool.update(Recorder(), thing.id, {**thing.fields, "size": 7}, thing.labels)
    with lab.client(lab.token("operator", name="ci")) as client:
        before = lab.board.last
        assert client.post("/reconcile").status_code == 202
        until(lambda: next(each for each in lab.tool.things() if each.name == "q/w").fields["size"] == 1, "put back")
        until(lambda: lab.board.last is not before, "the pass has ended")
    assert lines(lab, "reconcile") == [("ci", "None")]


def test_what_is_suspended_is_not_written_until_it_is_resumed(lab: Lab) -> None:
    with lab.client(lab.token("operator", name="ci")) as client:
        assert client.post("/resources/widget/q/w/suspend", json={"reason": "by hand"}).status_code == 200
        lab.widget("q", "w", "size: 5")
        until(lambda: client.get("/resources/widget/q/w").json()["health"] == "Suspended", "suspended")
        assert [each.fields["size"] for each in lab.tool.things()] == [1]
        assert client.get("/resources/widget/q/w").json()["suspended"]["actor"] == "ci"
        assert client.post("/resources/widget/q/w/resume").status_code == 200
        until(lambda: client.get("/resources/widget/q/w").json()["health"] == "Healthy", "resumed")
        assert [each.fields["size"] for each in lab.tool.things()] == [5]
        problem(client.post("/resources/widget/q/w/resume"), 409)
    assert lines(lab, "suspend") == lines(lab, "resume") == [("ci", "widget/q/w")]


def test_a_yes_to_what_was_seen_is_carried_out_and_another_is_refused(lab: Lab) -> None:
    lab.widget("p", "new", "size: 3")
    with lab.client(lab.token("approver", "p", name="ada")) as client, lab.client(lab.token("operator")) as operator:

        def waiting() -> Any:
            operator.post("/reconcile")
            return client.get("/approvals").json()["items"]

        until(waiting, "what waits")
        [item] = client.get("/approvals").json()["items"]
        assert item["refs"] == ["widget/p/new"]
        assert item["actions"][0]["ref"] == "widget/p/new"
        problem(client.post("/approvals/p", json={"digest": "0" * 12}), 409)
        problem(client.post("/approvals/p", json={"digest": item["digest"], "refs": ["widget/p/other"]}), 409)
        assert not lab.house.store.rulings.approvals()
        assert client.post("/approvals/p", json={"digest": item["digest"]}).status_code == 200
        until(lambda: any(each.name == "p/new" for each in lab.tool.things()), "it is made")
        until(lambda: not client.get("/approvals").json()["items"], "nothing waits any more")
        problem(client.post("/approvals/p", json={"digest": item["digest"]}), 409)
    assert lines(lab, "approve") == [("ada", "widget/p/new")]


def test_a_request_with_a_name_is_carried_out_once(lab: Lab) -> None:
    with lab.client(lab.token("operator", name="ci")) as client:
        path, key = "/resources/widget/q/w/suspend", {"idempotency-key": "k-1"}
        first = client.post(path, json={"reason": "once"}, headers=key)
        again = client.post(path, json={"reason": "once"}, headers=key)
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        assert again.headers["idempotency-replayed"] == "true"
        assert len(lines(lab, "suspend")) == 1
        problem(client.post(path, json={"reason": "else"}, headers=key), 409)
        client.post("/resources/widget/q/w/resume").raise_for_status()
        problem(client.post("/resources/widget/q/w/resume", headers={"idempotency-key": "k-2"}), 409)
        client.post(path, json={"reason": "again"}).raise_for_status()
        assert client.post("/resources/widget/q/w/resume", headers={"idempotency-key": "k-2"}).status_code == 200, (
            "what was refused is free"
        )
    with lab.client(lab.token("operator", name="other")) as client:
        assert client.post(path, json={"reason": "mine"}, headers=key).status_code == 200, "names are each asker's own"


def test_what_takes_a_controller_is_done_by_the_loop(lab: Lab, startable: Startable) -> None:
    with lab.client(lab.token("operator", name="ci")) as client:
        made = client.post("/resources/widget/q/w/run", json={"conf": {"rows": "5"}})
        assert (made.status_code, made.json()["state"]) == (202, "waiting")
        number = made.json()["number"]
        until(lambda: client.get(f"/orders/{number}").json()["state"] == "done", "the run is started")
        assert startable.started == [("widget/q/w", f"order-{number}", {"rows": "5"}, "ci")]
        back = client.post("/resources/widget/q/w/rollback", json={"reason": "bad"}).json()["number"]
        until(lambda: client.get(f"/orders/{back}").json()["state"] == "done", "it went back")
        assert client.get(f"/orders/{back}").json()["result"] == "back at version 1"
        assert startable.started[-1] == ("widget/q/w", "back", {"why": "bad"}, "ci")
        assert lines(lab, "run") == lines(lab, "rollback") == [("ci", "widget/q/w")]
    with lab.client(lab.token("viewer", "p")) as other:
        problem(other.get(f"/orders/{number}"), 404)


def test_an_order_that_cannot_be_done_says_so_and_one_that_cannot_be_done_now_waits(lab: Lab, startable: Startable) -> None:
    with lab.client(lab.token("operator", name="ci")) as client:
        startable.trouble = Terminal("it is paused")
        number = client.post("/resources/widget/q/w/run", json={}).json()["number"]
        until(lambda: client.get(f"/orders/{number}").json()["state"] == "failed", "it says so")
        assert client.get(f"/orders/{number}").json()["result"] == "it is paused"
        startable.trouble = Transient("the tool is away")
        number = client.post("/resources/widget/q/w/rollback", json={"reason": "bad"}).json()["number"]
        until(lambda: client.get(f"/orders/{number}").json()["result"] == "the tool is away", "it waits")
        assert client.get(f"/orders/{number}").json()["state"] == "waiting"
        startable.trouble = RuntimeError("a defect")
        client.post("/reconcile").raise_for_status()
        until(lambda: client.get(f"/orders/{number}").json()["state"] == "failed", "a defect costs the order alone")
        startable.trouble = None
        number = client.post("/resources/widget/q/w/run", json={}).json()["number"]
        until(lambda: client.get(f"/orders/{number}").json()["state"] == "done", "and nothing else")
