"""One set of instances to a replica, and its answer back: choose, wait, call, check."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.gateway.access import Trip
from reconciler.gateway.body import parse
from reconciler.gateway.choose import choose
from reconciler.gateway.contract import Contract
from reconciler.gateway.core import Gateway
from reconciler.gateway.problems import Problem, unavailable
from reconciler.gateway.replicas import Broken, Garbled, Replica
from reconciler.model.serving import Route, Target

TRIES = 3
"""A request is sent so often at most; asking for a prediction again does no harm."""
LOOK = 0.25
"""Seconds after which one that waits looks again, whether or not something was told."""
DYING = 0.02
"""Seconds between the end of a connection and that of the process, when it is killed."""
SOON = 5.0
"""Seconds after which a client may ask again when nothing is up."""
_BLAMED = frozenset({400, 413, 415, 422})
"""Statuses by which a replica says that the request was wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`raw` is the JSON list of `predictions`, as it came; `seconds` is what the replica took."""

    target: Target
    predictions: Sequence[Any]
    raw: bytes
    ids: Sequence[str]
    """Empty when neither predictions are logged nor instances name themselves."""
    seconds: float


async def forward(gateway: Gateway, path: str, trip: Trip, body: bytes, instances: Sequence[Any], mark: str = "") -> Answer:
    """The answer to `instances`, which `body` holds as `{"instances": [...]}`. `mark` makes ids of parts of one request differ.

    Raises Problem: 404 the route has gone, 422 not as the model's schema says, 502 the replica failed, 503 nothing is up, 504 too late."""
    route = _current(gateway, path)
    seconds = route.limits.timeout
    gateway.counts.route(path).came(time.monotonic())
    try:
        async with asyncio.timeout(seconds):
            answer = await _tried(gateway, path, trip, body, instances)
    except TimeoutError:
        raise Problem(504, f"no answer within {seconds:g} s") from None
    return _kept(gateway, route, trip, answer, instances, mark)


async def _tried(gateway: Gateway, path: str, trip: Trip, body: bytes, instances: Sequence[Any]) -> Answer:
    avoided: set[str] = set()
    for _ in range(TRIES):
        target, replica = await _ready(gateway, path, trip, avoided)
        replica.contract.demand(instances)
        trip.target = target
        trip.attempts += 1
        try:
            return await _asked(gateway, path, trip, target, replica, body, instances)
        except Broken:
            avoided.add(replica.registration.replica)
    raise Problem(502, f"the connection to the model broke {TRIES} times")


async def _asked(
    gateway: Gateway, path: str, trip: Trip, target: Target, replica: Replica, body: bytes, instances: Sequence[Any]
) -> Answer:
    """One call. Counted for the application, but for what was the client's doing and for connections that merely were no longer open."""
    count, started = gateway.counts.app(target.app), time.monotonic()
    count.ongoing += 1
    try:
        with gateway.counts.route(path).doing("ongoing", time.monotonic):
            status, raw = await replica.ask(body, trip.onward())
            predictions = _predictions(status, raw, len(instances), replica.contract)
    except Broken as error:
        await asyncio.sleep(DYING)
        if gateway.replicas.failed(replica, refused=error.refused):  # it died, of what it was doing or otherwise: a request broke
            count.answered(time.monotonic() - started, good=False)
        raise
    except Garbled as error:
        count.answered(time.monotonic() - started, good=False)
        raise Problem(502, f"the model's answer is of no use: {error}") from None
    except asyncio.CancelledError:
        if not trip.gone:  # its time is over
            count.answered(time.monotonic() - started, good=False)
        raise
    finally:
        count.ongoing -= 1
    seconds = time.monotonic() - started
    count.answered(seconds, good=True)
    return Answer(target, predictions, raw, (), seconds)


def _predictions(status: int, raw: bytes, count: int, contract: Contract) -> list[Any]:
    """Raises Problem 422 where the replica blames the client with reason, Garbled for what is no answer.

    Where there is a schema, the request was held against it: a replica that refuses it then contradicts itself, and its errors must not
    go by uncounted."""
    if status in _BLAMED and contract.check is None:
        raise Problem(422, "the model refused these instances")
    if status != 200:
        raise Garbled(f"it answered with status {status}")
    try:
        predictions = parse(raw)
    except Problem as problem:
        raise Garbled(problem.detail) from None
    if not isinstance(predictions, list):
        raise Garbled("it is not a list of predictions")
    if len(predictions) != count:
        raise Garbled(f"{len(predictions)} predictions for {count} instances")
    return predictions


async def _ready(gateway: Gateway, path: str, trip: Trip, avoided: set[str]) -> tuple[Target, Replica]:
    """Whom to send to; waits while one may come. The caller bounds the time. Raises Problem 404, 503."""
    while True:
        route = _current(gateway, path)
        if route.off:
            raise unavailable(f"{path} is off: {route.off}", 60.0)
        target = choose(route.targets, gateway.up(route), random.random(), _wanted(route, trip))
        if target is not None:
            up = gateway.replicas.ready(target.app)
            return target, next((each for each in up if each.registration.replica not in avoided), up[0])
        # One whose replica died of it, or with it, is told: sent once more it could end the next one, too.
        may_come = (gateway.replicas.starting(each.app) or (not avoided and gateway.replicas.missed(each.app)) for each in route.targets)
        if not route.wakes and not any(may_come):
            raise unavailable(f"no replica of {path} is up", SOON)
        gateway.wake()
        with gateway.counts.route(path).doing("waiting", time.monotonic):
            await gateway.changed.wait(LOOK)


def _wanted(route: Route, trip: Trip) -> str:
    """The role that the request asks for by the route's header."""
    return trip.headers.get(route.header.lower().encode(), b"").decode("latin-1").strip().lower() if route.header else ""


def _current(gateway: Gateway, path: str) -> Route:
    route = gateway.table.get(path)
    if route is None:
        raise Problem(404, f"there is no deployment {path!r} any more")
    return route


def _kept(gateway: Gateway, route: Route, trip: Trip, answer: Answer, instances: Sequence[Any], mark: str) -> Answer:
    """With ids, and remembered for labels that come later, where the route asks for either."""
    if not route.predictions.log and route.predictions.id is None:
        return answer
    ids = gateway.predictions.write(route, answer.target, trip.request_id + mark, instances, answer.predictions, answer.seconds)
    gateway.feedback.seen(route, answer.target, ids, answer.predictions)
    return Answer(answer.target, answer.predictions, answer.raw, ids, answer.seconds)
