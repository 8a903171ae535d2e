"""Whom to stop for somebody who waits: lent room is taken back, a higher priority takes from a lower one of its own project.

Kueue's rules (pkg/scheduler/preemption) made strict, so that no two pieces of work stop each other in turn (Kueue #3779 #7101 #13662):
work is immune while young, is stopped at most a few times, and fairness stops it only where the larger of the two shares falls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from reconciler.admission.feasible import COUNTED, Gate, Room, ends
from reconciler.admission.order import MOST
from reconciler.admission.quota import ALL, UNDECLARED, Share
from reconciler.admission.values import Item, Lease, Rules
from reconciler.admission.victims import fits, on_node
from reconciler.model.demand import NOTHING, Amounts, Limits

IMMUNE_PART = 0.1
"""Of its expected length."""


class Survey:
    """What stopping could achieve at most in some state of the room: cheap tests before the search."""

    __slots__ = ("_above", "_lowest", "_tops", "_tree", "_usage", "reach")

    def __init__(self, gate: Gate, left: Sequence[Lease], room: Room) -> None:
        """`left` are those that may be stopped, the lowest priority first."""
        self._tree, self._usage = gate.tree, room.usage
        self._lowest: dict[str, int] = {}
        freed: dict[str, Amounts] = {}
        for each in left:
            self._lowest.setdefault(each.project, each.priority)
            freed[each.node] = freed.get(each.node, NOTHING).plus(each.amounts)
        self.reach = [_reach(gate.free[name], room.held[name], freed[name]) for name in gate.nodes if name in freed]
        """What a node would have free with everything stopped that may be."""
        shares = [gate.tree.share(project) for project in self._lowest]
        self._above = {share.project for share in shares if any(room.usage.above(share, r) for r in ALL)}
        self._tops: dict[str, list[tuple[float, str]]] = {}
        for share in shares:
            if share.pool not in ("", UNDECLARED):
                self._tops.setdefault(share.pool, []).append((room.usage.dominant(share, NOTHING), share.project))
        for tops in self._tops.values():
            tops.sort(reverse=True)

    def hopeful(self, share: Share) -> Callable[[Amounts, int], bool]:
        """A test for the work of one project, by its amounts and its priority.

        False: there is certainly nobody to stop for it, whatever room that made."""
        usage = self._usage
        lowest = self._lowest.get(share.project, MOST)
        above = len(self._above) > (share.project in self._above)
        own = [(r, share.nominal[r] - usage.used[share.project][r]) for r in share.governed]
        top = next((top for top, project in self._tops.get(share.pool, ()) if project != share.project), 0.0)
        fair = top > usage.dominant(share, NOTHING)

        def test(amounts: Amounts, priority: int) -> bool:
            if lowest < priority:
                return True
            for r, left in own:
                if amounts[r] > left and amounts[r]:
                    return fair and top > usage.dominant(share, amounts)
            return above and bool(own)

        return test

    def enough(self, amounts: Amounts) -> bool:
        """False: even with everything stopped there is no room on any node."""
        return any(amounts.within(most) for most in self.reach)


def _reach(free: Limits, held: Amounts, freed: Amounts) -> Limits:
    return Limits(*(None if limit is None else limit - have + back for limit, have, back in zip(free, held, freed, strict=True)))


class Stops:
    """What may be stopped in one decision, and for whom."""

    def __init__(self, gate: Gate, leases: Sequence[Lease]) -> None:
        self._gate = gate
        found = [each for each in leases if stoppable(each, gate.now, gate.rules)] if gate.rules.preemption else []
        self._leases = tuple(leases)
        self._stopped: list[Lease] = []
        self._coming = gate.rules.preemption and any(each.ending for each in leases)
        """True: room is on its way."""
        self._left = sorted(found, key=lambda each: (each.priority, -each.since.timestamp(), str(each.ref)))
        """The least loss first."""
        self._failed: dict[str, list[Item]] = {}
        self._soon: tuple[int, Room] | None = None
        self._surveyed: tuple[int, int, Survey] | None = None
        """The last one, and the state of the room that it holds for."""

    def survey(self, room: Room) -> Survey | None:
        """What could be hoped for in `room`, the same at each call; None = nothing may be stopped."""
        if not self._left:
            return None
        if self._surveyed is None or self._surveyed[:2] != (room.changes, len(self._left)):
            self._surveyed = (room.changes, len(self._left), Survey(self._gate, self._left, room))
        return self._surveyed[2]

    def find(self, item: Item, room: Room) -> tuple[str, tuple[Lease, ...]] | None:
        """The smallest set found whose stop makes room for `item`, and the node; None = there is none. An empty set: what was asked
        to stop before is enough for it too.

        `room` is what will be there when everything that was already asked to stop is gone."""
        if not self.promising(item, room):
            return None
        best: tuple[int, int, str, tuple[Lease, ...]] | None = None
        for name in self._gate.nodes:
            if self._gate.could_hold(name, item):
                chosen = on_node(self._gate, item, room, self._left, name)
                if chosen is not None:
                    option = (len(chosen), sum(each.priority for each in chosen), name, chosen)
                    best = option if best is None or option[:3] < best[:3] else best
        if best is None:
            self._failed.setdefault(item.project, []).append(item)
            return None
        for each in best[3]:
            self._left.remove(each)
            self._stopped.append(each)
            self._coming = True
        return best[2], best[3]

    def promising(self, item: Item, room: Room) -> bool:
        """False: `find` would find nobody. Cheap, and mostly the answer."""
        share = self._gate.tree.share(item.project)
        if self._coming and not room.usage.borrows(share, item.amounts) and self._fits_somewhere(item, share, room):
            return True  # its own, and on its way: what was freed for one may be enough for the next
        survey = self.survey(room)
        if survey is None or not survey.enough(item.amounts) or not survey.hopeful(share)(item.amounts, item.priority):
            return False
        if self._fits_somewhere(item, share, room):
            return True
        return not self._comes_by_itself(item, share, room) and not any(
            _asks_more(item, each) for each in self._failed.get(item.project, ())
        )

    def _comes_by_itself(self, item: Item, share: Share, room: Room) -> bool:
        """True when work that ends within the immunity anyway makes the room: hardly anything is won by throwing other work away."""
        if self._soon is None or self._soon[0] != room.changes:
            soon, patience = room.copy(), self._gate.rules.immunity.total_seconds()
            stopped = {each.ref for each in self._stopped}
            for lease in self._leases:
                left = ends(lease, self._gate.now)
                if left is not None and 0 < left <= patience and lease.ref not in stopped:
                    soon.remove(lease)
            self._soon = (room.changes, soon)
        return self._fits_somewhere(item, share, self._soon[1])

    def _fits_somewhere(self, item: Item, share: Share, room: Room) -> bool:
        return any(self._gate.could_hold(name, item) and fits(self._gate, item, share, room, name) for name in self._gate.nodes)


def _asks_more(item: Item, other: Item) -> bool:
    """True when whatever would make room for `item` would do so for `other`."""
    if item.priority > other.priority or item.largest_buffer < other.largest_buffer or item.mobile != other.mobile:
        return False
    longer = item.seconds is None or (other.seconds is not None and item.seconds >= other.seconds)
    return longer and all(a >= b for a, b in zip(item.amounts, other.amounts, strict=True))


def stoppable(lease: Lease, now: datetime, rules: Rules) -> bool:
    """Never serving, nothing young, nothing that was stopped too often."""
    if lease.ending or not lease.preemptible or lease.work not in COUNTED or lease.preempted >= rules.most_preemptions:
        return False
    return now - lease.since >= max(rules.immunity, timedelta(seconds=IMMUNE_PART * (lease.seconds or 0.0)))
