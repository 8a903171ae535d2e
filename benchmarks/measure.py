"""What is measured: one command as a whole process, and a process that goes on, by the kernel's own accounting."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """Figures of one finished command. `cpu` and `wall` in seconds, `peak` in MiB."""

    cpu: float
    wall: float
    peak: float
    code: int


def run(argv: Sequence[str], folder: Path, log: Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end with its output in `log`; the kernel's own accounting of the finished process."""
    began = time.monotonic()
    with log.open("ab") as out:
        child = subprocess.Popen(argv, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    scale = MIB if sys.platform == "darwin" else 1 << 10  # ru_maxrss: bytes on macOS, KiB on Linux
    return Run(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / scale, child.returncode)


def checked(run: Run, log: Path, *, allowed: Sequence[int] = (0,)) -> Run:
    """The run; a measured command that failed measures nothing, so it ends the program with its last words."""
    if run.code not in allowed:
        sys.exit(f"a measured command ended with {run.code}:\n{log.read_text(errors='replace')[-3000:]}")
    return run


def median(runs: Sequence[Run]) -> Run:
    """Median of each figure; the worst exit code."""
    return Run(
        statistics.median(each.cpu for each in runs),
        statistics.median(each.wall for each in runs),
        statistics.median(each.peak for each in runs),
        max((each.code for each in runs), key=abs),
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of `values` that `part` of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def calls(wire_log: Path) -> tuple[dict[str, int], int]:
    """Calls per tool and the number of writes among them, from a wire log."""
    if not wire_log.exists():
        return {}, 0
    lines = [json.loads(line) for line in wire_log.read_text().splitlines()]
    return dict(Counter(each["tool"] for each in lines)), sum(each["write"] for each in lines)


@dataclass(frozen=True)
class Used:
    """What a process has used so far, those that it started and waited for included: CPU seconds, and MiB of memory of its own now."""

    cpu: float
    memory: float


def used(pid: int) -> Used:
    """Of a process that goes on. Memory is what would be given back if it ended (USS) where the system tells, else resident memory."""
    import psutil

    process = psutil.Process(pid)
    times = process.cpu_times()
    memory = process.memory_full_info()
    own = getattr(memory, "uss", memory.rss)
    ended = (getattr(times, "children_user", 0.0), getattr(times, "children_system", 0.0))
    return Used(times.user + times.system + sum(ended), own / MIB)
