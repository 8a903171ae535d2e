"""`reconcile doctor --hardware`: this machine and its sensors, now; changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from schemas.platform import Admission

SETTLE = 0.5
"""Seconds between two samples: power and load are differences."""


def hardware(asked: Globals, *, as_json: bool, width: int) -> str:
    """What `--hardware` prints. Sensors are those that the Platform asks for, or this machine's where there is none."""
    from reconciler.hardware.detector import detect
    from reconciler.hardware.sampler import open_sampler
    from reconciler.report.hardware import hardware_json, hardware_text
    from schemas.platform import Simulated

    settings = asked.settings()
    admission, note = _admission(asked)
    if isinstance(admission.sensors, Simulated):
        note = f"The sensors are simulated: {admission.sensors.trace} is being played, as the Platform says."
    sampler = open_sampler(admission, settings.root, settings.state if settings.state.is_dir() else None, write=False)
    sampler.sample()
    time.sleep(SETTLE)
    sample, machine, looks = sampler.sample(), detect(ask=True), sampler.examine()
    if as_json:
        return hardware_json(machine, sample, looks, note=note)
    return hardware_text(machine, sample, looks, color=asked.color(), width=width, note=note)


def _admission(asked: Globals) -> tuple[Admission, str]:
    """What the Platform says of admission, and what to tell where it could not be read."""
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.services import platform_of
    from schemas.platform import Admission

    try:
        house = open_for(asked, read_only=True)
        platform = platform_of(house, asked)
    except (ReconcilerError, OSError) as error:
        return Admission(), f"The Platform could not be read, so all sensors of this machine are asked: {error}"
    return (Admission() if platform is None else platform.admission), ""
