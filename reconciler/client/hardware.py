"""This machine and this process, in the words that the reconciler uses for a run's context and its system metrics."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

SENSORS = "sensors.json"
"""In the state folder: what the reconciler's sensors said last."""
FRESH_SECONDS = 90.0
"""A look of the sensors that is older tells nothing about now."""
_MEGA = 1e6
"""MLflow's megabytes are decimal (mlflow.system_metrics)."""
_process: list[Any] = []


@cache
def machine() -> dict[str, str]:
    """Chip, system, name and versions. What cannot be found out is not told."""
    found = {
        "chip": _chip(),
        "os": _system(),
        "machine": platform.node().split(".")[0],
        "python": platform.python_version(),
        "mlx": _version("mlx"),
    }
    return {name: text for name, text in found.items() if text}


def metrics(state: Path) -> dict[str, float]:
    """Numbers of this moment, by the names that the reconciler gives to system metrics, without `system/`."""
    import psutil

    if not _process:
        _process.append(psutil.Process())
    memory, process = psutil.virtual_memory(), _process[0]
    used = memory.total - memory.available
    found: dict[str, float] = {
        "system_memory_usage_megabytes": used / _MEGA,
        "system_memory_usage_percentage": 100.0 * used / memory.total,
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / _MEGA,
        "process_cpu_percentage": process.cpu_percent(),
    }
    return found | {name: size / _MEGA for name, size in _mlx().items()} | _seen(state / SENSORS)


def _mlx() -> dict[str, int]:
    """What MLX holds in this process; nothing while nobody has imported it: asking must not wake the GPU."""
    core = sys.modules.get("mlx.core")
    if core is None:
        return {}
    return {
        "mlx_active_memory_megabytes": core.get_active_memory(),
        "mlx_peak_memory_megabytes": core.get_peak_memory(),
        "mlx_cache_memory_megabytes": core.get_cache_memory(),
    }


def _seen(sensors: Path) -> dict[str, float]:
    try:
        found = json.loads(sensors.read_bytes())
        at, watts, _ = found["history"][-1]
        level = int(found["heat"]["level"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}
    if not 0 <= time.time() - max(float(at), sensors.stat().st_mtime) < FRESH_SECONDS:
        return {}
    return {**({"thermal_level": float(level)} if level >= 0 else {}), **({"power_watts": float(watts)} if watts is not None else {})}


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {'.'.join(platform.release().split('-')[0].split('.')[:2])}"


def _chip() -> str:
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or _text("/proc/device-tree/model") or platform.machine()


def _sysctl(name: str) -> str:
    """By sysctlbyname(3), as text."""
    import ctypes

    libc = ctypes.CDLL(None)
    size = ctypes.c_size_t(256)
    room = ctypes.create_string_buffer(size.value)
    failed = libc.sysctlbyname(name.encode(), room, ctypes.byref(size), None, ctypes.c_size_t(0))
    return "" if failed else os.fsdecode(room.value)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
