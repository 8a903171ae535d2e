"""Who uses what: the machines, and each project's quota with what is borrowed and lent. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.admission.quota import Share, Tree, Usage, tree_of
from reconciler.admission.values import Level, Node, Snapshot
from reconciler.model.demand import NOTHING, RESOURCES
from reconciler.report.admission import amount, part
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.queue import heat_words, leased, node_value, used
from reconciler.report.show import clean, count, paint, rfc3339, wrap

_HEADS = ("PROJECT", "COHORT", "RESOURCE", "NOMINAL", "IN USE", "BORROWED", "LENT", "RUNNING", "WAITING", "SHARE")
_BAR = 10


@dataclass(frozen=True, slots=True)
class Line:
    """One resource of one project; amounts in the units of Amounts."""

    project: str
    cohort: str
    resource: str
    nominal: int | None
    """None = its quota does not govern the resource."""
    used: int
    borrowed: int
    lent: int
    """What others use of its nominal amount. A cohort lends as a whole: its borrowed amounts are told in proportion to idle shares."""
    running: int
    waiting: int
    share: float
    """Weighted dominant share: the largest part of its cohort that it borrows. The lowest goes first."""


def top_lines(snapshot: Snapshot) -> list[Line]:
    """Every project that has a quota, runs or waits: one line for each resource that its quota governs or that it uses."""
    names = sorted({each.project for each in snapshot.leases} | {each.project for each in snapshot.queue} | snapshot.quotas.keys())
    tree = tree_of(snapshot, names)
    usage = Usage(tree)
    for lease in snapshot.leases:
        usage.add(lease.project, lease.amounts)
    found: list[Line] = []
    for name in names:
        share = tree.share(name)
        rows = [at for at in range(len(RESOURCES)) if share.quota.nominal[at] is not None or usage.used[name][at]] or [0]
        found += [_line(name, at, share, tree, usage, snapshot) for at in rows]
    return found


def _line(name: str, at: int, share: Share, tree: Tree, usage: Usage, snapshot: Snapshot) -> Line:
    nominal = share.quota.nominal[at] if share.quota.declared else None
    have = usage.used[name][at]
    governed = at in share.governed
    return Line(
        project=name,
        cohort=share.quota.cohort,
        resource=RESOURCES[at],
        nominal=nominal,
        used=have,
        borrowed=max(0, have - share.nominal[at]) if governed else 0,
        lent=_lent(share, at, tree, usage),
        running=sum(each.project == name for each in snapshot.leases),
        waiting=sum(each.project == name for each in snapshot.queue),
        share=usage.dominant(share, NOTHING),
    )


def _lent(share: Share, at: int, tree: Tree, usage: Usage) -> int:
    """The project's part of what its cohort lends: in proportion to what each member has idle and may lend."""
    if not share.pool or at not in share.governed:
        return 0
    members = [each for each in tree.shares.values() if each.pool == share.pool and at in each.governed]
    idle = {each.project: max(0, each.nominal[at] - max(each.local[at], usage.used[each.project][at])) for each in members}
    taken = sum(max(0, usage.used[each.project][at] - each.nominal[at]) for each in members)
    whole = sum(idle.values())
    return round(min(taken, whole) * idle[share.project] / whole) if whole else 0


def top_text(
    snapshot: Snapshot, *, projects: Sequence[str] = (), color: bool = False, width: int = 100, warnings: Sequence[str] = ()
) -> str:
    """Machines first, then the projects; with `projects` only those."""
    lines = [line for node in snapshot.nodes for line in _node_lines(node, snapshot, color)]
    lines += [paint(line, "yellow", color) for each in warnings for line in wrap(f"warning: {clean(each)}", width, "")]
    found = [each for each in top_lines(snapshot) if not projects or each.project in projects]
    if not found:
        return "\n".join([*lines, "", "No project has a quota, and nothing runs or waits."])
    rows = [_cells(each, found[at - 1] if at else None) for at, each in enumerate(found)]
    keep = [at for at in range(len(_HEADS)) if at not in (1, 6, 9) or width >= 100]
    sizes = {at: max(len(row[at]) for row in [_HEADS, *rows]) for at in keep}
    table = ["  ".join(f"{row[at]:<{sizes[at]}}" for at in keep).rstrip() for row in [_HEADS, *rows]]
    painted = [paint(line, "yellow", color) if each.borrowed else line for line, each in zip(table[1:], found, strict=True)]
    total = f"{count(len(snapshot.leases), 'lease')}, {len(snapshot.queue):,} waiting."
    return "\n".join([*lines, "", paint(table[0], "dim", color), *painted, "", f"{total}   `reconcile queue` lists them."])


def _node_lines(node: Node, snapshot: Snapshot, color: bool) -> list[str]:
    taken, ours = used(node, snapshot.leases), leased(snapshot.leases, node=node.name)
    told = []
    for at, name in enumerate(RESOURCES):
        most = node.capacity[at]
        if most:
            told.append(f"{name} {_bar(taken[at] / most, color)} {part(name, taken[at], most)}")
    parts = {"leases": ours, "services": node.system, "other programs": node.outside, "reserve": node.reserve}
    memory = ", ".join(f"{word} {amount('memory', each.memory)}" for word, each in parts.items() if each.memory)
    pressure = f" · memory pressure {node.memory_level}" if node.memory_level >= Level.FAIR else ""
    return [f"{clean(node.name)}  {'   '.join(told)}   heat {heat_words(node)}{pressure}", *([f"  memory: {memory}"] if memory else [])]


def _bar(share: float, color: bool) -> str:
    full = min(_BAR, max(0, round(share * _BAR)))
    style = "red" if share > 0.95 else "yellow" if share > 0.8 else "green"
    return "[" + paint("#" * full, style, color) + "." * (_BAR - full) + "]"


def _cells(line: Line, above: Line | None) -> tuple[str, ...]:
    first = above is None or above.project != line.project
    name = line.resource
    return (
        clean(line.project) if first else "",
        clean(line.cohort or "-") if first else "",
        name,
        amount(name, line.nominal) if line.nominal is not None else "-",
        amount(name, line.used) if line.used else "0",
        amount(name, line.borrowed) if line.borrowed else "-",
        amount(name, line.lent) if line.lent else "-",
        f"{line.running:,}" if first else "",
        f"{line.waiting:,}" if first else "",
        f"{line.share:.2f}" if first else "",
    )


def top_json(snapshot: Snapshot, *, projects: Sequence[str] = (), warnings: Sequence[str] = ()) -> str:
    """The same for programs: bytes, cores, devices, watts."""
    body = top_value(snapshot, projects=projects, warnings=warnings)
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "top", **body}, indent=2)


def top_value(snapshot: Snapshot, *, projects: Sequence[str] = (), warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The same as plain values."""
    found: dict[str, dict[str, Any]] = {}
    for line in (each for each in top_lines(snapshot) if not projects or each.project in projects):
        told = found.setdefault(
            line.project,
            {
                "project": line.project,
                "cohort": line.cohort or None,
                "running": line.running,
                "waiting": line.waiting,
                "share": round(line.share, 4) if line.share != float("inf") else None,
                "resources": {},
            },
        )
        scale = 1 if line.resource == "memory" else 1000
        told["resources"][line.resource] = {
            "nominal": None if line.nominal is None else line.nominal / scale if scale > 1 else line.nominal,
            "used": line.used / scale if scale > 1 else line.used,
            "borrowed": line.borrowed / scale if scale > 1 else line.borrowed,
            "lent": line.lent / scale if scale > 1 else line.lent,
        }
    return {
        "at": rfc3339(snapshot.now),
        "nodes": [node_value(each, snapshot) for each in snapshot.nodes],
        "projects": list(found.values()),
        "warnings": list(warnings),
    }
