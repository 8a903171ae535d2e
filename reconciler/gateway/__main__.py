"""`python -m reconciler.gateway --state DIR --port N`: serve until SIGTERM, then finish what is in hand."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import importlib.util
import logging
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from reconciler.gateway.app import application
from reconciler.gateway.connection import Connection
from reconciler.gateway.core import Gateway
from reconciler.gateway.watch import look

GRACE = 10
"""Seconds that requests in hand get at a stop."""
LEAVE = 1.0
"""Seconds before that in which who asks again on a kept connection is answered, and told that it was the last time."""
BACKLOG = 2048
CONNECTIONS = 2048
"""Open at once; more are answered with 503."""
FILES = 8192
SO_ATTACH_REUSEPORT_CBPF, BPF_RETURN = 51, 0x06
"""Sources: asm-generic/socket.h, linux/bpf_common.h."""


def main() -> int:
    """Exit status 2 when the port is taken or there is no token."""
    wanted = _arguments()
    _log_as_json()
    token = (wanted.token or wanted.state / "services" / "gateway" / "token").expanduser()
    try:
        secret = token.read_text(encoding="utf-8").strip()
    except OSError as error:
        sys.stderr.write(f"the gateway's token cannot be read: {error}\n")
        return 2
    if not secret:
        sys.stderr.write(f"{token} is empty\n")
        return 2
    try:
        listener = listening(wanted.port, take_over=wanted.take_over)
    except OSError as error:
        sys.stderr.write(f"port {wanted.port} cannot be had: {error}\n")
        return 2
    # uvicorn raises the signal again that ended it; by then all is done
    signal.signal(signal.SIGTERM, lambda *_: None)
    _more_files()
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(_serve(wanted.state, secret, listener, take_over=wanted.take_over))
    return 0


def listening(port: int, *, take_over: bool) -> socket.socket:
    """A socket on loopback, not listening yet, that may share its port with another of the same user: with `take_over` a new process
    listens before the old one ends, so that a planned restart refuses nobody. Raises OSError when the port is somebody's: without
    `take_over` a gateway of ours is somebody too, for the kernel would spread requests over both."""
    if not take_over:
        with _socket() as alone:
            alone.bind(("127.0.0.1", port))
    found = _socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found


def _socket() -> socket.socket:
    # the protocol is named, and connections inherit TCP_NODELAY: asyncio sets it only where it sees the protocol, and without it an
    # answer's second packet waits 40 ms for the acknowledgement of the first
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return found


def _steer(listener: socket.socket) -> None:
    """Have all new connections come to `listener`, which listens since a moment, and none to the one before it. By itself the kernel
    spreads them, and those that the old one has not taken yet when it ends are reset. Only Linux can be told so: a filter, in the classic
    instruction set, that returns the place of the socket in its group (socket(7), SO_ATTACH_REUSEPORT_CBPF)."""
    if sys.platform == "linux":
        second = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 1))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", 1, ctypes.addressof(second)))


async def _serve(state_dir: Path, secret: str, listener: socket.socket, *, take_over: bool) -> None:
    gateway = Gateway.over(state_dir, secret)
    look(gateway)  # before the port opens: no request is refused for want of a look
    listener.listen(BACKLOG)
    if take_over:
        _steer(listener)
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again and again for garbage would stop requests for 40 ms each time
    config = uvicorn.Config(
        application(gateway),
        http=Connection,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )
    await _Server(config).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Does not just close the connections that clients keep for their next request: that one may be on its way already, and a client may
    not send it twice on its own. For a moment each answer says that the connection ends with it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self.servers:
            each.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until = time.monotonic() + LEAVE
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster one where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    found: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return found


def _more_files() -> None:
    """Each request needs two: its connection and the replica's. The usual limit is meant for programs that serve nobody."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else min(FILES, most), most))


def _log_as_json() -> None:
    """To stdout, as the lines of requests are."""
    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=before))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("reconciler.gateway").setLevel(logging.INFO)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reconciler.gateway", description="Serve models, on loopback.")
    parser.add_argument("--state", type=Path, required=True, help="state folder of the installation")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", type=Path, help="file with the admin token (default: services/gateway/token in the state folder)")
    parser.add_argument("--take-over", action="store_true", help="listen beside a gateway that listens at this port already, and is to end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
