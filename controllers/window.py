"""A look at one window of a Monitor: a worker under a lease. A child of the Monitor; no manifest names it.

What it finds lies in a file, and the Monitor judges it in the next pass; a worker that dies leaves nothing behind and is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controllers.monitors import notes, windows
from controllers.monitors.windows import INFO, KEY, LookSpec, job_id
from controllers.runs.standing import lives
from reconciler.controller import Context
from reconciler.errors import Terminal
from reconciler.model import (
    Absent,
    Create,
    Demand,
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
    Progress,
    Ref,
    Replace,
    Resource,
    Started,
    Update,
)

PENDING = "pending"
"""In the Monitor's notebook."""


class WindowController:
    """See `reconciler.controller.Controller`; also Demands and Projects."""

    info = INFO
    tool = "evidently"
    services = ()

    def observe(self, resources: Sequence[Resource[LookSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        running = ctx.jobs.look() if ctx.jobs is not None else {}
        seen = {each.ref: _seen(each, running, ctx) for each in resources}
        return seen if ctx.focused else {**dict(_unwanted(running, resources, ctx)), **seen}

    def desired(self, resource: Resource[LookSpec]) -> Fields:
        return {"window": resource.spec.said}

    def diff(self, resource: Resource[LookSpec], seen: Present) -> Diff:
        return ()

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        found: Resource[Any] = action.resource
        return windows.demand(found.spec, found.ref) if isinstance(action, Create) else None

    def health(self, resource: Resource[LookSpec], seen: Present) -> HealthReport:
        state = {"starting": "a worker starts", "paused": "paused"}.get(seen.raw["job"], "a worker looks at it")
        return HealthReport(Health.PROGRESSING, f"{resource.spec.said}: {state}", "Looking")

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        """Note it, then launch: who is killed in between launches the same once more."""
        found: Resource[Any] = action.resource
        if ctx.jobs is None or found.ref not in ctx.granted:
            raise Terminal(f"{found.ref} has no lease", hint="work starts only when admission has granted what it needs")
        page, parent = ctx.memo(replace(found.ref, key="")), found.spec.pending
        tries = int(parent.get("tries") or 0) + 1
        page[PENDING] = {**parent, "tries": tries, "job": job_id(found.spec.key, tries)}
        ctx.jobs.launch(windows.job(found, tries, ctx))
        return Started(job_id(found.spec.key, tries))

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Its Monitor does not want to know any more."""
        if ctx.jobs is not None:
            ctx.jobs.stop(owned.external_id, "its monitor is not wanted any more")
        return Done(owned.external_id)


def _seen(found: Resource[LookSpec], running: Mapping[str, Progress], ctx: Context) -> Observation:
    id = job_id(found.spec.key, int(found.spec.pending.get("tries") or 0))
    worker = running.get(id)
    if worker is None or not lives(worker):
        return Absent()
    fields: Fields = {"window": found.spec.said}
    return Present(id, fields, mark=Mark(ctx.installation, str(found.ref)), raw={"job": worker.state})


def _unwanted(running: Mapping[str, Progress], resources: Sequence[Resource[LookSpec]], ctx: Context) -> Iterator[tuple[Ref, Present]]:
    """Workers that live although nobody wants to know what they will find."""
    asked = {each.ref for each in resources}
    for id, worker in running.items():
        ref = Ref.parse(worker.ref, [INFO.name])
        if ref is None or ref.key != KEY or ref in asked or not id.startswith("window-") or not lives(worker):
            continue
        kept = notes.read(ctx.memo(replace(ref, key="")))
        if kept.pending is None or kept.pending.job != id:
            yield ref, Present(id, {}, mark=Mark(ctx.installation, str(ref)))
