"""A real gateway process in front of real small replicas: what the tests of the gateway stand on.

A replica answers `POST /predict` on a Unix socket, registers itself and holds its lock, as those on Ray Serve do. Its model doubles `x`;
an instance may say what else is to happen (`do`). Run as a program it is one replica in a process of its own, that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from reconciler.files import write_private
from reconciler.gateway import keys
from reconciler.model.serving import Registration, Route, Routes, Target, routes_file
from reconciler.serving.register import Entry, enter

TOKEN = "admin-token-of-the-lab"
INPUT: Mapping[str, Any] = {
    "type": "object",
    "required": ["x"],
    "additionalProperties": False,
    "properties": {"x": {"type": "number", "minimum": -1e9, "maximum": 1e9}, "do": {"type": "string", "maxLength": 20}},
}
EXAMPLE = ({"x": 1}, {"x": 2.5})
RELEASED = threading.Event()
"""Set: what replicas in threads hold (`do: hold`) is answered."""
SECONDS = 60.0
"""Longest wait for anything that happens within a fraction of a second on a quiet machine."""


async def model(scope: Any, receive: Any, send: Any) -> None:
    """The replica's application."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    instances = json.loads(body)["instances"]
    status, content = 200, json.dumps([2 * each["x"] if isinstance(each, dict) else each for each in instances]).encode()
    for each in instances:
        match each.get("do") if isinstance(each, dict) else None:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hold":
                while not RELEASED.is_set():
                    await asyncio.sleep(0.01)
            case "sleep":
                await asyncio.sleep(each["x"])
            case "fail":
                status, content = 500, b"Traceback: secret internals"
            case "refuse":
                status, content = 400, b'{"error": "no"}'
            case "object":
                content = b'{"predictions": []}'
            case "short":
                content = b"[]"
            case "nan":
                content = b"[NaN]"
            case "trace":
                content = json.dumps([{name.decode(): value.decode() for name, value in scope["headers"]}]).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@dataclass
class Thread:
    """A replica in a thread of this process."""

    entry: Entry
    server: uvicorn.Server
    thread: threading.Thread

    @classmethod
    def start(cls, state_dir: Path, first: Registration) -> Thread:
        server = uvicorn.Server(uvicorn.Config(model, uds=first.socket, lifespan="off", log_config=None, access_log=False))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        entry = enter(state_dir, replace(first, state="loading"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until(lambda: server.started)
        entry.change(state=first.state)
        return cls(entry, server, thread)

    def stop(self) -> None:
        """As a replica ends that was asked to: nothing new, what is in hand is finished, then it is gone."""
        self.entry.change(state="draining")
        time.sleep(0.3)
        self.kill()

    def kill(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.entry.leave()


@dataclass
class Process:
    """A replica in a process of its own."""

    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)

    stop = kill


@dataclass
class Lab:
    """A state folder, its gateway and its replicas."""

    state_dir: Path
    port: int
    replicas: list[Thread | Process] = field(default_factory=list)
    gateway: subprocess.Popen[bytes] | None = None
    generation: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = TOKEN) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def key(self, project: str, *scopes: Any) -> str:
        return keys.create(self.state_dir, project, scopes or keys.USUAL)[1]

    def registration(self, app: str, name: str, **fields: Any) -> Registration:
        where = str(self.state_dir / f"{app[-12:]}-{name}.sock")
        given = {"state": "ready", "input": INPUT, "example": EXAMPLE, **fields}
        return Registration(app, name, "deployment/p/n", os.getpid(), socket=where, **given)

    def replica(self, app: str, name: str = "0", **fields: Any) -> Thread:
        started = Thread.start(self.state_dir, self.registration(app, name, **fields))
        self.replicas.append(started)
        return started

    def process(self, app: str, name: str = "0") -> Process:
        argv = [sys.executable, __file__, str(self.state_dir), json.dumps(asdict(self.registration(app, name)))]
        started = Process(subprocess.Popen(argv, cwd=Path(__file__).parents[2]))
        self.replicas.append(started)
        where = self.state_dir / "serving" / "replicas" / app / f"{name}.json"
        until(lambda: where.exists() and json.loads(where.read_bytes())["state"] == "ready")
        return started

    def routes(self, *routes: Route) -> None:
        """The next generation."""
        self.generation += 1
        write_private(routes_file(self.state_dir), json.dumps(asdict(Routes(self.generation, {each.path: each for each in routes}))))

    def follow(self, *routes: Route) -> None:
        """The next generation, once the gateway works by it."""
        self.routes(*routes)
        until(lambda: self.state()["generation"] == self.generation)

    def state(self) -> dict[str, Any]:
        with self.client() as client:
            found: dict[str, Any] = client.get("/-/state").json()
        return found

    def ready(self, app: str) -> int:
        return max((route["apps"][app]["ready"] for route in self.state()["routes"].values() if app in route["apps"]), default=0)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """The gateway's process, answering."""
        argv = [sys.executable, "-m", "reconciler.gateway", "--state", str(self.state_dir), "--port", str(self.port), *options]
        with (self.state_dir / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(argv, stdout=log, stderr=log)
        # of two that share the port either may answer, so it is the log that tells
        until(lambda: self.up(self.gateway))
        return self.gateway

    def up(self, process: subprocess.Popen[bytes] | None) -> bool:
        assert process is not None
        assert process.poll() is None, self.log()
        with contextlib.suppress(httpx.HTTPError), self.client() as client:
            return client.get("/healthz").status_code == 200
        return False

    def log(self) -> str:
        return (self.state_dir / "gateway.log").read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def stop(self) -> None:
        RELEASED.set()
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.terminate()
            self.gateway.wait(20)
        for each in self.replicas:
            each.kill()


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))  # short: a socket's path may have 104 characters on macOS
    home = folder / "services" / "gateway"
    home.mkdir(parents=True)
    (folder / "serving").mkdir()
    write_private(home / "token", TOKEN)
    found = Lab(folder, free_port())
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


def target(app: str, weight: int = 100, role: Any = "stable", version: str = "1") -> Target:
    return Target(app, weight, role, version, "p/model", f"run-{version}", f"{app}-digest", "sklearn", {"digits": "d1"})


def route(name: str = "n", *targets: Target, project: str = "p", **fields: Any) -> Route:
    return Route(project, name, targets, **fields)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def until(done: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def _replica(state_dir: Path, first: Registration) -> None:
    entry = enter(state_dir, replace(first, state="loading", pid=os.getpid()))

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            entry.change(state="ready")

    Server(uvicorn.Config(model, uds=first.socket, lifespan="off", log_config=None, access_log=False)).run()


if __name__ == "__main__":
    _replica(Path(sys.argv[1]), Registration(**json.loads(sys.argv[2])))
