"""Why work waits, in numbers that people know: worked out when somebody asks. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.admission.feasible import ROOM, WAITING_FOR, Barrier, Finding, Gate, Room, ends
from reconciler.admission.order import Backlog, age, effective, shape_of
from reconciler.admission.quota import ALL, UNDECLARED, Share
from reconciler.admission.values import Earmark, Item, Lease, Reason, Snapshot, Verdict
from reconciler.model import Ref
from reconciler.model.demand import RESOURCES

GIB = 1 << 30
MOST_BLOCKERS = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """Room that is not for everybody."""

    barriers: Sequence[Barrier]
    own: Mapping[str, Barrier]
    """Project -> what its own head keeps from the rest of it."""
    earmarks: Mapping[Ref, Earmark]
    stopped: Collection[Ref]
    """Asked to stop by this very decision."""

    def against(self, item: Item) -> Sequence[Barrier]:
        """What this item must leave room for."""
        own = self.own.get(item.project)
        return self.barriers if own is None else [*self.barriers, own]


class Explanation:
    """Verdicts about one queue, against the room before and after the decision."""

    def __init__(
        self,
        snapshot: Snapshot,
        backlog: Backlog,
        gate: Gate,
        before: Room,
        after: Room,
        kept: Kept,
        grants: Sequence[Lease],
    ) -> None:
        self.snapshot, self.backlog, self.gate, self.before, self.after = snapshot, backlog, gate, before, after
        self.kept, self.grants = kept, {lease.ref: lease for lease in grants}
        self._positions: dict[Ref, int] | None = None
        self._known: dict[object, tuple[Reason, str, tuple[Ref, ...]]] = {}
        """Of what is alike."""

    def verdict(self, ref: Ref) -> Verdict:
        """Raises KeyError for what is not in the queue."""
        item = self.backlog.items[ref]
        grant = self.grants.get(ref)
        if grant is not None:
            return Verdict(ref, Reason.ADMITTED, f"starts on {grant.node}", grant.node)
        if self._positions is None:
            self._positions = self._order()
        key = (item.project, shape_of(item), item.seconds, item.not_before, ref if ref in self.kept.earmarks else None)
        reason, message, blockers = self._known.get(key) or self._known.setdefault(key, self._why(item))
        return Verdict(ref, reason, message, blockers=blockers, position=self._positions[ref])

    # --- the order -----------------------------------------------------------------------------------------------

    def _order(self) -> dict[Ref, int]:
        """Positions as if everything that waits started one after the other: the tournament without the tests."""
        usage = self.after.usage.copy()
        first = [self.backlog.items[ref] for ref in self.kept.earmarks] + [
            each.item for each in self.kept.barriers if each.item.ref not in self.kept.earmarks
        ]
        placed = dict.fromkeys(item.ref for item in first)
        positions = {ref: n for n, ref in enumerate(placed, 1)}
        now, rules = self.snapshot.now, self.snapshot.rules
        waiting: dict[str, list[Item]] = {}
        last: list[Item] = []
        for item in self.backlog.items.values():
            if item.ref in self.grants or item.ref in placed:
                continue
            if self.gate.never(item) is None:
                waiting.setdefault(item.project, []).append(item)
            else:
                last.append(item)
        heap: list[tuple[bool, float, int, tuple[object, ...], str]] = []

        def enter(project: str) -> None:
            item = waiting[project][-1]
            share = self.gate.tree.share(project)
            rank = -effective(item.priority, item.since, now, rules)
            heapq.heappush(heap, (usage.borrows(share, item.amounts), usage.dominant(share, item.amounts), rank, age(item), project))

        for project, items in waiting.items():
            items.sort(key=lambda item: (-effective(item.priority, item.since, now, rules), age(item)), reverse=True)
            enter(project)
        while heap:
            project = heapq.heappop(heap)[-1]
            item = waiting[project].pop()
            positions[item.ref] = len(positions) + 1
            usage.add(project, item.amounts)
            if waiting[project]:
                enter(project)
        for item in sorted(last, key=age):
            positions[item.ref] = len(positions) + 1
        return positions

    # --- the reason ----------------------------------------------------------------------------------------------

    def _why(self, item: Item) -> tuple[Reason, str, tuple[Ref, ...]]:
        if item.ref in self.kept.earmarks:
            mark = self.kept.earmarks[item.ref]
            going = [each for each in self.snapshot.leases if each.node == mark.node and (each.ending or each.ref in self.kept.stopped)]
            names = tuple(each.ref for each in self._sorted(going))
            return Reason.WAITING_FOR_PREEMPTED, f"others were asked to stop for it on {mark.node} and have not ended yet", names
        found = self.gate.find(item, self.after, self.kept.against(item))
        if found.reason in ROOM or found.fits or found.reason is Reason.SETTLING:
            earlier = self.gate.find(item, self.before, self.kept.against(item))
            if earlier.fits:
                return Reason.BEHIND, *self._behind(item, found)
        match found.reason:
            case Reason.EXCEEDS_MACHINE:
                return found.reason, self._exceeds_machine(item), ()
            case Reason.EXCEEDS_QUOTA:
                return found.reason, self._exceeds_quota(item), ()
            case Reason.INACTIVE:
                return found.reason, f"project {item.project} is not active", ()
            case Reason.BACKING_OFF:
                return found.reason, "it failed before and is tried again after a pause", ()
            case Reason.OUTSIDE_WINDOW:
                return found.reason, f"the windows of {item.project}'s quota let nothing start now", ()
            case Reason.MAX_RUNNING:
                most = self.gate.tree.share(item.project).quota.max_running
                why = (
                    f"{item.project} may run {most} at once and does"
                    if most
                    else f"the quota of {item.project} lets nothing run: maxRunning is 0"
                )
                return found.reason, why, self._first_to_end(self._of(item.project))
            case Reason.WAITING_FOR_QUOTA:
                return found.reason, self._quota(item), self._quota_blockers(item)
            case Reason.MEMORY_PRESSURE:
                return found.reason, f"{found.node} is short of memory: {self.gate.nodes[found.node].memory_level}", ()
            case Reason.SETTLING:
                return found.reason, f"something has just started on {found.node}: its heat is measured first", ()
            case Reason.BEHIND_RESERVATION:
                assert found.barrier is not None
                return found.reason, f"the room is kept for {found.barrier.item.ref}, which has waited too long", (found.barrier.item.ref,)
            case reason if reason in WAITING_FOR:
                return found.reason, self._room(item, found), self._room_blockers(item, found)
        return found.reason, found.text, ()

    def _behind(self, item: Item, found: Finding) -> tuple[str, tuple[Ref, ...]]:
        ahead = [lease for lease in self.grants.values() if lease.node == found.node or found.reason is Reason.WAITING_FOR_QUOTA]
        names = tuple(lease.ref for lease in ahead)[:MOST_BLOCKERS]
        return f"{names[0] if names else 'something else'} goes first and takes the room", names

    def _exceeds_machine(self, item: Item) -> str:
        best = max(self.gate.nodes.values(), key=lambda node: node.capacity.memory or 0, default=None)
        if best is None:
            return "there is no machine that work could run on"
        lasting = self.gate.lasting[best.name]
        over = [r for r in ALL if (limit := lasting[r]) is not None and item.amounts[r] > limit]
        if not over:
            return (
                f"needs one allocation of {show(0, item.largest_buffer)}; {best.name} can make {show(0, best.largest_buffer or 0)} at most"
            )
        parts = [f"{need(r, item.amounts[r])}; {best.name} can give {show(r, lasting[r] or 0)} at most" for r in over]
        return "needs " + ", ".join(parts)

    def _exceeds_quota(self, item: Item) -> str:
        share, tree = self.gate.tree.share(item.project), self.gate.tree
        for r in share.governed:
            most = tree.potential(share, r)
            if most is not None and item.amounts[r] > most:
                needs = f"needs {need(r, item.amounts[r])}"
                if share.pool == UNDECLARED and not most:
                    return (
                        f"{needs}; {item.project} has no quota, and the quotas of others give the whole machine away:"
                        f" write a ResourceQuota for {item.project} and lower another's nominal.{RESOURCES[r]}"
                    )
                if share.pool == UNDECLARED:
                    rest = f"all quotas leave {show(r, most)}"
                    return f"{needs}; {item.project} has no quota, and {rest}: write a ResourceQuota for {item.project}"
                own = f"{show(r, share.nominal[r])} nominal{self._lent(share, r, most)}"
                return f"{needs}; {item.project} can have {show(r, most)} at most: {own}"
        raise AssertionError("asked for what is within its quota")

    def _lent(self, share: Share, r: int, most: int) -> str:
        return f", {show(r, most - share.nominal[r])} borrowed" if most > share.nominal[r] else ", nothing to borrow"

    def _quota(self, item: Item) -> str:
        share, usage = self.gate.tree.share(item.project), self.after.usage
        short = usage.short(share, item.amounts)
        r = next(r for r in ALL if short[r])
        free = max(0, usage.available(share, r))
        used = usage.used[share.project][r]
        needs = f"needs {need(r, item.amounts[r])}"
        if share.pool == UNDECLARED:
            return f"{needs}; what no quota gives to anyone is shared by all projects without a quota, {show(r, free)} of it free"
        have = f"{needs}; {item.project} has {show(r, share.nominal[r])} nominal, {show(r, used)} in use; {show(r, free)} free"
        if not share.pool:
            return f"{have}; it is in no cohort to borrow from"
        limit = share.borrowing[r]
        if limit is not None and used >= share.nominal[r] + limit:
            return f"{have}; it may borrow {show(r, limit)} and does"
        full = usage.pooled[share.pool][r] >= self.gate.tree.pools[share.pool][r]
        return f"{have}; nothing to borrow: cohort {share.pool} is fully used" if full else f"{have}, what it may borrow included"

    def _room(self, item: Item, found: Finding) -> str:
        r = WAITING_FOR.index(found.reason)
        limit = self.gate.free[found.node][r] or 0
        left = max(0, limit - self.after.held[found.node][r])
        return f"needs {need(r, item.amounts[r])}; {found.node} has {show(r, left)} free of {show(r, limit)}"

    # --- who is in the way ---------------------------------------------------------------------------------------

    def _running(self) -> list[Lease]:
        return [*self.snapshot.leases, *self.grants.values()]

    def _of(self, project: str) -> list[Lease]:
        return [lease for lease in self._running() if lease.project == project]

    def _quota_blockers(self, item: Item) -> tuple[Ref, ...]:
        share = self.gate.tree.share(item.project)
        short = self.after.usage.short(share, item.amounts)
        holders = [
            lease
            for lease in self._running()
            if any(short[r] and lease.amounts[r] for r in ALL)
            and (lease.project == item.project or (share.pool and self.gate.tree.share(lease.project).pool == share.pool))
        ]
        room = self.after.copy()
        return self._until(holders, room, lambda: room.usage.fits(share, item.amounts))

    def _room_blockers(self, item: Item, found: Finding) -> tuple[Ref, ...]:
        r = WAITING_FOR.index(found.reason)
        holders = [lease for lease in self._running() if lease.node == found.node and lease.amounts[r]]
        room = self.after.copy()
        return self._until(holders, room, lambda: self.gate.lacks(found.node, item.amounts, room) is None)

    def _until(self, holders: Iterable[Lease], room: Room, fits: Callable[[], bool]) -> tuple[Ref, ...]:
        """The first to end, as many as must end before it fits."""
        found: list[Ref] = []
        for lease in self._sorted(holders):
            found.append(lease.ref)
            room.remove(lease)
            if len(found) == MOST_BLOCKERS or fits():
                break
        return tuple(found)

    def _sorted(self, leases: Iterable[Lease]) -> list[Lease]:
        def end(lease: Lease) -> tuple[float, str]:
            left = ends(lease, self.snapshot.now)
            return (math.inf if left is None else left, str(lease.ref))

        return sorted(leases, key=end)

    def _first_to_end(self, leases: Iterable[Lease]) -> tuple[Ref, ...]:
        return tuple(lease.ref for lease in self._sorted(leases))[:1]


def show(resource: int, amount: int) -> str:
    """An amount of a resource for people: `6.2 GiB`, `1.5 cores`."""
    if resource == 0:
        for unit, size in (("GiB", GIB), ("MiB", 1 << 20)):
            if amount >= size:
                return f"{amount / size:.1f}".removesuffix(".0") + f" {unit}"
        return f"{amount} B" if amount else "0 GiB"
    number = f"{amount / 1000:.2f}".rstrip("0").rstrip(".")
    one = number == "1"
    return {1: f"{number} core{'' if one else 's'}", 2: f"{number} GPU{'' if one else 's'}", 3: f"{number} W"}[resource]


def need(resource: int, amount: int) -> str:
    """The same as a need: `6.2 GiB of memory`, `1.5 cores`."""
    return f"{show(resource, amount)} of memory" if resource == 0 else show(resource, amount)
