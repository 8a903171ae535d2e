"""docs/policy.md and docs/policy-commands.md do what they say, on projects that need no service."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.walkthrough import Walk, environment, walked

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
COMMANDS = PAGE.with_name("policy-commands.md")


@pytest.mark.parametrize("page", [PAGE, COMMANDS])
def test_the_page_does_what_it_says(tmp_path: Path, page: Path) -> None:
    walked(page, Walk(tmp_path, environment(Path(sys.executable).parent), {}))


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 300
