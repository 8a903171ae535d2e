"""Memory and processor use of this machine, or of the control group that this process is confined to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.hardware import cgroup
from reconciler.hardware.probe import MemoryUse

LONGEST = 60.0
"""Seconds between two looks after which their mean load says nothing about now."""


@dataclass(frozen=True, slots=True)
class SystemUse:
    """Raw reading."""

    memory: MemoryUse
    busy: float
    """Core-seconds used since some fixed moment."""
    loadavg: float
    """Runnable tasks, mean of a minute."""


def reader() -> Callable[[], SystemUse]:
    """A function that reads the use of what this process may have; limits are found once."""
    confined = cgroup.limits() if sys.platform.startswith("linux") else cgroup.Limits()

    def read() -> SystemUse:
        return SystemUse(_memory(confined), _busy(confined), os.getloadavg()[0])

    return read


def _memory(confined: cgroup.Limits) -> MemoryUse:
    import psutil

    whole, swap = psutil.virtual_memory(), psutil.swap_memory()
    found = MemoryUse(whole.total, whole.available, swap.used)
    if confined.memory is None or confined.memory_folder is None or confined.memory >= whole.total:
        return found
    taken = cgroup.usage(confined.memory_folder)
    free = confined.memory if taken is None else max(0, confined.memory - taken)
    return MemoryUse(confined.memory, min(found.available, free), found.swap_used)


def _busy(confined: cgroup.Limits) -> float:
    import psutil

    if confined.cpu_folder is not None and (own := cgroup.busy(confined.cpu_folder)) is not None:
        return own
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def load(use: SystemUse, at: float, before: tuple[float, float] | None, cores: float) -> float:
    """Cores in use since the look before (`(at, busy)`); the mean of the last minute where there was none, or too long ago. Pure."""
    if before is not None and 0.2 <= at - before[0] <= LONGEST and use.busy >= before[1]:
        return (use.busy - before[1]) / (at - before[0])
    return min(use.loadavg, cores)
