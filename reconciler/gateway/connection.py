"""One client's connection: HTTP as uvicorn reads it, with bounds on the head of a request.

uvicorn bounds neither how long a head may take nor how long it may be, and a connection counts against CONNECTIONS from its first byte:
some thousand clients without a key that never end their first line would refuse everybody else, and one that never ends its headers would
take all memory. Bodies have bounds of their own (`body.py`), and connections between two requests are closed by uvicorn."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""Longest time from a connection's start, or from the first byte of a later request, to the end of the request's head."""
HEAD_BYTES = 64 << 10
"""Longest head; one that comes as a whole is let through up to what is read at once."""
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(HttpToolsProtocol):
    """What uvicorn makes for each client."""

    seconds = HEAD_SECONDS
    most = HEAD_BYTES
    _deadline: asyncio.TimerHandle | None = None
    """Of a head that has not come whole; None = none is awaited."""
    _came = 0
    """Bytes of that head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None:
            self._came += len(data)
            if self._came > self.most:
                self._refuse(_TOO_LONG)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_ended()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._came = 0
        self._deadline = self.loop.call_later(self.seconds, self._late)

    def _head_ended(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(_TOO_LATE)
        else:  # nothing more is read perhaps, while earlier requests on this connection are in hand; those have an end of their own
            self._deadline = self.loop.call_later(self.seconds, self._late)

    def _refuse(self, answer: bytes) -> None:
        self._head_ended()
        if self.cycle is None or self.cycle.response_complete:  # else an answer is on its way, and nothing may be put into it
            self.transport.write(answer)
        self.transport.close()
