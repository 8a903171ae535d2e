"""What the API tells of tools: their pages, traffic, windows, schedules. Whoever may see one project learns nothing of another."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.errors import Transient
from reconciler.model import Condition, Health, Owned, Ref, Status
from reconciler.model.ranking import Ranked, Ranking
from reconciler.model.serving import BOUNDS
from reconciler.platform.shared import Shared
from tests.contract.api_lab import Lab
from tests.contract.crash_child import house_in

MLFLOW, AIRFLOW = "http://ann:secret@127.0.0.1:9/", "http://127.0.0.1:9"
PLATFORM = {
    "installation": "lab",
    "mlflow": {"managed": False, "endpoint": MLFLOW},
    "airflow": {"managed": False, "endpoint": AIRFLOW},
}
OF = {"Experiment": "e", "Model": "m", "Deployment": "d", "Monitor": "w", "Workflow": "f"}
WINDOWS = 3
END = 1_770_000_000.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two projects, each with one of every kind."""
    root = tmp_path_factory.mktemp("tools")
    found = Lab(root, house=house_in(root, None))
    owned, statuses, notes = [_owned(Ref("Platform", None, "x"), "x", PLATFORM)], list[Status](), dict[Ref, dict[str, Any]]()
    for project in ("a", "b"):
        for number, (kind, name) in enumerate(OF.items()):
            ref = Ref(kind, project, name)
            owned.append(_owned(ref, f"{number} {project}", declared={"spec": _spec(kind)}))
            statuses.append(Status(ref, Health.HEALTHY, (Condition("Ready", True, ""),), message="it is so"))
        owned.append(_owned(Ref("Experiment", project, "e", "r1"), "run1"))
        notes[Ref("Monitor", project, "w")] = _watched(found.house.settings.state, project)
        notes[Ref("Workflow", project, "f")] = {"last": _run(), "runs": [{"id": "first", "state": "success"}, _run()]}
    with found.house.store.writer("test"):
        found.house.store.record_many(owned)
        found.house.store.put_statuses(statuses)
        found.house.store.put_memos(notes)
    with found.up():
        yield found
    found.house.store.close()


def _owned(ref: Ref, external: str, applied: Any = None, declared: Any = None) -> Owned:
    return Owned(ref, external, "root", "digest", applied or {}, "confirm", declared=declared or {})


def _spec(kind: str) -> dict[str, Any]:
    return {"schedule": "0 3 * * *", "timezone": "Europe/Zurich", "triggers": [{"dataset": "digits"}]} if kind == "Workflow" else {}


def _watched(state: Path, project: str) -> dict[str, Any]:
    """A notebook with windows, the result of the last of which is there."""
    where = state / "monitors" / project / "w"
    where.mkdir(parents=True)
    windows = [
        {"key": f"k{number}", "start": END - 3600, "end": END + number, "verdict": "fail", "rows": 100, "labels": 5}
        for number in range(WINDOWS)
    ]
    columns = [{"column": "height", "what": "drifted"}]
    result = {
        "checks": [{"check": "drift", "verdict": "fail", "said": "1 of 2 columns drifted", "columns": columns}],
        "why": "1 of 2 columns drifted",
        "measured": {"latency": 0.2},
        "series": {"height": 0.4, "width": 0.1},
        "snapshot": "s1",
    }
    (where / f"k{WINDOWS - 1}.json").write_text(json.dumps(result))
    (where / "k0.json").write_text("half a fi")
    episode = {"id": "b1", "since": END, "failing": {"drift": "height"}, "causes": ["other units"], "acted": {"run": {"said": "started f"}}}
    return {"windows": windows, "episode": episode, "said": "1 of 2"}


def _run() -> dict[str, Any]:
    times = {"queued": "2026-03-01T03:00:00Z", "started": "2026-03-01T03:00:01.5+00:00", "ended": "2026-03-01T03:01:31.5+00:00"}
    return {"id": "scheduled 1", "state": "failed", **times, "failure": {"task": "train", "why": "exit code 1", "tail": "x", "facts": {}}}


@contextmanager
def gateway(state: dict[str, Any]) -> Iterator[str]:
    """One that tells this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["authorization"] == "Bearer key" else 401)
            self.end_headers()
            self.wfile.write(json.dumps(state).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://gateway:key@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refs(lab: Lab, path: str, *projects: str) -> set[str]:
    with lab.client(lab.token("viewer", *projects)) as client:
        answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return {each["ref"].split("/")[1] for each in answer.json()["items"]}


@pytest.mark.parametrize("path", ["/windows", "/schedules", "/models"])
def test_a_viewer_of_one_project_sees_nothing_of_another(lab: Lab, path: str) -> None:
    assert refs(lab, path) == {"a", "b"}
    assert refs(lab, path, "a") == {"a"}
    assert refs(lab, f"{path}?project=b") == {"b"}
    assert refs(lab, f"{path}?project=b", "a") == set()
    with lab.client(lab.token("viewer", "a")) as client:
        assert client.get(path).json()["total"] == 1


def test_links_have_no_credentials(lab: Lab) -> None:
    with lab.client(lab.token("viewer", "a")) as client:
        answer = client.get("/links")
        links = {each["tool"]: each["url"] for each in answer.json()["items"]}
        assert links == {"mlflow": "http://127.0.0.1:9", "airflow": "http://127.0.0.1:9"}, "what was never started has no page"
        assert "secret" not in answer.text


def test_a_resource_leads_to_its_page(lab: Lab) -> None:
    wanted = {
        "experiment/a/e": "http://127.0.0.1:9/#/experiments/0%20a",
        "experiment/a/e?key=r1": "http://127.0.0.1:9/#/experiments/0%20a/runs/run1",
        "model/a/m": "http://127.0.0.1:9/#/models/1%20a",
        "workflow/a/f": "http://127.0.0.1:9/dags/4%20a",
        "monitor/a/w": None,
    }
    with lab.client() as client:
        for path, url in wanted.items():
            links = client.get(f"/resources/{path}").json()["links"]
            assert [each["url"] for each in links] == ([url] if url else []), path
        listed = client.get("/experiments?project=a").json()["items"]
        assert listed[0]["links"] == client.get("/resources/experiment/a/e").json()["links"]
        models = client.get("/models?project=a").json()["items"]
        assert models[0]["links"][0]["title"] == "MLflow"


def test_windows_have_what_was_found_as_far_as_it_is_still_known(lab: Lab) -> None:
    with lab.client() as client:
        (found,) = client.get("/windows?project=a").json()["items"]
        assert [each["columns"] for each in found["windows"]] == [None, None, 2], "one result is gone, one is damaged"
        last = found["windows"][-1]
        assert (last["driftedColumns"], last["scores"], last["measured"]) == (1, {"height": 0.4, "width": 0.1}, {"latency": 0.2})
        assert last["report"] is None, "Evidently was never started"
        assert found["breach"]["causes"] == ["other units"]
        assert found["breach"]["done"] == ["started f"]
        assert found["before"] is None
        assert len(client.get("/windows?project=a&newest=1").json()["items"][0]["windows"]) == 1
        answer = client.get("/windows")
        assert client.get("/windows", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_schedules_tell_the_next_run_and_the_last(lab: Lab) -> None:
    with lab.client() as client:
        (found,) = client.get("/schedules?project=a").json()["items"]
    assert datetime.fromisoformat(found["next"]) > datetime.now(UTC)
    assert (found["schedule"], found["timezone"], found["triggers"]) == ("0 3 * * *", "Europe/Zurich", ["dataset/digits"])
    last = found["last"]
    assert (last["state"], last["seconds"], last["url"]) == ("failed", 90.0, "http://127.0.0.1:9/dags/4%20a/runs/scheduled%201")
    assert [(each["id"], each["state"], each["seconds"]) for each in found["runs"]] == [
        ("scheduled 1", "failed", 90.0),
        ("first", "success", None),
    ]
    assert last["failure"] == {"task": "train", "why": "exit code 1", "tail": "x"}


def test_traffic_is_what_the_gateway_counts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    latency = [0] * (len(BOUNDS) + 1)
    latency[3] = 10
    apps = {"a.d.0": {"requests": 10, "errors": 1, "latency": latency, "labels": 4, "correct": 3, "ready": 2}}
    state = {"routes": {"a/d": {"ongoing": 1, "waiting": 0, "load": 0.5, "idle": 2.0, "apps": apps}}}
    route = {"targets": [{"app": "a.d.0", "version": "2", "weight": 90, "role": "stable", "digest": "0"}, {"version": "3", "weight": 10}]}
    file = lab.house.settings.state / "serving" / "routes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"generation": 1, "routes": {"a/d": route, "b/d": {"off": "project b is not active"}}}))
    with gateway(state) as url, lab.client() as client:
        monkeypatch.setattr(Shared, "endpoint", lambda *_: url)
        lab.door.shared.clear()
        found = client.get("/serving").json()
        assert found["trouble"] == ""
        first, second = found["items"]
        assert first["traffic"] == {"ongoing": 1, "waiting": 0, "load": 0.5, "idleSeconds": 2.0}
        known, new = first["targets"]
        assert (known["requests"], known["errors"], known["right"], known["ready"]) == (10, 1, 0.75, 2)
        assert BOUNDS[2] < known["p50Seconds"] < known["p95Seconds"] < BOUNDS[3]
        assert (new["weight"], new["requests"], new["p95Seconds"]) == (10, None, None)
        assert (second["off"], second["targets"], second["traffic"]) == ("project b is not active", [], None)
        assert refs(lab, "/serving", "b") == {"b"}
        assert refs(lab, "/serving?project=a", "b") == set()


def test_a_gateway_that_is_away_leaves_what_the_routes_say(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> str:
        raise Transient("gateway was never started here")

    file = lab.house.settings.state / "serving" / "routes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"generation": 1, "routes": {"a/d": {"targets": [{"version": "2", "weight": 100}]}}}))
    monkeypatch.setattr(Shared, "endpoint", away)
    with lab.client() as client:
        lab.door.shared.clear()
        found = client.get("/serving").json()
        assert "reconcile platform up gateway" in found["trouble"]
        assert found["items"][0]["targets"][0]["weight"] == 100
        file.write_text("half a fi")
        lab.door.shared.clear()
        assert "cannot be read" in client.get("/serving").json()["trouble"]
        file.unlink()
        lab.door.shared.clear()
        assert client.get("/serving").json() == {"items": [], "trouble": ""}
    lab.door.shared.clear()


def test_leaderboards_lead_to_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = Ref("Experiment", "a", "e")
    board = Ranking(ref, "accuracy", runs=(Ranked(Ref("Experiment", "a", "e", "r1"), "run1", 0.9),))
    monkeypatch.setattr("reconciler.api.v1.trail.ranked", lambda *_, **__: [board])
    lab.board.pin(cast("Any", SimpleNamespace(resources={})), lab.house.now())
    with lab.client() as client:
        (found,) = client.get("/leaderboards").json()["items"]
    assert found["links"][0]["url"] == "http://127.0.0.1:9/#/experiments/0%20a"
    assert found["runs"][0]["url"] == "http://127.0.0.1:9/#/experiments/0%20a/runs/run1"
