"""Whether work may start on a node: quota, room, heat and memory pressure in one test against one state of the machine.

A chain of gates that do not see each other grants what the next one then refuses (Kueue #10815), so there is one test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.admission.quota import ALL, Share, Tree, Usage, lasting
from reconciler.admission.thermal import forecast, may_start, running_watts
from reconciler.admission.values import Item, Lease, Level, Node, Reason, Rules, Snapshot
from reconciler.admission.window import closed
from reconciler.model.demand import NOTHING, Amounts

MOST_KNOWN = 50_000
"""Answers remembered from decision to decision."""
COUNTED = ("batch", "monitor")
"""What `maxRunning` counts: serving and the shared services are standing reservations."""
WAITING_FOR = (Reason.WAITING_FOR_MEMORY, Reason.WAITING_FOR_CPU, Reason.WAITING_FOR_GPU, Reason.WAITING_FOR_WATTS)
"""By the index of the resource."""
ROOM = frozenset({Reason.WAITING_FOR_QUOTA, *WAITING_FOR})
"""Reasons that go away when a lease ends."""
RANK = {reason: rank for rank, reason in enumerate(Reason)}


class Room:
    """What is taken of quotas and nodes; changes while a decision is worked out."""

    __slots__ = ("changes", "held", "running", "started", "usage", "watts")

    def __init__(self, tree: Tree, nodes: Iterable[Node]) -> None:
        self.usage = Usage(tree)
        self.held: dict[str, Amounts] = {node.name: NOTHING for node in nodes}
        self.watts: dict[str, float] = {}
        self.running: dict[str, int] = {}
        self.changes = 0
        self.started: set[str] = set()
        """Nodes on which something was granted in this decision."""

    def copy(self) -> Room:
        other = Room.__new__(Room)
        other.usage = self.usage.copy()
        other.held = self.held.copy()
        other.watts = self.watts.copy()
        other.running = self.running.copy()
        other.started = self.started.copy()
        other.changes = self.changes
        return other

    def add(self, what: Lease, sign: int = 1) -> None:
        """Charges a lease; `sign` -1 takes it out."""
        self.changes += 1
        self.usage.add(what.project, what.amounts, sign)
        held = self.held.get(what.node)
        if held is not None:
            self.held[what.node] = held.plus(what.amounts) if sign > 0 else held.minus(what.amounts)
            if not what.paused:
                self.watts[what.node] = self.watts.get(what.node, 0.0) + sign * what.amounts.watts / 1000
        if what.work in COUNTED:
            self.running[what.project] = self.running.get(what.project, 0) + sign

    def remove(self, what: Lease) -> None:
        self.add(what, -1)


@dataclass(slots=True)
class Barrier:
    """Room that is kept for somebody: others may start only if they end before `until`, or fit beside it."""

    item: Item
    room: Room
    """As it will be when the room is there, with the item in its place."""
    until: datetime | None
    """When the room is expected; None = not known, so that nothing ends before it."""
    entitled: bool
    """True: within the nominal amounts of its project. Otherwise what is within its own nominal amounts passes it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test has found."""

    reason: Reason
    node: str = ""
    """Where it may start; otherwise the node that comes nearest."""
    text: str = ""
    barrier: Barrier | None = None
    room: bool = False
    """True: on some node it is only room that is missing, so that an end of other work would help."""

    @property
    def fits(self) -> bool:
        return self.reason is Reason.ADMITTED


class Gate:
    """The rules of one snapshot, to be held against any room."""

    def __init__(self, snapshot: Snapshot, tree: Tree) -> None:
        self.now = snapshot.now
        self.rules: Rules = snapshot.rules
        self.tree = tree
        self.nodes: Mapping[str, Node] = {node.name: node for node in sorted(snapshot.nodes, key=lambda each: each.name)}
        self.free = {name: node.free_of_us() for name, node in self.nodes.items()}
        self.lasting = {name: lasting(node) for name, node in self.nodes.items()}
        self.warm = {name: node.heat.level >= Level.SERIOUS or node.heat.model is not None for name, node in self.nodes.items()}
        """Nodes of which heat could say no; the others need not be asked for each piece of work."""
        self.node_started = snapshot.past.node_started
        self.here = snapshot.here
        self.measured: dict[str, float] = {}
        self.resting: dict[str, int] = {}
        """Node -> the highest priority that is paused there: it goes on before anything below starts."""
        for lease in snapshot.leases:
            if lease.paused and not lease.ending:
                self.resting[lease.node] = max(self.resting.get(lease.node, 0), lease.priority)
        self._potential: dict[str, tuple[int | None, ...]] = {}
        self._holds: dict[tuple[str, Amounts, int], bool] = {}
        self._closed: dict[str, Reason | None] = {}

    def room(self, leases: Iterable[Lease]) -> Room:
        """The machine with `leases` on it. What draws power is measured where that is possible."""
        taken = tuple(leases)
        room = Room(self.tree, self.nodes.values())
        for lease in taken:
            room.add(lease)
        for name, node in self.nodes.items():
            room.watts[name] = running_watts(node, taken, self.now, self.rules)
        return room

    # --- what no waiting changes ---------------------------------------------------------------------------------

    def never(self, item: Item) -> Reason | None:
        """EXCEEDS_MACHINE or EXCEEDS_QUOTA for what will never start as it stands."""
        key = (item.project, item.amounts, item.largest_buffer, item.mobile)
        known = self.tree.never
        if key not in known:
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[key] = self._find_never(item)
        return known[key]

    def _find_never(self, item: Item) -> Reason | None:
        if not any(self.could_hold(name, item) for name in self.nodes):
            return Reason.EXCEEDS_MACHINE
        over = (most is not None and asked > most and asked for asked, most in zip(item.amounts, self._most(item.project), strict=True))
        return Reason.EXCEEDS_QUOTA if any(over) else None

    def _most(self, project: str) -> tuple[int | None, ...]:
        """All that the project can ever have."""
        if project not in self._potential:
            share = self.tree.share(project)
            self._potential[project] = tuple(self.tree.potential(share, r) for r in ALL)
        return self._potential[project]

    def could_hold(self, name: str, item: Item) -> bool:
        """True when the node could hold it with nothing else on it."""
        if self.here and name != self.here and not item.mobile:
            return False
        key = (name, item.amounts, item.largest_buffer)
        if key not in self._holds:
            buffer = self.nodes[name].largest_buffer
            self._holds[key] = item.amounts.within(self.lasting[name]) and (buffer is None or item.largest_buffer <= buffer)
        return self._holds[key]

    # --- what time changes ---------------------------------------------------------------------------------------

    def held_back(self, item: Item, room: Room) -> Reason | None:
        """What keeps it from starting whatever room there is: never, inactive, backing off, window, too many running."""
        found = self.never(item) or self._project(item.project)
        if found is Reason.OUTSIDE_WINDOW or found is None:
            if item.not_before is not None and item.not_before > self.now:
                return Reason.BACKING_OFF
            if found is None and item.work in COUNTED:
                most = self.tree.share(item.project).quota.max_running
                if most is not None and room.running.get(item.project, 0) >= most:
                    return Reason.MAX_RUNNING
        return found

    def _project(self, project: str) -> Reason | None:
        if project not in self._closed:
            quota = self.tree.share(project).quota
            found = None if quota.active else Reason.INACTIVE
            if found is None and quota.windows and closed(quota.windows, self.now) is not None:
                found = Reason.OUTSIDE_WINDOW
            self._closed[project] = found
        return self._closed[project]

    # --- what room there is --------------------------------------------------------------------------------------

    def find(self, item: Item, room: Room, barriers: Iterable[Barrier] = ()) -> Finding:
        """Where it may start, or the first reason against it."""
        found = self.held_back(item, room)
        if found is not None:
            return Finding(found)
        share = self.tree.share(item.project)
        if not room.usage.fits(share, item.amounts):
            return Finding(Reason.WAITING_FOR_QUOTA, room=True)
        nearest: Finding | None = None
        room_only = False
        places: list[str] = []
        for name in self.nodes:
            if not self.could_hold(name, item):
                continue
            refused = self.on_node(name, item, room) or self.behind(name, item, share, room, barriers)
            if refused is None:
                places.append(name)
                continue
            room_only = room_only or refused.reason in ROOM
            if nearest is None or RANK[refused.reason] > RANK[nearest.reason]:
                nearest = refused
        if places:
            return Finding(
                Reason.ADMITTED, min(places, key=lambda name: self._preference(name, item, room)) if len(places) > 1 else places[0]
            )
        assert nearest is not None  # `never` has found a node that could hold it
        return replace(nearest, room=True) if room_only else nearest

    def on_node(self, name: str, item: Item, room: Room) -> Finding | None:
        """Why it cannot start on this node now, or None."""
        lacking = self.lacks(name, item.amounts, room)
        if lacking is not None:
            return Finding(WAITING_FOR[lacking], name)
        node, exempt = self.nodes[name], item.priority >= self.rules.exempt_priority
        serving = item.work == "serving"
        if serving:
            if node.heat.level is Level.CRITICAL:
                return Finding(Reason.WAITING_FOR_HEAT, name, f"{name} is critically hot: nothing starts")
        else:
            if name in self.resting and item.priority <= self.resting[name]:
                return Finding(Reason.WAITING_FOR_HEAT, name, f"work on {name} is paused for heat and goes on first")
            if self.warm[name]:
                watts = room.watts.get(name, 0.0)
                cool, text = may_start(node, watts, item.amounts.watts / 1000, item.priority, item.seconds, self.rules)
                if not cool:
                    return Finding(Reason.WAITING_FOR_HEAT, name, text)
        if node.memory_level >= Level.SERIOUS and (node.memory_level is Level.CRITICAL or not exempt):
            return Finding(Reason.MEMORY_PRESSURE, name)
        if not serving and node.heat.level >= Level.FAIR and self._settling(name, room):
            return Finding(Reason.SETTLING, name)
        return None

    def lacks(self, name: str, amounts: Amounts, room: Room) -> int | None:
        """The first resource of which the node has too little left, or None."""
        free, held = self.free[name], room.held[name]
        for r in ALL:
            limit = free[r]
            if limit is not None and amounts[r] and held[r] + amounts[r] > limit:
                return r
        return None

    def _settling(self, name: str, room: Room) -> bool:
        last = self.node_started.get(name)
        return name in room.started or (last is not None and self.now - last < self.rules.settle)

    def behind(self, name: str, item: Item, share: Share, room: Room, barriers: Iterable[Barrier]) -> Finding | None:
        """The barrier that it would break on this node, or None."""
        for barrier in barriers:
            if barrier.item is item or (barrier.until is not None and ends_by(item, self.now, barrier.until)):
                continue
            lacking = self.lacks(name, item.amounts, barrier.room)
            if lacking is None and barrier.room.usage.fits(share, item.amounts):
                continue
            if not barrier.entitled and (lacking is None or lacking in share.governed) and not room.usage.borrows(share, item.amounts):
                continue  # what is within its own nominal amounts does not wait for somebody who borrows
            return Finding(Reason.BEHIND_RESERVATION, name, barrier=barrier)
        return None

    def _preference(self, name: str, item: Item, room: Room) -> tuple[int, float, float, str]:
        """Sorts nodes: the coolest after placement first (not the least loaded), then the one with most room left."""
        node, heat = self.nodes[name], self.nodes[name].heat
        used = 0.5 if heat.used is None else heat.used
        if heat.model is not None and heat.used is not None:
            ahead = self.rules.horizon if item.seconds is None else min(item.seconds, self.rules.horizon)
            used = forecast(heat.model, heat.used, room.watts.get(name, 0.0), item.amounts.watts / 1000, ahead)
        left = min(
            (
                (limit - room.held[name][r] - item.amounts[r]) / limit
                for r, limit in enumerate(self.free[name])
                if limit and item.amounts[r]
            ),
            default=0.0,
        )
        return (max(0, node.heat.level), round(used, 1), -left, name)


def ends_by(item: Item, now: datetime, until: datetime) -> bool:
    """True when the work is expected to be over by then."""
    return item.seconds is not None and (until - now).total_seconds() >= item.seconds


def ends(lease: Lease, now: datetime) -> float | None:
    """Seconds until the lease is expected to end, 0 for what is overdue or asked to stop; None = nobody knows."""
    if lease.ending:
        return 0.0
    if lease.seconds is None or lease.paused or lease.work in ("serving", "system"):
        return None
    return max(0.0, lease.seconds - (now - lease.since).total_seconds())
