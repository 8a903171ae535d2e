"""`reconcile compare --log` on a real MLflow: once for each comparison, finished after an interruption, never listed as somebody's work."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import pytest

from tests.e2e.installation import Installation, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")
SCRIPT = "import time; time.sleep(0)"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Installation:
    name = f"compared-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path_factory.mktemp("compare") / "root", mlflow_url, name)
    found.env = {"NAME": name, "MLFLOW": mlflow_url}
    told = [
        project(each) + "---\n" + experiment("e", each, f"  metric: {{name: accuracy}}\n  techniques: [{technique}]\n")
        for each, technique in ((f"{name}-a", "lora"), (f"{name}-b", "pruning"))
    ]
    found.write({"manifests/all.yaml": "---\n".join(told), f"code/{name}-a/x": "", f"code/{name}-b/x": ""})
    found.ok()
    return found


def finished(here: Installation, of: str, value: float) -> str:
    """A finished run of ours, as a supervisor leaves it."""
    api = f"{here.env['MLFLOW']}/api/2.0/mlflow"
    ref = f"experiment/{of}/e"
    [found] = [
        each
        for each in httpx.post(f"{api}/experiments/search", json={"max_results": 1000}).json()["experiments"]
        if {"key": "mlops.ref", "value": ref} in each.get("tags", [])
    ]
    tags = [
        ("mlops.installation", here.env["NAME"]),
        ("mlops.ref", f"{ref}#a"),
        ("mlops.receipt.seconds", "12.5"),
        ("mlops.receipt.energy_joules", "360"),
    ]
    body = {"experiment_id": found["experiment_id"], "start_time": 1, "tags": [{"key": key, "value": value} for key, value in tags]}
    run = str(httpx.post(f"{api}/runs/create", json=body).json()["run"]["info"]["run_id"])
    httpx.post(f"{api}/runs/log-metric", json={"run_id": run, "key": "accuracy", "value": value, "timestamp": 1}).raise_for_status()
    httpx.post(f"{api}/runs/update", json={"run_id": run, "status": "FINISHED", "end_time": 2}).raise_for_status()
    return run


def kept(here: Installation) -> list[dict[str, object]]:
    api, name = f"{here.env['MLFLOW']}/api/2.0/mlflow", f"comparisons of {here.env['NAME']}"
    found = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": name}).json()["experiment"]["experiment_id"]
    return list(httpx.post(f"{api}/runs/search", json={"experiment_ids": [found]}).json()["runs"])


def test_nothing_to_compare_is_told(here: Installation) -> None:
    assert "No run has finished yet" in here.run("compare").out
    ran = here.run("compare", "--log")
    assert ran.code == 1
    assert "no finished run to compare" in ran.err


def test_a_comparison_is_kept_once(here: Installation, tmp_path: Path) -> None:
    runs = [finished(here, f"{here.env['NAME']}-a", 0.9), finished(here, f"{here.env['NAME']}-b", 0.8)]
    shown = here.ok("compare").out
    assert "lora" in shown
    assert "0.1 Wh" in shown
    first = here.ok("compare", "--log").err
    assert "Kept in MLflow: run " in first
    again = here.ok("compare", "--log").err
    assert "has this comparison already" in again
    [one] = kept(here)
    info, data = one["info"], one["data"]
    assert isinstance(info, dict)
    assert isinstance(data, dict)
    assert info["status"] == "FINISHED"
    assert {each["key"]: each["value"] for each in data["metrics"]} == {"accuracy/lora": 0.9, "accuracy/pruning": 0.8}
    tags = {each["key"]: each["value"] for each in data["tags"]}
    assert sorted(tags["mlops.runs"].split(",")) == sorted(runs)
    files = httpx.get(f"{here.env['MLFLOW']}/api/2.0/mlflow/artifacts/list", params={"run_id": info["run_id"]}).json()["files"]
    assert sorted(each["path"] for each in files) == ["comparison.json", "comparison.md"]


def test_one_that_was_interrupted_is_finished(here: Installation) -> None:
    [one] = kept(here)
    info = one["info"]
    assert isinstance(info, dict)
    body = {"run_id": info["run_id"], "status": "RUNNING"}
    httpx.post(f"{here.env['MLFLOW']}/api/2.0/mlflow/runs/update", json=body).raise_for_status()
    here.ok("compare", "--log")
    [one] = kept(here)
    info = one["info"]
    assert isinstance(info, dict)
    assert info["status"] == "FINISHED"


def test_another_result_is_another_comparison(here: Installation) -> None:
    finished(here, f"{here.env['NAME']}-a", 0.95)
    here.ok("compare", "--log")
    assert len(kept(here)) == 2


def test_comparisons_are_nobodys_unmanaged_work(here: Installation) -> None:
    assert "comparisons of" not in here.run("import", "--all", "--to", "found").text
    assert here.ok("--dry-run").out.startswith("No changes")
