"""Who is logged in. A token's text stays in this process' memory; the browser has a random name for it that no script can read."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict

COOKIE = "mlops_dashboard"
LENGTH = 12 * 3600.0
"""Seconds after which one logs in again; the token itself may end before."""
MOST = 1000
"""Sessions at a time; the oldest end first."""


class Sessions:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, token: str) -> str:
        """The value of the cookie."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._open[name] = (token, time.monotonic() + LENGTH)
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return name

    def token(self, name: str) -> str:
        """Of this session; empty = there is none."""
        with self._lock:
            token, until = self._open.get(name, ("", 0.0))
            if time.monotonic() < until:
                return token
            self._open.pop(name, None)
            return ""

    def end(self, name: str) -> None:
        """Safe to repeat."""
        with self._lock:
            self._open.pop(name, None)
