"""What a probe is: one function that reads something raw, and one pure function that puts it on the common scale."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from reconciler.hardware.values import Reading

Raw = TypeVar("Raw")
Carry = Mapping[str, float]
"""What a probe remembers from one look to the next, for trends; small, kept in the state folder."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What one source says of energy: a counter, or the power of this moment."""

    source: str
    joules: float | None = None
    """A counter that only grows, except where it wraps."""
    watts: float | None = None
    """Power now; worked out from the counter where there is one."""
    epoch: str = ""
    """Counters of different epochs cannot be compared: a boot, a process."""
    wraps_at: float | None = None
    """Joules after which the counter starts again at zero."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of the machine, or of what this process is confined to. Bytes."""

    total: int
    available: int
    """What new work could take without swapping."""
    swap_used: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """What one probe saw in one look."""

    probe: str
    readings: tuple[Reading, ...] = ()
    energy: tuple[Energy, ...] = ()
    memory: MemoryUse | None = None
    silent: str = ""
    """Why it saw nothing; empty = it saw something."""
    hint: str = ""
    """What a person can do about it."""
    carry: Carry = field(default_factory=dict)


class Silent(Exception):
    """A reader found that its sensor is not here. The arguments are the reason, and what to do about it."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


@dataclass(frozen=True)
class Probe(Generic[Raw]):
    """One kind of sensor. Tests hand in a `read` that returns what a machine was recorded to say."""

    name: str
    """Such as `linux.zones`."""
    what: str
    """`heat`, `memory` or `power`: what it would tell if it spoke."""
    read: Callable[[], Raw]
    """Reads the machine. May raise Silent or OSError."""
    interpret: Callable[[Raw, float, Carry], Look]
    """Puts it on the scale: raw, seconds on any steady clock, what it carried from the look before. Pure."""
    instead_of: tuple[str, ...] = ()
    """Asked only while all probes of these names are silent: coarser, or too slow for every second."""

    def look(self, at: float, carry: Carry) -> Look:
        """One look; a sensor that fails is silent, it never raises."""
        try:
            raw = self.read()
        except Silent as gone:
            return Look(self.name, silent=gone.why, hint=gone.hint, carry=carry)
        except Exception as error:  # a sensor is foreign code and foreign text: what it raises must not stop admission
            return Look(self.name, silent=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, carry=carry)
        return self.interpret(raw, at, carry)


def paced(read: Callable[[], Raw], seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], Raw]:
    """`read` at most once in so many seconds, for what costs a subprocess; in between the same answer, or the same Silent, again."""
    answered: list[tuple[float, Callable[[], Raw]]] = []

    def answer() -> Raw:
        if not answered or not 0 <= clock() - answered[0][0] < seconds:
            at = clock()
            try:
                found = read()
                answered[:] = [(at, lambda: found)]
            except Silent as gone:
                why = gone
                answered[:] = [(at, lambda: _again(why))]
        return answered[0][1]()

    return answer


def _again(gone: Silent) -> NoReturn:
    raise Silent(gone.why, gone.hint)
