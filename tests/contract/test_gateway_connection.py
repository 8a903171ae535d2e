"""Clients that never end the head of their request, on a real uvicorn server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from reconciler.gateway.connection import Connection

HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\n"


class Hurried(Connection):
    seconds = 0.5
    most = 4096


async def echo(_: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(str(size)))]})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(echo, http=Hurried, lifespan="off", ws="none", log_config=None, limit_concurrency=20)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as made:
        yield made


def rest(of: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := of.recv(65536):
            found += part
    return found


@pytest.mark.parametrize("begun", [b"", b"POST /a HT", HEAD])
def test_a_head_that_does_not_end_is_ended(port: int, begun: bytes) -> None:
    with client(port) as slow:
        slow.sendall(begun)
        assert rest(slow).startswith(b"HTTP/1.1 408 ")


def test_many_who_never_end_their_head_shut_nobody_out_for_long(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(client(port)).sendall(HEAD)
        time.sleep(Hurried.seconds + 0.5)
        with client(port) as good:
            good.sendall(HEAD + b"content-length: 2\r\nconnection: close\r\n\r\nab")
            assert rest(good).endswith(b"\r\n\r\n2")


@pytest.mark.parametrize("line", [b"x-a: b\r\n", b"x" * 8])
def test_a_head_without_an_end_is_refused(port: int, line: bytes) -> None:
    with client(port) as endless:
        endless.sendall(HEAD)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                endless.sendall(line * 512)
        assert rest(endless)[:13] in (b"HTTP/1.1 431 ", b"")  # a reset may overtake the answer


def test_slow_bodies_and_later_requests_have_their_own_time(port: int) -> None:
    with client(port) as slow:
        slow.sendall(HEAD + b"content-length: 4\r\n\r\nab")
        time.sleep(2 * Hurried.seconds)
        slow.sendall(b"cd")
        assert slow.recv(65536).endswith(b"4")
        time.sleep(1.5 * Hurried.seconds)  # between two requests uvicorn's own bound holds
        slow.sendall(HEAD)
        time.sleep(Hurried.seconds / 3)
        slow.sendall(b"content-length: 1\r\n\r\na")
        assert slow.recv(65536).endswith(b"1")
        slow.sendall(HEAD)
        assert rest(slow).startswith(b"HTTP/1.1 408 ")
