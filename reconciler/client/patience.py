"""How long a tool is waited for: a few tries with growing pauses, and none while it is known to be away.

The circuit is Nygard's (Release It!, 2nd ed., section 5.2): open after too many calls without an answer, one probe after each pause,
closed by the first answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.client.errors import Unavailable

T = TypeVar("T")
SHARE = 9.0
"""A pause is so many times as long as the call was: a tool that hangs costs a training a tenth of its time at most."""


@dataclass(frozen=True)
class Patience:
    """Seconds and counts of one call."""

    tries: int = 4
    first: float = 0.2
    """Pause before the second try; doubled for each further one, with jitter."""
    longest: float = 2.0
    timeout: float = 15.0
    """Of one try."""
    connect: float = 3.0
    trip: int = 2
    """Calls without an answer, all their tries included, after which the tool is left alone."""
    rest: float = 1.0
    """Seconds before the first probe; doubled up to `longest_rest`."""
    longest_rest: float = 30.0


@dataclass
class Circuit:
    """Of one tool. Safe to use from many threads."""

    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    _silent: int = 0
    _pause: float = 0.0
    """Until the next probe; 0 = closed."""
    _due: float = 0.0
    _why: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def open(self) -> bool:
        """True while the tool is left alone; false for the one that may probe."""
        with self._lock:
            return bool(self._pause) and self.clock() < self._due

    def call(self, what: Callable[[], T], *, tries: int | None = None) -> T:
        """`what()`, tried again while it raises Unavailable. Raises Unavailable at once while the circuit is open."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        patience = self.patience
        with self._lock:
            if self._pause and self.clock() < self._due:
                raise Unavailable(f"{self._why}; it is asked again in {self._due - self.clock():.0f} s")
            probing = bool(self._pause)
            if probing:  # the others wait until it has answered
                self._due = self.clock() + patience.timeout
        began = self.clock()
        retrying = Retrying(
            stop=stop_after_attempt(1 if probing else tries or patience.tries),
            wait=wait_random_exponential(multiplier=patience.first, max=patience.longest),
            retry=retry_if_exception_type(Unavailable),
            reraise=True,
        )
        try:
            answer = retrying(what)
        except Unavailable as error:
            self._failed(error, self.clock() - began)
            raise
        except BaseException:  # a refusal is an answer
            self._answered()
            raise
        self._answered()
        return answer

    def _answered(self) -> None:
        with self._lock:
            self._silent, self._pause = 0, 0.0

    def _failed(self, error: Unavailable, took: float) -> None:
        with self._lock:
            self._silent += 1
            self._why = error.message
            if self._pause or self._silent >= self.patience.trip:
                self._pause = min(self.patience.longest_rest, self._pause * 2 or self.patience.rest)
                self._due = self.clock() + max(self._pause, SHARE * took)
