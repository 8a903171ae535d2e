"""What runs under admission and what waits for it, for people and programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from reconciler.admission.values import Item, Lease, Level, Node, Snapshot, Verdict
from reconciler.model import Amounts, Ref, Status
from reconciler.model.demand import NOTHING, RESOURCES
from reconciler.model.units import trimmed
from reconciler.report.admission import WORDS, amounts_value, needs, part, soon, verdict_value
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.show import clean, listed, paint, rfc3339, shorten, since, took, wrap

SHOWN = 40
"""Waiting items that are listed without `--all`."""
ASIDE = {"WaitingForPool": "a slot of its pool", "Waiting": "a resource"}
"""Reasons of children that wait for something else than room, in words."""
_RUNNING = ("RUNNING", "PROJECT", "HAS", "FOR", "ENDS")
_WAITING = ("#", "WAITING", "PROJECT", "NEEDS", "WAITED", "STARTS", "WAITS FOR")
_LEVELS = {Level.NOMINAL: "green", Level.FAIR: "yellow", Level.SERIOUS: "red", Level.CRITICAL: "red", Level.UNKNOWN: "magenta"}


def queue_text(
    snapshot: Snapshot,
    verdicts: Mapping[Ref, Verdict],
    *,
    color: bool = False,
    width: int = 100,
    all_: bool = False,
    warnings: Sequence[str] = (),
    aside: Sequence[Status] = (),
) -> str:
    """The outcome first, what runs, what waits in the order in which it is expected to start, why, and what to do next.

    `verdicts` are those of everything in the snapshot's queue; some may have an expected start. `aside` waits for something else than
    room: tasks of workflows for a slot of their pool, or for a resource."""
    if not snapshot.queue and not snapshot.leases and not aside:
        return "\n".join([f"Nothing runs and nothing waits.   {machine_line(snapshot, color)}", *_warned(warnings, width, color)])
    items = {each.ref: each for each in snapshot.queue}
    ordered = sorted((verdicts[ref] for ref in items if ref in verdicts), key=_place)
    shown = ordered if all_ else ordered[:SHOWN]
    parts = [f"{_headline(snapshot, ordered)}.   {machine_line(snapshot, color)}", *_warned(warnings, width, color)]
    if snapshot.leases:
        parts += ["", *_table(_RUNNING, [_running(each, snapshot.now, width) for each in by_project(snapshot.leases)], color)]
    if shown:
        parts += ["", *_waiting_lines(shown, items, snapshot.now, width, color)]
    if aside:
        parts += ["", *_aside(aside if all_ else aside[:SHOWN], width, color)]
    if len(ordered) > len(shown):
        parts += ["", f"{len(ordered) - len(shown):,} more wait (`--all`)."]
    if ordered:
        first = next((each for each in ordered if not each.admitted), ordered[0])
        parts += ["", f"Next: `reconcile why {clean(str(first.ref))}` tells what would let it start now."]
    return "\n".join(parts)


def queue_json(snapshot: Snapshot, verdicts: Mapping[Ref, Verdict], *, warnings: Sequence[str] = (), aside: Sequence[Status] = ()) -> str:
    """The same for programs; everything is listed."""
    body = queue_value(snapshot, verdicts, warnings=warnings, aside=aside)
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "queue", **body}, indent=2)


def queue_value(
    snapshot: Snapshot, verdicts: Mapping[Ref, Verdict], *, warnings: Sequence[str] = (), aside: Sequence[Status] = ()
) -> dict[str, Any]:
    """The same as plain values."""
    items = {each.ref: each for each in snapshot.queue}
    ordered = sorted((verdicts[ref] for ref in items if ref in verdicts), key=_place)
    return {
        "at": rfc3339(snapshot.now),
        "nodes": [node_value(each, snapshot) for each in snapshot.nodes],
        "running": [lease_value(each, snapshot.now) for each in by_project(snapshot.leases)],
        "waiting": [item_value(items[each.ref], each, snapshot.now) for each in ordered],
        "aside": [{"ref": str(each.ref), "project": each.ref.owner, "reason": _reason(each), "message": each.message} for each in aside],
        "warnings": list(warnings),
    }


# --- the machine ---------------------------------------------------------------------------------------------------


def machine_line(snapshot: Snapshot, color: bool = False) -> str:
    """`memory 38 of 62 GiB · cpu 6 of 12 cores · heat fair`, of all nodes together."""
    told = []
    for at, name in enumerate(RESOURCES):
        most = [each.capacity[at] for each in snapshot.nodes]
        have = sum(each for each in most if each is not None)
        if have and None not in most and (name != "gpu" or _asked(snapshot, at)):
            told.append(f"{name} {part(name, sum(used(each, snapshot.leases)[at] for each in snapshot.nodes), have)}")
    level = max((each.heat.level for each in snapshot.nodes), default=Level.UNKNOWN)
    return " · ".join([*told, f"heat {paint(str(level), _LEVELS[level], color)}"])


def _asked(snapshot: Snapshot, at: int) -> bool:
    return any(each.amounts[at] for each in snapshot.leases) or any(each.amounts[at] for each in snapshot.queue)


def used(node: Node, leases: Iterable[Lease]) -> Amounts:
    """Everything that is taken of a node: reserve, services, other programs, leases."""
    total = node.reserve.plus(node.system).plus(node.outside)
    for each in leases:
        if each.node == node.name:
            total = total.plus(each.amounts)
    return total


def leased(leases: Iterable[Lease], **of: str) -> Amounts:
    """The sum of the leases whose fields are `of`."""
    total = NOTHING
    for each in leases:
        if all(getattr(each, name) == value for name, value in of.items()):
            total = total.plus(each.amounts)
    return total


def _warned(warnings: Sequence[str], width: int, color: bool) -> list[str]:
    return [paint(line, "yellow", color) for each in warnings for line in wrap(f"warning: {clean(each)}", width, "")]


# --- lines ---------------------------------------------------------------------------------------------------------


def by_project(leases: Iterable[Lease]) -> list[Lease]:
    """By project, in each the oldest first."""
    return sorted(leases, key=lambda each: (each.project, each.since, str(each.ref)))


def _place(verdict: Verdict) -> tuple[bool, int, str]:
    return (verdict.reason.never, verdict.position, str(verdict.ref))


def _headline(snapshot: Snapshot, ordered: Sequence[Verdict]) -> str:
    never = sum(each.reason.never for each in ordered)
    ready = sum(each.admitted for each in ordered)
    told = [f"{len(snapshot.leases):,} running", f"{len(ordered) - never - ready:,} waiting"]
    told += [f"{ready:,} to start with the next pass"] if ready else []
    return ", ".join([*told, *([f"{never:,} can never start"] if never else [])])


def _running(lease: Lease, now: datetime, width: int) -> tuple[str, ...]:
    return (
        shorten(clean(str(lease.ref)), max(30, width // 2)),
        clean(lease.project),
        needs(lease.amounts),
        since(lease.since, now),
        ends(lease, now),
    )


def ends(lease: Lease, now: datetime) -> str:
    """When a lease is expected to end, in words."""
    if lease.ending:
        return "is being stopped"
    if lease.paused:
        return "paused"
    if lease.work in ("serving", "system"):
        return "-"
    if lease.seconds is None:
        return "not known"
    left = (lease.since + timedelta(seconds=lease.seconds) - now).total_seconds()
    return f"in about {took(max(10.0, left))}" if left > 0 else f"any moment ({took(max(10.0, -left))} late)"


def _waiting_lines(shown: Sequence[Verdict], items: Mapping[Ref, Item], now: datetime, width: int, color: bool) -> list[str]:
    """One line each; below it, once for each run of equal ones, why."""
    rows = [_waiting(each, items[each.ref], now, width) for each in shown]
    table = _table(_WAITING, rows, color)
    lines, told = [table[0]], ""
    for verdict, line in zip(shown, table[1:], strict=True):
        lines.append(paint(line, "red", color) if verdict.reason.never else line)
        why = "" if verdict.admitted else sentence(verdict)
        if why and why != told:
            lines += wrap(why, width, "      ")
        told = why
    return lines


def waits_aside(statuses: Iterable[Status], snapshot: Snapshot) -> list[Status]:
    """Children that wait for something else than room."""
    known = {each.ref for each in snapshot.queue} | {each.ref for each in snapshot.leases}
    found = [each for each in statuses if each.ref.key and each.ref not in known and _reason(each) in ASIDE]
    return sorted(found, key=lambda each: each.ref)


def _reason(status: Status) -> str:
    return next((each.reason for each in status.conditions if each.type == "Ready"), "")


def _aside(aside: Sequence[Status], width: int, color: bool) -> list[str]:
    """One line each, and below it why."""
    rows = [(shorten(clean(str(each.ref)), max(30, width // 2)), clean(each.ref.owner), ASIDE[_reason(each)]) for each in aside]
    head, *lines = _table(("TASK", "PROJECT", "WAITS FOR"), rows, color)
    told = [head]
    for status, line in zip(aside, lines, strict=True):
        told += [line, *wrap(clean(status.message), width, "      ")]
    return told


def sentence(verdict: Verdict) -> str:
    """Why it waits, and who is in the way."""
    held = f"; held by {listed(verdict.blockers, 2)}" if verdict.blockers else ""
    return f"{clean(verdict.message)}{held}"


def _waiting(verdict: Verdict, item: Item, now: datetime, width: int) -> tuple[str, ...]:
    if verdict.admitted:
        starts = "next pass"
    elif verdict.reason.never:
        starts = "never"
    else:
        starts = soon(verdict.expected, now).removeprefix("in about ") if verdict.expected else "?"
    return (
        str(verdict.position or "-"),
        shorten(clean(str(item.ref)), max(30, width // 2)),
        clean(item.project),
        needs(item.amounts),
        since(item.since, now),
        starts,
        "" if verdict.admitted else WORDS[verdict.reason],
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], color: bool) -> list[str]:
    sizes = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    lines = ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in [heads, *rows]]
    return [paint(lines[0], "dim", color), *lines[1:]]


# --- values --------------------------------------------------------------------------------------------------------


def node_value(node: Node, snapshot: Snapshot) -> dict[str, Any]:
    """A node: what it has, what is taken of it by whom, heat and memory pressure."""
    return {
        "name": node.name,
        "capacity": amounts_value(node.capacity),
        "reserve": amounts_value(node.reserve),
        "services": amounts_value(node.system),
        "otherPrograms": amounts_value(node.outside),
        "leased": amounts_value(leased(snapshot.leases, node=node.name)),
        "heat": str(node.heat.level),
        "headroomUsed": node.heat.used,
        "watts": node.heat.watts,
        "heatSource": node.heat.source or None,
        "memoryPressure": str(node.memory_level),
    }


def lease_value(lease: Lease, now: datetime) -> dict[str, Any]:
    """Work that runs, and what it was granted."""
    end = lease.since + timedelta(seconds=lease.seconds) if lease.seconds is not None and not lease.paused else None
    return {
        "ref": str(lease.ref),
        "project": lease.project,
        "node": lease.node,
        "work": lease.work,
        "amounts": amounts_value(lease.amounts),
        "priority": lease.priority,
        "since": rfc3339(lease.since),
        "queuedSeconds": round((lease.since - lease.queued).total_seconds()),
        "expectedEnd": rfc3339(max(end, now)) if end is not None else None,
        "paused": lease.paused,
        "ending": lease.ending,
        "preempted": lease.preempted,
    }


def item_value(item: Item, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """Work that waits, with its verdict."""
    return {
        **verdict_value(verdict),
        "project": item.project,
        "work": item.work,
        "amounts": amounts_value(item.amounts),
        "priority": item.priority,
        "since": rfc3339(item.since),
        "waitedSeconds": max(0, round((now - item.since).total_seconds())),
        "preempted": item.preempted,
    }


def heat_words(node: Node) -> str:
    """`fair (62 % of its headroom used), 14 W`."""
    share = f" ({node.heat.used:.0%} of its headroom used)" if node.heat.used is not None else ""
    watts = f", {trimmed(node.heat.watts)} W" if node.heat.watts is not None else ""
    return f"{node.heat.level}{share}{watts}"
