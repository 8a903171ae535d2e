"""How requests went, in numbers, as Parquet: what a Monitor reads of latency, errors and load, and what it took of the machine.

One row for each application and few seconds in which something was asked of it. Errors leave no prediction behind, so that the log of
predictions cannot tell of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.admission.values import Level
from reconciler.gateway.counts import AppCount, Counts
from reconciler.gateway.parquet import Kind, Row
from reconciler.gateway.parts import FLUSH, Parts
from reconciler.model.serving import Route, folder

if TYPE_CHECKING:
    from reconciler.gateway.replicas import Replicas

COLUMNS: Mapping[str, Kind] = {
    "time": "time",
    "seconds": "real",
    "deployment": "text",
    "version": "text",
    "revision": "text",
    "requests": "real",
    "errors": "real",
    "unserved": "real",
    "latency": "text",
    "memory": "real",
    "heat": "real",
}
"""`time` is the end of `seconds`; `unserved` were refused because no replica was up (told with the first application of a route);
`latency` is a JSON list of counts by the buckets of BOUNDS; `memory` is that of the largest replica, in bytes; `heat` is a
`admission.values.Level`, NaN = not known."""
PERIOD = 5.0
"""Seconds that a row tells of."""
STALE = 120.0
"""Seconds after which what the sensors said last means nothing any more."""
UNSERVED = 503


@dataclass(slots=True)
class _Before:
    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()


@dataclass
class Traffic:
    """Writes below `serving/traffic`. For one thread, which never waits."""

    state_dir: Path
    flush: float = FLUSH
    clock: Callable[[], float] = time.time
    _apps: dict[str, _Before] = field(default_factory=dict)
    """What each application had counted at the last mark."""
    _refused: dict[str, int] = field(default_factory=dict)
    """The same of what each route had refused for want of a replica."""

    def __post_init__(self) -> None:
        self._parts = Parts(folder(self.state_dir) / "traffic", COLUMNS, flush=self.flush, clock=self.clock)
        self._at = self.clock()

    def mark(self, routes: Mapping[str, Route], counts: Counts, replicas: Replicas) -> None:
        """Write what happened since the last mark; to be called every PERIOD or so. What is not asked for anything is not written."""
        now = self.clock()
        seconds, heat = max(now - self._at, 0.001), math.nan
        self._at = now
        for path, route in routes.items():
            rows = list(self._rows(route, counts, replicas, now, seconds))
            if not rows:
                continue
            heat = _heat(self.state_dir, now) if math.isnan(heat) else heat
            rows = [(*row, heat) for row in rows]
            self._parts.put(route.project, route.name, rows, 300 * len(rows), route.predictions.retain)
            self._refused[path] = _unserved(path, counts)

    def close(self) -> None:
        """Write what waits."""
        self._parts.close()

    def _rows(self, route: Route, counts: Counts, replicas: Replicas, now: float, seconds: float) -> Iterator[Row]:
        unserved = _unserved(route.path, counts) - self._refused.get(route.path, 0)
        for target in route.targets:
            count = counts.app(target.app)
            requests, errors, latency = self._since(target.app, count)
            if not requests and not unserved:
                continue
            memory = max((float(each.registration.memory) for each in replicas.ready(target.app)), default=math.nan)
            about = (now, seconds, route.path, target.version, target.digest)
            yield (*about, float(requests), float(errors), float(unserved), json.dumps(latency), memory)
            unserved = 0

    def _since(self, app: str, count: AppCount) -> tuple[int, int, list[int]]:
        before = self._apps.get(app, _Before())
        earlier = before.latency or (0,) * len(count.latency.buckets)
        latency = [now - then for now, then in zip(count.latency.buckets, earlier, strict=True)]
        self._apps[app] = _Before(count.requests, count.errors, tuple(count.latency.buckets))
        return count.requests - before.requests, count.errors - before.errors, latency


def _unserved(path: str, counts: Counts) -> int:
    return counts.route(path).statuses["", UNSERVED]


def _heat(state_dir: Path, now: float) -> float:
    """What the reconciler's sensors said last: this process reads none itself."""
    from reconciler.hardware.keep import load

    found = load(state_dir / "sensors.json").heat
    known = found.level is not Level.UNKNOWN and found.at is not None and now - found.at <= STALE
    return float(found.level) if known else math.nan
