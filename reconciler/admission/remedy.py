"""The smallest change after which waiting work would start now; each one is tried by deciding again. Pure.

HTCondor's `condor_q -better-analyze` tells which clause of a request excludes how many machines; here the numbers of the request, of
the quota and of the rules are searched for the nearest value that helps, and the decision itself is the judge. "Would start now" includes
room that has to be made for it first: whom that stops is in the remedy's effect. What can never start is judged by whether it could."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil

from reconciler.admission.decide import decide
from reconciler.admission.quota import total
from reconciler.admission.values import Decision, Item, Node, Quota, Remedy, Snapshot
from reconciler.model import Amounts, Learned, Limits, Ref, ref_names
from reconciler.model.demand import RESOURCES

TOP = 10
"""The highest priority."""
_PLENTY = 1 << 60
_MIB, _GIB = 1 << 20, 1 << 30
_STEP = {"memory": 64 * _MIB, "cpu": 100, "gpu": 100, "watts": 1000}
"""What the values of a search are multiples of: nobody writes a quota in bytes."""
_COARSE = {"memory": _GIB // 2, "cpu": 500, "gpu": 250, "watts": 5000}
"""The same for values from eight times as much on."""
_LOWERED = ("memory", "cpu", "gpu", "watts")


@dataclass
class _Bench:
    """Where changes are tried out."""

    snapshot: Snapshot
    ref: Ref
    base: Decision
    never: bool
    tried: dict[object, Decision] = field(default_factory=dict)

    def decided(self, changed: Snapshot) -> Decision:
        return decide(changed)

    def helps(self, changed: Snapshot) -> bool:
        """It would start, or room would be made for it; for what can never start: it could, some time."""
        decision = decide(changed)
        if any(each.ref == self.ref for each in decision.grants) or any(each.preemptor == self.ref for each in decision.preemptions):
            return True
        return self.never and not decision.explain(self.ref).reason.never

    def effect(self, changed: Snapshot) -> str:
        """Whom the change would stop, and who would start later for it."""
        decision = decide(changed)
        stopped = [each.ref for each in decision.preemptions if each.ref not in {had.ref for had in self.base.preemptions}]
        starts = {each.ref for each in decision.grants}
        later = [each.ref for each in self.base.grants if each.ref not in starts]
        told = [f"would stop {ref_names(stopped)}"] if stopped else []
        told += [f"{ref_names(later)} would start later"] if later else []
        if self.never and self.ref not in starts:
            told.append(f"then it waits its turn: {decision.explain(self.ref).message}")
        return "; ".join(told)


def remedies(snapshot: Snapshot, ref: Ref, measured: Learned | None = None, margin: float = 0.15) -> tuple[Remedy, ...]:
    """What would let `ref` start now, the changes that stop nobody first; then what was tried and is not enough, or not advised.

    `measured` is what earlier work of its sort was measured to need: a request below that is not advised. `margin` is what admission
    adds to a memory request, so that the value told is the one to write. Raises KeyError when `ref` does not wait in `snapshot`."""
    item = next((each for each in snapshot.queue if each.ref == ref), None)
    if item is None:
        raise KeyError(ref)
    base = decide(snapshot)
    if any(each.ref == ref for each in base.grants):
        return ()
    bench = _Bench(snapshot, ref, base, base.explain(ref).reason.never)
    found = [
        *_priority(bench, item),
        *_project(bench, item),
        *_quota(bench, item),
        *_smaller(bench, item, measured, margin),
        *_others(bench),
    ]
    return tuple(sorted(found, key=lambda each: (not each.works, "would stop" in each.effect)))


def quantity(name: str, value: int) -> str:
    """An amount as a manifest writes it: `16Gi`, `1.5Gi`, `768Mi`, `1500m`, `2`."""
    if name == "memory":
        for size, unit in ((_GIB, "Gi"), (_MIB, "Mi")):
            if value >= size and (value % size == 0 or value * 2 % size == 0):
                return f"{value / size:.1f}".removesuffix(".0") + unit
        return f"{ceil(value / _MIB)}Mi"
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


# --- the work itself -----------------------------------------------------------------------------------------------


def _priority(bench: _Bench, item: Item) -> Iterator[Remedy]:
    if bench.never or item.priority >= TOP:
        return
    for priority in range(item.priority + 1, TOP + 1):
        changed = _with_item(bench.snapshot, replace(item, priority=priority))
        if bench.helps(changed):
            yield Remedy(f"priority {item.priority} -> {priority}", bench.effect(changed) or "goes before others of its project")
            return
    yield Remedy(f"priority {item.priority} -> {TOP}", "is not enough: room is what it lacks, not its turn", works=False)


def _smaller(bench: _Bench, item: Item, measured: Learned | None, margin: float) -> Iterator[Remedy]:
    """Ask for less of one resource."""
    for at, name in enumerate(RESOURCES):
        if item.amounts[at] <= 0 or not bench.helps(_with_amount(bench.snapshot, item, at, 0)):
            continue
        most = _largest(item.amounts[at], name, lambda value, at=at: bench.helps(_with_amount(bench.snapshot, item, at, value)))
        if most <= 0:
            continue
        written = _written(name, most, margin)
        have = _written(name, item.amounts[at], margin)
        if written <= 0:
            continue
        change = f"resources.{name} {quantity(name, have)} -> {quantity(name, written)}"
        if name == "memory" and measured is not None and measured.runs and most < measured.memory:
            yield Remedy(change, f"not advised: its measured peak is {quantity(name, _MIB * ceil(measured.memory / _MIB))}", works=False)
        else:
            yield Remedy(change, bench.effect(_with_amount(bench.snapshot, item, at, most)) or _cost_of_less(name, measured))


def _cost_of_less(name: str, measured: Learned | None) -> str:
    if name != "memory":
        return "it may take longer" if name == "cpu" else "if it needs no more"
    if measured is not None and measured.runs:
        return f"its measured peak is {quantity(name, _MIB * ceil(measured.memory / _MIB))}"
    return "if it needs no more: it is ended when it stays above"


def _written(name: str, charged: int, margin: float) -> int:
    """What a manifest says so that this amount is charged: less by the margin, in steps that people write."""
    if name != "memory":
        return charged
    return int(charged / (1 + margin)) // (16 * _MIB) * (16 * _MIB)


# --- its project ---------------------------------------------------------------------------------------------------


def _project(bench: _Bench, item: Item) -> Iterator[Remedy]:
    quota = bench.snapshot.quotas.get(item.project)
    if quota is None:
        return
    if not quota.active:
        changed = _with_quota(bench.snapshot, replace(quota, active=True))
        works = bench.helps(changed)
        yield Remedy(f"project {item.project} active: true", bench.effect(changed) or ("" if works else "is not enough"), works)
    if quota.max_running is not None:
        running = sum(each.project == item.project for each in bench.snapshot.leases)
        for most in range(max(quota.max_running, running) + 1, max(quota.max_running, running) + 3):
            changed = _with_quota(bench.snapshot, replace(quota, max_running=most))
            if bench.helps(changed):
                yield Remedy(f"quota maxRunning {quota.max_running} -> {most}", bench.effect(changed) or "nothing else changes")
                break
    yield from _windows(bench, quota)


def _windows(bench: _Bench, quota: Quota) -> Iterator[Remedy]:
    for at, window in enumerate(quota.windows):
        changed = _with_quota(bench.snapshot, replace(quota, windows=(*quota.windows[:at], *quota.windows[at + 1 :])))
        if bench.helps(changed):
            kind = "allow" if window.allow else "deny"
            yield Remedy(f"quota without its window `{kind} {window.cron}`", bench.effect(changed) or "starts at any time")
            return
    if len(quota.windows) > 1:
        changed = _with_quota(bench.snapshot, replace(quota, windows=()))
        if bench.helps(changed):
            yield Remedy("quota without its windows", bench.effect(changed) or "starts at any time")


def _quota(bench: _Bench, item: Item) -> Iterator[Remedy]:
    """More of its own, or more that may be borrowed."""
    quota = bench.snapshot.quotas.get(item.project)
    if quota is None or not quota.declared:
        return
    governed = [at for at in range(len(RESOURCES)) if quota.nominal[at] is not None and item.amounts[at]]
    boundless = replace(quota, nominal=_set(quota.nominal, dict.fromkeys(governed, _PLENTY)))
    if not governed or not bench.helps(_with_quota(bench.snapshot, boundless)):
        return
    raised = dict.fromkeys(governed, 0)
    for at in governed:  # what is enough as it is stays
        smaller = {**raised, at: None}
        values = {r: _PLENTY for r, change in smaller.items() if change is not None}
        if bench.helps(_with_quota(bench.snapshot, replace(quota, nominal=_set(quota.nominal, values)))):
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
            changed = replace(quota, nominal=_set(quota.nominal, {**values, at: value}))
            return bench.helps(_with_quota(bench.snapshot, changed))

        upper = _up(name, max(have, used + waiting))
        values[at] = _smallest(have, upper, name, enough) if enough(upper) else _PLENTY
    if _PLENTY in values.values():
        return
    changed = _with_quota(bench.snapshot, replace(quota, nominal=_set(quota.nominal, values)))
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
    free = replace(quota, borrowing=_set(quota.borrowing, dict.fromkeys(limited, _PLENTY)))
    if not limited or not bench.helps(_with_quota(bench.snapshot, free)):
        return
    for at in limited:
        name, have = RESOURCES[at], quota.borrowing[at] or 0

        def enough(value: int, at: int = at) -> bool:
            return bench.helps(_with_quota(bench.snapshot, replace(quota, borrowing=_set(quota.borrowing, {at: value}))))

        upper = _up(name, have + sum(each.nominal[at] or 0 for each in bench.snapshot.quotas.values() if each.cohort == quota.cohort))
        if enough(upper):
            value = _smallest(have, upper, name, enough)
            changed = _with_quota(bench.snapshot, replace(quota, borrowing=_set(quota.borrowing, {at: value})))
            change = f"quota borrowingLimit.{name} {quantity(name, have)} -> {quantity(name, value)}"
            yield Remedy(change, bench.effect(changed) or f"borrows what cohort {quota.cohort} does not use")


# --- the machine ---------------------------------------------------------------------------------------------------


def _others(bench: _Bench) -> Iterator[Remedy]:
    """Programs that are not ours take memory that it lacks."""
    busy = [each for each in bench.snapshot.nodes if each.outside.memory > 0]
    if not busy or bench.never:
        return

    def freed(value: int) -> Snapshot:
        return replace(bench.snapshot, nodes=tuple(_less_outside(each, value) for each in bench.snapshot.nodes))

    most = max(each.outside.memory for each in busy)
    if bench.helps(freed(most)):
        value = _smallest(0, most, "memory", lambda value: bench.helps(freed(value)))
        yield Remedy(f"free {quantity('memory', value)} of memory", "programs outside the reconciler use it, beyond the reserve")


def _less_outside(node: Node, value: int) -> Node:
    return replace(node, outside=node.outside._replace(memory=max(0, node.outside.memory - value)))


# --- changed snapshots, and the search -----------------------------------------------------------------------------


def _with_item(snapshot: Snapshot, item: Item) -> Snapshot:
    return replace(snapshot, queue=tuple(item if each.ref == item.ref else each for each in snapshot.queue))


def _with_amount(snapshot: Snapshot, item: Item, at: int, value: int) -> Snapshot:
    return _with_item(snapshot, replace(item, amounts=Amounts(*(value if r == at else have for r, have in enumerate(item.amounts)))))


def _with_quota(snapshot: Snapshot, quota: Quota) -> Snapshot:
    return replace(snapshot, quotas={**snapshot.quotas, quota.project: quota})


def _set(limits: Limits, values: dict[int, int]) -> Limits:
    return Limits(*(values.get(at, have) for at, have in enumerate(limits)))


def _up(name: str, value: int) -> int:
    """The next value that somebody would write."""
    step = _COARSE[name] if value >= 8 * _COARSE[name] else _STEP[name]
    return -(-value // step) * step


def _smallest(low: int, high: int, name: str, enough: Callable[[int], bool]) -> int:
    """The smallest value above `low` that is enough, in steps that people write; `high` is known to be enough."""
    step = _COARSE[name] if high >= 8 * _COARSE[name] else _STEP[name]
    first, last = low // step, -(-high // step)
    while last - first > 1:
        middle = (first + last) // 2
        if enough(middle * step):
            last = middle
        else:
            first = middle
    return last * step


def _largest(high: int, name: str, enough: Callable[[int], bool]) -> int:
    """The largest value below `high` that is enough, in fine steps; 0 is known to be enough."""
    step = 16 * _MIB if name == "memory" else _STEP[name]
    first, last = 0, -(-high // step)
    while last - first > 1:
        middle = (first + last) // 2
        if enough(middle * step):
            first = middle
        else:
            last = middle
    return first * step
