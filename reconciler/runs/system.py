"""What the machine and the program use while a job runs, under the names that MLflow gives to system metrics."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from reconciler.admission.values import Level
from reconciler.errors import ReconcilerError
from reconciler.hardware.detector import detect
from reconciler.hardware.sampler import Sampler, open_sampler
from reconciler.hardware.values import Sample
from reconciler.runs.ending import RECEIPT
from reconciler.runs.folder import Folder
from reconciler.runs.processes import Usage
from reconciler.runs.tracking import Metric, now
from schemas.platform import Admission

EVERY_SECONDS = 10.0
"""As MLflow's own sampling interval."""
_MEGA = 1e6
"""MLflow's megabytes are decimal (mlflow.system_metrics)."""


class System:
    """Takes one measurement every ten seconds."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._sampler = _sampler(folder)
        self._due = 0.0
        self._step = 0
        self._usage = Usage(0, 0.0)
        self._before: tuple[float, float, float | None] | None = None
        """Moment, the program's processor time and the machine's energy at the last measurement."""
        self._worst = Level.UNKNOWN
        self._pressed = Level.UNKNOWN
        self._joules: float | None = None
        self._seconds = 0.0

    @property
    def watts(self) -> float | None:
        """Mean power of the program so far: its share, by processor time, of what the machine used; None = the machine does not tell."""
        return None if self._joules is None or self._seconds <= 0 else self._joules / self._seconds

    def look(self, usage: Usage) -> list[Metric]:
        """The metrics of this moment, or none when it is too early."""
        if usage.memory:  # a program that ends while it is looked at has none any more
            self._usage = usage
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + EVERY_SECONDS
        return self._measure()

    def last(self) -> list[Metric]:
        """The metrics at the end."""
        return self._measure()

    def receipts(self) -> dict[str, str]:
        """The worst heat and memory pressure, and the energy with what metered it, as tags of the run."""
        found = {
            "worst_heat": "" if self._worst is Level.UNKNOWN else str(self._worst),
            "worst_memory_pressure": "" if self._pressed is Level.UNKNOWN else str(self._pressed),
            "energy_joules": "" if self._joules is None else f"{self._joules:.3f}",
            "energy_source": "" if self._joules is None else "sensors" if self._sampler.playback is None else "simulated",
        }
        return {f"{RECEIPT}{name}": text for name, text in found.items() if text}

    def _measure(self) -> list[Metric]:
        sample = self._sampler.sample()
        self._worst = max(self._worst, sample.heat.level)
        self._pressed = max(self._pressed, sample.memory_level)
        used = sample.memory_total - sample.memory_available
        found: dict[str, float | None] = {
            "system_memory_usage_megabytes": used / _MEGA,
            "system_memory_usage_percentage": 100.0 * used / sample.memory_total if sample.memory_total else None,
            "process_memory_megabytes": self._usage.memory / _MEGA if self._usage.memory else None,
            "power_watts": sample.watts,
            "thermal_level": None if sample.heat.level is Level.UNKNOWN else float(sample.heat.level),
            **{f"{name}_memory_megabytes": size / _MEGA for name, size in self._frameworks().items()},
            **self._since(sample),
        }
        self._step += 1
        at = now()
        return [Metric(f"system/{name}", value, at, self._step) for name, value in found.items() if value is not None]

    def _since(self, sample: Sample) -> dict[str, float | None]:
        """What needs two measurements."""
        at, before = time.monotonic(), self._before
        self._before = (at, self._usage.cpu, sample.joules)
        if before is None or at - before[0] < 0.1:
            return {}
        seconds = at - before[0]
        cores = max(0.0, self._usage.cpu - before[1]) / seconds
        if sample.joules is not None and before[2] is not None:
            # a machine that does nothing else gives all its energy to the program
            share = 1.0 if sample.load <= cores else cores / sample.load
            self._joules = (self._joules or 0.0) + max(0.0, sample.joules - before[2]) * share
            self._seconds += seconds
        return {"cpu_utilization_percentage": 100.0 * sample.load / detect().cores, "process_cpu_percentage": 100.0 * cores}

    def _frameworks(self) -> dict[str, float]:
        try:
            raw: Any = json.loads(self._folder.stats.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(name): float(size) for name, size in raw.items() if isinstance(size, int | float)} if isinstance(raw, dict) else {}


def _sampler(folder: Folder) -> Sampler:
    """The sensors that the Platform asks for, read beside the reconciler: it keeps their state, we never write it."""
    try:
        raw = json.loads(folder.sensors.read_text(encoding="utf-8"))
        return open_sampler(Admission.model_validate(raw["admission"]), Path(raw["root"]), folder.state_dir, write=False)
    except (OSError, ValueError, KeyError, TypeError, ReconcilerError):
        return open_sampler(Admission(), folder.path, None)
