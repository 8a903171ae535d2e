"""An experiment as its runs: what its files say, which runs must exist, and how it is when they are as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from controllers.runs.identity import key, labelled, versions
from controllers.runs.observing import EXPANDED, OPEN, OPEN_MOST, SETTLED, homes
from controllers.runs.standing import Tag
from controllers.runs.telling import DELETED
from controllers.tools import mlflow_runs
from controllers.tools.code import reader
from controllers.tools.mlflow import connect
from reconciler.controller import Context
from reconciler.model import JSON, KNOWN_AFTER_APPLY, Health, HealthReport, Observation, Present, Ref, Resource, digest_of
from schemas.experiment import ExperimentSpec
from schemas.grid import count
from schemas.run import RunSpec

_WORDS = {
    "Running": "running",
    "Starting": "starting",
    "Paused": "paused",
    "Retrying": "to be tried again",
    "RunFailed": "failed",
    DELETED: "deleted in MLflow",
    "StoppedInTool": "stopped by hand",
    "CannotStart": "that cannot start",
    "LaunchBudget": "waiting for a yes",
    "ExceedsMachine": "too large for the machine",
    "ExceedsMaxQuota": "too large for the quota",
}
"""Reasons of children as a parent's sentence tells them."""
_OVER = frozenset({"RunFailed", "StoppedInTool", DELETED, "CannotStart", "ExceedsMachine", "ExceedsMaxQuota"})
"""Reasons of children that nothing more comes of by itself."""


def facts(resources: Sequence[Resource[ExperimentSpec]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
    """Code and lock of every experiment with runs, and for those whose runs were all as desired: what was deleted in MLflow since."""
    found: dict[Ref, dict[str, JSON]] = {}
    for each in resources:
        if (runs := each.spec.runs) is None:
            continue
        code = reader(ctx).read(each.root, runs.entrypoint, runs.code, pinned=runs.environment == "pinned")
        settled = ctx.memo(each.ref).get(SETTLED, "")
        found[each.ref] = {"code": code.digest, "lock": code.lock, "trouble": code.trouble, "settled": settled, "deleted": ()}
    if settled_ones := [ref for ref, each in found.items() if each["settled"]]:
        for ref, keys in _deleted(settled_ones, ctx).items():
            found[ref]["deleted"] = keys
    return found


def _deleted(refs: Sequence[Ref], ctx: Context) -> Mapping[Ref, tuple[str, ...]]:
    """Keys of runs in the trash, by experiment: one listing for all."""
    if ctx.services.pristine(("mlflow",)):
        return {}
    mlflow = connect(ctx)
    owner = {id: ref for ref, id in homes(mlflow, refs, ctx).items()}
    keys: dict[Ref, tuple[str, ...]] = {}
    if owner:
        for run in mlflow_runs.search(mlflow, list(owner), {Tag.INSTALLATION: ctx.installation}, "DELETED_ONLY"):
            keys[owner[run.experiment]] = (*keys.get(owner[run.experiment], ()), run.tags.get(Tag.KEY, ""))
    return keys


def children(resource: Resource[ExperimentSpec], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[RunSpec]]:
    """Every run as a resource of its own; none when all of them were as desired under the same circumstances, and still are."""
    if resource.spec.runs is None:
        return ()
    deleted, settled = set(facts.get("deleted", ())), facts.get("settled")
    if isinstance(seen, Present) and settled and settled == circumstances(resource, facts):
        return found if deleted and not deleted.isdisjoint(map(key, found := _children(resource, facts))) else ()
    return _children(resource, facts)


def _children(resource: Resource[ExperimentSpec], facts: Mapping[str, JSON]) -> list[Resource[RunSpec]]:
    spec = resource.spec
    if (runs := spec.runs) is None:
        return []
    made: list[Resource[RunSpec]] = []
    datasets = tuple(ref for ref in resource.references if ref.kind == "Dataset")
    for each in labelled(runs):
        child = RunSpec(
            label=each.label,
            params=dict(each.params),
            seed=each.seed,
            runs=runs,
            model=spec.model,
            metric=spec.metric.name if spec.metric else None,
            goal=spec.metric.goal if spec.metric else "maximize",
            code=facts.get("code", ""),
            lock=facts.get("lock", ""),
            trouble=facts.get("trouble", ""),
        )
        made.append(
            Resource(
                ref=replace(resource.ref, key=each.label),
                spec=child,
                lifecycle=resource.lifecycle,
                labels=resource.labels,
                location=resource.location,
                source=resource.source,
                digest=digest_of(child.model_dump(mode="json")),
                prune="auto",
                root=resource.root,
                references=datasets,
                requires=(*resource.requires, resource.ref),
                inputs={ref: resource.inputs.get(ref, {}) for ref in datasets},
            )
        )
    return made


def circumstances(resource: Resource[ExperimentSpec], facts: Mapping[str, JSON]) -> str:
    """A digest over all that decides which runs must exist; empty while something of it is not known, or they cannot start."""
    runs, found = resource.spec.runs, versions(resource)
    if runs is None or facts.get("trouble") or {KNOWN_AFTER_APPLY, ""} & set(found.values()):
        return ""
    declared = [runs.entrypoint, runs.params, runs.seeds, runs.rerun or ""]
    return digest_of([declared, facts.get("code", ""), facts.get("lock", ""), list(found.items())])


def begin_again(ref: Ref, ctx: Context) -> None:
    """The experiment is a new one: nothing is known of its runs."""
    ctx.memo(ref).pop(SETTLED, None)


def sum_up(
    resource: Resource[ExperimentSpec], own: HealthReport, runs: Sequence[tuple[Resource[RunSpec], Health, str]], ctx: Context
) -> HealthReport:
    """The experiment with its runs: as healthy as the worst of them. Notes when all are as desired."""
    if resource.spec.runs is None:
        ctx.memo(resource.ref).pop(SETTLED, None)
        ctx.memo(resource.ref)[OPEN] = []
        return own
    total = count(resource.spec.runs)
    if not runs:
        return replace(own, message=own.message or _finished(total, total)) if ctx.memo(resource.ref).get(SETTLED) else own
    page, first = ctx.memo(resource.ref), runs[0][0].spec
    page[EXPANDED], page[OPEN] = True, _open(runs)
    done = sum(health is Health.HEALTHY for _, health, _ in runs)
    if done == total and own.health is Health.HEALTHY:
        page[SETTLED] = circumstances(resource, {"code": first.code, "lock": first.lock, "trouble": first.trouble})
        return replace(own, message=own.message or _finished(done, total))
    page.pop(SETTLED, None)
    worst = max((health for _, health, _ in runs), default=Health.HEALTHY)
    if own.health >= worst:
        return own
    reasons = Counter(_word(reason) for _, health, reason in runs if health is not Health.HEALTHY)
    message = ", ".join([_finished(done, total), *(f"{number} {word}" for word, number in sorted(reasons.items()))])
    # A run that is only held back, by the launch budget for one, is missing too: it starts as soon as somebody says so.
    lost = worst is Health.DEGRADED or any(reason == DELETED for _, health, reason in runs if health is Health.MISSING)
    stalled = lost and not any(health is Health.PROGRESSING for _, health, _ in runs)
    told = next((reason for _, health, reason in runs if health is worst), "")
    return HealthReport(worst, message, told if worst is not Health.PROGRESSING else "RunsProgressing", stalled)


def _open(runs: Sequence[tuple[Resource[RunSpec], Health, str]]) -> list[str]:
    """Beginnings of the keys of runs that may still finish by themselves; empty texts stand for those whose inputs are not known yet."""
    waiting = (child for child, health, reason in runs if health is not Health.HEALTHY and reason not in _OVER)
    return [key(child)[:16] for child in islice(waiting, OPEN_MOST)]


def _finished(done: int, total: int) -> str:
    return f"{done} of {total} runs finished" if done < total else f"{total} run{'s' if total > 1 else ''} finished"


def _word(reason: str) -> str:
    """`WaitingForMemory` -> `waiting for memory`."""
    return _WORDS.get(reason) or "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in reason).strip() or "on the way"
