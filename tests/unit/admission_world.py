"""A small world for admission: values with short names, and a machine on which decisions are carried out and checked.

The checks are written anew from the definitions, not with the arithmetic of the program."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reconciler.admission.decide import decide
from reconciler.admission.order import Backlog
from reconciler.admission.values import Decision, Earmark, Heat, Item, Lease, Level, Node, Past, Quota, Rules, Snapshot
from reconciler.model import Ref
from reconciler.model.demand import RESOURCES, UNLIMITED, Amounts, Limits, WorkClass

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
G = 1 << 30
HEAT_KNOWN = Heat(Level.NOMINAL, 0.1, NOW)


def ref(name: str, project: str = "a") -> Ref:
    return Ref("Experiment", project, "e", name)


def amounts(memory: float = 0, cpu: float = 0, gpu: float = 0, watts: float = 0) -> Amounts:
    """In GiB, cores, devices and watts."""
    return Amounts(round(memory * G), round(cpu * 1000), round(gpu * 1000), round(watts * 1000))


def limits(memory: float | None = None, cpu: float | None = None, gpu: float | None = None, watts: float | None = None) -> Limits:
    return Limits(
        *(None if have is None else round(have * unit) for have, unit in zip((memory, cpu, gpu, watts), (G, 1000, 1000, 1000), strict=True))
    )


def quota(
    project: str,
    memory: float | None = None,
    *,
    cpu: float | None = None,
    borrowing: float | None = None,
    lending: float | None = None,
    cohort: str = "team",
    weight: float = 1.0,
    max_running: int | None = None,
    active: bool = True,
) -> Quota:
    return Quota(
        project,
        limits(memory, cpu),
        limits(borrowing),
        limits(lending),
        cohort,
        weight,
        max_running=max_running,
        active=active,
    )


def item(
    name: str,
    project: str = "a",
    memory: float = 1,
    *,
    cpu: float = 0,
    gpu: float = 0,
    watts: float = 0,
    priority: int = 5,
    waited: float = 0,
    seconds: float | None = None,
    work: WorkClass = "batch",
    preempted: int = 0,
    not_before: datetime | None = None,
    largest_buffer: float = 0,
    now: datetime = NOW,
) -> Item:
    return Item(
        ref(name, project),
        project,
        amounts(memory, cpu, gpu, watts),
        priority,
        now - timedelta(seconds=waited),
        work,
        seconds,
        not_before=not_before,
        largest_buffer=round(largest_buffer * G),
        preempted=preempted,
    )


def lease(
    name: str,
    project: str = "a",
    memory: float = 1,
    *,
    cpu: float = 0,
    gpu: float = 0,
    watts: float = 0,
    node: str = "mac",
    priority: int = 5,
    ran: float = 3600,
    seconds: float | None = None,
    work: WorkClass = "batch",
    preempted: int = 0,
    paused: bool = False,
    ending: bool = False,
    preemptible: bool = True,
    now: datetime = NOW,
) -> Lease:
    since = now - timedelta(seconds=ran)
    return Lease(
        ref(name, project),
        project,
        node,
        amounts(memory, cpu, gpu, watts),
        priority,
        since,
        since,
        work,
        seconds,
        preemptible,
        preempted,
        paused,
        ending,
    )


def mac(memory: float | None = 16, cpu: float | None = None, *, name: str = "mac", heat: Heat = HEAT_KNOWN, **more: object) -> Node:
    return replace(Node(name, limits(memory, cpu), heat=heat), **more)  # type: ignore[arg-type]


def snapshot(
    *queue: Item,
    leases: tuple[Lease, ...] = (),
    quotas: tuple[Quota, ...] = (),
    nodes: tuple[Node, ...] = (mac(),),
    rules: Rules | None = None,
    past: Past | None = None,
    now: datetime = NOW,
) -> Snapshot:
    return Snapshot(now, nodes, {each.project: each for each in quotas}, leases, queue, rules or Rules(), past or Past())


def granted(decision: Decision) -> list[str]:
    return sorted(each.ref.key for each in decision.grants)


def stopped(decision: Decision) -> list[str]:
    return sorted(each.ref.key for each in decision.preemptions)


@dataclass
class World:
    """Decisions carried out: grants run, what is stopped ends when `stop` is called and waits again."""

    nodes: tuple[Node, ...] = (mac(),)
    quotas: dict[str, Quota] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    now: datetime = NOW
    leases: dict[Ref, Lease] = field(default_factory=dict)
    queue: tuple[Item, ...] = ()
    past: Past = field(default_factory=Past)
    backlog: Backlog | None = None
    starts: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.now, self.nodes, self.quotas, tuple(self.leases.values()), self.queue, self.rules, self.past)

    def submit(self, *items: Item) -> None:
        self.queue += items

    def step(self, *, check: bool = True) -> Decision:
        """Decide and carry out."""
        before = self.snapshot()
        self.backlog = Backlog.of(self.queue) if self.backlog is None else self.backlog.changed(self.queue)
        decision = decide(before, self.backlog)
        if check:
            assert_sound(before, decision)
        started = {each.ref for each in decision.grants}
        self.queue = tuple(each for each in self.queue if each.ref not in started) if started else self.queue
        for each in decision.grants:
            self.leases[each.ref] = each
            self.starts[each.ref.key] += 1
        for stop in decision.preemptions:
            self.leases[stop.ref] = replace(self.leases[stop.ref], ending=True)
            self.stops[stop.ref.key] += 1
        for refs, paused in ((decision.pauses, True), (decision.resumes, False)):
            for each_ref in refs:
                self.leases[each_ref] = replace(self.leases[each_ref], paused=paused)
        self.past = decision.past
        return decision

    def stop(self, which: Ref) -> None:
        """Work that was asked to stop has ended: it waits again, with its old waiting time."""
        gone = self.leases.pop(which)
        self.submit(
            Item(
                gone.ref,
                gone.project,
                gone.amounts,
                gone.priority,
                gone.queued,
                gone.work,
                gone.seconds,
                gone.preemptible,
                None,
                0,
                gone.preempted + 1,
            )
        )

    def settle(self, rounds: int = 50, *, every: float = 1.0) -> int:
        """Decides again and again while time passes and what must stop stops at once; the number of stops until nothing changes."""
        calm = 0
        before = sum(self.stops.values())
        for _ in range(rounds):
            decision = self.step()
            for each in [each for each in self.leases.values() if each.ending]:
                self.stop(each.ref)
            calm = 0 if decision.grants or decision.preemptions else calm + 1
            if calm == 5:
                return sum(self.stops.values()) - before
            self.now += timedelta(seconds=every)
        raise AssertionError(f"still not settled: started {self.starts}, stopped {self.stops}")

    def running(self) -> list[str]:
        return sorted(each.ref.key for each in self.leases.values() if not each.ending)

    def restart(self) -> None:
        """Everything in memory is lost; what was written down is read again."""
        self.backlog = None
        self.queue = tuple(_item(row) for row in json.loads(json.dumps([_plain(each) for each in self.queue])))
        self.leases = {
            each.ref: each for each in (_lease(row) for row in json.loads(json.dumps([_plain(each) for each in self.leases.values()])))
        }
        marks = json.loads(json.dumps([_plain(each) for each in self.past.earmarks]))
        self.past = replace(
            self.past,
            project_started=dict(self.past.project_started),
            earmarks=tuple(Earmark(Ref(*row["ref"]), row["node"], Amounts(*row["amounts"]), _time(row["until"])) for row in marks),
        )


def _plain(value: Item | Lease | Earmark) -> dict[str, object]:
    def plain(each: object) -> object:
        if isinstance(each, datetime):
            return each.isoformat()
        return [each.kind, each.project, each.name, each.key] if isinstance(each, Ref) else each

    return {name: plain(getattr(value, name)) for name in value.__slots__}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _item(row: dict[str, object]) -> Item:
    times = {name: _time(str(row[name])) for name in ("since", "not_before") if row[name] is not None}
    return Item(**{**row, "ref": Ref(*row["ref"]), "amounts": Amounts(*row["amounts"]), **times})  # type: ignore[misc, arg-type]


def _lease(row: dict[str, object]) -> Lease:
    times = {name: _time(str(row[name])) for name in ("since", "queued")}
    return Lease(**{**row, "ref": Ref(*row["ref"]), "amounts": Amounts(*row["amounts"]), **times})  # type: ignore[misc, arg-type]


# --- what must hold of every decision ------------------------------------------------------------------------------


def assert_sound(before: Snapshot, decision: Decision) -> None:
    """Nothing granted twice, nothing over the machine or the quotas, no rule broken by a grant, nobody stopped who may not be."""
    queued = {each.ref: each for each in before.queue}
    leases = {each.ref: each for each in before.leases}
    assert len({each.ref for each in decision.grants}) == len(decision.grants)
    assert not {each.ref for each in decision.grants} & leases.keys()
    after = [*before.leases, *decision.grants]
    for each in decision.grants:
        waited = queued[each.ref]
        assert (each.amounts, each.priority, each.queued, each.since) == (waited.amounts, waited.priority, waited.since, before.now)
        assert waited.not_before is None or waited.not_before <= before.now
        _within_machine(before, each, after)
        _within_quota(before, each, after)
        _cool_enough(before, each)
    for stop in decision.preemptions:
        victim = leases[stop.ref]
        assert victim.work in ("batch", "monitor")
        assert victim.preemptible
        assert not victim.ending
        assert victim.preempted < before.rules.most_preemptions
        assert before.now - victim.since >= before.rules.immunity
        assert stop.preemptor in queued
        assert before.rules.preemption
    assert len({each.ref for each in decision.preemptions}) == len(decision.preemptions)
    assert all(leases[each].work == "batch" for each in decision.pauses)


def _sum(leases: list[Lease], resource: int) -> int:
    return sum(each.amounts[resource] for each in leases)


def _within_machine(before: Snapshot, grant: Lease, after: list[Lease]) -> None:
    node = next(each for each in before.nodes if each.name == grant.node)
    here = [each for each in after if each.node == grant.node]
    for r, limit in enumerate(node.free_of_us()):
        assert limit is None or not grant.amounts[r] or _sum(here, r) <= limit, f"{grant.ref}: too much {RESOURCES[r]} on {node.name}"


def _within_quota(before: Snapshot, grant: Lease, after: list[Lease]) -> None:
    quota = before.quotas.get(grant.project)
    mine = [each for each in after if each.project == grant.project]
    if quota is None or not quota.declared:
        _within_the_rest(before, grant, after)
        return
    assert quota.active
    running = [each for each in mine if each.work in ("batch", "monitor")]
    assert grant.work not in ("batch", "monitor") or quota.max_running is None or len(running) <= quota.max_running
    for r, nominal in enumerate(quota.nominal):
        if nominal is None or not grant.amounts[r]:
            continue
        used = _sum(mine, r)
        if not quota.cohort:
            assert used <= nominal
            continue
        borrowing = quota.borrowing[r]
        assert borrowing is None or used <= nominal + borrowing
        lent = used_of_lent = 0
        for other in before.quotas.values():
            if other.declared and other.cohort == quota.cohort and (own := other.nominal[r]) is not None:
                lending = other.lending[r]
                kept = 0 if lending is None else max(0, own - lending)
                lent += own - kept
                used_of_lent += max(0, _sum([each for each in after if each.project == other.project], r) - kept)
        own_kept = 0 if quota.lending[r] is None else max(0, nominal - (quota.lending[r] or 0))
        if used > own_kept:  # otherwise it takes what was never lent: a pool that a cut has overdrawn is not its doing
            assert used_of_lent <= lent, f"{grant.ref}: cohort {quota.cohort} has lent more {RESOURCES[r]} than it has"


def _within_the_rest(before: Snapshot, grant: Lease, after: list[Lease]) -> None:
    """Projects without a quota share what the quotas leave of the machine."""
    declared = {each.project: each for each in before.quotas.values() if each.declared}
    for r in range(len(RESOURCES)):
        spoken = any(each.nominal[r] is not None for each in declared.values())
        if not grant.amounts[r] or not spoken or any(node.capacity[r] is None for node in before.nodes):
            continue
        machine = sum(max(0, (node.capacity[r] or 0) - node.reserve[r] - node.system[r]) for node in before.nodes)
        rest = max(0, machine - sum(each.nominal[r] or 0 for each in declared.values()))
        assert _sum([each for each in after if each.project not in declared], r) <= rest


def _cool_enough(before: Snapshot, grant: Lease) -> None:
    node = next(each for each in before.nodes if each.name == grant.node)
    exempt = grant.priority >= before.rules.exempt_priority
    assert node.heat.level is not Level.CRITICAL
    assert grant.work == "serving" or node.heat.level is not Level.SERIOUS or exempt
    assert node.memory_level is not Level.CRITICAL
    assert node.memory_level is not Level.SERIOUS or exempt


__all__ = ["NOW", "UNLIMITED", "World", "amounts", "granted", "item", "lease", "limits", "mac", "quota", "ref", "snapshot", "stopped"]
