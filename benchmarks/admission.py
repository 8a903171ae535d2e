"""How long a decision takes: 10,000 waiting, 50 projects, 12 shapes of work; as a whole, and after a single event."""

from __future__ import annotations

import gc
import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from benchmarks.page import Budget, Section, budgets, machine
from reconciler.admission.decide import decide
from reconciler.admission.order import Backlog
from reconciler.admission.values import Heat, Item, Level, Node, Past, Quota, Snapshot
from reconciler.model import Ref
from reconciler.model.demand import Amounts, Limits

TITLE = "Admission"
GIB = 1 << 30
QUEUED, PROJECTS, SHAPES, COHORTS = 10_000, 50, 12, 5
PASSES, EVENTS = 100, 1_000


@dataclass
class Room:
    """A machine at work: what ends is replaced by what decisions grant."""

    taken: Snapshot
    backlog: Backlog

    def decide(self) -> float:
        """One decision, carried out; CPU seconds that it took."""
        start = time.process_time()
        decision = decide(self.taken, self.backlog)
        took = time.process_time() - start
        started = {each.ref for each in decision.grants}
        stopped = {each.ref for each in decision.preemptions}
        leases = tuple(each for each in self.taken.leases if each.ref not in stopped) + decision.grants
        queue = tuple(each for each in self.taken.queue if each.ref not in started) if started else self.taken.queue
        self.taken = replace(self.taken, leases=leases, queue=queue, past=decision.past)
        return took

    def carry(self) -> float:
        """Brings the backlog up to the queue; CPU seconds that it took."""
        start = time.process_time()
        self.backlog = self.backlog.changed(self.taken.queue)
        return time.process_time() - start

    def end(self, which: int) -> None:
        leases = list(self.taken.leases)
        del leases[which % len(leases)]
        self.taken = replace(self.taken, leases=tuple(leases), now=self.taken.now + timedelta(seconds=7))


def scene(seed: int = 0) -> Snapshot:
    """The queue and the quotas; cohorts of ten projects that lend each other everything."""
    dice = random.Random(seed)
    now = datetime(2026, 3, 2, tzinfo=UTC)
    shapes = [
        (Amounts(dice.choice((1, 2, 3, 4, 6, 8, 12, 16)) * GIB, dice.choice((1, 2, 4)) * 1000), dice.choice((300.0, 1200.0, 7200.0)))
        for _ in range(SHAPES)
    ]
    names = [f"project-{n:02}" for n in range(PROJECTS)]
    quotas = {
        name: Quota(
            name, Limits(2 * GIB, 1000), cohort=f"cohort-{n % COHORTS}", weight=dice.choice((1.0, 2.0)), priority=dice.randint(3, 7)
        )
        for n, name in enumerate(names)
    }
    queue: list[Item] = []
    for n in range(QUEUED):
        name, (amounts, seconds) = dice.choice(names), dice.choice(shapes)
        since = now - timedelta(seconds=dice.randint(0, 3 * 3600))
        queue.append(Item(Ref("Experiment", name, "sweep", f"r{n}"), name, amounts, quotas[name].priority, since, seconds=seconds))
    node = Node("mac", Limits(128 * GIB, 64_000), reserve=Amounts(8 * GIB), heat=Heat(Level.NOMINAL, 0.3, now))
    past = Past(project_started=dict.fromkeys(names, now - timedelta(minutes=5)))
    return Snapshot(now, (node,), quotas, (), tuple(queue), past=past)


def measure() -> dict[str, float]:
    """CPU milliseconds: half of the decisions take at most p50, 99 of 100 at most p99. One process, nothing else measured."""
    taken = scene()
    whole: list[float] = []
    for seed in range(PASSES):
        start = scene(seed % 5) if seed < 5 else taken
        gc.collect()
        at = time.process_time()
        decide(start)
        whole.append(time.process_time() - at)
    room = Room(taken, Backlog.of(taken.queue))
    room.decide()
    room.carry()
    dice, events, carried = random.Random(1), [], []
    for _ in range(EVENTS):
        room.end(dice.randrange(1 << 30))
        events.append(room.decide())
        carried.append(room.carry())
    decision = decide(room.taken, room.backlog)
    at = time.process_time()
    for item in room.taken.queue:
        decision.explain(item.ref)
    explained = time.process_time() - at
    return {
        "full pass p50": _ms(whole, 0.5),
        "full pass p99": _ms(whole, 0.99),
        "one event p50": _ms(events, 0.5),
        "one event p99": _ms(events, 0.99),
        "backlog carried over p50": _ms(carried, 0.5),
        "backlog carried over p99": _ms(carried, 0.99),
        "all verdicts": round(explained * 1000, 3),
    }


def run() -> Section:
    """What `measure` found, beside the budgets."""
    found = measure()
    rows = [
        Budget(f"full pass with {QUEUED:,} queued in {PROJECTS} projects, p99", 100, found["full pass p99"], "ms"),
        Budget("one event, p99", 2, found["one event p99"], "ms"),
    ]
    told = f"CPU time of `decide` in one process: {PASSES} full passes; {EVENTS:,} events, each the end of one run; all other figures:"
    table = ["| what | CPU ms |", "|---|---:|", *(f"| {name} | {value:.2f} |" for name, value in found.items())]
    return Section(TITLE, [*budgets(rows), machine(), "", told, "", *table])


def _ms(seconds: list[float], part: float) -> float:
    return round(sorted(seconds)[min(len(seconds) - 1, int(part * len(seconds)))] * 1000, 3)


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:28} {value:10.3f} ms")
