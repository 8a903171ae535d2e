"""A client that asks without pause: each of its workers sends the next request when the last one was answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as the client saw it."""

    at: float
    """Monotonic seconds when it was sent."""
    seconds: float
    status: int
    """0 = no answer: the connection broke, or it took longer than the client waits."""
    version: str = ""
    """Of the model, as the gateway names it."""
    error: str = ""


@dataclass
class Load:
    """Asks `url` from `workers` at once between `with` and its end. `pause` is in seconds, after each answer."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    workers: int = 4
    pause: float = 0.02
    timeout: float = 30.0
    socket: str = ""
    """Path of a Unix socket to ask through; empty = TCP."""
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="load", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def failed(self, since: float = 0.0) -> list[Answer]:
        """What was not answered with 200, of those sent since that moment."""
        return [each for each in self.answers if each.status != 200 and each.at >= since]

    def versions(self, since: float = 0.0) -> Counter[str]:
        """How many requests each version answered."""
        return Counter(each.version for each in self.answers if each.status == 200 and each.at >= since)

    def quantile(self, share: float, since: float = 0.0) -> float:
        """Seconds within which that share was answered; 0 when nothing was asked."""
        found = sorted(each.seconds for each in self.answers if each.at >= since)
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0

    async def _all(self) -> None:
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(self.socket) if self.socket else aiohttp.TCPConnector(limit=0)
        headers = {"content-type": "application/json", **self.headers}
        patience = aiohttp.ClientTimeout(total=self.timeout)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=patience) as session:
            await asyncio.gather(*(self._one(session) for _ in range(self.workers)))

    async def _one(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                async with session.post(self.url, data=self.body) as answer:
                    text: Any = await answer.read()
                    error = "" if answer.status == 200 else text[:300].decode(errors="replace")
                    told = Answer(began, time.monotonic() - began, answer.status, answer.headers.get("x-model-version", ""), error)
            except (aiohttp.ClientError, TimeoutError) as broken:
                told = Answer(began, time.monotonic() - began, 0, "", f"{type(broken).__name__}: {broken}")
            self.answers.append(told)
            if self.pause:
                await asyncio.sleep(self.pause)
