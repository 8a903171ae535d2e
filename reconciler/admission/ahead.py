"""Playing a snapshot forward with `decide`: what would start when, if the work took the lengths that are drawn for it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, inf

from reconciler.admission.decide import decide
from reconciler.admission.order import Backlog
from reconciler.admission.values import Decision, Heat, Item, Lease, Level, Node, Snapshot, ThermalModel, Window
from reconciler.admission.window import closed
from reconciler.model import Ref

STOPPING = 10.0
"""Seconds that work takes to stop when it is asked to (SIGTERM, then SIGKILL)."""
TICK = 60.0
"""Seconds between two looks while heat or memory pressure is what is waited for."""
TOGETHER = 0.02
"""Ends that lie closer than this part of the time until them count as one, to save decisions."""
_FAIR = 0.9
"""Headroom used from which a played node counts as FAIR."""
_WARM = 0.5
"""Headroom used from which a forecast of heat may hold work back although the level is NOMINAL."""


class Play:
    """One possible future. `draw(ref, seconds, elapsed)` tells how many seconds are left of work."""

    def __init__(
        self,
        snapshot: Snapshot,
        decision: Decision,
        draw: Callable[[Ref, float | None, float], float],
        cool: float,
        backlog: Backlog | None = None,
    ) -> None:
        """`cool`: seconds until a node that is hot, or short of memory, and has no thermal model is no longer so. `backlog`: of the
        snapshot's queue, where it is known already."""
        self.start = snapshot.now
        self.seconds = 0.0
        self.starts: dict[Ref, float] = {}
        """Seconds from the start of the play until each grant."""
        self._draw, self._cool = draw, cool
        self._now, self._backlog = snapshot, backlog or Backlog.of(snapshot.queue)
        self._waiting = {each.ref: each for each in snapshot.queue}
        self._leases = {each.ref: each for each in snapshot.leases}
        self._ends = {each.ref: self._left(each) for each in snapshot.leases if not each.paused}
        self._paused = {each.ref: self._left(each) for each in snapshot.leases if each.paused}
        self._idle = {each.name: max(0.0, (each.heat.watts or 0.0) - self._watts(each)) for each in snapshot.nodes}
        self._later = sorted({(each.not_before - self.start).total_seconds() for each in snapshot.queue if each.not_before})
        self._windows = {each for quota in snapshot.quotas.values() for each in quota.windows}
        self._carry_out(decision)

    def run(self, wanted: Iterable[Ref], steps: int) -> int:
        """Go on until all of `wanted` have started, nothing is left to happen, or `steps` decisions were made; how many were."""
        missing, made = set(wanted) - self.starts.keys(), 0
        while missing and made < steps and (wake := self._wake()) < inf:
            self._move_to(wake)
            self._backlog = self._backlog.changed(self._now.queue)
            decision = decide(self._now, self._backlog)
            made += 1
            self._carry_out(decision)
            missing -= self.starts.keys()
        return made

    def barred(self, ref: Ref) -> bool:
        """True when at the end of the play its quota still lets nothing start, whatever else ends: there is no telling when."""
        quota = self._now.quotas.get(ref.owner)
        return quota is not None and (quota.max_running == 0 or closed(quota.windows, self._now.now) is not None)

    def _carry_out(self, decision: Decision) -> None:
        self._granted = bool(decision.grants)
        for grant in decision.grants:
            self._leases[grant.ref] = grant
            self._waiting.pop(grant.ref, None)
            self._ends[grant.ref] = self.seconds + self._draw(grant.ref, grant.seconds, 0.0) if _ends(grant) else inf
            self.starts.setdefault(grant.ref, self.seconds)
        for stop in decision.preemptions:
            if stop.ref in self._leases:
                self._leases[stop.ref] = replace(self._leases[stop.ref], ending=True)
                self._ends[stop.ref] = self.seconds + STOPPING
        for ref in decision.pauses:
            if ref in self._ends:
                self._paused[ref] = self._ends.pop(ref) - self.seconds
                self._leases[ref] = replace(self._leases[ref], paused=True)
        for ref in decision.resumes:
            if ref in self._paused:
                self._ends[ref] = self.seconds + self._paused.pop(ref)
                self._leases[ref] = replace(self._leases[ref], paused=False)
        self._now = replace(self._now, past=decision.past)

    def _move_to(self, wake: float) -> None:
        passed, self.seconds = wake - self.seconds, wake
        for ref in [ref for ref, end in self._ends.items() if end <= wake]:
            gone = self._leases.pop(ref)
            del self._ends[ref]
            if gone.ending:
                self._waiting[ref] = _again(gone)
        now = self.start + timedelta(seconds=wake)
        nodes = tuple(self._later_node(each, passed) for each in self._now.nodes)
        same = len(self._waiting) == len(self._now.queue) and all(each.ref in self._waiting for each in self._now.queue)
        queue = self._now.queue if same else tuple(self._waiting.values())
        self._now = replace(self._now, now=now, nodes=nodes, leases=tuple(self._leases.values()), queue=queue)

    def _wake(self) -> float:
        """When something next changes that a decision depends on; ends that are close to each other together."""
        first = min((each for each in (*self._ends.values(), *self._others()) if each > self.seconds), default=inf)
        slack = first + max(0.5, TOGETHER * (first - self.seconds))
        return max((end for end in self._ends.values() if first <= end <= slack), default=first) if first < inf else inf

    def _others(self) -> Iterator[float]:
        yield from self._later
        now, rules = self._now.now, self._now.rules
        if any(_troubled(each) for each in self._now.nodes):
            yield self.seconds + (rules.settle.total_seconds() if self._granted else TICK)
        if rules.preemption and self._waiting:
            for lease in self._leases.values():
                if lease.preemptible and not lease.ending:
                    yield (lease.since + rules.immunity - self.start).total_seconds()
        for mark in self._now.past.earmarks:
            yield (mark.until - self.start).total_seconds()
        for window in self._windows:
            yield (next_change(window, now) - self.start).total_seconds()

    def _later_node(self, node: Node, passed: float) -> Node:
        """The node when `passed` seconds have gone by."""
        heat, level = node.heat, node.memory_level
        if level >= Level.SERIOUS and self.seconds >= self._cool:
            level = Level.NOMINAL
        if heat.model is not None and heat.used is not None:
            watts = self._idle[node.name] + self._watts(node)
            used = relaxed(heat.model, heat.used, watts, passed)
            heat = replace(heat, used=used, watts=watts, level=_level(used / heat.model.limit))
        elif heat.level >= Level.FAIR and self.seconds >= self._cool:
            heat = Heat(Level.NOMINAL, None, self._now.now, heat.watts, heat.model, heat.source)
        return replace(node, heat=heat, memory_level=level)

    def _left(self, lease: Lease) -> float:
        if lease.ending:
            return STOPPING
        return self._draw(lease.ref, lease.seconds, max(0.0, (self.start - lease.since).total_seconds())) if _ends(lease) else inf

    def _watts(self, node: Node) -> float:
        return sum(each.amounts.watts for each in self._leases.values() if each.node == node.name and not each.paused) / 1000


def relaxed(model: ThermalModel, used: float, watts: float, seconds: float) -> float:
    """Headroom used after `seconds` at constant power."""
    rest = model.ambient + model.resistance * watts
    return rest + (used - rest) * exp(-seconds / model.tau)


def next_change(window: Window, now: datetime) -> datetime:
    """When the window next begins or ends."""
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = now.astimezone(ZoneInfo(window.timezone))
    before: datetime = croniter(window.cron, local + timedelta(seconds=1)).get_prev(datetime)
    after: datetime = croniter(window.cron, local).get_next(datetime)
    end = before.astimezone(UTC) + timedelta(seconds=window.seconds)
    return end if end > now and end < after else after.astimezone(UTC)


def _again(lease: Lease) -> Item:
    """Work that was stopped for somebody, in the queue again."""
    return Item(
        lease.ref, lease.project, lease.amounts, lease.priority, lease.queued, lease.work, lease.seconds, lease.preemptible,
        preempted=lease.preempted + 1,
    )  # fmt: skip


def _ends(lease: Lease) -> bool:
    return lease.work in ("batch", "monitor")


def _troubled(node: Node) -> bool:
    """Its heat or memory may be what work waits for."""
    heat = node.heat
    warm = heat.model is not None and heat.used is not None and heat.used > _WARM * heat.model.limit
    return warm or heat.level >= Level.FAIR or node.memory_level >= Level.SERIOUS


def _level(used: float) -> Level:
    return Level.SERIOUS if used >= 1.0 else Level.FAIR if used >= _FAIR else Level.NOMINAL
