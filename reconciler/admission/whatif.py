"""Snapshots with one thing changed, and the search for the nearest number that helps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil

from reconciler.admission.values import Item, Node, Quota, Snapshot
from reconciler.model import Amounts, Limits

_MIB, _GIB = 1 << 20, 1 << 30
_STEP = {"memory": 64 * _MIB, "cpu": 100, "gpu": 100, "watts": 1000}
"""What the values of a search are multiples of: nobody writes a quota in bytes."""
_COARSE = {"memory": _GIB // 2, "cpu": 500, "gpu": 250, "watts": 5000}
"""The same for values from eight times as much on."""


def quantity(name: str, value: int) -> str:
    """An amount as a manifest writes it: `16Gi`, `1.5Gi`, `768Mi`, `1500m`, `2`. Exact for whole MiB and for tenths of a GiB; other
    numbers of bytes are raised to the next MiB."""
    if name != "memory":
        return str(value // 1000) if value % 1000 == 0 else f"{value}m"
    tenths = round(value * 10 / _GIB)
    if value >= _GIB and round(tenths * _GIB / 10) == value:
        return f"{tenths / 10:.1f}".removesuffix(".0") + "Gi"
    return f"{ceil(value / _MIB)}Mi" if value else "0"


def written_as(value: float) -> int:
    """At most that, in a number that people write."""
    if value >= 2 * _GIB:
        tenths = int(value * 10 // _GIB)
        return tenths * _GIB // 10 + (tenths * _GIB % 10 > 5)  # the number that a quantity of so many tenths is read as
    return int(value // (16 * _MIB)) * 16 * _MIB


def with_item(snapshot: Snapshot, item: Item) -> Snapshot:
    return replace(snapshot, queue=tuple(item if each.ref == item.ref else each for each in snapshot.queue))


def with_amount(snapshot: Snapshot, item: Item, at: int, value: int) -> Snapshot:
    return with_item(snapshot, replace(item, amounts=Amounts(*(value if r == at else have for r, have in enumerate(item.amounts)))))


def with_quota(snapshot: Snapshot, quota: Quota) -> Snapshot:
    return replace(snapshot, quotas={**snapshot.quotas, quota.project: quota})


def set_limits(limits: Limits, values: Mapping[int, int]) -> Limits:
    return Limits(*(values.get(at, have) for at, have in enumerate(limits)))


def round_up(name: str, value: int) -> int:
    """The next value that somebody would write."""
    step = _COARSE[name] if value >= 8 * _COARSE[name] else _STEP[name]
    return -(-value // step) * step


def smallest(low: int, high: int, name: str, enough: Callable[[int], bool]) -> int:
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


def largest(high: int, name: str, enough: Callable[[int], bool]) -> int:
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


def less_outside(node: Node, value: int) -> Node:
    return replace(node, outside=node.outside._replace(memory=max(0, node.outside.memory - value)))
