"""One command as a whole process: CPU seconds of it and its children, wall seconds, peak memory of the largest process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10  # ru_maxrss: bytes on macOS, KiB on Linux
    return Run(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / scale, child.returncode)


def median(runs: Sequence[Run]) -> Run:
    """Median of each figure; the worst exit code."""
    return Run(
        statistics.median(each.cpu for each in runs),
        statistics.median(each.wall for each in runs),
        statistics.median(each.peak for each in runs),
        max((each.code for each in runs), key=abs),
    )


def calls(wire_log: Path) -> tuple[dict[str, int], int]:
    """Calls per tool and the number of writes among them, from a wire log."""
    if not wire_log.exists():
        return {}, 0
    lines = [json.loads(line) for line in wire_log.read_text().splitlines()]
    return dict(Counter(each["tool"] for each in lines)), sum(each["write"] for each in lines)
