"""`POST /predict/PROJECT/NAME/batch`: one instance in each line, one answer in each line, as it comes.

A part of the lines is read, predicted and answered before the next part is read, so that neither side needs more memory for more lines:
a client must read while it writes. Lines that are wrong get their own error; the others are answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from reconciler.gateway.access import Trip
from reconciler.gateway.body import expect, parse, too_large
from reconciler.gateway.contract import Contract
from reconciler.gateway.core import Gateway
from reconciler.gateway.forward import Answer, forward
from reconciler.gateway.predict import admitted, another
from reconciler.gateway.problems import Problem, drop
from reconciler.model.serving import Route

MEDIA_TYPE = "application/x-ndjson"
PART = 256
"""Lines that are predicted at once, at most."""
BODIES = 256
"""The whole may be so many times as large as a single request."""


class Batch:
    """The endpoint, as an ASGI application below the router."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trip: Trip = scope["trip"]
        where = scope["path_params"]
        with admitted(self._gateway, trip, where["project"], where["name"]) as (route, key):
            expect(trip.headers, MEDIA_TYPE)
            out = _Out(send, route.limits.timeout)
            try:
                number = 0
                async for lines in _parts(receive, route):
                    if number:
                        await another(self._gateway, route, key)
                    await out.write(await self._answers(route, trip, lines, number, first=not out.started))
                    number += 1
                if not number:
                    await out.write([])
            except Problem as problem:
                if not out.started:
                    raise
                await out.write([_told(problem)])
                await drop(receive)
            except ConnectionError:
                if not out.started:
                    raise
                trip.gone = True  # an answer that is not ended has the connection closed, and says that it is not whole
                return
            await out.end()

    async def _answers(self, route: Route, trip: Trip, lines: Sequence[bytes], number: int, *, first: bool) -> list[bytes]:
        """One line for each. Raises Problem only for the `first` part: nothing was answered yet, so that the status can still say it."""
        found: list[Any] = [_instance(line, self._contract(route)) for line in lines]
        good = [at for at, each in enumerate(found) if not isinstance(each, Problem)]
        if good:
            body = b'{"instances":[' + b",".join(lines[at] for at in good) + b"]}"
            try:
                answer = await forward(self._gateway, route.path, trip, body, [found[at] for at in good], f"-{number}")
            except Problem as problem:
                if first and problem.status != 422:
                    raise
                return [_told(each if isinstance(each, Problem) else problem) for each in found]
            for at, line in zip(good, _lines(answer), strict=True):
                found[at] = line
        return [_told(each) if isinstance(each, Problem) else each for each in found]

    def _contract(self, route: Route) -> Contract | None:
        up = sorted(route.targets, key=lambda each: -each.weight)
        return next((found for each in up if (found := self._gateway.replicas.contract(each.app))), None)


class _Out:
    """The answer. What is not taken for too long ends it."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.started = False

    async def write(self, lines: Sequence[bytes]) -> None:
        if not self.started:
            self.started = True
            # closed at the end: whoever sends more than is read would go on sending
            headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async with asyncio.timeout(self._seconds):
                await self._send({"type": "http.response.body", "body": b"".join(lines), "more_body": True})
        except TimeoutError:
            raise ConnectionResetError from None

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


async def _parts(receive: Receive, route: Route) -> AsyncIterator[list[bytes]]:
    """Lines, some at a time. Raises Problem 408, 413; ConnectionResetError when the client went away."""
    most, per_part = route.limits.body, min(PART, route.limits.batch)
    ready: list[bytes] = []
    rest, total, more = b"", 0, True
    while more:
        message = await _next(receive, route.limits.timeout)
        more = bool(message.get("more_body", False))
        total += len(message.get("body", b""))
        if total > most * BODIES:
            raise too_large(most * BODIES)
        *whole, rest = (rest + message.get("body", b"")).split(b"\n")
        ready += [line.strip() for line in (whole if more else (*whole, rest)) if line.strip()]
        if len(rest) > most:
            raise too_large(most)
        for part in _cut(ready, most, per_part, last=not more):
            yield part


async def _next(receive: Receive, seconds: float) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        raise Problem(408, f"nothing came for {seconds:g} s", headers={"connection": "close"}) from None
    if message["type"] != "http.request":
        raise ConnectionResetError
    return message


def _cut(ready: list[bytes], most: int, count: int, *, last: bool) -> Iterator[list[bytes]]:
    """Take full parts off `ready`: of `count` lines, or of `most` bytes; the `last` as it is. Raises Problem 413 for a longer line."""
    while ready:
        size, taken = 0, 0
        while taken < min(len(ready), count) and (not taken or size + len(ready[taken]) <= most):
            size += len(ready[taken])
            taken += 1
        if size > most:
            raise too_large(most)
        if taken == len(ready) and taken < count and not last:
            return
        part = ready[:taken]
        del ready[:taken]
        yield part


def _instance(line: bytes, contract: Contract | None) -> Any:
    """The instance of one line, or the Problem with it."""
    try:
        value = parse(line)
        wrong = contract.mistake(value, "$") if contract else None
    except Problem as problem:
        return problem
    return Problem(422, f"{wrong['path']} {wrong['message']}", errors=[wrong]) if wrong else value


def _lines(answer: Answer) -> Iterator[bytes]:
    for at, prediction in enumerate(answer.predictions):
        told = {"prediction": prediction, **({"id": answer.ids[at]} if answer.ids else {})}
        yield json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _told(problem: Problem) -> bytes:
    return json.dumps({"error": problem.members()}, separators=(",", ":")).encode() + b"\n"
