"""Model: an MLflow registered model whose alias follows the best run that passes every gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from schemas.base import (
    AtLeast,
    AtMost,
    Duration,
    KindInfo,
    Quantity,
    RefTo,
    RelativePath,
    ResourceName,
    SecretRef,
    Spec,
    Strict,
    ToolDefault,
)
from schemas.run import ParamName, Resources, Scalar

MetricName = Annotated[str, StringConstraints(min_length=1, max_length=250)]


def _free(found: str) -> str:
    if found == "latest" or (found[:1] == "v" and found[1:].isdigit()):
        raise ValueError("MLflow reserves `latest`, `v1`, `v2` and so on")
    return found


Alias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$"), AfterValidator(_free)]


class Select(Strict):
    """Which runs of the experiment compete, and by what."""

    metric: MetricName | None = None
    """What they are ranked by; unset = the experiment's own metric."""
    goal: Literal["maximize", "minimize"] | None = None
    """Unset = the experiment's own goal, or `maximize`."""
    params: dict[ParamName, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Only runs with these values; a list = any of them."""


class Champion(Strict):
    """The candidate against the version that holds the alias."""

    min_effect: Annotated[float, Field(ge=0), AtLeast] = 0.0
    """It must be better by at least this much, in the metric's own unit. With `evaluation` both are compared on that data, else by the
    metric that runs are selected by."""


class Evaluation(Strict):
    """The model is loaded as it would be served, and predicts data that it was not trained on."""

    dataset: Annotated[ResourceName, RefTo("Dataset")]
    """A CSV or Parquet file; the verdict is bound to its digest, and judged again when that changes."""
    target: Annotated[str, StringConstraints(min_length=1)]
    """Column with the truth; the others are the model's input."""
    metric: Literal["accuracy", "f1", "r2", "mae", "rmse"] = "accuracy"
    minimum: Annotated[float | None, AtLeast] = None
    maximum: Annotated[float | None, AtMost] = None
    min_rows: Annotated[int, Field(ge=1)] = 30
    """Fewer rows give no verdict: hold."""


class Gates(Strict):
    """What a version must pass before it gets the alias; each tells pass, fail or hold (not known)."""

    minimum: dict[MetricName, Annotated[float, AtLeast]] = Field(default_factory=dict)
    """Of metrics that the run has logged."""
    maximum: dict[MetricName, Annotated[float, AtMost]] = Field(default_factory=dict)
    champion: Champion | None = None
    evaluation: Evaluation | None = None
    latency: Annotated[Duration | None, AtMost] = None
    """95th percentile of one prediction in a trial load, such as `50ms`."""
    memory: Annotated[Quantity | None, AtMost] = None
    """Peak memory of the process that served the trial load."""
    size: Annotated[Quantity | None, AtMost] = None
    """Bytes of the model's files."""


class Trial(Strict):
    """The trial load: the model is loaded as it would be served and answers requests; goes through admission like a run."""

    requests: Annotated[int, Field(ge=10, le=100_000)] = 200
    resources: Resources = Resources(memory="1Gi", cpu="1", duration="30s")
    """What the trial may use; it is ended when it stays above."""
    timeout: Duration = "5m"


class Sign(Strict):
    """The version's files are signed (OpenSSF model-signing); a Deployment refuses files that the signature does not cover."""

    key: SecretRef
    """An unencrypted EC private key (P-256) as PEM."""


class Compatibility(Strict):
    """What a machine must have to serve this model; written on the version, beside what the run itself says about its files."""

    python: Annotated[str, StringConstraints(pattern=r"^[<>=!~]=?\s*3[0-9.*]*(\s*,\s*[<>=!~]=?\s*3[0-9.*]*)*$")] | None = None
    """Versions of Python, for example `>=3.11`."""
    metal: Literal["required", "preferred", "unused"] = "preferred"
    """`required`: is served on a Mac with Metal only."""
    packages: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], str] = Field(default_factory=dict)
    """Package to version specifier, for example `scikit-learn: ">=1.7,<1.10"`."""


class ModelSpec(Spec):
    """A registered model: which run becomes its next version, and what that version must prove."""

    experiment: Annotated[ResourceName, RefTo("Experiment")]
    """Whose finished runs compete."""
    artifact: RelativePath = "model"
    """Folder among a run's artifacts that holds the model; the program wrote it below `--out`."""
    description: Annotated[str, StringConstraints(max_length=5000), ToolDefault] | None = None
    """Markdown on the registered model's page; unset = what people write there is theirs."""
    tags: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-. :/]+$", max_length=200)], str] = Field(default_factory=dict)
    select: Select = Select()
    gates: Gates = Gates()
    trial: Trial = Trial()
    alias: Alias = "champion"
    """Follows the best version that passes; Deployments name it as `model: name@alias`."""
    approval: Literal["automatic", "required"] = "automatic"
    """`required`: a version that passes waits until a reviewed commit names it in `approved`."""
    approved: Annotated[str, StringConstraints(pattern=r"^([0-9]{1,9}|[0-9a-f]{32})$")] | None = None
    """Version number or run id that may have the alias; with `approval: required` there is no other way."""
    sign: Sign | None = None
    compatibility: Compatibility | None = None


def check(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if spec.approved is not None and spec.approval != "required":
        yield "approved", "has a meaning with `approval: required` only"
    evaluation = spec.gates.evaluation
    if evaluation is not None and evaluation.minimum is None and evaluation.maximum is None and spec.gates.champion is None:
        yield "gates.evaluation", "nothing is asked of the result: set `minimum`, `maximum`, or `gates.champion`"
    for key in spec.tags:
        if key.startswith(("mlflow.", "mlops.")):
            yield f"tags.{key}", "keys that start with `mlflow.` or `mlops.` are set by MLflow and by the reconciler; choose another"


KIND = KindInfo(
    name="Model",
    spec=ModelSpec,
    scope="project",
    prune="confirm",
    summary="A registered model in MLflow whose alias follows the best run that passes every gate.",
    check=check,
    lost="its versions are gone from MLflow, with what was decided about them; what the runs left stays with them",
)
