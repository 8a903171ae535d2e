"""The whole gallery of bad manifests at once, reconciled for real: each is told, nothing of it is applied, everything else is."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from tests.e2e.installation import REPOSITORY, Installation

pytestmark = pytest.mark.xdist_group("mlflow")
GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """The gallery's good tree with its bad files, under names that no other test uses on the shared server."""
    tag = uuid.uuid4().hex[:6]
    found = Installation(tmp_path / "root")
    found.env = {"VISION": f"vision-{tag}", "LANGUAGE": f"language-{tag}"}
    swaps = {
        b"project: vision": f"project: vision-{tag}".encode(),
        b"{name: vision}": f"{{name: vision-{tag}}}".encode(),
        b"[vision/": f"[vision-{tag}/".encode(),
        b"project: language": f"project: language-{tag}".encode(),
        b"{name: language}": f"{{name: language-{tag}}}".encode(),
        b"installation: golden": f"installation: gallery-{tag}\n  mlflow: {{managed: false, endpoint: '{mlflow_url}'}}".encode(),
        b"/tmp/archive": str(tmp_path / "archive").encode(),
    }
    for folder, place in (("tree", "a-good"), ("bad", "zz-bad")):
        target = found.root / "manifests" / place
        target.mkdir(parents=True)
        for path in sorted((GOLDEN / folder).glob("*.yaml")):
            text = path.read_bytes()
            for old, new in swaps.items():
                text = text.replace(old, new)
            (target / path.name).write_bytes(text)
    found.write({"code/vision/data/digits.csv": "a,b\n1,2\n", "code/vision/data/faces/one.csv": "1\n", "code/language/x.py": ""})
    (tmp_path / "archive").mkdir()
    return found


def test_the_gallery_harms_nobody(here: Installation) -> None:
    vision, language = here.env["VISION"], here.env["LANGUAGE"]
    bad = sorted((GOLDEN / "bad").glob("*.yaml"))
    assert len(bad) >= 24

    ran, calls = here.wire("--wait", "--timeout", "20s")
    assert ran.code == 1
    for path in bad:
        assert f"zz-bad/{path.name}" in ran.text, f"{path.name} is not mentioned"
    good = {"platform/toolkit", f"project/{vision}", f"project/{language}", f"resourcequota/{vision}/share"}
    good |= {f"dataset/{vision}/digits", f"dataset/{vision}/faces", f"experiment/{vision}/baseline", f"experiment/{language}/reader"}
    ready = {ref for ref, each in here.status().items() if each["ready"]}
    assert good <= ready
    created = [each for each in calls if each["write"] and each["tool"] == "mlflow"]
    sound_in_bad_files = {ref for ref in ready - good if ref.startswith("experiment/")}
    assert len(created) == 2 + len(sound_in_bad_files), "one create for each good experiment, and nothing else"

    assert "No changes" not in here.run().text, "mistakes are told again, not forgotten"
    shutil.rmtree(here.root / "manifests" / "zz-bad")
    assert here.run().code in (0, 3)
    assert {ref for ref, each in here.status().items() if each["ready"]} >= good
