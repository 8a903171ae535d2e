"""Airflow over its REST API v2. Nothing of Airflow is imported: that takes seconds, and sets up logging for the whole process.

Source: Airflow 3 REST API reference (stable, v2); behaviour checked against a 3.3.2 server."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from reconciler.controller import Call, Context
from reconciler.errors import Rejected, Terminal, Transient

if TYPE_CHECKING:
    import httpx

PAGE = 1000
"""Per listing; a server with a lower `maximum_page_limit` gives less, and is asked again."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
LINES = 5
"""Of a log, as a failure tells it."""
ACTIVE = ("queued", "running")
"""States of a DAG run that goes on."""
PAUSES, EVENTS = ("patch_dag", "cli_dag_pause", "cli_dag_unpause"), 200
"""Events that pause or resume a DAG: by pages and API, and on Airflow's own command line; how many are read at most."""
OPEN = ("scheduled", "queued", "running", "deferred", "up_for_retry", "restarting")
"""States of a task that may still ask for something, or wait for its answer."""


class NotThere(Rejected):
    """Airflow says that there is no such thing."""


@dataclass(frozen=True, slots=True)
class DagInfo:
    """One DAG as Airflow lists it."""

    id: str
    tags: tuple[str, ...]
    paused: bool
    stale: bool
    errors: bool
    """Its file could not be read the last time."""
    version: str
    """Of the bundle that it was read from."""
    file: str
    token: str
    """Names the file to `parse`."""
    next: str
    """When the schedule starts it next, as ISO time; empty = never by itself."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run of a DAG. Times are ISO; empty = not yet."""

    dag: str
    id: str
    state: str
    type: str
    queued: str
    started: str
    ended: str
    note: str
    conf: Mapping[str, Any]
    version: str

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task of a run."""

    dag: str
    run: str
    task: str
    index: int
    attempt: int
    state: str
    pool: str
    started: str
    ended: str


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """One pool."""

    name: str
    slots: int
    deferred: bool
    """True: a task that waits, deferred, holds a slot."""
    occupied: int
    description: str


@dataclass(frozen=True, slots=True)
class EventInfo:
    """One line of Airflow's own audit log. `when` is ISO; `extra` is JSON, of what was asked for."""

    dag: str
    event: str
    who: str
    when: str
    extra: str


class Airflow:
    """The calls that controllers need. Raises Transient when no answer came, Rejected (or NotThere) when the answer was no."""

    def __init__(self, ctx: Context) -> None:
        import httpx

        base, user, password = _account(ctx)
        # trust_env off: a proxy setting of the shell must not see calls to a loopback server.
        timeout = httpx.Timeout(ctx.deadline, connect=CONNECT_SECONDS)
        self._http = httpx.Client(base_url=base, timeout=timeout, trust_env=False, verify=base.startswith("https"))
        self._reading = httpx.Timeout(min(ctx.deadline, READ_SECONDS), connect=CONNECT_SECONDS)
        self._wire = ctx.wire
        if user:
            answer = self._send("POST", "/auth/token", json={"username": user, "password": password}, write=False)
            self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def dags(self, tag: str = "") -> Iterator[DagInfo]:
        """Every DAG, or every one with this tag, the stale ones included, in pages."""
        params = {"exclude_stale": "false", "order_by": "dag_id"} | ({"tags": tag} if tag else {})
        for each in self._pages("GET", "dags", "dags", params=params):
            yield DagInfo(
                id=each["dag_id"],
                tags=tuple(tag["name"] for tag in each["tags"]),
                paused=each["is_paused"],
                stale=each["is_stale"],
                errors=each["has_import_errors"],
                version=each.get("bundle_version") or "",
                file=each.get("relative_fileloc") or "",
                token=each.get("file_token") or "",
                next=each.get("next_dagrun_run_after") or "",
            )

    def dag(self, dag: str) -> Mapping[str, Any] | None:
        """One DAG; None when there is none of this name."""
        try:
            found: Mapping[str, Any] = self.call("GET", f"dags/{quote(dag)}", write=False)
        except NotThere:
            return None
        return found

    def delete_dag(self, dag: str) -> None:
        """Remove it with its history. Already gone is fine. Raises Transient while a worker has a task of it in hand."""
        try:
            self.call("DELETE", f"dags/{quote(dag)}")
        except NotThere:
            return
        except Rejected as error:
            if str(error).startswith("409"):
                raise Transient(f"Airflow has a task of {dag} in hand", retry_after=2.0) from error
            raise

    def pause(self, dag: str, paused: bool) -> None:
        self.call("PATCH", f"dags/{quote(dag)}", params={"update_mask": "is_paused"}, json={"is_paused": paused})

    def pauses(self, since: datetime | None) -> Iterator[EventInfo]:
        """Who paused or resumed which DAG, the newest first: the last EVENTS of them, since then."""
        params: dict[str, Any] = {"included_events": list(PAUSES), "order_by": "-when", "limit": EVENTS}
        params |= {"after": since.isoformat()} if since is not None else {}
        for each in self.call("GET", "eventLogs", params=params, write=False).get("event_logs", []):
            yield EventInfo(each["dag_id"] or "", each["event"], each["owner"] or "", each["when"], each.get("extra") or "")

    def parse(self, token: str) -> None:
        """Have a file read again now. One that waits for that already is fine."""
        try:
            self.call("PUT", f"parseDagFile/{token}")
        except Rejected as error:
            if "409" not in str(error):
                raise

    def import_errors(self) -> Mapping[str, str]:
        """File name -> the end of the traceback."""
        return {str(each["filename"]): str(each["stack_trace"]) for each in self._pages("GET", "importErrors", "import_errors")}

    def start(self, dag: str, run: str, conf: Mapping[str, Any], note: str) -> bool:
        """Start a run of this id; false when there is one already. Raises NotThere when the DAG is not there."""
        body = {"logical_date": None, "dag_run_id": run, "conf": dict(conf), "note": note}
        try:
            self.call("POST", f"dags/{quote(dag)}/dagRuns", json=body)
        except Rejected as error:
            if not str(error).startswith("409"):
                raise
            return False
        return True

    def runs(self, dags: Collection[str], *, states: Sequence[str] = (), since: str = "") -> Iterator[RunInfo]:
        """Runs of these DAGs in these states, or that ended since then, the newest first. None are asked for when `dags` is empty."""
        if not dags:
            return
        body: dict[str, Any] = {"dag_ids": sorted(dags), "order_by": "-run_after"}
        body |= {"states": list(states)} if states else {}
        body |= {"end_date_gte": since} if since else {}
        for each in self._pages("POST", "dags/~/dagRuns/list", "dag_runs", body=body):
            yield _run(each)

    def run(self, dag: str, run: str) -> RunInfo | None:
        try:
            return _run(self.call("GET", f"dags/{quote(dag)}/dagRuns/{quote(run)}", write=False))
        except NotThere:
            return None

    def tasks(self, dags: Collection[str], runs: Collection[str] = (), states: Sequence[str] = OPEN) -> Iterator[TaskInfo]:
        """Tasks of these DAGs (and runs) in these states."""
        if not dags:
            return
        body: dict[str, Any] = {"dag_ids": sorted(dags), "order_by": "id"}
        body |= {"dag_run_ids": sorted(runs)} if runs else {}
        body |= {"state": list(states)} if states else {}
        for each in self._pages("POST", "dags/~/dagRuns/~/taskInstances/list", "task_instances", body=body):
            yield TaskInfo(
                dag=each["dag_id"],
                run=each["dag_run_id"],
                task=each["task_id"],
                index=each["map_index"],
                attempt=each["try_number"],
                state=each["state"] or "",
                pool=each["pool"],
                started=each["start_date"] or "",
                ended=each["end_date"] or "",
            )

    def xcom(self, task: TaskInfo, key: str) -> Any:
        """What a task told under this name; None when it told nothing."""
        path = f"dags/{quote(task.dag)}/dagRuns/{quote(task.run)}/taskInstances/{quote(task.task)}/xcomEntries/{quote(key)}"
        try:
            return self.call("GET", path, params={"deserialize": "true"}, write=False).get("value")
        except NotThere:
            return None

    def last_words(self, task: TaskInfo) -> dict[str, str]:
        """What the log of a try says of its end: `why` (exception) and `tail` (last lines)."""
        path = f"dags/{quote(task.dag)}/dagRuns/{quote(task.run)}/taskInstances/{quote(task.task)}/logs/{task.attempt}"
        try:
            found = self.call("GET", path, params={"map_index": task.index}, headers={"Accept": "application/json"}, write=False)
        except Rejected:
            return {"why": "its log is gone"}
        lines = [each for each in (found or {}).get("content", []) if isinstance(each, dict)]
        errors = [one for each in lines for one in each.get("error_detail") or []]
        why = f"{errors[-1].get('exc_type')}: {errors[-1].get('exc_value')}" if errors else "no exception is in its log"
        return {"why": why[:500], "tail": "\n".join(str(each.get("event", "")) for each in lines[-LINES:])}

    def pools(self) -> Mapping[str, PoolInfo]:
        """Every pool by name."""
        return {
            each["name"]: PoolInfo(each["name"], each["slots"], each["include_deferred"], each["occupied_slots"], each["description"] or "")
            for each in self._pages("GET", "pools", "pools")
        }

    def put_pool(self, name: str, slots: int, description: str, *, there: bool) -> None:
        """Make it, or set its size. Tasks that wait hold a slot, so that no more of them are in flight than it has."""
        if there:
            body = {"pool": name, "slots": slots, "include_deferred": True, "description": description}
            self.call("PATCH", f"pools/{quote(name)}", json=body)
            return
        try:
            self.call("POST", "pools", json={"name": name, "slots": slots, "include_deferred": True, "description": description})
        except Rejected as error:
            if not str(error).startswith("409"):
                raise
            self.put_pool(name, slots, description, there=True)

    def delete_pool(self, name: str) -> None:
        try:
            self.call("DELETE", f"pools/{quote(name)}")
        except NotThere:
            return

    def call(self, method: str, path: str, *, write: bool = True, **given: Any) -> Any:
        """One call below /api/v2: the answer's JSON, None where it has none."""
        return self._send(method, f"/api/v2/{path}", write=write, **given)

    def _pages(
        self, method: str, path: str, name: str, *, params: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """All entries of a listing. Complete when it ends without raising."""
        offset = 0
        while True:
            page = {"limit": PAGE, "offset": offset} if body is None else {"page_limit": PAGE, "page_offset": offset}
            given = {"params": {**(params or {}), **page}} if body is None else {"json": {**body, **page}}
            answer = self.call(method, path, write=False, **given)
            if not isinstance(answer, dict) or name not in answer:
                raise Transient(f"Airflow answered {path} without a list; is something else listening there?")
            yield from answer[name]
            offset += len(answer[name])
            if not answer[name] or offset >= int(answer.get("total_entries") or 0):
                return

    def _send(self, method: str, path: str, *, write: bool, **given: Any) -> Any:
        import httpx

        began, status = time.monotonic(), "no answer"
        timeout = self._http.timeout if write else self._reading
        try:
            answer = self._http.request(method, path, timeout=timeout, **given)
            status = str(answer.status_code)
            return _told(answer, method, path)
        except httpx.HTTPError as error:
            raise Transient(f"Airflow did not answer {method} {path}: {type(error).__name__}") from error
        finally:
            self._wire(Call("airflow", method, path, write, status, time.monotonic() - began))


def connect(ctx: Context) -> Airflow:
    """The pass's one client."""
    return ctx.client(Airflow, Airflow)


def moment(text: str) -> float:
    """Unix seconds of an ISO time; 0 for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _account(ctx: Context) -> tuple[str, str, str]:
    """(base URL, user, password)."""
    spec, url = ctx.platform.airflow, urlsplit(ctx.services.endpoint("airflow"))
    user, password = spec.username or "", ctx.secret(spec.password) if spec.password else ""
    base = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path.rstrip("/"), "", ""))
    return base, user or url.username or "", password or url.password or ""


def _told(answer: httpx.Response, method: str, path: str) -> Any:
    """The answer's content. Raises what its status means; Airflow says why in `detail`."""
    if answer.is_success:
        return answer.json() if answer.content else None
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = answer.text
    text = f"{answer.status_code} to {method} {path}: {str(detail)[:300]}"
    if answer.status_code == 404:
        raise NotThere(text)
    if answer.status_code in (401, 403):
        raise Terminal(f"Airflow refused the account: {text}", hint="spec.airflow.username and password of the Platform")
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Transient(f"Airflow answered {text}")
    raise Rejected(text)


def _run(each: Mapping[str, Any]) -> RunInfo:
    return RunInfo(
        dag=each["dag_id"],
        id=each["dag_run_id"],
        state=each["state"],
        type=each["run_type"],
        queued=each["queued_at"] or "",
        started=each["start_date"] or "",
        ended=each["end_date"] or "",
        note=each.get("note") or "",
        conf=each.get("conf") or {},
        version=each.get("bundle_version") or "",
    )
