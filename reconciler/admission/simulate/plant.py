"""The machine of the simulator: a two-node thermal mass that throttles, memory that swaps, sensors that are noisy and filtered.

The constants are invented but plausible (a quiet 64 GiB desktop): what the simulator shows are directions and orders of magnitude.
Structure: die and chassis as an RC ladder (die seconds, chassis minutes; a phone was measured with 6 to 9 s and 540 s); power of
a throttled chip between ~f (only the clock falls) and ~f^3 (clock and voltage fall, dynamic power C V^2 f); a step-wise governor
with hysteresis as Linux' `step_wise` has it; a swapping machine slows down by the share of memory that is not there, times what
a page fault costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

from reconciler.admission.values import Level
from reconciler.hardware.scale import level_of_temperature
from reconciler.hardware.scale import used as headroom_used

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class PlantSpec:
    """One machine. Temperatures in degrees C, powers in watts, times in seconds."""

    memory: int = 64 * GIB
    """Bytes."""
    cores: float = 12.0
    system: int = 4 * GIB
    """Bytes that the operating system and its people really use."""
    exponent: float = 3.0
    """Power of the running work ~ frequency ** exponent: 1 or 3; the truth of a given machine lies between."""
    idle: float = 4.0
    """Watts without work."""
    air: float = 25.0
    trip: float = 95.0
    """Where throttling begins."""
    critical: float = 110.0
    """Where the hardware switches itself off."""
    sustained: float = 54.0
    """Watts that hold the die at `trip` for ever."""
    die_share: float = 0.2
    """Part of the temperature rise that lies between die and chassis."""
    die_tau: float = 8.0
    chassis_tau: float = 540.0
    hysteresis: float = 3.0
    """The governor speeds up again this far below `trip`."""
    step: float = 0.04
    """By which the governor changes the frequency, once a second."""
    slowest: float = 0.3
    fault_cost: float = 40.0
    """How much longer an access takes whose page is on the SSD, against one in memory, mixed over a program's accesses."""
    noise: float = 0.6
    """Standard deviation of the thermometer."""
    power_noise: float = 0.03
    """Relative standard deviation of the power meter."""


@dataclass(slots=True)
class Plant:
    """The state of one machine. `advance` moves it; everything else reads."""

    spec: PlantSpec
    random: Random
    die: float = 0.0
    chassis: float = 0.0
    frequency: float = 1.0
    watts: float = 0.0
    flips: int = 0
    """How often the raw, unfiltered level changed."""
    _raw: Level = field(default=Level.NOMINAL)

    def __post_init__(self) -> None:
        self.rest()

    @property
    def used(self) -> float:
        """Headroom used, in truth."""
        return headroom_used(self.die, self.spec.trip)

    @property
    def hot(self) -> bool:
        """In truth: at the trip point, or still throttled after it."""
        return self.die >= self.spec.trip or self.frequency < 1.0

    def speed(self, memory: float, cores: float) -> float:
        """Progress per second of running work that was promised 1, when it takes `memory` bytes and `cores` together."""
        crowd = min(1.0, self.spec.cores / cores) if cores > 0 else 1.0
        return self.frequency * crowd * self.in_memory(memory)

    def in_memory(self, memory: float) -> float:
        """1 without swapping; otherwise less by the share of accesses that fault."""
        wanted = memory + self.spec.system
        if wanted <= self.spec.memory:
            return 1.0
        return 1.0 / (1.0 + self.spec.fault_cost * (1.0 - self.spec.memory / wanted))

    def advance(self, watts: float, memory: float, cores: float) -> None:
        """One second with running work that would take `watts` at full speed."""
        spec = self.spec
        busy = self.speed(memory, cores) / self.frequency
        self.watts = spec.idle + watts * busy * self.frequency**spec.exponent
        rise = (spec.trip - spec.air) / spec.sustained
        fast, slow = rise * spec.die_share, rise * (1.0 - spec.die_share)
        self.chassis += (spec.air + slow * self.watts - self.chassis) / spec.chassis_tau
        self.die += (self.chassis + fast * self.watts - self.die) * (1.0 - math.exp(-1.0 / spec.die_tau))
        if self.die >= spec.trip:
            self.frequency = max(spec.slowest, self.frequency - spec.step)
        elif self.die < spec.trip - spec.hysteresis:
            self.frequency = min(1.0, self.frequency + spec.step)

    def read(self) -> tuple[float, float, Level]:
        """Headroom used, watts and level as unfiltered sensors tell them. A throttled chip says so (NVML's reasons, `heavy` on
        macOS): that is SERIOUS whatever the thermometer shows."""
        spec = self.spec
        die = self.die + self.random.gauss(0.0, spec.noise)
        watts = self.watts * (1.0 + self.random.gauss(0.0, spec.power_noise))
        level = level_of_temperature(die, spec.trip, spec.critical)
        if self.frequency < 1.0:
            level = max(level, Level.SERIOUS)
        if level is not self._raw:
            self.flips, self._raw = self.flips + 1, level
        return headroom_used(die, spec.trip), watts, level

    def rest(self) -> None:
        """As after a long time without work."""
        self.die = self.chassis = self.spec.air
        self.frequency, self.watts, self.flips, self._raw = 1.0, self.spec.idle, 0, Level.NOMINAL

    def pressure(self, memory: float) -> Level:
        """Memory pressure: SERIOUS while it swaps, CRITICAL when a tenth more than it has is wanted, FAIR close to full."""
        ratio = (memory + self.spec.system) / self.spec.memory
        return Level.CRITICAL if ratio > 1.1 else Level.SERIOUS if ratio > 1.0 else Level.FAIR if ratio > 0.97 else Level.NOMINAL
