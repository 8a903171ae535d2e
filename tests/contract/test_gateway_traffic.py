"""The gateway under load while everything around it changes: no request may fail for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

from reconciler.files import write_private
from reconciler.gateway.predictions import read
from reconciler.model.serving import Bounds, PredictionLog, routes_file, wake_file
from tests.contract.gateway_lab import RELEASED, Lab, lab, route, target, until

pytestmark = pytest.mark.xdist_group("gateway")


@dataclass
class Load:
    """What clients saw who asked all the time."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return self.versions.total()

    def more(self, count: int) -> None:
        """Until so many more were answered."""
        wanted = self.answers + count
        until(lambda: self.answers >= wanted or bool(self.failures))


@contextmanager
def load(up: Lab, clients: int = 4, path: str = "/predict/p/n", reuse: bool = True) -> Iterator[Load]:
    """Clients that ask without pause; at the end none of them may have failed. `reuse`: their connections."""
    found, stop = Load(), threading.Event()

    def ask() -> None:
        with up.client() as client:
            while not stop.is_set():
                headers = {} if reuse else {"connection": "close"}
                try:
                    answer = client.post(path, json={"instances": [{"x": 1}]}, headers=headers)
                except httpx.HTTPError as error:
                    found.failures.append(repr(error))
                    return
                if answer.status_code != 200:
                    found.failures.append(answer.text)
                else:
                    found.versions[answer.json()["version"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for each in threads:
        each.start()
    try:
        yield found
    finally:
        stop.set()
        for each in threads:
            each.join(60)
    assert found.failures == []


@pytest.fixture(scope="module")
def up() -> Iterator[Lab]:
    with lab() as found:
        found.start()
        yield found


def background(up: Lab, do: str = "") -> tuple[threading.Thread, list[httpx.Response]]:
    """A request that another thread makes; with `hold` it is answered once RELEASED is set."""
    answers: list[httpx.Response] = []
    RELEASED.clear()

    def ask() -> None:
        with up.client() as client:
            instance = {"x": 4, "do": do} if do else {"x": 4}
            answers.append(client.post("/predict/p/n", json={"instances": [instance]}))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def app(up: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["apps"][name] for each in up.state()["routes"].values() if name in each["apps"])
    return found


def test_a_killed_replica_fails_no_request_while_another_is_ready(up: Lab) -> None:
    up.process("p.kill.1", "a"), up.process("p.kill.1", "b")
    up.follow(route("n", target("p.kill.1")))
    until(lambda: up.ready("p.kill.1") == 2)
    with load(up) as seen:
        seen.more(100)
        killed = up.replicas[-1]
        killed.stop()
        seen.more(100)
    assert up.ready("p.kill.1") == 1


def test_a_request_that_kills_is_told_and_counted(up: Lab) -> None:
    up.process("p.die.1")
    up.follow(route("n", target("p.die.1")))
    until(lambda: up.ready("p.die.1") == 1)
    with up.client() as client:
        answer = client.post("/predict/p/n", json={"instances": [{"x": 1, "do": "die"}]})
    assert answer.status_code == 503
    counted = app(up, "p.die.1")
    assert (counted["errors"], counted["requests"], counted["ready"]) == (1, 1, 0)


def test_who_asks_between_two_replicas_waits_for_the_next_one(up: Lab) -> None:
    """As when Serve's controller comes back and ends the wrong one of two, or the only one was killed: nothing loads for a moment."""
    last = up.replica("p.gap.1")
    up.follow(route("n", target("p.gap.1")))
    until(lambda: up.ready("p.gap.1") == 1)
    last.kill()
    until(lambda: up.ready("p.gap.1") == 0)
    body = {"instances": [{"x": 4}]}
    with up.client() as client, ThreadPoolExecutor() as pool:
        asked = pool.submit(client.post, "/predict/p/n", json=body)
        time.sleep(0.5)
        assert not asked.done()
        up.replica("p.gap.1")
        assert asked.result().json()["predictions"] == [8]


def test_weights_are_kept_and_the_header_decides(up: Lab) -> None:
    up.replica("p.w.1"), up.replica("p.w.2")
    both = (target("p.w.1", 80), target("p.w.2", 20, "canary", "2"))
    up.follow(route("n", *both, header="x-release"))
    until(lambda: up.ready("p.w.1") == up.ready("p.w.2") == 1)
    with up.client() as client:

        def versions(count: int, **headers: str) -> Counter[str]:
            body = {"instances": [{"x": 1}]}
            return Counter(client.post("/predict/p/n", json=body, headers=headers).json()["version"] for _ in range(count))

        assert 60 <= versions(500)["2"] <= 145  # 20 %: five standard deviations to either side
        assert versions(20, **{"x-release": "canary"}) == {"2": 20}
        assert versions(20, **{"X-Release": "Stable"}) == {"1": 20}
        up.follow(route("n", *both))
        assert versions(40, **{"x-release": "canary"})["1"] > 0


def test_a_target_that_is_not_up_gives_its_share_to_the_other(up: Lab) -> None:
    up.replica("p.share.1")
    with_nobody = (target("p.share.1", 10), target("p.share.2", 90, "canary", "2"))
    up.follow(route("n", *with_nobody))
    until(lambda: up.ready("p.share.1") == 1)
    with load(up, clients=1) as seen:
        seen.more(30)
    assert set(seen.versions) == {"1"}


def test_a_new_generation_takes_over_whole_and_the_old_application_drains(up: Lab) -> None:
    old, _ = up.replica("p.swap.1"), up.replica("p.swap.2")
    up.follow(route("n", target("p.swap.1"), limits=Bounds(timeout=60)))
    until(lambda: up.ready("p.swap.1") == 1)
    slow, answers = background(up, "hold")
    until(lambda: app(up, "p.swap.1")["ongoing"] == 1)
    with load(up) as seen:
        seen.more(50)
        up.follow(route("n", target("p.swap.2", version="2")))
        assert up.state()["draining"].get("p.swap.1", 0) >= 1
        seen.more(50)
        RELEASED.set()
        until(lambda: not up.state()["draining"])
        slow.join(60)
        old.stop()
        seen.more(50)
    assert answers[0].status_code == 200
    assert answers[0].json()["version"] == "1"
    assert list(seen.versions) == ["1", "2"]


def test_a_broken_file_of_routes_changes_nothing_and_is_told(up: Lab) -> None:
    up.replica("p.broken.1")
    up.follow(route("n", target("p.broken.1")))
    until(lambda: up.ready("p.broken.1") == 1)
    with load(up, clients=1) as seen:
        write_private(routes_file(up.state_dir), '{"generation": 99, "routes": {"p/n": {"project": "p"')
        until(lambda: "routes.json" in up.state()["problem"])
        seen.more(20)
    assert up.state()["generation"] == up.generation
    up.follow(route("n", target("p.broken.1")))
    assert up.state()["problem"] == ""


def test_the_replica_with_the_fewest_requests_is_asked(up: Lab) -> None:
    """One of two replicas is held up; whoever comes then goes to the other."""
    up.replica("p.least.1", "a"), up.replica("p.least.1", "b")
    up.follow(route("n", target("p.least.1"), limits=Bounds(timeout=60)))
    until(lambda: up.ready("p.least.1") == 2)
    slow, _ = background(up, "hold")
    until(lambda: app(up, "p.least.1")["ongoing"] == 1)
    with up.client() as client:
        assert {client.post("/predict/p/n", json={"instances": [{"x": 1}]}).status_code for _ in range(10)} == {200}
    assert slow.is_alive()
    RELEASED.set()
    slow.join(60)


def test_who_comes_while_replicas_start_waits_and_is_counted(up: Lab) -> None:
    loading = up.replica("p.wait.1", state="loading")
    up.follow(route("n", target("p.wait.1"), limits=Bounds(timeout=60)))
    waiting, answers = background(up)
    until(lambda: up.state()["routes"]["p/n"]["waiting"] == 1)
    until(lambda: up.state()["routes"]["p/n"]["load"] > 0.3)
    with up.client() as client:
        assert client.get("/models/p/n/ready").status_code == 503
    assert answers == []
    loading.entry.change(state="ready")
    waiting.join(60)
    assert answers[0].json()["predictions"] == [8]
    assert up.state()["routes"]["p/n"]["waiting"] == 0


def test_what_is_scaled_to_zero_is_woken(up: Lab) -> None:
    wake_file(up.state_dir).unlink(missing_ok=True)
    up.follow(route("n", target("p.zero.1"), wakes=True, limits=Bounds(timeout=60)))
    waiting, answers = background(up)
    until(lambda: wake_file(up.state_dir).exists())
    assert wake_file(up.state_dir).stat().st_mode & 0o077 == 0
    up.replica("p.zero.1")
    waiting.join(60)
    assert answers[0].json()["predictions"] == [8]


def test_waiting_has_an_end(up: Lab) -> None:
    up.follow(route("n", target("p.never.1"), wakes=True, limits=Bounds(timeout=0.5)))
    with up.client() as client:
        answer = client.post("/predict/p/n", json={"instances": [{"x": 4}]})
    assert (answer.status_code, answer.json()["title"]) == (504, "Gateway Timeout")


def test_more_than_the_queue_holds_is_refused_and_much_load_wakes(up: Lab) -> None:
    up.replica("p.queue.1")
    up.follow(route("n", target("p.queue.1"), limits=Bounds(queue=2, timeout=60), wakes_above=0.1))
    until(lambda: up.ready("p.queue.1") == 1)
    wake_file(up.state_dir).unlink(missing_ok=True)
    slow = [background(up, "hold")[0] for _ in range(2)]
    until(lambda: up.state()["routes"]["p/n"]["ongoing"] == 2)
    with up.client() as client:
        answer = client.post("/predict/p/n", json={"instances": [{"x": 1}]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        until(lambda: wake_file(up.state_dir).exists())
        RELEASED.set()
        for each in slow:
            each.join(60)
        assert client.post("/predict/p/n", json={"instances": [{"x": 1}]}).status_code == 200


def test_a_client_that_leaves_has_its_request_ended(up: Lab) -> None:
    up.replica("p.gone.1")
    up.follow(route("n", target("p.gone.1"), limits=Bounds(timeout=60)))
    until(lambda: up.ready("p.gone.1") == 1)
    RELEASED.clear()
    with up.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/predict/p/n", json={"instances": [{"x": 1, "do": "hold"}]}, timeout=0.7, headers={"x-request-id": "left"})
    until(lambda: app(up, "p.gone.1")["ongoing"] == 0)
    counted = app(up, "p.gone.1")
    assert (counted["requests"], counted["errors"]) == (0, 0)
    until(lambda: any(each.get("request") == "left" and each["status"] == 499 for each in up.lines()))


def test_a_replica_is_believed_only_while_it_lives(up: Lab) -> None:
    """A registration that nobody holds the lock of is what a dead replica left."""
    up.replica("p.stale.1", "a")
    up.follow(route("n", target("p.stale.1")))
    until(lambda: up.ready("p.stale.1") == 1)
    folder = up.state_dir / "serving" / "replicas" / "p.stale.1"
    dead = json.loads((folder / "a.json").read_text()) | {"replica": "b", "socket": "/nonexistent"}
    (folder / "b.json").write_text(json.dumps(dead))
    (folder / "b.lock").touch()
    (folder / "c.json").write_text("{")
    with load(up, clients=1) as seen:
        seen.more(20)
    assert up.ready("p.stale.1") == 1


def test_a_replica_that_lives_and_is_not_reached_rests(up: Lab) -> None:
    up.replica("p.rest.1", "a"), up.replica("p.rest.1", "b")
    up.follow(route("n", target("p.rest.1")))
    until(lambda: up.ready("p.rest.1") == 2)
    os.unlink(up.state_dir / f"{'p.rest.1'[-12:]}-a.sock")  # noqa: PTH108
    with load(up, clients=3) as seen:
        seen.more(60)


# --- stop and start ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to send new connections to the new process")
def test_a_restart_refuses_nobody_finishes_what_is_in_hand_and_writes_what_waits() -> None:
    """The new process listens, with routes and replicas known, before the old one ends."""
    with lab() as up:
        up.replica("p.again.1")
        up.routes(route("n", target("p.again.1"), predictions=PredictionLog(log=True), limits=Bounds(timeout=60)))
        old = up.start()
        first = up.state()["started"]
        slow, answers = background(up, "hold")
        until(lambda: app(up, "p.again.1")["ongoing"] == 1)
        with load(up, clients=2, reuse=False) as seen:
            seen.more(30)
            up.start("--take-over")
            until(lambda: up.state()["started"] != first)
            old.terminate()
            seen.more(20)
            RELEASED.set()
            assert old.wait(60) == 0
            seen.more(20)
        slow.join(60)
        assert answers[0].status_code == 200
        assert up.gateway is not None
        up.gateway.terminate()
        assert up.gateway.wait(60) == 0
        assert read(up.state_dir, "p", "n").num_rows == seen.answers + 1
        with up.client() as client, pytest.raises(httpx.ConnectError):
            client.get("/healthz")


def test_it_does_not_start_beside_another_or_without_its_token(up: Lab) -> None:
    empty = up.state_dir / "empty"
    empty.touch()
    for options, says in (((), "cannot be had"), (("--token", str(empty)), "is empty"), (("--token", "/nonexistent"), "cannot be read")):
        argv = [*up.gateway.args, *options]  # type: ignore[union-attr,misc]
        found = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert found.returncode == 2
        assert says in found.stderr


def test_it_listens_on_loopback_only(up: Lab) -> None:
    assert up.gateway is not None
    listening = [each.laddr.ip for each in psutil.Process(up.gateway.pid).net_connections() if each.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
