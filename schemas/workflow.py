"""Workflow: an Airflow DAG whose tasks start only with a lease."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from schemas.base import DnsLabel, KindInfo, RefTo, ResourceName, Spec, Strict, Use
from schemas.cron import cron_trouble, zone_trouble
from schemas.taskgraph import check_tasks
from schemas.tasks import Comparison, Federated, Task, Training


class Trigger(Strict):
    """Something that starts a run, once for each time that it happens; exactly one field is set."""

    dataset: Annotated[ResourceName, RefTo("Dataset")] | None = None
    """It has another version than the one that a run was started for."""
    model: Annotated[ResourceName, RefTo("Model")] | None = None
    """Its alias names another version."""
    monitor: Annotated[ResourceName, RefTo("Monitor")] | None = None
    """It has a breach that a run was not started for yet. The run gets its id as `conf.cause`."""


class WorkflowSpec(Spec):
    """A pipeline: tasks in order, when they run, and what starts them."""

    template: Literal["training", "federated-learning", "model-comparison", "custom"] = "custom"
    description: Annotated[str, StringConstraints(max_length=5000)] | None = None
    """Markdown, shown on the DAG's page."""
    projects: tuple[DnsLabel, ...] = ()
    """With `federated-learning`: who takes part."""
    training: Training | None = None
    federated: Federated | None = None
    comparison: Comparison | None = None
    tasks: tuple[Task, ...] = ()
    """Beside a template: those that need none of its tasks come before it, the others after what they need."""
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] | None = None
    """Five cron fields; unset = runs by trigger or by hand only. A run covers the time since the one before it."""
    timezone: str = "UTC"
    catch_up: bool = False
    """True: one run for each time that was missed; false: one for all of them."""
    triggers: tuple[Trigger, ...] = ()
    max_active: Annotated[int, Field(ge=1, le=16)] = 1
    """Runs at the same time; others wait."""
    paused: bool = False
    """True: nothing new starts; what runs goes on."""


BLOCKS = {"training": "training", "federated-learning": "federated", "model-comparison": "comparison"}
"""Template -> the field that it is filled in with."""


def check(spec: WorkflowSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if trouble := zone_trouble(spec.timezone):
        yield "timezone", trouble
    if spec.schedule is not None and (trouble := cron_trouble(spec.schedule)):
        yield "schedule", trouble
    for template, name in BLOCKS.items():
        given = getattr(spec, name) is not None
        if given and spec.template != template:
            yield name, f"has a meaning with `template: {template}` only"
        if not given and spec.template == template:
            yield name, f"`template: {template}` needs it"
    if spec.template == "custom" and not spec.tasks:
        yield "tasks", "there is nothing to do: give at least one task"
    if spec.template == "federated-learning" and len(set(spec.projects)) < 2:
        yield "projects", "federated learning needs at least two projects"
    if spec.template != "federated-learning" and spec.projects:
        yield "projects", "has a meaning with `template: federated-learning` only; a task names its project itself"
    for number, trigger in enumerate(spec.triggers):
        if len(trigger.model_dump(exclude_none=True)) != 1:
            yield f"triggers.{number}", "set exactly one of dataset, model, monitor"
    yield from check_tasks(spec.tasks, spec.template)


def uses(spec: WorkflowSpec) -> Iterator[Use]:
    """Hosts that are called, and other projects' code."""
    for number, task in enumerate(spec.tasks):
        if task.step is not None and task.step.call is not None:
            yield Use(f"tasks.{number}.step.call.url", "host", urlsplit(task.step.call.url).hostname or "")
        if task.command is not None and task.project is not None:
            yield Use(f"tasks.{number}.project", "code", f"{task.project}/{script(task.command)}")
    if spec.federated is not None:
        for number, project in enumerate(spec.projects):
            yield Use(f"projects.{number}", "code", f"{project}/{script(spec.federated.train)}")


def script(command: tuple[str, ...]) -> str:
    """The file, module or program that a command runs."""
    words = [each for each in command if each not in ("python", "python3", "-m")]
    return words[0] if words else ""


KIND = KindInfo(
    name="Workflow",
    spec=WorkflowSpec,
    scope="project",
    prune="confirm",
    summary="A pipeline in Airflow: commands and steps in order, by schedule, by trigger or by hand.",
    check=check,
    uses=uses,
    lost="the history of its runs is gone from Airflow",
)
