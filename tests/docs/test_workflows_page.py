"""docs/workflows.md does what it says, on a real Airflow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.walkthrough import Walk, environment, walked
from tests.e2e.installation import Installation
from tests.e2e.workflows import address, bundle, theirs

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.fixture
def walk(tmp_path: Path, flows: Installation) -> Walk:
    """The page's folder, and its Platform with an Airflow that runs already."""
    env = environment(Path(sys.executable).parent) | {"THEIRS": address(flows)[1]}
    named = "installation: workflows-page"
    return Walk(tmp_path, env, {named: f"{named}, airflow: {{{theirs(flows)}, {bundle(flows)}}}"})


def test_the_page_does_what_it_says(walk: Walk) -> None:
    walked(PAGE, walk)
