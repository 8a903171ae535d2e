"""Serve applications as values: what is asked for, what Serve tells, and the union of ours and everyone else's. No I/O.

Source: Ray Serve REST API v2 (`/api/serve/applications/`), ray.serve.schema of Ray 2.60."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.errors import Conflict, ReconcilerError, Rejected
from reconciler.model import JSON

IMPORT_PATH = "reconciler.serving.replica:build"
DEPLOYMENT = "Replica"
"""The one deployment of each of our applications, as `build` names it."""
HEALTH_PERIOD, HEALTH_TIMEOUT = 3.0, 30.0
"""Seconds. A dead replica is missed at the next look, one that says that it is unhealthy after three."""
STOP_SECONDS = 5.0
"""How much longer than the longest request a stop may take."""
QUIET = json.dumps({"services": {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}, "traffic": {"timeout": 3600}}})
"""BentoML's settings: the gateway counts and logs requests, and bounds their time; BentoML would end each after a minute."""
Config: TypeAlias = Mapping[str, Any]
"""One application as a PUT names it."""
Wish: TypeAlias = "Config | int | None"
"""What one application should become: this, so many replicas of what it is, or nothing."""


@dataclass(frozen=True, slots=True)
class AppSpec:
    """One revision of a deployment, as one Serve application. All replicas are alike: another amount of memory starts them anew."""

    name: str
    """`reconciler.model.serving.app_name`."""
    ref: str
    """The Deployment's Ref as text."""
    digest: str
    """Of the revision."""
    bento: str
    """Tag, in the installation's own store."""
    replicas: int
    """At least 1; none at all is `remove`."""
    memory: int
    """Bytes that the lease of each gives; a replica that stays above is replaced."""
    cpu: int = 100
    """Thousandths of a core; bounds the threads of numeric libraries, nothing else."""
    gpu: int = 0
    model: str = ""
    """Folder of the model's files, also given to the service as MLOPS_MODEL; empty = not checked."""
    model_digest: str = ""
    """What the files in it must be; empty = not checked."""
    input: Mapping[str, JSON] = field(default_factory=dict)
    """JSON Schema of one instance."""
    output: Mapping[str, JSON] = field(default_factory=dict)
    """JSON Schema of one prediction: an answer to the examples that does not match keeps the replica from serving."""
    example: tuple[JSON, ...] = ()
    """Instances that it must answer before it serves."""
    latency: float | None = None
    """Seconds: 95th percentile of the answers to single examples; slower keeps it from serving."""
    timeout: float = 10.0
    """Seconds of the longest request: so long a stop waits for what runs."""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """One replica as Serve tells it; `id` is that of its registration."""

    id: str
    state: str
    """STARTING, UPDATING, RECOVERING, RUNNING, STOPPING, ..."""
    pid: int | None
    since: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class AppInfo:
    """One application as Serve tells it."""

    name: str
    status: str
    """DEPLOYING, RUNNING, UNHEALTHY, DEPLOY_FAILED, DELETING, NOT_STARTED."""
    message: str
    """Serve's own words of it and its deployment, such as the end of a traceback."""
    source: str
    """`declarative` or `imperative`."""
    config: Config | None
    """What was PUT; None for an imperative one, and while it is deleted."""
    ours: bool
    """Carries this installation's mark."""
    ref: str = ""
    """The Deployment's Ref as text, where the mark says so; another installation's too."""
    digest: str = ""
    target: int = 0
    """Replicas that Serve works towards."""
    replicas: tuple[ReplicaInfo, ...] = ()

    @property
    def args(self) -> Mapping[str, Any]:
        return dict((self.config or {}).get("args") or {})

    @property
    def running(self) -> int:
        return sum(each.state == "RUNNING" for each in self.replicas)


def config(spec: AppSpec, installation: str, state: str, bentoml_home: str) -> Config:
    """The application as a PUT names it. Cores are not asked of Ray, memory is: both are admission's to give, and Ray's idea of
    memory is only there to be seen in its dashboard."""
    threads = str(max(1, -(-spec.cpu // 1000)))
    env = {
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), threads),
        "BENTOML_CONFIG_OVERRIDES": QUIET,
        **spec.env,
        "BENTOML_HOME": bentoml_home,
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        **({"MLOPS_MODEL": spec.model} if spec.model else {}),
        **({"MLOPS_MEMORY_LIMIT": str(spec.memory)} if spec.memory else {}),
    }
    args = {
        "marks": {"installation": installation, "ref": spec.ref, "digest": spec.digest},
        "state": state,
        "bento": spec.bento,
        "memory": spec.memory,
        "cpu": spec.cpu,
        "model": spec.model,
        "model_digest": spec.model_digest,
        "input": dict(spec.input),
        "output": dict(spec.output),
        "example": list(spec.example),
        "latency": spec.latency,
        "timeout": spec.timeout,
    }
    actor = {"num_cpus": 0, "num_gpus": spec.gpu / 1000, **({"memory": spec.memory} if spec.memory else {})}
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": spec.replicas,
        "max_ongoing_requests": 1000,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": spec.timeout + STOP_SECONDS,
        "health_check_period_s": HEALTH_PERIOD,
        "health_check_timeout_s": HEALTH_TIMEOUT,
        "ray_actor_options": actor,
    }
    return {
        "name": spec.name,
        "route_prefix": None,
        "import_path": IMPORT_PATH,
        "args": args,
        "runtime_env": {"env_vars": env},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "deployments": [deployment],
    }


def info(told: Mapping[str, Any], installation: str) -> AppInfo:
    """One entry of `applications` in Serve's answer."""
    deployed = told.get("deployed_app_config")
    marks = ((deployed or {}).get("args") or {}).get("marks")
    marks = marks if isinstance(marks, dict) else {}
    deployments = list((told.get("deployments") or {}).values())
    messages = [str(each.get("message") or "") for each in (told, *deployments)]
    return AppInfo(
        name=str(told["name"]),
        status=str(told["status"]),
        message="; ".join(dict.fromkeys(each.strip() for each in messages if each.strip())),
        source=str(told.get("source") or "unknown"),
        config=deployed,
        ours=bool(marks) and marks.get("installation") == installation,
        ref=str(marks.get("ref") or ""),
        digest=str(marks.get("digest") or ""),
        target=sum(int(each.get("target_num_replicas") or 0) for each in deployments),
        replicas=tuple(_replica(one) for each in deployments for one in each.get("replicas") or ()),
    )


def _replica(told: Mapping[str, Any]) -> ReplicaInfo:
    return ReplicaInfo(str(told["replica_id"]), str(told["state"]), told.get("pid"), float(told.get("start_time_s") or 0.0))


def standing(seen: Mapping[str, AppInfo]) -> dict[str, Config]:
    """What a PUT must name so that nothing changes: every declarative application, exactly as it was PUT."""
    return {name: each.config for name, each in seen.items() if each.config is not None and each.source == "declarative"}


def refusal(name: str, wish: Wish, seen: Mapping[str, AppInfo], known: Mapping[str, Config]) -> ReconcilerError | None:
    """Why the wish must not be granted; None when it may. `known` is what the PUT would name so far."""
    there = seen.get(name)
    if there is not None and there.source == "imperative":
        return Conflict(f"Serve has an application {name!r} that was not declared but started by a program: it is left alone")
    if there is not None and there.config is not None and not there.ours:
        return Conflict(f"Serve has an application {name!r} without this installation's mark")
    if isinstance(wish, int) and name not in known:
        return Rejected(f"Serve has no application {name!r} to scale")
    return None


def granted(name: str, wish: Wish, known: dict[str, Config]) -> None:
    """Change what a PUT will name."""
    if wish is None:
        known.pop(name, None)
    elif isinstance(wish, int):
        [deployment] = known[name]["deployments"]
        known[name] = {**known[name], "deployments": [{**deployment, "num_replicas": wish}]}
    else:
        known[name] = wish


def entry(wanted: Config) -> Mapping[str, JSON]:
    """What `serving/applications.json` keeps of one of ours: by it leases are counted while Ray is down."""
    [deployment] = wanted["deployments"]
    marks, actor = wanted["args"]["marks"], deployment["ray_actor_options"]
    return {
        "ref": marks["ref"],
        "digest": marks["digest"],
        "replicas": int(deployment["num_replicas"]),
        "memory": int(actor.get("memory") or 0),
        "cpu": int(wanted["args"]["cpu"]),
        "gpu": round(1000 * float(actor.get("num_gpus") or 0)),
    }
