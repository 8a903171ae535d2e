"""An ASGI application on a Unix socket, in a thread of its own: HTTP that only this machine's owner can reach."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from reconciler.errors import Terminal

START_SECONDS = 120.0
"""How long the application may take to start: a large model is loaded meanwhile."""
BACKLOG = 1024


class Server:
    """Serves from `start` to `stop`. The socket's folder belongs to it and goes with it."""

    def __init__(self, app: Any, path: Path) -> None:
        import uvicorn

        self._app, self._path = app, path
        self.ongoing = 0
        """Requests that have begun and not ended."""
        self._trouble = ""
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                self._counted,
                interface="asgi3",
                lifespan="on",
                ws="none",
                log_config=None,  # the process's logging belongs to Serve
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._run, name="mlops-http", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._uvicorn.started

    def start(self) -> None:
        """Returns when requests are answered. Raises Terminal when the application does not start."""
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # connecting needs the right to write to the socket
        try:
            self._listening.bind(str(self._path))
        finally:
            os.umask(before)
        self._listening.listen(BACKLOG)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive():
                raise Terminal(f"the service does not start: {self._trouble or 'it gave no reason'}")
            if time.monotonic() > deadline:
                raise Terminal(f"the service did not start in {START_SECONDS:.0f} s")
            time.sleep(0.02)

    def stop(self, seconds: float = 5.0) -> None:
        """End; what runs may end within these seconds. Safe to repeat."""
        self._uvicorn.config.timeout_graceful_shutdown = int(seconds)
        self._uvicorn.should_exit = True
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(seconds + 1)
        self._path.unlink(missing_ok=True)
        if self._path.parent.exists() and not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()

    def _run(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._listening])
        except (SystemExit, Exception) as error:  # uvicorn exits where a service would
            logging.getLogger("ray.serve").warning("the HTTP server ended: %s", error)

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, self._noting(send))
            except Exception as error:
                self._trouble = self._trouble or f"{type(error).__name__}: {error}"
                raise
            return
        self.ongoing += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.ongoing -= 1

    def _noting(self, send: Any) -> Any:
        """Starlette tells why a start failed as a traceback; its last line is what a person wants to read."""

        async def noted(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                lines = [each.strip() for each in str(message.get("message", "")).splitlines() if each.strip()]
                self._trouble = lines[-1][:300] if lines else ""
            await send(message)

        return noted
