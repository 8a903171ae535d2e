"""What several folders of tests share: one real MLflow server on one real PostgreSQL, and the `--full` switch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long matrices too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--full` the long matrices are left out (deselected, so that no skip hides anything)."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> Iterator[None]:
    """No setting of the machine reaches the tests, and the tools send nothing home."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("MLOPS_", "MLFLOW_", "GIT_"))]:
        del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"})
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def mlflow_url() -> Iterator[str]:
    """Address of a real MLflow server. Tests that use it stand in `xdist_group("mlflow")`, so that one worker starts it, once."""
    from reconciler.platform import Services, ServiceSpec

    folder = Path(tempfile.mkdtemp(prefix="mlops-test-"))  # short: a socket's path has 107 bytes
    services = Services(folder, [ServiceSpec("mlflow")])
    try:
        services.ensure(["mlflow"])
        yield services.endpoint("mlflow").url
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)
