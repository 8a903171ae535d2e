"""Shared services without processes: none, some that run elsewhere, or some that a test lets die."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from reconciler.errors import Terminal, Transient
from reconciler.model import JSON


class NoServices:
    """Services for a kind that needs none."""

    def endpoint(self, name: str) -> str:
        raise Transient(f"{name} is not running here")

    def start(self, names: Sequence[str]) -> None:
        if names:
            raise Terminal(f"there is no service {names[0]!r}")

    def stop(self, names: Sequence[str]) -> None:
        """Nothing runs."""

    def renew(self, names: Sequence[str]) -> None:
        """Nothing runs."""

    def report(self) -> Mapping[str, Mapping[str, JSON]]:
        return {}

    def memory(self) -> int:
        return 0

    def pristine(self, names: Sequence[str]) -> bool:
        return False


class ServicesAt(NoServices):
    """Services that run already, started by the test: service name -> base URL."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)

    def endpoint(self, name: str) -> str:
        return self._urls[name] if name in self._urls else super().endpoint(name)

    def report(self) -> Mapping[str, Mapping[str, JSON]]:
        return {name: {"state": "external", "url": url, "pid": None, "version": None, "message": ""} for name, url in self._urls.items()}


class FakeServices:
    """Services that have states and nothing behind them.

    A service that was started is `starting` for `looks` reports and `running` after that, as a real one takes its time."""

    def __init__(self, names: Sequence[str], *, looks: int = 1) -> None:
        self._states = dict.fromkeys(names, "stopped")
        self._looks = looks
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()
        self.stopped: list[str] = []
        """Every service that was stopped, in order."""

    def endpoint(self, name: str) -> str:
        if self._states.get(name) != "running":
            raise Transient(f"{name} is not running", hint="reconcile platform up")
        return f"http://127.0.0.1:1/{name}"

    def start(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in map(self._known, names):
                if self._states[name] in ("stopped", "dead"):
                    self._states[name], self._left[name] = "starting", self._looks

    def stop(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in map(self._known, names):
                self._states[name] = "stopped"
                self.stopped.append(name)

    renew = stop

    def report(self) -> Mapping[str, Mapping[str, JSON]]:
        with self._lock:
            for name, state in self._states.items():
                if state == "starting":
                    self._left[name] -= 1
                    self._states[name] = "starting" if self._left[name] >= 0 else "running"
            messages = {"dead": "its process ended by itself"}
            return {
                name: {"state": state, "url": None, "pid": None, "version": None, "message": messages.get(state, "")}
                for name, state in self._states.items()
            }

    def memory(self) -> int:
        return 0

    def pristine(self, names: Sequence[str]) -> bool:
        return all(name in self._states and name not in self._left for name in names)

    def kill(self, name: str) -> None:
        """What happens to a real one when its process dies."""
        self.fall(name, "dead")

    def fall(self, name: str, state: str) -> None:
        """Put a service into a state, as a real one would get there: `dead`, `unhealthy` (hangs), `degraded` (not as declared)."""
        with self._lock:
            self._states[self._known(name)] = state

    def _known(self, name: str) -> str:
        if name not in self._states:
            raise Terminal(f"there is no service {name!r}")
        return name
