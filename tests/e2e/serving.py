"""A project whose models are a few lines of Python, so that training and loading take no time, and an installation that serves them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tests.e2e.installation import Installation, project, start

TRAIN = '''
import argparse, json, pathlib, platform

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=pathlib.Path)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--factor", type=float, default=1)
parser.add_argument("--accuracy", type=float, default=0.5)
parser.add_argument("--trouble", default="none")
given = parser.parse_args()

model = given.out / "model"
model.mkdir(parents=True)
(model / "settings.json").write_text(json.dumps({"factor": given.factor, "trouble": given.trouble}))
(model / "network.py").write_text("""
import json, time

def load(folder):
    settings = json.loads((folder / "settings.json").read_text())
    trouble, kept, asked = settings["trouble"], [], [0]
    if trouble == "load":
        raise RuntimeError("the weights do not fit the network")

    def predict(instances):
        asked[0] += 1
        if trouble == "slow":
            time.sleep(0.3)
        if trouble == "leak":
            kept.append(bytearray(b"x") * (32 << 20))
        if trouble == "shape":
            return ["seven" for _ in instances]
        if trouble == "late" and asked[0] > 60:
            raise RuntimeError("the lookup table has an end")
        return [each["x"] * settings["factor"] for each in instances]

    return predict
""")
(model / "mlops.json").write_text(json.dumps({
    "runtimes": {"mlx": {"load": "network.py:load"}},
    "input": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "additionalProperties": False},
    "output": {"type": "number"},
    "example": [{"x": 1.5}, {"x": 2}],
    "python": platform.python_version(),
}))
(given.out / "metrics.json").write_text(json.dumps({"accuracy": given.accuracy}))
'''


def lab(root: Path, url: str | None, quota: str = "nominal: {memory: 6Gi, cpu: 2}") -> Installation:
    """An installation with one project whose runs train in no time."""
    name = f"serve-{uuid.uuid4().hex[:8]}"
    here = start(root, url, name)
    here.env = {"NAME": name, "BENTOML_DO_NOT_TRACK": "True"}
    share = f"apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {{name: share, project: {name}}}\nspec: {{{quota}}}\n"
    here.write({"manifests/project.yaml": "---\n".join([project(name), share]), f"code/{name}/train.py": TRAIN})
    return here


def train(here: Installation, **params: object) -> None:
    """Declare the experiment with exactly one run of these parameters."""
    told = ", ".join(f"{name}: {json.dumps(value)}" for name, value in params.items())
    resources = "resources: {memory: 64Mi, cpu: 100m, duration: 2s}"
    spec = f"spec:\n  metric: {{name: accuracy}}\n  runs: {{entrypoint: train.py, params: {{{told}}}, {resources}}}\n"
    here.write({"manifests/experiment.yaml": _head(here, "Experiment", "doubling") + spec})


def model(here: Installation, more: str = "") -> None:
    """Declare the model; `more` is the rest of its spec, indented by two."""
    trial = "  trial: {requests: 20, resources: {memory: 256Mi, cpu: 100m, duration: 5s}}\n"
    here.write({"manifests/model.yaml": _head(here, "Model", "doubler") + f"spec:\n  experiment: doubling\n{trial}{more}"})


def deployment(here: Installation, more: str = "", name: str = "double") -> None:
    """Declare the deployment; `more` is the rest of its spec, indented by two."""
    resources = "  resources: {memory: 512Mi, cpu: 50m}\n" if "resources:" not in more else ""
    here.write({f"manifests/{name}.yaml": _head(here, "Deployment", name) + f"spec:\n  model: doubler@champion\n{resources}{more}"})


def gateway(here: Installation) -> tuple[str, dict[str, str]]:
    """Base URL of the gateway, and headers with the platform's own key."""
    port = (here.root / ".mlops/services/gateway/port").read_text().strip()
    token = (here.root / ".mlops/services/gateway/token").read_text().strip()
    return f"http://127.0.0.1:{port}", {"authorization": f"Bearer {token}"}


def route(here: Installation, name: str = "double") -> dict[str, Any]:
    """What the gateway was told of a deployment."""
    told = json.loads((here.root / ".mlops/serving/routes.json").read_text())
    found: dict[str, Any] = told["routes"][f"{here.env['NAME']}/{name}"]
    return found


def _head(here: Installation, kind: str, name: str) -> str:
    return f"apiVersion: reconciler.mlops/v1\nkind: {kind}\nmetadata: {{name: {name}, project: {here.env['NAME']}}}\n"
