"""Discrete-event simulation of one machine under a policy. The policy is `decide` itself, so that what is shown is what runs. Pure.

Time goes in steps of one second while heat is simulated, from event to event otherwise. All running work is slowed down alike
(throttling, swapping, crowding), so that its progress is one number per machine."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from reconciler.admission.simulate.account import Account, Finished, Outcome, Point
from reconciler.admission.simulate.plant import Plant
from reconciler.admission.simulate.policy import Policy
from reconciler.admission.simulate.scenario import Scenario, Work
from reconciler.admission.simulate.sense import Senses
from reconciler.admission.values import Decision, Heat, Item, Lease, Level, Node, Past, Snapshot
from reconciler.model import Ref
from reconciler.model.demand import Amounts

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NODE = "machine"
LOOK, LOOK_COLD = 10.0, 60.0
"""Seconds between two decisions while something waits and nothing happens; with and without heat."""
STOPPING = 10.0
"""Seconds that stopped work takes to be gone."""
POINTS = 1200
"""In a plot."""
_NOTHING_LEFT = 1e-6


@dataclass(slots=True)
class _Running:
    work: Work
    item: Item
    lease: Lease
    begun: float
    ends: float
    """Progress of the machine at which it is done; while paused: the seconds that are left."""


def simulate(scenario: Scenario, policy: Policy) -> Outcome:
    """Play the scenario under the policy. The same arguments give the same outcome."""
    return _Run(scenario, policy).play()


@dataclass
class _Run:
    """One simulation while it goes on."""

    scenario: Scenario
    policy: Policy
    now: float = 0.0
    progress: float = 0.0
    """What a piece of work would have done that runs from the beginning, in seconds at full speed."""
    waiting: dict[Ref, tuple[Item, Work]] = field(default_factory=dict)
    running: dict[Ref, _Running] = field(default_factory=dict)
    ends: list[tuple[float, Ref]] = field(default_factory=list)
    """Heap: progress at which running work is done; outdated entries are passed over."""
    stopping: list[tuple[float, Ref]] = field(default_factory=list)
    """Heap: moments at which stopped work is gone."""
    past: Past = field(default_factory=Past)
    submitted: int = 0
    changed: bool = True
    """Something happened since the last decision."""

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.plant = Plant(scenario.plant, Random(f"plant-{scenario.seed}"))
        self.senses = Senses(self.plant) if scenario.heat else None
        if self.senses is not None:
            self.senses.learn(Random(f"rehearsal-{scenario.seed}"))
        self.account = Account(scenario)
        self.coming = list(reversed(scenario.work))
        self.feeds = {name: _feed(scenario, name) for name in sorted(scenario.feeds)}
        self.queued = dict.fromkeys(self.feeds, 0)
        self.rules = self.policy.adjust(scenario.rules)
        self.queue: tuple[Item, ...] | None = None
        self.judged: set[tuple[str, Amounts]] = set()
        self._load()

    def play(self) -> Outcome:
        end = self.scenario.hours * 3600
        look = due = 0.0
        while self.now < end:
            self._submit()
            if self.scenario.drain and not (self.waiting or self.running or self.coming):
                break
            if self.changed or (self.waiting and self.now >= look):
                self._decide()
                look = self.now + (LOOK if self.senses else LOOK_COLD)
            if self.now >= due:
                self.account.points.append(self._point())
                due += end / POINTS
            self._advance(min(end, due, look if self.waiting else end))
        unfinished: list[tuple[Work, float | None]] = [(work, None) for _, work in self.waiting.values()]
        unfinished += [(each.work, each.begun) for each in self.running.values()]
        return self.account.outcome(self.policy.name, self.now, unfinished, self.plant)

    # --- work comes ----------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        while self.coming and self.coming[-1].at <= self.now:
            self._enqueue(self.coming.pop())
        for name, source in self.feeds.items():
            while self.queued[name] < self.scenario.feeds[name].keep:
                self._enqueue(replace(next(source), at=self.now))
                self.queued[name] += 1

    def _enqueue(self, work: Work) -> None:
        self.submitted += 1
        amounts = work.amounts._replace(memory=round(work.amounts.memory * (1 + self.scenario.margin)))
        ref = Ref("Experiment", work.project, "queue", f"{self.submitted:06d}")
        self._wait(Item(ref, work.project, amounts, work.priority, _moment(work.at), seconds=work.declared_seconds), work)
        self.account.submitted(work.project)

    def _wait(self, item: Item, work: Work) -> None:
        self.waiting[item.ref] = (item, work)
        self.queue, self.changed = None, True

    # --- a decision and what follows -----------------------------------------------------------------------------

    def _decide(self) -> None:
        decision = self.policy.decide(self._snapshot())
        self.changed, self.past = False, decision.past
        for lease in decision.grants:
            self._start(lease)
        for preemption in decision.preemptions:
            self._stop(self.running[preemption.ref])
        for ref in decision.pauses:
            self._pause(self.running[ref])
        for ref in decision.resumes:
            self._resume(self.running[ref])
        self._reject(decision)
        self._load()

    def _snapshot(self) -> Snapshot:
        if self.queue is None:
            self.queue = tuple(item for item, _ in self.waiting.values())
        heat = self.senses.heat if self.senses else Heat(Level.UNKNOWN)
        scenario, pressure = self.scenario, self.plant.pressure(self.memory)
        outside = Amounts(round(self.beyond))
        node = Node(NODE, scenario.capacity, scenario.reserve, outside=outside, heat=heat, memory_level=pressure)
        leases = tuple(each.lease for each in self.running.values())
        return Snapshot(_moment(self.now), (node,), scenario.quotas, leases, self.queue, self.rules, self.past)

    def _start(self, lease: Lease) -> None:
        item, work = self.waiting.pop(lease.ref)
        if item.project in self.queued:
            self.queued[item.project] -= 1
        ends = self.progress + work.seconds
        self.running[lease.ref] = _Running(work, item, lease, self.now, ends)
        heapq.heappush(self.ends, (ends, lease.ref))
        self.account.holds(item.project, lease.amounts, +1, self.now)
        if not item.preempted:
            self.account.waited(item.project, self.now - work.at)
        self.queue = None

    def _stop(self, found: _Running) -> None:
        found.lease = replace(found.lease, ending=True)
        heapq.heappush(self.stopping, (self.now + STOPPING, found.lease.ref))
        self.account.preemptions += 1

    def _pause(self, found: _Running) -> None:
        if not found.lease.paused:
            found.ends, found.lease = found.ends - self.progress, replace(found.lease, paused=True)
            self.account.gates += 1

    def _resume(self, found: _Running) -> None:
        if found.lease.paused:
            found.ends, found.lease = found.ends + self.progress, replace(found.lease, paused=False)
            heapq.heappush(self.ends, (found.ends, found.lease.ref))
            self.account.gates += 1

    def _reject(self, decision: Decision) -> None:
        """Look once at each sort of work whether it can ever start, as the plan does; what never can leaves the queue."""
        for ref, (item, _) in list(self.waiting.items()):
            sort = (item.project, item.amounts)
            if sort in self.judged or not self.policy.explains:
                continue
            if decision.explain(ref).reason.never:
                del self.waiting[ref]
                self.queue = None
                if item.project in self.queued:
                    self.queued[item.project] -= 1
                self.account.rejected(item.project)
            else:
                self.judged.add(sort)

    # --- time goes on --------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """What runs takes together, in truth. Paused work keeps its memory."""
        going = [each.work for each in self.running.values() if not each.lease.paused]
        self.memory = sum(each.work.true_memory for each in self.running.values())
        # As measured: what work takes beyond its lease is charged like what programs take that are not ours.
        self.beyond = sum(max(0.0, each.work.true_memory - each.lease.amounts.memory) for each in self.running.values())
        self.watts = sum(each.true_watts for each in going)
        self.cores = sum(each.amounts.cpu for each in going) / 1000
        self.going = len(going)

    def _advance(self, until: float) -> None:
        """To the next second, or to the next event but not beyond `until`; then let go of what is done."""
        speed, step, level = self.plant.speed(self.memory, self.cores), 1.0, None
        if self.senses is None:
            step = max(1e-3, min(until, *self._events(speed)) - self.now)
        else:
            self.plant.advance(self.watts, self.memory, self.cores)
            if self.senses.look(self.now, _moment(self.now)):
                self.changed = True
                self.account.gates += 1
            level = self.senses.heat.level
        self.now += step
        self.progress += step * speed
        swaps = self.plant.in_memory(self.memory) < 1.0
        self.account.passed(step, step * speed * self.going, self.plant, swaps, level)
        self._finish()

    def _events(self, speed: float) -> Iterator[float]:
        yield self.scenario.hours * 3600
        if self.coming:
            yield self.coming[-1].at
        if self.stopping:
            yield self.stopping[0][0]
        if self.ends and speed > 0:
            yield self.now + (self.ends[0][0] - self.progress) / speed

    def _finish(self) -> None:
        gone: list[_Running] = []
        while self.ends and self.ends[0][0] <= self.progress + _NOTHING_LEFT:
            ends, ref = heapq.heappop(self.ends)
            found = self.running.get(ref)
            if found is not None and found.ends == ends and not found.lease.paused:
                gone.append(self.running.pop(ref))
                self.account.done.append(Finished(found.work, found.work.at, found.begun, self.now))
        while self.stopping and self.stopping[0][0] <= self.now:
            found = self.running.pop(heapq.heappop(self.stopping)[1], None)
            if found is not None:  # otherwise it was done before it was stopped
                gone.append(found)
                self._requeue(found)
        for each in gone:
            self.account.holds(each.item.project, each.lease.amounts, -1, self.now)
            self.changed = True
        if gone:
            self._load()

    def _requeue(self, found: _Running) -> None:
        """Back to the queue with its old waiting time; what it had done is lost."""
        left = found.ends if found.lease.paused else found.ends - self.progress
        self.account.lost += found.work.seconds - left
        self._wait(replace(found.item, preempted=found.item.preempted + 1), found.work)
        if found.item.project in self.queued:
            self.queued[found.item.project] += 1

    def _point(self) -> Point:
        heat, plant = self.senses.heat if self.senses else None, self.plant
        temperature, level = (plant.die, heat.level) if heat else (None, None)
        return Point(self.now, temperature, level, plant.frequency, plant.watts, self.going, len(self.waiting), self.memory)


def _moment(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _feed(scenario: Scenario, project: str) -> Iterator[Work]:
    feed, random = scenario.feeds[project], Random(f"{project}-{scenario.seed}")
    while True:
        yield random.choice(feed.kinds).draw(random, project, 0.0, feed.priority, scenario.error)
