"""What differs about a workflow, and how it is, in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from controllers.tools.airflow import EventInfo
from controllers.workflows.compiling import dag_id, described, digest_in
from controllers.workflows.graph import graphed
from reconciler.diff import compare
from reconciler.model import JSON, KNOWN_AFTER_APPLY, Attribution, Change, Diff, Drift, Health, HealthReport, Present, Ref, Resource, output
from schemas.workflow import WorkflowSpec

FIRED = "fired"
"""In a workflow's notebook: what each trigger's resource was when it was last heard."""
WATCHED = {"Dataset": "digest", "Model": "version", "Monitor": "breach"}
"""What of a trigger's resource starts a run when it is another one."""
NONE = "none"
"""What a Monitor tells while it has no breach: heard, and nothing starts."""
PAUSED = "paused"
LATE_SECONDS = 20.0
"""After a delivery, within which Airflow has read it; measured: 1 to 4 s, and 10 s on a busy machine."""
TAIL_LINES, TAIL_LENGTH = 3, 400


def changes(resource: Resource[WorkflowSpec], seen: Present) -> Diff:
    """All that differs."""
    return (*_content(resource, seen), *_paused(resource, seen), *_triggers(resource, seen), *_pool(seen))


def fields(resource: Resource[WorkflowSpec]) -> dict[str, JSON]:
    """What its manifest says, as a plan shows it."""
    return {**described(resource.spec), "labels": dict(resource.labels)}


def _content(resource: Resource[WorkflowSpec], seen: Present) -> Iterator[Change]:
    raw = seen.raw
    if raw["delivered"] != raw["want"]:
        last = {key: each for key, each in (resource.last or {}).items() if key != PAUSED or PAUSED in fields(resource)}
        found = graphed(resource, last, compare(fields(resource), last, last)) if last else ()
        outside = "its spec was changed outside the reconciler" if raw["delivered"] else "its spec is not delivered"
        yield from found or (Change("digest", raw["delivered"] or None, raw["want"], note=outside),)
    elif raw["lost"]:
        yield Change("dag", None, resource.ref.path, note="it was deleted in Airflow")


def _paused(resource: Resource[WorkflowSpec], seen: Present) -> Iterator[Change]:
    if seen.raw["paused"] is not None and seen.raw["paused"] != resource.spec.paused:
        yield Change("spec.paused", seen.raw["paused"], resource.spec.paused)


def attributed(drift: Drift, events: Sequence[EventInfo]) -> Attribution:
    """Who paused or resumed it, by the newest event that did what is seen now."""
    for each in events:
        if each.dag == dag_id(drift.resource.ref) and _pauses(each) is drift.seen.raw[PAUSED]:
            channel = "Airflow's command line" if each.event.startswith("cli_") else "Airflow's pages or API"
            return Attribution(each.who, datetime.fromisoformat(each.when), channel)
    return Attribution(channel="Airflow's event log does not tell who")


def _pauses(event: EventInfo) -> bool | None:
    """Whether it paused the DAG or resumed it; None = neither."""
    if event.event.startswith("cli_"):
        return event.event == "cli_dag_pause"
    try:
        told = json.loads(event.extra).get("is_paused")
    except (ValueError, AttributeError):
        return None
    return told if isinstance(told, bool) else None


def _triggers(resource: Resource[WorkflowSpec], seen: Present) -> Iterator[Change]:
    """What has happened since the last run that it started. While the workflow is paused, nothing does: it is made up for once, later."""
    if resource.spec.paused:
        return
    fired: Mapping[str, Any] = seen.raw[FIRED]
    for ref in watched(resource):
        now = value(resource, ref)
        before = (fired.get(str(ref)) or {}).get("value")
        if now in ("", KNOWN_AFTER_APPLY) or now == before:
            continue
        starts = f"starts a run: {ref} {'has a breach' if ref.kind == 'Monitor' else 'changed'}"
        why = "watched from now on" if before is None else "is over" if now == NONE else starts
        yield Change(f"triggers.{ref}", before and str(before)[:12], now[:12], note=why)


def watched(resource: Resource[WorkflowSpec]) -> list[Ref]:
    """What its triggers name, in their order."""
    names = [
        (kind, each)
        for trigger in resource.spec.triggers
        for kind, each in (("Dataset", trigger.dataset), ("Model", trigger.model), ("Monitor", trigger.monitor))
        if each
    ]
    found = []
    for kind, name in names:
        project, _, own = name.rpartition("/")
        found.append(Ref(kind, project or resource.ref.project, own))
    return found


def value(resource: Resource[WorkflowSpec], ref: Ref) -> str:
    """What a trigger's resource is now; empty or KNOWN_AFTER_APPLY while that is not known."""
    return output(resource.inputs.get(ref, {}), WATCHED[ref.kind])


def _pool(seen: Present) -> Iterator[Change]:
    pool = seen.raw["pool"]
    if pool is not None and (pool["have"] != pool["want"] or not pool["deferred"]):
        yield Change("pool.slots", pool["have"], pool["want"], note=pool["why"] or ("by quota" if pool["have"] is None else "room again"))


def health(resource: Resource[WorkflowSpec], seen: Present) -> HealthReport:
    """How it is: delivered, read, and how its last run ended."""
    raw = seen.raw
    if raw["trouble"]:
        return HealthReport(Health.DEGRADED, raw["trouble"], "NoDelivery", stalled=True)
    if raw["error"]:
        return HealthReport(Health.DEGRADED, f"Airflow cannot read the workflows: {raw['error']}", "ImportError")
    if not raw["read"]:
        return HealthReport(Health.PROGRESSING, "delivered; Airflow reads it", "Delivering")
    if raw["active"]:
        return HealthReport(Health.PROGRESSING, f"run {raw['active'][0]} goes on", "Running")
    if resource.spec.paused:
        return HealthReport(Health.SUSPENDED, "spec.paused is true: nothing new starts")
    last: Mapping[str, Any] | None = raw["last"]
    if last is None:
        return HealthReport(Health.HEALTHY, "has not run yet")
    if last["state"] == "failed":
        again = resource.spec.schedule is not None or bool(resource.spec.triggers)
        return HealthReport(Health.DEGRADED, failed(resource.ref, last), "RunFailed", stalled=not again)
    return HealthReport(Health.HEALTHY, f"run {last['id']} succeeded")


def failed(ref: Ref, last: Mapping[str, Any]) -> str:
    """Task, exception, last words, and the machine at that time."""
    found: Mapping[str, Any] = last.get("failure") or {}
    task = f"task {found['task']}" if found.get("task") else "it"
    lines = [line.strip() for line in str(found.get("tail") or "").strip().splitlines() if line.strip()]
    exception = next((line for line in reversed(lines) if _is_exception(line)), "")
    why = str(found.get("why") or "no reason is known") + (f", {exception}" if exception and exception not in str(found.get("why")) else "")
    before = [line for line in lines if line != exception][-TAIL_LINES:]  # it is told already
    words = f"; its last words: {' | '.join(before)[-TAIL_LENGTH:]}" if before else ""
    return f"run {last['id']} failed: {task}: {why}{words}{_facts(found.get('facts') or {})}; again: reconcile run {ref}"


def _is_exception(line: str) -> bool:
    name = line.partition(":")[0]
    return name.replace(".", "").isidentifier() and name.endswith(("Error", "Exception", "Exit", "Interrupt"))


def _facts(facts: Mapping[str, JSON]) -> str:
    if not facts:
        return ""
    parts = [f"heat {facts.get('heat', 'unknown')}", f"memory pressure {facts.get('memoryPressure', 'unknown')}"]
    parts += ["throttled"] if facts.get("throttled") else []
    parts += [f"peak {facts['peakMemory']}"] if facts.get("peakMemory") else []
    beside: Sequence[str] = facts.get("ranBeside") or []
    parts.append(f"beside {', '.join(beside)}" if beside else "nothing else ran")
    return f"; then: {', '.join(parts)}"


def read(tags: Sequence[str], digest: str) -> bool:
    """Whether Airflow has read what was delivered."""
    return digest_in(tags) == digest
