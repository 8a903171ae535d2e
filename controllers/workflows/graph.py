"""How the order of a workflow's tasks changes, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import ValidationError

from controllers.workflows.templates import tasks_of
from reconciler.model import Diff, Fields, Ref, Resource
from schemas.workflow import BLOCKS, WorkflowSpec

SHAPES = ("spec.template", "spec.tasks", "spec.projects", *(f"spec.{name}" for name in BLOCKS.values()))
"""Fields that the tasks come from."""
SAME = "same order of tasks"
FEW = 8
"""Tasks that are told of one by one."""

Graph = Mapping[str, tuple[str, ...]]
"""Task -> what it waits for, in the order of the manifest."""


def graphed(resource: Resource[WorkflowSpec], last: Fields, changes: Diff) -> Diff:
    """`changes`, the first about tasks with a note on what becomes of their order. `last` is what was applied, as a plan shows it."""
    at = next((number for number, each in enumerate(changes) if each.path.startswith(SHAPES)), None)
    before = _spec(last)
    if at is None or before is None:
        return changes
    told = list(moved(graph(resource.ref, before), graph(resource.ref, resource.spec)))
    more = [f"{len(told) - FEW} more tasks"] if len(told) > FEW else []
    note = "; ".join([*told[:FEW], *more]) or SAME
    return (*changes[:at], replace(changes[at], note=note), *changes[at + 1 :])


def graph(ref: Ref, spec: WorkflowSpec) -> Graph:
    """Those of its template among them."""
    return {each.name: each.needs for each in tasks_of(ref, spec)}


def moved(before: Graph, after: Graph) -> Iterator[str]:
    """`+ check after load`, `train after check, load (was load)`, `- old`; nothing where the order is the same."""
    for name, needs in after.items():
        if name not in before:
            yield f"+ {name}{_after(needs) or ' at the beginning'}"
        elif sorted(needs) != sorted(before[name]):
            yield f"{name}{_after(needs) or ' at the beginning'} (was {', '.join(before[name]) or 'at the beginning'})"
    for name in before:
        if name not in after:
            yield f"- {name}"


def _after(needs: tuple[str, ...]) -> str:
    return f" after {', '.join(needs)}" if needs else ""


def _spec(last: Fields) -> WorkflowSpec | None:
    """None: it was applied by another version, which knew other fields."""
    said = {key: each for key, each in last.items() if key != "labels"}
    tasks = said.get("tasks")
    if isinstance(tasks, Mapping):
        said["tasks"] = [{"name": name, **each} for name, each in tasks.items()]
    try:
        return WorkflowSpec.model_validate(said)
    except (ValidationError, TypeError):
        return None
