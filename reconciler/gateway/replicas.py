"""The replicas that requests can be sent to, as their registrations tell, and the connections to them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from reconciler.gateway.contract import Contract
from reconciler.model.serving import Registration, replicas_folder
from reconciler.runs.folder import is_held
from reconciler.serving.register import read

KEPT_ALIVE = 4.0
"""Seconds that an unused connection is kept; uvicorn, on the other side, ends it after five."""
REST = 1.0
"""Seconds for which a replica that could not be reached is left alone, if it lives."""
MISSED = 10.0
"""Seconds for which new requests still wait for an application whose last ready replica is gone: Ray Serve notices a dead one, or has
taken the wrong one for surplus after its controller was killed, and has the next one loading within that time."""
MOST_ANSWER = 64 << 20
"""Bytes of an answer; a replica that sends more has failed."""
_URL = "http://replica/predict"


class Broken(Exception):
    """The connection failed before an answer began: the request can be sent again. `refused`: there was no connection at all."""

    def __init__(self, why: str, *, refused: bool) -> None:
        super().__init__(why)
        self.refused = refused


class Garbled(Exception):
    """An answer began and is of no use."""


@dataclass(slots=True)
class Replica:
    """One replica. `ongoing`: requests that it has of us."""

    registration: Registration
    lock: Path
    contract: Contract
    session: aiohttp.ClientSession
    ongoing: int = 0
    rests_until: float = 0.0
    """On the monotonic clock."""

    def alive(self) -> bool:
        return is_held(self.lock)

    async def ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of its answer to `POST /predict`. Raises Broken, Garbled."""
        began = False
        self.ongoing += 1
        try:
            async with self.session.post(_URL, data=body, headers=headers) as answer:
                began = True
                return answer.status, await _bounded(answer)
        except aiohttp.ClientError as error:
            if began:
                raise Garbled(f"its connection broke: {type(error).__name__}") from None
            refused = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
            raise Broken(type(error).__name__, refused=refused) from None
        finally:
            self.ongoing -= 1


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    if answer.content_length is not None and answer.content_length <= MOST_ANSWER:
        return await answer.read()
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MOST_ANSWER:
            raise Garbled(f"its answer has more than {MOST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


class Replicas:
    """All replicas that live, by application. `scan` follows the folder; everything else only reads what it found."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = replicas_folder(state_dir)
        self._known: dict[Path, tuple[tuple[int, int, int], Replica]] = {}
        self._by_app: dict[str, list[Replica]] = {}
        self._unused: list[Replica] = []
        self._answered: dict[str, float] = {}
        """Application -> when it had a ready replica last, on the monotonic clock."""

    def scan(self) -> bool:
        """Read what has changed; True when anything has. Needs a running event loop, for the connections."""
        before = {path: each.registration.state for path, (_, each) in self._known.items()}
        found: dict[Path, tuple[tuple[int, int, int], Replica]] = {}
        for path, stamp in _files(self._folder):
            known = self._known.get(path)
            lock = path.with_suffix(".lock")
            if not is_held(lock):
                continue
            if known is not None and known[0] == stamp:
                found[path] = known
            elif (registration := read(path)) is not None:
                found[path] = (stamp, self._take(registration, lock, known[1] if known else None))
            elif known is not None:  # half of something: what was there stands until the next look
                found[path] = known
        for path in self._known.keys() - found.keys():
            self._unused.append(self._known[path][1])
        self._known = found
        self._by_app = {}
        now = time.monotonic()
        for _, each in found.values():
            self._by_app.setdefault(each.registration.app, []).append(each)
            if each.registration.state == "ready":
                self._answered[each.registration.app] = now
        self._answered = {app: at for app, at in self._answered.items() if now - at < MISSED}
        return before != {path: each.registration.state for path, (_, each) in found.items()}

    def ready(self, app: str) -> list[Replica]:
        """Those that answer, the one with the fewest requests first."""
        now = time.monotonic()
        up = [each for each in self._by_app.get(app, ()) if each.registration.state == "ready" and each.rests_until <= now]
        return sorted(up, key=lambda each: each.ongoing) if len(up) > 1 else up

    def starting(self, app: str) -> bool:
        """Whether one may answer soon: it loads, or rests after a failed connection."""
        return any(each.registration.state in ("loading", "ready") for each in self._by_app.get(app, ()))

    def missed(self, app: str) -> bool:
        """Whether the last one that answered went only just now, so that another one is about to load."""
        return app in self._answered

    def contract(self, app: str) -> Contract | None:
        """What the application's replicas accept; None while none of them lives."""
        found = self._by_app.get(app)
        return found[0].contract if found else None

    def failed(self, replica: Replica, *, refused: bool) -> bool:
        """A connection to it failed. Whether it is dead; then it is forgotten. One that lives and was not reached rests for a while; one
        that merely ended a connection does not, for it may do so with every connection that was not used for some time."""
        if replica.alive():
            replica.rests_until = time.monotonic() + REST if refused else 0.0
            return False
        app = replica.registration.app
        self._by_app[app] = [each for each in self._by_app.get(app, ()) if each is not replica]
        return True

    async def tidy(self) -> None:
        """Close the connections to replicas that have gone, once nothing runs on them."""
        done = [each for each in self._unused if not each.ongoing]
        self._unused = [each for each in self._unused if each.ongoing]
        for each in done:
            await each.session.close()

    async def close(self) -> None:
        for each in (*self._unused, *(known for _, known in self._known.values())):
            await each.session.close()

    def _take(self, registration: Registration, lock: Path, before: Replica | None) -> Replica:
        if before is not None and before.registration.socket == registration.socket:
            before.registration = registration
            if before.contract.input != registration.input or before.contract.example != registration.example:
                before.contract = Contract.of(registration)
            return before
        if before is not None:
            self._unused.append(before)
        return Replica(registration, lock, Contract.of(registration), _session(registration.socket))


def _session(socket: str) -> aiohttp.ClientSession:
    """Nothing is bounded here: how many requests there are is the route's to bound, how long they take too."""
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(socket, limit=0, keepalive_timeout=KEPT_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0),
        auto_decompress=False,
        skip_auto_headers=("user-agent", "accept-encoding"),
        trust_env=False,
    )


def _files(folder: Path) -> Iterator[tuple[Path, tuple[int, int, int]]]:
    """The registrations, with what changes when one is replaced."""
    try:
        apps = [each.path for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for app in apps:
        try:
            entries = [each for each in os.scandir(app) if each.name.endswith(".json") and not each.name.startswith(".")]
        except FileNotFoundError:
            continue
        for each in entries:
            with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                look = each.stat(follow_symlinks=False)
                yield Path(each.path), (look.st_mtime_ns, look.st_size, look.st_ino)
