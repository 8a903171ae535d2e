"""What tasks and the reconciler tell each other through files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from reconciler import exchange
from reconciler.exchange import Answer, Request
from reconciler.model.jobs import Job
from reconciler.runs.answering import facts_of, reply, told
from reconciler.runs.folder import Ending, Folder, read_job, write_job


def request(id: str = "task-1", created: float = 1.0) -> Request:
    return Request(id, "p.flow", "run", "train", 1, created, {"do": "command"}, interval=("a", "b"))


def test_a_request_waits_until_it_is_answered_once(tmp_path: Path) -> None:
    place = exchange.folder(tmp_path)
    assert list(exchange.requests(place)) == []
    before = exchange.stamp(place)
    exchange.ask(place, request())
    assert exchange.stamp(place) != before
    assert list(exchange.requests(place)) == [request()]
    exchange.answer(place, "task-1", Answer(True, outputs={"rows": 1}))
    exchange.answer(place, "task-1", Answer(False, "too late"))
    found = exchange.answered(place, "task-1")
    assert found is not None
    assert (found.ok, found.outputs, found.at > 0) == (True, {"rows": 1}, True)
    exchange.ask(place, request())
    assert list(exchange.requests(place)) == [], "a worker that asks again after the answer does not open it again"


def test_the_oldest_comes_first_and_what_is_no_request_is_left_out(tmp_path: Path) -> None:
    place = exchange.folder(tmp_path)
    for id, at in (("task-b", 2.0), ("task-a", 3.0), ("task-c", 1.0)):
        exchange.ask(place, request(id, at))
    (place / "open" / "torn.json").write_text("{")
    (place / "open" / "list.json").write_text("[]")
    (place / "open" / "other.json").write_text('{"id": "x"}')
    assert [each.id for each in exchange.requests(place)] == ["task-c", "task-b", "task-a"]


def test_one_id_for_each_try_of_each_task() -> None:
    ids = {
        exchange.identity(*each, "x")
        for each in (("d", "r", "t", -1, 1), ("d", "r", "t", -1, 2), ("d", "r", "t", 0, 1), ("d", "r2", "t", -1, 1))
    }
    assert len(ids) == 4
    assert exchange.identity("d", "r", "t", -1, 1, "x") in ids
    assert exchange.identity("d", "r", "t", -1, 1, "y") not in ids, "a workflow that was removed and is there again"


def test_only_what_is_old_is_swept(tmp_path: Path) -> None:
    place = exchange.folder(tmp_path)
    for id in ("task-old", "task-new"):
        exchange.ask(place, request(id))
        exchange.answer(place, id, Answer(True))
    left = exchange.run_folder(place, "p.flow", "run")
    left.mkdir(parents=True)
    past = time.time() - exchange.KEPT_SECONDS - 10
    for path in (place / "done" / "task-old.json", left):
        os.utime(path, (past, past))
    exchange.sweep(place, time.time())
    assert (exchange.answered(place, "task-old"), exchange.answered(place, "task-new") is None, left.exists()) == (None, False, False)


@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "wrote nothing"), ("{", "not JSON"), ("[1]", "an object"), ('{"rows": null}', "lacks rows"), ("x" * (1 << 21), "larger")],
)
def test_outputs_that_are_not_there_fail_the_task(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "outputs.json"
    if text is not None:
        path.write_text(text)
    why, found = told(path, ("rows",))
    assert word in why
    assert found == {}
    assert told(path, ()) == ("", {})


def test_a_job_answers_with_its_outputs_or_with_what_the_machine_was_like(tmp_path: Path) -> None:
    place, folder = exchange.folder(tmp_path), Folder(tmp_path / "runs" / "task-1")
    folder.path.mkdir(parents=True)
    job = Job("task-1", "workflow/p/f#t", "local", "/", "x.py", (), (), out=str(tmp_path), answers=str(place), outputs=("rows",))
    write_job(folder, job)
    assert read_job(folder) == job
    tags = {"mlops.receipt.worst_heat": "serious", "mlops.receipt.worst_memory_pressure": "fair"}
    bad = Ending("task-1", job.ref, "FAILED", "exit 3", exit_code=3, peak=5 << 20, tail="ValueError: no", tags=tags)
    facts = facts_of(bad, ("experiment/p/e#a",))
    assert (facts["heat"], facts["memoryPressure"], facts["throttled"], facts["ranBeside"]) == (
        "serious",
        "fair",
        True,
        ["experiment/p/e#a"],
    )
    (tmp_path / "outputs.json").write_text(json.dumps({"rows": 4, "more": 1}))
    exchange.ask(place, request())
    reply(job, folder, Ending("task-1", job.ref, "FINISHED", exit_code=0))
    found = exchange.answered(place, "task-1")
    assert found is not None
    assert (found.ok, found.outputs, found.facts) == (True, {"rows": 4}, {})


def test_what_made_room_for_others_is_not_answered_and_asks_again(tmp_path: Path) -> None:
    place, folder = exchange.folder(tmp_path), Folder(tmp_path / "runs" / "task-1")
    exchange.ask(place, request())
    job = Job("task-1", "workflow/p/f#t", "local", "/", "x.py", (), (), out=str(tmp_path), answers=str(place))
    reply(job, folder, Ending("task-1", job.ref, "KILLED", "stopped: preempted: p takes its share back"))
    assert exchange.is_open(place, "task-1")
    reply(job, folder, Ending("task-1", job.ref, "KILLED", "stopped: its task was cleared"))
    assert not exchange.is_open(place, "task-1")
