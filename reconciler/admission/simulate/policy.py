"""Policies that the simulator compares: admission as it is, and what it is measured against. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler.admission.decide import decide
from reconciler.admission.values import Decision, Heat, Item, Lease, Level, Rules, Snapshot, Verdict
from reconciler.model import Ref


@dataclass(frozen=True)
class Policy:
    """Who may start, as a function of a snapshot."""

    name: str
    about: str
    decide: Callable[[Snapshot], Decision]
    adjust: Callable[[Rules], Rules] = lambda rules: rules
    """What it changes in the rules."""
    explains: bool = True
    """False: its decisions give no reasons."""


def blind(snapshot: Snapshot) -> Decision:
    """`decide` without any sensor of heat: quotas and memory alone."""
    return decide(replace(snapshot, nodes=tuple(replace(each, heat=Heat(Level.UNKNOWN)) for each in snapshot.nodes)))


def everything(snapshot: Snapshot) -> Decision:
    """No admission control: everything starts at once."""
    return _grants(snapshot, snapshot.queue)


def first_come(snapshot: Snapshot) -> Decision:
    """Whoever came first and fits starts; nobody reserves, quotas are not looked at (best-effort FIFO)."""
    node = snapshot.nodes[0]
    room = node.free_of_us()
    taken = [sum(each.amounts[at] for each in snapshot.leases) for at in range(4)]
    starts: list[Item] = []
    for item in sorted(snapshot.queue, key=lambda each: (each.since, each.ref)):
        wanted = [have + more for have, more in zip(taken, item.amounts, strict=True)]
        if all(limit is None or each <= limit for each, limit in zip(wanted, room, strict=True)):
            taken = wanted
            starts.append(item)
    return _grants(snapshot, starts)


def _grants(snapshot: Snapshot, items: list[Item] | tuple[Item, ...]) -> Decision:
    node = snapshot.nodes[0].name
    leases = tuple(
        Lease(each.ref, each.project, node, each.amounts, each.priority, snapshot.now, each.since, seconds=each.seconds) for each in items
    )
    return Decision(leases, (), (), (), snapshot.past, (), _unexplained)


def _unexplained(ref: Ref) -> Verdict:
    raise KeyError(ref)


def _without_reservation(rules: Rules) -> Rules:
    return replace(rules, reserve_after=timedelta(days=3650))


NONE = Policy("none", "no admission control", everything, explains=False)
MEMORY = Policy("memory", "quotas and memory, heat not looked at", blind)
FULL = Policy("full", "quotas, memory and heat", decide)
FIRST_COME = Policy("first-come", "memory and cores, first come first served", first_come, explains=False)
UNRESERVED = Policy("no-reservation", "fair order, but nobody reserves", decide, _without_reservation)
POLICIES: Mapping[str, Policy] = {each.name: each for each in (NONE, MEMORY, FULL, FIRST_COME, UNRESERVED)}
