"""What tests of several files share."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.e2e.serving import deployment, lab, model, train


@pytest.fixture(scope="session")
def serving(mlflow_url: str, group_ends: ExitStack) -> Installation:
    """One deployment of one model, trained, packaged, and up; whoever changes it leaves one that can be changed again.

    Tests that use it carry `@pytest.mark.xdist_group("serving")`."""
    root = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    group_ends.callback(shutil.rmtree, root, ignore_errors=True)
    made = lab(root / "root", mlflow_url)
    group_ends.callback(made.run, "platform", "down", timeout=180)
    train(made, factor=2, accuracy=0.5)
    model(made)
    deployment(made)
    made.ok("--wait", "--timeout", "240s", timeout=300)
    return made
