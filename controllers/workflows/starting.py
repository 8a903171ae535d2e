"""What starts the runs of a workflow: its schedule's beginning, what its triggers hear, somebody's hand; and how a run ended."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from datetime import datetime
from zoneinfo import ZoneInfo

from controllers.tools.airflow import NotThere, moment
from controllers.workflows import looking, telling
from controllers.workflows.compiling import dag_id
from controllers.workflows.looking import sight
from controllers.workflows.telling import FIRED
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import JSON, KNOWN_AFTER_APPLY, Ref, Resource
from schemas.workflow import WorkflowSpec

BEGUN, BY_HAND = "begun", "byHand"
"""In the notebook: since when its schedule counts, with that schedule; how many runs were started by hand."""
MOST = 1000
JUDGES, TOLD = ("judge", "compare"), ("best", "metric", "gain")
"""Template tasks that end in a comparison, and what of it is shown."""


def by_hand(ref: Ref, ctx: Context, conf: Mapping[str, JSON], by: str) -> str:
    """Start a run by hand; returns its id."""
    page, look = ctx.memo(ref), sight(ctx)
    for _ in range(MOST):
        page[BY_HAND] = number = int(page.get(BY_HAND) or 0) + 1
        run = f"by-hand-{number}"
        try:
            if look.airflow.start(dag_id(ref), run, {**conf, "cause": {"by": by}}, f"by hand: {by}"):
                return run
        except NotThere:
            raise Terminal(f"Airflow does not know {ref} yet", hint="`reconcile --wait` delivers it") from None
    raise Terminal(f"{ref} has a thousand runs that its notebook does not know")


def named(ref: Ref, ctx: Context, conf: Mapping[str, JSON], by: str, run: str) -> str:
    """Start the run of this id; returns it. One that is there already stands. Raises Transient until Airflow knows the workflow."""
    try:
        sight(ctx).airflow.start(dag_id(ref), run, {**conf, "cause": {"by": by}}, by)
    except NotThere:
        raise Transient(f"Airflow does not know {ref} yet", retry_after=1.0) from None
    return run


def how_it_ended(ref: Ref, run: str, ctx: Context) -> Mapping[str, JSON] | None:
    """How a run ended, with how long each of its tasks took; None while it goes on."""
    look = sight(ctx)
    found = look.airflow.run(dag_id(ref), run)
    if found is None:
        raise Terminal(f"there is no run {run} of {ref} any more")
    if found.active:
        return None
    listed = sorted(look.airflow.tasks([found.dag], [run], ()), key=lambda one: (moment(one.ended), one.task))
    tasks = {
        one.task: {
            "state": one.state,
            "seconds": max(0.0, moment(one.ended) - moment(one.started)),
            "attempts": one.attempt,
            "told": {name: look.airflow.xcom(one, name) for name in TOLD} if one.task in JUDGES and one.state == "success" else {},
        }
        for one in listed
    }
    seconds = max(0.0, moment(found.ended) - moment(found.queued))
    why = telling.failed(ref, looking.told_of(found, look)) if found.state == "failed" else ""
    return {"state": found.state, "seconds": seconds, "tasks": tasks, "why": why, "version": found.version}


def hear(resource: Resource[WorkflowSpec], page: MutableMapping[str, JSON], ctx: Context) -> None:
    """Start a run for each trigger whose resource is another one than the last time; the first time it is only written down."""
    for ref in telling.watched(resource):
        now, before = telling.value(resource, ref), dict((page.get(FIRED) or {}).get(str(ref)) or {})
        if now in ("", KNOWN_AFTER_APPLY) or before.get("value") == now:
            continue
        number = int(before.get("number") or 0) + bool(before)
        if before and now != telling.NONE:
            cause = {"kind": ref.kind, "name": ref.path, "from": before["value"], "to": now}
            # the same id when it is tried again after a crash: Airflow refuses a second one
            run = f"{ref.kind.lower()}-{ref.name}-{now[:8]}-{number}"
            note = f"{ref}: {str(before['value'])[:12]} -> {now[:12]}"
            try:
                sight(ctx).airflow.start(dag_id(resource.ref), run, {"cause": cause}, note)
            except NotThere:
                raise Transient(f"Airflow has not read {resource.ref} yet", retry_after=1.0) from None
        page[FIRED] = {**(page.get(FIRED) or {}), str(ref): {"value": now, "number": number}}


def begin(resource: Resource[WorkflowSpec], page: MutableMapping[str, JSON], now: datetime) -> str:
    """When the schedule begins: at its last time before it was first delivered, so that the next time is the first run."""
    spec: WorkflowSpec = resource.spec
    if spec.schedule is None:
        page.pop(BEGUN, None)
        return ""
    asked = [spec.schedule, spec.timezone]
    begun = page.get(BEGUN)
    if not begun or begun["asked"] != asked:
        from croniter import croniter

        at = croniter(spec.schedule, now.astimezone(ZoneInfo(spec.timezone))).get_prev(datetime)
        page[BEGUN] = begun = {"asked": asked, "at": at.isoformat()}
    return str(begun["at"])
