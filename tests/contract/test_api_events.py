"""Events of a real loop: soon, once, only to who may see them, and from where one left off."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.api.v1.watcher import Watcher
from tests.contract.api_lab import FREELY, Lab, problem, until

SOON = 2.0
"""Seconds within which a change is to be seen."""


@dataclass
class Heard:
    """What one stream told."""

    events: list[tuple[str, str, Any]] = field(default_factory=list)
    comments: int = 0
    over: bool = False

    def refs(self, name: str) -> list[str]:
        return [data["ref"] for _, each, data in list(self.events) if each == name]

    @property
    def last(self) -> str:
        return self.events[-1][0]


@contextmanager
def hearing(client: httpx.Client, query: str = "", last: str = "") -> Iterator[Heard]:
    """A stream that is read in a thread until the block ends."""
    heard, ready = Heard(), threading.Event()
    box: list[httpx.Response] = []

    def read() -> None:
        headers = {"last-event-id": last} if last else {}
        try:
            with client.stream("GET", f"/events?{query}", headers=headers, timeout=60) as answer:
                box.append(answer)
                event: dict[str, str] = {}
                for line in answer.iter_lines():
                    ready.set()
                    if line.startswith(":"):
                        heard.comments += 1
                    elif line:
                        name, _, value = line.partition(": ")
                        event[name] = value
                    elif "event" in event:
                        heard.events.append((event["id"], event["event"], json.loads(event["data"])))
                        event = {}
        except httpx.HTTPError:
            pass
        finally:
            heard.over = True
            ready.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield heard
    finally:
        for each in box:
            each.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path, limits=replace(FREELY, streams=3, streams_each=2))
    for project in ("p", "q"):
        found.project(project)
        found.widget(project, "w")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 5, "everything is Ready")
        yield found
    found.house.store.close()


def test_a_change_is_heard_soon_and_a_filter_leaves_out_the_rest(lab: Lab) -> None:
    with lab.client() as client, hearing(client) as all_, hearing(client, "project=q&event=status&kind=widget") as some:
        began = time.monotonic()
        lab.widget("p", "new")
        until(lambda: "widget/p/new" in all_.refs("status"), "the new one")
        until(lambda: "widget/p/new" in all_.refs("audit"), "its line")
        assert time.monotonic() - began < SOON + 2, "a pass and a look"
        lab.widget("q", "other")
        until(lambda: "widget/q/other" in some.refs("status"), "the other one")
        assert {data["ref"] for _, _, data in some.events} == {"widget/q/other"}
        token = lab.token("operator")
        with lab.client(token) as operator:
            began = time.monotonic()
            operator.post("/resources/widget/p/new/suspend", json={"reason": "by hand"}).raise_for_status()
            until(lambda: any(name == "audit" and data["action"] == "suspend" for _, name, data in list(all_.events)), "the suspension")
            assert time.monotonic() - began < SOON
            lab.widget("p", "new", "size: 7")
            until(lambda: any(data.get("health") == "Suspended" for _, name, data in list(all_.events) if name == "status"), "its health")


def test_who_comes_again_gets_what_he_missed_once(lab: Lab) -> None:
    with lab.client() as client:
        with hearing(client) as first:
            lab.widget("p", "a")
            until(lambda: "widget/p/a" in first.refs("status"), "the first")
            until(lambda: any(name == "plan" for _, name, _ in first.events) or "widget/p/a" in first.refs("audit"), "its line")
        seen = first.last
        until(lambda: not lab.door.shared["watcher"]._streams, "the stream has left")
        lab.widget("p", "b")
        until(lambda: client.get("/resources/widget/p/b").status_code == 200, "made while nobody listened")
        with hearing(client, last=seen) as second:
            until(lambda: "widget/p/b" in second.refs("status"), "what was missed")
            ids = [id_ for id_, _, _ in second.events]
            assert len(ids) == len(set(ids))
            assert not {*ids} & {id_ for id_, _, _ in first.events}
        old = f"{seen.split('-')[0]}-00000000-7"
        with hearing(client, last=old) as third:
            until(lambda: any(name == "resync" for _, name, _ in third.events), "that lists are to be read again")
            assert "widget/p/b" in third.refs("audit"), "the audit log is remembered for ever"


def test_nobody_hears_of_what_he_may_not_see(lab: Lab) -> None:
    with lab.client(lab.token("viewer", "q")) as client, hearing(client) as heard:
        lab.widget("p", "hidden")
        lab.widget("q", "shown")
        until(lambda: "widget/q/shown" in heard.refs("status"), "what may be seen")
        time.sleep(1)
        assert all("hidden" not in json.dumps(data) for _, _, data in heard.events)
        assert all(data["ref"] is not None for _, name, data in heard.events if name == "audit")


def test_streams_are_few_and_nothing_looks_while_nobody_listens(lab: Lab) -> None:
    with lab.client() as client, lab.client(lab.token("viewer")) as other:
        with hearing(client), hearing(client):
            refused = client.get("/events")
            problem(refused, 503)
            assert int(refused.headers["retry-after"]) > 0
            with hearing(other):
                problem(other.get("/events"), 503)
        watcher: Watcher = lab.door.shared["watcher"]
        until(lambda: not watcher._streams and watcher._task is not None and watcher._task.done(), "the last look")
        with hearing(client) as heard:
            assert not heard.over


def test_a_stream_ends_with_its_token_and_with_the_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.api.v1.events.HEARTBEAT", 0.3)
    text = lab.token("viewer")
    with lab.client(text) as client, hearing(client) as heard:
        until(lambda: heard.comments >= 3, "heartbeats")
        lab.house.store.doors.revoke_token(text.split("_")[1], "test")
        until(lambda: heard.over, "the end")
    with lab.client() as client, hearing(client) as heard:
        lab.door.close()
        until(lambda: heard.over, "the end", 3)
