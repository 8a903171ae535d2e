"""The values of this package. Frozen; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from reconciler.admission.values import Heat, Level


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU, or the GPU part of an Apple chip."""

    name: str
    memory: int
    """Bytes; of a unified-memory chip all of the machine's."""
    cores: int | None = None
    unified: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the machine is up. None = could not be found out."""

    name: str
    system: str
    """`Linux 6.12`, `macOS 26.1`."""
    chip: str
    memory: int
    """Bytes that programs here may use: the machine's, or less where a cgroup says so."""
    cores: float
    """Cores that programs here may use: all, or less where affinity or a cgroup says so."""
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    accelerators: tuple[Accelerator, ...] = ()
    metal: bool = False
    neural_engine: bool = False
    mlx: str = ""
    """Version of MLX; empty = not installed."""
    working_set: int | None = None
    """Bytes: MLX's recommended working set."""
    largest_buffer: int | None = None
    """Bytes: largest single allocation of the accelerator."""
    low_power: bool | None = None
    on_battery: bool | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one sensor."""

    source: str
    """Such as `darwin.thermalpressure`, `linux.zone x86_pkg_temp`, `nvidia.0`."""
    what: str
    """`heat` or `memory`."""
    level: Level
    used: float | None = None
    """Headroom used, 1.0 = SERIOUS begins; None = it tells levels only."""
    detail: str = ""
    """What it said, for people: `62 C of 85 C`, `heavy`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All sensors at one moment, on one scale and filtered."""

    at: datetime
    heat: Heat
    memory_level: Level
    memory_total: int
    memory_available: int
    """Bytes that new work could take without swapping."""
    swap_used: int = 0
    load: float = 0.0
    """Cores in use over the last second or so."""
    watts: float | None = None
    joules: float | None = None
    """Energy since some fixed moment; the difference of two samples is what was used between them."""
    readings: tuple[Reading, ...] = field(default_factory=tuple)
