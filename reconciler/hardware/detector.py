"""What this machine is. `detect` is cheap (no heavy import, no subprocess unless asked) and remembers what does not change."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reconciler.hardware import cgroup, darwin_text, mlx, nvidia
from reconciler.hardware import darwin_native as native
from reconciler.hardware.keep import this_boot, write_kept
from reconciler.hardware.probe import Silent
from reconciler.hardware.values import Accelerator, Machine


def detect(state: Path | None = None, *, ask: bool = False) -> Machine:
    """This machine. Low-power mode and battery are looked up each time, the rest once per process.

    What only slow programs tell (working set and largest buffer of MLX, GPU cores of a Mac) comes from `machine.json` in the folder
    `state`; `ask=True` runs them where it is not there yet for this boot, and keeps the answer. Without both it stays None."""
    machine = replace(_fixed(), low_power=_low_power(), on_battery=_on_battery())
    found = _kept(state)
    if found is None and ask:
        found = _asked()
        if state is not None:
            write_kept(state / "machine.json", {"of": _of(), **asdict(found)})
    return machine if found is None else _with(machine, found)


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes subprocesses to find out."""

    metal: bool | None = None
    working_set: int | None = None
    largest_buffer: int | None = None
    gpu_cores: int | None = None


def _asked() -> Slow:
    device = mlx.device(mlx.ask_device()) if mlx_version() else None
    cores = darwin_text.gpu_cores(_ioreg()) if sys.platform == "darwin" else None
    return Slow(gpu_cores=cores) if device is None else Slow(device.metal, device.working_set, device.largest_buffer, cores)


def _ioreg() -> str:
    program = shutil.which("ioreg", path="/usr/sbin:/usr/bin")
    if program is None:
        return ""
    command = [program, "-r", "-c", "AGXAccelerator", "-d", "1"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    return ""


def _of() -> str:
    """What the slow facts depend on: a limit of the GPU's memory can be raised by root (iogpu.wired_limit_mb) and falls back at a boot."""
    limit = native.sysctl_int("iogpu.wired_limit_mb") if sys.platform == "darwin" else None
    return f"{this_boot()} {sys.executable} mlx {mlx_version()} {limit}"


def _kept(state: Path | None) -> Slow | None:
    if state is None:
        return None
    try:
        found = json.loads((state / "machine.json").read_bytes())
        return Slow(**{name: found[name] for name in Slow.__slots__}) if found["of"] == _of() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _with(machine: Machine, found: Slow) -> Machine:
    parts = tuple(replace(each, cores=found.gpu_cores if each.unified else each.cores) for each in machine.accelerators)
    metal = machine.metal if found.metal is None else found.metal
    return replace(machine, accelerators=parts, metal=metal, working_set=found.working_set, largest_buffer=found.largest_buffer)


@cache
def _fixed() -> Machine:
    name = socket.gethostname().split(".")[0]
    if sys.platform == "darwin":
        return mac(read_mac(), name)
    return _linux(name)


# --- macOS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mac:
    """Raw reading: what sysctl tells of a Mac."""

    release: str
    chip: str
    memory: int
    cores: int
    levels: tuple[tuple[str, int], ...] = ()
    """Name and physical cores of each performance level, the fastest first; none on Intel. M5 has Super and Performance, no Efficiency."""
    apple: bool = False
    mlx: str = ""


def read_mac() -> Mac:
    """By sysctlbyname; microseconds."""
    levels = range(native.sysctl_int("hw.nperflevels") or 0)
    return Mac(
        platform.mac_ver()[0],
        native.sysctl_text("machdep.cpu.brand_string"),
        native.sysctl_int("hw.memsize") or 0,
        native.sysctl_int("hw.ncpu") or os.cpu_count() or 1,
        tuple(
            (native.sysctl_text(f"hw.perflevel{each}.name"), native.sysctl_int(f"hw.perflevel{each}.physicalcpu") or 0) for each in levels
        ),
        native.sysctl_int("hw.optional.arm64") == 1,
        mlx_version(),
    )


def mac(found: Mac, name: str) -> Machine:
    """A Mac as a machine. All of Apple silicon has Metal, a GPU on the same memory and a Neural Engine; no call tells of the last. Pure."""
    slow = [cores for at, (name, cores) in enumerate(found.levels) if name == "Efficiency" or (not name and at > 0)]
    return Machine(
        name=name,
        system=f"macOS {found.release}",
        chip=found.chip,
        memory=found.memory,
        cores=float(found.cores),
        performance_cores=sum(cores for _, cores in found.levels) - sum(slow) if found.levels else None,
        efficiency_cores=sum(slow) if found.levels else None,
        accelerators=(Accelerator(found.chip, found.memory, unified=True),) if found.apple else (),
        metal=found.apple,
        neural_engine=found.apple,
        mlx=found.mlx,
    )


# --- Linux ---------------------------------------------------------------------------------------------------------


def _linux(name: str) -> Machine:
    import psutil

    confined, total = cgroup.limits(), psutil.virtual_memory().total
    fast, slow = hybrid_cores()
    try:
        gpus = nvidia.accelerators(nvidia.Reader()())
    except Silent:
        gpus = ()
    return Machine(
        name=name,
        system=f"{platform.system()} {'.'.join(platform.release().split('-')[0].split('.')[:2])}",
        chip=linux_chip(),
        memory=min(total, confined.memory or total),
        cores=usable_cores(confined),
        performance_cores=fast,
        efficiency_cores=slow,
        accelerators=gpus,
        mlx=mlx_version(),
    )


def usable_cores(confined: cgroup.Limits) -> float:
    """Cores that this process may use: affinity, or less where a control group says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(float(allowed), confined.cores or float(allowed))


def linux_chip(root: Path = Path("/")) -> str:
    """`model name` of x86 processors; the device tree's model of the others."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return _text(root / "proc/device-tree/model").strip("\0\n ") or platform.machine()


def hybrid_cores(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Physical performance and efficiency cores of an Intel hybrid processor; None twice for all others."""
    fast, slow = (_text(root / f"sys/devices/{each}/cpus").strip() for each in ("cpu_core", "cpu_atom"))
    if not fast or not slow:
        return None, None
    core = "sys/devices/system/cpu/cpu{}/topology/core_id"
    found = [{_text(root / core.format(cpu)) for cpu in cpus(each)} for each in (fast, slow)]
    return len(found[0]), len(found[1])


def cpus(text: str) -> list[int]:
    """The numbers in a list such as `0-3,8` (cpumask lists of sysfs)."""
    spans = [each.partition("-") for each in text.split(",") if each]
    return [cpu for first, _, last in spans for cpu in range(int(first), int(last or first) + 1)]


# --- both ----------------------------------------------------------------------------------------------------------


def mlx_version() -> str:
    """Version of MLX in this environment, without importing it; empty = not installed."""
    try:
        return version("mlx")
    except PackageNotFoundError:
        return ""


def _low_power() -> bool | None:
    if sys.platform == "darwin":
        return native.low_power_mode()
    profile = _text(Path("/sys/firmware/acpi/platform_profile")).strip()
    return profile in ("low-power", "quiet") if profile else None


def _on_battery() -> bool | None:
    import psutil

    battery: Any = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
