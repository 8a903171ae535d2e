"""What standing reservations leave. Replicas are not stopped for anybody: what they hold never comes back by waiting. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.admission.quota import Usage, lasting, tree_of
from reconciler.admission.values import Snapshot
from reconciler.model import Limits, Ref


def room(snapshot: Snapshot, owner: Ref) -> Limits:
    """The most that work of `owner` can ever hold at once: machine and quota, less what everybody else's standing reservations take.

    What `owner` and its children hold now is not taken off. None = nothing bounds the resource. Work that ends is not counted: its
    room comes back."""
    others = [each for each in snapshot.leases if each.work == "serving" and replace(each.ref, key="") != owner]
    tree = tree_of(snapshot, [owner.owner])
    usage = Usage(tree)
    for lease in others:
        usage.add(lease.project, lease.amounts)
    share = tree.share(owner.owner)
    found: list[int | None] = []
    for resource in range(len(Limits._fields)):
        bounds = [usage.available(share, resource)] if resource in share.governed else []
        for node in snapshot.nodes:
            if (most := lasting(node)[resource]) is not None:
                bounds.append(most - sum(each.amounts[resource] for each in others if each.node == node.name))
        found.append(max(0, min(bounds)) if bounds else None)
    return Limits(*found)
