"""Status of every resource after a pass, from what was seen and done. Pure: the one place where conditions are computed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.controller import Context, Expands
from reconciler.errors import ReconcilerError, Terminal
from reconciler.model import (
    Absent,
    Adopt,
    Blocked,
    Condition,
    Delete,
    Diagnostic,
    Failed,
    Health,
    HealthReport,
    Keep,
    Location,
    Observation,
    Present,
    Ref,
    Resource,
    Result,
    Started,
    Status,
    Unknown,
)
from reconciler.registry import Kinds


def statuses(
    results: Sequence[Result],
    resources: Mapping[Ref, Resource[Any]],
    seen: Mapping[Ref, Observation],
    kinds: Kinds,
    leased: Collection[Ref] = (),
) -> tuple[Status, ...]:
    """One Status for each resource that has a manifest or a deletion that is held; worst health first is the reader's job.

    `leased` are those that hold a lease."""
    return tuple(
        _status(each, resources.get(each.action.ref), each.observation or seen.get(each.action.ref), kinds, leased)
        for each in results
        if not _is_gone(each)
    )


def summed(found: Sequence[Status], resources: Mapping[Ref, Resource[Any]], ctx: Context, kinds: Kinds) -> tuple[Status, ...]:
    """The same with every parent's health summed up from its children's; where a child is not well, neither is its parent."""
    children: dict[Ref, list[tuple[Resource[Any], Health, str]]] = {}
    kept: dict[Ref, Status] = {}
    parents = {kind: each for kind, each in kinds.controllers.items() if isinstance(each, Expands)}
    for each in found:
        if not each.ref.key:
            continue
        parent = replace(each.ref, key="")
        if each.ref in resources:
            children.setdefault(parent, []).append((resources[each.ref], each.health, _reason(each)))
        else:  # not wanted any more, and it could not be let go
            kept[parent] = max(kept.get(parent, each), each, key=lambda one: one.health)
    return tuple(
        _summed(each, children.get(each.ref, []), kept.get(each.ref), resources[each.ref], ctx, parents[each.ref.kind])
        if not each.ref.key and each.ref.kind in parents and each.ref in resources
        else each
        for each in found
    )


def _summed(
    status: Status,
    children: Sequence[tuple[Resource[Any], Health, str]],
    kept: Status | None,
    resource: Resource[Any],
    ctx: Context,
    controller: Expands,
) -> Status:
    own = HealthReport(status.health, status.message)
    given = (
        own if kept is None or kept.health <= own.health else HealthReport(kept.health, f"{kept.ref.key}: {kept.message}", _reason(kept))
    )
    try:
        whole = controller.sum_up(resource, given, children, ctx)
    except Exception as error:  # a defect of the controller is told where it shows, and the other statuses stand
        whole = HealthReport(Health.UNKNOWN, f"the controller could not tell: {type(error).__name__}: {error}", "ControllerFailed")
    if whole == own:
        return status
    well = status.ready and whole.health is Health.HEALTHY
    ready = Condition("Ready", well, whole.reason or str(whole.health), whole.message, severity=whole.severity)
    rest = tuple(each for each in status.conditions if each.type not in ("Ready", "Stalled"))
    stalled = (Condition("Stalled", True, whole.reason, whole.message),) if whole.stalled else ()
    return replace(status, health=whole.health, message=whole.message, conditions=(ready, *rest, *stalled))


def _reason(status: Status) -> str:
    return next((each.reason for each in status.conditions if each.type == "Ready"), "")


def refused(refs: Iterable[Ref], diagnostics: Sequence[Diagnostic]) -> tuple[Status, ...]:
    """Status of what a wrong manifest names: it was not looked at, and its last good state stays."""
    first = {each.ref: each for each in reversed(diagnostics) if each.ref is not None}
    found = []
    for ref in sorted(refs):
        problem = first.get(ref)
        why = "its manifest, or a patch over it, is wrong"
        if problem:
            why = f"its manifest is wrong: {problem.path or 'it'}: {problem.message}"
        conditions = (Condition("Ready", None, "InvalidManifest", why), Condition("Synced", None, "InvalidManifest", why))
        found.append(Status(ref, Health.UNKNOWN, conditions, "", problem.location if problem else Location(""), why))
    return tuple(found)


def _is_gone(result: Result) -> bool:
    return isinstance(result.action, Delete) and result.outcome is not None and not isinstance(result.outcome, Failed)


def _status(
    result: Result, resource: Resource[Any] | None, observation: Observation | None, kinds: Kinds, leased: Collection[Ref]
) -> Status:
    health = _health(result, resource, observation, kinds)
    synced = _synced(result)
    well = health.health is Health.HEALTHY and synced.status is True
    ready = Condition("Ready", well, health.reason or str(health.health), health.message, severity=health.severity)
    if ready.status is False and health.health is Health.HEALTHY:
        ready = Condition("Ready", False, synced.reason, synced.message)
    conditions = [ready, synced]
    if health.health is Health.HEALTHY and health.reason:  # works, and still somebody should know
        conditions.append(Condition("Compatible", False, health.reason, health.message))
    if isinstance(result.outcome, Failed) and isinstance(result.outcome.error, Terminal):
        conditions.append(Condition("Stalled", True, type(result.outcome.error).__name__, str(result.outcome.error)))
    elif health.stalled:
        conditions.append(Condition("Stalled", True, health.reason or str(health.health), health.message))
    if isinstance(result.action, Blocked) and result.action.held:
        conditions.append(Condition("Admitted", False, result.action.reason, result.action.why))
    elif result.action.ref in leased:
        conditions.append(Condition("Admitted", True, "Leased"))
    message = synced.message if synced.status is not True else health.message
    return Status(
        ref=result.action.ref,
        health=health.health,
        conditions=tuple(conditions),
        observed_digest=resource.digest if resource and synced.status is True else "",
        location=resource.location if resource else getattr(result.action, "location", Location("")),
        message=message,
    )


def _health(result: Result, resource: Resource[Any] | None, observation: Observation | None, kinds: Kinds) -> HealthReport:
    action = result.action
    if isinstance(result.outcome, Failed):
        return HealthReport(Health.DEGRADED, _error(result.outcome.error), type(result.outcome.error).__name__)
    if isinstance(result.outcome, Started):
        return HealthReport(Health.PROGRESSING, "started, not ready yet")
    if isinstance(action, Blocked) and action.held:
        return HealthReport(Health.PROGRESSING, action.why, action.reason)
    if isinstance(action, Blocked) and action.reason == "Suspended":
        return HealthReport(Health.SUSPENDED, action.why)
    match observation:
        case Unknown(reason):
            return HealthReport(Health.UNKNOWN, reason, "ToolUnreachable")
        case Present() if resource is not None:
            return told(resource, observation, kinds)
        case Absent() if isinstance(action, Blocked):
            return HealthReport(Health.MISSING, action.why, action.reason)
        case Absent():
            return HealthReport(Health.MISSING, "not there")
        case _ if isinstance(action, Keep):
            return HealthReport(Health.HEALTHY, action.why)  # kept on purpose, although its manifest is gone
        case _:
            return HealthReport(Health.UNKNOWN, action.why if isinstance(action, Blocked) else "")


def told(resource: Resource[Any], seen: Present, kinds: Kinds) -> HealthReport:
    """What the controller says of an object's health; Unknown when the controller itself fails."""
    try:
        return kinds.of(resource.ref).health(resource, seen)
    except Exception as error:  # a defect of the controller is told where it shows, and the other statuses stand
        return HealthReport(Health.UNKNOWN, f"the controller could not tell: {type(error).__name__}: {error}", "ControllerFailed")


def _synced(result: Result) -> Condition:
    action = result.action
    if isinstance(result.outcome, Failed):
        return Condition("Synced", False, type(result.outcome.error).__name__, _error(result.outcome.error))
    if isinstance(action, Blocked):
        return Condition("Synced", None if action.unknown else False, action.reason, action.why)
    if result.left_over:
        fields = ", ".join(each.path for each in result.left_over)
        return Condition(
            "Synced", False, "LeftOverDiff", f"still differs after a successful write: {fields}; a defect of the controller or the tool"
        )
    if isinstance(action, Keep) or result.outcome is not None:
        return Condition(
            "Synced",
            True,
            "Adopted" if isinstance(action, Adopt) else "AsDesired",
            getattr(action, "why", "") if isinstance(action, Keep) else "",
        )
    return Condition("Synced", False, "Stopped", "not tried: the pass was stopped before its turn")


def _error(error: Exception) -> str:
    return str(error) if isinstance(error, ReconcilerError) else f"{type(error).__name__}: {error}"
