"""Looking at monitors: the workspace, the routes, how much was logged, the results of workers. Reads only."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from controllers.monitors.notes import Notes, read
from controllers.monitors.scene import Scene, bound, named
from controllers.monitors.windows import job_id, result_file
from controllers.tools import evidently, gateway
from controllers.tools.dvc import Dvc
from controllers.tools.dvc_open import open_dvc
from controllers.tools.machine import probe
from reconciler.controller import Context
from reconciler.model import Progress, Ref, Resource
from reconciler.model.monitoring import Found, Source, WindowResult
from reconciler.model.serving import Route, Target, ever_written, folder, replicas_folder
from schemas.monitor import MonitorSpec

APPLIED = "applied"
"""In a monitor's notebook: its manifest as it was applied last."""


def scenes(resources: Sequence[Resource[MonitorSpec]], ctx: Context) -> Mapping[Ref, Scene]:
    """What is known of each of them now."""
    jobs = ctx.jobs.look() if ctx.jobs is not None and resources else {}
    routes = gateway.connect(ctx).routes().routes if any(each.spec.deployment is not None for each in resources) else {}
    return {each.ref: _scene(each, jobs, routes, ctx) for each in resources}


def _scene(resource: Resource[MonitorSpec], jobs: Mapping[str, Progress], routes: Mapping[str, Route], ctx: Context) -> Scene:
    spec, page = resource.spec, ctx.memo(resource.ref)
    notes = read(page)
    project = evidently.connect(ctx).projects().get(evidently.project_id(ctx.installation, resource.ref))
    watched = named(spec.deployment, resource.ref, "Deployment")
    route = routes.get(watched.path) if watched is not None else None
    serving = max(route.targets, key=lambda each: each.weight, default=None) if route is not None else None
    training, untrained = _training(serving, ctx) if spec.reference.training else (None, "")
    machine = probe(ctx).machine()
    scene = Scene(
        installation=ctx.installation,
        notes=notes,
        now=ctx.now().timestamp(),
        watched=watched,
        serving=serving,
        unlogged=_unlogged(watched, route),
        training=training,
        untrained=untrained,
        versions=ctx.client(Dvc, open_dvc).cache.path,
        rows=_logged("predictions", watched, ctx),
        labels=_logged("feedback", watched, ctx),
        machine={
            "os": f"{platform.system()} {platform.release()}",
            "machine": machine.architecture,
            "mlx": machine.packages.get("mlx", ""),
            "python": machine.python,
        },
        expected=_inputs(route, serving, ctx),
        result=_result(result_file(ctx.state_dir, resource.ref, notes.pending.key)) if notes.pending is not None else None,
        job=_job(notes, jobs),
        dashboard=project.dashboard if project is not None else None,
        applied=dict(page.get(APPLIED) or {}),
    )
    return bound(scene, resource)


def _job(notes: Notes, jobs: Mapping[str, Progress]) -> Progress | None:
    return jobs.get(job_id(notes.pending.key, notes.pending.tries)) if notes.pending is not None else None


def _unlogged(watched: Ref | None, route: Route | None) -> str:
    if route is None or route.predictions.log:
        return ""
    return f"{watched} does not log what it answers: set `predictions: {{log: true}}` in its manifest"


def _training(serving: Target | None, ctx: Context) -> tuple[Source | None, str]:
    """The version of the data that the served model's run was trained on: what is in DVC's cache, whatever the file is by now. None, with
    the reason, when it cannot be had."""
    if serving is None:
        return None, ""
    if not serving.datasets:
        told = f"version {serving.version} of {serving.model} does not say what data it was trained on"
        return None, f"{told}: name a `reference: {{dataset: ...}}`"
    name, digest = next(iter(serving.datasets.items()))
    if digest.endswith(".dir"):
        return None, f"{name}, on which {serving.model} was trained, is a folder: name a `reference: {{dataset: ...}}` that is a table"
    path = ctx.client(Dvc, open_dvc).cache.path(digest)
    if not path.exists():
        return None, f"{name} as {serving.model} was trained on it ({digest[:8]}) is not in DVC's cache any more"
    return Source("data", path=str(path), digest=digest), ""


def _logged(what: str, watched: Ref | None, ctx: Context) -> int:
    return ever_written(folder(ctx.state_dir) / what / watched.owner / watched.name) if watched is not None else 0


def _inputs(route: Route | None, serving: Target | None, ctx: Context) -> tuple[str, ...]:
    """Fields that the served model asks for, as one of its replicas tells; without those that are never written."""
    hidden = {path.partition(".")[0] for path in route.predictions.redact} if route is not None else set()
    for raw in _registrations(replicas_folder(ctx.state_dir) / serving.app) if serving is not None else ():
        properties = (raw.get("input") or {}).get("properties")
        if isinstance(properties, dict):
            return tuple(name for name in properties if name not in hidden)
    return ()


def _registrations(where: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(where.glob("*.json")):
        with suppress(OSError, ValueError):
            raw = json.loads(path.read_bytes())
            if isinstance(raw, dict):
                yield raw


def _result(path: Path) -> WindowResult | None:
    """What the worker found; None while there is nothing whole."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        raw = json.loads(path.read_bytes())
        checks = tuple(Found(**{**each, "columns": tuple(each.get("columns") or ())}) for each in raw.pop("checks", ()))
        return WindowResult(**{**raw, "checks": checks})
    return None
