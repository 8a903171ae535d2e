"""Experiment: an MLflow experiment and the runs that must exist in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Immutable, KindInfo, RefTo, ResourceName, Spec, Strict, ToolDefault, Use
from schemas.grid import check as check_runs
from schemas.run import ModelFacts, Runs

TagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-. :/]+$", max_length=250)]
"""Characters and length that MLflow accepts for a tag's key."""


class Metric(Strict):
    """What runs are compared by."""

    name: Annotated[str, StringConstraints(min_length=1)]
    goal: Literal["maximize", "minimize"] = "maximize"


class ExperimentSpec(Spec):
    """An MLflow experiment with its description, tags, data and runs."""

    description: Annotated[str, StringConstraints(max_length=5000), ToolDefault] | None = None
    """Markdown, shown at the top of the experiment's page; unset = what people write there is theirs."""
    tags: dict[TagKey, Annotated[str, StringConstraints(max_length=5000)]] = Field(default_factory=dict)
    """Tags of the experiment; keys that start with `mlflow.` or `mlops.` are not yours."""
    metric: Metric | None = None
    """What its runs are compared by."""
    datasets: tuple[Annotated[ResourceName, RefTo("Dataset")], ...] = ()
    """Datasets that its runs read; another project's as `project/name` if that project shares it."""
    techniques: tuple[str, ...] = ()
    """Names of the methods used, for comparison across projects; together they count as one technique (`reconcile compare`)."""
    artifact_location: Annotated[str, StringConstraints(pattern=r"^(s3|gs|wasbs|abfss)://[^/]+"), Immutable, ToolDefault] | None = None
    """Object storage for artifacts; the server's own when unset. Cannot change: MLflow has no call for it.
    Its bucket must be in the project's `allow.hosts` as `s3://bucket`. Paths on the server are refused: they could be another project's."""
    runs: Runs | None = None
    """Runs that must exist, each exactly once; started when quota, memory and heat allow."""
    model: ModelFacts | None = None


def check(spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    for key in spec.tags:
        if key.startswith(("mlflow.", "mlops.")):
            yield f"tags.{key}", "keys that start with `mlflow.` or `mlops.` are set by MLflow and by the reconciler; choose another"
    if len(set(spec.datasets)) != len(spec.datasets):
        yield "datasets", "a dataset is named twice"
    if spec.runs is not None:
        for path, message in check_runs(spec.runs):
            yield f"runs.{path}", message


def uses(spec: ExperimentSpec) -> Iterator[Use]:
    """What an experiment touches outside MLflow."""
    if spec.artifact_location is not None:
        scheme, _, rest = spec.artifact_location.partition("://")
        yield Use("artifactLocation", "host", f"{scheme}://{rest.partition('/')[0]}")


KIND = KindInfo(
    name="Experiment",
    spec=ExperimentSpec,
    scope="project",
    prune="confirm",
    summary="An MLflow experiment: its description, tags and data, and the runs that must exist in it.",
    check=check,
    uses=uses,
    left="what its runs made stays in MLflow, where it is deleted until somebody purges it",
    lost="MLflow has purged its runs",
)
