"""What is refused, as RFC 9457 problem details; also what the framework itself refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from reconciler.errors import ReconcilerError, StoreError, Transient, UsageError
from reconciler.secret import masked

MEDIA_TYPE = "application/problem+json"
CHALLENGE = {"www-authenticate": 'Bearer realm="mlops-reconciler"'}
MOST_MISTAKES = 20
"""Of a request that are told."""


class Problem(Exception):
    """A request that gets no good answer. `detail` says what to do; it never tells of what the asker may not see."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, errors, dict(headers or {})

    def response(self) -> Response:
        """`type` is left out, which means `about:blank`: the status says all that there is (RFC 9457 section 4.2.1)."""
        body: dict[str, Any] = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": masked(self.detail)}
        if self.errors:
            body["errors"] = list(self.errors)
        return Response(json.dumps(body), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """404: it is not there, or the asker may not know that it is."""
    return Problem(404, f"there is no {what} here that you may see")


def busy(detail: str, retry_after: float, status: int = 503) -> Problem:
    """`retry_after` in seconds."""
    return Problem(status, detail, headers={"retry-after": str(max(1, round(retry_after)))})


def handle(app: FastAPI) -> None:
    """Let everything that is raised, by us or by the framework, be told as problem details."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def frameworks(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return Problem(error.status_code, str(error.detail), headers=error.headers).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        mistakes = [{"path": ".".join(map(str, each["loc"])), "message": str(each["msg"])} for each in error.errors()[:MOST_MISTAKES]]
        return Problem(422, "the request is not as the interface's description says", errors=mistakes).response()

    async def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, ReconcilerError)
        if isinstance(error, (StoreError, Transient)):
            return busy(str(error), 5).response()
        return Problem(409 if isinstance(error, UsageError) else 500, str(error)).response()

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(HTTPException, frameworks)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ReconcilerError, known)
