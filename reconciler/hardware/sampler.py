"""All sensors of this machine at one moment: the edge where probes are read, and the filter's state is kept."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.admission.values import Heat
from reconciler.hardware import energy, filter, keep, simulated, system
from reconciler.hardware.detector import detect
from reconciler.hardware.probe import Carry, Look, MemoryUse, Probe
from reconciler.hardware.values import Sample
from schemas.platform import Admission, Simulated

PERIOD = 1.0
"""Seconds between two samples of a loop; the budget of 0.5 % of a core is at this rate."""
SPACING = 10.0
"""Seconds between two points of the history: the chassis' time constant is of the order of 500 s."""
POINTS = 360
"""One hour."""
SAVE_EVERY = 10.0
"""Seconds between two writes of the state while no level changes."""

Point = tuple[float, float | None, float | None]
"""Seconds since 1970, watts, headroom used."""


@dataclass
class Sampler:
    """Reads all probes; its only state is what `sensors.json` holds."""

    probes: tuple[Probe[Any], ...]
    read_system: Callable[[], system.SystemUse]
    now: Callable[[], datetime]
    path: Path | None = None
    """Where the state is written; None = nowhere."""
    playback: simulated.Trace | None = None
    started: float = 0.0
    """When the playback began, seconds since 1970."""
    speed: float = 1.0
    state: keep.State = field(default_factory=keep.State)
    looks: tuple[Look, ...] = ()
    """What each probe saw in the last sample."""
    last: Sample | None = None
    """The last sample that was taken; None = none yet."""
    _saved: float | None = None

    def sample(self) -> Sample:
        """One look at everything. Never raises for a sensor; a state that cannot be written is kept in memory."""
        moment = self.now()
        at = moment.timestamp()
        clock = self._clock(at)
        self.looks = self._look(at)
        readings = tuple(reading for each in self.looks for reading in each.readings)
        before = self.state
        heat = filter.step(before.heat, [each for each in readings if each.what == "heat"], clock, period=PERIOD * self.speed)
        memory = filter.step(before.memory, [each for each in readings if each.what == "memory"], clock, period=PERIOD * self.speed)
        used = energy.add(before.energy, [each for look in self.looks for each in look.energy], at)
        use = self.read_system()
        load = system.load(use, at, before.busy, detect().cores)
        carry: dict[str, Carry] = {each.name: look.carry for each, look in zip(self.probes, self.looks, strict=True) if look.carry}
        history = _with_point(before.history, (at, used.watts, heat.used))
        found = self._memory(use.memory, at)
        taken = before.memory_used
        if history is not before.history:
            taken = (*taken, (at, max(0, found.total - found.available)))[-POINTS:]
        self.state = keep.State(heat, memory, used, (at, use.busy), carry, history, taken, before.source)
        self._save(at, changed=heat.level != before.heat.level or memory.level != before.memory.level)
        self.last = Sample(
            at=moment,
            heat=Heat(heat.level, heat.used, moment - timedelta(seconds=(clock - heat.since) / self.speed), used.watts, None, heat.source),
            memory_level=memory.level,
            memory_total=found.total,
            memory_available=found.available,
            swap_used=found.swap_used,
            load=load,
            watts=used.watts,
            joules=used.joules,
            readings=readings,
        )
        return self.last

    def examine(self) -> tuple[Look, ...]:
        """What every probe sees now, those included that are only asked where better ones are silent. Changes nothing; for people."""
        at = self.now().timestamp()
        return tuple(each.look(at, self.state.carry.get(each.name, {})) for each in self.probes)

    def history(self) -> Sequence[Point]:
        """Up to an hour of (seconds since 1970, watts, headroom used), oldest first, for fitting the thermal model."""
        return self.state.history

    def _look(self, at: float) -> tuple[Look, ...]:
        """One look of each probe, in their order; a probe that stands in for others is asked only while all of them are silent."""
        looks: dict[str, Look] = {}
        for each in self.probes:
            better = next((name for name in each.instead_of if not looks[name].silent), None)
            carry = self.state.carry.get(each.name, {})
            spared = Look(each.name, silent=f"not asked: {better} tells more", carry=carry)
            looks[each.name] = each.look(at, carry) if better is None else spared
        return tuple(looks.values())

    def _clock(self, at: float) -> float:
        """Seconds on which the filter runs: a trace played faster is filtered faster."""
        return at if self.playback is None else (at - self.started) * self.speed

    def _memory(self, own: MemoryUse, at: float) -> MemoryUse:
        share = None if self.playback is None else simulated.memory_share(self.playback, self._clock(at))
        if share is None:
            told = [each.memory for each in self.looks if each.memory is not None]
            return told[0] if told else own
        return replace(own, available=int(own.total * (1 - share)))

    def _save(self, at: float, *, changed: bool) -> None:
        if self.path is not None and (changed or self._saved is None or not 0 <= at - self._saved < SAVE_EVERY):
            keep.save(self.path, self.state)
            self._saved = at


def _with_point(history: tuple[Point, ...], point: Point) -> tuple[Point, ...]:
    if history and 0 <= point[0] - history[-1][0] < SPACING:
        return history
    return tuple(deque((*history, point), maxlen=POINTS))


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def open_sampler(
    admission: Admission, root: Path, state: Path | None, *, now: Callable[[], datetime] = utc_now, write: bool = True
) -> Sampler:
    """The sampler that the Platform asks for. `root` is the installation's; `state` its private folder, None = remember nothing.

    `write=False` uses what is remembered and writes nothing. Raises Terminal when the trace of simulated sensors cannot be played."""
    path = None if state is None else state / "sensors.json"
    remembered = keep.State() if path is None else keep.load(path)
    kept = path if write else None
    if isinstance(admission.sensors, Simulated):
        asked = admission.sensors
        trace = simulated.load(root / asked.trace, asked.loop)
        began = simulated.started(state, trace, asked.speed, now().timestamp(), write=write)
        mine = f"{trace.digest} {asked.speed} {asked.loop} {began}"
        told = any(each.memory is not None for each in trace.moments)
        real = () if told else tuple(each for each in probes() if each.what == "memory")
        played = (simulated.probe(trace, began, asked.speed), *real)
        return Sampler(played, system.reader(), now, kept, trace, began, asked.speed, keep.of(remembered, mine))
    if admission.sensors == "none":
        return Sampler((), system.reader(), now, kept, state=keep.of(remembered, "none"))
    return Sampler(probes(), system.reader(), now, kept, state=keep.of(remembered, keep.this_boot()))


def probes() -> tuple[Probe[Any], ...]:
    """Every probe that this platform can have."""
    if sys.platform == "darwin":
        from reconciler.hardware import darwin

        return darwin.probes()
    if sys.platform.startswith("linux"):
        from reconciler.hardware import linux, nvidia

        return (*linux.probes(), nvidia.probe())
    return ()
