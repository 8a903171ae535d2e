"""Experiments with finished runs made by hand, and a model taken through passes step by step, with a real MLflow and no engine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from controllers.model import ModelController
from controllers.models.trials import key_of, trials_folder
from reconciler.admission.values import Lease
from reconciler.controller import Call, Context
from reconciler.model import (
    Absent,
    Amounts,
    Create,
    Demand,
    Diff,
    Done,
    HealthReport,
    Outcome,
    Present,
    Ref,
    Resource,
    Started,
    Update,
)
from reconciler.model.content import digest_of_files
from reconciler.model.serving import TrialResult
from reconciler.testing import make_resource
from schemas.model import KIND, ModelSpec

NETWORK = """
def load(folder):
    return lambda instances: [int(each[0] > {limit}) for each in instances]
"""
DATA = Ref("Dataset", "demo", "table")


def model_files(limit: float = 0.5, **said: Any) -> dict[str, bytes]:
    """A folder that answers 1 above `limit`; `said` goes into its mlops.json."""
    told = {"runtimes": {"sklearn": {"load": "network.py:load"}}, "example": [[0.2], [0.8]], "packages": {"scikit-learn": "1.9.1"}, **said}
    return {"mlops.json": json.dumps(told).encode(), "network.py": NETWORK.format(limit=limit).encode()}


def digest(files: Mapping[str, bytes]) -> str:
    return digest_of_files({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})


class Tracking:
    """MLflow as a person with a client of his own uses it."""

    def __init__(self, url: str, installation: str = "contract") -> None:
        self.url, self.installation = url, installation
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def call(self, method: str, path: str, **body: Any) -> Any:
        given = {"params": body} if method == "GET" else {"json": body}
        return self._http.request(method, f"/api/2.0/mlflow/{path}", **given).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return self.call("POST", path, **body)

    def experiment(self, name: str, metric: str = "accuracy (maximize)") -> str:
        """`demo/NAME`; returns its id."""
        tags = {"mlops.installation": self.installation, "mlops.ref": f"experiment/demo/{name}", "mlops.metric": metric}
        return str(self.post("experiments/create", name=f"demo/{name}", tags=pairs(tags))["experiment_id"])

    def run(
        self,
        experiment: str,
        name: str,
        label: str,
        files: Mapping[str, bytes],
        *,
        params: Mapping[str, str] | None = None,
        **metrics: float,
    ) -> str:
        """A finished run with a model; returns its id."""
        tags = {
            "mlops.installation": self.installation,
            "mlops.ref": f"experiment/demo/{name}#{label}",
            "mlops.key": hashlib.sha256(f"{name}{label}".encode()).hexdigest(),
            "mlops.dataset.digits": "aa11",
            "mlops.code": "c0de",
        }
        at = round(time.time() * 1000)
        made = self.post("runs/create", experiment_id=experiment, run_name=label, start_time=at, tags=pairs(tags))["run"]["info"]
        given = [{"key": key, "value": value, "timestamp": at} for key, value in metrics.items()]
        self.post("runs/log-batch", run_id=made["run_id"], metrics=given, params=pairs(params or {}))
        for file, content in files.items():
            self.upload(experiment, made["run_id"], f"model/{file}", content)
        self.post("runs/update", run_id=made["run_id"], status="FINISHED", end_time=at + 1)
        return str(made["run_id"])

    def upload(self, experiment: str, run: str, name: str, content: bytes) -> None:
        path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/{name}"
        self._http.put(path, content=content).raise_for_status()

    def model(self, name: str) -> Any:
        return self.call("GET", "registered-models/get", name=name)["registered_model"]

    def aliases(self, name: str) -> dict[str, str]:
        return {each["alias"]: each["version"] for each in self.model(name).get("aliases", [])}

    def versions(self, name: str) -> dict[str, dict[str, str]]:
        """Number -> tags."""
        found = self.call("GET", "model-versions/search", filter=f"name = '{name}'", max_results=100).get("model_versions", [])
        return {each["version"]: {tag["key"]: tag["value"] for tag in each.get("tags", [])} for each in found}

    def tag_version(self, name: str, number: str, key: str, value: str) -> None:
        self.post("model-versions/set-tag", name=name, version=number, key=key, value=value)


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def lease(ref: Ref) -> Lease:
    """What admission would grant."""
    now = datetime.now(UTC)
    return Lease(ref, ref.owner, "here", Amounts(1 << 30, 1000), 5, now, now - timedelta(seconds=3))


class Pass:
    """What one pass saw and did."""

    def __init__(
        self, diff: Diff, demand: Demand | None, outcome: Outcome | None, health: HealthReport, outputs: Mapping[str, str]
    ) -> None:
        self.diff, self.demand, self.outcome, self.health, self.outputs = diff, demand, outcome, health, outputs

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.diff]


class ModelLab:
    """One experiment and one model on it; each call of `reconcile` is a pass with fresh clients."""

    def __init__(self, ctx: Context, url: str, name: str) -> None:
        self.tracking, self.name = Tracking(url), name
        self.calls: list[Call] = []
        self.ctx = replace(ctx, wire=self.calls.append)
        self.experiment = self.tracking.experiment(name)
        self.experiment_ref, self.ref = Ref("Experiment", "demo", name), Ref("Model", "demo", name)
        self.settled()
        self.kind = ModelController()
        self.inputs: dict[Ref, dict[str, str]] = {}

    @property
    def registered(self) -> str:
        return f"demo.{self.name}"

    def settled(self) -> None:
        """All runs of the experiment are as desired."""
        self.ctx.memo(self.experiment_ref)["settled"] = "so"

    def run(self, label: str, accuracy: float, files: Mapping[str, bytes] | None = None, **more: Any) -> str:
        return self.tracking.run(self.experiment, self.name, label, files or model_files(), accuracy=accuracy, **more)

    def model(self, **spec: Any) -> Resource[Any]:
        given = {"experiment": self.name, **spec}
        references = (self.experiment_ref, *self.inputs)
        return make_resource(KIND, self.name, given, references=references, inputs=self.inputs, root=self.ctx.root)

    def tried(self, model: Resource[Any], files: Mapping[str, bytes] | None = None, **result: Any) -> None:
        """Leave the result of a trial of these files here, as if it had been made."""
        told = TrialResult(**{"digest": digest(files or model_files()), "runtime": "sklearn", "p95": 0.004, "memory": 64 << 20, **result})
        leave(self.ctx, model.spec, told, self.inputs.get(DATA, {}).get("digest", ""))

    def fresh(self, **more: Any) -> Context:
        return replace(self.ctx, clients={}, **more)

    def see(self, model: Resource[Any]) -> Present:
        found = self.kind.observe([model], self.fresh())[model.ref]
        assert isinstance(found, Present)
        return found

    def reconcile(self, model: Resource[Any], *, grant: bool = True) -> Pass:
        """One pass, with a lease for a trial that asks for one."""
        seen = self.kind.observe([model], self.fresh())[model.ref]
        assert isinstance(seen, Absent | Present)
        diff = self.kind.diff(model, seen) if isinstance(seen, Present) else ()
        action: Create | Update | None = Create(model)
        if isinstance(seen, Present):
            action = Update(model, seen, diff) if diff else None
        demand = self.kind.demand(action, self.fresh()) if action is not None else None
        outcome = None
        if action is not None and (demand is None or grant):
            granted = {model.ref: lease(model.ref)} if demand is not None else {}
            outcome = self.kind.apply(action, self.fresh(granted=granted))
            assert isinstance(outcome, Done | Started)
        after = self.see(model)
        if isinstance(outcome, Done):
            assert self.kind.diff(model, after) == (), "what was read after an apply must be as desired"
            assert dict(outcome.outputs) == dict(after.outputs)
        return Pass(diff, demand, outcome, self.kind.health(model, after), after.outputs)

    def settle(self, model: Resource[Any], passes: int = 6) -> Pass:
        """Passes until there is nothing to do."""
        for _ in range(passes):
            last = self.reconcile(model)
            if last.outcome is None:
                return last
        raise AssertionError(f"still something to do: {last.diff} {last.health}")

    def versions(self) -> dict[str, dict[str, str]]:
        return self.tracking.versions(self.registered)

    def writes(self) -> list[str]:
        return [each.target for each in self.calls if each.write]


def leave(ctx: Context, spec: ModelSpec, result: TrialResult, data: str = "") -> Path:
    """Write a trial's result where trials leave it."""
    place = trials_folder(ctx.state_dir)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{key_of(spec, result.digest, data)}.json"
    path.write_text(json.dumps(asdict(result)))
    return path
