"""The gateway as a controller sees it: the routes that it is told (a file), and what it tells (`GET /-/state`).

Routes are read, changed and written under a lock, as one file; changes from several threads go into one generation."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from controllers.tools.dvc_files import write_text
from reconciler.controller import Call, Context
from reconciler.errors import Terminal, Transient
from reconciler.model.serving import AppStats, Bounds, GatewayState, PredictionLog, Route, Routes, RouteStats, Target, routes_file

SECONDS = 5.0
"""For one answer of the gateway, which has them at hand."""
T = TypeVar("T")


class Gateway:
    """Routes and counters. Safe to use from several threads."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._file = routes_file(ctx.state_dir)
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._pending: dict[str, Route | None] = {}
        self._asked = False
        self._state: GatewayState | None = None

    def routes(self) -> Routes:
        """As they stand in the file. Raises Terminal when it is damaged."""
        return _read(self._file)

    def put(self, changes: Mapping[str, Route | None]) -> int:
        """Set or remove (None) routes by `project/name`; returns the generation that holds them. One that changes nothing is the same."""
        with self._guard:
            self._pending.update(changes)
        with self._turn:  # whoever comes first writes for all who came meanwhile
            with self._guard:
                taken, self._pending = self._pending, {}
            try:
                with _locked(self._file):
                    return self._write(taken)
            except BaseException:  # others count on what was taken from them
                with self._guard:
                    self._pending = {**taken, **self._pending}
                raise

    def state(self) -> GatewayState | None:
        """What the gateway tells, asked once in this pass; None when it does not answer: it is not up, or not yet."""
        with self._guard:
            if not self._asked:
                self._asked, self._state = True, self.ask()
            return self._state

    def ask(self) -> GatewayState | None:
        """The same at this moment."""
        import httpx

        began, status = time.monotonic(), "no answer"
        try:
            url = httpx.URL(self._ctx.services.endpoint("gateway"))
            headers = {"authorization": f"Bearer {url.password}"}
            plain = url.copy_with(userinfo=b"")
            response = httpx.get(plain.join("/-/state"), headers=headers, timeout=SECONDS, trust_env=False)
            status = str(response.status_code)
            if not response.is_success:
                return None
            return _state(response.json())
        except (httpx.TransportError, ValueError, KeyError, TypeError, AttributeError, Transient):
            return None
        finally:
            self._ctx.wire(Call("gateway", "GET", "/-/state", False, status, time.monotonic() - began))

    def _write(self, changes: Mapping[str, Route | None]) -> int:
        began, before = time.monotonic(), _read(self._file)
        routes = {path: route for path, route in {**before.routes, **changes}.items() if route is not None}
        if routes == dict(before.routes):
            return before.generation
        told = None if before.generation else self.state()  # a file that was lost must not begin below what the gateway works by
        generation = max(before.generation, told.generation if told else 0) + 1
        after = Routes(generation, dict(sorted(routes.items())))
        write_text(self._file, json.dumps(asdict(after), indent=1) + "\n")
        self._ctx.wire(Call("gateway", "PUT", "routes.json", True, str(after.generation), time.monotonic() - began))
        return after.generation


def connect(ctx: Context) -> Gateway:
    """The pass's one view of the gateway."""
    return ctx.client(Gateway, Gateway)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock, which lies beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> Routes:
    try:
        raw = json.loads(path.read_bytes())
        return Routes(int(raw["generation"]), {name: _route(each) for name, each in raw["routes"].items()})
    except FileNotFoundError:
        return Routes()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "the gateway goes on with the last good ones; remove the file, and the next pass writes it anew"
        raise Terminal(f"{path.name} in the state folder is damaged: {type(error).__name__}", hint=hint) from error


def _route(raw: Mapping[str, Any]) -> Route:
    limits, log = _of(Bounds, raw.get("limits") or {}), _of(PredictionLog, raw.get("predictions") or {})
    targets = tuple(_of(Target, each) for each in raw.get("targets") or ())
    return replace(_of(Route, raw), targets=targets, limits=limits, predictions=replace(log, redact=tuple(log.redact)))


def _state(raw: Mapping[str, Any]) -> GatewayState:
    routes = {name: replace(_of(RouteStats, each), apps=_apps(each.get("apps") or {})) for name, each in (raw.get("routes") or {}).items()}
    return replace(_of(GatewayState, raw), routes=routes)


def _apps(raw: Mapping[str, Any]) -> dict[str, AppStats]:
    return {
        name: replace(stats, latency=tuple(stats.latency)) for name, stats in ((name, _of(AppStats, each)) for name, each in raw.items())
    }


def _of(kind: type[T], raw: Mapping[str, Any]) -> T:
    """A value from its fields; those that a newer program wrote are left out."""
    known = {each.name: raw[each.name] for each in fields(kind) if each.name in raw}  # type: ignore[arg-type]
    return kind(**known)
