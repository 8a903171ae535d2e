"""The smallest change after which waiting work would start now; each one is tried by deciding again. Pure.

HTCondor's `condor_q -better-analyze` tells which clause of a request excludes how many machines; here the numbers of the request, of
the quota and of the rules are searched for the nearest value that helps, and the decision itself is the judge. "Would start now" includes
room that has to be made for it first: whom that stops is in the remedy's effect. What can never start is judged by whether it could."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.admission.decide import decide
from reconciler.admission.memory import margin_after
from reconciler.admission.order import Backlog
from reconciler.admission.quota import total
from reconciler.admission.values import Decision, Item, Quota, Reason, Remedy, Snapshot
from reconciler.admission.whatif import (
    largest,
    less_outside,
    quantity,
    round_up,
    set_limits,
    smallest,
    with_amount,
    with_item,
    with_quota,
    written_as,
)
from reconciler.model import Learned, Ref, ref_names
from reconciler.model.demand import RESOURCES
from reconciler.model.units import memory

TOP = 10
"""The highest priority."""
_PLENTY = 1 << 60
NOT_ADVISED = "not advised"
"""How the effect of a change begins that admission would take, and that would end badly."""
_ROOM = frozenset(each for each in Reason if str(each).startswith("WaitingFor")) | {Reason.BEHIND_RESERVATION, Reason.MEMORY_PRESSURE}


@dataclass(frozen=True)
class _Bench:
    """Where changes are tried out."""

    snapshot: Snapshot
    backlog: Backlog
    item: Item
    base: Decision
    reason: Reason

    @property
    def never(self) -> bool:
        return self.reason.never

    def helps(self, changed: Snapshot) -> bool:
        """It would start, or room would be made for it; for what can never start: it could, some time."""
        decision = self.decided(changed)
        if any(each.ref == self.item.ref for each in decision.grants) or any(
            each.preemptor == self.item.ref for each in decision.preemptions
        ):
            return True
        return self.never and not decision.explain(self.item.ref).reason.never

    def effect(self, changed: Snapshot) -> str:
        """Whom the change would stop, and who would start later for it."""
        decision = self.decided(changed)
        before, starts = {each.ref for each in self.base.preemptions}, {each.ref for each in decision.grants}
        stopped = [each.ref for each in decision.preemptions if each.ref not in before]
        later = [each.ref for each in self.base.grants if each.ref not in starts]
        told = [f"would stop {ref_names(stopped)}"] if stopped else []
        told += [f"{ref_names(later)} would start later"] if later else []
        if self.never and self.item.ref not in starts:
            told.append(f"then it waits its turn: {decision.explain(self.item.ref).message}")
        return "; ".join(told)

    def decided(self, changed: Snapshot) -> Decision:
        return decide(changed, self.backlog.changed(changed.queue))


def remedies(
    snapshot: Snapshot, ref: Ref, measured: Learned | None = None, *, margin: float = 0.15, declared: int | None = None
) -> tuple[Remedy, ...]:
    """What would let `ref` start now, the changes that stop nobody first; then what was tried and is not enough, or not advised.

    `measured` is what earlier work of its sort was measured to need: a request below that is not advised. `margin` is what admission
    adds to a memory request, so that the value told is the one to write, and `declared` the bytes that its manifest asks for (0: nothing;
    None: not known). Raises KeyError when `ref` does not wait in `snapshot`."""
    item = next((each for each in snapshot.queue if each.ref == ref), None)
    if item is None:
        raise KeyError(ref)
    backlog = Backlog.of(snapshot.queue)
    base = decide(snapshot, backlog)
    if any(each.ref == ref for each in base.grants):
        return ()
    bench = _Bench(snapshot, backlog, item, base, base.explain(ref).reason)
    found = [
        *_priority(bench, item),
        *_project(bench, item),
        *_quota(bench, item),
        *_smaller(bench, item, measured, margin, declared),
        *_others(bench),
    ]
    return tuple(sorted(found, key=lambda each: (not each.works, "would stop" in each.effect)))


# --- the work itself -----------------------------------------------------------------------------------------------


def _priority(bench: _Bench, item: Item) -> Iterator[Remedy]:
    if bench.never or item.priority >= TOP:
        return
    for priority in range(item.priority + 1, TOP + 1):
        changed = with_item(bench.snapshot, replace(item, priority=priority))
        if bench.helps(changed):
            yield Remedy(f"priority {item.priority} -> {priority}", bench.effect(changed) or "goes before others of its project")
            return
    if bench.reason in _ROOM:
        yield Remedy(f"priority {item.priority} -> {TOP}", "room is what it lacks, not its turn", works=False)


def _smaller(bench: _Bench, item: Item, measured: Learned | None, margin: float, declared: int | None) -> Iterator[Remedy]:
    """Ask for less of one resource."""
    for at, name in enumerate(RESOURCES):
        if item.amounts[at] <= 0 or not bench.helps(with_amount(bench.snapshot, item, at, 0)):
            continue

        def enough(value: int, at: int = at) -> bool:
            return bench.helps(with_amount(bench.snapshot, item, at, value))

        most = largest(item.amounts[at], name, enough)
        effect = bench.effect(with_amount(bench.snapshot, item, at, most))
        if name == "memory":
            yield from _less_memory(item.amounts.memory, most, measured, margin, declared, effect)
        elif most > 0:
            change = f"resources.{name} {quantity(name, item.amounts[at])} -> {quantity(name, most)}"
            yield Remedy(change, effect or ("it may take longer" if name == "cpu" else "if it needs no more"))


def _less_memory(have: int, most: int, measured: Learned | None, margin: float, declared: int | None, effect: str) -> Iterator[Remedy]:
    """`have` and `most` are charged amounts; told is what a manifest would say."""
    seen = measured is not None and measured.runs > 0
    written = written_as(most / (1.0 if seen else 1 + margin))
    if written <= 0:
        return
    before = have / (1.0 if seen else 1 + margin) if declared is None else declared
    change = f"resources.memory {quantity('memory', written_as(before)) if before else 'unset'} -> {quantity('memory', written)}"
    if measured is None or not seen:
        yield Remedy(change, effect or "if it needs no more: it is ended when it stays above")
        return
    peak = f"its measured peak is {memory(measured.memory)}"
    if most < measured.memory * (1 + margin_after(measured, margin)):
        yield Remedy(change, f"{NOT_ADVISED}: {peak}", works=False)
    else:
        yield Remedy(change, "; ".join(each for each in (effect, peak) if each))


# --- its project ---------------------------------------------------------------------------------------------------


def _project(bench: _Bench, item: Item) -> Iterator[Remedy]:
    quota = bench.snapshot.quotas.get(item.project)
    if quota is None:
        return
    if not quota.active:
        changed = with_quota(bench.snapshot, replace(quota, active=True))
        works = bench.helps(changed)
        yield Remedy(f"project {item.project} active: true", bench.effect(changed) or ("" if works else "is not enough"), works)
    if quota.max_running is not None:
        running = sum(each.project == item.project for each in bench.snapshot.leases)
        for most in range(max(quota.max_running, running) + 1, max(quota.max_running, running) + 3):
            changed = with_quota(bench.snapshot, replace(quota, max_running=most))
            if bench.helps(changed):
                yield Remedy(f"quota maxRunning {quota.max_running} -> {most}", bench.effect(changed) or "nothing else changes")
                break
    yield from _windows(bench, quota)


def _windows(bench: _Bench, quota: Quota) -> Iterator[Remedy]:
    for at, window in enumerate(quota.windows):
        changed = with_quota(bench.snapshot, replace(quota, windows=(*quota.windows[:at], *quota.windows[at + 1 :])))
        if bench.helps(changed):
            kind = "allow" if window.allow else "deny"
            yield Remedy(f"quota without its window `{kind} {window.cron}`", bench.effect(changed) or "starts at any time")
            return
    if len(quota.windows) > 1:
        changed = with_quota(bench.snapshot, replace(quota, windows=()))
        if bench.helps(changed):
            yield Remedy("quota without its windows", bench.effect(changed) or "starts at any time")


def _quota(bench: _Bench, item: Item) -> Iterator[Remedy]:
    """More of its own, or more that may be borrowed."""
    quota = bench.snapshot.quotas.get(item.project)
    if quota is None or not quota.declared:
        return
    governed = [at for at in range(len(RESOURCES)) if quota.nominal[at] is not None and item.amounts[at]]
    boundless = replace(quota, nominal=set_limits(quota.nominal, dict.fromkeys(governed, _PLENTY)))
    if not governed or not bench.helps(with_quota(bench.snapshot, boundless)):
        return
    raised = dict.fromkeys(governed, 0)
    for at in governed:  # what is enough as it is stays
        smaller = {**raised, at: None}
        values = {r: _PLENTY for r, change in smaller.items() if change is not None}
        if bench.helps(with_quota(bench.snapshot, replace(quota, nominal=set_limits(quota.nominal, values)))):
            del raised[at]
    yield from _raised(bench, item, quota, list(raised))
    yield from _borrowing(bench, quota)


def _raised(bench: _Bench, item: Item, quota: Quota, resources: list[int]) -> Iterator[Remedy]:
    if not resources:
        return
    values = dict.fromkeys(resources, _PLENTY)
    for at in resources:
        have, name = quota.nominal[at] or 0, RESOURCES[at]
        used = sum(each.amounts[at] for each in bench.snapshot.leases if each.project == item.project)
        waiting = sum(each.amounts[at] for each in bench.snapshot.queue if each.project == item.project)

        def enough(value: int, at: int = at) -> bool:
            changed = replace(quota, nominal=set_limits(quota.nominal, {**values, at: value}))
            return bench.helps(with_quota(bench.snapshot, changed))

        upper = round_up(name, max(have, used + waiting))
        values[at] = smallest(have, upper, name, enough) if enough(upper) else _PLENTY
    if _PLENTY in values.values():
        return
    changed = with_quota(bench.snapshot, replace(quota, nominal=set_limits(quota.nominal, values)))
    change = " and ".join(
        f"nominal.{RESOURCES[at]} {quantity(RESOURCES[at], quota.nominal[at] or 0)} -> {quantity(RESOURCES[at], value)}"
        for at, value in values.items()
    )
    effects = [_promise(bench.snapshot, quota, values), bench.effect(changed)]
    yield Remedy(f"quota {change}", "; ".join(each for each in effects if each))


def _promise(snapshot: Snapshot, quota: Quota, values: dict[int, int]) -> str:
    """Where the additional nominal amount comes from."""
    told = []
    for at, value in values.items():
        name, have = RESOURCES[at], total(snapshot.nodes)[at]
        more = value - (quota.nominal[at] or 0)
        given = sum(each.nominal[at] or 0 for each in snapshot.quotas.values() if each.declared)
        if have is None or given + more <= have:
            told.append(f"takes {quantity(name, more)} of the machine that no quota gives to anyone")
        else:
            told.append(f"all quotas together then promise {quantity(name, given + more)} of {quantity(name, have)} that the machine has")
    return "; ".join(told)


def _borrowing(bench: _Bench, quota: Quota) -> Iterator[Remedy]:
    limited = [at for at, limit in enumerate(quota.borrowing) if limit is not None]
    free = replace(quota, borrowing=set_limits(quota.borrowing, dict.fromkeys(limited, _PLENTY)))
    if not limited or not bench.helps(with_quota(bench.snapshot, free)):
        return
    for at in limited:
        name, have = RESOURCES[at], quota.borrowing[at] or 0

        def enough(value: int, at: int = at) -> bool:
            return bench.helps(with_quota(bench.snapshot, replace(quota, borrowing=set_limits(quota.borrowing, {at: value}))))

        upper = round_up(name, have + sum(each.nominal[at] or 0 for each in bench.snapshot.quotas.values() if each.cohort == quota.cohort))
        if enough(upper):
            value = smallest(have, upper, name, enough)
            changed = with_quota(bench.snapshot, replace(quota, borrowing=set_limits(quota.borrowing, {at: value})))
            change = f"quota borrowingLimit.{name} {quantity(name, have)} -> {quantity(name, value)}"
            yield Remedy(change, bench.effect(changed) or f"borrows what cohort {quota.cohort} does not use")


# --- the machine ---------------------------------------------------------------------------------------------------


def _others(bench: _Bench) -> Iterator[Remedy]:
    """Programs that are not ours take memory that it lacks."""
    busy = [each for each in bench.snapshot.nodes if each.outside.memory > 0]
    if not busy or bench.never:
        return

    def freed(value: int) -> Snapshot:
        return replace(bench.snapshot, nodes=tuple(less_outside(each, value) for each in bench.snapshot.nodes))

    most = max(each.outside.memory for each in busy)
    if bench.helps(freed(most)):
        value = smallest(0, most, "memory", lambda value: bench.helps(freed(value)))
        yield Remedy(f"free {quantity('memory', value)} of memory", "programs outside the reconciler use it, beyond the reserve")
