"""Looking at the runs of many experiments at once: one listing, and what each child makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controllers.runs.identity import key
from controllers.runs.standing import BY_HAND, STOPPED, How, Standing, Tag, leftover, standing, superseded
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import Mlflow
from controllers.tools.mlflow_runs import End, RunInfo
from reconciler.controller import Context
from reconciler.model import JSON, Absent, Mark, Observation, Present, Progress, Ref, Resource
from schemas.run import RunSpec

KIND = "Experiment"
SHOWN = ("code", "entrypoint", "seed", "data", "lock")
"""Parts of the identity that are tags `mlops.NAME`."""
LOST = "it ended without a result"
UNTOLD = "it came to its end, and could not tell MLflow so"
EXPANDED, SETTLED = "expanded", "settled"
"""In an experiment's notebook: it has had runs; all of them are as desired."""
OPEN = "open"
"""In the same: beginnings of the keys of runs that are still to come, OPEN_MOST at most; a Model waits for them."""
OPEN_MOST = 100


@dataclass(frozen=True)
class Listing:
    """All our runs of some experiments, the newest first, by experiment (the parent's Ref) and there by key and by name."""

    all: Mapping[Ref, Sequence[RunInfo]]
    by_key: Mapping[tuple[Ref, str], Sequence[RunInfo]]
    by_name: Mapping[str, Sequence[RunInfo]]
    ids: Mapping[Ref, str] = field(default_factory=dict)
    """Of the experiments that are there."""


def listing(mlflow: Mlflow, parents: Iterable[Ref], ctx: Context) -> Listing:
    """One search over all of them, in pages."""
    wanted = sorted(set(parents))
    ids = homes(mlflow, wanted, ctx)
    owner = {experiment: ref for ref, experiment in ids.items()}
    found: dict[Ref, list[RunInfo]] = defaultdict(list)
    by_key: dict[tuple[Ref, str], list[RunInfo]] = defaultdict(list)
    by_name: dict[str, list[RunInfo]] = defaultdict(list)
    if ids:
        for run in mlflow_runs.search(mlflow, list(ids.values()), {Tag.INSTALLATION: ctx.installation}):
            parent = owner[run.experiment]
            run = _as_called(run, parent, ctx)
            found[parent].append(run)
            by_key[parent, run.tags.get(Tag.KEY, "")].append(run)
            by_name[run.tags.get(Tag.REF, "")].append(run)
    return Listing(found, by_key, by_name, ids)


def homes(mlflow: Mlflow, experiments: Sequence[Ref], ctx: Context) -> dict[Ref, str]:
    """Ids of those that are there; one that is about to be renamed is found by its old name."""
    names = {ref: [*([ctx.moving[ref].path] if ref in ctx.moving else []), ref.path] for ref in experiments}
    known = mlflow.ids([name for each in names.values() for name in each])
    found = {ref: next((known[name] for name in each if name in known), None) for ref, each in names.items()}
    return {ref: id for ref, id in found.items() if id is not None}


def _as_called(run: RunInfo, parent: Ref, ctx: Context) -> RunInfo:
    """The run as it is called once its experiment has moved: the move takes its runs with it."""
    old, name = ctx.moving.get(parent), run.tags.get(Tag.REF, "")
    if old is None or not name.startswith(f"{old}#"):
        return run
    return replace(run, tags={**run.tags, Tag.REF: f"{parent}#{name.removeprefix(f'{old}#')}"})


def with_tag(mlflow: Mlflow, experiment: str, tag: str, value: str, ctx: Context) -> Sequence[RunInfo]:
    """Our runs of one experiment that have this tag, the newest first: a few of many. MLflow's filter knows no OR."""
    return list(mlflow_runs.search(mlflow, [experiment], {Tag.INSTALLATION: ctx.installation, tag: value}))


def seen_of(child: Resource[RunSpec], found: Listing, jobs: Mapping[str, Progress] | None, ctx: Context) -> Observation:
    """What stands for one child."""
    parent, wanted = replace(child.ref, key=""), key(child)
    here = standing(wanted, child.spec.runs.rerun or "", found.by_key.get((parent, wanted), ()), jobs, ctx.now().timestamp())
    old = leftover(wanted, str(child.ref), found.by_name.get(str(child.ref), ()), here.run)
    if here.how is How.NONE:
        if not old:
            return Absent()
        here = replace(here, run=old[0], job=(jobs or {}).get(old[0].id))
    return present(child, here, old, ctx.installation)


def present(child: Resource[RunSpec], here: Standing, old: Sequence[RunInfo], installation: str) -> Present:
    """The run as fields, with all that the pure verbs need in `raw`."""
    run, job = here.run, here.job
    assert run is not None
    known = bool(key(child))
    unwanted = [each for each in old if each.active] if known else []
    raw: dict[str, JSON] = {
        "how": here.how,
        "status": run.status,
        "failed": here.failed,
        "attempts": here.attempts,
        "rerun": run.tags.get(Tag.RERUN, ""),
        "ended": run.ended,
        "job": job.state if job else "",
        "why": _why(run, job),
        "tail": (job.tail if job else "") or run.tags.get(Tag.TAIL, ""),
        "ends": ends(job),
        "result": _result(child, run),
        "leftover": [each.id for each in old] if known else [],
        "overrun": _overrun(here, unwanted),
        "wrongMarks": wrong_marks(child, run) if here.how in (How.FINISHED, How.ACTIVE) else {},
    }
    return Present(run.id, fields_of(run), {"run": run.id}, Mark(installation, str(child.ref), run.tags.get(Tag.KEY, "")[:16]), raw=raw)


def extras(found: Listing, children: Sequence[Resource[RunSpec]], installation: str) -> Iterator[tuple[Ref, Present]]:
    """Runs with our mark that no child wants, each under the name that it was launched with."""
    names = {str(each.ref) for each in children}
    keys = {(replace(each.ref, key=""), key(each)) for each in children}
    told: set[Ref] = set()
    for parent, runs in found.all.items():
        for run in sorted(runs, key=lambda each: not each.active):
            name, same = run.tags.get(Tag.REF, ""), (parent, run.tags.get(Tag.KEY, ""))
            ref = Ref.parse(name, [KIND])
            gone = run.deleted or (superseded(run) and not run.active)
            if ref is None or replace(ref, key="") != parent or not ref.key or name in names or same in keys or gone or ref in told:
                continue
            told.add(ref)
            yield ref, Present(run.id, fields_of(run), {"run": run.id}, Mark(installation, name), raw={"status": run.status})


def fields_of(run: RunInfo) -> dict[str, JSON]:
    """The parts of its identity as they were written on it."""
    fields: dict[str, JSON] = {name: run.tags[f"mlops.{name}"] for name in SHOWN if f"mlops.{name}" in run.tags}
    fields["params"] = {name: value for name, value in run.params.items() if name != "seed"}
    fields["datasets"] = {name.removeprefix(Tag.DATASET): each for name, each in run.tags.items() if name.startswith(Tag.DATASET)}
    return fields


def wrong_marks(child: Resource[RunSpec], run: RunInfo) -> dict[str, tuple[str | None, str | None]]:
    """Tags that must be otherwise on a run that stands for this child: tag -> (have, want)."""
    wrong: dict[str, tuple[str | None, str | None]] = {}
    if run.tags.get(Tag.REF) != str(child.ref):
        wrong[Tag.REF] = (run.tags.get(Tag.REF), str(child.ref))
    if superseded(run):
        wrong[Tag.SUPERSEDED] = ("true", None)
    return wrong


def ends(job: Progress | None) -> End:
    """How MLflow has to call the end of a job."""
    if job is None or job.state == "lost":
        return "FAILED"
    return "FINISHED" if job.exit_code == 0 and not job.why else "KILLED" if job.why.startswith(STOPPED) else "FAILED"


def _why(run: RunInfo, job: Progress | None) -> str:
    told = run.tags.get(Tag.EXIT, "") or (job.why if job else "") or run.tags.get(Tag.STOPPED, "")
    if not told and ends(job) == "FINISHED":
        return UNTOLD
    return told or (LOST if run.active else "no reason is known")


def _overrun(here: Standing, unwanted: Sequence[RunInfo]) -> str:
    """Why something that runs has to end first; empty = nothing has to."""
    if unwanted:
        return "an older run of this name ends first: it is not wanted any more"
    if here.job_lives and here.how is How.DELETED:
        return "its run was deleted in MLflow"
    return f"its run was {BY_HAND}" if here.job_lives and here.how is How.STOPPED else ""


def _result(child: Resource[RunSpec], run: RunInfo) -> str:
    metric = child.spec.metric
    return f"{metric} {run.metrics[metric]:.4g}" if metric and metric in run.metrics else ""
