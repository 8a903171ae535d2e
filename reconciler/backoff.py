"""When what failed is tried again: each resource by itself, so that one that flaps costs the others no time.

Kept in the memory of one process: a person who runs `reconcile` wants it tried now, and a loop that starts anew may try once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from reconciler.breaker import Breaker
from reconciler.errors import StoreError, Terminal, Transient
from reconciler.model import Delete, Failed, Outcome, Ref, Write

FIRST, FIRST_TERMINAL, LONGEST = 5.0, 30.0, 300.0
"""Seconds until the next try, doubled each time, give or take a tenth. What the tool refused is tried as well, more rarely: what it refused
for (an account, a quota) may change without a new revision."""


@dataclass(frozen=True, slots=True)
class _Wait:
    asked: str
    """What was tried: something else is tried at once."""
    error: Exception
    failures: int
    due: float
    """Monotonic seconds."""
    tool: str


class Backoff:
    """Of all resources. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waits: dict[Ref, _Wait] = {}
        self._lock = threading.Lock()
        self.breaker = Breaker(clock, self._answers)

    def holds(self, write: Write, tool: str) -> Exception | None:
        """What it ended with the last time, or why its tool is not asked, when this is not the time to try; None = try it."""
        with self._lock:
            wait = self._waits.get(write.ref)
        known = wait.error if wait is not None and wait.asked == _asked(write) else None
        if wait is not None and known is not None and self._clock() < wait.due:
            return known
        if tool and not self.breaker.may_ask(tool):
            return known or Transient(f"{tool} does not answer", hint="it is asked again by itself")
        return None

    def tried(self, write: Write, tool: str, outcome: Outcome | None) -> None:
        """It was tried, and ended so."""
        with self._lock:
            if not isinstance(outcome, Failed):
                self._waits.pop(write.ref, None)
                return
            error, before, asked = outcome.error, self._waits.get(write.ref), _asked(write)
            if isinstance(error, StoreError):  # says nothing about the resource
                return
            failures = before.failures + 1 if before is not None and before.asked == asked else 1
            first = FIRST_TERMINAL if isinstance(error, Terminal) else FIRST
            pause = min(LONGEST, first * 2.0 ** min(failures - 1, 10)) * random.uniform(0.9, 1.1)
            told = error.retry_after if isinstance(error, Transient) else None
            self._waits[write.ref] = _Wait(asked, error, failures, self._clock() + max(pause, told or 0.0), tool)

    def due(self) -> frozenset[Ref]:
        """Resources whose time to be tried again has come."""
        with self._lock:
            return frozenset(ref for ref, each in self._waits.items() if self._clock() >= each.due)

    def keep(self, planned: Collection[Ref]) -> None:
        """Forget everything but these: nothing is to be done with the others any more."""
        with self._lock:
            self._waits = {ref: each for ref, each in self._waits.items() if ref in planned}

    def _answers(self, tool: str) -> None:
        """What failed while the tool was away may be tried now."""
        with self._lock:
            for ref, each in self._waits.items():
                if each.tool == tool and not isinstance(each.error, Terminal):
                    self._waits[ref] = replace(each, due=self._clock(), failures=0)


def _asked(write: Write) -> str:
    if isinstance(write, Delete):
        return f"Delete {write.owned.external_id}"
    inputs = sorted((str(ref), sorted(map(str, outputs.items()))) for ref, outputs in write.resource.inputs.items())
    return f"{type(write).__name__} {write.resource.digest} {inputs}"
