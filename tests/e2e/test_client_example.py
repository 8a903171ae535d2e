"""examples/client: a script of ten lines goes from a CSV file to an endpoint that answers and is watched, with all tools for real."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.client import MLOpsClient
from tests.e2e.installation import REPOSITORY, Installation

pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    """The example in a git repository of its own, with services of its own."""
    root = tmp_path / "example"
    shutil.copytree(REPOSITORY / "examples" / "client", root)
    found = Installation(root, {"BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(REPOSITORY)})
    found.write({".gitignore": ".mlops/\nmodel/\n"})
    found.git("init", "-q", "-b", "main")
    found.commit("the project")
    yield found
    found.run("platform", "down")


def test_from_data_to_a_monitored_endpoint(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    script = here.root / "tickets" / "endpoint.py"
    lines = [each for each in script.read_text().partition("with ")[2].splitlines() if each.strip()]
    assert len(lines) <= 13  # ten statements, three of them in a block of their own
    here.ok("platform", "up", "mlflow")
    done = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, env=here.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("commit it, and the next pass does it") == 6
    here.commit("what the script declares")
    here.ok("--wait", "--timeout", "300s")
    monkeypatch.setenv("MLOPS_GATEWAY_KEY", here.ok("keys", "create", "--project", "tickets").out.strip())
    with MLOpsClient.from_project("tickets", root=here.root) as client:
        for _ in range(12):
            answer = client.predict("urgent", [{"text": "the printer is on fire"}, {"text": "thanks for the manual"}])
            assert answer["predictions"] == [1, 0]
        client.log_labels("urgent", {answer["ids"][0]: 1})
        deadline = time.monotonic() + 60
        while len(client.logged_predictions("urgent")) < 24 and time.monotonic() < deadline:
            time.sleep(0.5)
        rows = client.logged_predictions("urgent")
        assert [each["prediction"] for each in rows[:2]] == [1, 0]
        model = client.models.get("urgent")
        assert model.outputs["run"] == rows[0]["run"]
        watched, deadline = client.monitors.get("urgent"), time.monotonic() + 180
        while watched.outputs.get("verdict") != "pass" and time.monotonic() < deadline:
            for _ in range(24):  # a window is twenty predictions, and the gateway tells of its traffic every ten seconds
                client.predict("urgent", [{"text": "payment fails"}])
            time.sleep(11)
            here.ok("--wait", "--timeout", "120s")
            watched = client.monitors.get("urgent")
        assert (watched.health, watched.outputs["verdict"]) == ("Healthy", "pass"), watched.message
        told = client.get_status()
        assert told.ready
        assert told.troubles == {}
