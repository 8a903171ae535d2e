"""Values that the reconciler, the gateway and the replicas share, and where each of them is written.

::

    serving/routes.json              what the gateway answers; written by the reconciler, read by the gateway
    serving/applications.json        the Serve applications that the reconciler has asked for
    serving/replicas/APP/ID.json     one replica; written by itself, with ID.lock held as long as it lives
    serving/models/DIGEST/           files of a model version, verified; a cache
    serving/trials/KEY.json          what a trial measured
    serving/keys.json                who may ask, as hashes
    serving/predictions/PROJECT/NAME/, serving/feedback/PROJECT/NAME/     Parquet
    bentoml/                         BENTOML_HOME

All below the installation's state folder; every file is replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal

from reconciler.model.names import Ref
from reconciler.model.values import JSON

BOUNDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: upper bounds of the latency histogram; one more bucket holds what is above."""
ROWS = ".rows"
"""In the folder of a deployment's log: how many rows were ever written."""
DESCRIPTOR = "mlops.json"
"""In a model's folder: what it says of itself; `Descriptor`."""
ANSWERS = ("prediction", "label", "value")
"""Fields of a prediction that is an object, of which the first that is there is held against the truth."""
Role = Literal["stable", "canary"]


def folder(state_dir: Path) -> Path:
    return state_dir / "serving"


def routes_file(state_dir: Path) -> Path:
    return folder(state_dir) / "routes.json"


def applications_file(state_dir: Path) -> Path:
    return folder(state_dir) / "applications.json"


def replicas_folder(state_dir: Path) -> Path:
    return folder(state_dir) / "replicas"


def wake_file(state_dir: Path) -> Path:
    """Touched by the gateway when a pass should come soon: a request waits for a replica, or a load is above `Route.wakes_above`."""
    return folder(state_dir) / "wake"


def bentoml_home(state_dir: Path) -> Path:
    return state_dir / "bentoml"


def ever_written(where: Path) -> int:
    """Rows of one deployment (`predictions/PROJECT/NAME`) that were ever written, those whose time was over too; 0 = none yet."""
    try:
        return int((where / ROWS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def app_name(deployment: Ref, digest: str) -> str:
    """Of the Serve application of one revision. Labels hold no dot, so that no two revisions share one."""
    return f"{deployment.project}.{deployment.name}.{digest[:8]}"


# --- a model's folder ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the folder of a model says of itself; `mlops.json` in it, written by the training program."""

    runtimes: Mapping[str, Mapping[str, str]]
    """Runtime (`mlx`, `torch`, `sklearn`, `pyfunc`) -> how it is loaded: `{"file": "model.joblib"}` for sklearn;
    `{"load": "network.py:load"}` for a function of a file in the folder that takes the folder's path and returns
    `predict(instances) -> predictions`, both lists."""
    input: Mapping[str, JSON] = field(default_factory=dict)
    """JSON Schema of one instance (an object with named fields, or an array); empty = anything."""
    output: Mapping[str, JSON] = field(default_factory=dict)
    """JSON Schema of one prediction."""
    example: tuple[JSON, ...] = ()
    """Instances that it must be able to answer."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Package -> version that it was made with."""
    python: str = ""
    quantization: str = ""
    """For people: `4-bit`, empty = none."""


# --- routes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """One application behind a route."""

    app: str
    weight: int
    """Per cent; those of a route add up to 100, or to 0 when nothing is up."""
    role: Role
    version: str
    """Of the model."""
    model: str
    """`project/name` of the registered model."""
    run: str
    digest: str
    """Of the revision."""
    runtime: str
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Dataset that the run was trained on -> digest of its version."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`schemas.deployment.Limits` as numbers."""

    rate: float | None = None
    burst: int = 20
    body: int = 1 << 20
    batch: int = 1000
    queue: int = 256
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class PredictionLog:
    """`schemas.deployment.Predictions` as numbers."""

    log: bool = False
    sample: float = 1.0
    id: str | None = None
    redact: tuple[str, ...] = ()
    retain: float = 30 * 86400.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Route:
    """One deployment as the gateway serves it."""

    project: str
    name: str
    targets: tuple[Target, ...] = ()
    auth: Literal["key", "none"] = "key"
    limits: Bounds = Bounds()
    predictions: PredictionLog = PredictionLog()
    header: str | None = None
    off: str = ""
    """Why nothing is served on purpose (the project is inactive); empty = it should be up."""
    wakes: bool = False
    """True: scaled to zero; a request waits for a replica instead of being refused."""
    wakes_above: float = 0.0
    """Mean requests in hand from which more replicas are wanted; 0 = never."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.project}/{self.name}"


@dataclass(frozen=True, slots=True)
class Routes:
    """All of them. The gateway takes over a generation as a whole, and says which one it works by."""

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By `project/name`."""


# --- what the gateway tells --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AppStats:
    """Counters of one application since the gateway started; differences of two looks tell about the time between."""

    ongoing: int = 0
    requests: int = 0
    """Answered, whatever the answer; 4xx of the client's own making are not counted."""
    errors: int = 0
    """5xx, time-outs, broken connections."""
    latency: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """Answered requests per bucket of BOUNDS."""
    labels: int = 0
    """Predictions whose label has come."""
    correct: int = 0
    absolute_error: float = 0.0
    """Sum of |prediction - label| where both are numbers."""
    ready: int = 0
    """Replicas that it sends to."""


def quantile(share: float, latency: tuple[int, ...]) -> float:
    """Seconds below which `share` of the counted requests were answered; linear within a bucket, as Prometheus' histogram_quantile does.

    Infinite when it lies above the last bound."""
    total = sum(latency)
    if not total:
        return 0.0
    rank, before = share * total, 0
    for position, upto in enumerate(accumulate(latency)):
        if upto >= rank and upto > before:
            if position >= len(BOUNDS):
                return float("inf")
            low = BOUNDS[position - 1] if position else 0.0
            return low + (BOUNDS[position] - low) * (rank - before) / (upto - before)
        before = upto
    return float("inf")


@dataclass(frozen=True, slots=True)
class RouteStats:
    ongoing: int = 0
    waiting: int = 0
    """Requests that wait for a replica."""
    load: float = 0.0
    """Mean of ongoing and waiting over the last 15 seconds."""
    idle: float = 0.0
    """Seconds since the last request; since the gateway learned of the route when there was none."""
    apps: Mapping[str, AppStats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayState:
    """`GET /-/state`."""

    started: str
    """Changes with each start of the gateway: counters of another start cannot be compared."""
    generation: int
    routes: Mapping[str, RouteStats] = field(default_factory=dict)
    draining: Mapping[str, int] = field(default_factory=dict)
    """Applications that no route names any more -> requests that still run on them."""
    problem: str = ""
    """Why what is on disk is not what it works by (a routes file that cannot be read); empty = it is."""
    pid: int = 0
    """Which process answers: while one is replaced there are two at the port."""


# --- replicas --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registration:
    """What a replica says of itself in its file. It is there only while ID.lock is held."""

    app: str
    replica: str
    ref: str
    """The Deployment's Ref as text."""
    pid: int
    state: Literal["loading", "ready", "draining", "failed"]
    socket: str = ""
    """Path of the Unix socket on which its HTTP server listens."""
    since: float = 0.0
    """Unix seconds of its start."""
    memory: int = 0
    """Bytes now."""
    peak: int = 0
    granted: int = 0
    """Bytes that its lease gave it; 0 = not bounded."""
    input: Mapping[str, JSON] = field(default_factory=dict)
    """JSON Schema of one instance; empty = anything."""
    output: Mapping[str, JSON] = field(default_factory=dict)
    example: tuple[JSON, ...] = ()
    """Instances that it answered while it warmed up; people see them in `GET /models`."""
    why: str = ""
    """What ended it, or why it refused to serve."""


# --- trials ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrialResult:
    """`serving/trials/KEY.json`: what loading and asking the model showed."""

    digest: str
    """Of the model's files, as they were read by the trial."""
    runtime: str
    why: str = ""
    """Why it failed (does not load, wrong output); empty = it answered."""
    load_seconds: float = 0.0
    p50: float = 0.0
    """Seconds per prediction of one instance."""
    p95: float = 0.0
    memory: int = 0
    """Peak of the process, in bytes."""
    rows: int = 0
    """Of the evaluation data."""
    data: str = ""
    """Digest of the evaluation data's version; empty = there was none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All metrics of the task that the data allows, by name."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Those that served it, with versions."""
    python: str = ""
