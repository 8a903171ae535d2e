"""What tests of several files share."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.e2e.serving import deployment, lab, model, train


@pytest.fixture(scope="session")
def serving(mlflow_url: str) -> Iterator[Installation]:
    """One deployment of one model, trained, packaged, and up; whoever changes it leaves one that can be changed again.

    Tests that use it carry `@pytest.mark.xdist_group("serving")`."""
    root = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    made = lab(root / "root", mlflow_url)
    train(made, factor=2, accuracy=0.5)
    model(made)
    deployment(made)
    try:
        made.ok("--wait", "--timeout", "240s", timeout=300)
        yield made
    finally:
        made.run("platform", "down", timeout=180)
        subprocess.run(["rm", "-rf", str(root)], check=False)
