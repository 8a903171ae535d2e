"""Jobs that another node was given, through its folder: what the reconciler sees and takes back, and what its worker does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import exchange
from reconciler.admission.values import Heat, Level, Node
from reconciler.files import write_private
from reconciler.model import Amounts, Limits
from reconciler.runs.folder import Folder, folder_of
from reconciler.runs.local import LocalRunner
from reconciler.runs.nodes import GONE_SECONDS, SILENT_SECONDS, NodeRunner, home, names, registered, tell
from tests.contract.job_house import JobHouse

ATTIC = Node(
    "attic",
    Limits(8 << 30, 4000, 1),
    reserve=Amounts(1 << 30),
    outside=Amounts(5 << 20),
    heat=Heat(Level.FAIR, 0.7, datetime(2026, 5, 1, tzinfo=UTC), 31.5, None, "coretemp"),
    memory_level=Level.NOMINAL,
    largest_buffer=1 << 32,
)
ENDS = "import json, os\nprint(os.getcwd())\njson.dump({'rows': 5}, open(os.environ['MLOPS_OUTPUTS'], 'w'))\n"


class Attic(JobHouse):
    """A node in a folder of this machine; `runner` is the reconciler's side of it, `worker` its own."""

    def open(self) -> LocalRunner:
        tell(self.state_dir, ATTIC, time.time())
        self.worker = NodeRunner(self.state_dir, "attic", lambda: None)
        return NodeRunner(self.state_dir, "attic", lambda: self.credentials)

    def given(self, **more: object) -> str:
        """A request whose job the node is given; its id."""
        place = exchange.folder(self.state_dir)
        exchange.ask(place, exchange.Request("task-1", "p.w", "r", "t", 1, time.time(), {}))
        return self.start(ENDS, id="task-1", node="attic", interpreter=sys.executable, answers=str(place), outputs=("rows",), **more)

    def at(self, job_id: str) -> Folder:
        return folder_of(home(self.state_dir, "attic"), job_id)

    def heard(self, seconds: float) -> None:
        """Its worker was heard so long ago."""
        then = time.time() - seconds
        os.utime(home(self.state_dir, "attic") / "node.json", (then, then))


@pytest.fixture
def attic(tmp_path: Path) -> Iterator[Attic]:
    house = Attic(tmp_path)
    try:
        yield house
    finally:
        house.close()


def test_a_node_is_what_its_worker_told_last(attic: Attic) -> None:
    now = time.time()
    assert registered(attic.state_dir, now) == [ATTIC]
    tell(attic.state_dir, replace(ATTIC, heat=Heat()), now)
    assert registered(attic.state_dir, now) == [replace(ATTIC, heat=Heat())]
    assert registered(attic.state_dir, now + SILENT_SECONDS + 1) == []
    assert names(attic.state_dir) == {"attic"}, "its jobs are looked at, though nothing new is given to it"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "attic"}'])
def test_a_sample_that_cannot_be_read_is_no_node(attic: Attic, text: str) -> None:
    write_private(home(attic.state_dir, "attic") / "node.json", text)
    assert registered(attic.state_dir, time.time()) == []


def test_only_the_worker_starts_a_job(attic: Attic) -> None:
    job_id = attic.given()
    attic.runner.tend()
    found = attic.runner.look()[job_id]
    assert (found.state, found.granted) == ("starting", Amounts(0, 1000, 0))
    attic.worker.take()
    assert attic.ended(job_id).exit_code == 0
    answer = exchange.answered(exchange.folder(attic.state_dir), job_id)
    assert answer is not None
    assert (answer.ok, answer.outputs) == (True, {"rows": 5})
    assert list(attic.worker.waiting()) == []


@pytest.mark.parametrize("take", ["take_back", "forget", "stop"])
def test_what_was_taken_back_is_not_started(attic: Attic, take: str) -> None:
    job_id = attic.given()
    attic.runner.stop(job_id, "its quota shrank") if take == "stop" else getattr(attic.runner, take)(job_id)
    attic.worker.take()
    assert attic.runner.look() == {}
    assert exchange.is_open(exchange.folder(attic.state_dir), job_id), "it can be given to another one"


def test_what_a_silent_node_has_not_begun_goes_elsewhere(attic: Attic) -> None:
    job_id = attic.given()
    attic.heard(SILENT_SECONDS + 1)
    assert attic.runner.look() == {}
    attic.heard(0)
    assert set(attic.runner.look()) == {job_id}


def test_what_a_silent_node_runs_is_waited_for_and_told_as_lost_when_it_is_gone(attic: Attic) -> None:
    job_id = attic.given()
    attic.worker.take()
    attic.ended(job_id)
    folder = attic.at(job_id)
    folder.result.unlink()
    attic.heard(SILENT_SECONDS + 1)
    attic.wait(job_id, lambda seen: seen.state == "lost")  # its supervisor may still be on its way out
    attic.runner.tend()
    assert attic.runner.look()[job_id].state == "lost"
    assert not folder.result.exists()
    attic.heard(GONE_SECONDS + 1)
    attic.runner.tend()
    assert attic.ended(job_id).state == "lost"
    assert folder.result.exists()


def test_a_job_whose_folder_is_not_there_is_answered(attic: Attic) -> None:
    job_id = attic.given()
    (attic.work / "train.py").unlink()
    attic.work.rmdir()
    attic.worker.take()
    answer = exchange.answered(exchange.folder(attic.state_dir), job_id)
    assert answer is not None
    assert not answer.ok
    assert "attic: the folder of" in answer.why
