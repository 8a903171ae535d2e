"""What the tasks of workflows ask for, as children: one for each open request, and for each task that waits for a slot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from controllers.tools.airflow import TaskInfo
from controllers.workflows.templates import KINDS
from reconciler.exchange import Request
from reconciler.model import JSON, Ref, Resource, digest_of
from schemas.base import KindInfo, Spec

KIND = "Workflow"
GRACE_SECONDS = 10.0
"""How much older than a look at Airflow a request must be before that look says that nobody waits for it."""


class TaskSpec(Spec):
    """One task of one run that asks for something. Not written in manifests."""

    id: str = ""
    """Of its request; empty = it has not asked yet."""
    run: str
    task: str
    attempt: int = 1
    created: float = 0.0
    work: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    older: tuple[str, ...] = ()
    """Requests of earlier tries that were never answered."""
    pooled: str = ""
    """Why it has no slot in its project's pool; empty = it has one."""
    dead: bool = False
    """Its task does not wait for it any more."""


INFO = KindInfo(name=KIND, spec=TaskSpec, scope="project", prune="auto", summary="One task of a workflow's run.")


def children(
    resource: Resource[Any],
    requests: Iterable[Request],
    waiting: Iterable[TaskInfo],
    tasks: Mapping[tuple[str, str, int], TaskInfo],
    now: float,
) -> Iterator[Resource[TaskSpec]]:
    """`requests` are those of this workflow, `waiting` its tasks that have no slot, `tasks` all that Airflow calls unfinished, by run, task
    and index."""
    newest: dict[tuple[str, str, int], Request] = {}
    older: dict[tuple[str, str, int], list[str]] = {}
    for each in sorted(requests, key=lambda one: (one.attempt, one.created)):
        place = (each.run, each.task, each.index)
        if place in newest:
            older.setdefault(place, []).append(newest[place].id)
        newest[place] = each
    for place, each in newest.items():
        there = tasks.get(place)
        dead = (there is None or there.attempt != each.attempt) and now - each.created > GRACE_SECONDS
        spec = TaskSpec(
            id=each.id,
            run=each.run,
            task=each.task,
            attempt=each.attempt,
            created=each.created,
            work=dict(each.work),
            older=tuple(older.get(place, ())),
            dead=dead,
        )
        yield _child(resource, spec, each.index)
    for one in waiting:
        if (one.run, one.task, one.index) not in newest:
            yield _child(resource, TaskSpec(run=one.run, task=one.task, pooled=one.pool), one.index)


def of_dag(requests: Iterable[Request], dag: str) -> list[Request]:
    return [each for each in requests if each.dag == dag]


def key(task: str, run: str, index: int = -1) -> str:
    """`train@2026-11-29T03:00`: short enough for a table, and nobody else's."""
    short = re.sub(r"^scheduled__(\d{4}-\d\d-\d\dT\d\d:\d\d).*$", r"\1", run).removeprefix("manual__")
    return f"{task}@{short}" + (f".{index}" if index >= 0 else "")


def named(work: Mapping[str, JSON]) -> list[Ref]:
    """Resources whose outputs it needs."""
    texts = (str(work.get(name) or "") for name in ("ref", "dataset", "experiment"))
    return [ref for text in texts if text and (ref := Ref.parse(text, set(KINDS.values()))) is not None]


def target(work: Mapping[str, JSON]) -> Ref | None:
    """The resource that a step is about; None = it is about none."""
    text = str(work.get("ref") or "")
    return Ref.parse(text, set(KINDS.values())) if text else None


def _child(resource: Resource[Any], spec: TaskSpec, index: int) -> Resource[TaskSpec]:
    return Resource(
        ref=replace(resource.ref, key=key(spec.task, spec.run, index)),
        spec=spec,
        lifecycle=resource.lifecycle,
        labels=resource.labels,
        location=resource.location,
        source=resource.source,
        digest=digest_of(spec.model_dump(mode="json")),
        prune="auto",
        root=resource.root,
        references=tuple(ref for ref in named(spec.work) if ref in resource.references),
        requires=(*resource.requires, resource.ref),
        inputs=resource.inputs,
    )
