"""The file of routes as the reconciler writes it, and what the gateway makes of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.tools.gateway import Gateway, connect
from reconciler.controller import Context
from reconciler.errors import Terminal
from reconciler.model.serving import Bounds, PredictionLog, Route, Target, routes_file
from reconciler.testing import make_context
from reconciler.testing.context import Recorder

TARGET = Target("demo.a.12345678", 100, "stable", "3", "demo/tree", "r", "1" * 64, "mlx", {"digits": "abc"})
ROUTE = Route(
    "demo", "a", (TARGET,), "none", Bounds(rate=5.0), PredictionLog(True, 0.5, "id", ("name", "x.y")), "x-canary", labels={"a": "b"}
)


@pytest.fixture
def wire() -> Recorder:
    return Recorder()


@pytest.fixture
def ctx(tmp_path: Path, wire: Recorder) -> Context:
    return make_context(tmp_path, wire=wire)


def test_what_is_written_is_read_again_and_a_generation_is_counted_only_when_something_changes(ctx: Context, wire: Recorder) -> None:
    gateway = connect(ctx)
    assert gateway.put({ROUTE.path: ROUTE}) == 1
    assert Gateway(ctx).routes().routes == {"demo/a": ROUTE}
    wire.clear()
    assert gateway.put({ROUTE.path: ROUTE}) == 1
    assert wire.writes == []
    assert gateway.put({ROUTE.path: replace(ROUTE, off="idle")}) == 2
    assert gateway.put({ROUTE.path: None}) == 3
    assert gateway.put({ROUTE.path: None}) == 3
    assert gateway.routes().routes == {}


def test_what_several_threads_change_is_all_there(ctx: Context) -> None:
    gateway = connect(ctx)
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda n: gateway.put({f"demo/r{n}": replace(ROUTE, name=f"r{n}")}), range(64)))
    assert len(gateway.routes().routes) == 64
    assert max(told) == gateway.routes().generation <= 64


def test_two_reconcilers_do_not_lose_each_others_routes(ctx: Context) -> None:
    tools = [Gateway(ctx) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: tools[n % 4].put({f"demo/r{n}": replace(ROUTE, name=f"r{n}")}), range(40)))
    assert len(tools[0].routes().routes) == 40


def test_a_damaged_file_is_said_so_and_never_replaced_by_less(ctx: Context) -> None:
    gateway = connect(ctx)
    gateway.put({ROUTE.path: ROUTE})
    routes_file(ctx.state_dir).write_text("{")
    with pytest.raises(Terminal, match="damaged"):
        gateway.routes()
    with pytest.raises(Terminal, match="damaged"):
        gateway.put({"demo/b": replace(ROUTE, name="b")})


def test_a_gateway_that_is_not_up_tells_nothing(ctx: Context) -> None:
    assert connect(ctx).state() is None
