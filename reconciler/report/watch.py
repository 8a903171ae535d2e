"""What the loop says of each pass: a line for everything that it did, and for every reason that is new. Pure."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.model import Blocked, Failed, Keep, Result, Started
from reconciler.report.show import clean, took

if TYPE_CHECKING:
    from reconciler.loop import Report


def moment_lines(report: Report, now: datetime, told: set[str], *, first: bool = False) -> list[str]:
    """Lines for people; of a pass without news none, unless it is the `first`. `told` holds the reasons that were said already (each is
    said once for as long as it stays) and, after a `~`, the runs that were on their way."""
    stamp = f"{now:%H:%M:%S}"
    lines = [f"{stamp}  {each.action.glyph} {each.action.ref}  {_became(each)}" for each in report.results if acted(each)]
    blocked = [each.action for each in report.results if isinstance(each.action, Blocked) and not each.action.held]
    reasons = {f"{each.ref}  {each.reason}: {each.why}" for each in blocked}
    lines += [f"{stamp}  ! {each}" for each in sorted(reasons - told)]
    wrong = {f"{each.location}  {each.path + ': ' if each.path else ''}{each.message}" for each in report.proposal.diagnostics}
    lines += [f"{stamp}  ! {each}" for each in sorted(wrong - told)]
    going = {f"~{each.ref}" for each in report.statuses if each.ref.key and not each.ready}
    finished = sorted(f"{each.ref}  {each.message}" for each in report.statuses if each.ready and f"~{each.ref}" in told)
    lines += [f"{stamp}  = {each}" for each in finished]
    if report.proposal.policy is None or not report.proposal.policy.partial:  # a part says nothing about the rest
        told.clear()
    told.difference_update({each for each in told if each.startswith("~")})
    told.update(reasons | wrong | going)
    if lines or first:
        ready = sum(each.ready for each in report.statuses)
        held = sum(any(one.type == "Admitted" and one.status is False for one in each.conditions) for each in report.statuses)
        wait = f", {held} waiting for room (`reconcile queue`)" if held else ""
        lines.append(f"{stamp}  {ready} of {len(report.statuses)} Ready{wait} ({took(report.seconds)})")
    return [clean(each) for each in lines]


def report_line(report: Report, now: datetime) -> str:
    """One JSON object for a pass that did something or that something stands in the way of; empty for one without news."""
    done = [_value(each) for each in report.results if acted(each)]
    if not done:
        return ""
    value = {"formatVersion": 1, "at": now.isoformat(timespec="seconds"), "seconds": round(report.seconds, 3), "actions": done}
    return json.dumps(value)


def acted(result: Result) -> bool:
    """Whether something was done in this very pass."""
    if isinstance(result.outcome, Failed) and not result.attempts:
        return False  # it waits for its next try, and was told when it failed
    return result.outcome is not None and not isinstance(result.action, Keep | Blocked)


def _became(result: Result) -> str:
    if isinstance(result.outcome, Failed):
        return f"failed: {result.outcome.error}"
    return "started" if isinstance(result.outcome, Started) else f"done ({took(result.seconds)})"


def _value(result: Result) -> dict[str, Any]:
    action = type(result.action).__name__.lower()
    return {"ref": str(result.action.ref), "action": action, "outcome": _became(result)}
