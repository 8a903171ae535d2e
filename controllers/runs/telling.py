"""What a run's standing means: what differs, what is to be done about it, how it is, what it asks for. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from controllers.runs.identity import parts
from controllers.runs.launch import pause
from controllers.runs.standing import How
from reconciler.diff import compare
from reconciler.errors import Terminal
from reconciler.model import Change, Create, Demand, Diff, Health, HealthReport, Present, Replace, Resource, Update
from reconciler.model.demand import one_core
from schemas.base import duration_value
from schemas.run import RunSpec

DELETED = "DeletedInTool"
"""Reason of a run that a person deleted in MLflow."""
TAIL_LINES, TAIL_LENGTH = 3, 400
"""Of a program's last output, in a status; the whole of it is with the run in MLflow."""


class Step(StrEnum):
    """What one apply does about a difference."""

    NOTHING = "nothing"
    LAUNCH = "launch"
    TIDY = "tidy"
    """Stop what runs and is not wanted any more; the launch comes after it has ended."""
    REPORT = "report"
    """Say in MLflow how a job has ended that could not say it itself."""
    MARK = "mark"
    """Correct tags."""


def step(child: Resource[RunSpec], seen: Present) -> Step:
    """What there is to do."""
    raw, runs = seen.raw, child.spec.runs
    how = How(raw["how"])
    if raw["overrun"]:
        return Step.TIDY
    if how is How.UNREPORTED:
        return Step.REPORT
    if how in (How.NONE, How.AGAIN, How.UNLAUNCHED, How.PUT_BACK) or (how is How.FAILED and raw["failed"] <= runs.retries):
        return Step.LAUNCH
    return Step.MARK if raw["wrongMarks"] or raw["leftover"] else Step.NOTHING


def differences(child: Resource[RunSpec], seen: Present) -> Diff:
    """What differs, in words that say why the run starts (again)."""
    raw, spec = seen.raw, child.spec
    how, found = How(raw["how"]), list[Change]()
    if how is How.NONE:
        changes = compare(parts(child), seen.fields)
        found += [Change(each.path, each.have, each.want, note=_why(each.path)) for each in changes]
        if spec.trouble:
            found = [Change("spec.runs", None, None, note=spec.trouble)]
    elif how is How.AGAIN:
        found.append(Change("spec.runs.rerun", raw["rerun"] or None, spec.runs.rerun, note="starts again: its `rerun` changed"))
    elif how is How.UNLAUNCHED:
        found.append(Change("status", "created", "RUNNING", note="was made in MLflow, and its program never started"))
    elif how is How.PUT_BACK:
        found.append(Change("status", "KILLED", "RUNNING", note=f"goes on: it was stopped ({raw['why']})"))
    elif how is How.UNREPORTED:
        found.append(Change("status", raw["status"], raw["ends"], note=f"its process is gone: {raw['why']}"))
    elif how is How.FAILED and raw["failed"] <= spec.runs.retries:
        again = f"{raw['why']}; {raw['failed']} of {spec.runs.retries} retries"
        found.append(Change("attempt", raw["attempts"], raw["attempts"] + 1, note=f"tried again: {again}"))
    if raw["overrun"]:
        found.append(Change("job", "running", "ended", note=str(raw["overrun"])))
    if how is not How.NONE:
        found += [Change(f"tags.{name}", have, want) for name, (have, want) in sorted(raw["wrongMarks"].items())]
        if raw["leftover"] and not raw["overrun"]:
            found.append(Change("superseded", False, True, note="older runs of this name are not wanted any more"))
    return tuple(found)


def _why(path: str) -> str:
    """`starts again: its dataset changes`."""
    part = path.split(".")[1]
    words = {"datasets": "its dataset changes", "data": "its first dataset is another one", "params": "its parameters change"}
    words |= {"code": "its code changes", "lock": "its locked packages change", "entrypoint": "its entrypoint changes"}
    return f"starts again: {words.get(part, f'its {part} changes')}"


def asks(action: Create | Update | Replace) -> Demand | None:
    """What a launch asks of the machine; None for everything else. Raises Terminal for what cannot start as it is declared."""
    child: Resource[Any] = action.resource
    if child.spec.trouble:
        raise Terminal(child.spec.trouble)
    raw = {} if isinstance(action, Create) else action.seen.raw
    if not isinstance(action, Create) and step(child, action.seen) is not Step.LAUNCH:
        return None
    spec: RunSpec = child.spec
    wanted, model = spec.runs.resources, spec.model
    amounts = one_core(wanted.model_dump())
    how = raw.get("how", How.NONE)
    later = datetime.fromtimestamp(raw["ended"], UTC) + pause(raw["failed"]) if how == How.FAILED else None
    # What was declared is part of the template, so that a corrected number starts with a clean history.
    sizes = (wanted.memory, *((model.parameters, model.bits, model.optimizer) if model else ()))
    return Demand(
        work="batch",
        peak=amounts,
        steady=amounts,
        seconds=duration_value(wanted.duration).total_seconds() if wanted.duration else None,
        priority=spec.runs.priority,
        template="/".join([child.ref.path, spec.runs.entrypoint, *(str(each) for each in sizes if each)]),
        declared=wanted.memory is not None,
        not_before=later,
        fresh=how in (How.NONE, How.AGAIN),
        facts=model,
    )


def health(child: Resource[RunSpec], seen: Present) -> HealthReport:
    """How the run is."""
    raw, runs = seen.raw, child.spec.runs
    again = "change its code, data or parameters, or spec.runs.rerun, to launch it again"
    match How(raw["how"]):
        case How.FINISHED:
            return HealthReport(Health.HEALTHY, str(raw["result"]))
        case How.ACTIVE:
            state = {"starting": "its environment is being made", "paused": "paused"}.get(raw["job"], "running")
            return HealthReport(Health.PROGRESSING, state, {"starting": "Starting", "paused": "Paused"}.get(raw["job"], "Running"))
        case How.UNREPORTED:
            return HealthReport(Health.PROGRESSING, "its process is gone", "Ended")
        case How.STOPPED:
            return HealthReport(Health.SUSPENDED, f"stopped by hand in MLflow; {again}", "StoppedInTool", stalled=True)
        case How.DELETED:
            advice = "restore it there, or change spec.runs.rerun to launch it again"
            return HealthReport(Health.MISSING, f"deleted in MLflow; {advice}", DELETED, stalled=True)
        case How.FAILED if raw["failed"] <= runs.retries:
            return HealthReport(Health.PROGRESSING, f"{raw['why']}; it is tried again", "Retrying")
        case How.FAILED:
            tried = f" {raw['failed']} times" if raw["failed"] > 1 else ""
            message = f"failed{tried}: {raw['why']}{_last_words(raw['tail'])}; {again}"
            return HealthReport(Health.DEGRADED, message, "RunFailed", stalled=True)
        case How.NONE if child.spec.trouble:
            return HealthReport(Health.DEGRADED, child.spec.trouble, "CannotStart", stalled=True)
        case _:
            return HealthReport(Health.PROGRESSING, "not launched yet", "Waiting")


def _last_words(tail: str) -> str:
    lines = [line.strip() for line in tail.strip().splitlines() if line.strip()][-TAIL_LINES:]
    return f"; its last words: {' | '.join(lines)[-TAIL_LENGTH:]}" if lines else ""
