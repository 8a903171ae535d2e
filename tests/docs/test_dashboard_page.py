"""docs/dashboard.md does what it says: served, logged in, refused. No tool is needed, and no browser."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walkthrough import Walk, environment, walked

PAGE = Path(__file__).parents[2] / "docs" / "dashboard.md"


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """The page's folder; the loop that a failing page leaves behind is ended."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    yield Walk(tmp_path, environment(Path(sys.executable).parent), {"8490": port, "http://127.0.0.1:5000": "http://127.0.0.1:9"})
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "watch.pid").read_text()), signal.SIGTERM)


def test_the_page_does_what_it_says(walk: Walk) -> None:
    walked(PAGE, walk)


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 120
