"""docs/guide.md does what it says, from its first line to its last, on real DVC and a real MLflow server."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.walkthrough import Step, Walk, environment, rewritten, steps

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
PROJECTS = ("hello/", "vision/")
"""Names of the guide's experiments in MLflow begin with these."""

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def server(mlflow_url: str) -> Iterator[str]:
    """The shared server, without what another run of the guide left there, before and after."""
    _set_aside(mlflow_url)
    yield mlflow_url
    _set_aside(mlflow_url)


def _set_aside(url: str) -> None:
    """Give up the names: MLflow keeps those of deleted experiments reserved, so they are renamed first."""
    with httpx.Client(base_url=f"{url}/api/2.0/mlflow/experiments/", trust_env=False, timeout=30) as client:
        for prefix in PROJECTS:
            query = {"view_type": "ALL", "max_results": 1000, "filter": f"name LIKE '{prefix}%'"}
            found = client.post("search", json=query).raise_for_status().json()
            for each in found.get("experiments", []):
                key = {"experiment_id": each["experiment_id"]}
                if each["lifecycle_stage"] == "deleted":
                    client.post("restore", json=key).raise_for_status()
                client.post("update", json={**key, "new_name": f"guide-{uuid.uuid4().hex}"}).raise_for_status()
                for tag in ("mlops.ref", "mlops.installation"):
                    client.post("delete-experiment-tag", json={**key, "key": tag})
                client.post("delete", json=key).raise_for_status()


def test_the_guide_does_what_it_says(tmp_path: Path, server: str) -> None:
    page = GUIDE.read_text(encoding="utf-8")
    words = {"http://127.0.0.1:5000": server, "/home/ada": str(tmp_path)}
    walk = Walk(tmp_path, environment(Path(sys.executable).parent), words)
    update, differing = bool(os.environ.get("UPDATE_GOLDEN")), list[Step]()
    for step in steps(page):
        try:
            walk.go(step)
        except AssertionError:
            if not update:
                raise
            differing.append(step)
    if differing:
        GUIDE.write_text(rewritten(page, differing, walk.printed), encoding="utf-8")


def test_the_guide_is_short() -> None:
    assert len(GUIDE.read_text(encoding="utf-8").splitlines()) <= 350
