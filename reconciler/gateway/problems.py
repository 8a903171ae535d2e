"""What is refused, as RFC 9457 problem details."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
LINGER = 0.5
"""Seconds for which the rest of a refused body is read."""
LINGER_BYTES = 16 << 20


class Problem(Exception):
    """A request that gets no good answer. `detail` is for the client: it never holds what another project owns."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        """The first mistakes: `{"path": ..., "message": ...}` each."""
        self.headers = dict(headers or {})

    def members(self, request_id: str = "") -> dict[str, Any]:
        """The JSON object. `type` is left out, which means `about:blank`: the status says all that there is (RFC 9457 section 4.2.1)."""
        found: dict[str, Any] = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        if self.errors:
            found["errors"] = list(self.errors)
        if request_id:
            found["requestId"] = request_id
        return found

    def response(self, request_id: str = "") -> Response:
        return Refusal(json.dumps(self.members(request_id)).encode(), self.status, headers=self.headers, media_type=MEDIA_TYPE)


class Refusal(Response):
    """An answer to a request whose body was perhaps not read to its end.

    A connection that is closed while bytes wait to be read is reset, and the reset may overtake the answer; so where the connection is
    to be closed, what still comes is read and dropped for a moment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if self.headers.get("connection") == "close":
            await drop(receive)
        await send({"type": "http.response.body", "body": b""})


async def drop(receive: Receive) -> None:
    """Read what comes, for a moment, and forget it."""
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while dropped < LINGER_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def unavailable(detail: str, retry_after: float) -> Problem:
    """503; `retry_after` in seconds."""
    return Problem(503, detail, headers={"retry-after": str(max(1, round(retry_after)))})


SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
"""Of the bodies, for /openapi.json."""
