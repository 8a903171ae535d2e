"""From drift to a promoted version, by itself, with everything real: what `make demo` ends with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.circle.__main__ import RECONCILE, environment, play

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.full]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder; its services are stopped, whatever came of it."""
    yield tmp_path
    subprocess.run([RECONCILE, "platform", "down"], cwd=tmp_path, check=True, env=environment(), timeout=180)


def test_the_circle_closes_without_a_hands_touch(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = play(root)
    assert [what for what, _ in clock.steps] == [
        "drift is found",
        "the ward is told",
        "the retraining is started",
        "the gate passes: a new version has the alias",
        "a canary gets a part of the requests",
        "the canary is promoted",
        "the monitor is green again",
        "the ward is told that it is over",
    ]
    said = capsys.readouterr().out
    assert ", 0 failed" in said, "nobody noticed"
    assert "mean_" in said, "the columns whose unit changed come first"
