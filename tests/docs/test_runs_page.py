"""docs/runs.md does what it says: real trainings under quotas, heat from a trace, on real DVC and a real MLflow server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.runs.local import LocalRunner
from tests.docs.walkthrough import Walk, environment, set_aside, walked

PAGE = Path(__file__).parents[2] / "docs" / "runs.md"
PROJECTS = ("speech", "vision")
LIVE = ("starting", "running", "paused")

pytestmark = pytest.mark.xdist_group("runs")


@pytest.fixture
def server(mlflow_url: str) -> Iterator[str]:
    """The shared server, without what another page left there, before and after."""
    set_aside(mlflow_url, PROJECTS)
    yield mlflow_url
    set_aside(mlflow_url, PROJECTS)


@pytest.fixture
def walk(tmp_path: Path, server: str) -> Iterator[Walk]:
    """The page's folder; a training that a failing page leaves behind is ended, and its supervisor with it."""
    yield Walk(tmp_path, environment(Path(sys.executable).parent), {"http://127.0.0.1:5000": server})
    runner, deadline = LocalRunner(tmp_path / ".mlops", lambda: None), time.monotonic() + 30
    while living := [each for each in runner.look().values() if each.state in LIVE]:
        for each in living:
            runner.stop(each.id, "the test is over")
        assert time.monotonic() < deadline, "a training did not end"
        time.sleep(0.2)


def test_the_page_does_what_it_says(walk: Walk) -> None:
    walked(PAGE, walk)


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 400
