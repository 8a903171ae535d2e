"""From drift to a promoted version, or to one that is held back, by itself, with everything real: `make demo` ends with the first."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.circle.__main__ import MONITOR, RECONCILE, Installation, environment, play

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


def test_a_version_that_is_no_good_is_held_back_and_the_old_one_serves_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = play(root, held=True)
    assert [what for what, _ in clock.steps] == [
        "drift is found",
        "the ward is told",
        "the retraining is started",
        "the gate holds the new version back",
        "the retraining ends, without success",
    ]
    assert ", 0 failed" in capsys.readouterr().out
    here = Installation(root, fresh=False)
    assert (here.version(), [each["version"] for each in here.route()["targets"]]) == ("1", ["1"])
    assert here.status()[MONITOR]["health"] == "Degraded", "nothing has helped, and it says so"
