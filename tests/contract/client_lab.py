"""An installation for the client library, and a line to a tool that can be cut and mended."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from reconciler.client import MLOpsClient, Patience
from tests.e2e.installation import Installation, project, start

QUICK = Patience(tries=2, first=0.01, longest=0.05, timeout=10.0, connect=1.0, trip=1, rest=0.05, longest_rest=0.2)
"""A test does not wait for pauses."""


def installed(folder: Path, url: str | None, name: str | None = None) -> tuple[Installation, str]:
    """An installation with one project of a name of its own, and that name."""
    named = name or f"c{uuid.uuid4().hex[:10]}"
    here = start(folder, url, "client-test")
    here.write({f"manifests/{named}.yaml": project(named), f"code/{named}/.keep": ""})
    return here, named


def client(here: Installation, name: str) -> MLOpsClient:
    return MLOpsClient.from_project(name, root=here.root, patience=QUICK)


@dataclass
class Seen:
    """What MLflow's server tells, asked without the client."""

    url: str
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=f"{self.url}/api/2.0/", trust_env=False, timeout=30)

    def experiment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get("mlflow/experiments/get-by-name", params={"experiment_name": name}).json()["experiment"]
        return found

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of an experiment, the oldest first."""
        wanted = {"experiment_ids": [self.experiment(name)["experiment_id"]], "order_by": ["attributes.start_time ASC"]}
        return list(self._http.post("mlflow/runs/search", json=wanted).json().get("runs", []))

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get("mlflow/runs/get", params={"run_id": run_id}).json()["run"]
        return found

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        found = self._http.get("mlflow/metrics/get-history", params={"run_id": run_id, "metric_key": key}).json()
        return sorted((int(each.get("step", 0)), float(each["value"])) for each in found.get("metrics", []))

    def artifacts(self, run_id: str, path: str = "") -> list[str]:
        """Paths of all files."""
        told = self._http.get("mlflow/artifacts/list", params={"run_id": run_id, "path": path}).json().get("files", [])
        return [name for each in told for name in (self.artifacts(run_id, each["path"]) if each["is_dir"] else [each["path"]])]

    def create(self, name: str) -> str:
        """A run in a new experiment, as a launcher would make it."""
        made = self._http.post("mlflow/experiments/create", json={"name": name}).json()["experiment_id"]
        return str(self._http.post("mlflow/runs/create", json={"experiment_id": made}).json()["run"]["info"]["run_id"])


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in run["data"].get("tags", [])}


def params(run: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in run["data"].get("params", [])}


class Line:
    """TCP from a port of its own to a tool. Cut: nobody listens, and what was connected is closed."""

    def __init__(self, url: str) -> None:
        self._target = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._port = 0
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def mend(self) -> None:
        """Safe to repeat."""
        if self._server is not None:
            return
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", self._port))
        server.listen()
        self._server, self._port = server, server.getsockname()[1]
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            server.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            callee = socket.create_connection(self._target)
            self._open += [caller, callee]
            host = (f"Host: 127.0.0.1:{self._port}".encode(), f"Host: {self._target[0]}:{self._target[1]}".encode())
            for source, sink in ((caller, callee), (callee, caller)):
                threading.Thread(target=_pump, args=(source, sink, host), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, host: tuple[bytes, bytes]) -> None:
    """MLflow answers only to whom it is called by its own name."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data.replace(*host))
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def line(url: str) -> Iterator[Line]:
    """A line to `url`, cut at the end."""
    found = Line(url)
    try:
        yield found
    finally:
        found.cut()
