"""Who goes first. Within a project: priority, aged by waiting, then who waited longest. Between projects: see `decide`."""

from __future__ import annotations

import heapq
import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

from reconciler.admission.quota import Tree
from reconciler.admission.values import Item, Lease, Rules
from reconciler.model import Ref
from reconciler.model.demand import Amounts, WorkClass

MOST = 10
"""Waiting raises the priority up to here."""
STEP = 1.25
"""Lengths of work count as alike within a quarter; the exact length of the one that is looked at decides."""

Age: TypeAlias = tuple[datetime, str, str, str, str]
"""Sorts waiting items: the one that waits longest first, names decide between equals."""


class Shape(NamedTuple):
    """What items of one project must have in common to be decided together (Kueue KEP-9694, scheduling equivalence)."""

    amounts: Amounts
    priority: int
    work: WorkClass
    length: int
    """Class of the expected length; -1 = not known."""
    delayed: bool
    """True when items of it may wait for a retry's backoff: these are looked at one by one."""
    largest_buffer: int
    mobile: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Alike items of one project, the one that waits longest first."""

    project: str
    shape: Shape
    items: tuple[Item, ...]


def shape_of(item: Item) -> Shape:
    return Shape(
        item.amounts, item.priority, item.work, _length(item.seconds), item.not_before is not None, item.largest_buffer, item.mobile
    )


def age(item: Item) -> Age:
    ref = item.ref
    return (item.since, ref.project or "", ref.kind, ref.name, ref.key)


def effective(priority: int, since: datetime, now: datetime, rules: Rules) -> int:
    """The priority raised by one for each `rules.aging` of waiting, up to 10."""
    if priority >= MOST or since >= now or not rules.aging:
        return priority
    return min(MOST, priority + (now - since) // rules.aging)


def _length(seconds: float | None) -> int:
    if seconds is None:
        return -1
    return math.ceil(math.log(seconds, STEP)) if seconds > 1 else 0


class Lane:
    """Groups of one project, offered item by item: the best first, a group's next one when its first is done."""

    __slots__ = ("_done", "_heap", "_now", "_rules")

    def __init__(self, groups: Iterable[Group], now: datetime, rules: Rules, done: Container[Ref]) -> None:
        self._now, self._rules, self._done = now, rules, done
        self._heap: list[tuple[int, Age, int, Group]] = []
        for group in groups:
            self._enter(group, 0)

    def head(self) -> Item | None:
        """The item that goes first among those not done and not backing off; None = there is none left."""
        while self._heap:
            _, _, at, group = self._heap[0]
            if group.items[at].ref not in self._done:
                return group.items[at]
            heapq.heappop(self._heap)
            self._enter(group, at + 1)
        return None

    def leave(self) -> None:
        """Leave the head's whole group aside: what is alike has the same answer."""
        heapq.heappop(self._heap)

    def _enter(self, group: Group, at: int) -> None:
        items = group.items
        if group.shape.delayed:
            while at < len(items) and (until := items[at].not_before) is not None and until > self._now:
                at += 1
        if at < len(items):
            item = items[at]
            heapq.heappush(self._heap, (-effective(item.priority, item.since, self._now, self._rules), age(item), at, group))


class Backlog:
    """The queue of a snapshot, grouped. Can be carried from one snapshot to the next, so that an unchanged queue costs nothing."""

    __slots__ = ("groups", "items", "oldest", "queue", "tree")

    def __init__(self, queue: tuple[Item, ...], groups: dict[str, dict[Shape, Group]], items: dict[Ref, Item]) -> None:
        self.queue = queue
        """The very tuple that this was made of."""
        self.groups = groups
        """Project -> its groups."""
        self.items = items
        self.tree: Tree | None = None
        """The quotas of the last decision, so that they need not be added up again while they stay the same."""
        self.oldest = {project: min(group.items[0].since for group in shapes.values()) for project, shapes in groups.items()}
        """Project -> since when its longest waiting item waits."""

    @classmethod
    def of(cls, queue: tuple[Item, ...]) -> Backlog:
        sorted_in: dict[str, dict[Shape, list[Item]]] = {}
        items: dict[Ref, Item] = {}
        for item in queue:
            if item.ref in items:
                raise ValueError(f"{item.ref} is in the queue twice")
            items[item.ref] = item
            sorted_in.setdefault(item.project, {}).setdefault(shape_of(item), []).append(item)
        groups = {
            project: {shape: Group(project, shape, tuple(sorted(members, key=age))) for shape, members in shapes.items()}
            for project, shapes in sorted_in.items()
        }
        return cls(queue, groups, items)

    def changed(self, queue: tuple[Item, ...]) -> Backlog:
        """The backlog of `queue`, at the price of what is different from this one."""
        if queue is self.queue:
            return self
        gone, come = _changes(self.queue, queue)
        items = self.items.copy()
        touched: dict[tuple[str, Shape], tuple[set[Ref], list[Item]]] = {}
        for item in gone:
            del items[item.ref]
            touched.setdefault((item.project, shape_of(item)), (set(), []))[0].add(item.ref)
        for item in come:
            if item.ref in items:
                raise ValueError(f"{item.ref} is in the queue twice")
            items[item.ref] = item
            touched.setdefault((item.project, shape_of(item)), (set(), []))[1].append(item)
        groups = dict(self.groups)
        for project in {project for project, _ in touched}:
            groups[project] = dict(groups.get(project, {}))
        for (project, shape), (left, joined) in touched.items():
            before = groups[project].get(shape)
            members = [item for item in (before.items if before else ()) if item.ref not in left] + joined
            if members:
                groups[project][shape] = Group(project, shape, tuple(sorted(members, key=age)))
            else:
                groups[project].pop(shape, None)
        backlog = Backlog(queue, {project: shapes for project, shapes in groups.items() if shapes}, items)
        backlog.tree = self.tree
        return backlog


def _changes(before: Sequence[Item], after: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """What is gone and what has come. Queues mostly lose some items and get others at their end, which is found in one walk."""
    gone: list[Item] = []
    at, end = 0, len(before)
    for n, item in enumerate(after):
        while at < end and before[at] is not item:
            gone.append(before[at])
            at += 1
        if at == end:
            come = list(after[n:])
            break
        at += 1
    else:
        gone.extend(before[at:])
        come = []
    same = {id(item) for item in gone} & {id(item) for item in come}  # moved: neither gone nor come
    return [item for item in gone if id(item) not in same], [item for item in come if id(item) not in same]


def lease_of(item: Item, node: str, now: datetime) -> Lease:
    """What a waiting item becomes when it is granted."""
    return Lease(
        ref=item.ref,
        project=item.project,
        node=node,
        amounts=item.amounts,
        priority=item.priority,
        since=now,
        queued=item.since,
        work=item.work,
        seconds=item.seconds,
        preemptible=item.preemptible,
        preempted=item.preempted,
    )
