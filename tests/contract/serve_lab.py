"""A place in which tests declare real Serve applications on a real Ray head, of a package that does as its environment says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controllers.tools.serve import AppSpec, Serve, connect
from reconciler.controller import Context
from reconciler.model.serving import Registration, bentoml_home
from reconciler.serving import register
from reconciler.serving.warmup import Client
from reconciler.testing.context import Recorder, make_context
from reconciler.testing.services import ServicesAt

SERVICE = """
import os, time
from typing import Any
import bentoml

HELD, HOW = [], os.environ.get("HOW", "")

@bentoml.service(name="Model", threads=8)
class Model:
    def __init__(self) -> None:
        if HOW == "raises":
            raise RuntimeError("weights.safetensors is not a model")

    @bentoml.api
    def predict(self, instances: list[Any]) -> list[Any]:
        if HOW == "wrong":
            return ["two"] * len(instances)
        if instances == ["grow"]:
            HELD.append(os.urandom(220 << 20))
        if instances == ["wait"]:
            time.sleep(2)
        return [float(sum(each)) if isinstance(each, list) else 0.0 for each in instances]
"""
BUILD = """
import sys, bentoml
only, python = ["service.py"], {"lock_packages": False}
bentoml.build("service:Model", name="demo.sum", build_ctx=sys.argv[1], include=only, version="v1", python=python)
"""


def until(check: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@dataclass
class ServeLab:
    """One installation with a package in its store; `client` is that of a new pass each time."""

    folder: Path
    address: str
    wire: Recorder = field(default_factory=Recorder)

    @property
    def ctx(self) -> Context:
        return make_context(self.folder, services=ServicesAt({"ray": self.address}), wire=self.wire)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def client(self) -> Serve:
        return connect(self.ctx)

    def spec(self, name: str, **more: Any) -> AppSpec:
        """A revision of `demo/NAME` that is checked as every replica is."""
        spec = AppSpec(f"demo.{name}.{'a' * 8}", f"deployment/demo/{name}", "a" * 64, "demo.sum:v1", 1, 512 << 20)
        return replace(spec, example=([1, 2], [3, 4]), output={"type": "number"}, latency=5.0, timeout=5.0, **more)

    def replicas(self, app: str, state: str = "") -> list[Registration]:
        return [each for each in register.standing(self.state).get(app, ()) if state in ("", each.state)]

    def ready(self, app: str, count: int = 1) -> list[Registration]:
        until(lambda: len(self.replicas(app, "ready")) == count)
        return self.replicas(app, "ready")

    def ask(self, replica: Registration, *instances: Any) -> Any:
        with Client(Path(replica.socket)) as client:
            return client.predict(instances)


def open_lab(address: str) -> ServeLab:
    """Makes the folder and builds the package. `close_lab` removes both."""
    lab = ServeLab(Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp")), address)
    source = lab.folder / "source"
    source.mkdir()
    (source / "service.py").write_text(SERVICE)
    env = {**os.environ, "BENTOML_HOME": str(bentoml_home(lab.ctx.state_dir)), "BENTOML_DO_NOT_TRACK": "True"}
    bentoml_home(lab.state).mkdir(mode=0o700)
    subprocess.run([sys.executable, "-c", BUILD, str(source)], env=env, check=True, timeout=120, capture_output=True)
    return lab


def close_lab(lab: ServeLab) -> None:
    """Nothing of Serve is left on the head."""
    from reconciler.platform.ray import SERVE
    from reconciler.platform.ray import connect as ask

    with ask(lab.address, 60) as client:
        client.delete(SERVE)
    until(lambda: not register.standing(lab.state))
    shutil.rmtree(lab.folder)
