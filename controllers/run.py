"""One run of an Experiment: a run in MLflow and the job that fills it. A child of the Experiment; no manifest names it.

Marks are tags of the run, set in the request that creates it (`controllers.runs.launch.tags`). Nothing is ever deleted: what is not
wanted any more is stopped where it runs, and keeps its place in MLflow with `mlops.superseded`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from controllers.runs import launch
from controllers.runs.identity import parts
from controllers.runs.observing import EXPANDED, KIND, LOST, SETTLED, ends, extras, listing, seen_of, with_tag, wrong_marks
from controllers.runs.releasing import give_up, let_go, look, stop
from controllers.runs.standing import BY_HAND, How, Standing, Tag, leftover, standing
from controllers.runs.telling import Step, asks, differences, health, step
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import Mlflow, connect
from controllers.tools.mlflow_runs import RunInfo
from reconciler.controller import Context
from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import (
    Create,
    Demand,
    Diff,
    Done,
    Fields,
    HealthReport,
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
from schemas.base import KindInfo
from schemas.run import RunSpec


class RunController:
    """See `reconciler.controller.Controller`; also Demands and Projects."""

    info = KindInfo(name=KIND, spec=RunSpec, scope="project", prune="auto", summary="One run of an experiment.")
    tool = "mlflow"
    services = ("mlflow",)

    def observe(self, resources: Sequence[Resource[RunSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        jobs = look(ctx)  # before MLflow: what has reported its end by now is ended there too
        mlflow = connect(ctx)
        parents = {replace(each.ref, key="") for each in resources}
        if not ctx.focused:
            parents |= _left_behind(mlflow, ctx)
        found = listing(mlflow, parents, ctx)
        seen: dict[Ref, Observation] = {each.ref: seen_of(each, found, jobs, ctx) for each in resources}
        return seen if ctx.focused else {**dict(extras(found, resources, ctx.installation)), **seen}

    def desired(self, resource: Resource[RunSpec]) -> Fields:
        return parts(resource)

    def diff(self, resource: Resource[RunSpec], seen: Present) -> Diff:
        return differences(resource, seen)

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        return asks(action)

    def health(self, resource: Resource[RunSpec], seen: Present) -> HealthReport:
        return health(resource, seen)

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        """What there is to do is decided again on what MLflow says at this moment, so that a repeated call never makes a twin."""
        child: Resource[Any] = action.resource
        wanted = launch.checked(child, ctx)
        jobs, mlflow = look(ctx), connect(ctx)
        experiment = mlflow.ids([child.ref.path]).get(child.ref.path)
        if experiment is None:
            raise Transient(f"experiment {child.ref.path} is not there yet")
        same = with_tag(mlflow, experiment, Tag.KEY, wanted, ctx)
        here = standing(wanted, child.spec.runs.rerun or "", same, jobs, ctx.now().timestamp())
        old = leftover(wanted, str(child.ref), with_tag(mlflow, experiment, Tag.REF, str(child.ref), ctx), here.run)
        if active := [each for each in old if each.active]:
            let_go(mlflow, active, jobs, ctx, wanted)
            return Started(active[0].id)
        if here.launches(child.spec.runs.retries) and isinstance(action, Update) and step(child, action.seen) is not Step.LAUNCH:
            return Started(action.seen.external_id)  # what had to end first has ended since the plan: the next pass asks for room
        outcome = _carry(child, here, experiment, mlflow, ctx)
        for each in old:
            give_up(each, ctx)
            mlflow_runs.log(mlflow, each.id, tags={Tag.SUPERSEDED: "true"})
        return outcome

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Let go of all runs of this name: what is active is stopped, and all are marked as superseded."""
        mlflow = connect(ctx)
        run = mlflow_runs.run(mlflow, owned.external_id)
        if run is None:
            return Done(owned.external_id)
        if (run.tags.get(Tag.INSTALLATION), run.tags.get(Tag.REF)) != (ctx.installation, str(owned.ref)):
            raise Conflict(f"run {run.id} does not carry the mark of {owned.ref}; it was left alone")
        marks = {Tag.INSTALLATION: ctx.installation, Tag.REF: str(owned.ref)}
        named = [each for each in mlflow_runs.search(mlflow, [run.experiment], marks) if not each.deleted]
        let_go(mlflow, named, look(ctx), ctx)
        return Done(owned.external_id)


def _carry(child: Resource[RunSpec], here: Standing, experiment: str, mlflow: Mlflow, ctx: Context) -> Outcome:
    """Do what the standing of the wanted run asks for."""
    run = here.run
    match here.how:
        case How.NONE | How.AGAIN | How.PUT_BACK:
            return _launch(child, None, here.attempts + 1, experiment, mlflow, ctx)
        case How.UNLAUNCHED:
            assert run is not None
            return _launch(child, run.id, 0, experiment, mlflow, ctx)
        case How.FAILED if here.failed <= child.spec.runs.retries:
            return _launch(child, None, here.attempts + 1, experiment, mlflow, ctx)
    assert run is not None
    if here.how is How.UNREPORTED:
        _report(run, here.job, mlflow, ctx)
        return Started(run.id)  # how it goes on is decided on what MLflow says then
    if here.job_lives and here.how in (How.DELETED, How.STOPPED):
        stop(run.id, BY_HAND, ctx)
        return Started(run.id)
    if here.how in (How.FINISHED, How.ACTIVE) and (wrong := wrong_marks(child, run)):
        mlflow_runs.log(mlflow, run.id, tags={tag: want or "false" for tag, (_, want) in wrong.items()})
        if Tag.REF in wrong:
            mlflow_runs.rename(mlflow, run.id, child.ref.key)
    return Done(run.id, {"run": run.id})


def _launch(child: Resource[RunSpec], run_id: str | None, attempt: int, experiment: str, mlflow: Mlflow, ctx: Context) -> Outcome:
    """Make the run in MLflow, unless it was made already, and hand its program over."""
    if ctx.jobs is None or child.ref not in ctx.granted:
        raise Terminal(f"{child.ref} has no lease", hint="work starts only when admission has granted what it needs")
    if run_id is None:
        tags, name = launch.tags(child, ctx, attempt), child.ref.key
        run_id = mlflow_runs.create(mlflow, experiment, name, tags, ctx.now().timestamp())
    mlflow_runs.log(mlflow, run_id, params=launch.params(child))
    mlflow_runs.log_inputs(mlflow, run_id, launch.inputs(child))
    try:
        ctx.jobs.launch(launch.job(child, run_id, experiment, ctx))
    except Terminal as error:  # it will not start another time either: a run that never ran must not look as if it did
        mlflow_runs.log(mlflow, run_id, tags={Tag.EXIT: str(error)[:5000]})
        mlflow_runs.end(mlflow, run_id, "FAILED", ctx.now().timestamp())
        raise
    return Started(run_id)


def _report(run: RunInfo, job: Progress | None, mlflow: Mlflow, ctx: Context) -> None:
    """Say in MLflow how a job has ended, on its behalf."""
    why = (job.why if job else "") or ("" if ends(job) == "FINISHED" else LOST)
    told = {Tag.EXIT: why, Tag.TAIL: job.tail[-4000:] if job else ""}
    if tags := {name: text for name, text in told.items() if text and name not in run.tags}:
        mlflow_runs.log(mlflow, run.id, tags=tags)
    mlflow_runs.end(mlflow, run.id, ends(job), (job.ended if job else 0) or ctx.now().timestamp())


def _left_behind(mlflow: Mlflow, ctx: Context) -> set[Ref]:
    """Our experiments that have had runs and may have some that nobody wants any more."""
    found: set[Ref] = set()
    for info in mlflow.seen():
        ref = Ref.parse(info.tags.get(Tag.REF, ""), [KIND])
        if (
            ref is not None
            and not ref.key
            and ref not in ctx.moving.values()
            and info.tags.get(Tag.INSTALLATION) == ctx.installation
            and info.name == ref.path
        ):
            page = ctx.memo(ref)
            if page.get(EXPANDED) and not page.get(SETTLED):
                found.add(ref)
    return found
