"""A proxy between the reconciler and MLflow that does to single requests what networks, gateways and tired servers do to them."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

LATE = 1.5
"""Seconds after which a request is carried out that was answered with a time-out."""
OPEN = ("/version", "/health")
"""What a server tells everybody: asked to know whether it is up."""
HANG = 4.0
"""Seconds without an answer until the connection breaks."""


@dataclass
class Trouble:
    """What happens to the next `left` requests that it concerns."""

    kind: str
    left: int = 1
    writes: bool = False
    """Only to those that change something."""


@dataclass(frozen=True)
class Asked:
    """A request as the reconciler sent it."""

    at: float
    method: str
    path: str
    body: dict[str, Any]
    trouble: str = ""

    @property
    def writes(self) -> bool:
        return is_write(self.method, self.path)


def is_write(method: str, path: str) -> bool:
    return method != "GET" and not path.partition("?")[0].endswith("/search")


@dataclass
class Wire:
    """Listens on `url`, which stays the same while it is down."""

    upstream: str
    username: str
    password: str
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    """Requests without the right password."""
    hurt: dict[str, int] = field(default_factory=dict)
    """Kind -> how many requests it happened to."""
    kill: Callable[[], None] = lambda: None
    """Ends whoever asks, at once; for `killed before` and `killed after`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None
    _late: list[threading.Timer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = httpx.Client(base_url=self.upstream, trust_env=False, timeout=60, limits=httpx.Limits(max_connections=64))
        self._wanted = "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def up(self) -> None:
        """Listen; safe to repeat."""
        if self._server is not None:
            return
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and break those that are open at their next request."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def arm(self, trouble: Trouble) -> None:
        with self._lock:
            self.troubles.append(trouble)

    def disarm(self, *kinds: str) -> None:
        """What has not happened by now will not."""
        with self._lock:
            self.troubles[:] = [each for each in self.troubles if each.kind not in kinds]

    def calm(self) -> None:
        """No more trouble from now on; what was to be late has happened."""
        with self._lock:
            self.troubles.clear()
            late, self._late = self._late, []
        for each in late:
            each.join()
        self.up()

    def close(self) -> None:
        self.calm()
        self.down()
        self._client.close()

    def take(self, method: str, path: str, body: bytes, given: str) -> str:
        """Note the request; the kind of trouble that it runs into, empty = none."""
        with self._lock:
            if given != self._wanted and path not in OPEN:
                self.strangers.add(f"{method} {path}")
            found = next((each for each in self.troubles if not each.writes or is_write(method, path)), None)
            if found is not None:
                found.left -= 1
                if found.left <= 0:
                    self.troubles.remove(found)
                self.hurt[found.kind] = self.hurt.get(found.kind, 0) + 1
            self.asked.append(Asked(time.monotonic(), method, path, _json(body), found.kind if found else ""))
            return found.kind if found else ""

    def forward(self, method: str, path: str, body: bytes, kind: str) -> httpx.Response:
        return self._client.request(method, path, content=body, headers={"Content-Type": kind or "application/json"})

    def later(self, do: Callable[[], object]) -> None:
        def quietly() -> None:
            with contextlib.suppress(httpx.HTTPError):
                do()

        timer = threading.Timer(LATE, quietly)
        timer.daemon = True
        with self._lock:
            self._late.append(timer)
        timer.start()


def _json(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what this is about."""


_PAGE = b"<html><head><title>%d</title></head><body>%s</body></html>"
_ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "429": (429, {"Retry-After": "1"}, b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}'),
    "429-page": (429, {"Retry-After": "1"}, _PAGE % (429, b"Too Many Requests")),
    "500": (500, {}, b'{"error_code": "INTERNAL_ERROR", "message": "database is gone"}'),
    "500-page": (500, {}, _PAGE % (500, b"Internal Server Error")),
    "502": (502, {}, _PAGE % (502, b"Bad Gateway")),
    "503": (503, {"Retry-After": "1"}, _PAGE % (503, b"Service Unavailable")),
    "404-page": (404, {}, _PAGE % (404, b"Not Found")),
    "login-page": (200, {}, _PAGE % (200, b"Please sign in")),
    "empty": (200, {}, b""),
}
KILLS = ("killed before", "killed after")
"""The asker dies while the request is under way: before it is carried out, or after that and before its answer."""
KINDS = (*_ANSWERS, "reset", "truncated", "lost", "slow", "hang", "twice", "late")
"""`lost`: carried out, and the connection breaks before the answer. `twice`: carried out twice. `late`: answered with 504, carried out a
moment after that."""


def _handler(wire: Wire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not wire.is_up:
                self.close_connection = True
                return
            trouble = wire.take(self.command, self.path, body, self.headers.get("Authorization", ""))
            kind = self.headers.get("Content-Type", "")
            if trouble in _ANSWERS:
                self.say(*_ANSWERS[trouble])
            elif trouble in ("reset", "hang"):
                time.sleep(HANG if trouble == "hang" else 0)
                self.close_connection = True
            elif trouble == "killed before":
                wire.kill()
                self.close_connection = True
            elif trouble == "late":
                wire.later(lambda: wire.forward(self.command, self.path, body, kind))
                self.say(504, {}, _PAGE % (504, b"Gateway Time-out"))
            else:
                self.pass_on(trouble, body, kind)

        def pass_on(self, trouble: str, body: bytes, kind: str) -> None:
            try:
                answer = wire.forward(self.command, self.path, body, kind)
                if trouble == "twice":
                    answer = wire.forward(self.command, self.path, body, kind)
            except httpx.HTTPError:
                self.say(502, {}, _PAGE % (502, b"Bad Gateway"))
                return
            if trouble == "slow":
                time.sleep(1.0)
            if trouble == "killed after":
                wire.kill()
            if trouble in ("lost", "killed after"):
                self.close_connection = True
                return
            told = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            self.say(answer.status_code, told, answer.content, cut=trouble == "truncated")

        def say(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
