"""docs/compare.md does what it says: real runs of two projects, compared, on a real MLflow server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walkthrough import Walk, environment, set_aside, walked

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
PROJECTS = ("fewer-bits", "fewer-weights", "comparisons (compare-page)")

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def server(mlflow_url: str) -> Iterator[str]:
    """The shared server, without what another run left there, before and after."""
    set_aside(mlflow_url, PROJECTS)
    yield mlflow_url
    set_aside(mlflow_url, PROJECTS)


def test_the_page_does_what_it_says(tmp_path: Path, server: str) -> None:
    walked(PAGE, Walk(tmp_path, environment(Path(sys.executable).parent), {"http://127.0.0.1:5000": server}))


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 180
