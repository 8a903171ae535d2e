"""docs/workflows.md does what it says, on a real Airflow of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walkthrough import Walk, environment, walked
from tests.forked import reconcile

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """The page's folder; its services are stopped, whatever the page came to."""
    env = environment(Path(sys.executable).parent)
    yield Walk(tmp_path, env, {})
    done = reconcile("platform", "down", cwd=tmp_path, env=env, timeout=180)
    assert done.returncode == 0, done.stderr


def test_the_page_does_what_it_says(walk: Walk) -> None:
    walked(PAGE, walk)
