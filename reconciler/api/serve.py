"""Listens on loopback, in a thread of its own, as long as the loop runs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
"""A forge elsewhere reaches it through a reverse proxy, which brings TLS."""


TICK = 0.5
"""Seconds between two looks of the server at its clock and at whether it is to end; its own choice, 0.1, is most of what it costs idle."""


def _quiet(server: uvicorn.Server) -> uvicorn.Server:
    async def main_loop() -> None:
        while not await server.on_tick(0):
            await asyncio.sleep(TICK)

    server.main_loop = main_loop  # type: ignore[method-assign]
    return server


@contextmanager
def listening(app: ASGIApp, port: int) -> Iterator[int]:
    """Serve `app`; yields the port (a free one for 0). Raises UsageError when it is taken."""
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()  # from now on nobody is refused, although it takes a moment until somebody answers
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be had: {error.strerror}", hint="name another one with --listen, 0 for a free one"
            ) from error
        settings = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False, timeout_graceful_shutdown=5)
        server = _quiet(uvicorn.Server(settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=10.0)
