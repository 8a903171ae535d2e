"""Letting go of runs, and renaming them: what is active is stopped, nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controllers.runs.standing import Tag, checkpoint, lives, superseded
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import Mlflow
from controllers.tools.mlflow_runs import RunInfo
from reconciler.controller import Context
from reconciler.model import Progress, Ref

UNWANTED = "not wanted any more"


def look(ctx: Context) -> Mapping[str, Progress] | None:
    """Every job, by the id of its run; None = nothing here can tell."""
    return ctx.jobs.look() if ctx.jobs is not None else None


def stop(run_id: str, why: str, ctx: Context) -> None:
    """Ask the job of a run to end. Does not wait."""
    if ctx.jobs is not None:
        ctx.jobs.stop(run_id, why)


def give_up(run: RunInfo, ctx: Context) -> None:
    """Nobody needs what this run would have gone on from."""
    if ctx.jobs is not None:
        ctx.jobs.give_up(checkpoint(run.tags.get(Tag.KEY, "")))


def let_go(mlflow: Mlflow, runs: Iterable[RunInfo], jobs: Mapping[str, Progress] | None, ctx: Context, wanted: str = "") -> None:
    """Stop what is active, then mark as superseded: in this order, so that a crash in between is repaired by doing it again.

    `wanted` is the key of work that goes on in another run."""
    for run in runs:
        if run.tags.get(Tag.KEY) != wanted:
            give_up(run, ctx)
        if superseded(run) and not run.active:
            continue
        tags = {Tag.SUPERSEDED: "true"}
        if run.active:
            if lives((jobs or {}).get(run.id)):
                stop(run.id, UNWANTED, ctx)
            else:
                mlflow_runs.end(mlflow, run.id, "KILLED", ctx.now().timestamp())
            tags[Tag.STOPPED] = UNWANTED
        mlflow_runs.log(mlflow, run.id, tags=tags)


def let_go_all(mlflow: Mlflow, experiment: str, ctx: Context) -> None:
    """Stop every active run of ours in an experiment that is about to go."""
    jobs = look(ctx)
    found = list(mlflow_runs.search(mlflow, [experiment], {Tag.INSTALLATION: ctx.installation}, "ACTIVE_ONLY"))
    for each in found:
        if each.active:
            let_go(mlflow, [each], jobs, ctx)
        else:
            give_up(each, ctx)


def rename_all(mlflow: Mlflow, experiment: str, old: Ref, new: Ref, ctx: Context) -> None:
    """Every run of ours in an experiment that was renamed gets its mark, those in the trash too: they may come back."""
    for each in list(mlflow_runs.search(mlflow, [experiment], {Tag.INSTALLATION: ctx.installation})):
        name, before = each.tags.get(Tag.REF, ""), f"{old}#"
        if name.startswith(before):
            mlflow_runs.log(mlflow, each.id, tags={Tag.REF: f"{new}#{name.removeprefix(before)}"})
