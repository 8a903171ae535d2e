"""What is paused when a machine stays critically hot, and what goes on when it has cooled. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from reconciler.admission.values import Lease, Level, Node, Snapshot
from reconciler.model import Ref


def throttle(snapshot: Snapshot, stopped: Collection[Ref]) -> tuple[tuple[Ref, ...], tuple[Ref, ...], Mapping[str, datetime]]:
    """Refs to pause, Refs to resume, and when each node was last acted upon. `stopped` are about to end anyway.

    At most one act per node and `rules.pause_after`: heat answers slowly, and each step is measured before the next."""
    pauses: list[Ref] = []
    resumes: list[Ref] = []
    acted = dict(snapshot.past.node_paused)
    for node in sorted(snapshot.nodes, key=lambda each: each.name):
        last = acted.get(node.name)
        if last is not None and snapshot.now - last < snapshot.rules.pause_after:
            continue
        here = [each for each in snapshot.leases if each.node == node.name and not each.ending and each.ref not in stopped]
        chosen = _to_pause(node, here, snapshot) if node.heat.level is Level.CRITICAL else None
        if chosen is not None:
            pauses.append(chosen.ref)
            acted[node.name] = snapshot.now
        elif node.heat.level < Level.SERIOUS:
            paused = [each for each in here if each.paused]
            if paused:
                resumes.append(max(paused, key=lambda each: (each.priority, -each.since.timestamp(), str(each.ref))).ref)
                acted[node.name] = snapshot.now
    return tuple(pauses), tuple(resumes), acted


def _to_pause(node: Node, here: list[Lease], snapshot: Snapshot) -> Lease | None:
    """The lowest priority, of equals the one that started last; batch work only."""
    if node.heat.since is None or snapshot.now - node.heat.since < snapshot.rules.pause_after:
        return None
    running = [each for each in here if each.work == "batch" and not each.paused]
    return min(running, key=lambda each: (each.priority, -each.since.timestamp(), str(each.ref)), default=None)
