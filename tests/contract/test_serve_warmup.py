"""What a replica must show before it serves, through a real server on a real socket; no Ray."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import Terminal
from reconciler.serving.listen import Server
from reconciler.serving.warmup import Client, warm_up

MIB = 1 << 20
Answer = Callable[[list[Any]], Any]


def service(answer: Answer, status: int = 200, seconds: float = 0.0, fails: str = "") -> Any:
    """A model as an ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            failed = {"type": "lifespan.startup.failed", "message": f"Traceback ...\n{fails}\n"}
            await send(failed if fails else {"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        await asyncio.sleep(seconds)
        told = answer(json.loads(body)["instances"])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": told if isinstance(told, bytes) else json.dumps(told).encode()})

    return app


@contextmanager
def serving(app: Any) -> Iterator[tuple[Server, Path]]:
    path = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp")) / "http"
    server = Server(app, path)
    try:
        server.start()
        yield server, path
    finally:
        server.stop()
        server.stop()
        assert not path.parent.exists()


def args(**more: Any) -> dict[str, Any]:
    return {"example": [1, 2], "output": {"type": "number"}, "latency": None, "memory": 0, **more}


def sums(instances: list[Any]) -> list[float]:
    return [float(each) for each in instances]


def quiet() -> int:
    return 100 * MIB


def test_a_good_model_is_let_through_and_only_its_owner_reaches_it() -> None:
    with serving(service(sums)) as (server, path):
        warm_up(path, args(latency=1.0, memory=200 * MIB), quiet)
        assert server.alive
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        warm_up(path, args(example=[], memory=200 * MIB), quiet)


@pytest.mark.parametrize(
    ("app", "more", "why"),
    [
        (service(lambda _: [1.0]), {}, "2 examples were answered with a list of 1, expected a list of 2 predictions"),
        (service(lambda _: {"predictions": []}), {}, "2 examples were answered with dict"),
        (service(lambda _: ["a", "b"]), {}, "wrong output: prediction 0 for the examples: data must be number"),
        (service(lambda _: b"<html>"), {}, "its answer to the examples is not JSON"),
        (service(lambda _: {"error": "no such field"}, status=400), {}, 'answered its examples with 400: {"error": "no such field"}'),
        (service(sums, seconds=0.03), {"latency": 0.01}, r"too slow: p95 3\d\.\d ms over 20 requests \(limit 10 ms\)"),
        (service(sums), {"memory": 50 * MIB}, "needs 100 MiB, its lease gives 50 MiB"),
    ],
)
def test_a_bad_one_is_not_and_the_reason_is_told(app: Any, more: dict[str, Any], why: str) -> None:
    with serving(app) as (_, path), pytest.raises(Terminal, match=why):
        warm_up(path, args(**more), quiet)


def test_one_that_grows_with_every_request_leaks_and_one_that_fills_its_caches_does_not() -> None:
    calls = [0]

    def counted(instances: list[Any]) -> list[float]:
        calls[0] += 1
        return sums(instances)

    with serving(service(counted)) as (_, path):
        with pytest.raises(Terminal, match="its memory grew by 75 MiB over 15 requests: it leaks"):
            warm_up(path, args(memory=400 * MIB), lambda: (100 + 5 * calls[0]) * MIB)
        calls[0] = 0
        warm_up(path, args(memory=400 * MIB), lambda: (100 + 30 * min(calls[0], 6)) * MIB)


def test_a_slow_model_is_not_asked_for_ever() -> None:
    began = time.monotonic()
    with serving(service(sums, seconds=1.1)) as (_, path):
        warm_up(path, args(latency=5.0), quiet)
    assert time.monotonic() - began < 8


def test_a_service_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(Terminal, match="the service does not start: ValueError: bad weights"),
        serving(service(sums, fails="ValueError: bad weights")),
    ):
        pytest.fail("started")


def test_what_runs_is_counted_and_may_end_at_a_stop() -> None:
    answers: list[Any] = []
    with serving(service(sums, seconds=0.5)) as (server, path):
        client = Client(path)
        thread = threading.Thread(target=lambda: answers.append(client.predict([3])))
        thread.start()
        deadline = time.monotonic() + 5
        while not server.ongoing and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.ongoing == 1
        server.stop()
        thread.join()
    assert answers == [[3.0]]
    assert not server.alive
    assert server.ongoing == 0


LEAVES = """
import sys, threading, time
from pathlib import Path
from reconciler.model.serving import Registration
from reconciler.serving import register
from reconciler.serving.listen import Server
from reconciler.serving.replica import Replica

async def app(scope, receive, send):
    for told in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{told}.complete"})

state, socket = Path(sys.argv[1]), Path(sys.argv[2])
socket.parent.mkdir()
replica = Replica.__new__(Replica)  # as Serve's actor holds it once it is up
replica._args, replica._ends = {"timeout": 1}, threading.Event()
replica._server = Server(app, socket)
replica._server.start()
replica._entry = register.enter(state, Registration("p.n.1", "r", "deployment/p/n", 1, "ready", str(socket)))
replica.__del__()  # what Serve's graceful shutdown calls
print(len(list(state.rglob("r.json"))), socket.exists(), flush=True)
time.sleep(60)  # nobody ends the actor: the controller died meanwhile
"""


def test_a_replica_that_has_ended_does_not_wait_for_a_controller_that_died(tmp_path: Path) -> None:
    socket = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp")) / "r" / "http"
    try:
        argv = [sys.executable, "-c", LEAVES, str(tmp_path), str(socket)]
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    finally:
        shutil.rmtree(socket.parents[1], ignore_errors=True)
    assert (ran.returncode, ran.stdout.split()) == (0, ["0", "False"]), ran.stderr
