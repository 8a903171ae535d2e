"""How the loop is getting on: kept by the loop, asked by whoever wants to know whether it lives. A process that is there and does nothing
is not healthy: one that sleeps for ever looks alive to everything that only asks for a PID."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

STILL = 180.0
"""Seconds without a turn of the loop, outside of a pass, after which it is stuck: it turns four times a second, or pauses for 60 s."""
LONG = 1800.0
"""Seconds after which a pass that goes on is stuck: each wait on a tool ends before."""


@dataclass
class Pulse:
    """Times are monotonic seconds. Written by one thread, read by others."""

    every: float
    """Seconds between two looks at the tools, at most."""
    clock: Callable[[], float] = time.monotonic
    turned: float = field(init=False)
    """The last turn of the loop."""
    began: float | None = None
    """Of the pass that goes on."""
    passed: float | None = None
    """End of the last pass."""
    seconds: float = 0.0
    """That it took."""
    failures: int = 0
    """Passes in a row that could not be made."""
    trouble: str = ""
    """Why the last one could not."""
    leader: str = ""
    """Who leads instead of this process, as a sentence; empty = this one does."""
    circuits: Callable[[], Mapping[str, bool]] = dict
    """Every tool that was called, and whether it is left alone because it does not answer."""

    def __post_init__(self) -> None:
        self.turned = self.clock()

    def turn(self) -> None:
        """The loop looks whether there is something to do."""
        self.turned, self.began = self.clock(), None

    def pass_begins(self) -> None:
        self.turned = self.began = self.clock()

    def pass_ends(self) -> None:
        now = self.clock()
        self.seconds = now - self.began if self.began is not None else 0.0
        self.turned = self.passed = now
        self.began, self.failures, self.trouble = None, 0, ""

    def pass_fails(self, why: str) -> None:
        """`why` may be shown: no secrets."""
        self.turned, self.began = self.clock(), None
        self.failures, self.trouble = self.failures + 1, why

    def stuck(self) -> str:
        """Why the loop does not get on, in words; empty = it does. A standby gets on as long as it looks at the leader."""
        now = self.clock()
        if self.began is not None:
            return f"a pass has been going on for {now - self.began:.0f} s" if now - self.began > LONG else ""
        return f"the loop has not turned for {now - self.turned:.0f} s" if now - self.turned > STILL else ""

    def not_ready(self) -> str:
        """Why what it says is not what there is; empty = it is."""
        if self.leader:
            return f"standby: {self.leader}"
        if self.failures:
            return f"{self.failures} passes in a row could not be made: {self.trouble}"
        return "no pass has ended yet" if self.passed is None else self.stuck()

    def age(self) -> float | None:
        """Seconds since the last pass ended: so old may be what is known of drift; None = there was none."""
        return None if self.passed is None else self.clock() - self.passed
