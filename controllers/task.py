"""One task of a workflow's run that asks for something: a job under a lease, or something that the reconciler waits for. A child of the
Workflow; no manifest names it.

What it asks for lies in a file (`reconciler.exchange`); a job's supervisor writes the answer itself, so that nobody else need be up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from controllers.runs.standing import lives
from controllers.workflows import comparing, jobs
from controllers.workflows.asking import INFO, KIND, TaskSpec
from controllers.workflows.waiting import answer_to, told
from reconciler import exchange
from reconciler.controller import Context
from reconciler.errors import Terminal
from reconciler.exchange import Answer
from reconciler.model import (
    Absent,
    Change,
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

AGAIN_SHARE, SOONEST, LATEST = 0.1, 1.0, 15.0
"""What is waited for is looked at again after a tenth of the time that it has taken so far, within these seconds."""
WRONG = (Terminal, ValueError, TypeError, KeyError)
"""What an output of an earlier task can be: no number, no header."""
WITHDRAWN = "its task does not wait for it any more"


class TaskController:
    """See `reconciler.controller.Controller`; also Demands and Projects."""

    info = INFO
    tool = "airflow"
    services = ()

    def observe(self, resources: Sequence[Resource[TaskSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        running = ctx.jobs.look() if ctx.jobs is not None else {}
        by_ref: dict[str, list[str]] = {}
        for id, job in running.items():
            if id.startswith(exchange.PREFIX) and lives(job):
                by_ref.setdefault(job.ref, []).append(id)
        seen: dict[Ref, Observation] = {
            each.ref: _seen(each, running.get(each.spec.id), by_ref.get(str(each.ref), ()), ctx) for each in resources
        }
        return seen if ctx.focused else {**dict(_unasked(running, resources, ctx)), **seen}

    def desired(self, resource: Resource[TaskSpec]) -> Fields:
        work = resource.spec.work
        shown = {name: work[name] for name in ("command", "call", "ref", "metric") if work.get(name)}
        return {"run": resource.spec.run, "attempt": resource.spec.attempt, **shown}

    def diff(self, resource: Resource[TaskSpec], seen: Present) -> Diff:
        if seen.raw.get("over"):
            return ()
        if resource.spec.dead:
            return (Change("request", "open", "withdrawn", note=WITHDRAWN),)
        if seen.raw.get("ends"):
            return (Change("job", "running", "ended", note="what an earlier try of it has left ends first"),)
        found: Answer | None = seen.raw.get("answer")
        if found is not None:
            return (Change("answer", None, "ok" if found.ok else "failed", note=found.why or told(resource)),)
        if resource.spec.work.get("do") == "compare":
            return (Change("answer", None, "told", note="every model has its score: they are compared, and MLflow is told"),)
        return ()

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        child: Resource[Any] = action.resource
        return jobs.demand(child) if isinstance(action, Create) and child.spec.work.get("do") in jobs.JOBS else None

    def health(self, resource: Resource[TaskSpec], seen: Present) -> HealthReport:
        if resource.spec.pooled:
            return HealthReport(Health.PROGRESSING, str(seen.raw["message"]), "WaitingForPool")
        job: str = seen.raw.get("job", "")
        if job:
            state = {"starting": "its environment is being made", "paused": "paused"}.get(job, "running")
            return HealthReport(Health.PROGRESSING, state, {"starting": "Starting", "paused": "Paused"}.get(job, "Running"))
        return HealthReport(Health.PROGRESSING, str(seen.raw.get("message") or "its answer is on its way"), "Waiting")

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        child: Resource[Any] = action.resource
        spec, place = child.spec, exchange.folder(ctx.state_dir)
        if not exchange.is_open(place, spec.id):
            return Done(spec.id)  # answered, or withdrawn, since the plan
        if spec.dead:
            return _withdraw(spec.id, ctx)
        if isinstance(action, Create):
            return self._launch(child, ctx)
        if ends := action.seen.raw.get("ends"):
            for id in ends:
                _withdraw(id, ctx)
            return Started(spec.id)  # its turn comes when they have ended
        try:
            found = comparing.compare(child, ctx) if spec.work["do"] == "compare" else answer_to(child, ctx)
        except WRONG as error:
            found = Answer(False, _told(error))
        if found is not None:
            exchange.answer(place, spec.id, found)
        return Done(spec.id)

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Its task does not wait any more: what runs for it is ended."""
        return _withdraw(owned.external_id, ctx)

    def _launch(self, child: Resource[TaskSpec], ctx: Context) -> Outcome:
        if ctx.jobs is None or child.ref not in ctx.granted:
            raise Terminal(f"{child.ref} has no lease", hint="work starts only when admission has granted what it needs")
        try:
            ctx.jobs.launch(jobs.job(child, ctx))
        except WRONG as error:  # it will not start another time either, and somebody waits
            exchange.answer(exchange.folder(ctx.state_dir), child.spec.id, Answer(False, _told(error)))
            return Done(child.spec.id)
        return Started(child.spec.id)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, Terminal) else f"what it asks for cannot be done: {type(error).__name__}: {error}"


def _seen(child: Resource[TaskSpec], job: Progress | None, living: Sequence[str], ctx: Context) -> Observation:
    spec, mark = child.spec, Mark(ctx.installation, str(child.ref))
    fields: Fields = {"run": spec.run, "attempt": spec.attempt}
    if spec.pooled:
        slots = ctx.slots(child.ref.owner)
        why = slots.why or "all its slots are taken"
        return Present(
            "", fields, mark=mark, raw={"message": f"waits for a slot of pool {spec.pooled} ({slots.now} of {slots.full}): {why}"}
        )
    if not exchange.is_open(exchange.folder(ctx.state_dir), spec.id):
        return Present(spec.id, fields, mark=mark, raw={"over": True})
    if (ends := [*spec.older, *(id for id in living if id != spec.id)]) and not spec.dead:
        return Present(spec.id, fields, mark=mark, raw={"ends": ends, "message": "what an earlier try of it has left ends first"})
    if spec.work.get("do") in jobs.JOBS and not spec.dead:
        if job is None or (job.state == "lost" and not job.since and not job.ended):  # it was never started
            return Absent()
        return Present(spec.id, fields, mark=mark, raw={"job": job.state if lives(job) else ""})
    again = ctx.now() + timedelta(seconds=min(LATEST, max(SOONEST, AGAIN_SHARE * (ctx.now().timestamp() - spec.created))))
    raw = {} if spec.dead or spec.work.get("do") == "compare" else {"answer": answer_to(child, ctx), "message": told(child, ctx)}
    return Present(spec.id, fields, mark=mark, raw=raw, recheck_at=again)


def _unasked(running: Mapping[str, Progress], resources: Sequence[Resource[TaskSpec]], ctx: Context) -> Iterator[tuple[Ref, Present]]:
    """Jobs that live although nobody waits for them any more."""
    asked = {each.spec.id for each in resources}
    for id, job in running.items():
        ref = Ref.parse(job.ref, [KIND])
        if ref is not None and ref.key and id not in asked and lives(job) and not exchange.is_open(exchange.folder(ctx.state_dir), id):
            yield ref, Present(id, {}, mark=Mark(ctx.installation, str(ref)))


def _withdraw(id: str, ctx: Context) -> Outcome:
    exchange.answer(exchange.folder(ctx.state_dir), id, Answer(False, WITHDRAWN))
    if ctx.jobs is not None:
        ctx.jobs.stop(id, WITHDRAWN)
    return Done(id)
