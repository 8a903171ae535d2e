"""Which processes belong together, and what they use: read from the kernel, without a framework in between where that is cheap."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """What a set of processes uses at one moment."""

    memory: int
    """Bytes. Linux: proportional share (PSS), so that shared pages count once; macOS: physical footprint, which the kernel's own
    limits look at and which counts memory given to the GPU."""
    cpu: float
    """Seconds of processor time used so far by those that live."""


def members(leader: int) -> list[int]:
    """Live processes of the session that `leader` leads, or led, and of its descendants; zombies are none."""
    if sys.platform == "linux":
        return _linux_members(leader)
    import psutil

    found: set[int] = set()
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(leader)
        found = {process.pid for process in [root, *root.children(recursive=True)] if process.status() != psutil.STATUS_ZOMBIE}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                found.add(pid)
    return sorted(found)


def _linux_members(leader: int) -> list[int]:
    parents: dict[int, int] = {}
    found = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - a tenth of the cost of Path.iterdir, once a second in every supervisor
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        # proc_pid_stat(5): after "(name)" come state, ppid, pgrp, session
        if after_name[0] in (b"Z", b"X"):
            continue
        pid = int(name)
        parents[pid] = int(after_name[1])
        if int(after_name[3]) == leader or pid == leader:
            found.add(pid)
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        grew = bool(more)
    return sorted(found)


def usage(pids: Iterable[int]) -> Usage:
    """What these processes use together; those that are gone or may not be looked at count nothing."""
    memory, cpu = 0, 0.0
    for pid in pids:
        memory += _memory(pid)
        cpu += _cpu(pid)
    return Usage(memory, cpu)


def _memory(pid: int) -> int:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0
    return (_footprint(pid) if sys.platform == "darwin" else 0) or _unique(pid)


def _unique(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


def _footprint(pid: int) -> int:
    """`ri_phys_footprint` of proc_pid_rusage(3), struct rusage_info_v0 in <sys/resource.h>: 16 bytes of UUID, then 64-bit fields of
    which it is the eighth."""
    buffer = ctypes.create_string_buffer(96)
    try:
        failed = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pid_rusage(pid, 0, ctypes.byref(buffer))
    except (OSError, AttributeError):
        return 0
    return 0 if failed else int.from_bytes(buffer.raw[72:80], sys.byteorder)


def _cpu(pid: int) -> float:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):
            after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            # proc_pid_stat(5): utime and stime, in clock ticks
            return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def marked(name: str, value: str) -> list[psutil.Process]:
    """Live processes whose environment holds `name=value`; those that may not be looked at are left out. Never this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
