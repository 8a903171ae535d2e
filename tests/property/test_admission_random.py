"""Random operations on a machine that admits work: after each one everything that must hold is checked.

Nothing is granted over the machine or over a quota, no item is lost or doubled, and a backlog that is carried over decides as one
that is made anew. `--full` runs a million operations, in ten histories."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.values import Heat, Item, Level, Rules, ThermalModel, Window
from reconciler.model import Ref
from reconciler.model.demand import Amounts
from tests.unit.admission_world import G, World, amounts, item, limits, mac, quota

PROJECTS = ("a", "b", "c", "d", "e", "f")
COHORTS = ("north", "south", "")
SHAPES = ((1, 1, 0, 4), (2, 1, 0.25, 8), (4, 2, 0, 6), (6, 4, 0.5, 12), (11, 2, 1, 15))
MOST_WAITING = 30


class History:
    """One machine room and a stream of operations, from a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(
            nodes=(
                mac(24, 12, capacity=limits(24, 12, 1, 40), reserve=amounts(2), system=amounts(1, 0.5)),
                mac(16, 8, name="mini", capacity=limits(16, 8, 1, None), largest_buffer=8 * G),
            ),
            rules=Rules(reserve_after=timedelta(minutes=10), immunity=timedelta(seconds=60)),
        )
        for project in PROJECTS[:4]:
            self.set_quota(project)
        self.alive: set[Ref] = set()
        """Submitted and not ended: what must be in the queue or hold a lease, once."""
        self.count = 0
        self.did = dict.fromkeys(self.operations(), 0)

    def operations(self) -> dict[str, int]:
        """Name -> how often, relative to the others."""
        return {
            "submit": 30,
            "finish": 22,
            "fail": 4,
            "withdraw": 2,
            "set_quota": 2,
            "drop_quota": 1,
            "reparent": 2,
            "priority": 4,
            "heat": 5,
            "pressure": 2,
            "outside": 3,
            "wait": 20,
            "stopped": 10,
            "restart": 1,
        }

    def go(self, operations: int) -> None:
        names, weights = zip(*self.operations().items(), strict=True)
        for n, name in enumerate(self.dice.choices(names, weights, k=operations)):
            getattr(self, name)()
            self.did[name] += 1
            self.check(thorough=n % 50 == 0)

    def check(self, *, thorough: bool) -> None:
        """The decision is sound (`World.step` looks), and everything alive is somewhere exactly once."""
        taken = self.world.snapshot()
        decision = self.world.step()
        if thorough:
            anew = decide(taken)
            assert (anew.grants, anew.preemptions, anew.past) == (decision.grants, decision.preemptions, decision.past)
            for each in taken.queue:
                verdict = decision.explain(each.ref)
                assert verdict.admitted == any(lease.ref == each.ref for lease in decision.grants)
                assert verdict.message
        waiting = [each.ref for each in self.world.queue]
        assert len(set(waiting)) == len(waiting)
        assert not set(waiting) & self.world.leases.keys()
        assert set(waiting) | self.world.leases.keys() == self.alive

    # --- the operations ------------------------------------------------------------------------------------------

    def submit(self) -> None:
        if len(self.world.queue) >= MOST_WAITING:
            return
        self.count += 1
        dice, project = self.dice, self.dice.choice(PROJECTS)
        memory, cpu, gpu, watts = dice.choice(SHAPES)
        made = item(
            f"i{self.count}",
            project,
            memory,
            cpu=cpu,
            gpu=gpu,
            watts=watts,
            priority=dice.randint(1, 10),
            seconds=dice.choice((None, 60.0, 600.0, 7200.0)),
            work=dice.choices(("batch", "monitor", "serving"), (10, 2, 1))[0],
            largest_buffer=dice.choice((0, 0, memory / 2)),
            now=self.world.now,
        )
        self.world.submit(made)
        self.alive.add(made.ref)

    def finish(self) -> None:
        running = [each for each in self.world.leases.values() if not each.ending]
        if running:
            gone = self.dice.choice(running).ref
            del self.world.leases[gone]
            self.alive.discard(gone)

    def fail(self) -> None:
        """It ends badly and waits for its next attempt."""
        running = [each for each in self.world.leases.values() if not each.ending]
        if running:
            gone = self.dice.choice(running).ref
            self.world.stop(gone)
            again = replace(self.world.queue[-1], not_before=self.world.now + timedelta(seconds=self.dice.choice((5, 60))), preempted=0)
            self.world.queue = (*self.world.queue[:-1], again)

    def withdraw(self) -> None:
        if self.world.queue:
            gone = self.dice.choice(self.world.queue).ref
            self.world.queue = tuple(each for each in self.world.queue if each.ref != gone)
            self.alive.discard(gone)

    def stopped(self) -> None:
        going = [each.ref for each in self.world.leases.values() if each.ending]
        if going:
            self.world.stop(self.dice.choice(going))

    def set_quota(self, project: str = "") -> None:
        """A new quota, often a cut below what is in use."""
        dice, project = self.dice, project or self.dice.choice(PROJECTS)
        self.world.quotas = dict(self.world.quotas)
        self.world.quotas[project] = replace(
            quota(
                project,
                dice.choice((None, 0, 2, 4, 8, 12)),
                cpu=dice.choice((None, 2, 6)),
                borrowing=dice.choice((None, None, 0, 2)),
                lending=dice.choice((None, None, 0, 2)),
                cohort=dice.choice(COHORTS),
                weight=dice.choice((0.5, 1.0, 2.0)),
                max_running=dice.choice((None, None, None, 1, 3)),
                active=dice.random() > 0.05,
            ),
            windows=dice.choice(((), (), (), (Window(False, "*/7 * * * *", 120),), (Window(True, "0 * * * *", 1800),))),
        )

    def drop_quota(self) -> None:
        if self.world.quotas:
            gone = self.dice.choice(sorted(self.world.quotas))
            self.world.quotas = {name: each for name, each in self.world.quotas.items() if name != gone}

    def reparent(self) -> None:
        if self.world.quotas:
            name = self.dice.choice(sorted(self.world.quotas))
            self.world.quotas = {**self.world.quotas, name: replace(self.world.quotas[name], cohort=self.dice.choice(COHORTS))}

    def priority(self) -> None:
        if self.world.queue:
            at = self.dice.randrange(len(self.world.queue))
            changed: Item = replace(self.world.queue[at], priority=self.dice.randint(1, 10))
            self.world.queue = (*self.world.queue[:at], changed, *self.world.queue[at + 1 :])

    def heat(self) -> None:
        """A node gets hot, cools down, or its sensors fall silent."""
        level = self.dice.choice(tuple(Level))
        used = None if level is Level.UNKNOWN else {0: 0.3, 1: 0.8, 2: 1.05, 3: 1.3}[level]
        model = self.dice.choice((None, ThermalModel(0.03, 300.0)))
        self.change_node(heat=Heat(level, used, self.world.now, self.dice.choice((None, 10.0)), model))

    def pressure(self) -> None:
        self.change_node(memory_level=self.dice.choice((Level.NOMINAL, Level.NOMINAL, *Level)))

    def outside(self) -> None:
        self.change_node(outside=self.dice.choice((Amounts(), amounts(3), amounts(10, 2))))

    def change_node(self, **change: object) -> None:
        at = self.dice.randrange(2)
        nodes = list(self.world.nodes)
        nodes[at] = replace(nodes[at], **change)  # type: ignore[arg-type]
        self.world.nodes = tuple(nodes)

    def wait(self) -> None:
        self.world.now += timedelta(seconds=self.dice.choice((1, 5, 30, 120, 900)))

    def restart(self) -> None:
        self.world.restart()


def run(seed: int, operations: int) -> History:
    history = History(seed)
    history.go(operations)
    assert min(history.did.values()) > 0, history.did
    return history


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(each, marks=pytest.mark.full) for each in (2, 3))])
def test_random_operations(seed: int) -> None:
    history = run(seed, 5_000)
    world = history.world
    assert sum(world.starts.values()) > 200, "the history is too calm to show anything"
    assert sum(world.stops.values()) > 0, "nothing was ever pre-empted"


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_million_random_operations(seed: int) -> None:
    run(seed, 100_000)


# --- loops ---------------------------------------------------------------------------------------------------------


def unsettled(seed: int) -> World:
    """A few projects, quotas and pieces of work that end by nothing but a stop; nobody is immune, nothing caps the stops."""
    dice = random.Random(seed)
    projects = "abcd"[: dice.randint(2, 4)]
    quotas = {
        name: quota(
            name,
            dice.choice((None, 0, 2, 4, 6)),
            cpu=dice.choice((None, 0, 2, 4)),
            borrowing=dice.choice((None, None, 0, 3)),
            lending=dice.choice((None, None, 0, 2)),
            cohort=dice.choice(("x", "x", "y", "")),
            weight=dice.choice((0.5, 1.0, 2.0)),
        )
        for name in projects
        if dice.random() < 0.9
    }
    nodes = (mac(16, 8),) if dice.random() < 0.6 else (mac(10, 6), mac(8, 4, name="mini"))
    rules = Rules(immunity=timedelta(0), most_preemptions=1_000_000, earmark=timedelta(seconds=5))
    world = World(nodes=nodes, quotas=quotas, rules=rules)
    for wave in range(dice.randint(1, 4)):
        for n in range(dice.randint(1, 6)):
            memory, cpu = dice.choice((0, 1, 2, 3, 5, 8)), dice.choice((0, 1, 2, 4))
            world.submit(item(f"i{wave}-{n}", dice.choice(projects), memory, cpu=cpu, priority=dice.randint(1, 10), now=world.now))
        world.settle(200)
    return world


def test_nothing_is_stopped_in_turn() -> None:
    """Each random scenario settles, and hardly anything is stopped more than once on the way."""
    stops = [unsettled(seed).stops for seed in range(1_500)]
    assert sum(sum(each.values()) for each in stops) > 300, "too calm to show anything"
    assert max(max(each.values(), default=0) for each in stops) <= 3


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_no_loop_in_a_hundred_thousand_scenarios(part: int) -> None:
    for seed in range(part * 10_000, (part + 1) * 10_000):
        unsettled(seed)


def test_the_checks_can_fail() -> None:
    """A decision that grants what does not fit, or twice, is caught by the very checks used above."""
    from tests.unit.admission_world import assert_sound, lease, snapshot

    taken = snapshot(item("w", memory=20), item("v"), quotas=(quota("a", 8, cohort=""),))
    honest = decide(taken)
    too_much = replace(lease("w", memory=20, ran=0), queued=taken.queue[0].since)
    with pytest.raises(AssertionError, match="too much memory"):
        assert_sound(taken, replace(honest, grants=(too_much,)))
    with pytest.raises(AssertionError):
        assert_sound(taken, replace(honest, grants=honest.grants * 2))
    over_quota = snapshot(item("w", memory=9), quotas=(quota("a", 8, cohort=""),))
    with pytest.raises(AssertionError):
        assert_sound(over_quota, replace(decide(over_quota), grants=(replace(lease("w", memory=9, ran=0), queued=taken.now),)))
