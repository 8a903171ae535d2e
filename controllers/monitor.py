"""Monitor: windows of a deployment's log, or versions of data, looked at by Evidently in workers, and what follows from it.

Marks: the description of its project in Evidently's workspace, whose id is made from installation and Ref. What exists of it is that
project; where it stands (windows, the open episode) is in its notebook. A look is a child (`controllers.window`); its result is judged
here, once (`controllers.monitors.judging`), and what is to be done about a breach is carried out by the engine (`Reacts`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controllers.monitors import judging, looking, notes, reacting, schedule, telling, windows
from controllers.monitors.causes import causes
from controllers.monitors.looking import APPLIED
from controllers.monitors.notes import Notes
from controllers.monitors.scene import Scene, bound
from controllers.tools import evidently
from controllers.window import WindowController
from reconciler.controller import Context, Reaction
from reconciler.errors import Terminal, Transient
from reconciler.model import (
    JSON,
    Absent,
    Create,
    Diff,
    Done,
    Fields,
    Health,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Update,
    manifest,
)
from reconciler.model.monitoring import WindowResult, folder
from schemas.base import duration_value
from schemas.monitor import KIND, MonitorSpec

SCENE = "scene"
"""In `Present.raw`, and in what is told to `children`."""
HEAT = ("nominal", "fair", "serious", "critical")


class MonitorController:
    """See `reconciler.controller.Controller`; also Projects, Expands, Reacts and Exports."""

    info = KIND
    tool = "evidently"
    unmovable = (
        "its reports, its windows and what it has learned to expect are kept under its name; declare it anew, and remove the old one"
    )
    services = ("evidently",)
    child = WindowController()
    released = "the worker that looks for it is ended"

    def observe(self, resources: Sequence[Resource[MonitorSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        found = looking.scenes(resources, ctx)
        seen: dict[Ref, Observation] = {each.ref: _present(each, found[each.ref], ctx) for each in resources}
        return seen if ctx.focused else {**_orphans(ctx), **seen}

    def desired(self, resource: Resource[MonitorSpec]) -> Fields:
        return telling.fields(resource)

    def diff(self, resource: Resource[MonitorSpec], seen: Present) -> Diff:
        return telling.changes(resource, bound(seen.raw[SCENE], resource))

    def health(self, resource: Resource[MonitorSpec], seen: Present) -> HealthReport:
        return telling.health(resource, bound(seen.raw[SCENE], resource))

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        scene = looking.scenes([resource], ctx)[resource.ref]
        wanted = telling.charts(resource)
        if scene.dashboard != wanted:
            evidently.connect(ctx).put(resource.ref, _described(resource), wanted)
        page, after = ctx.memo(resource.ref), _after(resource, scene)
        page.clear()
        page.update({**notes.written(after), APPLIED: telling.fields(resource)})
        if scene.notes.pending is not None and after.pending is None:
            _tidy(resource, scene, ctx)
        return Done(evidently.project_id(ctx.installation, resource.ref), telling.outputs(after))

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Nothing is looked at any more; the reports stay in the workspace, without our mark."""
        pending = notes.read(ctx.memo(owned.ref)).pending
        if pending is not None and pending.job and ctx.jobs is not None:
            ctx.jobs.stop(pending.job, "its monitor is not wanted any more")
        evidently.connect(ctx).release(owned.external_id, f"Not watched any more since {ctx.now():%Y-%m-%d}.")
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def facts(self, resources: Sequence[Resource[MonitorSpec]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
        return {ref: {SCENE: scene, "state": ctx.state_dir.resolve()} for ref, scene in looking.scenes(resources, ctx).items()}

    def children(self, resource: Resource[MonitorSpec], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[Any]]:
        scene: Scene | None = facts.get(SCENE)
        if scene is None or not scene.notes.since or scene.result is not None or telling.given_up(scene):
            return ()
        version = scene.data.digest if scene.data is not None else ""
        pending = schedule.due(resource.spec, scene.notes, scene.about, scene.now, scene.rows, scene.labels, version)
        if pending is None or scene.trouble:
            return ()
        return (windows.child(resource, scene, pending, facts["state"]),)

    def sum_up(
        self, resource: Resource[MonitorSpec], own: HealthReport, children: Sequence[tuple[Resource[Any], Health, str]], ctx: Context
    ) -> HealthReport:
        """A look that waits or runs says nothing about how what is watched is; one that can never be made does."""
        stuck = [reason for _, health, reason in children if health is Health.MISSING and reason.startswith("Exceeds")]
        if stuck:
            said = "its worker is larger than what it can ever be given: change `resources` or the quota"
            return HealthReport(Health.DEGRADED, said, stuck[0], stalled=True)
        return own

    def found(self, ctx: Context) -> Sequence[str]:
        return sorted({*(ref.path for ref in _orphans(ctx)), *evidently.connect(ctx).others()})

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """From the notebook that its windows are judged by."""
        project, _, name = external_id.partition("/")
        ref = Ref(KIND.name, project, name)
        if ref not in _orphans(ctx):
            if external_id not in evidently.connect(ctx).others():
                raise Terminal(f"Evidently's workspace has no project '{external_id}'", hint="name it as project/name")
            raise Terminal(
                "not watched by this installation: the reports are there, and what computes them is not",
                hint="declare a Monitor; its reports get a project of their own",
            )
        if not (applied := ctx.memo(ref).get(APPLIED)):
            raise Terminal(
                "its notebook is lost, and its reports do not say what they looked for",
                hint="restore a backup of the Store (`reconcile platform restore FILE`), or write the manifest by hand",
            )
        return manifest(ref, {key: each for key, each in applied.items() if key != "labels"}, labels=applied.get("labels") or {})

    def reactions(self, resource: Resource[MonitorSpec], ctx: Context) -> Sequence[Reaction]:
        return reacting.due(resource, notes.read(ctx.memo(resource.ref)), ctx.now().timestamp())

    def reacted(self, resource: Resource[MonitorSpec], reaction: Reaction, said: str, ctx: Context, *, carried_out: bool) -> None:
        page = ctx.memo(resource.ref)
        applied = page.get(APPLIED)
        after = reacting.done(notes.read(page), reaction, said, ctx.now().timestamp(), carried_out=carried_out)
        page.clear()
        page.update({**notes.written(after), APPLIED: applied})


def _present(resource: Resource[MonitorSpec], scene: Scene, ctx: Context) -> Observation:
    if scene.dashboard is None:
        return Absent()
    at = schedule.next_look(resource.spec, scene.notes) if scene.notes.episode is None and scene.notes.pending is None else None
    return Present(
        evidently.project_id(ctx.installation, resource.ref),
        scene.applied,
        telling.outputs(scene.notes),
        Mark(ctx.installation, str(resource.ref)),
        datetime.fromtimestamp(at, UTC) if at is not None else None,
        raw={SCENE: scene},
    )


def _orphans(ctx: Context) -> Mapping[Ref, Observation]:
    """Projects with our mark, whoever asks for them."""
    found: dict[Ref, Observation] = {}
    for each in evidently.connect(ctx).projects().values():
        ref = Ref.parse(each.ref, [KIND.name])
        if ref is not None and not ref.key:
            found[ref] = Present(each.id, {}, mark=Mark(ctx.installation, str(ref)))
    return found


def _after(resource: Resource[MonitorSpec], scene: Scene) -> Notes:
    """The notebook that follows from what was seen."""
    spec, kept = resource.spec, scene.notes
    if not kept.since:
        return schedule.begin(spec, kept, scene.now, scene.rows)
    found = scene.result
    if found is None and telling.given_up(scene):
        found = _unseen(scene)
    if found is None or kept.pending is None:
        return kept
    if scene.data is not None:  # a file has no time of its own
        found = replace(found, start=kept.pending.start, end=kept.pending.end)
    heat = found.measured.get("heat")
    context = {**kept.pending.context, "heat": HEAT[int(heat)] if heat is not None else kept.good.get("heat", "")}
    kept = replace(kept, pending=replace(kept.pending, context=context))
    return judging.judge(resource.ref, spec, kept, found, causes(found, context, kept.good), scene.now)


def _unseen(scene: Scene) -> WindowResult:
    """Of a window that no worker came to the end of: nothing is known, and the next one is looked at."""
    pending = scene.notes.pending
    assert pending is not None
    why = (scene.job.why if scene.job is not None else "") or "it ended without a word"
    tail = (scene.job.tail if scene.job is not None else "").strip().splitlines()
    said = f"{pending.tries} workers ended without a result: {why}{f' ({tail[-1][:200]})' if tail else ''}"
    rows = pending.count if pending.count else 0
    return WindowResult(pending.key, "hold", pending.start, pending.end or scene.now, rows=rows, why=said)


def _tidy(resource: Resource[MonitorSpec], scene: Scene, ctx: Context) -> None:
    """The worker's folder, its instructions, and results whose time is over; the report is announced a second time."""
    if scene.result is not None and scene.result.snapshot:
        evidently.connect(ctx).announce(evidently.project_id(ctx.installation, resource.ref), scene.result.snapshot)
    pending, place = scene.notes.pending, folder(ctx.state_dir) / resource.ref.owner / resource.ref.name
    assert pending is not None
    for number in range(1, pending.tries + 1):
        with suppress(Transient):  # on its way out: the next window's turn
            if ctx.jobs is not None:
                ctx.jobs.forget(windows.job_id(pending.key, number))
    (place / f"{pending.key}.spec").unlink(missing_ok=True)
    retain = duration_value(resource.spec.retain).total_seconds()
    for path in place.glob("*.json"):
        _expire(path, retain)


def _expire(path: Path, retain: float) -> None:
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > retain:
            path.unlink()


def _described(resource: Resource[MonitorSpec]) -> str:
    spec = resource.spec
    watched = f"deployment {spec.deployment}" if spec.deployment is not None else f"versions of dataset {spec.dataset}"
    return f"Watches {watched} of project {resource.ref.owner}. Each report is one window."
