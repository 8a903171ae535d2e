"""Admission for all snapshots: shares are kept, decisions are repeatable, grants never exceed what there is."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.admission.decide import decide
from reconciler.admission.order import Backlog
from reconciler.admission.quota import Usage, tree_of
from reconciler.admission.values import Item, Lease, Past, Quota, Rules, Snapshot
from reconciler.model.demand import RESOURCES, Amounts
from tests.unit.admission_world import NOW, World, amounts, assert_sound, item, lease, mac, quota

PROJECTS = ("a", "b", "c", "d")
small = st.integers(0, 8)
maybe = st.one_of(st.none(), small)


@st.composite
def quotas(draw: st.DrawFn) -> Quota:
    return quota(
        draw(st.sampled_from(PROJECTS)),
        draw(maybe),
        cpu=draw(maybe),
        borrowing=draw(maybe),
        lending=draw(maybe),
        cohort=draw(st.sampled_from(("", "x", "y"))),
        weight=draw(st.sampled_from((0.5, 1.0, 3.0))),
        max_running=draw(st.one_of(st.none(), st.integers(0, 3))),
    )


@st.composite
def queues(draw: st.DrawFn) -> tuple[Item, ...]:
    made = [
        item(
            f"q{n}",
            draw(st.sampled_from(PROJECTS)),
            draw(st.integers(1, 8)),
            cpu=draw(st.integers(0, 4)),
            priority=draw(st.integers(1, 10)),
            waited=draw(st.sampled_from((0, 0, 60, 4000))),
            seconds=draw(st.sampled_from((None, 60.0, 5000.0))),
            work=draw(st.sampled_from(("batch", "batch", "monitor", "serving"))),
        )
        for n in range(draw(st.integers(0, 12)))
    ]
    return tuple(made)


@st.composite
def running(draw: st.DrawFn) -> tuple[Lease, ...]:
    """Leases as they may be found: also more than the quotas allow, after a cut."""
    return tuple(
        lease(
            f"r{n}",
            draw(st.sampled_from(PROJECTS)),
            draw(st.integers(1, 6)),
            cpu=draw(st.integers(0, 3)),
            node=draw(st.sampled_from(("mac", "mini"))),
            priority=draw(st.integers(1, 10)),
            ran=draw(st.sampled_from((10, 1000, 4000))),
            seconds=draw(st.sampled_from((None, 2000.0, 5000.0))),
            ending=draw(st.booleans()) and draw(st.booleans()),
            work=draw(st.sampled_from(("batch", "batch", "serving"))),
        )
        for n in range(draw(st.integers(0, 6)))
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    return Snapshot(
        NOW,
        (mac(16, 8), mac(12, 4, name="mini")),
        {each.project: each for each in draw(st.lists(quotas(), max_size=4))},
        draw(running()),
        draw(queues()),
        past=Past(project_started=draw(st.dictionaries(st.sampled_from(PROJECTS), st.just(NOW - timedelta(hours=1)), max_size=3))),
    )


@given(snapshots(), st.randoms(use_true_random=False))
def test_a_decision_depends_on_what_there_is_only(taken: Snapshot, dice: random.Random) -> None:
    """Not on the order of queue, leases, nodes and quotas, and not on what was decided before."""

    def shuffled(what: tuple[object, ...]) -> list[object]:
        return dice.sample(what, len(what))

    mixed = replace(
        taken,
        queue=tuple(shuffled(taken.queue)),  # type: ignore[arg-type]
        leases=tuple(shuffled(taken.leases)),  # type: ignore[arg-type]
        nodes=tuple(shuffled(taken.nodes)),  # type: ignore[arg-type]
        quotas={name: taken.quotas[name] for name in shuffled(tuple(taken.quotas))},  # type: ignore[index, misc]
    )
    one, other = decide(taken), decide(mixed)
    assert one.grants == other.grants
    assert one.preemptions == other.preemptions
    assert one.past == other.past
    assert [one.explain(each.ref) for each in taken.queue] == [other.explain(each.ref) for each in taken.queue]


@given(snapshots())
def test_grants_never_exceed_what_there_is(taken: Snapshot) -> None:
    assert_sound(taken, decide(taken))


@given(snapshots())
def test_everything_that_waits_says_why(taken: Snapshot) -> None:
    """Each with a message; positions are 1 to n without gaps; what is admitted has a node and no position."""
    decision = decide(taken)
    verdicts = [decision.explain(each.ref) for each in taken.queue]
    waiting = [each for each in verdicts if not each.admitted]
    assert sorted(each.position for each in waiting) == list(range(1, len(waiting) + 1))
    assert all(each.message for each in verdicts)
    assert {each.ref for each in verdicts if each.admitted} == {each.ref for each in decision.grants}


@given(snapshots(), queues(), st.data())
def test_a_carried_backlog_is_a_fresh_one(taken: Snapshot, more: tuple[Item, ...], data: st.DataObject) -> None:
    """Whatever changes in the queue: items go, come, are replaced."""
    backlog = Backlog.of(taken.queue)
    decide(taken, backlog)
    left = [each for each in taken.queue if data.draw(st.booleans())]
    changed = [replace(each, priority=1) if data.draw(st.booleans()) else each for each in left]
    known = {each.ref for each in changed}
    queue = (*changed, *(each for each in more if each.ref not in known))
    carried, fresh = backlog.changed(queue), Backlog.of(queue)
    assert carried.groups == fresh.groups
    assert carried.items == fresh.items
    assert carried.oldest == fresh.oldest
    later = replace(taken, queue=queue)
    assert decide(later, carried).grants == decide(later).grants


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=4), st.data())
def test_sharing_incentive(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever the others have borrowed: who asks for no more than his own amount has it after one round of stopping.

    The machine holds all nominal amounts; the work of the others may be stopped, and has run long enough."""
    nominal = {PROJECTS[n]: size * count for n, (size, count) in enumerate(sizes)}
    lending = {name: data.draw(maybe, label=f"lending of {name}") for name in nominal}
    world = World(
        nodes=(mac(sum(nominal.values())),),
        quotas={
            name: quota(name, most, lending=lending[name], weight=data.draw(st.sampled_from((0.5, 1.0, 2.0))))
            for name, most in nominal.items()
        },
    )
    who = data.draw(st.sampled_from(sorted(nominal)), label="who asks")
    others = [name for name in nominal if name != who]
    for n in range(data.draw(st.integers(0, 30), label="work of the others")):
        world.submit(
            item(f"o{n}", data.draw(st.sampled_from(others)), data.draw(st.integers(1, 5)), priority=data.draw(st.integers(1, 10)))
        )
    world.settle(100)
    world.now += world.rules.immunity
    size, count = sizes[PROJECTS.index(who)]
    world.submit(*(item(f"w{n}", who, size, now=world.now) for n in range(count)))
    world.step()
    for each in [each for each in world.leases.values() if each.ending]:
        world.stop(each.ref)
    world.step()
    assert sum(each.project == who for each in world.leases.values()) == count


@given(st.lists(quotas(), min_size=1, max_size=4), st.lists(st.tuples(st.sampled_from(PROJECTS), small, small, st.booleans()), max_size=12))
def test_the_arithmetic_is_kueues(found: list[Quota], changes: list[tuple[str, int, int, bool]]) -> None:
    """Against the recursion of resource_node.go, node by node, with usage that bubbles up as it is added and removed."""
    declared = {each.project: each for each in found}
    taken = Snapshot(NOW, (mac(32, 32),), declared, (), ())
    tree = tree_of(taken, declared)
    usage = Usage(tree)
    for r in (0, 1):
        kueue = _Kueue(declared, r)
        mine: dict[str, int] = dict.fromkeys(declared, 0)
        fresh = Usage(tree)
        for project, memory, cpu, back in changes:
            value = amounts(memory, cpu)
            if project not in declared or (back and mine[project] < value[r]):
                continue
            fresh.add(project, value, -1 if back else 1)
            mine[project] += -value[r] if back else value[r]
            if declared[project].nominal[r] is not None:
                (kueue.remove if back else kueue.add)(project, value[r])
            for name, each in declared.items():
                if each.nominal[r] is not None:
                    assert fresh.available(tree.share(name), r) == kueue.available(name), (RESOURCES[r], name)
                    assert tree.potential(tree.share(name), r) == kueue.potential(name), (RESOURCES[r], name)
    assert usage.used == dict.fromkeys(tree.shares, Amounts())


class _Kueue:
    """resource_node.go, transcribed: one resource, projects below cohorts; a project without a cohort is a root."""

    def __init__(self, quotas: dict[str, Quota], resource: int) -> None:
        self.parent = {name: each.cohort for name, each in quotas.items()}
        self.usage: dict[str, int] = {}
        self.subtree: dict[str, int] = {}
        self.lending = {name: each.lending[resource] for name, each in quotas.items()}
        self.borrowing = {name: each.borrowing[resource] for name, each in quotas.items()}
        for name, each in quotas.items():
            if each.nominal[resource] is not None:
                self.usage[name] = 0
                self.subtree[name] = each.nominal[resource] or 0
                if each.cohort:
                    cohort = f"cohort {each.cohort}"
                    self.usage.setdefault(cohort, 0)
                    self.subtree[cohort] = self.subtree.get(cohort, 0) + self.subtree[name] - self.local(name)

    def up(self, name: str) -> str | None:
        return f"cohort {self.parent[name]}" if self.parent.get(name) else None

    def local(self, name: str) -> int:
        lending = self.lending.get(name)
        return max(0, self.subtree[name] - lending) if lending is not None and self.up(name) else 0

    def available(self, name: str) -> int:
        parent = self.up(name)
        if parent is None:
            return self.subtree[name] - self.usage[name]
        above = self.available(parent)
        limit = self.borrowing.get(name)
        if limit is not None:
            stored = self.subtree[name] - self.local(name)
            used = max(0, self.usage[name] - self.local(name))
            above = min(stored - used + limit, above)
        return max(0, self.local(name) - self.usage[name]) + above

    def potential(self, name: str) -> int:
        parent = self.up(name)
        if parent is None:
            return self.subtree[name]
        most = self.local(name) + self.potential(parent)
        limit = self.borrowing.get(name)
        return most if limit is None else min(most, self.subtree[name] + limit)

    def add(self, name: str, value: int) -> None:
        local = max(0, self.local(name) - self.usage[name])
        self.usage[name] += value
        parent = self.up(name)
        if parent is not None and value > local:
            self.add(parent, value - local)

    def remove(self, name: str, value: int) -> None:
        stored = self.usage[name] - self.local(name)
        self.usage[name] -= value
        parent = self.up(name)
        if parent is not None and stored > 0:
            self.remove(parent, min(value, stored))


@given(snapshots())
def test_more_time_loses_nothing(taken: Snapshot) -> None:
    """Carrying out decision after decision settles: nothing is started and stopped for ever."""
    assume(taken.queue)
    world = World(
        nodes=taken.nodes,
        quotas=dict(taken.quotas),
        rules=Rules(immunity=timedelta(0), most_preemptions=10_000, earmark=timedelta(seconds=5)),
        leases={each.ref: each for each in taken.leases},
        queue=tuple(replace(each, seconds=None) for each in taken.queue),
        past=taken.past,
    )
    everything = {each.ref for each in taken.queue} | {each.ref for each in taken.leases}
    world.settle(120)
    assert {each.ref for each in world.queue} | world.leases.keys() == everything
