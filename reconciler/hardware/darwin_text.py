"""What macOS's own programs print, as values. Pure; formats of pmset.m (IOPMLib), vm_stat.c and memory_pressure.c (system_cmds)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pages:
    """Counters of the virtual memory, in pages."""

    size: int
    """Bytes of a page: 16384 on Apple silicon, 4096 on Intel."""
    anonymous: int
    purgeable: int
    wired: int
    compressor: int
    """Physical pages that the compressor occupies, not what it holds."""
    swapouts: int
    """Since boot."""

    @property
    def used(self) -> int:
        """Bytes in use as Activity Monitor counts: application, wired and compressed memory."""
        return (max(0, self.anonymous - self.purgeable) + self.wired + self.compressor) * self.size


_SIZE = re.compile(r"page size of (\d+) bytes")
_COUNT = re.compile(r'^"?([^":]+)"?:\s+(\d+)\.\s*$', re.MULTILINE)
_VM_STAT = {
    "Anonymous pages": "anonymous",
    "Pages purgeable": "purgeable",
    "Pages wired down": "wired",
    "Pages occupied by compressor": "compressor",
    "Swapouts": "swapouts",
}


def vm_stat(text: str) -> Pages | None:
    """Output of `vm_stat`; None when a line that is needed is missing."""
    size, counts = _SIZE.search(text), dict(_COUNT.findall(text))
    if size is None or not _VM_STAT.keys() <= counts.keys():
        return None
    return Pages(int(size[1]), **{field: int(counts[line]) for line, field in _VM_STAT.items()})


def sysctl(text: str) -> dict[str, str]:
    """Output of `sysctl NAME...` (`name: value`)."""
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in text.splitlines()) if colon}


_SWAP = re.compile(r"used = (\d+(?:\.\d+)?)([KMGT])")
_UNIT = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def swap_used(text: str) -> int | None:
    """Bytes of swap in use, from `vm.swapusage` (`total = 1024.00M  used = 1.00M ...`)."""
    found = _SWAP.search(text)
    return round(float(found[1]) * _UNIT[found[2]]) if found else None


def memory_pressure(text: str) -> tuple[int | None, int | None]:
    """Bytes of memory and percentage of it that is free, from `memory_pressure -Q`."""
    total = re.search(r"The system has (\d+) \(", text)
    free = re.search(r"System-wide memory free percentage: (\d+)%", text)
    return int(total[1]) if total else None, int(free[1]) if free else None


@dataclass(frozen=True, slots=True)
class PmsetTherm:
    """`pmset -g therm`; None where it printed a Note or an Error instead of a value."""

    warning: int | None = None
    """Thermal warning level: 0 normal, 5 danger, 10 crisis (IOPMLib.h)."""
    speed_limit: int | None = None
    """Per cent of the processor's speed that is allowed."""
    scheduler_limit: int | None = None


def pmset_therm(text: str) -> PmsetTherm:
    """Output of `pmset -g therm`. A Note (`No ... has been recorded`) is no value: it does not mean `cool`."""

    def number(name: str) -> int | None:
        found = re.search(rf"{name}\s*=\s*(\d+)", text)
        return int(found[1]) if found else None

    return PmsetTherm(number("Thermal Warning Level"), number("CPU_Speed_Limit"), number("CPU_Scheduler_Limit"))


def low_power(text: str) -> bool | None:
    """Low power mode, from `pmset -g`: `lowpowermode 0|1`, or `powermode 0|1|2` (1 = low, 2 = high) where there is a high one."""
    found = re.search(r"^\s*(lowpowermode|powermode)\s+(\d)\b", text, re.MULTILINE)
    return None if found is None else found[2] == "1"


def gpu_cores(text: str) -> int | None:
    """GPU cores, from `ioreg -r -c AGXAccelerator -d 1` (`"gpu-core-count" = 16`)."""
    found = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return int(found[1]) if found else None
