"""A circuit breaker for each tool: one that does not answer is left alone for a while, so that it costs the others no time.

Told of every call by the wire. Closed until too many calls in a row got no answer; then open, with one probe whenever a pause has passed;
closed again by the first answer (Nygard, Release It!, 2nd ed., section 5.2)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.controller import Call

TRIP = 5
"""Calls in a row without an answer that open it: more than one action tries within a pass."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds between two probes; doubled up to the usual time between two looks, give or take a tenth."""
SILENT = frozenset({"no answer", "failed", "429", "502", "503", "504"})
"""What calls without an answer end with. Anything else is one, a refusal and a failed request (500) too."""


@dataclass
class _Circuit:
    """Times are monotonic seconds."""

    silent: int = 0
    pause: float = 0.0
    """Until the next probe; 0 = closed."""
    due: float = 0.0
    probing: bool = False


class Breaker:
    """Of all tools. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, on_answer: Callable[[str], None] = lambda _: None) -> None:
        self._clock, self._on_answer = clock, on_answer
        self._circuits: dict[str, _Circuit] = {}
        self._lock = threading.Lock()
        self.said: dict[str, str] = {}
        """Kind -> why it could not be read the last time: said again for as long as its tool is not asked."""

    def heard(self, call: Call) -> None:
        """A call to a tool has ended."""
        answered = False
        with self._lock:
            circuit = self._circuits.setdefault(call.tool, _Circuit())
            if call.status in SILENT:
                self._silent(circuit)
            else:
                answered = circuit.pause > 0
                self._circuits[call.tool] = _Circuit()
        if answered:
            self._on_answer(call.tool)

    def _silent(self, circuit: _Circuit) -> None:
        circuit.silent += 1
        if circuit.probing or (not circuit.pause and circuit.silent >= TRIP):
            circuit.pause = min(LONGEST, circuit.pause * 2 or FIRST)
            circuit.due = self._clock() + circuit.pause * random.uniform(0.9, 1.1)
            circuit.probing = False

    def may_ask(self, tool: str) -> bool:
        """Whether to call it now. Of those who ask while it is open, one is let through after each pause."""
        with self._lock:
            circuit = self._circuits.get(tool)
            if circuit is None or not circuit.pause:
                return True
            if circuit.probing or self._clock() < circuit.due:
                # A probe that made no call leaves the circuit as it was; the next one is let through after another pause.
                if circuit.probing and self._clock() >= circuit.due + circuit.pause:
                    circuit.due = self._clock()
                    return True
                return False
            circuit.probing = True
            return True

    def due(self) -> float | None:
        """Seconds until the first tool is to be asked again; None = all are closed."""
        with self._lock:
            waits = [each.due - self._clock() for each in self._circuits.values() if each.pause]
        return max(0.0, min(waits)) if waits else None

    def open(self) -> dict[str, bool]:
        """Every tool that was called, and whether it is left alone."""
        with self._lock:
            return {tool: bool(each.pause) for tool, each in self._circuits.items()}

    def forgive(self) -> None:
        """Ask every tool again at once: they were started anew."""
        with self._lock:
            self._circuits.clear()
