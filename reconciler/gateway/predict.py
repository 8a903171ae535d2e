"""`POST /predict/PROJECT/NAME`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from reconciler.gateway.access import Trip
from reconciler.gateway.auth import route_for
from reconciler.gateway.body import expect, parse, read
from reconciler.gateway.core import Gateway
from reconciler.gateway.forward import Answer, forward
from reconciler.gateway.keys import Key
from reconciler.gateway.problems import Problem, unavailable
from reconciler.model.serving import Route, Target

ANONYMOUS = "-"
"""In place of a key's id: all who ask without a key share one rate."""


class Predict:
    """The endpoint, as an ASGI application below the router: this is the path on which every microsecond counts."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trip: Trip = scope["trip"]
        where = scope["path_params"]
        with admitted(self._gateway, trip, where["project"], where["name"]) as (route, _):
            expect(trip.headers, "application/json")
            body = await read(receive, trip.headers, route.limits.body, route.limits.timeout)
            instances = instances_of(parse(body), route.limits.batch)
            async with while_connected(receive, trip):
                answer = await forward(self._gateway, route.path, trip, body, instances)
        content = _content(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), *told_of(answer.target)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@contextlib.contextmanager
def admitted(gateway: Gateway, trip: Trip, project: str, name: str) -> Iterator[tuple[Route, Key]]:
    """The route and whose request it is, with a place in the route's queue while this lasts. Raises Problem 401, 403, 404, 429, 503."""
    route, key = route_for(gateway, trip, project, name, "predict")
    trip.route = route.path
    if seconds := _too_soon(gateway, route, key):
        more = f"more than {route.limits.rate:g} requests per second"
        raise Problem(429, more, headers={"retry-after": str(math.ceil(seconds))})
    count = gateway.counts.route(route.path)
    if count.held >= route.limits.queue:
        raise unavailable(f"{count.held} requests are in hand already", 1.0)
    count.held += 1
    try:
        yield route, key
    finally:
        count.held -= 1


async def another(gateway: Gateway, route: Route, key: Key) -> None:
    """A further part of a request that is admitted already: as the rate allows it."""
    while seconds := _too_soon(gateway, route, key):
        await asyncio.sleep(seconds)


def _too_soon(gateway: Gateway, route: Route, key: Key) -> float:
    """Takes one of what the key's rate allows; the seconds until there is one when there is none."""
    rate = route.limits.rate
    return gateway.rates.take(route.path, key.id or ANONYMOUS, rate, route.limits.burst, time.monotonic()) if rate else 0.0


def instances_of(value: Any, most: int) -> Sequence[Any]:
    """The list of instances. Raises Problem 422; each instance is held against the model's own schema later."""
    if not isinstance(value, dict) or not isinstance(value.get("instances"), list):
        raise _wrong("$" if not isinstance(value, dict) else "instances", 'send {"instances": [...]}, one entry for each prediction')
    if len(value) > 1:
        unknown = next(name for name in value if name != "instances")
        raise _wrong(unknown[:80], "is not known; `instances` is all that is read")
    instances: Sequence[Any] = value["instances"]
    if not 1 <= len(instances) <= most:
        raise _wrong("instances", f"has {len(instances)} entries; 1 to {most} are allowed")
    return instances


@asynccontextmanager
async def while_connected(receive: Receive, trip: Trip) -> AsyncIterator[None]:
    """Do something for a client whose request has come whole. Raises ConnectionResetError, and ends what is done, when he goes away."""
    doing = asyncio.current_task()
    assert doing is not None

    def left(watch: asyncio.Task[Any]) -> None:
        if not watch.cancelled():
            trip.gone = True
            doing.cancel()

    watch = asyncio.ensure_future(receive())
    watch.add_done_callback(left)
    try:
        yield
    except asyncio.CancelledError:
        if trip.gone and doing.uncancel() == 0:
            raise ConnectionResetError from None
        raise
    finally:
        watch.remove_done_callback(left)
        watch.cancel()


def told_of(target: Target) -> list[tuple[bytes, bytes]]:
    """Headers of an answer: which version it came from."""
    return [
        (b"x-model-version", target.version.encode("latin-1", "replace")),
        (b"x-model-run", target.run.encode("latin-1", "replace")),
        (b"x-deployment-revision", target.digest.encode("latin-1", "replace")),
    ]


def _content(answer: Answer) -> bytes:
    """The predictions are passed on as they came; they were read, so they are known to be JSON."""
    about: Mapping[str, Any] = {"model": answer.target.model, "version": answer.target.version}
    if answer.ids:
        about = {**about, "ids": answer.ids}
    return b'{"predictions":' + answer.raw.strip() + b"," + json.dumps(about, separators=(",", ":")).encode()[1:]


def _wrong(path: str, message: str) -> Problem:
    return Problem(422, f"{path} {message}", errors=[{"path": path, "message": message}])
