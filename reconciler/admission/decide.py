"""One pure function: what may start now on which node, who has to make room, and why the rest waits.

    those that something was stopped for    start, or keep their room
    heads of projects that starve           start, or reserve (nobody passes who would delay them)
    tournament over all projects            start, or make room by pre-emption, or wait
    heat                                    pause the lowest priority, resume

The tournament is Kueue's fair sharing: not borrowing before borrowing, then the lower weighted dominant share with the head's
request added, then the higher priority (aged), then who waited longest; anew after each grant. Where a project's head does not
fit, its other shapes are tried (best effort); only reservations and earmarks keep them back."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from reconciler.admission.explain import Explanation, Kept
from reconciler.admission.feasible import Barrier, Gate
from reconciler.admission.hope import Hope
from reconciler.admission.order import Age, Backlog, Lane, age, effective, lease_of
from reconciler.admission.preempt import Stops
from reconciler.admission.quota import tree_of
from reconciler.admission.reserve import Reservations
from reconciler.admission.throttle import throttle
from reconciler.admission.usage import below_average, decayed, remember
from reconciler.admission.values import Decision, Earmark, Item, Lease, Level, Past, Preemption, Snapshot
from reconciler.model import Ref

OVERTAKEN = 4
"""What came more than this many `Rules.reserve_after` later does not pass the head of its own project. Measured: from 1 on fairness
between projects falls (Jain 0.97 to 0.95 in the 48-hour simulation), at 4 it does not."""
Entry: TypeAlias = tuple[bool, float, int, Age, str]
"""A project's place in the tournament."""


def decide(snapshot: Snapshot, backlog: Backlog | None = None) -> Decision:
    """What follows from the snapshot; reads no clock, draws no random number, changes nothing.

    `backlog` may be carried over from an earlier call (`Backlog.changed`); it is used when it was made of this very queue.
    Raises ValueError when the queue holds an item twice."""
    if backlog is None or backlog.queue is not snapshot.queue:
        backlog = Backlog.of(snapshot.queue)
    return _Pass(snapshot, backlog).run()


class _Pass:
    """One decision while it is worked out."""

    def __init__(self, snapshot: Snapshot, backlog: Backlog) -> None:
        self.snapshot, self.backlog = snapshot, backlog
        self.now, self.rules = snapshot.now, snapshot.rules
        self.tree = backlog.tree = tree_of(snapshot, backlog.groups, backlog.tree)
        self.gate = Gate(snapshot, self.tree)
        self.before = self.gate.room(snapshot.leases)
        self.room = self.before.copy()
        self.future = self.before.copy()
        """As the room will be when all that was asked to stop is gone, and those it was asked for have started."""
        for lease in snapshot.leases:
            if lease.ending:
                self.future.remove(lease)
        self.grants: list[Lease] = []
        self.preemptions: list[Preemption] = []
        self.earmarks: list[Earmark] = []
        self.done: set[Ref] = set()
        """Granted, or waiting for somebody to stop."""
        self.kept: dict[Ref, Lease] = {}
        """Where those will be that wait for somebody to stop; they are in `future`."""
        self.reservations = Reservations(self.gate)
        self.own: dict[str, Barrier] = {}
        """Project -> what its own head has kept others of it from."""
        self.stops = Stops(self.gate, snapshot.leases)
        self.usage = decayed(snapshot)

    def run(self) -> Decision:
        """The rounds, one after the other."""
        self._preemptors()
        self._starving()
        self._tournament()
        pauses, resumes, paused = throttle(self.snapshot, {each.ref for each in self.preemptions})
        explained = Explanation(self.snapshot, self.backlog, self.gate, self.before, self.room, self._kept(), self.grants)
        return Decision(
            grants=tuple(self.grants),
            preemptions=tuple(self.preemptions),
            pauses=pauses,
            resumes=resumes,
            past=self._past(paused),
            warnings=tuple(_warnings(self.snapshot)),
            explain=explained.verdict,
        )

    # --- the rounds ----------------------------------------------------------------------------------------------

    def _preemptors(self) -> None:
        """What was freed for somebody is his until the earmark ends (Kueue #13662: otherwise others take it, and it is freed again)."""
        alive: list[tuple[Earmark, Item]] = []
        for mark in self.snapshot.past.earmarks:
            item = self.backlog.items.get(mark.ref)
            if item is None or mark.node not in self.gate.nodes:
                continue
            if self._coming(mark, item):
                mark = replace(mark, until=self.now + self.rules.earmark)
            if mark.until > self.now:
                alive.append((mark, item))
                self.done.add(mark.ref)
                self._keep(item, mark.node)
        for mark, item in alive:
            self.future.remove(self.kept.pop(item.ref))
            found = self.gate.find(item, self.room, self._barriers())
            if found.fits:
                self._grant(item, found.node)
            else:
                self._keep(item, mark.node)
                self.earmarks.append(mark)

    def _coming(self, mark: Earmark, item: Item) -> bool:
        """True while somebody whose room is needed has not stopped yet: the time of an earmark counts from then on."""
        share = self.tree.share(item.project)
        fits = self.room.usage.fits(share, item.amounts) and self.gate.lacks(mark.node, item.amounts, self.room) is None
        return not fits and any(lease.ending and lease.node == mark.node for lease in self.snapshot.leases)

    def _starving(self) -> None:
        """Projects that wait, had no start for too long and used no more than others of late: the longest waiting first."""
        started = self.snapshot.past.project_started
        waits = {project: max(oldest, started.get(project, oldest)) for project, oldest in self.backlog.oldest.items()}
        for project in sorted(
            (each for each, since in waits.items() if self.now - since > self.rules.reserve_after), key=lambda each: (waits[each], each)
        ):
            if self.reservations.full():
                break
            if not below_average(project, self.usage, self.backlog.groups):
                continue
            item = self._starved(project, started.get(project))
            if item is None:
                continue
            found = self.gate.find(item, self.room, self._barriers())
            if found.fits:
                self._grant(item, found.node)
            elif found.room and not self._make_room(item):
                entitled = not self.room.usage.borrows(self.tree.share(project), item.amounts)
                self.reservations.add(item, self.future, self._running(), entitled)

    def _own_head(self, project: str, item: Item) -> Barrier | None:
        """What `item` must leave to the head of its own project, having come so much later; None = it passes nobody like that.

        Otherwise ever new small work of a project keeps its large work from starting, while the project itself never starves."""
        most = OVERTAKEN * self.rules.reserve_after
        if item.since - self.backlog.oldest[project] <= most:
            return None
        head = self._first(project)
        if head is None or item.since - head.since <= most:
            return None
        if not self.gate.find(head, self.room, self._barriers()).room:
            return None
        own = self.reservations.own(head, self.future, self._running())
        if own is not None:
            self.own[project] = own
        return own

    def _first(self, project: str) -> Item | None:
        """The first of the project that only room keeps from starting."""
        lane = Lane(self.backlog.groups[project].values(), self.now, self.rules, self.done)
        while (item := lane.head()) is not None and self.gate.held_back(item, self.room) is not None:
            lane.leave()
        return item

    def _starved(self, project: str, started: datetime | None) -> Item | None:
        """The first of the project that only room keeps from starting, when somebody of that sort has waited too long."""
        lane = Lane(self.backlog.groups[project].values(), self.now, self.rules, self.done)
        head: Item | None = None
        waited = False
        while (item := lane.head()) is not None and not (head and waited):
            if self.gate.held_back(item, self.room) is None:
                head = head or item
                since = item.since if started is None else max(item.since, started)
                waited = waited or self.now - since > self.rules.reserve_after
            lane.leave()
        return head if waited else None

    def _tournament(self) -> None:
        """The best of all heads starts; what does not fit is left aside with all that is alike, and the project's next steps in."""
        hope = Hope(self.gate, self.room, self.stops.survey(self.future))
        lanes = {
            project: Lane(hope.of(project, groups.values()), self.now, self.rules, self.done)
            for project, groups in self.backlog.groups.items()
        }
        heap: list[Entry] = []
        for project, lane in lanes.items():
            self._enter(heap, project, lane)
        while heap:
            project = heapq.heappop(heap)[-1]
            lane = lanes[project]
            item = lane.head()
            assert item is not None  # it was entered with this head, and only its own turn changes it
            found = self.gate.find(item, self.room, self._barriers())
            if found.fits and (own := self._own_head(project, item)) is not None:
                found = self.gate.find(item, self.room, [*self._barriers(), own])
            if found.fits:
                self._grant(item, found.node)
            elif not (found.room and self._make_room(item)):
                lane.leave()
            self._enter(heap, project, lane)

    def _enter(self, heap: list[Entry], project: str, lane: Lane) -> None:
        """The project's first that fits as things are, or may make room, takes its place among those of the others."""
        while (item := lane.head()) is not None:
            found = self.gate.find(item, self.room, self._barriers())
            if found.fits or (found.room and self.stops.promising(item, self.future)):
                share, usage = self.tree.share(project), self.room.usage
                priority = effective(item.priority, item.since, self.now, self.rules)
                heapq.heappush(
                    heap, (usage.borrows(share, item.amounts), usage.dominant(share, item.amounts), -priority, age(item), project)
                )
                return
            lane.leave()

    # --- what is done --------------------------------------------------------------------------------------------

    def _grant(self, item: Item, node: str) -> None:
        lease = lease_of(item, node, self.now)
        self.grants.append(lease)
        self.done.add(item.ref)
        for room in (self.room, self.future):
            room.add(lease)
            room.started.add(node)
        self.reservations.started(item, lease)

    def _make_room(self, item: Item) -> bool:
        """Stop others for it, if the rules allow it. True: from now on it waits for them."""
        found = self.stops.find(item, self.future)
        if found is None:
            return False
        node, victims = found
        for victim in victims:
            self.future.remove(victim)
            self.preemptions.append(Preemption(victim.ref, item.ref, self._why(item, victim)))
        self._keep(item, node)
        self.earmarks.append(Earmark(item.ref, node, item.amounts, self.now + self.rules.earmark))
        self.done.add(item.ref)
        return True

    def _why(self, item: Item, victim: Lease) -> str:
        if item.project == victim.project:
            return f"{item.ref} of the same project has priority {item.priority}, this one {victim.priority}"
        if not self.room.usage.borrows(self.tree.share(item.project), item.amounts):
            return f"{item.project} takes back for {item.ref} what {victim.project} had borrowed"
        return f"{victim.project} borrows more than its fair share; {item.project} gets a part of it for {item.ref}"

    def _keep(self, item: Item, node: str) -> None:
        place = self.kept[item.ref] = lease_of(item, node, self.now)
        self.future.add(place)

    def _barriers(self) -> list[Barrier]:
        """What others must leave room for."""
        if not self.kept:
            return self.reservations.barriers
        first = self.backlog.items[next(iter(self.kept))]
        return [Barrier(first, self.future, self.now, True), *self.reservations.barriers]

    def _kept(self) -> Kept:
        return Kept(self._barriers(), self.own, {mark.ref: mark for mark in self.earmarks}, {each.ref for each in self.preemptions})

    def _running(self) -> list[Lease]:
        stopped = {each.ref for each in self.preemptions}
        return [each for each in (*self.snapshot.leases, *self.grants) if each.ref not in stopped]

    def _past(self, paused: Mapping[str, datetime]) -> Past:
        past = self.snapshot.past
        projects, nodes = dict(past.project_started), dict(past.node_started)
        for lease in self.grants:
            projects[lease.project] = nodes[lease.node] = self.now
        earmarks = tuple(self.earmarks)
        return remember(
            replace(past, project_started=projects, node_started=nodes, node_paused=paused, earmarks=earmarks),
            self.snapshot,
            self.usage,
            self._running(),
        )


def _warnings(snapshot: Snapshot) -> Iterable[str]:
    for node in sorted(snapshot.nodes, key=lambda each: each.name):
        if node.heat.level is Level.UNKNOWN:
            yield f"no sensor tells the heat of {node.name}: admission looks at quotas and memory only"
