"""Route: what happens, as it happens (server-sent events)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.filters import Filtered
from reconciler.api.v1.problems import Problem
from reconciler.api.v1.watcher import Stream, Watcher

router = APIRouter(tags=["events"])
HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, so that nobody in between takes the connection for dead."""
RETRY_MS = 2000
"""After which a browser comes again."""
Only = Literal["status", "gone", "audit", "plan"]
ALL: tuple[Only, ...] = ("status", "gone", "audit", "plan")
ABOUT = """A stream that does not end. Events: `status` (a resource stands otherwise; its `data` is as in the list), `gone` (a resource
is not there any more), `audit` (a line of the audit log), `plan` (a whole pass has ended; `/plan` is new), `resync` (something was missed
that is not remembered: read the lists again). Filters are those of `/resources`. With `Last-Event-ID` it goes on where another ended."""


@router.get(
    "/events",
    operation_id="streamEvents",
    description=ABOUT,
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events."}},
)
async def events(
    request: Request,
    door: TheDoor,
    who: Asking,
    wanted: Filtered,
    event: Annotated[list[Only], Query(max_length=4, description="Only these; repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> StreamingResponse:
    watcher: Watcher = door.shared.get("watcher") or door.shared.setdefault("watcher", Watcher(door))
    stream = Stream(who, wanted, frozenset(event or ALL))
    missed = await watcher.join(stream, last_event_id)

    async def told() -> AsyncIterator[str]:
        try:
            yield f"retry: {RETRY_MS}\n: welcome\n\n"
            for each in missed:
                yield each.text
            while True:
                try:
                    found = await asyncio.wait_for(stream.queue.get(), HEARTBEAT)
                except TimeoutError:
                    if not await run_in_threadpool(_still_good, door, request):
                        return
                    yield ": still here\n\n"
                    continue
                if found is None:
                    return
                yield found.text
        finally:
            watcher.leave(stream)

    return StreamingResponse(told(), media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"})


def _still_good(door: Door, request: Any) -> bool:
    """A token that was revoked, or is over, sees nothing more."""
    try:
        door.authenticator.identify(request)
    except Problem:
        return False
    return True
