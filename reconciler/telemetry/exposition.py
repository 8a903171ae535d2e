"""The answer to a scrape: made at most every few seconds, by one thread, and never waited for without a bound."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from reconciler.telemetry.gauges import Gauges
from reconciler.telemetry.meters import Meters

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.pulse import Pulse

FRESH = 2.0
"""Seconds that an answer is given again: whoever asks more often costs nothing more."""
BOUND = 8.0
"""Seconds that a scrape waits; Prometheus itself gives up after 10 by default."""


@dataclass
class Metrics:
    """All that `/metrics` tells, in one registry."""

    house: House
    pulse: Pulse
    fresh: float = FRESH
    clock: Callable[[], float] = time.monotonic
    registry: CollectorRegistry = field(default_factory=lambda: CollectorRegistry(auto_describe=False))
    meters: Meters = field(init=False)
    _gauges: Gauges = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _collecting: threading.Lock = field(default_factory=threading.Lock)
    _answers: dict[str, tuple[float, Future[bytes]]] = field(default_factory=dict)
    """By media type: when it was begun, and what came or comes of it."""

    def __post_init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each counter and each bucket that nobody asks for
        self.meters = Meters(self.registry, self.pulse)
        self._gauges = Gauges(self.house, self.pulse, self.meters)
        self.registry.register(self._gauges)
        ProcessCollector(registry=self.registry)

    async def answer(self, accept: str) -> tuple[bytes, str]:
        """Text and media type, by what the scraper accepts. Raises TimeoutError after `BOUND` seconds; the work goes on."""
        encode, media_type = choose_encoder(accept)
        future = self._future(media_type, encode)
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), BOUND), media_type

    def _future(self, media_type: str, encode: Callable[[CollectorRegistry], bytes]) -> Future[bytes]:
        now = self.clock()
        with self._lock:
            began, future = self._answers.get(media_type, (0.0, None))
            if future is not None and (not future.done() or now - began < self.fresh):
                return future
            future = Future()
            self._answers[media_type] = (now, future)
        threading.Thread(target=self._make, args=(future, encode), name="metrics", daemon=True).start()
        return future

    def _make(self, future: Future[bytes], encode: Callable[[CollectorRegistry], bytes]) -> None:
        began = time.perf_counter()
        try:
            with self._collecting:
                future.set_result(encode(self.registry))
        except Exception as error:
            future.set_exception(error)
        self._gauges.took = time.perf_counter() - began
