"""The application: whether the loop lives, whether it is ready, its metrics, the door that forges knock at, and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reconciler.api.hooks import MOST_BYTES, genuine
from reconciler.pulse import Pulse

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from reconciler.api.v1.door import Door
    from reconciler.telemetry.exposition import Metrics

Secrets = Callable[[], Mapping[str, Callable[[], str]]]
"""Sources that may be pushed to, by name, each with its secret, fetched when it is needed."""


NO_METRICS = "metrics need the Python package prometheus-client: install mlops-reconciler[metrics] and start the loop again\n"


def application(
    pulse: Pulse, hooks: Secrets, wake: Callable[[str], None], metrics: Metrics | None = None, door: Door | None = None, pages: bool = False
) -> FastAPI:
    """`wake` is told the source that somebody pushed to. `metrics` is None where what they need is not installed; `door`: what `/api/v1`
    reads; `pages`: with the dashboard, whose packages have to be there."""
    from fastapi import FastAPI
    from starlette.routing import Mount, Route

    doors = _Doors(pulse, hooks, wake, metrics)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes += [
        Route("/healthz", doors.healthz),
        Route("/readyz", doors.readyz),
        Route("/metrics", doors.metrics),
        Route("/hooks/git/{source}", doors.push, methods=["POST"]),
    ]
    if door is not None:
        from reconciler.api.v1.app import PREFIX, interface
        from reconciler.api.v1.problems import handle

        handle(app)  # a path with a line break in it is below no prefix
        api = interface(door)
        app.router.routes.append(Mount(PREFIX, api))
        if pages:
            from reconciler.dashboard.app import Dashboard

            Dashboard(door, api).put_on(app, door)
    return app


class _Doors:
    def __init__(self, pulse: Pulse, hooks: Secrets, wake: Callable[[str], None], metrics: Metrics | None) -> None:
        self._pulse, self._hooks, self._wake, self._metrics = pulse, hooks, wake, metrics

    async def healthz(self, _: Request) -> Response:
        return self._told(self._pulse.stuck())

    async def readyz(self, _: Request) -> Response:
        return self._told(self._pulse.not_ready())

    async def metrics(self, request: Request) -> Response:
        from starlette.responses import Response

        if self._metrics is None:
            return Response(NO_METRICS, status_code=501)
        try:
            text, media_type = await self._metrics.answer(request.headers.get("accept", ""))
        except TimeoutError:
            return Response("collecting takes too long; it goes on, ask again\n", status_code=503)
        return Response(text, headers={"content-type": media_type})

    async def push(self, request: Request) -> Response:
        from starlette.responses import Response

        secrets = self._hooks()
        secret = secrets.get(str(request.path_params["source"]))
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return Response(status_code=413)
        # One answer for a source that is not there and for a wrong signature: nobody learns which sources there are.
        if secret is None or not genuine(_value(secret), request.headers, body):
            return Response("this source is not known, or the signature is wrong\n", status_code=401)
        self._wake(str(request.path_params["source"]))
        return Response(status_code=202)

    def _told(self, why: str) -> Response:
        from starlette.responses import JSONResponse

        pulse, age = self._pulse, self._pulse.age()
        body = {
            "status": "unavailable" if why else "ok",
            "why": why,
            "role": "standby" if pulse.leader else "leader",
            "lastPassSecondsAgo": None if age is None else round(age, 1),
            "lastPassSeconds": round(pulse.seconds, 3),
        }
        return JSONResponse(body, status_code=503 if why else 200)


def _value(secret: Callable[[], str]) -> str:
    """Empty, which nobody can sign with, when it cannot be had."""
    from reconciler.errors import ReconcilerError

    try:
        return secret()
    except ReconcilerError:
        return ""
