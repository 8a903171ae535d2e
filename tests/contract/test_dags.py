"""Specs as Airflow itself builds them: in a process of its own, for importing Airflow changes the one that does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from controllers.workflows.compiling import compiled
from reconciler.registry import discover
from reconciler.resolve import resolve
from reconciler.source.load import load
from reconciler.validate import validate

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from airflow.serialization.serialized_objects import DagSerialization
from reconciler.workflows.dags import dags
told = {}
for name, dag in [pair for project in sys.argv[2:] for pair in dags(Path(sys.argv[1]), project).items()]:
    DagSerialization.to_dict(dag)
    told[name] = {"tasks": {one.task_id: sorted(one.upstream_task_ids) for one in dag.tasks}, "tags": sorted(dag.tags), "doc": dag.doc_md,
                  "pools": sorted({one.pool for one in dag.tasks}), "retries": {one.task_id: one.retries for one in dag.tasks},
                  "timetable": dag.timetable.summary if hasattr(dag.timetable, "summary") else "", "catchup": dag.catchup}
only = dags(Path(sys.argv[1]), sorted(told)[0].partition(".")[0], sorted(told)[0])
print(json.dumps({"all": told, "only": sorted(only)}))
"""


def test_every_example_is_built_and_serialized_as_it_was_compiled(tmp_path: Path) -> None:
    kinds = discover()
    loaded = load([Path("manifests/platform.yaml"), Path("manifests/projects")], root=ROOT)
    graph = resolve(validate(loaded, kinds, root=ROOT), kinds, known={}, partial=False)
    flows = {each.ref: compiled(each, "here", tmp_path) for each in graph.resources.values() if each.ref.kind == "Workflow"}
    assert len(flows) == 3
    for flow in flows.values():
        (tmp_path / f"{flow.dag}.json").write_text(flow.text("2026-01-01T00:00:00+00:00" if flow.content["schedule"] else ""))
    projects = sorted({str(ref.project) for ref in flows})
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *projects], capture_output=True, text=True, timeout=120, check=False, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["only"] == [sorted(told["all"])[0]], "a task builds the DAG that it is of, and no other"
    for flow in flows.values():
        made = told["all"][flow.dag]
        assert made["tasks"] == {each["name"]: sorted(each["needs"]) for each in flow.content["tasks"]}
        assert made["retries"] == {each["name"]: each["retries"] for each in flow.content["tasks"]}
        assert made["tags"] == sorted(flow.content["tags"])
        assert made["pools"] == [f"here.{flow.dag.partition('.')[0]}"]
