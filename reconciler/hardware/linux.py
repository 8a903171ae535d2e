"""Linux: thermal zones with their trip points, hardware monitors, pressure stall information, the package energy counter.

Formats: Documentation/ABI/testing/sysfs-class-thermal, Documentation/accounting/psi.rst, Documentation/power/powercap/powercap.rst."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.admission.values import Level
from reconciler.hardware import cgroup
from reconciler.hardware.probe import Carry, Energy, Look, Probe, Silent
from reconciler.hardware.scale import level_of_temperature, plausible, plausible_limit, used
from reconciler.hardware.values import Reading

CPU_AND_GPU = (
    "coretemp",
    "k10temp",
    "zenpower",
    "amdgpu",
    "i915",
    "xe",
    "nouveau",
    "cpu_thermal",
    "soc_thermal",
    "scpi_sensors",
    "apple_soc",
)
"""Hardware monitors that a training heats. Disks, radios and batteries have limits of their own that say nothing about computing."""

PLACEHOLDERS = (27.8, 29.8)
"""Degrees that the ACPI zones of many desktop boards report whatever happens."""
NO_LIMIT_TOLD = {"k10temp": (90.0, 100.0), "zenpower": (90.0, 100.0)}
"""Chip -> (serious, critical) where the driver names no limit: AMD specifies 90 to 95 C as the highest temperature of its Ryzen chips."""


# --- thermal zones -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Zone:
    """One thermal zone; degrees Celsius."""

    name: str
    """Its type and number, such as `x86_pkg_temp 3`."""
    celsius: float | None
    """None = the driver refused to say."""
    trips: Mapping[str, float] = field(default_factory=dict)
    """Lowest trip point of each type (`passive`, `hot`, `critical`); `active` ones only turn fans."""


@dataclass
class ZoneReader:
    """Reads all zones; trip points once, for they are set by the firmware."""

    root: Path = Path("/")
    known: dict[Path, tuple[str, dict[str, float]]] = field(default_factory=dict)

    def __call__(self) -> tuple[Zone, ...]:
        if not self.known:
            self.known = {each: _zone(each) for each in sorted((self.root / "sys/class/thermal").glob("thermal_zone*"))}
        if not self.known:
            raise Silent("no thermal zones (container or VM)", "on a real machine load the driver of its sensors (modprobe coretemp)")
        return tuple(Zone(name, _celsius(folder / "temp"), trips) for folder, (name, trips) in self.known.items())


def _zone(folder: Path) -> tuple[str, dict[str, float]]:
    trips: dict[str, float] = {}
    for kind in sorted(folder.glob("trip_point_*_type")):
        celsius = plausible_limit(_celsius(kind.with_name(kind.name.replace("_type", "_temp"))))
        if celsius is not None:
            name = kind.read_text().strip()
            trips[name] = min(celsius, trips.get(name, celsius))
    label = (folder / "type").read_text().strip() if (folder / "type").exists() else "zone"
    return f"{label} {folder.name.removeprefix('thermal_zone')}", trips


def _celsius(path: Path) -> float | None:
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None  # a sleeping radio answers ENODATA


def zones_look(zones: Sequence[Zone], at: float, carry: Carry) -> Look:
    """Each zone against its own trip points."""
    return Look("linux.zones", tuple(_zone_reading(each) for each in zones))


def _zone_reading(zone: Zone) -> Reading:
    source = f"linux.zone {zone.name}"
    if zone.celsius is not None and zone.name.startswith("acpitz ") and zone.celsius in PLACEHOLDERS:
        return Reading(source, "heat", Level.UNKNOWN, detail=f"{zone.celsius:.1f} C is what boards without this sensor say")
    if zone.celsius is None or not plausible(zone.celsius):
        said = "no temperature" if zone.celsius is None else f"{zone.celsius:.0f} C is no temperature"
        return Reading(source, "heat", Level.UNKNOWN, detail=said)
    critical = zone.trips.get("critical")
    serious = zone.trips.get("passive", zone.trips.get("hot", None if critical is None else critical - 10))
    if serious is None:
        return Reading(source, "heat", Level.UNKNOWN, detail=f"{zone.celsius:.0f} C; no trip point says what is hot")
    return Reading(
        source,
        "heat",
        level_of_temperature(zone.celsius, serious, critical),
        used(zone.celsius, serious),
        f"{zone.celsius:.0f} C of {serious:.0f} C",
    )


# --- hardware monitors ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Monitor:
    """One temperature of a hardware monitor, as psutil tells it; degrees Celsius."""

    chip: str
    label: str
    celsius: float
    high: float | None = None
    critical: float | None = None


def read_monitors() -> tuple[Monitor, ...]:
    """Every temperature of CPU and GPU monitors."""
    import psutil

    found = tuple(
        Monitor(chip, each.label, each.current, each.high, each.critical)
        for chip, temperatures in psutil.sensors_temperatures().items()
        for each in temperatures
        if chip in CPU_AND_GPU
    )
    if not found:
        raise Silent("no hardware monitor of a CPU or GPU (container or VM)", "on a real machine run sensors-detect (package lm-sensors)")
    return found


def monitors_look(monitors: Sequence[Monitor], at: float, carry: Carry) -> Look:
    """The hottest temperature of each chip that has a limit."""
    chips = {each.chip: [m for m in monitors if m.chip == each.chip] for each in monitors}
    worst = (max(map(_monitor_reading, _real(each)), key=lambda found: (found.level, found.used or 0.0)) for each in chips.values())
    return Look("linux.hwmon", tuple(worst))


def _real(chip: list[Monitor]) -> list[Monitor]:
    """Where AMD tells Tdie, Tctl is the same with an offset for fans."""
    return [each for each in chip if each.label != "Tctl"] if any(each.label == "Tdie" for each in chip) else chip


def _monitor_reading(found: Monitor) -> Reading:
    source = f"linux.hwmon {found.chip}"
    high, critical = plausible_limit(found.high), plausible_limit(found.critical)
    if high is None and critical is None:
        high, critical = NO_LIMIT_TOLD.get(found.chip, (None, None))
    # Intel often names one number as both, the point at which the chip slows itself down: too late to be where SERIOUS begins
    limits = [each for each in (high, None if critical is None else critical - 10) if each is not None]
    if not plausible(found.celsius) or not limits:
        return Reading(source, "heat", Level.UNKNOWN, detail=f"{found.celsius:.0f} C; the driver names no limit")
    serious = min(limits)
    label = f" ({found.label})" if found.label else ""
    level = level_of_temperature(found.celsius, serious, critical)
    return Reading(source, "heat", level, used(found.celsius, serious), f"{found.celsius:.0f} C of {serious:.0f} C{label}")


# --- pressure stall information ------------------------------------------------------------------------------------


def read_pressure(root: Path = Path("/"), group: Path | None = None) -> str:
    """Memory pressure of the control group that this process is confined to, where it keeps one (version 2); else of the machine."""
    own = None if group is None else group / "memory.pressure"
    try:
        return (own if own is not None and own.exists() else root / "proc/pressure/memory").read_text()
    except FileNotFoundError:
        raise Silent("the kernel keeps no pressure stall information", "boot with psi=1 (kernel 4.20 and newer)") from None


_PSI = re.compile(r"^(some|full) avg10=(\d+(?:\.\d+)?) ", re.MULTILINE)


def pressure_look(text: str, at: float, carry: Carry) -> Look:
    """Share of time that some or all tasks waited for memory, over 10 s: some 1 % fair, 10 % serious; full 5 % serious, 20 % critical."""
    shares = {name: float(share) for name, share in _PSI.findall(text)}
    if "some" not in shares:
        return Look("linux.pressure", (Reading("linux.pressure", "memory", Level.UNKNOWN, detail="not in the form of psi.rst"),))
    some, full = shares["some"], shares.get("full", 0.0)
    level = Level.CRITICAL if full >= 20 else Level.SERIOUS if some >= 10 or full >= 5 else Level.FAIR if some >= 1 else Level.NOMINAL
    return Look("linux.pressure", (Reading("linux.pressure", "memory", level, detail=f"some {some:.2f} %, full {full:.2f} % of 10 s"),))


# --- energy --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Package:
    """One energy counter of a processor package."""

    name: str
    microjoules: int
    wraps_at: int
    """Microjoules."""


def read_packages(root: Path = Path("/")) -> tuple[Package, ...]:
    """RAPL counters of whole packages; their parts (`intel-rapl:0:0`) are in them."""
    folders = sorted(each for each in (root / "sys/class/powercap").glob("intel-rapl:*") if each.name.count(":") == 1)
    if not folders:
        raise Silent("no energy counter (container, VM, or a processor without RAPL)")
    try:
        found = [
            Package(
                (each / "name").read_text().strip(), int((each / "energy_uj").read_text()), int((each / "max_energy_range_uj").read_text())
            )
            for each in folders
        ]
    except PermissionError:
        # since CVE-2020-8694 (Platypus) only root may read it
        raise Silent(
            "the energy counter is readable for root only",
            "sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next boot)",
        ) from None
    return tuple(each for each in found if each.name != "psys" or len(found) == 1)  # psys is the platform: the packages are in it


def packages_look(packages: Sequence[Package], at: float, carry: Carry) -> Look:
    """The counters in joules."""
    return Look(
        "linux.rapl", energy=tuple(Energy(f"rapl {each.name}", each.microjoules / 1e6, wraps_at=each.wraps_at / 1e6) for each in packages)
    )


def probes(root: Path = Path("/")) -> tuple[Probe[Any], ...]:
    """All of Linux's; `root` is where `proc` and `sys` are."""
    group = cgroup.limits(root).memory_folder
    return (
        Probe("linux.zones", "heat", ZoneReader(root), zones_look),
        Probe("linux.hwmon", "heat", read_monitors, monitors_look),
        Probe("linux.pressure", "memory", lambda: read_pressure(root, group), pressure_look),
        Probe("linux.rapl", "power", lambda: read_packages(root), packages_look),
    )
