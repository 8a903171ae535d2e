"""Runs in MLflow over its REST API: list, create, tag, end.

Source: MLflow REST API 2.0 reference (runs/*); behaviour checked against a 3.17 server. A filter knows AND only, and a comparison
with a tag holds only for runs that have the tag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from controllers.tools.mlflow import Mlflow, NotThere
from reconciler.errors import Transient

PAGE = 1000
"""Runs per listing call: each comes with its parameters, metrics and tags, and 1,000 were seen to take 0.7 s."""
EXPERIMENTS = 2000
"""Experiments named in one listing call."""
ACTIVE = ("RUNNING", "SCHEDULED")
End: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]
View: TypeAlias = Literal["ALL", "ACTIVE_ONLY", "DELETED_ONLY"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One MLflow run as the server tells it."""

    id: str
    experiment: str
    """Id of its experiment."""
    status: str
    """RUNNING, SCHEDULED, FINISHED, FAILED or KILLED."""
    deleted: bool
    started: float
    """Unix seconds; 0 = not told."""
    ended: float
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each."""
    artifacts: str = ""
    """Where its artifacts are: `mlflow-artifacts:/12/RUN/artifacts`."""

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


def search(mlflow: Mlflow, experiments: Sequence[str], where: Mapping[str, str], view: View = "ALL") -> Iterator[RunInfo]:
    """Runs of these experiments whose tags are as `where` says, the newest first. Complete when it ends without raising."""
    wanted = " and ".join(f"tags.`{key}` = {_quoted(value)}" for key, value in where.items())
    for start in range(0, len(experiments), EXPERIMENTS):
        token, used = "", set[str]()
        while True:
            body: dict[str, Any] = {
                "experiment_ids": list(experiments[start : start + EXPERIMENTS]),
                **({"filter": wanted} if wanted else {}),
            }
            body |= {"run_view_type": view, "max_results": PAGE, "order_by": ["attributes.start_time DESC"]}
            answer = mlflow.call("POST", "runs/search", json=body | ({"page_token": token} if token else {}), write=False)
            yield from map(_info, answer.get("runs", []))
            token = str(answer.get("next_page_token") or "")
            if not token:
                break
            if token in used:
                raise Transient("MLflow named the same page of runs twice: the listing has no end")
            used.add(token)


def run(mlflow: Mlflow, run_id: str) -> RunInfo | None:
    """The run of this id, deleted or not; None when there is none."""
    try:
        return _info(mlflow.call("GET", "runs/get", params={"run_id": run_id}, write=False)["run"])
    except NotThere:
        return None


def create(mlflow: Mlflow, experiment: str, name: str, tags: Mapping[str, str], at: float) -> str:
    """A new run, RUNNING, with all its tags in the one request; `at` is its start in Unix seconds. Returns its id."""
    body = {"experiment_id": experiment, "run_name": name, "start_time": round(at * 1000), "tags": _pairs(tags)}
    return str(mlflow.call("POST", "runs/create", json=body)["run"]["info"]["run_id"])


def log(mlflow: Mlflow, run_id: str, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> None:
    """Write parameters and tags in one request. A parameter that has the same value already is fine; with another one it is Rejected."""
    mlflow.call("POST", "runs/log-batch", json={"run_id": run_id, "params": _pairs(params or {}), "tags": _pairs(tags or {})})


def measure(mlflow: Mlflow, run_id: str, metrics: Mapping[str, float], at: float) -> None:
    """Write metrics of this moment (Unix seconds). The same ones again are fine."""
    found = [{"key": key, "value": value, "timestamp": round(at * 1000), "step": 0} for key, value in metrics.items()]
    mlflow.call("POST", "runs/log-batch", json={"run_id": run_id, "metrics": found})


def log_inputs(mlflow: Mlflow, run_id: str, datasets: Sequence[Mapping[str, str]]) -> None:
    """Say which datasets a run reads, for MLflow's own pages: `name`, `digest`, `source`. The same ones again are fine."""
    if not datasets:
        return
    named = [{"name": each["name"], "digest": each["digest"][:36], "source_type": "dvc", "source": each["source"]} for each in datasets]
    context = [{"key": "mlflow.data.context", "value": "training"}]
    body = {"run_id": run_id, "datasets": [{"tags": context, "dataset": each} for each in named]}
    mlflow.call("POST", "runs/log-inputs", json=body)


def end(mlflow: Mlflow, run_id: str, status: End, at: float) -> None:
    """Say how a run has ended, and when (Unix seconds)."""
    mlflow.call("POST", "runs/update", json={"run_id": run_id, "status": status, "end_time": round(at * 1000)})


def rename(mlflow: Mlflow, run_id: str, name: str) -> None:
    """Give a run another name."""
    mlflow.call("POST", "runs/update", json={"run_id": run_id, "run_name": name})


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def _quoted(value: str) -> str:
    return f"'{value}'" if "'" not in value else f'"{value}"'


def _info(found: Mapping[str, Any]) -> RunInfo:
    info, data = found["info"], found.get("data", {})
    return RunInfo(
        id=info["run_id"],
        experiment=str(info["experiment_id"]),
        status=info.get("status", ""),
        deleted=info.get("lifecycle_stage") == "deleted",
        started=int(info.get("start_time") or 0) / 1000,
        ended=int(info.get("end_time") or 0) / 1000,
        tags={each["key"]: str(each.get("value", "")) for each in data.get("tags", [])},
        params={each["key"]: str(each.get("value", "")) for each in data.get("params", [])},
        metrics={each["key"]: float(each["value"]) for each in data.get("metrics", []) if "value" in each},
        artifacts=str(info.get("artifact_uri", "")),
    )
