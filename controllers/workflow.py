"""Workflow: an Airflow DAG, delivered as a spec in a git bundle, whose tasks start only with a lease.

Marks: the DAG's tags `installation:` and `digest:`, and its name `project.name`. What exists of it is the spec in the repository; that
Airflow has read it, and how its runs go, is health. Tasks that ask for something are children (`controllers.task`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from controllers.task import TaskController
from controllers.workflows import asking, looking, seeing, starting, telling
from controllers.workflows.compiling import dag_id, pool_name, scripts
from controllers.workflows.looking import Sight, sight
from reconciler import delivery, exchange
from reconciler.controller import Context
from reconciler.errors import Conflict, Terminal
from reconciler.exchange import Answer
from reconciler.model import (
    JSON,
    Absent,
    Attribution,
    Create,
    Demand,
    Diff,
    Done,
    Drift,
    Fields,
    Health,
    HealthReport,
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
from schemas.workflow import KIND, WorkflowSpec

READ_SECONDS, LOOK_SECONDS = 6.0, 0.5
"""How long a deletion waits until Airflow has read that the spec is gone: else it would bring the DAG back."""


class WorkflowController:
    """See `reconciler.controller.Controller`; also Projects, Demands, Expands, Asks, Attributes, Starts and Exports."""

    info = KIND
    tool = "airflow"
    unmovable = (
        "Airflow keeps a DAG's history under its id and renames none; declare it anew, and remove the old one when its history may go"
    )
    services = looking.SERVICES
    child = TaskController()
    asks = True
    released = "what runs for it is ended"

    def observe(self, resources: Sequence[Resource[WorkflowSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        look, wants = looking.look_anew(ctx), {each.ref: seeing.wanted(each, ctx) for each in resources}
        shared = ctx.client(looking.Ended, lambda _: looking.Ended())
        shared.found.update(look.ended(resources))
        shared.looked = True
        firsts = seeing.firsts(resources, look)
        seen: dict[Ref, Observation] = {}
        for each in resources:
            dag = dag_id(each.ref)
            there = dag in look.delivered or (dag in look.dags and not look.dags[dag].stale)
            seen[each.ref] = seeing.present(each, wants[each.ref], look, each.ref in firsts) if there else Absent()
        return seen if ctx.focused else {**dict(seeing.orphans(look, wants)), **seen}

    def desired(self, resource: Resource[WorkflowSpec]) -> Fields:
        return {**telling.fields(resource), telling.PAUSED: resource.spec.paused}

    def diff(self, resource: Resource[WorkflowSpec], seen: Present) -> Diff:
        return telling.changes(resource, seen)

    def health(self, resource: Resource[WorkflowSpec], seen: Present) -> HealthReport:
        return telling.health(resource, seen)

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        """Asks for nothing itself. Raises Terminal for a command whose file is not there: the plan says so, and Airflow never sees it."""
        resource: Resource[Any] = action.resource
        for owner, file in scripts(resource):
            project = ctx.projects.get(owner)
            if project is None:
                continue
            place = ctx.root / project.spec.path
            if not (place / file).is_file():
                raise Terminal(f"a command runs {file}, which is not in {project.spec.path}", hint="correct the command, or add the file")
            if not (place / file).resolve().is_relative_to(place.resolve()):
                raise Terminal(f"a command runs {file}, which leads out of {project.spec.path}", hint="code is run from there only")
        if why := looking.trouble(ctx):
            raise Terminal(why, hint="spec.airflow.bundle of the Platform")
        return None

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        seen = action.seen.raw if isinstance(action, Update | Replace) else {}
        page, want = ctx.memo(resource.ref), seeing.wanted(resource, ctx)
        place = looking.repository(ctx)
        if place is None:
            raise Terminal(looking.trouble(ctx), hint="spec.airflow.bundle of the Platform")
        if seen.get("delivered") != want.digest or seen.get("lost"):
            if isinstance(action, Create) and sight(ctx).airflow.dag(want.dag) is not None and want.dag not in sight(ctx).dags:
                raise Conflict(f"Airflow has a DAG {want.dag} that is not this installation's", hint="rename one of the two")
            text = want.text(starting.begin(resource, page, ctx.now()))
            message = f"{resource.ref} {want.digest}\n\n{resource.location}"
            delivery.deliver(place, {want.dag: text}, message, again=bool(seen.get("lost")))
            page[seeing.AT] = ctx.now().timestamp()
        if seen.get("paused") not in (None, resource.spec.paused):
            sight(ctx).airflow.pause(want.dag, resource.spec.paused)
        if not resource.spec.paused:
            starting.hear(resource, page, ctx)
        if (pool := seen.get("pool")) is not None and (pool["have"] != pool["want"] or not pool["deferred"]):
            told = f"tasks of {resource.ref.project}: {pool['why'] or 'by quota'}"
            sight(ctx).airflow.put_pool(pool_name(ctx.installation, resource.ref), pool["want"], told, there=pool["have"] is not None)
        return Done(want.dag, {"dag": want.dag})

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """The spec first; then, when Airflow has read that, the DAG with its history; what runs for it is ended."""
        dag, look, place = dag_id(owned.ref), sight(ctx), looking.repository(ctx)
        commit = delivery.deliver(place, {dag: None}, f"{owned.ref} is gone") if place is not None and (place / ".git").exists() else ""
        for each in asking.of_dag(look.requests, dag):
            exchange.answer(exchange.folder(ctx.state_dir), each.id, Answer(False, "its workflow was removed"))
            if ctx.jobs is not None:
                ctx.jobs.stop(each.id, "its workflow was removed")
        if look.airflow.dag(dag) is not None:
            _await_read(look, dag, commit, ctx)
            look.airflow.delete_dag(dag)
        if place is not None and not any(each.startswith(f"{owned.ref.project}.") for each in delivery.specs(place)):
            look.airflow.delete_pool(pool_name(ctx.installation, owned.ref))
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        """By Airflow's event log: one call."""
        known = [each.since for each in drifts if each.since is not None]
        events = list(sight(ctx).airflow.pauses(min(known) if len(known) == len(drifts) else None))
        return {each.resource.ref: telling.attributed(each, events) for each in drifts}

    def facts(self, resources: Sequence[Resource[WorkflowSpec]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
        if ctx.services.pristine(self.services):
            return {each.ref: {} for each in resources}
        look = sight(ctx)
        tasks = look.tasks if look.requests or look.active else ()
        found: dict[Ref, Mapping[str, JSON]] = {}
        for each in resources:
            dag = dag_id(each.ref)
            mine = [one for one in tasks if one.dag == dag]
            found[each.ref] = {
                "requests": asking.of_dag(look.requests, dag),
                "waiting": [one for one in mine if one.state == looking.WAITS_FOR_SLOT],
                "tasks": {(one.run, one.task, one.index): one for one in mine},
                "at": look.at,
            }
        return found

    def children(self, resource: Resource[WorkflowSpec], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[Any]]:
        if not facts:
            return ()
        return list(asking.children(resource, facts["requests"], facts["waiting"], facts["tasks"], facts["at"]))

    def sum_up(
        self, resource: Resource[WorkflowSpec], own: HealthReport, children: Sequence[tuple[Resource[Any], Health, str]], ctx: Context
    ) -> HealthReport:
        if not ctx.services.pristine(self.services):
            looking.note(resource, ctx)
        if own.health is not Health.PROGRESSING or not children:
            return own
        if stuck := [f"{child.spec.task} ({reason})" for child, _, reason in children if reason.startswith("Exceeds")]:
            message = f"{own.message}: {', '.join(stuck)} can never start as this run asks for it; correct that, then clear the run"
            return HealthReport(Health.DEGRADED, message, "TooLarge", stalled=True)
        running = [child.spec.task for child, _, reason in children if reason in ("Running", "Starting", "Paused", "Progressing")]
        waiting = [f"{child.spec.task} ({reason})" for child, _, reason in children if child.spec.task not in running]
        parts = [f"runs {', '.join(sorted(running))}"] if running else []
        parts += [f"waits: {', '.join(sorted(waiting))}"] if waiting else []
        return HealthReport(own.health, f"{own.message}: {'; '.join(parts)}", own.reason or "Running")

    def found(self, ctx: Context) -> Sequence[str]:
        return sorted({*sight(ctx).delivered, *seeing.everybodys(ctx)})

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """As its manifest said last, and paused as it is in Airflow. `external_id` is `project/name`, or the DAG's own id."""
        dag, look = external_id.replace("/", ".", 1), sight(ctx)
        ref, delivered, info = looking.ref_of(dag), look.delivered.get(dag), look.dags.get(dag)
        ours = delivered.installation == ctx.installation if delivered is not None else info is not None and not info.stale
        if ref is None or not ours:
            if dag not in seeing.everybodys(ctx):
                raise Terminal(f"Airflow has no DAG '{dag}'", hint="name it as project/name, or as Airflow shows it")
            raise Terminal(
                "not made by this installation: what its tasks do is Python code in a file of its own, which a manifest cannot say",
                hint="declare a Workflow whose tasks run that code, then remove the DAG",
            )
        if (declared := ctx.declared(ref)) is None:
            raise Terminal(
                "its manifest is not known to this Store, and its DAG holds only what came of it",
                hint="restore a backup of the Store (`reconcile platform restore FILE`), or write the manifest by hand",
            )
        is_read = info is not None and not info.stale
        return manifest(ref, {**declared, **({"paused": info.paused} if info is not None and is_read else {})})

    def start(self, ref: Ref, ctx: Context, conf: Mapping[str, JSON], by: str, run: str = "") -> str:
        return starting.named(ref, ctx, conf, by, run) if run else starting.by_hand(ref, ctx, conf, by)

    def ended(self, ref: Ref, run: str, ctx: Context) -> Mapping[str, JSON] | None:
        return starting.how_it_ended(ref, run, ctx)


def _await_read(look: Sight, dag: str, commit: str, ctx: Context) -> None:
    """Until Airflow has read a newer bundle; not for ever, for it may be down, and the next pass finds what comes back."""
    until = time.monotonic() + READ_SECONDS
    while time.monotonic() < until:
        others = [each for each in look.airflow.dags(f"installation:{ctx.installation}") if each.id != dag and not each.stale]
        if any(each.version == commit for each in others):
            return
        time.sleep(LOOK_SECONDS)
