"""What it costs to read this machine's sensors once a second."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.page import Budget, Section, budgets, machine
from reconciler.hardware.sampler import PERIOD, open_sampler
from schemas.platform import Admission

TITLE = "Hardware sampler"
SECONDS = 60.0


def run() -> Section:
    """One minute of samples in this process, which does nothing else; CPU seconds of the process."""
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        sampler = open_sampler(Admission(), Path(folder), Path(folder) / "state")
        sampler.sample()  # the first one finds out what the machine is
        began, cpu, samples = time.monotonic(), time.process_time(), 0
        while time.monotonic() - began < SECONDS:
            time.sleep(PERIOD)
            sampler.sample()
            samples += 1
        used, passed = time.process_time() - cpu, time.monotonic() - began
    asked = [f"`{each.probe}` (" + (each.silent or f"{len(each.readings)} readings") + ")" for each in sampler.looks]
    told = f"{samples} samples in {passed:.0f} s, {1000 * used / samples:.2f} ms of CPU each; its state was written as in the loop."
    lines = [machine(), "", told, f"Probes: {', '.join(asked)}. One that is silent here costs more where it speaks."]
    return Section(TITLE, [*budgets([Budget("sampler at 1 Hz, share of a core", 0.5, 100 * used / passed, "%")]), *lines])
