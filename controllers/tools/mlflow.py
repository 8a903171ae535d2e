"""MLflow over its REST API. The Python client is not used: it takes seconds to import and retries user errors behind the caller's back.

Source: MLflow REST API 2.0 reference (experiments/*); behaviour checked against a 3.17 server."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reconciler.controller import Call, Context
from reconciler.errors import Conflict, Rejected, Terminal, Transient

if TYPE_CHECKING:
    import httpx

PAGE = 5000
"""Experiments per listing call; the server's own cap is 50,000."""
FEW = 3
"""Up to this many experiments are asked for by name; more are one listing."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
"""For calls that only read: a page of 5,000 experiments was seen to take up to 4 s on a busy machine."""
BUSY = (429, 502, 503, 504)
"""Too many requests, and what a gateway says while the server behind it is away, or slow."""
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_RACES = ("UniqueViolation", "UNIQUE constraint failed", "SerializationFailure", "DeadlockDetected", "InterfaceError")
"""In the server's BAD_REQUEST: its database refused one of two requests that came at once, or lost the connection. The same request is
fine a moment later (seen with a 3.17 server: two `runs/log-inputs` that are the first to name a dataset)."""


@dataclass(frozen=True, slots=True)
class ExperimentInfo:
    """One MLflow experiment as the server tells it. `stage` is `active` or `deleted`; names of deleted ones stay reserved."""

    id: str
    name: str
    stage: str
    artifact_location: str
    tags: Mapping[str, str] = field(default_factory=dict)


class NotThere(Rejected):
    """The server says that there is no such thing."""


class Mlflow:
    """The calls that controllers need. Raises Transient when no answer came, Rejected (or Conflict, NotThere) when the answer was no."""

    def __init__(self, ctx: Context) -> None:
        import httpx

        spec = ctx.platform.mlflow
        auth = (spec.username, ctx.secret(spec.password)) if spec.username and spec.password else None
        timeout = httpx.Timeout(ctx.deadline, connect=CONNECT_SECONDS)
        # trust_env off: a proxy setting of the shell must not see calls to a loopback server.
        base = ctx.services.endpoint("mlflow")
        # Certificates take 10 ms to load; no call is sent anywhere but to `base`.
        self._http = httpx.Client(base_url=base, auth=auth, timeout=timeout, trust_env=False, verify=base.startswith("https"))
        self._wire = ctx.wire
        self._reading = httpx.Timeout(min(ctx.deadline, READ_SECONDS), connect=CONNECT_SECONDS)
        self._ids: dict[str, str] = {}
        self._seen: dict[str, ExperimentInfo] = {}

    def experiments(self) -> Iterator[ExperimentInfo]:
        """Every experiment, deleted ones included, in pages. Complete when it ends without raising."""
        token: str | None = None
        used: set[str] = set()
        while True:
            body = {"max_results": PAGE, "view_type": "ALL", **({"page_token": token} if token else {})}
            answer = self.call("POST", "experiments/search", json=body, write=False)
            if "experiments" not in answer:
                # A server always lists at least its own Default experiment, deleted or not, and names a next page only when there is more.
                raise Transient("MLflow answered a search of experiments without a list; is something else listening there?")
            yield from map(self._noted, answer.get("experiments", []))
            token = answer.get("next_page_token")
            if not token:
                return
            if token in used:
                raise Transient("MLflow named the same page of experiments twice: the listing has no end")
            used.add(token)

    def experiment_named(self, name: str) -> ExperimentInfo | None:
        """The experiment of this name, deleted or not; None when the name is free."""
        try:
            return self._noted(self.call("GET", "experiments/get-by-name", params={"experiment_name": name}, write=False)["experiment"])
        except NotThere:
            return None

    def experiment(self, experiment_id: str) -> ExperimentInfo | None:
        """The experiment of this id; None when there is none."""
        try:
            return _info(self.call("GET", "experiments/get", params={"experiment_id": experiment_id}, write=False)["experiment"])
        except NotThere:
            return None

    def create_experiment(self, name: str, tags: Mapping[str, str], artifact_location: str | None) -> str:
        """Create with all its tags in one request; returns the id. Raises Conflict when the name is taken, by a deleted one too."""
        body = {"name": name, "tags": [{"key": key, "value": value} for key, value in sorted(tags.items())]}
        if artifact_location is not None:
            body["artifact_location"] = artifact_location
        self._ids[name] = str(self.call("POST", "experiments/create", json=body)["experiment_id"])
        return self._ids[name]

    def ids(self, names: Collection[str]) -> Mapping[str, str]:
        """Ids of the experiments of these names that are there, deleted ones included; those that this pass has seen cost no call."""
        late = [name for name in names if name not in self._ids]
        if len(late) > FEW:
            for _ in self.experiments():
                pass
        else:
            for name in late:
                self.experiment_named(name)
        return {name: self._ids[name] for name in names if name in self._ids}

    def _noted(self, found: Mapping[str, Any]) -> ExperimentInfo:
        info = _info(found)
        self._ids[info.name], self._seen[info.id] = info.id, info
        return info

    def seen(self) -> Collection[ExperimentInfo]:
        """Every experiment that this pass has read, as it was then."""
        return list(self._seen.values())

    def restore_experiment(self, experiment_id: str) -> None:
        """Bring a deleted experiment back, with its runs. Active already is fine."""
        try:
            self.call("POST", "experiments/restore", json={"experiment_id": experiment_id})
        except NotThere:  # the server says this of an active one as well
            found = self.experiment(experiment_id)
            if found is None or found.stage != "active":
                raise

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark as deleted; the server keeps it until its own garbage collection. Already deleted is fine."""
        try:
            self.call("POST", "experiments/delete", json={"experiment_id": experiment_id})
        except NotThere:  # the server says this of a deleted one as well
            return

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Give an active experiment another name."""
        self.call("POST", "experiments/update", json={"experiment_id": experiment_id, "new_name": name})
        self._ids = {**{known: each for known, each in self._ids.items() if each != experiment_id}, name: experiment_id}

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self.call("POST", "experiments/set-experiment-tag", json={"experiment_id": experiment_id, "key": key, "value": value})

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Remove a tag; one that is not there is fine."""
        try:
            self.call("POST", "experiments/delete-experiment-tag", json={"experiment_id": experiment_id, "key": key})
        except NotThere:
            return

    def call(self, method: str, path: str, *, write: bool = True, **request: Any) -> Mapping[str, Any]:
        """One call to `api/2.0/mlflow/PATH`; `write` is False when it cannot change anything. For the client's other modules."""
        import httpx

        began, status = time.monotonic(), "no answer"
        try:
            if not write:
                request["timeout"] = self._reading
            response = self._http.request(method, f"/api/2.0/mlflow/{path}", **request)
            status = str(response.status_code)
            return _answer(response, path)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(f"MLflow does not answer at {self._http.base_url}", hint=f"{type(error).__name__}") from error
        except httpx.TransportError as error:
            raise Transient(f"MLflow gave no answer to {path}: {type(error).__name__}", maybe_done=write) from error
        finally:
            self._wire(Call("mlflow", method, path, write, status, time.monotonic() - began))

    @contextmanager
    def artifact(self, method: str, path: str = "", **request: Any) -> Iterator[httpx.Response]:
        """One call to the artifact proxy, `api/2.0/mlflow-artifacts/artifacts/PATH`; the body of the answer is still to be read.

        For the client's other modules. Raises as `call` does, while the body is read too."""
        import httpx

        began, status, target = time.monotonic(), "no answer", "/".join(["mlflow-artifacts/artifacts", *([quote(path)] if path else [])])
        try:
            with self._http.stream(method, f"/api/2.0/{target}", **request) as response:
                status = str(response.status_code)
                if not response.is_success:
                    response.read()
                    _answer(response, target)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(f"MLflow does not answer at {self._http.base_url}", hint=f"{type(error).__name__}") from error
        except httpx.TransportError as error:
            raise Transient(f"MLflow gave no answer to {target}: {type(error).__name__}", maybe_done=method != "GET") from error
        finally:
            self._wire(Call("mlflow", method, target, method != "GET", status, time.monotonic() - began))


def connect(ctx: Context) -> Mlflow:
    """The pass's one MLflow client."""
    return ctx.client(Mlflow, Mlflow)


def _answer(response: httpx.Response, path: str) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        if response.status_code in BUSY:  # a gateway in front of it says so in its own words
            raise Transient(f"MLflow is busy: {response.status_code} at {path}", retry_after=_retry_after(response)) from error
        raise Transient(f"MLflow answered {path} with {response.status_code} and no JSON; is something else listening there?") from error
    if not isinstance(body, dict):
        raise Transient(f"MLflow answered {path} with something that is not an object")
    if response.is_success:
        return body
    code, message = str(body.get("error_code", response.status_code)), str(body.get("message", ""))[:500]
    if code == _NOT_THERE:
        raise NotThere(message)
    if code == _EXISTS:
        raise Conflict(message)
    if response.status_code in (401, 403):
        raise Terminal(
            f"MLflow refused {path}: {response.status_code} {message}", hint="check spec.mlflow.username and password of the Platform"
        )
    if response.status_code in BUSY or code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
        raise Transient(f"MLflow is busy: {code} {message}", retry_after=_retry_after(response))
    if code == "BAD_REQUEST" and any(each in message for each in _RACES):
        raise Transient(f"MLflow's database could not serve {path}: {message}")
    if code == "INVALID_STATE" or (response.status_code < 500):
        raise Rejected(f"MLflow refused {path}: {code} {message}")
    raise Transient(f"MLflow failed at {path}: {code} {message}")


def _retry_after(response: httpx.Response) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else None


def _info(found: Mapping[str, Any]) -> ExperimentInfo:
    tags = {each["key"]: str(each.get("value", "")) for each in found.get("tags", [])}
    return ExperimentInfo(
        str(found["experiment_id"]), found["name"], found.get("lifecycle_stage", "active"), found.get("artifact_location", ""), tags
    )
