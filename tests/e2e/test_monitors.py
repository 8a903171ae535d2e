"""Monitors over versions of data, with real workers, a real workspace and a real receiver: found once, told once, whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from tests.contract.alert_lab import SECRET, Inbox, listening
from tests.e2e.installation import Installation, dataset, project, start

pytestmark = pytest.mark.xdist_group("mlflow")
ROWS = 400
POLICY = """apiVersion: reconciler.mlops/v1
kind: AlertPolicy
metadata: {{name: ward}}
spec:
  receivers: [{{name: ward, webhook: {{url: "{url}", secret: {{fromEnv: WARD_SECRET}}}}}}]
  routes: [{{receivers: [ward], kinds: [Monitor]}}]
  groupWait: 0s
  groupInterval: 0s
"""
MONITOR = """apiVersion: reconciler.mlops/v1
kind: Monitor
metadata: {name: arrivals, project: p}
spec:
  dataset: now
  reference: {dataset: usual}
  checks: {drift: {}, quality: {}}
  onBreach: [{alert: critical}]
  resources: {memory: 768Mi, cpu: 500m}
"""


def write(here: Installation, name: str, *, seed: int, shift: float = 0.0, drop: str = "") -> None:
    """A table of patients; `shift` in standard deviations moves their weight."""
    draw = np.random.default_rng(seed)
    columns = {
        "weight": draw.normal(70 + 12 * shift, 12, ROWS).round(2),
        "height": draw.normal(170, 9, ROWS).round(1),
        "ward": draw.choice(["north", "south", "west"], ROWS),
    }
    names = [each for each in columns if each != drop]
    lines = [",".join(names), *(",".join(map(str, row)) for row in zip(*(columns[each] for each in names), strict=True))]
    path = here.root / "code" / "p" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str, inbox: Inbox) -> Iterator[Installation]:
    """A monitor that has looked at a first version, which was as usual."""
    found = start(tmp_path_factory.mktemp("monitors") / "root", mlflow_url, f"monitors-{uuid.uuid4().hex[:6]}")
    found.env["WARD_SECRET"] = SECRET
    write(found, "usual", seed=1)
    write(found, "now", seed=2)
    tables = "---\n".join([project("p"), dataset("usual", "p", "usual.csv"), dataset("now", "p", "now.csv")])
    found.write({"manifests/p.yaml": tables, "manifests/m.yaml": MONITOR, "manifests/alerts.yaml": POLICY.format(url=inbox.url + "/hook")})
    try:
        found.ok("--wait")
        yield found
    finally:
        found.run("platform", "down")


def monitor(here: Installation) -> dict[str, Any]:
    found: dict[str, Any] = here.status()["monitor/p/arrivals"]
    return found


def results(here: Installation) -> list[dict[str, Any]]:
    """What workers found, the oldest first."""
    found = [json.loads(path.read_text()) for path in (here.root / ".mlops/monitors/p/arrivals").glob("*.json")]
    return sorted(found, key=lambda each: each["at"])


def looked(here: Installation, **data: Any) -> dict[str, Any]:
    """The monitor after one more version of the data."""
    write(here, "now", **data)
    here.run("--wait", "--timeout", "120s")
    return monitor(here)


def pages(here: Installation, path: str) -> Any:
    port = (here.root / ".mlops/services/evidently/port").read_text().strip()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/api/{path}", timeout=20) as answer:
        return json.load(answer)


def told(inbox: Inbox) -> list[tuple[str, str]]:
    """(status, reason) of everything that the receiver acts on, in order."""
    return [(each["status"], alert["reason"]) for each in inbox.accepted() for alert in each["alerts"]]


def test_what_is_as_usual_is_looked_at_once_and_raises_nothing(here: Installation, inbox: Inbox) -> None:
    assert monitor(here)["ready"], monitor(here)
    [first] = results(here)
    assert (first["verdict"], first["rows"]) == ("pass", ROWS)
    assert first["memory"] < 768 << 20
    ran, calls = here.wire()
    assert "No changes" in ran.out
    assert [each for each in calls if each["write"]] == []
    assert len(results(here)) == 1
    assert told(inbox) == []


def test_its_reports_are_on_evidentlys_pages_which_only_the_owner_may_change(here: Installation) -> None:
    [found] = pages(here, "projects/")
    assert found["name"] == "p/arrivals"
    [report] = pages(here, f"projects/{found['id']}/reports")
    assert report["id"] == results(here)[0]["snapshot"]
    charts = pages(here, f"v2/dashboards/{found['id']}")
    assert [each["title"] for each in charts["panels"]] == ["Rows", "Share of columns that drifted", "Missing values"]
    record = json.loads((here.root / ".mlops/services/evidently/record.json").read_text())
    listening = [each.laddr for each in psutil.Process(record["pid"]).net_connections() if each.status == psutil.CONN_LISTEN]
    port = (here.root / ".mlops/services/evidently/port").read_text().strip()
    assert {(each.ip, each.port) for each in listening} == {("127.0.0.1", int(port))}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/projects/", b'{"name": "mine"}', {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)


def test_a_shift_is_a_breach_told_once_and_its_end_too(here: Installation, inbox: Inbox) -> None:
    bad = looked(here, seed=3, shift=1.0, drop="ward")
    assert (bad["health"], bad["ready"]) == ("Degraded", False)
    assert bad["message"].startswith("2 of 3 columns drifted; first: ward")
    assert [each["column"] for each in results(here)[-1]["checks"][0]["columns"]] == ["ward", "weight"]
    assert "dataset/p/now changed" in bad["message"]
    assert told(inbox) == [("firing", "DataQuality")]
    assert inbox.accepted()[0]["alerts"][0]["severity"] == "critical"
    here.run()
    looked(here, seed=4, shift=1.0)
    assert told(inbox) == [("firing", "DataQuality")], "the same breach goes on"
    good = looked(here, seed=5)
    assert good["ready"], good
    assert told(inbox) == [("firing", "DataQuality"), ("resolved", "DataQuality")]
    assert "arrivals" in here.ok("alerts", "--all").out


def test_a_worker_that_is_killed_is_tried_again_and_nothing_is_told_twice(here: Installation, inbox: Inbox) -> None:
    before, alerts = len(results(here)), len(told(inbox))
    write(here, "now", seed=8, shift=1.0)
    here.run()  # the data
    ran = here.run()  # its worker
    assert "monitor/p/arrivals#window" in ran.text or monitor(here)["health"] != "Healthy", ran.text
    killed = 0
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = process.info["cmdline"] or []
        if any(str(here.root / ".mlops") in word for word in words) and {"reconciler.monitoring", "reconciler.runs.supervise"} & set(words):
            os.kill(process.info["pid"], signal.SIGKILL)
            killed += 1
    assert killed
    here.run("--wait", "--timeout", "120s")
    assert monitor(here)["health"] == "Degraded"
    assert len(results(here)) == before + 1
    assert not list((here.root / ".mlops/monitors").rglob(".*")), "no halves"
    assert len(told(inbox)) == alerts + 1


def test_pages_that_are_down_and_a_receiver_that_is_away_lose_nothing(here: Installation, inbox: Inbox) -> None:
    """From red to green and to red again, with nobody there to be told; each is told once when there is."""
    alerts = told(inbox)
    inbox.status = 503
    record = json.loads((here.root / ".mlops/services/evidently/record.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    good = looked(here, seed=9)
    assert good["ready"], good
    assert told(inbox) == alerts
    deadline = time.monotonic() + 30  # they start again beside the worker, and hear of its file by an event
    while len(pages(here, f"projects/{pages(here, 'projects/')[0]['id']}/reports")) != len(results(here)):
        assert time.monotonic() < deadline, "every report is there"
        time.sleep(0.5)
    inbox.status = 204
    deadline = time.monotonic() + 60
    while told(inbox) == alerts:
        assert time.monotonic() < deadline
        time.sleep(1)
        here.run()
    assert told(inbox) == [*alerts, ("resolved", "DataDrift")]


def test_a_workspace_without_room_costs_the_report_and_not_the_verdict(here: Installation) -> None:
    project_id = pages(here, "projects/")[0]["id"]
    snapshots = here.root / ".mlops/services/evidently/workspace" / project_id / "snapshots"
    kept = snapshots.with_name("kept")
    snapshots.rename(kept)
    snapshots.write_text("in the way")
    try:
        assert looked(here, seed=10)["ready"]
        assert "report" in results(here)[-1]["trouble"] or "snapshot" in results(here)[-1]["trouble"]
    finally:
        snapshots.unlink()
        kept.rename(snapshots)


def test_edited_charts_are_put_back_and_what_is_removed_leaves_its_reports(here: Installation) -> None:
    workspace = here.root / ".mlops/services/evidently/workspace"
    found = workspace / pages(here, "projects/")[0]["id"]
    (found / "dashboard.json").write_text('{"tabs": [], "panels": []}')
    assert "its charts are not as the manifest says" in here.run("--dry-run").out
    here.ok()
    assert len(json.loads((found / "dashboard.json").read_text())["panels"]) == 3
    (here.root / "manifests/m.yaml").unlink()
    here.ok()
    assert "monitor/p/arrivals" not in here.status()
    assert list((found / "snapshots").glob("*.json"))
    assert "managed by" not in (found / "metadata.json").read_text()
    assert "No changes" in here.ok().out
    here.write({"manifests/m.yaml": MONITOR})
    here.ok("--wait")
    assert [each["id"] for each in pages(here, "projects/")] == [found.name], "the same project, not a second one"
    shutil.rmtree(found / "snapshots", ignore_errors=True)
