"""The tasks of a Workflow: a command in a project's own environment, or a step that the reconciler takes."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from schemas.base import DnsLabel, Duration, RefTo, ResourceName, SecretRef, Strict
from schemas.deployment import ModelName
from schemas.run import EnvName, Resources

OutputName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,62}$")]


_WORD = {"type": "string", "minLength": 1}
_COMMAND = {"anyOf": [_WORD, {"type": "array", "items": _WORD, "minItems": 1}]}


def _words(found: object) -> object:
    return tuple(shlex.split(found)) if isinstance(found, str) else found


Command = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...], BeforeValidator(_words), Field(min_length=1), WithJsonSchema(_COMMAND)
]
"""Words, or a line that is split as a shell would split it and never given to one. `${...}` is filled in when it starts: `run.id`,
`run.folder`, `out`, `interval.start`, `interval.end`, `attempt`, `conf.NAME`, `tasks.NAME.OUTPUT`, and `tasks.NAME.out`, the folder that
this task wrote into."""


class Call(Strict):
    """One HTTP request. Its host must be in the project's `allow.hosts`."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+")]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")], str | SecretRef] = Field(default_factory=dict)
    json_: Annotated[dict[str, Any] | tuple[Any, ...] | str | None, Field(alias="json")] = None
    """Body; unset = none."""
    expect: tuple[Annotated[int, Field(ge=100, le=599)], ...] = (200, 201, 202, 204)
    """Statuses that are an answer; every other one fails the task."""


class Step(Strict):
    """One thing that the reconciler does or waits for; exactly one field is set. Each is another project's as `project/name` if that
    project shares it."""

    dataset: Annotated[ResourceName, RefTo("Dataset")] | None = None
    """Take in the data as it is now, and wait until it is a version. Outputs: `digest`, `version`, `path`."""
    experiment: Annotated[ResourceName, RefTo("Experiment")] | None = None
    """Start the runs that must exist with the data and code of now, and wait until all have finished."""
    evaluate: Annotated[ResourceName, RefTo("Model")] | None = None
    """Wait for the verdict on the best run: it is loaded as it would be served, and judged by the model's gates."""
    promote: Annotated[ResourceName, RefTo("Model")] | None = None
    """Wait until the best run that passes has the alias. Fails when none passes. Output: `version`."""
    deployment: Annotated[ResourceName, RefTo("Deployment")] | None = None
    """Wait until what its model's alias names is served and the rollout has ended."""
    monitor: Annotated[ResourceName, RefTo("Monitor")] | None = None
    """Wait until a window that ended after this step began has a verdict. Fails when it is bad. Output: `verdict`."""
    call: Call | None = None
    """Outputs: `status`, and `body` where that is JSON of at most 64 KiB."""


class Task(Strict):
    """One task."""

    name: DnsLabel
    command: Command | None = None
    """`python train.py --rows 5`, `-m package.module`, or another program of the project's environment, run in the project's folder."""
    step: Step | None = None
    project: DnsLabel | None = None
    """Whose code and environment a command uses; unset = the workflow's own. Another project must share it: `code/train.py` or `code/*`."""
    needs: tuple[DnsLabel, ...] = ()
    """Tasks that must have succeeded."""
    resources: Resources = Resources()
    """What a command may use; it waits for its lease like a run of an Experiment."""
    env: dict[EnvName, str] = Field(default_factory=dict)
    outputs: tuple[OutputName, ...] = ()
    """Names that the command writes as one JSON object to the file $MLOPS_OUTPUTS; XComs that later tasks use as `${tasks.NAME.OUTPUT}`."""
    retries: Annotated[int, Field(ge=0, le=20)] = 0
    retry_delay: Duration = "30s"
    """Doubled for each further try."""
    timeout: Duration | None = None
    """Of one try of a command, without the time that it waits for room; of a step, with it."""
    priority: Annotated[int, Field(ge=1, le=10)] | None = None
    """1 to 10; none = the project's."""


class Training(Strict):
    """Data, runs, verdict, promotion and rollout, one after the other; what is not named is left out."""

    dataset: Annotated[ResourceName, RefTo("Dataset")] | None = None
    experiment: Annotated[ResourceName, RefTo("Experiment")]
    model: Annotated[ResourceName, RefTo("Model")] | None = None
    deployment: Annotated[ResourceName, RefTo("Deployment")] | None = None


class Federated(Strict):
    """Rounds over the projects of `spec.projects`: each trains from the shared weights on its own data, which never leaves it; the weights
    are averaged by the number of rows (FedAvg, McMahan et al. 2017, arXiv:1602.05629). Each project also trains alone, for comparison."""

    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    train: Command
    """Run in each project. Gets `--weights FILE` (from the second round on), `--rounds N` and `--out DIR`; writes `weights.npz` (arrays by
    name) into DIR, and `rows` to $MLOPS_OUTPUTS."""
    evaluate: Command
    """Run in the workflow's project, on data that no project trained on. Gets `--weights FILE`; writes `metric` to $MLOPS_OUTPUTS."""
    metric: Annotated[str, StringConstraints(min_length=1)] = "accuracy"
    goal: Literal["maximize", "minimize"] = "maximize"
    min_gain: float | None = None
    """The last task fails when the shared model is not better than every single project's by at least this much; unset = it only tells."""
    experiment: Annotated[ResourceName, RefTo("Experiment")]
    """Where the comparison is logged in MLflow, one run for each run of the workflow."""
    resources: Resources = Resources(memory="512Mi", cpu="1")


class Comparison(Strict):
    """Models of several projects on the same data: each is loaded as it would be served and predicts all of it."""

    models: Annotated[tuple[Annotated[ModelName, RefTo("Model", until="@")], ...], Field(min_length=2)]
    """`name@alias` or `name@3`, of another project as `project/name@alias`; without `@` the model's own alias."""
    dataset: Annotated[ResourceName, RefTo("Dataset")]
    """A CSV or Parquet file."""
    target: Annotated[str, StringConstraints(min_length=1)]
    """Column with the truth."""
    metric: Literal["accuracy", "f1", "r2", "mae", "rmse"] = "accuracy"
    experiment: Annotated[ResourceName, RefTo("Experiment")]
    """Where the comparison is logged in MLflow, one run for each run of the workflow."""
    resources: Resources = Resources(memory="1Gi", cpu="1")
