"""What must hold between the tasks of a Workflow: names, order, what they take from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.tasks import Task

PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
PLAIN = ("run.id", "run.folder", "out", "interval.start", "interval.end", "attempt")
OUTPUTS = {
    "dataset": ("digest", "version", "path"),
    "experiment": ("id",),
    "evaluate": ("version",),
    "promote": ("version",),
    "deployment": ("version",),
    "monitor": ("verdict",),
    "call": ("status", "body"),
}
"""What the steps tell."""
TEMPLATE_TASKS: Mapping[str, tuple[str, ...]] = {
    "training": ("data", "train", "evaluate", "promote", "deploy"),
    "federated-learning": ("judge",),
    "model-comparison": ("data", "compare"),
    "custom": (),
}
"""Names of a template's tasks that others may need."""

TEMPLATE_OUTPUTS = {
    "data": OUTPUTS["dataset"],
    "train": OUTPUTS["experiment"],
    "evaluate": OUTPUTS["evaluate"],
    "promote": OUTPUTS["promote"],
    "deploy": OUTPUTS["deployment"],
    "judge": ("best", "metric", "gain", "run"),
    "compare": ("best", "metric", "run"),
}
PREFIXES = ("round-", "alone-", "model-", "score-")
"""Names that templates make up."""


def check_tasks(tasks: Sequence[Task], template: str) -> Iterator[tuple[str, str]]:
    """Yields (field path below spec, what is wrong)."""
    reserved, names = TEMPLATE_TASKS[template], [each.name for each in tasks]
    for number, task in enumerate(tasks):
        at = f"tasks.{number}"
        if (task.command is None) == (task.step is None):
            yield at, "set exactly one of command, step"
        if task.step is not None and len(task.step.model_dump(exclude_none=True)) != 1:
            yield f"{at}.step", f"set exactly one of {', '.join(OUTPUTS)}"
        if task.step is not None and task.outputs:
            yield f"{at}.outputs", "a step has outputs of its own; `outputs` belongs to a command"
        if names.index(task.name) != number or task.name in reserved or (reserved and task.name.startswith(PREFIXES)):
            yield f"{at}.name", f"the name '{task.name}' is used twice, or is one of the template's"
        for place, need in enumerate(task.needs):
            if need not in (*names, *reserved):
                yield f"{at}.needs.{place}", f"there is no task '{need}'; there are {', '.join((*names, *reserved)) or 'none'}"
        yield from _placeholders(task, {each.name: each for each in tasks}, reserved, at)
    yield from _cycles({each.name: each.needs for each in tasks})


def before(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Every task that comes before this one."""
    found: set[str] = set()
    left = list(needs.get(name, ()))
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += needs.get(one, ())
    return found


def _placeholders(task: Task, tasks: Mapping[str, Task], reserved: Sequence[str], at: str) -> Iterator[tuple[str, str]]:
    earlier = before(task.name, {name: each.needs for name, each in tasks.items()})
    for path, text in (*_texts(task.command, f"{at}.command"), *_texts(task.env, f"{at}.env"), *_texts(task.step, f"{at}.step")):
        for name in PLACEHOLDER.findall(text):
            if name in PLAIN or re.fullmatch(r"conf\.[A-Za-z0-9_-]+", name):
                continue
            kind, _, rest = name.partition(".")
            other, _, output = rest.rpartition(".")
            if kind != "tasks" or not other:
                yield path, f"${{{name}}} is nothing that can be filled in; allowed: {', '.join(PLAIN)}, conf.NAME, tasks.NAME.OUTPUT"
            elif other not in earlier:
                yield path, f"${{{name}}}: '{other}' does not come before this task; name it in `needs`"
            elif output not in (known := ("out", *(outputs(tasks[other]) if other in tasks else TEMPLATE_OUTPUTS.get(other, ())))):
                yield path, f"${{{name}}}: '{other}' has no output '{output}'; it has {', '.join(known)}"


def outputs(task: Task) -> tuple[str, ...]:
    """Names of what a task tells."""
    if task.step is None:
        return task.outputs
    return next((names for step, names in OUTPUTS.items() if getattr(task.step, step) is not None), ())


def _texts(found: Any, at: str) -> Iterator[tuple[str, str]]:
    """Every text in a value, with its path."""
    if isinstance(found, str):
        yield at, found
    elif isinstance(found, Mapping):
        for key, each in found.items():
            yield from _texts(each, f"{at}.{key}")
    elif isinstance(found, list | tuple):
        for number, each in enumerate(found):
            yield from _texts(each, f"{at}.{number}")
    elif hasattr(found, "model_dump"):
        yield from _texts(found.model_dump(exclude_none=True), at)


def _cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    circle = [name for name in needs if name in before(name, needs)]
    if circle:
        yield "tasks", f"these tasks need each other in a circle: {', '.join(circle)}; remove one of their needs"
