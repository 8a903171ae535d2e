"""The API over a real loop of widgets: what tests of it share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from reconciler.api.app import application
from reconciler.api.serve import listening
from reconciler.api.v1.authenticate import new_token
from reconciler.api.v1.door import Door, open_door
from reconciler.api.v1.limits import Limits
from reconciler.board import Board
from reconciler.house import House
from reconciler.pulse import Pulse
from reconciler.selection import Selection
from reconciler.state.records import Role
from reconciler.testing import FakeTool
from reconciler.watch import run_forever
from tests.contract.crash_child import house_in

HEAD = "apiVersion: reconciler.mlops/v1\n"
PATIENCE = 30.0
FREELY = Limits(reads=1e6, read_burst=10**6, writes=1e6, write_burst=10**6, failures=1e6, failure_burst=10**6)


class Lab:
    """One installation, its API, and whoever asks."""

    def __init__(self, root: Path, *, api: str = "", limits: Limits = FREELY, house: House | None = None) -> None:
        self.root, self.tool, self.board = root, FakeTool(), Board()
        (root / "manifests").mkdir(parents=True, exist_ok=True)
        (root / "code").mkdir(exist_ok=True)
        self.write("platform", f"kind: Platform\nmetadata: {{name: x}}\nspec: {{installation: lab{api}}}\n")
        self.house = house or house_in(root, self.tool)
        self.limits = limits
        self.door: Door
        self.url = ""

    def write(self, name: str, text: str) -> None:
        (self.root / "manifests" / f"{name}.yaml").write_text(HEAD + text)

    def project(self, name: str, more: str = "") -> None:
        (self.root / "code" / name).mkdir(exist_ok=True)
        self.write(f"project-{name}", f"kind: Project\nmetadata: {{name: {name}}}\nspec: {{path: code/{name}{more}}}\n")

    def widget(self, project: str, name: str, spec: str = "size: 1", labels: str = "") -> None:
        self.write(f"{project}-{name}", f"kind: Widget\nmetadata: {{name: {name}, project: {project}{labels}}}\nspec: {{{spec}}}\n")

    @contextmanager
    def up(self) -> Iterator[Lab]:
        """Listening."""
        self.door = open_door(self.house, self.board, self.limits)
        with listening(application(Pulse(30.0), dict, lambda _: None, door=self.door), 0) as port:
            self.url = f"http://127.0.0.1:{port}"
            try:
                yield self
            finally:
                self.door.close()

    @contextmanager
    def looping(self, every: float = 30.0) -> Iterator[Lab]:
        """Listening, beside a loop."""
        stop = threading.Event()
        kwargs: dict[str, Any] = {"every": every, "stop": stop, "on_report": lambda _: None, "on_trouble": lambda *_: None}
        loop = threading.Thread(
            target=run_forever, args=(Selection((self.root / "manifests",)), self.house), kwargs={**kwargs, "board": self.board}
        )
        with self.up():
            loop.start()
            try:
                yield self
            finally:
                stop.set()
                loop.join(PATIENCE)
                assert not loop.is_alive()

    def token(self, role: Role = "admin", *projects: str, name: str = "") -> str:
        """The text of a new one."""
        token, text = new_token(name or role, role, frozenset(projects or ("*",)), actor="test", now=self.house.now())
        self.house.store.doors.add_token(token)
        return text

    def client(self, token: str = "", **headers: str) -> httpx.Client:
        given = {**({"authorization": f"Bearer {token}"} if token else {}), **headers}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=given, trust_env=False, timeout=30)


def until(told: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not told():
        assert time.monotonic() - began < seconds, f"not seen: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def problem(answer: httpx.Response, status: int) -> Mapping[str, Any]:
    """Its body, when it is a problem of this status."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    found: Mapping[str, Any] = answer.json()
    assert found["status"] == status
    return found
