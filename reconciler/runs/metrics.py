"""The metrics that a program leaves in its folder of results.

`metrics.jsonl`: one object on each line, `{"step": 3, "loss": 0.41}`, read while it grows.
`metrics.json`: one object with the final numbers."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.runs.tracking import Metric, now

_NAME = re.compile(r"[^A-Za-z0-9_\-. :/]")
"""What MLflow does not take in a metric's name (mlflow.utils.validation)."""
_STEPS = ("step", "epoch", "iteration")
"""The first of these that a line has is its step; the others are metrics."""
PIECE = 1 << 20
"""Bytes read at once."""


@dataclass
class Series:
    """Reads `metrics.jsonl` from where it left off. `offset` and `step` move on only when `accept` says that the server has them."""

    path: Path
    offset: int = 0
    step: int = 0
    _next: tuple[int, int] = (0, 0)

    def read(self, last: bool = False) -> list[Metric]:
        """What came since the last `accept`. A half-written line waits, unless this is the last look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                piece = file.read(PIECE)
        except OSError:
            return []
        complete = piece if last and len(piece) < PIECE else piece[: piece.rfind(b"\n") + 1]
        found, step, at = [], self.step, now()
        for line in complete.splitlines():
            for metric in parse(line, step + 1, at):
                found.append(metric)
                step = max(step, metric.step)
        self._next = (self.offset + len(complete), step)
        return found

    def accept(self) -> None:
        """The server has what was read last."""
        self.offset, self.step = self._next


def parse(line: bytes, default_step: int, at: int) -> list[Metric]:
    """The metrics of one line; none when it is not an object of numbers."""
    try:
        raw = json.loads(line)
    except ValueError:
        return []
    if not isinstance(raw, dict):
        return []
    axis = next((name for name in _STEPS if isinstance(raw.get(name), int) and not isinstance(raw[name], bool)), None)
    step = raw[axis] if axis else default_step
    return [Metric(name, value, at, step) for name, value in numbers({key: each for key, each in raw.items() if key != axis})]


def final(path: Path, step: int) -> list[Metric]:
    """The numbers of `metrics.json`, at `step`: the last one, so that they are the ones that a leaderboard shows."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    at = now()
    return [Metric(name, value, at, step) for name, value in numbers(raw)] if isinstance(raw, dict) else []


def numbers(raw: dict[str, Any]) -> list[tuple[str, float]]:
    """What of an object is a number, under a name that the server takes."""
    found = []
    for key, value in raw.items():
        if key and isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # a whole number that no float can hold
                found.append((_NAME.sub("_", key)[:250], float(value)))
    return found
