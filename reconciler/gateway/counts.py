"""What happened since the gateway started, in numbers. No I/O; for one thread. Times are seconds of any steady clock."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconciler.model.serving import BOUNDS

WINDOW = 15.0
"""Seconds over which the load of a route is averaged."""
TICK = 0.5
"""Seconds between two marks of the average."""


@dataclass(slots=True)
class Histogram:
    """Seconds in the buckets of BOUNDS."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class AppCount:
    """Of one application."""

    ongoing: int = 0
    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def answered(self, seconds: float, *, good: bool) -> None:
        """An answer, or the want of one; `seconds` is what the application took."""
        self.requests += 1
        self.errors += not good
        self.latency.add(seconds)


class RouteCount:
    """Of one route. `load` is the exact mean over time, not over samples: a short burst counts for as long as it lasted."""

    def __init__(self, now: float) -> None:
        self.held = 0
        """Requests in hand, those whose body has not come yet too."""
        self.ongoing = 0
        self.waiting = 0
        self.latency = Histogram()
        self.statuses: Counter[tuple[str, int]] = Counter()
        """(Version, status) -> answers."""
        self._last = now
        """When the last request came; before the first, when the route did."""
        self._sum, self._at = 0.0, now
        self._marks: deque[tuple[float, float]] = deque([(now, 0.0)])

    @contextmanager
    def doing(self, what: str, clock: Callable[[], float]) -> Iterator[None]:
        """One request more that is `ongoing` or `waiting`, while it lasts."""
        self._shift(what, 1, clock())
        try:
            yield
        finally:
            self._shift(what, -1, clock())

    def came(self, now: float) -> None:
        self._last = now

    def mark(self, now: float) -> None:
        """Remember how far the sum is; to be called every TICK or so."""
        self._flow(now)
        self._marks.append((now, self._sum))
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW:
            self._marks.popleft()

    def load(self, now: float) -> float:
        """Mean of ongoing and waiting over the last WINDOW, or over what there is of it."""
        self._flow(now)
        since, before = self._marks[0]
        return (self._sum - before) / max(now - since, 1.0)

    def idle(self, now: float) -> float:
        return 0.0 if self.ongoing or self.waiting else max(0.0, now - self._last)

    def _shift(self, what: str, by: int, now: float) -> None:
        self._flow(now)
        if what == "ongoing":
            self.ongoing += by
        else:
            self.waiting += by
        if by < 0:
            self._last = now

    def _flow(self, now: float) -> None:
        self._sum += (now - self._at) * (self.ongoing + self.waiting)
        self._at = now


class Counts:
    """Of everything. Applications and routes that have gone keep their numbers: they may come back, and counters never fall."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.apps: dict[str, AppCount] = {}
        self.routes: dict[str, RouteCount] = {}
        self.refused: Counter[int] = Counter()
        """Status -> answers that belong to no route."""

    def app(self, name: str) -> AppCount:
        found = self.apps.get(name)
        if found is None:
            found = self.apps[name] = AppCount()
        return found

    def route(self, path: str) -> RouteCount:
        found = self.routes.get(path)
        if found is None:
            found = self.routes[path] = RouteCount(self._clock())
        return found

    def mark(self) -> None:
        for each in self.routes.values():
            each.mark(self._clock())
