"""The worker that looks at a window, as a child of its Monitor: what it asks of the machine, and what it is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from controllers.monitors.notes import Pending
from controllers.monitors.scene import Scene
from controllers.runs.launch import under_lease
from controllers.tools.evidently import made_id, project_id
from controllers.tools.ours import import_path, worker
from reconciler.controller import Context
from reconciler.model import Demand, Job, Ref, Resource
from reconciler.model.demand import one_core
from reconciler.model.monitoring import Source, WindowSpec, folder, workspace
from schemas.base import KindInfo, Spec, duration_value
from schemas.monitor import MonitorSpec

KEY = "window"
"""Of the one child: a monitor looks at one window at a time, and what waits keeps its place in the queue when the window moves on."""
PROGRAM = "reconciler.monitoring"


class LookSpec(Spec):
    """A look at one window. Not written in manifests."""

    key: str
    told: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    """The WindowSpec, as plain values."""
    pending: dict[str, Any] = {}  # noqa: RUF012
    said: str = ""
    """Which window, in words."""
    resources: dict[str, Any] = {}  # noqa: RUF012
    timeout: float = 600.0


INFO = KindInfo(name="Monitor", spec=LookSpec, scope="project", prune="auto", summary="A look at one window of a monitor.")


def child(resource: Resource[MonitorSpec], scene: Scene, pending: Pending, ctx_dir: Path) -> Resource[LookSpec]:
    """The child that looks at `pending`."""
    spec = resource.spec
    assert scene.reference is not None
    told = WindowSpec(
        key=pending.key,
        ref=str(resource.ref),
        state_dir=str(ctx_dir),
        current=_current(resource, scene, pending),
        reference=_reference(scene.reference, pending),
        checks={**spec.checks.model_dump(mode="json", by_alias=True), **({"predictions": None} if scene.data is not None else {})},
        result=str(result_file(ctx_dir, resource.ref, pending.key)),
        min_rows=spec.min_rows,
        max_rows=spec.max_rows,
        target=spec.target or "",
        baseline=scene.notes.baseline if scene.notes.baseline_of == scene.context.get("revision") else {},
        workspace=str(workspace(ctx_dir)),
        project=project_id(scene.installation, resource.ref),
        snapshot=made_id(resource.ref, pending.start, pending.end or pending.count),
        retain=duration_value(spec.retain).total_seconds(),
        expected=scene.expected,
        marks={"installation": scene.installation},
    )
    look = LookSpec(
        key=pending.key,
        told=asdict(told),
        pending=asdict(replace(pending, context=pending.context or scene.context, labels_then=scene.labels)),
        said=scene.words(pending),
        resources=spec.resources.model_dump(mode="json"),
        timeout=duration_value(spec.timeout).total_seconds(),
    )
    return Resource(
        ref=replace(resource.ref, key=KEY),
        spec=look,
        lifecycle=resource.lifecycle,
        labels=resource.labels,
        location=resource.location,
        source=resource.source,
        digest=pending.key,
        prune="auto",
        root=resource.root,
        requires=(*resource.requires, resource.ref),
        inputs=resource.inputs,
    )


def demand(spec: LookSpec, ref: Ref) -> Demand:
    """What it asks of the machine: heavy work like any other, and no launch that anybody has to agree to."""
    amounts = one_core(spec.resources)
    seconds = spec.resources.get("duration")
    return Demand(
        work="monitor",
        peak=amounts,
        steady=amounts,
        seconds=duration_value(seconds).total_seconds() if seconds else None,
        template=f"{replace(ref, key='')}/window/{spec.resources.get('memory') or ''}",
        declared=spec.resources.get("memory") is not None,
        fresh=False,
    )


def job(found: Resource[LookSpec], tries: int, ctx: Context) -> Job:
    """The worker as it is handed to the runner, its instructions written. Needs the lease of `found` in `ctx.granted`."""
    spec = found.spec
    place = Path(spec.told["result"]).parent
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"{spec.key}.spec"
    path.touch(mode=0o600)
    path.write_text(json.dumps(spec.told), encoding="utf-8")
    program = worker(ctx)
    env: Mapping[str, str] = {"PYTHONPATH": paths} if (paths := import_path(ctx, program)) else {}
    made = Job(
        id=job_id(spec.key, tries),
        ref=str(found.ref),
        backend="local",
        cwd=str(place),
        entrypoint=PROGRAM,
        arguments=(str(path),),
        requirements=(),
        interpreter=program,
        project=found.ref.owner,
        env={"DO_NOT_TRACK": "1", **env},
        timeout=spec.timeout,
    )
    return under_lease(made, found.ref, ctx)


def job_id(key: str, tries: int) -> str:
    return f"window-{key}-{tries}"


def result_file(state_dir: Path, ref: Ref, key: str) -> Path:
    return folder(state_dir) / ref.owner / ref.name / f"{key}.json"


def _current(resource: Resource[MonitorSpec], scene: Scene, pending: Pending) -> Source:
    if scene.data is not None:
        return scene.data
    assert scene.watched is not None
    project, name = scene.watched.owner, scene.watched.name
    return Source("log", project, name, pending.start, pending.end, pending.count)


def _reference(reference: Source, pending: Pending) -> Source:
    """Of another deployment: the same time."""
    if reference.kind == "log" and not reference.start:
        return replace(reference, start=pending.start, end=pending.end, count=pending.count)
    return reference
