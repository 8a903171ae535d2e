"""Why a resource is as it is: what it waits for and what would help, or the chain of what is in its way. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from reconciler.admission.remedy import NOT_ADVISED
from reconciler.admission.values import Item, Lease, Remedy, Verdict
from reconciler.model import Health, Progress, Ref, Status
from reconciler.report.admission import clock, needs
from reconciler.report.json import FORMAT_VERSION, ref_value, status_value
from reconciler.report.queue import ends, item_value, lease_value
from reconciler.report.show import clean, clean_lines, count, paint, since, took, wrap
from reconciler.report.status import why as told_of

TAIL = 12
"""Lines of a run's output that are shown."""
CHAIN = 20
"""Causes that are shown."""
_DEEP = 6


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is not Ready, and that the resource depends on or consists of."""

    status: Status
    depth: int
    """1 = asked about by name."""
    child: bool = False
    """It is a part of what stands above it, not something that it needs."""


@dataclass(frozen=True, slots=True)
class Why:
    """All that is known about one resource."""

    ref: Ref
    status: Status | None = None
    item: Item | None = None
    verdict: Verdict | None = None
    remedies: tuple[Remedy, ...] = ()
    lease: Lease | None = None
    why_stopped: str = ""
    """What its lease was asked to stop, or was paused for."""
    progress: Progress | None = None
    causes: tuple[Cause, ...] = ()
    suspended: str = ""
    """Somebody's reason to have it left alone."""


def causes_of(ref: Ref, statuses: Mapping[Ref, Status], needed: Mapping[Ref, Sequence[Ref]]) -> tuple[Cause, ...]:
    """What is not Ready among all that `ref` needs, directly or not, and among its children; each once, the nearest cause first.

    `needed` tells what each resource refers to or requires; a child needs what its parent needs."""
    found: list[Cause] = []
    seen = {ref}

    def below(each: Ref, depth: int) -> None:
        parent = replace(each, key="")
        children = [other for other in statuses if other.key and replace(other, key="") == each] if not each.key else []
        for other, child in [
            *((one, False) for one in needed.get(each, needed.get(parent, ()))),
            *((one, True) for one in sorted(children)),
        ]:
            status = statuses.get(other)
            if other in seen or status is None or status.ready or depth > _DEEP or len(found) >= CHAIN:
                continue
            seen.add(other)
            found.append(Cause(status, depth, child))
            if not child:
                below(other, depth + 1)

    below(ref, 1)
    return tuple(found)


# --- text ----------------------------------------------------------------------------------------------------------


def why_text(why: Why, now: datetime, *, color: bool = False, width: int = 100) -> str:
    """The answer first, then what is behind it, then what to do."""
    if why.verdict is not None and why.item is not None:
        lines = _waits(why, why.item, why.verdict, now, color, width)
    elif why.lease is not None:
        lines = _runs(why, why.lease, now, color, width)
    elif why.status is not None:
        lines = _stands(why, why.status, now, color, width)
    else:
        lines = [f"{clean(str(why.ref))} has not been reconciled yet", "Next: `reconcile --dry-run` shows what a pass would do with it."]
    return "\n".join(lines)


def _waits(why: Why, item: Item, verdict: Verdict, now: datetime, color: bool, width: int) -> list[str]:
    name = clean(str(why.ref))
    if verdict.admitted:
        return [
            f"{name} {paint('starts', 'green', color)} with the next pass: there is room for it on {clean(verdict.node)}",
            "Next: `reconcile` starts it; `reconcile watch` would have done so already.",
        ]
    word = paint("can never start", "red", color) if verdict.reason.never else paint("waits", "yellow", color)
    lines = [f"{name} {word}{_so_far(item, verdict, now)}", *wrap(clean(verdict.message), width, "  ")]
    lines += [f"  held by {clean(str(each))}" for each in verdict.blockers]
    lines += [f"  was stopped {count(item.preempted, 'time')} for others and keeps its place"] if item.preempted else []
    lines += _remedies(why.remedies, verdict, color, width)
    return [*lines, *_causes(why, width), "", "Next: `reconcile queue` shows all that waits; `reconcile top` who uses what."]


def _so_far(item: Item, verdict: Verdict, now: datetime) -> str:
    if verdict.reason.never:
        return ""
    told = [f"{since(item.since, now)} so far", f"position {verdict.position}"]
    if (expected := verdict.expected) is not None:
        told.append(f"expected start {clock(expected.at, now)}")
        if clock(expected.earliest, now) != clock(expected.latest, now):
            told.append(f"between {clock(expected.earliest, now)} and {clock(expected.latest, now)}")
    return f" ({', '.join(told)})"


def _remedies(found: Sequence[Remedy], verdict: Verdict, color: bool, width: int) -> list[str]:
    works, others = [each for each in found if each.works], [each for each in found if not each.works]
    if not works and not others:
        return ["No change of its priority, its requests or its quota would let it start now."] if not verdict.reason.never else []
    lines: list[str] = []
    if works:
        what = "It could start" if verdict.reason.never else "It would start now"
        lines.append(f"{what} with one of (each checked by deciding again):")
        size = min(44, max(len(each.change) for each in works))
        for each in works:
            lines += (
                wrap(f"{clean(each.change):<{size}}   {clean(each.effect)}".rstrip(), width, "  ")
                if len(each.change) > size
                else _aligned(clean(each.change), clean(each.effect), size, width, color)
            )
    else:
        lines.append("Nothing that was tried would let it start now.")
    for each in others:
        head = "Not advised" if each.effect.startswith(NOT_ADVISED) else "Not enough"
        reason = each.effect.removeprefix(f"{NOT_ADVISED}: ")
        lines += wrap(f"{head}: {clean(each.change)} ({clean(reason)})", width, "")
    return lines


def _aligned(change: str, effect: str, size: int, width: int, color: bool) -> list[str]:
    """The change, and beside it, wrapped in its own column, what it costs."""
    left = " " * (size + 5)
    first, *rest = wrap(effect, width, left) or [""]
    return [f"  {paint(f'{change:<{size}}', 'bold', color)}   {first.strip()}".rstrip(), *rest]


def _runs(why: Why, lease: Lease, now: datetime, color: bool, width: int) -> list[str]:
    state = "is being stopped" if lease.ending else "is paused" if lease.paused else "runs"
    queued = (lease.since - lease.queued).total_seconds()
    waited = f", after {took(queued)} in the queue" if queued >= 1 else ""
    end = (
        ""
        if lease.ending or lease.paused or ends(lease, now) == "-"
        else f", ends {ends(lease, now).replace('not known', 'at a time not known')}"
    )
    word = paint(state, "green" if state == "runs" else "yellow", color)
    lines = [f"{clean(str(why.ref))} {word} on {clean(lease.node)} (since {since(lease.since, now)}{waited}{end})"]
    lines.append(f"  has {needs(lease.amounts)}, priority {lease.priority}")
    if why.why_stopped:
        lines += wrap(f"because: {clean(why.why_stopped)}", width, "  ")
    return [*lines, *_output(why.progress), "", f"Next: `reconcile status {clean(str(why.ref))}` tells more of it."]


def _stands(why: Why, status: Status, now: datetime, color: bool, width: int) -> list[str]:
    name, changed = clean(str(why.ref)), next((each.since for each in status.conditions if each.type == "Ready"), None)
    lasting = f" for {since(changed, now)}" if changed else ""
    if status.ready:
        lines = [f"{name} is {paint('Ready', 'green', color)}{lasting}"]
        lines += wrap(clean(status.message), width, "  ") if status.message else []
    else:
        style = "red" if status.health in (Health.DEGRADED, Health.MISSING) else "yellow"
        lines = [f"{name} is {paint(str(status.health), style, color)}{lasting}", *_reasons(status, width)]
    if why.suspended:
        lines += wrap(f"left alone by somebody's wish: {clean(why.suspended)}", width, "  ")
    lines += [*_causes(why, width), *_output(why.progress)]
    return [*lines, "", _next(why, status)]


def _reasons(status: Status, width: int) -> list[str]:
    """The most telling sentence, then what else its conditions say."""
    lines: list[str] = []
    told = told_of(status)
    first, *rest = clean_lines(told).split("\n") if told else [""]
    lines += wrap(first, width, "  ") if first else []
    lines += [f"    {each}" for each in rest if each.strip()]
    for each in status.conditions:
        if each.status is not True and each.message and each.message not in told:
            lines += wrap(f"{each.type}: {clean(each.message)}", width, "  ")
    return lines


def _causes(why: Why, width: int) -> list[str]:
    lines: list[str] = []
    for each in why.causes:
        head = "  " * each.depth
        link = "part:" if each.child else "needs"
        state = (
            f"{link} {clean(str(each.status.ref))}, which is {each.status.health}"
            if not each.child
            else f"{link} {clean(str(each.status.ref))} is {each.status.health}"
        )
        reason = told_of(each.status)
        lines += wrap(f"{state}: {clean(reason)}" if reason else state, width, head)
        if each.status.location.file:
            lines.append(f"{head}  {clean(str(each.status.location))}")
    return lines


def _output(progress: Progress | None) -> list[str]:
    """How a run ended, and the last lines of its output."""
    if progress is None:
        return []
    lines = [f"  {clean(progress.why)}"] if progress.why else []
    tail = [each for each in clean_lines(progress.tail).split("\n") if each.strip()][-TAIL:]
    return [*lines, *(["  last lines of its output:", *(f"    | {each}" for each in tail)] if tail else [])]


def _next(why: Why, status: Status) -> str:
    root = next((each for each in reversed(why.causes) if not each.child), None)
    if status.ready:
        return f"Next: `reconcile history {clean(str(why.ref))}` tells what was done to it."
    if root is not None:
        return f"Next: `reconcile why {clean(str(root.status.ref))}`: it stands at the end of the chain."
    if any(each.type == "Stalled" and each.status is True for each in status.conditions):
        return "Next: it is tried again when its manifest changes, for a run also its code or `rerun`."
    if why.causes:
        return f"Next: `reconcile why {clean(str(why.causes[0].status.ref))}`"
    return f"Next: `reconcile history {clean(str(why.ref))}` tells what was done to it; `reconcile diff` what differs now."


# --- values --------------------------------------------------------------------------------------------------------


def why_json(why: Why, now: datetime) -> str:
    """The same for programs."""
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "why", **why_value(why, now)}, indent=2)


def why_value(why: Why, now: datetime) -> dict[str, Any]:
    """The same as plain values."""
    state = (
        "waiting"
        if why.verdict
        else "running"
        if why.lease
        else "unknown"
        if why.status is None
        else "ready"
        if why.status.ready
        else "notReady"
    )
    return {
        **ref_value(why.ref),
        "state": state,
        "waiting": item_value(why.item, why.verdict, now) if why.item and why.verdict else None,
        "remedies": [{"change": each.change, "effect": each.effect, "works": each.works} for each in why.remedies],
        "running": lease_value(why.lease, now) if why.lease else None,
        "whyStopped": why.why_stopped or None,
        "status": status_value(why.status) if why.status else None,
        "causes": [{**status_value(each.status), "depth": each.depth, "child": each.child} for each in why.causes],
        "suspended": why.suspended or None,
        "output": _output_value(why.progress),
    }


def _output_value(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {
        "job": progress.id,
        "state": progress.state,
        "exitCode": progress.exit_code,
        "why": progress.why or None,
        "tail": progress.tail or None,
    }
