"""The load of a day from its temperature: straight lines with bends, and a step for weekends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COLDEST, WARMEST = -10.0, 35.0


def columns(day: dict[str, Any], bends: int) -> list[float]:
    """What is weighed: one, the weekend, and how far the temperature is beyond each bend."""
    width = (WARMEST - COLDEST) / bends
    warmth = float(day["temperature"])
    return [1.0, float(day["weekend"]), *(max(0.0, warmth - COLDEST - at * width) / width for at in range(bends))]


def load(folder: Path) -> Callable[[Sequence[Any]], list[float]]:
    """The function that predicts."""
    found = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    weights, bends = found["weights"], found["bends"]
    return lambda days: [sum(w * x for w, x in zip(weights, columns(day, bends), strict=True)) for day in days]
