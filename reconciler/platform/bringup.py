"""Bring services up side by side, each once what it needs answers, until all do their work or a deadline has passed.

One thread, small steps: every step looks at one service and does at most one thing for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import ReconcilerError, Transient
from reconciler.platform import lock, logs
from reconciler.platform.spec import Probe
from reconciler.platform.unit import Unit

_PAUSE = 0.1
_LAUNCHES = 20
"""Starts tried while the log says `busy`; half a second apart, that is ten seconds for the leftovers of a killed server to go."""
_LOG_LINES = 12

OnEvent = Callable[[str, str], None]


@dataclass
class Bringup:
    """The state of one bring-up. `order` names what is wanted and what that needs, needed services first."""

    units: Mapping[str, Unit]
    order: Sequence[str]
    lock_path: Path
    on_event: OnEvent
    deadline: float | None = None
    ready: dict[str, Probe] = field(default_factory=dict)
    failed: dict[str, ReconcilerError] = field(default_factory=dict)
    launches: dict[str, int] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Step until everything is ready or has failed. Raises the first failure, the needed service's before its dependant's."""
        begun = time.monotonic()
        while not self.done():
            self.step()
            if self.deadline is not None and time.monotonic() - begun > self.deadline:
                self._give_up()
            if not self.done():
                time.sleep(_PAUSE)
        for name in self.order:
            if name in self.failed:
                raise self.failed[name]

    def done(self) -> bool:
        return len(self.ready) + len(self.failed) == len(self.order)

    def step(self) -> None:
        """One step for each service that is neither ready nor failed."""
        for name in self.order:
            if name in self.ready or name in self.failed:
                continue
            unit = self.units[name]
            broken = next((need for need in unit.needs if need in self.failed), None)
            if broken is not None:
                self.failed[name] = Transient(f"{name} was not started: it needs {broken}")
            elif all(need in self.ready for need in unit.needs):
                try:
                    self._step(unit)
                except ReconcilerError as error:
                    self.failed[name] = error

    def _step(self, unit: Unit) -> None:
        now = time.monotonic()
        self.since.setdefault(unit.name, now)
        if unit.unsettled:
            with lock.held(self.lock_path):
                unit.settle()
        record = unit.alive()
        if record is None:
            self._launch(unit, now)
            return
        look = unit.probe()
        if look.ok:
            unit.mark_ready(record)
            self.ready[unit.name] = look
            self.on_event(unit.name, f"ready after {now - self.since[unit.name]:.1f} s" if unit.name in self.launches else "running")
        elif now - self.since[unit.name] > unit.recipe.ready_seconds:
            self._fail(unit, f"did not answer in {unit.recipe.ready_seconds:.0f} s: {look.message}")

    def _launch(self, unit: Unit, now: float) -> None:
        tries = self.launches.get(unit.name, 0)
        if now < self.not_before.get(unit.name, 0.0):
            return
        if tries and (tries >= _LAUNCHES or not any(word in logs.tail(unit.log, 40) for word in unit.recipe.busy)):
            self._fail(unit, "ended while it started")
            return
        self.launches[unit.name] = tries + 1
        self.not_before[unit.name] = now + 0.5
        if not tries:
            self.on_event(unit.name, "starting")
        with lock.held(self.lock_path):
            unit.launch()

    def _fail(self, unit: Unit, what: str) -> None:
        last = logs.tail(unit.log, _LOG_LINES)
        self.failed[unit.name] = Transient(f"{unit.name} {what}" + (f"\nlast lines of {unit.log}:\n{last}" if last else ""))

    def _give_up(self) -> None:
        for name in self.order:
            if name not in self.ready and name not in self.failed:
                unit = self.units[name]
                why = unit.probe().message if unit.alive() else "its process is not there"
                self._fail(unit, f"was not ready in {self.deadline:.0f} s: {why}")
