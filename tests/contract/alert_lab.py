"""A receiver of alerts on loopback, and an installation without tools whose statuses a test sets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from reconciler.alerting.courier import Courier
from reconciler.alerting.verify import verify
from reconciler.house import House, open_house
from reconciler.model import Condition, Health, Location, Ref, Status
from reconciler.settings import Settings
from schemas.alertpolicy import AlertPolicySpec

SECRET = "a-secret-of-the-webhook"
SEARCH = Ref("Deployment", "vision", "search")
SWEEP = Ref("Experiment", "vision", "sweep")
WORDS = Ref("Dataset", "speech", "words")


class Inbox:
    """What arrived: path, headers and body of each request, in order; `status` is what it answers with."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.before: Callable[[], object] = lambda: None
        """Called before a request is answered."""
        self.url = ""

    def bodies(self, path: str = "/hook") -> list[dict[str, Any]]:
        return [json.loads(body) for where, _, body in self.requests if where.partition("?")[0] == path]

    def told(self, path: str = "/hook") -> list[list[tuple[str, str]]]:
        """For each message (ref, phase) of its alerts."""
        return [[(each["ref"], each["phase"]) for each in body["alerts"]] for body in self.bodies(path)]

    def accepted(self) -> list[dict[str, Any]]:
        """What a receiver that checks acts on: signed rightly, and each id once."""
        seen: set[str] = set()
        hooks = [(headers, body) for path, headers, body in self.requests if path == "/hook"]
        return [json.loads(body) for headers, body in hooks if verify(SECRET, headers, body, seen)]


@contextmanager
def listening(port: int = 0) -> Iterator[Inbox]:
    """A server that takes everything it gets."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            inbox.before()
            if inbox.status < 300:
                inbox.requests.append((self.path, dict(self.headers), body))
            self.send_response(inbox.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    inbox.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def mailing(taken: Callable[[EmailMessage], object] = lambda _: None) -> Iterator[tuple[int, list[EmailMessage]]]:
    """A mail server that takes everything: its port, and the mails that it got. `taken` is told of each before it is answered."""
    got: list[EmailMessage] = []

    class Session(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while word := self.rfile.readline()[:4].strip().upper():
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = list(iter(self.rfile.readline, b".\r\n"))
                    text = b"".join(each[1:] if each.startswith(b".") else each for each in lines)
                    got.append(message_from_bytes(text, _class=EmailMessage, policy=default))
                    taken(got[-1])
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 yes\r\n")
                if word == b"QUIT":
                    return

    with ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], got
        finally:
            server.shutdown()
            thread.join()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, **span: float) -> None:
        self.time += timedelta(**span)


def house_in(root: Path, now: Callable[[], datetime]) -> House:
    """An installation with a Store of its own."""
    return open_house(Settings(root=root, state_dir=root / "state"), actor="test", now=now)


def hook(inbox: Inbox | str, name: str = "ops", path: str = "/hook") -> dict[str, Any]:
    """A webhook's receiver; its secret is in the environment variable HOOK_SECRET."""
    url = inbox if isinstance(inbox, str) else inbox.url
    return {"name": name, "webhook": {"url": f"{url}{path}", "secret": {"fromEnv": "HOOK_SECRET"}}}


def policy(*receivers: Mapping[str, Any], routes: list[dict[str, Any]] | None = None, **more: Any) -> AlertPolicySpec:
    """One route to all of them, unless others are given; without waiting."""
    usual = [{"receivers": [each["name"] for each in receivers]}]
    given = {"groupWait": "0s", "groupInterval": "0s", **more}
    return AlertPolicySpec.model_validate({"receivers": list(receivers), "routes": routes or usual, **given})


def declare(house: House, spec: AlertPolicySpec, name: str = "ops") -> None:
    """As if it had been applied."""
    house.store.put_memos({Ref("AlertPolicy", None, name): {"policy": spec.model_dump(mode="json")}})


def ill(
    ref: Ref = SEARCH, reason: str = "ReplicaFailed", message: str = "", health: Health = Health.DEGRADED, severity: str = ""
) -> Status:
    """A status that is not well."""
    conditions = (
        Condition("Ready", False, reason, message or f"{reason} it is", severity=severity),
        Condition("Synced", True, "AsDesired"),
    )
    return Status(ref, health, conditions, "digest", Location("a.yaml", 3), message or f"{reason} it is")


def well(ref: Ref = SEARCH) -> Status:
    return Status(ref, Health.HEALTHY, (Condition("Ready", True, "Healthy"), Condition("Synced", True, "AsDesired")), "digest")


def moving(ref: Ref = SEARCH) -> Status:
    conditions = (Condition("Ready", False, "RollingOut", "on its way"), Condition("Synced", True, "AsDesired"))
    return Status(ref, Health.PROGRESSING, conditions, "digest", Location("a.yaml", 3), "on its way")


def held(ref: Ref, reason: str = "WaitingForMemory") -> Status:
    """Waits for room."""
    conditions = (
        Condition("Ready", False, reason, "waits"),
        Condition("Synced", False, reason, "waits"),
        Condition("Admitted", False, reason, "waits"),
    )
    return Status(ref, Health.PROGRESSING, conditions, "", Location("a.yaml", 3), "waits")


def deliver(house: House, flush: datetime | None = None) -> datetime | None:
    """What a loop does when something has happened: it looks, sends, and looks again; when it would look then."""
    courier, due = Courier(house), None
    for _ in range(2):
        due = courier.look(flush)
        assert courier.wait(15.0)
    return due


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until it is so; fails when it takes longer."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
