"""A worker: registers this machine, or a part of it, as a node of an installation, tells its sensors, and starts what it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from reconciler.admission.scene import blind_node, node_of
from reconciler.admission.values import Node
from reconciler.errors import ReconcilerError
from reconciler.hardware.detector import detect
from reconciler.hardware.sampler import Sampler, open_sampler
from reconciler.runs.nodes import EVERY_SECONDS, NodeRunner, home, tell
from schemas.platform import Admission

LOOK_SECONDS = 0.25
"""Between two looks into the inbox."""


class Worker:
    """One node. Jobs that it has started go on without it, under their supervisors; the next worker of this name takes them up."""

    def __init__(self, state_dir: Path, root: Path, name: str, admission: Admission, now: Callable[[], datetime]) -> None:
        self._state_dir, self._name, self._admission, self._now = state_dir.resolve(), name, admission, now
        place = home(self._state_dir, name)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runner = NodeRunner(self._state_dir, name, lambda: None, lambda: (admission, root))
        self._sampler: Sampler = open_sampler(admission, root, place)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        told = 0.0
        while not stop.is_set():
            at = self._now().timestamp()
            if not 0 <= at - told < EVERY_SECONDS:
                tell(self._state_dir, self.sample(), at)
                told = at
            self._runner.take()
            stop.wait(LOOK_SECONDS)

    def sample(self) -> Node:
        """This node now. A sensor that fails costs what it would have told, nothing else."""
        machine = replace(detect(self._state_dir), name=self._name)
        try:
            sample = self._sampler.sample()
        except (ReconcilerError, OSError):
            return blind_node(machine, self._admission)
        used = sum(each.memory for each in self._runner.look().values() if each.state in ("starting", "running", "paused"))
        return node_of(machine, sample, self._admission, jobs=used)
