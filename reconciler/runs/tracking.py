"""The calls to the tracking server that a supervisor makes, over REST.

Source: MLflow REST API 2.0 (runs/log-batch, runs/update, runs/get) and the artifact proxy's `mlflow-artifacts/artifacts/<path>`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from reconciler.errors import Rejected, Transient
from reconciler.runs.folder import Status

METRICS, TAGS = 1000, 100
"""The most that one log-batch may hold (MLflow REST API, Log Batch, request limits)."""
TAG_LENGTH = 5000
"""Longest value of a tag that every backend takes."""
TIMEOUT_SECONDS = 30.0
RACES = ("UniqueViolation", "UNIQUE constraint failed", "SerializationFailure", "DeadlockDetected", "InterfaceError")
"""In a 400: the server's database refused one of two requests that came at once, or lost the connection; later the same one is fine."""


class Metric(NamedTuple):
    """One measured value."""

    key: str
    value: float
    timestamp: int
    """Unix milliseconds."""
    step: int


class Tracking:
    """One run on one server. Every call raises Transient when no answer came or the server is in trouble, Rejected when it refused."""

    def __init__(self, url: str, run_id: str, auth: tuple[str, str] | None) -> None:
        import httpx

        self._run = run_id
        # trust_env off: a proxy setting of the shell must not see calls to a loopback server
        self._http = httpx.Client(base_url=url, auth=auth, timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=5.0), trust_env=False)

    def metrics(self, found: Sequence[Metric]) -> None:
        """Log them, in as many batches as it takes."""
        for start in range(0, len(found), METRICS):
            batch = [{**each._asdict(), "value": _number(each.value)} for each in found[start : start + METRICS]]
            self._post("runs/log-batch", {"run_id": self._run, "metrics": batch})

    def tags(self, found: Mapping[str, str]) -> None:
        """Set them."""
        pairs = [{"key": key, "value": value[:TAG_LENGTH]} for key, value in sorted(found.items())]
        for start in range(0, len(pairs), TAGS):
            self._post("runs/log-batch", {"run_id": self._run, "tags": pairs[start : start + TAGS]})

    def status(self, status: Status | str, ended: float | None = None) -> None:
        """Set the run's status, and when it ended (Unix seconds)."""
        end = {} if ended is None else {"end_time": round(ended * 1000)}
        self._post("runs/update", {"run_id": self._run, "status": status, **end})

    def artifacts(self) -> str | None:
        """Path under which the server's proxy keeps this run's artifacts; None when they are kept elsewhere, out of our reach."""
        answer = self._call("GET", "/api/2.0/mlflow/runs/get", params={"run_id": self._run})
        uri = urlsplit(str(answer.get("run", {}).get("info", {}).get("artifact_uri", "")))
        return uri.path.strip("/") if uri.scheme == "mlflow-artifacts" else None

    def artifact_uri(self) -> str:
        """Where its artifacts are kept, as the server says it."""
        answer = self._call("GET", "/api/2.0/mlflow/runs/get", params={"run_id": self._run})
        return str(answer.get("run", {}).get("info", {}).get("artifact_uri", ""))

    def upload(self, root: str, name: str, content: Path | bytes) -> None:
        """Store one artifact under `name`, replacing what is there."""
        target = f"/api/2.0/mlflow-artifacts/artifacts/{quote(root)}/{quote(name)}"
        if isinstance(content, bytes):
            self._call("PUT", target, content=content)
        else:
            with content.open("rb") as file:
                self._call("PUT", target, content=file)

    def close(self) -> None:
        self._http.close()

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        self._call("POST", f"/api/2.0/mlflow/{path}", json=body)

    def _call(self, method: str, path: str, **request: Any) -> Mapping[str, Any]:
        import httpx

        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise Transient(f"the tracking server gave no answer: {type(error).__name__}") from error
        if response.is_success:
            try:
                body = response.json() if response.content else {}
            except ValueError as error:
                raise Transient("the tracking server answered with something that is not JSON") from error
            return body if isinstance(body, dict) else {}
        text = f"{method} {path.rpartition('/api/2.0/')[2]}: {response.status_code} {response.text[:300]}"
        if response.status_code >= 500 or response.status_code in (401, 403, 408, 429) or any(each in text for each in RACES):
            raise Transient(f"the tracking server failed at {text}")
        raise Rejected(f"the tracking server refused {text}")


def now() -> int:
    """Unix milliseconds."""
    return round(time.time() * 1000)


def _number(value: float) -> float | str:
    """As protobuf's JSON has it: numbers that JSON does not know are strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
