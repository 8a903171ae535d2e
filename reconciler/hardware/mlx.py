"""MLX: what its device may hold, asked in a process of its own (importing MLX opens the GPU), and what this process holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ASK = """
import json, mlx.core as mx
found = mx.device_info() if hasattr(mx, "device_info") else mx.metal.device_info()
print(json.dumps({**found, "metal": bool(mx.metal.is_available())}))
"""
"""mx.metal.device_info is the name before MLX 0.30."""
DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Device:
    """MLX's default device."""

    name: str = ""
    metal: bool = False
    working_set: int | None = None
    """Bytes: max_recommended_working_set_size. 0.78 to 0.81 of the memory by default, up to 0.95 where the owner raised it."""
    largest_buffer: int | None = None
    """Bytes: max_buffer_length; a single array above it always fails."""
    memory: int | None = None
    """Bytes."""


def ask_device() -> Mapping[str, Any]:
    """mx.device_info() of this environment's MLX; empty where it is not installed or fails. Takes about 0.3 s."""
    try:
        said = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=DEADLINE, check=True).stdout
        found = json.loads(said)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return found if isinstance(found, dict) else {}


def device(found: Mapping[str, Any]) -> Device:
    """What `ask_device` was told, as a value. Without Metal there is neither a working set nor a largest buffer. Pure."""
    return Device(
        str(found.get("device_name", "")),
        bool(found.get("metal", "max_recommended_working_set_size" in found)),
        _bytes(found, "max_recommended_working_set_size"),
        _bytes(found, "max_buffer_length"),
        _bytes(found, "memory_size"),
    )


def _bytes(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    return value if isinstance(value, int) and value > 0 else None


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that MLX holds in one process. The sum over processes is nobody's but admission's."""

    active: int
    peak: int
    cached: int


def held() -> Held | None:
    """What MLX holds in this process; None while this process has not imported it (asking does not import it)."""
    core = sys.modules.get("mlx.core")
    if core is None:
        return None
    return Held(core.get_active_memory(), core.get_peak_memory(), core.get_cache_memory())
