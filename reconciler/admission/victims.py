"""The search for whom to stop: Kueue's minimal set, target by target, made strict enough that it ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from reconciler.admission.feasible import Gate, Room
from reconciler.admission.quota import ALL, UNDECLARED, Share, Usage
from reconciler.admission.values import Item, Lease
from reconciler.model.demand import NOTHING


class Right(Enum):
    """By what right somebody may be stopped.

    Kueue's second strategy of fair sharing, S2-b LessThanInitialShare, is left out: with work that cannot be divided it takes one
    large piece for a smaller one, the rest is filled again, and it comes back (3 of 20,000 random scenarios; none without it)."""

    OWN = "priority: lower ones of the own project, replaced by no more than they held"
    RECLAIM = "what is asked for is within the own nominal amounts: from whoever holds more than his; lower ones of the own project too"
    FAIR = "borrowing, with a share no larger than the other's after its loss (S2-a LessThanOrEqualToFinalShare)"


def on_node(gate: Gate, item: Item, room: Room, candidates: Sequence[Lease], name: str) -> tuple[Lease, ...] | None:
    """The smallest set of `candidates` found whose stop makes room for `item` on one node; empty = there is room, None = no set does.

    One right is used at a time. Mixed, a borrower takes from others by fairness, grows by priority, loses it by fairness, for ever.
    For the same reason a borrower's work that was stopped itself stops nobody: each chain of stops comes to an end."""
    share = gate.tree.share(item.project)
    rights: tuple[Right, ...] = (Right.FAIR, Right.OWN)
    if not room.usage.borrows(share, item.amounts):
        rights = (Right.RECLAIM,)
    elif item.preempted and share.pool not in ("", UNDECLARED):
        rights = ()
    if fits(gate, item, share, room, name):
        return None if gate.on_node(name, item, room) is not None else ()
    for right in rights:
        chosen = _search(gate, item, room, candidates, name, right)
        if chosen is not None:
            return chosen
    return None


def _search(gate: Gate, item: Item, room: Room, candidates: Sequence[Lease], name: str, right: Right) -> tuple[Lease, ...] | None:
    trial = room.copy()
    share = gate.tree.share(item.project)
    left = list(candidates)
    chosen: list[Lease] = []
    while not fits(gate, item, share, trial, name):
        victim = _next(gate, item, share, trial, left, name, right)
        if victim is None:
            return None
        left.remove(victim)
        trial.remove(victim)
        chosen.append(victim)
    for victim in reversed(chosen[:-1]):
        trial.add(victim)
        if fits(gate, item, share, trial, name):
            chosen.remove(victim)
        else:
            trial.remove(victim)
    if (right is Right.OWN and _grows(share, item, chosen, room)) or gate.on_node(name, item, trial) is not None:
        return None
    return tuple(chosen)


def _grows(share: Share, item: Item, chosen: Sequence[Lease], room: Room) -> bool:
    """True when a borrower would hold more of something than before, and more than its own."""
    if share.pool in ("", UNDECLARED):
        return False
    freed = [sum(each.amounts[r] for each in chosen) for r in ALL]
    used = room.usage.used[share.project]
    return any(item.amounts[r] > freed[r] and used[r] + item.amounts[r] - freed[r] > share.nominal[r] for r in share.governed)


def fits(gate: Gate, item: Item, share: Share, room: Room, name: str) -> bool:
    return room.usage.fits(share, item.amounts) and gate.lacks(name, item.amounts, room) is None


def _next(gate: Gate, item: Item, share: Share, room: Room, left: Sequence[Lease], name: str, right: Right) -> Lease | None:
    """The next victim: of the project with the largest share first, then of the own project."""
    usage, free, held = room.usage, gate.free[name], room.held[name]
    quota = usage.short(share, item.amounts)
    short = {r for r in ALL if quota[r]}
    tight = {r for r in ALL if item.amounts[r] and (limit := free[r]) is not None and held[r] + item.amounts[r] > limit}
    mine = usage.dominant(share, item.amounts)
    best: tuple[float, Lease] | None = None
    own: Lease | None = None
    for lease in left:
        here = lease.node == name and any(lease.amounts[r] for r in tight)
        if lease.project == item.project:
            if (
                own is None
                and right in (Right.OWN, Right.RECLAIM)
                and lease.priority < item.priority
                and (here or any(lease.amounts[r] for r in short))
            ):
                own = lease
            continue
        if right is Right.OWN:
            continue
        target = gate.tree.share(lease.project)
        pooled = bool(share.pool) and share.pool == target.pool
        wanted = (short if pooled else set()) | (tight & set(share.governed) if here else set())
        lacking = {r for r in wanted if lease.amounts[r] and usage.above(target, r)}
        if not lacking or _claims(usage, target, lease, share, item):
            continue
        theirs = usage.dominant(target, NOTHING)
        if right is not Right.RECLAIM and not (pooled and share.pool != UNDECLARED and _fairer(room, target, lease, mine, theirs)):
            continue
        if best is None or theirs > best[0]:
            best = (theirs, lease)
    return best[1] if best is not None else own


def _claims(usage: Usage, target: Share, lease: Lease, share: Share, item: Item) -> bool:
    """True when the victim holds something by right of which `item` asks without right: each could stop the other in turn, one for
    its memory, the other for its cores."""
    for r in target.governed:
        if lease.amounts[r] and item.amounts[r] and not usage.above(target, r):
            own = r in share.governed and usage.used[share.project][r] + item.amounts[r] <= share.nominal[r]
            if not own:
                return True
    return False


def _fairer(room: Room, target: Share, lease: Lease, mine: float, theirs: float) -> bool:
    """S2-a, and strictly: the other's share gets smaller by the loss, so that the larger share of the two does."""
    return mine <= room.usage.dominant(target, NOTHING.minus(lease.amounts)) < theirs
