"""Around every request: its id and trace, one line of log, and an answer even when we fail."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.gateway.core import Gateway
from reconciler.gateway.problems import Problem
from reconciler.model.serving import Target

GONE = 499
"""Status in the log when the client went away before its answer."""
LOG_BYTES = 64 << 20
"""The log begins anew when it is so long."""
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_log = logging.getLogger("reconciler.gateway")


@dataclass(slots=True)
class Trip:
    """What is known of one request while it is answered."""

    request_id: str
    trace_id: str
    flags: str
    """Of the trace, two hex digits."""
    tracestate: str
    """As it came; empty where the trace is ours, for it belongs to a trace."""
    headers: Mapping[bytes, bytes]
    """Lower-case names; of a repeated one the last."""
    started: float = field(default_factory=time.monotonic)
    key: str = ""
    """Id of the key."""
    route: str = ""
    target: Target | None = None
    attempts: int = 0
    gone: bool = False
    """The client went away before its answer."""
    status: int = 0

    def onward(self) -> dict[str, str]:
        """Headers for the replica: the same trace, a span of ours as the parent (W3C Trace Context, level 1)."""
        found = {
            "content-type": "application/json",
            "x-request-id": self.request_id,
            "traceparent": f"00-{self.trace_id}-{os.urandom(8).hex()}-{self.flags}",
        }
        if self.tracestate:
            found["tracestate"] = self.tracestate
        return found


class Access:
    """Outermost part of the application."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway
        self._lines = structlog.wrap_logger(
            structlog.WriteLogger(sys.stdout),
            processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["trip"] = trip = _trip(dict(scope["headers"]))
        mark = (b"x-request-id", trip.request_id.encode())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                trip.status = message["status"]
                message["headers"] = [*message.get("headers", ()), mark]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ConnectionError:
            trip.status = trip.status or GONE
        except Exception:
            _log.exception("request %s failed", trip.request_id)
            if not trip.status:
                problem = Problem(500, "the gateway failed; its log says more under the request's id")
                await problem.response(trip.request_id)(scope, receive, answer)
        finally:
            self._told(scope, trip)

    def _told(self, scope: Scope, trip: Trip) -> None:
        seconds = time.monotonic() - trip.started
        self._count(trip, seconds)
        told: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"][:300],
            "status": trip.status or GONE,
            "ms": round(seconds * 1000, 2),
            "request": trip.request_id,
            "trace": trip.trace_id,
        }
        if trip.key:
            told["key"] = trip.key
        if trip.target is not None:
            told |= {"app": trip.target.app, "version": trip.target.version, "attempts": trip.attempts}
        self._lines.info("request", **told)

    def _count(self, trip: Trip, seconds: float) -> None:
        counts = self._gateway.counts
        if not trip.route:
            counts.refused[trip.status or GONE] += 1
            return
        count = counts.route(trip.route)
        count.statuses[trip.target.version if trip.target else "", trip.status or GONE] += 1
        count.latency.add(seconds)


def _trip(headers: Mapping[bytes, bytes]) -> Trip:
    """Ids that a client gives are taken where they are well-formed; others are replaced, so that none can forge a line of log."""
    asked = headers.get(b"x-request-id", b"")
    request_id = asked.decode() if _ID.fullmatch(asked) else os.urandom(16).hex()
    trace = _TRACE.fullmatch(headers.get(b"traceparent", b""))
    if trace is None:
        return Trip(request_id, os.urandom(16).hex(), "00", "", headers)
    return Trip(request_id, trace[1].decode(), trace[2].decode(), headers.get(b"tracestate", b"").decode("latin-1"), headers)


def bound_log() -> None:
    """Empty the log when it is too long, where it is a file: who starts us rotates it only at a start."""
    look = os.fstat(sys.stdout.fileno())
    if stat.S_ISREG(look.st_mode) and look.st_size > LOG_BYTES:
        os.ftruncate(sys.stdout.fileno(), 0)
