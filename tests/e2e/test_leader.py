"""Two loops over one PostgreSQL Store: one leads, the other takes over, and whoever was suspended writes nothing when it wakes up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.platform import Endpoint
from reconciler.state import open_store
from tests.contract.store_values import admin
from tests.e2e.installation import RECONCILE, Installation, experiment, project, start
from tests.e2e.training import until

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("mlflow")
HAND_OVER = 15.0
"""Seconds, at most."""


@dataclass
class Loop:
    """One machine: its own clone and state folder, the Store of both."""

    name: str
    here: Installation
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with self.log.open("a") as out:
            env = {**self.here.environment, "LOGNAME": self.name}
            self.process = subprocess.Popen([RECONCILE, "watch", "--every", "2s"], cwd=self.here.root, env=env, stdout=out, stderr=out)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def said(self, text: str, times: int = 1) -> Callable[[], bool]:
        return lambda: self.log.read_text().count(text) >= times


@dataclass
class Two:
    a: Loop
    b: Loop
    store: str

    def writers(self) -> list[str]:
        """Who wrote each line of the audit log, the newest first."""
        with open_store(self.store, read_only=True) as store:
            return [each.actor for each in store.history(limit=1000)]

    def leader(self) -> str:
        with open_store(self.store, read_only=True) as store:
            found = store.current_leader()
            return found.actor if found is not None else ""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str, server: Endpoint) -> Iterator[Two]:
    folder, name, base = tmp_path_factory.mktemp("leader"), f"two-{uuid.uuid4().hex[:6]}", f"two_{time.monotonic_ns()}"
    with admin(server.for_database("postgres", "psycopg").url) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {base}")
    url = server.for_database(base, "psycopg").url
    loops = []
    for each in ("a", "b"):
        here = start(folder / each, mlflow_url, name)
        here.env = {"MLOPS_STORE": url}
        here.write({"manifests/p.yaml": project("p"), "code/p/README": "", "manifests/e.yaml": experiment("first", "p")})
        loops.append(Loop(each, here, folder / f"{each}.log"))
    found = Two(loops[0], loops[1], url)
    try:
        found.a.start()
        until(found.a.said("3 of 3 Ready"), log=found.a.log)
        found.b.start()
        yield found
    finally:
        for each in loops:
            if each.process is not None and each.process.poll() is None:
                each.signal(signal.SIGCONT)
                each.signal(signal.SIGTERM)
                each.process.wait(60)


def test_one_leads_and_the_other_stands_by(two: Two) -> None:
    until(two.b.said("standing by: `a` (pid"))
    assert two.leader() == "a"
    time.sleep(3)
    assert set(two.writers()) == {"a"}


def test_a_leader_that_is_killed_is_followed_at_once(two: Two) -> None:
    began = time.monotonic()
    two.a.signal(signal.SIGKILL)
    until(two.b.said("leads from now on"))
    took = time.monotonic() - began
    print(f"killed: followed after {took:.1f} s")
    assert took < HAND_OVER
    two.b.here.write({"manifests/e2.yaml": experiment("second", "p")})
    until(two.b.said("+ experiment/p/second  done"))


def test_a_leader_that_was_suspended_writes_nothing_when_it_wakes_up(two: Two, request: pytest.FixtureRequest) -> None:
    assert two.a.process is not None
    two.a.process.wait(10)
    two.a.start()
    until(two.a.said("standing by: `b` (pid"))
    began = time.monotonic()
    two.b.signal(signal.SIGSTOP)
    until(two.a.said("leads from now on"))
    took = time.monotonic() - began
    print(f"suspended: followed after {took:.1f} s")
    assert took < HAND_OVER
    before = len(two.writers())
    for each in (two.a, two.b):  # both have something to do
        each.here.write({"manifests/e3.yaml": experiment("third", "p"), "manifests/e2.yaml": experiment("second", "p")})
    until(two.a.said("+ experiment/p/third  done"))
    time.sleep(max(0.0, (60.0 if request.config.getoption("--full") else 15.0) - (time.monotonic() - began)))
    two.b.here.write({"manifests/e4.yaml": experiment("fourth", "p")})  # of which only the suspended one can know
    two.b.signal(signal.SIGCONT)
    until(two.b.said("standing by: `a` (pid"))
    time.sleep(5)
    since = two.writers()[: len(two.writers()) - before]
    assert since
    assert set(since) == {"a"}, "a writer that lost its lease wrote"
    assert "experiment/p/fourth" not in two.a.here.status()
