"""One replica on Ray Serve: an actor like any other for placement, restarts and lifetime, which serves HTTP itself.

The Bento's own ASGI application listens on a Unix socket in a private folder, and nowhere else. The gateway finds the replica by its
registration (`register.py`) and sends requests straight to that socket: Serve's controller may die without a failed request, and no
request passes through Serve.

A replica is ready once its model's files are what they should be, the Bento is loaded, and the examples were answered well and fast
enough within the granted memory. What fails says why in its registration, and to Serve.

Imported by Ray's workers, with the Python of the Ray head; the head's PYTHONPATH makes `reconciler` importable there."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.serve._private.replica as _serve
from ray import serve

from reconciler.errors import Terminal
from reconciler.model.serving import Registration
from reconciler.model.units import memory as text_of
from reconciler.runs.processes import usage
from reconciler.serving import register
from reconciler.serving.content import digest
from reconciler.serving.listen import Server
from reconciler.serving.warmup import warm_up

STARTS = 2
"""How often Serve tries to start the first replica before it gives up: once more than once, because a machine may be short of memory."""
LOOK_SECONDS = 3.0
"""Between two looks at the replica's memory: one was seen to take 4 ms."""
OVER = 3
"""Looks in a row above the grant, after which the replica is replaced."""
LONGEST = 400
"""Characters of what a failing model says."""
LINGER_SECONDS = 1.0
"""How long a replica that ends still serves, so that the gateway has read that it does."""
LEFT_SECONDS = 1.0
"""How long Serve may take to end the process of a replica that has ended; it usually takes half a second."""


def _listen_on_loopback_only() -> None:
    """Serve has each replica listen on all interfaces (`[::]:0` in ray/serve/_private/replica.py of Ray 2.60), for calls between
    deployments, which ours do not make."""
    module: Any = _serve
    original = module.add_port_to_grpc_server
    module.add_port_to_grpc_server = lambda server, address: original(server, address.replace("[::]", "127.0.0.1"))


_listen_on_loopback_only()


def build(args: Mapping[str, Any]) -> serve.Application:
    """The application, as `import_path` of a Serve config names it."""
    return serve.deployment(name="Replica", max_constructor_retry_count=STARTS)(Replica).bind(dict(args))


class Replica:
    """Lives in one actor's process. Serve makes it, asks for its health every few seconds, and calls `__del__` before it ends it."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        context = serve.get_replica_context()
        self._args, self._over, self._ends = args, 0, threading.Event()
        self._server: Server | None = None
        first = Registration(
            app=context.app_name,
            replica=context.replica_id.unique_id,
            ref=args["marks"]["ref"],
            pid=os.getpid(),
            state="loading",
            since=time.time(),
            granted=args["memory"],
            input=args["input"],
            output=args["output"],
            example=tuple(args["example"]),
        )
        self._entry = register.enter(Path(args["state"]), first)
        try:
            self._start()
        except Exception as error:
            why = _sentence(error)
            self._fail(why)
            raise Terminal(why) from error  # the last line of what Serve tells
        threading.Thread(target=self._watch, name="mlops-watch", daemon=True).start()

    def _start(self) -> None:
        args = self._args
        if args["model"] and args["model_digest"] and (found := digest(Path(args["model"]))) != args["model_digest"]:
            raise Terminal(f"the model's files are not those of its version: {found[:12]}, not {args['model_digest'][:12]}")
        import bentoml

        service: Any = bentoml.load(args["bento"])
        socket = Path(tempfile.mkdtemp(prefix="r-")) / "http"  # below the Ray head's own temporary folder, whose path is short
        self._server = Server(_without_timers(service.to_asgi()), socket)
        self._server.start()
        self._entry.change(socket=str(socket), **self._measured())
        warm_up(socket, args, used=lambda: self._measured()["memory"])
        self._entry.change(state="ready", **self._measured())

    def check_health(self) -> None:
        """Asked by Serve every few seconds; raises what makes it end this replica and start another."""
        if not self._ends.is_set() and (self._server is None or not self._server.alive):
            self._fail("its HTTP server ended")
        if self._entry.now.why or self._ends.is_set():
            # A controller that was killed while this one ended may come back with the other one stopped, and take this one for alive.
            raise RuntimeError(self._entry.now.why or "it has ended, and was not told so to Serve")

    def __del__(self) -> None:
        """Before Serve ends it: tell, serve on until it was read and nothing runs any more, leave. Called once more by Python.

        The process does not wait for ever to be ended: a controller that was killed meanwhile finds all that still live when it comes
        back, and of two where one is wanted it would end any (`_get_replicas_to_stop` in Ray 2.60)."""
        server = getattr(self, "_server", None)
        if server is None or self._ends.is_set():
            return
        self._ends.set()
        self._entry.change(state="draining")
        told, latest = time.monotonic() + LINGER_SECONDS, time.monotonic() + LINGER_SECONDS + self._args["timeout"]
        while time.monotonic() < told or (server.ongoing and time.monotonic() < latest):
            time.sleep(0.02)
        server.stop()
        if self._entry.now.why:
            self._entry.change(state="failed")
        self._entry.leave(keep=bool(self._entry.now.why))
        orphaned = threading.Timer(LEFT_SECONDS, os._exit, (0,))
        orphaned.daemon = True
        orphaned.start()

    def _fail(self, why: str) -> None:
        """The end, with its reason; what is said here is kept for people and for `status`."""
        self._ends.set()
        self._entry.change(state="failed", why=why)
        if self._server is not None:
            self._server.stop()
        self._entry.leave(keep=True)

    def _watch(self) -> None:
        """Keep the registration's numbers; above the grant for too long, let go of the traffic, and be replaced."""
        while not self._ends.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):  # a full disk is no reason to end
                used = self._measured()
                self._entry.change(**used)
                granted = self._args["memory"]
                self._over = self._over + 1 if granted and used["memory"] > granted else 0
                if self._over == OVER:
                    needs = f"used {text_of(used['memory'])} of {text_of(granted)} granted: set resources.memory to more"
                    self._entry.change(state="draining", why=needs)

    def _measured(self) -> dict[str, int]:
        """Rounded up to whole MiB, so that a replica at rest does not write its file again and again."""
        now = -(-usage([os.getpid()]).memory >> 20) << 20
        return {"memory": now, "peak": max(now, self._entry.now.peak)}


def _without_timers(app: Any) -> Any:
    """The application without BentoML's time limit, which starts a timer for each request and never ends one (`TimeoutMiddleware` in
    bentoml/_internal/server/http/traffic.py of BentoML 1.4.39): each request was seen to hold 5 KiB until its time was over. The gateway
    bounds how long a request takes."""
    app.user_middleware = [each for each in app.user_middleware if getattr(each.cls, "__name__", "") != "TimeoutMiddleware"]
    return app


def _sentence(error: Exception) -> str:
    """What an error says, in one line."""
    words = " ".join(str(error).split())[:LONGEST]
    return words if isinstance(error, Terminal) else f"{type(error).__name__}: {words}"
