"""What is checked of every request before anything reads it, and what every answer says about itself."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.api.v1.authenticate import READS, is_known_host
from reconciler.api.v1.door import Door
from reconciler.api.v1.problems import Problem
from reconciler.errors import ReconcilerError

SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "vary": "Authorization",
}
"""Unless the answer says something else."""


class Guard:
    """Around the whole API. No Access-Control header is ever sent: pages of other origins read nothing."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        if (problem := await run_in_threadpool(self._refused, scope)) is not None:
            await problem.response()(scope, receive, safe)
            return
        body = _Bounded(receive, self._door.limits.body)
        began: MutableMapping[str, Any] = {}

        async def noted(message: Message) -> None:
            if not body.too_long:  # whatever the framework makes of a body that was cut off
                began["it"] = True
                await safe(message)

        try:
            await self._app(scope, body, noted)
        except _TooLong:
            pass
        except ClientDisconnect:
            return
        except Exception as error:
            self._door.house.log.aside.warning("api_failed", path=str(scope.get("path")), error=repr(error), pid=os.getpid())
            if not began:
                await Problem(500, "this is a defect of the reconciler; its log tells more").response()(scope, receive, safe)
        if body.too_long and not began:
            await Problem(413, f"a body may have {self._door.limits.body} bytes").response()(scope, receive, safe)

    def _refused(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            platform = self._door.pictures.platform()
        except ReconcilerError as error:
            return Problem(503, str(error), headers={"retry-after": "5"})
        if not is_known_host(host, platform.api.hosts if platform is not None else ()):
            return Problem(421, "this API does not answer under that name; `spec.api.hosts` of the Platform names those that it has")
        if scope["method"] in READS:
            return None
        origin = headers.get("origin")
        if (origin is not None and urlsplit(origin).netloc != host) or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Problem(403, "a page of another origin may not do this")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._door.limits.body:
            return Problem(413, f"a body may have {self._door.limits.body} bytes")
        return None


class _TooLong(Exception):
    pass


class _Bounded:
    """A body that is longer than it said, or did not say how long it is, ends here."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most
        self.too_long = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_long = True
            raise _TooLong
        return message
