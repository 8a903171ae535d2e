"""Ray Serve over its REST interface: what runs, and one writer that asks for more, for less, or for something else.

A PUT names everything that should be declared, other people's applications too, and deletes what it does not name. So each write
reads, changes only what it is about, and looks afterwards whether it stands: Serve knows no condition on a PUT, and whoever wrote in
between wins until then. Writes that are wanted at the same time become one.

Source: Ray Serve REST API v2; behaviour checked against Ray 2.60. A PUT that was answered with 200 was accepted, no more."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controllers.tools import serve_apps
from controllers.tools.dvc_files import write_text
from controllers.tools.serve_apps import AppInfo, AppSpec, Config, ReplicaInfo, Wish
from reconciler.controller import Call, Context
from reconciler.errors import Rejected, Terminal, Transient
from reconciler.model.serving import applications_file, bentoml_home

if TYPE_CHECKING:
    import httpx

__all__ = ["AppInfo", "AppSpec", "ReplicaInfo", "Serve", "connect"]

PATH = "/api/serve/applications/"
READ_SECONDS, WRITE_SECONDS = 20.0, 60.0
"""The first PUT starts Serve's controller, which was seen to take 16 s on a busy machine."""
GATHER_SECONDS = 0.05
"""How long a writer waits for others that want to write too."""
TRIES = 3
"""Writes in a row that somebody else may undo."""
FRESH: Mapping[str, Any] = {"proxy_location": "Disabled", "http_options": {"host": "127.0.0.1"}}
"""What Serve is started with: no proxy, because requests go to the replicas themselves."""
_LONGEST = 300


@dataclass
class _Order:
    """What one caller wants, and what became of it."""

    wishes: Mapping[str, Wish]
    done: bool = False
    error: Exception | None = None


class Serve:
    """The calls that controllers need; safe to use from several threads. Raises Transient when no answer came, Rejected (or Conflict)
    when the answer was no."""

    def __init__(self, ctx: Context) -> None:
        import httpx

        where = httpx.URL(ctx.services.endpoint("ray"))
        headers = {"Authorization": f"Bearer {where.password}"} if where.password else {}
        base = where.copy_with(username=None, password=None)
        # trust_env off: a proxy setting of the shell must not see calls to a loopback server.
        self._http = httpx.Client(base_url=base, headers=headers, timeout=READ_SECONDS, trust_env=False, verify=base.scheme == "https")
        self._wire, self._installation, self._state = ctx.wire, ctx.installation, ctx.state_dir
        self._seen: Mapping[str, AppInfo] | None = None
        self._orders: list[_Order] = []
        self._turn = threading.Condition()
        self._writing = False

    def applications(self) -> Mapping[str, AppInfo]:
        """Every application, anybody's, by name; read once in a pass, and after each write."""
        with self._turn:
            if self._seen is not None:
                return self._seen
        return self._look()[0]

    def lost(self) -> Mapping[str, Mapping[str, Any]]:
        """What was asked for and Serve does not know any more (its head was started anew): ref, digest and replicas by name."""
        known = self.applications()
        return {name: entry for name, entry in _kept(applications_file(self._state)).items() if name not in known}

    def declare(self, spec: AppSpec) -> None:
        """Ask for this application as it is here. What is so already costs nothing."""
        wanted = serve_apps.config(spec, self._installation, str(self._state), str(bentoml_home(self._state)))
        self._order({spec.name: wanted})

    def scale(self, name: str, replicas: int) -> None:
        """Ask for another number of replicas of one of ours; 0 removes it. The others are not started anew."""
        self._order({name: replicas if replicas > 0 else None})

    def remove(self, names: Collection[str]) -> None:
        """Ask for these of ours to end; they finish what they have in hand. What is not there is fine."""
        if names:
            self._order(dict.fromkeys(names))

    # --- one writer for all threads ------------------------------------------------------------------------------------

    def _order(self, wishes: Mapping[str, Wish]) -> None:
        """Have it written, by whichever thread comes first, together with what others want. Raises what became of it."""
        mine = _Order(wishes)
        with self._turn:
            self._orders.append(mine)
            while self._writing and not mine.done:
                self._turn.wait()
            if not mine.done:
                self._writing = True
        if not mine.done:
            try:
                self._serve_all()
            finally:
                with self._turn:
                    self._writing = False
                    self._turn.notify_all()
        if mine.error is not None:
            raise mine.error

    def _serve_all(self) -> None:
        time.sleep(GATHER_SECONDS)
        with self._turn:
            taken, self._orders = self._orders, []
        try:
            self._write(taken)
        except Rejected as error:
            if len(taken) == 1:
                taken[0].error = error
            for one in taken if len(taken) > 1 else ():  # one of them is at fault, and the others must not suffer
                try:
                    self._write([one])
                except Exception as own:
                    one.error = own
        except Exception as error:  # whatever it is, nobody may take his order for granted
            for one in taken:
                one.error = one.error or error
        finally:
            for one in taken:
                one.done = True

    def _write(self, orders: list[_Order]) -> None:
        """Read, change, keep what leases are counted by, write, look whether it stands."""
        for _ in range(TRIES):
            seen, settings = self._look()
            before = serve_apps.standing(seen)
            known = dict(before)
            for one in orders:
                self._grant(one, seen, known)
            self._keep(orders, known, seen)
            if known == before:
                return
            try:
                self._call("PUT", json={**settings, "applications": list(known.values())}, timeout=WRITE_SECONDS)
            except Rejected:  # nothing of it was accepted, and no lease must be counted for it
                self._keep(orders, before, seen)
                raise
            after = serve_apps.standing(self._look()[0])
            if all(after.get(name) == known.get(name) for one in orders if one.error is None for name in one.wishes):
                return
        raise Transient("somebody else writes Serve's applications all the time: what was asked for did not stand")

    def _grant(self, one: _Order, seen: Mapping[str, AppInfo], known: dict[str, Config]) -> None:
        one.error = next((no for name, wish in one.wishes.items() if (no := serve_apps.refusal(name, wish, seen, known))), None)
        if one.error is None:
            for name, wish in one.wishes.items():
                serve_apps.granted(name, wish, known)

    def _keep(self, orders: list[_Order], known: Mapping[str, Config], seen: Mapping[str, AppInfo]) -> None:
        """Write down what is asked for before Serve hears of it: what runs is never more than what leases are counted by."""
        path = applications_file(self._state)
        kept = _kept(path)
        wanted = dict(kept)
        asked = {name for one in orders if one.error is None for name in one.wishes}
        for name in asked | {name for name, each in seen.items() if each.ours and name not in kept}:
            if name in known:
                wanted[name] = serve_apps.entry(known[name])
            else:
                wanted.pop(name, None)
        if wanted != kept:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(path, json.dumps({"applications": wanted}, indent=1, sort_keys=True) + "\n")

    # --- Serve's REST interface ------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Mapping[str, AppInfo], Mapping[str, Any]]:
        """All applications, and the settings that a PUT must repeat so that nothing else changes."""
        told = self._call("GET")
        try:
            seen = {name: serve_apps.info(each, self._installation) for name, each in told["applications"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Transient(f"Serve's list of applications is not one ({type(error).__name__})") from error
        with self._turn:
            self._seen = seen
        runs = bool(told.get("controller_info"))
        named = ("proxy_location", "http_options", "grpc_options", "target_capacity")
        return seen, {name: told[name] for name in named if told.get(name) is not None} if runs else FRESH

    def _call(self, method: str, **request: Any) -> Any:
        import httpx

        began, status = time.monotonic(), "no answer"
        write = method != "GET"
        try:
            response = self._http.request(method, PATH, **request)
            status = str(response.status_code)
            return _answer(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(f"Ray does not answer at {self._http.base_url}", hint=type(error).__name__) from error
        except httpx.TransportError as error:
            raise Transient(f"Ray Serve gave no answer: {type(error).__name__}", maybe_done=write) from error
        finally:
            self._wire(Call("serve", method, PATH, write, status, time.monotonic() - began))


def connect(ctx: Context) -> Serve:
    """The pass's one client of Serve. Raises Transient when Ray was never started."""
    return ctx.client(Serve, Serve)


def _answer(response: httpx.Response) -> Any:
    if response.is_success:
        try:
            return response.json() if response.content else {}
        except ValueError as error:
            raise Transient("Ray Serve answered with no JSON; is something else listening there?") from error
    words = _words(response.text)
    if response.status_code in (401, 403):
        raise Transient("Ray refuses this installation's token", hint="restart it: reconcile platform down ray, then up")
    if response.status_code == 501:
        raise Terminal("Ray runs without Serve", hint="install ray[serve] into the interpreter that runs it")
    if response.status_code == 400:
        raise Rejected(f"Ray Serve refused: {words}")
    raise Transient(f"Ray Serve failed ({response.status_code}): {words}")


def _words(text: str) -> str:
    """The last line of an error's text: that of a traceback says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return (lines[-1] if lines else "no reason given")[:_LONGEST]


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes())["applications"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
