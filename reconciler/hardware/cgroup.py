"""What this process is confined to on Linux: the limits of its control groups, of version 1 and of version 2.

Files: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,cpusets}.rst, sched-bwc.rst of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60
"""Version 1 says `unlimited` as the largest number of pages; anything near it is no limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None = not limited."""

    memory: int | None = None
    """Bytes."""
    cores: float | None = None
    memory_folder: Path | None = None
    """The group whose memory limit binds."""
    cpu_folder: Path | None = None
    """The group whose CPU limit binds."""


def limits(root: Path = Path("/")) -> Limits:
    """The tightest limits of this process's groups and the groups above them. `root` is where `proc` and `sys` are."""
    memory: tuple[int, Path] | None = None
    cores: tuple[float, Path] | None = None
    for controller, folder in _folders(root):
        if controller in ("", "memory") and (found := _memory(folder)) is not None:
            memory = min(memory or (found, folder), (found, folder), key=lambda each: each[0])
        if controller in ("", "cpu") and (quota := _cores(folder)) is not None:
            cores = min(cores or (quota, folder), (quota, folder), key=lambda each: each[0])
    return Limits(memory[0] if memory else None, cores[0] if cores else None, memory[1] if memory else None, cores[1] if cores else None)


def usage(folder: Path) -> int | None:
    """Bytes that a group uses and cannot give back at once: usage less inactive file cache (as the kubelet's working set)."""
    found = _number(folder / "memory.current")
    if found is None:
        found = _number(folder / "memory.usage_in_bytes")
    if found is None:
        return None
    stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    return max(0, found - int(stat.get("total_inactive_file", stat.get("inactive_file", "0"))))


def busy(folder: Path) -> float | None:
    """Core-seconds that a group has used since it was made."""
    for line in _text(folder / "cpu.stat").splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    nanoseconds = _number(folder / "cpuacct.usage")
    return None if nanoseconds is None else nanoseconds / 1e9


def _folders(root: Path) -> list[tuple[str, Path]]:
    """(controller, folder) from each group of this process up to the top; the controller of version 2 is empty.

    A container often sees its own group as the top while /proc names it from outside, so folders that are not there are passed over."""
    top, found = root / "sys/fs/cgroup", []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [(name, top / name) for name in controllers.split(",")] if controllers else [("", top)]
        if controllers and "," in controllers:
            mounts += [(name, top / controllers) for name in controllers.split(",")]  # `cpu,cpuacct` is mounted as one
        for name, mount in mounts:
            if name.startswith("name="):
                continue
            place = Path(path.lstrip("/"))
            found += [(name, mount / each) for each in (place, *place.parents) if (mount / each).is_dir()]
    return found


def _memory(folder: Path) -> int | None:
    found = [_number(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
    limits = [each for each in found if each is not None and each < UNLIMITED]
    return min(limits, default=None)


def _cores(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    micro, every = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return micro / every if micro is not None and micro > 0 and every else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
