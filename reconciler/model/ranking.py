"""What leads where: the finished runs of an experiment, the best first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.model.names import Ref
from reconciler.model.values import JSON


@dataclass(frozen=True, slots=True)
class Ranked:
    """One finished run and what it took."""

    ref: Ref
    """The child; it may not be wanted any more by the time this is read."""
    id: str
    """In the tracking server."""
    value: float | None
    """Of the metric that counts; None = the run does not have it, or none counts."""
    params: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    peak_memory: int | None = None
    """Bytes."""
    joules: float | None = None
    """The machine's energy meter, shared by processor time (`reconciler.runs.system`); None = nothing metered it."""
    meter: str = ""
    """What metered `joules`: `sensors`, or `simulated` (a trace that stands for them); empty = not told."""
    hardware: str = ""
    """The processor that it ran on; empty = not told."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Digest of each dataset that it read."""


@dataclass(frozen=True, slots=True)
class Fell:
    """One run that ended in failure, and what it took all the same."""

    id: str
    seconds: float | None = None
    joules: float | None = None
    peak_memory: int | None = None
    meter: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One experiment's."""

    ref: Ref
    metric: str = ""
    """What counts; empty = nothing was declared."""
    goal: Literal["maximize", "minimize"] = "maximize"
    runs: tuple[Ranked, ...] = ()
    """The best first; those without the metric last."""
    techniques: tuple[str, ...] = ()
    """Methods that its runs use, as declared."""
    failed: tuple[Fell, ...] = ()
