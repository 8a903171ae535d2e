"""Following the files. A look every tenth of a second, and no events: that a replica has died shows in its lock, of which no file system
tells; a look at ten replicas costs about a quarter of a millisecond."""

from __future__ import annotations

import asyncio
import logging
import time

from reconciler.gateway.access import bound_log
from reconciler.gateway.core import Gateway
from reconciler.gateway.counts import TICK
from reconciler.gateway.traffic import PERIOD

EVERY = 0.1
"""Seconds between two looks."""
LOG_EVERY = 10.0
_log = logging.getLogger("reconciler.gateway")


def look(gateway: Gateway) -> None:
    """Take over what has changed on disk. Needs a running event loop."""
    routes, replicas = gateway.table.scan(), gateway.replicas.scan()
    if routes:
        for path in gateway.table.routes:
            gateway.counts.route(path)
    if routes or replicas:
        gateway.changed.ring()


async def follow(gateway: Gateway) -> None:
    """Look again and again, until it is cancelled. Nothing that goes wrong ends it."""
    loop = asyncio.get_running_loop()
    marked = logged = written = loop.time()
    while True:
        await asyncio.sleep(EVERY)
        try:
            look(gateway)
            await gateway.replicas.tidy()
            if loop.time() - marked >= TICK:
                marked = loop.time()
                gateway.counts.mark()
                _ask_for_more(gateway)
            if loop.time() - written >= PERIOD:
                written = loop.time()
                gateway.traffic.mark(gateway.table.routes, gateway.counts, gateway.replicas)
            if loop.time() - logged >= LOG_EVERY:
                logged = loop.time()
                bound_log()
        except Exception:
            _log.exception("a look at the files failed")


def _ask_for_more(gateway: Gateway) -> None:
    """Wake the reconciler where there is more to do than the replicas were meant for."""
    now = time.monotonic()
    for path, route in gateway.table.routes.items():
        if route.wakes_above and gateway.counts.route(path).load(now) > route.wakes_above:
            gateway.wake()
