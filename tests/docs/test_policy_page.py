"""docs/policy.md does what it says, on a project that needs no service."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.walkthrough import Walk, environment, walked

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    walked(PAGE, Walk(tmp_path, environment(Path(sys.executable).parent), {}))


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 300
