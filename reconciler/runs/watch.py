"""Looks at a running program: what it uses, and when it has to end."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconciler.model.units import GIB, MIB, memory

PATIENCE_SECONDS = 3.0
"""A program may be above its grant for so long: allocators overshoot for a moment when they grow or copy."""
HEADROOM = 1.15
"""On a measured peak, in the amount that is proposed: the margin that admission uses by default."""


@dataclass
class Bounds:
    """Decides when a program has to end. Times are in seconds of any steady clock."""

    memory: int
    """Bytes; 0 = none."""
    timeout: float | None
    over_since: float | None = None
    most: int = 0
    """The most memory seen since it went above."""
    active: float = 0.0
    """Seconds that it ran, pauses left out."""
    last: float | None = None

    def step(self, now: float, memory: int, paused: bool) -> Breach | None:
        """Takes one measurement; why the program has to end, or None."""
        if self.last is not None and not paused:
            self.active += now - self.last
        self.last = now
        if self.memory and memory > self.memory:
            self.most = max(self.most, memory)
            self.over_since = now if self.over_since is None else self.over_since
            if now - self.over_since > PATIENCE_SECONDS:
                return Breach(over_memory(self.most, self.memory), at_once=True)
        else:
            self.over_since, self.most = None, 0
        if self.timeout is not None and self.active > self.timeout:
            return Breach(f"timeout after {duration(self.timeout)}", at_once=False)
        return None


@dataclass(frozen=True, slots=True)
class Breach:
    """Why a program has to end; `at_once` without the time to clean up, because the machine cannot wait."""

    why: str
    at_once: bool


def over_memory(used: int, granted: int) -> str:
    """What is told when a program was above its grant, with the amount to set."""
    return f"used {memory(used)} of {memory(granted)} granted: set resources.memory to {proposal(used)}"


def proposal(used: int) -> str:
    """The quantity for a manifest that would have been enough: `2.2Gi`, `350Mi`."""
    enough = used * HEADROOM
    if enough >= GIB:
        return f"{math.ceil(round(enough / GIB * 10, 6)) / 10:g}Gi"
    return f"{math.ceil(enough / (10 * MIB)) * 10}Mi"


def duration(seconds: float) -> str:
    """Seconds as a manifest writes them: `90s`, `2m`, `1h`."""
    whole = round(seconds)
    if seconds != whole:
        return f"{seconds:g}s"
    for size, unit in ((3600, "h"), (60, "m")):
        if whole >= size and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
