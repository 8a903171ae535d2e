"""A version beside the one that it takes the place of, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from controllers.models.deciding import Judged
from controllers.models.gates import milliseconds, number
from reconciler.model.units import memory

N = TypeVar("N", int, float)
FEW = 2
"""Metrics beside the one that counts."""
NOISE = 0.2
"""Relative: what two trials of the same model differ by is not told."""


def compared(metric: str, new: Judged, before: Judged | None) -> Iterator[str]:
    """What is different about it, each with what it was: the metric that counts, the others that moved most, size, how it serves."""
    if new.value is not None:
        yield f"{metric} {number(new.value)}{_was(before.value if before is not None else None, new.value, number)}"
    if new.version is None or before is None or before.version is None:
        return
    yield from _metrics(new.version.metrics, before.version.metrics, metric)
    if new.version.size is not None and before.version.size is not None and (was := _was(before.version.size, new.version.size, memory)):
        yield f"size {memory(new.version.size)}{was}"
    now, then = new.trial.result, before.trial.result
    if now is not None and then is not None and not now.why and not then.why:
        if _differs(then.p95, now.p95):
            yield f"p95 {milliseconds(now.p95)} (was {milliseconds(then.p95)})"
        if _differs(then.memory, now.memory):
            yield f"memory {memory(now.memory)} (was {memory(then.memory)})"


def _metrics(new: Mapping[str, float], before: Mapping[str, float], but: str) -> Iterator[str]:
    """Of what both runs have logged; those that moved most, relative to what they were."""
    moved = [(abs(new[name] - old) / (abs(old) or 1.0), name) for name, old in before.items() if name in new and name != but]
    for _, name in sorted((each for each in moved if each[0] > 0), reverse=True)[:FEW]:
        yield f"{name} {number(new[name])}{_was(before[name], new[name], number)}"


def _was(before: N | None, after: N, show: Callable[[N], str]) -> str:
    return f" (was {show(before)})" if before is not None and show(before) != show(after) else ""


def _differs(before: float, after: float) -> bool:
    return abs(after - before) > NOISE * before
