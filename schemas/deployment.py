"""Deployment: a model version served on Ray Serve from a BentoML package, behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import AtLeast, AtMost, Duration, KindInfo, Quantity, RefTo, RelativePath, Spec, Strict, duration_value, quantity_value
from schemas.run import EnvName

ModelName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(@([1-9][0-9]{0,8}|[a-z][a-z0-9_-]{0,62}))?$",
        max_length=200,
    ),
]
"""`name`, `name@alias` or `name@3`; another project's as `project/name@alias`."""


LARGEST_BODY = 1 << 30
"""Bytes: requests are read into memory."""


class Replicas(Strict):
    """How many processes serve it. Each is admitted like a run, as a standing reservation."""

    min: Annotated[int, Field(ge=0, le=100)] = 1
    """0: scaled to zero when nobody asks; the first request then waits for the start."""
    max: Annotated[int, Field(ge=1, le=100)] | None = None
    """Unset = `min` (at least 1): no autoscaling."""
    target_ongoing: Annotated[float, Field(gt=0)] = 4.0
    """Requests that one replica should have in hand at once; more ask for another replica."""
    scale_down_after: Duration = "60s"
    """Fewer replicas only when fewer were enough for so long."""

    @property
    def most(self) -> int:
        """`max` as it works out."""
        return self.max if self.max is not None else max(1, self.min)


class ServingResources(Strict):
    """What one replica may use; reserved before it starts. A replica that stays above its memory is replaced."""

    memory: Quantity | None = None
    """Unset = what the trial of the model was measured to need and a quarter more, or 512Mi."""
    cpu: Quantity = "100m"
    gpu: Quantity | None = None
    watts: Quantity | None = None


class Step(Strict):
    """One step of a canary."""

    weight: Annotated[int, Field(ge=0, le=100)]
    """Per cent of the requests that the new version gets."""
    hold: Duration = "1m"
    """How long at least."""


class Quality(Strict):
    """What labels that arrive at `POST /feedback` say of the new version."""

    metric: Literal["accuracy", "mae"] = "accuracy"
    minimum: Annotated[float | None, AtLeast] = None
    maximum: Annotated[float | None, AtMost] = None
    min_labels: Annotated[int, Field(ge=1)] = 20


class RolloutGates(Strict):
    """What a new version must show under traffic; too little of it = hold."""

    error_rate: Annotated[Annotated[float, Field(ge=0, le=1)] | None, AtMost] = None
    """Share of its requests that may fail (5xx and time-outs)."""
    latency: Annotated[Duration | None, AtMost] = None
    """95th percentile. Checked before it gets any traffic too."""
    quality: Quality | None = None
    min_requests: Annotated[int, Field(ge=1)] = 20
    """Fewer since the step began give no verdict."""


class Rollout(Strict):
    """How a new version takes over."""

    strategy: Literal["rolling", "canary"] = "rolling"
    """`rolling`: at once, when it is ready. `canary`: step by step, judged by the gates."""
    steps: tuple[Step, ...] = ()
    """Of a canary; unset = 10 % for 1m, 50 % for 1m."""
    gates: RolloutGates = RolloutGates()
    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """A request with this header set to `canary` goes to the new version, one set to `stable` to the old one, whatever the weights."""
    on_failure: Literal["rollback", "hold"] = "rollback"
    start_timeout: Duration = "3m"
    """A new version that is not ready after so long has failed."""
    surge: Literal["auto", "always", "never"] = "auto"
    """`auto`: the new version starts beside the old one where both can ever fit, else the old one is unloaded first."""


class Predictions(Strict):
    """The log of predictions, as Parquet."""

    log: bool = False
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the requests that are written."""
    id: str | None = None
    """Field of an instance that names it, to which labels refer; unset = an id is made and returned with each answer."""
    redact: tuple[str, ...] = ()
    """Fields of the input that are never written."""
    retain: Duration = "30d"


class Limits(Strict):
    """What the gateway lets through to this deployment."""

    rate: Annotated[float, Field(gt=0)] | None = None
    """Requests per second for each key; unset = not bounded."""
    burst: Annotated[int, Field(ge=1)] = 20
    body: Quantity = "1Mi"
    """Largest request."""
    batch: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Most instances in one request."""
    queue: Annotated[int, Field(ge=1)] = 256
    """Requests in hand at once; more get 503 with Retry-After."""
    timeout: Duration = "10s"


class Service(Strict):
    """An own BentoML service class."""

    class_: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$")] = (
        Field(alias="class")
    )
    """`module:Class` in the project's folder. It has an API `predict(instances)` and finds the model's folder in the environment
    variable MLOPS_MODEL."""
    code: tuple[RelativePath, ...] = ("*.py",)
    """Globs of the files that go into the package."""


class DeploymentSpec(Spec):
    """A model behind `POST /predict/{project}/{name}`."""

    model: Annotated[ModelName, RefTo("Model", until="@")]
    """`name@alias` follows the alias; `name@3` stays; `name` alone is the Model's own alias."""
    runtime: Literal["auto", "mlx", "torch", "sklearn", "pyfunc", "bento"] = "auto"
    """`auto`: the first that the model offers and this machine can run of MLX, torch with MPS, then what runs on the CPU."""
    service: Service | None = None
    """With `runtime: bento` (or `auto`)."""
    replicas: Replicas = Replicas()
    resources: ServingResources = ServingResources()
    rollout: Rollout = Rollout()
    predictions: Predictions = Predictions()
    limits: Limits = Limits()
    auth: Literal["key", "none"] = "key"
    """`none`: whoever reaches the gateway may ask."""
    env: dict[EnvName, str] = Field(default_factory=dict)
    """Environment of the replicas."""
    bentos: Annotated[int, Field(ge=1, le=100)] = 3
    """Packages that are kept for a roll back; those in use are never removed."""


def check(spec: DeploymentSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if spec.replicas.max is not None and spec.replicas.max < max(1, spec.replicas.min):
        yield "replicas.max", "is below `min`"
    if spec.service is not None and spec.runtime not in ("auto", "bento"):
        yield "service", f"an own service is `runtime: bento`, not `{spec.runtime}`"
    if spec.runtime == "bento" and spec.service is None:
        yield "service", '`runtime: bento` needs the class: `service: {class: "module:Class"}`'
    if spec.rollout.strategy == "rolling" and spec.rollout.steps:
        yield "rollout.steps", "are steps of a canary: set `strategy: canary`"
    if spec.rollout.strategy == "canary" and spec.rollout.surge == "never":
        yield "rollout.surge", "a canary runs beside the old version: leave `surge` out, or set `strategy: rolling`"
    for name, gate in (("errorRate", spec.rollout.gates.error_rate), ("quality", spec.rollout.gates.quality)):
        if spec.rollout.strategy == "rolling" and gate is not None:
            yield f"rollout.gates.{name}", "is judged while both versions answer: set `strategy: canary`"
    weights = [each.weight for each in spec.rollout.steps]
    if weights != sorted(weights):
        yield "rollout.steps", "weights must not fall from step to step"
    quality = spec.rollout.gates.quality
    if quality is not None and quality.minimum is None and quality.maximum is None:
        yield "rollout.gates.quality", "nothing is asked of the result: set `minimum` or `maximum`"
    if quality is not None and not spec.predictions.log and spec.predictions.id is None:
        yield "rollout.gates.quality", "labels refer to ids: set `predictions.log: true`, or name a field in `predictions.id`"
    if spec.resources.memory is not None and not quantity_value(spec.resources.memory):
        yield "resources.memory", "a replica that may use no memory cannot start; leave it out to use what the trial measured"
    if not 1 <= quantity_value(spec.limits.body) <= LARGEST_BODY:
        yield "limits.body", "must be between 1 byte and 1Gi"
    for key in spec.env:
        if key.startswith(("MLOPS_", "BENTOML_", "RAY_", "PYTHON")):
            yield f"env.{key}", "is set by the platform for its replicas; choose another name"
    if duration_value(spec.limits.timeout).total_seconds() <= 0:
        yield "limits.timeout", "must be longer than nothing"


KIND = KindInfo(
    name="Deployment",
    spec=DeploymentSpec,
    scope="project",
    prune="auto",
    summary="A model version that answers behind the gateway, replaced without a failed request.",
    check=check,
    lost="its packages and the state of its rollout are made anew",
)
