"""How much of what is taken from whom."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.api.v1.problems import busy

MOST_BUCKETS = 10_000
"""Of askers that are remembered; whoever was not heard for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates are requests per second, bursts requests at once."""

    reads: float = 50.0
    read_burst: int = 200
    writes: float = 2.0
    write_burst: int = 20
    failures: float = 0.2
    """Refused logins of one address."""
    failure_burst: int = 20
    body: int = 64 << 10
    """Bytes."""
    streams: int = 64
    """Event streams at a time, of all askers."""
    streams_each: int = 8
    """Of one asker."""


class Rates:
    """Token buckets by asker. Times are seconds of a steady clock."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def read(self, key: str) -> None:
        """Raises Problem 429."""
        self._take("read", key, self._limits.reads, self._limits.read_burst)

    def write(self, key: str) -> None:
        """Raises Problem 429."""
        self._take("write", key, self._limits.writes, self._limits.write_burst)

    def failure(self, address: str) -> None:
        """A login was refused. Raises Problem 429."""
        self._take("failure", address, self._limits.failures, self._limits.failure_burst)

    def _take(self, what: str, key: str, rate: float, burst: int) -> None:
        with self._lock:
            now = self._clock()
            left, at = self._buckets.pop((what, key), (float(burst), now))
            left = min(float(burst), left + (now - at) * rate)
            wait = 0.0 if left >= 1.0 else (1.0 - left) / rate
            self._buckets[what, key] = (left - 1.0 if not wait else left, now)
            while len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        if wait:
            raise busy("too many requests", wait, status=429)
