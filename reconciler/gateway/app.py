"""The application: which path is answered by what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path
from starlette.types import ASGIApp

from reconciler.gateway import feed, metrics, models
from reconciler.gateway.access import GONE, Access, Trip
from reconciler.gateway.auth import admin, route_for, scoped, sees, who
from reconciler.gateway.batch import Batch
from reconciler.gateway.body import expect, parse, read
from reconciler.gateway.core import Gateway
from reconciler.gateway.openapi import document
from reconciler.gateway.predict import Predict
from reconciler.gateway.problems import Problem
from reconciler.gateway.watch import follow


def application(gateway: Gateway) -> ASGIApp:
    """Everything that is answered. The gateway has looked at its files before this serves."""

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.ensure_future(follow(gateway))
        yield
        following.cancel()
        await gateway.replicas.close()
        await asyncio.to_thread(gateway.predictions.close)
        await asyncio.to_thread(gateway.feedback.close)
        gateway.traffic.mark(gateway.table.routes, gateway.counts, gateway.replicas)
        await asyncio.to_thread(gateway.traffic.close)

    app = FastAPI(lifespan=running, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    endpoints = _Endpoints(gateway)
    app.router.routes[:] = [
        Path("/predict/{project}/{name}", Predict(gateway), methods=["POST"]),
        Path("/predict/{project}/{name}/batch", Batch(gateway), methods=["POST"]),
        Path("/feedback/{project}/{name}", endpoints.feedback, methods=["POST"]),
        Path("/models", endpoints.models, methods=["GET"]),
        Path("/models/{project}/{name}", endpoints.model, methods=["GET"]),
        Path("/models/{project}/{name}/ready", endpoints.ready, methods=["GET"]),
        Path("/healthz", endpoints.healthz, methods=["GET"]),
        Path("/readyz", endpoints.readyz, methods=["GET"]),
        Path("/metrics", endpoints.metrics, methods=["GET"]),
        Path("/openapi.json", endpoints.openapi, methods=["GET"]),
        Path("/-/state", endpoints.state, methods=["GET"]),
    ]
    app.add_exception_handler(Problem, _refused)
    app.add_exception_handler(HTTPException, _no_such_path)
    app.add_exception_handler(ConnectionError, _nobody_there)
    return Access(app, gateway)


class _Endpoints:
    """All but predictions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def feedback(self, request: Request) -> Response:
        trip = _trip(request)
        project, name = _named(request)
        scoped(self._gateway, trip, "feedback")  # also where anybody may ask: labels decide what becomes of a canary
        route, _ = route_for(self._gateway, trip, project, name, "feedback")
        expect(trip.headers, "application/json")
        labels = feed.labels_of(parse(await read(request.receive, trip.headers, feed.MOST_BYTES, route.limits.timeout)))
        return JSONResponse(feed.taken(self._gateway.feedback.add(route, labels), len(labels)))

    async def models(self, request: Request) -> Response:
        key = scoped(self._gateway, _trip(request), "models")
        return JSONResponse([models.summary(self._gateway, each) for each in self._gateway.table.routes.values() if sees(key, each)])

    async def model(self, request: Request) -> Response:
        route, _ = route_for(self._gateway, _trip(request), *_named(request), "models")
        return JSONResponse(models.detail(self._gateway, route))

    async def ready(self, request: Request) -> Response:
        route, _ = route_for(self._gateway, _trip(request), *_named(request), "models")
        why = route.off or models.missing(self._gateway, route)
        if why:
            raise Problem(503, f"{route.path} does not answer: {why}")
        return JSONResponse({"ready": True})

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "generation": self._gateway.table.generation})

    async def readyz(self, request: Request) -> Response:
        """To whom it may not be told which deployments there are, their number is."""
        key = who(self._gateway, _trip(request))
        routes = self._gateway.table.routes.values()
        down = {each.path: why for each in routes if (why := models.missing(self._gateway, each))}
        if down:
            seen = [{"path": each.path, "message": down[each.path]} for each in routes if each.path in down and sees(key, each)]
            raise Problem(503, f"{len(down)} of {len(routes)} deployments do not answer", errors=seen)
        return JSONResponse({"ready": len(routes)})

    async def metrics(self, request: Request) -> Response:
        scoped(self._gateway, _trip(request), "metrics")
        return Response(metrics.exposition(self._gateway), headers={"content-type": metrics.MEDIA_TYPE})

    async def openapi(self, request: Request) -> Response:
        key = who(self._gateway, _trip(request))
        return JSONResponse(document(self._gateway, [each for each in self._gateway.table.routes.values() if sees(key, each)]))

    async def state(self, request: Request) -> Response:
        admin(self._gateway, _trip(request))
        return JSONResponse(asdict(self._gateway.state()))


def _trip(request: Request) -> Trip:
    trip: Trip = request.scope["trip"]
    return trip


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["project"], request.path_params["name"]


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(_trip(request).request_id)


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found: Any = error.headers
    return Problem(error.status_code, error.detail, headers=found).response(_trip(request).request_id)


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=GONE)
