"""The tasks of a Workflow, those of its template among them, each with the work that it asks for. Pure.

Work is plain values: it goes through Airflow and comes back in a request. `do` names what is to be done (`controllers.workflows.jobs`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.model import JSON, Ref
from schemas.base import duration_value
from schemas.run import Resources
from schemas.tasks import Comparison, Federated, Step, Task, Training
from schemas.workflow import WorkflowSpec

KINDS = {
    "dataset": "Dataset",
    "experiment": "Experiment",
    "evaluate": "Model",
    "promote": "Model",
    "deployment": "Deployment",
    "monitor": "Monitor",
}
"""Step -> the kind that it waits for."""
WEIGHTS = "weights.npz"
SMALL = Resources(memory="256Mi", cpu="500m", duration="10s")
"""Of what only adds up or writes down."""


@dataclass(frozen=True)
class Planned:
    """One task of the DAG."""

    name: str
    work: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    retries: int = 0
    retry_delay: str = "30s"
    priority: int | None = None
    doc: str = field(default="")


def tasks_of(ref: Ref, spec: WorkflowSpec) -> Iterator[Planned]:
    """Every task. Own tasks that need none of the template's come before the template."""
    made = list(_template(ref, spec))
    given = {each.name for each in made}
    late = {each.name for each in spec.tasks if _reaches(each, spec.tasks, given)}
    early = [each.name for each in spec.tasks if each.name not in late]
    ends = tuple(name for name in early if not any(name in each.needs for each in spec.tasks if each.name not in late))
    yield from (_own(ref, each) for each in spec.tasks)
    for each in made:
        yield Planned(**{**vars(each), "needs": (*each.needs, *(() if each.needs else ends))})


def _reaches(task: Task, tasks: Sequence[Task], given: set[str]) -> bool:
    """Whether a task comes after one of the template's."""
    by_name = {each.name: each for each in tasks}
    left, seen = list(task.needs), set[str]()
    while left:
        one = left.pop()
        if one in given:
            return True
        if one in by_name and one not in seen:
            seen.add(one)
            left += by_name[one].needs
    return False


def _own(ref: Ref, task: Task) -> Planned:
    if task.step is not None:
        return Planned(task.name, step(ref, task.step, task.timeout), task.needs, task.retries, task.retry_delay, task.priority)
    assert task.command is not None
    work = command(ref, task.command, task.resources, project=task.project, env=task.env, outputs=task.outputs)
    work |= {"timeout": _seconds(task.timeout), "priority": task.priority}
    doc = f"`{' '.join(task.command)}`"
    return Planned(task.name, work, task.needs, task.retries, task.retry_delay, task.priority, doc)


def step(ref: Ref, wanted: Step, timeout: str | None = None) -> dict[str, JSON]:
    """The work of a native step."""
    if wanted.call is not None:
        return {"do": "call", "call": wanted.call.model_dump(mode="json", by_alias=True), "timeout": _seconds(timeout)}
    name = next(each for each in KINDS if getattr(wanted, each) is not None)
    return {"do": "wait", "step": name, "ref": str(named(ref, KINDS[name], getattr(wanted, name))), "timeout": _seconds(timeout)}


def command(
    ref: Ref,
    words: Sequence[str],
    resources: Resources,
    *,
    project: str | None = None,
    env: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
) -> dict[str, Any]:
    """The work of a command."""
    return {
        "do": "command",
        "project": project or str(ref.project),
        "command": list(words),
        "env": dict(env or {}),
        "outputs": list(outputs),
        "resources": resources.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def named(ref: Ref, kind: str, name: str) -> Ref:
    """The resource that a name in a manifest of this workflow stands for."""
    project, _, own = name.rpartition("/")
    return Ref(kind, project or ref.project, own)


def _seconds(text: str | None) -> float | None:
    return duration_value(text).total_seconds() if text else None


# --- templates -----------------------------------------------------------------------------------------------------


def _template(ref: Ref, spec: WorkflowSpec) -> Iterator[Planned]:
    if spec.training is not None:
        yield from _training(ref, spec.training)
    if spec.federated is not None:
        yield from _federated(ref, spec.federated, spec.projects)
    if spec.comparison is not None:
        yield from _comparison(ref, spec.comparison)


def _training(ref: Ref, given: Training) -> Iterator[Planned]:
    chain = [
        ("data", "dataset", given.dataset),
        ("train", "experiment", given.experiment),
        ("evaluate", "evaluate", given.model),
        ("promote", "promote", given.model),
        ("deploy", "deployment", given.deployment),
    ]
    before: tuple[str, ...] = ()
    for name, kind, target in chain:
        if target is not None:
            yield Planned(name, {"do": "wait", "step": kind, "ref": str(named(ref, KINDS[kind], target)), "timeout": None}, before)
            before = (name,)


def _federated(ref: Ref, given: Federated, projects: Sequence[str]) -> Iterator[Planned]:
    """Rounds of training and averaging; each project alone, with as many rounds; all of them judged on the same data."""
    before = ""
    for number in range(1, given.rounds + 1):
        rounds = [f"round-{number}-{project}" for project in projects]
        weights = ["--weights", f"${{tasks.{before}.out}}/{WEIGHTS}"] if before else []
        for name, project in zip(rounds, projects, strict=True):
            words = [*given.train, *weights, "--rounds", "1", "--out", "${out}"]
            work = command(ref, words, given.resources, project=project, outputs=["rows"])
            yield Planned(name, work, (before,) if before else (), doc=f"Round {number} in {project}")
        average = {
            "do": "average",
            "files": [f"${{tasks.{name}.out}}/{WEIGHTS}" for name in rounds],
            "rows": [f"${{tasks.{name}.rows}}" for name in rounds],
            "resources": SMALL.model_dump(mode="json", exclude_none=True),
        }
        before = f"round-{number}-average"
        yield Planned(before, average, tuple(rounds), doc=f"The weights of round {number}, averaged by rows")
    scores = {"shared": _score(ref, given, "shared", before)}
    yield scores["shared"]
    for project in projects:
        words = [*given.train, "--rounds", str(given.rounds), "--out", "${out}"]
        alone = command(ref, words, given.resources, project=project, outputs=["rows"])
        yield Planned(f"alone-{project}", alone, doc=f"{project} on its own")
        scores[project] = _score(ref, given, f"alone-{project}", f"alone-{project}")
        yield scores[project]
    judged = {
        "do": "compare",
        "what": "federated",
        "metric": given.metric,
        "goal": given.goal,
        "minGain": given.min_gain,
        "experiment": str(named(ref, "Experiment", given.experiment)),
        "scores": {name: f"${{tasks.{each.name}.metric}}" for name, each in scores.items()},
        "tell": {"rounds": str(given.rounds), "projects": ",".join(projects)},
    }
    yield Planned("judge", judged, tuple(each.name for each in scores.values()), doc="The shared model against each project's own")


def _score(ref: Ref, given: Federated, name: str, after: str) -> Planned:
    words = [*given.evaluate, "--weights", f"${{tasks.{after}.out}}/{WEIGHTS}"]
    return Planned(f"score-{name}", command(ref, words, given.resources, outputs=["metric"]), (after,))


def _comparison(ref: Ref, given: Comparison) -> Iterator[Planned]:
    """Each model is evaluated by itself, then all are held against each other."""
    data = {"do": "wait", "step": "dataset", "ref": str(named(ref, "Dataset", given.dataset)), "timeout": None}
    yield Planned("data", data, doc="The data that all are judged on")
    names: dict[str, str] = {}
    for number, model in enumerate(given.models, 1):
        name, _, version = model.partition("@")
        target = named(ref, "Model", name)
        names[f"{target.path}@{version}" if version else target.path] = task = f"model-{number}"
        work = {
            "do": "score",
            "ref": str(target),
            "version": version,
            "dataset": str(named(ref, "Dataset", given.dataset)),
            "digest": "${tasks.data.digest}",
            "target": given.target,
            "metric": given.metric,
            "resources": given.resources.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        yield Planned(task, work, ("data",), doc=f"`{model}` on `{given.dataset}`")
    compare = {
        "do": "compare",
        "what": "models",
        "metric": given.metric,
        "goal": "minimize" if given.metric in ("mae", "rmse") else "maximize",
        "minGain": None,
        "experiment": str(named(ref, "Experiment", given.experiment)),
        "scores": {label: f"${{tasks.{task}.metric}}" for label, task in names.items()},
        "tell": {"dataset": given.dataset, "digest": "${tasks.data.digest}", "target": given.target},
    }
    yield Planned("compare", compare, tuple(names.values()), doc="All of them, the best first")
