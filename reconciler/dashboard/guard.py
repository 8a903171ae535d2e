"""What is checked of every request for a page and of every socket, and what browsers may do with the answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.api.v1.authenticate import READS, is_known_host
from reconciler.api.v1.door import Door
from reconciler.errors import ReconcilerError

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # NiceGUI writes its state into the page, Vue compiles templates there
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Around all pages. A page of another origin opens no socket here and posts no form: browsers name their origin for both."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        why = await run_in_threadpool(self._refused, scope)

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if not why:
            await self._app(scope, receive, safe)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why[1]})
        else:
            await PlainTextResponse(f"{why[1]}\n", why[0])(scope, receive, safe)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            platform = self._door.pictures.platform()
        except ReconcilerError as error:
            return 503, str(error)
        if not is_known_host(host, platform.api.hosts if platform is not None else ()):
            return 421, "the dashboard does not answer under that name; `spec.api.hosts` of the Platform names those that it has"
        if scope["type"] == "http" and scope["method"] in READS and "socket.io" not in scope["path"]:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "a page of another origin may not do this"
        return None
