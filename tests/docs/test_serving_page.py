"""docs/serving.md does what it says: from training to an endpoint that changes and goes back, on real MLflow, BentoML and Ray Serve."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.walkthrough import Walk, environment, set_aside, walked
from tests.forked import reconcile

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
PROJECT, MODEL = "tickets", "tickets.urgent"

pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture
def server(mlflow_url: str) -> Iterator[str]:
    """The shared server, without what an earlier walk left there, before and after."""
    _forget(mlflow_url)
    yield mlflow_url
    _forget(mlflow_url)


@pytest.fixture
def walk(tmp_path: Path, server: str) -> Iterator[Walk]:
    """The page's folder; what serves in it is ended with the installation, whatever the page came to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"http://127.0.0.1:5000": server, "port: 8008": f"port: {port}", "127.0.0.1:8008": f"127.0.0.1:{port}"}
    env = environment(Path(sys.executable).parent)
    yield Walk(tmp_path, env, words)
    done = reconcile("platform", "down", cwd=tmp_path, env=env, timeout=180)
    assert done.returncode == 0, done.stderr


def test_the_page_does_what_it_says(walk: Walk) -> None:
    walked(PAGE, walk)


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 400


def _forget(url: str) -> None:
    set_aside(url, [PROJECT])
    answer = httpx.request("DELETE", f"{url}/api/2.0/mlflow/registered-models/delete", json={"name": MODEL}, timeout=30, trust_env=False)
    assert answer.status_code in (200, 404), answer.text
