"""The API of a real loop, `reconcile watch --listen`, over a real MLflow and DVC: seen, ordered and heard as a program would. The tests
build on each other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.installation import RECONCILE, Installation, dataset, experiment, project, start
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
SOON = 2.0
"""Seconds within which a change is to be heard of."""


class Api:
    """A loop that listens, whoever asks it, and what it tells by itself."""

    def __init__(self, here: Installation) -> None:
        self.here, self.out = here, here.root.parent / "watch.txt"
        self.events: list[tuple[float, str, Any]] = []
        with self.out.open("w") as out:
            words = [RECONCILE, "watch", "--every", "300s", "--listen", "0"]
            self.process = subprocess.Popen(words, cwd=here.root, env=here.environment, stdout=out, stderr=out)
        until(lambda: "Answering at" in self.out.read_text())
        found = re.search(r"http://127\.0\.0\.1:\d+", self.out.read_text())
        assert found is not None
        self.base = found[0]
        self.url = f"{self.base}/api/v1"
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        name = ""
        with httpx.Client(trust_env=False, timeout=None) as client, client.stream("GET", f"{self.url}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((time.monotonic(), name, json.loads(line.removeprefix("data: "))))

    def token(self, *words: str) -> dict[str, str]:
        """The header of a new one."""
        return {"authorization": f"Bearer {self.here.ok('token', 'create', *words).out.strip()}"}

    def heard(self, name: str, told: Callable[[Any], bool], since: float) -> float:
        """Seconds from `since` until an event of this name was heard that `told` knows."""
        until(lambda: any(at >= since and each == name and told(data) for at, each, data in list(self.events)))
        return next(at for at, each, data in self.events if at >= since and each == name and told(data)) - since


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Api]:
    name = f"api-{uuid.uuid4().hex[:6]}"
    here = start(tmp_path_factory.mktemp("api") / "root", mlflow_url, name)
    here.env = {"NAME": name}
    told = [project(name), experiment("e", name), dataset("d", name, "d.csv")]
    here.write({"manifests/all.yaml": "---\n".join(told), f"code/{name}/d.csv": "a\n1\n"})
    here.commit("first")
    found = Api(here)
    try:
        until(lambda: found.client.get("/status").json()["ready"] == 4)
        yield found
    finally:
        end(found)


def end(api: Api) -> None:
    """Of the loop."""
    if api.process.poll() is None:
        api.process.send_signal(signal.SIGTERM)
        api.process.wait(60)


def test_it_says_what_the_command_line_says(api: Api) -> None:
    told = api.here.status()
    assert {each["ref"]: each for each in api.client.get("/resources").json()["items"]} == told
    one = api.client.get(f"/resources/experiment/{api.here.env['NAME']}/e").json()
    assert one["declared"]["spec"] == {"description": "test"}
    assert one["externalId"]
    assert api.client.get("/leaderboards").json()["trouble"] == ""
    plan = api.client.get("/plan").json()
    assert (plan["number"] >= 1, plan["installation"]) == (True, api.here.env["NAME"])
    until(lambda: api.client.get("/status").json()["tools"].get("mlflow") == "ok")


def test_a_saved_manifest_is_heard_of_soon(api: Api) -> None:
    name, began = api.here.env["NAME"], time.monotonic()
    api.here.write({"manifests/new.yaml": experiment("new", name)})
    took = api.heard("status", lambda data: data["ref"] == f"experiment/{name}/new" and data["ready"], began)
    print(f"saved, made in MLflow, heard: {took:.2f} s")
    line = next(data for _, each, data in api.events if each == "audit" and data["ref"] == f"experiment/{name}/new")
    assert line["action"] == "create"


def test_orders_are_heard_of_within_two_seconds_and_carried_out(api: Api) -> None:
    name, key = api.here.env["NAME"], api.token("ci", "--role", "operator")
    began = time.monotonic()
    api.client.post(f"/resources/experiment/{name}/e/suspend", json={"reason": "by hand"}, headers=key).raise_for_status()
    took = api.heard("audit", lambda data: (data["action"], data["actor"]) == ("suspend", "ci"), began)
    assert took < SOON
    text = api.here.root / "manifests/all.yaml"
    text.write_text(text.read_text().replace("description: test", "description: other"))
    until(lambda: api.client.get(f"/resources/experiment/{name}/e").json()["health"] == "Suspended")
    api.client.post(f"/resources/experiment/{name}/e/resume", headers=key).raise_for_status()
    until(lambda: api.client.get(f"/resources/experiment/{name}/e").json()["applied"]["description"] == "other")
    before = api.client.get("/plan").json()["number"]
    began = time.monotonic()
    api.client.post("/reconcile", headers=key).raise_for_status()
    took = api.heard("plan", lambda data: data["number"] > before, began)
    print(f"ordered, a whole pass, heard: {took:.2f} s")


def test_a_yes_is_carried_out(api: Api) -> None:
    name, key = api.here.env["NAME"], api.token("ada", "--role", "approver", "--of", api.here.env["NAME"])
    other = api.token("ci2", "--role", "operator")
    text = api.here.root / "manifests/all.yaml"
    text.write_text(text.read_text().replace(f"path: code/{name}\n", f"path: code/{name}\n  sync: {{approval: required}}\n"))
    until(lambda: api.client.get(f"/resources/project/-/{name}").json()["applied"].get("sync", {}).get("approval") == "required")
    api.here.write({"manifests/asked.yaml": experiment("asked", name)})

    def waiting() -> Any:
        api.client.post("/reconcile", headers=other)
        return api.client.get("/approvals").json()["items"]

    until(waiting)
    [item] = api.client.get("/approvals").json()["items"]
    assert item["refs"] == [f"experiment/{name}/asked"]
    api.client.post(f"/approvals/{name}", json={"digest": item["digest"]}, headers=key).raise_for_status()
    until(lambda: api.client.get(f"/resources/experiment/{name}/asked").json().get("ready"))
    assert "by ada" in api.here.ok("history", f"experiment/{name}/asked").out


def test_the_only_door_is_on_loopback_and_the_end_does_not_wait_for_streams(api: Api) -> None:
    listening = {each.laddr.ip for each in psutil.Process(api.process.pid).net_connections() if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    began = time.monotonic()
    api.process.send_signal(signal.SIGTERM)
    assert api.process.wait(30) == 0
    print(f"ended with a stream open: {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 10
