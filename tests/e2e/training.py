"""A project whose runs are real programs: each notes its start, trains for as long as it is told, and says how well."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.installation import Installation, dataset, project, start

TRAIN = """
import argparse, json, os, pathlib, sys, time

parser = argparse.ArgumentParser()
for name in ("data", "out"):
    parser.add_argument(f"--{name}", type=pathlib.Path)
parser.add_argument("--seed", type=int)
parser.add_argument("--rank", type=float, default=1)
parser.add_argument("--seconds", type=float, default=0.2)
parser.add_argument("--fail", default="false")
given = parser.parse_args()
with open("starts.log", "a") as log:
    log.write(f"{os.getpid()} rank={given.rank} seed={given.seed} data={given.data.name if given.data else '-'}\\n")
print("training with", given, flush=True)
until = time.monotonic() + given.seconds
while time.monotonic() < until:
    time.sleep(0.05)
if given.fail == "true":
    print("the loss is not a number", file=sys.stderr)
    sys.exit(3)
(given.out / "metrics.json").write_text(json.dumps({"accuracy": given.rank / 10, "loss": 1 / (1 + given.rank)}))
(given.out / "model.bin").write_bytes(b"weights")
"""


def lab(root: Path, url: str, platform: str = "", quota: str = "nominal: {memory: 2Gi, cpu: 2}") -> Installation:
    """An installation with one project, a quota and two datasets; `platform` is more of the Platform's spec, indented by two."""
    name = f"lab-{uuid.uuid4().hex[:8]}"
    here = start(root, url, name)
    here.env = {"NAME": name}
    path = here.root / "manifests" / "platform.yaml"
    path.write_text(path.read_text() + platform)
    share = f"apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {{name: share, project: {name}}}\nspec: {{{quota}}}\n"
    here.write(
        {
            "manifests/project.yaml": "---\n".join(
                [project(name), share, dataset("one", name, "one.csv"), dataset("two", name, "two.csv")]
            ),
            f"code/{name}/train.py": TRAIN,
            f"code/{name}/one.csv": "a\n1\n",
            f"code/{name}/two.csv": "a\n2\n",
        }
    )
    return here


def sweep(here: Installation, name: str, runs: str, data: str = "one") -> None:
    """Declare an experiment; `runs` is the flow mapping's inside: `params: {rank: [1, 2]}`."""
    head = f"apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {{name: {name}, project: {here.env['NAME']}}}\n"
    spec = f"spec:\n  metric: {{name: accuracy}}\n  datasets: [{data}]\n  runs: {{entrypoint: train.py, {runs}}}\n"
    here.write({f"manifests/{name}.yaml": head + spec})


def small(seconds: float = 0.2) -> str:
    """Resources and length of a run that fits beside others."""
    return f"resources: {{memory: 64Mi, cpu: 100m, duration: {max(1, round(seconds))}s}}"


def starts(here: Installation) -> list[str]:
    """A line for each start of a program."""
    log = here.root / "code" / here.env["NAME"] / "starts.log"
    return log.read_text().splitlines() if log.exists() else []


def runs(here: Installation, url: str, *, view: str = "ACTIVE_ONLY") -> list[dict[str, Any]]:
    """What MLflow holds of this installation's runs: tags and metrics as mappings."""
    api = f"{url}/api/2.0/mlflow"
    body = {"max_results": 1000, "filter": f"name LIKE '{here.env['NAME']}/%'"}
    experiments = httpx.post(f"{api}/experiments/search", json=body, trust_env=False, timeout=30).json().get("experiments", [])
    if not experiments:
        return []
    asked = {"experiment_ids": [each["experiment_id"] for each in experiments], "max_results": 1000, "run_view_type": view}
    found = httpx.post(f"{api}/runs/search", json=asked, trust_env=False, timeout=30).json().get("runs", [])
    for each in found:
        each["tags"] = {tag["key"]: tag["value"] for tag in each["data"].get("tags", [])}
        each["metrics"] = {one["key"]: one["value"] for one in each["data"].get("metrics", [])}
    return list(found)


def until(what: Callable[[], bool], seconds: float = 180.0, log: Path | None = None) -> None:
    """Wait for it; fails after `seconds`, with the end of `log`."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited too long\n{log.read_text()[-5000:] if log is not None else ''}"
        time.sleep(0.1)
