"""A program that the reconciler has started uses the client: it logs into that run and opens no second one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import httpx
import pytest

from reconciler.client import MLOpsClient
from tests.contract.client_lab import QUICK, Seen, params, tags
from tests.e2e.installation import REPOSITORY, dataset, project, start

pytestmark = pytest.mark.xdist_group("runs")
TRAIN = """
from reconciler.client import MLOpsClient

with MLOpsClient.from_project() as client, client.start_run("elsewhere", params={"depth": 3}) as run:
    words = client.load_data_version("words")
    client.log_metrics_batch([{"loss": 1 / step} for step in range(1, 6)])
    client.log_apple_silicon_metrics()
    client.set_tags({"seen": f"{client.project} {words.version} {run.attached}"})
"""
EXPERIMENT = """apiVersion: reconciler.mlops/v1
kind: Experiment
metadata: {{name: rate, project: {name}}}
spec:
  metric: {{name: loss, goal: minimize}}
  datasets: [words]
  runs: {{entrypoint: train.py, resources: {{memory: 256Mi, duration: 5s}}, env: {{PYTHONPATH: "{path}"}}}}
"""


def test_it_logs_into_the_run_that_it_is(tmp_path: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"c{uuid.uuid4().hex[:10]}"
    here = start(tmp_path / "root", mlflow_url, "client-run")
    elsewhere = str(tmp_path / "state")  # the program has to be told where that is
    here.env = {"MLOPS_STATE_DIR": elsewhere}
    monkeypatch.setenv("MLOPS_STATE_DIR", elsewhere)
    # where a project's requirements would bring the package: this tree, and what it needs
    path = os.pathsep.join([str(REPOSITORY), str(Path(httpx.__file__).parents[1])])
    here.write(
        {
            f"manifests/{name}.yaml": "---\n".join(
                [project(name), dataset("words", name, "words.csv"), EXPERIMENT.format(name=name, path=path)]
            ),
            f"code/{name}/words.csv": "x,y\n1,2\n",
            f"code/{name}/train.py": TRAIN,
        }
    )
    here.ok("--wait")
    seen = Seen(mlflow_url)
    (run,) = seen.runs(f"{name}/rate")
    assert run["info"]["status"] == "FINISHED"
    assert params(run)["depth"] == "3"
    assert len(seen.history(run["info"]["run_id"], "loss")) == 5
    version = MLOpsClient.from_project(name, root=here.root, patience=QUICK).load_data_version("words").version
    assert tags(run)["seen"] == f"{name} {version} True"
    assert tags(run)["mlops.dataset.words"] == version
    assert "system/process_memory_megabytes" in {each["key"] for each in run["data"]["metrics"]}
    named = httpx.get(
        f"{mlflow_url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": f"{name}/elsewhere"}, trust_env=False
    )
    assert named.status_code == 404
