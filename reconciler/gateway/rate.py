"""How often a key may ask. Token buckets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Fills by `rate` per second up to `burst`. Times are seconds of any steady clock."""

    rate: float
    burst: int
    tokens: float
    at: float

    def take(self, now: float) -> float:
        """Take one token; 0.0 when there was one, else the seconds until there will be."""
        self.tokens = min(float(self.burst), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / self.rate


class Rates:
    """A bucket for each route and key. Keys come from the keyring, so there are no more of them than that has."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def take(self, route: str, key: str, rate: float, burst: int, now: float) -> float:
        """As `Bucket.take`; a changed limit begins with a full bucket."""
        bucket = self._buckets.get((route, key))
        if bucket is None or (bucket.rate, bucket.burst) != (rate, burst):
            bucket = self._buckets[route, key] = Bucket(rate, burst, float(burst), now)
        return bucket.take(now)
