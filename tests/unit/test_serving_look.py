"""Registrations of replicas, and what admission sees of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import Transient
from reconciler.model.demand import Amounts
from reconciler.model.serving import Registration, applications_file, replicas_folder
from reconciler.runs.jobs import Jobs
from reconciler.serving import register
from reconciler.serving.look import look

APP = "demo.sum.abcdef12"
HOLDS = """
import sys, time
from pathlib import Path
from reconciler.model.serving import Registration
from reconciler.serving import register
register.enter(Path(sys.argv[1]), Registration(sys.argv[2], "other", "deployment/demo/sum", 1, "ready", since=1.0))
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlops-", dir="/tmp") as folder:
        yield Path(folder)


def enter(home: Path, name: str, app: str = APP, **more: Any) -> register.Entry:
    given = {"state": "ready", "since": 1.0, "memory": 5, "peak": 7, "granted": 9, **more}
    return register.enter(home, Registration(app, name, "deployment/demo/sum", os.getpid(), **given))


def declare(state: Path, apps: Mapping[str, int]) -> None:
    asked = {"ref": "deployment/demo/sum", "digest": "abcdef12" * 8, "memory": 100, "cpu": 250, "gpu": 0}
    applications_file(state).parent.mkdir(parents=True, exist_ok=True)
    applications_file(state).write_text(json.dumps({"applications": {app: {**asked, "replicas": count} for app, count in apps.items()}}))


def test_a_replica_stands_as_long_as_it_holds_its_lock(state: Path) -> None:
    assert not register.standing(state)
    second, first = enter(state, "b", since=2.0), enter(state, "a")
    assert [each.replica for each in register.standing(state)[APP]] == ["a", "b"]
    first.change(state="draining")
    assert register.standing(state)[APP][0].state == "draining"
    first.leave()
    first.leave()
    first.change(state="ready")
    assert [each.replica for each in register.standing(state)[APP]] == ["b"]
    assert sorted(each.name for each in (replicas_folder(state) / APP).iterdir()) == ["b.json", "b.lock"]
    with pytest.raises(Transient, match="registered by another process"):
        enter(state, "b")
    second.leave()


def test_a_killed_one_is_gone_at_once_and_what_it_said_is_swept_later(state: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDS, str(state), APP], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert [each.replica for each in register.standing(state)[APP]] == ["other"]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not register.standing(state)
    declare(state, {APP: 1})
    register.sweep(state)
    left = replicas_folder(state) / APP / "other.json"
    assert left.exists(), "people may want to read it"
    os.utime(left, (time.time() - 3601,) * 2)
    register.sweep(state)
    assert not list(left.parent.iterdir())


def test_a_sweep_takes_what_nobody_asks_for_with_its_socket_and_leaves_what_lives(state: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=state))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "http"))
    enter(state, "gone", "demo.old.abcdef12", socket=str(folder / "http"), state="failed", why="bad").leave(keep=True)
    lives = enter(state, "lives", "demo.other.abcdef12")
    declare(state, {})
    register.sweep(state)
    listening.close()
    assert not folder.exists()
    assert [each.name for each in replicas_folder(state).iterdir()] == ["demo.other.abcdef12"]
    assert "demo.other.abcdef12" in register.standing(state)
    lives.leave()


def test_a_path_that_a_registration_merely_names_is_not_removed(state: Path) -> None:
    precious = state / "precious"
    precious.mkdir(mode=0o700)
    (precious / "http").write_text("a file")
    enter(state, "odd", socket=str(precious / "http")).leave(keep=True)
    register.sweep(state)
    assert (precious / "http").read_text() == "a file"


def test_the_last_failure_is_told(state: Path) -> None:
    assert register.failures(state, APP) == ""
    for name, since, why in (("a", 2.0, "too slow"), ("b", 1.0, "wrong output")):
        enter(state, name, state="failed", since=since, why=why).leave(keep=True)
    assert register.failures(state, APP) == "too slow"
    assert register.failures(state, "demo.other.abcdef12") == ""


def test_what_is_no_registration_is_not_read(state: Path) -> None:
    held = enter(state, "a")
    for text in ("", "[]", '{"app": 1}', '{"app": "a", "replica"'):
        held.path.write_text(text)
        assert not register.standing(state)
    held.path.write_text(json.dumps({**json.loads(json.dumps(vars_of(held.now))), "of_a_newer_version": 1}))
    assert register.standing(state)[APP] == (held.now,)
    held.leave()


def vars_of(registration: Registration) -> dict[str, Any]:
    return {name: getattr(registration, name) for name in ("app", "replica", "ref", "pid", "state", "since", "memory", "peak", "granted")}


def test_a_slot_counts_from_the_wish_until_the_process_is_gone(state: Path) -> None:
    assert look(state) == {}
    declare(state, {APP: 2})
    slots = look(state)
    assert [(each.id, each.ref, each.state) for each in slots.values()] == [
        (f"serve:{APP}:{slot}", f"deployment/demo/sum#abcdef12-{slot}", "starting") for slot in (0, 1)
    ]
    assert {each.granted for each in slots.values()} == {Amounts(100, 250)}
    entries = [enter(state, "a"), enter(state, "b", state="loading", since=2.0), enter(state, "c", state="draining", since=3.0)]
    found = list(look(state).values())
    assert [(each.state, each.memory, each.peak, each.granted, each.backend) for each in found] == [
        ("running", 5, 7, Amounts(9, 250), "serve"),
        ("starting", 5, 7, Amounts(9, 250), "serve"),
        ("running", 5, 7, Amounts(9, 250), "serve"),
    ]
    declare(state, {})
    entries[2].leave()
    assert [each.ref for each in look(state).values()] == ["deployment/demo/sum#abcdef12-0", "deployment/demo/sum#abcdef12-1"]
    for each in entries:
        each.leave()
    assert look(state) == {}


def test_a_slot_whose_replicas_fail_says_why(state: Path) -> None:
    declare(state, {APP: 1})
    assert look(state)[f"serve:{APP}:0"].why == "in Ray's hands"
    enter(state, "a", state="failed", why="too slow").leave(keep=True)
    assert look(state)[f"serve:{APP}:0"].why == "too slow"


def test_jobs_and_replicas_are_looked_at_together_and_a_replica_is_not_stopped_as_a_job(state: Path) -> None:
    jobs = Jobs(state, lambda: None, lambda: pytest.fail("Ray was asked"))
    held = enter(state, "a")
    slot = f"serve:{APP}:0"
    assert set(jobs.look()) == {slot}
    jobs.stop(slot, "no")
    jobs.pause(slot)
    jobs.resume(slot)
    jobs.forget(slot)
    jobs.sweep()
    assert jobs.look()[slot].state == "running"
    held.leave()
