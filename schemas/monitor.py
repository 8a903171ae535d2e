"""Monitor: windows of what a deployment saw and answered, or versions of data, held against a reference by Evidently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Duration, KindInfo, Moment, RefTo, ResourceName, Spec, Strict, duration_value
from schemas.checks import DEFAULT, Checks
from schemas.run import Resources

LEAST_EVERY = 5.0
"""Seconds between two windows, at least: a look takes longer."""


class Count(Strict):
    """So many predictions, one window after the other."""

    count: Annotated[int, Field(ge=10, le=10_000_000)]


class Pinned(Strict):
    """A time in the log of predictions."""

    start: Moment
    end: Moment


class Reference(Strict):
    """What is normal; exactly one field is set."""

    dataset: Annotated[ResourceName, RefTo("Dataset")] | None = None
    """Its newest version, or the one that it is pinned to."""
    training: Literal[True] | None = None
    """The data that the run was trained on whose model is served; it changes when another version is promoted."""
    window: Pinned | None = None
    deployment: Annotated[ResourceName, RefTo("Deployment")] | None = None
    """The same window of another deployment; another project's as `project/name`, if that project shares it."""


class OnBreach(Strict):
    """One thing to do, once for each episode; exactly one of `alert`, `run`, `rollback` is set."""

    alert: Literal["info", "warning", "critical"] | None = None
    """Severity of what the AlertPolicies route; without such an entry it is `warning`."""
    run: Annotated[ResourceName, RefTo("Workflow")] | None = None
    """Start the Workflow. It gets `conf.monitor`, `conf.breach`, `conf.columns`, and `conf.since` and `conf.until`: the breach began
    between the two, in its first bad window."""
    rollback: Literal[True] | None = None
    """Take back the version that is served, if it came after the last good window."""
    at_most: Annotated[int, Field(ge=1, le=100)] = 3
    """Times within `within`: a remedy that does not help is not tried for ever."""
    within: Duration = "24h"
    back_off: Duration = "10m"
    """After it was done: so long at least until it is done again; doubled each time within `within`."""


class Panel(Strict):
    """One chart on the monitor's dashboard."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    show: Literal["drift", "missing", "performance", "rows", "value"] = "drift"
    """`drift`: score by window of each of `columns` (unset = the share of columns that drifted); `value`: mean of each of `columns`."""
    columns: tuple[str, ...] = ()


class MonitorSpec(Spec):
    """What is watched, against what, how often, and what happens when it is not as it was."""

    deployment: Annotated[ResourceName, RefTo("Deployment")] | None = None
    """Its log of predictions: it needs `predictions: {log: true}`."""
    dataset: Annotated[ResourceName, RefTo("Dataset")] | None = None
    """Instead of a deployment: each new version is a window."""
    reference: Reference = Reference.model_validate({"training": True})
    target: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Column of the reference with the truth; it is held against the labels, never against inputs."""
    window: Duration | Count = "1h"
    """A time, or `{count: 500}` predictions."""
    every: Duration | None = None
    """How often a window ends; unset = as long as the window is, so that they do not overlap. Counted from midnight UTC."""
    catch_up: bool = False
    """True: every window that was missed is looked at; false: the newest of them stands for all."""
    min_rows: Annotated[int, Field(ge=1)] = 100
    """A window with fewer is neither good nor bad."""
    max_rows: Annotated[int, Field(ge=100)] = 100_000
    """Larger windows, and larger references, are sampled evenly."""
    checks: Checks = DEFAULT
    for_: Annotated[int, Field(ge=1, le=100, alias="for")] = 1
    """Bad windows in a row after which it is a breach."""
    clear_after: Annotated[int, Field(ge=1, le=100)] = 1
    """Good windows in a row after which the breach is over."""
    on_breach: tuple[OnBreach, ...] = ()
    retain: Duration = "90d"
    """How long windows and their reports are kept."""
    panels: tuple[Panel, ...] = ()
    """Unset = a dashboard that shows every check."""
    resources: Resources = Resources(memory="1Gi", cpu="1", duration="30s")
    """Of the worker that looks at one window."""
    timeout: Duration = "10m"


def check(spec: MonitorSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if (spec.deployment is None) == (spec.dataset is None):
        yield "deployment", "set exactly one of deployment, dataset"
    if len(spec.reference.model_dump(exclude_none=True)) != 1:
        yield "reference", "set exactly one of dataset, training, window, deployment"
    if spec.dataset is not None:
        yield from _of_data(spec)
    if isinstance(spec.window, str) and duration_value(spec.window).total_seconds() < LEAST_EVERY:
        yield "window", f"must be {LEAST_EVERY:g}s at least"
    if spec.every is not None and duration_value(spec.every).total_seconds() < LEAST_EVERY:
        yield "every", f"must be {LEAST_EVERY:g}s at least"
    if isinstance(spec.window, Count) and spec.window.count < spec.min_rows:
        yield "minRows", f"is more than a window has ({spec.window.count}): no window could ever be judged"
    if spec.reference.window is not None and spec.reference.window.start >= spec.reference.window.end:
        yield "reference.window", "ends before it starts"
    if not spec.checks.model_dump(exclude_none=True):
        yield "checks", f"nothing is asked: name one of {', '.join(Checks.model_fields)}"
    performance = spec.checks.performance
    if performance is not None and performance.minimum is None and performance.maximum is None and performance.max_loss is None:
        yield "checks.performance", "nothing is asked of the result: set `minimum`, `maximum` or `maxLoss`"
    for number, each in enumerate(spec.on_breach):
        if sum(one is not None for one in (each.alert, each.run, each.rollback)) != 1:
            yield f"onBreach.{number}", "set exactly one of alert, run, rollback"
        if each.rollback and spec.deployment is None:
            yield f"onBreach.{number}.rollback", "there is no deployment to take back"


def _of_data(spec: MonitorSpec) -> Iterator[tuple[str, str]]:
    if spec.reference.dataset is None:
        yield "reference", "versions of a dataset are held against another dataset: set `reference: {dataset: NAME}`"
    elif spec.reference.dataset == spec.dataset:
        yield "reference.dataset", "is the dataset itself: each version would be held against itself"
    for name in ("predictions", "performance", "operations"):
        if spec.checks != DEFAULT and getattr(spec.checks, name) is not None:
            yield f"checks.{name}", "a dataset has no predictions: this needs a deployment"


KIND = KindInfo(
    name="Monitor",
    spec=MonitorSpec,
    scope="project",
    prune="auto",
    summary="Watches what a deployment sees and answers, or a dataset's versions, and acts once when it is not as it was.",
    check=check,
    left="its reports stay in the workspace",
    lost="its baseline, its windows and their verdicts begin anew",
)
