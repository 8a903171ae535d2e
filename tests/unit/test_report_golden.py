"""Every hand-made proposal in every format, compared with the files in tests/golden/plans. UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.loop import Proposal
from reconciler.report.json import plan_json
from reconciler.report.markdown import plan_markdown
from reconciler.report.text import plan_text
from tests.golden.plans.cases import CASES, FOLDER

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FORMATS: dict[str, Callable[[Proposal], str]] = {
    "txt": lambda proposal: plan_text(proposal, width=100),
    "narrow.txt": lambda proposal: plan_text(proposal, width=60, all_=True),
    "md": lambda proposal: plan_markdown(proposal, link_base="https://git.example/toolkit/blob/3f9c2e1/"),
    "json": lambda proposal: plan_json(proposal, at=AT),
}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_plan_is_written_as_agreed(case: str, ending: str) -> None:
    said = FORMATS[ending](CASES[case]).rstrip("\n") + "\n"
    compare_with(FOLDER / f"{case}.{ending}", said)


def compare_with(path: Path, said: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(said, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == said, "run with UPDATE_GOLDEN=1 if the new text is right"
