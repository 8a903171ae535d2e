"""`reconcile fits` tells what a pass would decide, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_cli import reconcile

QUOTA = """---
apiVersion: reconciler.mlops/v1
kind: ResourceQuota
metadata: {name: share, project: hello}
spec: {nominal: {memory: 1Gi, cpu: 2}}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    manifest = tmp_path / "manifests/hello.yaml"
    manifest.write_text(manifest.read_text().split("---\n")[0] + QUOTA)
    said = reconcile("--wait", "--timeout", "60s", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    return tmp_path


def test_it_would_start_or_it_says_why_not(tree: Path) -> None:
    said = reconcile("fits", "--project", "hello", "--memory", "512Mi", "--cpu", "500m", "--duration", "10m", cwd=tree)
    assert said.returncode == 0
    assert said.stdout.startswith("hello: 589 MiB, 0.5 cores would start now, on ")
    over = reconcile("fits", "--project", "hello", "--memory", "2Gi", cwd=tree)
    assert over.returncode == 3
    assert "would wait; expected start: never" in over.stdout
    assert "1 GiB nominal" in over.stdout
    told = json.loads(reconcile("fits", "--project", "hello", "--memory", "2Gi", "-o", "json", cwd=tree).stdout)
    assert (told["kind"], told["now"], told["reason"]) == ("fits", False, "ExceedsMaxQuota")
    assert json.loads(reconcile("queue", "-o", "json", cwd=tree).stdout)["waiting"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--memory", "2Gi"], "name one project"),
        (["--project", "vision"], "there is no project 'vision' here yet"),
        (["--project", "hello", "--memory", "much"], "'much' is not a quantity"),
        (["--project", "hello", "--duration", "long"], "'long' is not a duration"),
    ],
)
def test_what_makes_no_sense_is_told(tree: Path, words: list[str], said: str) -> None:
    done = reconcile("fits", *words, cwd=tree)
    assert done.returncode == 1
    assert said in done.stderr
