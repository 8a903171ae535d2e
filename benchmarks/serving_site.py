"""An installation that serves a model of a few lines of Python, so that what is measured is the way to the model and not the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.load import Load
from benchmarks.site import RECONCILE
from reconciler.model.serving import Registration, bentoml_home
from reconciler.serving.register import declared, standing

PROJECT, NAME = "bench", "double"
BODY = json.dumps({"instances": [{"x": 2}]}).encode()
PASS_SECONDS, DOWN_SECONDS = 300.0, 180.0
"""The longest that a pass and the end of all services may take."""
PATIENCE = 20.0
"""Of a client: longer than the ten seconds after which the gateway answers whatever happens."""
LATE = 120
"""Calls, those of its warm-up among them, after which a model that begins to fail does so."""
TRAIN = f'''
import argparse, json, pathlib, platform

parser = argparse.ArgumentParser()
for name in ("data", "out"):
    parser.add_argument(f"--{{name}}", type=pathlib.Path)
parser.add_argument("--seed", type=int)
parser.add_argument("--factor", type=float)
parser.add_argument("--accuracy", type=float)
parser.add_argument("--late", default="no")
given = parser.parse_args()

model = given.out / "model"
model.mkdir(parents=True)
(model / "settings.json").write_text(json.dumps({{"factor": given.factor, "late": given.late}}))
(model / "network.py").write_text("""
import json

def load(folder):
    settings, asked = json.loads((folder / "settings.json").read_text()), [0]

    def predict(instances):
        asked[0] += 1
        if settings["late"] == "yes" and asked[0] > {LATE}:
            raise RuntimeError("the lookup table has an end")
        return [each["x"] * settings["factor"] for each in instances]

    return predict
""")
(model / "mlops.json").write_text(json.dumps({{
    "runtimes": {{"mlx": {{"load": "network.py:load"}}}},
    "input": {{"type": "object", "properties": {{"x": {{"type": "number"}}}}, "required": ["x"]}},
    "output": {{"type": "number"}},
    "example": [{{"x": 1.5}}, {{"x": 2}}],
    "python": platform.python_version(),
}}))
(given.out / "metrics.json").write_text(json.dumps({{"accuracy": given.accuracy}}))
'''
HEAD = "apiVersion: reconciler.mlops/v1\nkind: {}\nmetadata: {{name: {}{}}}\nspec:\n"


class Late(Exception):
    """Something did not come about in the time that it has."""


@dataclass(frozen=True)
class ServingSite:
    """The folder of the installation, and what a person does there."""

    root: Path
    env: dict[str, str]
    """Of its commands."""

    @property
    def state(self) -> Path:
        return self.root / ".mlops"

    @property
    def log(self) -> Path:
        return self.root.with_name(f"{self.root.name}.log")

    @property
    def url(self) -> str:
        """Of the deployment, at the gateway."""
        port = (self.state / "services/gateway/port").read_text(encoding="ascii").strip()
        return f"http://127.0.0.1:{port}/predict/{PROJECT}/{NAME}"

    @property
    def bento(self) -> str:
        """Tag of the package that serves."""
        [store] = (bentoml_home(self.state) / "bentos").glob(f"{PROJECT}.{NAME}")
        [version] = [each.name for each in store.iterdir() if each.is_dir()]
        return f"{store.name}:{version}"

    def train(self, factor: float, accuracy: float, late: str = "no") -> None:
        """Declare the experiment with exactly one run of these parameters."""
        params = f"{{factor: {factor}, accuracy: {accuracy}, late: '{late}'}}"
        runs = f"{{entrypoint: train.py, params: {params}, resources: {{memory: 64Mi, cpu: 100m, duration: 2s}}}}"
        self._write("Experiment", "doubling", f"  metric: {{name: accuracy}}\n  runs: {runs}\n")

    def deploy(self, more: str = "") -> None:
        """Declare the deployment; `more` is the rest of its spec, indented by two."""
        spec = "  model: doubler@champion\n  resources: {memory: 512Mi, cpu: 50m}\n  predictions: {log: true}\n"
        self._write("Deployment", NAME, spec + more)

    def reconcile(self, *arguments: str, seconds: float = PASS_SECONDS) -> int:
        """One command; its exit code. Raises Late."""
        with self.log.open("ab") as out:
            try:
                done = subprocess.run(
                    [RECONCILE, *arguments], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds
                )
            except subprocess.TimeoutExpired:
                raise Late(f"`reconcile {' '.join(arguments)}` did not end within {seconds:.0f} s") from None
        return done.returncode

    def converge(self, allowed: tuple[int, ...] = (0,)) -> None:
        """`reconcile --wait`. Raises Late, also when it ends otherwise than `allowed`."""
        code = self.reconcile("--wait", "--timeout", f"{PASS_SECONDS - 20:.0f}s")
        if code not in allowed:
            raise Late(f"`reconcile --wait` ended with {code}: {self.log.read_text(errors='replace')[-600:]}")

    def key(self) -> str:
        """A key of the project, as a client has one."""
        argv = [RECONCILE, "keys", "create", "--project", PROJECT, "--scope", "predict"]
        done = subprocess.run(argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()[0]

    def client(self, key: str, workers: int, pause: float) -> Load:
        """Asks the deployment at the gateway."""
        return Load(self.url, BODY, {"authorization": f"Bearer {key}"}, workers=workers, pause=pause, timeout=PATIENCE)

    def pid(self, service: str) -> int:
        """The process of a service."""
        return int(json.loads((self.state / "services" / service / "record.json").read_text(encoding="utf-8"))["pid"])

    def replicas(self) -> list[Registration]:
        """Those that live and answer, of what is declared."""
        wanted = declared(self.state)
        return [each for app, found in standing(self.state).items() if app in wanted for each in found if each.state == "ready"]

    def _write(self, kind: str, name: str, spec: str) -> None:
        text = HEAD.format(kind, name, f", project: {PROJECT}") + spec
        (self.root / "manifests" / f"{kind.lower()}.yaml").write_text(text, encoding="utf-8")


def until(seconds: float, what: str, told: Callable[[], Any]) -> None:
    """Wait for it. Raises Late."""
    ends = time.monotonic() + seconds
    while not told():
        if time.monotonic() > ends:
            raise Late(f"not seen within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether it is answered with 200."""
    import httpx

    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def serving(folder: Path) -> Iterator[ServingSite]:
    """The installation with one deployment of one model, up; its services are stopped at the end."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "MLFLOW_", "BENTOML_", "PYTHONDONTWRITE"))}
    site = ServingSite(folder / "site", {**kept, "NO_COLOR": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"})
    (site.root / "manifests").mkdir(parents=True)
    code = site.root / "code" / PROJECT
    code.mkdir(parents=True)
    (code / "train.py").write_text(TRAIN, encoding="utf-8")
    named = {"platform": HEAD.format("Platform", "bench", "") + "  installation: bench-serving\n"}
    named["project"] = HEAD.format("Project", PROJECT, "") + f"  path: code/{PROJECT}\n"
    trial = "  trial: {requests: 20, resources: {memory: 256Mi, cpu: 100m, duration: 5s}}\n"
    named["model"] = HEAD.format("Model", "doubler", f", project: {PROJECT}") + f"  experiment: doubling\n{trial}"
    for name, text in named.items():
        (site.root / "manifests" / f"{name}.yaml").write_text(text, encoding="utf-8")
    site.train(factor=2, accuracy=0.5)
    site.deploy()
    try:
        site.converge()
        yield site
    except Late as late:
        sys.exit(f"{late}\n{site.log.read_text(errors='replace')[-3000:]}")
    finally:
        site.reconcile("platform", "down", seconds=DOWN_SECONDS)


def proportional(pid: int) -> float:
    """MiB of a process and all below it, shared pages divided among those that share them (PSS); 0 where it cannot be read."""
    from reconciler.platform.process import pss_bytes

    return (pss_bytes(pid) or 0) / measure.MIB
