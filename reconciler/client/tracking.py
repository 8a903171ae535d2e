"""The calls to MLflow that the client makes, over REST: nothing has to be installed for them, and they take no second to import.

Source: MLflow REST API 2.0, and the artifact proxy's `mlflow-artifacts/artifacts/<path>`; behaviour checked against a 3.17 server."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from reconciler.client.errors import NotConfigured, Refused, Unavailable
from reconciler.client.patience import Circuit

if TYPE_CHECKING:
    import httpx

METRICS, PARAMS, TAGS = 1000, 100, 100
"""The most that one log-batch may hold (MLflow REST API, Log Batch, request limits)."""
TEXT = 5000
"""Longest value of a tag; MLflow takes longer parameters than this, up to 6000 characters."""
BUSY = (408, 429, 502, 503, 504)
NOT_THERE, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
RACES = ("UniqueViolation", "UNIQUE constraint failed", "SerializationFailure", "DeadlockDetected", "InterfaceError")
"""In a 400: the server's database refused one of two requests that came at once, or lost the connection; later the same one is fine."""


class Metric(NamedTuple):
    """One measured value. `timestamp` is in Unix milliseconds: with it the same value sent twice is one value."""

    key: str
    value: float
    timestamp: int
    step: int


class Tracking:
    """One server. Every call is tried again while it gives no answer; raises Unavailable then, Refused when the answer was no.

    `where` gives address and credentials, and is asked at the first call: a server that was never started is not away for ever."""

    def __init__(self, where: Callable[[], tuple[str, tuple[str, str] | None]], circuit: Circuit) -> None:
        self._where = where
        self.circuit = circuit
        self._http: httpx.Client | None = None
        self._owner = 0
        """Process that made the connections: a forked one makes its own."""
        self._experiments: dict[str, str] = {}

    # --- experiments ---

    def experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Id of the active experiment of this name; made with these tags where there is none."""
        if name in self._experiments:
            return self._experiments[name]
        found = self.experiment_named(name)
        if found is None:
            try:
                made = self.call("POST", "experiments/create", json={"name": name, "tags": _pairs(tags)})
                self._experiments[name] = str(made["experiment_id"])
                return self._experiments[name]
            except Refused as error:
                if error.code != EXISTS:
                    raise
                found = self.experiment_named(name)
        if found is None or found.get("lifecycle_stage") != "active":
            raise Refused(f"experiment {name} was deleted in MLflow, which keeps its name", hint="restore it there, or take another name")
        self._experiments[name] = str(found["experiment_id"])
        return self._experiments[name]

    def experiment_named(self, name: str) -> Mapping[str, Any] | None:
        """What the server knows of an experiment, a deleted one too; None when there is none."""
        try:
            found: Mapping[str, Any] = self.call("GET", "experiments/get-by-name", params={"experiment_name": name})["experiment"]
            return found
        except Refused as error:
            if error.code == NOT_THERE:
                return None
            raise

    # --- runs ---

    def begin(self, experiment: str, name: str, tags: Mapping[str, str], started: int, own: tuple[str, str], *, fresh: bool) -> str:
        """Id of the run that carries the tag `own`; made where there is none. `fresh`: nobody can have asked for it before.

        A request without an answer may have made it: it is looked for before it is made again."""
        unsure = not fresh

        def once() -> str:
            nonlocal unsure
            if unsure and (found := self._tagged(experiment, own)):
                return found
            unsure = True
            body = {"experiment_id": experiment, "run_name": name, "start_time": started, "tags": _pairs({**tags, own[0]: own[1]})}
            return str(self._once("POST", "runs/create", json=body)["run"]["info"]["run_id"])

        return self.circuit.call(once)

    def _tagged(self, experiment: str, tag: tuple[str, str]) -> str:
        body = {"experiment_ids": [experiment], "filter": f"tags.`{tag[0]}` = '{tag[1]}'", "max_results": 1, "run_view_type": "ALL"}
        runs = self._once("POST", "runs/search", json=body).get("runs", [])
        return str(runs[0]["info"]["run_id"]) if runs else ""

    def run(self, run_id: str) -> Mapping[str, Any]:
        """What the server knows of a run."""
        found: Mapping[str, Any] = self.call("GET", "runs/get", params={"run_id": run_id})["run"]
        return found

    def log(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """All of it, in as many requests as it takes. Safe to repeat."""
        pairs, marks = _pairs(params), _pairs({key: value[:TEXT] for key, value in tags.items()})
        for start in range(0, len(metrics), METRICS):
            batch = [{**each._asdict(), "value": number(each.value)} for each in metrics[start : start + METRICS]]
            self.call("POST", "runs/log-batch", json={"run_id": run_id, "metrics": batch})
        for start in range(0, len(pairs), PARAMS):
            self.call("POST", "runs/log-batch", json={"run_id": run_id, "params": pairs[start : start + PARAMS]})
        for start in range(0, len(marks), TAGS):
            self.call("POST", "runs/log-batch", json={"run_id": run_id, "tags": marks[start : start + TAGS]})

    def end(self, run_id: str, status: str, ended: int) -> None:
        """Set the run's status, and when it ended (Unix milliseconds)."""
        self.call("POST", "runs/update", json={"run_id": run_id, "status": status, "end_time": ended})

    def upload(self, run_id: str, name: str, file: Path) -> None:
        """Store one artifact under `name`, replacing what is there."""
        uri = str(self.run(run_id)["info"]["artifact_uri"])
        place = urlsplit(uri)
        if place.scheme != "mlflow-artifacts":
            return _upload_elsewhere(uri, name, file)

        def once() -> None:
            with file.open("rb") as content:
                self._once("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(place.path.strip('/'))}/{quote(name)}", content=content)

        return self.circuit.call(once)

    # --- one call ---

    def call(self, method: str, path: str, **request: Any) -> Mapping[str, Any]:
        """One call to `api/2.0/mlflow/PATH`, tried again while it gives no answer."""
        return self.circuit.call(lambda: self._once(method, path, **request))

    def answers(self) -> None:
        """One look whether it does its work. Raises Unavailable or Refused."""
        self.circuit.call(lambda: self._once("POST", "experiments/search", json={"max_results": 1}), tries=1)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def _once(self, method: str, path: str, **request: Any) -> Mapping[str, Any]:
        import httpx

        client = self._client()
        target = path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
        try:
            response = client.request(method, target, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Unavailable(f"MLflow does not answer at {_shown(client.base_url)}") from None
        except httpx.TransportError as error:
            raise Unavailable(f"MLflow gave no answer to {path}: {type(error).__name__}", maybe_done=True) from None
        return _answer(response, path)

    def _client(self) -> httpx.Client:
        import httpx

        if self._http is None or self._owner != os.getpid():
            try:
                base, auth = self._where()
            except NotConfigured as error:
                raise Unavailable(error.message, hint=error.hint) from None
            timeout = httpx.Timeout(self.circuit.patience.timeout, connect=self.circuit.patience.connect)
            # trust_env off: a proxy setting of the shell must not see calls to a loopback server; certificates take 10 ms to load
            self._owner = os.getpid()
            self._http = httpx.Client(base_url=base, auth=auth, timeout=timeout, trust_env=False, verify=base.startswith("https"))
        return self._http


def _answer(response: httpx.Response, path: str) -> Mapping[str, Any]:
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {}
    if response.is_success:
        return body if isinstance(body, dict) else {}
    told = body if isinstance(body, dict) else {}
    code, message = str(told.get("error_code", response.status_code)), str(told.get("message", ""))[:500]
    busy = response.status_code in BUSY or code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
    if busy or any(each in message for each in RACES):
        raise Unavailable(f"MLflow is busy: {code} at {path}", maybe_done=True)
    if response.status_code >= 500:
        raise Unavailable(f"MLflow failed at {path}: {code} {message}", maybe_done=True)
    if response.status_code in (401, 403):
        # not Refused: with the right password the same record is taken, so that it has to be kept
        raise Unavailable(
            f"MLflow lets us not in at {_shown(response.url)}: {response.status_code}",
            hint="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    raise Refused(f"MLflow refused {path}: {code} {message}", code=code)


def _upload_elsewhere(uri: str, name: str, file: Path) -> None:
    """Artifacts that are not behind the server's proxy: MLflow's own package knows the way, where it is installed."""
    try:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    except ImportError:
        scheme = urlsplit(uri).scheme or "file"
        where = f"artifacts of this run are kept at {scheme}:"
        raise Refused(f"{where}, which only MLflow's package can write", hint="install mlflow") from None
    folder, _, leaf = name.rpartition("/")
    if leaf != file.name:
        raise Refused(f"{file.name} cannot be stored as {leaf} at {urlsplit(uri).scheme or 'file'}:", hint="give the file that name")
    repository: Any = get_artifact_repository(uri)
    repository.log_artifact(str(file), folder or None)


def _shown(url: Any) -> str:
    """An address without what may be a password in it."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _pairs(found: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(found.items())]


def number(value: float) -> float | str:
    """As protobuf's JSON has it: numbers that JSON does not know are strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
