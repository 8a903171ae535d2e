"""Answers that sensors or tools are asked for: kept for a while, worked out by one at a time, and not waited for without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Generic, TypeVar

from reconciler.api.v1.problems import busy

T = TypeVar("T")
WORKERS = 2
"""Answers that are worked out at a time: a tool that hangs must not take every thread."""


class Kept(Generic[T]):
    """One answer. `ask` is called at most once in `seconds`; who asks waits `bound` seconds for it, then gets 503."""

    def __init__(self, pool: ThreadPoolExecutor, ask: Callable[[], T], *, seconds: float, bound: float) -> None:
        self._pool, self._ask, self._seconds, self._bound = pool, ask, seconds, bound
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._until = 0.0

    def __call__(self) -> T:
        """Raises Problem 503 when it takes too long, and what `ask` raises."""
        with self._lock:
            if self._answer is None or (self._answer.done() and time.monotonic() > self._until):
                self._answer = self._pool.submit(self._asked)
            answer = self._answer
        try:
            return answer.result(self._bound)
        except Late:
            raise busy("what this answer needs does not answer in time; it is being waited for", self._bound) from None

    def _asked(self) -> T:
        try:
            return self._ask()
        finally:
            self._until = time.monotonic() + self._seconds


def pool() -> ThreadPoolExecutor:
    """For all answers of one API."""
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="api-asks")
