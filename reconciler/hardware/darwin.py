"""macOS: thermal pressure, memory pressure, energy. Raw readings are darwin_native's (fast), or texts of programs where those fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.admission.values import Level
from reconciler.hardware import darwin_native as native
from reconciler.hardware import darwin_text as text
from reconciler.hardware.probe import Carry, Energy, Look, MemoryUse, Probe, Silent, paced
from reconciler.hardware.values import Reading

SLOW = 30.0
"""Seconds between two runs of a program whose output is read."""


# --- heat ----------------------------------------------------------------------------------------------------------

PRESSURE = {
    0: ("nominal", Level.NOMINAL),
    1: ("moderate", Level.FAIR),
    2: ("heavy", Level.SERIOUS),
    3: ("trapping", Level.CRITICAL),
    4: ("sleeping", Level.CRITICAL),
}
"""OSThermalNotification.h for macOS. iOS counts 0, 10, 20 ... 50: such a value is refused, it would mean something else."""
STATES = {0: Level.NOMINAL, 1: Level.FAIR, 2: Level.SERIOUS, 3: Level.CRITICAL}
"""NSProcessInfo.ThermalState. macOS shows `moderate` and `heavy` both as fair: too coarse, asked only where the first is silent."""


@dataclass(frozen=True, slots=True)
class ThermalPressure:
    """Raw reading of the Darwin notification."""

    state: int
    name: str
    virtual: bool = False
    """A virtual machine: nobody there posts it, and its 0 means nothing."""


def read_pressure() -> ThermalPressure:
    """State of the notification; microseconds."""
    name = native.notify_name()
    return ThermalPressure(native.notify_state(name), name, native.sysctl_int("kern.hv_vmm_present") == 1)


def pressure_look(found: ThermalPressure, at: float, carry: Carry) -> Look:
    """The five levels of macOS."""
    source, own = "darwin.thermalpressure", found.name == native.THERMAL_PRESSURE
    if found.virtual and own:
        return _unknown(source, "heat", "a virtual machine has no thermal pressure of its own", "run on the Mac itself")
    if found.state not in PRESSURE:
        return _unknown(source, "heat", f"{found.state} is no level of macOS", "report it with the macOS version: docs/apple-silicon.md")
    word, level = PRESSURE[found.state]
    return Look(source, (Reading(source, "heat", level, detail=word if own else f"{word} (from {found.name})"),))


def state_look(state: int, at: float, carry: Carry) -> Look:
    """NSProcessInfo.thermalState."""
    source = "darwin.thermalstate"
    if state not in STATES:
        return _unknown(source, "heat", f"{state} is no thermal state")
    return Look(source, (Reading(source, "heat", STATES[state], detail=f"{STATES[state]} (coarse: heavy shows as fair)"),))


def pmset_look(output: str, at: float, carry: Carry) -> Look:
    """`pmset -g therm`: a limit below 100 % is throttling, and throttling is SERIOUS; below 50 % it is CRITICAL. Notes say nothing."""
    source, found = "darwin.pmset", text.pmset_therm(output)
    limits = [each for each in (found.speed_limit, found.scheduler_limit) if each is not None]
    if not limits and found.warning is None:
        return _unknown(source, "heat", "pmset has recorded nothing (usual on Apple silicon; it does not mean cool)")
    slowest, warning = min(limits, default=100), found.warning or 0
    if slowest < 50 or warning >= 10:
        level = Level.CRITICAL
    elif slowest < 100 or warning >= 5:
        level = Level.SERIOUS
    else:
        level = Level.FAIR if warning else Level.NOMINAL
    said = f"speed limit {slowest} %" if limits else f"thermal warning level {warning}"
    return Look(source, (Reading(source, "heat", level, detail=said),))


# --- memory --------------------------------------------------------------------------------------------------------

RISING = 1 << 20
"""Bytes written to swap in a second from which on swapping is going on now, and is not what is left of yesterday."""
TREND = 10.0
"""Seconds over which that rate is averaged."""


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """Raw reading. `vm.memory_pressure` is left out on purpose: it is no percentage and no level (6 to 449 were seen at one level)."""

    pressure: int | None
    """kern.memorystatus_vm_pressure_level: 1 normal, 2 warning, 4 critical."""
    free: int | None
    """kern.memorystatus_level: per cent of the memory that is free, as `memory_pressure -Q` prints it."""
    total: int
    """hw.memsize, bytes."""
    swap_used: int | None = None
    pages: text.Pages | None = None


def read_memory() -> MemoryPressure:
    """By sysctl and host_statistics64; microseconds."""
    total = native.sysctl_int("hw.memsize")
    if not total:
        raise Silent("hw.memsize cannot be read")
    return MemoryPressure(
        native.sysctl_int("kern.memorystatus_vm_pressure_level"),
        native.sysctl_int("kern.memorystatus_level"),
        total,
        native.swap_used(),
        native.pages(),
    )


def read_memory_text() -> MemoryPressure:
    """The same by the programs sysctl, vm_stat and memory_pressure."""
    names = ("kern.memorystatus_vm_pressure_level", "kern.memorystatus_level", "vm.swapusage", "hw.memsize")
    return memory_of_text(_run("sysctl", *names), _run("vm_stat"), _run("memory_pressure", "-Q"))


def memory_of_text(sysctl: str, vm_stat: str, memory_pressure: str) -> MemoryPressure:
    """What those programs printed. Raises Silent when none of them tells the size of the memory. Pure."""
    found, (size, free) = text.sysctl(sysctl), text.memory_pressure(memory_pressure)
    total = _int(found, "hw.memsize") or size
    if total is None:
        raise Silent("neither sysctl nor memory_pressure tells the size of the memory")
    level = _int(found, "kern.memorystatus_level")
    return MemoryPressure(
        _int(found, "kern.memorystatus_vm_pressure_level"),
        free if level is None else level,
        total,
        text.swap_used(found.get("vm.swapusage", "")),
        text.vm_stat(vm_stat),
    )


def _int(found: Mapping[str, str], name: str) -> int | None:
    return int(found[name]) if found.get(name, "").isdigit() else None


def memory_look(found: MemoryPressure, at: float, carry: Carry) -> Look:
    """Level of the kernel's own opinion, of what is free, and of whether memory is being swapped out right now."""
    source = "darwin.memory"
    rate, kept = _swapping(found.pages, at, carry)
    level = _memory_level(found.pressure, found.free, rate is not None and rate >= RISING)
    said = [f"pressure {found.pressure}", f"{found.free} % free", "" if rate is None else f"swapping out {rate / 2**20:.1f} MiB/s"]
    available = found.total * (found.free or 0) // 100 if found.pages is None else max(0, found.total - found.pages.used)
    memory = None if found.pages is None and found.free is None else MemoryUse(found.total, available, found.swap_used or 0)
    return Look(source, (Reading(source, "memory", level, detail=", ".join(filter(None, said))),), memory=memory, carry=kept)


def _memory_level(pressure: int | None, free: int | None, rising: bool) -> Level:
    if pressure == 4:
        return Level.CRITICAL
    if pressure not in (1, 2):
        return Level.UNKNOWN  # 3 is never sent; anything else is not from this kernel
    if (pressure == 2 and rising) or (free is not None and free < 20):
        return Level.SERIOUS
    # level 2 with swap that does not grow is the rest of an earlier shortage: usual on a machine that people work on
    return Level.FAIR if pressure == 2 or (free is not None and free < 40) else Level.NOMINAL


def _swapping(pages: text.Pages | None, at: float, carry: Carry) -> tuple[float | None, Carry]:
    """Bytes swapped out in a second, smoothed, and what to remember; None at the first look."""
    if pages is None:
        return None, {}
    kept = {"at": at, "swapouts": float(pages.swapouts)}
    if not {"at", "swapouts"} <= carry.keys() or at <= carry["at"] or pages.swapouts < carry["swapouts"]:
        return None, kept
    passed = at - carry["at"]
    rate = (pages.swapouts - carry["swapouts"]) * pages.size / passed
    if "rate" in carry and passed < TREND:
        rate = carry["rate"] + (rate - carry["rate"]) * passed / TREND
    return rate, {**kept, "rate": rate}


# --- energy --------------------------------------------------------------------------------------------------------

PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")
"""Fields of zeus_apple_silicon.AppleEnergyMetrics that do not overlap; each may be None (no GPU SRAM counter on M5)."""


@dataclass
class EnergyReader:
    """IOReport counters by zeus-apple-silicon; no root."""

    monitor: Any = None

    def __call__(self) -> dict[str, int | None]:
        if self.monitor is None:
            try:
                from zeus_apple_silicon import AppleEnergyMonitor  # type: ignore[import-not-found,unused-ignore]  # a wheel for Macs only
            except ImportError:
                raise Silent("zeus-apple-silicon is not installed", "pip install 'mlops-reconciler[hardware]'") from None
            self.monitor = AppleEnergyMonitor()
        found = self.monitor.get_cumulative_energy()
        return {name: getattr(found, name, None) for name in PARTS}


def energy_look(found: Mapping[str, int | None], at: float, carry: Carry) -> Look:
    """Millijoules of all parts together. That counters of two processes have one origin is not documented, so they are not compared."""
    told = [each for each in found.values() if each is not None]
    if not told:
        why = "zeus-apple-silicon does not know the names of this chip's energy counters"
        return Look("darwin.energy", silent=why, hint="pip install --upgrade zeus-apple-silicon")
    return Look("darwin.energy", energy=(Energy("ioreport", sum(told) / 1000, epoch=f"process {os.getpid()}"),))


# --- together ------------------------------------------------------------------------------------------------------


def probes() -> tuple[Probe[Any], ...]:
    """All of macOS's, the best of each sort first."""
    heat, memory = "darwin.thermalpressure", "darwin.memory"
    return (
        Probe(heat, "heat", read_pressure, pressure_look),
        Probe("darwin.thermalstate", "heat", native.thermal_state, state_look, (heat,)),
        Probe("darwin.pmset", "heat", paced(lambda: _run("pmset", "-g", "therm"), SLOW), pmset_look, (heat, "darwin.thermalstate")),
        Probe(memory, "memory", read_memory, memory_look),
        Probe("darwin.memory text", "memory", paced(read_memory_text, SLOW), memory_look, (memory,)),
        Probe("darwin.energy", "power", EnergyReader(), energy_look),
    )


def _run(program: str, *arguments: str) -> str:
    """What a program of the system prints. Raises Silent when it is not there or does not answer."""
    path = shutil.which(program, path="/usr/bin:/usr/sbin:/sbin:/bin")
    if path is None:
        raise Silent(f"{program} is not there")
    try:
        return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=5, check=False).stdout
    except subprocess.TimeoutExpired:
        raise Silent(f"{program} did not answer within 5 s") from None


def _unknown(source: str, what: str, why: str, hint: str = "") -> Look:
    return Look(source, (Reading(source, what, Level.UNKNOWN, detail=why),), silent=why, hint=hint)
