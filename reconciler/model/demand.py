"""What work asks of a machine: amounts as whole numbers, so that sums over millions of grants stay exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from schemas.base import quantity_value
from schemas.run import ModelFacts

RESOURCES = ("memory", "cpu", "gpu", "watts")
WorkClass: TypeAlias = Literal["serving", "batch", "monitor", "system"]
"""serving: a standing reservation, never pre-empted for heat. batch: runs. monitor: report jobs. system: the shared services."""


class Amounts(NamedTuple):
    """How much of each resource, in its smallest unit."""

    memory: int = 0
    """Bytes."""
    cpu: int = 0
    """Thousandths of a core."""
    gpu: int = 0
    """Thousandths of a device."""
    watts: int = 0
    """Thousandths of a watt."""

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    def minus(self, other: Amounts) -> Amounts:
        """May go below zero."""
        return Amounts(self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3])

    def within(self, most: Limits) -> bool:
        """True when no resource is above its limit."""
        return not any(limit is not None and have > limit for have, limit in zip(self, most, strict=True))


class Limits(NamedTuple):
    """A bound for each resource in the units of Amounts; None = none."""

    memory: int | None = None
    cpu: int | None = None
    gpu: int | None = None
    watts: int | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks of a project's workflows may be in flight at once."""

    full: int
    """By its quota alone."""
    now: int
    why: str = ""
    """Why `now` is smaller; empty = it is not."""


NOTHING = Amounts()
UNLIMITED = Limits()
_SCALE = {"memory": 1, "cpu": 1000, "gpu": 1000, "watts": 1000}


def limits_of(given: Mapping[str, Any] | None) -> Limits:
    """Quantities of a manifest (`{memory: 2Gi, cpu: 500m}`) as Limits; what is not given is None."""
    found = given or {}
    return Limits(*(None if found.get(name) is None else units(name, found[name]) for name in RESOURCES))


def amounts_of(given: Mapping[str, Any] | None) -> Amounts:
    """The same as Amounts; what is not given is 0."""
    return Amounts(*(each or 0 for each in limits_of(given)))


def one_core(given: Mapping[str, Any] | None) -> Amounts:
    """The same for work that says nothing of cores: it gets one."""
    found = amounts_of(given)
    return found if (given or {}).get("cpu") is not None else found._replace(cpu=_SCALE["cpu"])


def units(name: str, quantity: str | int | float) -> int:
    """A quantity as the whole number that Amounts holds for the resource `name`; rounded to the nearest."""
    return round(quantity_value(str(quantity)) * _SCALE[name])


@dataclass(frozen=True, slots=True)
class Demand:
    """What one piece of work asks for before it may start."""

    work: WorkClass
    peak: Amounts
    """The most that it is expected to use at once: what admission reserves, plus the margin on memory."""
    steady: Amounts
    """What it uses most of the time; for batch work the same as `peak`."""
    seconds: float | None = None
    """How long it is expected to take; None = not known, or for ever (serving)."""
    priority: int | None = None
    """1 to 10, 10 goes first; None = its project's."""
    preemptible: bool = True
    template: str = ""
    """What shares a history of measured peaks: same text, same kind of work."""
    declared: bool = True
    """False: nobody said how much memory it needs; `peak` is a default or a formula."""
    largest_buffer: int = 0
    """Bytes of the largest single allocation that the work needs, for accelerators that bound it; 0 = not known."""
    not_before: datetime | None = None
    """Waits for a retry's backoff until then."""
    fresh: bool = True
    """A new launch, which counts against the launch budget; False = a retry, or once more after a pre-emption."""
    facts: ModelFacts | None = None
    """Size of the model, for the estimate of memory that nobody declared."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier work of one template was measured to need."""

    runs: int = 0
    """How many were measured."""
    memory: int = 0
    """Bytes: high peak of the recent ones (decayed 95th percentile), raised after an over-run."""
    seconds: float = 0.0
    """Median length."""
    spread: float = 0.0
    """Relative half-width of the interval that held four fifths of the lengths."""
    watts: float = 0.0
    """Mean power; 0 = not measured."""
    peaks: tuple[int, ...] = ()
    """Bytes: peaks of the most recent ones, the newest last; that of an over-run is raised already."""
    lengths: tuple[float, ...] = ()
    """Seconds: lengths of the most recent ones that came to their end, the newest last."""
