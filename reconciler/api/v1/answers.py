"""Values as responses: JSON, and 304 for who has it already."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from reconciler.api.v1.asker import Asker
from reconciler.api.v1.problems import MEDIA_TYPE
from reconciler.api.v1.shapes import ProblemDetails
from reconciler.report.json import finite
from reconciler.secret import masked

BOOT = uuid.uuid4().hex[:8]
"""Versions count from the beginning of this process."""
MOST_BODIES, LARGEST = 64, 256 << 10
"""Answers that are kept, and the bytes of one: 16 MiB in all, at most."""
_WORDS = {
    400: "It is not a request that can be read.",
    401: "No token, or not a good one.",
    403: "The role does not include this.",
    404: "There is no such thing, or it may not be seen.",
    409: "It is not as was thought; look again.",
    413: "The body is too large.",
    415: "Another content type is expected.",
    421: "The API does not answer under that name.",
    422: "Not as this description says.",
    429: "Too often; `Retry-After` says when.",
    500: "A defect.",
    503: "Something does not answer now; `Retry-After` says when to ask again.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: what it may refuse with, beside what every route may."""
    schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
    return {each: {"description": _WORDS[each], "content": {MEDIA_TYPE: {"schema": schema}}} for each in statuses}


ALWAYS = refusals(400, 401, 403, 404, 413, 421, 422, 429, 500, 503)


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(_text(value), status, headers=dict(headers or {}), media_type="application/json")


def tagged(request: Request, who: Asker, version: object, make: Any) -> Response:
    """What `make` makes, or 304 where the asker has it: `version` changes with all that it is made of."""
    text = f"{BOOT} {version} {who.scope} {request.url.path}?{request.url.query}"
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    given = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if tag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    bodies: Bodies = request.app.state.door.bodies
    if (body := bodies.get(tag)) is None:
        body = _text(make())
        bodies.put(tag, body)
    return Response(body, headers=headers, media_type="application/json")


class Bodies:
    """Answers that were made lately, by their tags: what many look at is made once for all who may see the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, tag: str) -> bytes | None:
        """None = it has to be made."""
        with self._lock:
            if tag in self._kept:
                self._kept.move_to_end(tag)
            return self._kept.get(tag)

    def put(self, tag: str, body: bytes) -> None:
        """Large ones are not kept."""
        with self._lock:
            if len(body) <= LARGEST:
                self._kept[tag] = body
            while len(self._kept) > MOST_BODIES:
                self._kept.popitem(last=False)


def _text(value: Any) -> bytes:
    try:
        text = json.dumps(value, default=str, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a number that JSON has no word for, from a tool
        text = json.dumps(finite(value), default=str, separators=(",", ":"))
    return masked(text).encode()
