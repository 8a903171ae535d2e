"""From counters and momentary powers to joules that only grow, and to watts. Pure; the state is a small value that fits into JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.hardware.probe import Energy

SHORTEST = 0.2
"""Seconds below which a difference of counters is noise (IOReport: 10 ms; RAPL updates every millisecond)."""
LONGEST = 60.0
"""Seconds over which a mean power still says something about now."""
HELD = 30.0
"""Seconds that a momentary power is taken to have lasted, at most, when it is summed."""


@dataclass(frozen=True, slots=True)
class Counter:
    """The last that one source said."""

    at: float
    raw: float | None
    epoch: str
    watts: float | None


@dataclass(frozen=True, slots=True)
class Used:
    """Energy so far."""

    joules: float | None = None
    """None = no source ever told."""
    watts: float | None = None
    """Of all sources that tell now."""
    counters: Mapping[str, Counter] = field(default_factory=dict)


def add(before: Used, sources: Iterable[Energy], at: float) -> Used:
    """The state after one more look at every source; a clock that went back starts the differences anew."""
    counters, total, watts = {}, 0.0, []
    for each in sources:
        last = before.counters.get(each.source)
        if last is not None and not (last.epoch == each.epoch and last.at <= at):
            last = None
        if last is not None and each.joules is not None and 0 <= at - last.at < SHORTEST:
            counters[each.source] = last
        else:
            joules, power = _since(last, each, at)
            total += joules
            counters[each.source] = Counter(at, each.joules, each.epoch, power)
        watts += [power for power in [counters[each.source].watts] if power is not None]
    if not counters:
        return replace(before, watts=None)
    return Used((before.joules or 0.0) + total, sum(watts) if watts else None, {**before.counters, **counters})


def _since(last: Counter | None, now: Energy, at: float) -> tuple[float, float | None]:
    """Joules since the last look, and power."""
    if now.joules is None:
        held = 0.0 if last is None or last.watts is None else last.watts * min(at - last.at, HELD)
        return held, now.watts
    if last is None or last.raw is None:
        return 0.0, now.watts
    grown = now.joules - last.raw
    if grown < 0:  # wrapped; a counter without a wrap was reset, and what it had counted until then is lost
        grown = grown + now.wraps_at if now.wraps_at else max(0.0, now.joules)
    mean = grown / (at - last.at) if at - last.at <= LONGEST else None
    return max(0.0, grown), now.watts if now.watts is not None else mean


def to_json(state: Used) -> dict[str, Any]:
    """The state as plain values."""
    return {
        "joules": state.joules,
        "counters": {name: [each.at, each.raw, each.epoch, each.watts] for name, each in state.counters.items()},
    }


def from_json(found: Mapping[str, Any]) -> Used:
    """The state again, without the power of that time. Raises ValueError, KeyError, TypeError or AttributeError for what is no state."""
    counters = {
        str(name): Counter(float(at), None if raw is None else float(raw), str(epoch), None if watts is None else float(watts))
        for name, (at, raw, epoch, watts) in found["counters"].items()
    }
    return Used(None if found["joules"] is None else float(found["joules"]), None, counters)
